"""What the service's answers mean: every documented refusal, every kind of row, and all that nobody documented."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.answers import (
    Answer,
    is_final,
    named_request,
    reaction_to,
    read_row,
    row_wire_id,
    text_of,
)
from ledger.core.events import OUTCOMES
from ledger.core.prices import Usage

NAMING = "requests.7.custom_id: String should have at most 64 characters"
SPEND = "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."
WORKSPACE_SPEND = "You have reached your specified workspace API usage limits."


# ── refusals of a submission (errors page; anthropic SDK 2.12, _error_classes.py) ────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "code", "message", "retry_after", "reaction"),
    [
        (400, "", NAMING, False, "reject"),
        (400, "", "Input is not valid.", False, "bisect"),
        (400, "", SPEND, False, "pause"),
        (400, "", WORKSPACE_SPEND, False, "pause"),
        (400, "request_body_timeout", "too slow", False, "split"),
        (400, "organization_on_hold", NAMING, False, "stop"),
        (400, "organization_type_not_supported", "", False, "stop"),
        (400, "cmek_key_disabled", "", False, "stop"),
        (400, "cmek_key_network_blocked", "", False, "stop"),
        (400, "claude_code_key_creator_not_member", "", False, "stop"),
        (401, "", "invalid x-api-key", False, "stop"),
        (402, "", "Your credit balance is too low.", False, "pause"),
        (403, "", "no permission", False, "stop"),
        (404, "", "Not found", False, "stop"),
        (413, "", "", False, "split"),
        (422, "", "Unprocessable", False, "bisect"),
        (422, "", NAMING, False, "reject"),
        (429, "", "rate limit", True, "wait"),
        (429, "", "queue", False, "wait_for_queue"),
        (429, "enforced_spend_limit_reached", "", False, "pause"),
        (429, "contract_spend_limit_reached", "", True, "pause"),
        (429, "ramp_limit_exceeded", "", False, "wait"),
    ],
)
def test_a_refusal_in_the_apis_own_envelope_has_its_reaction(
    status: int, code: str, message: str, retry_after: bool, reaction: str
) -> None:
    assert reaction_to(status, code, message, envelope=True, retry_after=retry_after) == reaction


@pytest.mark.parametrize("status", [0, 200, 302, 307, 408, 409, 412, 431, 499, 500, 501, 502, 503, 504, 520, 529])
@pytest.mark.parametrize("envelope", [True, False])
def test_all_other_answers_refuse_nothing_for_certain(status: int, envelope: bool) -> None:
    assert reaction_to(status, "", "whatever", envelope=envelope, retry_after=True) is None


@given(st.integers(0, 599).filter(lambda status: status != 413), st.text(), st.text(), st.booleans())
def test_without_the_envelope_only_a_413_refuses(status: int, code: str, message: str, retry_after: bool) -> None:
    """A proxy that answers 401 or 429 in HTML may stand behind a service that accepted the batch."""
    assert reaction_to(status, code, message, envelope=False, retry_after=retry_after) is None
    assert reaction_to(413, code, message, envelope=False, retry_after=retry_after) == "split"


@pytest.mark.parametrize(
    ("message", "index"),
    [
        ("requests.0.custom_id: bad", 0),
        ("requests.12: bad", 12),
        ("in requests.3.params and requests.4.params", 3),
        ("requests: too many", None),
        ("myrequests.5 is wrong", None),
        ("requests.x", None),
        ("", None),
    ],
)
def test_the_request_that_a_message_names(message: str, index: int | None) -> None:
    assert named_request(message) == index


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def row(result: Any, custom_id: str = "0-0123456789-a") -> bytes:
    return json.dumps({"custom_id": custom_id, "result": result}, separators=(",", ":")).encode()


def succeeded(stop_reason: str | None = "end_turn", **message: Any) -> bytes:
    usual = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": [{"type": "text", "text": "Hello."}],
        "stop_reason": stop_reason,
        "usage": {"input_tokens": 10, "output_tokens": 5, "service_tier": "batch"},
    }
    return row({"type": "succeeded", "message": {**usual, **message}})


def read(data: bytes) -> Answer:
    answer = read_row(data)
    assert answer is not None
    return answer


@pytest.mark.parametrize(
    ("stop_reason", "outcome"),
    [
        ("end_turn", "ok"),
        ("stop_sequence", "ok"),
        ("tool_use", "ok"),
        ("max_tokens", "truncated"),
        ("model_context_window_exceeded", "truncated"),
        ("pause_turn", "paused_turn"),
        ("refusal", "refused"),
        ("a_reason_of_next_year", "ok"),
    ],
)
def test_a_stop_reason_decides_what_a_success_is(stop_reason: str, outcome: Any) -> None:
    assert read(succeeded(stop_reason)) == Answer(
        "succeeded",
        outcome,
        usage=Usage(10, 5),
        stop_reason=stop_reason,
        model="claude-haiku-4-5",
    )


def test_a_refusal_before_any_output_is_not_charged_and_one_midway_is() -> None:
    assert not read(succeeded("refusal", content=[])).billed
    assert read(succeeded("refusal")).billed
    assert read(succeeded("end_turn", content=[])).billed


@pytest.mark.parametrize(
    "kind",
    [
        "invalid_request_error",
        "authentication_error",
        "billing_error",
        "permission_error",
        "not_found_error",
        "rate_limit_error",
        "timeout_error",
        "api_error",
        "overloaded_error",
        "a_kind_of_next_year",
    ],
)
def test_an_errored_row_keeps_its_kind_and_its_message(kind: str) -> None:
    error = {"type": "error", "error": {"type": kind, "message": "why"}, "request_id": "req_1"}
    assert read(row({"type": "errored", "error": error})) == Answer(
        "errored", "errored", stop_reason="", error_kind=kind, error_message="why"
    )


@pytest.mark.parametrize(
    "result", [{"type": "errored"}, {"type": "errored", "error": None}, {"type": "errored", "error": {}}]
)
def test_an_errored_row_without_a_reason_is_of_an_unknown_kind(result: Any) -> None:
    assert read(row(result)).error_kind == "unknown"


def test_expired_and_canceled_rows_are_what_they_say() -> None:
    assert read(row({"type": "expired"})) == Answer("expired", "expired", stop_reason="")
    assert read(row({"type": "canceled"})) == Answer("canceled", "canceled", stop_reason="")


def test_a_result_type_that_nobody_knows_is_never_taken_for_a_success() -> None:
    """The SDK builds such a row as a succeeded one."""
    answer = read(row({"type": "postponed", "message": {"content": []}}))
    assert (answer.outcome, answer.error_kind, answer.usage) == ("errored", "unknown type postponed", None)
    assert is_final(answer, 1, 9, cancel_wanted=False)  # it may have been billed


@pytest.mark.parametrize(
    "usage",
    [None, {}, {"input_tokens": None, "output_tokens": None, "cache_creation": None, "server_tool_use": None}],
)
def test_absent_usage_counts_as_nothing(usage: Any) -> None:
    assert read(succeeded(usage=usage)).usage == Usage()


@pytest.mark.parametrize(
    ("creation", "written", "five_minutes", "hour"),
    [
        (None, 90, 90, 0),
        ({"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 60}, 90, 30, 60),
        ({"ephemeral_1h_input_tokens": 60}, 90, 30, 60),
        ({"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 60}, 0, 30, 60),
        ({"ephemeral_5m_input_tokens": None, "ephemeral_1h_input_tokens": None}, 90, 90, 0),
    ],
)
def test_cache_writes_are_told_apart_by_how_long_they_last(
    creation: Any, written: int, five_minutes: int, hour: int
) -> None:
    usage = {
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": 7,
        "cache_creation": creation,
        "server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 9},
        "service_tier": "standard",
        "inference_geo": "us",
        "something_new": {"deep": [1]},
    }
    answer = read(succeeded(usage=usage))
    assert answer.usage == Usage(1, 2, five_minutes, hour, 7, 3)
    assert (answer.tier, answer.geo) == ("standard", "us")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'{"custom_id":"a"}',
        b'{"custom_id":"a","result":{}}',
        b'{"custom_id":"a","result":{"type":"succeeded"}}',
        b'{"custom_id":"a","result":{"type":"succeeded","message":null}}',
        b'{"custom_id":"a","result":{"type":7}}',
        succeeded()[:-3],
        b"\xff\xfe" + succeeded(),
        b"[" * 100_000,
        b"<html></html>",
    ],
)
def test_what_is_no_result_row_is_none(data: bytes) -> None:
    assert read_row(data) is None


@given(st.binary() | st.text().map(str.encode))
def test_no_bytes_make_the_readers_fail(data: bytes) -> None:
    for reader in (read_row, row_wire_id, text_of):
        reader(data)
        reader(b'{"custom_id":"' + data)
        reader(b'{"custom_id":"a","result":{"type":"succeeded","message":' + data + b"}}")


@given(st.text(max_size=80))
def test_the_wire_id_of_a_row_is_read_whatever_it_is(custom_id: str) -> None:
    for ascii_only in (True, False):
        try:
            data = json.dumps({"custom_id": custom_id, "result": {}}, ensure_ascii=ascii_only, separators=(",", ":"))
            encoded = data.encode()
        except UnicodeEncodeError:
            continue
        if "\\ud" not in data:
            assert row_wire_id(encoded) == custom_id
            assert row_wire_id(b'{"result":{},' + encoded[1 : -len(b',"result":{}}')] + b"}") == custom_id


# ── is it over? ──────────────────────────────────────────────────────────────────────────────────────────────────────

TRANSIENT = [Answer("errored", "errored", error_kind=kind) for kind in ("api_error", "overloaded_error", "unknown")]
TRANSIENT += [Answer("expired", "expired"), Answer("canceled", "canceled")]


@pytest.mark.parametrize("answer", TRANSIENT, ids=lambda answer: answer.error_kind or answer.outcome)
def test_what_passes_by_itself_is_asked_again_up_to_the_maximum(answer: Answer) -> None:
    assert [is_final(answer, attempt, 3, cancel_wanted=False) for attempt in (1, 2, 3, 4)] == [False, False, True, True]


@pytest.mark.parametrize("outcome", ["ok", "truncated", "refused", "paused_turn"])
def test_what_was_billed_is_never_asked_again(outcome: Any) -> None:
    assert is_final(Answer("succeeded", outcome), 1, 9, cancel_wanted=False)


@pytest.mark.parametrize("kind", ["invalid_request_error", "not_found_error"])
def test_an_error_that_would_repeat_itself_is_final_at_once(kind: str) -> None:
    assert is_final(Answer("errored", "errored", error_kind=kind), 1, 9, cancel_wanted=False)


@pytest.mark.parametrize("kind", ["billing_error", "authentication_error", "permission_error"])
def test_an_error_of_the_account_never_ends_an_item(kind: str) -> None:
    assert not is_final(Answer("errored", "errored", error_kind=kind), 99, 1, cancel_wanted=True)


def test_what_a_person_canceled_is_over() -> None:
    assert is_final(Answer("canceled", "canceled"), 1, 9, cancel_wanted=True)
    assert not is_final(Answer("expired", "expired"), 1, 9, cancel_wanted=True)


# ── texts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_text_of_an_answer_is_that_of_its_text_blocks() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "a\u2028"},
        {"type": "text", "text": "b"},
    ]
    assert text_of(succeeded(content=blocks)) == "a\u2028b"
    assert text_of(succeeded(content=[])) is None
    assert text_of(row({"type": "expired"})) is None


def test_every_outcome_of_a_row_is_one_that_an_item_can_have() -> None:
    assert {read(succeeded(reason)).outcome for reason in ("end_turn", "max_tokens", "refusal", None)} <= set(OUTCOMES)
