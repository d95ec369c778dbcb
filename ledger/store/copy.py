"""A legitimate copy of a ledger: the log as of one instant, and its head with it.

Copying the file by other means gives a log that cannot show that it is no older copy; SQLite's backup API reads one
consistent state also while a run writes.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ledger.core.errors import CorruptLogError, RolledBackError, UsageError
from ledger.ports import Head
from ledger.store import faults, schema
from ledger.store.filesystem import require_local_disk
from ledger.store.lease import Lease
from ledger.store.newfile import new_file, require_free
from ledger.store.sqlite import SqliteLog


def copy_ledger(source: Path | str, destination: Path | str) -> Head:
    """Copy a ledger, also one that is being written, and return the head of the copy.

    The copy of a ledger whose own head is unverified is unverified as well: it gets no head in its sidecar, and
    recovers at its first write.

    Raises:
        UsageError: the source does not exist, something is at the destination, or it is on no local disk.
        RolledBackError: the source is behind its head.
        CorruptLogError: the copy does not end where the source does.
        DiskError: the disk is full or broken; nothing is left behind under the copy's name.
    """
    target = Path(destination).resolve()
    require_local_disk(target)
    if not target.parent.is_dir():
        raise UsageError("there is no such directory", where=str(target.parent), next=f"mkdir -p {target.parent}")
    require_free(target)
    with SqliteLog.open_reader(source) as log:
        if log.needs_recovery == "behind":
            raise RolledBackError(
                "a ledger that is behind its head is not copied", where=str(log.path), next=f"ledger recover {log.path}"
            )
        with Lease.acquire(target) as lease:
            with new_file(target) as unfinished:
                _back_up(log, unfinished)
                head = _verified(log, unfinished)
                lease.forget_head()
            if log.head_verified:
                lease.write_head(log.ledger_id, head)
            return head


def _back_up(log: SqliteLog, unfinished: Path) -> None:
    connection = schema.connect(unfinished, "rw")
    try:
        log.back_up(connection)
        connection.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as problem:
        raise faults.of_sqlite(problem, unfinished) from problem
    finally:
        connection.close()


def _verified(log: SqliteLog, unfinished: Path) -> Head:
    """Return the head of the copy, which is one that the source has had."""
    with SqliteLog.open_reader(unfinished) as copy:
        head = copy.head
        of_copy = list(copy.read(head.position - 1))
        of_source = list(log.read(head.position - 1, head.position))
        if of_copy != of_source or [row.hash for row in of_copy] != [head.hash] * (head.position > 0):
            where = str(unfinished)
            raise CorruptLogError("the copy does not end where the ledger did", where=where, next="copy it again")
        return head
