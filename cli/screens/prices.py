"""What tokens cost, model by model."""

from __future__ import annotations

import re
from decimal import Decimal

from ledger.core.pricelist import ModelPrices, PriceList, PricesOf

from .tables import table

_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
_HEADER = ("model", "input", "output", "5m write", "1h write", "read", "retires")
_CATEGORIES = (
    ("input", "input"),
    ("output", "output"),
    ("cache write, 5 minutes", "cache_write_5m"),
    ("cache write, 1 hour", "cache_write_1h"),
    ("cache read", "cache_read"),
)


def prices_line(quoted_on: str, source: str) -> str:
    """Return where prices are from, and of which day; of a digest the beginning is enough for people."""
    shown = _DIGEST.sub(r"\1…", source)
    return f"prices of {quoted_on}: {shown}"


def prices_screen(prices: PriceList, *, detailed: bool) -> str:
    """Return the table; ``detailed`` shows each model by itself, with what a batch costs."""
    parts = [f"{prices.ledger}: the prices it recorded"] if prices.ledger else []
    parts.append("\n\n".join(_detail(each) for each in prices.models) if detailed else _list(prices))
    notes = [] if detailed else [_factors(prices)]
    notes.append(f"web search: ${prices.web_search_per_1000} per 1,000, in a batch, too")
    notes.append(prices_line(prices.quoted_on, prices.source))
    return "\n".join([*parts, *notes])


def _list(prices: PriceList) -> str:
    rows = [
        (
            _name(each) + ("" if each.batch_us is not None else " *"),
            _amount(each.standard.input),
            _amount(each.standard.output),
            _amount(each.standard.cache_write_5m),
            _amount(each.standard.cache_write_1h),
            _amount(each.standard.cache_read),
            _end(each),
        )
        for each in prices.models
    ]
    return "standard prices, USD per million tokens\n" + table(rows, "lrrrrrl", header=_HEADER, elastic=0)


def _factors(prices: PriceList) -> str:
    return (
        f"in a batch: × {prices.batch_factor}, cache writes and reads included\n"
        f"with inference_geo us: × {prices.geo_us_factor}; models with * take no inference_geo"
    )


def _detail(each: ModelPrices) -> str:
    columns: list[tuple[str, PricesOf]] = [("standard", each.standard), ("batch", each.batch)]
    if each.batch_us is not None:
        columns.append(("batch, us", each.batch_us))
    rows = [(label, *(_amount(getattr(amounts, field)) for _, amounts in columns)) for label, field in _CATEGORIES]
    header = ("USD per million tokens", *(title for title, _ in columns))
    step = (
        f", prompts above {each.above_prompt_tokens:,} tokens (the whole request)" if each.above_prompt_tokens else ""
    )
    ends = f"; {_status(each)}"
    return f"{each.model}{step}{ends}\n" + table(rows, "l" + "r" * len(columns), header=header)


def _status(each: ModelPrices) -> str:
    if each.status == "retired":
        return f"retired on {each.retires_on}"
    if each.status == "deprecated":
        return f"deprecated, ends on {each.retires_on}"
    if each.not_before:
        return f"promised until {each.not_before}"
    return "active, no date is known" if each.status == "active" else "not a model that this version knows"


def _name(each: ModelPrices) -> str:
    return f"{each.model} >{each.above_prompt_tokens // 1000}K" if each.above_prompt_tokens else each.model


def _end(each: ModelPrices) -> str:
    if each.retires_on:
        return each.retires_on
    return f"≥ {each.not_before}" if each.not_before else ""


def _amount(amount: Decimal) -> str:
    """Return an amount with at least two digits behind the point, and as many as it has."""
    text = format(amount, "f")
    whole, _, behind = text.partition(".")
    return f"{whole}.{behind.ljust(2, '0')}"
