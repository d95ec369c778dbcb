"""The log at a glance: what a report needs of it, in one pass, without the events that come by the million.

The requests are left out where they lie, in SQL; the results come as their bare texts, a window of the log at a time,
so that a million of them are decoded in a second or two.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ledger.ports import Recorded, ResultBlock
from ledger.store import faults, schema
from ledger.store.payloads import decode_results

WINDOW_POSITIONS = 20_000


class Window(NamedTuple):
    """A stretch of the log: its seldom events, and its results as (position, at, data).

    ``results`` is empty in windows that were left out, however many there are.
    """

    seldom: list[Recorded]
    results: list[tuple[int, int, str]]


def windows(path: Path, upto: int, every: int = 1) -> Iterator[Window]:
    """Yield the log up to a position, in order; no transaction stays open between two windows.

    Args:
        path: the ledger.
        upto: the last position.
        every: results are only read in each window of this number: a sample, where there are too many.

    Raises:
        DiskError: the file cannot be read.
        CorruptLogError: it is damaged.
    """
    connection = schema.connect(path, "ro")
    try:
        for number, after in enumerate(range(0, upto, WINDOW_POSITIONS)):
            bounds = (after, min(after + WINDOW_POSITIONS, upto))
            seldom = connection.execute(
                "SELECT position, at, type, data, hash FROM event WHERE position > ? AND position <= ? "
                "AND type NOT IN ('request_built', 'item_deduplicated', 'item_rejected', 'answer_reused', "
                "'result_stored') ORDER BY position",
                bounds,
            ).fetchall()
            results: list[tuple[int, int, str]] = []
            if number % every == 0:
                results = connection.execute(
                    "SELECT position, at, data FROM event WHERE position > ? AND position <= ? "
                    "AND type = 'result_stored' ORDER BY position",
                    bounds,
                ).fetchall()
            yield Window([Recorded._make(row) for row in seldom], results)
    except (sqlite3.Error, UnicodeDecodeError) as problem:
        raise faults.of_sqlite(problem, path) from problem
    finally:
        connection.close()


def result_row(path: Path, chunk: int, ordinal: int) -> bytes | None:
    """Return one stored result row without unpacking the others of its chunk; None where there is none.

    Raises:
        DiskError: the file cannot be read.
        CorruptLogError: it is damaged.
    """
    connection = schema.connect(path, "ro")
    try:
        blocks = connection.execute(
            "SELECT chunk, first, last, count, data FROM result_block "
            "WHERE chunk = ? AND first <= ? AND last >= ? ORDER BY first DESC",
            (chunk, ordinal, ordinal),
        ).fetchall()
    except sqlite3.Error as problem:
        raise faults.of_sqlite(problem, path) from problem
    finally:
        connection.close()
    rows = (payload for block in blocks for payload in decode_results(ResultBlock(*block)))
    return next((payload.row for payload in rows if payload.ordinal == ordinal), None)
