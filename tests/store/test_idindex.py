"""The index of custom_ids equals a dictionary, whatever collides."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.store.idindex import IdIndex

ids = st.text(st.characters(exclude_categories=["Cs"]), max_size=2)


@pytest.mark.parametrize("key_bits", [64, 3, 1])
@settings(deadline=None)
@given(groups=st.lists(st.lists(ids, max_size=12), max_size=5))
def test_new_ids_get_consecutive_ordinals_and_taken_ones_are_named(key_bits: int, groups: list[list[str]]) -> None:
    """With keys of 1 or 3 bits nearly every id meets another one's key."""
    known: dict[str, int] = {}
    index = IdIndex(lambda ordinal: list(known)[ordinal], key_bits=key_bits)
    if key_bits < 64:  # one key an id is needed: with few keys, few ids
        groups = [group[: 2**key_bits] for group in groups]
        distinct = list(dict.fromkeys(one for group in groups for one in group))[: 2**key_bits // 2]
        groups = [[one for one in group if one in distinct] for group in groups]
    for group in groups:
        expected = []
        fresh: dict[str, int] = {}
        for at, custom_id in enumerate(group):
            existing = known.get(custom_id, fresh.get(custom_id))
            if existing is None:
                fresh[custom_id] = len(known) + len(fresh)
            else:
                expected.append((at, existing))
        assert index.add_many(group, len(known)) == expected
        known |= fresh
    index.close()


def test_the_index_spills_to_disk_beyond_its_cache() -> None:
    """50,000 ids, added twice: the second time every one is taken."""
    names = [f"item-{number}" for number in range(50_000)]
    index = IdIndex(lambda ordinal: names[ordinal])
    for first in range(0, len(names), 5000):
        assert index.add_many(names[first : first + 5000], first) == []
    assert index.add_many(names[40_000:40_100], len(names)) == [(at, 40_000 + at) for at in range(100)]
    assert index.add_many(["new", "item-7", "newer", "new"], 50_000) == [(1, 7), (3, 50_000)]
    names += ["new", "newer"]
    assert index.add_many(["newer", "newest"], 50_002) == [(0, 50_001)]
    index.close()
