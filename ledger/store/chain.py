"""The hash chain: what makes one changed, removed, reordered or truncated event show.

Each row's hash is SHA-256 over the version of this framing, the ledger's id, the position, the hash before it, the
instant, the type and the stored bytes. Every part but the last has a fixed width or its length in front, so that no
two different rows are framed alike. The stored bytes are hashed as they lie in the file: nothing is serialised again.

The chain alone cannot show a tail that was cut off together with the head row; the head kept in the sidecar
(`ledger.store.lease`), or one noted elsewhere, does that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

    Streams in constant memory. A damaged row is reported once: the check goes on from the hash stored with it, so
    that the rows after it are judged by themselves. Nothing is yielded for a sound log.

    Args:
        log: the log to check.
        expected: a head noted elsewhere (the sidecar's, or one a person kept) that the log must contain.
    """
    head = log.head
    ledger_id = log.ledger_id
    last, prev, prev_known = 0, GENESIS, True
    noted = expected.hash if expected is not None and expected.position == 0 else None
    try:
        for row in log.read(0, head.position):  # what a writer adds meanwhile is for the next audit
            position, at, type_name, data, stored = row
            if position != last + 1:
                yield from _gap(last, position)
                prev_known = False  # what the missing row's hash was, nobody can say
            if prev_known and link(CHAIN_VERSION, ledger_id, position, prev, at, type_name, data.encode()) != stored:
                yield position, "the hash does not follow from the event and the one before it"
            if position == 1:
                yield from _wrong_id(row, ledger_id)
            if expected is not None and position == expected.position:
                noted = stored
            last, prev, prev_known = position, stored, True
    except CorruptLogError as problem:
        yield last + 1, str(problem)
        return
    beyond = next(iter(log.read(head.position, head.position + 1)), None)
    if beyond is not None and log.head.position == head.position:
        yield head.position + 1, f"the head says the log ends at {head.position}, and there are events after it"
    if head.position != last:
        yield last + 1, f"the head says the log ends at {head.position}, its last event is {last}"
    elif head.hash != prev:
        yield last, "the head's hash is not that of the last event"
    if expected is not None and noted != expected.hash:
        yield _disagreement(expected, last)


def _gap(last: int, position: int) -> Iterator[tuple[int, str]]:
    if position == last + 2:
        yield last + 1, "the event is missing"
    else:
        yield last + 1, f"the events {last + 1} to {position - 1} are missing"


def _wrong_id(first: Recorded, ledger_id: str) -> Iterator[tuple[int, str]]:
    try:
        event = decode(first.type_name, first.data)
    except NotALedgerError as problem:
        yield 1, str(problem)
        return
    if not isinstance(event, RunOpened):
        yield 1, f"the first event is {first.type_name}, not run_opened"
    elif event.ledger_id != ledger_id:
        yield 1, f"run_opened names the ledger {event.ledger_id}, the head {ledger_id}"


def _disagreement(expected: Head, last: int) -> tuple[int, str]:
    if last < expected.position:
        return last + 1, f"the log ends at {last}, but had reached {expected.position}: its tail is missing"
    return expected.position, "the event here is not the one whose hash was noted: the log was rewritten"
