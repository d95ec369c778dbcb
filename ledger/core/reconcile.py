"""Was it accepted? What to make of a submission whose answer never came.

The API takes no idempotency key, so a submission in doubt must not simply be repeated: that is how one chunk is paid
for twice. What can be known is what the workspace lists. A batch has no name of ours in the list, only a number of
requests and the time it was created; whose it is, its rows prove, by the nonces in their wire ids, once it has ended.

``judge`` is one function for every uncertain submission, whether the reply was lost, the process died, or the log
was restored from a copy. It looks at nothing but the chunk, the policy and what the lists showed:

* one batch of the right size that nobody claims: adopt it, provisionally; its rows will prove it;
* several: wait until they end, and let the rows decide;
* none, in two complete lists, for the settle time: it was never accepted, and may be repeated (or is held for a
  person, under ``--on-uncertain hold``).

A list counts when it was asked for after the uncertainty began, and is complete when it went back far enough and a
batch we know could be retrieved, which proves that we look at the right workspace. The settle time runs on the
service's clock, from the first list that counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import msgspec

from ledger.core.events import BatchSeen, SubmissionPrepared
from ledger.core.state import Chunk, RunState
from ledger.core.units import DAY_US

LISTING_MARGIN_US = 300_000_000
"""How far below the watermark a list goes: batches may be listed in an order that is not quite that of creation."""

LISTS_NEEDED = 2
OVERDUE_PATIENCE_US = DAY_US
"""A batch expires after 24 hours (batch guide); one that is open for another day after that is a person's to judge."""
PATIENCE = 4
"""After so many settle times without enough complete lists, a person is asked."""


class Adopt(msgspec.Struct, frozen=True):
    """This batch is taken to be the submission's."""

    batch: BatchSeen
    proven: bool


class Wait(msgspec.Struct, frozen=True):
    """It is not known yet. ``until`` is the service's instant at which it will be, 0 where that cannot be said."""

    why: str
    until: int = 0


class Absent(msgspec.Struct, frozen=True):
    """It was never accepted."""

    evidence: str


class Hold(msgspec.Struct, frozen=True):
    """A person must decide."""

    reason: str
    detail: str


Verdict: TypeAlias = Adopt | Wait | Absent | Hold


def horizon_of(prepared: SubmissionPrepared) -> int:
    """Return the service's instant that a list must go back to, to count for this submission; 0 for its very end.

    Without a watermark the workspace was empty. The date of that list is no substitute: where a proxy took it away, it
    is our own clock's, and hours ahead of ``created_at`` it would hide the batch that is looked for.
    """
    return max(prepared.watermark_created_at - LISTING_MARGIN_US, 0)


def unclaimed(state: RunState, chunk: Chunk) -> Iterator[BatchSeen]:
    """Yield the listed batches that could be this chunk's: nobody's, not there before, not proven foreign."""
    prepared = chunk.prepared
    if prepared is None:
        return
    before = {prepared.watermark, *prepared.listed, *chunk.disowned}
    for seen in chunk.candidates:
        if seen.batch in before or seen.batch in state.batches:
            continue
        inspected = state.inspected.get(seen.batch)
        if inspected is not None and inspected.verdict != "unreadable" and not proven_by(state, chunk, seen.batch):
            continue
        if seen.created_at and seen.created_at < horizon_of(prepared):
            continue
        if seen.counts is not None and seen.counts.total not in (0, prepared.requests):
            continue
        yield seen


def proven_by(state: RunState, chunk: Chunk, batch: str) -> bool:
    """Return whether the rows of a batch carry the nonce of this chunk's latest submission."""
    inspected = state.inspected.get(batch)
    return (
        inspected is not None
        and inspected.verdict == "ours"
        and (inspected.chunk, inspected.submission) == (chunk.chunk, chunk.submission)
    )


def judge(state: RunState, chunk: Chunk) -> Verdict:
    """Return what is known about the latest submission of an uncertain chunk."""
    prepared = chunk.prepared
    if prepared is None or not chunk.seen_at:
        return Wait("the workspace has not been listed since")
    candidates = list(unclaimed(state, chunk))
    for seen in candidates:
        if proven_by(state, chunk, seen.batch):
            return Adopt(seen, proven=True)
    certain = [seen for seen in candidates if seen.counts is not None and seen.counts.total == prepared.requests]
    if len(certain) == 1 and len(candidates) == 1:
        return Adopt(certain[0], proven=False)
    if candidates and all(seen.batch in state.inspected for seen in candidates):
        names = ", ".join(seen.batch for seen in candidates)
        return Hold("ambiguous", f"the rows of {names} cannot be read, so nobody can tell whose they are")
    if candidates and all(seen.batch in state.inspected or _is_endless(state, seen) for seen in candidates):
        names = ", ".join(seen.batch for seen in candidates)
        return Hold("ambiguous", f"{names} could be it, and have not ended a day after they should have expired")
    if candidates:
        names = ", ".join(seen.batch for seen in candidates)
        return Wait(f"{len(candidates)} batches could be it ({names}); their rows decide when they have ended")
    settle_us = state.policy.settle_us
    waited = chunk.settled_at - chunk.settle_from  # to the last complete list: others are no evidence of absence
    if chunk.complete_lists >= LISTS_NEEDED and waited >= settle_us:
        evidence = (
            f"in none of {chunk.complete_lists} complete lists over {waited // 1_000_000} s of the service's clock"
        )
        if state.policy.on_uncertain == "hold":
            return Hold("uncertain", f"no batch of {prepared.requests} requests appeared: {evidence}")
        return Absent(evidence)
    looked_for = state.server_date - chunk.settle_from
    if looked_for >= PATIENCE * settle_us and looked_for > 0:
        return Hold("unverifiable", "no list since was complete: is the key still of the same workspace?")
    return Wait("it is in no list so far", chunk.settle_from + settle_us)


def _is_endless(state: RunState, seen: BatchSeen) -> bool:
    return bool(seen.expires_at) and state.server_date > seen.expires_at + OVERDUE_PATIENCE_US


def to_inspect(state: RunState) -> set[str]:
    """Return the ended batches whose rows must be read to know whose they are.

    One candidate alone is adopted without; its rows are read when it is collected.
    """
    wanted: set[str] = set()
    in_doubt = state.chunks_in("uncertain")
    if not in_doubt and not state.twins and not state.acknowledged:
        return wanted
    for chunk in in_doubt:
        candidates = list(unclaimed(state, chunk))
        undecided = len(candidates) != 1 or candidates[0].counts is None or not candidates[0].counts.total
        wanted |= {seen.batch for seen in candidates if undecided and seen.status == "ended"}
    for twins in (state.twins, state.acknowledged):  # what was acknowledged unread is weighed all the same
        wanted |= {batch for batch, twin in twins.items() if not twin.proven}
    return wanted - state.inspected.keys()


def twin_suspects(
    state: RunState, listed: tuple[BatchSeen, ...]
) -> Iterator[tuple[Chunk, SubmissionPrepared, BatchSeen]]:
    """Yield listed batches that may be late: of a submission that was taken never to have been accepted."""
    for chunk in state.chunks.values():
        for prepared in chunk.presumed_absent:
            before = {prepared.watermark, *prepared.listed, *chunk.disowned}
            for seen in listed:
                if (
                    seen.batch not in before
                    and seen.batch not in state.batches
                    and seen.batch not in state.twins
                    and seen.batch not in state.acknowledged
                    and seen.batch not in state.inspected
                    and seen.counts is not None
                    and seen.counts.total == prepared.requests
                    and seen.created_at >= horizon_of(prepared)
                ):
                    yield chunk, prepared, seen


def horizon(state: RunState) -> int:
    """Return how far back a list must go for everything that is in doubt, 0 when nothing is."""
    doubts = [c.prepared for c in state.chunks_in("uncertain") if c.prepared is not None]
    doubts += [prepared for c in state.chunks.values() for prepared in c.presumed_absent]
    return min((horizon_of(prepared) for prepared in doubts), default=0)
