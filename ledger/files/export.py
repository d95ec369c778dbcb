"""Answers out: one JSON line an item, in the order of the input, streamed.

The log names the requests in input order; each chunk's rows are stored in that order too. So writing answers is a
merge: one walk over the log for the users' ids, and beside it one open stream of rows for every chunk that the walk is
in the middle of. Nothing grows with the number of items.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ledger.core import events as e
from ledger.core.answers import Answer, read_row_whole
from ledger.core.columns import FINAL, IN_CHUNK, PENDING, STATUS_NAMES, STATUS_OF_OUTCOME
from ledger.core.errors import CorruptLogError, DiskError, UsageError
from ledger.core.prices import TIER_BATCH, Pricer
from ledger.core.reuse import reuse_of
from ledger.core.state import RunState
from ledger.files.renaming import with_custom_id
from ledger.ports import EventLog, RequestPayload, ResultPayload

STREAMS_AT_MOST = 256
"""Chunks whose rows are open at once: each holds one unpacked block of some 200 KB. More than that interleave only
where a run has hundreds of priorities; the one that is needed last is then closed, and read again from its start."""
PENDING_OUTCOME = "pending"
SELECTABLE: tuple[str, ...] = (*e.OUTCOMES, PENDING_OUTCOME)
REDACTED = "redacted"
"""The kind of failure of an item whose bodies were deleted."""
_INVALID: e.Outcome = "invalid"
_GROUP_ITEMS = 256
_FREE = "0"


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why there is no answer.

    ``kind`` is the service's error type, the outcome, or the code of what is wrong with the line. ``line``, ``field``
    and ``source`` are only there for lines that were no valid items.
    """

    kind: str
    message: str
    field: str = ""
    line: int = 0
    source: str = ""


class ReusedFrom(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger that an answer was taken from: its id, and its file at that time."""

    ledger_id: str
    ledger: str


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """One item and what came of it: one line of ``ledger results``.

    ``outcome`` is one of the documented outcomes, or ``pending``. ``usage`` is as the service said it. ``attempts``
    counts the rows that the service returned for the item. ``cost_usd`` is what the last of them cost (a decimal
    string; all attempts are in ``ledger costs``), null where a price or the row is not known. ``reused_from`` is there
    where the answer was taken from another ledger; its usage is what was billed there. ``item`` is the source row, when
    asked for.
    """

    custom_id: str
    outcome: str
    text: str | None
    usage: dict[str, Any] | None
    model: str | None
    stop_reason: str | None
    attempts: int
    batch_id: str | None
    cost_usd: str | None
    error: Failure | None
    reused_from: ReusedFrom | msgspec.UnsetType = msgspec.UNSET
    item: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class _Item(NamedTuple):
    """A request that is to be written, with its stored row if there is one."""

    ordinal: int
    custom_id: str
    row: bytes | None


def answers(
    log: EventLog,
    state: RunState,
    *,
    outcomes: Collection[str] | None = None,
    all: bool = False,  # noqa: A002 - the name of the option
    raw: bool = False,
    join: bool = False,
) -> Iterator[bytes]:
    """Yield the answers as JSON lines without line ends, in the order of the input.

    Args:
        log: the ledger.
        state: its fold; what was stored after it is not looked at.
        outcomes: only items of these outcomes; all that are finished by default.
        all: items without an outcome too, as ``pending``, and the lines that were no valid items, at the end.
        raw: the service's own rows with the user's custom_id restored and not a byte else changed; items without a row
            are left out.
        join: add the source row as ``item``.

    Raises:
        UsageError: an outcome that does not exist, or ``raw`` together with ``join``.
        CorruptLogError: a payload is not what was written.
    """
    unknown = sorted(set(outcomes or ()) - set(SELECTABLE))
    if unknown:
        raise UsageError(f"there is no outcome {unknown[0]!r}", next=f"use one of {', '.join(SELECTABLE)}")
    if raw and join:
        raise UsageError("the service's own rows have no room for the item", next="pass --raw or --join, not both")
    return _lines(log, state, outcomes, everything=all, raw=raw, join=join)


def _lines(
    log: EventLog, state: RunState, outcomes: Collection[str] | None, *, everything: bool, raw: bool, join: bool
) -> Iterator[bytes]:
    wanted = _wanted(outcomes, everything)
    items = _items(log, state, wanted)
    if raw:
        for item in items:
            if item.row is not None:
                yield with_custom_id(item.row, item.custom_id)
        return
    write = _Writer(log, state, needs_reasons=bool(wanted[STATUS_OF_OUTCOME[_INVALID]]))
    while group := list(islice(items, _GROUP_ITEMS)):
        rows = log.request_payloads(item.ordinal for item in group) if join else iter(())
        for item in group:
            yield write.line(item, source_row(next(rows)) if join else None)
    if everything or (outcomes is not None and _INVALID in outcomes):
        yield from _rejected(log, state)


def _wanted(outcomes: Collection[str] | None, everything: bool) -> bytes:
    """Return a table: status → whether items of it are written."""
    table = bytearray(256)
    for status, name in STATUS_NAMES.items():
        if status >= FINAL:
            table[status] = outcomes is None or name in outcomes
        elif status in (PENDING, IN_CHUNK):
            table[status] = PENDING_OUTCOME in outcomes if outcomes is not None else everything
    return bytes(table)


def all_items(log: EventLog, state: RunState) -> Iterator[_Item]:
    """Yield every item in the order of the input, those without an outcome too, with its stored row if there is one."""
    return _items(log, state, _wanted(None, everything=True))


# ── items and their rows ────────────────────────────────────────────────────────────────────────────────────────


class _Named(msgspec.Struct, gc=False):
    """What is needed of a request_built event."""

    ordinal: int
    custom_id: str


_decode_named = msgspec.json.Decoder(_Named).decode


def _items(log: EventLog, state: RunState, wanted: bytes) -> Iterator[_Item]:
    columns, left = state.columns, len(state.columns)
    statuses, chunks = columns.status, columns.chunk
    streams = _Streams(log, state)
    for row in log.read(0, state.position):
        if row.type_name != "request_built":
            continue
        named = _decode_named(row.data)
        left -= 1
        status = statuses[named.ordinal]
        if wanted[status]:
            has_row = status >= FINAL and chunks[named.ordinal] and not columns.is_redacted(named.ordinal)
            yield _Item(
                named.ordinal, named.custom_id, streams.row(chunks[named.ordinal], named.ordinal) if has_row else None
            )
        if not left:
            return  # what follows are events by the million that are not needed


class _Stream:
    """The rows of one chunk, read up to ``next``; None at the end. All its ordinals are below ``end``."""

    __slots__ = ("_rows", "end", "next")

    def __init__(self, rows: Iterator[ResultPayload], end: int) -> None:
        self._rows = rows
        self.end = end
        self.next: ResultPayload | None = next(rows, None)

    def row(self, ordinal: int) -> bytes | None:
        """Return the row of an ordinal, passing over those before it, or None where there is none."""
        payload = self.next
        while payload is not None and payload.ordinal < ordinal:
            payload = next(self._rows, None)
        self.next = payload
        return payload.row if payload is not None and payload.ordinal == ordinal else None


class _Streams:
    """One stream for each chunk that ascending ordinals are in the middle of."""

    def __init__(self, log: EventLog, state: RunState) -> None:
        self._log = log
        self._state = state
        self._open: dict[int, _Stream] = {}

    def row(self, chunk: int, ordinal: int) -> bytes | None:
        """Return the stored row of a request in a chunk; ordinals ascend from call to call."""
        stream = self._open.get(chunk)
        if stream is None:
            self._make_room(ordinal)
            known = self._state.chunks.get(chunk)  # else they are rows of a reuse, from all over the input
            end = max(known.ranges[1::2]) if known is not None else len(self._state.columns)
            stream = self._open[chunk] = _Stream(self._log.result_payloads(chunk), end)
        return stream.row(ordinal)

    def _make_room(self, ordinal: int) -> None:
        """Close what is behind, and, where it is still too much, the stream that is needed last."""
        for done in [chunk for chunk, stream in self._open.items() if stream.end <= ordinal]:
            del self._open[done]
        if len(self._open) >= STREAMS_AT_MOST:
            del self._open[max(self._open, key=self._next_ordinal)]

    def _next_ordinal(self, chunk: int) -> int:
        payload = self._open[chunk].next
        return payload.ordinal if payload is not None else 1 << 62


def source_row(payload: RequestPayload) -> bytes:
    """Return the line that a request was read from, as one line: JSON allows a carriage return between tokens."""
    row = payload.prefix + payload.params + payload.suffix if payload.verbatim else payload.prefix
    return row.strip().replace(b"\r", b" ")


# ── one line ────────────────────────────────────────────────────────────────────────────────────────────────────


class _Line(msgspec.Struct, gc=False):
    """`Answered` with what is JSON already left as it is; a test holds the two together."""

    custom_id: str
    outcome: str
    text: str | None
    usage: msgspec.Raw | None
    model: str | None
    stop_reason: str | None
    attempts: int
    batch_id: str | None
    cost_usd: str | None
    error: Failure | None
    reused_from: ReusedFrom | msgspec.UnsetType = msgspec.UNSET
    item: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_encode = msgspec.json.Encoder().encode

_MESSAGES = {
    "expired": "not sent to the model within 24 hours of the batch's creation",
    "canceled": "canceled before it was sent to the model",
    "missing": "the service never returned a row for it",
    "lost": "the service no longer has the results of its batch",
    "invalid": "the service refused it",
}


class _Writer:
    """Turns items into lines."""

    def __init__(self, log: EventLog, state: RunState, *, needs_reasons: bool) -> None:
        self._state = state
        self._pricer = Pricer(state.prices) if state.prices is not None else None
        self._reasons = _refusals(log, state) if needs_reasons and state.outcomes[_INVALID] else {}

    def line(self, item: _Item, source: bytes | None) -> bytes:
        columns, ordinal = self._state.columns, item.ordinal
        status = columns.status[ordinal]
        outcome = STATUS_NAMES[status] if status >= FINAL else PENDING_OUTCOME
        chunk = self._state.chunks.get(columns.chunk[ordinal]) if status != PENDING else None
        answer, usage, text = self._read(item)
        reuse = reuse_of(self._state, ordinal)
        return _encode(
            _Line(
                custom_id=item.custom_id,
                outcome=outcome,
                text=text,
                usage=usage,
                model=(answer.model or None) if answer else None,
                stop_reason=(answer.stop_reason or None) if answer else None,
                attempts=columns.attempts[ordinal],
                batch_id=(chunk.batch or None) if chunk else None,
                cost_usd=_FREE if reuse is not None else self._cost(ordinal, outcome, answer),
                error=self._error(ordinal, outcome, answer),
                reused_from=ReusedFrom(ledger_id=reuse.ledger_id, ledger=reuse.path) if reuse else msgspec.UNSET,
                item=msgspec.Raw(source) if source else msgspec.UNSET,
            )
        )

    def _read(self, item: _Item) -> tuple[Answer | None, msgspec.Raw | None, str | None]:
        if item.row is None:
            return None, None, None
        read = read_row_whole(item.row)
        if read is None:
            raise CorruptLogError(
                "a stored row is no result row", where=f"request {item.ordinal}", next="ledger replay --audit"
            )
        return read

    def _cost(self, ordinal: int, outcome: str, answer: Answer | None) -> str | None:
        if outcome == _INVALID:
            return _FREE
        if answer is None:
            return None
        if answer.usage is None or not answer.billed:
            return _FREE
        if self._pricer is None:
            return None
        model = answer.model or self._state.classes[self._state.columns.class_id[ordinal]].model
        return self._pricer.usd_text(model, answer.usage, batch=answer.tier in (TIER_BATCH, ""), geo=answer.geo)

    def _error(self, ordinal: int, outcome: str, answer: Answer | None) -> Failure | None:
        if self._state.columns.is_redacted(ordinal):
            return Failure(kind=REDACTED, message="what was asked and answered was deleted (ledger redact)")
        if outcome == "errored" and answer is not None:
            return Failure(kind=answer.error_kind, message=answer.error_message)
        message = self._reasons.get(ordinal) or _MESSAGES.get(outcome)
        return Failure(kind=outcome, message=message) if message else None


def _refusals(log: EventLog, state: RunState) -> dict[int, str]:
    """Return why the service refused items by name: there are few of them, each cost a refused batch."""
    rows = (row for row in log.read(0, state.position) if row.type_name == "request_rejected")
    events = (e.decode(row.type_name, row.data) for row in rows)
    return {event.ordinal: event.why for event in events if isinstance(event, e.RequestRejected)}


def _rejected(log: EventLog, state: RunState) -> Iterator[bytes]:
    """Yield the lines that were no valid items, of the readings that count: see ``RunState.rejected``."""
    counting = counted_readings(state)
    if not any(state.sources[number].rejected for number in counting):
        return
    source = 0
    for row in log.read(0, state.position):
        if row.type_name == "source_opened":
            source += 1
        elif row.type_name == "item_rejected" and source in counting:
            event = e.decode(row.type_name, row.data)
            assert isinstance(event, e.ItemRejected)
            yield _encode(_rejected_line(event, state.sources[source].path))


def _rejected_line(event: e.ItemRejected, path: str) -> _Line:
    error = Failure(kind=event.code, message=event.why, field=event.field, line=event.line, source=path)
    return _Line(
        custom_id=event.custom_id,
        outcome=_INVALID,
        text=None,
        usage=None,
        model=None,
        stop_reason=None,
        attempts=0,
        batch_id=None,
        cost_usd=_FREE,
        error=error,
    )


def counted_readings(state: RunState) -> set[int]:
    """Return the completed readings whose lines count: the newest of each source, and those it continues."""
    counted: set[int] = set()
    for newest in {source.path: source for source in state.sources.values()}.values():
        number = newest.source
        while number in state.sources:
            if state.sources[number].status == "completed":
                counted.add(number)
            number = state.sources[number].continues
    return counted


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────

_BUFFER_BYTES = 1 << 20


def write_atomically(path: Path | str, lines: Iterable[bytes]) -> int:
    """Write lines to a file, whole or not at all, and return how many there were.

    They go to a file beside it, which takes its name once all of it is on the disk; a crash leaves the old file. What
    is no regular file (a pipe, ``/dev/stdout``) is written to as it is. A new file gets the mode that the umask leaves
    of 0666, an existing one keeps its own.

    Raises:
        UsageError: the directory is not there, or the path is one, or a ledger.
        DiskError: it could not be written.
    """
    target = Path(os.path.realpath(path))  # a symbolic link stays one
    if target.is_dir() or not target.parent.is_dir():
        what = "this is a directory" if target.is_dir() else "there is no such directory"
        raise UsageError(what, where=str(target if target.is_dir() else target.parent), next="name a file")
    # Told by its name and its sidecar: to open it would drop the locks that SQLite holds on it in this process.
    if target.exists() and (target.suffix == ".ledger" or target.with_name(f"{target.name}.lock").exists()):
        raise UsageError("this is a ledger, and is never written over", where=str(target), next="name another file")
    try:
        if target.exists() and not target.is_file():
            with target.open("wb") as stream:
                return _write(stream.write, lines)
        return _replace(target, lines)
    except OSError as problem:
        raise DiskError("the answers could not be written", where=str(target), why=str(problem)) from problem


def _replace(target: Path, lines: Iterable[bytes]) -> int:
    unfinished = target.with_name(f".{target.name}.{os.getpid()}.unfinished")
    mode = target.stat().st_mode & 0o7777 if target.exists() else None
    try:
        with unfinished.open("xb", buffering=_BUFFER_BYTES) as stream:
            written = _write(stream.write, lines)
            stream.flush()
            if mode is not None:
                os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        unfinished.replace(target)
    except BaseException:
        with suppress(FileNotFoundError):
            unfinished.unlink()
        raise
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return written


def _write(write: Callable[[bytes], object], lines: Iterable[bytes]) -> int:
    written = 0
    for line in lines:
        write(line + b"\n")
        written += 1
    return written
