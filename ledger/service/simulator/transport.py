"""The simulated service inside the process, behind the real SDK: no port, no network, no key.

    client = anthropic.Anthropic(api_key="simulated", http_client=httpx2.Client(transport=SimulatorTransport()))

What a network would do to the client happens here too: a dropped connection is ``RemoteProtocolError``, a service that
does not answer is ``ReadTimeout`` (at once: nobody waits for a simulation), a cut stream breaks where it was cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2

from ledger.service.simulator.bill import Bill, draw_bill
from ledger.service.simulator.clocks import real_clock, scaled_clock
from ledger.service.simulator.journal import open_simulator
from ledger.service.simulator.routes import Call, CutError, Reply, Service, play
from ledger.service.simulator.settings import Settings


class SimulatorTransport(httpx2.BaseTransport):
    """Answers the requests of one client, or of several.

    Args:
        settings: how the service behaves.
        state_path: where its memory is kept; None for memory only. With a file, what was answered survives SIGKILL.
        speed: how many times faster than real its clock runs.
        clock: microseconds UTC, instead of the real clock; for tests under a virtual one.

    Raises:
        LockedError: another process simulates with this file.
        NotALedgerError: the file is something else.
        UsageError: the file was made with another seed.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        state_path: Path | None = None,
        *,
        speed: float = 1.0,
        clock: Callable[[], int] = real_clock,
    ) -> None:
        simulator, opened, self._journal = open_simulator(settings or Settings(), state_path, clock())
        self.service = Service(simulator, scaled_clock(opened.started_at, speed, clock))

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the service's answer to one request.

        Raises:
            httpx2.LocalProtocolError: the body is not as long as its Content-Length; the service never got it.
            httpx2.RemoteProtocolError: the service closed the connection without an answer.
            httpx2.ReadTimeout: the service does not answer.
        """
        body = _received(request)
        call = Call(
            request.method,
            request.url.path,
            request.url.params.multi_items(),
            {name.lower(): value for name, value in request.headers.items()},
            body,
            f"{request.url.scheme}://{request.url.netloc.decode('ascii')}",
        )
        reply = self.service.answer(call)
        if reply.silence == "drop":
            raise httpx2.RemoteProtocolError("Server disconnected without sending a response.", request=request)
        if reply.silence == "hang":
            raise httpx2.ReadTimeout("The read operation timed out", request=request)
        headers = dict(reply.headers)
        if reply.framing == "length":
            headers["content-length"] = str(sum(len(piece) for piece in reply.pieces()))
        return httpx2.Response(reply.status, headers=headers, stream=_ReplyStream(reply, request), request=request)

    def bill(self) -> Bill:
        """Return what the service would charge by now."""
        return draw_bill(self.service.simulator.batches, self.service.now())

    def close(self) -> None:
        """Release the state file."""
        if self._journal is not None:
            self._journal.close()


def _received(request: httpx2.Request) -> bytearray:
    """Return the whole body; what its generator raises is raised here, and nothing was received."""
    assert isinstance(request.stream, httpx2.SyncByteStream)
    body = bytearray()
    for piece in request.stream:
        body += piece
    declared = request.headers.get("content-length")
    if declared is not None and int(declared) != len(body):
        little_much = "little" if len(body) < int(declared) else "much"
        raise httpx2.LocalProtocolError(f"Too {little_much} data for declared Content-Length", request=request)
    return body


class _ReplyStream(httpx2.SyncByteStream):
    """The body of an answer, as far as it comes through."""

    def __init__(self, reply: Reply, request: httpx2.Request) -> None:
        self._reply, self._request = reply, request

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from play(self._reply)
        except CutError:
            if self._reply.framing == "close":
                return  # nothing tells the client that there was more
            raise httpx2.RemoteProtocolError(
                "peer closed connection without sending complete message body", request=self._request
            ) from None
