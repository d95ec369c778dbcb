"""The real service, through the official SDK: each call here is exactly one HTTP request.

Retries of the SDK are off: one ``create`` with its default of two can make three live, billed batches when answers are
lost. Waiting and trying again is decided elsewhere, from the log.

The body of a submission is streamed with a Content-Length, and its last byte is withheld until the ledger has made
it durable that it may be sent. A server must treat a body shorter than its Content-Length as incomplete (RFC 9112,
6.3), and without the last byte the JSON has no closing brace: whatever ends before it cannot have made a batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from ledger.core.errors import ServiceError
from ledger.core.events import BatchSeen, Counts
from ledger.core.units import MICROSECONDS_PER_SECOND, parse_instant
from ledger.ports import Accepted, CallError, Page, ReleaseRefusedError, Reply
from ledger.service.sdk import load_sdk

if TYPE_CHECKING:
    import anthropic
    import httpx2

RELEASE_SECONDS = 5.0
"""The last byte is sent within this time of the durable event that allows it, or not at all."""
CONNECT_SECONDS = 10.0
READ_SECONDS = 600.0
_PATH = "/v1/messages/batches"
_COUNT_PATH = "/v1/messages/count_tokens"
_COUNTED = frozenset({"model", "messages", "system", "tools", "tool_choice", "thinking", "output_config"})
"""What of a request the counting endpoint takes (token counting guide); the rest has no tokens."""


class _CountsBody(msgspec.Struct):
    processing: int
    succeeded: int
    errored: int
    canceled: int
    expired: int


class _BatchBody(msgspec.Struct):
    id: str
    processing_status: str = ""
    request_counts: msgspec.Raw = msgspec.Raw(b"null")
    created_at: str | None = None
    expires_at: str | None = None
    ended_at: str | None = None
    archived_at: str | None = None


class _ListBody(msgspec.Struct):
    data: list[_BatchBody]
    has_more: bool = False
    last_id: str | None = None


class _CountBody(msgspec.Struct):
    input_tokens: int


# Made here, not where they are used: two threads that are the first to decode a type crash the process (msgspec 0.22).
_decode_counts = msgspec.json.Decoder(_CountsBody).decode
_decode_batch = msgspec.json.Decoder(_BatchBody).decode
_decode_list = msgspec.json.Decoder(_ListBody).decode
_decode_count = msgspec.json.Decoder(_CountBody).decode
_decode_params = msgspec.json.Decoder(dict[str, Any]).decode


def _seconds() -> float:
    """Return a clock that goes on while the machine sleeps, where there is one: a stopped sender must notice."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


_BEGAN_AT_US, _BEGAN_SECONDS = time.time_ns() // 1000, _seconds()


def _own_date() -> int:
    """Return the time in microseconds UTC by a clock that nobody can set while the process lives."""
    return _BEGAN_AT_US + round((_seconds() - _BEGAN_SECONDS) * MICROSECONDS_PER_SECOND)


class WithheldBody:
    """A request body that stops before its last byte, asks, and only then sends it.

    Args:
        pieces: the body.
        size_bytes: its whole length.
        release: returns once the last byte may be sent.
        seconds: the clock that says how long ago that was.
    """

    def __init__(
        self,
        pieces: Iterable[bytes],
        size_bytes: int,
        release: Callable[[str], None],
        seconds: Callable[[], float] = _seconds,
    ) -> None:
        self._pieces = pieces
        self._size_bytes = size_bytes
        self._release = release
        self._seconds = seconds
        self.released = False
        self.stopped_by: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream()
        except GeneratorExit:
            raise
        except BaseException as problem:
            self.stopped_by = problem  # the SDK wraps what a body raises; the caller wants it as it was
            raise

    def _stream(self) -> Iterator[bytes]:
        hashed, sent, held = sha256(), 0, b""
        for piece in self._pieces:
            if held:
                yield held
            hashed.update(piece)
            sent += len(piece)
            held = piece
        if sent != self._size_bytes:
            raise ReleaseRefusedError(f"the body has {sent} bytes, {self._size_bytes} were sealed")
        if len(held) > 1:
            yield held[:-1]
        asked = self._seconds()
        self._release(hashed.hexdigest())
        self.released = True
        if self._seconds() - asked > RELEASE_SECONDS:
            raise ReleaseRefusedError("the process stood still after the release")
        yield held[-1:]


class AnthropicGateway:
    """The Gateway port over `anthropic.Anthropic`.

    Args:
        base_url: the service; the SDK's own order (argument, ``ANTHROPIC_BASE_URL``, …) when None.
        http_client: another transport, as the simulator's.
        api_key: a key; the SDK's own order of credentials when None.
        read_seconds: how long an answer may take.

    Raises:
        ServiceError: the SDK finds no usable credentials.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        http_client: httpx2.Client | None = None,
        api_key: str | None = None,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        import httpx2  # with the SDK 0.3 s: paid only by who talks to the service

        self._sdk = load_sdk()
        self._httpx = httpx2
        try:
            self._client: anthropic.Anthropic = self._sdk.Anthropic(
                api_key=api_key,
                base_url=base_url,
                http_client=http_client,
                max_retries=0,
                timeout=httpx2.Timeout(read_seconds, connect=CONNECT_SECONDS),
                open_telemetry=False,
            )
        except self._sdk.AnthropicError as problem:
            raise _no_credentials(problem) from problem

    @property
    def base_url(self) -> str:
        """The service's base URL, as the SDK resolved it; may hold userinfo."""
        return str(self._client.base_url)

    def close(self) -> None:
        """Close its connections; what is still under way on them fails."""
        self._client.close()

    def submit(
        self,
        body: Iterable[bytes],
        size_bytes: int,
        betas: Sequence[str],
        release: Callable[[str], None],
    ) -> Accepted:
        """Send a body, withholding its last byte until ``release(digest)`` returns; see the port."""
        withheld = WithheldBody(body, size_bytes, release)
        headers = {"Content-Length": str(size_bytes), "Content-Type": "application/json"}
        if betas:
            headers["anthropic-beta"] = ",".join(betas)
        try:
            response = self._client.post(
                _PATH,
                cast_to=self._httpx.Response,
                content=iter(withheld),
                options={"headers": headers, "follow_redirects": False},
            )
        except Exception as problem:
            if withheld.stopped_by is not None and not isinstance(withheld.stopped_by, self._httpx.HTTPError):
                raise withheld.stopped_by from problem
            raise self._call_error(problem, sent=withheld.released) from problem
        return self._accepted(response)

    def list(self, limit: int, after_id: str = "") -> Page:
        """Return a page of the workspace's batches; see the port."""
        query: dict[str, object] = {"limit": limit}
        if after_id:
            query["after_id"] = after_id
        response = self._get(_PATH, query)
        reply = _reply(response)
        try:
            listed = _decode_list(response.content)
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as problem:
            raise _unreadable(response, problem) from problem
        batches = tuple(_seen(batch) for batch in listed.data)
        return Page(reply=reply, batches=batches, has_more=listed.has_more, last_id=listed.last_id or "")

    def retrieve(self, batch: str) -> Accepted:
        """Return one batch; see the port."""
        return self._accepted(self._get(f"{_PATH}/{batch}", {}))

    def cancel(self, batch: str) -> Accepted:
        """Ask for a batch to be canceled; see the port."""
        try:
            response = self._client.post(
                f"{_PATH}/{batch}/cancel", cast_to=self._httpx.Response, options={"follow_redirects": False}
            )
        except Exception as problem:
            raise self._call_error(problem) from problem
        return self._accepted(response)

    def delete(self, batch: str) -> Reply:
        """Delete a batch that has ended; see the port."""
        try:
            response = self._client.delete(
                f"{_PATH}/{batch}", cast_to=self._httpx.Response, options={"follow_redirects": False}
            )
        except Exception as problem:
            raise self._call_error(problem) from problem
        if response.status_code >= 300:
            raise _unreadable(response, None)
        return _reply(response)

    def count_tokens(self, params: bytes) -> int:
        """Return the input tokens of one request's params, as the service estimates them; costs nothing.

        Raises:
            CallError: no usable answer.
        """
        body = {name: value for name, value in _decode_params(params).items() if name in _COUNTED}
        try:
            response = self._client.post(
                _COUNT_PATH, cast_to=self._httpx.Response, body=body, options={"follow_redirects": False}
            )
        except Exception as problem:
            raise self._call_error(problem) from problem
        try:
            return _decode_count(response.content).input_tokens
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as problem:
            raise _unreadable(response, problem) from problem

    def results(self, batch: str) -> Iterator[bytes]:
        """Yield the bytes of a batch's results, from the relative path: never from a URL that an answer names."""
        try:
            response = self._client.get(
                f"{_PATH}/{batch}/results",
                cast_to=self._httpx.Response,
                stream=True,
                stream_cls=self._sdk.Stream,
                options={"headers": {"Accept": "application/binary"}, "follow_redirects": False},
            )
        except Exception as problem:
            raise self._call_error(problem) from problem
        stream: Any = response  # with cast_to=Response the SDK hands the raw response through, whatever stream_cls says
        try:
            yield from stream.iter_bytes()  # as they come: pieces of one size are copied once more, 0.1 µs a kilobyte
        except self._httpx.HTTPError as problem:
            raise self._call_error(problem) from problem
        finally:
            stream.close()

    def _get(self, path: str, query: dict[str, object]) -> httpx2.Response:
        try:
            return self._client.get(
                path, cast_to=self._httpx.Response, options={"params": query, "follow_redirects": False}
            )
        except Exception as problem:
            raise self._call_error(problem) from problem

    def _accepted(self, response: httpx2.Response) -> Accepted:
        try:
            batch = _decode_batch(response.content)
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as problem:
            raise _unreadable(response, problem) from problem
        if response.status_code >= 300 or not batch.id:
            raise _unreadable(response, None)
        return Accepted(reply=_reply(response), batch=_seen(batch))

    def _call_error(self, problem: Exception, *, sent: bool = True) -> CallError | ServiceError:
        """Return what an exception of the SDK or of HTTP means; one that is neither is a bug of ours and goes on."""
        if isinstance(problem, self._sdk.APIStatusError):
            return _status_error(problem.response, problem.body, sent=sent)
        if isinstance(problem, self._sdk.APIConnectionError | self._httpx.HTTPError):
            cause = problem.__cause__ or problem
            never = isinstance(cause, self._httpx.ConnectError | self._httpx.ConnectTimeout)
            kind = type(cause).__name__
            if isinstance(cause, self._httpx.LocalProtocolError):  # its text quotes the header: the key itself
                return _unsendable_header()
            return CallError(
                f"no answer from the service: {kind}", kind=kind, message=str(cause), sent=sent and not never
            )
        if isinstance(problem, self._sdk.AnthropicError) or (
            isinstance(problem, TypeError) and "authentication" in str(problem)
        ):
            return _no_credentials(problem)
        raise problem


def _no_credentials(problem: Exception) -> ServiceError:
    return ServiceError(
        "no usable credentials for the Claude API",
        why=str(problem).strip('"').splitlines()[0][:300],
        next="export ANTHROPIC_API_KEY=… and run it again; to try without a key: ledger run ITEMS --simulate",
    )


def _unsendable_header() -> ServiceError:
    return ServiceError(
        "a header of the request cannot be sent",
        why="the key, or a header of your own, ends with a space or holds a line end",
        next="export ANTHROPIC_API_KEY=… without spaces and line ends, and run it again",
    )


def _reply(response: httpx2.Response) -> Reply:
    headers = response.headers
    date = _server_date(headers.get("date", ""))
    return Reply(
        status=response.status_code,
        # Every origin server sends a Date; where a proxy took it away, our own clock must do, or nothing would end.
        server_date=date or _own_date(),
        undated=not date,
        request_id=headers.get("request-id", ""),
        workspace=headers.get("anthropic-workspace-id", ""),
    )


def _server_date(text: str) -> int:
    try:
        return int(parsedate_to_datetime(text).timestamp()) * MICROSECONDS_PER_SECOND
    except (TypeError, ValueError):
        return 0


def _instant(text: str | None) -> int:
    try:
        return parse_instant(text) if text else 0
    except ValueError:
        return 0


def _seen(batch: _BatchBody) -> BatchSeen:
    try:
        counts = Counts(**msgspec.structs.asdict(_decode_counts(batch.request_counts)))
    except (msgspec.DecodeError, msgspec.ValidationError):
        counts = None
    return BatchSeen(
        batch=batch.id,
        status=batch.processing_status,
        created_at=_instant(batch.created_at),
        expires_at=_instant(batch.expires_at),
        ended_at=_instant(batch.ended_at),
        archived_at=_instant(batch.archived_at),
        counts=counts,
    )


def _unreadable(response: httpx2.Response, problem: Exception | None) -> CallError:
    """Return the error for a 2xx (or a redirect) whose body is not what was asked for: a proxy, a cut answer."""
    reply = _reply(response)
    return CallError(
        f"the service answered {reply.status} with something unreadable",
        status=reply.status,
        kind="unreadable_answer",
        message=str(problem or response.text[:200]),
        request_id=reply.request_id,
        workspace=reply.workspace,
        server_date=reply.server_date,
    )


def _status_error(response: httpx2.Response, body: object, *, sent: bool) -> CallError:
    reply = _reply(response)
    kind = code = message = ""
    error = body.get("error") if isinstance(body, dict) else None
    envelope = isinstance(body, dict) and body.get("type") == "error" and isinstance(error, dict)
    if isinstance(error, dict):
        kind, message = str(error.get("type") or ""), str(error.get("message") or "")
        details = error.get("details")
        code = str(details.get("error_code") or "") if isinstance(details, dict) else ""
    return CallError(
        f"the service answered {reply.status}: {message or kind or 'no reason given'}",
        status=reply.status,
        kind=kind,
        code=code,
        message=message[:500],
        envelope=envelope,
        sent=sent,
        retry_after_us=_retry_after_us(response),
        request_id=reply.request_id,
        workspace=reply.workspace,
        server_date=reply.server_date,
    )


def _retry_after_us(response: httpx2.Response) -> int:
    """Return the wait the service asks for: seconds, or a date compared with the service's own."""
    text = response.headers.get("retry-after", "")
    try:
        return max(int(float(text) * MICROSECONDS_PER_SECOND), 0)
    except ValueError:
        until, now = _server_date(text), _server_date(response.headers.get("date", ""))
        return max(until - now, 0) if until and now else 0
