"""Sorting on disk."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger.store.sorting import SortedSpool

ROWS = st.lists(st.tuples(st.text(), st.integers(0, 1), st.binary(max_size=4)))


@given(ROWS, ROWS)
def test_rows_come_back_in_order_however_they_were_put_in(some: list[tuple], more: list[tuple]) -> None:
    with SortedSpool(3) as spool:
        spool.add(some)
        spool.add(iter(more))
        returned = list(spool.sorted())
    assert returned == sorted([*some, *more], key=lambda row: (row[0].encode(), *row[1:]))


def test_an_empty_spool_is_sorted() -> None:
    with SortedSpool(2) as spool:
        assert list(spool.sorted()) == []
