"""The codec of payload blocks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import request, result

from ledger.core.errors import CorruptLogError
from ledger.ports import RequestBlock, RequestPayload, ResultBlock, ResultPayload
from ledger.store.payloads import (
    BLOCK_BYTES,
    BLOCK_ROWS,
    decode_requests,
    decode_results,
    digest,
    encode_requests,
    encode_results,
    new_salts,
    request_blocks,
    result_blocks,
)

salts = st.binary(min_size=16, max_size=16)
requests = st.builds(
    RequestPayload,
    salts,
    st.binary(),
    st.binary(),
    st.binary(),
    st.booleans(),
    st.text(st.characters(exclude_categories=["Cs"])),
)
results = st.builds(ResultPayload, st.integers(0, 2**32 - 1), salts, st.binary())


@given(st.lists(requests, max_size=8))
def test_requests_come_back_as_they_were(rows: list[RequestPayload]) -> None:
    assert decode_requests(RequestBlock(0, len(rows), encode_requests(rows))) == rows


@given(st.lists(results, max_size=8))
def test_results_come_back_as_they_were(rows: list[ResultPayload]) -> None:
    assert decode_results(ResultBlock(1, 0, 0, len(rows), encode_results(rows))) == rows


@given(st.data())
def test_a_damaged_byte_never_changes_what_is_read(data: st.DataObject) -> None:
    """Zstandard leaves a bit of its frame header unused: flipping that one does no harm."""
    rows = [request(ordinal) for ordinal in range(5)]
    block = encode_requests(rows)
    at = data.draw(st.integers(0, len(block) - 1))
    flipped = block[:at] + bytes([block[at] ^ data.draw(st.integers(1, 255))]) + block[at + 1 :]
    if at == 6 and flipped[6] ^ block[6] == 0x10:
        assert decode_requests(RequestBlock(640, 5, flipped)) == rows
        return
    with pytest.raises(CorruptLogError, match="the block that starts at request 640"):
        decode_requests(RequestBlock(640, 5, flipped))


@given(st.data())
def test_a_cut_block_is_noticed(data: st.DataObject) -> None:
    block = encode_results([result(ordinal) for ordinal in range(5)])
    cut = block[: data.draw(st.integers(0, len(block) - 1))]
    with pytest.raises(CorruptLogError, match="request 640"):
        decode_results(ResultBlock(1, 640, 644, 5, cut))


def test_a_block_of_another_kind_or_number_of_rows_is_refused() -> None:
    block = encode_requests([request(0)])
    with pytest.raises(CorruptLogError, match="it holds 1 rows, the log says 2"):
        decode_requests(RequestBlock(0, 2, block))
    with pytest.raises(CorruptLogError, match="starts with 0101, not 0102"):
        decode_results(ResultBlock(1, 0, 0, 1, block))


@given(st.lists(st.integers(0, 250_000), max_size=30))
def test_blocks_are_cut_by_bytes_and_hold_every_row_once(sizes: list[int]) -> None:
    rows = [RequestPayload(bytes(16), bytes(size), b"", b"", False, "") for size in sizes]
    blocks = list(request_blocks(100, rows))
    decoded = [decode_requests(block) for block in blocks]
    assert [row for block in decoded for row in block] == rows
    assert [block.first for block in blocks] == [100 + sum(map(len, decoded[:at])) for at in range(len(blocks))]
    for block, following in zip(decoded, [*decoded[1:], None], strict=False):
        size = sum(len(row.params) for row in block)
        assert len(block) == 1 or size <= BLOCK_BYTES
        assert following is None or size + len(following[0].params) > BLOCK_BYTES


def test_blocks_are_cut_by_rows() -> None:
    lengths = [len(decode_requests(block)) for block in request_blocks(0, map(request, range(150)))]
    assert lengths == [BLOCK_ROWS, BLOCK_ROWS, 22]


def test_a_group_of_results_is_put_in_order() -> None:
    (block,) = result_blocks(3, map(result, (9, 2, 5)))
    assert (block.chunk, block.first, block.last) == (3, 2, 9)
    assert [row.ordinal for row in decode_results(block)] == [2, 5, 9]


def test_rows_that_are_alike_share_their_bytes() -> None:
    rows = [request(ordinal, 2000) for ordinal in range(64)]
    assert len(encode_requests(rows)) < 64 * 2000 // 20


def test_a_salt_that_would_make_a_digest_ambiguous_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes, not 15"):
        encode_requests([request(0)._replace(salt=bytes(15))])
    with pytest.raises(ValueError, match="16 bytes, not 17"):
        encode_results([ResultPayload(0, bytes(17), b"")])


def test_a_digest_depends_on_salt_and_body_and_has_43_url_safe_characters() -> None:
    # SHA-256 of 16 zero bytes and "body", computed with coreutils: (head -c16 /dev/zero; printf body) | sha256sum
    assert digest(bytes(16), b"body") == "yP_-ay8ibx8xKL44FZ3sQm8lW8nADkihplkO0GZFziY"
    assert len({digest(salt, body) for salt in new_salts(3) for body in (b"a", b"b")}) == 6


def test_salts_are_random_and_of_16_bytes() -> None:
    made = new_salts(1000)
    assert {len(one) for one in made} == {16}
    assert len(set(made)) == 1000
    assert new_salts(0) == []
