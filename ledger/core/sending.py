"""What costs money: which chunk is submitted now, what is sealed next, and what either waits for.

Nothing is submitted that does not fit into the queue, beside what is in doubt, and into the budget; and nothing fresh
is sealed while the cache is being primed for it, or while the verdict on a canary is owed.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Literal

from ledger.core.budget import Purse, affordable, budget_pause, budget_wait, open_purse, worth_sealing
from ledger.core.canary import canary_members, canary_wanted, verdict_owed
from ledger.core.chunks import MAX_BYTES, MAX_REQUESTS, cut
from ledger.core.columns import OrdinalQueue, to_ranges
from ledger.core.commands import Record, Seal, SealChosen, Submit
from ledger.core.planning import Plan, Waiting, backoff_us, is_ready
from ledger.core.priming import primers_due, priming_under_way, waited_until
from ledger.core.state import Chunk, RunState

UPLOADS_AT_ONCE = 2
QUEUE_PATIENCE_US = 300_000_000
"""After a refusal for a full queue: five minutes, or the end of one of our batches."""
SMALLEST_SHRUNK_CHUNK = 1_000


def submit(state: RunState, now: int, plan: Plan) -> None:
    """Plan what is sealed and what is submitted now, and what either waits for."""
    if state.pauses:
        return
    sealed = sorted(
        (chunk for chunk in state.chunks_in("sealed") if _submittable(chunk)),
        key=lambda chunk: (-chunk.priority, chunk.chunk),
    )
    uploads = len(state.chunks_in("prepared", "released"))
    queued = state.in_queue
    room = state.policy.queue_requests - queued
    blocked = _queue_blocked(state, now, plan)
    in_doubt = sizes_in_doubt(state) if sealed else set()
    purse = open_purse(state) if sealed or state.pending else None  # most of the time there is nothing to send
    waiting_sealed = 0
    for chunk in sealed:
        if uploads >= UPLOADS_AT_ONCE:
            break
        alone = not queued and not any(isinstance(command, Submit) for command in plan.commands)
        fits = chunk.requests <= room or alone
        ready = is_ready(state, now, plan, "submit") and _chunk_ready(state, now, plan, chunk)
        if chunk.requests in in_doubt:
            continue  # it waits for one other chunk, which may be held: that must not keep the rest from being sealed
        if blocked or not fits or not ready:
            waiting_sealed += 1
            continue
        if purse is not None and not purse.take(chunk):
            _wait_for_money(state, plan, purse, purse.chunk_usd(chunk), waiting_sealed)
            return  # what is smaller and comes later must not take what this one waits for
        plan.commands.append(Submit(chunk.chunk))
        in_doubt.add(chunk.requests)
        uploads += 1
        room -= chunk.requests
    if waiting_sealed < UPLOADS_AT_ONCE and uploads < UPLOADS_AT_ONCE and not blocked and room > 0:
        if state.sources and state.sources[len(state.sources)].status == "reading":
            # Bad lines may still withdraw what was read so far: everything is checked before anything is spent.
            path = state.sources[len(state.sources)].path
            plan.waiting.append(Waiting(f"{path} was not read to its end: ledger run {path} reads on"))
        else:
            _seal(state, now, room, plan, purse)


def _wait_for_money(
    state: RunState, plan: Plan, purse: Purse, next_usd: Decimal | None, waiting_sealed: int = 0
) -> None:
    """Wait while something is on its way whose results may free what the next batch needs; else pause the run."""
    on_its_way = state.chunks_in("prepared", "released", "uncertain", "submitted", "ended")
    unread = any(not twin.proven and batch not in state.inspected for batch, twin in state.twins.items())
    sending = waiting_sealed or any(isinstance(command, Submit) for command in plan.commands)
    if sending or unread or any(chunk.hold is None for chunk in on_its_way):
        plan.waiting.append(Waiting(budget_wait(purse, next_usd)))
    else:
        plan.commands.append(Record((budget_pause(purse, next_usd),)))


def sizes_in_doubt(state: RunState) -> set[int]:
    """Return the sizes of the chunks whose batch, if there is one, only its size could tell from another's."""
    sizes = {chunk.requests for chunk in state.chunks_in("submitted", "ended") if not chunk.proven}
    sizes.update(chunk.requests for chunk in state.chunks_in("prepared", "released", "uncertain"))
    return sizes


def may_begin(state: RunState, chunk: int) -> bool:
    """Return whether a submission that was decided on may still begin.

    No pause came between, no chunk of its size, and none that has taken what was left of the budget.

    Deciding knows the chunks whose submission has begun, not those whose first call is still under way.
    """
    one = state.chunks[chunk]
    return not state.pauses and one.requests not in sizes_in_doubt(state) and affordable(state, one)


def _submittable(chunk: Chunk) -> bool:
    return chunk.hold is None and (
        chunk.refusal is None or chunk.refusal.reaction in ("wait", "wait_for_queue", "pause", "stop")
    )


def _chunk_ready(state: RunState, now: int, plan: Plan, chunk: Chunk) -> bool:
    if not chunk.failures or (chunk.refusal and chunk.refusal.reaction in ("wait_for_queue", "pause", "stop")):
        return True
    due = chunk.failed_at + backoff_us(state, f"chunk {chunk.chunk}", chunk.failures, chunk.retry_after_us)
    if now >= due or now < chunk.failed_at:
        return True
    detail = chunk.refusal.message or chunk.refusal.kind if chunk.refusal else "the connection failed"
    plan.wait(due, f"chunk {chunk.chunk} is sent again ({detail})")
    return False


def _queue_blocked(state: RunState, now: int, plan: Plan) -> bool:
    if not state.queue_full_at or state.ended_batches > state.queue_full_ended:
        return False
    due = state.queue_full_at + QUEUE_PATIENCE_US
    if now >= due or now < state.queue_full_at:
        return False
    plan.wait(due, "the service's queue is full: until one of our batches ends")
    return True


def _seal(state: RunState, now: int, room: int, plan: Plan, purse: Purse | None) -> None:
    policy = state.policy
    shrink = min(state.expired_batches, 4)  # batches that expire are batches too large for the load of the day
    max_requests = min(policy.chunk_requests, MAX_REQUESTS, policy.queue_requests)
    max_requests = max(min(SMALLEST_SHRUNK_CHUNK, max_requests), max_requests >> shrink)
    max_bytes = min(policy.chunk_bytes, MAX_BYTES)
    if purse is not None:
        purse.reserve(chunk for chunk in state.chunks_in("sealed") if chunk.hold is None and _is_not_in(plan, chunk))
    lanes = _lanes(state)
    if _rest_waits(state, now, plan):
        lanes = [lane for lane in lanes if lane[1]]  # what is asked again belongs to what went first
    else:
        wants_canary = canary_wanted(state)
        sealed_next = policy.queue_requests if wants_canary else max_requests  # a canary takes from all over the input
        primers = primers_due(state, now, sealed_next, policy.queue_requests, max_bytes)
        if primers:
            _seal_primers(state, primers[: min(max_requests, room)], plan, purse)
            return
        if wants_canary:
            _seal_canary(state, min(policy.canary_requests, max_requests, room), max_bytes, plan, purse)
            return
    for priority, retry in lanes:
        queue = (state.retries if retry else state.fresh)[priority]
        if min(queue.size, max_requests) > room and state.in_queue:
            return
        affordable_requests = max_requests
        if purse is not None:
            affordable_requests = _affordable(state, plan, purse, (priority, retry), max_requests, max_bytes)
        if affordable_requests:
            plan.commands.append(
                Seal(
                    priority=priority,
                    retry=retry,
                    max_requests=affordable_requests,
                    max_bytes=max_bytes,
                    avoid=frozenset(chunk.requests for chunk in state.live_chunks()),
                )
            )
        return


def _rest_waits(state: RunState, now: int, plan: Plan) -> bool:
    """Return whether nothing fresh may be sealed before what went first came back; plan until when at the latest."""
    if verdict_owed(state):
        if due := canary_due(state):
            plan.wait(max(due, now), "the first batch is judged before the rest is sent")
        return True
    priming = priming_under_way(state, now, sizes_in_doubt(state)) if state.warmth else []
    for chunk in priming:
        if due := waited_until(state, chunk):
            plan.wait(due, "what many requests share is put into the cache before they are sent")
    return bool(priming)


def _is_not_in(plan: Plan, chunk: Chunk) -> bool:
    """Return whether a sealed chunk is not among what this decision submits, which has taken its money already."""
    return not any(isinstance(command, Submit) and command.chunk == chunk.chunk for command in plan.commands)


def _affordable(
    state: RunState, plan: Plan, purse: Purse, lane: tuple[int, bool], max_requests: int, max_bytes: int
) -> int:
    """Return how many requests of a lane may be sealed; 0 where the run waits, or pauses, for its budget."""
    priority, retry = lane
    queue = (state.retries if retry else state.fresh)[priority]
    next_usd = purse.front_usd(
        (lane, queue.size, state.last_chunk, max_requests, max_bytes),
        lambda: cut(state.columns, queue, max_requests, max_bytes, frozenset()).ranges,
    )
    if next_usd is not None and next_usd <= purse.room_usd:
        return max_requests
    if any(chunk.hold is None for chunk in state.live_chunks()):
        _wait_for_money(state, plan, purse, next_usd, waiting_sealed=1)
        return 0
    fitting = purse.fitting(_front(queue), max_requests)
    if worth_sealing(queue, max_requests, fitting):
        return fitting
    _wait_for_money(state, plan, purse, next_usd)
    return 0


def _front(queue: OrdinalQueue) -> Iterator[int]:
    return (ordinal for start, end in queue for ordinal in range(start, end))


def _seal_canary(state: RunState, requests: int, max_bytes: int, plan: Plan, purse: Purse | None) -> None:
    """Seal a canary of as many requests as the budget has room for, or pause where it has room for none."""
    members = canary_members(state, requests, max_bytes)
    if purse is not None:
        fitting = purse.fitting(members, len(members))
        if fitting < len(members):
            members = canary_members(state, fitting, max_bytes) if fitting else []
            members = members[: purse.fitting(members, len(members))]
        if not members:
            _wait_for_money(
                state, plan, purse, purse.front_usd("canary", lambda: to_ranges([next(_fresh_front(state))]))
            )
            return
    plan.commands.append(_chosen(state, members, "canary"))


def _seal_primers(state: RunState, members: list[int], plan: Plan, purse: Purse | None) -> None:
    """Seal as many primers as the budget has room for, or wait, or pause, where it has room for none."""
    if purse is not None:
        first = members[0]
        members = members[: purse.fitting(members, len(members))]
        if not members:
            _wait_for_money(state, plan, purse, purse.front_usd(("priming", first), lambda: [first, first + 1]))
            return
    plan.commands.append(_chosen(state, sorted(members), "priming"))


def _chosen(state: RunState, members: list[int], cause: Literal["canary", "priming"]) -> SealChosen:
    classes = state.columns.class_id
    return SealChosen(tuple(members), max(state.classes[classes[ordinal]].priority for ordinal in members), cause)


def _fresh_front(state: RunState) -> Iterator[int]:
    return (ordinal for queue in state.fresh.values() for ordinal in _front(queue))


def _lanes(state: RunState) -> list[tuple[int, bool]]:
    """Return the lanes that hold something: higher priority first, fresh requests before repeated ones."""
    lanes = [(priority, False) for priority, queue in state.fresh.items() if queue.size]
    lanes += [(priority, True) for priority, queue in state.retries.items() if queue.size]
    return sorted(lanes, key=lambda lane: (-lane[0], lane[1]))


def canary_due(state: RunState) -> int:
    """Return until when, by the writer's clock, a canary is waited for; 0 while it was not sent yet."""
    sent_at = state.chunks[state.canary_chunk].sent_at
    return sent_at + state.policy.canary_wait_us if sent_at else 0
