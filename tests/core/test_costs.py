"""Costs and estimates: sums that add up, discounts that are proven, and the preview's own figures."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.costs import (
    BYS,
    CostGroup,
    CostReport,
    Estimate,
    RequestClass,
    bytes_per_token,
    cost_report,
    discount,
    estimate,
    expected_output_tokens,
    plain,
    waste_cause,
)
from ledger.core.prices import Usage, price, quote

TABLE = quote("2026-11-22")
MILLION = 1_000_000


def group(**changes: Any) -> CostGroup:
    usual = CostGroup(
        model="claude-sonnet-4-6",
        attempt=1,
        batch="msgbatch_1",
        day="2026-11-22",
        tier="batch",
        geo="",
        step="",
        billed=True,
        cause="",
        requests=10,
        usage=Usage(input_tokens=MILLION, output_tokens=MILLION),
    )
    return msgspec.structs.replace(usual, **changes)


groups = st.builds(
    CostGroup,
    model=st.sampled_from(["claude-sonnet-4-6", "claude-opus-5-5", "claude-haiku-4-5-20251001"]),
    attempt=st.integers(1, 12),
    batch=st.sampled_from(["msgbatch_2", "msgbatch_1", "msgbatch_3"]),
    day=st.sampled_from(["2026-11-22", "2026-11-23"]),
    tier=st.sampled_from(["batch", "", "standard"]),
    geo=st.sampled_from(["", "us", "global"]),
    step=st.just(""),
    billed=st.booleans(),
    cause=st.sampled_from(["", "truncated", "twin"]),
    requests=st.integers(1, 1000),
    usage=st.builds(
        Usage,
        input_tokens=st.integers(0, 10**12),
        output_tokens=st.integers(0, 10**12),
        cache_write_5m_tokens=st.integers(0, 10**9),
        cache_write_1h_tokens=st.integers(0, 10**9),
        cache_read_tokens=st.integers(0, 10**9),
        web_search_requests=st.integers(0, 1000),
    ),
)


# ── what was spent ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_report_says_what_was_paid_what_it_would_have_cost_and_what_was_wasted() -> None:
    report = cost_report(
        TABLE,
        [
            group(),
            group(model="claude-haiku-4-5-20251001", requests=3, usage=Usage(input_tokens=2 * MILLION)),
            group(attempt=2, cause="truncated", requests=4, usage=Usage(0, 1000, 2000, 3000, 4000, 5)),
            group(model="claude-opus-5", requests=1, billed=False, cause="refused", usage=Usage(input_tokens=70)),
        ],
    )
    assert msgspec.json.decode(msgspec.json.encode(report)) == {
        "by": "model",
        "rows": [
            {
                "key": "claude-haiku-4-5-20251001",
                "requests": 3,
                "unbilled_requests": 0,
                "unpriced_requests": 0,
                "input_tokens": 2 * MILLION,
                "output_tokens": 0,
                "cache_write_tokens": 0,
                "cache_read_tokens": 0,
                "web_search_requests": 0,
                "priced_usd": "1",
                "cost_usd": "1",
                "standard_usd": "2",
                "saved_usd": "1",
                "wasted_usd": {},
            },
            {
                "key": "claude-opus-5",
                "requests": 1,
                "unbilled_requests": 1,
                "unpriced_requests": 0,
                "input_tokens": 0,
                "output_tokens": 0,
                "cache_write_tokens": 0,
                "cache_read_tokens": 0,
                "web_search_requests": 0,
                "priced_usd": "0",
                "cost_usd": "0",
                "standard_usd": "0",
                "saved_usd": "0",
                "wasted_usd": {},
            },
            {
                "key": "claude-sonnet-4-6",
                "requests": 14,
                "unbilled_requests": 0,
                "unpriced_requests": 0,
                "input_tokens": MILLION,
                "output_tokens": MILLION + 1000,
                "cache_write_tokens": 5000,
                "cache_read_tokens": 4000,
                "web_search_requests": 5,
                # 9 + (1000 × 15 + 2000 × 3.75 + 3000 × 6 + 4000 × 0.3) / 1M × 0.5 + 5 × 0.01
                "priced_usd": "9.07085",
                "cost_usd": "9.07085",
                "standard_usd": "18.0917",
                "saved_usd": "9.02085",
                "wasted_usd": {"truncated": "0.07085"},
            },
        ],
        "total": {
            "key": "total",
            "requests": 18,
            "unbilled_requests": 1,
            "unpriced_requests": 0,
            "input_tokens": 3 * MILLION,
            "output_tokens": MILLION + 1000,
            "cache_write_tokens": 5000,
            "cache_read_tokens": 4000,
            "web_search_requests": 5,
            "priced_usd": "10.07085",
            "cost_usd": "10.07085",
            "standard_usd": "20.0917",
            "saved_usd": "10.02085",
            "wasted_usd": {"truncated": "0.07085"},
        },
        "discount": {
            "verdict": "confirmed",
            "factor": "0.5",
            "batch_requests": 17,
            "unstated_requests": 0,
            "other_requests": 0,
            "tokens_standard_usd": "20.0417",
            "tokens_paid_usd": "10.02085",
            "overpaid_usd": "0",
        },
        "quoted_on": "2026-11-22",
        "source": TABLE.source,
    }


@given(st.lists(groups), st.sampled_from(BYS))
def test_the_total_is_the_sum_of_the_rows_and_of_the_groups(every: list[CostGroup], by: Any) -> None:
    report = cost_report(TABLE, every, by)
    for name in ("requests", "unbilled_requests", "input_tokens", "output_tokens", "cost_usd", "saved_usd"):
        assert sum(getattr(row, name) for row in report.rows) == getattr(report.total, name)
    costs = [
        price(TABLE, each.model, each.usage, step=each.step, batch=each.tier != "standard", geo=each.geo)
        for each in every
        if each.billed
    ]
    assert report.total.cost_usd == sum(cost for cost in costs if cost is not None)
    assert report.total.requests == sum(each.requests for each in every)


@given(st.lists(groups), st.randoms())
def test_how_results_are_grouped_changes_no_amount(every: list[CostGroup], random: Any) -> None:
    shuffled = list(every)
    random.shuffle(shuffled)
    assert cost_report(TABLE, every) == cost_report(TABLE, shuffled)


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("model", ["claude-opus-5", "claude-sonnet-4-6"]),
        ("attempt", ["1", "2", "10"]),
        ("batch", ["msgbatch_z", "msgbatch_a"]),
        ("day", ["2026-11-22", "2026-11-23"]),
    ],
)
def test_rows_come_in_an_order_that_people_expect(by: Any, keys: list[str]) -> None:
    report = cost_report(
        TABLE,
        [
            group(attempt=10, day="2026-11-23", batch="msgbatch_z"),
            group(attempt=1, batch="msgbatch_a"),
            group(attempt=2, model="claude-opus-5", batch="msgbatch_z"),
        ],
        by,
    )
    assert [row.key for row in report.rows] == keys


def test_an_unknown_model_leaves_its_amounts_unknown_and_the_others_known() -> None:
    report = cost_report(TABLE, [group(), group(model="claude-next", requests=2, cause="truncated")])
    unknown, known = report.rows
    assert (unknown.key, unknown.cost_usd, unknown.standard_usd, unknown.saved_usd) == ("claude-next", None, None, None)
    assert (unknown.unpriced_requests, unknown.wasted_usd) == (2, {"truncated": None})
    assert known.cost_usd == 9
    assert (report.total.cost_usd, report.total.priced_usd, report.total.unpriced_requests) == (None, Decimal(9), 2)
    assert report.discount.verdict == "unknown"
    assert report.discount.tokens_paid_usd is None


def test_waste_of_one_cause_is_unknown_once_one_price_of_it_is() -> None:
    every = [group(cause="twin", model="claude-next"), group(cause="twin"), group(cause="refused")]
    assert cost_report(TABLE, every).total.wasted_usd == {"refused": Decimal(9), "twin": None}


def test_what_is_not_billed_is_neither_cost_nor_waste_nor_tokens() -> None:
    total = cost_report(TABLE, [group(billed=False, cause="refused")]).total
    assert (total.requests, total.unbilled_requests, total.input_tokens) == (10, 10, 0)
    assert (total.cost_usd, total.wasted_usd) == (Decimal(0), {})


@pytest.mark.parametrize(
    ("every", "verdict", "overpaid_usd"),
    [
        ([], "nothing", "0"),
        ([group(billed=False, tier="standard")], "nothing", "0"),
        ([group(), group(geo="us"), group(usage=Usage(web_search_requests=3))], "confirmed", "0"),
        ([group(), group(tier="")], "unstated", "0"),
        ([group(), group(tier=""), group(tier="standard")], "missing", "9"),
        ([group(), group(tier="priority", model="claude-next")], "missing", None),
        ([group(), group(model="claude-next")], "unknown", None),
    ],
)
def test_the_discount_is_judged_by_what_the_service_said(
    every: list[CostGroup], verdict: str, overpaid_usd: str | None
) -> None:
    found = discount(TABLE, every)
    assert (found.verdict, found.overpaid_usd) == (verdict, None if overpaid_usd is None else Decimal(overpaid_usd))


def test_a_result_of_another_tier_costs_the_standard_price() -> None:
    total = cost_report(TABLE, [group(tier="standard")]).total
    assert (total.cost_usd, total.standard_usd, total.saved_usd) == (Decimal(18), Decimal(18), Decimal(0))


def test_an_answer_that_was_accepted_is_no_waste() -> None:
    assert waste_cause("ok") == ""
    assert waste_cause("truncated") == "truncated"
    assert waste_cause("truncated", accepted=("truncated",)) == ""


# ── what may be spent ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("model", "bytes_per_request", "cost", "standard"),
    [
        ("claude-sonnet-4-6", 20_000, 3000, 6000),
        ("claude-haiku-4-5", 20_000, 1000, 2000),
        ("claude-opus-4-7", 15_000, 5000, 10000),
    ],
)
def test_a_hundred_thousand_requests_of_5000_in_and_3000_out(
    model: str, bytes_per_request: int, cost: int, standard: int
) -> None:
    costs = (Decimal(cost), Decimal(standard), Decimal(standard - cost))
    known_length = RequestClass(
        model=model,
        max_tokens=4096,
        requests=100_000,
        bytes=bytes_per_request * 100_000,
        expected_output_tokens=3000,
    )
    full_length = msgspec.structs.replace(known_length, max_tokens=3000, expected_output_tokens=0)
    total = estimate(TABLE, [known_length]).total
    assert (total.input_tokens, total.output_tokens) == (500 * MILLION, 300 * MILLION)
    assert (total.cost_usd, total.standard_usd, total.saved_usd) == costs
    total = estimate(TABLE, [full_length]).total
    assert (total.cost_ceiling_usd, total.standard_ceiling_usd, total.saved_ceiling_usd) == costs


def test_a_preview_by_model_with_its_total() -> None:
    preview = estimate(
        TABLE,
        [
            RequestClass(model="claude-sonnet-4-6", max_tokens=1000, requests=10, bytes=40_001),
            RequestClass(model="claude-opus-5", max_tokens=20_000, requests=1, bytes=3000, geo="us"),
            RequestClass(model="claude-sonnet-4-6", max_tokens=100, requests=5, bytes=4000, cached=True),
        ],
    )
    assert [msgspec.to_builtins(row) for row in (*preview.rows, preview.total)] == [
        {
            "model": "claude-opus-5",
            "requests": 1,
            "bytes": 3000,
            "input_tokens": 1000,
            "output_tokens": 4000,
            "output_tokens_ceiling": 20_000,
            "cost_usd": "0.05775",  # (1000 × 5 + 4000 × 25) / 1M × 0.5 × 1.1
            "standard_usd": "0.1155",
            "saved_usd": "0.05775",
            "cost_ceiling_usd": "0.27775",
            "standard_ceiling_usd": "0.5555",
            "saved_ceiling_usd": "0.27775",
        },
        {
            "model": "claude-sonnet-4-6",
            "requests": 15,
            "bytes": 44_001,
            "input_tokens": 11_001,
            "output_tokens": 4200,
            "output_tokens_ceiling": 10_500,
            "cost_usd": "0.0480015",  # (11,001 × 3 + 4,200 × 15) / 1M × 0.5
            "standard_usd": "0.096003",
            "saved_usd": "0.0480015",
            "cost_ceiling_usd": "0.0967515",  # (10,001 × 3 + 1,000 × 6 written + 10,500 × 15) / 1M × 0.5
            "standard_ceiling_usd": "0.193503",
            "saved_ceiling_usd": "0.0967515",
        },
        {
            "model": "total",
            "requests": 16,
            "bytes": 47_001,
            "input_tokens": 12_001,
            "output_tokens": 8200,
            "output_tokens_ceiling": 30_500,
            "cost_usd": "0.1057515",
            "standard_usd": "0.211503",
            "saved_usd": "0.1057515",
            "cost_ceiling_usd": "0.3745015",
            "standard_ceiling_usd": "0.749003",
            "saved_ceiling_usd": "0.3745015",
        },
    ]


def test_a_preview_of_an_unknown_model_knows_its_tokens_and_no_price() -> None:
    sonnet = RequestClass(model="claude-sonnet-4-6", max_tokens=100, requests=1, bytes=400)
    preview = estimate(TABLE, [sonnet, msgspec.structs.replace(sonnet, model="claude-next")])
    unknown = preview.rows[0]
    assert (unknown.model, unknown.input_tokens, unknown.cost_usd, unknown.cost_ceiling_usd) == (
        "claude-next",
        134,
        None,
        None,
    )
    assert (preview.total.requests, preview.total.cost_usd, preview.total.saved_usd) == (2, None, None)


def test_a_preview_of_nothing_costs_nothing() -> None:
    preview = estimate(TABLE, [])
    assert (preview.rows, preview.total.cost_ceiling_usd) == ((), Decimal(0))


def test_the_ceiling_puts_every_request_on_the_step_of_the_largest() -> None:
    short = RequestClass(model="claude-haiku-5-5", max_tokens=1000, requests=100, bytes=100 * 3000)
    mixed = msgspec.structs.replace(short, largest_bytes=300_003)
    (short_row,), (mixed_row,) = estimate(TABLE, [short]).rows, estimate(TABLE, [mixed]).rows
    assert mixed_row.cost_usd == short_row.cost_usd
    assert mixed_row.cost_ceiling_usd == 5 * (short_row.cost_ceiling_usd or 0) == Decimal("0.15")


@given(
    st.builds(
        RequestClass,
        model=st.sampled_from(["claude-sonnet-4-6", "claude-haiku-5-5", "claude-opus-4-7"]),
        max_tokens=st.integers(1, 300_000),
        requests=st.integers(1, 10**7),
        bytes=st.integers(1, 10**12),
        largest_bytes=st.integers(0, 10**6),
        cached=st.booleans(),
        geo=st.sampled_from(["", "us"]),
        expected_output_tokens=st.integers(0, 400_000),
    )
)
def test_what_is_expected_never_exceeds_the_ceiling(each: RequestClass) -> None:
    total = estimate(TABLE, [each]).total
    assert total.output_tokens <= total.output_tokens_ceiling
    assert total.cost_usd is not None
    assert total.cost_ceiling_usd is not None
    assert 0 < total.cost_usd <= total.cost_ceiling_usd
    assert total.standard_usd == 2 * total.cost_usd


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("claude-sonnet-4-6", 4),
        ("claude-haiku-4-5", 4),
        ("claude-opus-4-7", 3),
        ("claude-fable-5", 3),
        ("claude-next", 3),
    ],
)
def test_newer_models_make_more_tokens_of_the_same_text(model: str, expected: int) -> None:
    assert bytes_per_token(model) == expected


@pytest.mark.parametrize(("max_tokens", "expected"), [(1, 1), (2, 1), (1000, 400), (10_000, 4000), (128_000, 4000)])
def test_an_answer_is_expected_to_take_two_fifths_of_its_room(max_tokens: int, expected: int) -> None:
    assert expected_output_tokens(max_tokens) == expected


def test_reports_and_previews_survive_json() -> None:
    report = cost_report(TABLE, [group(cause="twin"), group(model="claude-next", cause="twin")], "day")
    preview = estimate(TABLE, [RequestClass(model="claude-opus-5", max_tokens=9, requests=1, bytes=9)])
    assert msgspec.json.decode(msgspec.json.encode(report), type=CostReport) == report
    assert msgspec.json.decode(msgspec.json.encode(preview), type=Estimate) == preview


@pytest.mark.parametrize(
    ("amount", "text"),
    [("3000.000000", "3000"), ("3E+3", "3000"), ("0E-9", "0"), ("0.0500", "0.05"), ("-1.50", "-1.5"), ("100", "100")],
)
def test_amounts_are_written_plainly(amount: str, text: str) -> None:
    assert str(plain(Decimal(amount))) == text
