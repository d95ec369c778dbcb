"""The audit of answers that were taken from other ledgers: each row against the digest in its event, and whose it is.

A row is kept as the service sent it. Its wire id has the nonce of one submission of one ledger; so the audit tells,
without the other ledger, that each row was sent for the request that its event names. That the bodies were the same
only both ledgers together can show; whoever took the answer compared them byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ledger.core import events as e
from ledger.core.answers import read_row, row_wire_id
from ledger.core.chunks import WireId, nonce_of, parse_wire_id
from ledger.core.errors import CorruptLogError
from ledger.core.findings import Finding, breach
from ledger.core.reuse import place_of
from ledger.core.state import RunState
from ledger.ports import EventLog, ResultPayload
from ledger.store.payloads import digest, is_redacted


class ReusedWitness:
    """Compares the rows of every reuse with its events, which come in the same order.

    Args:
        log: where the rows are.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._rows: dict[int, Iterator[ResultPayload]] = {}
        self._nonces: dict[tuple[str, int, int], str] = {}
        self._broken: set[int] = set()

    def told(self, position: int, event: e.AnyEvent, state: RunState) -> Iterable[Finding]:
        """Return what is wrong with the row that an event names."""
        match event:
            case e.AnswerReused():
                return self._reused(position, event, state)
            case e.ReuseClosed():
                return self._closed(position, event.reuse)
            case _:
                return ()

    def ended(self) -> Iterable[Finding]:
        """Return nothing: what a process at work has added meanwhile is no finding, and closing tells of the rest."""
        return ()

    def _reused(self, position: int, event: e.AnswerReused, state: RunState) -> Iterable[Finding]:
        where = f"request {event.ordinal}, reuse {event.reuse}"
        if event.reuse in self._broken:
            return ()  # said once
        rows = self._rows.get(event.reuse)
        if rows is None:
            rows = self._rows[event.reuse] = self._log.result_payloads(place_of(event.reuse))
        try:
            payload = next(rows, None)
        except CorruptLogError as problem:
            self._broken.add(event.reuse)
            return [breach(position, f"this row and what follows of the reuse cannot be read: {problem}", where)]
        if payload is None or payload.ordinal != event.ordinal:
            self._broken.add(event.reuse)
            return [breach(position, "the row is not stored, or another one stands before it", where)]
        if is_redacted(payload):
            return ()  # that it was recorded is seen where its request's body is gone
        if digest(payload.salt, payload.row) != event.digest:
            return [breach(position, "the stored row is not the one whose digest was recorded", where)]
        answer = read_row(payload.row)
        if answer is None or answer.outcome != "ok":
            return [breach(position, "the stored row is no answer that is ok", where)]
        wire = row_wire_id(payload.row)
        if wire is None or parse_wire_id(wire) != WireId(event.source_ordinal, self._nonce(event, state)):
            return [breach(position, "the row's wire id is not that of the request it is said to answer", where)]
        return ()

    def _nonce(self, event: e.AnswerReused, state: RunState) -> str:
        key = (event.ledger_id or state.reuses[event.reuse].ledger_id, event.chunk, event.submission)
        nonce = self._nonces.get(key)
        if nonce is None:
            nonce = self._nonces[key] = nonce_of(*key)
        return nonce

    def _closed(self, position: int, reuse: int) -> Iterator[Finding]:
        rows = self._rows.pop(reuse, None)
        if rows is None:
            rows = self._log.result_payloads(place_of(reuse))
        if reuse in self._broken:
            return
        try:
            extra = sum(1 for _ in rows)
        except CorruptLogError as problem:
            yield breach(position, f"stored rows cannot be read: {problem}", f"reuse {reuse}")
            return
        if extra:
            yield breach(position, f"{extra} rows are stored that no event names", f"reuse {reuse}")
