"""Everything that a ledger can prove about its money, in one report: costs, how they came about, pace, errors."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from ledger.core.caching import CacheUse, cache_use
from ledger.core.costs import By, CostReport, cost_report, plain
from ledger.core.pace import Errors, Pace, errors, paces
from ledger.core.prices import PriceTable
from ledger.core.spending import cost_groups
from ledger.core.state import RunState
from ledger.core.waterfall import Waterfall, waterfall

_MICRODOLLARS = Decimal("0.000001")


class CostProof(CostReport, frozen=True, kw_only=True):
    """A cost report, and what explains it.

    ``asked`` counts requests, ``finished`` those with an outcome; ``per_1000_usd`` is what a thousand finished requests
    cost, rounded to a millionth of a dollar, None where the cost is not known or nothing is finished. ``waterfall`` is
    None where a price is not known or nothing was billed yet, ``cache`` where the prompt cache was not used.
    """

    ledger: str
    ledger_id: str
    simulated: bool
    position: int
    asked: int
    finished: int
    per_1000_usd: Decimal | None
    errors: Errors
    pace: tuple[Pace, ...]
    waterfall: Waterfall | None
    cache: CacheUse | None = None


def cost_proof(state: RunState, table: PriceTable, *, ledger: str, by: By = "model") -> CostProof:
    """Return what a run cost, and what explains it.

    Args:
        state: the run.
        table: the recorded prices.
        ledger: how the ledger is called.
        by: what a row stands for.
    """
    groups = tuple(cost_groups(state))
    report = cost_report(table, groups, by)
    finished = state.asked - state.unfinished
    return CostProof(
        **msgspec.structs.asdict(report),
        ledger=ledger,
        ledger_id=state.ledger_id,
        simulated=state.origin == "simulator",
        position=state.position,
        asked=state.asked,
        finished=finished,
        per_1000_usd=per_thousand(report.total.cost_usd, finished),
        errors=errors(state),
        pace=paces(state),
        waterfall=waterfall(state, groups),
        cache=cache_use(state, table),
    )


def per_thousand(cost_usd: Decimal | None, requests: int) -> Decimal | None:
    """Return what a thousand of so many requests cost; None where nobody can know."""
    if cost_usd is None or not requests:
        return None
    return plain((cost_usd * 1000 / requests).quantize(_MICRODOLLARS))
