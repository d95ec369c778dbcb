"""The picture of a run: areas that count, rows that are chosen, bars that keep their order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger.report.history import Process, Row
from ledger.report.scales import TimeAxis
from ledger.report.timeline import (
    AREA_COLUMNS,
    ODD_AT_MOST,
    ROWS_AT_MOST,
    ROWS_CHOSEN,
    _chosen,
    _counted,
    process_words,
)

NOON = 1_795_348_800_000_000
HOUR = 3_600_000_000

spans = st.lists(
    st.tuples(st.integers(0, HOUR), st.integers(0, HOUR)).map(lambda ends: (NOON + min(ends), NOON + max(ends))),
    max_size=30,
)


@given(spans)
def test_areas_count_what_lasts_in_the_middle_of_a_column(found: list[tuple[int, int]]) -> None:
    axis = TimeAxis(NOON, NOON + HOUR)
    counted = _counted(found, axis)
    assert len(counted) == AREA_COLUMNS
    places = [(axis.place(begin), axis.place(end)) for begin, end in found]
    for column, count in enumerate(counted):
        middle = 100 * (column + 0.5) / AREA_COLUMNS
        if all(abs(place - middle) > 1e-9 for ends in places for place in ends):  # what ends right there may count
            assert count == sum(begin < middle < end for begin, end in places)


def rows(number: int) -> list[Row]:
    return [
        Row(chunk, "fresh", 1, 0, NOON, batch="b", created=NOON, ended=NOON + chunk, closed=NOON + HOUR)
        for chunk in range(1, number + 1)
    ]


def test_up_to_a_screenful_all_rows_are_drawn() -> None:
    assert [row.chunk for row in _chosen(rows(ROWS_AT_MOST))] == list(range(1, ROWS_AT_MOST + 1))


def test_of_more_those_worth_looking_at_are_drawn_in_order() -> None:
    many = rows(5_000)
    for row in many[1_000:1_100]:
        row.closed_as = "lost"
    chosen = _chosen(many)
    numbers = [row.chunk for row in chosen]
    assert len(chosen) <= ROWS_CHOSEN + 2
    assert numbers == sorted(set(numbers))
    assert sum(row.is_odd for row in chosen) >= ODD_AT_MOST
    assert {1, 4_993, 5_000} <= set(numbers)  # the first, and the slowest


def test_processes_are_told_in_a_sentence() -> None:
    def told(*hows: str) -> str:
        return process_words([Process(epoch, NOON, NOON, how) for epoch, how in enumerate(hows, 1)])  # type: ignore[arg-type]

    assert told() == "No process has worked on it."
    assert told("latest") == "One process did all of it."
    assert told("paused", "latest") == "2 processes worked on it, one after the other."
    assert told("sending", "stopped", "stopped", "latest") == (
        "4 processes worked on it, one after the other: one stopped in the middle of a submission, "
        "2 stopped before the run was finished."
    )
