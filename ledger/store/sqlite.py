"""The event log in one SQLite file.

One connection in one process writes; readers open the file read-only, in WAL mode beside the writer, and never
checkpoint. An append is one transaction: events, head and payloads together, or nothing of it. The head's row carries
the epoch of the writer that may change it, so that a writer whose lease was lost cannot append any more. After the
commit the head is also synced to the sidecar (`ledger.store.lease`).

After a failed append nobody knows what the disk holds. The log object then refuses to be used any further; the file is
opened anew, by a process that reads what is there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from zlib import crc32

from ledger.core.errors import (
    CorruptLogError,
    DiskError,
    LockedError,
    NotALedgerError,
    RolledBackError,
    UsageError,
)
from ledger.core.events import AnyEvent, LedgerRecovered
from ledger.ports import Body, Head, RequestBlock, ResultBlock
from ledger.store import faults, rewriting, schema
from ledger.store.chain import CHAIN_VERSION, chained, link
from ledger.store.filesystem import require_local_disk
from ledger.store.lease import HeadRecord, Lease, Standing, read_head, standing
from ledger.store.newfile import new_file, require_free
from ledger.store.payloads import require_consecutive
from ledger.store.rows import StoredRows


class SqliteLog(StoredRows):
    """An `EventLog` in a file. Use ``create``, ``open_writer`` or ``open_reader``.

    Not to be shared between threads: every thread opens a reader of its own.

    Attributes:
        path: the file, with symbolic links resolved, so that every name of it means the same lock.
        needs_recovery: how the log stands to the head in its sidecar: "" (at or beyond it), "missing", "foreign"
            (another machine or file) or "behind". While it is not "", appending leaves the sidecar alone; the append
            that holds ``ledger_recovered`` writes the new head and clears it.
        expected: the sidecar's head as found when the log was opened.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, record: HeadRecord | None) -> None:
        super().__init__(path, connection)
        self.expected: Head | None = record.head if record is not None else None
        self._lease: Lease | None = None
        self._failure: BaseException | None = None
        self._closed = False
        self._id, self._head = self._stored_head()
        self._next_ordinal = self._count_requests()
        self.needs_recovery: Standing = standing(record, path, self._id, self._head.position, self._hash_at)

    # ── opening and closing ─────────────────────────────────────────────────────────────────────────────────────

    @classmethod
    def create(cls, path: Path | str) -> SqliteLog:
        """Create an empty ledger, readable by its owner alone, and return it open for writing.

        Raises:
            UsageError: something is there already, or the place is no local disk.
            LockedError: another process is creating it.
            DiskError: the file cannot be made.
        """
        path = Path(path).resolve()
        require_local_disk(path)
        if not path.parent.is_dir():
            raise UsageError("there is no such directory", where=str(path.parent), next=f"mkdir -p {path.parent}")
        require_free(path)
        lease = Lease.acquire(path)
        try:
            with new_file(path) as unfinished:
                schema.build(unfinished)
                lease.forget_head()  # that of a ledger which had this name before
            return cls._written_by(path, lease, False)
        except BaseException:
            lease.release()
            raise

    @classmethod
    def open_writer(cls, path: Path | str, take_over: bool = False, for_recovery: bool = False) -> SqliteLog:
        """Return a ledger open for writing, in a new epoch.

        Args:
            path: the ledger.
            take_over: kill the process that is writing it, if there is one on this machine.
            for_recovery: open it also when it is behind its head.

        Raises:
            UsageError: there is no such file, or it is on no local disk.
            NotALedgerError: the file is no ledger, or of a newer version.
            LockedError: another process is writing it.
            RolledBackError: it is behind its head: an older copy, or its ``-wal`` was lost.
            CorruptLogError: its end is not what was written.
            DiskError: the disk is full, read-only or broken.
        """
        path = _existing(path)
        require_local_disk(path)
        _finish_interrupted_switch(path)
        probe = schema.connect(path, "ro")  # before the lease: no sidecar is left beside a file that is not ours
        try:
            schema.require_ours(probe, path)
        finally:
            probe.close()
        lease = Lease.acquire(path, take_over)
        try:
            return cls._written_by(path, lease, for_recovery)
        except BaseException:
            lease.release()
            raise

    @classmethod
    def _written_by(cls, path: Path, lease: Lease, for_recovery: bool) -> SqliteLog:
        connection = schema.connect(path, "rw")
        try:
            if schema.require_ours(connection, path) < schema.SCHEMA_VERSION:
                schema.migrate(connection)
            schema.configure_writer(connection)
            log = cls(path, connection, lease.read_head())
            log._require_sound_end()
            if log.needs_recovery == "behind" and not for_recovery:
                raise _rolled_back(path, log)
            log._begin_epoch(lease)
            return log
        except sqlite3.Error as problem:
            connection.close()
            raise faults.of_sqlite(problem, path) from problem
        except BaseException:
            connection.close()
            raise

    @classmethod
    def open_reader(cls, path: Path | str) -> SqliteLog:
        """Return a ledger open for reading, also while another process or thread writes it.

        A log behind its head can be read: see ``needs_recovery``.

        Raises:
            UsageError: there is no such file.
            NotALedgerError: the file is no ledger, or of another version.
            DiskError: the file cannot be read, or what a power cut interrupted cannot be undone.
        """
        path = _existing(path)
        _finish_interrupted_switch(path)
        record = read_head(path)  # before the log: the writer commits the log first
        connection = schema.connect(path, "ro")
        try:
            if schema.require_ours(connection, path) < schema.SCHEMA_VERSION:
                raise NotALedgerError(
                    "the ledger is of an older version", where=str(path), next=f"ledger resume {path} (it is converted)"
                )
            return cls(path, connection, record)
        except sqlite3.Error as problem:
            connection.close()
            raise faults.of_sqlite(problem, path) from problem
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Close the log; a writer leaves one file behind, unless a reader has it open. May be called again."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._lease is not None and self._failure is None:
                with suppress(sqlite3.Error):  # a reader is there: the -wal stays, and is complete
                    self._connection.execute("PRAGMA busy_timeout=0")
                    self._connection.execute("PRAGMA journal_mode=DELETE")
            self._connection.close()
        finally:
            if self._lease is not None:
                self._lease.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ── where the log stands ────────────────────────────────────────────────────────────────────────────────────

    @property
    def ledger_id(self) -> str:
        """The id in the first event; empty before it."""
        return self._id if self._lease is not None else self._stored_head()[0]

    @property
    def head(self) -> Head:
        """Where the log ends; a reader sees what the writer has committed by now."""
        return self._head if self._lease is not None else self._stored_head()[1]

    @property
    def epoch(self) -> int:
        """The number of this opening for writing; a reader sees that of the last one."""
        return self.head.epoch

    @property
    def head_verified(self) -> bool:
        """Whether the log is known to be no older copy of itself."""
        return self.needs_recovery == ""

    def check_fence(self) -> None:
        """Make sure that nobody has opened the ledger for writing since; asked right before what cannot be undone.

        Raises:
            LockedError: somebody has.
        """
        self._require_usable()
        if self._stored_head()[1].epoch != self._head.epoch:
            raise self._fenced()

    # ── appending ───────────────────────────────────────────────────────────────────────────────────────────────

    def append(
        self,
        events: Sequence[AnyEvent],
        at: int,
        requests: Sequence[RequestBlock] = (),
        results: Sequence[ResultBlock] = (),
    ) -> Head:
        """Store events and payloads in one durable transaction and return the new head.

        Raises:
            LockedError: another writer has taken over.
            IllegalEventError: the first event of the log is not ``run_opened``; nothing was stored.
            ValueError: blocks of requests are not consecutive; nothing was stored.
            DiskError: nothing of it was stored, or it cannot be known; stop before the next effect.
        """
        return self._append(events, at, requests, results)

    def _append(
        self,
        events: Sequence[AnyEvent],
        at: int,
        requests: Sequence[RequestBlock],
        results: Sequence[ResultBlock],
        change: Callable[[sqlite3.Connection], None] | None = None,
    ) -> Head:
        lease = self._require_usable()
        ledger_id, rows = chained(self._id, self._head, events, at)
        next_ordinal = require_consecutive(requests, self._next_ordinal)
        head = Head(rows[-1][0], rows[-1][4], self._head.epoch) if rows else self._head
        try:
            self._transact(ledger_id, head, rows, requests, results, change)
            self._id, self._head, self._next_ordinal = ledger_id, head, next_ordinal
            if any(isinstance(event, LedgerRecovered) for event in events):
                self.needs_recovery = ""
            if not self.needs_recovery:
                lease.write_head(ledger_id, head)
        except BaseException as problem:
            self._failure = problem
            raise
        return head

    def rewrite(
        self, events: Sequence[AnyEvent], at: int, amended: Sequence[Body] = (), redacted: Collection[int] = ()
    ) -> Head:
        """Store events and change payloads in one durable transaction; see the port."""

        def change(connection: sqlite3.Connection) -> None:
            if amended:
                rewriting.amend(connection, amended)
            if redacted:
                rewriting.redact(connection, redacted)

        return self._append(events, at, (), (), change)

    def forget(self) -> None:
        """Leave nothing in the file, and in its ``-wal``, of what was deleted; needs as much disk again for a while.

        What is redacted was overwritten with zeros; but what was deleted before, as blocks that no event speaks of, was
        not. So the file is built anew from what is there.

        Raises:
            LockedError: somebody reads the ledger, for whom the ``-wal`` is kept.
            DiskError: it could not be done.
        """
        self._require_usable()
        try:
            self._connection.execute("VACUUM")
            (busy, _, _) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as problem:
            raise faults.of_sqlite(problem, self.path) from problem
        if busy:
            raise LockedError(
                "another process reads this ledger: what was deleted is still in its -wal file",
                where=str(self.path),
                next="end that process, and give the same command again",
            )

    def _transact(
        self,
        ledger_id: str,
        head: Head,
        rows: list[tuple[int, int, str, bytes, bytes]],
        requests: Sequence[RequestBlock],
        results: Sequence[ResultBlock],
        change: Callable[[sqlite3.Connection], None] | None,
    ) -> None:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            moved = connection.execute(
                "UPDATE head SET ledger_id = ?, position = ?, hash = ? WHERE position = ? AND epoch = ?",
                (ledger_id, head.position, head.hash, self._head.position, head.epoch),
            )
            if moved.rowcount != 1:
                raise self._fenced()
            # The cast keeps the very bytes that were hashed, and saves turning them into text and back.
            connection.executemany("INSERT INTO event VALUES (?, ?, ?, CAST(? AS TEXT), ?)", rows)
            if requests:
                connection.executemany("INSERT INTO request_block VALUES (?, ?, ?)", requests)
            if results:
                connection.executemany("INSERT INTO result_block VALUES (NULL, ?, ?, ?, ?, ?)", results)
            if change is not None:
                change(connection)
            connection.execute("COMMIT")
        except BaseException as problem:
            self._roll_back()
            if isinstance(problem, sqlite3.Error):
                raise faults.of_sqlite(problem, self.path) from problem
            raise

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):  # the error that led here is the one to report
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def drop_unlogged(self, requests: int, results: Mapping[int, int], amended: int = 0) -> None:
        """Delete the blocks that no event speaks of, and make sure that those of the events are there.

        Event and payload are committed together. But while somebody reads, SQLite copies some pages of the ``-wal``
        into the main file and leaves others: without that ``-wal`` the main file may hold blocks of a transaction and
        not its events. What the log does not know is taken in, or collected, again.

        Args:
            requests: how many requests the log has.
            results: how many stored results it has of each chunk.
            amended: how many bodies it has replaced.

        Raises:
            CorruptLogError: blocks of the log are missing; nothing was deleted.
            DiskError: nothing was deleted.
        """
        self._require_usable()
        self.check_fence()
        held = self._select("SELECT first, count FROM request_block WHERE first < ?", (requests,))
        if sum(count for _, count in held) != requests:
            raise self._torn(f"bodies of the {requests} requests")
        kept: list[tuple[int]] = []
        left = dict(results)
        for block, chunk, count in self._select("SELECT id, chunk, count FROM result_block ORDER BY id"):
            if left.get(chunk, 0) >= count:
                left[chunk] -= count
                kept.append((block,))
        if any(left.values()):
            raise self._torn(f"stored results of chunk {next(chunk for chunk, count in left.items() if count)}")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("DELETE FROM request_block WHERE first >= ?", (requests,))
            self._connection.execute("CREATE TEMP TABLE kept (id INTEGER PRIMARY KEY)")
            self._connection.executemany("INSERT INTO kept VALUES (?)", kept)
            self._connection.execute("DELETE FROM result_block WHERE id NOT IN (SELECT id FROM kept)")
            self._connection.execute("DROP TABLE kept")
            rewriting.take_back(self._connection, amended)
            self._connection.execute("COMMIT")
        except (sqlite3.Error, CorruptLogError) as problem:
            self._roll_back()
            self._failure = problem
            if isinstance(problem, CorruptLogError):
                raise
            raise faults.of_sqlite(problem, self.path) from problem
        self._next_ordinal = self._count_requests()

    def _torn(self, what: str) -> CorruptLogError:
        return CorruptLogError(
            f"{what} are missing",
            where=str(self.path),
            why="the -wal that belongs to the file is gone, or is not its own",
            next=f"bring back {self.path.name}-wal, or a copy of the ledger, then ledger recover {self.path}",
        )

    # ── snapshots ───────────────────────────────────────────────────────────────────────────────────────────────

    def save_snapshot(self, position: int, data: bytes) -> None:
        """Keep a memo of the fold at a position, beside the newest one before it.

        Raises:
            LockedError: another writer has taken over.
            DiskError: it was not stored.
        """
        self._require_usable()
        self.check_fence()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?)", (position, crc32(data), data))
            self._connection.execute(
                "DELETE FROM snapshot WHERE position < (SELECT max(position) FROM snapshot WHERE position < ?)",
                (position,),
            )
            self._connection.execute("COMMIT")
        except sqlite3.Error as problem:
            self._roll_back()
            self._failure = problem
            raise faults.of_sqlite(problem, self.path) from problem

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _require_sound_end(self) -> None:
        """Refuse to continue a log whose last event is not the one that its head names."""
        last, head = self._last_stored(), self._head
        if last != head.position:
            raise self._corrupt(f"the head says the log ends at {head.position}, its last event is {last}")
        if last == 0:
            return
        prev = self._hash_at(last - 1)
        row = next(iter(self._page(last - 1, last, 1)), None)
        follows = (
            row is not None
            and prev is not None
            and head.hash
            == row.hash
            == link(CHAIN_VERSION, self._id, last, prev, row.at, row.type_name, row.data.encode())
        )
        if not follows:
            raise self._corrupt(f"the event at position {last} is not the one that was written")

    def _begin_epoch(self, lease: Lease) -> None:
        """Shut out every writer before this one."""
        known = self.expected.epoch if self.expected is not None else 0
        epoch = max(self._head.epoch, known) + 1
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute("UPDATE head SET epoch = ?", (epoch,))
        self._connection.execute("COMMIT")
        self._head = self._head._replace(epoch=epoch)
        self._lease = lease
        if not self.needs_recovery:
            lease.write_head(self._id, self._head)

    def _require_usable(self) -> Lease:
        if self._failure is not None:
            raise DiskError(
                "the ledger was closed to writing after a failed write",
                where=str(self.path),
                why=str(self._failure),
                next=f"ledger resume {self.path}",
            )
        if self._lease is None or self._closed:
            raise ValueError(f"{self.path} is not open for writing")
        return self._lease

    def _fenced(self) -> LockedError:
        return LockedError(
            "another process has taken over this ledger", where=str(self.path), next=f"ledger status {self.path}"
        )


def _existing(path: Path | str) -> Path:
    path = Path(path).resolve()
    if not path.is_file():
        raise UsageError("there is no such ledger", where=str(path), next="ledger run ITEMS (it makes one)")
    return path


def _finish_interrupted_switch(path: Path) -> None:
    """Undo what a kill or a power cut interrupted while a ledger was being opened or closed for writing.

    Entering and leaving WAL mode each change one page under a rollback journal. With that journal left behind, a
    connection that only reads can see nothing at all (sqlite.org/rescode.html#readonly_rollback).
    """
    journal = path.with_name(path.name + "-journal")
    try:
        if not journal.exists():
            return
        with Lease.acquire(path):
            connection = schema.connect(path, "rw")
            try:
                schema.require_ours(connection, path)  # the first read rolls back
            finally:
                connection.close()
    except LockedError:
        return  # whoever has the lock is just opening or closing it, and SQLite waits for that
    except OSError as problem:
        raise faults.of_system(problem, journal) from problem


def _rolled_back(path: Path, log: SqliteLog) -> RolledBackError:
    reached = log.expected.position if log.expected is not None else 0
    return RolledBackError(
        f"the ledger ends at position {log.head.position} and is behind its head, which had reached {reached}"
        if log.head.position < reached
        else f"the ledger's event at position {reached} is not the one that its head names",
        where=str(path),
        why="an older copy was restored, or its -wal file was lost; going on could submit twice",
        next=f"ledger recover {path}",
    )
