"""What the events of intake and of results make of the requests: a part of ``evolve``."""

from __future__ import annotations

from msgspec.structs import replace

from ledger.core import events as e
from ledger.core.answers import UNKNOWN_TYPE
from ledger.core.columns import (
    ATTEMPTS_AT_MOST,
    FINAL,
    IN_CHUNK,
    OUTCOME_OF_STATUS,
    PENDING,
    STATUS_NAMES,
    STATUS_OF_OUTCOME,
    WITHDRAWN,
    OrdinalQueue,
    ordinals,
    to_ranges,
)
from ledger.core.events import AnyEvent
from ledger.core.prices import Usage
from ledger.core.state import EXAMPLES_AT_MOST, REUSED_FROM, SERVICE_TYPE, RunState, Source, illegal


def request_built(state: RunState, position: int, event: e.RequestBuilt) -> None:
    """Add a request, pending."""
    columns = state.columns
    if event.ordinal != len(columns) or event.class_id >= len(state.classes):
        illegal(position, event, f"the next ordinal is {len(columns)}, there are {len(state.classes)} classes")
    source = being_read(state, position, event)
    columns.add(event.size_bytes, event.class_id)
    state.asked += 1
    state.class_requests[event.class_id] += 1
    state.class_bytes[event.class_id] += event.size_bytes
    lane_of(state.fresh, state.classes[event.class_id].priority).push(event.ordinal, event.ordinal + 1)
    state.sources[source.source] = replace(source, built=source.built + 1)
    state.finished = None


def lane_of(lanes: dict[int, OrdinalQueue], priority: int) -> OrdinalQueue:
    """Return the queue of a priority, made when there is none."""
    lane = lanes.get(priority)
    if lane is None:
        lane = lanes[priority] = OrdinalQueue()
    return lane


def being_read(state: RunState, position: int, event: AnyEvent) -> Source:
    """Return the source that is being read."""
    source = state.sources.get(len(state.sources))
    if source is None or source.status != "reading":
        illegal(position, event, "no source is being read")
    return source


def source_event(
    state: RunState, position: int, event: e.SourceOpened | e.SourceRead | e.IntakeCompleted | e.IntakeAbandoned
) -> None:
    """Begin, go on with, or end the reading of a source."""
    if isinstance(event, e.SourceOpened):
        last = state.sources.get(len(state.sources))
        if event.source != state.next_source or (last and last.status == "reading"):
            illegal(position, event, "another source is being read")
        state.sources[event.source] = Source(
            source=event.source, path=event.path, first=len(state.columns), continues=event.continues
        )
        return
    source = being_read(state, position, event)
    match event:
        case e.SourceRead():
            if event.bytes_read < source.bytes_read:
                illegal(position, event, f"{source.bytes_read} bytes were read already")
            changed = replace(source, lines=event.lines, bytes_read=event.bytes_read, digest=event.digest)
        case e.IntakeCompleted():
            if (event.built, event.deduplicated, event.rejected) != (
                source.built,
                source.deduplicated,
                source.rejected,
            ):
                illegal(position, event, f"counted {source.built}, {source.deduplicated}, {source.rejected}")
            changed = replace(
                source, status="completed", lines=event.lines, bytes_read=event.bytes_read, digest=event.digest
            )
        case e.IntakeAbandoned():
            _withdraw(state, position, event, source)
            changed = replace(source, status="abandoned")
    state.sources[source.source] = changed


def _withdraw(state: RunState, position: int, event: e.IntakeAbandoned, source: Source) -> None:
    columns = state.columns
    if event.first != source.first or any(status != PENDING for status in columns.status[event.first :]):
        illegal(position, event, f"the reading began at request {source.first}, or some of it was sent")
    for ordinal in range(event.first, len(columns)):
        columns.status[ordinal] = WITHDRAWN
        state.class_requests[columns.class_id[ordinal]] -= 1
        state.class_bytes[columns.class_id[ordinal]] -= columns.size_bytes[ordinal]
    state.asked -= len(columns) - event.first
    for lane in state.fresh.values():
        lane.discard_from(event.first)


def result_stored(state: RunState, position: int, event: e.ResultStored) -> None:
    """Give a request its outcome, or open it again for another attempt."""
    columns, ordinal = state.columns, event.ordinal
    stored = state.stored.get(event.chunk)
    if stored is None or event.chunk not in state.by_status["ended"]:
        chunk = state.chunks.get(event.chunk)
        illegal(position, event, f"chunk {event.chunk} is {chunk.status if chunk else 'unknown'}")
    if not ordinal < len(columns) or columns.chunk[ordinal] != event.chunk or columns.status[ordinal] != IN_CHUNK:
        illegal(position, event, f"request {ordinal} is not waiting for a result of chunk {event.chunk}")
    columns.attempts[ordinal] = min(columns.attempts[ordinal] + 1, ATTEMPTS_AT_MOST)
    stored[SERVICE_TYPE[event.outcome]] += 1
    if event.usage is not None:
        _spend(state, event, event.usage)
    elif event.error_kind:
        _err(state, event)
    if event.final:
        columns.status[ordinal] = STATUS_OF_OUTCOME[event.outcome]
        state.outcomes[event.outcome] += 1
    else:
        columns.status[ordinal] = PENDING
        lane_of(state.retries, state.classes[columns.class_id[ordinal]].priority).push(ordinal, ordinal + 1)


def requests_reopened(state: RunState, position: int, event: e.RequestsReopened) -> None:
    """Let requests that had an outcome wait to be sent again."""
    columns, members = state.columns, list(ordinals(event.ranges))
    if len(members) != event.requests or not members:
        illegal(position, event, f"the ranges hold {len(members)} requests")
    for ordinal in members:
        if not ordinal < len(columns) or columns.status[ordinal] < FINAL or columns.is_redacted(ordinal):
            status = STATUS_NAMES[columns.status[ordinal]] if ordinal < len(columns) else "unknown"
            illegal(position, event, f"request {ordinal} is {status}")
    for ordinal in members:
        class_id = columns.class_id[ordinal]
        state.outcomes[OUTCOME_OF_STATUS[columns.status[ordinal]]] -= 1
        columns.status[ordinal] = PENDING
        columns.forgive(ordinal)
        if columns.chunk[ordinal] > REUSED_FROM:
            columns.chunk[ordinal] = 0
            state.reused[class_id] -= 1
        lane_of(state.retries, state.classes[class_id].priority).push(ordinal, ordinal + 1)
    state.finished = None
    # Errors are counted anew from here on: what is asked again is forgiven.
    state.released_outcomes = {outcome: count for outcome, count in state.outcomes.items() if count}


def request_amended(state: RunState, position: int, event: e.RequestAmended) -> None:
    """Give a request another body, which must not be on its way to anybody."""
    columns, ordinal = state.columns, event.ordinal
    status = columns.status[ordinal] if ordinal < len(columns) else WITHDRAWN
    waits_again = status == PENDING and columns.chunk[ordinal]
    if (status < FINAL and not waits_again) or columns.is_redacted(ordinal) or event.class_id >= len(state.classes):
        illegal(position, event, f"request {ordinal} is {STATUS_NAMES[status]}, or its class is unknown")
    before, after = columns.class_id[ordinal], event.class_id
    if waits_again and state.classes[before].priority != state.classes[after].priority:
        illegal(position, event, f"request {ordinal} waits in another lane")
    state.class_requests[before] -= 1
    state.class_bytes[before] -= columns.size_bytes[ordinal]
    state.class_requests[after] += 1
    state.class_bytes[after] += event.size_bytes
    if columns.chunk[ordinal] > REUSED_FROM and before != after:
        state.reused[before] -= 1
        state.reused[after] = state.reused.get(after, 0) + 1
    columns.class_id[ordinal] = after
    columns.size_bytes[ordinal] = event.size_bytes
    state.amended += 1


def payloads_redacted(state: RunState, position: int, event: e.PayloadsRedacted) -> None:
    """Note that nobody can read any more what these requests asked, and what was answered."""
    columns, members = state.columns, list(ordinals(event.ranges))
    if len(members) != event.requests or not members:
        illegal(position, event, f"the ranges hold {len(members)} requests")
    for ordinal in members:
        status = columns.status[ordinal] if ordinal < len(columns) else PENDING
        if status in (PENDING, IN_CHUNK) or columns.is_redacted(ordinal):
            illegal(position, event, f"request {ordinal} is {STATUS_NAMES[status]}, unknown, or redacted")
    for ordinal in members:
        columns.redact(ordinal)


def _err(state: RunState, event: e.ResultStored) -> None:
    met = state.errors.setdefault(event.error_kind, [0])
    met[0] += 1
    if len(met) <= EXAMPLES_AT_MOST:
        met.append(event.ordinal)
    if event.error_kind.startswith(UNKNOWN_TYPE):
        unmeter(state, [event.ordinal])


def unmeter(state: RunState, members: list[int]) -> None:
    """Note requests that may have been billed although nobody says what: a budget counts them at their dearest."""
    state.unmetered += to_ranges(members)


def _spend(state: RunState, event: e.ResultStored, usage: Usage) -> None:
    ordinal = event.ordinal
    if event.billed and not usage.output_tokens and not usage.prompt_tokens:
        unmeter(state, [ordinal])
    model = event.model or state.classes[state.columns.class_id[ordinal]].model
    step = state.pricer.step(model, usage) if state.pricer is not None else ""
    key = (
        event.chunk,
        state.columns.attempts[ordinal],
        model,
        event.tier,
        event.geo,
        step,
        event.outcome,
        event.billed,
    )
    sums = state.spent.get(key)
    if sums is None:
        sums = state.spent[key] = [0] * 7
    sums[0] += 1
    sums[1] += usage.input_tokens
    sums[2] += usage.output_tokens
    sums[3] += usage.cache_write_5m_tokens
    sums[4] += usage.cache_write_1h_tokens
    sums[5] += usage.cache_read_tokens
    sums[6] += usage.web_search_requests
