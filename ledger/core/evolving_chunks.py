"""What events make of the chunks and their batches: a part of ``evolve``. ``TRANSITIONS`` is the whole of it."""

from __future__ import annotations

from typing import assert_never

from msgspec.structs import replace

from ledger.core import events as e
from ledger.core.columns import (
    IN_CHUNK,
    PENDING,
    STATUS_NAMES,
    STATUS_OF_OUTCOME,
    ordinals,
    to_ranges,
)
from ledger.core.events import AnyEvent
from ledger.core.evolving_requests import lane_of, unmeter
from ledger.core.state import SERVICE_TYPE, TERMINAL, TRANSITIONS, Chunk, ChunkStatus, RunState, Warmth, illegal

_ANSWERED = frozenset(STATUS_OF_OUTCOME[outcome] for outcome, kind in SERVICE_TYPE.items() if kind == "succeeded")


def put(state: RunState, chunk: Chunk) -> None:
    """Keep a chunk as it is now, under its status."""
    before = state.chunks.get(chunk.chunk)
    if before is not None and before.status != chunk.status:
        del state.by_status[before.status][chunk.chunk]
    state.by_status[chunk.status][chunk.chunk] = state.chunks[chunk.chunk] = chunk


def live(state: RunState, position: int, event: AnyEvent, number: int) -> Chunk:
    """Return a chunk whose life is not over."""
    chunk = state.chunks.get(number)
    if chunk is None or chunk.status in TERMINAL:
        illegal(position, event, f"chunk {number} is {chunk.status if chunk else 'unknown'}")
    return chunk


def in_status(state: RunState, position: int, event: AnyEvent, number: int, *statuses: ChunkStatus) -> Chunk:
    """Return a chunk that has one of some statuses."""
    chunk = live(state, position, event, number)
    if chunk.status not in statuses:
        illegal(position, event, f"chunk {number} is {chunk.status}")
    return chunk


def _step(state: RunState, position: int, event: AnyEvent, number: int) -> tuple[Chunk, ChunkStatus]:
    """Return the chunk and the status that the transition table leads it to."""
    chunk = live(state, position, event, number)
    after = TRANSITIONS[chunk.status].get(type(event))
    if after is None:
        illegal(position, event, f"chunk {number} is {chunk.status}")
    return chunk, after


def chunk_sealed(state: RunState, position: int, event: e.ChunkSealed) -> None:
    """Take the members out of their queues."""
    if event.cause == "canary" and state.canary_chunk:
        illegal(position, event, "something else was sealed first")
    recovered = event.cause == "recovered"  # chunks whose events were lost leave gaps before those that were found
    if event.chunk != state.next_chunk and not (recovered and event.chunk > state.next_chunk):
        illegal(position, event, f"the next chunk is {state.next_chunk}")
    columns = state.columns
    members = list(ordinals(event.ranges))
    if len(members) != event.requests or not members:
        illegal(position, event, f"the ranges hold {len(members)} requests")
    for ordinal in members:
        if ordinal >= len(columns) or columns.status[ordinal] != PENDING:
            status = STATUS_NAMES[columns.status[ordinal]] if ordinal < len(columns) else "unknown"
            illegal(position, event, f"request {ordinal} is {status}")
    if recovered or event.cause in ("canary", "priming"):  # these may be from all over the input, and of any priority
        chosen = set(members)
        for lane in (*state.fresh.values(), *(state.retries.values() if recovered else ())):
            lane.remove(chosen)
    else:
        try:
            lane_of(state.fresh if event.cause == "fresh" else state.retries, event.priority).take(event.ranges)
        except ValueError as problem:
            illegal(position, event, str(problem))
    for ordinal in members:
        columns.status[ordinal] = IN_CHUNK
        columns.chunk[ordinal] = event.chunk
    state.last_chunk = event.chunk
    if not state.canary_chunk and event.cause in ("canary", "fresh", "recovered"):
        state.canary_chunk = event.chunk if event.cause == "canary" else -1
    if event.cause == "priming" or state.warmth:
        _note_primings(state, event, members)
    state.stored[event.chunk] = {"succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    state.finished = None
    put(
        state,
        Chunk(
            chunk=event.chunk,
            ranges=tuple(event.ranges),
            requests=event.requests,
            size_bytes=event.size_bytes,
            priority=event.priority,
            cause=event.cause,
        ),
    )


def _note_primings(state: RunState, event: e.ChunkSealed, members: list[int]) -> None:
    """Count the primings of each prefix; anything else that is sealed of it lets them be counted anew."""
    for prefix in _prefixes(state, members):
        known = state.warmth.get(prefix)
        if event.cause == "priming":
            known = known or Warmth()
            state.warmth[prefix] = replace(known, primings=known.primings + 1)
        elif known is not None and event.cause in ("fresh", "canary"):
            state.warmth[prefix] = replace(known, primings=0)


def _prefixes(state: RunState, members: list[int]) -> list[str]:
    """Return the marked prefixes that some requests share, each once."""
    class_id = state.columns.class_id
    numbers = dict.fromkeys(class_id[ordinal] for ordinal in members)
    return [prefix for prefix in dict.fromkeys(state.classes[number].prefix for number in numbers) if prefix]


def _warm(state: RunState, chunk: Chunk) -> None:
    """Note that the prompts of a batch were processed by when it ended, as far as they were answered."""
    answered = [o for o in ordinals(chunk.ranges) if state.columns.status[o] in _ANSWERED]
    for prefix in _prefixes(state, answered):
        known = state.warmth.get(prefix)
        if known is not None and chunk.ended_at > known.used_at:
            state.warmth[prefix] = replace(known, used_at=chunk.ended_at)


def request_rejected(state: RunState, position: int, event: e.RequestRejected) -> None:
    """A 400 named it: its outcome is ``invalid``."""
    in_status(state, position, event, event.chunk, "sealed")
    columns = state.columns
    if not event.ordinal < len(columns) or columns.chunk[event.ordinal] != event.chunk:
        illegal(position, event, f"request {event.ordinal} is not in chunk {event.chunk}")
    if columns.status[event.ordinal] != IN_CHUNK:
        illegal(position, event, f"request {event.ordinal} is {STATUS_NAMES[columns.status[event.ordinal]]}")
    columns.status[event.ordinal] = STATUS_OF_OUTCOME["invalid"]
    state.outcomes["invalid"] += 1


def forget_refusals(state: RunState, reason: str) -> None:
    """Let what was refused for a reason that is lifted now be sent again; the order of events decides, no clock."""
    reaction = {"key": "stop", "spend": "pause"}.get(reason)
    for chunk in state.chunks_in("sealed"):
        if chunk.refusal is not None and chunk.refusal.reaction == reaction:
            put(state, replace(chunk, refusal=None, failures=0))


def chunk_dissolved(state: RunState, position: int, event: e.ChunkDissolved) -> None:
    """Its requests stand first in their lane again; the events that seal them otherwise follow in the same commit."""
    chunk, after = _step(state, position, event, event.chunk)
    columns = state.columns
    back = [o for o in ordinals(chunk.ranges) if columns.status[o] == IN_CHUNK and columns.chunk[o] == chunk.chunk]
    for ordinal in back:
        columns.status[ordinal] = PENDING
    lane_of(state.retries, chunk.priority).push_front(tuple(to_ranges(back)))
    put(state, replace(chunk, status=after))


def submission_event(
    state: RunState,
    position: int,
    at: int,
    event: e.SubmissionPrepared
    | e.SubmissionAborted
    | e.SubmissionReleased
    | e.SubmissionRefused
    | e.SubmissionUncertain
    | e.SubmissionResolved,
) -> None:
    """Move a chunk along its submission, as ``TRANSITIONS`` says."""
    chunk, after = _step(state, position, event, event.chunk)
    expected = chunk.submission + 1 if isinstance(event, e.SubmissionPrepared) else chunk.submission
    if event.submission != expected:
        illegal(position, event, f"chunk {chunk.chunk} is at submission {chunk.submission}")
    match event:
        case e.SubmissionPrepared():
            if (event.requests, event.size_bytes) != (chunk.requests, chunk.size_bytes):
                illegal(position, event, f"the chunk was sealed with {chunk.requests} in {chunk.size_bytes} bytes")
            changed = replace(
                chunk,
                submission=event.submission,
                epoch=state.epoch,
                prepared=event,
                refusal=None,
                sent_at=at,
                uncertain_at=0,
                settle_from=0,
                settled_at=0,
                complete_lists=0,
                seen_at=0,
                candidates=(),
            )
        case e.SubmissionReleased():
            changed = chunk
        case e.SubmissionAborted():
            changed = replace(chunk, failures=chunk.failures + 1, failed_at=at, retry_after_us=0)
        case e.SubmissionRefused():
            if event.reaction == "wait_for_queue":
                state.queue_full_at, state.queue_full_ended = at, state.ended_batches
            changed = replace(
                chunk,
                refusal=event,
                failures=chunk.failures + 1,
                failed_at=at,
                retry_after_us=event.retry_after_us,
            )
        case e.SubmissionUncertain():
            changed = replace(chunk, uncertain_at=position)
        case e.SubmissionResolved():
            absent = (*chunk.presumed_absent, chunk.prepared) if chunk.prepared else chunk.presumed_absent
            changed = replace(chunk, presumed_absent=absent, hold=None)
        case _:
            assert_never(event)
    state.failures.pop("submit", None)
    put(state, replace(changed, status=after))


def claim_event(
    state: RunState, position: int, at: int, event: e.BatchCreated | e.BatchAdopted | e.BatchDisowned
) -> None:
    """Tie a batch to a chunk, or untie it."""
    chunk, after = _step(state, position, event, event.chunk)
    if isinstance(event, e.BatchDisowned):
        if chunk.batch != event.batch or any(state.stored[chunk.chunk].values()):
            illegal(position, event, f"chunk {chunk.chunk} has batch {chunk.batch}, or rows of it are stored")
        del state.batches[event.batch]
        disowned = (*chunk.disowned, event.batch)
        unclaimed = replace(chunk, batch="", state="", counts=None, proven=False, disowned=disowned)
        changed = searched_anew(unclaimed, position)  # lists from before the adoption prove nothing
    else:
        if event.batch in state.batches:
            illegal(position, event, f"batch {event.batch} belongs to chunk {state.batches[event.batch]}")
        if isinstance(event, e.BatchAdopted) and chunk.status == "sealed" and event.by != "recovery":
            illegal(position, event, f"chunk {chunk.chunk} has no submission in doubt")
        state.batches[event.batch] = chunk.chunk
        state.twins.pop(event.batch, None)
        changed = replace(
            chunk,
            batch=event.batch,
            state="in_progress",
            created_at=event.created_at,
            expires_at=event.expires_at,
            submission=event.submission,
            proven=isinstance(event, e.BatchCreated) or event.proven,
            sent_at=chunk.sent_at or at,
            failures=0,
            hold=None,
            candidates=(),
            settle_from=0,
            complete_lists=0,
        )
    put(state, replace(changed, status=after))


def searched_anew(chunk: Chunk, position: int) -> Chunk:
    """Return an uncertain chunk whose search begins here: no list from before counts."""
    return replace(
        chunk, uncertain_at=position, settle_from=0, settled_at=0, complete_lists=0, seen_at=0, candidates=()
    )


def batches_listed(state: RunState, position: int, event: e.BatchesListed) -> None:
    """A list counts for a submission when it was asked for after the uncertainty began; the first starts its clock."""
    state.server_date = max(state.server_date, event.server_date)
    state.listed_position = position
    state.failures.pop("look", None)
    for chunk in state.chunks_in("uncertain"):
        if event.asked_at < chunk.uncertain_at:
            continue
        clock = state.epoch if event.undated else 0
        if chunk.settle_from and chunk.settle_clock != clock:  # no time can be told between two clocks
            if event.undated and not chunk.settle_clock:
                # The service's clock, once seen, is kept to: where only some answers bear a date, to begin anew with
                # each change would be to wait for ever.
                put(state, replace(chunk, seen_at=position, candidates=event.candidates))
                continue
            chunk = replace(chunk, settle_from=0, settled_at=0, complete_lists=0)
        put(
            state,
            replace(
                chunk,
                settle_from=chunk.settle_from or event.server_date,
                settled_at=max(chunk.settled_at, event.server_date) if event.complete else chunk.settled_at,
                settle_clock=clock,
                complete_lists=chunk.complete_lists + event.complete,
                seen_at=position,
                candidates=event.candidates,
            ),
        )


def status_polled(state: RunState, position: int, at: int, event: e.StatusPolled) -> None:
    """Note what the service said of its batches."""
    for seen in event.changes:
        if seen.batch not in state.batches:
            illegal(position, event, f"batch {seen.batch} is not of this ledger")
        if seen.status == "ended" and seen.counts is None:
            illegal(position, event, f"batch {seen.batch} ended without counts")
    state.polled_at, state.server_date = at, max(state.server_date, event.server_date)
    state.failures.pop("look", None)
    for seen in event.changes:
        chunk = state.chunks[state.batches[seen.batch]]
        if chunk.status != "submitted":
            continue
        if seen.status == "ended" and seen.counts is not None:
            state.ended_batches += 1
            if seen.counts.expired:
                state.expired_batches += 1
            chunk = replace(chunk, counts=seen.counts, ended_at=seen.ended_at, status="ended")
        put(state, replace(chunk, state=seen.status))


def batch_collected(state: RunState, position: int, event: e.BatchCollected) -> None:
    """End a chunk all of whose rows are accounted for."""
    chunk, after = _step(state, position, event, event.chunk)
    rows = sum(state.stored[chunk.chunk].values())
    if chunk.batch != event.batch or rows != event.rows or rows + len(event.missing) != chunk.requests:
        illegal(position, event, f"{rows} rows are stored of {chunk.requests} in batch {chunk.batch}")
    columns = state.columns
    for ordinal in event.missing:
        if not ordinal < len(columns) or columns.chunk[ordinal] != chunk.chunk or columns.status[ordinal] != IN_CHUNK:
            illegal(position, event, f"request {ordinal} is not missing")
    for ordinal in event.missing:
        columns.status[ordinal] = STATUS_OF_OUTCOME["missing"]
        state.outcomes["missing"] += 1
    unmeter(state, list(event.missing))
    if state.warmth:
        _warm(state, chunk)
    state.failures.pop(f"collect:{chunk.chunk}", None)
    state.collected_position = position
    put(state, replace(chunk, status=after, proven=True))


def batch_deleted(state: RunState, position: int, event: e.BatchDeleted) -> None:
    """Note that the service keeps nothing more of a batch, all of which is stored."""
    twin = state.acknowledged.get(event.batch) or state.twins.get(event.batch)
    chunk = state.chunks.get(twin.chunk if twin is not None and twin.proven else state.batches.get(event.batch, 0))
    if chunk is None or chunk.status not in TERMINAL or event.batch in state.deleted:
        illegal(position, event, f"batch {event.batch} is not collected, or was deleted before")
    state.deleted.append(event.batch)


def results_lost(state: RunState, position: int, event: e.ResultsLost) -> None:
    """End a chunk whose results cannot be had any more."""
    chunk, after = _step(state, position, event, event.chunk)
    columns = state.columns
    lost = [o for o in ordinals(chunk.ranges) if columns.chunk[o] == chunk.chunk and columns.status[o] == IN_CHUNK]
    for ordinal in lost:
        columns.status[ordinal] = STATUS_OF_OUTCOME["lost"]
    state.outcomes["lost"] += len(lost)
    unmeter(state, lost)
    put(state, replace(chunk, status=after))
