"""``ledger recover``."""

from __future__ import annotations

from typing import Any

import click

from .options import (
    choices_of,
    debug_option,
    find_ledger,
    item_options,
    ledger_operand,
    policy_options,
    service_options,
)


@click.command("recover", short_help="Reconcile a restored or copied ledger with the service.")
@ledger_operand
@click.option("--items", metavar="FILE", help="The run's items, where the log was cut back to before they were read.")
@click.option("--simulate", is_flag=True, help="The run was simulated, and the log no longer knows it.")
@item_options
@policy_options
@service_options
@debug_option
def command(operand: str | None, ledger_file: str | None, items: str | None, simulate: bool, **said: Any) -> None:
    """Find what the service has of this ledger and the log does not: for a restored backup, or a lost -wal.

    Claims those batches, waits for open ones, and records that it did. Nothing is submitted. The options that say what
    is asked are needed only where the log was cut back to before they were recorded, and must be as they were.
    """
    from ledger.ledger import Ledger

    from .output import answer, say
    from .progress import progress_for
    from .screens.tables import counted
    from .signals import stoppable

    path = find_ledger(ledger_file, operand)
    progress = progress_for(quiet=False)
    ledger = Ledger(path, listener=progress, simulate=simulate, base_url=said.pop("base_url"))
    choices = choices_of(said)
    with progress, stoppable(ledger.stop, progress.announce) as stopping:
        recovered = ledger.recover(items, choices=choices)
    if stopping.exit_code:
        click.get_current_context().exit(stopping.exit_code)
    answer(f"recovered: {counted(len(recovered.adopted), 'batch')} claimed that the log did not know")
    say(f"next: ledger resume {path}")
