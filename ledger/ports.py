"""What the runner needs of the world: a log, a gateway to the service, a clock.

Nothing above these ports knows SQL, HTTP or the system's time; tests put other worlds behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import msgspec

from ledger.core.errors import LedgerError
from ledger.core.events import AnyEvent, BatchSeen


class Recorded(NamedTuple):
    """One row of the log."""

    position: int
    at: int
    type_name: str
    data: str
    hash: bytes


class Head(NamedTuple):
    """Where the log ends: its last position (0 when empty), the chain's hash there, the writer's epoch."""

    position: int
    hash: bytes
    epoch: int


class RequestBlock(NamedTuple):
    """Consecutive requests, ready to be stored: ``data`` is a compressed block of the payload codec."""

    first: int
    rows: int
    data: bytes


class ResultBlock(NamedTuple):
    """Result rows of one chunk in ascending order of ordinal, ready to be stored."""

    chunk: int
    first: int
    last: int
    rows: int
    data: bytes


class RequestPayload(NamedTuple):
    """What is kept of a request beside its event.

    The source row is prefix + params + suffix when ``verbatim``, else prefix alone. The custom_id is here too, so that
    a body can be built from payloads alone.
    """

    salt: bytes
    params: bytes
    prefix: bytes
    suffix: bytes
    verbatim: bool
    custom_id: str


class ResultPayload(NamedTuple):
    """A result row exactly as the service sent it, and the salt of its digest."""

    ordinal: int
    salt: bytes
    row: bytes


class Body(NamedTuple):
    """The payload of a request, and whose it is."""

    ordinal: int
    payload: RequestPayload


class EventLog(Protocol):
    """An append-only, hash-chained log with the payloads its events name."""

    @property
    def ledger_id(self) -> str:
        """The id in the first event; empty before it."""
        ...

    @property
    def head(self) -> Head:
        """Where the log ends."""
        ...

    def append(
        self,
        events: Sequence[AnyEvent],
        at: int,
        requests: Sequence[RequestBlock] = (),
        results: Sequence[ResultBlock] = (),
    ) -> Head:
        """Store events and payloads in one durable transaction and return the new head.

        Raises:
            LockedError: another writer has taken over.
            DiskError: nothing of it was stored, or it cannot be known; stop before the next effect.
        """
        ...

    def rewrite(
        self, events: Sequence[AnyEvent], at: int, amended: Sequence[Body] = (), redacted: Collection[int] = ()
    ) -> Head:
        """Store events and change payloads in one durable transaction, and return the new head.

        Args:
            events: what is announced.
            at: the instant.
            amended: new bodies of requests, in the order of their events; those before them are kept as superseded.
            redacted: ordinals whose bodies, superseded bodies and result rows are deleted, with their salts.

        Raises:
            LockedError: another writer has taken over.
            CorruptLogError: a payload is not there, or not what was written; nothing was stored.
            DiskError: nothing of it was stored, or it cannot be known; stop before the next effect.
        """
        ...

    def read(self, after: int = 0, upto: int | None = None) -> Iterator[Recorded]:
        """Yield the rows with ``after < position <= upto``, in order."""
        ...

    def request_payloads(self, ordinals: Iterable[int]) -> Iterator[RequestPayload]:
        """Yield the payload of each ordinal; the ordinals ascend."""
        ...

    def superseded_payloads(self) -> Iterator[Body]:
        """Yield the bodies that were replaced, in the order of the events that replaced them."""
        ...

    def result_payloads(self, chunk: int) -> Iterator[ResultPayload]:
        """Yield the stored rows of a chunk in ascending order of ordinal."""
        ...

    def save_snapshot(self, position: int, data: bytes) -> None:
        """Keep a memo of the fold at a position; it may be dropped at any time."""
        ...

    def load_snapshot(self) -> tuple[int, bytes] | None:
        """Return the newest memo, if there is one."""
        ...


class Clock(Protocol):
    """Time, and waiting for it."""

    def now(self) -> int:
        """The instant, in microseconds since 1970 UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that only ever increase."""
        ...


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What every answer of the service carries beside its body.

    ``undated``: it bore no date, and ``server_date`` is of our own clock, which runs steadily while the process lives.
    """

    status: int
    server_date: int = 0
    undated: bool = False
    request_id: str = ""
    workspace: str = ""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the list of batches, newest first."""

    reply: Reply
    batches: tuple[BatchSeen, ...]
    has_more: bool
    last_id: str


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A submission answered with 2xx and a batch id."""

    reply: Reply
    batch: BatchSeen


class CallError(LedgerError):
    """A call was answered with an error, or not at all (``status`` 0).

    ``sent`` is False only when it is certain that the last byte of the request was never sent. ``envelope`` is
    whether the body was the API's own error object. ``kind`` is ``error.type``, ``code`` is
    ``error.details.error_code``.
    """

    exit_code = 6

    def __init__(
        self,
        what: str,
        *,
        status: int = 0,
        kind: str = "",
        code: str = "",
        message: str = "",
        envelope: bool = False,
        sent: bool = True,
        retry_after_us: int = 0,
        request_id: str = "",
        workspace: str = "",
        server_date: int = 0,
    ) -> None:
        super().__init__(what)
        self.status = status
        self.kind = kind
        self.code = code
        self.message = message
        self.envelope = envelope
        self.sent = sent
        self.retry_after_us = retry_after_us
        self.request_id = request_id
        self.workspace = workspace
        self.server_date = server_date


class ReleaseRefusedError(Exception):
    """Raised by ``release`` to stop a submission before its last byte: no batch can exist."""


class Gateway(Protocol):
    """The calls of the Message Batches API that are made here. Each makes exactly one HTTP request."""

    def submit(
        self,
        body: Iterable[bytes],
        size_bytes: int,
        betas: Sequence[str],
        release: Callable[[str], None],
    ) -> Accepted:
        """Send a body of exactly ``size_bytes``, withholding its last byte until ``release(digest)`` returns.

        ``digest`` is the hex SHA-256 of the whole body. The last byte is sent only within five seconds of the
        return of ``release``.

        Raises:
            CallError: the answer was no 2xx with a batch id; ``sent`` says whether a batch may exist.
            ReleaseRefusedError: ``release`` raised it; the connection was dropped before the last byte.
        """
        ...

    def list(self, limit: int, after_id: str = "") -> Page:
        """Return a page of the workspace's batches, newest first.

        Raises:
            CallError: no usable answer.
        """
        ...

    def retrieve(self, batch: str) -> Accepted:
        """Return one batch.

        Raises:
            CallError: no usable answer; status 404 when this workspace has no such batch.
        """
        ...

    def results(self, batch: str) -> Iterator[bytes]:
        """Yield the bytes of a batch's result file in pieces of any size.

        Raises:
            CallError: no usable answer, or the stream broke before its end.
        """
        ...

    def cancel(self, batch: str) -> Accepted:
        """Ask for a batch to be canceled and return it.

        Raises:
            CallError: no usable answer.
        """
        ...

    def delete(self, batch: str) -> Reply:
        """Delete a batch that has ended, with its results; what it cost stays.

        Raises:
            CallError: no usable answer; status 404 when this workspace has no such batch.
        """
        ...
