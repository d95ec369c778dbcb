"""In which order things will go, and what priming costs and may save, before anything is spent."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from priming import PRIMED, SONNET, Item, PrimedWorld, asking
from running import PRICES

from ledger.core import events as e
from ledger.core.order import Turn, order_of, prefix_notices, priming_preview
from ledger.core.prices import Usage, price
from ledger.core.state import RunState
from ledger.previewing import preview_of


def waiting(items: list[Item], **policy: object) -> RunState:
    """Return the state of a run whose items were taken in."""
    from msgspec.structs import replace

    return PrimedWorld(items, policy=replace(PRIMED, **policy)).state()


def test_the_order_is_priming_the_canary_and_the_lanes_and_says_what_each_wait_may_take() -> None:
    state = waiting([*asking(20), *asking(20, priority=7)], canary="always", canary_requests=5)
    assert order_of(state) == (
        Turn(what="priming", requests=1, priorities=(7, 0), wait_hours_usual=1, wait_hours_max=2),
        Turn(what="canary", requests=5, priorities=(7, 0), wait_hours_usual=1, wait_hours_max=2),
        Turn(what="lanes", requests=34, priorities=(7, 0)),
    )
    (said, _) = preview_of(state, date(2026, 11, 22))
    assert (said.order, said.priming) == (order_of(state), priming_preview(state))


def test_a_wait_below_an_hour_is_no_longer_as_a_rule_either() -> None:
    (first, _) = order_of(waiting(asking(20), canary_wait_us=1_800_000_000))
    assert (first.wait_hours_usual, first.wait_hours_max) == (0.5, 0.5)


def test_without_priming_and_canary_there_is_one_turn() -> None:
    assert [turn.what for turn in order_of(waiting(asking(9), prime_cache=False))] == ["lanes"]


@pytest.mark.parametrize("canary", ["never", "always"])
def test_a_run_does_what_its_preview_says(canary: str) -> None:
    from msgspec.structs import replace

    policy = replace(PRIMED, canary=canary, canary_requests=4)  # type: ignore[arg-type]
    world = PrimedWorld([*asking(10), *asking(10, "Another book. " * 700)], policy=policy)
    told = order_of(world.state())
    assert world.run() == 0
    done: dict[str, int] = {}
    for chunk in world.events(e.ChunkSealed):
        what = "lanes" if chunk.cause == "fresh" else chunk.cause
        done[what] = done.get(what, 0) + chunk.requests
    assert done == {turn.what: turn.requests for turn in told}


def test_priming_is_offered_where_it_was_not_asked_for() -> None:
    found = priming_preview(waiting(asking(9), prime_cache=False))
    assert found is not None
    assert (found.wanted, found.prefixes, found.requests, found.left_out) == (False, 1, 8, 0)


def test_what_priming_saves_lies_between_one_more_writing_and_all_writing_but_one() -> None:
    state = waiting(asking(9))
    found = priming_preview(state)
    one = next(one for one in state.classes if one.prefix)
    tokens = one.prefix_bytes // 4
    write = price(PRICES, SONNET, Usage(cache_write_1h_tokens=tokens))
    read = price(PRICES, SONNET, Usage(cache_read_tokens=tokens))
    assert found is not None
    assert write is not None
    assert read is not None
    assert (found.written_usd, found.saved_usd_min, found.saved_usd_max) == (write, read - write, 7 * (write - read))


def test_amounts_without_a_price_are_not_known() -> None:
    state = waiting(asking(9))
    state.prices = None
    found = priming_preview(state)
    assert found is not None
    assert (found.written_usd, found.saved_usd_max) == (None, None)


def test_no_prefix_nothing_to_say() -> None:
    state = waiting([Item("Why?"), *asking(3, ttl="")])
    assert (priming_preview(state), prefix_notices(state)) == (None, [])


def test_prefixes_that_will_hardly_be_read_are_named() -> None:
    state = waiting([*asking(5, ttl="5m"), *asking(6, "Be brief.")])
    codes = [(notice.code, notice.model) for notice in prefix_notices(state)]
    assert codes == [("cache-five-minutes", SONNET), ("prefix-too-short", SONNET)]
    assert prefix_notices(state)[0].why.startswith("4 prompts")
    unprimed = waiting(asking(6, "Be brief."), prime_cache=False)
    assert prefix_notices(unprimed) == []


def test_the_bound_of_what_writing_costs_is_what_the_service_bills_for_it() -> None:
    world = PrimedWorld(asking(9))
    told = priming_preview(world.state())
    assert world.run() == 0
    assert told is not None
    assert told.written_usd is not None
    written = price(PRICES, SONNET, Usage(cache_write_1h_tokens=world.cache()[0]))
    assert written is not None
    assert abs(written - told.written_usd) < Decimal("0.0001")
