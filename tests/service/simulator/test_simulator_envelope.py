"""The envelope of a POST is checked at once, and names what is wrong by index; params are not looked at."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from simulating import VERSION, body_of, envelope, params

from ledger.service.simulator.envelope import BODY_BYTES_MAXIMUM, parse_envelope
from ledger.service.simulator.refusals import RefusalError

ITEM = {"custom_id": "a", "params": {}}


def refusal_of(body: bytes | bytearray) -> RefusalError:
    with pytest.raises(RefusalError) as caught:
        parse_envelope(body, VERSION, frozenset(), 0)
    return caught.value


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "requests: List should have at least 1 items, not 0"),
        ([ITEM, {"custom_id": "", "params": {}}], "requests.1.custom_id: String should have at least 1 character"),
        ([{"custom_id": "a" * 65, "params": {}}], "requests.0.custom_id: String should have at most 64 characters"),
        (
            [ITEM, ITEM | {"custom_id": "a b"}],
            "requests.1.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'",
        ),
        ([ITEM | {"custom_id": "a\n"}], "requests.0.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"),
        ([ITEM | {"custom_id": "é"}], "requests.0.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"),
        ([ITEM | {"custom_id": 3}], "requests.0.custom_id: Expected `str`, got `int`"),
        ([ITEM, ITEM], "requests.1.custom_id: Duplicate custom_id, already used by requests.0"),
        ([ITEM, {"custom_id": "b"}], "requests.1.params: Field required"),
        ([ITEM | {"params": []}], "requests.0.params: Input should be an object"),
        (3, "requests: Expected `array`, got `int`"),
        ([ITEM | {"params": params("[[simulate:reject]]")}], "requests.0: the request was rejected, as its text asked"),
        (
            [ITEM | {"params": params("[[simulate:poison]]")}],
            "The batch could not be created: one of its requests is invalid.",
        ),
        (
            [ITEM | {"params": params("[[simulate:refusel]]")}],
            "requests.0: [[simulate:refusel]] is no marker the simulator knows",
        ),
    ],
)
def test_a_wrong_envelope_is_refused_with_400(items: Any, message: str) -> None:
    refusal = refusal_of(body_of(items))
    assert (refusal.status, refusal.kind, refusal.message) == (400, "invalid_request_error", message)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"requests":[{"custom_id":"a","params":{}}]',
        b'{"requests":[{"custom_id":"a","params":{"x":NaN}}]}',
        b'{"requests":[{"custom_id":"a","params":{"x":"\xff"}}]}',
        b'{"requests":[{"custom_id":"a","params":{"x":1e999}}]}',
    ],
)
def test_malformed_json_is_refused_with_400(body: bytes) -> None:
    refusal = refusal_of(body)
    assert (refusal.status, refusal.kind) == (400, "invalid_request_error")
    assert refusal.message.startswith("The request body is not valid JSON")


def test_one_byte_over_the_limit_is_refused_with_413_in_the_form_of_the_proxy_in_front() -> None:
    refusal = refusal_of(bytearray(BODY_BYTES_MAXIMUM + 1))
    content_type, body = refusal.body("req_1")
    assert (refusal.status, content_type) == (413, "application/json")
    assert json.loads(body) == {"error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}


def test_more_than_100000_requests_are_refused_and_100000_are_taken() -> None:
    item = '{{"custom_id":"{}","params":{{}}}}'

    def body(count: int) -> bytes:
        return ('{"requests":[' + ",".join(item.format(index) for index in range(count)) + "]}").encode()

    assert refusal_of(body(100_001)).message == "requests: List should have at most 100000 items, not 100001"
    assert parse_envelope(body(100_000), VERSION, frozenset(), 0).columns.count == 100_000


@examples(deadline=None)  # no test depends on the speed of a machine
@given(st.lists(st.dictionaries(st.text(), st.none() | st.integers(-(2**53), 2**53) | st.text()), min_size=1))
def test_whatever_params_hold_is_accepted(all_params: list[dict[str, Any]]) -> None:
    items = [{"custom_id": f"id-{index}", "params": given_params} for index, given_params in enumerate(all_params)]
    body = json.dumps({"requests": items}).encode()
    if b"[[simulate:" not in body:
        columns = parse_envelope(body, VERSION, frozenset(), 0).columns
        assert columns.count == len(items)
        assert columns.wire_ids.decode().split("\n") == [item["custom_id"] for item in items]


def test_what_is_kept_of_a_request_does_not_grow_with_its_size() -> None:
    small, large = envelope("x").columns, envelope("x" * 100_000).columns

    def kept(columns: Any) -> int:
        return len(columns.wire_ids + columns.digests + columns.input_tokens + columns.shape_numbers)

    assert kept(small) == kept(large)
