"""``ledger results``."""

from __future__ import annotations

import click

from .options import debug_option, find_ledger, ledger_operand, split_commas


@click.command("results", short_help="Write the answers as JSON lines, in the order of the input.")
@ledger_operand
@click.option("-o", "--output", metavar="FILE", help="Write to a file, whole or not at all; standard output otherwise.")
@click.option("--outcome", "outcomes", metavar="O,…", callback=split_commas, help="Only items of these outcomes.")
@click.option("--failed", is_flag=True, help="Only items that are neither ok nor accepted.")
@click.option("--all", "everything", is_flag=True, help="Pending items and skipped lines too.")
@click.option("--raw", is_flag=True, help="The service's own lines, with your custom_id.")
@click.option("--join", is_flag=True, help="Add the source row as `item`.")
@debug_option
def command(
    operand: str | None,
    ledger_file: str | None,
    output: str | None,
    outcomes: tuple[str, ...] | None,
    failed: bool,
    everything: bool,
    raw: bool,
    join: bool,
) -> None:
    """Write the answers as JSON lines, in the order of the input; finished items only.

    A line has custom_id, outcome, text, usage, model, stop_reason, attempts, batch_id, cost_usd and error.
    """
    from ledger.core.errors import UsageError
    from ledger.files.export import write_atomically
    from ledger.reading import Reading

    from .memory import MANY_ITEMS, keep_freed_memory
    from .output import say, write_lines
    from .screens.summary import SIMULATED_NOTE
    from .screens.tables import counted

    if sum((failed, outcomes is not None, everything)) > 1:
        raise UsageError("--failed, --outcome and --all exclude each other", next="pass one of them")
    path = find_ledger(ledger_file, operand)
    ledger = Reading(path)
    summary = ledger.summary()
    if summary.asked >= MANY_ITEMS:
        keep_freed_memory()
    if failed:
        outcomes = ledger.failed_outcomes()
    lines = ledger.result_lines(outcomes=outcomes, all=everything, raw=raw, join=join)
    if output is not None and output != "-":
        written = write_atomically(output, lines)
        say(f"{counted(written, 'line')} written to {output}")
    else:
        write_lines(lines)
    if summary.simulated:
        say(SIMULATED_NOTE)
    if summary.pending and not everything:
        say(f"{summary.pending:,} of {summary.asked:,} items are pending\nnext: {summary.next}")
