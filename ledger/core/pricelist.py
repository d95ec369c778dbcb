"""A price table as people ask about it: what a model costs, standard and in a batch, and until when there is one."""

from __future__ import annotations

from datetime import date
from decimal import Decimal, localcontext

import msgspec

from ledger.core.costs import plain
from ledger.core.errors import UsageError
from ledger.core.models import RETIRED, find_model, retirement, suggest_model
from ledger.core.prices import EXACT, ModelPrice, PriceTable, steps_of_model


class PricesOf(msgspec.Struct, frozen=True, kw_only=True):
    """USD per million tokens of each category, every factor applied."""

    input: Decimal
    output: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal
    cache_read: Decimal


class ModelPrices(msgspec.Struct, frozen=True, kw_only=True):
    """What one model costs for prompts longer than ``above_prompt_tokens``, and how long it is there.

    ``batch_us`` is the batch price of inference in the US, None where the model takes no ``inference_geo``.
    ``retires_on`` is an announced end, ``not_before`` the day before which there will be none; both are empty where
    nothing is known. ``status`` is ``active``, ``deprecated`` (its end is announced), ``retired`` or ``unknown``.
    """

    model: str
    above_prompt_tokens: int
    standard: PricesOf
    batch: PricesOf
    batch_us: PricesOf | None
    status: str
    retires_on: str
    not_before: str


class PriceList(msgspec.Struct, frozen=True, kw_only=True):
    """A price table read out; ``ledger`` is the ledger that recorded it, empty for today's.

    ``web_search_per_1000`` is in USD, and has no discount.
    """

    ledger: str
    quoted_on: str
    source: str
    batch_factor: str
    geo_us_factor: str
    web_search_per_1000: Decimal
    models: tuple[ModelPrices, ...]


def price_list(table: PriceTable, today: date, *, ledger: str = "", model: str | None = None) -> PriceList:
    """Return the prices of a table, of all models or of one.

    Args:
        table: the recorded prices, or today's.
        today: the day by which a model is retired or not.
        ledger: where the table was recorded.
        model: the id as it is written in a request.

    Raises:
        UsageError: the table has no price for this model.
    """
    rows = table.models if model is None else steps_of_model(table, model)
    if model is not None and not rows:
        raise _without_price(table, model, today)
    named = [(row.model if model is None else model, row) for row in rows]
    return PriceList(
        ledger=ledger,
        quoted_on=table.quoted_on,
        source=table.source,
        batch_factor=table.batch_factor,
        geo_us_factor=table.geo_us_factor,
        web_search_per_1000=plain(Decimal(table.web_search_per_1000)),
        models=tuple(_read_out(table, name, row, today) for name, row in named),
    )


def _read_out(table: PriceTable, name: str, row: ModelPrice, today: date) -> ModelPrices:
    known = find_model(name)
    ended = retirement(name, today)
    announced = known.retires_on if known is not None else RETIRED.get(name)
    active = "active" if announced is None else "deprecated"
    return ModelPrices(
        model=name,
        above_prompt_tokens=row.above_prompt_tokens,
        standard=_times(row, Decimal(1)),
        batch=_times(row, Decimal(table.batch_factor)),
        batch_us=_times(row, Decimal(table.batch_factor), Decimal(table.geo_us_factor)) if row.residency else None,
        status="retired" if ended else active if known is not None else "unknown",
        retires_on=announced.isoformat() if announced is not None else "",
        not_before=known.not_before.isoformat() if known is not None and known.not_before is not None else "",
    )


def _times(row: ModelPrice, *factors: Decimal) -> PricesOf:
    with localcontext(EXACT):
        factor = Decimal(1)
        for each in factors:
            factor *= each
        return PricesOf(
            input=plain(Decimal(row.input) * factor),
            output=plain(Decimal(row.output) * factor),
            cache_write_5m=plain(Decimal(row.cache_write_5m) * factor),
            cache_write_1h=plain(Decimal(row.cache_write_1h) * factor),
            cache_read=plain(Decimal(row.cache_read) * factor),
        )


def _without_price(table: PriceTable, model: str, today: date) -> UsageError:
    ended = retirement(model, today)
    meant = suggest_model(model)
    return UsageError(
        f"{model} ended on {ended}" if ended else f"there is no price for {model}",
        why=f"the table is {table.source}, of {table.quoted_on}",
        next=f"ledger prices --model {meant}" if meant and steps_of_model(table, meant) else "ledger prices",
    )
