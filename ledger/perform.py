"""What each command does to the world. One function a command, off the writer's thread, talking only through ports.

A function gets a job (all it needs of the state, by value), and returns the events that tell what came of it. What must
be durable in between goes through ``emit``, which returns once it is.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from hashlib import sha256
from sys import intern
from typing import BinaryIO, NamedTuple, Protocol

import msgspec

from ledger.core import events as e
from ledger.core.answers import PAUSE_KINDS, Answer, is_final, named_request, reaction_to, read_row, row_wire_id
from ledger.core.chunks import body, nonce_of, parse_wire_id, wire_id
from ledger.core.columns import ordinals
from ledger.core.looking import Looked, lost
from ledger.core.prices import TIER_BATCH, Usage
from ledger.core.reconcile import LISTING_MARGIN_US, OVERDUE_PATIENCE_US
from ledger.core.state import SERVICE_TYPE, Chunk
from ledger.core.units import DAY_US
from ledger.files.lines import split_lines
from ledger.ports import CallError, EventLog, Gateway, ReleaseRefusedError, ResultBlock, ResultPayload
from ledger.store.payloads import digest, new_salts, result_blocks

PAGE_BATCHES = 1000
WATERMARK_BATCHES = 100
PAGES_AT_MOST = 100
RESULTS_A_COMMIT = 1000
RESULT_BYTES_A_COMMIT = 4_000_000
"""So that answers of a megabyte are not gathered by the thousand."""
TORN_TIMES = 10
"""Downloads in a row that end inside a row; after them, what is there counts like any other complete download."""
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
    if paused := _other_workspace(job.workspace, seen_workspace):
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


def _other_workspace(ours: str, answered: str) -> list[e.AnyEvent]:
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
        if paused := _other_workspace(job.workspace, error.workspace):
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


# ── collect ─────────────────────────────────────────────────────────────────────────────────────────────────────


class CollectJob(NamedTuple):
    """An ended batch.

    ``earlier`` leads from the nonces of the chunk's submissions before to their numbers. ``waiting`` are the ordinals
    still without a row of it, ascending; ``attempts`` and ``models`` run beside them; ``stored`` counts the rows
    already stored, by the service's type; ``failures`` how often collecting failed in a row.
    """

    chunk: Chunk
    nonce: str
    earlier: dict[str, int]
    waiting: array[int]
    attempts: bytes
    models: list[str]
    stored: dict[str, int]
    max_attempts: int
    cancel_wanted: bool
    workspace: str
    failures: int


class _Spooled(NamedTuple):
    """Where each row that we wait for lies in the spool, and what else was in the file.

    ``earlier`` is the submission of this chunk, given up before, that the other rows belong to; 0 for none.
    """

    places: dict[int, tuple[int, int]]
    rows: int
    foreign: int
    earlier: int
    findings: list[e.AnyEvent]


def collect(job: CollectJob, tools: Tools) -> list[e.AnyEvent]:
    """Download the results of a batch to a private file, check them whole, and store them in order of ordinal.

    Checking before storing means that a download cut anywhere costs a repetition and nothing else; storing in order
    means that answers can be written out later in the order of the input without searching.
    """
    chunk = job.chunk
    key = f"collect:{chunk.chunk}"
    with tools.spool() as spool:
        try:
            spooled = _download(job, tools, spool)
        except CallError as error:
            if paused := _other_workspace(job.workspace, error.workspace):
                return paused
            if error.status in (404, 410) and error.envelope:
                return _unavailable(chunk, error, tools)
            return [call_failed(key, error)]
        if spooled.foreign and not spooled.places and not sum(job.stored.values()):
            return _not_ours(job, spooled)
        tallies = dict(job.stored)
        _store(job, spooled, spool, tallies, tools)
    return [*spooled.findings, *_conclude(job, spooled, tallies)]


class _Tail:
    """A stream of bytes that knows whether the last of them ended a line."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.ended_a_line = True

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if piece:
                self.ended_a_line = piece.endswith(b"\n")
            yield piece


def _download(job: CollectJob, tools: Tools, spool: BinaryIO) -> _Spooled:
    chunk = job.chunk
    wanted = set(job.waiting)
    members = set(ordinals(chunk.ranges))
    places: dict[int, tuple[int, int]] = {}
    findings: list[e.AnyEvent] = []
    offset = rows = foreign = earlier = 0

    def note(finding: str, row: bytes, ordinal: int = -1) -> None:
        detail = f"{len(row)} bytes, SHA-256 {sha256(row).hexdigest()}, row {rows}"
        findings.append(
            e.FindingRecorded(finding=finding, detail=detail, chunk=chunk.chunk, batch=chunk.batch, ordinal=ordinal)
        )

    own_row = _own_row(job.nonce).match
    row, tail = b"", _Tail(tools.gateway.results(chunk.batch))
    for row in split_lines(tail):
        if own := own_row(row):
            ordinal, nonce = int(own[1], 36), job.nonce
        elif not row.strip():
            continue
        elif (wire := row_wire_id(row)) is None:
            rows += 1
            note("corrupt_row", row)
            continue
        else:
            ordinal, nonce = parse_wire_id(wire) or (-1, "")
        rows += 1
        if nonce != job.nonce or ordinal not in members:
            foreign += 1
            earlier = earlier or job.earlier.get(nonce, 0)
            note("foreign_row", row)
        elif ordinal in places:
            note("duplicate_row", row, ordinal)
        else:
            # Rows stored by an earlier, interrupted collection count as seen; they are not stored again.
            places[ordinal] = (offset, len(row))
            if ordinal in wanted:
                spool.write(row)
                offset += len(row)
    if not tail.ended_a_line and row.strip() and read_row(row) is None and job.failures < TORN_TIMES:
        # A stream without a known length ends as cleanly when it is cut: a torn last row gives it away.
        raise CallError("the results end inside a row", kind="torn", message=f"row {rows} has no end")
    spool.flush()
    return _Spooled(places, rows, foreign, earlier, findings)


def _own_row(nonce: str) -> re.Pattern[bytes]:
    """Return the beginning of a row of ours, as the service writes it; with what is not alike, `row_wire_id` deals.

    One match tells the ordinal and proves the nonce: 1 µs a row, a third of taking the id out and apart.
    """
    return re.compile(rb'\{"custom_id":"([0-9a-z]{1,7})-%b(?:-[a-zA-Z0-9_-]*)?"' % nonce.encode())


def _not_ours(job: CollectJob, spooled: _Spooled) -> list[e.AnyEvent]:
    chunk = job.chunk
    if chunk.proven:
        # The service itself named this batch as the answer to our submission, and returns somebody else's rows.
        detail = f"all {spooled.rows} rows of batch {chunk.batch} are somebody else's"
        return [
            e.FindingRecorded(finding="foreign_results", detail=detail, chunk=chunk.chunk, batch=chunk.batch),
            e.ChunkHeld(
                chunk=chunk.chunk,
                reason="foreign_results",
                detail=detail,
                lift=f"ledger resolve {chunk.chunk} --again (downloads once more)",
            ),
        ]
    whose = f"submission {spooled.earlier}'s, given up before" if spooled.earlier else "somebody else's"
    events: list[e.AnyEvent] = [
        e.BatchDisowned(
            chunk=chunk.chunk,
            submission=chunk.submission,
            batch=chunk.batch,
            why=f"{spooled.foreign} of its {spooled.rows} rows are {whose}",
        )
    ]
    if spooled.earlier:  # it came after all: a twin of whatever becomes of the latest submission, and it is weighed
        events.append(
            e.TwinFound(chunk=chunk.chunk, submission=spooled.earlier, batch=chunk.batch, requests=chunk.requests)
        )
    return events


def _unavailable(chunk: Chunk, error: CallError, tools: Tools) -> list[e.AnyEvent]:
    """A 404 for results: gone for good only when the batch itself is gone, or says that it was archived."""
    try:
        seen = tools.gateway.retrieve(chunk.batch).batch
    except CallError as again:
        if again.status == 404 and again.envelope:
            return list(lost(chunk, "deleted"))
        return [call_failed(f"collect:{chunk.chunk}", again)]
    if seen.archived_at:
        return list(lost(chunk, "archived"))
    return [call_failed(f"collect:{chunk.chunk}", error)]


def _store(job: CollectJob, spooled: _Spooled, spool: BinaryIO, tallies: dict[str, int], tools: Tools) -> None:
    events: list[e.AnyEvent] = []
    payloads: list[ResultPayload] = []
    gathered_bytes = 0
    salts: Iterator[bytes] = iter(())
    paused: set[str] = set()
    for index, ordinal in enumerate(job.waiting):
        place = spooled.places.get(ordinal)
        if place is None:
            continue
        row = _read_at(spool, *place)
        answer = read_row(row)
        if answer is None:
            spooled.findings.append(
                e.FindingRecorded(
                    finding="corrupt_row",
                    detail=f"{len(row)} bytes, SHA-256 {sha256(row).hexdigest()}",
                    chunk=job.chunk.chunk,
                    batch=job.chunk.batch,
                    ordinal=ordinal,
                )
            )
            del spooled.places[ordinal]
            continue
        salt = next(salts, None)
        if salt is None:
            salts = iter(new_salts(RESULTS_A_COMMIT))
            salt = next(salts)
        event = _result(job, index, ordinal, answer, digest(salt, row))
        tallies[SERVICE_TYPE[event.outcome]] += 1
        events.append(event)
        payloads.append(ResultPayload(ordinal, salt, row))
        gathered_bytes += len(row)
        if answer.error_kind in PAUSE_KINDS and answer.error_kind not in paused:
            paused.add(answer.error_kind)
            events.append(_pause_for(answer))
        if len(payloads) == RESULTS_A_COMMIT or gathered_bytes >= RESULT_BYTES_A_COMMIT:
            tools.emit(events, list(result_blocks(job.chunk.chunk, payloads)))
            events, payloads, gathered_bytes = [], [], 0
    if events:
        tools.emit(events, list(result_blocks(job.chunk.chunk, payloads)))


def _read_at(spool: BinaryIO, offset: int, size: int) -> bytes:
    # The rows lie in the service's order: through the file object's buffer each would cost two reads, 3.4 µs, not 2.2.
    unbuffered: BinaryIO = getattr(spool, "raw", spool)
    unbuffered.seek(offset)
    return unbuffered.read(size)


def _result(job: CollectJob, index: int, ordinal: int, answer: Answer, row_digest: str) -> e.ResultStored:
    final = is_final(answer, job.attempts[index] + 1, job.max_attempts, cancel_wanted=job.cancel_wanted)
    return e.ResultStored(
        ordinal=ordinal,
        chunk=job.chunk.chunk,
        digest=row_digest,
        outcome=answer.outcome,
        final=final,
        usage=answer.usage,
        stop_reason=intern(answer.stop_reason),  # a field is left out of the log only when it *is* its default
        error_kind=answer.error_kind,
        model="" if answer.model == job.models[index] else answer.model,
        tier=intern(answer.tier) if answer.service_type == "succeeded" else TIER_BATCH,
        geo=answer.geo,
        billed=answer.billed,
    )


def _pause_for(answer: Answer) -> e.RunPaused:
    spend = answer.error_kind == "billing_error"
    return e.RunPaused(
        reason="spend" if spend else "key",
        detail=f"items came back with {answer.error_kind}: {answer.error_message[:200]}",
        lift="ledger resume (once the account is in order)",
    )


def _conclude(job: CollectJob, spooled: _Spooled, tallies: dict[str, int]) -> Iterator[e.AnyEvent]:
    """Yield the end of a collection: collected when rows = submitted = counted, else short, and why."""
    chunk, counts = job.chunk, job.chunk.counts
    assert counts is not None  # an ended batch has counts: evolve refuses it without
    missing = tuple(ordinal for ordinal in job.waiting if ordinal not in spooled.places)
    counted = {"succeeded": counts.succeeded, "errored": counts.errored}
    counted |= {"canceled": counts.canceled, "expired": counts.expired}
    agree = tallies == counted or bool(missing)
    gap = sha256(repr((missing, sorted(tallies.items()))).encode()).hexdigest()[:16]
    lasting = chunk.gap_digest == gap and chunk.gap_count + 1 >= GAPS_NEEDED
    rows = sum(tallies.values())
    if agree and (not missing or lasting):
        if missing:
            yield e.FindingRecorded(
                finding="rows_missing",
                detail=f"{len(missing)} rows were in none of {GAPS_NEEDED} complete downloads",
                chunk=chunk.chunk,
                batch=chunk.batch,
            )
        yield e.BatchCollected(chunk=chunk.chunk, batch=chunk.batch, rows=rows, counts=counts, missing=missing)
        return
    detail = (
        f"{len(missing)} of {chunk.requests} rows were not in the download"
        if missing
        else f"the rows say {tallies}, the service counted {counted}"
    )
    yield e.ResultsShort(chunk=chunk.chunk, batch=chunk.batch, rows=rows, missing=len(missing), gap_digest=gap)
    if lasting:
        yield e.FindingRecorded(finding="counts_differ", detail=detail, chunk=chunk.chunk, batch=chunk.batch)
        yield e.ChunkHeld(
            chunk=chunk.chunk, reason="counts", detail=detail, lift=f"ledger resolve {chunk.chunk} --accept-counts"
        )
    else:
        yield e.CallFailed(command=f"collect:{chunk.chunk}", kind="short", detail=detail)


# ── cancel ──────────────────────────────────────────────────────────────────────────────────────────────────────


def cancel(batch: str, tools: Tools, workspace: str = "") -> list[e.AnyEvent]:
    """Ask the service to cancel a batch; a batch that has ended is left as it is."""
    try:
        return [e.CancelAccepted(batch=batch, status=tools.gateway.cancel(batch).batch.status)]
    except CallError as error:
        if paused := _other_workspace(workspace, error.workspace):
            return paused
        if error.status in (400, 404, 409, 422):
            return [e.CancelAccepted(batch=batch, status=f"refused: {(error.message or error.what)[:200]}")]
        return [call_failed(f"cancel:{batch}", error)]


__all__ = [
    "CollectJob",
    "Emit",
    "InspectJob",
    "LookJob",
    "StoppedError",
    "SubmitJob",
    "Tools",
    "cancel",
    "collect",
    "inspect",
    "look",
    "submit",
]
