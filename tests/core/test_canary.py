"""Too many errors stop a run, few do not; the first batch is of every kind, and the rest waits for its verdict."""

from __future__ import annotations

from collections import Counter
from math import sqrt
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stating import BATCH, CREATED, ENDED, LEDGER_ID, NOON, POLICY, SECOND, tell

from ledger.core import events as e
from ledger.core.canary import (
    CANARY_ABOVE_REQUESTS,
    FAILED_AT_LEAST,
    breaker_pause,
    canary_members,
    canary_wanted,
    ends,
    trips,
    verdict_owed,
)
from ledger.core.chunks import body_size_bytes, nonce_of
from ledger.core.columns import to_ranges
from ledger.core.commands import Record, Seal, SealChosen, Submit
from ledger.core.decide import decide
from ledger.core.errors import IllegalEventError
from ledger.core.prices import Usage, quote
from ledger.core.requests import Lift, SetBudget, request_events, tolerating
from ledger.core.state import RunState

HAIKU, SONNET = "claude-haiku-4-5", "claude-sonnet-4-6"
HOUR = 3600 * SECOND
USAGE = Usage(input_tokens=20, output_tokens=50)


def taken_in(*kinds: tuple[str, int, int], prices: bool = True, **policy: Any) -> RunState:
    """Return a run of (model, max_tokens, requests) in the order given."""
    state = RunState()
    tell(
        state,
        e.RunOpened(ledger_id=LEDGER_ID, origin="o", tool_version="t"),
        e.WriterOpened(epoch=1, tool_version="t"),
        e.SettingsChanged(policy=msgspec.structs.replace(POLICY, chunk_requests=10_000, **policy)),
        e.SourceOpened(source=1, path="/i"),
    )
    for class_id, (model, max_tokens, requests) in enumerate(kinds):
        tell(state, e.ClassDeclared(class_id=class_id, model=model, max_tokens=max_tokens))
        for _ in range(requests):
            ordinal = len(state.columns)
            tell(
                state,
                e.RequestBuilt(ordinal=ordinal, custom_id="c", line=1, size_bytes=100, digest="d", class_id=class_id),
            )
    built = len(state.columns)
    tell(
        state,
        e.IntakeCompleted(
            source=1, lines=built, bytes_read=1, digest="d", built=built, deduplicated=0, rejected=0
        ),
    )  # fmt: skip
    return tell(state, e.PricesQuoted(table=quote("2026-11-22"))) if prices else state


def sealed(state: RunState, members: tuple[int, ...]) -> RunState:
    """Seal the canary of these requests."""
    size = body_size_bytes(100 * len(members), len(members))
    return tell(
        state,
        e.ChunkSealed(
            chunk=1, ranges=to_ranges(list(members)), requests=len(members), size_bytes=size, cause="canary"
        ),
    )  # fmt: skip


def sent(state: RunState, requests: int) -> RunState:
    """Have the canary accepted."""
    size = state.chunks[1].size_bytes
    return tell(
        state,
        e.SubmissionPrepared(
            chunk=1,
            submission=1,
            nonce=nonce_of(LEDGER_ID, 1, 1),
            requests=requests,
            size_bytes=size,
            server_date=NOON,
        ),
        e.SubmissionReleased(chunk=1, submission=1, digest="d"),
        CREATED,
    )


def answered(state: RunState, failed: int, usage: Usage = USAGE) -> RunState:
    """Have all of the canary come back, so many of its items with an error that is final."""
    members = [ordinal for ordinal, chunk in enumerate(state.columns.chunk) if chunk == 1]
    rows = [
        e.ResultStored(ordinal=o, chunk=1, digest="d", outcome="errored", error_kind="invalid_request_error")
        if index < failed
        else e.ResultStored(ordinal=o, chunk=1, digest="d", usage=usage)
        for index, o in enumerate(members)
    ]
    counts = e.Counts(succeeded=len(members) - failed, errored=failed)
    (seen,) = ENDED.changes
    ended = msgspec.structs.replace(ENDED, changes=(msgspec.structs.replace(seen, counts=counts),))
    return tell(
        state, ended, *rows, e.BatchCollected(chunk=1, batch=BATCH, rows=len(members), counts=counts)
    )  # fmt: skip


def canary_of(state: RunState) -> RunState:
    (command,) = decide(state, NOON).commands
    assert isinstance(command, SealChosen)
    return sent(sealed(state, command.members), len(command.members))


def recorded(state: RunState, now: int = NOON) -> list[e.AnyEvent]:
    found = [command for command in decide(state, now).commands if isinstance(command, Record)]
    return [event for command in found for event in command.events]


ALWAYS: dict[str, Any] = {"canary": "always", "canary_requests": 20}


# ── the rule ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(1, 5_000), st.integers(0, 5_000), st.sampled_from(["0", "0.001", "0.01", "0.2", "1"]))
def test_it_trips_where_the_bound_of_wilson_lies_above_the_rate(requests: int, failed: int, rate: str) -> None:
    failed = min(failed, requests)
    share, z, tolerated = failed / requests, 1.645, float(rate)
    middle = share + z * z / (2 * requests)
    spread = z * sqrt(share * (1 - share) / requests + z * z / (4 * requests * requests))
    lower = (middle - spread) / (1 + z * z / requests)
    if abs(lower - tolerated) > 1e-9:
        assert trips(requests, failed, rate) == (failed >= FAILED_AT_LEAST and lower > tolerated)


@pytest.mark.parametrize(
    ("requests", "failed", "tripped"),
    [(100, 4, False), (100, 5, True), (10_000, 101, False), (10_000, 117, True), (4, 4, False), (5, 5, True)],
)
def test_five_of_a_hundred_are_too_many_and_four_are_bad_luck(requests: int, failed: int, tripped: bool) -> None:
    assert trips(requests, failed, "0.01") is tripped


def test_everything_may_fail_where_that_is_tolerated() -> None:
    assert not trips(10**6, 10**6, "1")


# ── who is in it ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_takes_of_every_kind_in_turn_and_from_all_over_the_input() -> None:
    state = taken_in((HAIKU, 100, 900), (SONNET, 100, 90), (HAIKU, 4000, 3), **ALWAYS)
    members = canary_members(state, 20, 10**6)
    assert Counter(state.columns.class_id[ordinal] for ordinal in members) == {0: 9, 1: 8, 2: 3}
    first = [ordinal for ordinal in members if ordinal < 900]
    assert first == [0, 100, 200, 300, 400, 500, 600, 700, 800]


def test_it_is_no_larger_than_a_body_may_be_and_never_empty() -> None:
    state = taken_in((HAIKU, 100, 50), **ALWAYS)
    assert len(canary_members(state, 20, body_size_bytes(300, 3))) == 3
    assert len(canary_members(state, 20, 10)) == 1


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 60))
def test_it_has_as_many_as_asked_for_or_all_there_are(sizes: list[int], requests: int) -> None:
    kinds = [(HAIKU, 2**number, size) for number, size in enumerate(sizes)]
    members = canary_members(taken_in(*kinds), requests, 10**9)
    assert len(set(members)) == len(members) == min(requests, sum(sizes))
    assert members == sorted(members)


# ── when there is one ────────────────────────────────────────────────────────────────────────────────────────────────


def test_large_and_dear_runs_begin_with_one_and_small_ones_do_not() -> None:
    assert not canary_wanted(taken_in((HAIKU, 100, 300)))
    assert canary_wanted(taken_in((HAIKU, 1, CANARY_ABOVE_REQUESTS + 1)))
    assert not canary_wanted(taken_in((HAIKU, 1, CANARY_ABOVE_REQUESTS)))
    assert canary_wanted(taken_in((SONNET, 64_000, 300)))  # $0.48 an answer at most
    assert canary_wanted(taken_in(("claude-unpriced", 1, 300)))


def test_it_is_as_was_said_and_never_all_there_is() -> None:
    assert canary_wanted(taken_in((HAIKU, 100, 21), **ALWAYS))
    assert not canary_wanted(taken_in((HAIKU, 100, 20), **ALWAYS))
    assert not canary_wanted(taken_in((HAIKU, 1, CANARY_ABOVE_REQUESTS + 1), canary="never"))


def test_only_the_first_chunk_can_be_one() -> None:
    state = canary_of(taken_in((HAIKU, 100, 60), **ALWAYS))
    second = e.ChunkSealed(chunk=2, ranges=[1, 2], requests=1, size_bytes=115, cause="canary")
    with pytest.raises(IllegalEventError, match="chunk_sealed"):
        tell(state, second)


# ── the verdict ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_else_is_sealed_until_it_is_judged() -> None:
    state = canary_of(taken_in((HAIKU, 100, 60), **ALWAYS))
    decision = decide(state, NOON)
    assert not any(isinstance(command, Seal | SealChosen | Submit) for command in decision.commands)
    assert any("judged before the rest" in reason.why for reason in decision.waiting)


def test_a_good_one_releases_the_rest() -> None:
    state = answered(canary_of(taken_in((HAIKU, 100, 60), **ALWAYS)), failed=1)
    (judged,) = recorded(state)
    assert isinstance(judged, e.CanaryJudged)
    assert (judged.verdict, judged.requests, judged.failed) == ("released", 20, 1)
    assert float(judged.extrapolated_usd) == pytest.approx(float(judged.cost_usd) / 19 * (19 + 40), rel=1e-3)
    tell(state, judged)
    assert [type(command) for command in decide(state, NOON).commands] == [Seal]


def test_it_is_judged_once() -> None:
    state = answered(canary_of(taken_in((HAIKU, 100, 60), **ALWAYS)), failed=0)
    (judged,) = recorded(state)
    tell(state, judged)
    with pytest.raises(IllegalEventError, match="canary_judged"):
        tell(state, judged)


def test_a_bad_one_pauses_the_run_until_a_person_releases_it() -> None:
    state = answered(canary_of(taken_in((HAIKU, 100, 60), **ALWAYS)), failed=7)
    judged, pause = recorded(state)
    assert isinstance(judged, e.CanaryJudged)
    assert isinstance(pause, e.RunPaused)
    assert (judged.verdict, pause.reason) == ("tripped", "canary")
    assert pause.detail.startswith(
        "7 of 20 items ended in an error (35.0 %, more than the 1 % of --max-error-rate): invalid_request_error 7"
    )
    tell(state, judged, pause)
    assert decide(state, NOON).exit_code == 3
    tell(state, *request_events(state, Lift(("canary",))))
    assert [type(command) for command in decide(state, NOON).commands] == [Seal]


def test_it_is_also_released_by_a_rate_that_tolerates_it_and_by_no_other() -> None:
    state = answered(canary_of(taken_in((HAIKU, 100, 60), **ALWAYS)), failed=7)
    tell(state, *recorded(state))
    policy = state.policy
    assert tolerating(state, msgspec.structs.replace(policy, max_error_rate="0.02")) == []
    assert tolerating(state, policy) == []
    assert tolerating(state, msgspec.structs.replace(policy, max_error_rate="0.5")) == [e.RunResumed(reason="canary")]


def test_one_that_says_the_budget_is_too_small_is_released_by_one_that_is_not() -> None:
    state = taken_in((HAIKU, 100, 60), **ALWAYS)
    tell(state, e.BudgetSet(max_usd="0.006"))
    answered(canary_of(state), failed=0, usage=Usage(input_tokens=40, output_tokens=95))
    judged, pause = recorded(state)
    assert isinstance(judged, e.CanaryJudged)
    assert isinstance(pause, e.RunPaused)
    assert "at that rate all of it costs $0.0" in pause.detail
    tell(state, judged, pause)
    assert request_events(state, SetBudget("0.007"))[1:] == []
    assert request_events(state, SetBudget("1"))[1:] == [e.RunResumed(reason="canary")]


def test_items_that_are_asked_again_belong_to_it() -> None:
    state = canary_of(taken_in((HAIKU, 100, 60), **ALWAYS))
    members = [ordinal for ordinal, chunk in enumerate(state.columns.chunk) if chunk == 1]
    again = [
        e.ResultStored(
            ordinal=o, chunk=1, digest="d", outcome="errored", error_kind="overloaded_error", final=False
        )
        for o in members
    ]  # fmt: skip
    (seen,) = ENDED.changes
    counts = e.Counts(errored=20)
    tell(
        state,
        msgspec.structs.replace(ENDED, changes=(msgspec.structs.replace(seen, counts=counts),)),
        *again,
        e.BatchCollected(chunk=1, batch=BATCH, rows=20, counts=counts),
    )
    assert recorded(state) == []
    (seal,) = decide(state, NOON).commands
    assert isinstance(seal, Seal)
    assert seal.retry


def test_after_its_time_the_run_goes_on_with_what_is_known() -> None:
    state = canary_of(taken_in((HAIKU, 100, 60), canary_wait_us=2 * HOUR, **ALWAYS))
    sent_at = state.chunks[1].sent_at
    assert decide(state, sent_at + 2 * HOUR - 1).commands == decide(state, sent_at + HOUR).commands
    (judged,) = recorded(state, sent_at + 2 * HOUR)
    assert isinstance(judged, e.CanaryJudged)
    assert (judged.verdict, judged.requests) == ("waited", 0)
    tell(state, judged)
    assert not verdict_owed(state)
    assert any(isinstance(command, Seal) for command in decide(state, sent_at + 2 * HOUR).commands)


def test_it_is_cut_to_what_the_budget_has_room_for() -> None:
    state = taken_in((HAIKU, 100, 60), **ALWAYS)
    tell(state, e.BudgetSet(max_usd="0.001"))
    (command,) = decide(state, NOON).commands
    assert isinstance(command, SealChosen)
    assert 0 < len(command.members) < 20
    broke = taken_in((HAIKU, 100, 60), **ALWAYS)
    (pause,) = recorded(tell(broke, e.BudgetSet(max_usd="0")))
    assert isinstance(pause, e.RunPaused)
    assert pause.reason == "budget"


# ── the breaker ──────────────────────────────────────────────────────────────────────────────────────────────────────


def broken(failed: int, left: int = 30) -> RunState:
    """Return a run whose first chunk, that is no canary, came back with errors."""
    state = taken_in((HAIKU, 100, 20 + left))
    tell(state, e.ChunkSealed(chunk=1, ranges=[0, 20], requests=20, size_bytes=body_size_bytes(2000, 20)))
    return answered(sent(state, 20), failed)


def test_errors_trip_it_while_something_fresh_is_left() -> None:
    (pause,) = recorded(broken(5))
    assert isinstance(pause, e.RunPaused)
    assert pause.reason == "breaker"
    assert recorded(broken(4)) == []
    assert breaker_pause(broken(20, left=0)) is None


def test_what_is_accepted_and_what_was_canceled_is_no_error() -> None:
    state = broken(9)
    accepting = msgspec.structs.replace(state.policy, accept=("errored",))
    tell(state, e.SettingsChanged(policy=accepting))
    assert recorded(state) == []
    state = broken(5)
    state.outcomes["canceled"] += 5
    assert ends(state) == (20, 5)


def test_lifting_it_counts_errors_anew_and_the_rule_stays() -> None:
    state = broken(9)
    tell(state, *recorded(state))
    assert decide(state, NOON).exit_code == 3
    tell(state, *request_events(state, Lift(("breaker",))))
    assert ends(state) == (0, 0)
    assert [type(command) for command in decide(state, NOON).commands] == [Seal]


def test_a_rate_that_tolerates_them_lifts_it_and_another_does_not() -> None:
    state = broken(9)
    tell(state, *recorded(state))
    policy = state.policy
    assert tolerating(state, msgspec.structs.replace(policy, max_error_rate="0.05")) == []
    assert tolerating(state, msgspec.structs.replace(policy, max_error_rate="0.6")) == [e.RunResumed(reason="breaker")]
