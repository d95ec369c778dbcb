"""Another ledger, whose answers are taken: opened for reading, proven up to a position, and never written.

Every event up to that position is checked against the hash chain once. Each body and each row that is handed out is
compared with the digest in its event, so that nothing is taken that is not what the service once sent.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import tee
from typing import NamedTuple, TypeVar

import msgspec

from ledger.core import events as e
from ledger.core.answers import read_row
from ledger.core.columns import STATUS_OF_OUTCOME
from ledger.core.columns import ordinals as ordinals_in
from ledger.core.errors import CorruptLogError, UsageError
from ledger.core.state import REUSED_FROM, Reuse
from ledger.loading import load_state, proven_rows
from ledger.ports import Recorded
from ledger.store.bodyindex import BodyIndex, body_key
from ledger.store.payloads import digest
from ledger.store.sqlite import SqliteLog

_KEYS_AT_ONCE = 4096
_OK = STATUS_OF_OUTCOME["ok"]
_EventT = TypeVar("_EventT", e.RequestBuilt, e.RequestAmended, e.ResultStored, e.AnswerReused, e.PayloadsRedacted)


class _Ordinal(msgspec.Struct, gc=False):
    """What is read of an event while all of them are proven."""

    ordinal: int


_decode_ordinal = msgspec.json.Decoder(_Ordinal).decode


class Asked(NamedTuple):
    """A request that waits for an answer, and its body."""

    ordinal: int
    params: bytes


class Found(NamedTuple):
    """An answer for a request: the row as the service sent it, the event that stored it there, and where that stands.

    ``chunk``, ``submission``, ``ordinal`` and ``ledger_id`` are those under which it was asked, in its wire id.
    """

    asked: Asked
    row: bytes
    position: int
    chunk: int
    submission: int
    ordinal: int
    ledger_id: str


class OtherLedger:
    """The answers of another ledger, up to where a reuse names its head.

    Args:
        log: the ledger, open for reading.
        reuse: which ledger it must be, and up to where.

    Raises:
        UsageError: it is another ledger.
        CorruptLogError: an event is not what was written, or the log is another one than it was.
    """

    def __init__(self, log: SqliteLog, reuse: Reuse) -> None:
        self._log = log
        self._name = str(log.path)
        self._state = load_state(log, reuse.position)
        if self._state.ledger_id != reuse.ledger_id:
            raise UsageError(
                f"this is ledger {self._state.ledger_id}, not {reuse.ledger_id}, whose answers were to be taken",
                where=self._name,
            )
        self._built_at = array("Q")
        self._stored_at = array("Q", bytes(8 * len(self._state.columns)))
        self._prove(reuse)

    def _prove(self, reuse: Reuse) -> None:
        """Check every event up to the head that was noted, and remember where bodies and rows were announced."""
        last = b""
        try:
            for row in proven_rows(self._log, 0, reuse.position, self._log.read(0, reuse.position)):
                last = row.hash
                if row.type_name == "request_built":
                    self._built_at.append(row.position)
                elif row.type_name == "request_amended":
                    self._built_at[_decode_ordinal(row.data).ordinal] = row.position
                elif row.type_name in ("result_stored", "answer_reused"):
                    self._stored_at[_decode_ordinal(row.data).ordinal] = row.position
        except CorruptLogError as problem:
            raise CorruptLogError(problem.what, where=f"{self._name}, {problem.where}", why=problem.why) from problem
        if last.hex() != reuse.hash:
            raise CorruptLogError(
                "the event is not the one that was there when its answers were first to be taken",
                where=f"{self._name}, position {reuse.position}",
                why="the ledger was rewritten, or put back from an older copy",
            )

    def add_bodies(self, index: BodyIndex) -> None:
        """Add the bodies of all requests that were answered ``ok`` to an index."""
        columns = self._state.columns
        status, changed = columns.status, self._changed_since()
        ordinals, again = tee(
            ordinal
            for ordinal in range(len(status))
            if status[ordinal] == _OK and ordinal not in changed and not columns.is_redacted(ordinal)
        )
        keyed: list[tuple[int, int]] = []
        for ordinal, payload in zip(ordinals, self._log.request_payloads(again), strict=True):
            keyed.append((body_key(payload.params), ordinal))
            if len(keyed) == _KEYS_AT_ONCE:
                index.add(keyed)
                keyed = []
        index.add(keyed)

    def _changed_since(self) -> set[int]:
        """Return the requests that have another body now than they had at the head that was noted, or none."""
        changed: set[int] = set()
        for row in self._log.read(self._state.position):
            if row.type_name == "request_amended":
                changed.add(_decode_ordinal(row.data).ordinal)
            elif row.type_name == "payloads_redacted":
                changed.update(ordinals_in(self._event(row, e.PayloadsRedacted).ranges))
        return changed

    def answers(self, wanted: Sequence[tuple[Asked, int]]) -> list[Found]:
        """Return the answers for those requests whose body is the same as that of the ordinal beside it, in order.

        Raises:
            CorruptLogError: a body or a row is not the one whose digest was recorded.
        """
        theirs = self._bodies({ordinal for _, ordinal in wanted})
        same = [(asked, ordinal) for asked, ordinal in wanted if theirs[ordinal] == asked.params]
        rows = self._rows({ordinal for _, ordinal in same})
        return [rows[ordinal]._replace(asked=asked) for asked, ordinal in same]

    def _bodies(self, ordinals: Iterable[int]) -> dict[int, bytes]:
        ascending = sorted(ordinals)
        announced = self._log.rows_at([self._built_at[ordinal] for ordinal in ascending])
        bodies: dict[int, bytes] = {}
        for ordinal, payload, row in zip(ascending, self._log.request_payloads(ascending), announced, strict=True):
            event: e.RequestBuilt | e.RequestAmended
            is_first = row.type_name == "request_built"
            event = self._event(row, e.RequestBuilt) if is_first else self._event(row, e.RequestAmended)
            if digest(payload.salt, payload.params) != event.digest:
                raise self._not_recorded(f"the body of request {ordinal}", row)
            bodies[ordinal] = payload.params
        return bodies

    def _rows(self, ordinals: Iterable[int]) -> dict[int, Found]:
        chunk_of = self._state.columns.chunk
        by_place: dict[int, list[int]] = {}
        for ordinal in sorted(ordinals):
            by_place.setdefault(chunk_of[ordinal], []).append(ordinal)
        found: dict[int, Found] = {}
        for place, ascending in by_place.items():
            positions = sorted(self._stored_at[ordinal] for ordinal in ascending)
            announced = {row.position: row for row in self._log.rows_at(positions)}
            for ordinal, payload in zip(ascending, self._log.result_rows(place, ascending), strict=True):
                row = announced[self._stored_at[ordinal]]
                event: e.AnswerReused | e.ResultStored
                event = self._event(row, e.AnswerReused) if place > REUSED_FROM else self._event(row, e.ResultStored)
                answer = read_row(payload.row)
                if digest(payload.salt, payload.row) != event.digest or answer is None or answer.outcome != "ok":
                    raise self._not_recorded(f"the answer to request {ordinal}", row)
                found[ordinal] = self._found(event, row.position, payload.row)
        return found

    def _found(self, event: e.ResultStored | e.AnswerReused, position: int, row: bytes) -> Found:
        nobody = Asked(-1, b"")
        state = self._state
        if isinstance(event, e.AnswerReused):  # taken there from a third ledger: that one asked
            from_id = event.ledger_id or state.reuses[event.reuse].ledger_id
            return Found(nobody, row, position, event.chunk, event.submission, event.source_ordinal, from_id)
        submission = state.chunks[event.chunk].submission
        return Found(nobody, row, position, event.chunk, submission, event.ordinal, state.ledger_id)

    def _event(self, row: Recorded, kind: type[_EventT]) -> _EventT:
        event = e.decode(row.type_name, row.data)
        if not isinstance(event, kind):
            raise self._not_recorded("the event", row)
        return event

    def _not_recorded(self, what: str, row: Recorded) -> CorruptLogError:
        return CorruptLogError(
            f"{what} is not the one that was recorded", where=f"{self._name}, position {row.position}"
        )
