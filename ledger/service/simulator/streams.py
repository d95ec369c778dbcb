"""The bytes of a results stream: rows in their order, with what is wrong with them, in pieces worth sending."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

from ledger.service.simulator.answers import Answers
from ledger.service.simulator.faults import Fault

_PIECE_BYTES = 1 << 16
_GZIP_WINDOW = 31  # zlib's code for a gzip header and trailer
_TEXT_START = b'"text":"'
# Legal unescaped inside JSON strings (RFC 8259), yet line ends to str.splitlines and to readers built on it.
_SEPARATORS = "\u2028\u0085 ".encode()
_FOREIGN_ROW = b'{"custom_id":"never-submitted-row","result":{"type":"canceled"}}\n'


def result_rows(answers: Answers, order: list[int], faults: Iterable[Fault]) -> Iterator[bytes]:
    """Yield the rows of an ended batch, with their newlines, as the faults leave them.

    Args:
        answers: makes the rows.
        order: the shuffled order.
        faults: those of other kinds than rows' are left out of account.
    """
    kinds: set[str] = {fault.kind for fault in faults}
    missing = sum(fault.rows for fault in faults if fault.kind == "short")
    rows = answers.rows(order[: max(len(order) - missing, 0)] if missing else order)
    if "line_separators" in kinds:
        rows = (row.replace(_TEXT_START, _TEXT_START + _SEPARATORS) for row in rows)
    first = next(rows, None)
    if first is not None:
        yield from _first_rows(first, kinds)
    yield from rows
    if "duplicate_row" in kinds and first is not None:
        yield first


def _first_rows(first: bytes, kinds: set[str]) -> Iterator[bytes]:
    if "corrupt_row" in kinds:
        yield first[: len(first) // 2] + b"\n"
    elif "unknown_type" in kinds:
        yield first.partition(b',"result":')[0] + b',"result":{"type":"postponed"}}\n'
    else:
        yield first
    if "blank_line" in kinds:
        yield b"\n"
    if "foreign_row" in kinds:
        yield _FOREIGN_ROW


def in_pieces(rows: Iterable[bytes], *, compressed: bool) -> Iterator[bytes]:
    """Yield the same bytes in pieces of about 64 KB, as gzip if that is wanted."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, _GZIP_WINDOW) if compressed else None
    waiting: list[bytes] = []
    size = 0
    for row in rows:
        waiting.append(row)
        size += len(row)
        if size >= _PIECE_BYTES:
            piece = b"".join(waiting)
            waiting, size = [], 0
            piece = compressor.compress(piece) if compressor else piece
            if piece:
                yield piece
    rest = b"".join(waiting)
    if compressor:
        rest = compressor.compress(rest) + compressor.flush()
    if rest:
        yield rest
