"""A state comes from the log: a memo is believed only where it is of this very history."""

from __future__ import annotations

import pytest
from running import MortalLog, World

from ledger.core import events as e
from ledger.core.errors import CorruptLogError
from ledger.core.snapshot import dump
from ledger.loading import load_state, save_state
from ledger.runner import Writer
from ledger.store.memory import MemoryLog


def finished() -> World:
    world = World([f"Say {number}." for number in range(6)])
    assert world.run() == 0
    return world


def test_a_memo_spares_the_events_before_it_and_changes_nothing() -> None:
    world = finished()
    log = MortalLog(world.disk)
    save_state(log, world.state())
    log.append([e.AlarmRaised(alarm="a", detail="d")], world.clock.now())
    assert world.disk.snapshots[-1][0] == len(world.disk.rows) - 1
    assert dump(load_state(log)) == dump(world.state())


def test_a_long_run_is_remembered_while_it_goes_on() -> None:
    """Whoever looks at it, or resumes it, folds a bounded number of events, however long it has been at work."""
    world = finished()
    log, state = MemoryLog(world.disk), world.state()
    world.disk.snapshots = []
    began = state.position
    writer = Writer(log, state, world.clock, memo_events=5)
    for number in range(12):
        writer.append([e.AlarmRaised(alarm=str(number), detail="d")])
    assert [position for position, _ in world.disk.snapshots] == [began + 5, began + 10]
    assert dump(load_state(log)) == dump(state)


def test_a_memo_of_another_history_is_not_believed() -> None:
    """The log was cut back, and went on differently, past the position that the memo is of."""
    world = finished()
    save_state(MemoryLog(world.disk), world.state())
    memos, end = world.disk.snapshots, len(world.disk.rows)
    world.disk = world.disk.cut(end - 3)
    log = MemoryLog(world.disk)
    log.append([e.AlarmRaised(alarm=str(number), detail="d") for number in range(5)], world.clock.now())
    world.disk.snapshots = memos
    assert dump(load_state(log)) == dump(world.state())
    assert len(load_state(log).alarms) == 5


def test_who_may_submit_folds_only_what_was_written() -> None:
    world = finished()
    at = next(index for index, row in enumerate(world.disk.rows) if row.type_name == "submission_released")
    world.disk.rows[at] = world.disk.rows[at]._replace(at=world.disk.rows[at].at + 1)
    assert load_state(MemoryLog(world.disk)).finished is not None  # the fold alone has nothing against it
    with pytest.raises(CorruptLogError, match=f"position {at + 1}"):
        load_state(MemoryLog(world.disk), proven=True)
