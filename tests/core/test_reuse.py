"""Answers of another ledger, in the fold: which request may get one, and what follows for queues, brakes and money."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stating import chunk_in, opened, tell

from ledger.core import events as e
from ledger.core import snapshot
from ledger.core.canary import ends
from ledger.core.columns import OrdinalQueue, to_ranges
from ledger.core.decide import decide
from ledger.core.errors import IllegalEventError
from ledger.core.reuse import never_sent, open_reuses, place_of, reuse_of, reused_count
from ledger.core.state import RunState

OTHER = "f" * 32
OPENED = e.ReuseOpened(reuse=1, path="/may.ledger", ledger_id=OTHER, position=9, hash="00")


def taken(ordinal: int, reuse: int = 1) -> e.AnswerReused:
    return e.AnswerReused(
        ordinal=ordinal, reuse=reuse, digest="d", position=7, chunk=1, submission=1, source_ordinal=ordinal
    )


def closed(count: int, **more: Any) -> e.ReuseClosed:
    return e.ReuseClosed(reuse=1, taken=count, **more)


# ── the queue ───────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.integers(0, 40), unique=True), st.lists(st.integers(-1, 41)), st.integers(0, 5))
def test_discarding_from_a_queue_is_removing_from_a_set(members: list[int], unwanted: list[int], first: int) -> None:
    queue = OrdinalQueue(to_ranges(sorted(members)))
    model = set(members)
    front = sorted(model)[:first]
    queue.take(to_ranges(front))
    model -= set(front)
    for ordinal in unwanted:
        assert queue.discard(ordinal) == (ordinal in model)
        model.discard(ordinal)
        assert [n for start, end in queue for n in range(start, end)] == sorted(model)
        assert queue.size == len(model)
    assert queue.dump() == to_ranges(sorted(model)), "adjacent ranges are one, and none is empty"


# ── what is allowed ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_with_the_answer_of_another_ledger_is_ok_and_waits_no_more() -> None:
    state = tell(opened(), OPENED, taken(0), taken(4))
    assert (state.outcomes["ok"], state.pending, state.unfinished, reused_count(state)) == (2, 4, 4, 2)
    assert list(never_sent(state)) == [1, 2, 3, 5]
    assert [one.reuse for one in open_reuses(state)] == [1]
    found = reuse_of(state, 4)
    assert found is not None
    assert (found.ledger_id, found.taken, found.last) == (OTHER, 2, 4)
    assert reuse_of(state, 1) is None
    tell(state, closed(2))
    assert open_reuses(state) == []


def test_what_was_taken_is_in_no_chunk() -> None:
    state = tell(opened(), OPENED, *(taken(ordinal) for ordinal in (0, 1, 4)), closed(3))
    sealed = e.ChunkSealed(chunk=1, ranges=[2, 4, 5, 6], requests=3, size_bytes=1)
    assert tell(state, sealed).pending == 0
    for ordinal in (1, 4):
        with pytest.raises(IllegalEventError):
            tell(state, e.ChunkSealed(chunk=2, ranges=[ordinal, ordinal + 1], requests=1, size_bytes=1))


def test_a_run_whose_every_answer_was_taken_is_finished_without_a_word_to_the_service() -> None:
    state = tell(opened(3), OPENED, *(taken(ordinal) for ordinal in range(3)), closed(3))
    (command,) = decide(state, 1).commands
    assert command.events == (e.RunFinished(outcomes={"ok": 3}, exit_code=0),)  # type: ignore[union-attr]


ILLEGAL: dict[str, tuple[tuple[e.AnyEvent, ...], e.AnyEvent]] = {
    "none is open": ((), taken(0)),
    "it is closed": ((OPENED, closed(0)), taken(0)),
    "it has its answer": ((OPENED, taken(0)), taken(0)),
    "it lies before the last": ((OPENED, taken(3)), taken(2)),
    "there is no such request": ((OPENED,), taken(6)),
    "another number": ((OPENED,), taken(0, reuse=2)),
    "a gap in the numbers": ((), e.ReuseOpened(reuse=2, path="", ledger_id=OTHER, position=1, hash="")),
    "itself": ((), e.ReuseOpened(reuse=1, path="", ledger_id="0123456789abcdef", position=1, hash="")),
    "another count": ((OPENED, taken(0)), closed(2)),
    "closed twice": ((OPENED, closed(0)), closed(0)),
}


@pytest.mark.parametrize("name", ILLEGAL)
def test_what_cannot_be_is_refused_and_changes_nothing(name: str) -> None:
    before, event = ILLEGAL[name]
    state = tell(opened(), *before)
    dumped = snapshot.dump(state)
    with pytest.raises(IllegalEventError):
        tell(state, event)
    assert snapshot.dump(state) == dumped


@pytest.mark.parametrize("status", ["sealed", "released", "uncertain", "submitted", "ended", "dissolved", "lost"])
def test_what_was_ever_sent_takes_no_answer(status: Any) -> None:
    """A request in a chunk may be paid for already; of a chunk that was cut anew, too."""
    state = tell(chunk_in(status), OPENED)
    with pytest.raises(IllegalEventError):
        tell(state, taken(1))


def test_no_brake_counts_what_was_taken() -> None:
    """A hundred answers of another run would make any share of errors in this one small."""
    state = tell(opened(), OPENED, taken(0), taken(1))
    assert ends(state) == (0, 0)


def test_a_memo_of_it_is_the_fold() -> None:
    state = tell(opened(), OPENED, taken(0), taken(4))
    loaded = snapshot.load(snapshot.dump(state))
    assert isinstance(loaded, RunState)
    assert (loaded.reuses, loaded.reused) == (state.reuses, state.reused)
    assert snapshot.dump(tell(loaded, taken(5), closed(3))) == snapshot.dump(tell(state, taken(5), closed(3)))


def test_rows_of_a_reuse_lie_where_no_chunk_can_lie() -> None:
    assert place_of(1) > 1 << 31
