"""The simulated service over HTTP/1.1: ``ledger simulator --port 8787``, and a server for tests in a thread.

One thread a connection, keep-alive, large reads. A body that ends before its Content-Length was never received: the
connection is closed and nothing happens (RFC 9112, 6.3).
"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Self, cast
from urllib.parse import parse_qsl, urlsplit

from ledger.service.simulator.bill import Bill, draw_bill
from ledger.service.simulator.clocks import real_clock, scaled_clock
from ledger.service.simulator.core import Simulator
from ledger.service.simulator.envelope import BODY_BYTES_MAXIMUM
from ledger.service.simulator.journal import open_simulator
from ledger.service.simulator.refusals import NAMED_REFUSALS
from ledger.service.simulator.routes import Call, CutError, Reply, Service, play
from ledger.service.simulator.settings import Settings

_DRAIN_SECONDS = 10.0
_PIECE_BYTES = 1 << 20


class ShortBodyError(Exception):
    """The connection closed before the body was complete."""


class RunningServer:
    """A server that answers in its own threads until it is closed.

    Args:
        address: host and port; port 0 for a free one.
        settings: how the service behaves.
        state_path: where its memory is kept; None for memory only.
        speed: how many times faster than real its clock runs.

    Raises:
        LockedError: another process simulates with this file.
        OSError: the port is taken.
    """

    def __init__(self, address: tuple[str, int], settings: Settings, state_path: Path | None, speed: float) -> None:
        simulator, opened, self._journal = open_simulator(settings, state_path, real_clock())
        self.service = Service(simulator, scaled_clock(opened.started_at, speed))
        try:
            self._server = _Server(address, self.service)
        except OSError:
            if self._journal is not None:
                self._journal.close()
            raise
        host, port = self._server.server_address[:2]
        self.url = f"http://{host!s}:{port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="simulator")
        self._thread.start()

    @property
    def core(self) -> Simulator:
        """The service itself."""
        return self.service.simulator

    @property
    def connections(self) -> int:
        """How many are open: 0 once whatever was on its way from a client that is gone has been taken in."""
        return self._server.connections

    def bill(self) -> Bill:
        """Return what the service would charge by now."""
        return draw_bill(self.core.batches, self.service.now())

    def wait(self) -> None:
        """Return when the server was closed from another thread."""
        self._thread.join()

    def close(self) -> None:
        """Stop answering, close every connection, and release the state file."""
        self._server.shutdown()
        self._thread.join()
        self._server.close_connections()
        self._server.server_close()
        if self._journal is not None:
            self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def serve(
    port: int = 0,
    settings: Settings | None = None,
    state_path: Path | None = None,
    *,
    speed: float = 1.0,
    host: str = "127.0.0.1",
) -> RunningServer:
    """Return a server that is already listening; see ``RunningServer``."""
    return RunningServer((host, port), settings or Settings(), state_path, speed)


def run(
    port: int,
    settings: Settings,
    state_path: Path | None = None,
    *,
    speed: float = 1.0,
    host: str = "127.0.0.1",
    announce: Callable[[str], None],
) -> None:
    """Serve until KeyboardInterrupt, or another exception of the calling thread, ends it.

    Args:
        port: 0 for a free one.
        settings: how the service behaves.
        state_path: where its memory is kept; None for memory only.
        speed: how many times faster than real its clock runs.
        host: the address to listen on.
        announce: told the URL once it is listening.
    """
    with serve(port, settings, state_path, speed=speed, host=host) as server:
        announce(server.url)
        server.wait()


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the client may have been faster
        connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingMixIn, TCPServer):
    daemon_threads = False  # closing waits for every answer that was begun: after it, nothing is written any more
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], service: Service) -> None:
        self.service = service
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        self._is_closing = False
        super().__init__(address, _Handler)

    def _remember(self, connection: socket.socket) -> None:
        with self._connections_lock:
            self._connections.add(connection)
            if self._is_closing:
                _shut(connection)

    @property
    def connections(self) -> int:
        with self._connections_lock:
            return len(self._connections)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """Count a connection from the moment it is taken on, before its thread runs."""
        self._remember(cast(socket.socket, request))
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        """Close a connection whose thread is done with it."""
        super().shutdown_request(request)
        with self._connections_lock:
            self._connections.discard(cast(socket.socket, request))

    def close_connections(self) -> None:
        with self._connections_lock:
            self._is_closing = True
            for connection in self._connections:
                _shut(connection)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that go away; they do so on purpose in half of all tests."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "claude-batch-ledger-simulator"
    sys_version = ""
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self._owner = cast(_Server, self.server)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the parent's name
        """Log nothing: a simulated run has its own record of calls."""

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    def _handle(self) -> None:
        try:
            declared = int(self.headers.get("content-length", 0))
            if declared > BODY_BYTES_MAXIMUM:
                return self._refuse_early()
            is_chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
            body = self._read_chunks() if is_chunked else self._read_exactly(declared)
        except (ShortBodyError, ValueError):  # ValueError: a length that is no number
            self.close_connection = True
            return None
        split = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        host, port = self._owner.server_address[:2]
        origin = f"http://{headers.get('host', f'{host!s}:{port}')}"
        call = Call(self.command, split.path, parse_qsl(split.query), headers, body, origin)
        reply = self._owner.service.answer(call)
        del call, body  # a body may be 256 MB, and a results stream long
        if reply.silence is not None:
            return self._stay_silent(reply)
        return self._send(reply)

    def _read_exactly(self, length: int) -> bytearray:
        body = bytearray(length)
        view, received = memoryview(body), 0
        while received < length:
            count = self.rfile.readinto(view[received : received + _PIECE_BYTES])
            if not count:
                raise ShortBodyError
            received += count
        return body

    def _read_chunks(self) -> bytearray:
        body = bytearray()
        while True:
            line = self.rfile.readline(1024)
            if not line.endswith(b"\n"):
                raise ShortBodyError
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            body += self._read_exactly(size)
            self._read_exactly(2)
            if len(body) > BODY_BYTES_MAXIMUM:
                break  # the envelope's own check answers 413
        while self.rfile.readline(1024) not in (b"\r\n", b"\n", b""):
            pass
        return body

    def _refuse_early(self) -> None:
        """Answer 413 while the body is still coming, as a proxy in front does, and let the client read it."""
        content_type, data = NAMED_REFUSALS["too_large"]().body("")
        self._send(Reply(413, {"content-type": content_type, "connection": "close"}, lambda: iter((data,))))
        self.close_connection = True
        # Closing with unread input would reset the connection, and the client might lose the answer.
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(_DRAIN_SECONDS)
            while self.connection.recv(_PIECE_BYTES):
                pass

    def _stay_silent(self, reply: Reply) -> None:
        self.close_connection = True
        if reply.silence == "hang":
            self.connection.settimeout(reply.hang_seconds or None)
            with contextlib.suppress(OSError):
                self.connection.recv(1)  # returns when the client gives up
        _shut(self.connection)

    def _send(self, reply: Reply) -> None:
        self.send_response_only(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.framing == "length":
            self.send_header("content-length", str(sum(len(piece) for piece in reply.pieces())))
        elif reply.framing == "chunked":
            self.send_header("transfer-encoding", "chunked")
        else:
            self.send_header("connection", "close")
            self.close_connection = True
        self.end_headers()
        is_chunked = reply.framing == "chunked"
        try:
            for piece in play(reply):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
        except CutError:
            self.close_connection = True
            _shut(self.connection)
            return
        if is_chunked:
            self.wfile.write(b"0\r\n\r\n")
