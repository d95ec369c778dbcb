"""The one codec of payload blocks: request bodies and result rows, compressed together.

A block is two bytes (format version, kind) and one Zstandard frame with a content checksum. Inside: the number of
rows, a table of fixed-width numbers a row, the salts, then all bytes end to end. About 64 rows share a block, so that
their common words are stored once, and reading one request costs the unpacking of 64.

Integers are little-endian. Salts make the digests in the events worthless for guessing a body that was redacted.
"""

from __future__ import annotations

import os
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from struct import Struct, pack, unpack_from
from struct import error as struct_error
from typing import TypeVar

from ledger.core import zstd
from ledger.core.errors import CorruptLogError
from ledger.ports import Body, RequestBlock, RequestPayload, ResultBlock, ResultPayload

BLOCK_ROWS = 64
BLOCK_BYTES = 192_000
"""A block is cut after this many rows or uncompressed bytes, whichever comes first; one row may exceed it."""

SALT_BYTES = 16
NO_SALT = bytes(SALT_BYTES)
"""What stands in the place of a salt that was deleted."""

_VERSION = 1
_REQUESTS = 1
_RESULTS = 2
_COUNT = Struct("<I")
# ZSTD_c_compressionLevel and ZSTD_c_checksumFlag of zstd.h. The checksum covers what no digest in an event covers:
# the rest of the source row around the params.
_OPTIONS = {100: 1, 201: 1}

_URL_SAFE = bytes.maketrans(b"+/", b"-_")

Row = TypeVar("Row")


def digest(salt: bytes, body: bytes) -> str:
    """Return the 43 characters (base64url, unpadded) of the salted SHA-256 by which an event names a body."""
    # base64.urlsafe_b64encode does the same through two more functions: 0.5 µs of every event.
    return str(b2a_base64(sha256(salt + body).digest(), newline=False)[:43].translate(_URL_SAFE), "ascii")


def new_salts(count: int) -> list[bytes]:
    """Return salts of 16 random bytes each, from one call to the system."""
    pool = os.urandom(SALT_BYTES * count)
    return [pool[at : at + SALT_BYTES] for at in range(0, len(pool), SALT_BYTES)]


def cut(rows: Iterable[Row], size_bytes: Callable[[Row], int]) -> Iterator[list[Row]]:
    """Yield runs of rows that fit one block each: `BLOCK_ROWS` or `BLOCK_BYTES`, and never less than one row."""
    run: list[Row] = []
    total = 0
    for row in rows:
        size = size_bytes(row)
        if run and (len(run) == BLOCK_ROWS or total + size > BLOCK_BYTES):
            yield run
            run, total = [], 0
        run.append(row)
        total += size
    if run:
        yield run


def request_blocks(first: int, payloads: Iterable[RequestPayload]) -> Iterator[RequestBlock]:
    """Yield the blocks of consecutive requests, the first of which has the ordinal ``first``."""
    for run in cut(payloads, _request_bytes):
        yield RequestBlock(first, len(run), encode_requests(run))
        first += len(run)


def _request_bytes(one: RequestPayload) -> int:
    _, params, prefix, suffix, _, _ = one
    return len(params) + len(prefix) + len(suffix)


def result_blocks(chunk: int, payloads: Iterable[ResultPayload]) -> Iterator[ResultBlock]:
    """Yield the blocks of a group of a chunk's results, which come in any order.

    Groups of some thousand rows keep reading them back in order cheap: see ``EventLog.result_payloads``.
    """
    ordered = sorted(payloads, key=lambda one: one.ordinal)
    for run in cut(ordered, lambda one: len(one.row)):
        yield ResultBlock(chunk, run[0].ordinal, run[-1].ordinal, len(run), encode_results(run))


def require_consecutive(blocks: Iterable[RequestBlock], next_ordinal: int) -> int:
    """Return the next free ordinal after some blocks.

    Raises:
        ValueError: they do not start at the next free one, or leave a gap.
    """
    for first, count, _ in blocks:
        if first != next_ordinal:
            raise ValueError(f"a block starts at request {first}, the next one is {next_ordinal}")
        next_ordinal += count
    return next_ordinal


def encode_requests(rows: Sequence[RequestPayload]) -> bytes:
    """Return the block of some requests.

    Raises:
        ValueError: a salt has not 16 bytes.
    """
    table: list[int] = []
    body: list[bytes] = []
    for _, params, prefix, suffix, verbatim, custom_id in rows:
        name = custom_id.encode()
        table += (len(name), len(prefix), len(params), len(suffix), verbatim)
        body += (name, prefix, params, suffix)
    return _seal(_REQUESTS, table, [row.salt for row in rows], body)


def decode_requests(block: RequestBlock) -> list[RequestPayload]:
    """Return the requests of a block.

    Raises:
        CorruptLogError: the block is not what was written; names its first ordinal.
    """
    first, count, stored = block
    data, table, salt_at, at = _open(_REQUESTS, count, 5, stored, first)
    rows = []
    numbers = iter(table)
    for name, prefix, params, suffix, verbatim in zip(*[numbers] * 5, strict=True):
        prefix_at = at + name
        params_at = prefix_at + prefix
        suffix_at = params_at + params
        end = suffix_at + suffix
        rows.append(
            RequestPayload(
                data[salt_at : salt_at + SALT_BYTES],
                data[params_at:suffix_at],
                data[prefix_at:params_at],
                data[suffix_at:end],
                bool(verbatim),
                data[at:prefix_at].decode(errors="replace"),
            )
        )
        salt_at += SALT_BYTES
        at = end
    _check_end(at, len(data), first)
    return rows


def superseded_blocks(first: int, bodies: Iterable[Body]) -> Iterator[RequestBlock]:
    """Yield the blocks of bodies that were replaced, the first of which is the ``first`` ever replaced, counted from 0.

    Before a block of requests stand their ordinals, four bytes each.
    """
    for run in cut(bodies, lambda body: _request_bytes(body.payload)):
        ordinals = pack(f"<{len(run)}I", *(body.ordinal for body in run))
        yield RequestBlock(first, len(run), ordinals + encode_requests([body.payload for body in run]))
        first += len(run)


def decode_superseded(block: RequestBlock) -> list[Body]:
    """Return the bodies of a block of replaced ones.

    Raises:
        CorruptLogError: the block is not what was written.
    """
    size = 4 * block.rows
    payloads = decode_requests(block._replace(data=block.data[size:]))
    return list(map(Body, unpack_from(f"<{block.rows}I", block.data), payloads))


def without_body(payload: RequestPayload) -> RequestPayload:
    """Return what is left of a request that is redacted: its custom_id, which the log has, too."""
    return RequestPayload(NO_SALT, b"", b"", b"", False, payload.custom_id)


def without_row(payload: ResultPayload) -> ResultPayload:
    """Return what is left of a result row that is redacted."""
    return ResultPayload(payload.ordinal, NO_SALT, b"")


def is_redacted(payload: RequestPayload | ResultPayload) -> bool:
    """Return whether nothing is left of a payload: no body is empty, and no salt is zero by chance."""
    return payload.salt == NO_SALT and not (payload.params if isinstance(payload, RequestPayload) else payload.row)


def encode_results(rows: Sequence[ResultPayload]) -> bytes:
    """Return the block of some result rows.

    Raises:
        ValueError: a salt has not 16 bytes.
    """
    table = [number for ordinal, _, row in rows for number in (ordinal, len(row))]
    return _seal(_RESULTS, table, [row.salt for row in rows], [row.row for row in rows])


def decode_results(block: ResultBlock) -> list[ResultPayload]:
    """Return the result rows of a block.

    Raises:
        CorruptLogError: the block is not what was written; names its first ordinal.
    """
    _, first, _, count, stored = block
    data, table, salt_at, at = _open(_RESULTS, count, 2, stored, first)
    rows = []
    numbers = iter(table)
    for ordinal, size in zip(numbers, numbers, strict=True):
        rows.append(ResultPayload(ordinal, data[salt_at : salt_at + SALT_BYTES], data[at : at + size]))
        salt_at += SALT_BYTES
        at += size
    _check_end(at, len(data), first)
    return rows


def _seal(kind: int, table: list[int], salts: list[bytes], bodies: list[bytes]) -> bytes:
    if wrong := {len(salt) for salt in salts} - {SALT_BYTES}:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, not {wrong.pop()}")
    frame = b"".join((_COUNT.pack(len(salts)), pack(f"<{len(table)}I", *table), *salts, *bodies))
    return bytes((_VERSION, kind)) + zstd.compress(frame, options=_OPTIONS)


def _open(kind: int, count: int, columns: int, block: bytes, first: int) -> tuple[bytes, tuple[int, ...], int, int]:
    """Return (frame, table, where the salts start, where the bodies start) of a block."""
    if block[:2] != bytes((_VERSION, kind)):
        raise _corrupt(first, f"it starts with {block[:2].hex()}, not {_VERSION:02x}{kind:02x}")
    try:
        frame = zstd.decompress(block[2:])
        (rows,) = _COUNT.unpack_from(frame)
        if rows != count:
            raise _corrupt(first, f"it holds {rows} rows, the log says {count}")
        table = unpack_from(f"<{columns * count}I", frame, _COUNT.size)
    except (zstd.ZstdError, struct_error) as problem:
        raise _corrupt(first, str(problem)) from problem
    salts_at = _COUNT.size + 4 * len(table)
    return frame, table, salts_at, salts_at + SALT_BYTES * count


def _check_end(end: int, size: int, first: int) -> None:
    if end != size:
        raise _corrupt(first, f"its rows end at {end} of {size} bytes")


def _corrupt(first: int, why: str) -> CorruptLogError:
    return CorruptLogError(
        "a stored block of payloads is damaged",
        where=f"the block that starts at request {first}",
        why=why,
        next="ledger replay --audit",
    )
