"""From what the service listed to events: statuses, evidence, twins, alarms. Pure: the runner fetched it all before."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ledger.core import events as e
from ledger.core.deadlines import EXPIRY_ALARM_US, RETENTION_ALARM_US, RETENTION_US
from ledger.core.reconcile import twin_suspects
from ledger.core.state import Chunk, RunState
from ledger.core.units import MICROSECONDS_PER_SECOND, format_instant

OVERDUE_US = 3_600 * MICROSECONDS_PER_SECOND
GONE_TIMES = 3
"""A batch of ours must be answered with 404 so many times, in the right workspace, before it is taken as deleted."""


class Looked(msgspec.Struct, frozen=True):
    """One look at the workspace.

    ``asked_at`` is the log's position when it began, ``complete`` whether the list went back to the horizon and a
    batch that we know could be had; ``gone`` are batches of ours that the service answered with 404. ``undated``:
    ``server_date`` is of our own clock.
    """

    asked_at: int
    server_date: int
    workspace: str
    batches: tuple[e.BatchSeen, ...]
    evidence: bool
    complete: bool
    gone: tuple[str, ...] = ()
    undated: bool = False


def looked_events(state: RunState, looked: Looked) -> Iterator[e.AnyEvent]:
    """Yield what a look teaches."""
    if looked.workspace and state.workspace and looked.workspace != state.workspace:
        yield from wrong_workspace(state, looked.workspace)
        return
    if looked.workspace and not state.workspace:
        yield e.WorkspaceSeen(workspace=looked.workspace)
    ours = [seen for seen in looked.batches if seen.batch in state.batches]
    changes = tuple(seen for seen in ours if _changed(state, seen))
    yield e.StatusPolled(server_date=looked.server_date, changes=changes)
    if looked.evidence:
        candidates = tuple(seen for seen in looked.batches if seen.batch not in state.batches)
        yield e.BatchesListed(
            asked_at=looked.asked_at,
            server_date=looked.server_date,
            complete=looked.complete,
            undated=looked.undated,
            # Where nothing is in doubt the list was a scan for twins, hours of them: their names would fill the log.
            candidates=candidates if state.chunks_in("uncertain") else (),
        )
        yield from _twins(state, candidates)
    yield from _gone(state, looked)
    yield from _alarms(state, looked)


def wrong_workspace(state: RunState, workspace: str) -> Iterator[e.AnyEvent]:
    """Yield the pause for a key of another workspace, where our batches cannot be seen and nothing is certain."""
    if "workspace" not in state.pauses:
        yield e.RunPaused(
            reason="workspace",
            detail=f"this ledger belongs to workspace {state.workspace}, the key to {workspace}",
            lift=f"ledger resume (with a key of workspace {state.workspace})",
        )


def _changed(state: RunState, seen: e.BatchSeen) -> bool:
    chunk = state.chunks[state.batches[seen.batch]]
    if chunk.status != "submitted" or seen.status == chunk.state:
        return False
    return seen.status != "ended" or (seen.counts is not None and seen.counts.total > 0)


def _twins(state: RunState, candidates: tuple[e.BatchSeen, ...]) -> Iterator[e.AnyEvent]:
    for chunk, prepared, seen in twin_suspects(state, candidates):
        yield e.TwinFound(
            chunk=chunk.chunk, submission=prepared.submission, batch=seen.batch, requests=prepared.requests
        )
        yield e.AlarmRaised(
            alarm="twin",
            detail=(
                f"batch {seen.batch} may be a second one of chunk {chunk.chunk}, accepted after it was given up"
                f"{' (it is running)' if seen.status != 'ended' else ''}: ledger cancel {seen.batch}"
            ),
            batch=seen.batch,
        )


def _gone(state: RunState, looked: Looked) -> Iterator[e.AnyEvent]:
    for batch in looked.gone:
        chunk = state.chunks[state.batches[batch]]
        command = f"gone:{batch}"
        before = state.failures.get(command)
        if before is None or before.count < GONE_TIMES - 1:
            yield e.CallFailed(command=command, status=404, kind="not_found_error", detail=f"batch {batch} not found")
        elif chunk.status in ("submitted", "ended") and chunk.hold is None:
            yield from lost(chunk, "deleted")


def lost(chunk: Chunk, cause: str) -> Iterator[e.AnyEvent]:
    """Yield the end of a batch whose results are gone: its items are lost, never asked again by themselves.

    A batch that was only taken to be ours may have been a stranger's, deleted by its owner: that is a person's to say.
    """
    if not chunk.proven:
        yield e.ChunkHeld(
            chunk=chunk.chunk,
            reason="vanished",
            detail=f"batch {chunk.batch} was {cause} before its rows could prove whose it was",
            lift=(
                f"ledger resolve {chunk.chunk} --absent (it was not ours: looks for ours), --lost (it was: its results "
                "are given up) or --again (asks for it again)"
            ),
        )
        return
    yield e.FindingRecorded(
        finding="results_lost",
        detail=f"the results of batch {chunk.batch} were {cause} before they were collected",
        chunk=chunk.chunk,
        batch=chunk.batch,
    )
    yield e.ResultsLost(chunk=chunk.chunk, batch=chunk.batch, cause="archived" if cause == "archived" else "deleted")


def _alarms(state: RunState, looked: Looked) -> Iterator[e.AnyEvent]:
    for chunk in state.chunks_in("submitted", "ended"):
        if not looked.server_date or not chunk.created_at:
            continue
        age = looked.server_date - chunk.created_at
        if age > RETENTION_US - RETENTION_ALARM_US and f"retention {chunk.batch}" not in state.alarms:
            until = format_instant(chunk.created_at + RETENTION_US)
            yield e.AlarmRaised(
                alarm="retention",
                detail=f"the results of batch {chunk.batch} can be had only until {until}: ledger resume",
                batch=chunk.batch,
            )
        is_open = chunk.status == "submitted" and chunk.expires_at
        expiring = is_open and chunk.expires_at - EXPIRY_ALARM_US < looked.server_date < chunk.expires_at
        if expiring and f"expiring {chunk.batch}" not in state.alarms:
            until = format_instant(chunk.expires_at)
            yield e.AlarmRaised(
                alarm="expiring",
                detail=f"batch {chunk.batch} is still open and expires at {until}; "
                "what it has not answered by then is not billed, and asked again",
                batch=chunk.batch,
            )
        overdue = is_open and looked.server_date > chunk.expires_at + OVERDUE_US
        if overdue and f"overdue {chunk.batch}" not in state.alarms:
            yield e.AlarmRaised(
                alarm="overdue",
                detail=f"batch {chunk.batch} is still open an hour after its expiry; it is not repeated while it is",
                batch=chunk.batch,
            )
