"""Lines come out as they went in, from any cut, compression and restart."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core import zstd
from ledger.core.errors import InputError
from ledger.files import lines as reading
from ledger.files.lines import LineGroup, LineReader, split_lines

LINES = st.lists(
    st.one_of(
        st.just(b""),
        st.just(b"\r"),
        st.just(b"  "),
        st.just("\u2028x\x85\x0b\x0c".encode()),
        st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"")),
    ),
    max_size=12,
)


class Trickle(io.RawIOBase):
    """A stream that hands out its bytes in pieces of given sizes, as a pipe may."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self.data, self.sizes, self.calls = data, sizes, 0

    def read(self, size: int = -1) -> bytes:
        take = min(size, self.sizes[self.calls % len(self.sizes)]) if self.sizes else size
        self.calls += 1
        piece, self.data = self.data[:take], self.data[take:]
        return piece


def read_all(data: bytes, sizes: list[int] | None = None, *, line_bytes_max: int = 100) -> list[LineGroup]:
    return list(LineReader(Trickle(data, sizes or []), "items", line_bytes_max=line_bytes_max).groups())  # type: ignore[arg-type]


def naive(data: bytes) -> list[tuple[int, bytes]]:
    """The numbered lines that are not blank, by the obvious method."""
    rows = [row.removesuffix(b"\r") for row in data.split(b"\n")]
    return [(number, row) for number, row in enumerate(rows, 1) if row.strip()]


@given(LINES, st.booleans(), st.lists(st.integers(1, 9), max_size=4))
def test_lines_are_the_same_however_the_bytes_arrive(rows: list[bytes], end: bool, sizes: list[int]) -> None:
    data = b"x\n" + b"\n".join(rows) + (b"\n" if end else b"")
    groups = read_all(data, sizes)
    assert [line for group in groups for line in group.lines] == naive(data)
    assert groups[-1].offset == len(data)
    for group in groups:
        assert group.digest == hashlib.sha256(data[: group.offset]).hexdigest()
        assert data[group.offset - 1 : group.offset] == b"\n" or group.offset == len(data)
    terminated = data.count(b"\n") + (not data.endswith(b"\n"))
    assert sum(len(group.lines) + group.blank for group in groups) == terminated


@given(LINES, st.booleans(), st.lists(st.integers(1, 9), max_size=4), st.data())
def test_a_reader_that_skips_to_a_group_goes_on_with_the_rest(
    rows: list[bytes], end: bool, sizes: list[int], choice: st.DataObject
) -> None:
    data = b"x\n" + b"\n".join(rows) + (b"\n" if end else b"")
    groups = read_all(data, sizes)
    at = choice.draw(st.integers(0, len(groups) - 1))
    reader = LineReader(io.BytesIO(data), "items", line_bytes_max=100)
    reader.skip_to(groups[at].offset, groups[at].digest)
    rest = [line for group in reader.groups() for line in group.lines]
    assert rest == [line for group in groups[at + 1 :] for line in group.lines]
    assert reader.digest == hashlib.sha256(data).hexdigest()


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=6))
def test_split_lines_ends_lines_at_newlines_only(data: bytes, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(data)]
    chunks = [data[a:b] for a, b in itertools.pairwise(edges)]
    expected = data.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert list(split_lines(chunks)) == expected


def test_split_lines_joins_a_line_of_many_chunks_once() -> None:
    """16 MB in 64-byte chunks: with tail + chunk this would copy two terabytes."""
    chunks = [b"x" * 64] * (1 << 18)
    assert [len(line) for line in split_lines([*chunks, b"\ny"])] == [1 << 24, 1]


@given(
    st.lists(st.integers(0, 45), min_size=1, max_size=8),
    st.booleans(),
    st.lists(st.integers(1, 50), max_size=3),
)
def test_a_line_over_the_limit_is_reported_and_the_others_are_read(
    lengths: list[int], end: bool, sizes: list[int]
) -> None:
    data = b"\n".join(b"x" * length for length in lengths) + (b"\n" if end else b"")
    groups = read_all(data, sizes, line_bytes_max=20)
    numbered = list(enumerate(lengths, 1))
    assert [(number, len(line)) for group in groups for number, line in group.lines] == [
        (number, length) for number, length in numbered if 0 < length <= 20
    ]
    assert [over for group in groups for over in group.overlong] == [
        (number, length) for number, length in numbered if length > 20
    ]
    last_counts = end or lengths[-1] > 0
    assert sum(group.blank for group in groups) == lengths.count(0) - (not last_counts)
    assert (groups[-1].offset if groups else 0) == len(data)


def test_a_line_over_the_limit_is_not_kept_in_memory() -> None:
    """A line of 64 MB passes through a reader that never holds more than a few times its limit of 1 MB."""
    tracemalloc.start()
    try:
        stream = Trickle(gzip.compress(bytes(1 << 26) + b"\nok\n", 1), [])
        reader = LineReader(stream, "items", line_bytes_max=1 << 20)  # type: ignore[arg-type]
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        groups = list(reader.groups())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 8 << 20
    assert [group.overlong for group in groups if group.overlong] == [[(1, 1 << 26)]]
    assert groups[-1].lines == [(2, b"ok")]


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd.compress,
}


@pytest.mark.parametrize("kind", PACKERS)
@given(members=st.lists(st.binary(max_size=200), min_size=1, max_size=4), size=st.integers(1, 60))
def test_compressed_files_of_several_members_are_one_stream(kind: str, members: list[bytes], size: int) -> None:
    data = b"first\n" + b"".join(members)
    packed = PACKERS[kind](b"first\n") + b"".join(PACKERS[kind](member) for member in members)
    groups = read_all(packed, [size], line_bytes_max=1000)
    assert [line for group in groups for line in group.lines] == naive(data)
    assert groups[-1].digest == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("kind", PACKERS)
def test_a_small_file_that_unpacks_to_much_is_read_in_bounded_steps(kind: str) -> None:
    data = b"\n".join([b"a" * 99] * 80_000)
    groups = read_all(PACKERS[kind](data))
    assert sum(len(group.lines) for group in groups) == 80_000
    assert max(sum(len(line) + 1 for _, line in group.lines) for group in groups) <= reading.READ_BYTES + 100
    assert groups[-1].offset == len(data)


@pytest.mark.parametrize("kind", PACKERS)
def test_a_torn_compressed_file_is_refused_at_every_cut(kind: str) -> None:
    packed = PACKERS[kind](b'{"a": 1}\n{"b": 2}\n')
    for cut in range(4, len(packed)):
        with pytest.raises(InputError) as caught:
            read_all(packed[:cut])
        assert caught.value.what == f"the {kind} file ends in the middle"
        assert caught.value.where.startswith("items, after ")


@pytest.mark.parametrize("kind", PACKERS)
def test_a_damaged_compressed_file_is_refused(kind: str) -> None:
    packed = bytearray(PACKERS[kind](b"some text, and some more text\n" * 40) + b"rubbish")
    with pytest.raises(InputError, match="is damaged"):
        read_all(bytes(packed))


def test_zeros_behind_a_gzip_member_are_padding() -> None:
    assert read_all(gzip.compress(b"a\n") + b"\0" * 100)[0].lines == [(1, b"a")]


def test_what_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl.gz"
    path.write_bytes(b"<html>")
    with (
        LineReader.open(path) as reader,
        pytest.raises(InputError, match="the file is not gzip, as its name says"),
    ):
        list(reader.groups())


def test_compression_is_told_by_the_bytes_where_the_name_is_silent(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_bytes(zstd.compress(b"a\n"))
    with LineReader.open(path) as reader:
        assert [group.lines for group in reader.groups()] == [[(1, b"a")]]


def test_a_file_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        LineReader.open(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="cannot read"):
        LineReader.open(tmp_path)


def test_stdin_is_a_dash_and_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(b'{"a": 1}\r\n\n{"b": 2}'))
    monkeypatch.setattr("sys.stdin", stdin)
    with LineReader.open("-") as reader:
        groups = list(reader.groups())
    assert [line for group in groups for line in group.lines] == [(1, b'{"a": 1}'), (3, b'{"b": 2}')]
    assert not stdin.buffer.closed


def test_a_byte_order_mark_is_dropped_at_the_beginning_only() -> None:
    groups = read_all(b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n")
    assert groups[0].lines == [(1, b"a"), (2, b"\xef\xbb\xbfb")]
    assert groups[0].offset == 10


@pytest.mark.parametrize(
    ("now", "why"),
    [
        (b"a\nX\nc\n", "its first 4 bytes are not those that were taken in before"),
        (b"a\n", "it now ends after 2 bytes, and 4 were taken in before"),
    ],
)
def test_a_changed_file_is_told_by_its_prefix(now: bytes, why: str) -> None:
    reader = LineReader(io.BytesIO(now), "items")
    with pytest.raises(InputError) as caught:
        reader.skip_to(4, hashlib.sha256(b"a\nb\n").hexdigest())
    assert (caught.value.where, caught.value.why) == ("items", why)


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_a_file_whose_last_line_had_no_end_may_get_more_lines(ending: bytes) -> None:
    reader = LineReader(io.BytesIO(b"a\nb" + ending + b"c\n"), "items")
    reader.skip_to(3, hashlib.sha256(b"a\nb").hexdigest())
    (group,) = reader.groups()
    assert (group.lines, group.blank) == ([(3, b"c")], 0)


@pytest.mark.parametrize("limit", [2, 100])
def test_a_last_line_that_grew_is_a_changed_file(limit: int) -> None:
    reader = LineReader(Trickle(b"a\nbb more\nc\n", [2]), "items", line_bytes_max=limit)  # type: ignore[arg-type]
    reader.skip_to(3, hashlib.sha256(b"a\nb").hexdigest())
    with pytest.raises(InputError, match="the file changed"):
        list(reader.groups())


def test_a_read_that_fails_names_file_and_position() -> None:
    class Broken(io.RawIOBase):
        served = False

        def read(self, size: int = -1) -> bytes:
            if self.served:
                raise OSError(5, "Input/output error")
            self.served = True
            return b"a\nb"

    with pytest.raises(InputError) as caught:
        list(LineReader(Broken(), "items").groups())  # type: ignore[arg-type]
    assert "reading failed" in str(caught.value)
    assert "items, after" in caught.value.where
