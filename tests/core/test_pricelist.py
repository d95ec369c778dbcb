"""A price table read out: factors applied, dates beside the models."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import msgspec
import pytest

from ledger.core.errors import UsageError
from ledger.core.pricelist import PricesOf, price_list
from ledger.core.prices import Usage, price, quote

TODAY = date(2026, 11, 22)
TABLE = quote("2026-11-22")


def test_every_amount_read_out_is_what_a_million_tokens_cost() -> None:
    for each in price_list(TABLE, TODAY).models:
        step = f">{each.above_prompt_tokens}" if each.above_prompt_tokens else ""
        for amounts, batch, geo in (
            (each.standard, False, ""),
            (each.batch, True, ""),
            *(((each.batch_us, True, "us"),) if each.batch_us is not None else ()),
        ):
            for field in PricesOf.__struct_fields__:
                usage = Usage(**{f"{field}_tokens": 1_000_000})
                assert getattr(amounts, field) == price(TABLE, each.model, usage, step=step, batch=batch, geo=geo)


def test_a_model_is_shown_with_all_its_steps_under_the_name_it_was_asked_by() -> None:
    shown = price_list(TABLE, TODAY, model="claude-haiku-5-5").models
    assert [(each.above_prompt_tokens, each.batch.output) for each in shown] == [
        (0, Decimal("0.25")),
        (100_000, Decimal("1.25")),
    ]
    dated = price_list(TABLE, TODAY, model="claude-haiku-4-5-20251001").models
    assert [(each.model, each.batch_us) for each in dated] == [("claude-haiku-4-5-20251001", None)]


@pytest.mark.parametrize(
    ("model", "today", "status", "retires_on", "not_before"),
    [
        ("claude-sonnet-4-5", TODAY, "deprecated", "2026-11-30", ""),
        ("claude-sonnet-4-5", date(2026, 11, 30), "retired", "2026-11-30", ""),
        ("claude-sonnet-4-6", TODAY, "active", "", "2027-02-17"),
        ("claude-fable-5-2", TODAY, "active", "", ""),
    ],
)
def test_a_model_has_its_dates_beside_it(
    model: str, today: date, status: str, retires_on: str, not_before: str
) -> None:
    each = price_list(TABLE, today, model=model).models[0]
    assert (each.status, each.retires_on, each.not_before) == (status, retires_on, not_before)


def test_a_model_of_an_own_table_that_nobody_knows_is_unknown_and_has_its_price() -> None:
    own = msgspec.structs.replace(TABLE, models=(msgspec.structs.replace(TABLE.models[0], model="claude-new-9"),))
    (each,) = price_list(own, TODAY).models
    assert (each.status, each.standard.input) == ("unknown", Decimal(TABLE.models[0].input))


@pytest.mark.parametrize(
    ("model", "what", "next_"),
    [
        ("claude-2.0", "claude-2.0 ended on 2025-07-21", "ledger prices"),
        ("claude-sonet-4-6", "there is no price for claude-sonet-4-6", "ledger prices --model claude-sonnet-4-6"),
    ],
)
def test_a_model_without_a_price_is_refused_with_the_one_that_was_meant(model: str, what: str, next_: str) -> None:
    with pytest.raises(UsageError) as refused:
        price_list(TABLE, TODAY, model=model)
    assert refused.value.what == what
    assert refused.value.next.startswith(next_)
