"""Processes that stand still and clocks that jump: neither sends anything late, nor makes a settle time pass."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Nursery, Process
from scene import SETTLE_SECONDS, Scene, Watcher

from ledger.core import events as e
from ledger.core.units import DAY_US
from ledger.reading import SystemClock
from ledger.service.gateway import RELEASE_SECONDS
from ledger.service.simulator.faults import Fault


def is_stopped(process: Process) -> bool:
    assert process.is_there(), process.said()
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(process.pid)], capture_output=True, text=True, check=True)
    return state.stdout.startswith("T")


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.02)  # asking without pause would take the processor from those who are asked


def stopped_at(nursery: Nursery, scene: Scene, type_name: str) -> Process:
    """Return a process that has stopped itself, as a debugger or a suspended machine does, after such an event."""
    process = nursery.act(
        "run",
        path=str(scene.path),
        base_url=scene.server.url,
        items=str(scene.items),
        said=scene.said,
        stops_at=type_name,
    )
    until(lambda: is_stopped(process))
    return process


def recorded(scene: Scene) -> list[e.AnyEvent]:
    return [e.decode(row.type_name, row.data) for row in scene.ledger()[0].events()]


def test_the_last_byte_is_never_sent_more_than_five_seconds_after_its_release(tmp_path: Path, nursery: Nursery) -> None:
    """The connection is dropped instead; the chunk is in doubt, found absent, and sent by another submission."""
    with Scene(tmp_path) as scene:
        process = stopped_at(nursery, scene, "submission_released")
        time.sleep(RELEASE_SECONDS + 0.2)  # the promise is about these seconds
        assert scene.server.core.batches == {}
        process.signal(signal.SIGCONT)
        assert process.wait() == 0, process.said()
        events = recorded(scene)
        (doubt,) = [event for event in events if isinstance(event, e.SubmissionUncertain)]
        assert (doubt.submission, doubt.cause) == (1, "late")
        (created,) = [event for event in events if isinstance(event, e.BatchCreated)]
        assert created.submission == 2
        scene.answered_once(scene.ledger()[0].summary())


def test_who_stands_still_for_a_moment_only_sends_it(tmp_path: Path, nursery: Nursery) -> None:
    with Scene(tmp_path) as scene:
        process = stopped_at(nursery, scene, "submission_released")
        process.signal(signal.SIGCONT)
        assert process.wait() == 0, process.said()
        (created,) = [event for event in recorded(scene) if isinstance(event, e.BatchCreated)]
        assert created.submission == 1
        scene.answered_once(scene.ledger()[0].summary())


def test_who_is_taken_over_before_the_last_byte_never_sends_it(tmp_path: Path, nursery: Nursery) -> None:
    with Scene(tmp_path) as scene:
        first = stopped_at(nursery, scene, "submission_released")
        refused = nursery.command(scene.resume_argv())
        assert refused.wait() == 4
        assert f"process {first.pid} on {os.uname().nodename}" in refused.said()
        second = nursery.command([*scene.resume_argv(), "--take-over"])
        assert first.wait() == -signal.SIGKILL
        assert second.wait() == 0, second.said()
        events = recorded(scene)
        opened = [place for place, event in enumerate(events) if isinstance(event, e.WriterOpened)]
        assert [events[place].pid for place in opened] == [first.pid, second.pid]  # type: ignore[union-attr]
        assert isinstance(events[opened[1] - 1], e.SubmissionReleased), "nothing of the first follows its release"
        scene.answered_once(scene.ledger()[0].summary())


def test_sleeping_through_the_settle_time_makes_nobody_believe_in_absence(tmp_path: Path, nursery: Nursery) -> None:
    """The first list comes before the batch shows; the machine then sleeps until the settle time is long over."""
    lost = Fault(operation="create", call=1, kind="drop")
    late = Fault(operation="create", call=1, kind="slow_list", seconds=SETTLE_SECONDS - 1)
    with Scene(tmp_path, lost, late) as scene:
        process = stopped_at(nursery, scene, "batches_listed")
        began = scene.server.service.now()
        until(lambda: scene.server.service.now() - began > 3 * SETTLE_SECONDS * 1_000_000)
        process.signal(signal.SIGCONT)
        assert process.wait() == 0, process.said()
        (adopted,) = [event for event in recorded(scene) if isinstance(event, e.BatchAdopted)]
        assert adopted.submission == 1
        scene.answered_once(scene.ledger()[0].summary())


class JumpingClock(SystemClock):
    """The machine's clock, which somebody sets."""

    offset_us = 0

    def now(self) -> int:
        return super().now() + self.offset_us


def run_while_the_clock_jumps(scene: Scene, jump_us: int) -> Watcher:
    """Run while somebody sets this machine's clock as soon as a submission is in doubt, and back at every list."""
    clock = JumpingClock()

    def told(event: e.AnyEvent) -> None:
        if isinstance(event, e.SubmissionUncertain | e.BatchesListed):
            clock.offset_us = 0 if clock.offset_us else jump_us

    ledger, watcher = scene.ledger(told)
    ledger._clock = clock
    summary = ledger.run(scene.items, **scene.said)
    scene.answered_once(summary)
    return watcher


JUMPS = pytest.mark.parametrize("jump_us", [DAY_US, -DAY_US], ids=["ahead", "back"])


@JUMPS
def test_a_clock_that_jumps_makes_no_second_batch(tmp_path: Path, jump_us: int) -> None:
    lost = Fault(operation="create", call=1, kind="drop")
    late = Fault(operation="create", call=1, kind="slow_list", seconds=SETTLE_SECONDS - 2)
    with Scene(tmp_path, lost, late) as scene:
        watcher = run_while_the_clock_jumps(scene, jump_us)
        (adopted,) = [event for event in watcher.events if isinstance(event, e.BatchAdopted)]
        assert adopted.submission == 1


@JUMPS
def test_a_clock_that_jumps_neither_shortens_the_settle_time_nor_makes_it_last_for_ever(
    tmp_path: Path, jump_us: int
) -> None:
    with Scene(tmp_path, Fault(operation="create", call=1, kind="drop", carried_out=False)) as scene:
        watcher = run_while_the_clock_jumps(scene, jump_us)
        lists = [event for event in watcher.events if isinstance(event, e.BatchesListed)]
        (resolved,) = [event for event in watcher.events if isinstance(event, e.SubmissionResolved)]
        assert resolved.by == "reconcile"
        assert lists[-1].server_date - lists[0].server_date >= SETTLE_SECONDS * 1_000_000
