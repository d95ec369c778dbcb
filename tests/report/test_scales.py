"""Places on an axis, its labels, and which stretches of time are folded."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ledger.report.scales import FOLD_PERCENT, TimeAxis, folds, heights, log_ticks, short_number

SECOND = 1_000_000
HOUR = 3_600 * SECOND
NOON = 1_795_348_800 * SECOND

instants = st.lists(st.integers(NOON, NOON + 40 * 24 * HOUR), min_size=2, max_size=40)
durations = st.lists(st.integers(1, 24 * HOUR), max_size=20)


@given(instants, durations)
def test_places_keep_the_order_of_instants_and_stay_on_the_axis(changes: list[int], lasted: list[int]) -> None:
    axis = TimeAxis(min(changes), max(changes), folds(changes, lasted))
    places = [axis.place(at) for at in sorted(changes)]
    assert places == sorted(places)
    assert places[0] == 0
    assert all(0 <= place <= 100 for place in places)
    if max(changes) > min(changes):
        assert abs(places[-1] - 100) < 0.01


@given(instants, durations)
def test_no_change_lies_in_a_fold(changes: list[int], lasted: list[int]) -> None:
    for low, high in folds(changes, lasted):
        assert low < high
        assert not [at for at in changes if low < at < high]


@given(instants, durations)
def test_ticks_have_room_and_are_in_no_fold(changes: list[int], lasted: list[int]) -> None:
    axis = TimeAxis(min(changes), max(changes), folds(changes, lasted))
    ticks = axis.ticks()
    assert all(after.percent - before.percent >= 11 for before, after in pairwise(ticks))
    for fold in axis.folds:
        assert not [tick for tick in ticks if fold.percent < tick.percent < fold.percent + fold.width_percent]


def test_a_day_long_stretch_beside_batches_of_minutes_is_folded() -> None:
    changes = [NOON + minutes * 60 * SECOND for minutes in range(0, 40, 2)] + [NOON + 23 * HOUR]
    axis = TimeAxis(NOON, NOON + 23 * HOUR, folds(changes, [600 * SECOND] * 9 + [23 * HOUR]))
    (fold,) = axis.folds
    assert fold.label == "22 h 08 min"
    assert fold.width_percent == FOLD_PERCENT
    assert axis.place(NOON + 38 * 60 * SECOND) > 65


def test_a_single_batch_of_a_day_is_not_folded_away() -> None:
    assert folds([NOON, NOON + SECOND, NOON + 24 * HOUR], [24 * HOUR - SECOND]) == []


def test_without_batches_nothing_is_folded() -> None:
    assert folds([NOON, NOON + SECOND, NOON + 24 * HOUR], []) == []


def test_a_run_of_seconds_is_labelled_with_what_has_passed_and_one_of_days_with_dates() -> None:
    short = TimeAxis(NOON, NOON + 3 * SECOND).ticks()
    assert [tick.label for tick in short] == ["0.0 s", "0.5 s", "1.0 s", "1.5 s", "2.0 s", "2.5 s", "3.0 s"]
    days = TimeAxis(NOON, NOON + 5 * 24 * HOUR).ticks()
    assert [tick.label for tick in days] == ["23 Nov", "24 Nov", "25 Nov", "26 Nov", "27 Nov"]
    night = TimeAxis(NOON + 8 * HOUR, NOON + 16 * HOUR).ticks()
    assert [(tick.label, tick.day) for tick in night][:5] == [
        ("20:00", "22 Nov"),
        ("21:00", ""),
        ("22:00", ""),
        ("23:00", ""),
        ("00:00", "23 Nov"),
    ]


@given(st.integers(0, 10**9))
def test_heights_are_round_begin_at_zero_and_fit_below_the_top(highest: int) -> None:
    values, top = heights(highest)
    assert values[0] == 0
    assert values[-1] <= max(highest, 0) * 1.001
    assert top > 0
    assert len(values) <= 12


def test_numbers_of_an_axis_are_short() -> None:
    assert [short_number(value) for value in (0, 0.5, 7, 950, 1_000, 1_500, 12_000, 2_000_000)] == [
        *("0", "0.5", "7", "950", "1K", "1.5K", "12K", "2M")
    ]
    assert log_ticks(30, 9_000) == [50, 100, 200, 500, 1_000, 2_000, 5_000]
