"""What a ledger says about its money that its state alone does not tell: read from the log, result by result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import reduce

from ledger.core.billed import Billed, billed_results
from ledger.core.costs import plain
from ledger.core.dearest import DearItem, ItemCosts, dearest
from ledger.core.prices import EXACT, PriceTable
from ledger.core.state import RunState, outcome_of
from ledger.core.whatif import WhatIf, what_if
from ledger.ports import EventLog


def dearest_items(log: EventLog, state: RunState, table: PriceTable, top: int) -> ItemCosts:
    """Return the items that cost most, by the ids that their users gave them.

    Args:
        log: the log.
        state: its state.
        table: the recorded prices.
        top: how many items to show at most.

    Raises:
        UsageError: a price is not known.
    """
    found, items, total_usd = dearest(_billed(log, state), table, top)
    ordinals = sorted(dear.ordinal for dear in found)
    names = dict(zip(ordinals, (payload.custom_id for payload in log.request_payloads(ordinals)), strict=True))
    return ItemCosts(
        by="item",
        billed_items=items,
        rows=tuple(
            DearItem(
                custom_id=names[dear.ordinal],
                outcome=outcome_of(state, dear.ordinal),
                model=dear.last.model,
                billed_results=dear.results,
                input_tokens=dear.usage.input_tokens,
                output_tokens=dear.usage.output_tokens,
                cache_write_tokens=dear.usage.cache_write_5m_tokens + dear.usage.cache_write_1h_tokens,
                cache_read_tokens=dear.usage.cache_read_tokens,
                cost_usd=plain(dear.usd),
            )
            for dear in found
        ),
        shown_usd=plain(reduce(EXACT.add, (dear.usd for dear in found), Decimal(0))),
        items_usd=total_usd,
    )


def with_other_models(
    log: EventLog, state: RunState, table: PriceTable, models: Sequence[str], paid_usd: Decimal | None
) -> tuple[WhatIf, ...]:
    """Return what the billed results would have cost with each of some models.

    Raises:
        UsageError: a price is not known.
    """
    return what_if(_billed(log, state), table, models, paid_usd)


def _billed(log: EventLog, state: RunState) -> Iterator[Billed]:
    return billed_results(((row.type_name, row.data) for row in log.read(0, state.position)), state)
