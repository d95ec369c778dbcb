"""Two processes and one ledger: one writes, the other is told who does, takes over, or leaves a message."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from processes import Nursery, Process
from scene import CALMLY, Scene

from ledger.core import events as e
from ledger.core.errors import LockedError, UsageError
from ledger.service.simulator.faults import Fault

SLOW = msgspec.structs.replace(CALMLY, turnaround_minimum_seconds=3000.0, turnaround_maximum_seconds=3000.0)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, settings=SLOW) as scene:
        yield scene


def started(nursery: Nursery, scene: Scene) -> Process:
    """Return a process that has had a batch accepted, and waits for it to end."""
    process = nursery.command(scene.argv())
    until(lambda: bool(scene.server.core.batches), process)
    until(lambda: any(isinstance(event, e.BatchCreated) for event in recorded(scene)), process)
    return process


def until(condition: Callable[[], bool], process: Process) -> None:
    """Return when a condition holds; a process that ends before it does fails the test."""
    while not condition():
        assert process.is_there(), process.said()
        time.sleep(0.02)  # asking without pause would take the processor from those who are asked


def recorded(scene: Scene) -> list[e.AnyEvent]:
    """Return the events of the log, read beside whoever writes it."""
    with scene.ledger()[0]._reader() as log:
        return [e.decode(row.type_name, row.data) for row in log.read()]


def test_a_second_process_gets_exit_code_4_and_the_name_of_the_first(nursery: Nursery, scene: Scene) -> None:
    first = started(nursery, scene)
    for argv in (scene.argv(), scene.resume_argv()):
        second = nursery.command(argv)
        assert second.wait() == 4
        assert f"process {first.pid} on " in second.said()
        assert "--take-over" in second.said()
    with pytest.raises(LockedError, match=f"process {first.pid} on "):
        scene.resume()
    assert first.kill()


def test_reading_needs_no_lock(nursery: Nursery, scene: Scene) -> None:
    first = started(nursery, scene)
    status = scene.ledger()[0].status()
    assert (status.writer.split()[1], status.summary.open_batches) == (str(first.pid), 1)
    assert nursery.command(["replay", str(scene.path), "--audit"]).wait() == 0
    assert first.kill()


def test_take_over_ends_a_stopped_process_and_goes_on(nursery: Nursery, scene: Scene) -> None:
    first = started(nursery, scene)
    first.signal(signal.SIGSTOP)
    refused = nursery.command(scene.resume_argv())
    assert refused.wait() == 4, "a stopped process keeps its lock"
    scene.replace_service(**msgspec.structs.asdict(CALMLY))
    scene.server.core.cancel(scene.server.bill().by_batch[0].batch_id, scene.server.service.now())
    second = nursery.command([*scene.resume_argv(), "--take-over"])
    assert first.wait() == -signal.SIGKILL
    assert second.wait() == 0, second.said()
    scene.answered_after_retries()


def test_a_process_that_was_taken_over_by_the_library_is_gone_too(nursery: Nursery, scene: Scene) -> None:
    first = started(nursery, scene)
    second = nursery.act("resume", path=str(scene.path), base_url=scene.server.url, take_over=True)
    assert first.wait() == -signal.SIGKILL
    until(lambda: sum(isinstance(event, e.WriterOpened) for event in recorded(scene)) == 2, second)
    assert second.kill()


def test_cancel_reaches_the_process_at_work(nursery: Nursery, scene: Scene) -> None:
    first = started(nursery, scene)
    (batch,) = [event.batch for event in recorded(scene) if isinstance(event, e.BatchCreated)]
    assert scene.ledger()[0].cancel([batch]).startswith("asked the process")
    assert first.wait() == 1, first.said()
    assert set(scene.outcomes().values()) == {"canceled"}
    scene.proven()
    assert scene.server.bill().requests_billed == 0


def test_cancel_all_keeps_the_process_from_sending_more(nursery: Nursery, tmp_path: Path) -> None:
    full = msgspec.structs.replace(SLOW, queue_maximum=4)
    with Scene(tmp_path, settings=full, texts=[f"Say {number}." for number in range(8)]) as scene:
        first = started(nursery, scene)
        asked = nursery.command(["cancel", "--all", "--ledger", str(scene.path), "--base-url", scene.server.url])
        assert asked.wait() == 0, asked.said()
        assert first.wait() == 3, first.said()
        accepted = scene.server.bill().requests_accepted
        summary = scene.ledger()[0].summary()
        assert (accepted < 8, summary.outcomes) == (True, {"canceled": accepted})
        assert "ledger resume --lift canceled" in summary.next
        scene.replace_service(**msgspec.structs.asdict(CALMLY))
        assert scene.resume(lift=["canceled"]).outcomes == {"canceled": accepted, "ok": 8 - accepted}
        scene.paid_once()
        scene.proven()


def test_resolve_reaches_the_process_at_work(nursery: Nursery, tmp_path: Path) -> None:
    """It waits for the settle time of one chunk; a person who knows that nothing was accepted says so."""
    with Scene(
        tmp_path, Fault(operation="create", call=1, kind="drop", carried_out=False), settle_seconds=100_000
    ) as scene:
        process = nursery.command(scene.argv())
        until(lambda: scene.path.exists() and uncertain(scene), process)
        assert scene.ledger()[0].resolve(1, "absent").startswith("asked the process")
        assert process.wait() == 0, process.said()
        (resolved,) = [event for event in recorded(scene) if isinstance(event, e.SubmissionResolved)]
        assert resolved.by == "person"
        scene.answered_once(scene.ledger()[0].summary())


def uncertain(scene: Scene) -> bool:
    return any(isinstance(event, e.SubmissionUncertain) for event in recorded(scene))


def test_a_message_that_makes_no_sense_is_refused_before_it_is_sent(nursery: Nursery, scene: Scene) -> None:
    first = started(nursery, scene)
    with pytest.raises(UsageError, match="batch msgbatch_of_nobody is not of this ledger"):
        scene.ledger()[0].cancel(["msgbatch_of_nobody"])
    with pytest.raises(UsageError, match="chunk 1 is submitted, not uncertain"):
        scene.ledger()[0].resolve(1, "absent")
    assert first.kill()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_cleanly_and_resume_goes_on(
    nursery: Nursery, scene: Scene, number: signal.Signals, code: int
) -> None:
    first = started(nursery, scene)
    first.signal(number)
    assert first.wait() == code, first.said()
    assert f"ledger resume {scene.path}" in first.said()
    scene.replace_service(**msgspec.structs.asdict(CALMLY))
    scene.server.core.cancel(scene.server.bill().by_batch[0].batch_id, scene.server.service.now())
    assert scene.resume().outcomes == {"ok": 4}
    scene.answered_after_retries()
