"""The client of the usage and cost reports: whole ranges, patience with what passes, and silence about the key."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ledger.core.errors import ServiceError, UsageError
from ledger.core.prices import Usage
from ledger.core.units import DAY_US, parse_instant
from ledger.service.reports import AdminReports, read_admin_key
from ledger.service.simulator.faults import Fault, Faults
from ledger.service.simulator.http import serve
from ledger.service.simulator.settings import CALM, Settings
from ledger.service.simulator.transport import SimulatorTransport

KEY = "sk-ant-admin-SECRET"
START = 1_795_348_800_000_000
MADE = (
    b'{"requests":[{"custom_id":"a","params":{"model":"claude-sonnet-4-6","max_tokens":100,'
    b'"messages":[{"role":"user","content":"Hi."}]}}]}'
)


class Organization:
    """A simulated organization, what its client waited, and a batch of one request on each of some days."""

    def __init__(self, *faults: Fault, days: int = 1) -> None:
        self.at = START
        self.waited: list[float] = []
        settings = Settings(turnaround_maximum_seconds=1, mix=CALM, faults=Faults(faults=faults))
        self.transport = SimulatorTransport(settings, clock=lambda: self.at)
        self.client = httpx2.Client(transport=self.transport)
        for _ in range(days):
            headers = {"x-api-key": "k", "anthropic-version": "2026-10-21"}
            self.client.post("http://simulator/v1/messages/batches", content=MADE, headers=headers)
            self.at += DAY_US

    def reports(self, key: str = KEY) -> AdminReports:
        return AdminReports(
            key, base_url="http://simulator", http_client=self.client, wait=lambda seconds: self.waited.append(seconds)
        )


def answering(status: int, body: bytes) -> AdminReports:
    """Return a client whose service always answers the same."""
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status, content=body))
    return AdminReports(KEY, base_url="http://service", http_client=httpx2.Client(transport=transport))


def test_a_range_is_read_page_by_page_to_its_end() -> None:
    organization = Organization(days=70)
    usage = organization.reports().usage(START, START + 70 * DAY_US, "1d")
    assert [row.starts_at for row in usage] == [at - at % DAY_US for at in range(START, START + 70 * DAY_US, DAY_US)]
    assert {(row.model, row.tier, row.geo) for row in usage} == {("claude-sonnet-4-6", "batch", "global")}
    costs = organization.reports().costs(START, START + 70 * DAY_US)
    assert len(costs) == 2 * 70
    charged = organization.transport.bill().cost_usd
    assert abs(sum((line.amount_usd for line in costs), Decimal(0)) - charged) < Decimal("0.00001")


def test_a_bucket_more_is_asked_for_and_only_what_was_wanted_is_kept() -> None:
    """Whether a bucket that ends at the end asked for is returned is not documented."""
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.params["ending_at"])
        bucket = '{"starting_at":"2026-11-%d","ending_at":"2026-11-%d","results":[%s]}'
        row = '{"uncached_input_tokens":1,"output_tokens":1}'
        buckets = ",".join(bucket % (day, day + 1, row) for day in (21, 22, 23, 24))
        return httpx2.Response(200, text=f'{{"data":[{buckets}]}}')

    client = httpx2.Client(transport=httpx2.MockTransport(answer))
    since = parse_instant("2026-11-22")
    rows = AdminReports(KEY, base_url="http://service", http_client=client).usage(since, since + 2 * DAY_US, "1d")
    assert asked == ["2026-11-25T00:00:00Z"]
    assert [row.starts_at for row in rows] == [since, since + DAY_US]


def test_what_passes_is_asked_again_with_the_wait_that_the_service_names() -> None:
    limited = Fault(operation="report", kind="refuse", call=1, error="rate_limit", retry_after_seconds=7)
    dropped = Fault(operation="report", kind="drop", call=2)
    overloaded = Fault(operation="report", kind="refuse", call=3, error="overloaded")
    organization = Organization(limited, dropped, overloaded)
    assert len(organization.reports().usage(START, START + DAY_US, "1d")) == 1
    assert organization.waited == [7.0, 2.0, 4.0]


def test_what_does_not_pass_ends_after_four_attempts() -> None:
    organization = Organization(Fault(operation="report", kind="refuse", call=1, calls=9, error="overloaded"))
    with pytest.raises(ServiceError) as raised:
        organization.reports().usage(START, START + DAY_US, "1d")
    assert (raised.value.what, raised.value.why) == ("the service answered 529 to a report", "Overloaded")
    assert len(organization.waited) == 3
    silent = Organization(Fault(operation="report", kind="drop", call=1, calls=9))
    with pytest.raises(ServiceError, match="no answer from the service about its usage"):
        silent.reports().costs(START, START + DAY_US)


@pytest.mark.parametrize("key", ["sk-ant-api03-SECRET", "something else SECRET"])
def test_a_key_that_reads_no_reports_is_refused_without_being_quoted(key: str) -> None:
    organization = Organization()
    with pytest.raises(ServiceError) as raised:
        organization.reports(key).usage(START, START + DAY_US, "1d")
    assert raised.value.what == "the service refused the Admin key (401)"
    assert "sk-ant-admin" in raised.value.why
    assert "SECRET" not in str(raised.value)
    assert organization.waited == []


def test_a_redirect_is_not_followed_with_the_key() -> None:
    with serve(0, Settings()) as server:
        sent = httpx2.MockTransport(lambda _: httpx2.Response(307, headers={"location": server.url}))
        reports = AdminReports(KEY, base_url="http://service", http_client=httpx2.Client(transport=sent))
        with pytest.raises(ServiceError, match="answered 307"):
            reports.usage(START, START + DAY_US, "1d")


def day_of(rows: bytes) -> bytes:
    return b'{"data":[{"starting_at":"2026-11-22T00:00:00Z","ending_at":"2026-11-23T00:00:00Z","results":[%b]}]}' % rows


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"<html>", "cannot be read"),
        (b'{"data": [{}]}', "cannot be read"),
        (day_of(b"1"), "cannot be read"),
        (b'{"data": [{"starting_at": "noon", "ending_at": "2026-11-23", "results": []}]}', "cannot be read"),
        (day_of(b'{"amount": "much", "token_type": "output_tokens"}'), "cannot be read"),
        (day_of(b'{"amount": "1", "currency": "EUR", "token_type": "output_tokens"}'), "in EUR"),
    ],
)
def test_what_cannot_be_read_is_said_and_not_counted(body: bytes, what: str) -> None:
    with pytest.raises(ServiceError, match=what):
        answering(200, body).costs(START, START + DAY_US)


def test_a_report_without_an_end_is_given_up() -> None:
    with pytest.raises(ServiceError, match="has no end"):
        answering(200, b'{"data": [], "has_more": true, "next_page": "again"}').costs(START, START + DAY_US)


def test_an_individual_account_has_no_reports() -> None:
    with pytest.raises(ServiceError) as raised:
        answering(404, b"{}").usage(START, START + DAY_US, "1d")
    assert "individual accounts have no reports" in raised.value.why


def test_rows_may_lack_what_is_nothing_and_have_what_is_new() -> None:
    row = b'{"uncached_input_tokens": 3, "output_tokens": 4, "cache_creation": null, "workspace_id": null, "new": 1}'
    (read,) = answering(200, day_of(row)).usage(START, START + DAY_US, "1d")
    assert (read.workspace, read.model, read.usage) == ("", "", Usage(input_tokens=3, output_tokens=4))


def test_cents_become_dollars_and_what_is_no_token_is_left_out() -> None:
    rows = b'{"amount": "123.45", "token_type": "output_tokens"}, {"amount": "9", "cost_type": "web_search"}'
    (line,) = answering(200, day_of(rows)).costs(START, START + DAY_US)
    assert line.amount_usd == Decimal("1.2345")


# ── the key ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_is_read_from_a_file_or_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    assert read_admin_key(str(path), {}) == KEY
    for name in ("ANTHROPIC_ADMIN_API_KEY", "ANTHROPIC_ADMIN_KEY"):
        assert read_admin_key(None, {name: KEY}) == KEY


@pytest.mark.parametrize(
    ("environment", "what"),
    [
        ({}, "the service's reports take an Admin key, and there is none"),
        ({"ANTHROPIC_ADMIN_KEY": ""}, "the service's reports take an Admin key, and there is none"),
        ({"ANTHROPIC_ADMIN_KEY": "sk-ant-api03-SECRET"}, "this is an ordinary API key, not an Admin key"),
        ({"ANTHROPIC_ADMIN_KEY": "sk-ant-admin SECRET"}, "this is no Admin key"),
        ({"ANTHROPIC_ADMIN_KEY": "sk-ant-admin\nSECRET"}, "this is no Admin key"),
        ({"ANTHROPIC_ADMIN_KEY": "SECRET…"}, "this is no Admin key"),
    ],
)
def test_what_is_no_admin_key_is_never_sent_and_never_quoted(environment: dict[str, str], what: str) -> None:
    with pytest.raises(UsageError) as raised:
        read_admin_key(None, environment)
    assert raised.value.what == what
    assert raised.value.next
    assert "SECRET" not in str(raised.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    given: dict[str, Any] = {"environment": {"ANTHROPIC_ADMIN_KEY": KEY}}
    with pytest.raises(UsageError) as raised:
        read_admin_key(str(tmp_path / "none"), **given)
    assert raised.value.where == str(tmp_path / "none")
