"""The service of the benchmark: raw sockets, ready-made answers, next to no work. Prints its URL.

    python server.py --answer-bytes 2000 [--turnaround 0.5]

The simulator (`ledger simulator`) reads every request with care, which would make it the slowest part of a benchmark.
This server takes the custom_ids out of a body with one regular expression, and answers with rows that differ in their
ids and come from a pool of ready-made texts. What it can take and give is measured with `curl` beside every result
(`floor.py`). It checks nothing and never fails: what goes wrong is measured by tests.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from corpus import text_slices

MODEL = "claude-sonnet-4-6"
_ID = re.compile(rb'"custom_id":\s?"([^"]+)"')
_PIECE_BYTES = 1 << 20
_POOL_BYTES = 24_000_000
_POOL_ROWS = 1009  # a prime: no two rows of one stored block come from the same text


class Batch(NamedTuple):
    """What is remembered of a batch."""

    name: str
    ids: list[bytes]
    created_at: datetime
    ends_at: float


class Pool:
    """Rows without their ids: what stands before the id, and the texts that follow it."""

    head = b'{"custom_id":"'

    def __init__(self, answer_bytes: int) -> None:
        count = max(min(_POOL_ROWS, _POOL_BYTES // answer_bytes), 7)
        slices = text_slices(answer_bytes)
        self.tails = [_tail(number, next(slices)) for number in range(count)]

    def rows(self, ids: list[bytes]) -> list[bytes]:
        """Return the pieces of the rows of these requests."""
        tails, count = self.tails, len(self.tails)
        pieces: list[bytes] = []
        for at, name in enumerate(ids):
            pieces += (self.head, name, tails[at % count])
        return pieces


def _tail(number: int, text: str) -> bytes:
    # Field names and nesting: anthropic SDK 2.12, types/message.py and types/usage.py.
    message = {
        "model": MODEL,
        "id": f"msg_01{number:022x}",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "usage": {
            "input_tokens": 400 + number % 97,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": max(len(text) // 4, 1),
            "server_tool_use": None,
            "service_tier": "batch",
            "inference_geo": "not_available",
        },
    }
    result = json.dumps({"type": "succeeded", "message": message}, separators=(",", ":"), ensure_ascii=False)
    return b'","result":' + result.encode() + b"}\n"


class Service:
    """The batches, and the answers to calls about them."""

    def __init__(self, pool: Pool, turnaround_seconds: float) -> None:
        self._pool = pool
        self._turnaround_seconds = turnaround_seconds
        self._lock = threading.Lock()
        self._batches: dict[str, Batch] = {}
        self.calls: dict[str, int] = {}
        self.requests = self.results_bytes = 0
        self.url = ""

    def create(self, body: bytearray) -> dict[str, Any]:
        """Take on a batch."""
        ids = _ID.findall(body)
        with self._lock:
            name = f"msgbatch_01{len(self._batches):022x}"
            batch = Batch(name, ids, datetime.now(UTC), time.monotonic() + self._turnaround_seconds)
            self._batches[name] = batch
            self.requests += len(ids)
        return self.seen(batch)

    def seen(self, batch: Batch) -> dict[str, Any]:
        """Return a batch as the API shows it."""
        ended, count = time.monotonic() >= batch.ends_at, len(batch.ids)
        counts = {"processing": 0 if ended else count, "succeeded": count if ended else 0}
        return {
            "id": batch.name,
            "type": "message_batch",
            "processing_status": "ended" if ended else "in_progress",
            "request_counts": counts | {"errored": 0, "canceled": 0, "expired": 0},
            "created_at": batch.created_at.isoformat(),
            "expires_at": (batch.created_at + timedelta(days=1)).isoformat(),
            "ended_at": datetime.now(UTC).isoformat() if ended else None,
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": f"{self.url}/v1/messages/batches/{batch.name}/results" if ended else None,
        }

    def get(self, path: str, query: dict[str, list[str]]) -> dict[str, Any] | list[bytes] | None:
        """Return the answer to a GET: JSON, or the rows of a batch; None for a path that there is not."""
        parts = path.strip("/").split("/")[3:]  # v1/messages/batches/…
        if path == "/calls":
            return {**self.calls, "requests": self.requests, "results_bytes": self.results_bytes}
        if not parts:
            return self._listed(int(query.get("limit", ["20"])[0]), query.get("after_id", [""])[0])
        batch = self._batches.get(parts[0])
        if batch is None:
            return None
        return self.seen(batch) if len(parts) == 1 else self._pool.rows(batch.ids)

    def _listed(self, limit: int, after: str) -> dict[str, Any]:
        with self._lock:
            names = list(reversed(self._batches))
        start = names.index(after) + 1 if after else 0
        page = names[start : start + limit]
        return {
            "data": [self.seen(self._batches[name]) for name in page],
            "has_more": start + limit < len(names),
            "first_id": page[0] if page else None,
            "last_id": page[-1] if page else None,
        }


def serve_connection(service: Service, connection: socket.socket) -> None:
    """Answer calls until the client closes the connection, or drops it."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with suppress(ConnectionError), connection, connection.makefile("rb") as reader:
        while line := reader.readline(65536):
            method, target, _ = line.decode().split(" ", 2)
            headers: dict[str, str] = {}
            while (line := reader.readline(65536)) not in (b"\r\n", b""):
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
            if headers.get("expect"):
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = bytearray(int(headers.get("content-length", 0)))
            view, received = memoryview(body), 0
            while received < len(body):
                count = reader.readinto(view[received : received + _PIECE_BYTES])
                if not count:
                    return
                received += count
            _answer(service, connection, method, target, body)


def _answer(service: Service, connection: socket.socket, method: str, target: str, body: bytearray) -> None:
    split = urlsplit(target)
    operation = f"{method} {'list' if split.path.endswith('/batches') else split.path.rpartition('/')[2][:7]}"
    service.calls[operation] = service.calls.get(operation, 0) + 1
    answer: dict[str, Any] | list[bytes] | None
    answer = service.create(body) if method == "POST" else service.get(split.path, parse_qs(split.query))
    kind, status = "application/json", "200 OK"
    if answer is None:
        status, answer = (
            "404 Not Found",
            {"type": "error", "error": {"type": "not_found_error", "message": "Not found"}},
        )
    if isinstance(answer, dict):
        pieces = [json.dumps(answer).encode()]
    else:
        kind, pieces = "application/x-jsonl", answer
    size_bytes = sum(map(len, pieces))
    service.results_bytes += size_bytes if kind == "application/x-jsonl" else 0
    head = (
        f"HTTP/1.1 {status}\r\ndate: {formatdate(usegmt=True)}\r\ncontent-type: {kind}\r\n"
        f"content-length: {size_bytes}\r\nrequest-id: req_bench\r\n\r\n"
    )
    connection.sendall(head.encode())
    group: list[bytes] = []
    group_bytes = 0
    for piece in pieces:
        group.append(piece)
        group_bytes += len(piece)
        if group_bytes >= _PIECE_BYTES:
            connection.sendall(b"".join(group))
            group, group_bytes = [], 0
    connection.sendall(b"".join(group))


def _end_with_the_parent() -> None:
    """End when standard input does: a benchmark that was killed leaves no server behind."""
    while os.read(0, 1024):  # unbuffered: a buffer's lock would be held when the server ends first
        pass
    os._exit(0)


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answer-bytes", type=int, default=2000, help="the text of an answer")
    parser.add_argument("--turnaround", type=float, default=0.5, help="seconds from a batch's creation to its end")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    service = Service(Pool(options.answer_bytes), options.turnaround)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        service.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        print(service.url, flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve_connection, args=(service, connection), daemon=True).start()


if __name__ == "__main__":
    main()
