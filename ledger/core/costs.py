"""What a run cost, row by row and in total, and what the next one may cost before anything is spent.

Costs are sums of recorded usage priced with the recorded table; nothing is priced request by request (see
``ledger.core.prices`` on why that is exact). Amounts are ``Decimal`` USD and encode to JSON as decimal strings.
Where a price is unknown the amounts it belongs to are None, never 0, and so is every total that contains them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Literal, TypeAlias, get_args

import msgspec

from ledger.core.models import find_model
from ledger.core.prices import EXACT, TIER_BATCH, PriceTable, Rates, Usage, rates, step_of

By: TypeAlias = Literal["model", "lane", "attempt", "batch", "day", "cause"]
BYS: tuple[By, ...] = get_args(By)

Verdict: TypeAlias = Literal["nothing", "confirmed", "unstated", "missing", "unknown"]

BytesPerToken: TypeAlias = Callable[[str], int | Fraction]
"""How many bytes of a request to a model make a token."""

TOTAL = "total"
ANSWERS = "answers"
"""By cause: what was paid and brought an answer."""
NOT_BILLED = "not billed"

OUTPUT_SHARE_EXPECTED = Decimal("0.4")
OUTPUT_TOKENS_EXPECTED_MAX = 4_000
"""Nobody can know the length of an answer in advance; these two stand in, and the preview says so."""

BYTES_PER_TOKEN_UNKNOWN_MODEL = 3
"""The smaller of the two figures known: rather too many tokens than too few."""


# ── what was spent ───────────────────────────────────────────────────────────────────────────────────────────────────


class CostGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Usage summed over results that are priced and reported alike.

    ``tier`` is ``usage.service_tier``, empty where the service did not say; ``step`` is as ``step_of`` returns it;
    ``cause`` is why the money brought no answer, empty where it did (see ``waste_cause``), or ``reused`` where another
    ledger has paid for the answer, which then is of attempt 0; ``lane`` is the priority.
    """

    model: str
    attempt: int
    batch: str
    day: str
    tier: str
    geo: str
    step: str
    billed: bool
    cause: str
    requests: int
    usage: Usage
    lane: int = 0


class CostRow(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a cost report.

    Tokens and searches are those that were billed, so that they explain the amount; ``requests`` counts all
    results, ``unbilled_requests`` those among them that are free. ``cost_usd`` is what was paid, ``standard_usd``
    what the same would have cost outside a batch, ``saved_usd`` the difference; all three are None as soon as one
    price is unknown: ``unpriced_requests`` says for how many, ``priced_usd`` what the others cost.
    ``wasted_usd`` is the part of the cost that brought no answer, by cause.
    """

    key: str
    requests: int
    unbilled_requests: int
    unpriced_requests: int
    input_tokens: int
    output_tokens: int
    cache_write_tokens: int
    cache_read_tokens: int
    web_search_requests: int
    priced_usd: Decimal
    cost_usd: Decimal | None
    standard_usd: Decimal | None
    saved_usd: Decimal | None
    wasted_usd: dict[str, Decimal | None]


class Discount(msgspec.Struct, frozen=True, kw_only=True):
    """Whether every billed result got the batch discount.

    ``confirmed``: the service said so of each, and the tokens cost exactly the factor of their standard price.
    ``unstated``: it did not say so of some. ``missing``: of some it named another tier; ``overpaid_usd`` is what
    that cost. ``unknown``: a price is not known. ``nothing``: nothing was billed. Searches are no part of it: they
    have no discount.
    """

    verdict: Verdict
    factor: str
    batch_requests: int
    unstated_requests: int
    other_requests: int
    tokens_standard_usd: Decimal | None
    tokens_paid_usd: Decimal | None
    overpaid_usd: Decimal | None


class CostReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a run cost: rows by one aspect, their total, and the prices it was counted with."""

    by: By
    rows: tuple[CostRow, ...]
    total: CostRow
    discount: Discount
    quoted_on: str
    source: str


@dataclass
class _Sum:
    """A row while it is being added up."""

    requests: int = 0
    unbilled_requests: int = 0
    unpriced_requests: int = 0
    usage: Usage = field(default_factory=Usage)
    cost_usd: Decimal = Decimal(0)
    standard_usd: Decimal = Decimal(0)
    wasted_usd: dict[str, Decimal | None] = field(default_factory=dict)

    def add(self, group: CostGroup, paid: Decimal | None, standard: Decimal | None) -> None:
        self.requests += group.requests
        if not group.billed:
            self.unbilled_requests += group.requests
            return
        self.usage += group.usage
        if paid is None or standard is None:
            self.unpriced_requests += group.requests
        else:
            self.cost_usd = EXACT.add(self.cost_usd, paid)
            self.standard_usd = EXACT.add(self.standard_usd, standard)
        if group.cause:
            self.wasted_usd[group.cause] = _plus(self.wasted_usd.get(group.cause, Decimal(0)), paid)

    def row(self, key: str) -> CostRow:
        is_known = not self.unpriced_requests
        return CostRow(
            key=key,
            requests=self.requests,
            unbilled_requests=self.unbilled_requests,
            unpriced_requests=self.unpriced_requests,
            input_tokens=self.usage.input_tokens,
            output_tokens=self.usage.output_tokens,
            cache_write_tokens=self.usage.cache_write_5m_tokens + self.usage.cache_write_1h_tokens,
            cache_read_tokens=self.usage.cache_read_tokens,
            web_search_requests=self.usage.web_search_requests,
            priced_usd=plain(self.cost_usd),
            cost_usd=plain(self.cost_usd) if is_known else None,
            standard_usd=plain(self.standard_usd) if is_known else None,
            saved_usd=plain(EXACT.subtract(self.standard_usd, self.cost_usd)) if is_known else None,
            wasted_usd={cause: _plain_or_none(self.wasted_usd[cause]) for cause in sorted(self.wasted_usd)},
        )


def cost_report(table: PriceTable, groups: Iterable[CostGroup], by: By = "model") -> CostReport:
    """Return what the groups cost, one row for each model, lane, attempt, batch, day or cause, and in total.

    Rows by batch keep the order of the groups; the others are sorted, lanes as they are sent.

    Args:
        table: the recorded prices.
        groups: usage sums; groups of equal keys may occur more than once.
        by: what a row stands for.
    """
    groups = tuple(groups)
    sums: dict[str, _Sum] = {}
    total = _Sum()
    for group in groups:
        paid, standard = paid_rates(table, group), _standard(table, group)
        for each in (sums.setdefault(_row_key(group, by), _Sum()), total):
            each.add(
                group,
                None if paid is None else paid.usd(group.usage),
                None if standard is None else standard.usd(group.usage),
            )
    keys = list(sums)
    if by != "batch":
        keys.sort(key=int if by in ("attempt", "lane") else str, reverse=by == "lane")
    return CostReport(
        by=by,
        rows=tuple(sums[key].row(key) for key in keys),
        total=total.row(TOTAL),
        discount=discount(table, groups),
        quoted_on=table.quoted_on,
        source=table.source,
    )


def discount(table: PriceTable, groups: Iterable[CostGroup]) -> Discount:
    """Return whether the batch discount was applied to everything that was billed."""
    requests = {"batch": 0, "unstated": 0, "other": 0}
    standard_usd: Decimal | None = Decimal(0)
    paid_usd: Decimal | None = Decimal(0)
    for group in groups:
        if group.billed:
            stated = "batch" if group.tier == TIER_BATCH else "other" if group.tier else "unstated"
            requests[stated] += group.requests
            paid, standard = paid_rates(table, group), _standard(table, group)
            paid_usd = _plus(paid_usd, None if paid is None else paid.tokens_usd(group.usage))
            standard_usd = _plus(standard_usd, None if standard is None else standard.tokens_usd(group.usage))
    overpaid_usd = None
    if paid_usd is not None and standard_usd is not None:
        overpaid_usd = EXACT.subtract(paid_usd, EXACT.multiply(standard_usd, Decimal(table.batch_factor)))
    return Discount(
        verdict=_verdict(requests, overpaid_usd),
        factor=table.batch_factor,
        batch_requests=requests["batch"],
        unstated_requests=requests["unstated"],
        other_requests=requests["other"],
        tokens_standard_usd=_plain_or_none(standard_usd),
        tokens_paid_usd=_plain_or_none(paid_usd),
        overpaid_usd=_plain_or_none(overpaid_usd),
    )


def _verdict(requests: dict[str, int], overpaid_usd: Decimal | None) -> Verdict:
    if not any(requests.values()):
        return "nothing"
    if requests["other"] or overpaid_usd:
        return "missing"
    if requests["unstated"]:
        return "unstated"
    return "unknown" if overpaid_usd is None else "confirmed"


def waste_cause(outcome: str, accepted: Collection[str] = ()) -> str:
    """Return why a billed result of this outcome brought no answer, or empty if it did or was accepted as it is.

    Args:
        outcome: how the result ended: ``ok``, ``truncated``, ``refused``…
        accepted: the outcomes that the run takes for an answer (``--accept``).
    """
    return "" if outcome == "ok" or outcome in accepted else outcome


def _row_key(group: CostGroup, by: By) -> str:
    match by:
        case "model":
            return group.model
        case "attempt":
            return str(group.attempt)
        case "batch":
            return group.batch
        case "day":
            return group.day
        case "lane":
            return str(group.lane)
        case "cause":
            return (group.cause or ANSWERS) if group.billed else group.cause or NOT_BILLED


def paid_rates(table: PriceTable, group: CostGroup) -> Rates | None:
    """Return the rates that applied: discounted unless the service named a tier that is not ``batch``.

    The type of a batch result says its tier is ``batch``; where it says nothing, the guide's half price holds.
    """
    return rates(table, group.model, group.step, batch=group.tier in (TIER_BATCH, ""), geo=group.geo)


def _standard(table: PriceTable, group: CostGroup) -> Rates | None:
    return rates(table, group.model, group.step, batch=False, geo=group.geo)


# ── what may be spent ────────────────────────────────────────────────────────────────────────────────────────────────


class RequestClass(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that are estimated alike.

    ``bytes`` is their size on the wire together, ``largest_bytes`` that of the largest, for models whose price
    has a step (0: all are alike); ``expected_output_tokens`` is the length of an answer where somebody knows it;
    ``priority`` is their lane.
    """

    model: str
    max_tokens: int
    requests: int
    bytes: int
    largest_bytes: int = 0
    cached: bool = False
    geo: str = ""
    expected_output_tokens: int = 0
    priority: int = 0


class EstimateRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the requests of one model may cost in a batch: as expected, and at most if every answer is cut off.

    Each amount stands beside its standard price, and ``saved`` is the difference. None: the price is not known.
    """

    model: str
    requests: int
    bytes: int
    input_tokens: int
    output_tokens: int
    output_tokens_ceiling: int
    cost_usd: Decimal | None
    standard_usd: Decimal | None
    saved_usd: Decimal | None
    cost_ceiling_usd: Decimal | None
    standard_ceiling_usd: Decimal | None
    saved_ceiling_usd: Decimal | None


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A preview: rows by model, their total, what was assumed, and the prices it was counted with."""

    rows: tuple[EstimateRow, ...]
    total: EstimateRow
    assumptions: tuple[str, ...]
    quoted_on: str
    source: str


def bytes_per_token(model: str) -> int:
    """Return how many bytes of a request make a token: 4, or 3 for 4.7 and later models and unknown ones."""
    known = find_model(model)
    return BYTES_PER_TOKEN_UNKNOWN_MODEL if known is None else known.bytes_per_token


def expected_output_tokens(max_tokens: int) -> int:
    """Return the length of an answer that a preview expects: 40 % of ``max_tokens``, at most 4,000 tokens."""
    return min(int(max_tokens * OUTPUT_SHARE_EXPECTED), OUTPUT_TOKENS_EXPECTED_MAX) or 1


def estimate(
    table: PriceTable,
    classes: Iterable[RequestClass],
    bytes_per_token: BytesPerToken = bytes_per_token,
) -> Estimate:
    """Return what the classes of requests may cost, by model in alphabetical order, and in total.

    Input is estimated from bytes and is no bound; the ceiling bounds what is unknowable, the output: every answer
    as long as its ``max_tokens``, every request at the step of its class's largest, and every marked prompt written
    to the dearest cache and never read.

    Args:
        table: today's prices, or the recorded ones.
        classes: what is to be sent.
        bytes_per_token: bytes of a request that make a token, by model.
    """
    by_model: dict[str, EstimateRow] = {}
    for each in classes:
        row = _estimate_class(table, each, bytes_per_token(each.model))
        before = by_model.get(each.model)
        by_model[each.model] = row if before is None else _merge(each.model, before, row)
    rows = tuple(by_model[model] for model in sorted(by_model))
    total = _NOTHING
    for row in rows:
        total = _merge(TOTAL, total, row)
    return Estimate(rows=rows, total=total, assumptions=_ASSUMPTIONS, quoted_on=table.quoted_on, source=table.source)


_ASSUMPTIONS = (
    "input: 4 bytes of a request make a token, 3 on models from 4.7 on; languages other than English take more",
    f"output, expected: {OUTPUT_SHARE_EXPECTED:.0%} of max_tokens, at most {OUTPUT_TOKENS_EXPECTED_MAX:,} tokens",
    "output, ceiling: max_tokens for every answer; retries, and tools that the service runs, come on top",
    "cache: expected at the price of uncached input; ceiling: every marked prompt written for an hour, none read",
)

_NOTHING = EstimateRow(
    model=TOTAL,
    requests=0,
    bytes=0,
    input_tokens=0,
    output_tokens=0,
    output_tokens_ceiling=0,
    cost_usd=Decimal(0),
    standard_usd=Decimal(0),
    saved_usd=Decimal(0),
    cost_ceiling_usd=Decimal(0),
    standard_ceiling_usd=Decimal(0),
    saved_ceiling_usd=Decimal(0),
)


def _estimate_class(table: PriceTable, each: RequestClass, bytes_per_token: int | Fraction) -> EstimateRow:
    input_tokens = _divide_up(each.bytes, bytes_per_token)
    per_answer = each.expected_output_tokens or expected_output_tokens(each.max_tokens)
    expected = Usage(input_tokens=input_tokens, output_tokens=each.requests * min(per_answer, each.max_tokens))
    ceiling = Usage(
        input_tokens=0 if each.cached else input_tokens,
        cache_write_1h_tokens=input_tokens if each.cached else 0,
        output_tokens=each.requests * each.max_tokens,
    )
    mean_bytes = _divide_up(each.bytes, max(each.requests, 1))
    mean, largest = (
        step_of(table, each.model, Usage(input_tokens=_divide_up(size, bytes_per_token)))
        for size in (mean_bytes, max(mean_bytes, each.largest_bytes))
    )
    cost_usd, standard_usd = _batch_and_standard(table, each, mean, expected)
    cost_ceiling_usd, standard_ceiling_usd = _batch_and_standard(table, each, largest, ceiling)
    return EstimateRow(
        model=each.model,
        requests=each.requests,
        bytes=each.bytes,
        input_tokens=input_tokens,
        output_tokens=expected.output_tokens,
        output_tokens_ceiling=ceiling.output_tokens,
        cost_usd=cost_usd,
        standard_usd=standard_usd,
        saved_usd=_minus(standard_usd, cost_usd),
        cost_ceiling_usd=cost_ceiling_usd,
        standard_ceiling_usd=standard_ceiling_usd,
        saved_ceiling_usd=_minus(standard_ceiling_usd, cost_ceiling_usd),
    )


def _batch_and_standard(
    table: PriceTable, each: RequestClass, step: str, usage: Usage
) -> tuple[Decimal | None, Decimal | None]:
    found = (rates(table, each.model, step, batch=batch, geo=each.geo) for batch in (True, False))
    batch_usd, standard_usd = (None if rate is None else plain(rate.usd(usage)) for rate in found)
    return batch_usd, standard_usd


def _merge(model: str, one: EstimateRow, other: EstimateRow) -> EstimateRow:
    return EstimateRow(
        model=model,
        requests=one.requests + other.requests,
        bytes=one.bytes + other.bytes,
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        output_tokens_ceiling=one.output_tokens_ceiling + other.output_tokens_ceiling,
        cost_usd=_plus(one.cost_usd, other.cost_usd),
        standard_usd=_plus(one.standard_usd, other.standard_usd),
        saved_usd=_plus(one.saved_usd, other.saved_usd),
        cost_ceiling_usd=_plus(one.cost_ceiling_usd, other.cost_ceiling_usd),
        standard_ceiling_usd=_plus(one.standard_ceiling_usd, other.standard_ceiling_usd),
        saved_ceiling_usd=_plus(one.saved_ceiling_usd, other.saved_ceiling_usd),
    )


# ── small arithmetic ─────────────────────────────────────────────────────────────────────────────────────────────────


def plain(amount: Decimal) -> Decimal:
    """Return the same amount without trailing zeros or exponent: ``3000``, not ``3E+3`` or ``3000.000000``."""
    text = format(amount, "f")
    return Decimal(text.rstrip("0").rstrip(".") if "." in text else text)


def _plain_or_none(amount: Decimal | None) -> Decimal | None:
    return None if amount is None else plain(amount)


def _plus(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return None if one is None or other is None else plain(EXACT.add(one, other))


def _minus(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return None if one is None or other is None else plain(EXACT.subtract(one, other))


def _divide_up(amount: int, by: int | Fraction) -> int:
    return -(-amount // by)
