"""Opening, amending and redacting requests: what the fold makes of it, and what it does not allow."""

from __future__ import annotations

import pytest
from stating import BATCH, ITEM_BYTES, chunk_in, tell

from ledger.core import events as e
from ledger.core.errors import IllegalEventError
from ledger.core.reopening import reopening
from ledger.core.snapshot import dump, load
from ledger.core.state import RunState, outcome_of

OTHER_CLASS = e.ClassDeclared(class_id=1, model="claude-opus-4-7", max_tokens=50)
AMENDED = e.RequestAmended(ordinal=1, class_id=1, size_bytes=70, digest="new", old_digest="d")
REOPENED = e.RequestsReopened(ranges=[1, 2], requests=1)
REDACTED = e.PayloadsRedacted(ranges=[0, 2], requests=2)
DELETED = e.BatchDeleted(batch=BATCH)


def collected() -> RunState:
    """Requests 0 to 2 are answered, 3 to 5 were never sent; there is a second class."""
    return tell(chunk_in("collected"), OTHER_CLASS)


def test_an_amended_request_is_counted_with_its_new_class_and_size() -> None:
    state = tell(collected(), AMENDED)
    assert (state.class_requests, state.class_bytes) == ([5, 1], [5 * ITEM_BYTES, 70])
    assert (state.columns.class_id[1], state.columns.size_bytes[1], state.amended) == (1, 70, 1)
    assert outcome_of(state, 1) == "ok"


def test_what_waits_to_be_asked_again_can_be_amended_too() -> None:
    state = tell(collected(), REOPENED, AMENDED)
    assert (outcome_of(state, 1), state.retries[0].dump(), state.columns.class_id[1]) == ("pending", [1, 2], 1)


@pytest.mark.parametrize(
    ("status", "event"),
    [
        ("collected", e.RequestAmended(ordinal=3, class_id=1, size_bytes=1, digest="n", old_digest="d")),  # never sent
        ("collected", e.RequestAmended(ordinal=6, class_id=1, size_bytes=1, digest="n", old_digest="d")),
        ("collected", e.RequestAmended(ordinal=1, class_id=2, size_bytes=1, digest="n", old_digest="d")),
        ("submitted", AMENDED),
        ("submitted", REOPENED),
        ("submitted", REDACTED),
        ("submitted", DELETED),
        ("collected", e.PayloadsRedacted(ranges=[2, 4], requests=2)),
        ("collected", e.PayloadsRedacted(ranges=[0, 2], requests=3)),
        ("collected", e.PayloadsRedacted(ranges=[], requests=0)),
        ("collected", e.BatchDeleted(batch="msgbatch_of_nobody")),
    ],
)
def test_what_is_on_its_way_is_left_alone(status: str, event: e.AnyEvent) -> None:
    state = tell(chunk_in(status), OTHER_CLASS)  # type: ignore[arg-type]
    before = dump(state)
    with pytest.raises(IllegalEventError):
        tell(state, event)
    assert dump(state) == before


def test_an_amended_request_that_waits_stays_in_its_lane() -> None:
    state = tell(collected(), e.ClassDeclared(class_id=2, model="claude-opus-4-7", max_tokens=50, priority=3), REOPENED)
    with pytest.raises(IllegalEventError, match="waits in another lane"):
        tell(state, e.RequestAmended(ordinal=1, class_id=2, size_bytes=1, digest="n", old_digest="d"))


@pytest.mark.parametrize("event", [AMENDED, REOPENED, REDACTED])
def test_what_is_redacted_is_neither_asked_again_nor_redacted_twice(event: e.AnyEvent) -> None:
    state = tell(collected(), REDACTED)
    assert [state.columns.is_redacted(ordinal) for ordinal in range(6)] == [True, True, False, False, False, False]
    with pytest.raises(IllegalEventError):
        tell(state, event)


def test_a_retry_leaves_out_what_is_redacted_and_says_how_much() -> None:
    found = reopening(tell(collected(), REDACTED), outcomes=["ok"])
    assert (found.ordinals, found.redacted, found.opened) == ([2], 2, {"ok": 1})


def test_a_batch_is_deleted_once() -> None:
    state = tell(collected(), DELETED)
    assert state.deleted == [BATCH]
    with pytest.raises(IllegalEventError):
        tell(state, DELETED)


def test_a_memo_knows_all_of_it() -> None:
    state = tell(collected(), AMENDED, REDACTED, DELETED)
    data = dump(state)
    again = load(data)
    assert again is not None
    assert dump(again) == data
    assert (again.amended, again.deleted, again.columns.is_redacted(1)) == (1, [BATCH], True)
