"""What a person asks of a run, as events: cancel a batch, resolve a chunk, lift a pause. Checked here, once.

The same requests come from a command that holds the ledger itself, and through the mailbox from one that does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from ledger.core import events as e
from ledger.core.canary import canary_reasons, ends, trips
from ledger.core.errors import UsageError
from ledger.core.state import TERMINAL, Chunk, RunState
from ledger.core.units import format_instant


class CancelBatches(msgspec.Struct, frozen=True, tag="cancel"):
    """Cancel these batches, or all that are open; all also keeps the run from sending more."""

    batches: tuple[str, ...] = ()
    everything: bool = False


class Resolve(msgspec.Struct, frozen=True, tag="resolve"):
    """Decide about one chunk.

    ``verdict``: ``adopt`` a batch (``seen`` is what the service shows of it), ``absent`` (send it again), ``cancel`` a
    batch that is not wanted, ``again`` (go on as it was), ``accept-counts`` (what is stored is all there is),
    ``acknowledge`` a twin, ``lost`` (the results of a batch that does not end are given up).
    """

    chunk: int
    verdict: Literal["adopt", "absent", "cancel", "again", "accept-counts", "acknowledge", "lost"]
    batch: str = ""
    seen: e.BatchSeen | None = None


class Lift(msgspec.Struct, frozen=True, tag="lift"):
    """Lift these reasons to pause."""

    reasons: tuple[str, ...]


class SetBudget(msgspec.Struct, frozen=True, tag="budget"):
    """Say what the whole ledger may cost: ``max_usd`` is a decimal string, empty for no limit."""

    max_usd: str
    mode: Literal["worst", "expected"] = "worst"


PersonRequest: TypeAlias = CancelBatches | Resolve | Lift | SetBudget

decode_request = msgspec.json.Decoder(PersonRequest).decode


def request_events(state: RunState, request: PersonRequest) -> Sequence[e.AnyEvent]:
    """Return the events of a request.

    Raises:
        UsageError: it does not fit the state; says what does.
    """
    match request:
        case CancelBatches():
            return _cancel(state, request)
        case Resolve():
            return _resolve(state, request)
        case Lift(reasons):
            unknown = [reason for reason in reasons if reason not in state.pauses]
            if unknown:
                raise UsageError(
                    f"the run is not paused by {', '.join(unknown)}",
                    why=f"it is paused by {', '.join(state.pauses) or 'nothing'}",
                    next="ledger status",
                )
            return [e.RunResumed(reason=reason) for reason in reasons]
        case SetBudget():
            return _budget(state, request)


def _budget(state: RunState, request: SetBudget) -> list[e.AnyEvent]:
    """A budget that is another than before lifts what the one before it had stopped; saying it again lifts nothing."""
    before = state.budget or e.BudgetSet()
    if state.budget is not None and (before.max_usd, before.mode) == (request.max_usd, request.mode):
        return []
    budget = e.BudgetSet(max_usd=request.max_usd, mode=request.mode, confirmed=len(state.columns))
    events: list[e.AnyEvent] = []
    if "budget" in state.pauses:  # first: a log that is cut between the two pauses again, else nothing would lift it
        events.append(e.RunResumed(reason="budget"))
    events.append(budget)
    if "unconfirmed" in state.pauses and request.max_usd:
        events.append(e.RunResumed(reason="unconfirmed"))
    if _canary_lifted(state, state.policy.max_error_rate, budget):
        events.append(e.RunResumed(reason="canary"))
    return events


def _canary_lifted(state: RunState, max_rate: str, budget: e.BudgetSet | None) -> bool:
    """Return whether nothing speaks any more against what a canary had stopped."""
    judged = state.canary
    return "canary" in state.pauses and judged is not None and not canary_reasons(state, judged, max_rate, budget)


def tolerating(state: RunState, policy: e.Policy) -> list[e.AnyEvent]:
    """Return the events of a policy that tolerates more errors: what tripped by the old rate and not by the new one."""
    events: list[e.AnyEvent] = []
    if policy.max_error_rate == state.policy.max_error_rate:
        return events
    if _canary_lifted(state, policy.max_error_rate, state.budget):
        events.append(e.RunResumed(reason="canary"))
    if "breaker" in state.pauses and not trips(*ends(state), policy.max_error_rate):
        events.append(e.RunResumed(reason="breaker"))
    return events


def _cancel(state: RunState, request: CancelBatches) -> list[e.AnyEvent]:
    wanted = list(request.batches)
    if request.everything:
        wanted += [chunk.batch for chunk in state.chunks_in("submitted") if chunk.batch not in wanted]
    for batch in wanted:
        number = state.batches.get(batch)
        if number is None and batch not in state.twins:
            raise UsageError(f"batch {batch} is not of this ledger", next="ledger status (lists its batches)")
        if number is not None and state.chunks[number].status != "submitted":
            raise UsageError(
                f"batch {batch} has ended already",
                why=f"chunk {number} is {state.chunks[number].status}",
                next="ledger status",
            )
    events: list[e.AnyEvent] = [e.CancelRequested(batch=batch) for batch in wanted if batch not in state.cancels]
    if request.everything and "canceled" not in state.pauses and state.unfinished:
        events.append(
            e.RunPaused(
                reason="canceled",
                detail="everything was canceled; what was not sent yet waits",
                lift="ledger resume --lift canceled",
            )
        )
    return events


def _resolve(state: RunState, request: Resolve) -> list[e.AnyEvent]:
    chunk = state.chunks.get(request.chunk)
    if chunk is None or (chunk.status in TERMINAL and request.verdict not in ("acknowledge", "cancel")):
        raise UsageError(
            f"chunk {request.chunk} needs no decision",
            why=f"it is {chunk.status}" if chunk else f"there are chunks 1 to {state.last_chunk}",
            next="ledger status (shows which chunks are held or in doubt)",
        )
    match request.verdict:
        case "adopt":
            return [_adopted(state, chunk, request)]
        case "absent":
            return _absent(state, chunk)
        case "cancel":
            known = {*state.twins, *chunk.disowned, *(seen.batch for seen in chunk.candidates), *state.batches}
            if request.batch not in known:
                raise UsageError(
                    f"batch {request.batch} was never taken to be chunk {chunk.chunk}'s: it may be somebody else's",
                    next="ledger status (shows the batches in question)",
                )
            if request.batch in state.batches:
                raise UsageError(
                    f"batch {request.batch} is in use, by chunk {state.batches[request.batch]}",
                    next=f"ledger cancel {request.batch}",
                )
            acknowledged: list[e.AnyEvent] = (
                [e.TwinAcknowledged(chunk=state.twins[request.batch].chunk, batch=request.batch)]
                if request.batch in state.twins
                else []
            )
            return [*acknowledged, e.CancelRequested(batch=request.batch)]
        case "again":
            if chunk.hold is None:
                raise UsageError(f"chunk {chunk.chunk} is not held", next="ledger status")
            return [e.HoldLifted(chunk=chunk.chunk)]
        case "accept-counts":
            return _accepted_counts(state, chunk)
        case "lost":
            return _given_up(chunk)
        case "acknowledge":
            twins = [twin for twin in state.twins.values() if twin.chunk == chunk.chunk]
            if not twins:
                raise UsageError(f"chunk {chunk.chunk} has no twin", next="ledger status")
            return [e.TwinAcknowledged(chunk=chunk.chunk, batch=twin.batch) for twin in twins]


def _absent(state: RunState, chunk: Chunk) -> list[e.AnyEvent]:
    if chunk.batch and not chunk.proven and chunk.hold is not None:
        # Adopted, and gone before it could prove itself. That it was not ours does not mean that there is none of ours:
        # the search begins anew, and only its evidence sends the chunk again.
        why = "it vanished; a person says that it was not ours"
        return [
            e.BatchDisowned(chunk=chunk.chunk, submission=chunk.submission, batch=chunk.batch, why=why),
            e.HoldLifted(chunk=chunk.chunk),
        ]
    _require(chunk, "uncertain")
    evidence = f"said by a person at {format_instant(state.server_date)} on the service's clock"
    return [e.SubmissionResolved(chunk=chunk.chunk, submission=chunk.submission, by="person", evidence=evidence)]


def _require(chunk: Chunk, status: str) -> None:
    if chunk.status != status:
        raise UsageError(
            f"chunk {chunk.chunk} is {chunk.status}, not {status}",
            why="only a submission whose answer never came can be decided about",
            next="ledger status",
        )


def _adopted(state: RunState, chunk: Chunk, request: Resolve) -> e.BatchAdopted:
    _require(chunk, "uncertain")
    seen = request.seen
    if request.batch in state.batches:
        raise UsageError(f"batch {request.batch} belongs to chunk {state.batches[request.batch]}", next="ledger status")
    if seen is None:
        raise UsageError(f"the service does not know batch {request.batch}", next="ledger status")
    if seen.counts is not None and seen.counts.total not in (0, chunk.requests):
        raise UsageError(
            f"batch {request.batch} has {seen.counts.total} requests, chunk {chunk.chunk} has {chunk.requests}",
            next="ledger status",
        )
    return e.BatchAdopted(
        chunk=chunk.chunk,
        submission=chunk.submission,
        batch=request.batch,
        created_at=seen.created_at,
        expires_at=seen.expires_at,
        by="person",
    )


def _given_up(chunk: Chunk) -> list[e.AnyEvent]:
    if chunk.status not in ("submitted", "ended") or chunk.hold is None:
        raise UsageError(
            f"the results of chunk {chunk.chunk} cannot be given up",
            why=f"it is {chunk.status}" if chunk.hold or chunk.status != "submitted" else "its batch may yet end",
            next=f"ledger cancel {chunk.batch}" if chunk.status == "submitted" else "ledger status",
        )
    return [
        e.FindingRecorded(
            finding="results_lost",
            detail=f"a person gave up the results of batch {chunk.batch} ({chunk.hold.reason}: {chunk.hold.detail})",
            chunk=chunk.chunk,
            batch=chunk.batch,
        ),
        e.ResultsLost(chunk=chunk.chunk, batch=chunk.batch, cause="given_up"),
    ]


def _accepted_counts(state: RunState, chunk: Chunk) -> list[e.AnyEvent]:
    stored = sum(state.stored[chunk.chunk].values())
    if chunk.status != "ended" or chunk.hold is None or stored != chunk.requests or chunk.counts is None:
        raise UsageError(
            f"chunk {chunk.chunk} cannot be taken as collected",
            why=f"it is {chunk.status} with {stored} of {chunk.requests} rows stored",
            next="ledger status",
        )
    return [
        e.FindingRecorded(
            finding="counts_accepted",
            detail="a person took the stored rows as complete although the service counted otherwise",
            chunk=chunk.chunk,
            batch=chunk.batch,
        ),
        e.BatchCollected(chunk=chunk.chunk, batch=chunk.batch, rows=stored, counts=chunk.counts),
    ]
