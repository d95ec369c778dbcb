"""``ledger copy``."""

from __future__ import annotations

from pathlib import Path

import click

from .options import debug_option, find_ledger, ledger_option


@click.command("copy", short_help="Make a legitimate copy of a ledger.")
@click.argument("destination", metavar="DEST")
@ledger_option
@debug_option
def command(destination: str, ledger_file: str | None) -> None:
    """Copy the ledger to DEST, a file or a directory, its head with it; also while a process is at work on it.

    Go on with one of the two only: what the other submits, this one cannot know.
    """
    from ledger.ledger import Ledger

    from .output import answer

    path = find_ledger(ledger_file)
    target = Path(destination)
    target = target / path.name if target.is_dir() else target
    Ledger(path).copy(target)
    answer(f"{path} copied to {target}")
