"""The reducer: what one event makes of a state. The theory stands in ``state.py``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from msgspec.structs import replace

from ledger.core import events as e
from ledger.core.events import AnyEvent
from ledger.core.evolving_chunks import (
    batch_collected,
    batch_deleted,
    batches_listed,
    chunk_dissolved,
    chunk_sealed,
    claim_event,
    forget_refusals,
    in_status,
    live,
    put,
    request_rejected,
    results_lost,
    searched_anew,
    status_polled,
    submission_event,
)
from ledger.core.evolving_requests import (
    being_read,
    payloads_redacted,
    request_amended,
    request_built,
    requests_reopened,
    result_stored,
    source_event,
)
from ledger.core.evolving_reuse import answer_reused, reuse_event
from ledger.core.prices import Pricer
from ledger.core.state import (
    BRAKES,
    Failure,
    RunState,
    illegal,
)


def fold(rows: Iterable[tuple[int, int, AnyEvent]], state: RunState | None = None) -> RunState:
    """Return the state after the given (position, at, event) rows, on top of ``state``, which is changed.

    Raises:
        IllegalEventError: a row that the state before it does not allow.
    """
    state = RunState() if state is None else state
    for position, at, event in rows:
        evolve(state, position, at, event)
    return state


def evolve(state: RunState, position: int, at: int, event: AnyEvent) -> None:
    """Apply one event to a state, in place.

    Raises:
        IllegalEventError: the state does not allow it; nothing was changed.
    """
    if position != state.position + 1:
        illegal(position, event, f"the log is at position {state.position}")
    if (state.position == 0) != (type(event) is e.RunOpened):
        illegal(position, event, "run_opened is the first event and only that")
    _apply(state, position, at, event)
    state.position = position
    state.at = at


def _apply(state: RunState, position: int, at: int, event: AnyEvent) -> None:
    match event:
        # Those that come most often stand first: it costs 0.15 µs to see that an event is not of a class.
        case e.ResultStored():
            result_stored(state, position, event)
        case e.RequestBuilt():
            request_built(state, position, event)
        case e.StatusPolled():
            status_polled(state, position, at, event)
        case e.CallFailed():
            before = state.failures.get(event.command)
            state.failures[event.command] = Failure(
                (before.count if before else 0) + 1, at, event.retry_after_us, event.status, event.detail or event.kind
            )
        case (
            e.SubmissionPrepared()
            | e.SubmissionReleased()
            | e.SubmissionAborted()
            | e.SubmissionRefused()
            | e.SubmissionUncertain()
            | e.SubmissionResolved()
        ):
            submission_event(state, position, at, event)
        case e.BatchesListed():
            batches_listed(state, position, event)
            state.listed_at = at
        case e.ChunkSealed():
            chunk_sealed(state, position, event)
        case e.BatchCollected():
            batch_collected(state, position, event)
        case e.BatchCreated() | e.BatchAdopted() | e.BatchDisowned():
            claim_event(state, position, at, event)
        case e.RunOpened():
            state.ledger_id, state.origin = event.ledger_id, event.origin
            state.format_version, state.opened_at = event.format_version, at
        case e.WriterOpened():
            if event.epoch <= state.epoch:
                illegal(position, event, f"the epoch is {state.epoch} already")
            state.epoch = event.epoch
        case e.WorkspaceSeen():
            if state.workspace not in ("", event.workspace):  # two calls at once may both be the first to see it
                illegal(position, event, f"the workspace is {state.workspace}")
            state.workspace = event.workspace
        case e.SettingsChanged():
            stored = e.as_stored(event)  # it holds a mapping, whose order a later fold reads from the log
            state.defaults = stored.defaults or state.defaults
            state.policy = stored.policy or state.policy
        case e.SourceOpened() | e.SourceRead() | e.IntakeCompleted() | e.IntakeAbandoned():
            source_event(state, position, event)
        case e.ClassDeclared():
            if event.class_id != len(state.classes):
                illegal(position, event, f"the next class is {len(state.classes)}")
            state.classes.append(event)
            state.class_requests.append(0)
            state.class_bytes.append(0)
        case e.ItemDeduplicated():
            source = being_read(state, position, event)
            if not 0 <= event.ordinal < len(state.columns):
                illegal(position, event, f"there is no request {event.ordinal}")
            state.sources[source.source] = replace(source, deduplicated=source.deduplicated + 1)
        case e.ItemRejected():
            source = being_read(state, position, event)
            state.sources[source.source] = replace(source, rejected=source.rejected + 1)
        case e.AnswerReused():
            answer_reused(state, position, event)
        case e.RequestsReopened():
            requests_reopened(state, position, event)
        case e.RequestAmended():
            request_amended(state, position, event)
        case e.PayloadsRedacted():
            payloads_redacted(state, position, event)
        case e.BatchDeleted():
            batch_deleted(state, position, event)
        case e.ReuseOpened() | e.ReuseClosed():
            reuse_event(state, position, event)
        case e.PricesQuoted():
            state.prices, state.pricer = event.table, Pricer(event.table)
        case e.RequestRejected():
            request_rejected(state, position, event)
        case e.ChunkDissolved():
            chunk_dissolved(state, position, event)
        case e.ChunkHeld():
            chunk = live(state, position, event, event.chunk)
            put(state, replace(chunk, hold=event))
        case e.HoldLifted():
            chunk = live(state, position, event, event.chunk)
            if chunk.hold is None:
                illegal(position, event, f"chunk {chunk.chunk} is not held")
            state.failures.pop(f"collect:{chunk.chunk}", None)
            state.failures.pop(f"gone:{chunk.batch}", None)
            changed = replace(
                chunk, hold=None, refusal=None, gap_digest="", gap_count=0, failures=0, waits_since=state.server_date
            )
            put(state, searched_anew(changed, position) if chunk.status == "uncertain" else changed)
        case e.CandidateInspected():
            state.inspected[event.batch] = event
        case e.TwinFound():
            if event.chunk not in state.chunks or event.batch in state.batches:
                illegal(position, event, "the batch is claimed, or the chunk unknown")
            # One that a person has dealt with stays so, also when its rows are weighed only then.
            (state.acknowledged if event.batch in state.acknowledged else state.twins)[event.batch] = event
        case e.TwinAcknowledged():
            if event.batch not in state.twins:
                illegal(position, event, "no such twin")
            twin = state.acknowledged[event.batch] = state.twins.pop(event.batch)  # dealt with, and still paid for
            chunk = state.chunks[twin.chunk]
            put(state, replace(chunk, disowned=(*chunk.disowned, event.batch)))  # the next list shows it again
        case e.ResultsShort():
            chunk = in_status(state, position, event, event.chunk, "ended")
            again = chunk.gap_count + 1 if chunk.gap_digest == event.gap_digest else 1
            put(state, replace(chunk, gap_digest=event.gap_digest, gap_count=again))
        case e.ResultsLost():
            results_lost(state, position, event)
        case e.FindingRecorded():
            state.findings += 1
        case e.RunPaused():
            state.pauses[event.reason] = event
        case e.RunResumed():
            if event.reason not in state.pauses:
                illegal(position, event, f"the run is not paused by {event.reason}")
            del state.pauses[event.reason]
            forget_refusals(state, event.reason)
            if event.reason in BRAKES:  # errors are counted anew from here on: else it would trip again at once
                state.released_outcomes = {outcome: count for outcome, count in state.outcomes.items() if count}
            state.failures = {
                key: failure for key, failure in state.failures.items() if failure.status not in (401, 403)
            }
        case e.BudgetSet():
            state.budget = event
        case e.CanaryJudged():
            if state.canary is not None:
                illegal(position, event, f"it was {state.canary.verdict} already")
            state.canary = e.as_stored(event)  # it holds a mapping, too
        case e.AlarmRaised():
            state.alarms[f"{event.alarm} {event.batch}".rstrip()] = event
        case e.CancelRequested():
            state.cancels[event.batch] = False
        case e.CancelAccepted():
            if event.batch not in state.cancels:
                illegal(position, event, "nobody asked for it")
            state.cancels[event.batch] = True
            state.failures.pop(f"cancel:{event.batch}", None)
        case e.LedgerRecovered():
            state.recovered_position = position
        case e.RunFinished():
            if state.unfinished or any(True for _ in state.live_chunks()):
                illegal(position, event, f"{state.unfinished} requests have no outcome yet")
            state.finished, state.finished_at = e.as_stored(event), at  # likewise
        case _:
            assert_never(event)
