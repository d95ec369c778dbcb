"""``ledger costs``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .options import debug_option, find_ledger, json_option, ledger_operand

if TYPE_CHECKING:
    from ledger.core.costs import By


@click.command("costs", short_help="Show what a run cost, and whether the batch discount was given.")
@ledger_operand
@click.option(
    "--by", type=click.Choice(["model", "attempt", "batch", "day"]), default="model", help="A row for each.  [model]"
)
@json_option
@debug_option
def command(operand: str | None, ledger_file: str | None, by: By, as_json: bool) -> None:
    """Show what a run cost so far, and whether the batch discount was given.

    Counted from the usage that the service reported, with the prices that were recorded when the run began.
    """
    from ledger.ledger import SIMULATOR, Ledger

    from .output import answer, answer_json
    from .screens.costs import costs_screen
    from .screens.summary import SIMULATED_NOTE

    ledger = Ledger(find_ledger(ledger_file, operand))
    report = ledger.costs(by)
    if as_json:
        answer_json(report)
        return
    answer(costs_screen(report))
    if ledger.state().origin == SIMULATOR:
        answer(SIMULATED_NOTE)
