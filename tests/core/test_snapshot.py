"""A memo of the fold: at any position it is the state, and what it cannot read it does not guess."""

from __future__ import annotations

import msgspec
import pytest
from running import World
from stating import WAY_TO, chunk_in

from ledger.core import events as e
from ledger.core.evolve import evolve, fold
from ledger.core.snapshot import dump, load
from ledger.core.state import RunState
from ledger.service.simulator.faults import Fault


@pytest.fixture(scope="module")
def recorded() -> list[tuple[int, int, e.AnyEvent]]:
    """A run with retries, a split and a doubt, as it was recorded."""
    world = World(
        ["[[simulate:errored:api_error:1]]", "[[simulate:refusal]]", *"abcdefgh"],
        Fault(operation="create", call=1, kind="refuse", error="too_large"),
        Fault(operation="create", call=3, kind="drop"),
    )
    assert world.run() == 1
    return [(row.position, row.at, e.decode(row.type_name, row.data)) for row in world.disk.rows]


def test_a_state_is_loaded_as_it_was_at_every_position_and_goes_on_alike(
    recorded: list[tuple[int, int, e.AnyEvent]],
) -> None:
    whole = dump(fold(recorded))
    state = RunState()
    for index, (position, at, event) in enumerate(recorded, 1):
        evolve(state, position, at, event)
        memo = dump(state)
        loaded = load(memo)
        assert loaded is not None
        assert dump(loaded) == memo
        if index % 7 == 0:
            assert dump(fold(recorded[index:], loaded)) == whole


def test_a_live_state_is_the_fold_of_what_was_stored() -> None:
    world = World(["a", "b", "[[simulate:expired:1]]", "d", "e"])
    runner = world.process()
    assert runner.run() == 0
    assert dump(runner.state) == dump(world.state())


@pytest.mark.parametrize("status", WAY_TO)
def test_equal_states_give_equal_bytes(status: str) -> None:
    assert dump(chunk_in(status)) == dump(chunk_in(status))  # type: ignore[arg-type]


def test_another_version_or_damage_is_no_memo() -> None:
    data = dump(chunk_in("ended"))
    older = msgspec.msgpack.decode(data)
    older["memo_version"] -= 1
    assert load(msgspec.msgpack.encode(older)) is None
    assert load(data[:-1]) is None
    assert load(b"") is None
    assert load(b"\xc1" + data) is None
