"""What each command does to the world. One function a command, off the writer's thread, talking only through ports.

A function gets a job (all it needs of the state, by value), and returns the events that tell what came of it. What must
be durable in between goes through ``emit``, which returns once it is. Collecting results is in ``ledger.collecting``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO, NamedTuple, Protocol

import msgspec

from ledger.core import events as e
from ledger.core.answers import named_request, reaction_to, read_row, row_wire_id
from ledger.core.chunks import body, nonce_of, parse_wire_id, wire_id
from ledger.core.columns import ordinals
from ledger.core.looking import Looked
from ledger.core.prices import Usage
from ledger.core.reconcile import LISTING_MARGIN_US, OVERDUE_PATIENCE_US
from ledger.core.state import Chunk
from ledger.core.units import DAY_US
from ledger.files.lines import split_lines
from ledger.ports import CallError, EventLog, Gateway, ReleaseRefusedError, ResultBlock

PAGE_BATCHES = 1000
WATERMARK_BATCHES = 100
PAGES_AT_MOST = 100
OPEN_PATIENCE_US = 300_000_000
"""When a batch that is inspected and has not ended is asked again: it may take hours, and each time is an event."""
GAPS_NEEDED = 3
"""Complete downloads with identical gaps before the missing rows count as missing."""


class Emit(Protocol):
    """Makes events (and the payloads they name) durable before it returns."""

    def __call__(self, events: Sequence[e.AnyEvent], results: Sequence[ResultBlock] = ()) -> None:
        """Raise StoppedError instead when the run is stopping."""
        ...


class StoppedError(Exception):
    """The run is stopping; what was under way ends here."""


class Tools(NamedTuple):
    """What a job works with: the service, a reader of the ledger, a private temporary file, the way to the log."""

    gateway: Gateway
    reader: Callable[[], AbstractContextManager[EventLog]]
    spool: Callable[[], BinaryIO]
    emit: Emit


# ── submit ──────────────────────────────────────────────────────────────────────────────────────────────────────


class SubmitJob(NamedTuple):
    """A chunk to have accepted. ``claimed`` are the batches this ledger knows."""

    chunk: Chunk
    ledger_id: str
    workspace: str
    betas: tuple[str, ...]
    opaque_ids: bool
    claimed: frozenset[str]


def submit(job: SubmitJob, tools: Tools) -> list[e.AnyEvent]:
    """Submit a chunk once: watermark, intent, body, release, answer."""
    chunk = job.chunk
    try:
        page = tools.gateway.list(WATERMARK_BATCHES)
    except CallError as error:
        return [call_failed("submit", error)]
    seen_workspace = page.reply.workspace
    if paused := other_workspace(job.workspace, seen_workspace):
        return paused
    newest = page.batches[0] if page.batches else None
    submission = chunk.submission + 1
    near = (newest.created_at if newest else 0) - LISTING_MARGIN_US
    prepared = e.SubmissionPrepared(
        chunk=chunk.chunk,
        submission=submission,
        nonce=nonce_of(job.ledger_id, chunk.chunk, submission),
        requests=chunk.requests,
        size_bytes=chunk.size_bytes,
        server_date=page.reply.server_date,
        watermark=newest.batch if newest else "",
        watermark_created_at=newest.created_at if newest else 0,
        listed=tuple(b.batch for b in page.batches[1:] if b.created_at >= near and b.batch not in job.claimed),
    )
    named: list[e.AnyEvent] = [] if job.workspace or not seen_workspace else [e.WorkspaceSeen(workspace=seen_workspace)]
    tools.emit([*named, prepared])
    return _send(job, prepared, tools)


def _send(job: SubmitJob, prepared: e.SubmissionPrepared, tools: Tools) -> list[e.AnyEvent]:
    chunk, submission = prepared.chunk, prepared.submission
    released = False

    def release(body_digest: str) -> None:
        nonlocal released
        try:
            tools.emit([e.SubmissionReleased(chunk=chunk, submission=submission, digest=body_digest)])
        except StoppedError as stopped:
            raise ReleaseRefusedError("the run is stopping") from stopped
        released = True

    try:
        with tools.reader() as log:
            pieces = body(_items(job, prepared.nonce, log))
            accepted = tools.gateway.submit(pieces, prepared.size_bytes, job.betas, release)
    except ReleaseRefusedError as refused:
        if released:
            return [e.SubmissionUncertain(chunk=chunk, submission=submission, cause="late", detail=str(refused))]
        return [e.SubmissionAborted(chunk=chunk, submission=submission, cause="stopped", detail=str(refused))]
    except CallError as error:
        return [refusal(job.chunk, submission, error, released=released)]
    created = _created(prepared, accepted.batch, accepted.reply.server_date, accepted.reply.request_id)
    if not released:  # a service that accepts half a body: the batch is there, and must not be made again
        return [e.SubmissionReleased(chunk=chunk, submission=submission, digest=""), *created]
    return created


def _items(job: SubmitJob, nonce: str, log: EventLog) -> Iterator[tuple[str, bytes]]:
    members = sorted(ordinals(job.chunk.ranges))
    for ordinal, payload in zip(members, log.request_payloads(members), strict=True):
        yield wire_id(ordinal, nonce, payload.custom_id, opaque=job.opaque_ids), payload.params


def _created(prepared: e.SubmissionPrepared, batch: e.BatchSeen, date: int, request_id: str) -> list[e.AnyEvent]:
    """An id in hand beats all else that the answer says: the batch exists and is ours."""
    created_at = batch.created_at or date
    total = batch.counts.total if batch.counts else 0
    events: list[e.AnyEvent] = [
        e.BatchCreated(
            chunk=prepared.chunk,
            submission=prepared.submission,
            batch=batch.batch,
            created_at=created_at,
            expires_at=batch.expires_at or created_at + DAY_US,
            total=total,
            request_id=request_id,
        )
    ]
    if total != prepared.requests:
        events.append(
            e.FindingRecorded(
                finding="counts_differ",
                detail=f"the service took {prepared.requests} requests and counted {total}; its rows will tell",
                chunk=prepared.chunk,
                batch=batch.batch,
            )
        )
    return events


def refusal(chunk: Chunk, submission: int, error: CallError, *, released: bool) -> e.AnyEvent:
    """Return what a failed submission means: refused, aborted, or uncertain."""
    reaction = reaction_to(
        error.status, error.code, error.message, envelope=error.envelope, retry_after=bool(error.retry_after_us)
    )
    if reaction is None:
        detail = (error.message or error.what)[:300]
        cause = f"{error.status} {error.kind}".strip() if error.status else error.kind or "no answer"
        if not released or not error.sent:
            # Before the release the last byte was never sent; and a connection that was never made carried nothing.
            if released:
                return e.SubmissionUncertain(chunk=chunk.chunk, submission=submission, cause=cause, detail=detail)
            return e.SubmissionAborted(chunk=chunk.chunk, submission=submission, cause=cause, detail=detail)
        return e.SubmissionUncertain(
            chunk=chunk.chunk, submission=submission, cause=cause, detail=detail, request_id=error.request_id
        )
    members = sorted(ordinals(chunk.ranges))
    index = named_request(error.message)
    ordinal = -1
    if reaction == "reject":
        if index is not None and index < len(members):
            ordinal = members[index]
        else:
            reaction = "bisect"
    if reaction in ("bisect", "split") and len(members) == 1:
        # One request that came too slowly may come faster later; one that is refused alone is refused.
        reaction, ordinal = ("wait", -1) if error.code == "request_body_timeout" else ("reject", members[0])
    return e.SubmissionRefused(
        chunk=chunk.chunk,
        submission=submission,
        status=error.status,
        reaction=reaction,
        kind=error.kind,
        code=error.code,
        message=error.message[:300],
        retry_after_us=error.retry_after_us,
        request_id=error.request_id,
        ordinal=ordinal,
    )


def other_workspace(ours: str, answered: str) -> list[e.AnyEvent]:
    """Return the pause for an answer from a workspace that is not ours, where nothing of ours can be seen."""
    if not ours or answered in ("", ours):
        return []
    return [
        e.RunPaused(
            reason="workspace",
            detail=f"this ledger belongs to workspace {ours}, the key to {answered}",
            lift=f"ledger resume (with a key of workspace {ours})",
        )
    ]


def call_failed(command: str, error: CallError) -> e.CallFailed:
    """Return the event of a call that did not work."""
    return e.CallFailed(
        command=command,
        status=error.status,
        kind=error.kind,
        detail=(error.message or error.what)[:300],
        retry_after_us=error.retry_after_us,
        request_id=error.request_id,
    )


# ── look ────────────────────────────────────────────────────────────────────────────────────────────────────────


class LookJob(NamedTuple):
    """What to look for: our open batches, and evidence back to ``horizon``.

    ``controls`` are batches we know, for where the answers do not name ``workspace``, which is ours.
    """

    asked_at: int
    open_batches: frozenset[str]
    evidence: bool
    horizon: int
    controls: tuple[str, ...]
    workspace: str


def look(job: LookJob, tools: Tools) -> Looked | e.CallFailed:
    """List the workspace; confirm by a retrieve what ended, and what the list does not show."""
    listed: dict[str, e.BatchSeen] = {}
    server_date, undated, workspace, after, complete = 0, False, "", "", False
    try:
        for _ in range(PAGES_AT_MOST):
            page = tools.gateway.list(PAGE_BATCHES, after)
            if not server_date:
                server_date, undated = page.reply.server_date, page.reply.undated
            workspace = workspace or page.reply.workspace
            listed.update((seen.batch, seen) for seen in page.batches)
            after = page.last_id
            complete = not page.has_more or (bool(page.batches) and 0 < page.batches[-1].created_at < job.horizon)
            if complete or not after or (not job.evidence and job.open_batches <= listed.keys()):
                break
        gone = _confirm(job, listed, tools)
        if job.evidence and complete and not (job.workspace and workspace == job.workspace):
            complete = _control(job, listed, tools)
    except CallError as error:
        return call_failed("look", error)
    return Looked(
        job.asked_at, server_date, workspace, tuple(listed.values()), job.evidence, complete, tuple(gone), undated
    )


def _confirm(job: LookJob, listed: dict[str, e.BatchSeen], tools: Tools) -> list[str]:
    gone = []
    for batch in sorted(job.open_batches):
        seen = listed.get(batch)
        if seen is not None and seen.status != "ended":
            continue
        try:
            listed[batch] = tools.gateway.retrieve(batch).batch
        except CallError as error:
            if error.status != 404:
                raise
            gone.append(batch)
    return gone


def _control(job: LookJob, listed: dict[str, e.BatchSeen], tools: Tools) -> bool:
    """Return whether some batch that we know can be had: proof that the key sees our workspace.

    Asked only where the answers do not say so themselves: whoever deletes collected batches would have every
    submission in doubt held otherwise.
    """
    if not job.controls or any(batch in listed for batch in job.controls):
        return True
    for batch in job.controls:
        try:
            tools.gateway.retrieve(batch)
        except CallError as error:
            if error.status != 404:
                raise
            continue
        return True
    return False


# ── inspect ─────────────────────────────────────────────────────────────────────────────────────────────────────


class InspectJob(NamedTuple):
    """A batch whose rows tell whose it is. ``nonces`` leads to (chunk, submission); ``twin`` wants its whole cost.

    ``shortages`` is how often some rows of the twin were missing so far.
    """

    batch: str
    nonces: dict[str, tuple[int, int]]
    twin: e.TwinFound | None
    workspace: str
    shortages: int


def inspect(job: InspectJob, tools: Tools) -> list[e.AnyEvent]:
    """Read the rows of an unclaimed batch: the first readable wire id decides, a twin is weighed whole.

    Whether it has ended is asked before its rows are: asked after, a batch that ends in between would seem to be an
    ended one without rows, and never be read again.
    """
    verdict: e.CandidateInspected | None = None
    usage = Usage()
    weighed: set[int] = set()
    try:
        asked = tools.gateway.retrieve(job.batch)
        overdue = asked.batch.expires_at and asked.reply.server_date > asked.batch.expires_at + OVERDUE_PATIENCE_US
        if asked.batch.status != "ended" and not overdue:
            return [
                e.CallFailed(
                    command=f"inspect:{job.batch}",
                    kind="open",
                    detail="the batch has not ended yet",
                    retry_after_us=OPEN_PATIENCE_US,
                )
            ]
        # What has not ended a day after it should have expired may never end: nobody can tell whose it is.
        pieces = tools.gateway.results(job.batch) if asked.batch.status == "ended" else ()
        for row in split_lines(pieces):
            if verdict is None:
                verdict = _whose(job, row)
                if verdict is not None and (job.twin is None or verdict.verdict != "ours"):
                    break
            if verdict is not None:
                usage += _weight(row, verdict.nonce, weighed)
    except CallError as error:
        if paused := other_workspace(job.workspace, error.workspace):
            return paused
        if error.status != 404 or not error.envelope:
            return [call_failed(f"inspect:{job.batch}", error)]
    verdict = verdict or e.CandidateInspected(batch=job.batch, verdict="unreadable")
    events: list[e.AnyEvent] = [verdict]
    if job.twin is not None:
        missing = job.twin.requests - len(weighed)
        if verdict.verdict == "ours" and missing and job.shortages < GAPS_NEEDED - 1:
            detail = f"{missing} of {job.twin.requests} rows were not in the download"
            return [e.CallFailed(command=f"weigh:{job.batch}", kind="short", detail=detail)]
        if verdict.verdict == "ours":
            events.append(msgspec.structs.replace(job.twin, proven=True, usage=usage))
            if missing:  # what a report of the costs must not leave unsaid
                gap = f"{missing} of {job.twin.requests} rows were in none of {GAPS_NEEDED} downloads"
                events.append(
                    e.FindingRecorded(
                        finding="twin_short", detail=f"{gap}: not in the costs", chunk=job.twin.chunk, batch=job.batch
                    )
                )
        elif verdict.verdict == "foreign":
            events.append(e.TwinAcknowledged(chunk=job.twin.chunk, batch=job.batch))
    return events


def _weight(row: bytes, nonce: str, weighed: set[int]) -> Usage:
    """Return what a row of a batch with this nonce was charged for, nothing for one that is not its own or was seen."""
    wire = parse_wire_id(row_wire_id(row) or "")
    answer = read_row(row)
    if answer is None or wire is None or wire.nonce != nonce or wire.ordinal in weighed:
        return Usage()
    weighed.add(wire.ordinal)
    return answer.usage if answer.usage is not None and answer.billed else Usage()


def _whose(job: InspectJob, row: bytes) -> e.CandidateInspected | None:
    wire = row_wire_id(row)
    if wire is None:
        return None
    ours = parse_wire_id(wire)
    claim = job.nonces.get(ours.nonce) if ours else None
    if ours is None or claim is None:
        return e.CandidateInspected(batch=job.batch, verdict="foreign")
    return e.CandidateInspected(batch=job.batch, verdict="ours", chunk=claim[0], submission=claim[1], nonce=ours.nonce)


# ── cancel ──────────────────────────────────────────────────────────────────────────────────────────────────────


def cancel(batch: str, tools: Tools, workspace: str = "") -> list[e.AnyEvent]:
    """Ask the service to cancel a batch; a batch that has ended is left as it is."""
    try:
        return [e.CancelAccepted(batch=batch, status=tools.gateway.cancel(batch).batch.status)]
    except CallError as error:
        if paused := other_workspace(workspace, error.workspace):
            return paused
        if error.status in (400, 404, 409, 422):
            return [e.CancelAccepted(batch=batch, status=f"refused: {(error.message or error.what)[:200]}")]
        return [call_failed(f"cancel:{batch}", error)]


__all__ = [
    "Emit",
    "InspectJob",
    "LookJob",
    "StoppedError",
    "SubmitJob",
    "Tools",
    "cancel",
    "inspect",
    "look",
    "submit",
]
