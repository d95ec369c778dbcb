"""How fast answers came, and how often they were errors."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from running import MINUTE, World
from stating import NOON

from ledger.core import events as e
from ledger.core.pace import TYPICAL_PER_HOUR, errors, paces
from ledger.core.state import RunState


class FakeChunk:
    def __init__(self, created_at: int, ended_at: int) -> None:
        self.created_at, self.ended_at = created_at, ended_at


def timed(model: str, answers: int, *spans: tuple[int, int]) -> RunState:
    """A state in which each span, in minutes after noon, is a batch with so many answers."""
    state = RunState()
    for number, (begin, end) in enumerate(spans, 1):
        created, ended = NOON + begin * MINUTE, NOON + end * MINUTE if end else 0
        chunk: Any = FakeChunk(created, ended)
        state.chunks[number] = chunk
        state.spent[(number, 1, model, "batch", "", "", "ok", True)] = [answers, 0, 0, 0, 0, 0, 0]
    return state


def test_time_in_which_no_batch_was_there_is_our_own_and_time_with_two_counts_once() -> None:
    (pace,) = paces(timed("claude-haiku-4-5-20251001", 10_000, (0, 10), (5, 15), (45, 60)))
    assert (pace.answers, pace.batches) == (30_000, 3)
    assert (pace.service_seconds, pace.own_seconds) == (30 * 60.0, 30 * 60.0)
    assert (pace.per_hour, pace.typical, pace.fit) == (60_000, (50_000, 100_000), "within")


@pytest.mark.parametrize(
    ("model", "answers", "fit"),
    [
        ("claude-sonnet-4-6", 9_999, "below"),
        ("claude-sonnet-4-6", 10_000, "within"),
        ("claude-sonnet-4-6", 50_001, "above"),
        ("claude-opus-5", 10_000, ""),
    ],
)
def test_a_pace_is_compared_with_what_its_family_typically_reaches(model: str, answers: int, fit: str) -> None:
    (pace,) = paces(timed(model, answers, (0, 60)))
    assert (pace.per_hour, pace.fit) == (answers, fit)
    assert bool(pace.typical) == any(f"-{family}-" in model for family in TYPICAL_PER_HOUR)


def test_a_batch_whose_end_is_not_known_leaves_the_pace_unknown() -> None:
    (pace,) = paces(timed("claude-sonnet-4-6", 10, (0, 60), (0, 0)))
    assert (pace.per_hour, pace.fit) == (None, "")
    (instant,) = paces(timed("claude-sonnet-4-6", 10, (5, 5)))
    assert (instant.per_hour, instant.service_seconds) == (None, 0)


def test_errors_of_all_attempts_count_and_expiries_are_none() -> None:
    world = World(["Say one.", "[[simulate:errored:api_error:1]]", "[[simulate:expired:1]]", "Say four."])
    world.run()
    counted = errors(world.state())
    assert (counted.results, counted.errored, counted.expired, counted.canceled) == (6, 1, 1, 0)
    assert counted.rate == Decimal("0.166667")
    assert counted.verdict == "systematic"
    assert len(world.events(e.ResultStored)) == counted.results


@pytest.mark.parametrize(
    ("errored", "verdict"),
    [(0, "none"), (1, "normal"), (100, "normal"), (101, "raised"), (1000, "raised"), (1001, "systematic")],
)
def test_up_to_one_in_a_thousand_errors_are_normal_and_above_one_in_a_hundred_systematic(
    errored: int, verdict: str
) -> None:
    state = RunState()
    state.stored[1] = {"succeeded": 100_000 - errored, "errored": errored, "canceled": 0, "expired": 0}
    assert errors(state).verdict == verdict


def test_without_results_there_is_no_rate() -> None:
    assert errors(RunState()).rate is None
