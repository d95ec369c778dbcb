"""What the answers of one run teach about those of the next."""

from __future__ import annotations

from fractions import Fraction

import pytest
from running import MODEL, PRICES, World

from ledger.core.costs import RequestClass, estimate
from ledger.core.learning import ANSWERS_MIN, Learned, learn
from ledger.previewing import Expectations

RESOLVED = "claude-haiku-4-5-20251001"


@pytest.fixture(scope="module")
def world() -> World:
    texts = [f"Say {number}." for number in range(ANSWERS_MIN)]
    made = World([*texts, "[[simulate:errored:invalid_request_error]]", "[[simulate:errored:api_error:1]]"])
    made.run()
    return made


@pytest.fixture
def learned(world: World) -> Learned:
    return learn(world.state(), "before.ledger")


def test_tokens_and_bytes_are_those_of_the_requests_that_were_answered(world: World, learned: Learned) -> None:
    (one,) = learned.models
    bill = world.transport.bill().tokens[RESOLVED]
    state = world.state()
    failed = world.outcomes().index("errored")
    assert (one.model, one.answers, one.output_tokens, one.prompt_tokens) == (
        RESOLVED,
        ANSWERS_MIN + 1,
        bill.output_tokens,
        bill.input_tokens,
    )
    assert one.prompt_bytes == sum(state.class_bytes) - state.columns.size_bytes[failed]


def test_an_alias_and_its_dated_id_are_one_model_and_others_are_not_learnt(learned: Learned) -> None:
    one = learned.models[0]
    for model in (MODEL, RESOLVED):
        assert learned.bytes_per_token(model) == Fraction(one.prompt_bytes, one.prompt_tokens)
    assert learned.of("claude-opus-5") is None
    assert learned.bytes_per_token("claude-opus-5") == 3


def test_the_same_run_again_is_estimated_at_what_it_cost(world: World, learned: Learned) -> None:
    """Only rounding is left: whole tokens an answer, and the requests that failed."""
    one = learned.models[0]
    classes = [RequestClass(model=MODEL, max_tokens=100, requests=one.answers, bytes=one.prompt_bytes)]
    (after,) = estimate(PRICES, learned.applied(classes), learned.bytes_per_token).rows
    assert after.input_tokens == one.prompt_tokens
    assert abs(after.output_tokens - one.output_tokens) <= one.answers / 2
    (before,) = estimate(PRICES, classes).rows
    assert before.output_tokens == 40 * one.answers


def test_models_with_few_answers_teach_nothing() -> None:
    made = World([f"Say {number}." for number in range(ANSWERS_MIN - 1)])
    made.run()
    learned = learn(made.state(), "small.ledger")
    assert learned.models == ()
    classes = [RequestClass(model=MODEL, max_tokens=100, requests=1, bytes=9)]
    assert learned.applied(classes) == classes


def test_an_estimate_says_what_it_rests_on(world: World, learned: Learned) -> None:
    fresh = World(["Say it."]).state()
    said = Expectations(learned=learned).estimate(fresh).assumptions
    usual = Expectations().estimate(fresh).assumptions
    assert said[0].startswith("input: as many bytes a token as in before.ledger")
    assert said[1].startswith(f"output, expected: as in before.ledger: {RESOLVED} ")
    assert said[2:] == usual[2:]
    assert Expectations().estimate(fresh) == estimate(PRICES, Expectations().classes(fresh))
