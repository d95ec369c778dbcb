"""Whether everything is as a run needs it."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.doctor import Finding

from .tables import table


def doctor_screen(findings: Sequence[Finding]) -> str:
    """Return a line for each finding, and below those that are not well the next command."""
    lines = table([(one.verdict, one.check, one.detail) for one in findings], "lll", elastic=2).splitlines()
    said = []
    for line, finding in zip(lines, findings, strict=True):
        said.append(line)
        if finding.next:
            said.append(f"      next: {finding.next}")
    return "\n".join(said)
