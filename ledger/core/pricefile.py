"""A price table that a person wrote: ``--prices FILE``, for negotiated prices, and for models newer than this version.

The file is the whole table: a model that it leaves out has no price, and costs with it are unknown rather than taken
from a list that its author did not mean. ``ledger prices -o FILE`` writes one to begin with; its schema is
``schemas/prices.schema.json``. Amounts are read from their text, never through binary fractions.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, TypeAlias

import msgspec

from ledger.core.errors import UsageError
from ledger.core.prices import (
    BATCH_FACTOR,
    GEO_US_FACTOR,
    WEB_SEARCH_PER_1000,
    ModelPrice,
    PriceTable,
    has_residency,
    steps_of_model,
)
from ledger.core.problems import Refused
from ledger.core.strict_json import read_object

DECIMALS_MAX = 12
"""Digits behind the point of a price; sums over any number of tokens stay exact with far more."""

_NEXT = "ledger prices -o FILE writes a table to begin with; schemas/prices.schema.json says what it may hold"

Amount: TypeAlias = Annotated[
    Decimal,
    msgspec.Meta(
        description="a decimal number or its text, not negative, at most 12 digits behind the point",
        extra_json_schema={"type": ["string", "number"]},
    ),
]


class PriceFileRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The standard prices of one model, in USD per million tokens, from one prompt length on.

    ``above_prompt_tokens`` is the length that a whole prompt must exceed for this row to hold. ``residency`` is
    whether inference in the US costs ``geo_us_factor`` more; by default it does from generation 4.6 on.
    """

    model: Annotated[str, msgspec.Meta(min_length=1)]
    input: Amount
    output: Amount
    cache_write_5m: Amount
    cache_write_1h: Amount
    cache_read: Amount
    above_prompt_tokens: Annotated[int, msgspec.Meta(ge=0)] = 0
    residency: bool | None = None


class PriceFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A price table: what is not said of the factors is as Anthropic publishes it.

    ``quoted_on`` is the day from which the prices are, by default the day on which the file is read; ``source`` says
    in words where they are from.
    """

    models: Annotated[tuple[PriceFileRow, ...], msgspec.Meta(min_length=1)]
    batch_factor: Amount = Decimal(BATCH_FACTOR)
    geo_us_factor: Amount = Decimal(GEO_US_FACTOR)
    web_search_per_1000: Amount = Decimal(WEB_SEARCH_PER_1000)
    quoted_on: str = ""
    source: str = ""


_decode = msgspec.json.Decoder(PriceFile).decode


def read_price_file(data: bytes, name: str, today: str) -> PriceTable:
    """Return the table that a file holds; its source names the file and the SHA-256 of its bytes.

    Args:
        data: the file.
        name: what it is called.
        today: the day that an undated table is of.

    Raises:
        UsageError: it is no price table; the error says where and why.
    """
    try:
        read_object(data)
        read = _decode(data)
    except Refused as refused:
        problem = refused.problem
        raise _refusal(name, problem.field, problem.why) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:  # a ValidationError is a DecodeError
        why, _, path = str(problem).partition(" - at `$")
        raise _refusal(name, path.rstrip("`").lstrip("."), why) from problem
    _check_factors(read, name)
    rows = tuple(_row(row, f"models[{number}]", name) for number, row in enumerate(read.models))
    table = PriceTable(
        quoted_on=_day(read.quoted_on, name) if read.quoted_on else today,
        source=f"file {name}, SHA-256 {sha256(data).hexdigest()}" + (f": {read.source}" if read.source else ""),
        batch_factor=_text(read.batch_factor, "batch_factor", name),
        geo_us_factor=_text(read.geo_us_factor, "geo_us_factor", name),
        web_search_per_1000=_text(read.web_search_per_1000, "web_search_per_1000", name),
        models=rows,
    )
    _check_steps(table, name)
    return table


def price_file(table: PriceTable) -> bytes:
    """Return a file that ``read_price_file`` reads as this table."""
    rows = [
        {
            "model": row.model,
            **({"above_prompt_tokens": row.above_prompt_tokens} if row.above_prompt_tokens else {}),
            **{field: getattr(row, field) for field in _AMOUNTS},
            "residency": row.residency,
        }
        for row in table.models
    ]
    document = {
        "quoted_on": table.quoted_on,
        "source": table.source,
        "batch_factor": table.batch_factor,
        "geo_us_factor": table.geo_us_factor,
        "web_search_per_1000": table.web_search_per_1000,
        "models": rows,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2)


def other_steps(before: PriceTable, after: PriceTable, models: set[str]) -> list[str]:
    """Return the models whose prices change at other prompt lengths in another table.

    What was stored is summed by step; a table with other steps could not price those sums.
    """
    return sorted(
        model
        for model in models
        if {row.step for row in steps_of_model(before, model)} != {row.step for row in steps_of_model(after, model)}
    )


_AMOUNTS = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")


def _row(row: PriceFileRow, where: str, name: str) -> ModelPrice:
    return ModelPrice(
        model=row.model,
        above_prompt_tokens=row.above_prompt_tokens,
        residency=has_residency(row.model) if row.residency is None else row.residency,
        **{field: _text(getattr(row, field), f"{where}.{field}", name) for field in _AMOUNTS},
    )


def _text(amount: Decimal, where: str, name: str) -> str:
    """Return an amount as the log records it; the same for the same amount."""
    if not amount.is_finite() or amount < 0:
        raise _refusal(name, where, f"{amount} is no amount")
    text = format(amount, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    if len(text.partition(".")[2]) > DECIMALS_MAX or len(text) > 3 * DECIMALS_MAX:
        raise _refusal(name, where, f"{amount} has more than {DECIMALS_MAX} digits behind the point, or is absurd")
    return text


def _check_factors(read: PriceFile, name: str) -> None:
    if not 0 < read.batch_factor <= 1:
        raise _refusal(name, "batch_factor", f"{read.batch_factor} is no share of the standard price; 0.5 is half")
    if read.geo_us_factor < 1:
        raise _refusal(name, "geo_us_factor", f"{read.geo_us_factor} would make it cheaper; 1.1 is ten percent more")


def _check_steps(table: PriceTable, name: str) -> None:
    seen: set[tuple[str, int]] = set()
    for number, row in enumerate(table.models):
        if (row.model, row.above_prompt_tokens) in seen:
            step = f" above {row.above_prompt_tokens} tokens" if row.above_prompt_tokens else ""
            raise _refusal(name, f"models[{number}]", f"{row.model}{step} is there twice")
        seen.add((row.model, row.above_prompt_tokens))
    for number, row in enumerate(table.models):
        if (row.model, 0) not in seen:
            raise _refusal(name, f"models[{number}]", f"{row.model} has a price for long prompts, and none for others")


def _day(text: str, name: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise _refusal(name, "quoted_on", f"{text!r} is no date; write 2026-11-22") from None


def _refusal(name: str, where: str, why: str) -> UsageError:
    return UsageError(
        "the price table cannot be used; nothing was sent",
        where=f"{name}: {where}" if where else name,
        why=why,
        next=_NEXT,
    )
