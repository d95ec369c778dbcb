"""The life of simulated batches under a virtual clock."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from simulating import (
    DAY,
    HOUR,
    NOON,
    SECOND,
    all_pages,
    answered,
    envelope,
    envelope_of,
    outcomes_of,
    params,
    rows_of,
    settings,
)

from ledger.service.simulator.core import Simulator
from ledger.service.simulator.records import Record, Traits
from ledger.service.simulator.refusals import RefusalError
from ledger.service.simulator.settings import Mix, Settings

ORIGIN = "http://localhost:1"
TEXTS = tuple(f"prompt {index}" for index in range(40))


def hour_long(**changes: Any) -> Simulator:
    return Simulator(settings(turnaround_minimum_seconds=3600, turnaround_maximum_seconds=3600, **changes))


def test_all_counts_but_processing_are_zero_until_the_end() -> None:
    simulator = hour_long()
    batch = simulator.create(envelope(*TEXTS), NOON)
    nothing = {"processing": 40, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    last = batch.document(NOON + HOUR - 1, ORIGIN)
    assert (last["processing_status"], last["request_counts"], last["results_url"]) == ("in_progress", nothing, None)
    assert batch.document(NOON + HOUR, ORIGIN) == {
        "id": batch.batch_id,
        "type": "message_batch",
        "processing_status": "ended",
        "request_counts": nothing | {"processing": 0, "succeeded": 40},
        "ended_at": "2026-11-22T13:00:00.000000Z",
        "created_at": "2026-11-22T12:00:00.000000Z",
        "expires_at": "2026-11-23T12:00:00.000000Z",
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": f"{ORIGIN}/v1/messages/batches/{batch.batch_id}/results",
    }


def test_results_are_not_there_before_the_end() -> None:
    simulator = hour_long()
    batch = simulator.create(envelope("x"), NOON)
    with pytest.raises(RefusalError) as caught:
        simulator.results(batch.batch_id, NOON + HOUR - 1)
    assert caught.value.status == 404


def test_results_are_gone_29_days_after_creation_and_the_batch_stays() -> None:
    simulator = hour_long()
    batch = simulator.create(envelope("x"), NOON)
    assert simulator.results(batch.batch_id, NOON + 29 * DAY - 1) is batch
    with pytest.raises(RefusalError):
        simulator.results(batch.batch_id, NOON + 29 * DAY)
    document = simulator.retrieve(batch.batch_id, NOON + 29 * DAY).document(NOON + 29 * DAY, ORIGIN)
    assert (document["archived_at"], document["results_url"]) == ("2026-12-21T12:00:00.000000Z", None)


def test_what_was_not_processed_in_24_hours_expires_and_the_rest_keeps_its_result() -> None:
    simulator = Simulator(settings())
    batch = simulator.create(envelope(*TEXTS), NOON, Traits(turnaround=2 * DAY))
    assert (batch.status(NOON + DAY - 1), batch.status(NOON + DAY)) == ("in_progress", "ended")
    outcomes = outcomes_of(batch)
    assert set(outcomes) == {"end_turn", "expired"}
    assert 8 < outcomes.count("expired") < 32


def test_a_canceled_batch_is_canceling_and_ends_with_a_mix() -> None:
    simulator = hour_long(cancel_seconds=60)
    batch = simulator.create(envelope(*TEXTS), NOON)
    simulator.cancel(batch.batch_id, NOON + HOUR // 2)
    assert batch.status(NOON + HOUR // 2 + 59 * SECOND) == "canceling"
    ended = batch.document(NOON + HOUR // 2 + 60 * SECOND, ORIGIN)
    assert ended["cancel_initiated_at"] == "2026-11-22T12:30:00.000000Z"
    counts = ended["request_counts"]
    assert isinstance(counts, dict)
    assert counts["succeeded"] + counts["canceled"] == 40
    assert min(counts["succeeded"], counts["canceled"]) > 5


def test_cancel_is_idempotent_while_canceling_and_refused_after_the_end() -> None:
    simulator = hour_long()
    batch = simulator.create(envelope("x"), NOON)
    simulator.cancel(batch.batch_id, NOON)
    simulator.cancel(batch.batch_id, NOON + 1)
    assert batch.cancel_requested_at == NOON
    with pytest.raises(RefusalError) as caught:
        simulator.cancel(batch.batch_id, NOON + HOUR)
    assert caught.value.status == 400


def test_only_an_ended_batch_is_deleted_and_then_it_is_gone() -> None:
    simulator = hour_long()
    batch = simulator.create(envelope("x"), NOON)
    with pytest.raises(RefusalError) as caught:
        simulator.delete(batch.batch_id, NOON)
    assert caught.value.status == 400
    simulator.delete(batch.batch_id, NOON + HOUR)
    assert simulator.list_page(NOON + HOUR).batches == []
    with pytest.raises(RefusalError) as caught:
        simulator.retrieve(batch.batch_id, NOON + HOUR)
    assert caught.value.status == 404


def test_a_full_queue_refuses_the_whole_batch_and_takes_it_when_another_ended() -> None:
    simulator = hour_long(queue_maximum=50)
    simulator.create(envelope(*TEXTS), NOON)
    with pytest.raises(RefusalError) as caught:
        simulator.create(envelope(*TEXTS), NOON + 1)
    assert (caught.value.status, len(simulator.batches)) == (429, 1)
    simulator.create(envelope(*TEXTS), NOON + HOUR)
    assert len(simulator.batches) == 2


def test_a_late_batch_does_not_exist_until_it_materialises() -> None:
    simulator = Simulator(settings())
    batch = simulator.create(envelope("x"), NOON, late=5 * SECOND)
    with pytest.raises(RefusalError):
        simulator.retrieve(batch.batch_id, NOON + 5 * SECOND - 1)
    assert simulator.list_page(NOON + 5 * SECOND - 1).batches == []
    assert simulator.list_page(NOON + 5 * SECOND).batches == [batch]


def test_a_batch_that_never_ends_is_in_progress_beyond_its_expiry() -> None:
    batch = Simulator(settings()).create(envelope("x"), NOON, Traits(never_ends=True))
    assert batch.status(NOON + 40 * DAY) == "in_progress"


def test_traits_delete_archive_and_expire() -> None:
    simulator = Simulator(settings())
    traits = Traits(turnaround=HOUR, deleted_after=HOUR, archived_after=90 * 60 * SECOND, expired_share=0.5)
    batch = simulator.create(envelope(*TEXTS), NOON, traits)
    assert 5 < outcomes_of(batch).count("expired") < 35
    assert batch.document(NOON + 89 * 60 * SECOND, ORIGIN)["archived_at"] is None
    assert batch.document(NOON + 90 * 60 * SECOND, ORIGIN)["results_url"] is None
    assert simulator.list_page(NOON + 2 * HOUR - 1).batches == [batch]
    assert simulator.list_page(NOON + 2 * HOUR).batches == []


def test_the_rate_limit_is_a_bucket_that_refills() -> None:
    simulator = Simulator(settings(calls_per_minute_maximum=3))
    for _ in range(3):
        simulator.admit(NOON)
    with pytest.raises(RefusalError) as caught:
        simulator.admit(NOON)
    assert (caught.value.status, caught.value.retry_after_seconds) == (429, 20)
    simulator.admit(NOON + 20 * SECOND)


@examples(deadline=None)  # no test depends on the speed of a machine
@given(count=st.integers(0, 25), limit=st.integers(1, 7), start=st.integers(0, 24))
def test_pages_are_newest_first_and_complete_in_both_directions(count: int, limit: int, start: int) -> None:
    simulator = Simulator(settings())
    created = [simulator.create_foreign(1, NOON + (index // 2) * SECOND) for index in range(count)]
    newest_first = created[::-1]
    assert list(all_pages(simulator, NOON + DAY, limit)) == newest_first
    if start < count:
        page = simulator.list_page(NOON + DAY, limit, before_id=newest_first[start].batch_id)
        assert page.batches == newest_first[max(start - limit, 0) : start]
        assert page.has_more == (start > limit)


@pytest.mark.parametrize("limit", [0, 1001])
def test_a_limit_outside_1_to_1000_is_refused(limit: int) -> None:
    with pytest.raises(RefusalError) as caught:
        Simulator(settings()).list_page(NOON, limit)
    assert caught.value.status == 400


def test_rows_are_shuffled_and_come_in_the_same_order_each_time() -> None:
    batch = answered(*TEXTS)
    order = batch.order()
    assert order != sorted(order) == list(range(40))
    assert batch.order() == order


def test_an_answer_depends_on_body_and_seed_and_not_on_the_batch_the_time_or_the_wire_id() -> None:
    simulator = Simulator(settings())
    first = simulator.create(envelope("a", "b", ids="{}-first-x"), NOON)
    second = simulator.create(envelope("a", "b", ids="{}-second-y"), NOON + DAY)
    assert [row["result"] for row in rows_of(first)] == [row["result"] for row in rows_of(second)]
    other = Simulator(settings(seed=1)).create(envelope("a", "b", seed=1), NOON)
    assert rows_of(other)[0]["result"]["message"]["content"] != rows_of(first)[0]["result"]["message"]["content"]


@pytest.mark.parametrize(
    ("marker", "outcomes"),
    [
        ("refusal", ["refusal"] * 3),
        ("max_tokens:1", ["max_tokens", "end_turn", "end_turn"]),
        ("errored:overloaded_error:2", ["overloaded_error", "overloaded_error", "end_turn"]),
        ("expired:1", ["expired", "end_turn", "end_turn"]),
        ("expired", ["expired"] * 3),
        ("needs:513", ["max_tokens"] * 3),
        ("needs:512", ["end_turn"] * 3),
    ],
)
def test_a_marker_decides_the_outcome_of_each_attempt_of_its_body(marker: str, outcomes: list[str]) -> None:
    simulator = Simulator(settings())
    batches = [simulator.create(envelope(f"[[simulate:{marker}]]", "other"), NOON + index) for index in range(3)]
    assert [outcomes_of(batch) for batch in batches] == [[outcome, "end_turn"] for outcome in outcomes]


def test_tokens_follow_the_bytes_of_the_prompt_and_stay_under_the_cap() -> None:
    items = [
        {"custom_id": "old", "params": params("x" * 12_000, model="claude-sonnet-4-6", max_tokens=5)},
        {"custom_id": "new", "params": params("x" * 12_000, model="claude-sonnet-5-5")},
        {"custom_id": "cut", "params": params("[[simulate:max_tokens]]", max_tokens=77)},
        {"custom_id": "refused", "params": params("[[simulate:refusal]]")},
    ]
    old, new, cut, refused = (
        row["result"]["message"] for row in rows_of(Simulator(settings()).create(envelope_of(items), NOON))
    )
    assert 3000 < old["usage"]["input_tokens"] < 3040
    assert 4000 < new["usage"]["input_tokens"] < 4050
    assert 1 <= old["usage"]["output_tokens"] <= 5
    assert (cut["usage"]["output_tokens"], len(cut["content"][0]["text"])) == (77, 308)
    assert (refused["content"], refused["stop_details"]["type"]) == ([], "refusal")
    assert refused["usage"]["output_tokens"] > 0
    assert old["usage"]["service_tier"] == "batch"


def test_the_first_of_a_shared_prefix_writes_the_cache_and_most_others_read_it() -> None:
    system = [{"type": "text", "text": "Rules. " * 3000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    items = [{"custom_id": f"id-{index}", "params": params(str(index), system=system)} for index in range(200)]
    simulator = Simulator(settings())
    usages = [row["result"]["message"]["usage"] for row in rows_of(simulator.create(envelope_of(items), NOON))]
    prefix = usages[0]["cache_creation_input_tokens"]
    assert 5000 < prefix < 5500
    assert usages[0]["cache_creation"] == {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": prefix}
    hits = [usage for usage in usages if usage["cache_read_input_tokens"] == prefix]
    assert all(usage["cache_creation_input_tokens"] == 0 for usage in hits)
    assert 150 < len(hits) < 200
    # What was written or read is not in input_tokens as well: the prompt is the sum of the three.
    assert all(0 < usage["input_tokens"] < 80 for usage in usages)
    again = rows_of(simulator.create(envelope_of(items[:1]), NOON + 59 * 60 * SECOND))
    late = rows_of(simulator.create(envelope_of(items[:1]), NOON + 3 * HOUR))
    reads = [rows[0]["result"]["message"]["usage"]["cache_read_input_tokens"] for rows in (again, late)]
    assert reads == [prefix, 0]


def test_a_prefix_below_the_models_minimum_is_silently_not_cached() -> None:
    system = [{"type": "text", "text": "Rules.", "cache_control": {"type": "ephemeral"}}]
    batch = Simulator(settings()).create(envelope_of([{"custom_id": "a", "params": params(system=system)}]), NOON)
    assert rows_of(batch)[0]["result"]["message"]["usage"]["cache_creation_input_tokens"] == 0


def test_seeded_shares_come_about() -> None:
    mix = Mix(max_tokens=0.1, refusal=0.1, refusal_midway=0, pause_turn=0.1, errored={"api_error": 0.1}, expired=0.1)
    outcomes = outcomes_of(answered(*(f"prompt {index}" for index in range(2000)), mix=mix))
    for outcome in ("max_tokens", "refusal", "pause_turn", "api_error", "expired"):
        assert 120 < outcomes.count(outcome) < 280
    assert 900 < outcomes.count("end_turn") < 1300


def test_a_passing_error_is_drawn_anew_at_every_attempt_and_a_refusal_is_not() -> None:
    texts = [f"prompt {index}" for index in range(300)]
    simulator = Simulator(settings(mix=Mix(max_tokens=0, refusal=0.2, refusal_midway=0, errored={"api_error": 0.2})))
    first, second = (outcomes_of(simulator.create(envelope(*texts), NOON + index)) for index in range(2))
    both = list(zip(first, second, strict=True))
    assert ("api_error", "end_turn") in both
    assert ("refusal", "end_turn") not in both


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["create", "late", "foreign", "cancel", "delete", "count"]), st.integers(0, 9)),
    max_size=20,
)


@examples(deadline=None)  # no test depends on the speed of a machine
@given(OPERATIONS)
def test_a_service_that_comes_back_from_its_records_is_the_same(operations: list[tuple[str, int]]) -> None:
    records: list[Record] = []
    chosen = Settings(turnaround_minimum_seconds=1, turnaround_maximum_seconds=30)
    simulator = Simulator(chosen, records.append)
    now = NOON
    for name, number in operations:
        now += 7 * SECOND
        play(simulator, name, number, now)
    restored = Simulator(chosen)
    for record in records:
        restored.apply(record)
    later = now + DAY
    for one, other in zip(all_pages(simulator, later, 5), all_pages(restored, later, 5), strict=True):
        assert one.document(later, ORIGIN) == other.document(later, ORIGIN)
        assert rows_of(one) == rows_of(other)
    assert simulator.count_call("create", durable=False) == restored.count_call("create", durable=False)


def play(simulator: Simulator, name: str, number: int, now: int) -> None:
    ids = list(simulator.batches)
    with contextlib.suppress(RefusalError):  # what is not there, or not in the right status, leaves no record
        if name in ("create", "late"):
            simulator.create(envelope(f"a{number % 3}", "b"), now, late=number * SECOND if name == "late" else 0)
        elif name == "foreign":
            simulator.create_foreign(number + 1, now)
        elif name == "count":
            simulator.count_call("create", durable=True)
        elif ids and name == "cancel":
            simulator.cancel(ids[number % len(ids)], now)
        elif ids:
            simulator.delete(ids[number % len(ids)], now)
