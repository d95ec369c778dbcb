"""Readers at full speed beside a run: they never fail, and disturb nothing."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest
from processes import Nursery
from scene import CALMLY, Scene

from ledger.store.sqlite import SqliteLog


def read_status(scene: Scene) -> None:
    assert scene.ledger()[0].status().summary.asked == len(scene.ids)


def read_results(scene: Scene) -> None:
    assert len(list(scene.ledger()[0].results(all=True))) == len(scene.ids)


def read_costs(scene: Scene) -> None:
    assert scene.ledger()[0].costs().total.cost_usd is not None


def read_events(scene: Scene) -> None:
    positions = [row.position for row in scene.ledger()[0].events()]
    assert positions == list(range(1, len(positions) + 1))


def audit(scene: Scene) -> None:
    report = scene.audit()
    assert report.ok, report.findings


def read_raw(scene: Scene) -> None:
    """Query the file as Datasette and the sqlite3 shell do (``-readonly``)."""
    with closing(sqlite3.connect(f"file:{scene.path}?mode=ro", uri=True)) as connection:
        count, last = connection.execute("SELECT count(*), max(position) FROM event").fetchone()
        assert count == last
        assert len(connection.execute("SELECT * FROM event ORDER BY position").fetchall()) >= count


READERS: tuple[Callable[[Scene], None], ...] = (
    read_status,
    read_results,
    read_costs,
    read_events,
    audit,
    read_raw,
)


@contextmanager
def reading(scene: Scene) -> Iterator[Counter[str]]:
    """Read without pause, every way in a thread of its own, until the block ends; raise what a reader raised."""
    over, counts, problems = threading.Event(), Counter[str](), list[BaseException]()

    def again_and_again(read: Callable[[Scene], None]) -> None:
        while not over.is_set():
            try:
                read(scene)
            except BaseException as problem:  # noqa: BLE001 - raised again by the thread that waits
                problems.append(problem)
                return
            counts[read.__name__] += 1

    threads = [threading.Thread(target=again_and_again, args=(read,)) for read in READERS]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        over.set()
        for thread in threads:
            thread.join()
    if problems:
        raise problems[0]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    texts = [f"Say {number}." for number in range(120)]
    quick = msgspec.structs.replace(CALMLY, turnaround_minimum_seconds=4.0, turnaround_maximum_seconds=20.0)
    with Scene(tmp_path, texts=texts, settings=quick, chunk_requests=10) as scene:
        yield scene


def test_readers_at_full_speed_never_fail_and_disturb_nothing(scene: Scene, nursery: Nursery) -> None:
    process = nursery.command(scene.argv())
    while not scene.server.core.batches:
        assert process.is_there(), process.said()
        time.sleep(0.01)  # asking without pause would take the processor from the service
    with reading(scene) as counts:
        assert process.wait() == 0, process.said()
    assert set(counts) == {read.__name__ for read in READERS}, "each was heard at least once"
    scene.answered_once(scene.ledger()[0].summary())


def test_a_reader_that_never_lets_go_of_its_snapshot_keeps_nobody_from_writing(scene: Scene, nursery: Nursery) -> None:
    """As a notebook does with an open cursor: the -wal cannot be emptied meanwhile, and loses nothing."""
    process = nursery.command(scene.argv())
    while not scene.server.core.batches:
        assert process.is_there(), process.said()
        time.sleep(0.01)  # asking without pause would take the processor from the service
    with closing(sqlite3.connect(f"file:{scene.path}?mode=ro", uri=True, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        (seen,) = connection.execute("SELECT max(position) FROM event").fetchone()
        assert process.wait() == 0, process.said()
        assert connection.execute("SELECT max(position) FROM event").fetchone() == (seen,)
    with SqliteLog.open_reader(scene.path) as log:
        assert log.head.position > seen
    scene.answered_once(scene.ledger()[0].summary())
    assert nursery.command(scene.resume_argv()).wait() == 0
    assert not scene.path.with_name("items.ledger-wal").exists(), "the next clean end leaves one file"
