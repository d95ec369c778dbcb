"""Lengths: counted, cut into columns, and the values that shares of them do not exceed."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.errors import CorruptLogError
from ledger.report.distributions import Distributions, Example, Lengths, bins, quantiles

values = st.lists(st.integers(0, 10**7), min_size=1, max_size=200)


@given(values, st.integers(1, 40))
def test_columns_hold_every_value_once(found: list[int], columns: int) -> None:
    cut, _ = bins(Counter(found), columns)
    assert sum(one.number for one in cut) == len(found)
    for value in (min(found), max(found)):
        assert [one for one in cut if one.low - 1e-6 <= value < one.high + 1e-6 and one.number]


@given(values)
def test_quantiles_are_those_of_the_sorted_values(found: list[int]) -> None:
    ordered = sorted(found)
    for share in (0.5, 0.9, 0.99):
        (value,) = quantiles(Counter(found), [share])
        assert sum(one <= value for one in ordered) >= share * len(ordered)
        assert sum(one < value for one in ordered) < share * len(ordered)


@given(values)
def test_rounding_changes_a_length_by_less_than_a_thousandth(found: list[int]) -> None:
    lengths = Lengths()
    lengths.add(Counter(found))
    assert lengths.counts.total() == len(found)
    for before, after in zip(sorted(found), sorted(lengths.counts.elements()), strict=True):
        assert 0 <= before - after <= before / 1000
        assert before > 2047 or before == after


def test_there_are_no_quantiles_and_columns_of_nothing() -> None:
    assert quantiles({}) == [0, 0, 0]
    assert bins({}, 10) == ([], False)


def test_results_are_counted_with_their_whole_prompt_and_examples_kept_by_kind() -> None:
    told = Distributions()
    told.told(
        [
            '{"ordinal":0,"chunk":1,"digest":"d","usage":{"input_tokens":5,"cache_read_tokens":7,"output_tokens":3}}',
            *(
                f'{{"ordinal":{number},"chunk":2,"digest":"d","outcome":"errored","error_kind":"api_error"}}'
                for number in range(1, 6)
            ),
        ]
    )
    assert told.results == 6
    assert (told.prompts.counts, told.answers.counts) == ({12: 1}, {3: 1})
    assert told.examples == {("errored", "api_error"): [Example(number, 2) for number in (1, 2, 3)]}


def test_what_is_no_event_is_refused_by_name() -> None:
    with pytest.raises(CorruptLogError, match="a result_stored event cannot be read"):
        Distributions().told(['{"ordinal":0', "}"])
