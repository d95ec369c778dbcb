"""The log at a glance is the log, window by window, without what comes by the million."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.store.glance import result_row, windows
from ledger.store.sqlite import SqliteLog


def test_windows_hold_every_seldom_event_and_result_once(
    ledgers: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.store.glance.WINDOW_POSITIONS", 7)
    with SqliteLog.open_reader(ledgers["many"]) as log:
        rows = list(log.read())
    found = list(windows(ledgers["many"], rows[-1].position))
    assert [row for window in found for row in window.seldom] == [
        row for row in rows if row.type_name not in ("request_built", "result_stored")
    ]
    results = [(row.position, row.at, row.data) for row in rows if row.type_name == "result_stored"]
    assert [row for window in found for row in window.results] == results
    third = [row for window in windows(ledgers["many"], rows[-1].position, 3) for row in window.results]
    assert third == [row for row in results if (row[0] - 1) // 7 % 3 == 0]
    assert 0 < len(third) < len(results)


def test_a_row_that_is_not_there_is_none(ledgers: dict[str, Path]) -> None:
    assert result_row(ledgers["many"], 1, 0) is not None
    assert result_row(ledgers["many"], 1, 10_000) is None
