"""The simulated prompt cache: what a batch reads of what itself, and earlier batches, wrote."""

from __future__ import annotations

from typing import Any

from simulating import HOUR, NOON, SECOND, envelope_of, params, rows_of, settings

from ledger.service.simulator.core import Simulator

MINUTE = 60 * SECOND


def requests(count: int, first: int = 0, ttl: str = "1h") -> list[dict[str, Any]]:
    mark = {"type": "ephemeral", "ttl": ttl}
    system = [{"type": "text", "text": "Rules. " * 3000, "cache_control": mark}]
    numbers = range(first, first + count)
    return [{"custom_id": f"id-{n}", "params": params(str(n), system=system)} for n in numbers]


def reads(simulator: Simulator, items: list[dict[str, Any]], at: int) -> float:
    """Return the share of a batch's marked tokens that were read from the cache."""
    usages = [row["result"]["message"]["usage"] for row in rows_of(simulator.create(envelope_of(items), at))]
    read = sum(usage["cache_read_input_tokens"] for usage in usages)
    return read / (read + sum(usage["cache_creation_input_tokens"] for usage in usages))


def hourly(**changes: Any) -> Simulator:
    """Return a service whose batches take 20 minutes."""
    return Simulator(settings(turnaround_minimum_seconds=1200, turnaround_maximum_seconds=1200, **changes))


def test_a_batch_without_an_entry_writes_one_as_long_as_none_can_be_read() -> None:
    assert 0.6 < reads(hourly(), requests(300), NOON) < 0.75
    assert 0.9 < reads(hourly(cache_lag_share=0), requests(300), NOON) < 1


def test_a_batch_reads_what_a_batch_of_one_wrote_before_it() -> None:
    simulator = hourly()
    assert reads(simulator, requests(1), NOON) == 0
    assert 0.94 < reads(simulator, requests(300, 1), NOON + 21 * MINUTE) < 1


def test_an_entry_lives_for_its_time_from_its_last_use() -> None:
    simulator = hourly()
    reads(simulator, requests(1), NOON)
    assert reads(simulator, requests(300, 1), NOON + 50 * MINUTE) > 0.5  # most are due within the hour, and prolong it
    assert reads(simulator, requests(300, 301), NOON + 100 * MINUTE) > 0.94
    assert reads(simulator, requests(300, 601), NOON + 4 * HOUR) < 0.75


def test_an_entry_for_five_minutes_is_gone_when_the_next_batch_comes() -> None:
    simulator = hourly()
    reads(simulator, requests(1, ttl="5m"), NOON)
    assert reads(simulator, requests(300, 1, ttl="5m"), NOON + 30 * MINUTE) < 0.75


def test_a_service_whose_batches_share_nothing_reads_no_earlier_entry() -> None:
    simulator = hourly(cache_across_batches=False)
    reads(simulator, requests(1), NOON)
    assert reads(simulator, requests(1, 1), NOON + 21 * MINUTE) == 0
