"""The table of models: what is in it, and what it says of ids that are not."""

from __future__ import annotations

from datetime import date
from typing import get_args

import pytest
from anthropic.resources.messages.messages import DEPRECATED_MODELS
from anthropic.types.model_param import ModelParam

from ledger.core.models import (
    LONG_OUTPUT_BETA,
    MODELS,
    RETIRED,
    TABLE_DATE,
    find_model,
    model_notices,
    retirement,
    successor,
    suggest_model,
)


def test_every_id_that_the_sdk_lists_is_a_model_or_retired() -> None:
    (ids, _) = get_args(ModelParam)
    assert {*get_args(ids)} - MODELS.keys() - RETIRED.keys() == set()


def test_every_end_of_life_that_the_sdk_lists_is_in_the_table() -> None:
    ends = {model: day.replace("th,", ",").replace("st,", ",") for model, day in DEPRECATED_MODELS.items()}
    ours = RETIRED | {model.id: model.retires_on for model in MODELS.values() if model.retires_on}
    assert {model: f"{ours[model]:%B %-d, %Y}" for model in ends} == ends


def test_no_id_is_both_alive_and_retired() -> None:
    assert not MODELS.keys() & RETIRED.keys()
    assert all(day <= TABLE_DATE for day in RETIRED.values())


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("claude-sonnet-4-6-20250929", "claude-sonnet-4-6"),
        ("claude-opus-4.8", "claude-opus-4-8"),
        ("claude-4-5-sonnet", "claude-sonnet-4-5"),
        ("claude-sonnet-5-5-latest", "claude-sonnet-5-5"),
        ("Claude Sonnet 5.5", "claude-sonnet-5-5"),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5"),
        ("anthropic/claude-opus-5", "claude-opus-5"),
        ("claude-sonet-5", "claude-sonnet-5"),
        ("claude-opus-4-1-latest", "claude-opus-5-5"),
        ("gpt-4", None),
        ("", None),
    ],
)
def test_the_model_that_was_meant(written: str, meant: str | None) -> None:
    assert suggest_model(written) == meant


@pytest.mark.parametrize("model", MODELS)
def test_a_successor_is_a_model_of_the_family_that_stays(model: str) -> None:
    after = successor(model)
    assert after.split("-")[1] == model.split("-")[1]
    assert MODELS[after].retires_on is None


def test_a_model_retires_on_its_day() -> None:
    assert retirement("claude-sonnet-4-5") is None
    assert retirement("claude-sonnet-4-5", date(2026, 11, 29)) is None
    assert retirement("claude-sonnet-4-5", date(2026, 11, 30)) == date(2026, 11, 30)
    assert retirement("claude-3-opus-20240229") == date(2026, 1, 5)
    assert retirement("nonesuch") is None


def test_notices_are_about_models_that_may_go_while_the_run_lasts() -> None:
    today = date(2026, 11, 22)
    assert [(notice.model, notice.code) for model in MODELS for notice in model_notices(model, today)] == [
        ("claude-opus-4-5", "may-retire"),
        ("claude-opus-4-5-20251101", "may-retire"),
        ("claude-sonnet-4-5", "retiring"),
        ("claude-sonnet-4-5-20250929", "retiring"),
        ("claude-haiku-4-5", "may-retire"),
        ("claude-haiku-4-5-20251001", "may-retire"),
    ]
    assert model_notices("claude-sonnet-4-5", date(2026, 12, 1)) == ()
    assert model_notices("nonesuch", today) == ()
    (notice,) = model_notices("claude-sonnet-4-5", today)
    assert "2026-11-30" in notice.why
    assert "claude-sonnet-5-5" in notice.fix


@pytest.mark.parametrize(
    ("model", "plain", "with_beta"),
    [
        ("claude-opus-4-5", 64_000, 64_000),
        ("claude-opus-4-6", 128_000, 300_000),
        ("claude-fable-5-1", 128_000, 128_000),
        ("claude-fable-5-2", 128_000, 300_000),  # no page says: the service may judge
    ],
)
def test_output_limits(model: str, plain: int, with_beta: int) -> None:
    found = find_model(model)
    assert found is not None
    assert found.output_limit_tokens(()) == plain
    assert found.output_limit_tokens((LONG_OUTPUT_BETA,)) == with_beta


def test_aliases_resolve_to_dated_ids_up_to_generation_4_5_only() -> None:
    assert MODELS["claude-haiku-4-5"].resolved == "claude-haiku-4-5-20251001"
    assert all(model.resolved == model.id for model in MODELS.values() if model.generation > (4, 5))


def test_tokens_are_smaller_from_4_7_on() -> None:
    assert MODELS["claude-opus-4-6"].bytes_per_token == 4
    assert MODELS["claude-opus-4-7"].bytes_per_token == 3
