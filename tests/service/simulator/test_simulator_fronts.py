"""The real SDK against both fronts: the good path, and every fault as a client meets it.

Every test runs over a real socket, and in the process; what a client sees must be the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
import httpx2
import pytest
from simulating import body_of, outcome_of, requests, settings

from ledger.service.simulator.bill import Bill
from ledger.service.simulator.faults import Fault, Faults
from ledger.service.simulator.http import serve
from ledger.service.simulator.routes import CutError, Reply, Service, play
from ledger.service.simulator.settings import Settings
from ledger.service.simulator.transport import SimulatorTransport


class Front:
    """A client, and the service behind it."""

    def __init__(self, client: anthropic.Anthropic, service: Service, bill: Callable[[], Bill]) -> None:
        self.client, self.service, self.bill = client, service, bill
        self.batches = client.messages.batches

    @property
    def accepted(self) -> int:
        return self.bill().batches

    def create(self, *texts: str) -> Any:
        return self.batches.create(requests=requests(*texts))

    def raw_results(self, batch_id: str) -> httpx2.Response:
        return self.client.get(f"/v1/messages/batches/{batch_id}/results", cast_to=httpx2.Response)

    def lines(self, batch_id: str) -> list[bytes]:
        return self.raw_results(batch_id).content.split(b"\n")


@contextmanager
def over_http(chosen: Settings) -> Iterator[Front]:
    with (
        serve(settings=chosen) as server,
        anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0, timeout=5) as client,
    ):
        yield Front(client, server.service, server.bill)


@contextmanager
def in_process(chosen: Settings) -> Iterator[Front]:
    transport = SimulatorTransport(chosen)
    with anthropic.Anthropic(api_key="k", max_retries=0, http_client=httpx2.Client(transport=transport)) as client:
        yield Front(client, transport.service, transport.bill)


Opener = Callable[..., Any]


@pytest.fixture(params=[over_http, in_process], ids=["http", "process"])
def front(request: pytest.FixtureRequest) -> Iterator[Callable[..., Front]]:
    """Return a function that opens a front onto a service with these faults."""
    opened: list[Any] = []

    def open_front(*faults: Fault, **changes: Any) -> Front:
        manager = request.param(settings(*faults, **changes))
        opened.append(manager)
        entered: Front = manager.__enter__()
        return entered

    yield open_front
    for manager in opened:
        manager.__exit__(None, None, None)


def test_the_good_path(front: Opener) -> None:
    service = front()
    created = service.create("a", "[[simulate:refusal]]", "[[simulate:errored:overloaded_error]]")
    assert created.processing_status == "in_progress"
    ended = service.batches.retrieve(created.id)
    assert ended.processing_status == "ended"
    assert ended.request_counts.to_dict() == {
        "canceled": 0, "errored": 1, "expired": 0, "processing": 0, "succeeded": 2,
    }  # fmt: skip
    rows = {row.custom_id: row.result.to_dict(mode="json") for row in service.batches.results(created.id)}
    outcomes = {custom_id: outcome_of(result) for custom_id, result in rows.items()}
    assert outcomes == {
        "0-nonce-label": "end_turn",
        "1-nonce-label": "refusal",
        "2-nonce-label": "overloaded_error",
    }
    assert [batch.id for batch in service.batches.list()] == [created.id]
    assert service.batches.delete(created.id).to_dict() == {"id": created.id, "type": "message_batch_deleted"}
    assert list(service.batches.list()) == []


def test_a_batch_is_canceled(front: Opener) -> None:
    service = front(turnaround_minimum_seconds=3600, turnaround_maximum_seconds=3600, cancel_seconds=0)
    created = service.create(*"abcdefgh")
    assert service.batches.cancel(created.id).cancel_initiated_at is not None
    ended = service.batches.retrieve(created.id)
    assert (ended.processing_status, ended.request_counts.canceled) == ("ended", 8)


def test_the_list_is_paged_by_the_sdk(front: Opener) -> None:
    service = front()
    created = [service.create("x").id for _ in range(5)]
    assert [batch.id for batch in service.batches.list(limit=2)] == created[::-1]
    page = service.batches.list(limit=2, before_id=created[0])
    assert [batch.id for batch in page.data] == [created[2], created[1]]


def test_every_answer_tells_request_workspace_organization_and_server_time(front: Opener) -> None:
    service = front()
    response = service.batches.with_raw_response.list()
    assert response.headers["request-id"].startswith("req_")
    assert response.headers["anthropic-workspace-id"] == service.service.workspace_id
    assert response.headers["anthropic-organization-id"]
    assert response.headers["date"].endswith("GMT")


def test_results_url_stays_with_this_service(front: Opener) -> None:
    service = front()
    created = service.create("a")
    url = service.batches.retrieve(created.id).results_url
    assert url == f"{str(service.client.base_url).rstrip('/')}/v1/messages/batches/{created.id}/results"


def test_an_older_key_header_is_accepted_and_a_missing_key_is_401(front: Opener) -> None:
    service = front()
    omitted = {"Authorization": anthropic.Omit()}
    assert service.batches.list(extra_headers={**omitted, "x-api-key": "k"}).data == []
    with pytest.raises(anthropic.AuthenticationError) as caught:
        service.batches.list(extra_headers=omitted | {"x-api-key": ""})
    assert caught.value.request_id is not None


def test_an_unknown_batch_and_an_unknown_path_are_404(front: Opener) -> None:
    service = front()
    with pytest.raises(anthropic.NotFoundError):
        service.batches.retrieve("msgbatch_unknown")
    with pytest.raises(anthropic.NotFoundError):
        service.client.get("/v1/nothing", cast_to=object)


def test_a_bad_custom_id_is_refused_by_index_and_nothing_is_created(front: Opener) -> None:
    service = front()
    items = [*requests("a", "b"), {"custom_id": "no good", "params": {}}]
    with pytest.raises(anthropic.BadRequestError, match=r"requests\.2\.custom_id: String should match pattern"):
        service.batches.create(requests=items)
    assert service.accepted == 0


CHUNKED, DECLARED = "chunked", "declared"


@pytest.mark.parametrize("framing", [CHUNKED, DECLARED])
def test_a_streamed_body_is_read_to_its_end(front: Opener, framing: str) -> None:
    service = front()
    body = body_of(requests(*"abc"))
    headers = {"Content-Length": str(len(body))} if framing == DECLARED else {}
    pieces = (body[at : at + 10] for at in range(0, len(body), 10))
    options: Any = {"headers": headers}
    reply = service.client.post("/v1/messages/batches", cast_to=object, content=pieces, options=options)
    assert reply["request_counts"]["processing"] == 3


@pytest.mark.parametrize("framing", [CHUNKED, DECLARED])
def test_a_body_that_breaks_off_before_its_last_byte_was_never_received(front: Opener, framing: str) -> None:
    service = front()
    body = body_of(requests(*"abc"))

    def all_but_the_last_byte() -> Iterator[bytes]:
        yield body[:-1]
        raise RuntimeError("killed here")

    options: Any = {"headers": {"Content-Length": str(len(body))} if framing == DECLARED else {}}
    with pytest.raises((RuntimeError, anthropic.APIConnectionError)):
        service.client.post("/v1/messages/batches", cast_to=object, content=all_but_the_last_byte(), options=options)
    service.batches.list()
    assert service.accepted == 0


def test_a_body_of_another_length_than_declared_was_never_received_in_the_process_either() -> None:
    body = body_of(requests("a"))
    with in_process(settings()) as service:
        options: Any = {"headers": {"Content-Length": str(len(body) + 1)}}
        with pytest.raises(anthropic.APIConnectionError):
            service.client.post("/v1/messages/batches", cast_to=object, content=iter([body]), options=options)
        assert service.accepted == 0


@pytest.mark.parametrize(("cut_at", "received"), [(0, ""), (2, "ab"), (3, "abc"), (5, "abcde"), (6, None), (9, None)])
def test_a_body_is_cut_at_exactly_the_byte_and_only_if_it_is_longer(cut_at: int, received: str | None) -> None:
    reply = Reply(200, {}, lambda: iter((b"abc", b"def")), cut_at=cut_at)
    got = b""
    try:
        for piece in play(reply):
            got += piece
        was_cut = False
    except CutError:
        was_cut = True
    assert (was_cut, got.decode()) == (received is not None, received or "" if was_cut else "abcdef")


# Whether a batch exists after the call, and what the client got.
SPOILT = [
    (Fault(operation="create", kind="drop"), 1, anthropic.APIConnectionError),
    (Fault(operation="create", kind="drop", carried_out=False), 0, anthropic.APIConnectionError),
    (Fault(operation="create", kind="hang", seconds=30), 1, anthropic.APITimeoutError),
    (Fault(operation="create", kind="hang", seconds=30, carried_out=False), 0, anthropic.APITimeoutError),
    (Fault(operation="create", kind="status", status=500), 1, anthropic.InternalServerError),
    (Fault(operation="create", kind="status", status=500, carried_out=False), 0, anthropic.InternalServerError),
    (Fault(operation="create", kind="status", status=503), 1, anthropic.ServiceUnavailableError),
    (Fault(operation="create", kind="status", status=504), 1, anthropic.APIStatusError),
    (Fault(operation="create", kind="status", status=529), 1, anthropic.OverloadedError),
    (Fault(operation="create", kind="status", status=408), 1, anthropic.APIStatusError),
    (Fault(operation="create", kind="status", status=409), 1, anthropic.ConflictError),
    (Fault(operation="create", kind="status", status=499), 1, anthropic.APIStatusError),
    (Fault(operation="create", kind="status", error="bad_gateway"), 1, anthropic.InternalServerError),
    (Fault(operation="create", kind="cut"), 1, (anthropic.APIConnectionError, httpx2.RemoteProtocolError)),
    (Fault(operation="create", kind="refuse"), 0, anthropic.InternalServerError),
    (Fault(operation="create", kind="refuse", error="rate_limit"), 0, anthropic.RateLimitError),
    (Fault(operation="create", kind="refuse", error="queue_limit"), 0, anthropic.RateLimitError),
    (Fault(operation="create", kind="refuse", error="spend_cap"), 0, anthropic.EnforcedSpendLimitReachedError),
    (Fault(operation="create", kind="refuse", error="customer_limit"), 0, anthropic.BadRequestError),
    (Fault(operation="create", kind="refuse", error="body_timeout"), 0, anthropic.BadRequestError),
    (Fault(operation="create", kind="refuse", error="unauthorized"), 0, anthropic.AuthenticationError),
    (Fault(operation="create", kind="refuse", error="billing"), 0, anthropic.APIStatusError),
    (Fault(operation="create", kind="refuse", error="forbidden"), 0, anthropic.PermissionDeniedError),
    (Fault(operation="create", kind="refuse", error="not_found"), 0, anthropic.NotFoundError),
    (Fault(operation="create", kind="refuse", error="unprocessable"), 0, anthropic.UnprocessableEntityError),
    (Fault(operation="create", kind="refuse", error="too_large"), 0, anthropic.APIStatusError),
    (Fault(operation="create", kind="refuse", error="too_large_html"), 0, anthropic.APIStatusError),
    (Fault(operation="list", kind="refuse", error="bad_gateway"), 1, None),
]


@pytest.mark.parametrize(
    ("fault", "accepted", "error"), SPOILT, ids=[f"{f.kind}-{f.error or f.status}-{n}" for f, n, _ in SPOILT]
)
def test_an_error_tells_nothing_about_whether_the_batch_exists(
    front: Opener, fault: Fault, accepted: int, error: Any
) -> None:
    service = front(fault)
    service.client = service.client.with_options(timeout=0.3) if fault.kind == "hang" else service.client
    if error is None:
        service.create("a")
        with pytest.raises(anthropic.InternalServerError):
            service.batches.list()
    else:
        with pytest.raises(error):
            service.client.messages.batches.create(requests=requests("a"))
    assert service.accepted == accepted


def test_refusals_say_what_they_are_in_the_form_of_the_service(front: Opener) -> None:
    def refusal(fault: Fault) -> anthropic.APIStatusError:
        with pytest.raises(anthropic.APIStatusError) as caught:
            front(fault).create("a")
        return caught.value

    spend = refusal(Fault(operation="create", kind="refuse", error="spend_cap"))
    assert isinstance(spend.body, dict)
    assert spend.body["error"]["details"] == {"error_code": "enforced_spend_limit_reached"}
    assert "retry-after" not in spend.response.headers
    limited = refusal(Fault(operation="create", kind="refuse", error="rate_limit", retry_after_seconds=7))
    assert limited.response.headers["retry-after"] == "7"
    large = refusal(Fault(operation="create", kind="refuse", error="too_large"))
    assert (large.status_code, large.request_id) == (413, None)
    assert large.body == {"error": {"type": "request_too_large", "message": "Request exceeds the maximum size"}}
    page = refusal(Fault(operation="create", kind="refuse", error="too_large_html"))
    assert isinstance(page.body, str)
    assert page.response.headers["content-type"].startswith("text/html")


def test_a_2xx_may_be_a_lie(front: Opener) -> None:
    assert front(Fault(operation="create", kind="empty")).create("a").id is None
    assert "sign in" in front(Fault(operation="create", kind="html")).create("a")
    wrong = front(Fault(operation="create", kind="wrong_counts", requests=3)).create("a")
    assert wrong.request_counts.processing == 4


def test_a_scripted_call_fails_and_the_next_does_not(front: Opener) -> None:
    service = front(Fault(operation="retrieve", kind="refuse", status=500, call=2))
    created = service.create("a")
    service.batches.retrieve(created.id)
    with pytest.raises(anthropic.InternalServerError):
        service.batches.retrieve(created.id)
    assert service.batches.retrieve(created.id).id == created.id


def test_a_batch_may_materialise_after_the_client_gave_up(front: Opener) -> None:
    service = front(Fault(operation="create", kind="drop"), Fault(operation="create", kind="late", seconds=3600))
    with pytest.raises(anthropic.APIConnectionError):
        service.create("a")
    assert list(service.batches.list()) == []
    later = service.service.now() + 3600 * 1_000_000
    assert len(service.service.simulator.list_page(later).batches) == 1


def test_the_list_may_lag_behind_creation(front: Opener) -> None:
    for service in (
        front(Fault(operation="create", kind="slow_list", seconds=3600)),
        front(faults=Faults(list_lag_seconds=3600)),
    ):
        created = service.create("a")
        assert list(service.batches.list()) == []
        assert service.batches.retrieve(created.id).id == created.id


def test_a_stranger_makes_a_batch_of_the_same_size_in_this_workspace(front: Opener) -> None:
    service = front(
        Fault(operation="create", kind="stranger", call=1), Fault(operation="create", kind="drop", carried_out=False)
    )
    with pytest.raises(anthropic.APIConnectionError):
        service.create("a", "b")
    (foreign,) = service.batches.list().data
    assert foreign.request_counts.succeeded == 2
    assert all(row.custom_id.startswith("stranger-") for row in service.batches.results(foreign.id))
    assert service.accepted == 0


def test_the_servers_clock_may_be_ahead(front: Opener) -> None:
    service = front(faults=Faults(clock_offset_seconds=86400))
    behind = front()
    ahead_at, here_at = service.create("a").created_at, behind.create("a").created_at
    assert 86300 < (ahead_at - here_at).total_seconds() < 86500


def test_a_batch_may_be_archived_or_deleted_early(front: Opener) -> None:
    service = front(Fault(operation="create", kind="archived", seconds=0))
    created = service.create("a")
    assert service.batches.retrieve(created.id).archived_at is not None
    with pytest.raises(anthropic.NotFoundError):
        service.raw_results(created.id)
    service = front(Fault(operation="create", kind="deleted", seconds=0))
    created = service.create("a")
    with pytest.raises(anthropic.NotFoundError):
        service.batches.retrieve(created.id)


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_results_that_are_cut_break_where_the_client_knows_the_length(front: Opener, framing: Any) -> None:
    service = front(Fault(operation="results", kind="cut", bytes=100, framing=framing, call=1))
    created = service.create("a", "b")
    with pytest.raises(httpx2.RemoteProtocolError):
        list(service.batches.results(created.id))
    assert len(list(service.batches.results(created.id))) == 2


def test_results_that_are_cut_end_quietly_where_only_closing_tells_the_end(front: Opener) -> None:
    service = front(Fault(operation="results", kind="cut", bytes=100, framing="close"))
    assert len(service.raw_results(service.create("a", "b").id).content) == 100


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_results_are_whole_in_every_framing_and_compression(front: Opener, framing: Any) -> None:
    service = front(Fault(operation="results", kind="framing", framing=framing))
    zipped = front(Fault(operation="results", kind="framing", framing=framing), Fault(operation="results", kind="gzip"))
    texts = [f"prompt {index}" for index in range(200)]
    plain = service.raw_results(service.create(*texts).id)
    packed = zipped.raw_results(zipped.create(*texts).id)
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content
    assert len(plain.content.splitlines()) == 200
    assert plain.headers["content-type"] == "application/x-jsonl"


def test_rows_may_be_missing_repeated_foreign_corrupt_blank_or_of_an_unknown_type(front: Opener) -> None:
    def lines(kind: Any) -> list[bytes]:
        service = front(Fault(operation="results", kind=kind))
        *rows, end = service.lines(service.create("a", "b", "c").id)
        assert end == b""
        return rows

    def ids(rows: list[bytes]) -> list[str]:
        return [json.loads(row)["custom_id"] for row in rows]

    whole = lines("framing")
    assert lines("short") == whole[:2]
    assert lines("duplicate_row") == [*whole, whole[0]]
    assert ids(lines("foreign_row")) == [*ids(whole[:1]), "never-submitted-row", *ids(whole[1:])]
    assert lines("blank_line") == [whole[0], b"", *whole[1:]]
    assert json.loads(lines("unknown_type")[0])["result"] == {"type": "postponed"}
    corrupt = lines("corrupt_row")
    assert corrupt[1:] == whole[1:]
    with pytest.raises(json.JSONDecodeError):
        json.loads(corrupt[0])
    separated = lines("line_separators")
    assert len(separated) == 3
    assert len(separated[0].decode().splitlines()) == 3
    assert "\u2028\u0085" in json.loads(separated[0])["result"]["message"]["content"][0]["text"]


def test_the_bill_is_told_over_http() -> None:
    with over_http(settings()) as service:
        service.create("a")
        reply = httpx2.get(f"{str(service.client.base_url).rstrip('/')}/simulator/bill").json()
        assert (reply["batches"], reply["requests_accepted"], reply["prompts_billed_twice"]) == (1, 1, 0)
