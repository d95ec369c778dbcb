"""Findings: what an audit has to say, and how much of it is kept."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

Severity: TypeAlias = Literal["breach", "note"]
"""``breach``: a promise is broken or cannot be shown to hold; the audit fails. ``note``: something to know."""

FINDINGS_KEPT = 1_000
"""Of each severity; the others are counted. One damaged page must not fill the memory with its million rows."""


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing an audit found.

    ``position`` is that of the event it is about, 0 where it is about none; ``where`` names chunk, batch or request.
    """

    position: int
    severity: Severity
    what: str
    where: str = ""

    def __str__(self) -> str:
        place = f"position {self.position}" if self.position else "the ledger"
        return f"{place}{f', {self.where}' if self.where else ''}: {self.what}"


def breach(position: int, what: str, where: str = "") -> Finding:
    """Return a finding that fails the audit."""
    return Finding(position=position, severity="breach", what=what, where=where)


def note(position: int, what: str, where: str = "") -> Finding:
    """Return a finding that does not."""
    return Finding(position=position, severity="note", what=what, where=where)


class Findings:
    """Collects findings in bounded memory: the first of each severity, and the number of all."""

    def __init__(self) -> None:
        self.counts: dict[Severity, int] = {"breach": 0, "note": 0}
        self._kept: list[Finding] = []

    def add(self, finding: Finding) -> None:
        """Count a finding, and keep it while there is room."""
        self.counts[finding.severity] += 1
        if self.counts[finding.severity] <= FINDINGS_KEPT:
            self._kept.append(finding)

    def add_all(self, others: Findings) -> None:
        """Take over the findings that others collected, as if each had been added here after those before it."""
        for finding in others._kept:
            self.add(finding)
        for severity, count in others.counts.items():
            self.counts[severity] += max(count - FINDINGS_KEPT, 0)

    def kept(self) -> tuple[Finding, ...]:
        """Return what was kept, breaches first, each in order of position."""
        return tuple(sorted(self._kept, key=lambda one: (one.severity != "breach", one.position)))
