"""What the service says of params after processing: one problem a request, and none for sound ones."""

from __future__ import annotations

from typing import Any

import pytest
from simulating import VERSION, outcomes_of, params

from ledger.service.simulator.core import Simulator
from ledger.service.simulator.models import ALIASES, EXTENDED_OUTPUT_BETA, MODELS
from ledger.service.simulator.params import find_problem

NO_BETAS: frozenset[str] = frozenset()
DOCUMENT = [{"type": "document", "source": {}}]


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in params().items() if name != field}


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        (without("model"), "invalid_request_error", "model: Field required"),
        (without("max_tokens"), "invalid_request_error", "max_tokens: Field required"),
        (without("messages"), "invalid_request_error", "messages: Field required"),
        (params(model="claude-sonnet-4-6-20250929"), "not_found_error", "model: claude-sonnet-4-6-20250929"),
        (params(model=None), "not_found_error", "model: None"),
        (params(max_tokens=0), "invalid_request_error", "max_tokens: Input should be greater than or equal to 1"),
        (params(max_tokens="5"), "invalid_request_error", "max_tokens: Input should be a valid integer"),
        (
            params(max_tokens=64_001),
            "invalid_request_error",
            "max_tokens: 64001 > 64000, which is the maximum allowed number of output tokens for "
            "claude-haiku-4-5-20251001",
        ),
        (params(stream=True), "invalid_request_error", "stream: Streaming is not supported in a batch"),
        (params(temperature=0), "invalid_request_error", "temperature: Extra inputs are not permitted"),
        (params(top_k=1), "invalid_request_error", "top_k: Extra inputs are not permitted"),
        (params(promt="hi"), "invalid_request_error", "promt: Extra inputs are not permitted"),
        (params(messages="hi"), "invalid_request_error", "messages: Input should be a valid list"),
        (params(messages=[]), "invalid_request_error", "messages: at least one message is required"),
        (params(messages=["hi"]), "invalid_request_error", "messages.0: Input should be an object"),
        (
            params(messages=[{"role": "system", "content": "x"}]),
            "invalid_request_error",
            "messages.0.role: Input should be 'user' or 'assistant'",
        ),
        (params(""), "invalid_request_error", "messages.0.content: text content must be non-empty"),
        (
            params(messages=[{"role": "user", "content": [3]}]),
            "invalid_request_error",
            "messages.0.content.0.type: Field required",
        ),
        (
            params(messages=[{"role": "assistant", "content": DOCUMENT}]),
            "invalid_request_error",
            "messages.0.content.0: document blocks are not allowed in assistant messages",
        ),
        (
            params(messages=[{"role": "user", "content": [{"type": "text", "text": "x", "citations": [{}]}]}]),
            "invalid_request_error",
            "messages.0.content.0.citations: not allowed in user messages",
        ),
        (
            params(model="claude-opus-4-6", messages=[{"role": "assistant", "content": "I"}]),
            "invalid_request_error",
            "This model (claude-opus-4-6) does not support assistant message prefill",
        ),
        (
            params(model="claude-opus-4-7", thinking={"type": "enabled", "budget_tokens": 1024}),
            "invalid_request_error",
            'thinking.type: "enabled" is not supported by claude-opus-4-7; use "adaptive"',
        ),
        (
            params(thinking={"type": "adaptive"}),
            "invalid_request_error",
            "thinking.type: adaptive thinking is not supported by claude-haiku-4-5-20251001",
        ),
        (
            params(model="claude-opus-5-5", thinking={"type": "disabled"}),
            "invalid_request_error",
            "thinking.type: thinking cannot be disabled for claude-opus-5-5",
        ),
        (
            params(inference_geo="us"),
            "invalid_request_error",
            "inference_geo: not supported by claude-haiku-4-5-20251001",
        ),
        (
            params(model="claude-opus-5", inference_geo="eu"),
            "invalid_request_error",
            "inference_geo: Input should be 'us' or 'global'",
        ),
    ],
)
def test_a_wrong_request_has_its_problem(given: dict[str, Any], kind: str, message: str) -> None:
    assert find_problem(given, VERSION, NO_BETAS) == (kind, message)


@pytest.mark.parametrize("model", [*MODELS, *ALIASES])
def test_a_plain_request_is_sound_for_every_model(model: str) -> None:
    assert find_problem(params(model=model), VERSION, NO_BETAS) is None


def test_sampling_parameters_are_sound_under_an_older_version() -> None:
    assert find_problem(params(temperature=0.5), "2023-06-01", NO_BETAS) is None


def test_prefill_is_sound_up_to_4_5() -> None:
    assert find_problem(params(messages=[{"role": "assistant", "content": "I"}]), VERSION, NO_BETAS) is None


def test_the_beta_raises_the_cap_to_300000_where_the_model_has_it() -> None:
    betas = frozenset({EXTENDED_OUTPUT_BETA})
    assert find_problem(params(model="claude-opus-4-6", max_tokens=300_000), VERSION, betas) is None
    assert find_problem(params(model="claude-opus-4-6", max_tokens=300_001), VERSION, betas) is not None
    assert find_problem(params(max_tokens=300_000), VERSION, betas) is not None


def test_a_problem_is_told_at_the_end_and_only_of_its_own_request() -> None:
    from simulating import NOON, envelope_of, settings

    items = [
        {"custom_id": "good", "params": params()},
        {"custom_id": "unknown", "params": params(model="claude-9")},
        {"custom_id": "empty", "params": {}},
    ]
    batch = Simulator(settings()).create(envelope_of(items), NOON)
    assert outcomes_of(batch) == ["end_turn", "not_found_error", "invalid_request_error"]
