"""Prices: the published table, its gaps closed, exact arithmetic, unknown is not free."""

from __future__ import annotations

import socket
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal, localcontext

import genai_prices
import msgspec
import pytest
from genai_prices.types import ModelInfo, PriceVariant
from genai_prices.types import ModelPrice as PublishedPrice
from hypothesis import given
from hypothesis import strategies as st

from ledger.core import prices
from ledger.core.prices import Pricer, PriceTable, Usage, is_billed, price, quote, rates, read_usage, step_of

TODAY = "2026-11-22"
TABLE = quote(TODAY)
MILLION = 1_000_000

# Anthropic's pricing page, standard USD per million tokens: in, out, 5-minute write, 1-hour write, cache read;
# and its batch column: in, out.
PUBLISHED = {
    "claude-fable-5-2": ("8 40 10 16 0.20", "4 20"),
    "claude-mythos-5-2": ("8 40 10 16 0.20", "4 20"),
    "claude-fable-5-1": ("10 50 12.50 20 0.25", "5 25"),
    "claude-mythos-5-1": ("10 50 12.50 20 0.25", "5 25"),
    "claude-fable-5": ("10 50 12.50 20 1.00", "5 25"),
    "claude-mythos-5": ("10 50 12.50 20 1.00", "5 25"),
    "claude-opus-5-5": ("4 20 5 8 0.20", "2 10"),
    "claude-opus-5": ("5 25 6.25 10 0.50", "2.50 12.50"),
    "claude-opus-4-8": ("5 25 6.25 10 0.50", "2.50 12.50"),
    "claude-opus-4-7": ("5 25 6.25 10 0.50", "2.50 12.50"),
    "claude-opus-4-6": ("5 25 6.25 10 0.50", "2.50 12.50"),
    "claude-opus-4-5": ("5 25 6.25 10 0.50", "2.50 12.50"),
    "claude-sonnet-5-5": ("2 10 2.50 4 0.10", "1 5"),
    "claude-sonnet-5": ("2 10 2.50 4 0.20", "1 5"),
    "claude-sonnet-4-6": ("3 15 3.75 6 0.30", "1.50 7.50"),
    "claude-sonnet-4-5": ("3 15 3.75 6 0.30", "1.50 7.50"),
    "claude-haiku-5-5": ("0.10 0.50 0.125 0.20 0.01", "0.05 0.25"),
    "claude-haiku-4-5": ("1 5 1.25 2 0.10", "0.50 2.50"),
}
HAIKU_55_LONG = ("0.50 2.50 0.625 1.00 0.05", "0.25 1.25")
UNKNOWN_TO_GENAI_PRICES = {"claude-mythos-5", "claude-mythos-5-1"}
ONE_OF_EACH = (
    Usage(input_tokens=MILLION),
    Usage(output_tokens=MILLION),
    Usage(cache_write_5m_tokens=MILLION),
    Usage(cache_write_1h_tokens=MILLION),
    Usage(cache_read_tokens=MILLION),
)

usages = st.builds(
    Usage,
    input_tokens=st.integers(0, 300_000),
    output_tokens=st.integers(0, 300_000),
    cache_write_5m_tokens=st.integers(0, 60_000),
    cache_write_1h_tokens=st.integers(0, 60_000),
    cache_read_tokens=st.integers(0, 200_000),
    web_search_requests=st.integers(0, 20),
)
models = st.sampled_from(sorted(PUBLISHED))


def per_million(model: str, *, step: str = "", batch: bool = False) -> list[Decimal]:
    amounts = [price(TABLE, model, usage, step=step, batch=batch) for usage in ONE_OF_EACH]
    assert None not in amounts
    return [amount for amount in amounts if amount is not None]


def decimals(text: str) -> list[Decimal]:
    return [Decimal(word) for word in text.split()]


# ── the table ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("model", PUBLISHED)
def test_standard_prices_are_those_of_the_pricing_page(model: str) -> None:
    assert per_million(model) == decimals(PUBLISHED[model][0])


@pytest.mark.parametrize("model", PUBLISHED)
def test_a_batch_costs_half_in_every_category(model: str) -> None:
    batch = per_million(model, batch=True)
    assert batch == [amount / 2 for amount in decimals(PUBLISHED[model][0])]
    assert batch[:2] == decimals(PUBLISHED[model][1])


def test_haiku_5_5_costs_more_above_its_step() -> None:
    assert per_million("claude-haiku-5-5", step=">100000") == decimals(HAIKU_55_LONG[0])
    assert per_million("claude-haiku-5-5", step=">100000", batch=True)[:2] == decimals(HAIKU_55_LONG[1])


def test_the_table_holds_no_other_model() -> None:
    """A row that nobody compared with the pricing page would be a price out of thin air."""
    assert {row.model for row in TABLE.models} == set(PUBLISHED)


@given(model=models.filter(lambda it: it not in UNKNOWN_TO_GENAI_PRICES), usage=usages, batch=st.booleans())
def test_equals_genai_prices_wherever_it_knows_the_model(model: str, usage: Usage, batch: bool) -> None:
    theirs = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.prompt_tokens,
            output_tokens=usage.output_tokens,
            cache_write_tokens=usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
            cache_write_1h_tokens=usage.cache_write_1h_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            web_searches=usage.web_search_requests,
        ),
        model,
        provider_id="anthropic",
        genai_request_timestamp=datetime(2026, 11, 22, tzinfo=UTC),
        price_context={"processing": "batch"} if batch else {},
    )
    assert price(TABLE, model, usage, batch=batch) == theirs.total_price


@pytest.mark.parametrize("model", sorted(UNKNOWN_TO_GENAI_PRICES))
def test_our_own_rows_are_still_needed(model: str) -> None:
    with pytest.raises(LookupError):
        genai_prices.calc_price(genai_prices.Usage(input_tokens=1), model, provider_id="anthropic")


def test_batch_prices_hold_before_genai_prices_has_them() -> None:
    """Its batch prices are dated from 2026-10-14; before, it quotes the full price without a word."""
    early = quote("2026-10-13")
    assert price(early, "claude-opus-4-7", Usage(input_tokens=MILLION)) == Decimal("2.5")


def test_prices_of_a_past_day_are_those_of_that_day() -> None:
    cached, long_prompt = Usage(cache_read_tokens=MILLION), Usage(input_tokens=250_000)
    before, after = quote("2026-10-06"), quote("2026-10-07")
    assert price(before, "claude-sonnet-5-5", cached, batch=False) == Decimal("0.2")
    assert price(after, "claude-sonnet-5-5", cached, batch=False) == Decimal("0.1")
    assert price(quote("2026-03-12"), "claude-sonnet-4-6", long_prompt, batch=False) == Decimal("1.5")
    assert price(quote("2026-03-13"), "claude-sonnet-4-6", long_prompt, batch=False) == Decimal("0.75")


@pytest.mark.parametrize(("input_batch", "is_kept"), [("2.5", True), ("2", False), ("5", False)])
def test_a_published_batch_price_that_is_not_half_leaves_the_model_without_a_price(
    monkeypatch: pytest.MonkeyPatch, input_batch: str, is_kept: bool
) -> None:
    def published(factor: str, input_price: str) -> PublishedPrice:
        rest = {"output_mtok": "25", "cache_write_mtok": "6.25", "cache_write_1h_mtok": "10", "cache_read_mtok": "0.5"}
        scaled = {key: Decimal(amount) * Decimal(factor) for key, amount in rest.items()}
        return PublishedPrice(input_mtok=Decimal(input_price), **scaled)

    from genai_prices import data
    from genai_prices.types import ClauseEquals

    anthropic = next(provider for provider in data.providers if provider.id == "anthropic")
    info = ModelInfo(
        id="claude-opus-6",
        match=ClauseEquals("claude-opus-6"),
        prices=published("1", "5"),
        price_variants=[PriceVariant(when={"processing": "batch"}, prices=published("0.5", input_batch))],
    )
    monkeypatch.setattr(anthropic, "models", [*anthropic.models, info])
    cost = price(quote(TODAY), "claude-opus-6", Usage(input_tokens=MILLION))
    assert cost == (Decimal("2.5") if is_kept else None)


def test_quoting_touches_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    assert quote(TODAY) == TABLE


def test_importing_prices_does_not_import_genai_prices() -> None:
    """It takes 0.2 s, and `ledger status` has 0.3 s."""
    program = "import sys, ledger.core.prices; sys.exit('genai_prices' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_table_survives_the_log_unchanged() -> None:
    stored = msgspec.json.encode(TABLE)
    assert msgspec.json.decode(stored, type=PriceTable) == TABLE
    assert TABLE.quoted_on == TODAY
    assert TABLE.source == f"genai-prices {genai_prices.__version__} + ledger's own table of {prices.OWN_TABLE_DATE}"


@pytest.mark.parametrize("field", ["batch_factor", "geo_us_factor", "web_search_per_1000", "models", "quoted_on"])
def test_a_recorded_table_that_says_less_is_refused(field: str) -> None:
    """Else a default of a later version would change what an old run cost."""
    recorded = msgspec.to_builtins(TABLE)
    del recorded[field]
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.convert(recorded, PriceTable)


# ── arithmetic ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_mixed_usage_costs_what_the_hand_computes() -> None:
    """(504 × 5 + 23 × 6.25 + 100 × 10 + 1000 × 0.5 + 97 × 25) / 1M × 0.5 + 2 × 0.01."""
    usage = Usage(504, 97, 23, 100, 1000, 2)
    assert price(TABLE, "claude-opus-4-7", usage) == Decimal("0.023294375")


@pytest.mark.parametrize(
    ("model", "batch", "standard"),
    [
        ("claude-sonnet-4-6", 3000, 6000),
        ("claude-haiku-4-5", 1000, 2000),
        ("claude-opus-4-7", 5000, 10000),
        ("claude-fable-5-2", 8000, 16000),
        ("claude-haiku-5-5", 100, 200),
    ],
)
def test_a_hundred_thousand_requests_of_5000_in_and_3000_out(model: str, batch: int, standard: int) -> None:
    total = Usage(input_tokens=5000 * 100_000, output_tokens=3000 * 100_000)
    assert price(TABLE, model, total, step="") == batch
    assert price(TABLE, model, total, step="", batch=False) == standard


@given(st.lists(st.tuples(models, usages, st.booleans(), st.sampled_from(["", "us", "global"]))))
def test_pricing_sums_is_exactly_summing_prices(rows: list[tuple[str, Usage, bool, str]]) -> None:
    sums: dict[tuple[str, str, bool, str], Usage] = {}
    one_by_one = Decimal(0)
    for model, usage, batch, geo in rows:
        cost = price(TABLE, model, usage, batch=batch, geo=geo)
        assert cost is not None
        one_by_one += cost
        key = (model, step_of(TABLE, model, usage), batch, geo)
        sums[key] = sums.get(key, Usage()) + usage
    costs = [
        price(TABLE, model, usage, step=step, batch=batch, geo=geo) for (model, step, batch, geo), usage in sums.items()
    ]
    assert sum((cost for cost in costs if cost is not None), Decimal(0)) == one_by_one


@given(model=models, usage=usages, batch=st.booleans(), geo=st.sampled_from(["", "us", "mars"]))
def test_a_pricer_says_what_price_says(model: str, usage: Usage, batch: bool, geo: str) -> None:
    pricer = Pricer(TABLE)
    for _ in range(2):
        usd = price(TABLE, model, usage, batch=batch, geo=geo)
        assert pricer.usd(model, usage, batch=batch, geo=geo) == usd
        assert pricer.usd_text(model, usage, batch=batch, geo=geo) == (None if usd is None else plain_text(usd))


def plain_text(usd: Decimal) -> str:
    text = format(usd, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


@given(usage=usages)
def test_a_careless_decimal_context_of_the_caller_changes_nothing(usage: Usage) -> None:
    exact = price(TABLE, "claude-opus-4-7", usage, geo="us")
    with localcontext(prec=2):
        careless = price(TABLE, "claude-opus-4-7", usage, geo="us")
    assert careless == exact


@pytest.mark.parametrize(
    ("usage", "step"),
    [
        (Usage(input_tokens=100_000), ""),
        (Usage(input_tokens=100_001), ">100000"),
        (Usage(1, 900_000, 30_000, 30_000, 39_999), ""),
        (Usage(2, 0, 30_000, 30_000, 39_999), ">100000"),
    ],
)
def test_the_step_counts_the_whole_prompt_and_begins_above_its_limit(usage: Usage, step: str) -> None:
    assert step_of(TABLE, "claude-haiku-5-5", usage) == step


def test_long_prompts_cost_no_more_on_4_6_and_later() -> None:
    assert step_of(TABLE, "claude-sonnet-4-6", Usage(input_tokens=900_000)) == ""


@pytest.mark.parametrize("model", PUBLISHED)
def test_us_inference_costs_a_tenth_more_on_4_6_and_later_tokens_only(model: str) -> None:
    factor = Decimal(1 if model.endswith("-4-5") else "1.1")
    tokens, searches = Usage(10_000, 10_000, 10_000, 10_000, 10_000), Usage(web_search_requests=7)
    worldwide = price(TABLE, model, tokens)
    assert worldwide is not None
    assert price(TABLE, model, tokens, geo="us") == worldwide * factor
    assert price(TABLE, model, searches, geo="us") == Decimal("0.07")


def test_a_search_costs_the_same_in_a_batch() -> None:
    searches = Usage(web_search_requests=1000)
    assert price(TABLE, "claude-opus-5", searches) == price(TABLE, "claude-opus-5", searches, batch=False) == 10


# ── what is unknown, what is free ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("model", ["claude-mythos-preview", "gpt-5", "", "claude-sonnet-4-6-fast", "claude-opus-4-5x"])
def test_an_unknown_model_has_no_price(model: str) -> None:
    usage = Usage(input_tokens=1)
    assert price(TABLE, model, usage) is None
    assert rates(TABLE, model) is None
    assert step_of(TABLE, model, usage) == ""


def test_an_unknown_region_or_step_has_no_price() -> None:
    assert price(TABLE, "claude-opus-5", Usage(input_tokens=1), geo="mars") is None
    assert price(TABLE, "claude-opus-5", Usage(input_tokens=1), step=">7") is None


@pytest.mark.parametrize(
    "model", ["claude-haiku-4-5-20251001", "claude-sonnet-4-5-20250929", "claude-opus-4-5-20251101"]
)
def test_the_resolved_model_costs_what_its_alias_costs(model: str) -> None:
    usage = Usage(input_tokens=1234, output_tokens=567)
    assert price(TABLE, model, usage) == price(TABLE, model[:-9], usage) != None  # noqa: E711 - a Decimal, and known


def test_only_what_was_answered_is_billed() -> None:
    assert is_billed("succeeded", stop_reason="end_turn")
    assert is_billed("succeeded", stop_reason="max_tokens", has_output=False)
    assert is_billed("succeeded", stop_reason="refusal", has_output=True)
    assert not is_billed("succeeded", stop_reason="refusal", has_output=False)
    assert not any(map(is_billed, ("errored", "canceled", "expired", "something_new")))


# ── usage as the API reports it ──────────────────────────────────────────────────────────────────────────────────────


def test_usage_is_read_with_every_optional_part_null() -> None:
    raw = {"input_tokens": 3, "output_tokens": 4, "cache_creation": None, "server_tool_use": None}
    assert read_usage(raw) == Usage(input_tokens=3, output_tokens=4)
    assert read_usage({**raw, "cache_read_input_tokens": None}) == Usage(input_tokens=3, output_tokens=4)


def test_usage_is_read_with_every_part() -> None:
    raw = {
        "input_tokens": 504,
        "output_tokens": 97,
        "cache_creation_input_tokens": 123,
        "cache_read_input_tokens": 1000,
        "cache_creation": {"ephemeral_5m_input_tokens": 23, "ephemeral_1h_input_tokens": 100},
        "output_tokens_details": {"thinking_tokens": 50},
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1},
        "service_tier": "batch",
    }
    assert read_usage(raw) == Usage(504, 97, 23, 100, 1000, 2)


def test_cache_writes_without_a_lifetime_are_five_minute_ones() -> None:
    assert read_usage({"cache_creation_input_tokens": 123}) == Usage(cache_write_5m_tokens=123)


@pytest.mark.parametrize("value", [-1, "5", 1.5, True, []])
def test_a_count_that_is_none_is_refused_by_name(value: object) -> None:
    with pytest.raises(ValueError, match="output_tokens"):
        read_usage({"input_tokens": 1, "output_tokens": value})


def test_a_part_that_is_no_object_is_refused() -> None:
    with pytest.raises(ValueError, match="ephemeral"):
        read_usage({"cache_creation": 5})
