"""At which price tokens were charged, from the service's own two reports: was the batch discount given? Pure.

The cost report has whole UTC days, and no batches. Its amounts are therefore held against the tokens that the usage
report counts for the same days, of the whole workspace: dollars divided by tokens is the price that was charged,
whoever used them, and must be the recorded batch price. Where a model's price has steps, which reports do not tell
apart, it must lie between the lowest and the highest. Where nobody else used the workspace on those days, the dollars
must be the ledger's own, too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from functools import reduce
from typing import Literal, TypeAlias

import msgspec

from ledger.core.costs import CostGroup, discount, plain
from ledger.core.prices import EXACT, TIER_BATCH, PriceTable, Rates, rates, steps_of_model, undated
from ledger.core.units import DAY_US, format_instant
from ledger.core.usagereport import KINDS, Kind, Place, UsageRow, by_kind, is_placed, recorded_usage, reported_usage

ChargedAt: TypeAlias = Literal["batch", "standard", "between", "cheaper", "dearer", "unclear", "unknown"]
Dollars: TypeAlias = Literal["unknown", "equal", "more", "less"]
ChargeVerdict: TypeAlias = Literal["nothing", "confirmed", "cheaper", "missing", "early", "unclear"]

_TOLERANCE = Decimal("0.001")
_ROUNDING_USD = Decimal("0.0001")  # of each amount: a hundredth of a cent; how they are rounded is not documented
_MICRODOLLARS = Decimal("0.000001")


class CostLine(msgspec.Struct, frozen=True, kw_only=True):
    """One row of one day of the cost report that is about tokens; ``workspace`` is empty for the default one."""

    starts_at: int
    workspace: str
    model: str
    tier: str
    kind: Kind
    amount_usd: Decimal


class ChargeRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the tokens of one model and kind were charged at; amounts are USD.

    ``batch_usd`` is what they cost at the recorded batch prices, lowest and highest; ``of_standard`` is the share of
    the standard price that was charged. Both are None where no price is recorded, the share also where steps leave it
    open. ``verdict``: ``unclear`` where the amount would fit both prices; ``unknown`` without a recorded price.
    """

    model: str
    kind: Kind
    tokens: int
    charged_usd: Decimal
    per_million_usd: Decimal | None
    batch_usd: tuple[Decimal, Decimal] | None
    of_standard: Decimal | None
    verdict: ChargedAt


class ChargeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was charged for the batch tokens of the ledger's models and workspace, on the days on which it had batches.

    ``missing_days`` have usage and no costs yet. ``verdict``: ``missing`` where something was charged above the batch
    price; ``early`` where the two reports do not fit each other and are too young to; ``nothing`` without amounts.
    ``recorded_usd`` is what the ledger's own tokens cost, ``difference_usd`` what was charged beyond that; both are
    None unless all batch tokens of those days are the ledger's.
    """

    days: tuple[str, ...]
    missing_days: tuple[str, ...]
    rows: tuple[ChargeRow, ...]
    charged_usd: Decimal
    recorded_usd: Decimal | None
    difference_usd: Decimal | None
    verdict: ChargeVerdict


def charge_report(
    table: PriceTable,
    groups: Sequence[CostGroup],
    usage: Iterable[UsageRow],
    costs: Iterable[CostLine],
    days: Iterable[int],
    models: Collection[str],
    *,
    place: Place,
    workspace: str,
    is_late: bool,
) -> ChargeReport:
    """Return at which prices the batch tokens of some models were charged on some days.

    Args:
        table: the recorded prices.
        groups: the ledger's usage, as ``cost_groups`` yields it.
        usage: the usage report by days.
        costs: the cost report.
        days: the beginnings of the days.
        models: those of the ledger.
        place: how reports name the ledger's workspace.
        workspace: its id.
        is_late: whether a batch ended so lately that a report may be behind.
    """
    wanted = set(days)
    used = [row for row in usage if undated(row.model) in models and _is_ours(row, wanted, place, workspace)]
    lines = [line for line in costs if undated(line.model) in models and _is_ours(line, wanted, place, workspace)]
    told = {line.starts_at for line in lines}
    missing = {row.starts_at for row in used} - told
    used = [row for row in used if row.starts_at in told]
    keys = {(undated(line.model), line.kind) for line in lines}
    keys |= {(undated(row.model), kind) for row in used for kind, tokens in by_kind(row.usage).items() if tokens}
    rows = tuple(
        _charge_row(table, used, lines, model, kind)
        for model, kind in sorted(keys, key=lambda key: (key[0], KINDS.index(key[1])))
        if kind != "web_search"  # the report names neither model nor tier of a search
    )
    charged_usd = _sum(line.amount_usd for line in lines)
    recorded_usd = None
    if lines and not missing and reported_usage(used) == recorded_usage(groups):
        recorded_usd = discount(table, groups).tokens_paid_usd
    return ChargeReport(
        days=_names(told),
        missing_days=_names(missing),
        rows=rows,
        charged_usd=plain(charged_usd),
        recorded_usd=recorded_usd,
        difference_usd=None if recorded_usd is None else plain(EXACT.subtract(charged_usd, recorded_usd)),
        verdict=_verdict(rows, _dollars(charged_usd, recorded_usd, len(lines)), is_late=is_late),
    )


def _is_ours(row: UsageRow | CostLine, days: set[int], place: Place, workspace: str) -> bool:
    day = row.starts_at - row.starts_at % DAY_US
    return day in days and row.tier == TIER_BATCH and is_placed(row.workspace, place, workspace)


def _charge_row(
    table: PriceTable, used: Sequence[UsageRow], lines: Sequence[CostLine], model: str, kind: Kind
) -> ChargeRow:
    by_geo: dict[str, int] = {}
    for row in used:
        if undated(row.model) == model:
            by_geo[row.geo] = by_geo.get(row.geo, 0) + by_kind(row.usage)[kind]
    charged = [line.amount_usd for line in lines if undated(line.model) == model and line.kind == kind]
    charged_usd, tokens = _sum(charged), sum(by_geo.values())
    batch = _price_range(table, model, kind, by_geo, is_batch=True)
    standard = _price_range(table, model, kind, by_geo, is_batch=False)
    share = None
    if standard is not None and standard[0] == standard[1] and standard[0]:
        share = plain((charged_usd / standard[0]).quantize(_MICRODOLLARS))
    return ChargeRow(
        model=model,
        kind=kind,
        tokens=tokens,
        charged_usd=plain(charged_usd),
        per_million_usd=plain((charged_usd * 1_000_000 / tokens).quantize(_MICRODOLLARS)) if tokens else None,
        batch_usd=batch,
        of_standard=share,
        verdict=_charged_at(charged_usd, batch, standard, len(charged)) if tokens else "unknown",
    )


def _price_range(
    table: PriceTable, model: str, kind: Kind, by_geo: dict[str, int], *, is_batch: bool
) -> tuple[Decimal, Decimal] | None:
    low = high = Decimal(0)
    for geo, tokens in by_geo.items():
        found = [rates(table, model, row.step, batch=is_batch, geo=geo) for row in steps_of_model(table, model)]
        amounts = [EXACT.multiply(_rate(each, kind), tokens) for each in found if each is not None]
        if not amounts:
            return None
        low, high = EXACT.add(low, min(amounts)), EXACT.add(high, max(amounts))
    return plain(low), plain(high)


def _rate(found: Rates, kind: Kind) -> Decimal:
    match kind:
        case "input":
            return found.input
        case "output":
            return found.output
        case "cache_write_5m":
            return found.cache_write_5m
        case "cache_write_1h":
            return found.cache_write_1h
        case "cache_read":
            return found.cache_read
        case "web_search":
            return found.web_search


def _charged_at(
    charged_usd: Decimal,
    batch: tuple[Decimal, Decimal] | None,
    standard: tuple[Decimal, Decimal] | None,
    amounts: int,
) -> ChargedAt:
    if batch is None or standard is None:
        return "unknown"
    rounding = _ROUNDING_USD * amounts

    def fits(bounds: tuple[Decimal, Decimal]) -> bool:
        low, high = bounds
        return low * (1 - _TOLERANCE) - rounding <= charged_usd <= high * (1 + _TOLERANCE) + rounding

    if fits(batch):
        return "unclear" if fits(standard) else "batch"
    if fits(standard):
        return "standard"
    return "cheaper" if charged_usd < batch[0] else "dearer" if charged_usd > standard[1] else "between"


def _dollars(charged_usd: Decimal, recorded_usd: Decimal | None, amounts: int) -> Dollars:
    """Return how the dollars compare with the ledger's own, which are priced request by request and step by step."""
    rounding = _ROUNDING_USD * amounts
    if recorded_usd is None or recorded_usd <= 2 * rounding:
        return "unknown"  # somebody else's are among them; or twice as much would be a matter of rounding
    apart = charged_usd - recorded_usd
    if abs(apart) <= recorded_usd * _TOLERANCE + rounding:
        return "equal"
    return "more" if apart > 0 else "less"


def _verdict(rows: Sequence[ChargeRow], dollars: Dollars, *, is_late: bool) -> ChargeVerdict:
    found = {row.verdict for row in rows}
    if is_late and (found & {"between", "cheaper", "dearer"} or dollars == "less"):
        return "early"  # dollars of one instant divided by tokens of another
    if found & {"standard", "between", "dearer"} or dollars == "more":
        return "missing"
    if "cheaper" in found or dollars == "less":
        return "cheaper"
    if "batch" in found or dollars == "equal":
        return "confirmed"
    return "unclear" if found else "nothing"


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return reduce(EXACT.add, amounts, Decimal(0))


def _names(days: Iterable[int]) -> tuple[str, ...]:
    return tuple(format_instant(day)[:10] for day in sorted(days))
