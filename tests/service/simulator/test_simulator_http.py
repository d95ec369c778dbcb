"""What only a real socket shows: bodies that fall short, connections that are kept, processes that are killed."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from simulating import body_of, requests, settings

from ledger.service.simulator.faults import Fault
from ledger.service.simulator.http import RunningServer, run, serve
from ledger.service.simulator.settings import Settings

PATH = "/v1/messages/batches"
KEY = {"authorization": "Bearer k", "anthropic-version": "2026-10-21"}


def connect(server: RunningServer) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def post(framing: str) -> bytes:
    head = [f"POST {PATH} HTTP/1.1", "host: x", *(f"{name}: {value}" for name, value in KEY.items()), framing]
    return ("\r\n".join(head) + "\r\n\r\n").encode()


def call(server: RunningServer, method: str, path: str, body: bytes | None = None) -> Any:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=20)
    connection.request(method, path, body, KEY)
    reply = json.loads(connection.getresponse().read())
    connection.close()
    return reply


def until_closed(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


@pytest.mark.parametrize("missing", [1, 30])
def test_a_body_shorter_than_its_content_length_is_no_batch_and_gets_no_answer(missing: int) -> None:
    body = body_of(requests(*"abc"))
    with serve(settings=settings()) as server, connect(server) as connection:
        connection.sendall(post(f"content-length: {len(body)}") + body[:-missing])
        connection.shutdown(socket.SHUT_WR)
        assert until_closed(connection) == b""
        assert server.bill().batches == 0


def test_a_chunked_body_without_its_last_chunk_is_no_batch_and_gets_no_answer() -> None:
    body = body_of(requests(*"abc"))
    with serve(settings=settings()) as server, connect(server) as connection:
        connection.sendall(post("transfer-encoding: chunked") + b"%x\r\n%b\r\n" % (len(body), body))
        connection.shutdown(socket.SHUT_WR)
        assert until_closed(connection) == b""
        assert server.bill().batches == 0


@pytest.mark.parametrize("framing", ["content-length: many", "transfer-encoding: chunked\r\n\r\nnumber"])
def test_a_length_that_is_no_number_gets_no_answer(framing: str) -> None:
    with serve(settings=settings()) as server, connect(server) as connection:
        connection.sendall(post(framing))
        connection.shutdown(socket.SHUT_WR)
        assert until_closed(connection) == b""


def test_a_call_without_a_version_is_refused() -> None:
    with serve(settings=settings()) as server:
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=20)
        connection.request("GET", PATH, headers={"authorization": "Bearer k"})
        reply = connection.getresponse()
        assert (reply.status, json.loads(reply.read())["error"]["message"]) == (
            400,
            "anthropic-version: header is required",
        )
        connection.close()


def test_nothing_exists_until_the_withheld_last_byte_arrives() -> None:
    body = body_of(requests(*"abc"))
    with serve(settings=settings()) as server, connect(server) as connection:
        connection.sendall(post(f"content-length: {len(body)}") + body[:-1])
        assert call(server, "GET", PATH)["data"] == []
        connection.sendall(body[-1:])
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
        assert len(call(server, "GET", PATH)["data"]) == 1


def test_a_connection_is_kept_for_the_next_call() -> None:
    with serve(settings=settings()) as server:
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=20)
        connection.request("GET", PATH, headers=KEY)
        connection.getresponse().read()
        kept = connection.sock
        connection.request("POST", PATH, body_of(requests("a")), KEY)
        assert json.loads(connection.getresponse().read())["type"] == "message_batch"
        assert connection.sock is kept
        connection.close()


def test_a_body_over_256_mb_is_refused_while_it_is_still_coming() -> None:
    with serve(settings=settings()) as server, connect(server) as connection:
        connection.sendall(post("content-length: 256000001") + b"x" * 1_000_000)
        answer = connection.recv(65536)
        connection.shutdown(socket.SHUT_WR)
        answer += until_closed(connection)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert answer.endswith(b'{"error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}')
        assert b"request-id" not in answer


def test_closing_ends_a_hanging_call() -> None:
    body = body_of(requests("a"))
    server = serve(settings=settings(Fault(operation="create", kind="hang")))
    with connect(server) as connection:
        connection.sendall(post(f"content-length: {len(body)}") + body)
        while server.bill().batches == 0:
            pass
        server.close()
        assert until_closed(connection) == b""


def test_batches_are_made_by_many_clients_at_once() -> None:
    with serve(settings=settings()) as server:
        body = body_of(requests(*map(str, range(50))))
        threads = [threading.Thread(target=call, args=(server, "POST", PATH, body)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        listed = call(server, "GET", f"{PATH}?limit=1000")["data"]
        assert len({batch["id"] for batch in listed}) == 20
        bill = server.bill()
        assert (bill.requests_accepted, bill.prompts_billed_twice) == (1000, 19 * 50)


def test_a_day_passes_in_seconds_under_a_faster_clock() -> None:
    chosen = Settings(turnaround_minimum_seconds=23 * 3600, turnaround_maximum_seconds=23 * 3600)
    with serve(settings=chosen, speed=10_000_000) as server:
        made = call(server, "POST", PATH, body_of(requests("a")))
        assert made["processing_status"] == "in_progress"
        while call(server, "GET", f"{PATH}/{made['id']}")["processing_status"] != "ended":
            pass


def test_a_taken_port_is_an_error_and_releases_the_state(tmp_path: Path) -> None:
    path = tmp_path / "service.sim"
    with serve(settings=settings()) as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            serve(port, settings(), path)
    serve(0, settings(), path).close()


def test_run_announces_its_url_and_serves_until_it_is_interrupted() -> None:
    def interrupt(url: str) -> None:
        assert url.startswith("http://127.0.0.1:")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(0, settings(), announce=interrupt)


SERVE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from simulating import settings
from ledger.service.simulator.http import run
run(0, settings(), Path(sys.argv[1]), announce=lambda url: print(url, flush=True))
"""


def test_a_server_that_is_killed_comes_back_with_every_batch_it_answered_for(tmp_path: Path) -> None:
    state = tmp_path / "service.sim"
    ids = []
    for _ in range(2):
        command = [sys.executable, "-c", SERVE, str(state), str(Path(__file__).parent)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            host = process.stdout.readline().strip().removeprefix("http://")
            connection = http.client.HTTPConnection(host, timeout=20)
            connection.request("POST", PATH, body_of(requests("a")), KEY)
            ids.append(json.loads(connection.getresponse().read())["id"])
            process.send_signal(signal.SIGKILL)
            connection.close()
    with serve(0, settings(), state) as server:
        assert [batch["id"] for batch in call(server, "GET", PATH)["data"]] == ids[::-1]
