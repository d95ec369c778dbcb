"""Chunks: which requests, in exactly which bytes, under which wire ids.

A chunk's body is ``{"requests":[item,item,…]}``: 15 + Σ item + (n − 1) bytes, which is what the official SDK sends,
byte for byte. An item is ``{"custom_id":"WIRE","params":PARAMS}``.

A wire id is ``ORDINAL-NONCE-LABEL``, within the 64 legal characters ``[a-zA-Z0-9_-]`` (batch guide): the ordinal in
base 36 leads a result back to its request without a dictionary; the nonce, from ledger id, chunk and submission,
proves whose batch it is and can be computed again by anybody who has the ledger; the label is the user's own id as
far as it fits, for people who read the console.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import NamedTuple

from ledger.core.columns import Columns, OrdinalQueue, to_ranges

WIRE_ID_CHARACTERS = 64
NONCE_CHARACTERS = 10
MAX_REQUESTS = 100_000
"""Requests in a batch, on every tier (batch guide; rate limits)."""
MAX_BYTES = 250_000_000
"""Bytes of a batch: the documented 256 MB, read as decimal, less a margin."""

ENVELOPE_BYTES = 15
_ITEM_BYTES = len('{"custom_id":"","params":}')
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]
_PAIRS_BELOW = len(_PAIRS)
_DIGITS_FROM = [0, *(36**digits for digits in range(1, 13))]  # from where on an ordinal has one digit more
_ILLEGAL = re.compile(r"[^a-zA-Z0-9_-]", re.ASCII)
_WIRE_ID = re.compile(rf"([0-9a-z]{{1,7}})-([0-9a-z]{{{NONCE_CHARACTERS}}})(?:-.*)?", re.ASCII)
_PIECE_BYTES = 1 << 18


class Cut(NamedTuple):
    """Which requests a chunk takes, how many they are, and the exact size of its body."""

    ranges: list[int]
    requests: int
    size_bytes: int


class WireId(NamedTuple):
    """What a wire id says: the request, and whose batch it is in."""

    ordinal: int
    nonce: str


def base36(number: int) -> str:
    """Return a natural number in base 36."""
    digits = ""
    while number >= _PAIRS_BELOW:
        number, pair = divmod(number, _PAIRS_BELOW)
        digits = _PAIRS[pair] + digits
    return (_PAIRS[number] + digits).lstrip("0") or "0"


def nonce_of(ledger_id: str, chunk: int, submission: int) -> str:
    """Return the ten characters (51 bits) that mark the wire ids of one submission of one chunk."""
    digest = sha256(f"{ledger_id}/{chunk}/{submission}".encode()).digest()
    return base36(int.from_bytes(digest[:8], "big")).zfill(NONCE_CHARACTERS)[-NONCE_CHARACTERS:]


def wire_id(ordinal: int, nonce: str, custom_id: str, *, opaque: bool = False) -> str:
    """Return the id under which a request goes to the service; its length does not depend on the nonce."""
    head = f"{base36(ordinal)}-{nonce}"
    if opaque:
        return head
    room = WIRE_ID_CHARACTERS - len(head) - 1
    return f"{head}-{_ILLEGAL.sub('_', custom_id[:room])}"


def parse_wire_id(text: str) -> WireId | None:
    """Return what a wire id says, or None when it is not one of ours."""
    match = _WIRE_ID.fullmatch(text)
    return WireId(int(match[1], 36), match[2]) if match else None


def item_size_bytes(ordinal: int, custom_id: str, params_bytes: int, *, opaque: bool = False) -> int:
    """Return the exact size of an item in a body, before its nonce is known."""
    head = bisect_right(_DIGITS_FROM, ordinal) + 1 + NONCE_CHARACTERS
    wire = head if opaque else min(head + 1 + len(custom_id), WIRE_ID_CHARACTERS)
    return _ITEM_BYTES + wire + params_bytes


def body_size_bytes(item_bytes: int, requests: int) -> int:
    """Return the exact size of a body of so many items of so many bytes together."""
    return ENVELOPE_BYTES + item_bytes + requests - 1


def item(wire: str, params: bytes) -> bytes:
    """Return the bytes of one item."""
    return b'{"custom_id":"%b","params":%b}' % (wire.encode(), params)


def body(items: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """Yield the bytes of a body, in pieces of about 256 KB; ``items`` are (wire id, params)."""
    pieces, size, opening = [b'{"requests":['], 0, b'{"custom_id":"'
    for wire, params in items:
        pieces += (opening, wire.encode(), b'","params":', params, b"}")  # the params are copied once, by the join
        size += len(params)
        opening = b',{"custom_id":"'
        if size >= _PIECE_BYTES:
            yield b"".join(pieces)
            pieces, size = [], 0
    yield b"".join((*pieces, b"]}"))


def cut(columns: Columns, queue: OrdinalQueue, max_requests: int, max_bytes: int, avoid: frozenset[int]) -> Cut:
    """Return the longest front of a queue that fits, of a number of requests that is not in ``avoid``.

    A request that alone exceeds ``max_bytes`` makes a chunk of its own. Where every smaller number is to be avoided,
    the number stays (the submission then waits for its turn).
    """
    taken: list[int] = []
    total = 0
    sizes = columns.size_bytes
    for start, end in queue:
        for ordinal in range(start, min(end, start + max_requests - len(taken))):
            if taken and body_size_bytes(total + sizes[ordinal], len(taken) + 1) > max_bytes:
                break
            taken.append(ordinal)
            total += sizes[ordinal]
        else:
            if len(taken) < max_requests:
                continue
        break
    wanted = len(taken)
    while wanted in avoid and wanted > 1:
        wanted -= 1
    if wanted not in avoid:
        total -= sum(sizes[ordinal] for ordinal in taken[wanted:])
        del taken[wanted:]
    return Cut(to_ranges(taken), len(taken), body_size_bytes(total, len(taken)))


def halves(columns: Columns, members: list[int]) -> list[Cut]:
    """Return two cuts of about equal size in bytes; one cut for one request, none for none."""
    if len(members) < 2:
        parts = [members] if members else []
    else:
        half, total, at = sum(columns.size_bytes[o] for o in members) / 2, 0, 0
        while at < len(members) - 1 and (at == 0 or total < half):
            total += columns.size_bytes[members[at]]
            at += 1
        parts = [members[:at], members[at:]]
    return [whole(columns, part) for part in parts]


def whole(columns: Columns, members: list[int]) -> Cut:
    """Return the cut that takes exactly these requests."""
    size = body_size_bytes(sum(columns.size_bytes[o] for o in members), len(members))
    return Cut(to_ranges(members), len(members), size)
