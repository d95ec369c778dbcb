"""``ledger retry``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .options import (
    choices_of,
    conduct_options,
    find_ledger,
    ledger_operand,
    policy_options,
    service_options,
    split_commas,
)

if TYPE_CHECKING:
    from ledger.core.reopening import Reopening


@click.command("retry", short_help="Ask again what went wrong, and nothing else.")
@ledger_operand
@click.option(
    "--outcome",
    "outcomes",
    metavar="OUTCOME,…",
    callback=split_commas,
    help="Of which items.  [errored,expired,canceled,missing,lost]",
)
@click.option(
    "--ids",
    "ids_file",
    type=click.File("r", encoding="utf-8"),
    metavar="FILE",
    help="Only items with these ids: one a line, or JSON; - for standard input.",
)
@click.option(
    "--from", "corrected", metavar="FILE", help="Ask with the items of FILE instead of those with the same ids."
)
@click.option("--model", metavar="MODEL", help="Ask another model.")
@click.option("--max-tokens", type=int, metavar="N", help="Allow answers of so many tokens.")
@policy_options
@service_options
@conduct_options
def command(
    operand: str | None,
    ledger_file: str | None,
    outcomes: tuple[str, ...],
    ids_file: Any,
    corrected: str | None,
    model: str | None,
    max_tokens: int | None,
    **said: Any,
) -> None:
    """Ask again what went wrong, and nothing else; then go on as `resume` does.

    What was answered and billed stays in the ledger; an item has the outcome of its last answer. With --ids, items of
    any outcome are asked again, unless --outcome says which; with --from, the items of that file, unless one of the two
    says which. Bodies that are replaced stay in the ledger.
    """
    from ledger.retrying import read_ids

    from .conduct import Manner, conduct

    path = find_ledger(ledger_file, operand)
    ids = read_ids(ids_file.read(), getattr(ids_file, "name", "--ids")) if ids_file is not None else None
    manner = Manner.taken_from(said)
    once = said.pop("once")
    opening = {"base_url": said.pop("base_url"), "take_over": said.pop("take_over")}
    choices = choices_of(said)
    conduct(
        path,
        lambda ledger, confirm, _: ledger.retry(
            outcomes=outcomes or None,
            ids=ids,
            corrected=corrected,
            model=model,
            max_tokens=max_tokens,
            choices=choices,
            once=once,
            confirm=confirm,
            opened=None if manner.quiet else _say_opened,
        ),
        manner,
        **opening,
    )


def _say_opened(found: Reopening, amended: int) -> None:
    from .output import say
    from .screens.tables import counted

    def listed(counts: dict[str, int]) -> str:
        return ", ".join(f"{count:,} {outcome}" for outcome, count in counts.items())

    total = sum(found.opened.values())
    say(f"{counted(total, 'item')} opened again: {listed(found.opened)}" if total else "no item is opened again")
    if amended:
        say(f"{counted(amended, 'item')} with another body; what was asked before stays in the ledger")
    if found.redacted:
        say(f"{counted(found.redacted, 'item')} cannot be asked again: what was asked was deleted (ledger redact)")
    if found.left:
        names = ",".join(found.left)
        say(f"{listed(found.left)} stay as they are: --outcome {names} opens them, too")
