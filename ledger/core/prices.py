"""What tokens cost: the price table that a run records, and exact arithmetic with it.

A table is quoted once, when a run starts spending, and recorded in the log; estimates, reports and audits
all use the recorded one, so that no figure ever depends on the day it is looked at. It holds *standard*
prices in USD per million tokens, as decimal strings, and the factors that apply on top:

    tokens of a category × price of that category × 0.5 (batch) × 1.1 (US only) + searches × list price

Half price holds for every token category, cache writes and reads included ("Batch processing" guide); the
factor for US inference holds for all token categories of 4.6 and later models ("Data residency"); a web
search costs the same in a batch as elsewhere ("Pricing", server-side tools).

Prices are linear in tokens but for one thing: some models cost more, for the whole request, once its prompt
is longer than a limit. That is a *step*. Usage summed by (model, step, tier, geo) and priced once is
therefore exactly the sum of its rows' prices, which is how ten million rows are priced in no time.

An unknown model, or an unknown region, has no price: None, never 0. Where the table and its gaps come from is
said at ``quote``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Context, Decimal, Inexact, localcontext
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo
    from genai_prices.types import ModelPrice as PublishedPrice

OWN_TABLE_DATE = "2026-11-22"
"""The day the rows of this module were last compared with Anthropic's pages."""

TIER_BATCH = "batch"
"""``usage.service_tier`` of a request that got the batch discount."""

GEO_US = "us"
GEOS_WITHOUT_SURCHARGE = frozenset({"", "global", "not_available"})
"""Not stated, the default, and what some results of models without residency say."""

_TOKENS_PER_PRICE = 6
"""Prices are per million tokens: six decimal places."""

# A product of a price, three factors and a count of tokens must come out exact, whatever context the caller
# has set; a table that would need rounding is a mistake and must not pass silently.
EXACT = Context(prec=100, traps=[Inexact])

_DATE_SUFFIX = re.compile(r"-\d{8}\Z", re.ASCII)
_GENERATION = re.compile(r"claude-[a-z]+-(\d{1,2})(?:-(\d{1,2}))?\Z", re.ASCII)
_RESIDENCY_SINCE = (4, 6)


class Usage(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """What a request, or a sum of requests, used.

    ``input_tokens`` is the uncached rest of the prompt, as the API counts it: the whole prompt is it plus
    cache writes and reads. Thinking is inside ``output_tokens``.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_read_tokens: int = 0
    web_search_requests: int = 0

    @property
    def prompt_tokens(self) -> int:
        """The length of the whole prompt in tokens: what steps are measured by."""
        return self.input_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens + self.cache_read_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cache_write_5m_tokens + other.cache_write_5m_tokens,
            self.cache_write_1h_tokens + other.cache_write_1h_tokens,
            self.cache_read_tokens + other.cache_read_tokens,
            self.web_search_requests + other.web_search_requests,
        )


class ModelPrice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The standard prices of one model from one prompt length on: USD per million tokens, as decimal strings.

    ``above_prompt_tokens`` is the length that the whole prompt must exceed for this row to hold;
    ``residency`` is whether inference in the US costs the table's factor more (4.6 and later models).
    """

    model: str
    above_prompt_tokens: int = 0
    input: str
    output: str
    cache_write_5m: str
    cache_write_1h: str
    cache_read: str
    residency: bool = False

    @property
    def step(self) -> str:
        """The name of this row among the model's: empty for the base price, ``>100000`` above that length."""
        return f">{self.above_prompt_tokens}" if self.above_prompt_tokens else ""


class PriceTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prices as they were known on a day; JSON-able, and recorded in the log as it is.

    No field has a default: a recorded table must say everything itself, whatever a later version believes.
    """

    quoted_on: str
    source: str
    batch_factor: str
    geo_us_factor: str
    web_search_per_1000: str
    models: tuple[ModelPrice, ...]


class Rates(NamedTuple):
    """USD per single token of each category, and per search, every factor applied: exact."""

    input: Decimal
    output: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal
    cache_read: Decimal
    web_search: Decimal

    def tokens_usd(self, usage: Usage) -> Decimal:
        """Return what the tokens cost, exactly: the part that the batch discount applies to."""
        usd = EXACT.multiply(self.input, usage.input_tokens)
        usd = EXACT.fma(self.output, usage.output_tokens, usd)
        usd = EXACT.fma(self.cache_write_5m, usage.cache_write_5m_tokens, usd)
        usd = EXACT.fma(self.cache_write_1h, usage.cache_write_1h_tokens, usd)
        return EXACT.fma(self.cache_read, usage.cache_read_tokens, usd)

    def usd(self, usage: Usage) -> Decimal:
        """Return what the usage costs, searches included, exactly."""
        return EXACT.fma(self.web_search, usage.web_search_requests, self.tokens_usd(usage))


class _WholeRates(NamedTuple):
    """The same rates as whole numbers of ``10 ** -places`` USD: sums of them need no decimal arithmetic."""

    rates: tuple[int, ...]
    places: int

    @classmethod
    def of(cls, rates: Rates) -> _WholeRates:
        places = max(0, *(-int(rate.as_tuple().exponent) for rate in rates))
        return cls(tuple(int(EXACT.scaleb(rate, places)) for rate in rates), places)

    def usd_text(self, usage: Usage) -> str:
        """Return what the usage costs, exactly, as a decimal string without an exponent or trailing zeros."""
        tokens, output, write_5m, write_1h, read, search = self.rates
        usd = (
            tokens * usage.input_tokens
            + output * usage.output_tokens
            + write_5m * usage.cache_write_5m_tokens
            + write_1h * usage.cache_write_1h_tokens
            + read * usage.cache_read_tokens
            + search * usage.web_search_requests
        )
        sign = "-" if usd < 0 else ""
        digits = str(abs(usd)).zfill(self.places + 1)
        whole, fraction = digits[: len(digits) - self.places], digits[len(digits) - self.places :].rstrip("0")
        return f"{sign}{whole}.{fraction}" if fraction else sign + whole


# ── reading prices off a table ──────────────────────────────────────────────────────────────────────────────


def steps_of_model(table: PriceTable, model: str) -> tuple[ModelPrice, ...]:
    """Return the rows of a model, base price first; empty if the table does not know it.

    Results name the resolved model, with its date (``claude-haiku-4-5-20251001``); the price is that of the
    id without it. A price is no proof that a model exists: that is not what this table is for.
    """
    rows = tuple(row for row in table.models if row.model == model)
    if not rows and (name := undated(model)) != model:
        rows = tuple(row for row in table.models if row.model == name)
    return tuple(sorted(rows, key=lambda row: row.above_prompt_tokens))


def undated(model: str) -> str:
    """Return a model id without the date that results name it with: ``claude-haiku-4-5-20251001``."""
    return _DATE_SUFFIX.sub("", model)


def step_of(table: PriceTable, model: str, usage: Usage) -> str:
    """Return the step that one request's usage falls on: a key to sum by, empty for most models.

    The prompt counts with its cache reads and writes, and a step begins above its limit, not at it
    ("Pricing", Haiku 5.5). Ask it of single requests: of a sum it would be wrong.
    """
    name = ""
    for row in steps_of_model(table, model):
        if usage.prompt_tokens > row.above_prompt_tokens:
            name = row.step
    return name


def rates(table: PriceTable, model: str, step: str = "", *, batch: bool = True, geo: str = "") -> Rates | None:
    """Return the rates of a model on a step, or None if the table has no price for it.

    Args:
        table: the recorded prices.
        model: the id asked for, or the one a result names.
        step: as ``step_of`` returns it.
        batch: whether the batch discount applies; ``usage.service_tier`` of a result says so.
        geo: ``inference_geo``, of the request or better of the result.
    """
    row = next((row for row in steps_of_model(table, model) if row.step == step), None)
    if row is None or (geo != GEO_US and geo not in GEOS_WITHOUT_SURCHARGE):
        return None
    with localcontext(EXACT):
        factor = Decimal(1).scaleb(-_TOKENS_PER_PRICE)
        if batch:
            factor *= Decimal(table.batch_factor)
        if geo == GEO_US and row.residency:
            factor *= Decimal(table.geo_us_factor)
        return Rates(
            Decimal(row.input) * factor,
            Decimal(row.output) * factor,
            Decimal(row.cache_write_5m) * factor,
            Decimal(row.cache_write_1h) * factor,
            Decimal(row.cache_read) * factor,
            Decimal(table.web_search_per_1000).scaleb(-3),
        )


def price(
    table: PriceTable, model: str, usage: Usage, *, step: str | None = None, batch: bool = True, geo: str = ""
) -> Decimal | None:
    """Return the exact USD of one request's usage, or of a sum of requests of one ``step``; None if unknown.

    ``batch=False`` gives the standard price, what the same would have cost outside a batch.
    """
    if step is None:
        step = step_of(table, model, usage)
    found = rates(table, model, step, batch=batch, geo=geo)
    return None if found is None else found.usd(usage)


class Pricer:
    """Prices single requests of one table, fast: what is looked up or worked out once is kept.

    Args:
        table: the recorded prices.
    """

    def __init__(self, table: PriceTable) -> None:
        self._table = table
        self._rates: dict[tuple[str, str, bool, str], Rates | None] = {}
        self._whole_rates: dict[tuple[str, str, bool, str], _WholeRates | None] = {}
        self._has_steps: dict[str, bool] = {}

    def step(self, model: str, usage: Usage) -> str:
        """Return what ``step_of`` returns."""
        has_steps = self._has_steps.get(model)
        if has_steps is None:
            has_steps = self._has_steps[model] = len(steps_of_model(self._table, model)) > 1
        return step_of(self._table, model, usage) if has_steps else ""

    def usd(self, model: str, usage: Usage, *, batch: bool = True, geo: str = "") -> Decimal | None:
        """Return what ``price`` returns for one request."""
        found = self._rates_of((model, self.step(model, usage), batch, geo))
        return None if found is None else found.usd(usage)

    def usd_text(self, model: str, usage: Usage, *, batch: bool = True, geo: str = "") -> str | None:
        """Return what ``usd`` returns, as a plain decimal string: 2 µs instead of 5, for answers by the million."""
        key = (model, self.step(model, usage), batch, geo)
        if key not in self._whole_rates:
            rates = self._rates_of(key)
            self._whole_rates[key] = None if rates is None else _WholeRates.of(rates)
        found = self._whole_rates[key]
        return None if found is None else found.usd_text(usage)

    def _rates_of(self, key: tuple[str, str, bool, str]) -> Rates | None:
        if key not in self._rates:
            model, step, batch, geo = key
            self._rates[key] = rates(self._table, model, step, batch=batch, geo=geo)
        return self._rates[key]


def is_billed(result_type: str, *, stop_reason: str = "", has_output: bool = True) -> bool:
    """Return whether a result is charged.

    Errored, canceled and expired requests are free ("Batch processing"). So is a refusal before any output:
    its ``usage`` carries token counts and yet nothing is charged; refused midway, it is charged ("Refusals
    and fallback", of the Messages API; that it holds in batches is assumed).

    Args:
        result_type: ``result.type`` of the row.
        stop_reason: ``message.stop_reason`` of a succeeded one.
        has_output: whether ``message.content`` has anything in it.
    """
    return result_type == "succeeded" and (has_output or stop_reason != "refusal")


def read_usage(raw: Mapping[str, object]) -> Usage:
    """Return the usage of a message as the API reports it (``message.usage``).

    Everything but the two token counts may be null or absent. Cache writes whose lifetime is not broken
    down count as five-minute ones, the default lifetime.

    Raises:
        ValueError: a count is no non-negative integer; the text names the field.
    """
    by_lifetime, tools = raw.get("cache_creation"), raw.get("server_tool_use")
    writes = _count(raw, "cache_creation_input_tokens")
    one_hour = _count(by_lifetime, "ephemeral_1h_input_tokens")
    five_minutes = _count(by_lifetime, "ephemeral_5m_input_tokens")
    return Usage(
        input_tokens=_count(raw, "input_tokens"),
        output_tokens=_count(raw, "output_tokens"),
        cache_write_5m_tokens=max(five_minutes, writes - one_hour),
        cache_write_1h_tokens=one_hour,
        cache_read_tokens=_count(raw, "cache_read_input_tokens"),
        web_search_requests=_count(tools, "web_search_requests"),
    )


def _count(raw: object, field: str) -> int:
    if raw is None:
        return 0
    if not isinstance(raw, Mapping):
        raise ValueError(f"usage is no object where {field} was expected")
    value = raw.get(field)
    if value is None:
        return 0
    if type(value) is not int or value < 0:
        raise ValueError(f"usage.{field} is {value!r}, not a count")
    return value


# ── quoting ─────────────────────────────────────────────────────────────────────────────────────────────────


class _OwnPrice(NamedTuple):
    """A row of ours. One that held only ``until`` a day is history, and beats what genai-prices believes."""

    source: str
    until: str
    row: ModelPrice


def _mythos(model: str, cache_read: str) -> ModelPrice:
    return ModelPrice(
        model=model,
        input="10",
        output="50",
        cache_write_5m="12.5",
        cache_write_1h="20",
        cache_read=cache_read,
        residency=True,
    )


# What genai-prices 0.2.3 lacks. claude-mythos-preview is in neither, so it has no price.
_OWN_PRICES = (
    _OwnPrice("Pricing page, 2026-10-08", "", _mythos("claude-mythos-5", "1")),
    _OwnPrice("Pricing page, 2026-10-08", "", _mythos("claude-mythos-5-1", "0.25")),
    _OwnPrice(
        "third-party price history: cache reads were 0.1 × input before they became 0.05 ×",
        "2026-10-07",
        ModelPrice(
            model="claude-sonnet-5-5",
            input="2",
            output="10",
            cache_write_5m="2.5",
            cache_write_1h="4",
            cache_read="0.2",
            residency=True,
        ),
    ),
)

BATCH_FACTOR = "0.5"  # "Batch processing": all usage at 50 % of the standard price
GEO_US_FACTOR = "1.1"  # "Data residency": all token categories, 4.6 and later models
_BATCH_CONTEXT = {"processing": "batch"}  # matched exactly: {"processing": "Batch"} gets the full price
_PUBLISHED_KEYS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_write_5m": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "cache_read": "cache_read_mtok",
}
WEB_SEARCH_PER_1000 = "10"  # "Pricing": per 1,000 searches, the same through a batch


def quote(on: str) -> PriceTable:
    """Return the prices of a day, without asking anybody: nothing here touches the network.

    The standard prices are those bundled with genai-prices. What it lacks is closed from here: the Mythos 5
    and 5.1 ids, the earlier cache price of Sonnet 5.5, data residency. Its batch prices exist only from
    2026-10-14 on and a call that misses them gets the full price without a word; so the discount is applied
    here, as the guide states it, and genai-prices' own batch prices serve as a check: a model where they
    are not half its standard prices has changed in a way this version does not know, and is left out of the
    table.

    Args:
        on: the day, ``2026-11-22``.

    Raises:
        ValueError: ``on`` is no date.
    """
    # 0.2 s: paid when prices are quoted, not whenever a ledger is looked at.
    import genai_prices
    from genai_prices.data import providers

    day = datetime.fromisoformat(on).replace(hour=12, tzinfo=UTC)
    date = day.date().isoformat()
    published = next(provider for provider in providers if provider.id == "anthropic")
    rows = {info.id: found for info in published.models if (found := _published_rows(info, day))}
    for own in _OWN_PRICES:
        if date < own.until if own.until else own.row.model not in rows:
            rows[own.row.model] = [own.row]
    return PriceTable(
        quoted_on=date,
        source=f"genai-prices {genai_prices.__version__} + ledger's own table of {OWN_TABLE_DATE}",
        batch_factor=BATCH_FACTOR,
        geo_us_factor=GEO_US_FACTOR,
        web_search_per_1000=WEB_SEARCH_PER_1000,
        models=tuple(row for model in sorted(rows) for row in rows[model]),
    )


def _published_rows(info: ModelInfo, day: datetime) -> list[ModelPrice]:
    """Return the rows of a model as genai-prices has them, or none: see ``quote`` for which are left out."""
    variants = [variant for variant in info.price_variants or () if variant.when == _BATCH_CONTEXT]
    if not variants:
        return []  # retired before batch prices were published: nothing can be asked of it any more
    is_dated_later = not any(it.constraint is None or it.constraint.active(day) for it in variants)
    standard, batch = info.get_prices(day), info.get_prices(day, _BATCH_CONTEXT)
    rows = []
    for limit in sorted({0, *_limits(standard)}):
        amounts, discounted = _prices_above(standard, limit), _prices_above(batch, limit)
        if len(amounts) < len(_PUBLISHED_KEYS):
            return []
        half = {field: amount * Decimal(BATCH_FACTOR) for field, amount in amounts.items()}
        if discounted != half and not is_dated_later:
            return []
        texts = {field: format(amount, "f") for field, amount in amounts.items()}
        rows.append(ModelPrice(model=info.id, above_prompt_tokens=limit, residency=has_residency(info.id), **texts))
    return rows


def _limits(published: PublishedPrice) -> list[int]:
    """Return the prompt lengths at which a price changes."""
    steps = (getattr(getattr(published, key), "tiers", ()) for key in _PUBLISHED_KEYS.values())
    return [tier.start for tiers in steps for tier in tiers]


def _prices_above(published: PublishedPrice, limit: int) -> dict[str, Decimal]:
    """Return the published prices of a prompt just longer than ``limit`` tokens, by our names."""
    found = {}
    for field, key in _PUBLISHED_KEYS.items():
        amount = getattr(published, key)
        reached = [tier.price for tier in getattr(amount, "tiers", ()) if limit and tier.start <= limit]
        base = getattr(amount, "base", amount)
        if base is not None:
            found[field] = Decimal(reached[-1] if reached else base)
    return found


def has_residency(model: str) -> bool:
    """Return whether the model takes ``inference_geo``, as 4.6 and later do ("Data residency")."""
    match = _GENERATION.match(model)
    return match is not None and (int(match[1]), int(match[2] or 0)) >= _RESIDENCY_SINCE
