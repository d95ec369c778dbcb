"""``ledger status``."""

from __future__ import annotations

import click

from .options import debug_option, find_ledger, json_option, ledger_operand


@click.command("status", short_help="Show where a run stands, its batches, and what needs a person.")
@ledger_operand
@click.option("--batches", "every_batch", is_flag=True, help="Show the batches that are done, too.")
@click.option("--watch", is_flag=True, help="Show it until the run is finished, drawn anew each second.")
@json_option
@debug_option
def command(operand: str | None, ledger_file: str | None, every_batch: bool, watch: bool, as_json: bool) -> None:
    """Show where a run stands, its batches, and what needs a person, with the command that settles it.

    Works while another process is at work. The exit code says only whether the ledger could be read; with --json,
    summary.exit_code says how the run stands.
    """
    from ledger.reading import Reading

    from .output import answer, answer_json, say
    from .screens.status import status_screen

    path = find_ledger(ledger_file, operand)
    if watch:
        from .watching import watch as watch_until_finished

        watch_until_finished(path)
    status = Reading(path).status()
    if as_json:
        answer_json(status)
        return
    answer(status_screen(status, every_batch=every_batch))
    if status.summary.next and not (status.pauses or status.holds or status.writer):
        say(f"next: {status.summary.next}")
