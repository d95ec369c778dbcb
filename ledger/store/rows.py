"""The reading half of the SQLite log: rows and payloads, streamed in bounded memory.

Nothing here keeps a transaction open between two rows it yields, so that no reader, however slow, holds up the writer's
checkpoints. The log only grows, so what is read page by page is consistent all the same.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from pathlib import Path
from typing import Any
from zlib import crc32

from ledger.core.errors import CorruptLogError
from ledger.ports import Body, Head, Recorded, RequestBlock, RequestPayload, ResultBlock, ResultPayload
from ledger.store import faults
from ledger.store.chain import GENESIS
from ledger.store.payloads import decode_requests, decode_results, decode_superseded

_PAGE_ROWS = 1000
_PARAMETERS = 500
_ROW_TYPES = [int, int, str, str, bytes]


class StoredRows:
    """What can be read of a ledger's database through one connection."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    # ── events and payloads ─────────────────────────────────────────────────────────────────────────────────────

    def read(self, after: int = 0, upto: int | None = None) -> Iterator[Recorded]:
        """Yield the rows with ``after < position <= upto``, in order; by default up to the end as it is now.

        Constant memory, and no transaction stays open between the pages: a slow reader holds nothing up.

        Raises:
            CorruptLogError: a row cannot be read; names its position.
        """
        if upto is None:
            upto = self._last_stored()
        while after < upto and (rows := self._page(after, upto, _PAGE_ROWS)):
            yield from rows
            after = rows[-1].position

    def _page(self, after: int, upto: int, limit: int) -> list[Recorded]:
        query = (
            "SELECT position, at, type, data, hash FROM event WHERE position > ? AND position <= ? "
            "ORDER BY position LIMIT ?"
        )
        try:
            rows = list(map(Recorded._make, self._select(query, (after, upto, limit))))
            if not _are_whole(rows):
                raise self._corrupt("a column has a value of another type")
            return rows
        except (sqlite3.OperationalError, CorruptLogError) as problem:
            # The first is Python's own, where stored text is not UTF-8. Halving the page finds the row, and saves what
            # is before it.
            if limit > 1:
                return self._page(after, upto, limit // 2)
            raise CorruptLogError(
                "the event cannot be read",
                where=f"position {after + 1}",
                why=str(problem.__cause__ or problem.args[0]),
                next=f"ledger replay --audit {self.path}",
            ) from problem

    def request_payloads(self, ordinals: Iterable[int]) -> Iterator[RequestPayload]:
        """Yield the payload of each ordinal; while the ordinals ascend, each block is unpacked once.

        Raises:
            CorruptLogError: a payload is not there, or not what was written.
        """
        first, count, rows = 0, 0, list[RequestPayload]()
        for ordinal in ordinals:
            if not 0 <= ordinal - first < count:
                block = self._block_of(ordinal)
                first, count, _ = block
                rows = decode_requests(block)
            yield rows[ordinal - first]

    def superseded_payloads(self) -> Iterator[Body]:
        """Yield the bodies that were replaced, in the order of the events that replaced them.

        Raises:
            CorruptLogError: a block is not what was written.
        """
        for (first,) in self._select("SELECT first FROM superseded_block ORDER BY first"):
            query = "SELECT first, count, data FROM superseded_block WHERE first = ?"
            for row in self._select(query, (first,)):
                yield from decode_superseded(RequestBlock(*row))

    def result_payloads(self, chunk: int) -> Iterator[ResultPayload]:
        """Yield the stored rows of a chunk in ascending order of ordinal, of equal ones the one stored first.

        The blocks of one append do not overlap, those of different appends do; as many blocks are unpacked at a time as
        there were appends, so groups of some thousand rows keep this small.

        Raises:
            CorruptLogError: a block is not what was written.
        """
        blocks = self._select("SELECT first, id FROM result_block WHERE chunk = ? ORDER BY first, id", (chunk,))
        open_blocks: list[tuple[int, int, int, list[ResultPayload]]] = []  # ordinal, id, index, rows
        for first, block_id in [*blocks, (None, None)]:
            while open_blocks and (first is None or open_blocks[0][0] < first):
                _, opened_id, index, rows = heappop(open_blocks)
                if not open_blocks and (first is None or rows[-1].ordinal < first):
                    yield from rows[index:]  # nothing overlaps it, as nearly always
                    continue
                yield rows[index]
                if index + 1 < len(rows):
                    heappush(open_blocks, (rows[index + 1].ordinal, opened_id, index + 1, rows))
            if first is not None:
                rows = self._result_rows(block_id)
                heappush(open_blocks, (first, block_id, 0, rows))

    def _result_rows(self, block_id: int) -> list[ResultPayload]:
        query = "SELECT chunk, first, last, count, data FROM result_block WHERE id = ?"
        for row in self._select(query, (block_id,)):
            return decode_results(ResultBlock(*row))
        raise self._corrupt(f"the block of results {block_id} is in the index and not in the table")

    def rows_at(self, positions: Sequence[int]) -> list[Recorded]:
        """Return the rows at these positions, which ascend.

        Raises:
            CorruptLogError: one is not there, or cannot be read.
        """
        rows: list[Recorded] = []
        for first in range(0, len(positions), _PARAMETERS):
            some = tuple(positions[first : first + _PARAMETERS])
            marks = ",".join("?" * len(some))
            columns = "position, at, type, data, hash"
            query = f"SELECT {columns} FROM event WHERE position IN ({marks}) ORDER BY position"  # noqa: S608 - no values
            rows += map(Recorded._make, self._select(query, some))
        if [row.position for row in rows] != list(positions) or (rows and not _are_whole(rows)):
            raise self._corrupt("an event is missing, or a column has a value of another type")
        return rows

    def result_rows(self, chunk: int, ordinals: Iterable[int]) -> Iterator[ResultPayload]:
        """Yield the stored row of each ordinal in a chunk; while the ordinals ascend, each block is unpacked once.

        Raises:
            CorruptLogError: a row is not there, or not what was written.
        """
        rows: dict[int, ResultPayload] = {}
        for ordinal in ordinals:
            if ordinal not in rows:
                rows = {payload.ordinal: payload for payload in self._block_with(chunk, ordinal)}
            yield rows[ordinal]

    def _block_with(self, chunk: int, ordinal: int) -> list[ResultPayload]:
        query = "SELECT id, last FROM result_block WHERE chunk = ? AND first <= ? ORDER BY first DESC, id"
        for block_id, last in self._select(query, (chunk, ordinal)):
            if last >= ordinal:  # blocks of different appends overlap: it may lie in another one
                rows = self._result_rows(block_id)
                if any(payload.ordinal == ordinal for payload in rows):
                    return rows
        raise CorruptLogError(
            "the row of a result is not stored",
            where=f"request {ordinal}, chunk {chunk}",
            next=f"ledger replay --audit {self.path}",
        )

    def load_snapshot(self) -> tuple[int, bytes] | None:
        """Return the newest memo that is whole and not beyond the end of the log."""
        newest_first = "SELECT position, checksum FROM snapshot WHERE position <= ? ORDER BY position DESC"
        for position, checksum in self._select(newest_first, (self._stored_head()[1].position,)):
            for (data,) in self._select("SELECT data FROM snapshot WHERE position = ?", (position,)):
                if isinstance(data, bytes) and crc32(data) == checksum:  # a page that is gone reads as NULL
                    return position, data
        return None

    def back_up(self, into: sqlite3.Connection) -> None:
        """Copy the database as of one instant into another.

        Raises:
            sqlite3.Error: as SQLite says.
        """
        self._connection.backup(into)

    def integrity_problems(self) -> list[str]:
        """Return what SQLite finds wrong with the file's structure: nothing, for a sound file."""
        try:
            found = [row[0] for row in self._connection.execute("PRAGMA integrity_check")]
        except sqlite3.Error as problem:
            return [str(problem)]
        return [] if found == ["ok"] else found

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _select(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        try:
            return self._connection.execute(query, values).fetchall()
        except UnicodeDecodeError as problem:
            raise faults.of_sqlite(problem, self.path) from problem
        except sqlite3.Error as problem:
            if isinstance(problem, sqlite3.ProgrammingError) or not hasattr(problem, "sqlite_errorname"):
                raise
            raise faults.of_sqlite(problem, self.path) from problem

    def _stored_head(self) -> tuple[str, Head]:
        rows = self._select("SELECT ledger_id, position, hash, epoch FROM head")
        if len(rows) != 1:
            raise self._corrupt("the head is not there")
        ledger_id, position, stored, epoch = rows[0]
        if list(map(type, rows[0])) != [str, int, bytes, int]:
            raise self._corrupt("the head is damaged")
        return ledger_id, Head(position, stored, epoch)

    def _last_stored(self) -> int:
        return int(self._select("SELECT coalesce(max(position), 0) FROM event")[0][0])

    def _count_requests(self) -> int:
        rows = self._select("SELECT first + count FROM request_block ORDER BY first DESC LIMIT 1")
        if rows and not isinstance(rows[0][0], int):
            raise self._corrupt("the last block of requests is damaged")
        return rows[0][0] if rows else 0

    def _hash_at(self, position: int) -> bytes | None:
        if position == 0:
            return GENESIS
        rows = self._select("SELECT hash FROM event WHERE position = ?", (position,))
        return rows[0][0] if rows and isinstance(rows[0][0], bytes) else None

    def _block_of(self, ordinal: int) -> RequestBlock:
        query = "SELECT first, count, data FROM request_block WHERE first <= ? ORDER BY first DESC LIMIT 1"
        for first, count, data in self._select(query, (ordinal,)):
            if ordinal < first + count:
                return RequestBlock(first, count, data)
        raise CorruptLogError(
            "the body of a request is not stored",
            where=f"request {ordinal}",
            next=f"ledger replay --audit {self.path}",
        )

    def _corrupt(self, what: str) -> CorruptLogError:
        return CorruptLogError(what, where=str(self.path), next=f"ledger replay --audit {self.path}")


def _are_whole(rows: list[Recorded]) -> bool:
    """Return whether rows have the types of their table's columns, which only damage can change."""
    columns = zip(*rows, strict=True)
    return all({*map(type, column)} == {kind} for column, kind in zip(columns, _ROW_TYPES, strict=False))
