"""A price table of one's own: read from its text, refused by name, recorded with its digest."""

from __future__ import annotations

import json
from decimal import Decimal
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from ledger.core.errors import UsageError
from ledger.core.pricefile import other_steps, price_file, read_price_file
from ledger.core.prices import Usage, price, quote

TODAY = "2026-11-22"
ROW = {
    "model": "claude-sonnet-4-6",
    "input": 2.1,
    "output": "10.50",
    "cache_write_5m": 2.625,
    "cache_write_1h": 4.2,
    "cache_read": 0.21,
}


def written(*rows: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({**more, "models": list(rows or [ROW])}).encode()


def refusal(data: bytes) -> tuple[str, str]:
    with pytest.raises(UsageError) as refused:
        read_price_file(data, "own.json", TODAY)
    assert refused.value.next.startswith("ledger prices -o FILE")
    return refused.value.where, refused.value.why


def test_amounts_are_those_that_are_written_whether_numbers_or_texts() -> None:
    table = read_price_file(written(), "own.json", TODAY)
    (row,) = table.models
    assert (row.input, row.output, row.cache_write_5m, row.cache_write_1h, row.cache_read) == (
        "2.1",
        "10.5",
        "2.625",
        "4.2",
        "0.21",
    )
    assert price(table, "claude-sonnet-4-6", Usage(1_000_000, 1_000_000)) == Decimal("6.3")


def test_the_source_names_the_file_its_digest_and_what_it_says_itself() -> None:
    data = written(source="contract 4711", quoted_on="2026-10-01")
    table = read_price_file(data, "own.json", TODAY)
    assert table.source == f"file own.json, SHA-256 {sha256(data).hexdigest()}: contract 4711"
    assert table.quoted_on == "2026-10-01"
    assert read_price_file(written(), "own.json", TODAY).quoted_on == TODAY


def test_factors_and_residency_that_are_not_said_are_the_published_ones() -> None:
    table = read_price_file(written(ROW, {**ROW, "model": "claude-haiku-4-5"}), "own.json", TODAY)
    assert (table.batch_factor, table.geo_us_factor, table.web_search_per_1000) == ("0.5", "1.1", "10")
    assert [row.residency for row in table.models] == [True, False]
    own = read_price_file(written({**ROW, "residency": False}, batch_factor="0.4"), "own.json", TODAY)
    assert (own.batch_factor, own.models[0].residency) == ("0.4", False)


def test_a_table_that_is_written_is_read_back_as_it_was() -> None:
    table = quote(TODAY)
    again = read_price_file(price_file(table), "prices.json", "2030-01-01")
    assert msgspec.structs.replace(again, source="") == msgspec.structs.replace(_plainly(table), source="")
    assert again.source.endswith(f": {table.source}")


def _plainly(table: Any) -> Any:
    """The published amounts are written with trailing zeros here and there; a file's never are."""
    amounts = ("input", "output", "cache_write_5m", "cache_write_1h", "cache_read")

    def plainly(text: str) -> str:
        return text.rstrip("0").rstrip(".") if "." in text else text

    rows = tuple(
        msgspec.structs.replace(row, **{name: plainly(getattr(row, name)) for name in amounts}) for row in table.models
    )
    return msgspec.structs.replace(table, models=rows)


@pytest.mark.parametrize(
    ("data", "where", "why"),
    [
        (b"[]", "own.json", "the line is no JSON object"),
        (b"{", "own.json", "the JSON ends too early"),
        (b'{"models":[]}', "own.json: models", "Expected `array` of length >= 1"),
        (written({**ROW, "input": "two"}), "own.json: models[0].input", "Invalid decimal string"),
        (written({**ROW, "input": -1}), "own.json: models[0].input", "-1 is no amount"),
        (written({**ROW, "output": "Infinity"}), "own.json: models[0].output", "Infinity is no amount"),
        (written({**ROW, "inptu": 1}), "own.json: models[0]", "Object contains unknown field `inptu`"),
        (
            written({key: value for key, value in ROW.items() if key != "cache_read"}),
            "own.json: models[0]",
            "Object missing required field `cache_read`",
        ),
        (written(ROW, ROW), "own.json: models[1]", "claude-sonnet-4-6 is there twice"),
        (
            written({**ROW, "above_prompt_tokens": 100_000}),
            "own.json: models[0]",
            "claude-sonnet-4-6 has a price for long prompts, and none for others",
        ),
        (
            written(batch_factor=50),
            "own.json: batch_factor",
            "50 is no share of the standard price; 0.5 is half",
        ),
        (
            written(geo_us_factor="0.9"),
            "own.json: geo_us_factor",
            "0.9 would make it cheaper; 1.1 is ten percent more",
        ),
        (written(quoted_on="today"), "own.json: quoted_on", "'today' is no date; write 2026-11-22"),
        (
            written({**ROW, "cache_read": "0.1234567890123"}),
            "own.json: models[0].cache_read",
            "0.1234567890123 has more than 12 digits behind the point, or is absurd",
        ),
        (b'{"models":[],"models":[]}', "own.json: models", "the key 'models' is there twice in one object"),
    ],
)
def test_what_is_no_price_table_is_refused_with_the_place_and_the_reason(data: bytes, where: str, why: str) -> None:
    said = refusal(data)
    assert said[0] == where
    assert said[1].startswith(why)


def test_models_whose_steps_differ_between_two_tables_are_named() -> None:
    stepped = {**ROW, "above_prompt_tokens": 100_000, "input": 9}
    before = read_price_file(written(ROW), "a", TODAY)
    after = read_price_file(written(ROW, stepped), "b", TODAY)
    assert other_steps(before, after, {"claude-sonnet-4-6", "claude-opus-5"}) == ["claude-sonnet-4-6"]
    assert other_steps(before, before, {"claude-sonnet-4-6"}) == []
