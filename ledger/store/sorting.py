"""Sorting more than fits into memory: rows go to a temporary file, and come back in order.

SQLite's sorter merges runs from temporary files that vanish with the connection; memory stays within its cache.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from types import TracebackType
from typing import Any, Self

_CACHE_KIB = 16384
_GROUP_ROWS = 4096


class SortedSpool:
    """Rows of text, integers and bytes, of the same length each, to be had again in the order of their columns.

    Args:
        columns: how many columns a row has.
    """

    def __init__(self, columns: int) -> None:
        self._connection = sqlite3.connect("", isolation_level=None)  # a temporary file that nobody else sees
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", f"cache_size=-{_CACHE_KIB}"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._names = ", ".join(f"c{column}" for column in range(columns))
        self._marks = ", ".join("?" * columns)
        self._connection.execute(f"CREATE TABLE spooled ({self._names})")
        self._connection.execute("BEGIN")  # never committed: nothing here outlives the process, and it is quicker

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def add(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Put rows in."""
        left = iter(rows)
        while group := list(islice(left, _GROUP_ROWS)):
            self._connection.executemany(f"INSERT INTO spooled VALUES ({self._marks})", group)  # noqa: S608 - names

    def sorted(self) -> Iterator[tuple[Any, ...]]:
        """Yield all rows in ascending order of their first column, of equal ones by the second, and so on."""
        yield from self._connection.execute(f"SELECT {self._names} FROM spooled ORDER BY {self._names}")  # noqa: S608
