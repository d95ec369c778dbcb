"""The fold: what the table allows happens as it says, all else raises and changes nothing, everywhere the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from stating import (
    BATCH,
    COLLECTED,
    COUNTS,
    CREATED,
    DISSOLVED,
    ENDED,
    LOST,
    NOON,
    PREPARED,
    RELEASED,
    RESULTS,
    SEALED,
    SECOND,
    UNCERTAIN,
    WAY_TO,
    chunk_in,
    opened,
    tell,
)

from ledger.core import events as e
from ledger.core.columns import OrdinalQueue
from ledger.core.errors import IllegalEventError
from ledger.core.evolve import evolve
from ledger.core.snapshot import dump
from ledger.core.state import TERMINAL, TRANSITIONS, ChunkStatus, RunState, is_final, outcome_of

ADOPTED = e.BatchAdopted(chunk=1, submission=1, batch=BATCH, created_at=NOON, expires_at=NOON, by="recovery")
CONCERNING: tuple[e.AnyEvent, ...] = (
    PREPARED,
    RELEASED,
    UNCERTAIN,
    CREATED,
    ADOPTED,
    ENDED,
    COLLECTED,
    DISSOLVED,
    LOST,
    e.SubmissionAborted(chunk=1, submission=1, cause="stopped"),
    e.SubmissionRefused(chunk=1, submission=1, status=413, reaction="split"),
    e.SubmissionResolved(chunk=1, submission=1, by="person"),
    e.BatchDisowned(chunk=1, submission=1, batch=BATCH, why="foreign"),
    e.ResultsShort(chunk=1, batch=BATCH, rows=2, missing=1, gap_digest="g"),
    e.RequestRejected(ordinal=0, chunk=1, why="400"),
    e.ChunkHeld(chunk=1, reason="r", detail="d", lift="l"),
    RESULTS[0],
)
STATUSES: tuple[ChunkStatus, ...] = get_args(ChunkStatus)


def fitting(status: ChunkStatus, event: e.AnyEvent) -> tuple[RunState, e.AnyEvent]:
    """Return a state and the event with the submission number that would fit there."""
    state = chunk_in(status)
    if isinstance(event, e.SubmissionPrepared):
        event = msgspec.structs.replace(event, submission=state.chunks[1].submission + 1)
    if isinstance(event, e.BatchCollected) and status == "ended":
        tell(state, *RESULTS)
    return state, event


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_status_is_reached_by_the_way_that_is_told_for_it() -> None:
    assert tuple(TRANSITIONS) == STATUSES == tuple(WAY_TO)
    assert {status: chunk_in(status).chunks[1].status for status in STATUSES} == {s: s for s in STATUSES}
    assert {"collected", "dissolved", "lost"} == TERMINAL


def test_every_event_of_the_table_is_tried() -> None:
    assert {event for ways in TRANSITIONS.values() for event in ways} <= {type(event) for event in CONCERNING}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("event", CONCERNING, ids=lambda event: e.TYPE_NAMES[type(event)])
def test_an_event_goes_where_the_table_says_or_changes_nothing(status: ChunkStatus, event: e.AnyEvent) -> None:
    state, event = fitting(status, event)
    after = TRANSITIONS[status].get(type(event))
    beside: dict[type[Any], set[ChunkStatus]] = {  # events that leave the status as it is
        e.ResultsShort: {"ended"},
        e.RequestRejected: {"sealed"},
        e.ResultStored: {"ended"},
        e.ChunkHeld: set(STATUSES) - TERMINAL,
        e.StatusPolled: {"ended", "collected", "lost"},
    }
    before = dump(state)
    if after is not None:
        tell(state, event)
        assert state.chunks[1].status == after
    elif status in beside.get(type(event), ()):
        tell(state, event)
        assert state.chunks[1].status == status
    else:
        with pytest.raises(IllegalEventError) as raised:
            tell(state, event)
        assert dump(state) == before
        assert e.TYPE_NAMES[type(event)] in raised.value.what
        assert raised.value.where == f"position {state.position + 1}"
        assert status in raised.value.why or BATCH in raised.value.why
    members = {number: chunk.status for number, chunk in state.chunks.items()}
    listed = {number: status for status, group in state.by_status.items() for number in group}
    assert listed == members


ILLEGAL: list[tuple[str, ChunkStatus, e.AnyEvent]] = [
    ("a chunk out of turn", "sealed", msgspec.structs.replace(SEALED, chunk=3, ranges=[3, 6])),
    ("a chunk of requests in another", "sealed", msgspec.structs.replace(SEALED, chunk=2)),
    ("a chunk that is not the front", "sealed", msgspec.structs.replace(SEALED, chunk=2, ranges=[4, 6], requests=2)),
    ("a chunk of unknown requests", "sealed", msgspec.structs.replace(SEALED, chunk=2, ranges=[3, 9], requests=6)),
    ("a chunk that counts wrongly", "sealed", msgspec.structs.replace(SEALED, chunk=2, ranges=[3, 6], requests=2)),
    ("an empty chunk", "sealed", msgspec.structs.replace(SEALED, chunk=2, ranges=[], requests=0)),
    ("a submission that skips a number", "sealed", msgspec.structs.replace(PREPARED, submission=2)),
    ("a submission of another size", "sealed", msgspec.structs.replace(PREPARED, size_bytes=1)),
    ("a submission of another number", "sealed", msgspec.structs.replace(PREPARED, requests=2)),
    ("a release of an old submission", "prepared", msgspec.structs.replace(RELEASED, submission=0)),
    ("an adoption without a doubt", "sealed", msgspec.structs.replace(ADOPTED, by="reconcile")),
    (
        "an end without counts",
        "submitted",
        e.StatusPolled(server_date=1, changes=(e.BatchSeen(batch=BATCH, status="ended"),)),
    ),
    (
        "a poll of a stranger",
        "submitted",
        e.StatusPolled(server_date=1, changes=(e.BatchSeen(batch="x", status="ended"),)),
    ),
    ("a collection without rows", "ended", COLLECTED),
    ("a result of another chunk", "ended", msgspec.structs.replace(RESULTS[0], ordinal=4)),
    ("a result of nobody", "ended", msgspec.structs.replace(RESULTS[0], ordinal=99)),
    ("a rejection of another's request", "sealed", e.RequestRejected(ordinal=4, chunk=1, why="400")),
    ("an unknown chunk", "sealed", msgspec.structs.replace(PREPARED, chunk=9)),
    ("a lifted hold that is none", "sealed", e.HoldLifted(chunk=1)),
    ("a second opening", "sealed", e.RunOpened(ledger_id="x", origin="x", tool_version="x")),
    ("an older writer", "sealed", e.WriterOpened(epoch=1, tool_version="x")),
    ("a lifted pause that is none", "sealed", e.RunResumed(reason="spend")),
    ("a cancel nobody asked for", "submitted", e.CancelAccepted(batch=BATCH, status="canceling")),
    ("an early end", "collected", e.RunFinished(outcomes={}, exit_code=0)),
    (
        "a request outside an intake",
        "sealed",
        e.RequestBuilt(ordinal=6, custom_id="x", line=7, size_bytes=9, digest="d"),
    ),
    ("a withdrawal of what is sent", "sealed", e.IntakeAbandoned(source=1, first=0, rejected=1)),
    ("a twin of an unknown chunk", "sealed", e.TwinFound(chunk=9, submission=1, batch="b", requests=3)),
    ("a twin that is in use", "submitted", e.TwinFound(chunk=1, submission=1, batch=BATCH, requests=3)),
    ("an unknown twin", "sealed", e.TwinAcknowledged(chunk=1, batch="b")),
    ("another workspace", "sealed", e.WorkspaceSeen(workspace="wrkspc_other")),
]


@pytest.mark.parametrize(("status", "event"), [case[1:] for case in ILLEGAL], ids=[case[0] for case in ILLEGAL])
def test_what_contradicts_the_state_is_refused_whole(status: ChunkStatus, event: e.AnyEvent) -> None:
    state = tell(opened(), e.WorkspaceSeen(workspace="wrkspc_ours"), *WAY_TO[status])
    before = dump(state)
    with pytest.raises(IllegalEventError):
        tell(state, event)
    assert dump(state) == before


def test_a_disowning_after_rows_were_stored_is_refused() -> None:
    state = tell(chunk_in("ended"), RESULTS[0])
    with pytest.raises(IllegalEventError, match="batch_disowned"):
        tell(state, e.BatchDisowned(chunk=1, submission=1, batch=BATCH, why="foreign"))


def test_a_result_is_stored_once() -> None:
    state = tell(chunk_in("ended"), RESULTS[0])
    with pytest.raises(IllegalEventError, match="result_stored"):
        tell(state, RESULTS[0])


@pytest.mark.parametrize("position", [0, 5, 100])
def test_positions_have_no_gaps(position: int) -> None:
    state = opened()
    with pytest.raises(IllegalEventError, match="the log is at position"):
        evolve(state, position, NOON, e.FindingRecorded(finding="f", detail="d"))


def test_a_log_begins_with_its_opening() -> None:
    with pytest.raises(IllegalEventError, match="run_opened is the first"):
        evolve(RunState(), 1, NOON, e.WriterOpened(epoch=1, tool_version="x"))


# ── what follows ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_result_that_is_not_final_goes_back_to_the_lane_of_repeats() -> None:
    state = tell(chunk_in("ended"), msgspec.structs.replace(RESULTS[1], outcome="expired", final=False))
    assert (outcome_of(state, 1), is_final(state, 1), state.retries[0].dump()) == ("pending", False, [1, 2])
    assert state.unfinished == 6
    assert state.stored[1] == {"succeeded": 0, "errored": 0, "canceled": 0, "expired": 1}


def test_a_dissolved_chunk_puts_its_requests_first_in_their_lane() -> None:
    state = chunk_in("sealed")
    state.retries[0] = OrdinalQueue([5, 6])
    tell(state, e.RequestRejected(ordinal=1, chunk=1, why="400"), DISSOLVED)
    assert state.retries[0].dump() == [0, 1, 2, 3, 5, 6]
    assert [outcome_of(state, ordinal) for ordinal in range(3)] == ["pending", "invalid", "pending"]


def test_missing_and_lost_rows_are_outcomes() -> None:
    missing = e.BatchCollected(chunk=1, batch=BATCH, rows=2, counts=COUNTS, missing=(2,))
    assert tell(chunk_in("ended"), *RESULTS[:2], missing).outcomes["missing"] == 1
    lost = tell(chunk_in("ended"), RESULTS[0], LOST)
    assert (lost.outcomes["ok"], lost.outcomes["lost"]) == (1, 2)


def test_a_disowned_batch_starts_the_settle_clock_anew() -> None:
    """What the lists showed before the adoption proves nothing about the time after it."""
    listed = e.BatchesListed(asked_at=10**6, server_date=NOON + 50 * SECOND, complete=True)
    disowned = e.BatchDisowned(chunk=1, submission=1, batch=BATCH, why="foreign")
    chunk = tell(chunk_in("uncertain"), listed, ADOPTED, ENDED, disowned).chunks[1]
    assert (chunk.status, chunk.settle_from, chunk.settled_at, chunk.complete_lists, chunk.seen_at) == (
        "uncertain",
        0,
        0,
        0,
        0,
    )
    assert chunk.disowned == (BATCH,)


def test_a_list_that_was_asked_for_before_the_doubt_proves_nothing() -> None:
    state = chunk_in("uncertain")
    early = e.BatchesListed(asked_at=state.chunks[1].uncertain_at - 1, server_date=NOON, complete=True)
    late = e.BatchesListed(asked_at=state.chunks[1].uncertain_at, server_date=NOON + SECOND, complete=True)
    assert tell(state, early).chunks[1].complete_lists == 0
    assert tell(state, late).chunks[1].complete_lists == 1
    assert state.chunks[1].settle_from == NOON + SECOND


@pytest.mark.parametrize(("reason", "reaction"), [("spend", "pause"), ("key", "stop")])
def test_a_lifted_pause_forgets_what_was_refused_for_it_whatever_the_clock_says(reason: str, reaction: Any) -> None:
    refused = e.SubmissionRefused(chunk=1, submission=1, status=402, reaction=reaction)
    state = tell(chunk_in("released"), refused, e.RunPaused(reason=reason, detail="d", lift="l"), at=NOON + 90 * SECOND)
    tell(state, e.RunResumed(reason=reason), at=NOON)
    assert (state.chunks[1].refusal, state.chunks[1].failures, state.pauses) == (None, 0, {})


# ── determinism ──────────────────────────────────────────────────────────────────────────────────────────────────────

FOLD = """
import sys
sys.path.insert(0, sys.argv[1])
from hashlib import sha256
from stating import *
from ledger.core.snapshot import dump
for status in WAY_TO:
    state = chunk_in(status)
    tell(state, *(e.CallFailed(command=f"look{n}", status=500) for n in range(20)))
    tell(state, *(e.CancelRequested(batch=f"b{n}") for n in range(20)))
    print(status, sha256(dump(state)).hexdigest())
"""


def test_the_fold_does_not_depend_on_the_hash_seed() -> None:
    here = str(Path(__file__).parent)
    told = {
        subprocess.run(
            [sys.executable, "-c", FOLD, here],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(told) == 1
    assert len(told.pop().splitlines()) == len(WAY_TO)
