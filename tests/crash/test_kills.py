"""SIGKILL at any moment: what was acknowledged is there, what was accepted is found, and nothing is paid for twice."""

from __future__ import annotations

import random
import time
from pathlib import Path

import msgspec
import pytest
from campaign import live
from processes import Nursery
from scene import CALMLY, Scene

KILLS = 10


def test_a_run_of_1000_items_killed_ten_times_answers_each_once(tmp_path: Path, nursery: Nursery) -> None:
    """Through the shipped command, at moments drawn from a seed; the service keeps it from finishing before."""
    chance = random.Random(20261122)
    slow = msgspec.structs.replace(
        CALMLY, turnaround_minimum_seconds=10.0, turnaround_maximum_seconds=16.0, queue_maximum=60
    )
    texts = [f"Say {number}." for number in range(1000)]
    with Scene(tmp_path, texts=texts, settings=slow, chunk_requests=20) as scene:
        killed = []
        for _ in range(KILLS):
            # the first command is typed again until the ledger is there
            process = nursery.command(scene.resume_argv() if scene.path.exists() else scene.argv())
            time.sleep(chance.uniform(0.05, 0.9))  # the moment of the kill is what the test draws
            killed.append(process.kill())
        assert all(killed), "each was at work when it was killed"
        process = nursery.command([*scene.resume_argv(), "--json"])
        assert process.wait() == 0, process.said()
        summary = scene.ledger()[0].summary()
        assert (summary.asked, summary.outcomes) == (1000, {"ok": 1000})
        scene.answered_once(summary)
        assert nursery.command(["replay", str(scene.path), "--audit"]).wait() == 0


@pytest.mark.parametrize("part", range(4))
def test_killed_right_after_any_event_it_resumes_to_the_same_end(tmp_path: Path, nursery: Nursery, part: int) -> None:
    """Each life is killed after one more event than the one before, until one survives; four tests share them."""
    texts = [f"{'[[simulate:errored:overloaded_error:1]] ' if n == 5 else ''}Say {n}." for n in range(12)]
    events = part + 1
    while True:
        place = tmp_path / str(events)
        place.mkdir()
        with Scene(place, texts=texts, settings=QUICK, settle_seconds=1.0) as scene:
            order = {"path": str(scene.path), "base_url": scene.server.url, "items": str(scene.items)}
            first = nursery.act("run", **order, said=scene.said, dies_after=events)
            survived = first.wait() == 0
            # The first command typed again does as well as resume, and also before the items were taken in.
            second = nursery.act("run", **order, said=scene.said)
            assert second.wait() == 0, second.said()
            scene.answered_after_retries()
        if survived:
            break
        events += 4
    assert events > 40, "a run has more events than that: most lives were killed"


QUICK = msgspec.structs.replace(CALMLY, turnaround_minimum_seconds=0.5, turnaround_maximum_seconds=1.5)


@pytest.mark.parametrize("seed", range(6))
def test_killed_again_and_again_under_faults_nothing_is_lost_or_paid_twice(
    tmp_path: Path, nursery: Nursery, seed: int
) -> None:
    """Some seeds of the campaign, which ``make crash`` runs for as long as one likes."""
    live(nursery, tmp_path, seed)
