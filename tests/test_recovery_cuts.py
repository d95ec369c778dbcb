"""A log that was cut back anywhere is recovered, whatever it forgot, and then carried on without paying twice."""

from __future__ import annotations

import msgspec
import pytest
from running import POLICY, SECOND, MortalLog, World, joined_threads, spool

from ledger.core import events as e
from ledger.ports import EventLog
from ledger.recovery import recover
from ledger.runner import STILL_RUNNING, Runner, Writer
from ledger.service.simulator.faults import Fault
from ledger.store.memory import Disk


def recovered(world: World) -> None:
    """Recover a world's log as a new process does, then carry it on to its end."""
    log = MortalLog(world.disk)
    writer = Writer(log, world.state(), world.clock, world.clock)
    writer.append([e.WriterOpened(epoch=writer.state.epoch + 1, tool_version="test")])

    def wait(why: str, seconds: float) -> None:
        world.clock.at += int(seconds * SECOND)

    def collect() -> None:
        with joined_threads():
            assert Runner(writer, world.gateway(), lambda: _as_it_is(log), spool).run() >= 0

    before = world.own_batches()
    recover(writer, world.gateway(), "behind", 0, wait, collect)
    assert world.own_batches() == before
    assert writer.state.pauses == {}


class _as_it_is:  # noqa: N801 - a context manager
    def __init__(self, log: EventLog) -> None:
        self._log = log

    def __enter__(self) -> EventLog:
        return self._log

    def __exit__(self, *problem: object) -> None:
        return None


def whole(texts: list[str], *faults: Fault) -> World:
    world = World(texts, *faults)
    assert world.run() == 0
    return world


def cut_at(world: World, position: int) -> World:
    world.disk = Disk() if not position else world.disk.cut(position)
    return world


ASKED_AGAIN = ["[[simulate:expired:1]]", "b", "[[simulate:errored:overloaded_error:2]]", "d", "e", "f", "g"]
HALVED = Fault(operation="create", call=1, kind="refuse", error="too_large")


@pytest.mark.parametrize("place", range(0, 40, 3))
@pytest.mark.parametrize("faults", [(), (HALVED,)], ids=["asked-again", "halved"])
def test_a_log_cut_back_across_retries_and_halvings_is_recovered(place: int, faults: tuple[Fault, ...]) -> None:
    world = whole(ASKED_AGAIN, *faults)
    first = next(row.position for row in world.disk.rows if row.type_name == "chunk_sealed") - 1
    cut_at(world, min(first + place, len(world.disk.rows)))
    recovered(world)
    assert world.run() == 0
    bill = world.transport.bill()
    assert (bill.prompts_accepted_twice, bill.prompts_billed_twice) == (0, 0)
    assert world.outcomes() == ["ok"] * len(ASKED_AGAIN)


def test_a_recovery_waits_for_batches_that_are_open_longer_than_the_settle_time() -> None:
    """Whose an open batch is, nobody can say; taken for a stranger's, its chunk would be sent and paid for again."""
    world = World(["a", "b"], Fault(operation="create", call=1, kind="turnaround", seconds=600))
    with joined_threads():
        assert world.process().run(once=True) == STILL_RUNNING
    cut_at(world, next(row.position for row in world.disk.rows if row.type_name == "chunk_sealed") - 1)
    recovered(world)
    assert [adopted.by for adopted in world.events(e.BatchAdopted)] == ["recovery"]
    assert world.run() == 0
    assert world.own_batches() == 1


STRANGER_TAKEN_FOR_OURS = (
    Fault(operation="create", call=1, kind="drop", carried_out=False),
    Fault(operation="create", call=1, kind="stranger"),
)


@pytest.mark.parametrize("part", [1, 2])
def test_a_log_that_ends_where_a_stranger_was_taken_for_its_own_finds_what_it_sent_after_it(part: int) -> None:
    """That the chunk was sent again, and accepted, is what the log forgot; it was sent a third time once."""
    world = whole(["a", "b", "c"], *STRANGER_TAKEN_FOR_OURS)
    adoption = next(row.position for row in world.disk.rows if row.type_name == "batch_adopted")
    ends = [row.position for row in world.disk.rows if row.type_name in ("batch_adopted", "batch_disowned")]
    assert len(ends) >= 2, "the stranger's batch was never disowned"
    cut_at(world, adoption if part == 1 else ends[1] - 1)
    recovered(world)
    assert world.run() == 0
    bill = world.transport.bill()
    assert (bill.prompts_accepted_twice, bill.prompts_billed_twice) == (0, 0)
    assert world.outcomes() == ["ok"] * 3
    assert not world.state().twins


def test_a_canary_of_several_priorities_is_recovered() -> None:
    """Its items are taken from all lanes, so they leave all lanes."""
    policy = msgspec.structs.replace(POLICY, canary="always", canary_requests=2)
    world = World(["a", "b", "c", "d", "e", "f"], policy=policy, priorities=[1, 0, 1, 0, 1, 0])
    assert world.run() == 0
    first = next(row.position for row in world.disk.rows if row.type_name == "chunk_sealed")
    cut_at(world, first - 1)
    recovered(world)
    assert world.run() == 0
    assert world.transport.bill().prompts_billed_twice == 0
    assert world.outcomes() == ["ok"] * 6
