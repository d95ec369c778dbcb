"""The audit of a ledger, with its payloads; and replaying it to any position.

The events name every request and every result row by a salted digest. Here the payloads are read beside the events,
block by block, and compared. The checks of the log itself are in ``ledger.core.audit``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import count

from ledger.core import events as e
from ledger.core.answers import own_row, row_wire_id
from ledger.core.audit import AuditReport, Noted, audit_log
from ledger.core.chunks import nonce_of, parse_wire_id
from ledger.core.errors import CorruptLogError, UsageError
from ledger.core.evolve import fold
from ledger.core.findings import Finding, Findings, breach
from ledger.core.state import RunState
from ledger.files.bodyaudit import Bodies, Redacted
from ledger.files.reusedaudit import ReusedWitness
from ledger.loading import unpacked_memo
from ledger.ports import EventLog, Head, ResultPayload
from ledger.store.chain import ChainCheck
from ledger.store.payloads import digest, is_redacted
from ledger.store.sqlite import SqliteLog

_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-fA-F]{64})", re.ASCII)
_WHY_UNVERIFIED = {
    "missing": "there is no sidecar beside the ledger",
    "foreign": "the sidecar is of another ledger, file or machine",
}


def audit(log: EventLog, *, expect_head: str | None = None) -> AuditReport:
    """Return what holds of a ledger and what does not; reads everything, in memory that does not grow with it.

    Args:
        log: the ledger; another process may be writing it.
        expect_head: a head that it must contain, as ``POSITION:HASH``.

    Raises:
        UsageError: ``expect_head`` is not of that form.
    """
    noted = [parse_head(expect_head)] if expect_head is not None else []
    stored = log if isinstance(log, SqliteLog) else None
    standing = stored.needs_recovery if stored is not None else "missing"
    comparable = stored is not None and standing in ("", "behind")
    expected = stored.expected if stored is not None and comparable else None
    chain = Findings()
    check = ChainCheck(log, expected, lambda position, problem: chain.add(breach(position, problem)))
    return audit_log(
        check.passing(),
        chain=chain,
        witnesses=[PayloadWitness(log, check.head), ReusedWitness(log)],
        memo=unpacked_memo(log),
        noted=noted,
        integrity=stored.integrity_problems() if stored is not None else (),
        head_verified=comparable,
        head_note=_WHY_UNVERIFIED.get(standing, ""),
    )


def parse_head(text: str) -> Noted:
    """Return the head that ``POSITION:HASH`` names.

    Raises:
        UsageError: it is not of that form.
    """
    match = _HEAD.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{text!r} is no head",
            why="a head is POSITION:HASH, with the 64 hex digits that an audit prints",
            next="ledger replay --audit",
        )
    return Noted(int(match[1]), bytes.fromhex(match[2]))


def replay(log: EventLog, to_position: int | None = None) -> RunState:
    """Return the state after the event at a position, folded from zero; after the last one by default.

    Raises:
        UsageError: the log has no such position.
        CorruptLogError: an event cannot be read, or the state before it does not allow it.
        NotALedgerError: an event is of a newer version.
    """
    end = log.head.position
    if to_position is not None and not 0 <= to_position <= end:
        raise UsageError(f"there is no position {to_position}", why=f"the log ends at {end}", next="ledger events")
    rows = log.read(0, end if to_position is None else to_position)
    return fold((row.position, row.at, e.decode(row.type_name, row.data)) for row in rows)


_GONE = ("", False)
"""What is known of a row that was redacted."""


class PayloadWitness:
    """Compares every payload with the digest in its event, and every row's wire id with the request it answers.

    Args:
        log: where the payloads are.
        head: where the audited log ends; what a writer adds meanwhile is no finding.
    """

    def __init__(self, log: EventLog, head: Head) -> None:
        self._log = log
        self._head = head
        self._requests = log.request_payloads(count())
        self._redacted = Redacted()
        self._bodies = Bodies(log, self._redacted)
        self._chunks: dict[int, _Rows] = {}
        self._broken: set[int] = set()

    def told(self, position: int, event: e.AnyEvent, state: RunState) -> Iterable[Finding]:
        """Return what is wrong with the payload that an event names."""
        match event:
            case e.ResultStored():
                return self._result(position, event, state)
            case e.RequestBuilt():
                return self._request(position, event)
            case e.RequestAmended():
                return self._bodies.amended(position, event)
            case e.PayloadsRedacted():
                return self._redacted.announced(event.ranges)
            case e.BatchCollected() | e.ResultsLost():
                return self._closed(position, event.chunk)
            case _:
                return ()

    def ended(self) -> Iterable[Finding]:
        """Return what is stored of open chunks without an event, unless a writer is at work on them."""
        if self._log.head.position == self._head.position:
            for chunk in list(self._chunks):
                yield from self._closed(self._head.position, chunk)
            yield from self._redacted.ended(self._head.position)

    def _request(self, position: int, event: e.RequestBuilt) -> Sequence[Finding]:
        try:
            payload = next(self._requests)
        except CorruptLogError as problem:
            self._requests = self._log.request_payloads(count(event.ordinal + 1))  # what failed yields nothing more
            return [breach(position, f"its body cannot be read: {problem.what}", _request(event.ordinal))]
        if payload.custom_id != event.custom_id:
            what = f"the stored body is of {payload.custom_id!r}, the event of {event.custom_id!r}"
            return [breach(position, what, _request(event.ordinal))]
        return self._bodies.built(position, event, payload)

    def _result(self, position: int, event: e.ResultStored, state: RunState) -> Sequence[Finding]:
        where = f"{_request(event.ordinal)}, chunk {event.chunk}"
        if event.chunk in self._broken:
            return ()  # said once
        try:
            found = self._rows_of(event.chunk, state).take(event.ordinal)
        except CorruptLogError as problem:
            self._broken.add(event.chunk)
            self._chunks.pop(event.chunk, None)
            return [breach(position, f"this row and what follows of the chunk cannot be read: {problem}", where)]
        if found is None:
            return [breach(position, "the row is not stored", where)]
        if found is _GONE:
            self._redacted.met(event.ordinal)
            return ()
        if found[0] != event.digest:
            return [breach(position, "the stored row is not the one whose digest was recorded", where)]
        if not found[1]:
            return [breach(position, "the row's wire id is not that of the request", where)]
        return ()

    def _rows_of(self, chunk: int, state: RunState) -> _Rows:
        rows = self._chunks.get(chunk)
        if rows is None:
            nonce = nonce_of(state.ledger_id, chunk, state.chunks[chunk].submission)
            rows = self._chunks[chunk] = _Rows(self._log.result_payloads(chunk), nonce)
        return rows

    def _closed(self, position: int, chunk: int) -> Iterator[Finding]:
        rows = self._chunks.pop(chunk, None)
        if rows is None:
            return
        try:
            extra = rows.rest()
        except CorruptLogError as problem:
            yield breach(position, f"stored rows cannot be read: {problem}", f"chunk {chunk}")
            return
        if extra:
            yield breach(position, f"{extra} rows are stored that no event names", f"chunk {chunk}")


class _Rows:
    """The stored rows of one chunk, matched with its events.

    Rows come in order of ordinal; events nearly so: a collection that was interrupted leaves gaps that a later one
    fills. What was passed over is kept as its digest, not its bytes.
    """

    def __init__(self, payloads: Iterator[ResultPayload], nonce: str) -> None:
        self._payloads = payloads
        self._nonce = nonce
        self._own_beginning = own_row(nonce).match
        self._passed: dict[int, tuple[str, bool]] = {}

    def take(self, ordinal: int) -> tuple[str, bool] | None:
        """Return digest of a row and whether its wire id is right, or None where it is not stored."""
        if self._passed and (found := self._passed.pop(ordinal, None)) is not None:
            return found
        for payload in self._payloads:
            weighed = _GONE if is_redacted(payload) else (digest(payload.salt, payload.row), self._is_for(payload))
            if payload.ordinal == ordinal:
                return weighed
            self._passed[payload.ordinal] = weighed
            if payload.ordinal > ordinal:
                return None
        return None

    def rest(self) -> int:
        """Return how many rows nobody asked for."""
        return len(self._passed) + sum(1 for _ in self._payloads)

    def _is_for(self, payload: ResultPayload) -> bool:
        if own := self._own_beginning(payload.row):
            return int(own[1], 36) == payload.ordinal
        wire = row_wire_id(payload.row)
        named = parse_wire_id(wire) if wire is not None else None
        return named is not None and named.ordinal == payload.ordinal and named.nonce == self._nonce


def _request(ordinal: int) -> str:
    return f"request {ordinal}"
