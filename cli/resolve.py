"""``ledger resolve``."""

from __future__ import annotations

import click

from .options import debug_option, find_ledger, ledger_option, service_options


@click.command("resolve", short_help="Decide about a chunk that is held or in doubt.")
@click.argument("chunk", type=click.IntRange(min=1))
@click.option("--adopt", metavar="BATCH", help="This batch is the chunk's.")
@click.option("--absent", is_flag=True, help="It was never accepted: send it again.")
@click.option("--cancel", metavar="BATCH", help="This batch is not wanted: cancel it.")
@click.option("--again", is_flag=True, help="Whatever held it is settled: go on as it was.")
@click.option("--accept-counts", is_flag=True, help="What is stored is all there is, whatever the service counted.")
@click.option("--lost", is_flag=True, help="Its batch does not end, or cannot be read: its results are given up.")
@click.option("--acknowledge", is_flag=True, help="Its second batch is known and dealt with.")
@ledger_option
@service_options
@debug_option
def command(
    chunk: int,
    adopt: str | None,
    absent: bool,
    cancel: str | None,
    again: bool,
    accept_counts: bool,
    lost: bool,
    acknowledge: bool,
    ledger_file: str | None,
    base_url: str | None,
) -> None:
    """Decide about CHUNK, which is held or in doubt; `ledger status` says which are. Recorded with its evidence.

    Reaches the process that is at work on the ledger, if there is one.
    """
    from ledger.core.errors import UsageError
    from ledger.ledger import Ledger

    from .output import answer, say

    said = {
        "adopt": adopt,
        "absent": absent,
        "cancel": cancel,
        "again": again,
        "accept-counts": accept_counts,
        "lost": lost,
        "acknowledge": acknowledge,
    }
    verdicts = [verdict for verdict, value in said.items() if value]
    if len(verdicts) != 1:
        raise UsageError("one decision is needed", next=f"one of --{', --'.join(said)}")
    path = find_ledger(ledger_file)
    done = Ledger(path, base_url=base_url).resolve(chunk, verdicts[0], adopt or cancel or "")
    answer(f"chunk {chunk}, {verdicts[0]}: {done}")
    say(f"next: ledger resume {path}")
