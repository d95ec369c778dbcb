"""Recovery: what the workspace knows that this log does not.

A log that was restored from an older copy, or lost its ``-wal``, may have forgotten batches that are being paid for. A
log without its own sidecar cannot show that it is none of these. Before anything is submitted again, every batch of
the workspace since the run began that this ledger does not know is looked into: the nonces in its wire ids can be
computed again from the ledger's id, so what is ours is recognised even if the log never heard of it. What is ours is
adopted; nothing is ever submitted here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from ledger.core import events as e
from ledger.core.answers import row_wire_id
from ledger.core.chunks import body_size_bytes, nonce_of, parse_wire_id
from ledger.core.columns import IN_CHUNK, ordinals, to_ranges
from ledger.core.errors import PausedError
from ledger.core.reconcile import LISTING_MARGIN_US
from ledger.core.reopening import reopened_for_recovery
from ledger.core.state import TERMINAL, Chunk, RunState
from ledger.core.units import DAY_US, MICROSECONDS_PER_SECOND
from ledger.files.lines import split_lines
from ledger.perform import PAGE_BATCHES
from ledger.ports import CallError, Gateway
from ledger.runner import Writer

_FOR_EVER = 1 << 62
CHUNKS_BEYOND = 10_000
SUBMISSIONS_BEYOND = 8
"""How many chunks, and submissions of each, a log may have forgotten and still recognise."""
REPEATED_BEYOND = 1_000
NEXT_CHUNKS = 50
"""The chunks that were next to be sent may have been sent often: a full queue refuses one every five minutes."""
PAUSE = "recovery"

TIMES_SHORT = 3
"""Downloads with rows missing before what is there is taken for all there is."""
SHORT_SECONDS = 2.0
TRIES = 12
"""Calls in a row that may fail before a recovery gives up: about ten minutes."""

_Answer = TypeVar("_Answer")


class _Claim(msgspec.Struct, frozen=True):
    seen: e.BatchSeen
    chunk: int
    submission: int
    ordinals: list[int]


def recover(
    writer: Writer,
    gateway: Gateway,
    cause: str,
    lost_position: int,
    wait: Callable[[str, float], None],
    collect: Callable[[], None],
) -> e.LedgerRecovered:
    """Claim every batch of this ledger that the log does not know, and record that it was done.

    Args:
        writer: of the ledger, open for recovery.
        gateway: the service.
        cause: ``missing``, ``foreign`` or ``behind``: how the log stands to its sidecar.
        lost_position: the position the log had once, as far as known.
        wait: called with a reason and seconds; returns when they are over, or raises to stop.
        collect: carries the run on, paused as it is, until the results of all batches it knows are stored.

    Raises:
        PausedError: batches answer requests that this log does not have: the items must be taken in first.
        CallError: the service does not answer.
    """
    _settle_orphans(writer)
    claims = _survey(writer, gateway, wait)
    adopted: list[str] = []
    if any(_repeats_what_is_open(writer.state, claim) for claim in claims):
        _collect_first(writer, collect)
    # Collecting reconciles too: what it adopted meanwhile is claimed no more.
    while claims := [claim for claim in claims if claim.seen.batch not in writer.state.batches]:
        claims.sort(key=lambda claim: (claim.chunk, claim.submission))
        blocked: list[_Claim] = []
        for claim in claims:
            # Chunks are sealed in ascending order, so one that must wait holds up those behind it.
            behind = bool(blocked) and claim.chunk not in writer.state.chunks
            if behind or _repeats_what_is_open(writer.state, claim):
                blocked.append(claim)
                continue
            events = list(_adopt(writer.state, claim))
            writer.append(events)
            adopted += [event.batch for event in events if isinstance(event, e.BatchAdopted)]
        if len(blocked) == len(claims):
            raise _answered_twice(writer.state, blocked[0])
        claims = blocked
        if claims:
            _collect_first(writer, collect)
    if PAUSE in writer.state.pauses:
        writer.append([e.RunResumed(reason=PAUSE, by="service")])
    recovered = e.LedgerRecovered(cause=cause, lost_position=lost_position, adopted=tuple(adopted))
    writer.append([recovered])
    return recovered


def _repeats_what_is_open(state: RunState, claim: _Claim) -> bool:
    """Return whether a forgotten batch asks again what a batch that the log knows, and has not collected, answered."""
    columns, chunk = state.columns, claim.chunk
    owners = {columns.chunk[o] for o in claim.ordinals if o < len(columns) and columns.status[o] == IN_CHUNK} - {chunk}
    return chunk not in state.chunks and any(state.chunks[o].status in ("submitted", "ended") for o in owners)


def _collect_first(writer: Writer, collect: Callable[[], None]) -> None:
    """Store what the known batches answered, sending nothing: what they left open is what was asked again."""
    if PAUSE not in writer.state.pauses:
        why = "batches that were forgotten ask again what is not collected yet"
        writer.append([e.RunPaused(reason=PAUSE, detail=why, lift="ledger recover")])
    collect()


def _settle_orphans(writer: Writer) -> None:
    """End what an earlier process had in flight: a submission that was only prepared may have been released since."""
    events: list[e.AnyEvent] = [
        e.SubmissionAborted(chunk=chunk.chunk, submission=chunk.submission, cause="recovery")
        for chunk in writer.state.chunks_in("prepared")
    ]
    events += [
        e.SubmissionUncertain(chunk=chunk.chunk, submission=chunk.submission, cause="recovery")
        for chunk in writer.state.chunks_in("released")
    ]
    writer.append(events)


def _survey(writer: Writer, gateway: Gateway, wait: Callable[[str, float], None]) -> list[_Claim]:
    """Return the batches that are ours and unknown; waits for the open ones to end, and once for the settle time.

    When the last of them was submitted the log does not know, which is why it is recovered: it may have been just now.

    Raises:
        PausedError: the rows of a batch that may be ours cannot be read.
    """
    state = writer.state
    nonces = {
        nonce_of(state.ledger_id, chunk, submission): (chunk, submission)
        for chunk in range(1, state.last_chunk + CHUNKS_BEYOND + 1)
        for submission in range(1, _submissions(state, chunk) + 1)
    }
    last_created_at = 0  # later ones cannot be ours: nothing is submitted meanwhile
    settled_at = writer.clock.monotonic() + state.policy.settle_us / MICROSECONDS_PER_SECOND
    unread = Counter[str]()
    claims: dict[str, _Claim] = {}
    foreign: set[str] = set()
    while True:
        listed, server_date = _patient(lambda: _list(writer, gateway), wait)
        # A Date is cut to whole seconds: what was created in the rest of its second was there before.
        # Where the answer bears no date, nothing says what is later.
        bound = server_date + MICROSECONDS_PER_SECOND + state.policy.settle_us if server_date else _FOR_EVER
        last_created_at = last_created_at or bound
        unknown = [
            seen
            for seen in listed
            if seen.batch not in state.batches
            and seen.batch not in foreign
            and seen.batch not in claims
            and seen.created_at <= last_created_at
        ]
        for seen in unknown:
            if seen.status == "ended":
                claim, is_whole = _patient(partial(_inspect, gateway, seen, nonces), wait)
                unread[seen.batch] += not is_whole
                if not is_whole and unread[seen.batch] < TIMES_SHORT:
                    continue
                if not is_whole and claim is None:
                    raise PausedError(
                        f"the rows of batch {seen.batch} cannot be read, so nobody can tell whose it is",
                        why=f"in {TIMES_SHORT} downloads none of its rows was readable",
                        next=f"ledger recover, later (nothing is submitted before it is known); ask about {seen.batch}",
                    )
                if claim is None:
                    foreign.add(seen.batch)
                else:
                    claims[seen.batch] = claim
        still_open = [seen for seen in unknown if seen.status != "ended"]
        left_seconds = settled_at - writer.clock.monotonic()
        is_short = any(
            seen.batch in unread and seen.batch not in claims and seen.batch not in foreign for seen in unknown
        )
        poll_seconds = state.policy.poll_us / MICROSECONDS_PER_SECOND
        if still_open:
            wait(f"until {len(still_open)} open batches of the workspace end, which may be ours", poll_seconds)
        elif is_short:
            wait("until the rows of a batch that may be ours can be read", SHORT_SECONDS)
        elif left_seconds > 0:
            wait("until a batch submitted just before would be visible", min(left_seconds, poll_seconds))
        else:
            return list(claims.values())


def _submissions(state: RunState, chunk: int) -> int:
    """Return how many submissions of a chunk are to be recognised."""
    known = state.chunks.get(chunk)
    if known is not None:
        return known.submission + (SUBMISSIONS_BEYOND if known.batch or known.status in TERMINAL else REPEATED_BEYOND)
    return REPEATED_BEYOND if chunk <= state.last_chunk + NEXT_CHUNKS else SUBMISSIONS_BEYOND


def _patient(call: Callable[[], _Answer], wait: Callable[[str, float], None]) -> _Answer:
    """Return what a call returns; a service that is busy or out of reach for a while does not end a recovery."""
    for failures in range(TRIES):
        try:
            return call()
        except CallError as error:
            if error.status in (400, 401, 403, 404) or failures == TRIES - 1:
                raise
            asked = error.retry_after_us / MICROSECONDS_PER_SECOND
            wait(f"until the service answers again ({error.what})", max(asked, min(2.0**failures, 60.0)))
    raise AssertionError("the last try returns or raises")


def _list(writer: Writer, gateway: Gateway) -> tuple[Sequence[e.BatchSeen], int]:
    """Return the batches since the run began, and the service's instant of the list (0: it bore no date)."""
    state = writer.state
    prepared = [chunk.prepared for chunk in state.chunks.values() if chunk.prepared is not None]
    horizon = min((one.watermark_created_at for one in prepared), default=state.opened_at - DAY_US)
    listed: dict[str, e.BatchSeen] = {}
    after, server_date = "", 0
    while True:
        page = gateway.list(PAGE_BATCHES, after)
        server_date = server_date or (0 if page.reply.undated else page.reply.server_date)
        if state.workspace and page.reply.workspace and page.reply.workspace != state.workspace:
            raise PausedError(
                f"this ledger belongs to workspace {state.workspace}, the key to {page.reply.workspace}",
                next=f"ledger recover (with a key of workspace {state.workspace})",
            )
        listed.update((seen.batch, seen) for seen in page.batches)
        after = page.last_id
        if (
            not page.has_more
            or not after
            or not page.batches
            or page.batches[-1].created_at < horizon - LISTING_MARGIN_US
        ):
            return [seen for seen in listed.values() if seen.created_at >= horizon - LISTING_MARGIN_US], server_date


def _inspect(gateway: Gateway, seen: e.BatchSeen, nonces: dict[str, tuple[int, int]]) -> tuple[_Claim | None, bool]:
    """Return the claim on a batch whose rows bear our nonces, and whether its rows were all there and readable.

    The claim is None for anybody else's, and where no row can be read. A claim on fewer rows than the batch has would
    have the others asked again.
    """
    found: set[int] = set()
    owner: tuple[int, int] | None = None
    try:
        for row in split_lines(gateway.results(seen.batch)):
            wire = row_wire_id(row) if row.strip() else None
            ours = parse_wire_id(wire) if wire is not None else None
            if ours is None or ours.nonce not in nonces:
                if owner is None and wire is not None:
                    return None, True
                continue
            owner = owner or nonces[ours.nonce]
            found.add(ours.ordinal)
    except CallError as error:
        if error.status == 404 and error.envelope:  # archived or deleted: there is nothing left to collect
            return None, True
        raise
    is_whole = seen.counts is None or not seen.counts.total or len(found) >= seen.counts.total
    return _Claim(seen, owner[0], owner[1], sorted(found)) if owner is not None else None, is_whole


def _adopt(state: RunState, claim: _Claim) -> Sequence[e.AnyEvent]:
    seen = claim.seen
    adopted = e.BatchAdopted(
        chunk=claim.chunk,
        submission=claim.submission,
        batch=seen.batch,
        created_at=seen.created_at,
        expires_at=seen.expires_at,
        by="recovery",
        proven=True,
    )
    chunk = state.chunks.get(claim.chunk)
    if chunk is None:
        return [*_undone(state, claim), *_asked_again(state, claim), _sealed(state, claim), adopted]
    is_its_own = set(claim.ordinals) <= set(ordinals(chunk.ranges))
    if is_its_own and _is_provisional(state, chunk):
        # Taken up for its size. That this one bears the chunk's own code proves that the other was somebody else's.
        why = f"batch {seen.batch} bears the code of this chunk"
        return [
            e.BatchDisowned(chunk=chunk.chunk, submission=chunk.submission, batch=chunk.batch, why=why),
            adopted,
        ]
    if not is_its_own or chunk.status not in ("sealed", "uncertain"):
        # Both the log and the workspace went on from the same point: a second copy of the ledger was at work.
        twin = e.TwinFound(
            chunk=claim.chunk,
            submission=claim.submission,
            batch=seen.batch,
            requests=len(claim.ordinals),
        )
        return [twin]  # not proven yet: its rows are read once more by the run, which weighs what they cost
    return [adopted]


def _is_provisional(state: RunState, chunk: Chunk) -> bool:
    is_claimed = chunk.status in ("submitted", "ended")
    return is_claimed and not chunk.proven and not any(state.stored[chunk.chunk].values())


def _sealed(state: RunState, claim: _Claim) -> e.ChunkSealed:
    columns = state.columns
    unknown = [ordinal for ordinal in claim.ordinals if ordinal >= len(columns)]
    if unknown:
        raise PausedError(
            f"batch {claim.seen.batch} answers requests that this ledger does not have yet",
            where=f"request {unknown[0]} of {len(columns)}",
            why="the log was cut back to before they were taken in",
            next="ledger recover --items ITEMS (the same file as before; nothing is sent)",
        )
    if any(columns.status[o] == IN_CHUNK and not _is_unsent(state, columns.chunk[o]) for o in claim.ordinals):
        raise _answered_twice(state, claim)
    first = claim.ordinals[0]
    return e.ChunkSealed(
        chunk=claim.chunk,
        ranges=to_ranges(claim.ordinals),
        requests=len(claim.ordinals),
        size_bytes=body_size_bytes(sum(columns.size_bytes[o] for o in claim.ordinals), len(claim.ordinals)),
        priority=state.classes[columns.class_id[first]].priority,
        cause="recovered",
    )


def _asked_again(state: RunState, claim: _Claim) -> Sequence[e.AnyEvent]:
    """Open what has an outcome here and is in a batch that the log does not know: a retry that it forgot."""
    known = [ordinal for ordinal in claim.ordinals if ordinal < len(state.columns)]
    reopened = reopened_for_recovery(state, known)
    if not reopened:
        return ()
    what = f"batch {claim.seen.batch} asks again what has an outcome: a retry was forgotten, or two copies were at work"
    finding = e.FindingRecorded(finding="asked_again", detail=what, chunk=claim.chunk, batch=claim.seen.batch)
    return [finding, *reopened]


def _answered_twice(state: RunState, claim: _Claim) -> PausedError:
    columns = state.columns
    taken = next(o for o in claim.ordinals if columns.status[o] == IN_CHUNK)
    return PausedError(
        f"batch {claim.seen.batch} answers requests that another batch answers too",
        where=f"request {taken}, chunk {columns.chunk[taken]}",
        why="two copies of this ledger were at work",
        next="ledger replay --audit, and compare the copies",
    )


def _is_unsent(state: RunState, chunk: int) -> bool:
    return chunk in state.chunks and state.chunks[chunk].status in ("sealed", "uncertain")


def _undone(state: RunState, claim: _Claim) -> Sequence[e.AnyEvent]:
    """Return the end of chunks that the log knows only as they were before they were cut otherwise: refused, halved."""
    columns = state.columns
    events: list[e.AnyEvent] = []
    owners = {columns.chunk[o] for o in claim.ordinals if o < len(columns) and columns.status[o] == IN_CHUNK}
    for owner in sorted(owners):
        chunk = state.chunks[owner]
        if chunk.status == "uncertain":
            evidence = f"its requests are in batch {claim.seen.batch}, of chunk {claim.chunk}"
            events.append(
                e.SubmissionResolved(chunk=owner, submission=chunk.submission, by="reconcile", evidence=evidence)
            )
        if _is_unsent(state, owner):
            events.append(e.ChunkDissolved(chunk=owner, cause="recovery"))
    return events
