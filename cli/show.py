"""``ledger show``."""

from __future__ import annotations

import click

from .options import debug_option, find_ledger, json_option, ledger_option


@click.command("show", short_help="Tell the whole story of one item.")
@click.argument("custom_id")
@ledger_option
@click.option("--full", is_flag=True, help="Show request and answer to their ends.")
@json_option
@debug_option
def command(custom_id: str, ledger_file: str | None, full: bool, as_json: bool) -> None:
    """Tell the whole story of CUSTOM_ID: its request, where it was sent, what came back, and what that cost.

    Takes the id under which the service's console shows the item, too. Works while another process is at work.
    """
    from ledger.reading import Reading

    from .output import answer, answer_json
    from .screens.show import show_screen

    story = Reading(find_ledger(ledger_file)).show(custom_id)
    if as_json:
        answer_json(story)
    else:
        answer(show_screen(story, full=full))
