"""What a run looks like from outside: a summary when it stops, a status at any time; for people and programs."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from ledger.core.asking import classes_of
from ledger.core.budget import open_purse
from ledger.core.columns import FINAL, STATUS_OF_OUTCOME
from ledger.core.costs import RequestClass, cost_report, plain
from ledger.core.deadlines import RETENTION_US, deadlines
from ledger.core.reuse import reused_count
from ledger.core.spending import cost_groups
from ledger.core.state import TERMINAL, Chunk, RunState, accepted
from ledger.core.units import MICROSECONDS_PER_SECOND, format_instant
from ledger.troubles import ErrorMet

FAILED_IDS_AT_MOST = 1000


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """Billed tokens of all attempts."""

    input: int
    output: int
    cache_write: int
    cache_read: int


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What all of the ledger may cost, what of it is spent, and the most that may yet be billed for what was let go."""

    max_usd: Decimal
    mode: Literal["worst", "expected"]
    spent_usd: Decimal
    open_usd: Decimal


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """How a run stands when a command ends.

    ``asked`` counts requests, ``pending`` those without an outcome, ``rejected`` lines that were no items and were
    skipped. ``cost_usd`` is what was spent at batch price, None while a price is unknown; ``standard_usd`` what it
    would have been. ``failed_ids`` are the custom_ids of items that ended neither ok nor accepted, at most 1,000.
    ``reused`` counts answers that were taken from other ledgers, ``reused_from`` names these.
    ``errors`` are the kinds of errors met most, where the run is stopped for too many; ``budget`` is None without one.
    """

    ledger: str
    ledger_id: str
    origin: str
    simulated: bool
    state: Literal["finished", "running", "paused", "interrupted", "empty"]
    exit_code: int
    asked: int
    pending: int
    rejected: int
    outcomes: dict[str, int]
    batches: int
    open_batches: int
    tokens: Tokens
    cost_usd: Decimal | None
    standard_usd: Decimal | None
    failed_ids: tuple[str, ...]
    position: int
    next: str
    errors: tuple[ErrorMet, ...] = ()
    budget: Budget | None = None
    reused: int = 0
    reused_from: tuple[str, ...] = ()


class BatchStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One chunk and its batch."""

    chunk: int
    batch: str
    status: str
    requests: int
    priority: int
    created_at: str
    ended_at: str
    results_until: str
    outcomes: dict[str, int]
    held: str


class DeadlineStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What must not be missed: an open batch ``expires``, or ``results`` that were not collected are gone.

    ``left_seconds`` is negative once it is over.
    """

    kind: Literal["expires", "results"]
    batch: str
    chunk: int
    requests: int
    at: str
    left_seconds: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a person asks of a run that is not over."""

    summary: Summary
    batches: tuple[BatchStatus, ...]
    pauses: tuple[dict[str, str], ...]
    holds: tuple[dict[str, str], ...]
    twins: tuple[dict[str, str], ...]
    alarms: tuple[str, ...]
    deadlines: tuple[DeadlineStatus, ...]
    findings: int
    writer: str
    head_verified: bool


def request_classes(state: RunState) -> list[RequestClass]:
    """Return what waits to be sent, in groups that are estimated alike."""
    waiting = (queue for lanes in (state.fresh, state.retries) for queue in lanes.values())
    return classes_of(state, (ordinal for queue in waiting for start, end in queue for ordinal in range(start, end)))


def failed_ordinals(state: RunState) -> list[int]:
    """Return the first 1,000 requests that ended neither ok nor accepted."""
    fine = {STATUS_OF_OUTCOME["ok"], *(STATUS_OF_OUTCOME[o] for o in state.outcomes if o in state.policy.accept)}
    failed = []
    for ordinal, status in enumerate(state.columns.status):
        if status >= FINAL and status not in fine:
            failed.append(ordinal)
            if len(failed) == FAILED_IDS_AT_MOST:
                break
    return failed


def run_state(state: RunState) -> Literal["finished", "running", "paused", "empty"]:
    """Return in one word where a run stands."""
    if not state.asked:
        return "empty"
    if state.finished is not None and not state.unfinished:
        return "finished"
    stuck = state.pauses or any(chunk.hold for chunk in state.live_chunks())
    return "paused" if stuck else "running"


def next_command(state: RunState, ledger: str) -> str:
    """Return what to type next."""
    where = run_state(state)
    if where == "finished":
        return f"ledger results {ledger}" if accepted(state) else f"ledger results {ledger} --failed"
    if where == "paused":
        lifts = [pause.lift for pause in state.pauses.values()]
        lifts += [chunk.hold.lift for chunk in state.live_chunks() if chunk.hold]
        return "; ".join(lifts)
    return f"ledger resume {ledger}" if where == "running" else "ledger run ITEMS"


def summarize(
    state: RunState,
    *,
    ledger: str,
    exit_code: int,
    failed_ids: tuple[str, ...] = (),
    interrupted: bool = False,
    errors: tuple[ErrorMet, ...] = (),
) -> Summary:
    """Return the summary of a state."""
    where = run_state(state)
    total = cost_report(state.prices, cost_groups(state)).total if state.prices is not None else None
    return Summary(
        ledger=ledger,
        ledger_id=state.ledger_id,
        origin=state.origin,
        simulated=is_simulated(state),
        state="interrupted" if interrupted and where == "running" else where,
        exit_code=exit_code,
        asked=state.asked,
        pending=state.unfinished,
        rejected=state.rejected,
        outcomes={outcome: count for outcome, count in state.outcomes.items() if count},
        batches=len(state.batches),
        open_batches=len(state.chunks_in("submitted")),
        tokens=Tokens(
            input=total.input_tokens if total else 0,
            output=total.output_tokens if total else 0,
            cache_write=total.cache_write_tokens if total else 0,
            cache_read=total.cache_read_tokens if total else 0,
        ),
        cost_usd=total.cost_usd if total else None,
        standard_usd=total.standard_usd if total else None,
        failed_ids=failed_ids,
        position=state.position,
        next=next_command(state, ledger),
        errors=errors,
        budget=_budget(state),
        reused=reused_count(state),
        reused_from=tuple(dict.fromkeys(reuse.path for reuse in state.reuses.values() if reuse.taken)),
    )


def _budget(state: RunState) -> Budget | None:
    purse = open_purse(state)
    if purse is None or state.budget is None:
        return None
    return Budget(
        max_usd=purse.max_usd, mode=state.budget.mode, spent_usd=plain(purse.spent_usd), open_usd=plain(purse.open_usd)
    )


def is_simulated(state: RunState) -> bool:
    """Return whether no service was ever asked: such a run must never pass for a real one."""
    return state.origin == "simulator"


def status_of(state: RunState, summary: Summary, *, now: int, writer: str, head_verified: bool) -> Status:
    """Return the status of a state; ``now`` is the instant that deadlines are counted down from."""
    return Status(
        summary=summary,
        batches=tuple(_batch(state, chunk) for chunk in state.chunks.values() if chunk.status != "dissolved"),
        pauses=tuple(
            {"reason": pause.reason, "detail": pause.detail, "lift": pause.lift} for pause in state.pauses.values()
        ),
        holds=tuple(
            {"chunk": str(chunk.chunk), "reason": hold.reason, "detail": hold.detail, "lift": hold.lift}
            for chunk in state.live_chunks()
            if (hold := chunk.hold) is not None
        ),
        twins=tuple(
            {
                "batch": batch,
                "chunk": str(twin.chunk),
                "proven": "yes" if twin.proven else "no",
                "lift": f"ledger resolve {twin.chunk} --cancel {batch} (or --acknowledge)",
            }
            for batch, twin in state.twins.items()
        ),
        alarms=tuple(alarm.detail for alarm in state.alarms.values()),
        deadlines=tuple(
            DeadlineStatus(
                kind=one.kind,
                batch=one.batch,
                chunk=one.chunk,
                requests=one.requests,
                at=format_instant(one.at),
                left_seconds=(one.at - now) // MICROSECONDS_PER_SECOND,
            )
            for one in deadlines(state)
        ),
        findings=state.findings,
        writer=writer,
        head_verified=head_verified,
    )


def _batch(state: RunState, chunk: Chunk) -> BatchStatus:
    open_results = chunk.batch and chunk.status not in TERMINAL and chunk.created_at
    return BatchStatus(
        chunk=chunk.chunk,
        batch=chunk.batch,
        status=chunk.state if chunk.status == "submitted" and chunk.state else chunk.status,
        requests=chunk.requests,
        priority=chunk.priority,
        created_at=format_instant(chunk.created_at) if chunk.created_at else "",
        ended_at=format_instant(chunk.ended_at) if chunk.ended_at else "",
        results_until=format_instant(chunk.created_at + RETENTION_US) if open_results else "",
        outcomes={kind: count for kind, count in state.stored[chunk.chunk].items() if count},
        held=chunk.hold.reason if chunk.hold else "",
    )
