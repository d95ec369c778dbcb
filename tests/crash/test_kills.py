"""SIGKILL at any moment: what was acknowledged is there, what was accepted is found, and nothing is paid for twice."""

from __future__ import annotations

import random
import time
from pathlib import Path

import msgspec
import pytest
from campaign import ANEW_EVERY, IN_ORDER, NORMAL, Tally, live
from points import POINTS, Crash, read_notes
from processes import Nursery
from scene import CALMLY, Scene

from ledger.store.sqlite import SqliteLog

KILLS = 10
KILLS_A_PART = 100
FAST = 60.0
QUICK = msgspec.structs.replace(CALMLY, turnaround_minimum_seconds=1.0, turnaround_maximum_seconds=2.0)
ONE_FAILS = [f"{'[[simulate:errored:overloaded_error:1]] ' if n == 4 else ''}Say {n}." for n in range(6)]


def test_a_run_of_1000_items_killed_ten_times_answers_each_once(tmp_path: Path, nursery: Nursery) -> None:
    """Through the shipped command, at moments drawn from a seed; the service keeps it from finishing before."""
    chance = random.Random(20261122)
    slow = msgspec.structs.replace(
        CALMLY, turnaround_minimum_seconds=10.0, turnaround_maximum_seconds=16.0, queue_maximum=100
    )
    texts = [f"Say {number}." for number in range(1000)]
    with Scene(tmp_path, texts=texts, settings=slow, speed=FAST, chunk_requests=40) as scene:
        killed = []
        for _ in range(KILLS):
            # The first command is typed again: `resume` would have nothing to do where no item was taken in yet.
            process = nursery.command(scene.argv())
            time.sleep(chance.uniform(0.01, 0.2))  # the moment of the kill is what the test draws
            killed.append(process.kill())
        assert all(killed), "each was at work when it was killed"
        process = nursery.command([*scene.argv(), "--json"])
        assert process.wait() == 0, process.said()
        summary = scene.ledger()[0].summary()
        assert (summary.asked, summary.outcomes) == (1000, {"ok": 1000})
        scene.answered_once(summary)
        assert nursery.command(["replay", str(scene.path), "--audit"]).wait() == 0


@pytest.mark.parametrize("part", range(2))
def test_killed_at_any_append_of_a_run_it_resumes_to_the_same_end(tmp_path: Path, nursery: Nursery, part: int) -> None:
    """Each run is killed at one append after the one before, until one survives; two tests share them."""
    append = part + 1
    while True:
        place = tmp_path / str(append)
        place.mkdir()
        with Scene(place, texts=ONE_FAILS, settings=QUICK, speed=FAST, chunk_requests=3) as scene:
            crash = Crash(POINTS[append // 2 % 3], append)
            first = nursery.command(scene.argv(), notes=str(place / "notes"), crash=crash)
            survived = first.wait() == 0
            require_acknowledged(scene, place / "notes")
            # The first command typed again does as well as resume, and also before the items were taken in.
            second = nursery.command(scene.argv())
            assert second.wait() == 0, second.said()
            scene.answered_after_retries()
        if survived:
            break
        append += 2
    assert append > 20, "a run has more appends than that: most runs were killed"


@pytest.mark.parametrize("point", POINTS)
def test_one_run_is_killed_at_every_type_of_event_that_it_writes(tmp_path: Path, nursery: Nursery, point: str) -> None:
    notes = tmp_path / "notes"
    with Scene(tmp_path, texts=ONE_FAILS, settings=QUICK, speed=FAST, chunk_requests=3) as scene:
        for kind in (kind for kind in IN_ORDER if kind != "request_built"):  # it is in the append of class_declared
            process = nursery.command(scene.argv(), notes=str(notes), crash=Crash(point, 1, kind))
            assert process.wait() == -9, f"no {kind}: {process.said()}"
            require_acknowledged(scene, notes)
        last = nursery.command(scene.argv())
        assert last.wait() == 0, last.said()
        scene.answered_after_retries()
    assert {kind for _, types in read_notes(notes).deaths for kind in types} >= NORMAL


def require_acknowledged(scene: Scene, notes: Path) -> None:
    """Assert that the log holds what was acknowledged, and is not behind its head."""
    acknowledged = read_notes(notes)
    if acknowledged.position:
        with SqliteLog.open_reader(scene.path) as log:
            assert log.head_verified
            (stored,) = log.read(acknowledged.position - 1, acknowledged.position)
            assert stored.hash == acknowledged.hash


@pytest.mark.parametrize("part", range(2))
def test_killed_a_hundred_times_under_faults_nothing_is_lost_or_paid_twice(
    tmp_path: Path, nursery: Nursery, part: int
) -> None:
    """Some seeds of the campaign, which ``make crash`` runs for as long as one likes."""
    total, seed = Tally(), part * 1000 + 1
    while total.kills < KILLS_A_PART:
        if seed % ANEW_EVERY:
            (tmp_path / str(seed)).mkdir()
            total.add(live(nursery, tmp_path / str(seed), seed))
        seed += 1
    assert total.appends > total.kills


def test_the_console_script_in_its_own_interpreter_is_killed_and_loses_nothing_it_has_said(
    tmp_path: Path, nursery: Nursery
) -> None:
    tally = live(nursery, tmp_path, ANEW_EVERY * 3)
    assert tally.by_where["anew"] == tally.kills > 0


@pytest.mark.parametrize("append", [1, 2, 3, 4])
def test_a_run_killed_before_its_items_were_known_is_not_taken_for_a_finished_one(
    tmp_path: Path, nursery: Nursery, append: int
) -> None:
    with Scene(tmp_path, texts=ONE_FAILS, settings=QUICK, speed=FAST, chunk_requests=3) as scene:
        crash = Crash("before", append)
        assert nursery.command(scene.argv(), notes=str(tmp_path / "notes"), crash=crash).wait() == -9
        resumed = nursery.command(scene.resume_argv())
        assert resumed.wait() == 3, resumed.said()
        assert f"no items were taken in yet; nothing was sent\nnext: ledger run ITEMS --ledger {scene.path}\n" in (
            resumed.said()
        )
        again = nursery.command(scene.argv())
        assert again.wait() == 0, again.said()
        scene.answered_after_retries()
