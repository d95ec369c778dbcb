"""Only complete lists are evidence that a submission was never accepted; a person can have the search begin anew."""

from __future__ import annotations

from stating import NOON, SECOND, chunk_in, tell

from ledger.core import events as e
from ledger.core.reconcile import PATIENCE, Absent, Hold, Wait, judge
from ledger.core.state import RunState

SETTLE_US = chunk_in("uncertain").policy.settle_us


def listed(state: RunState, at: int, *, complete: bool, undated: bool = False) -> RunState:
    return tell(state, e.BatchesListed(asked_at=state.position, server_date=at, complete=complete, undated=undated))


def test_incomplete_lists_do_not_let_the_settle_time_pass() -> None:
    """Two complete lists of the first second, and then only lists that do not show our workspace."""
    state = chunk_in("uncertain")
    for at in (NOON, NOON + SECOND):
        listed(state, at, complete=True)
    listed(state, NOON + SETTLE_US, complete=False)
    assert isinstance(judge(state, state.chunks[1]), Wait)
    listed(state, NOON + SETTLE_US + SECOND, complete=True)
    assert isinstance(judge(state, state.chunks[1]), Absent)


def test_one_complete_list_is_not_enough_however_late_it_is() -> None:
    state = chunk_in("uncertain")
    listed(state, NOON, complete=False)  # it starts the settle clock, and is no evidence
    listed(state, NOON + SETTLE_US, complete=True)
    assert isinstance(judge(state, state.chunks[1]), Wait)
    listed(state, NOON + SETTLE_US + SECOND, complete=True)
    assert isinstance(judge(state, state.chunks[1]), Absent)


def test_a_search_that_could_not_be_completed_is_held_and_begins_anew_when_a_person_says_so() -> None:
    state = chunk_in("uncertain")
    for at in (NOON, NOON + PATIENCE * SETTLE_US):
        listed(state, at, complete=False)
    held = judge(state, state.chunks[1])
    assert isinstance(held, Hold)
    assert held.reason == "unverifiable"
    tell(state, e.ChunkHeld(chunk=1, reason="unverifiable", detail="d", lift="l"), e.HoldLifted(chunk=1))
    assert isinstance(judge(state, state.chunks[1]), Wait)
    again = NOON + 10 * SETTLE_US
    for at in (again, again + SETTLE_US - SECOND):
        assert isinstance(judge(listed(state, at, complete=True), state.chunks[1]), Wait)
    assert isinstance(judge(listed(state, again + SETTLE_US, complete=True), state.chunks[1]), Absent)


def test_no_time_is_told_between_the_services_clock_and_our_own() -> None:
    """Lists without a date bear our own clock's, here a day ahead: neither clock's instants count on the other's."""
    state, ours = chunk_in("uncertain"), NOON + 24 * 3600 * SECOND
    listed(state, NOON, complete=True)
    for at in (ours, ours + SETTLE_US):
        assert isinstance(judge(listed(state, at, complete=True, undated=True), state.chunks[1]), Wait | Hold)
    state = chunk_in("uncertain")
    listed(state, ours, complete=True, undated=True)
    for at in (NOON, NOON + SETTLE_US - SECOND):
        assert not isinstance(judge(listed(state, at, complete=True), state.chunks[1]), Absent)
    assert isinstance(judge(listed(state, NOON + SETTLE_US, complete=True), state.chunks[1]), Absent)


def test_where_only_some_answers_bear_a_date_the_wait_ends_by_those_that_do() -> None:
    state = chunk_in("uncertain")
    for at in (NOON, NOON + SETTLE_US // 2):
        listed(state, at, complete=True)
        listed(state, at + SECOND, complete=True, undated=True)
        assert isinstance(judge(state, state.chunks[1]), Wait)
    assert isinstance(judge(listed(state, NOON + SETTLE_US, complete=True), state.chunks[1]), Absent)


def test_where_no_answer_bears_a_date_another_process_begins_the_wait_anew() -> None:
    state = chunk_in("uncertain")
    listed(state, NOON, complete=True, undated=True)
    tell(state, e.WriterOpened(epoch=state.epoch + 1, tool_version="t"))
    for at in (NOON + SETTLE_US, NOON + 2 * SETTLE_US - SECOND):
        assert isinstance(judge(listed(state, at, complete=True, undated=True), state.chunks[1]), Wait)
    assert isinstance(judge(listed(state, NOON + 2 * SETTLE_US, complete=True, undated=True), state.chunks[1]), Absent)
