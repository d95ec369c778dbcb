"""The hot functions, each by itself, so that a regression shows where it is: `make bench-hot`.

All work on one real ledger of 5,000 items of 2 KB, made by a run against the benchmark's server.
"""

from __future__ import annotations

import sqlite3
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from corpus import item_lines
from measure import server

from ledger import Ledger
from ledger.collecting import CollectJob, collect
from ledger.core import events as e
from ledger.core.answers import read_row
from ledger.core.chunks import cut, nonce_of
from ledger.core.columns import IN_CHUNK, ordinals
from ledger.core.events import AnyEvent
from ledger.core.evolve import fold
from ledger.core.items import Defaults, ItemParser, Request
from ledger.core.shapes import LineParser
from ledger.core.state import RunState
from ledger.loading import load_state
from ledger.perform import Tools
from ledger.ports import Recorded, ResultBlock, ResultPayload
from ledger.service.gateway import AnthropicGateway
from ledger.store.payloads import result_blocks
from ledger.store.sqlite import SqliteLog

ITEMS = 5_000
ROWS = 1_000
ITEM_BYTES = ANSWER_BYTES = 2_000
Timed = Any  # pytest-benchmark has no types


class Recording(NamedTuple):
    """A finished run: its file, its log, its result rows, and the service that still has its batch."""

    path: Path
    rows: list[Recorded]
    payloads: list[ResultPayload]
    url: str

    def until(self, type_name: str) -> RunState:
        """Return the state before the first event of a type."""
        position = next(row.position for row in self.rows if row.type_name == type_name) - 1
        with SqliteLog.open_reader(self.path) as log:
            return load_state(log, position)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    place = tmp_path_factory.mktemp("hot")
    items, path = place / "items.jsonl", place / "items.ledger"
    items.write_bytes(b"".join(item_lines(ITEMS, ITEM_BYTES)))
    with server(ANSWER_BYTES, turnaround_seconds=0.05) as service:
        Ledger(path, base_url=service.url, api_key="simulated").run(items, poll_seconds=0.05)
        with sqlite3.connect(path) as file:
            file.execute("DELETE FROM snapshot")  # what is timed must read the log
        file.close()
        with SqliteLog.open_reader(path) as log:
            yield Recording(path, list(log.read()), list(log.result_payloads(1)), service.url)


def test_decode_an_item(benchmark: Timed) -> None:
    benchmark.extra_info["items"] = ROWS
    lines = list(item_lines(ROWS, ITEM_BYTES))
    parse = LineParser(ItemParser(Defaults())).parse
    found = benchmark(lambda: [parse(line) for line in lines])
    assert all(isinstance(request, Request) for request in found)


def test_decode_an_item_that_is_like_no_other(benchmark: Timed) -> None:
    benchmark.extra_info["items"] = ROWS
    lines = list(item_lines(ROWS, ITEM_BYTES))
    parse = ItemParser(Defaults()).parse
    found = benchmark(lambda: [parse(line) for line in lines])
    assert all(isinstance(request, Request) for request in found)


def test_decode_a_result_row(recording: Recording, benchmark: Timed) -> None:
    benchmark.extra_info["rows"] = ROWS
    rows = [payload.row for payload in recording.payloads[:ROWS]]
    answers = benchmark(lambda: [read_row(row) for row in rows])
    assert {answer.outcome for answer in answers} == {"ok"}


def test_decode_an_event(recording: Recording, benchmark: Timed) -> None:
    benchmark.extra_info["events"] = ROWS
    rows = [(row.type_name, row.data) for row in recording.rows if row.type_name == "result_stored"][:ROWS]
    events = benchmark(lambda: [e.decode(name, data) for name, data in rows])
    assert len(events) == ROWS


def test_pack_result_rows(recording: Recording, benchmark: Timed) -> None:
    benchmark.extra_info["rows"] = ROWS
    payloads = recording.payloads[:ROWS]
    blocks = benchmark(lambda: list(result_blocks(1, payloads)))
    assert sum(block.rows for block in blocks) == ROWS


def test_append_events_durably(recording: Recording, benchmark: Timed, tmp_path: Path) -> None:
    """Chained, stored and synced; 1,000 a transaction, without payloads."""
    benchmark.extra_info["events"] = ROWS
    events = [e.decode(row.type_name, row.data) for row in recording.rows if row.type_name == "result_stored"][:ROWS]
    with SqliteLog.create(tmp_path / "a.ledger") as log:
        log.append([e.decode(recording.rows[0].type_name, recording.rows[0].data)], 1)
        head = benchmark(lambda: log.append(events, 1))
        assert log.head == head


def test_fold_events(recording: Recording, benchmark: Timed) -> None:
    benchmark.extra_info["events"] = len(recording.rows)
    events = [(row.position, row.at, e.decode(row.type_name, row.data)) for row in recording.rows]
    state = benchmark(lambda: fold(events))
    assert state.position == len(recording.rows)


def test_chain_and_fold_a_log(recording: Recording, benchmark: Timed) -> None:
    """What opening a ledger for writing costs where there is no memo: read, check every hash, decode, fold."""

    benchmark.extra_info["events"] = len(recording.rows)

    def load() -> RunState:
        with SqliteLog.open_reader(recording.path) as log:
            return load_state(log, proven=True)

    assert benchmark(load).position == len(recording.rows)


def test_audit_a_ledger(recording: Recording, benchmark: Timed) -> None:
    """The full audit: the chain, the fold, and the digest of every payload."""
    benchmark.extra_info["events"] = len(recording.rows)
    assert benchmark.pedantic(Ledger(recording.path).audit, rounds=5).ok


def test_seal_a_chunk(recording: Recording, benchmark: Timed) -> None:
    benchmark.extra_info["requests"] = ITEMS
    state = recording.until("chunk_sealed")
    taken = benchmark(lambda: cut(state.columns, state.fresh[0], 10_000, 64_000_000, frozenset()))
    assert taken.requests == ITEMS


def test_collect_a_batch(recording: Recording, benchmark: Timed) -> None:
    """Download, check and pack the results; the events go nowhere."""
    benchmark.extra_info["rows"] = ITEMS
    state = recording.until("result_stored")
    stored: list[AnyEvent] = []

    def emit(events: Sequence[AnyEvent], results: Sequence[ResultBlock] = ()) -> None:
        stored.extend(events)

    gateway = AnthropicGateway(base_url=recording.url, api_key="simulated")
    tools = Tools(gateway, lambda: SqliteLog.open_reader(recording.path), tempfile.TemporaryFile, emit)
    job = _collect_job(state)

    def once() -> list[AnyEvent]:
        stored.clear()
        return collect(job, tools)

    assert isinstance(benchmark(once)[-1], e.BatchCollected)
    assert len(stored) == ITEMS
    gateway.close()


def _collect_job(state: RunState) -> CollectJob:
    chunk, columns = state.chunks[1], state.columns
    waiting = array("I", (ordinal for ordinal in ordinals(chunk.ranges) if columns.status[ordinal] == IN_CHUNK))
    return CollectJob(
        chunk=chunk,
        nonce=nonce_of(state.ledger_id, 1, chunk.submission),
        earlier={},
        waiting=waiting,
        attempts=bytes(len(waiting)),
        models=[state.classes[0].model] * len(waiting),
        stored={"succeeded": 0, "errored": 0, "canceled": 0, "expired": 0},
        max_attempts=3,
        cancel_wanted=False,
        workspace="",
        failures=0,
    )
