"""The whole story of one item: its request, where it was sent, what came back, and what that cost.

One walk over the log finds it. Of a million events of other items only a few bytes are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from difflib import get_close_matches
from functools import reduce
from itertools import islice

import msgspec

from ledger.core import events as e
from ledger.core.answers import read_row_whole
from ledger.core.chunks import nonce_of, parse_wire_id, wire_id
from ledger.core.columns import WITHDRAWN, pairs
from ledger.core.costs import plain
from ledger.core.errors import UsageError
from ledger.core.prices import EXACT, TIER_BATCH, Pricer
from ledger.core.reuse import reuse_of
from ledger.core.state import Chunk, RunState, outcome_of
from ledger.core.units import format_instant
from ledger.ports import Recorded
from ledger.store.sqlite import SqliteLog

NAMES_COMPARED = 20_000
"""So many ids are looked at for the one that was meant; a mistyped id need not cost more than a right one."""
PENDING_OUTCOME = "pending"

_OF_CHUNKS = frozenset(
    {
        "chunk_sealed",
        "chunk_dissolved",
        "submission_released",
        "submission_aborted",
        "submission_refused",
        "submission_uncertain",
        "submission_resolved",
        "chunk_held",
        "hold_lifted",
        "batch_created",
        "batch_adopted",
        "batch_disowned",
        "twin_found",
        "twin_acknowledged",
        "results_short",
        "batch_collected",
        "results_lost",
    }
)
_OF_ITEMS = frozenset(
    {
        "request_built",
        "item_deduplicated",
        "request_rejected",
        "result_stored",
        "answer_reused",
        "request_amended",
        "finding_recorded",
    }
)
_OF_RANGES = frozenset({"requests_reopened", "payloads_redacted"})


class Happened(msgspec.Struct, frozen=True, kw_only=True):
    """An event that concerns the item; ``data`` is as it is recorded."""

    position: int
    at: str
    event: str
    data: msgspec.Raw


class Sending(msgspec.Struct, frozen=True, kw_only=True):
    """One chunk that the item was in.

    ``became`` is the outcome that its row told; without a row, what became of the chunk: ``dissolved`` (cut anew),
    ``lost``, ``missing``, or how it stands. ``stop_reason`` and ``error`` are the service's own words. ``cost_usd`` is
    None where a price is not known or there is no row yet. ``row`` is what the service sent.
    """

    chunk: int
    submission: int
    batch: str
    wire_id: str
    created_at: str
    ended_at: str
    became: str
    stop_reason: str
    error: str
    model: str
    billed: bool
    usage: msgspec.Raw | None
    cost_usd: Decimal | None
    row: msgspec.Raw | None


class ItemStory(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a ledger knows of one item.

    ``source`` and ``line`` are where it was read, ``size_bytes`` its size on the wire, ``params`` the request as it is
    sent: null where it was deleted (``redacted``), and the rows with it. ``reused_from`` is the ledger that the answer
    was taken from, if it was. ``text`` is the last answer's text; ``cost_usd`` what all of it cost, None where a price
    or the rows are not known.
    """

    ledger: str
    ledger_id: str
    simulated: bool
    custom_id: str
    ordinal: int
    outcome: str
    source: str
    line: int
    added_at: str
    repetitions: int
    priority: int
    model: str
    max_tokens: int
    size_bytes: int
    attempts: int
    reused_from: str
    redacted: bool
    cost_usd: Decimal | None
    text: str | None
    params: msgspec.Raw
    sendings: tuple[Sending, ...]
    history: tuple[Happened, ...]


def show_item(log: SqliteLog, state: RunState, custom_id: str, ledger: str) -> ItemStory:
    """Return the story of an item.

    Args:
        log: the ledger.
        state: its state.
        custom_id: the user's id, or the wire id under which the service's console shows the item.
        ledger: how the ledger is called.

    Raises:
        UsageError: there is no such item.
        CorruptLogError: a payload is not what was written.
    """
    found = _find(log, state, custom_id)
    built, history = _history(log, state, found)
    (payload,) = log.request_payloads([found])
    kind = state.classes[state.columns.class_id[found]]
    sendings = [_sending(log, state, chunk, found, payload.custom_id) for chunk in _chunks_of(state, found)]
    reuse = reuse_of(state, found)
    text = None
    if reuse is not None:
        (row,) = log.result_rows(state.columns.chunk[found], [found])
        read = read_row_whole(row.row)
        text = read.text if read is not None else None
    for sending in sendings:
        read = read_row_whole(bytes(sending.row)) if sending.row is not None else None
        text = read.text if read is not None else text
    source = _source_of(state, found)
    outcome = outcome_of(state, found)
    return ItemStory(
        ledger=ledger,
        ledger_id=state.ledger_id,
        simulated=state.origin == "simulator",
        custom_id=payload.custom_id,
        ordinal=found,
        outcome=PENDING_OUTCOME if outcome == "in_chunk" else outcome,
        source=source,
        line=built.line,
        added_at=next(step.at for step in history if step.event == "request_built"),
        repetitions=sum(step.event == "item_deduplicated" for step in history),
        priority=kind.priority,
        model=kind.model,
        max_tokens=kind.max_tokens,
        size_bytes=state.columns.size_bytes[found],
        attempts=state.columns.attempts[found],
        reused_from=reuse.path if reuse is not None else "",
        redacted=state.columns.is_redacted(found),
        cost_usd=_sum(sendings) if not state.columns.is_redacted(found) else None,
        text=text,
        params=msgspec.Raw(payload.params or b"null"),
        sendings=tuple(sendings),
        history=tuple(history),
    )


# ── which item ──────────────────────────────────────────────────────────────────────────────────────────────────


class _Named(msgspec.Struct):
    """What is needed of a request_built event to know it."""

    ordinal: int
    custom_id: str


_decode_named = msgspec.json.Decoder(_Named).decode


def _find(log: SqliteLog, state: RunState, custom_id: str) -> int:
    """Return the ordinal of an id: of several readings the one that counts."""
    marked = f'"custom_id":{msgspec.json.encode(custom_id).decode()}'
    found = [named.ordinal for row in _built(log, state) if marked in row.data for named in (_decode_named(row.data),)]
    if found:
        counting = [ordinal for ordinal in found if state.columns.status[ordinal] != WITHDRAWN]
        return (counting or found)[-1]
    wire = parse_wire_id(custom_id)
    if wire is not None and wire.ordinal < len(state.columns) and wire.nonce in _nonces(state, wire.ordinal):
        return wire.ordinal
    raise _unknown(log, state, custom_id, ledger=str(log.path))


def _built(log: SqliteLog, state: RunState) -> Iterator[Recorded]:
    left = len(state.columns)
    for row in log.read(0, state.position):
        if row.type_name == "request_built":
            yield row
            left -= 1
        if not left:
            return


def _nonces(state: RunState, ordinal: int) -> set[str]:
    return {
        nonce_of(state.ledger_id, chunk.chunk, submission)
        for chunk in _chunks_of(state, ordinal)
        for submission in range(1, chunk.submission + 1)
    }


def _unknown(log: SqliteLog, state: RunState, custom_id: str, ledger: str) -> UsageError:
    names = [_decode_named(row.data).custom_id for row in islice(_built(log, state), NAMES_COMPARED)]
    folded = custom_id.casefold()
    alike = [name for name in names if folded and folded in name.casefold()][:3]
    alike = alike or get_close_matches(custom_id, names, n=3)
    meant = f"did you mean {' or '.join(alike)}? " if alike else ""
    return UsageError(f"there is no item {custom_id!r}", where=ledger, next=f"{meant}ledger results --all names all")


def _chunks_of(state: RunState, ordinal: int) -> list[Chunk]:
    return [
        chunk for chunk in state.chunks.values() if any(start <= ordinal < end for start, end in pairs(chunk.ranges))
    ]


def _source_of(state: RunState, ordinal: int) -> str:
    before = [source for source in state.sources.values() if source.first <= ordinal]
    return before[-1].path if before else ""


# ── what happened ───────────────────────────────────────────────────────────────────────────────────────────────


def _history(log: SqliteLog, state: RunState, ordinal: int) -> tuple[e.RequestBuilt, list[Happened]]:
    chunks = {chunk.chunk for chunk in _chunks_of(state, ordinal)}
    batches = {batch for batch, chunk in state.batches.items() if chunk in chunks}
    marks = (f'"ordinal":{ordinal},', f'"ordinal":{ordinal}}}')
    built: e.RequestBuilt | None = None
    happened: list[Happened] = []
    for row in log.read(0, state.position):
        data: str | None = row.data
        if row.type_name in _OF_ITEMS:
            if not any(mark in row.data for mark in marks):  # in a text its quotes would be escaped
                continue
            event = e.decode(row.type_name, row.data)
            built = event if isinstance(event, e.RequestBuilt) else built
        elif row.type_name in _OF_CHUNKS:
            if getattr(e.decode(row.type_name, row.data), "chunk", 0) not in chunks:
                continue
        elif row.type_name in _OF_RANGES:
            ranges: list[int] = getattr(e.decode(row.type_name, row.data), "ranges", [])
            if not any(start <= ordinal < end for start, end in pairs(ranges)):
                continue
        elif row.type_name == "status_polled":
            data = _polled(row.data, batches)
        elif row.type_name in ("cancel_requested", "cancel_accepted"):
            data = row.data if getattr(e.decode(row.type_name, row.data), "batch", "") in batches else None
        else:
            continue
        if data is not None:
            raw = msgspec.Raw(data.encode())
            happened.append(Happened(position=row.position, at=format_instant(row.at), event=row.type_name, data=raw))
    assert built is not None, "a request without the event that made it"
    return built, happened


def _polled(data: str, batches: set[str]) -> str | None:
    """Return what a poll said of these batches; None where it said nothing of them."""
    if not any(batch in data for batch in batches):
        return None
    event = e.decode("status_polled", data)
    assert isinstance(event, e.StatusPolled)
    changes = tuple(seen for seen in event.changes if seen.batch in batches)
    return e.encode(msgspec.structs.replace(event, changes=changes))[1].decode() if changes else None


# ── one sending ─────────────────────────────────────────────────────────────────────────────────────────────────


def _sending(log: SqliteLog, state: RunState, chunk: Chunk, ordinal: int, custom_id: str) -> Sending:
    row = _row(log, state, chunk, ordinal)
    read = read_row_whole(row) if row is not None else None
    answer = read.answer if read is not None else None
    nonce = nonce_of(state.ledger_id, chunk.chunk, chunk.submission) if chunk.submission else ""
    error = f"{answer.error_kind}: {answer.error_message}".removesuffix(": ") if answer and answer.error_kind else ""
    return Sending(
        chunk=chunk.chunk,
        submission=chunk.submission,
        batch=chunk.batch,
        wire_id=wire_id(ordinal, nonce, custom_id, opaque=state.policy.opaque_ids) if nonce else "",
        created_at=format_instant(chunk.created_at) if chunk.created_at else "",
        ended_at=format_instant(chunk.ended_at) if chunk.ended_at else "",
        became=answer.outcome if answer is not None else _without_row(state, chunk, ordinal),
        stop_reason=answer.stop_reason if answer is not None else "",
        error=error,
        model=(answer.model if answer is not None else "") or state.classes[state.columns.class_id[ordinal]].model,
        billed=answer is not None and answer.usage is not None and answer.billed,
        usage=read.usage if read is not None else None,
        cost_usd=_cost(state, ordinal, row),
        row=msgspec.Raw(row) if row is not None else None,
    )


def _row(log: SqliteLog, state: RunState, chunk: Chunk, ordinal: int) -> bytes | None:
    """Return the row that came for an item in a chunk; None where none did."""
    if not any(state.stored.get(chunk.chunk, {}).values()):
        return None
    rows = (payload for payload in log.result_payloads(chunk.chunk) if payload.ordinal >= ordinal)
    payload = next(rows, None)
    return (payload.row or None) if payload is not None and payload.ordinal == ordinal else None


def _without_row(state: RunState, chunk: Chunk, ordinal: int) -> str:
    if state.columns.chunk[ordinal] == chunk.chunk and outcome_of(state, ordinal) in e.OUTCOMES:
        return outcome_of(state, ordinal)
    return chunk.state if chunk.status == "submitted" and chunk.state else chunk.status


def _cost(state: RunState, ordinal: int, row: bytes | None) -> Decimal | None:
    read = read_row_whole(row) if row is not None else None
    if read is None or state.prices is None:
        return None
    answer = read.answer
    if answer.usage is None or not answer.billed:
        return Decimal(0)
    model = answer.model or state.classes[state.columns.class_id[ordinal]].model
    cost = Pricer(state.prices).usd(model, answer.usage, batch=answer.tier in (TIER_BATCH, ""), geo=answer.geo)
    return plain(cost) if cost is not None else None


def _sum(sendings: list[Sending]) -> Decimal | None:
    """Return what an item's rows cost together; nothing where none came, None where a price is not known."""
    costs = [sending.cost_usd for sending in sendings if sending.row is not None]
    known = [cost for cost in costs if cost is not None]
    return plain(reduce(EXACT.add, known, Decimal(0))) if len(known) == len(costs) else None
