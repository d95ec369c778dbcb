"""Columns and queues of ordinals, against the plainest models of themselves."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger.core.columns import PENDING, STATUS_NAMES, STATUS_OF_OUTCOME, Columns, OrdinalQueue, ordinals, to_ranges
from ledger.core.events import OUTCOMES


class QueueMachine(RuleBasedStateMachine):
    """An OrdinalQueue does what a deque of its ordinals does; ordinals are in it once, as in a lane."""

    @initialize()
    def begin(self) -> None:
        self.queue = OrdinalQueue()
        self.model: deque[int] = deque()
        self.next = 0

    def pop(self, count: int) -> list[int]:
        return [self.model.popleft() for _ in range(min(count, len(self.model)))]

    @rule(gap=st.integers(0, 3), length=st.integers(1, 6))
    def push_new(self, gap: int, length: int) -> None:
        start = self.next + gap
        self.queue.push(start, start + length)
        self.model.extend(range(start, start + length))
        self.next = start + length

    @precondition(lambda self: self.model)
    @rule(count=st.integers(1, 20))
    def take(self, count: int) -> None:
        self.queue.take(to_ranges(self.pop(count)))

    @precondition(lambda self: self.model)
    @rule(count=st.integers(1, 20), data=st.data())
    def take_and_put_some_back_in_front(self, count: int, data: st.DataObject) -> None:
        """What a dissolved chunk does: what is left of its members stands first again, in ascending order."""
        taken = self.pop(count)
        self.queue.take(to_ranges(taken))
        kept = sorted(data.draw(st.sets(st.sampled_from(taken)))) if taken else []
        self.queue.push_front(tuple(to_ranges(kept)))
        self.model.extendleft(reversed(kept))

    @precondition(lambda self: self.model)
    @rule(count=st.integers(1, 20))
    def take_and_push_behind(self, count: int) -> None:
        """What a retry does: its ordinal goes behind all others, lower than some of them."""
        taken = self.pop(count)
        self.queue.take(to_ranges(taken))
        for ordinal in taken:
            self.queue.push(ordinal, ordinal + 1)
            self.model.append(ordinal)

    @rule(first=st.integers(0, 60))
    def discard_from(self, first: int) -> None:
        self.queue.discard_from(first)
        self.model = deque(ordinal for ordinal in self.model if ordinal < first)

    @rule(unwanted=st.sets(st.integers(0, 60)))
    def remove(self, unwanted: set[int]) -> None:
        self.queue.remove(unwanted)
        self.model = deque(ordinal for ordinal in self.model if ordinal not in unwanted)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def what_is_not_in_front_cannot_be_taken(self, data: st.DataObject) -> None:
        wrong = data.draw(st.integers(0, 80).filter(lambda ordinal: ordinal != self.model[0]))
        with pytest.raises(ValueError, match="not at the front"):
            self.queue.take([wrong, wrong + 1])
        with pytest.raises(ValueError, match="not at the front"):
            self.queue.take([*to_ranges(list(self.model)), 900, 901])

    @rule()
    def dump_and_load(self) -> None:
        self.queue = OrdinalQueue(self.queue.dump())

    @invariant()
    def equals_the_model(self) -> None:
        assert list(ordinals(self.queue.dump())) == list(self.model)
        assert [ordinal for start, end in self.queue for ordinal in range(start, end)] == list(self.model)
        assert self.queue.size == len(self.model)


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)


def test_a_long_queue_is_consumed_in_constant_memory() -> None:
    queue = OrdinalQueue()
    for ordinal in range(0, 40_000, 2):
        queue.push(ordinal, ordinal + 1)
    for ordinal in range(0, 39_000, 2):
        queue.take([ordinal, ordinal + 1])
    assert len(queue.ranges) < 6_000
    assert queue.dump()[:2] == [39_000, 39_001]
    assert queue.size == 500


def test_a_million_consecutive_requests_are_two_numbers() -> None:
    queue = OrdinalQueue()
    for ordinal in range(100_000):
        queue.push(ordinal, ordinal + 1)
    assert queue.dump() == [0, 100_000]


def test_a_refused_take_changes_nothing() -> None:
    queue = OrdinalQueue([5, 9, 20, 22])
    with pytest.raises(ValueError, match=r"21\.\.22 is not at the front"):
        queue.take([5, 9, 21, 22])
    assert (queue.dump(), queue.size) == ([5, 9, 20, 22], 6)


def test_what_becomes_adjacent_by_a_removal_can_be_taken_as_one_range() -> None:
    """A chunk is cut in merged ranges; a queue that kept them apart could never give them out again."""
    removed, discarded = OrdinalQueue([1, 3, 7, 8, 3, 5]), OrdinalQueue([1, 3, 7, 8, 3, 5])
    removed.remove({7})
    discarded.discard_from(6)
    for queue in (removed, discarded):
        queue.take([1, 4])
        assert queue.dump() == [4, 5]


def test_columns_come_back_from_their_dump() -> None:
    columns = Columns()
    for number in range(100):
        columns.add(size_bytes=10**9 + number, class_id=number * 600)
    columns.status[7], columns.attempts[7], columns.chunk[7] = STATUS_OF_OUTCOME["lost"], 255, 4_000_000_000
    loaded = Columns.load([view.tobytes() for view in columns.dump()])
    assert loaded.dump() == columns.dump()
    assert (len(loaded), loaded.status[0], loaded.status[7]) == (100, PENDING, STATUS_OF_OUTCOME["lost"])
    assert (loaded.size_bytes[99], loaded.class_id[99], loaded.chunk[7]) == (10**9 + 99, 99 * 600, 4_000_000_000)


def test_a_request_costs_twelve_bytes_and_every_outcome_has_a_number_of_its_own() -> None:
    columns = Columns()
    columns.add(1, 0)
    assert sum(part.nbytes for part in columns.dump()) == 12
    assert [STATUS_NAMES[STATUS_OF_OUTCOME[outcome]] for outcome in OUTCOMES] == list(OUTCOMES)
    assert len(set(STATUS_OF_OUTCOME.values())) == len(OUTCOMES)
