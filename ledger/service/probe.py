"""Calls as no run makes them, one HTTP request each, and what came back, whatever it was."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

import msgspec

from ledger.core.errors import ServiceError

CONNECT_SECONDS = 10.0
READ_SECONDS = 120.0
BATCHES = "/v1/messages/batches"
_TOLD = ("content-type", "content-length", "transfer-encoding", "content-encoding", "content-range", "accept-ranges")
"""Headers that tell how an answer is framed; none tells whose it is."""
_MESSAGE_CHARACTERS = 300


class Answer(NamedTuple):
    """What came back; ``status`` is 0 where nothing did, and ``message`` then says what happened instead."""

    status: int
    kind: str
    message: str
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def is_good(self) -> bool:
        """Whether the service did what it was asked to."""
        return 200 <= self.status < 300

    @property
    def document(self) -> dict[str, Any]:
        """The body, where it is a JSON object; else nothing."""
        try:
            read = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return {}
        return read if isinstance(read, dict) else {}


class Probe:
    """A client without retries, redirects and opinions.

    Args:
        base_url: the service; as in the SDK when None.

    Raises:
        ServiceError: the SDK finds no usable credentials.
    """

    def __init__(self, base_url: str | None = None) -> None:
        import anthropic
        import httpx2

        self._httpx = httpx2
        self._api_status_error = anthropic.APIStatusError
        self._connection_errors = (anthropic.APIConnectionError, httpx2.HTTPError)
        try:
            self._client = anthropic.Anthropic(
                base_url=base_url,
                max_retries=0,
                timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
                open_telemetry=False,
            )
        except anthropic.AnthropicError as problem:
            raise _no_credentials() from problem

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    @property
    def base_url(self) -> str:
        """The service's base URL, as the SDK resolved it; may hold userinfo."""
        return str(self._client.base_url)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask for something."""
        return self._call("get", path, None, headers)

    def delete(self, path: str) -> Answer:
        """Ask for something to be deleted."""
        return self._call("delete", path, None, None)

    def post(
        self, path: str, content: bytes | Iterable[bytes] | None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send something: bytes with their length, an iterable in chunks."""
        return self._call("post", path, content, headers)

    def _call(
        self, method: str, path: str, content: bytes | Iterable[bytes] | None, headers: Mapping[str, str] | None
    ) -> Answer:
        more: dict[str, Any] = {"content": content} if content is not None else {}
        sent = {"Content-Type": "application/json", **(headers or {})}
        began = time.monotonic()
        try:
            response = getattr(self._client, method)(
                path, cast_to=self._httpx.Response, options={"headers": sent, "follow_redirects": False}, **more
            )
        except self._api_status_error as problem:
            response = problem.response
        except self._connection_errors as problem:
            cause = problem.__cause__ or problem
            return Answer(0, type(cause).__name__, "no answer", {}, b"", time.monotonic() - began)
        except TypeError as problem:  # the SDK, where it has nothing to authenticate with
            if "authentication" not in str(problem):
                raise
            raise _no_credentials() from problem
        seconds = time.monotonic() - began
        body = response.content
        told = {name: response.headers[name] for name in _TOLD if name in response.headers}
        kind, message = _error(body) if response.status_code >= 300 else ("", "")
        return Answer(response.status_code, kind, message, told, body, seconds)


def _no_credentials() -> ServiceError:
    return ServiceError(
        "no usable credentials for the Claude API", next="export ANTHROPIC_API_KEY=…, then: ledger doctor"
    )


def _error(body: bytes) -> tuple[str, str]:
    """Return the type and the text of an error answer, as far as it is the API's."""
    try:
        error = msgspec.json.decode(body)["error"]
        return str(error["type"]), str(error["message"])[:_MESSAGE_CHARACTERS]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return "", body[:_MESSAGE_CHARACTERS].decode(errors="replace")
