"""The hash chain: what makes one changed, removed, reordered or truncated event show.

Each row's hash is SHA-256 over the version of this framing, the ledger's id, the position, the hash before it, the
instant, the type and the stored bytes. Every part but the last has a fixed width or its length in front, so that no
two different rows are framed alike. The stored bytes are hashed as they lie in the file: nothing is serialised again.

The chain alone cannot show a tail that was cut off together with the head row; the head kept in the sidecar
(`ledger.store.lease`), or one noted elsewhere, does that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from struct import Struct

from ledger.core.errors import CorruptLogError, IllegalEventError, NotALedgerError
from ledger.core.events import AnyEvent, RunOpened, decode, encode
from ledger.ports import EventLog, Head, Recorded

CHAIN_VERSION = 1
GENESIS = bytes(32)
"""The hash before the first event."""

_PREAMBLE = Struct(">HH")  # version, bytes of the ledger id
_ROW = Struct(">Q32sqH")  # position, previous hash, at, bytes of the type


@lru_cache(maxsize=16)
def _preamble(version: int, ledger_id: str) -> bytes:
    name = ledger_id.encode()
    return _PREAMBLE.pack(version, len(name)) + name


def link(version: int, ledger_id: str, position: int, prev: bytes, at: int, type_name: str, data: bytes) -> bytes:
    """Return the 32 bytes that bind a row to everything before it.

    Args:
        version: the version of this framing, `CHAIN_VERSION`.
        ledger_id: the id in the first event.
        position: the row's position, from 1.
        prev: the hash of the row before, `GENESIS` for the first.
        at: microseconds since 1970 UTC.
        type_name: the event's type.
        data: the stored JSON, as bytes.
    """
    kind = type_name.encode()
    row = _ROW.pack(position, prev, at, len(kind))
    return sha256(b"".join((_preamble(version, ledger_id), row, kind, data))).digest()


def chained(
    ledger_id: str, head: Head, events: Sequence[AnyEvent], at: int
) -> tuple[str, list[tuple[int, int, str, bytes, bytes]]]:
    """Return the ledger's id and the rows (position, at, type, data, hash) that continue the chain after ``head``.

    Raises:
        IllegalEventError: the first event of a log is not ``run_opened``; the chain needs its ledger id.
    """
    if head.position == 0 and events:
        first = events[0]
        if not isinstance(first, RunOpened):
            raise IllegalEventError("the first event of a log must be run_opened", where="position 1")
        ledger_id = first.ledger_id
    position, prev = head.position, head.hash
    rows = []
    for event in events:
        position += 1
        type_name, data = encode(event)
        prev = link(CHAIN_VERSION, ledger_id, position, prev, at, type_name, data)
        rows.append((position, at, type_name, data, prev))
    return ledger_id, rows


def verify_chain(log: EventLog, expected: Head | None = None) -> Iterator[tuple[int, str]]:
    """Yield (position, problem) for everything that is wrong with a log's positions, hashes and head.

    Streams in constant memory. Nothing is yielded for a sound log.

    Args:
        log: the log to check.
        expected: a head noted elsewhere (the sidecar's, or one a person kept) that the log must contain.
    """
    problems: list[tuple[int, str]] = []
    check = ChainCheck(log, expected, lambda position, problem: problems.append((position, problem)))
    with suppress(CorruptLogError):  # it is among the problems
        for _ in check.passing():
            if problems:
                yield from problems
                problems.clear()
    yield from problems


class ChainCheck:
    """Checks positions, hashes and head of a log while somebody reads it: one pass for the two of them.

    A damaged row is reported once: the check goes on from the hash stored with it, so that the rows after it are judged
    by themselves.

    Args:
        log: the log.
        expected: a head noted elsewhere that the log must contain.
        found: is told position and problem of everything that is wrong.

    Attributes:
        head: where the log ended when the check was made; what a writer adds meanwhile is for the next one.
    """

    def __init__(self, log: EventLog, expected: Head | None, found: Callable[[int, str], object]) -> None:
        self.head = log.head
        self._log = log
        self._expected = expected
        self._found = found

    def passing(self) -> Iterator[Recorded]:
        """Yield the rows of the log, from its first to the head, and judge them.

        Raises:
            CorruptLogError: a row cannot be read; it was told, too.
        """
        found, expected, ledger_id = self._found, self._expected, self._log.ledger_id
        last, prev, prev_known = 0, GENESIS, True
        noted = expected.hash if expected is not None and expected.position == 0 else None
        noted_position = expected.position if expected is not None else 0
        try:
            for row in self._log.read(0, self.head.position):
                position, at, type_name, data, stored = row
                if position != last + 1:
                    found(*_gap(last, position))
                    prev_known = False  # what the missing row's hash was, nobody can say
                if (
                    prev_known
                    and link(CHAIN_VERSION, ledger_id, position, prev, at, type_name, data.encode()) != stored
                ):
                    found(position, "the hash does not follow from the event and the one before it")
                if position == 1 and (wrong := _wrong_id(row, ledger_id)):
                    found(1, wrong)
                if position == noted_position:
                    noted = stored
                last, prev, prev_known = position, stored, True
                yield row
        except CorruptLogError as problem:
            found(last + 1, str(problem))
            raise
        self._conclude(last, prev, noted)

    def _conclude(self, last: int, prev: bytes, noted: bytes | None) -> None:
        head, expected = self.head, self._expected
        beyond = next(iter(self._log.read(head.position, head.position + 1)), None)
        if beyond is not None and self._log.head.position == head.position:
            self._found(
                head.position + 1, f"the head says the log ends at {head.position}, and there are events after it"
            )
        if head.position != last:
            self._found(last + 1, f"the head says the log ends at {head.position}, its last event is {last}")
        elif head.hash != prev:
            self._found(last, "the head's hash is not that of the last event")
        if expected is not None and noted != expected.hash:
            self._found(*_disagreement(expected, last))


def _gap(last: int, position: int) -> tuple[int, str]:
    if position == last + 2:
        return last + 1, "the event is missing"
    return last + 1, f"the events {last + 1} to {position - 1} are missing"


def _wrong_id(first: Recorded, ledger_id: str) -> str:
    try:
        event = decode(first.type_name, first.data)
    except NotALedgerError as problem:
        return str(problem)
    if not isinstance(event, RunOpened):
        return f"the first event is {first.type_name}, not run_opened"
    if event.ledger_id != ledger_id:
        return f"run_opened names the ledger {event.ledger_id}, the head {ledger_id}"
    return ""


def _disagreement(expected: Head, last: int) -> tuple[int, str]:
    if last < expected.position:
        return last + 1, f"the log ends at {last}, but had reached {expected.position}: its tail is missing"
    return expected.position, "the event here is not the one whose hash was noted: the log was rewritten"
