"""Was it accepted? Every branch of the judgement, and what it must never say."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stating import BATCH, NOON, PREPARED, SECOND, chunk_in, tell

from ledger.core import events as e
from ledger.core.reconcile import (
    LISTING_MARGIN_US,
    LISTS_NEEDED,
    Absent,
    Adopt,
    Hold,
    Verdict,
    Wait,
    horizon,
    horizon_of,
    judge,
    to_inspect,
    twin_suspects,
)
from ledger.core.state import RunState

SETTLE = 60 * SECOND


def seen(
    batch: str = "msgbatch_new", total: int | None = 3, status: str = "in_progress", **changes: Any
) -> e.BatchSeen:
    counts = None if total is None else e.Counts(processing=total)
    return msgspec.structs.replace(e.BatchSeen(batch=batch, status=status, created_at=NOON, counts=counts), **changes)


def listed(state: RunState, at: int, *candidates: e.BatchSeen, complete: bool = True) -> RunState:
    """Let a list be told that was asked for after the doubt began; ``at`` seconds after noon on the service's clock."""
    return tell(
        state,
        e.BatchesListed(
            asked_at=state.position, server_date=NOON + at * SECOND, complete=complete, candidates=candidates
        ),
    )


def inspected(state: RunState, batch: str, verdict: Any, submission: int = 1) -> RunState:
    ours = verdict == "ours"
    return tell(
        state,
        e.CandidateInspected(batch=batch, verdict=verdict, chunk=int(ours), submission=submission if ours else 0),
    )


def verdict_of(state: RunState) -> Verdict:
    return judge(state, state.chunks[1])


# ── the branches ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_before_the_first_list_nothing_is_known() -> None:
    assert isinstance(verdict_of(chunk_in("uncertain")), Wait)


def test_the_only_batch_of_the_right_size_is_adopted_until_its_rows_prove_it() -> None:
    assert verdict_of(listed(chunk_in("uncertain"), 0, seen())) == Adopt(seen(), proven=False)


@pytest.mark.parametrize(
    "stranger",
    [
        seen(PREPARED.watermark),
        seen(total=4),
        seen(created_at=NOON - SECOND - LISTING_MARGIN_US - 1),
    ],
    ids=["was there before", "of another size", "older than the horizon"],
)
def test_what_cannot_be_ours_is_no_candidate(stranger: e.BatchSeen) -> None:
    assert isinstance(verdict_of(listed(chunk_in("uncertain"), 0, stranger)), Wait)
    state = listed(listed(chunk_in("uncertain"), 0, stranger), 60, stranger)
    assert isinstance(verdict_of(state), Absent)


@pytest.mark.parametrize("total", [0, None])
def test_counts_that_are_zero_or_malformed_decide_nothing(total: int | None) -> None:
    state = chunk_in("uncertain")
    for at in range(0, 600, 60):
        listed(state, at, seen(total=total))
        assert isinstance(verdict_of(state), Wait)
    listed(state, 900, seen(total=total, status="ended"))
    assert to_inspect(state) == {"msgbatch_new"}
    assert verdict_of(inspected(state, "msgbatch_new", "ours")) == Adopt(seen(total=total, status="ended"), proven=True)


def test_among_several_the_rows_decide() -> None:
    state = listed(chunk_in("uncertain"), 0, seen("a"), seen("b"))
    assert isinstance(verdict_of(state), Wait)
    assert to_inspect(state) == set()
    listed(state, 90, seen("a", status="ended"), seen("b"))
    assert to_inspect(state) == {"a"}
    assert verdict_of(inspected(state, "a", "foreign")) == Adopt(seen("b"), proven=False)


def test_a_proven_batch_wins_whoever_else_is_there() -> None:
    state = listed(chunk_in("uncertain"), 0, seen("a", status="ended"), seen("b", status="ended"))
    verdict = verdict_of(inspected(state, "b", "ours"))
    assert verdict == Adopt(seen("b", status="ended"), proven=True)


def test_when_nobodys_rows_can_be_read_a_person_decides() -> None:
    state = listed(chunk_in("uncertain"), 0, seen("a", status="ended"), seen("b", status="ended"))
    verdict = verdict_of(inspected(inspected(state, "a", "unreadable"), "b", "unreadable"))
    assert isinstance(verdict, Hold)
    assert verdict.reason == "ambiguous"


def test_a_batch_of_an_earlier_submission_is_not_this_ones() -> None:
    state = listed(chunk_in("uncertain"), 0, seen("a", status="ended"), seen("b", status="ended"))
    assert verdict_of(inspected(state, "a", "ours", submission=2)) == Adopt(seen("b", status="ended"), proven=False)


def test_a_disowned_batch_is_never_adopted_again() -> None:
    state = listed(chunk_in("uncertain"), 0, seen())
    adopted = e.BatchAdopted(
        chunk=1, submission=1, batch="msgbatch_new", created_at=NOON, expires_at=NOON, by="reconcile"
    )
    tell(state, adopted, e.BatchDisowned(chunk=1, submission=1, batch="msgbatch_new", why="foreign"))
    assert isinstance(verdict_of(state), Wait)
    assert isinstance(verdict_of(listed(state, 100, seen())), Wait)
    assert isinstance(verdict_of(listed(state, 160, seen())), Absent)


def test_absence_is_certain_after_two_complete_lists_and_the_settle_time() -> None:
    state = listed(listed(chunk_in("uncertain"), 0), 59)
    assert verdict_of(state) == Wait("it is in no list so far", NOON + SETTLE)
    assert isinstance(verdict_of(listed(state, 60)), Absent)


def test_under_hold_absence_is_for_a_person() -> None:
    state = listed(listed(chunk_in("uncertain", on_uncertain="hold"), 0), 60)
    verdict = verdict_of(state)
    assert isinstance(verdict, Hold)
    assert verdict.reason == "uncertain"


def test_without_complete_lists_a_person_is_asked_in_the_end() -> None:
    state = listed(chunk_in("uncertain"), 0, complete=False)
    assert isinstance(verdict_of(listed(state, 239, complete=False)), Wait)
    verdict = verdict_of(listed(state, 240, complete=False))
    assert isinstance(verdict, Hold)
    assert verdict.reason == "unverifiable"


# ── what must never be said ──────────────────────────────────────────────────────────────────────────────────────────

lists = st.lists(st.tuples(st.integers(-30, 200), st.booleans(), st.booleans()), max_size=8)


@given(lists, st.sampled_from(["repeat", "hold"]), st.sampled_from([0, 10, 60]))
def test_absence_is_never_said_before_its_time(
    told: list[tuple[int, bool, bool]], on_uncertain: str, settle_seconds: int
) -> None:
    """Whatever order lists and clocks come in: two complete ones asked for since, and D on the service's clock."""
    state = chunk_in("uncertain", on_uncertain=on_uncertain, settle_us=settle_seconds * SECOND)
    since = state.chunks[1].uncertain_at
    counting: list[tuple[int, bool]] = []
    for at, complete, early in told:
        asked_at = since - 1 if early else state.position
        date = NOON + at * SECOND
        tell(state, e.BatchesListed(asked_at=asked_at, server_date=date, complete=complete))
        counting += [] if early else [(date, complete)]
        verdict = verdict_of(state)
        full = [date for date, complete in counting if complete]
        enough = len(full) >= LISTS_NEEDED and max(full) - counting[0][0] >= settle_seconds * SECOND
        assert isinstance(verdict, Absent) == (enough and on_uncertain == "repeat")


@given(st.integers(0, 1000), st.sampled_from([3, 0, None]))
def test_while_a_candidate_is_there_absence_is_never_said(at: int, total: int | None) -> None:
    state = listed(listed(chunk_in("uncertain"), 0, seen(total=total)), at, seen(total=total))
    assert not isinstance(verdict_of(state), Absent)


# ── how far back, and twins ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_list_goes_five_minutes_below_the_watermark_of_the_oldest_doubt() -> None:
    assert horizon(chunk_in("submitted")) == 0
    assert horizon(chunk_in("uncertain")) == horizon_of(PREPARED) == NOON - SECOND - 300 * SECOND
    first = msgspec.structs.replace(PREPARED, watermark="", watermark_created_at=0)
    assert horizon_of(first) == 0, "the workspace was empty: the list is read to its end"


def test_a_late_batch_of_a_submission_that_was_given_up_is_suspected() -> None:
    state = tell(chunk_in("uncertain"), e.SubmissionResolved(chunk=1, submission=1, by="reconcile"))
    assert horizon(state) == horizon_of(PREPARED)
    suspects = [(prepared.submission, one.batch) for _, prepared, one in twin_suspects(state, (seen(), seen("x", 4)))]
    assert suspects == [(1, "msgbatch_new")]
    tell(state, e.TwinFound(chunk=1, submission=1, batch="msgbatch_new", requests=3))
    assert list(twin_suspects(state, (seen(),))) == []
    assert to_inspect(state) == {"msgbatch_new"}
    tell(state, e.TwinAcknowledged(chunk=1, batch="msgbatch_new"))
    assert list(twin_suspects(state, (seen(),))) == []


def test_our_own_batches_are_nobodys_candidates() -> None:
    state = chunk_in("submitted")
    tell(state, e.BatchDisowned(chunk=1, submission=1, batch=BATCH, why="foreign"))
    tell(state, e.ChunkSealed(chunk=2, ranges=[3, 5], requests=2, size_bytes=10))
    assert isinstance(verdict_of(listed(state, 0, seen(BATCH))), Wait)
