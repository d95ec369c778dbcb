"""From the state to the groups of a cost report."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from running import MODEL, POLICY, PRICES, World

from ledger.core import events as e
from ledger.core.costs import cost_report
from ledger.core.evolve import evolve
from ledger.core.prices import ModelPrice, Usage
from ledger.core.spending import MIXED, cost_groups
from ledger.core.state import RunState
from ledger.core.units import format_instant

TEXTS = ["Say one.", "[[simulate:max_tokens]]", "[[simulate:errored:api_error:1]]", "Say four.", "[[simulate:refusal]]"]


@pytest.fixture
def world() -> World:
    made = World(TEXTS, policy=msgspec.structs.replace(POLICY, accept=("truncated",)))
    assert made.run() == 1
    return made


def with_twin(state: RunState, usage: Usage | None) -> RunState:
    twin = e.TwinFound(chunk=1, submission=1, batch="msgbatch_twin", requests=4, proven=usage is not None, usage=usage)
    evolve(state, state.position + 1, state.at, twin)
    return state


def test_every_result_that_used_anything_is_in_the_group_of_its_batch_and_day(world: World) -> None:
    state = world.state()
    by_batch: Counter[str] = Counter()
    for group in cost_groups(state):
        by_batch[group.batch] += group.requests
        chunk = state.chunks[state.batches[group.batch]]
        assert group.day == format_instant(chunk.ended_at)[:10]
    stored = [event for event in world.events(e.ResultStored) if event.usage is not None]
    assert by_batch == Counter(state.chunks[event.chunk].batch for event in stored)


def test_only_what_was_billed_and_not_accepted_is_waste(world: World) -> None:
    """The truncated answer is accepted, the refusal without output is free."""
    assert {group.cause for group in cost_groups(world.state())} == {""}
    state = world.state()
    state.policy = msgspec.structs.replace(state.policy, accept=())
    assert {group.cause for group in cost_groups(state)} == {"", "truncated"}


def test_a_weighed_twin_is_waste_at_its_models_price(world: World) -> None:
    state = with_twin(world.state(), Usage(output_tokens=1_000))
    (twin,) = [group for group in cost_groups(state) if group.cause == "twin"]
    assert (twin.model, twin.batch, twin.requests) == (MODEL, "msgbatch_twin", 4)
    report = cost_report(PRICES, cost_groups(state))
    assert report.total.wasted_usd["twin"] == cost_report(PRICES, [twin]).total.cost_usd


def test_a_twin_that_was_acknowledged_is_waste_all_the_same(world: World) -> None:
    state = with_twin(world.state(), Usage(output_tokens=1_000))
    before = cost_report(PRICES, cost_groups(state))
    evolve(state, state.position + 1, state.at, e.TwinAcknowledged(chunk=1, batch="msgbatch_twin"))
    assert state.twins == {}
    assert cost_report(PRICES, cost_groups(state)) == before
    assert before.total.wasted_usd["twin"] is not None


def test_a_twin_that_is_not_weighed_yet_costs_nothing_yet(world: World) -> None:
    assert list(cost_groups(with_twin(world.state(), None))) == list(cost_groups(world.state()))


def test_a_twin_of_several_models_or_of_a_price_with_steps_has_no_price_and_neither_has_the_total(world: World) -> None:
    state = with_twin(world.state(), Usage(output_tokens=1_000))
    state.classes.append(e.ClassDeclared(class_id=1, model="claude-opus-5-5", max_tokens=9))
    state.columns.class_id[0] = 1
    (twin,) = [group for group in cost_groups(state) if group.cause == "twin"]
    assert twin.model == MIXED
    assert cost_report(PRICES, cost_groups(state)).total.cost_usd is None

    stepped = with_twin(world.state(), Usage(output_tokens=1_000))
    base = next(row for row in PRICES.models if row.model == MODEL)
    dearer: ModelPrice = msgspec.structs.replace(base, above_prompt_tokens=100_000, input="9")
    stepped.prices = msgspec.structs.replace(PRICES, models=(base, dearer))
    assert cost_report(stepped.prices, cost_groups(stepped)).total.wasted_usd == {"twin": None}
