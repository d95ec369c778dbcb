"""What must not be missed: open batches expire after a day, results that were not collected are gone after 29."""

from __future__ import annotations

from typing import Any

import pytest
from stating import BATCH, CREATED, NOON, chunk_in, opened

from ledger.core.deadlines import RETENTION_US, Deadline, deadlines
from ledger.core.units import DAY_US
from ledger.summary import status_of, summarize


def test_an_open_batch_expires_and_an_ended_one_loses_its_results() -> None:
    assert deadlines(chunk_in("submitted")) == [Deadline(CREATED.expires_at, "expires", BATCH, 1, 3)]
    assert deadlines(chunk_in("ended")) == [Deadline(NOON + RETENTION_US, "results", BATCH, 1, 3)]


@pytest.mark.parametrize("status", ["sealed", "released", "uncertain", "collected", "lost"])
def test_what_is_not_there_or_done_has_no_deadline(status: Any) -> None:
    assert deadlines(chunk_in(status)) == []
    assert deadlines(opened()) == []


@pytest.mark.parametrize("hours", [1, 23, 25])
def test_the_status_counts_down_and_beyond(hours: int) -> None:
    state = chunk_in("submitted")
    now = NOON + hours * DAY_US // 24
    summary = summarize(state, ledger="a.ledger", exit_code=7)
    (one,) = status_of(state, summary, now=now, writer="", head_verified=True).deadlines
    assert (one.kind, one.left_seconds) == ("expires", (24 - hours) * 3600)
