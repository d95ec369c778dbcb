"""Changing what is stored: a body that a person corrected, and bodies that nobody is to read any more.

Payloads lie together in compressed blocks, so that a block is read, changed and written again as a whole. All that is
done here is done inside the transaction of the events that announce it.

What is deleted is overwritten with zeros (``secure_delete``; sqlite.org/pragma.html#pragma_secure_delete) as soon as it
is deleted here; ``SqliteLog.forget`` sees to the ``-wal``, and to what was deleted in other ways.
"""

from __future__ import annotations

import sqlite3
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence

from ledger.core.errors import CorruptLogError
from ledger.ports import Body, RequestBlock, ResultBlock
from ledger.store.payloads import (
    decode_requests,
    decode_results,
    decode_superseded,
    encode_results,
    request_blocks,
    superseded_blocks,
    without_body,
    without_row,
)


def amend(connection: sqlite3.Connection, bodies: Sequence[Body]) -> None:
    """Put new bodies in the place of stored ones, and keep those as superseded, in the order given.

    Raises:
        CorruptLogError: a body is not stored, or its block is damaged.
        sqlite3.Error: as SQLite says.
    """
    connection.execute("PRAGMA secure_delete=ON")
    latest = {body.ordinal: body.payload for body in bodies}
    current: dict[int, Body] = {}
    for block in _blocks_of(connection, sorted(latest)):
        stored = decode_requests(block)
        for index, payload in enumerate(stored):
            ordinal = block.first + index
            if ordinal in latest:
                current[ordinal] = Body(ordinal, payload)
                stored[index] = latest[ordinal]
        connection.execute("DELETE FROM request_block WHERE first = ?", (block.first,))
        connection.executemany("INSERT INTO request_block VALUES (?, ?, ?)", request_blocks(block.first, stored))
    superseded: list[Body] = []
    for body in bodies:  # one that is replaced twice supersedes what replaced it before
        superseded.append(current[body.ordinal])
        current[body.ordinal] = body
    first = count_superseded(connection)
    connection.executemany("INSERT INTO superseded_block VALUES (?, ?, ?)", superseded_blocks(first, superseded))


def redact(connection: sqlite3.Connection, ordinals: Collection[int]) -> None:
    """Delete the bodies of requests, those that they superseded, and all result rows, with their salts.

    Raises:
        CorruptLogError: a body is not stored, or a block is damaged.
        sqlite3.Error: as SQLite says.
    """
    connection.execute("PRAGMA secure_delete=ON")
    wanted = set(ordinals)
    for block in _blocks_of(connection, sorted(wanted)):
        stored = [
            without_body(payload) if block.first + index in wanted else payload
            for index, payload in enumerate(decode_requests(block))
        ]
        connection.execute("DELETE FROM request_block WHERE first = ?", (block.first,))
        connection.executemany("INSERT INTO request_block VALUES (?, ?, ?)", request_blocks(block.first, stored))
    _redact_superseded(connection, wanted)
    _redact_results(connection, wanted)


def count_superseded(connection: sqlite3.Connection) -> int:
    """Return how many bodies were ever replaced.

    Raises:
        sqlite3.Error: as SQLite says.
    """
    row = connection.execute("SELECT first + count FROM superseded_block ORDER BY first DESC LIMIT 1").fetchone()
    return int(row[0]) if row else 0


def take_back(connection: sqlite3.Connection, known: int) -> None:
    """Undo the amendments that the log does not know of: all but the first ``known``.

    Raises:
        CorruptLogError: a block is damaged.
        sqlite3.Error: as SQLite says.
    """
    unknown: list[Body] = []
    for block in _superseded(connection):
        bodies = decode_superseded(block)
        kept = max(known - block.first, 0)
        if kept >= len(bodies):
            continue
        unknown += bodies[kept:]
        connection.execute("DELETE FROM superseded_block WHERE first = ?", (block.first,))
        connection.executemany(
            "INSERT INTO superseded_block VALUES (?, ?, ?)", superseded_blocks(block.first, bodies[:kept])
        )
    before = {body.ordinal: body.payload for body in reversed(unknown)}  # of several the first: it is the oldest
    for block in _blocks_of(connection, sorted(before)):
        stored = [before.get(block.first + index, payload) for index, payload in enumerate(decode_requests(block))]
        connection.execute("DELETE FROM request_block WHERE first = ?", (block.first,))
        connection.executemany("INSERT INTO request_block VALUES (?, ?, ?)", request_blocks(block.first, stored))


def _blocks_of(connection: sqlite3.Connection, ordinals: Sequence[int]) -> Iterator[RequestBlock]:
    """Yield the blocks that some requests lie in, which ascend; each may be replaced before the next is asked for."""
    end = 0
    for ordinal in ordinals:
        if ordinal < end:
            continue
        query = "SELECT first, count, data FROM request_block WHERE first <= ? ORDER BY first DESC LIMIT 1"
        rows = connection.execute(query, (ordinal,)).fetchall()
        if not rows or ordinal >= rows[0][0] + rows[0][1]:
            raise CorruptLogError("the body of a request is not stored", where=f"request {ordinal}")
        block = RequestBlock(*rows[0])
        end = block.first + block.rows
        yield block


def _superseded(connection: sqlite3.Connection) -> Iterator[RequestBlock]:
    firsts = connection.execute("SELECT first FROM superseded_block ORDER BY first").fetchall()
    for (first,) in firsts:
        row = connection.execute("SELECT first, count, data FROM superseded_block WHERE first = ?", (first,)).fetchone()
        yield RequestBlock(*row)


def _redact_superseded(connection: sqlite3.Connection, wanted: set[int]) -> None:
    for block in _superseded(connection):
        bodies = decode_superseded(block)
        if wanted.isdisjoint(body.ordinal for body in bodies):
            continue
        left = [
            body._replace(payload=without_body(body.payload)) if body.ordinal in wanted else body for body in bodies
        ]
        connection.execute("DELETE FROM superseded_block WHERE first = ?", (block.first,))
        connection.executemany("INSERT INTO superseded_block VALUES (?, ?, ?)", superseded_blocks(block.first, left))


def _redact_results(connection: sqlite3.Connection, wanted: set[int]) -> None:
    """Rows stay in their blocks, and blocks in their places: which row stands where is what readers rely on."""
    among = array("I", sorted(wanted))
    query = "SELECT id, first, last FROM result_block WHERE first <= ? AND last >= ?"
    for block_id, first, last in connection.execute(query, (among[-1], among[0])).fetchall():
        at = bisect_left(among, first)
        if at == len(among) or among[at] > last:
            continue
        columns = "chunk, first, last, count, data"
        row = connection.execute(f"SELECT {columns} FROM result_block WHERE id = ?", (block_id,)).fetchone()  # noqa: S608 - no values
        rows = decode_results(ResultBlock(*row))
        if wanted.isdisjoint(payload.ordinal for payload in rows):
            continue
        left = [without_row(payload) if payload.ordinal in wanted else payload for payload in rows]
        connection.execute("UPDATE result_block SET data = ? WHERE id = ?", (encode_results(left), block_id))
