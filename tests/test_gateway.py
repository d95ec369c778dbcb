"""The gateway over a real socket: what reaches the service, and when; what comes back, and as what."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from ledger.core.chunks import body, nonce_of, wire_id
from ledger.core.errors import ServiceError
from ledger.ports import Accepted, CallError, ReleaseRefusedError
from ledger.service.gateway import RELEASE_SECONDS, AnthropicGateway, WithheldBody
from ledger.service.simulator.faults import Fault, Faults
from ledger.service.simulator.http import RunningServer, serve
from ledger.service.simulator.settings import CALM, Settings

PARAMS = b'{"model":"claude-haiku-4-5","max_tokens":100,"messages":[{"role":"user","content":"Hi."}]}'
CALM_SERVICE = Settings(turnaround_minimum_seconds=0, turnaround_maximum_seconds=0, mix=CALM)


def body_of(count: int) -> bytes:
    nonce = nonce_of("ledger", 1, 1)
    return b"".join(body((wire_id(number, nonce, "x"), PARAMS) for number in range(count)))


@contextmanager
def service(*faults: Fault) -> Iterator[tuple[RunningServer, AnthropicGateway]]:
    with serve(settings=msgspec.structs.replace(CALM_SERVICE, faults=Faults(faults=faults))) as server:
        yield server, AnthropicGateway(base_url=server.url, api_key="k", read_seconds=5)


def submit(gateway: AnthropicGateway, data: bytes, release: Callable[[str], None] = lambda _: None) -> Accepted:
    return gateway.submit(iter([data[:10], data[10:]]), len(data), (), release)


class Peer:
    """A server of one answer, which keeps what it received byte by byte."""

    def __init__(self, answer: bytes, expected_bytes: int = 0) -> None:
        self.received = bytearray()
        self.requests = 0
        self._answer = answer
        self._expected_bytes = expected_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.got_more = threading.Condition()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.requests += 1
            with connection:
                while piece := connection.recv(1 << 16):
                    with self.got_more:
                        self.received += piece
                        self.got_more.notify_all()
                    if len(self.body) >= self._expected_bytes and b"\r\n\r\n" in self.received:
                        connection.sendall(self._answer)
                        break

    @property
    def body(self) -> bytes:
        return bytes(self.received.partition(b"\r\n\r\n")[2])

    def close(self) -> None:
        self._listener.close()


@contextmanager
def peer(answer: bytes, expected_bytes: int = 0) -> Iterator[Peer]:
    made = Peer(answer, expected_bytes)
    try:
        yield made
    finally:
        made.close()


def answer_of(status: str, content: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


# ── the last byte ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_service_has_all_but_the_last_byte_until_it_is_released() -> None:
    data = body_of(3)
    counts = b'{"processing":3,"succeeded":0,"errored":0,"canceled":0,"expired":0}'
    batch = b'{"id":"msgbatch_1","processing_status":"in_progress","request_counts":%b}' % counts
    with peer(answer_of("200 OK", batch), len(data)) as listening:
        gateway = AnthropicGateway(base_url=listening.url, api_key="k", read_seconds=5)
        asked: list[str] = []

        def release(digest: str) -> None:
            with listening.got_more:
                listening.got_more.wait_for(lambda: len(listening.body) >= len(data) - 1, timeout=10)
            asked.append(digest)
            assert listening.body == data[:-1]

        accepted = submit(gateway, data, release)
        assert asked == [sha256(data).hexdigest()]
        assert listening.body == data
        assert listening.requests == 1
        assert (accepted.batch.batch, accepted.batch.counts.total if accepted.batch.counts else 0) == ("msgbatch_1", 3)
        assert f"content-length: {len(data)}".encode() in bytes(listening.received).lower()


def test_a_release_that_is_refused_leaves_no_batch_behind() -> None:
    def refuse(_: str) -> None:
        raise ReleaseRefusedError("the run is stopping")

    with service() as (server, gateway):
        with pytest.raises(ReleaseRefusedError, match="the run is stopping"):
            submit(gateway, body_of(3), refuse)
        assert gateway.list(10).batches == ()
        assert server.bill().batches == 0


def test_a_body_that_breaks_off_leaves_no_batch_behind_and_its_own_error_comes_through() -> None:
    def broken() -> Iterator[bytes]:
        yield body_of(3)[:50]
        raise ZeroDivisionError

    released: list[str] = []
    with service() as (server, gateway):
        with pytest.raises(ZeroDivisionError):
            gateway.submit(broken(), len(body_of(3)), (), released.append)
        assert server.bill().batches == 0
    assert released == []


@pytest.mark.parametrize("announced", [-1, 1])
def test_a_body_of_another_size_than_was_sealed_is_never_released(announced: int) -> None:
    released: list[str] = []
    data = body_of(2)
    with service() as (server, gateway):
        with pytest.raises((ReleaseRefusedError, CallError)):
            gateway.submit(iter([data]), len(data) + announced, (), released.append)
        assert server.bill().batches == 0
    assert released == []


def late(stood_still_seconds: float, data: bytes) -> Iterator[bytes]:
    """The pieces of a body whose process stands still for a while in the middle of its release."""
    now = [1000.0]

    def release(_: str) -> None:
        now[0] += stood_still_seconds

    return iter(WithheldBody(iter([data[:10], data[10:]]), len(data), release, seconds=lambda: now[0]))


def test_a_last_byte_that_is_due_for_too_long_is_never_sent() -> None:
    data = body_of(2)
    assert b"".join(late(RELEASE_SECONDS - 1, data)) == data
    pieces = late(RELEASE_SECONDS + 1, data)
    assert next(pieces) + next(pieces) == data[:-1]
    with pytest.raises(ReleaseRefusedError, match="stood still"):
        next(pieces)


def test_what_was_accepted_is_told_with_counts_dates_and_workspace() -> None:
    with service() as (server, gateway):
        accepted = submit(gateway, body_of(3))
        assert accepted.reply.status == 200
        assert accepted.reply.workspace == server.service.workspace_id
        assert accepted.reply.request_id.startswith("req_")
        assert accepted.batch.counts is not None
        assert accepted.batch.counts.total == 3
        assert accepted.batch.expires_at - accepted.batch.created_at == 86_400_000_000
        assert abs(accepted.reply.server_date - accepted.batch.created_at) < 5_000_000
        assert gateway.retrieve(accepted.batch.batch).batch.batch == accepted.batch.batch


def test_betas_go_along_in_one_header() -> None:
    data = body_of(1)
    with peer(answer_of("200 OK", b'{"id":"msgbatch_1"}'), len(data)) as listening:
        gateway = AnthropicGateway(base_url=listening.url, api_key="k", read_seconds=5)
        gateway.submit(iter([data]), len(data), ("a-2026", "b-2026"), lambda _: None)
        assert b"anthropic-beta: a-2026,b-2026" in bytes(listening.received).lower()


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def refusing(error: str, **changes: Any) -> Fault:
    return Fault(operation="create", kind="refuse", error=error, **changes)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (refusing("spend_cap"), (429, "rate_limit_error", "enforced_spend_limit_reached", True, 0)),
        (refusing("rate_limit", retry_after_seconds=7), (429, "rate_limit_error", "", True, 7_000_000)),
        (refusing("too_large"), (413, "request_too_large", "", False, 0)),
        (refusing("too_large_html"), (413, "", "", False, 0)),
        (refusing("bad_gateway"), (502, "", "", False, 0)),
        (refusing("unauthorized"), (401, "authentication_error", "", True, 0)),
        (refusing("body_timeout"), (400, "invalid_request_error", "request_body_timeout", True, 0)),
        (refusing("overloaded"), (529, "overloaded_error", "", True, 0)),
        (Fault(operation="create", kind="html"), (200, "unreadable_answer", "", False, 0)),
        (Fault(operation="create", kind="empty"), (200, "unreadable_answer", "", False, 0)),
    ],
    ids=lambda value: f"{value.kind}-{value.error}" if isinstance(value, Fault) else "",
)
def test_an_answer_that_is_no_batch_says_all_that_the_decision_needs(fault: Fault, expected: Any) -> None:
    with service(fault) as (_, gateway), pytest.raises(CallError) as raised:
        submit(gateway, body_of(2))
    error = raised.value
    assert (error.status, error.kind, error.code, error.envelope, error.retry_after_us) == expected
    assert error.sent


@pytest.mark.parametrize("kind", ["drop", "cut"])
def test_an_answer_that_never_came_or_was_cut_is_no_refusal(kind: Any) -> None:
    with service(Fault(operation="create", kind=kind)) as (server, gateway):
        with pytest.raises(CallError) as raised:
            submit(gateway, body_of(2))
        assert server.bill().batches == 1
    assert (raised.value.status, raised.value.sent, raised.value.envelope) == (0, True, False)


def test_a_connection_that_was_never_made_sent_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(CallError) as raised:
        submit(AnthropicGateway(base_url=url, api_key="k", read_seconds=5), body_of(2))
    assert (raised.value.status, raised.value.sent) == (0, False)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_a_redirect_is_not_followed(status: str) -> None:
    """A body of prompts and a key go nowhere but to the origin that the ledger was opened for."""
    data = body_of(1)
    with peer(answer_of("200 OK", b"{}")) as elsewhere:
        location = f"Location: {elsewhere.url}/v1/messages/batches"
        with peer(answer_of(status, b"", location), len(data)) as listening:
            gateway = AnthropicGateway(base_url=listening.url, api_key="k", read_seconds=5)
            with pytest.raises(CallError) as raised:
                submit(gateway, data)
        with peer(answer_of(status, b"", location)) as listening:
            gateway = AnthropicGateway(base_url=listening.url, api_key="k", read_seconds=5)
            for call in (lambda: gateway.list(10), lambda: gateway.retrieve("b"), lambda: gateway.cancel("b")):
                with pytest.raises(CallError):
                    call()
            with pytest.raises(CallError):
                list(gateway.results("b"))
        assert elsewhere.requests == 0
    assert raised.value.status == int(status[:3])
    assert not raised.value.envelope


def test_every_call_is_one_request_whatever_the_answer() -> None:
    with peer(answer_of("503 Service Unavailable", b"{}", "retry-after: 0")) as listening:
        gateway = AnthropicGateway(base_url=listening.url, api_key="k", read_seconds=5)
        calls: list[Callable[[], object]] = [
            lambda: gateway.list(10),
            lambda: gateway.retrieve("b"),
            lambda: gateway.cancel("b"),
            lambda: list(gateway.results("b")),
        ]
        for number, call in enumerate(calls, 1):
            with pytest.raises(CallError):
                call()
            assert listening.requests == number


# ── lists, results, cancels ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_list_comes_in_pages_newest_first() -> None:
    with service() as (_, gateway):
        made = [submit(gateway, body_of(1)).batch.batch for _ in range(5)]
        first = gateway.list(3)
        rest = gateway.list(3, first.last_id)
        assert [seen.batch for seen in (*first.batches, *rest.batches)] == made[::-1]
        assert (first.has_more, rest.has_more) == (True, False)


def test_results_are_streamed_whole_and_a_cut_is_an_error() -> None:
    cut = Fault(operation="results", call=2, kind="cut", bytes=300)
    with service(cut) as (_, gateway):
        batch = submit(gateway, body_of(4)).batch.batch
        assert b"".join(gateway.results(batch)).count(b"\n") == 4
        with pytest.raises(CallError) as raised:
            b"".join(gateway.results(batch))
        assert raised.value.status == 0
        with pytest.raises(CallError) as raised:
            b"".join(gateway.results("msgbatch_nobodys"))
        assert (raised.value.status, raised.value.kind, raised.value.envelope) == (404, "not_found_error", True)


def test_a_cancel_is_answered_with_the_batch() -> None:
    with service(Fault(operation="create", kind="turnaround", seconds=3600)) as (_, gateway):
        batch = submit(gateway, body_of(2)).batch.batch
        assert gateway.cancel(batch).batch.status == "canceling"


# ── credentials ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_credentials_it_is_said_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ServiceError, match="no usable credentials") as raised:
        AnthropicGateway(base_url="http://127.0.0.1:9").list(1)
    assert "export ANTHROPIC_API_KEY" in raised.value.next
    assert "--simulate" in raised.value.next
