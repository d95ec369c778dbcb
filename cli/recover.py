"""``ledger recover``."""

from __future__ import annotations

import click

from .options import debug_option, find_ledger, ledger_operand, service_options


@click.command("recover", short_help="Reconcile a restored or copied ledger with the service.")
@ledger_operand
@click.option("--items", metavar="FILE", help="The run's items, where the log was cut back to before they were read.")
@service_options
@debug_option
def command(operand: str | None, ledger_file: str | None, items: str | None, base_url: str | None) -> None:
    """Find what the service has of this ledger and the log does not: for a restored backup, or a lost -wal.

    Claims those batches, waits for open ones, and records that it did. Nothing is submitted.
    """
    from ledger.ledger import Ledger

    from .output import answer, say
    from .progress import progress_for
    from .screens.tables import counted
    from .signals import stoppable

    path = find_ledger(ledger_file, operand)
    progress = progress_for(quiet=False)
    ledger = Ledger(path, listener=progress, base_url=base_url)
    with progress, stoppable(ledger.stop, progress.announce) as stopping:
        recovered = ledger.recover(items)
    if stopping.exit_code:
        click.get_current_context().exit(stopping.exit_code)
    answer(f"recovered: {counted(len(recovered.adopted), 'batch')} claimed that the log did not know")
    say(f"next: ledger resume {path}")
