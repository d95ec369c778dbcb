"""Tokens that the service counts of a sample stand for all."""

from __future__ import annotations

import json
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import MODEL, World
from stating import opened, tell

from ledger.core import events as e
from ledger.core.errors import ServiceError
from ledger.core.state import RunState
from ledger.counting import CALLS_AT_MOST, Counted, count_sample, sampled
from ledger.ports import CallError
from ledger.service.simulator.models import find_model
from ledger.store.memory import MemoryLog


def state_of(*classes: list[int]) -> RunState:
    """A state in which the requests of each class have these sizes."""
    state = opened(0)
    built = [
        e.RequestBuilt(ordinal=0, custom_id="", line=1, size_bytes=size, digest="d", class_id=number + 1)
        for number, sizes in enumerate(classes)
        for size in sizes
    ]
    return tell(
        state,
        e.SourceOpened(source=2, path="/more.jsonl"),
        *(e.ClassDeclared(class_id=n + 1, model=f"m{n}", max_tokens=9) for n in range(len(classes))),
        *(msgspec.structs.replace(one, ordinal=n, custom_id=str(n)) for n, one in enumerate(built)),
        e.IntakeCompleted(source=2, lines=1, bytes_read=1, digest="d", built=len(built), deduplicated=0, rejected=0),
    )


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=60), st.integers(1, 20))
def test_a_sample_takes_of_every_class_as_many_as_asked_by_weight_of_bytes(sizes: list[int], wanted: int) -> None:
    (sample,) = sampled(state_of(sizes), wanted)
    assert sum(sample.weights.values()) == wanted
    assert sample.size_bytes == sum(sizes)
    for ordinal, weight in sample.weights.items():
        share = Fraction(sizes[ordinal] * wanted, sum(sizes))
        assert abs(weight - share) < 1, "as often as its size calls for"


def test_few_long_prompts_that_hold_most_bytes_are_in_the_sample() -> None:
    (sample,) = sampled(state_of([100] * 40 + [1_000_000]), 5)
    assert set(sample.weights) == {40}


def test_of_very_many_classes_fewer_requests_are_counted_each() -> None:
    samples = sampled(state_of(*[[10] * 3] * 1_500), 3)
    assert sum(len(sample.weights) for sample in samples) == 1_500 <= CALLS_AT_MOST


def world() -> tuple[World, MemoryLog]:
    made = World([f"Say {number}. " + "Slowly. " * (number * 40) for number in range(30)])
    return made, MemoryLog(made.disk.cut(len(made.disk.rows)))


def test_what_the_service_counts_is_what_it_will_bill() -> None:
    made, log = world()
    pauses: list[float] = []
    counted = count_sample(log, made.state(), made.gateway(), 30, pauses.append)
    (model,) = counted.models
    assert model.model == MODEL
    assert model.bytes == sum(made.state().class_bytes)
    assert len(pauses) == model.sampled
    made.run()
    billed = sum(tokens.input_tokens for tokens in made.transport.bill().tokens.values())
    assert abs(model.tokens - billed) < billed * 0.05, "apart from max_tokens, which the endpoint does not take"


def test_of_a_model_without_a_sample_the_generation_tells() -> None:
    made, log = world()
    counted = count_sample(log, made.state(), made.gateway(), 5, lambda _: None)
    assert counted.bytes_per_token("claude-opus-5") == 3
    assert counted.bytes_per_token(MODEL) == Fraction(counted.models[0].bytes, counted.models[0].tokens)
    assert counted.assumption().startswith("input: counted by the service: ")
    assert Counted(models=()).bytes_per_token("claude-sonnet-4-6") == 4


class Busy:
    """A service that refuses so many calls before it answers."""

    def __init__(self, refusals: int, status: int = 429) -> None:
        self.left, self.status = refusals, status

    def count_tokens(self, params: bytes) -> int:
        assert json.loads(params)["model"] == MODEL
        if self.left:
            self.left -= 1
            raise CallError("no", status=self.status, retry_after_us=7_000_000)
        return 11


def test_a_limit_that_is_reached_is_waited_for() -> None:
    made, log = world()
    pauses: list[float] = []
    counted = count_sample(log, made.state(), Busy(2), 1, pauses.append)
    assert pauses[:2] == [7.0, 7.0]
    assert counted.models[0].sampled == 1


@pytest.mark.parametrize(("refusals", "status", "error"), [(3, 429, ServiceError), (1, 401, CallError)])
def test_a_service_that_does_not_count_says_so(refusals: int, status: int, error: type[Exception]) -> None:
    made, log = world()
    with pytest.raises(error):
        count_sample(log, made.state(), Busy(refusals, status), 1, lambda _: None)


def test_only_what_has_tokens_is_sent_and_an_unknown_model_is_not_found() -> None:
    gateway = World(["Say it."]).gateway()
    messages = [{"role": "user", "content": "Say it."}]
    known = {"model": MODEL, "messages": messages}
    model = find_model(MODEL)
    assert model is not None
    size = len(json.dumps(known, separators=(",", ":")))
    asked = {**known, "max_tokens": 5, "metadata": {"user_id": "x" * 500}, "inference_geo": "us"}
    assert gateway.count_tokens(json.dumps(asked).encode()) == size // model.bytes_per_token + 1
    with pytest.raises(CallError) as refused:
        gateway.count_tokens(json.dumps({**known, "model": "claude-none"}).encode())
    assert refused.value.status == 404
