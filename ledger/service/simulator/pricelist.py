"""What the simulated service charges: its own price list, from the pricing page, and not from the runner's table.

The judge of a bill must not read the book of the one it judges. Standard prices are USD per million tokens, from
"Pricing" of 2026-10-08 (5.2 models: their release of 2026-11-09); a batch costs half, inference in the US a tenth more
on models from 4.6 on, a prompt of more than 100,000 tokens five times as much on Haiku 5.5, a web search one cent.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from ledger.service.simulator.models import MODELS

FEMTODOLLARS = 10**15
"""Amounts are integers of 10⁻¹⁵ USD, in which every price of a token is whole."""

_PER_MILLICENT = FEMTODOLLARS // 100_000 // 1_000_000  # of a price of one thousandth of a cent per million tokens
SEARCH = FEMTODOLLARS // 100
"""Femtodollars for one web search."""
_LONG_PROMPT_TOKENS = 100_000
_LONG_PROMPT_FACTOR = 5

# In thousandths of a cent per million tokens: input, output, cache read. Writes are 1.25 and 2 times the input.
_DOLLAR = 100_000
_CARD = {
    "claude-fable-5-2": (8 * _DOLLAR, 40 * _DOLLAR, 20_000),
    "claude-mythos-5-2": (8 * _DOLLAR, 40 * _DOLLAR, 20_000),
    "claude-fable-5-1": (10 * _DOLLAR, 50 * _DOLLAR, 25_000),
    "claude-mythos-5-1": (10 * _DOLLAR, 50 * _DOLLAR, 25_000),
    "claude-fable-5": (10 * _DOLLAR, 50 * _DOLLAR, _DOLLAR),
    "claude-mythos-5": (10 * _DOLLAR, 50 * _DOLLAR, _DOLLAR),
    "claude-opus-5-5": (4 * _DOLLAR, 20 * _DOLLAR, 20_000),
    "claude-opus-5": (5 * _DOLLAR, 25 * _DOLLAR, 50_000),
    "claude-opus-4-8": (5 * _DOLLAR, 25 * _DOLLAR, 50_000),
    "claude-opus-4-7": (5 * _DOLLAR, 25 * _DOLLAR, 50_000),
    "claude-opus-4-6": (5 * _DOLLAR, 25 * _DOLLAR, 50_000),
    "claude-opus-4-5-20251101": (5 * _DOLLAR, 25 * _DOLLAR, 50_000),
    "claude-sonnet-5-5": (2 * _DOLLAR, 10 * _DOLLAR, 10_000),
    "claude-sonnet-5": (2 * _DOLLAR, 10 * _DOLLAR, 20_000),
    "claude-sonnet-4-6": (3 * _DOLLAR, 15 * _DOLLAR, 30_000),
    "claude-sonnet-4-5-20250929": (3 * _DOLLAR, 15 * _DOLLAR, 30_000),
    "claude-haiku-5-5": (10_000, 50_000, 1_000),
    "claude-haiku-4-5-20251001": (_DOLLAR, 5 * _DOLLAR, 10_000),
}


class Charge(NamedTuple):
    """Femtodollars for one token of each category."""

    input: int
    five_minute_write: int
    one_hour_write: int
    cache_read: int
    output: int


@lru_cache(maxsize=256)
def _charge_of(model: str, geography: str, is_long: bool) -> Charge:
    scale = _PER_MILLICENT * (_LONG_PROMPT_FACTOR if is_long and model == "claude-haiku-5-5" else 1)
    tenths = 11 if geography == "us" and MODELS[model].generation >= 46 else 10
    per_input, per_output, per_read = (price * scale * tenths // 20 for price in _CARD[model])
    return Charge(per_input, per_input * 5 // 4, per_input * 2, per_read, per_output)


def charge(
    model: str,
    geography: str,
    tokens: tuple[int, int, int, int, int],
    searches: int,
) -> int:
    """Return the femtodollars that one answer in a batch costs.

    Args:
        model: the resolved id.
        geography: ``inference_geo``.
        tokens: uncached input, five-minute writes, one-hour writes, cache reads, output.
        searches: web searches, which have no discount.
    """
    return sum(charges(model, geography, tokens)) + SEARCH * searches


def charges(model: str, geography: str, tokens: tuple[int, int, int, int, int]) -> tuple[int, ...]:
    """Return the femtodollars that the tokens of one answer cost, by category, in the order they are given in."""
    rates = _charge_of(model, geography, sum(tokens[:4]) > _LONG_PROMPT_TOKENS)
    return tuple(rate * count for rate, count in zip(rates, tokens, strict=True))
