"""What to do next: ``decide(state, now) → Decision``, pure.

The order of the questions is the order of the protocol: first what a dead process left behind, then what is in doubt,
then what the service refused, then what can be had (results), then what must be asked (statuses), and only then what
costs money. Nothing is remembered between calls; what has been started and not yet answered is the runner's to
know (a command is not started while its key is at work).
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from hashlib import sha256

import msgspec

from ledger.core import events as e
from ledger.core.budget import Purse, affordable, budget_pause, budget_wait, open_purse, worth_sealing
from ledger.core.canary import breaker_pause, canary_members, canary_verdict, canary_wanted, verdict_owed
from ledger.core.chunks import MAX_BYTES, MAX_REQUESTS, cut
from ledger.core.columns import OrdinalQueue, to_ranges
from ledger.core.commands import Cancel, Collect, Command, Inspect, Look, Record, Seal, SealCanary, Split, Submit
from ledger.core.reconcile import OVERDUE_PATIENCE_US, Absent, Adopt, Hold, Wait, horizon, judge, to_inspect
from ledger.core.state import Chunk, RunState, exit_code_when_finished
from ledger.core.units import MICROSECONDS_PER_SECOND, format_duration

UPLOADS_AT_ONCE = 2
DOWNLOADS_AT_ONCE = 2
QUEUE_PATIENCE_US = 300_000_000
"""After a refusal for a full queue: five minutes, or the end of one of our batches."""
BACKOFF_CAP_US = 60_000_000
SMALLEST_SHRUNK_CHUNK = 1_000
SPLITS_AT_MOST = 200
"""Refusals that name no request halve a chunk; a run that needs more halvings than this needs a person."""


class Waiting(msgspec.Struct, frozen=True):
    """What the run waits for, in words, and until when on the writer's clock (0: it cannot be said)."""

    why: str
    until: int = 0


class Decision(msgspec.Struct, frozen=True):
    """Commands to start now, when to ask again at the latest (0: when something happens), and what is waited for.

    ``exit_code`` is None while the run goes on; else it is over (0, 1) or stuck until a person acts (3, 6).
    """

    commands: tuple[Command, ...]
    wake_at: int = 0
    waiting: tuple[Waiting, ...] = ()
    exit_code: int | None = None


class _Plan:
    """A decision in the making."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.wakes: list[int] = []
        self.waiting: list[Waiting] = []

    def wait(self, until: int, why: str = "") -> None:
        self.wakes.append(until)
        if why:
            self.waiting.append(Waiting(why, until))

    def decision(self, exit_code: int | None = None) -> Decision:
        return Decision(tuple(self.commands), min(self.wakes, default=0), tuple(self.waiting), exit_code)


def decide(state: RunState, now: int) -> Decision:
    """Return what to do next, given all that is known and the time."""
    conclusions = tuple(_conclusions(state, now))
    if conclusions:
        return Decision((Record(conclusions),))
    plan = _Plan()
    if state.pauses.keys() & {"key", "workspace"}:  # nothing that is asked now could be believed
        return plan.decision(_stuck(state))
    _cancel(state, now, plan)
    _split(state, plan)
    _collect(state, now, plan)
    _look(state, now, plan)
    _inspect(state, now, plan)
    _submit(state, now, plan)
    if plan.commands:
        return plan.decision()
    if not state.unfinished and not any(True for _ in state.live_chunks()):
        return plan.decision() if _last_scan_due(state) else _finish(state)
    at_work = [chunk for chunk in state.chunks_in("prepared", "released", "submitted") if chunk.hold is None]
    at_work += _in_doubt(state)
    if not at_work and not plan.wakes:  # what has ended and is held waits for a person, like every other hold
        return plan.decision(_stuck(state))
    return plan.decision()


def backoff_us(state: RunState, key: str, count: int, retry_after_us: int) -> int:
    """Return how long to wait after ``count`` failures in a row: doubling, capped, jittered, at least what was asked.

    The jitter is drawn from a hash, so that replaying decides the same.
    """
    base = min(1_000_000, max(state.policy.poll_us, 1))
    delay = min(base << min(count - 1, 16), BACKOFF_CAP_US)
    draw = sha256(f"{state.ledger_id}/{key}/{count}".encode()).digest()[0]
    return max(retry_after_us, delay * (768 + draw) // 1024)


def _ready(state: RunState, now: int, plan: _Plan, key: str) -> bool:
    """Return whether a command's back-off is over; if not, plan to wake when it is."""
    failure = state.failures.get(key)
    if failure is None:
        return True
    due = failure.at + backoff_us(state, key, failure.count, failure.retry_after_us)
    if now >= due or now < failure.at:  # a clock set back must not stretch a wait
        return True
    plan.wait(due, f"{key} failed ({failure.detail or failure.status}); trying again")
    return False


# ── conclusions: events that follow from the state alone ────────────────────────────────────────────────────────


def _conclusions(state: RunState, now: int) -> Iterator[e.AnyEvent]:
    for chunk in state.chunks_in("prepared"):
        if chunk.epoch != state.epoch:
            yield e.SubmissionAborted(
                chunk=chunk.chunk, submission=chunk.submission, cause="restart", detail="before the last byte"
            )
    for chunk in state.chunks_in("released"):
        if chunk.epoch != state.epoch:
            yield e.SubmissionUncertain(chunk=chunk.chunk, submission=chunk.submission, cause="restart")
    claimed: set[str] = set()
    for chunk in state.chunks_in("uncertain"):
        for event in _conclude(state, chunk):
            if isinstance(event, e.BatchAdopted):
                if event.batch in claimed:
                    continue
                claimed.add(event.batch)
            yield event
    yield from _pauses(state)
    yield from _overdue(state)
    yield from _brakes(state, now)
    if "canceled" in state.pauses:  # everything: also what had been released by then and was named only later
        for chunk in state.chunks_in("submitted"):
            if chunk.batch not in state.cancels:
                yield e.CancelRequested(batch=chunk.batch)
    for chunk in state.chunks_in("sealed"):
        if chunk.refusal and chunk.refusal.reaction == "bisect" and not chunk.hold:
            splits = sum(
                1 for c in state.chunks_in("dissolved") if c.refusal is not None and c.refusal.reaction == "bisect"
            )
            if splits >= SPLITS_AT_MOST:
                yield e.ChunkHeld(
                    chunk=chunk.chunk,
                    reason="refused",
                    detail=f"refused again after {splits} halvings: {chunk.refusal.message}",
                    lift=f"ledger resolve {chunk.chunk} --again",
                )


def _brakes(state: RunState, now: int) -> Iterator[e.AnyEvent]:
    """Yield the verdict on a canary once it is due, and the pause of a run that meets too many errors."""
    tripped = breaker_pause(state)
    if tripped is not None:
        yield tripped
    if not verdict_owed(state):
        return
    is_over = not any(True for _ in state.live_chunks()) and not any(queue.size for queue in state.retries.values())
    if is_over or now >= _canary_due(state) > 0:
        yield from canary_verdict(state, waited=not is_over)


def _canary_due(state: RunState) -> int:
    """Return until when, by the writer's clock, a canary is waited for; 0 while it was not sent yet."""
    sent_at = state.chunks[1].sent_at
    return sent_at + state.policy.canary_wait_us if sent_at else 0


def _overdue(state: RunState) -> Iterator[e.AnyEvent]:
    """Yield a hold for every batch that has not ended long after it should have expired: no run waits for ever."""
    for chunk in state.chunks_in("submitted"):
        due = max(chunk.expires_at, chunk.waits_since) + OVERDUE_PATIENCE_US
        if chunk.hold is None and chunk.expires_at and state.server_date > due:
            since = format_duration((state.server_date - chunk.expires_at) / MICROSECONDS_PER_SECOND)
            yield e.ChunkHeld(
                chunk=chunk.chunk,
                reason="overdue",
                detail=f"batch {chunk.batch} is still open {since} after it should have expired",
                lift=f"ledger resolve {chunk.chunk} --again (waits another day) or --lost (gives its results up)",
            )


def _conclude(state: RunState, chunk: Chunk) -> Iterator[e.AnyEvent]:
    match judge(state, chunk):
        case Adopt(seen, proven):
            yield e.BatchAdopted(
                chunk=chunk.chunk,
                submission=chunk.submission,
                batch=seen.batch,
                created_at=seen.created_at,
                expires_at=seen.expires_at,
                by="reconcile",
                proven=proven,
            )
        case Absent(evidence):
            yield e.SubmissionResolved(
                chunk=chunk.chunk, submission=chunk.submission, by="reconcile", evidence=evidence
            )
        case Hold(reason, detail):
            if chunk.hold is None:
                yield e.ChunkHeld(
                    chunk=chunk.chunk,
                    reason=reason,
                    detail=detail,
                    lift=f"ledger resolve {chunk.chunk} "
                    + ("--again (looks again), " if reason == "unverifiable" else "")
                    + "--absent (or --adopt BATCH)",
                )
        case Wait():
            return


def _pauses(state: RunState) -> Iterator[e.AnyEvent]:
    for chunk in state.chunks_in("sealed"):
        refusal = chunk.refusal
        if refusal is not None and refusal.reaction in ("pause", "stop"):  # forgotten once the pause is lifted
            yield from _pause_for(state, refusal.reaction, refusal.status, refusal.message or refusal.kind)
    for failure in state.failures.values():
        if failure.status in (401, 403):
            yield from _pause_for(state, "stop", failure.status, failure.detail)


def _pause_for(state: RunState, reaction: str, status: int, message: str) -> Iterator[e.AnyEvent]:
    reason = "key" if reaction == "stop" else "spend"
    if reason not in state.pauses:
        yield e.RunPaused(
            reason=reason,
            detail=f"the service answered {status}: {message}",
            lift="ledger resume (with a key that works)"
            if reason == "key"
            else "ledger resume (once the limit is lifted)",
        )


# ── what is free ────────────────────────────────────────────────────────────────────────────────────────────────


def _cancel(state: RunState, now: int, plan: _Plan) -> None:
    for batch, done in state.cancels.items():
        if not done and _ready(state, now, plan, f"cancel:{batch}"):
            plan.commands.append(Cancel(batch))


def _split(state: RunState, plan: _Plan) -> None:
    for chunk in state.chunks_in("sealed"):
        refusal = chunk.refusal
        if refusal is None or chunk.hold:
            continue
        if refusal.reaction in ("split", "bisect"):
            plan.commands.append(Split(chunk.chunk, cause=refusal.kind or str(refusal.status), why=refusal.message))
        elif refusal.reaction == "reject":
            plan.commands.append(
                Split(chunk.chunk, cause="rejected", ordinal=refusal.ordinal, why=refusal.message or refusal.kind)
            )


def _collect(state: RunState, now: int, plan: _Plan) -> None:
    ended = sorted(state.chunks_in("ended"), key=lambda chunk: (chunk.created_at, chunk.chunk))
    started = 0
    for chunk in ended:
        if started == DOWNLOADS_AT_ONCE:
            break
        if not chunk.hold and _ready(state, now, plan, f"collect:{chunk.chunk}"):
            plan.commands.append(Collect(chunk.chunk))
            started += 1


def _in_doubt(state: RunState) -> list[Chunk]:
    return [chunk for chunk in state.chunks_in("uncertain") if chunk.hold is None]


def _look(state: RunState, now: int, plan: _Plan) -> None:
    policy = state.policy
    doubtful = _in_doubt(state)
    twins_possible = _twins_possible(state)
    dues: list[int] = []
    if doubtful:
        fresh = any(not chunk.seen_at for chunk in doubtful)
        every = max(min(policy.poll_us, policy.settle_us // 4), 50_000)
        dues.append(now if fresh else state.listed_at + every)
        for chunk in doubtful:
            verdict = judge(state, chunk)
            if isinstance(verdict, Wait):
                left = max(verdict.until - max(chunk.settled_at, state.server_date), 0) if verdict.until else 0
                until = state.listed_at + left if left else 0
                plan.waiting.append(
                    Waiting(f"until it is certain whether chunk {chunk.chunk} was accepted ({verdict.why})", until)
                )
    open_chunks = [chunk for chunk in state.chunks_in("submitted") if chunk.hold is None]
    if open_chunks:
        oldest = min(chunk.sent_at for chunk in open_chunks)
        # What lies ahead of a clock that was set back says nothing; taken for the last poll it would be polled at once,
        # again and again, until the clock has caught up.
        last = max((instant for instant in (state.polled_at, oldest) if instant <= now), default=0)
        dues.append(last + policy.poll_us)
        plan.waiting.append(Waiting(_open_batches(open_chunks, now)))
    # A twin whose rows nobody can read stays one; to look for it again and again would keep the run from its end.
    unread = any(not twin.proven and batch not in state.inspected for batch, twin in state.twins.items())
    if _last_scan_due(state) or unread:
        dues.append(state.listed_at + policy.poll_us if state.listed_position else now)
    if not dues:
        return
    due = min(dues)
    if now < due <= now + 2 * policy.poll_us:
        plan.wait(due)
    elif _ready(state, now, plan, "look"):
        plan.commands.append(Look(evidence=bool(doubtful or twins_possible), horizon=horizon(state)))


def _twins_possible(state: RunState) -> bool:
    return any(chunk.presumed_absent for chunk in state.chunks.values())


def _last_scan_due(state: RunState) -> bool:
    """Return whether a last list is owed before the run may end: a submission that was given up may yet have come."""
    return not state.unfinished and state.collected_position > state.listed_position and _twins_possible(state)


def _inspect(state: RunState, now: int, plan: _Plan) -> None:
    plan.commands += [
        Inspect(batch)
        for batch in sorted(to_inspect(state))
        if all(_ready(state, now, plan, f"{what}:{batch}") for what in ("inspect", "weigh"))
    ]


def _open_batches(chunks: list[Chunk], now: int) -> str:
    requests = sum(chunk.requests for chunk in chunks)
    oldest = format_duration(max(now - min(chunk.sent_at for chunk in chunks), 0) / 1_000_000)
    plural = "es" if len(chunks) > 1 else ""
    return f"{len(chunks)} batch{plural} of {requests:,} requests at the service, the oldest for {oldest}"


# ── what costs money ────────────────────────────────────────────────────────────────────────────────────────────


def _submit(state: RunState, now: int, plan: _Plan) -> None:
    if state.pauses:
        return
    sealed = sorted(
        (chunk for chunk in state.chunks_in("sealed") if _submittable(chunk)),
        key=lambda chunk: (-chunk.priority, chunk.chunk),
    )
    uploads = len(state.chunks_in("prepared", "released"))
    room = state.policy.queue_requests - state.in_queue
    blocked = _queue_blocked(state, now, plan)
    in_doubt = sizes_in_doubt(state)
    purse = open_purse(state)
    waiting_sealed = 0
    for chunk in sealed:
        if uploads >= UPLOADS_AT_ONCE:
            break
        alone = not state.in_queue and not any(isinstance(command, Submit) for command in plan.commands)
        fits = chunk.requests <= room or alone
        ready = _ready(state, now, plan, "submit") and _chunk_ready(state, now, plan, chunk)
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
    state: RunState, plan: _Plan, purse: Purse, next_usd: Decimal | None, waiting_sealed: int = 0
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
    sizes = {chunk.requests for chunk in state.chunks_in("prepared", "released", "uncertain")}
    return sizes | {chunk.requests for chunk in state.chunks_in("submitted", "ended") if not chunk.proven}


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


def _chunk_ready(state: RunState, now: int, plan: _Plan, chunk: Chunk) -> bool:
    if not chunk.failures or (chunk.refusal and chunk.refusal.reaction in ("wait_for_queue", "pause", "stop")):
        return True
    due = chunk.failed_at + backoff_us(state, f"chunk {chunk.chunk}", chunk.failures, chunk.retry_after_us)
    if now >= due or now < chunk.failed_at:
        return True
    detail = chunk.refusal.message or chunk.refusal.kind if chunk.refusal else "the connection failed"
    plan.wait(due, f"chunk {chunk.chunk} is sent again ({detail})")
    return False


def _queue_blocked(state: RunState, now: int, plan: _Plan) -> bool:
    if not state.queue_full_at or state.ended_batches > state.queue_full_ended:
        return False
    due = state.queue_full_at + QUEUE_PATIENCE_US
    if now >= due or now < state.queue_full_at:
        return False
    plan.wait(due, "the service's queue is full: until one of our batches ends")
    return True


def _seal(state: RunState, now: int, room: int, plan: _Plan, purse: Purse | None) -> None:
    policy = state.policy
    shrink = min(state.expired_batches, 4)  # batches that expire are batches too large for the load of the day
    max_requests = min(policy.chunk_requests, MAX_REQUESTS, policy.queue_requests)
    max_requests = max(min(SMALLEST_SHRUNK_CHUNK, max_requests), max_requests >> shrink)
    max_bytes = min(policy.chunk_bytes, MAX_BYTES)
    if purse is not None:
        purse.reserve(chunk for chunk in state.chunks_in("sealed") if chunk.hold is None and _is_not_in(plan, chunk))
    if canary_wanted(state):
        _seal_canary(state, min(policy.canary_requests, max_requests, room), max_bytes, plan, purse)
        return
    lanes = _lanes(state)
    if verdict_owed(state):
        lanes = [(priority, retry) for priority, retry in lanes if retry]  # what is asked again belongs to the canary
        if due := _canary_due(state):
            plan.wait(max(due, now), "the first batch is judged before the rest is sent")
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


def _is_not_in(plan: _Plan, chunk: Chunk) -> bool:
    """Return whether a sealed chunk is not among what this decision submits, which has taken its money already."""
    return not any(isinstance(command, Submit) and command.chunk == chunk.chunk for command in plan.commands)


def _affordable(
    state: RunState, plan: _Plan, purse: Purse, lane: tuple[int, bool], max_requests: int, max_bytes: int
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


def _seal_canary(state: RunState, requests: int, max_bytes: int, plan: _Plan, purse: Purse | None) -> None:
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
    classes = state.columns.class_id
    priority = max(state.classes[classes[ordinal]].priority for ordinal in members)
    plan.commands.append(SealCanary(tuple(members), priority))


def _fresh_front(state: RunState) -> Iterator[int]:
    return (ordinal for queue in state.fresh.values() for ordinal in _front(queue))


def _lanes(state: RunState) -> list[tuple[int, bool]]:
    """Return the lanes that hold something: higher priority first, fresh requests before repeated ones."""
    lanes = [(priority, False) for priority, queue in state.fresh.items() if queue.size]
    lanes += [(priority, True) for priority, queue in state.retries.items() if queue.size]
    return sorted(lanes, key=lambda lane: (-lane[0], lane[1]))


# ── ends ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _finish(state: RunState) -> Decision:
    code = exit_code_when_finished(state)
    if state.finished is not None and state.finished.exit_code == code:
        return Decision((), exit_code=code)
    outcomes: dict[str, int] = {outcome: count for outcome, count in state.outcomes.items() if count}
    return Decision((Record((e.RunFinished(outcomes=outcomes, exit_code=code),)),))


def _stuck(state: RunState) -> int:
    return 6 if "key" in state.pauses else 3
