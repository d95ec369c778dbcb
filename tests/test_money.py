"""The money of whole runs: what the service charges by its own books is what the ledger says, to the last digit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mixing import LONG, MixedWorld, mixed_requests, params
from running import PRICES

from ledger.core import events as e
from ledger.core.asking import asked_classes
from ledger.core.billed import billed_results
from ledger.core.costs import cost_report, estimate
from ledger.core.dearest import dearest
from ledger.core.prices import TIER_BATCH, Pricer, price
from ledger.core.proof import CostProof, cost_proof
from ledger.core.spending import cost_groups
from ledger.core.state import RunState
from ledger.core.whatif import what_if
from ledger.service.simulator.pricelist import FEMTODOLLARS, charge


def proof_of(state: RunState) -> CostProof:
    return cost_proof(state, PRICES, ledger="items.ledger")


# ── the property ─────────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow])
@given(st.lists(mixed_requests(), min_size=1, max_size=14))
def test_the_services_own_bill_is_what_the_ledger_says_for_any_mix(requests: list[tuple[dict[str, Any], int]]) -> None:
    """Caches, steps, regions, searches, refusals and retries, and every way of grouping it, to the last digit."""
    world = MixedWorld(requests)
    world.run()
    bill, state = world.transport.bill(), world.state()
    proof = proof_of(state)
    assert proof.total.cost_usd == bill.cost_usd
    by_model = {row.key: row.cost_usd for row in proof.rows if row.cost_usd}
    assert by_model == {model: tokens.cost_usd for model, tokens in bill.tokens.items()}
    by_batch = cost_report(PRICES, cost_groups(state), "batch").rows
    charged = {line.batch_id: line.cost_usd for line in bill.by_batch if line.cost_usd}
    assert {row.key: row.cost_usd for row in by_batch if row.cost_usd} == charged
    assert proof.discount.verdict == ("confirmed" if bill.requests_billed else "nothing")
    _check_rows(world, state, proof)


def _check_rows(world: MixedWorld, state: RunState, proof: CostProof) -> None:
    """Priced row by row, item by item, and from estimate to cost: it comes to the same."""
    pricer = Pricer(PRICES)
    rows = [
        pricer.usd(
            one.model or state.classes[state.columns.class_id[one.ordinal]].model,
            one.usage,
            batch=one.tier == TIER_BATCH,
            geo=one.geo,
        )
        for one in world.events(e.ResultStored)
        if one.billed and one.usage is not None
    ]
    assert sum(rows, Decimal(0)) == proof.total.cost_usd
    found, items, items_usd = dearest(billed_results(world.log_rows(), state), PRICES, len(state.columns))
    assert (items, items_usd) == (len(found), proof.total.cost_usd)
    assert sum((dear.usd for dear in found), Decimal(0)) == items_usd
    assert [dear.usd for dear in found] == sorted((dear.usd for dear in found), reverse=True)
    if proof.waterfall is not None:
        steps = sum(proof.waterfall.steps_usd.values(), proof.waterfall.estimate_usd)
        assert steps == proof.waterfall.actual_usd == proof.total.cost_usd


# ── one run, by hand ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def world() -> MixedWorld:
    requests = [
        (params("claude-sonnet-4-6", "Say one."), 0),
        (params("claude-sonnet-4-6", "Say two.", geo="us"), 5),
        (params("claude-sonnet-4-6", "[[simulate:max_tokens]]"), 0),
        (params("claude-haiku-4-5", "[[simulate:errored:api_error:1]]"), 0),
        (params("claude-haiku-4-5", "[[simulate:pause_turn]]"), 0),
        (params("claude-haiku-5-5", "Say it.", prompt=LONG), 0),
        *((params("claude-opus-4-7", f"Say {number}.", cache="1h"), 0) for number in range(3)),
    ]
    made = MixedWorld(requests)
    made.run()
    return made


def test_money_is_told_apart_by_lane_and_by_cause(world: MixedWorld) -> None:
    groups = list(cost_groups(world.state()))
    assert [row.key for row in cost_report(PRICES, groups, "lane").rows] == ["5", "0"]
    causes = {row.key: row.requests for row in cost_report(PRICES, groups, "cause").rows}
    assert causes == {"answers": 7, "paused_turn": 1, "truncated": 1}


def test_from_the_estimate_to_the_cost_every_step_has_its_reason(world: MixedWorld) -> None:
    fall = proof_of(world.state()).waterfall
    assert fall is not None
    assert fall.requests == 9
    assert fall.steps_usd["searches"] == Decimal("0.01")
    assert fall.steps_usd["cache"] != 0
    assert abs(fall.steps_usd["price"]) < Decimal("0.00001"), "steps and regions were foreseen"
    assert fall.estimate_usd == estimate(PRICES, asked_classes(world.state())).total.cost_usd
    (again,) = [group for group in cost_groups(world.state()) if group.attempt == 2]
    assert fall.steps_usd["retries"] == price(PRICES, again.model, again.usage)


def test_a_waterfall_is_unknown_while_a_price_is(world: MixedWorld) -> None:
    state = world.state()
    assert state.prices is not None
    state.prices = msgspec.structs.replace(
        state.prices, models=tuple(row for row in state.prices.models if row.model != "claude-opus-4-7")
    )
    proof = cost_proof(state, state.prices, ledger="items.ledger")
    assert (proof.waterfall, proof.per_1000_usd, proof.total.cost_usd) == (None, None, None)


def test_a_run_with_the_model_it_had_would_have_cost_what_it_did(world: MixedWorld) -> None:
    state = world.state()
    billed = [one for one in billed_results(world.log_rows(), state) if one.model == "claude-sonnet-4-6"]
    paid = sum((Pricer(PRICES).usd(one.model, one.usage, geo=one.geo) or Decimal(0) for one in billed), Decimal(0))
    (same, newer) = what_if(billed, PRICES, ["claude-sonnet-4-6", "claude-sonnet-5"], paid)
    assert (same.cost_usd, same.difference_usd, same.requests) == (paid, 0, 3)
    tokens = [(-(-one.usage.input_tokens * 4 // 3), -(-one.usage.output_tokens * 4 // 3)) for one in billed]
    assert (newer.input_tokens, newer.output_tokens) == (sum(a for a, _ in tokens), sum(b for _, b in tokens))


def test_a_price_list_of_its_own_charges_the_step_the_region_the_cache_and_the_searches() -> None:
    def usd(model: str, geography: str, *tokens: int, searches: int = 0) -> Decimal:
        return Decimal(charge(model, geography, tokens, searches)) / FEMTODOLLARS  # type: ignore[arg-type]

    million = 1_000_000
    assert usd("claude-sonnet-4-6", "global", million, 0, 0, 0, 0) == Decimal("1.5")
    assert usd("claude-sonnet-4-6", "us", 0, million, 0, 0, 0) == Decimal("2.0625")
    assert usd("claude-haiku-4-5-20251001", "us", 0, 0, million, 0, 0) == 1, "4.5 has no residency"
    assert usd("claude-opus-5-5", "global", 0, 0, 0, million, 0) == Decimal("0.1")
    assert usd("claude-haiku-5-5", "global", 100_000, 0, 0, 0, million) == Decimal("0.255")
    assert usd("claude-haiku-5-5", "global", 100_000, 0, 0, 1, 0) == Decimal("0.025000025")
    assert usd("claude-opus-4-7", "global", 0, 0, 0, 0, 0, searches=3) == Decimal("0.03")
