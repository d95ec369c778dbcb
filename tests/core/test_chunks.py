"""Chunks: the exact bytes, the exact sizes, and wire ids that lead back."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.chunks import (
    MAX_BYTES,
    MAX_REQUESTS,
    NONCE_CHARACTERS,
    base36,
    body,
    body_size_bytes,
    cut,
    halves,
    item,
    item_size_bytes,
    nonce_of,
    parse_wire_id,
    whole,
    wire_id,
)
from ledger.core.columns import Columns, OrdinalQueue, ordinals

LEGAL = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII)  # batch guide: custom_id

ordinal_numbers = st.one_of(st.integers(0, 100), st.integers(0, 2**32 - 1))
names = st.text(max_size=100)
plain_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
).filter(lambda value: "\\ud" not in json.dumps(value))  # a lone surrogate is no text that could be sent


def as_the_sdk_sends(value: Any) -> bytes:
    """Return the bytes of the SDK's own serialisation (anthropic SDK 2.12, ``_utils/_json.py``)."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


# ── bytes and sizes ──────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.tuples(names, plain_json), min_size=1, max_size=6), st.booleans())
def test_a_body_is_byte_for_byte_what_the_sdk_would_send_and_as_large_as_announced(
    asked: list[tuple[str, Any]], opaque: bool
) -> None:
    nonce = nonce_of("ledger", 3, 1)
    params = [as_the_sdk_sends(value) for _, value in asked]
    wires = [wire_id(ordinal, nonce, name, opaque=opaque) for ordinal, (name, _) in enumerate(asked)]
    made = b"".join(body(zip(wires, params, strict=True)))
    sent = {"requests": [{"custom_id": w, "params": value} for w, (_, value) in zip(wires, asked, strict=True)]}
    assert made == as_the_sdk_sends(sent)
    sizes = [item_size_bytes(o, asked[o][0], len(params[o]), opaque=opaque) for o in range(len(asked))]
    assert sizes == [len(item(wire, one)) for wire, one in zip(wires, params, strict=True)]
    assert len(made) == body_size_bytes(sum(sizes), len(sizes))


def test_a_large_body_comes_in_pieces_of_bounded_size() -> None:
    params = b'"' + b"x" * 50_000 + b'"'
    pieces = list(body((str(number), params) for number in range(40)))
    assert len(pieces) > 4
    assert max(len(piece) for piece in pieces) < 400_000
    assert len(json.loads(b"".join(pieces))["requests"]) == 40


# ── wire ids ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(ordinal_numbers, st.integers(1, 10**6), st.integers(1, 50), names, st.booleans())
def test_a_wire_id_is_legal_and_leads_back(ordinal: int, chunk: int, submission: int, name: str, opaque: bool) -> None:
    nonce = nonce_of("ledger", chunk, submission)
    wire = wire_id(ordinal, nonce, name, opaque=opaque)
    assert LEGAL.fullmatch(wire)
    assert parse_wire_id(wire) == (ordinal, nonce)
    assert item_size_bytes(ordinal, name, 0, opaque=opaque) == len(item(wire, b""))


@given(st.lists(st.tuples(ordinal_numbers, names), unique_by=lambda one: one[0], min_size=2), st.booleans())
def test_wire_ids_in_a_chunk_are_unique_whatever_the_users_ids_are(asked: list[tuple[int, str]], opaque: bool) -> None:
    nonce = nonce_of("ledger", 1, 1)
    assert len({wire_id(ordinal, nonce, name, opaque=opaque) for ordinal, name in asked}) == len(asked)


@given(st.text() | st.from_regex(LEGAL))
def test_reading_a_strangers_id_never_fails_and_what_reads_as_ours_has_the_form(text: str) -> None:
    read = parse_wire_id(text)
    assert read is None or text.startswith((f"{base36(read.ordinal)}-{read.nonce}", "0"))


@pytest.mark.parametrize(
    "text",
    ["", "12", "1-short", "1-0123456789a", "Z-0123456789", "12345678-0123456789-x", "1-012345678Z-x", "١-0123456789-x"],
)
def test_what_is_not_of_our_form_is_nobodys(text: str) -> None:
    assert parse_wire_id(text) is None


def test_a_label_keeps_the_users_id_as_far_as_it_is_legal_and_fits() -> None:
    assert wire_id(35, "0123456789", "Größe/42") == "z-0123456789-Gr__e_42"
    assert wire_id(36, "0123456789", "x" * 200) == "10-0123456789-" + "x" * 50
    assert wire_id(36, "0123456789", "secret", opaque=True) == "10-0123456789"


def test_nonces_tell_ledgers_chunks_and_submissions_apart() -> None:
    nonces = {nonce_of(ledger, chunk, sub) for ledger in "ab" for chunk in range(1, 200) for sub in range(1, 20)}
    assert len(nonces) == 2 * 199 * 19
    assert {len(nonce) for nonce in nonces} == {NONCE_CHARACTERS}
    assert nonce_of("a", 1, 11) != nonce_of("a", 11, 1)


def test_a_nonce_is_the_same_for_ever() -> None:
    """It is recomputed years later, to prove whose a batch is: a change of the formula would orphan every batch."""
    assert nonce_of("0123456789abcdef", 7, 2) == "fcyxr1pgjk"


@given(st.integers(0, 10**12))
def test_base36_is_read_back_by_int(number: int) -> None:
    assert int(base36(number), 36) == number


# ── cutting ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def columns_of(sizes: list[int]) -> Columns:
    columns = Columns()
    for size in sizes:
        columns.add(size, 0)
    return columns


@given(
    st.lists(st.integers(30, 400), min_size=1, max_size=40),
    st.integers(1, 20),
    st.integers(1, 3000),
    st.frozensets(st.integers(1, 20)),
)
def test_a_cut_is_the_longest_front_within_the_limits_of_a_size_that_is_free(
    sizes: list[int], max_requests: int, max_bytes: int, avoid: frozenset[int]
) -> None:
    columns, order = columns_of(sizes), list(range(0, len(sizes), 2)) + list(range(1, len(sizes), 2))
    queue = OrdinalQueue()
    for ordinal in order:
        queue.push(ordinal, ordinal + 1)
    taken = cut(columns, queue, max_requests, max_bytes, avoid)

    def size_of(count: int) -> int:
        return body_size_bytes(sum(sizes[ordinal] for ordinal in order[:count]), count)

    longest = max((n for n in range(1, len(order) + 1) if n <= max_requests and size_of(n) <= max_bytes), default=1)
    free = [count for count in range(1, longest + 1) if count not in avoid]
    expected = free[-1] if free else longest
    assert list(ordinals(taken.ranges)) == order[:expected]
    assert (taken.requests, taken.size_bytes) == (expected, size_of(expected))
    queue.take(taken.ranges)  # what is cut can be taken
    assert queue.size == len(order) - expected


def test_the_limits_of_the_api_leave_a_margin() -> None:
    assert MAX_REQUESTS == 100_000  # batch guide
    assert MAX_BYTES <= 256_000_000 - 1_000_000  # "256 MB", read as decimal


@given(st.lists(st.integers(30, 10_000), max_size=40))
def test_halves_are_all_of_it_in_order_and_neither_is_empty(sizes: list[int]) -> None:
    columns, members = columns_of(sizes), list(range(len(sizes)))
    parts = halves(columns, members)
    assert [ordinal for part in parts for ordinal in ordinals(part.ranges)] == members
    assert len(parts) == min(len(members), 2)
    assert all(part.requests and part == whole(columns, list(ordinals(part.ranges))) for part in parts)
    if len(parts) == 2:
        total = sum(sizes)
        first = sum(sizes[ordinal] for ordinal in ordinals(parts[0].ranges))
        assert abs(first - total / 2) <= max(sizes)
