"""What an audit found."""

from __future__ import annotations

from ledger.core.audit import AuditReport

from .costs import cost_table, discount_line
from .summary import SIMULATED_NOTE
from .tables import counted

FINDINGS_SHOWN = 20


def audit_screen(report: AuditReport, *, ledger: str) -> str:
    """Return the findings with their positions, the money, and the head."""
    verdict = "ok" if report.ok else f"{counted(report.breaches, 'breach')}"
    outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in report.outcomes.items())
    lines = [f"{ledger}: audit {verdict}"]
    if report.origin == "simulator":
        lines.append(SIMULATED_NOTE)
    folded = "" if report.folded_to == report.position else f", folded only to position {report.folded_to:,}"
    lines.append(f"{counted(report.events, 'event')} checked{folded}")
    lines.append(f"{counted(report.requests, 'request')}: {outcomes or 'no outcomes yet'}")
    parts = ["\n".join(lines)]
    if report.findings:
        shown = [f"{finding.severity}: {finding}" for finding in report.findings[:FINDINGS_SHOWN]]
        rest = report.breaches + report.notes - len(shown)
        parts.append("\n".join(shown) + (f"\n… and {rest:,} more (--json has them)" if rest > 0 else ""))
    if report.costs is not None and report.costs.rows:
        parts.append(cost_table(report.costs))
    if report.costs_by_attempt is not None and report.costs_by_attempt.rows:
        parts.append(cost_table(report.costs_by_attempt))
    if report.discount is not None:
        parts.append(discount_line(report.discount))
    verified = "" if report.head_verified else "  (head unverified)"
    parts.append(f"head {report.position}:{report.hash}{verified}")
    return "\n\n".join(parts)
