"""``ledger check``."""

from __future__ import annotations

from typing import IO, Any

import click

from .options import (
    choices_of,
    chunk_options,
    complete_files,
    debug_option,
    index_option,
    item_options,
    json_option,
    prices_option,
    prime_option,
    require_items,
    require_other_file,
    service_options,
)


@click.command("check", short_help="Say what is wrong with items, how they would be sent, and what they may cost.")
@click.argument("items", shell_complete=complete_files)
@item_options
@click.option("--rejects", type=click.File("wb", lazy=True), metavar="FILE", help="Write every bad line, with reasons.")
@click.option(
    "--count-tokens",
    type=click.IntRange(1),
    metavar="N",
    help="Let the service count the tokens of N requests of every kind; free, but needs a key.",
)
@click.option("--learn-from", metavar="LEDGER", help="Expect answers as long as those of another ledger.")
@click.option("--simulate", is_flag=True, help="Let the embedded simulator count them.")
@service_options
@chunk_options
@prices_option
@prime_option
@index_option
@json_option
@debug_option
def command(
    items: str, rejects: IO[bytes] | None, count_tokens: int | None, learn_from: str | None, as_json: bool, **said: Any
) -> None:
    """Say what is wrong with ITEMS, how they would be sent, and what they may cost.

    Needs no key, asks nobody, leaves nothing behind and spends nothing. With --count-tokens the service is asked how
    many tokens some requests have, which is free.
    """
    from ledger.ledger import Ledger

    from .configuration import fill
    from .output import answer, answer_json, warn_of_index
    from .screens.check import check_screen

    require_items(items)
    require_other_file(rejects, items)
    fill(click.get_current_context(), said)
    opening = {"simulate": said.pop("simulate"), "base_url": said.pop("base_url"), "index": not said.pop("no_index")}
    ledger = Ledger("check.ledger", **opening)
    check = ledger.check(
        items, choices=choices_of(said), rejects=rejects, count_tokens=count_tokens or 0, learn_from=learn_from
    )
    if as_json:
        answer_json(check)
    else:
        answer(check_screen(check, items=items))
    warn_of_index(ledger.index_problem)
