"""Which items cost most: found in one pass over the results, keeping only as many as are shown."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

import msgspec

from ledger.core.billed import Billed
from ledger.core.costs import plain
from ledger.core.errors import UsageError
from ledger.core.prices import EXACT, Pricer, PriceTable, Usage


class DearItem(msgspec.Struct, frozen=True, kw_only=True):
    """One item, with everything that was billed for it over all its attempts."""

    custom_id: str
    outcome: str
    model: str
    billed_results: int
    input_tokens: int
    output_tokens: int
    cache_write_tokens: int
    cache_read_tokens: int
    cost_usd: Decimal


class ItemCosts(msgspec.Struct, frozen=True, kw_only=True):
    """The dearest items, dearest first; ``shown_usd`` is what they cost together, ``items_usd`` what all items cost."""

    by: str
    billed_items: int
    rows: tuple[DearItem, ...]
    shown_usd: Decimal
    items_usd: Decimal


class _Sum(NamedTuple):
    usd: Decimal
    results: int
    usage: Usage


class Dear(NamedTuple):
    """An item by its ordinal: what was billed for it, and the result that was billed last."""

    usd: Decimal
    ordinal: int
    results: int
    usage: Usage
    last: Billed


def dearest(results: Iterable[Billed], table: PriceTable, top: int) -> tuple[list[Dear], int, Decimal]:
    """Return the dearest items, dearest first (the earlier one of two alike), how many were billed, and for how much.

    Args:
        results: all billed results, in the order of the log.
        table: the recorded prices.
        top: how many to return at most.

    Raises:
        UsageError: a result has no price, so that nobody knows which is dearest.
    """
    pricer = Pricer(table)
    open_sums: dict[int, tuple[_Sum, Billed]] = {}
    heap: list[tuple[Decimal, int, Dear]] = []
    items, total = 0, Decimal(0)

    def count(one: _Sum, last: Billed) -> None:
        nonlocal items
        items += 1
        dear = Dear(one.usd, last.ordinal, one.results, one.usage, last)
        entry = (one.usd, -last.ordinal, dear)
        if len(heap) < top:
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)

    for result in results:
        usd = pricer.usd(result.model, result.usage, batch=result.is_batch, geo=result.geo)
        if usd is None:
            raise UsageError(
                f"the price of {result.model} is not known, so nobody can say which items were dearest",
                next="ledger resume --prices FILE (`ledger prices -o FILE` writes a table to begin with)",
            )
        total = EXACT.add(total, usd)
        before = open_sums.pop(result.ordinal, None)
        one = _Sum(usd, 1, result.usage)
        if before is not None:
            one = _Sum(EXACT.add(before[0].usd, usd), before[0].results + 1, before[0].usage + result.usage)
        if result.final:
            count(one, result)
        else:
            open_sums[result.ordinal] = (one, result)
    for one, last in open_sums.values():
        count(one, last)
    return [dear for _, _, dear in sorted(heap, reverse=True)], items, plain(total)
