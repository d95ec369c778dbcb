"""Collecting an ended batch: its results are downloaded to a private file, checked whole, and stored.

The longest of the commands that ``ledger.perform`` describes, off the writer's thread like all of them.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator
from hashlib import sha256
from sys import intern
from typing import BinaryIO, NamedTuple

from ledger.core import events as e
from ledger.core.answers import PAUSE_KINDS, Answer, is_final, own_row, read_row, row_wire_id
from ledger.core.chunks import parse_wire_id
from ledger.core.columns import ordinals
from ledger.core.looking import lost
from ledger.core.prices import TIER_BATCH
from ledger.core.state import SERVICE_TYPE, Chunk
from ledger.files.lines import split_lines
from ledger.perform import GAPS_NEEDED, Tools, call_failed, other_workspace
from ledger.ports import CallError, ResultPayload
from ledger.store.payloads import digest, new_salts, result_blocks

RESULTS_A_COMMIT = 1000
RESULT_BYTES_A_COMMIT = 4_000_000
"""So that answers of a megabyte are not gathered by the thousand."""
TORN_TIMES = 10
"""Downloads in a row that end inside a row; after them, what is there counts like any other complete download."""


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
            if paused := other_workspace(job.workspace, error.workspace):
                return paused
            if error.status in (404, 410) and error.envelope:
                return _unavailable(chunk, error, tools)
            return [call_failed(key, error)]
        if spooled.foreign and not spooled.places and not sum(job.stored.values()):
            return _not_ours(job, spooled)
        tallies = dict(job.stored)
        _store(job, spooled, spool, tallies, tools)
    return [*spooled.findings, *_conclude(job, spooled, tallies)]


class _Spooling:
    """A stream of bytes that is kept in the spool as it comes, and knows whether the last of them ended a line.

    Whole pieces are written: row by row it was 14 µs a row of 2.6 KB, half of all that collecting cost.
    """

    def __init__(self, pieces: Iterator[bytes], spool: BinaryIO) -> None:
        self._pieces = pieces
        self._spool = spool
        self.ended_a_line = True

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if piece:
                self._spool.write(piece)
                self.ended_a_line = piece.endswith(b"\n")
                yield piece


def _download(job: CollectJob, tools: Tools, spool: BinaryIO) -> _Spooled:
    chunk = job.chunk
    members = set(ordinals(chunk.ranges))
    places: dict[int, tuple[int, int]] = {}
    findings: list[e.AnyEvent] = []
    end = rows = foreign = earlier = 0

    def note(finding: str, row: bytes, ordinal: int = -1) -> None:
        detail = f"{len(row)} bytes, SHA-256 {sha256(row).hexdigest()}, row {rows}"
        findings.append(
            e.FindingRecorded(finding=finding, detail=detail, chunk=chunk.chunk, batch=chunk.batch, ordinal=ordinal)
        )

    own_beginning = own_row(job.nonce).match
    row, pieces = b"", _Spooling(tools.gateway.results(chunk.batch), spool)
    for row in split_lines(pieces):
        offset, end = end, end + len(row) + 1
        if own := own_beginning(row):
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
    if not pieces.ended_a_line and row.strip() and read_row(row) is None and job.failures < TORN_TIMES:
        # A stream without a known length ends as cleanly when it is cut: a torn last row gives it away.
        raise CallError("the results end inside a row", kind="torn", message=f"row {rows} has no end")
    spool.flush()
    return _Spooled(places, rows, foreign, earlier, findings)


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
    read = _reads_of(spool)
    for index, ordinal in enumerate(job.waiting):
        place = spooled.places.get(ordinal)
        if place is None:
            continue
        row = read(*place)
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
            salts = iter(new_salts(min(len(job.waiting) - index, RESULTS_A_COMMIT)))
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


def _reads_of(spool: BinaryIO) -> Callable[[int, int], bytes]:
    """Return how to read (offset, size) of a spool, whose rows lie in the service's order.

    One call to the system a row, 1.3 µs; through the file object it is a seek and a read, 2.4 µs.
    """
    try:
        file = spool.fileno()
    except OSError:  # in memory

        def read(offset: int, size: int) -> bytes:
            spool.seek(offset)
            return spool.read(size)

        return read
    return lambda offset, size: os.pread(file, size, offset)


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


__all__ = ["CollectJob", "collect"]
