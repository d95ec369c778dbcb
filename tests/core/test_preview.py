"""What a preview says beside the amounts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from running import PRICES
from stating import opened, tell

from ledger.core import events as e
from ledger.core.asking import asked_classes
from ledger.core.costs import RequestClass, bytes_per_token, estimate
from ledger.core.preview import Preview, preview
from ledger.core.prices import Usage, price
from ledger.core.state import RunState
from ledger.previewing import preview_of
from ledger.summary import request_classes

TODAY = date(2026, 11, 22)


def request_class(**changes: Any) -> RequestClass:
    usual = {"model": "claude-sonnet-4-6", "max_tokens": 1000, "requests": 10, "bytes": 40_000, "largest_bytes": 4_000}
    return RequestClass(**{**usual, **changes})


def previewed(*classes: RequestClass, batches: dict[int, int] | None = None, queue_requests: int = 200_000) -> Preview:
    return preview(
        PRICES,
        classes,
        batches=batches or {0: 1},
        tier="start",
        queue_requests=queue_requests,
        today=TODAY,
        bytes_per_token=bytes_per_token,
    )


def test_lanes_come_in_the_order_in_which_they_are_sent_and_add_up() -> None:
    classes = (request_class(priority=5), request_class(requests=20, bytes=90_000))
    said = previewed(*classes, batches={5: 1, 0: 2})
    assert [(lane.priority, lane.requests, lane.batches) for lane in said.lanes] == [(5, 10, 1), (0, 20, 2)]
    total = estimate(PRICES, classes).total
    assert sum(lane.cost_usd or 0 for lane in said.lanes) == total.cost_usd
    assert sum(lane.cost_ceiling_usd or 0 for lane in said.lanes) == total.cost_ceiling_usd


def test_prompts_above_a_step_are_counted_by_model() -> None:
    short = request_class(model="claude-haiku-5-5", largest_bytes=300_000)
    long = request_class(model="claude-haiku-5-5", requests=3, bytes=900_009, largest_bytes=300_003)
    (step,) = previewed(short, long).steps
    assert (step.model, step.above_prompt_tokens, step.requests) == ("claude-haiku-5-5", 100_000, 3)


def test_the_range_of_the_cache_goes_from_all_read_to_all_written() -> None:
    (cache,) = previewed(request_class(cached=True), request_class()).cache
    answers = Usage(output_tokens=4_000)
    tokens = 10_000
    read = price(PRICES, "claude-sonnet-4-6", Usage(cache_read_tokens=tokens) + answers)
    written = price(PRICES, "claude-sonnet-4-6", Usage(cache_write_1h_tokens=tokens) + answers)
    assert (cache.requests, cache.read_usd, cache.written_usd) == (10, read, written)
    (unknown,) = previewed(request_class(model="claude-next", cached=True)).cache
    assert (unknown.read_usd, unknown.written_usd) == (None, None)


@pytest.mark.parametrize(
    ("requests", "queue", "fills"),
    [(1, 200_000, 1), (200_000, 200_000, 1), (200_001, 200_000, 2), (10**7, 500_000, 20)],
)
def test_the_queue_must_be_filled_as_often_as_it_takes(requests: int, queue: int, fills: int) -> None:
    time = previewed(request_class(requests=requests), queue_requests=queue).time
    assert (time.queue_fills, time.hours_usual, time.hours_max) == (fills, fills, 24 * fills)


def test_the_pace_of_large_runs_is_known_of_haiku_and_sonnet_only() -> None:
    both = (request_class(requests=100_000), request_class(model="claude-haiku-4-5", requests=100_000))
    assert previewed(*both).time.hours_by_pace == (3.0, 12.0)
    assert previewed(*both, request_class(model="claude-opus-5")).time.hours_by_pace == ()


def test_models_that_end_and_prefixes_too_short_to_be_cached_are_named_once() -> None:
    said = previewed(
        request_class(model="claude-sonnet-4-5"),
        request_class(model="claude-sonnet-4-5", max_tokens=5),
        request_class(model="claude-opus-4-6", cached=True, largest_bytes=16_380),
    )
    assert [(notice.model, notice.code) for notice in said.notices] == [
        ("claude-sonnet-4-5", "retiring"),
        ("claude-opus-4-6", "cache-too-short"),
    ]
    assert "2026-11-30" in said.notices[0].why
    long_enough = previewed(request_class(model="claude-opus-4-6", cached=True, largest_bytes=16_384))
    assert long_enough.notices == ()


def test_requests_for_the_us_are_counted() -> None:
    assert previewed(request_class(geo="us"), request_class()).us_requests == 10


# ── from the state ───────────────────────────────────────────────────────────────────────────────────────────────────


def state_with(model: str, sizes: Sequence[int], priority: int = 0) -> RunState:
    state = opened(0)
    return tell(
        state,
        e.SourceOpened(source=2, path="/more.jsonl"),
        e.ClassDeclared(class_id=1, model=model, max_tokens=100, priority=priority),
        *(
            e.RequestBuilt(ordinal=n, custom_id=str(n), line=n + 1, size_bytes=size, digest="d", class_id=1)
            for n, size in enumerate(sizes)
        ),
        e.IntakeCompleted(source=2, lines=3, bytes_read=3, digest="d", built=len(sizes), deduplicated=0, rejected=0),
        e.PricesQuoted(table=PRICES),
    )


def test_requests_on_another_step_are_a_group_of_their_own_and_estimated_exactly() -> None:
    sizes = (30, 300_000, 300_001, 600_000)
    state = state_with("claude-haiku-5-5", sizes)
    classes = request_classes(state)
    assert [(one.requests, one.bytes, one.largest_bytes) for one in classes] == [
        (2, 300_030, 300_000),
        (2, 900_001, 600_000),
    ]
    one_by_one = [
        estimate(PRICES, [request_class(model="claude-haiku-5-5", max_tokens=100, requests=1, bytes=size)])
        for size in sizes
    ]
    expected = sum((single.total.cost_usd or Decimal(0) for single in one_by_one), Decimal(0))
    assert estimate(PRICES, classes).total.cost_usd == expected
    assert asked_classes(state) == classes


def test_a_preview_of_a_state_cuts_as_the_run_does() -> None:
    state = state_with("claude-sonnet-4-6", [100] * 7, priority=-3)
    said, cuts = preview_of(state, TODAY)
    assert [cut.requests for cut in cuts] == [3, 3, 1]
    assert [(lane.priority, lane.requests, lane.batches) for lane in said.lanes] == [(-3, 7, 3)]
    assert (said.time.tier, said.time.queue_requests) == (state.policy.tier, state.policy.queue_requests)
