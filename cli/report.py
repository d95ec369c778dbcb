"""``ledger report``."""

from __future__ import annotations

import click

from .options import LEDGER_SUFFIX, debug_option, find_ledger, ledger_operand

AUDIT_FAILED = 5


@click.command("report", short_help="Write one HTML page about a run, for people.")
@ledger_operand
@click.option(
    "-o", "--output", metavar="FILE.html", help="Where to.  [the ledger's name with .html, in this directory]"
)
@click.option("--audit/--no-audit", "with_audit", default=None, help="Audit all of it first.  [up to 50,000 events]")
@click.option("--no-examples", is_flag=True, help="Leave out custom_ids, and words of answers and errors.")
@debug_option
@click.pass_context
def command(
    ctx: click.Context,
    operand: str | None,
    ledger_file: str | None,
    output: str | None,
    with_audit: bool | None,
    no_examples: bool,
) -> None:
    """Write one HTML page: timeline, outcomes, money, lengths, throughput, retention, proof, incidents.

    The page loads nothing, runs nothing, and names no directory of this machine: it can be mailed as it is. Works while
    a run is at work on the ledger. Ends with 5 when the audit found something; the page says what.
    """
    from ledger.files.export import write_atomically
    from ledger.reading import Reading

    from .output import answer, say, write_lines
    from .screens.summary import SIMULATED_NOTE

    path = find_ledger(ledger_file, operand)
    target = output or f"{path.name.removesuffix(LEDGER_SUFFIX)}.html"
    report = Reading(path).report(with_audit=with_audit, with_examples=not no_examples)
    if target == "-":
        write_lines([report.html])
    else:
        write_atomically(target, [report.html])
        answer(target)
    if report.simulated:
        say(SIMULATED_NOTE)
    if report.audit is None:
        say("not audited: `ledger report --audit` checks every event and payload first")
    elif not report.audit.ok:
        say(f"the audit found {report.audit.breaches:,} breaches\nnext: ledger replay --audit {path}")
        ctx.exit(AUDIT_FAILED)
    if target != "-":
        say(f"next: open it in a browser: {target}")
