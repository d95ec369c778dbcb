"""``ledger run``."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import click

from .options import (
    choices_of,
    complete_files,
    conduct_options,
    item_options,
    ledger_option,
    policy_options,
    require_items,
    require_other_file,
    service_options,
)


@click.command("run", short_help="Take in items, send them, wait, and store every answer.")
@click.argument("items", shell_complete=complete_files)
@ledger_option
@click.option("--simulate", is_flag=True, help="Answer from an embedded simulator: no key, no network, no cost.")
@item_options
@click.option("--add", is_flag=True, help="Take these items into a ledger that holds others.")
@click.option("--keep", is_flag=True, help="Where an id is known with another body, keep the known one.")
@click.option("--rejects", type=click.File("wb", lazy=True), metavar="FILE", help="Write every bad line, with reasons.")
@policy_options
@service_options
@conduct_options
def command(items: str, ledger_file: str | None, rejects: IO[bytes] | None, **said: Any) -> None:
    """Take in ITEMS, send them, wait, and store every answer.

    ITEMS is a file of JSON lines, also .gz or .zst, or - for standard input (with --ledger). A line is
    {"custom_id": …, "params": {…}}, or {"id": …, "prompt": …} with what else is needed as options.

    The ledger is ITEMS's name with .ledger, in this directory. Running the same file again takes in what is new and
    goes on; a finished run is not sent again.

    What no option says is taken from the environment (BATCH_LEDGER_MODEL, …), from the nearest ledger.toml upwards
    (`ledger init` writes one), from your own configuration, in this order; a ledger that holds requests goes on as it
    was begun.
    """
    from ledger.core.errors import UsageError
    from ledger.ledger import default_ledger

    from .conduct import Manner, conduct
    from .configuration import configure_run, ledgers_directory

    if items == "-" and not ledger_file:
        raise UsageError("standard input has no name to call the ledger by", next="… | ledger run - --ledger FILE")
    require_items(items)
    require_other_file(rejects, items)
    path = Path(ledger_file) if ledger_file else ledgers_directory() / default_ledger(items, simulate=said["simulate"])
    budget_from = configure_run(click.get_current_context(), said, path)
    manner = Manner.taken_from(said)
    simulate, once, add, keep = (said.pop(name) for name in ("simulate", "once", "add", "keep"))
    opening = {"simulate": simulate, "base_url": said.pop("base_url"), "take_over": said.pop("take_over")}
    choices = choices_of(said)
    conduct(
        path,
        lambda ledger, confirm, progress: ledger.run(
            items,
            choices=choices,
            add=add,
            keep=keep,
            rejects=rejects,
            once=once,
            confirm=confirm,
            progress=progress,
        ),
        manner,
        items=items,
        budget_from=budget_from,
        **opening,
    )
