"""``ledger cancel``."""

from __future__ import annotations

import click

from .options import debug_option, find_ledger, ledger_option, service_options


@click.command("cancel", short_help="Cancel batches at the service.")
@click.argument("batches", metavar="[BATCH]…", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All open batches, and send nothing more.")
@ledger_option
@service_options
@debug_option
def command(batches: tuple[str, ...], everything: bool, ledger_file: str | None, base_url: str | None) -> None:
    """Cancel batches at the service. What was answered by then is billed, stored and kept.

    Reaches the process that is at work on the ledger, if there is one.
    """
    from ledger.core.errors import UsageError
    from ledger.ledger import NOTHING_TO_DO, Ledger

    from .output import answer, say

    if bool(batches) == everything:
        raise UsageError("name batches, or say --all", next="ledger status lists them")
    path = find_ledger(ledger_file)
    done = Ledger(path, base_url=base_url).cancel(batches, everything=everything)
    answer(f"cancel: {done}")
    if done != NOTHING_TO_DO:
        say(f"next: ledger resume {path} collects what was answered by then")
