r"""The one streaming reader of lines: items from files and stdin, results from the network.

Lines end at ``\n`` and nowhere else: U+2028 and its like are legal inside JSON strings, and every reader that splits
there tears rows apart. Memory stays constant whatever the file: reads are bounded, decompression is bounded, and a
line over the limit is counted and reported, not kept.

A reader knows at each group's end how many decompressed bytes it has consumed and their SHA-256, so that an
interrupted intake goes on where it was, and a file that changed meanwhile is told by its prefix.
"""

from __future__ import annotations

import hashlib
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, NamedTuple, Protocol, Self

from ledger.core import zstd
from ledger.core.errors import InputError

READ_BYTES: Final = 1 << 18
"""One read, and the most that one step of decompression returns.

Of a megabyte, each buffer is fresh pages from the system and back, which cost 2 µs of a line of 2 KB.
"""

LINE_BYTES_MAX: Final = 33_000_000
"""A request of 32 MB ("Claude API errors") and some columns beside it; a longer line cannot be a valid item."""

STDIN: Final = "-"

_GZIP_MAGIC: Final = b"\x1f\x8b"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_COMPRESSED_PIECE_BYTES: Final = 1 << 16
_NAMED_FORMATS: Final = {".gz": "gzip", ".zst": "zstd"}


class LineGroup(NamedTuple):
    r"""Some lines that follow one another, and where the reader stands behind them.

    Args:
        lines: number (from 1) and bytes of each line that is not blank, without its ``\n`` or ``\r\n``.
        overlong: number and length in bytes of each line over the limit; its bytes are gone.
        blank: how many lines were blank.
        offset: decompressed bytes consumed so far, always at the end of a line.
        digest: hex of the SHA-256 of those bytes.
    """

    lines: list[tuple[int, bytes]]
    overlong: list[tuple[int, int]]
    blank: int
    offset: int
    digest: str


def split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    r"""Yield the lines of a stream of bytes, split at ``\n`` only and without it.

    Blank lines are yielded as ``b""``; a last line without ``\n`` is yielded, an empty one is not. A line of many
    chunks is kept as a list of pieces and joined once, so that its cost is linear.
    """
    pieces: list[bytes] = []
    for chunk in chunks:
        first, *rest = chunk.split(b"\n")
        pieces.append(first)
        if rest:
            yield b"".join(pieces)
            pieces = [rest.pop()]
            yield from rest
    last = b"".join(pieces)
    if last:
        yield last


class LineReader:
    """Reads the lines of one file or stream, in groups of some hundred kilobytes.

    Plain, gzip and zstd are told apart by their first bytes, also on stdin; a file named ``.gz`` or ``.zst`` that is
    neither is refused. A byte order mark at the very beginning is dropped.

    Args:
        stream: a binary stream; `close` closes it.
        name: what to call it in errors.
        line_bytes_max: longer lines are reported as overlong.
    """

    def __init__(self, stream: BinaryIO, name: str, *, line_bytes_max: int = LINE_BYTES_MAX) -> None:
        self.name = name
        self._stream = stream
        self._line_bytes_max = line_bytes_max
        self._number = 0  # of the last line consumed
        self._offset = 0
        self._hash = hashlib.sha256()
        self._rest = b""  # read while skipping, not yet consumed
        self._inside_line = False  # skipped to the end of a line that had no line end
        self._chunks = _decompressed(stream, name, self._position)

    @classmethod
    def open(cls, path: str | Path, *, line_bytes_max: int = LINE_BYTES_MAX) -> LineReader:
        """Open a file, or stdin for ``-``.

        Raises:
            InputError: the file cannot be opened.
        """
        if str(path) == STDIN:
            return cls(sys.stdin.buffer, "stdin", line_bytes_max=line_bytes_max)
        try:
            stream = Path(path).open("rb", buffering=0)  # noqa: SIM115 - closed by close()
        except OSError as error:
            raise InputError(f"cannot read {path}", why=error.strerror or str(error)) from error
        return cls(stream, str(path), line_bytes_max=line_bytes_max)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the stream, except stdin, which is not ours."""
        if self._stream is not sys.stdin.buffer:
            self._stream.close()

    @property
    def offset(self) -> int:
        """Decompressed bytes consumed so far."""
        return self._offset

    @property
    def digest(self) -> str:
        """Hex of the SHA-256 of the bytes consumed so far."""
        return self._hash.hexdigest()

    def skip_to(self, offset: int, expected_digest: str) -> None:
        """Consume the first bytes without yielding their lines, and check that they are what they were.

        To be called before the first group; line numbers go on as if the lines had been read.

        Args:
            offset: a group's offset.
            expected_digest: that group's digest.

        Raises:
            InputError: the file is shorter, or its beginning was changed.
        """
        if self._offset or self._rest:
            raise ValueError("skip_to comes before the first group")
        last = b"\n"
        while self._offset < offset:
            chunk = next(self._chunks, b"")
            if not chunk:
                raise self._changed(f"it now ends after {self._offset} bytes, and {offset} were taken in before")
            taken, self._rest = chunk[: offset - self._offset], chunk[offset - self._offset :]
            self._hash.update(taken)
            self._offset += len(taken)
            self._number += taken.count(b"\n")
            last = taken[-1:]
        if self.digest != expected_digest:
            raise self._changed(f"its first {offset} bytes are not those that were taken in before")
        if last != b"\n":
            self._number += 1
            self._inside_line = True

    def groups(self) -> Iterator[LineGroup]:
        """Yield the lines, group by group; a group may have none where only blank or overlong ones were.

        Raises:
            InputError: the file is torn, not what its name says, or unreadable.
        """
        pieces: list[bytes] = []  # of the line that goes on in the next chunk; none once it is over the limit
        pending_bytes = 0  # its length so far
        for chunk in self._unread():
            end = chunk.rfind(b"\n") + 1
            self._consume(chunk[:end])
            if end:
                start = 0
                overlong: list[tuple[int, int]] = []
                if pending_bytes > self._line_bytes_max:
                    start = chunk.find(b"\n") + 1
                    overlong = self._overlong(pending_bytes + start - 1)
                yield self._group(b"".join([*pieces, chunk[start:end]]), overlong)
                pieces, pending_bytes = [], 0
            # What follows belongs to the next group, so it is hashed after this one's digest was taken.
            self._consume(chunk[end:])
            pending_bytes += len(chunk) - end
            pieces.append(chunk[end:])
            if pending_bytes > self._line_bytes_max:
                pieces.clear()
        if pending_bytes > self._line_bytes_max:
            yield self._group(b"", self._overlong(pending_bytes))
        elif pending_bytes:
            yield self._group(b"".join(pieces), [])

    def _unread(self) -> Iterator[bytes]:
        if self._rest:
            rest, self._rest = self._rest, b""
            yield rest
        yield from self._chunks

    def _consume(self, data: bytes) -> None:
        self._hash.update(data)
        self._offset += len(data)

    def _overlong(self, size_bytes: int) -> list[tuple[int, int]]:
        if self._inside_line:
            raise self._grown()
        self._number += 1
        return [(self._number, size_bytes)]

    def _group(self, body: bytes, overlong: list[tuple[int, int]]) -> LineGroup:
        """The group of whole lines, each but the file's last with its line end."""
        lines = body.split(b"\n")
        if not lines[-1]:
            lines.pop()
        if self._number == 0 and lines and lines[0].startswith(_BYTE_ORDER_MARK):
            lines[0] = lines[0][len(_BYTE_ORDER_MARK) :]
        if self._inside_line:
            if lines.pop(0) not in (b"", b"\r"):
                raise self._grown()
            self._inside_line = False
        first = self._number + 1
        self._number += len(lines)
        if len(body) <= self._line_bytes_max and b"\r" not in body and all(line.startswith(b"{") for line in lines):
            # As nearly always: all are objects and none needs another look.
            return LineGroup(list(enumerate(lines, first)), overlong, 0, self._offset, self.digest)
        kept: list[tuple[int, bytes]] = []
        for number, line in enumerate(lines, first):
            if line.endswith(b"\r"):
                line = line[:-1]
            if len(line) > self._line_bytes_max:
                overlong.append((number, len(line)))
            elif line and not line.isspace():
                kept.append((number, line))
        blank = len(lines) - len(kept) - sum(1 for at, _ in overlong if at >= first)
        return LineGroup(kept, overlong, blank, self._offset, self.digest)

    def _position(self) -> str:
        return f"after {self._offset} bytes, behind line {self._number}"

    def _grown(self) -> InputError:
        return self._changed(f"line {self._number} was its last and had no end; now the line goes on")

    def _changed(self, why: str) -> InputError:
        return InputError(
            "the file changed since a part of it was taken in",
            where=self.name,
            why=why,
            next="restore the file and resume, or start a new ledger for the new one",
        )


def _decompressed(stream: BinaryIO, name: str, position: Callable[[], str]) -> Iterator[bytes]:
    """Yield the bytes of a stream in pieces of at most `READ_BYTES`, decompressed where its first bytes say so."""
    raw = _read(stream, name, position)
    head = b""
    while len(head) < len(zstd.MAGIC) and (piece := next(raw, b"")):
        head += piece
    chunks = _chain(head, raw)
    expected = _NAMED_FORMATS.get(Path(name).suffix.lower())
    if head.startswith(_GZIP_MAGIC):
        yield from _checked(_members(chunks, _Gunzip), name, "gzip", position)
    elif head.startswith(zstd.MAGIC):
        yield from _checked(_members(chunks, zstd.ZstdDecompressor), name, "zstd", position)
    elif expected is not None:
        raise InputError(
            f"the file is not {expected}, as its name says",
            where=name,
            why=f"it begins with {head[:8].hex(' ') or 'nothing at all'}",
            next="rename it, if it is plain text; else get it again",
        )
    else:
        yield from chunks


def _read(stream: BinaryIO, name: str, position: Callable[[], str]) -> Iterator[bytes]:
    while True:
        try:
            piece = stream.read(READ_BYTES)
        except OSError as error:
            why = error.strerror or str(error)
            raise InputError("reading failed", where=f"{name}, {position()}", why=why) from error
        if not piece:
            return
        yield piece


def _chain(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest


class _Torn(Exception):  # noqa: N818 - becomes an InputError that knows the file
    pass


def _checked(chunks: Iterator[bytes], name: str, kind: str, position: Callable[[], str]) -> Iterator[bytes]:
    """The chunks, with what is wrong with the compressed file said as an error of the input."""
    try:
        yield from chunks
    except (_Torn, zlib.error, zstd.ZstdError) as error:
        torn = isinstance(error, _Torn)
        raise InputError(
            f"the {kind} file ends in the middle" if torn else f"the {kind} file is damaged",
            where=f"{name}, {position()} of its content",
            why="" if torn else str(error),
            next=f"get the file again, or test it: {kind} -t {name}",
        ) from error


class _Decompressor(Protocol):
    """What the loop of both formats needs; zlib's is brought into this form, which is zstd's."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gunzip:
    """One member of a gzip file, with the interface of a zstd decompressor."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._member.eof

    @property
    def needs_input(self) -> bool:
        return not self._member.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._member.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        # Output that waits inside for want of room is never lost: the trailer of the member is yet to come.
        return self._member.decompress(self._member.unconsumed_tail + data, max_length)


def _members(chunks: Iterator[bytes], new: Callable[[], _Decompressor]) -> Iterator[bytes]:
    """Decompress the members (gzip) or frames (zstd) of a file, one after another, padding of zeros ignored."""
    member: _Decompressor | None = new()
    for chunk in chunks:
        # In small pieces, since what a member leaves unused is copied: a file may have a frame a line.
        for start in range(0, len(chunk), _COMPRESSED_PIECE_BYTES):
            data = chunk[start : start + _COMPRESSED_PIECE_BYTES]
            while True:
                if member is None:
                    data = data.lstrip(b"\0")
                    if not data:
                        break
                    member = new()
                out = member.decompress(data, READ_BYTES)
                if out:
                    yield out
                if member.eof:
                    data, member = member.unused_data, None
                elif member.needs_input:
                    break
                else:
                    data = b""
    if member is not None:
        raise _Torn
