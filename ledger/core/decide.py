"""What to do next: ``decide(state, now) → Decision``, pure.

The order of the questions is the order of the protocol: first what a dead process left behind, then what is in doubt,
then what the service refused, then what can be had (results), then what must be asked (statuses), and only then what
costs money. Nothing is remembered between calls; what has been started and not yet answered is the runner's to
know (a command is not started while its key is at work).
"""

from __future__ import annotations

from collections.abc import Iterator

from ledger.core import events as e
from ledger.core.canary import breaker_pause, canary_verdict, verdict_owed
from ledger.core.commands import Cancel, Collect, Inspect, Look, Record, Split
from ledger.core.planning import Decision, Plan, Waiting, backoff_us, is_ready
from ledger.core.reconcile import OVERDUE_PATIENCE_US, Absent, Adopt, Hold, Wait, horizon, judge, to_inspect
from ledger.core.sending import QUEUE_PATIENCE_US, UPLOADS_AT_ONCE, canary_due, may_begin, sizes_in_doubt, submit
from ledger.core.state import Chunk, RunState, exit_code_when_finished
from ledger.core.units import MICROSECONDS_PER_SECOND, format_duration

DOWNLOADS_AT_ONCE = 2
SPLITS_AT_MOST = 200
"""Refusals that name no request halve a chunk; a run that needs more halvings than this needs a person."""


def decide(state: RunState, now: int) -> Decision:
    """Return what to do next, given all that is known and the time."""
    conclusions = tuple(_conclusions(state, now))
    if conclusions:
        return Decision((Record(conclusions),))
    plan = Plan()
    if state.pauses.keys() & {"key", "workspace"}:  # nothing that is asked now could be believed
        return plan.decision(_stuck(state))
    _cancel(state, now, plan)
    _split(state, plan)
    _collect(state, now, plan)
    _look(state, now, plan)
    _inspect(state, now, plan)
    submit(state, now, plan)
    if plan.commands:
        return plan.decision()
    if not state.unfinished and not any(True for _ in state.live_chunks()):
        return plan.decision() if _last_scan_due(state) else _finish(state)
    at_work = [chunk for chunk in state.chunks_in("prepared", "released", "submitted") if chunk.hold is None]
    at_work += _in_doubt(state)
    if not at_work and not plan.wakes:  # what has ended and is held waits for a person, like every other hold
        return plan.decision(_stuck(state))
    return plan.decision()


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
    if is_over or now >= canary_due(state) > 0:
        yield from canary_verdict(state, waited=not is_over)


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


def _cancel(state: RunState, now: int, plan: Plan) -> None:
    for batch, done in state.cancels.items():
        if not done and is_ready(state, now, plan, f"cancel:{batch}"):
            plan.commands.append(Cancel(batch))


def _split(state: RunState, plan: Plan) -> None:
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


def _collect(state: RunState, now: int, plan: Plan) -> None:
    ended = sorted(state.chunks_in("ended"), key=lambda chunk: (chunk.created_at, chunk.chunk))
    started = 0
    for chunk in ended:
        if started == DOWNLOADS_AT_ONCE:
            break
        if not chunk.hold and is_ready(state, now, plan, f"collect:{chunk.chunk}"):
            plan.commands.append(Collect(chunk.chunk))
            started += 1


def _in_doubt(state: RunState) -> list[Chunk]:
    return [chunk for chunk in state.chunks_in("uncertain") if chunk.hold is None]


def _look(state: RunState, now: int, plan: Plan) -> None:
    policy = state.policy
    doubtful = _in_doubt(state)
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
    elif is_ready(state, now, plan, "look"):
        plan.commands.append(Look(evidence=bool(doubtful) or _twins_possible(state), horizon=horizon(state)))


def _twins_possible(state: RunState) -> bool:
    return any(chunk.presumed_absent for chunk in state.chunks.values())


def _last_scan_due(state: RunState) -> bool:
    """Return whether a last list is owed before the run may end: a submission that was given up may yet have come."""
    return state.collected_position > state.listed_position and not state.unfinished and _twins_possible(state)


def _inspect(state: RunState, now: int, plan: Plan) -> None:
    for batch in sorted(to_inspect(state)):
        if all(is_ready(state, now, plan, f"{what}:{batch}") for what in ("inspect", "weigh")):
            plan.commands.append(Inspect(batch))


def _open_batches(chunks: list[Chunk], now: int) -> str:
    requests = sum(chunk.requests for chunk in chunks)
    oldest = format_duration(max(now - min(chunk.sent_at for chunk in chunks), 0) / 1_000_000)
    plural = "es" if len(chunks) > 1 else ""
    asked = f"{requests:,} request{'s' if requests > 1 else ''}"
    return f"{len(chunks)} batch{plural} of {asked} at the service, the oldest for {oldest}"


# ── ends ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _finish(state: RunState) -> Decision:
    code = exit_code_when_finished(state)
    if state.finished is not None and state.finished.exit_code == code:
        return Decision((), exit_code=code)
    outcomes: dict[str, int] = {outcome: count for outcome, count in state.outcomes.items() if count}
    return Decision((Record((e.RunFinished(outcomes=outcomes, exit_code=code),)),))


def _stuck(state: RunState) -> int:
    return 6 if "key" in state.pauses else 3


__all__ = [
    "QUEUE_PATIENCE_US",
    "UPLOADS_AT_ONCE",
    "Decision",
    "Waiting",
    "backoff_us",
    "decide",
    "may_begin",
    "sizes_in_doubt",
]
