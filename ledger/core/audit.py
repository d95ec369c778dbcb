"""The audit of a log: fold it again from zero, believing nothing, and say what does not hold.

What is checked, and where:

* hash chain, gapless positions, head row and sidecar: by the store, while the rows pass, whose findings come in as
  ``chain``;
* every event can be read, and the state before it allows it: here, with the same ``evolve`` that a run uses; folding
  stops at the first that does not;
* the guarantees, told in other words than the transition table's: ``ledger.core.promises``;
* payloads against the digests in the events: a witness that has the payloads (``ledger.files.audit``);
* the memo of the fold at its position: here, byte for byte;
* the file's own structure: SQLite's findings come in as ``integrity``;
* the money: summed from the refolded state, with the recorded prices.

Pure: events, and what others found, come in as iterables. Nothing here grows with the number of events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeAlias

import msgspec

from ledger.core import snapshot
from ledger.core.costs import CostReport, Discount, cost_report
from ledger.core.errors import CorruptLogError, IllegalEventError, LedgerError, NotALedgerError
from ledger.core.events import AnyEvent, decode
from ledger.core.evolve import evolve
from ledger.core.findings import Finding, Findings, breach, note
from ledger.core.promises import Promises
from ledger.core.spending import cost_groups
from ledger.core.state import RunState
from ledger.core.units import format_usd

Row: TypeAlias = tuple[int, int, str, str, bytes]
"""Position, instant, type, data and hash of one row of the log."""


class Witness(Protocol):
    """Is told of every event, in order, with the state after it."""

    def told(self, position: int, event: AnyEvent, state: RunState) -> Iterable[Finding]:
        """Return what does not hold."""
        ...

    def ended(self) -> Iterable[Finding]:
        """Return what does not hold at the end of the log."""
        ...


class Noted(NamedTuple):
    """A head that somebody kept outside of the ledger (``--expect-head``)."""

    position: int
    hash: bytes


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an audit found, and what it counted.

    ``ok`` is whether there is no breach. ``position`` and ``hash`` (hex) are the head: kept somewhere else, they let a
    later audit prove that nothing before it was changed. ``head_verified`` is whether something outside the log said
    how far it had got, so that a tail cut off would have shown. ``folded_to`` is behind ``position`` where folding had
    to stop; outcomes and costs are then those up to there. ``findings`` holds breaches first, at most 1,000 of each
    severity; ``breaches`` and ``notes`` count all. Costs are None where no prices are recorded.
    """

    ok: bool
    ledger_id: str
    origin: str
    position: int
    hash: str
    head_verified: bool
    events: int
    folded_to: int
    requests: int
    outcomes: dict[str, int]
    breaches: int
    notes: int
    findings: tuple[Finding, ...]
    costs: CostReport | None
    costs_by_attempt: CostReport | None
    discount: Discount | None


class _Refold:
    """One pass over the log."""

    def __init__(self, witnesses: Sequence[Witness], memo: tuple[int, bytes] | None, noted: Sequence[Noted]) -> None:
        self.state = RunState()
        self.events = 0
        self.last = (0, b"")
        self.stopped = False
        self.matched = 0
        self._witnesses = witnesses
        self._memo = memo
        self._noted = {one.position: one for one in noted}

    def run(self, rows: Iterable[Row]) -> Iterator[Finding]:
        """Fold the rows; yield what does not hold."""
        position, stored = self.last
        try:
            for row in rows:
                self.events += 1
                position, stored = row[0], row[4]
                if position in self._noted:
                    yield from self._compare(self._noted.pop(position), stored)
                if not self.stopped:
                    yield from self._taken(row)
        except CorruptLogError as problem:
            self.stopped = True
            yield breach(position + 1, _in_words(problem))
        self.last = (position, stored)
        for one in self._noted.values():
            if one.position:
                yield breach(
                    position + 1, f"the log ends at {position}, but had reached {one.position}: its tail is missing"
                )
        if not self.stopped:
            for witness in self._witnesses:
                yield from witness.ended()

    def _taken(self, row: Row) -> Sequence[Finding]:
        """Return what an event shows; nothing, nearly always, which is why this is no generator."""
        position, at, type_name, data, event_hash = row
        try:
            event = decode(type_name, data)
            evolve(self.state, position, at, event)
        except (NotALedgerError, IllegalEventError) as problem:
            self.stopped = True
            return [breach(position, f"{_in_words(problem)}; from here on only the chain was checked", type_name)]
        findings: list[Finding] = []
        for witness in self._witnesses:
            if said := witness.told(position, event, self.state):
                findings += said
        if self._memo is not None and self._memo[0] == position:
            findings += _compare_memo(self._memo[1], self.state, event_hash)
        return findings

    def _compare(self, expected: Noted, stored: bytes) -> Iterator[Finding]:
        if stored == expected.hash:
            self.matched += 1
        else:
            yield breach(expected.position, "the event here is not the one whose hash was noted: the log was rewritten")


def _compare_memo(memo: bytes, state: RunState, event_hash: bytes) -> Iterator[Finding]:
    tied_to, data = memo[: len(event_hash)], memo[len(event_hash) :]
    if tied_to == event_hash and data == snapshot.dump(state):
        return
    if tied_to == event_hash and snapshot.load(data) is None:
        yield note(state.position, "the stored snapshot is of another version and was not compared; nobody believes it")
    else:
        yield breach(state.position, "guarantee 4: the stored snapshot is not what the events fold to")


def _in_words(problem: LedgerError) -> str:
    return f"{problem.what} ({problem.why})" if problem.why else problem.what


def audit_log(
    rows: Iterable[Row],
    *,
    chain: Findings | None = None,
    witnesses: Sequence[Witness] = (),
    memo: tuple[int, bytes] | None = None,
    noted: Sequence[Noted] = (),
    integrity: Iterable[str] = (),
    head_verified: bool,
    head_note: str = "",
) -> AuditReport:
    """Return what holds and what does not.

    Args:
        rows: the whole log, from its first event.
        chain: what is wrong with positions, hashes and head, complete once the rows are read.
        witnesses: who else is told of every event.
        memo: the stored snapshot: its position, and the hash of the event there followed by the dumped state.
        noted: heads that the log must contain.
        integrity: what is wrong with the file's structure.
        head_verified: whether the log was compared with a head outside of it.
        head_note: why not.
    """
    findings = Findings()
    for problem in integrity:
        findings.add(breach(0, f"the database file is damaged: {problem}"))
    promises, refolded = Promises(), Findings()
    refold = _Refold([promises, *witnesses], memo, noted)
    for finding in refold.run(rows):
        refolded.add(finding)
    if chain is not None:
        findings.add_all(chain)
    findings.add_all(refolded)
    head_verified = head_verified or refold.matched > 0
    if not head_verified:
        why = f" ({head_note})" if head_note else ""
        findings.add(note(0, f"head unverified: a tail that was cut off cleanly would not show{why}"))
    state = refold.state
    costs, by_attempt = _costs(state, promises)
    if costs is not None and costs.discount.verdict == "missing":
        paid = costs.discount.overpaid_usd
        more = f", {format_usd(paid)} more than at the batch price" if paid else ""
        findings.add(note(0, f"{costs.discount.other_requests} results were not of the tier batch{more}"))
    position, stored = refold.last
    return AuditReport(
        ok=findings.counts["breach"] == 0,
        ledger_id=state.ledger_id,
        origin=state.origin,
        position=position,
        hash=stored.hex(),
        head_verified=head_verified,
        events=refold.events,
        folded_to=state.position,
        requests=state.asked,
        outcomes={outcome: count for outcome, count in state.outcomes.items() if count},
        breaches=findings.counts["breach"],
        notes=findings.counts["note"],
        findings=findings.kept(),
        costs=costs,
        costs_by_attempt=by_attempt,
        discount=costs.discount if costs is not None else None,
    )


def _costs(state: RunState, promises: Promises) -> tuple[CostReport | None, CostReport | None]:
    if state.prices is None:
        return None, None
    groups = list(cost_groups(state, promises.weighed_twins.values()))
    return cost_report(state.prices, groups, "model"), cost_report(state.prices, groups, "attempt")
