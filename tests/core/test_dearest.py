"""The dearest items: everything billed for an item counts, and only so many are kept."""

from __future__ import annotations

from decimal import Decimal

import pytest
from running import PRICES

from ledger.core.billed import Billed
from ledger.core.dearest import dearest
from ledger.core.errors import UsageError
from ledger.core.prices import Usage

MODEL = "claude-haiku-4-5"
CENT = Usage(output_tokens=4_000)
"""4,000 tokens at $2.50 a million."""


def billed(ordinal: int, cents: int = 1, *, final: bool = True, model: str = MODEL, is_batch: bool = True) -> Billed:
    usage = Usage(output_tokens=CENT.output_tokens * cents)
    return Billed(ordinal, "ok", model, "", is_batch, final, usage)


def test_everything_that_was_billed_for_an_item_is_its_cost() -> None:
    results = [billed(1, 2, final=False), billed(0, 3), billed(1, 2), billed(2, 5, final=False)]
    found, items, total = dearest(results, PRICES, 10)
    assert [(dear.ordinal, dear.usd, dear.results) for dear in found] == [
        (2, Decimal("0.05"), 1),
        (1, Decimal("0.04"), 2),
        (0, Decimal("0.03"), 1),
    ]
    assert (items, total) == (3, Decimal("0.12"))
    assert found[1].usage == Usage(output_tokens=16_000)


def test_only_so_many_are_kept_and_of_two_alike_the_earlier_one() -> None:
    results = [billed(ordinal, cents) for ordinal, cents in enumerate([1, 3, 2, 3, 1, 2])]
    found, items, total = dearest(results, PRICES, 3)
    assert [dear.ordinal for dear in found] == [1, 3, 2]
    assert (items, total) == (6, Decimal("0.12"))


def test_a_result_without_the_discount_costs_twice_as_much() -> None:
    found, _, _ = dearest([billed(0), billed(1, is_batch=False)], PRICES, 2)
    assert [(dear.ordinal, dear.usd) for dear in found] == [(1, Decimal("0.02")), (0, Decimal("0.01"))]


def test_where_a_price_is_not_known_nobody_can_say_which_is_dearest() -> None:
    with pytest.raises(UsageError, match="the price of claude-next is not known"):
        dearest([billed(0), billed(1, model="claude-next")], PRICES, 2)
