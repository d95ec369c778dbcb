"""The simulated usage and cost reports: its own books in the shapes and within the limits of the reference."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx2
import pytest
from simulating import HOUR, NOON, SECOND, body_of, params, requests, settings

from ledger.core.units import DAY_US, format_instant
from ledger.service.simulator.faults import Fault
from ledger.service.simulator.http import serve
from ledger.service.simulator.settings import Reporting
from ledger.service.simulator.transport import SimulatorTransport

USAGE = "/v1/organizations/usage_report/messages"
COST = "/v1/organizations/cost_report"
ADMIN = {"x-api-key": "sk-ant-admin-1", "anthropic-version": "2023-06-01"}
MINUTE = 60 * SECOND
HAIKU = "claude-haiku-4-5-20251001"
FIELDS = {
    "account_id",
    "api_key_id",
    "cache_creation",
    "cache_read_input_tokens",
    "context_window",
    "inference_geo",
    "model",
    "output_tokens",
    "server_tool_use",
    "service_account_id",
    "service_tier",
    "uncached_input_tokens",
    "workspace_id",
}


class Organization:
    """A simulated service with an Admin key, under a clock that only the test moves."""

    def __init__(self, *faults: Fault, **changes: Any) -> None:
        self.at = NOON
        self.transport = SimulatorTransport(settings(*faults, **changes), clock=lambda: self.at)
        self.client = httpx2.Client(transport=self.transport, base_url="http://simulator")

    def batch(self, *texts: str, **changes: Any) -> None:
        items = requests(*texts)
        for item in items:
            item["params"] = params(item["params"]["messages"][0]["content"], **changes)
        headers = {"x-api-key": "k", "anthropic-version": "2026-10-21"}
        assert self.client.post("/v1/messages/batches", content=body_of(items), headers=headers).status_code == 200

    def ask(self, path: str, *pairs: tuple[str, str], headers: dict[str, str] = ADMIN) -> httpx2.Response:
        given = dict(pairs)
        times = {"starting_at": NOON, "ending_at": NOON + DAY_US}
        whole = [(name, format_instant(at)) for name, at in times.items() if name not in given]
        return self.client.get(path, params=(*whole, *pairs), headers=headers)

    def rows(self, path: str, *pairs: tuple[str, str]) -> list[dict[str, Any]]:
        return [row for bucket in self.ask(path, *pairs).json()["data"] for row in bucket["results"]]


def by(*groups: str) -> list[tuple[str, str]]:
    return [("group_by[]", group) for group in groups]


def test_the_reports_are_the_bill_in_other_words() -> None:
    organization = Organization()
    organization.batch("one", "two", "[[simulate:refusal]]", "[[simulate:pause_turn]]")
    organization.batch("three", model="claude-sonnet-4-6", inference_geo="us")
    organization.at += MINUTE
    bill = organization.transport.bill()
    reported = organization.rows(USAGE, *by("model"))
    assert {row["model"]: (row["uncached_input_tokens"], row["output_tokens"]) for row in reported} == {
        model: (tokens.input_tokens, tokens.output_tokens) for model, tokens in bill.tokens.items()
    }
    assert sum(row["server_tool_use"]["web_search_requests"] for row in reported) == 1
    cents = [Decimal(row["amount"]) for row in organization.rows(COST, *by("description"))]
    assert abs(sum(cents) - bill.cost_usd * 100) <= Decimal("0.000005") * len(cents)


def test_rows_have_every_field_of_the_reference_and_null_where_nothing_is_grouped() -> None:
    organization = Organization()
    organization.batch("one")
    organization.at += MINUTE
    (row,) = organization.rows(USAGE)
    assert set(row) == FIELDS
    assert {row[name] for name in ("model", "workspace_id", "service_tier", "context_window", "inference_geo")} == {
        None
    }
    (grouped,) = organization.rows(USAGE, *by("model", "service_tier", "workspace_id"))
    workspace = organization.transport.service.workspace_id
    assert (grouped["model"], grouped["service_tier"], grouped["workspace_id"]) == (HAIKU, "batch", workspace)
    (total,) = organization.rows(COST)
    assert (total["currency"], total["description"], total["token_type"]) == ("USD", None, None)
    types = {row["token_type"] for row in organization.rows(COST, *by("description"))}
    assert types == {"uncached_input_tokens", "output_tokens"}


@pytest.mark.parametrize(("attributed_to", "minutes"), [("created", {0}), ("processed", {20, 40, 60}), ("ended", {60})])
def test_usage_lies_in_the_bucket_of_the_instant_that_the_switch_names(attributed_to: Any, minutes: set[int]) -> None:
    organization = Organization(
        turnaround_minimum_seconds=3600,
        turnaround_maximum_seconds=3600,
        reporting=Reporting(attributed_to=attributed_to),
    )
    organization.batch("one", "two", "three")
    organization.at += HOUR
    buckets = organization.ask(USAGE, ("bucket_width", "1m"), ("limit", "1440")).json()["data"]
    assert [bucket["starting_at"] for bucket in buckets[:2]] == [format_instant(NOON), format_instant(NOON + MINUTE)]
    input_tokens = {
        index: sum(row["uncached_input_tokens"] for row in bucket["results"])
        for index, bucket in enumerate(buckets)
        if bucket["results"]
    }
    assert input_tokens.keys() == minutes
    assert sum(input_tokens.values()) == organization.transport.bill().tokens[HAIKU].input_tokens


def test_pages_have_so_many_buckets_and_follow_one_another() -> None:
    organization = Organization()
    organization.at += 30 * MINUTE
    first = organization.ask(USAGE, ("bucket_width", "1m"), ("limit", "20")).json()
    assert (len(first["data"]), first["has_more"]) == (20, True)
    second = organization.ask(USAGE, ("bucket_width", "1m"), ("limit", "20"), ("page", first["next_page"])).json()
    assert second["data"][0]["starting_at"] == first["data"][-1]["ending_at"]
    assert (len(second["data"]), second["has_more"], second["next_page"]) == (11, False, None)


def test_times_snap_to_the_beginning_of_a_bucket() -> None:
    organization = Organization()
    organization.at = NOON + 90 * SECOND
    asked = [("starting_at", format_instant(NOON + 61 * SECOND)), ("bucket_width", "1m")]
    assert organization.ask(USAGE, *asked).json()["data"][0]["starting_at"] == format_instant(NOON + MINUTE)


def test_usage_is_visible_only_after_the_lag() -> None:
    organization = Organization(reporting=Reporting(lag_seconds=300))
    organization.batch("one")
    organization.at += 299 * SECOND
    assert organization.rows(USAGE) == organization.rows(COST) == []
    organization.at += 2 * SECOND
    assert len(organization.rows(USAGE)) == len(organization.rows(COST)) == 1


def test_batches_of_others_in_the_workspace_are_in_the_reports() -> None:
    organization = Organization(Fault(operation="create", kind="stranger", call=1, requests=5))
    organization.batch("one", model="claude-sonnet-4-6")
    organization.at += MINUTE
    assert {row["model"] for row in organization.rows(USAGE, *by("model"))} == {HAIKU, "claude-sonnet-4-6"}


def test_the_default_workspace_has_no_id_and_filters_leave_out_what_they_name_not() -> None:
    named, default = Organization(), Organization(reporting=Reporting(default_workspace=True))
    for organization in (named, default):
        organization.batch("one")
        organization.at += MINUTE
    assert [row["workspace_id"] for row in default.rows(USAGE, *by("workspace_id"))] == [None]
    assert [row["workspace_id"] for row in default.rows(COST, *by("workspace_id"))] == [None]
    workspace = named.transport.service.workspace_id
    assert len(named.rows(USAGE, ("workspace_ids[]", workspace))) == 1
    assert default.rows(USAGE, ("workspace_ids[]", workspace)) == []
    assert named.rows(USAGE, ("service_tiers[]", "standard")) == named.rows(USAGE, ("models[]", "claude-opus-5")) == []


def test_what_is_not_charged_is_counted_only_where_the_switch_says_so() -> None:
    for counts, expected in ((False, 0), (True, 1)):
        organization = Organization(reporting=Reporting(counts_unbilled=counts))
        organization.batch("[[simulate:refusal]]")
        organization.at += MINUTE
        assert len(organization.rows(USAGE)) == expected
        assert organization.rows(COST) == []


def test_without_the_discount_everything_costs_twice_as_much() -> None:
    amounts = []
    for is_discounted in (True, False):
        organization = Organization(reporting=Reporting(discounted=is_discounted))
        organization.batch("one")
        organization.at += MINUTE
        amounts.append(Decimal(organization.rows(COST)[0]["amount"]))
    assert abs(amounts[1] - 2 * amounts[0]) <= Decimal("0.00001")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": "sk-ant-api03-1"},
        {"authorization": "Bearer sk-ant-api03-1"},
    ],
)
def test_an_ordinary_key_reads_no_report(headers: dict[str, str]) -> None:
    organization = Organization()
    for path in (USAGE, COST):
        answer = organization.ask(path, headers={"anthropic-version": "2023-06-01", **headers})
        assert (answer.status_code, answer.json()["error"]["type"]) == (401, "authentication_error")


@pytest.mark.parametrize(
    ("path", "pairs"),
    [
        (USAGE, [("limit", "1441"), ("bucket_width", "1m")]),
        (USAGE, [("limit", "0")]),
        (USAGE, [("limit", "many")]),
        (USAGE, [("bucket_width", "1w")]),
        (COST, [("bucket_width", "1h")]),
        (COST, [("limit", "32")]),
        (USAGE, [("group_by[]", "colour")]),
        (USAGE, [("group_by", "model")]),
        (USAGE, [("starting_at", "yesterday")]),
        (USAGE, [("page", "elsewhere")]),
    ],
)
def test_what_the_reference_does_not_allow_is_refused(path: str, pairs: list[tuple[str, str]]) -> None:
    answer = Organization().ask(path, *pairs)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_reports_take_faults_like_every_other_call() -> None:
    fault = Fault(operation="report", kind="refuse", call=1, error="rate_limit", retry_after_seconds=7)
    organization = Organization(fault)
    refused = organization.ask(USAGE)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
    assert organization.ask(USAGE).status_code == 200


def test_the_server_answers_repeated_parameters_as_the_transport_does() -> None:
    with serve(0, settings()) as server:
        asked = [("starting_at", "2026-11-01T00:00:00Z"), *by("model", "workspace_id"), ("limit", "1")]
        answer = httpx2.get(server.url + USAGE, params=tuple(asked), headers=ADMIN)
        assert (answer.status_code, len(answer.json()["data"])) == (200, 1)
        wrong = httpx2.get(server.url + USAGE, params=(*asked, ("group_by[]", "colour")), headers=ADMIN)
        assert wrong.status_code == 400
