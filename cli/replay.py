"""``ledger replay``."""

from __future__ import annotations

import click

from .options import debug_option, find_ledger, json_option, ledger_operand

AUDIT_FAILED = 5


@click.command("replay", short_help="Refold the log: the state at any position, or with --audit the proof.")
@ledger_operand
@click.option("--to", "position", type=click.IntRange(min=0), metavar="POSITION", help="Stop behind this event.")
@click.option("--audit", "is_audit", is_flag=True, help="Check everything that the log promises; 5 if anything is off.")
@click.option(
    "--expect-head", metavar="POSITION:HASH", help="A head that an earlier audit printed; nothing before it may differ."
)
@click.option(
    "--projection",
    "is_projection",
    is_flag=True,
    help="Print outcomes, chunks and costs as JSON: equal logs give equal bytes, also under later versions.",
)
@json_option
@debug_option
def command(
    operand: str | None,
    ledger_file: str | None,
    position: int | None,
    is_audit: bool,
    expect_head: str | None,
    is_projection: bool,
    as_json: bool,
) -> None:
    """Refold the log from its first event, without any effect.

    Shows the state at a position, or with --audit whether everything holds: chain, order, transitions, one live batch
    a chunk, results = submitted = counted, payloads, money.

    --projection prints what the log comes to, for programs and for comparing: its form has a version (`projection`)
    and never changes within it.
    """
    from ledger.core.errors import UsageError
    from ledger.core.projection import projection_text
    from ledger.reading import Reading

    from .memory import keep_freed_memory
    from .output import answer, answer_json, write_lines
    from .screens.audit import audit_screen
    from .screens.status import status_screen

    is_audit = is_audit or expect_head is not None
    if is_audit and is_projection:
        raise UsageError("an audit has a report of its own", next="pass --audit or --projection, not both")
    if is_audit and position is not None:
        raise UsageError("an audit is of the whole log", next="pass --to or --audit, not both")
    path = find_ledger(ledger_file, operand)
    if is_projection:
        write_lines([projection_text(Reading(path).projection(position))])
        return
    if not is_audit:
        status = Reading(path).replay(position)
        if as_json:
            answer_json(status)
        else:
            answer(status_screen(status, every_batch=True))
        return
    keep_freed_memory()
    report = Reading(path).audit(expect_head)
    if as_json:
        answer_json(report)
    else:
        answer(audit_screen(report, ledger=str(path)))
    click.get_current_context().exit(0 if report.ok else AUDIT_FAILED)
