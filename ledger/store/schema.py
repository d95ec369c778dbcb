"""The database file: its connections, its schema, and the migrations that lead to it.

The schema is what the migrations make, in order; they only ever go forward, and ``user_version`` counts them. A file is
ours when its ``application_id`` says so. Both are asked of SQLite and never read from the file directly: closing a
second handle on a database file drops the locks that SQLite holds in this process (sqlite.org/howtocorrupt.html, 2.2).
"""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path
from urllib.parse import quote

from ledger.core.errors import LedgerError, NotALedgerError
from ledger.store import faults

APPLICATION_ID = int.from_bytes(b"CBLg", "big")

MIGRATIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "the_log",
        (
            """CREATE TABLE event (
                position INTEGER PRIMARY KEY,
                at       INTEGER NOT NULL,
                type     TEXT NOT NULL,
                data     TEXT NOT NULL,
                hash     BLOB NOT NULL
            ) STRICT""",
            """CREATE TABLE head (
                one       INTEGER PRIMARY KEY CHECK (one = 1),
                ledger_id TEXT NOT NULL,
                position  INTEGER NOT NULL,
                hash      BLOB NOT NULL,
                epoch     INTEGER NOT NULL
            ) STRICT""",
            """CREATE TABLE request_block (
                first INTEGER PRIMARY KEY,
                count INTEGER NOT NULL,
                data  BLOB NOT NULL
            ) STRICT""",
            """CREATE TABLE superseded_block (
                first INTEGER PRIMARY KEY,
                count INTEGER NOT NULL,
                data  BLOB NOT NULL
            ) STRICT""",
            """CREATE TABLE result_block (
                id    INTEGER PRIMARY KEY,
                chunk INTEGER NOT NULL,
                first INTEGER NOT NULL,
                last  INTEGER NOT NULL,
                count INTEGER NOT NULL,
                data  BLOB NOT NULL
            ) STRICT""",
            "CREATE INDEX result_block_of_chunk ON result_block (chunk, first)",
            """CREATE TABLE snapshot (
                position INTEGER PRIMARY KEY,
                checksum INTEGER NOT NULL,
                data     BLOB NOT NULL
            ) STRICT""",
            "INSERT INTO head VALUES (1, '', 0, zeroblob(32), 0)",
        ),
    ),
)

SCHEMA_VERSION = len(MIGRATIONS)

_PAGE_BYTES = 8192
_CACHE_KIB = 8192
_BUSY_SECONDS = 10.0
_OLDEST_SQLITE = (3, 37, 0)  # STRICT tables


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Return a connection in SQLite's own autocommit mode, with bounded memory.

    Args:
        path: the database file, which exists.
        mode: ``ro`` (never writes and never checkpoints) or ``rw``.

    Raises:
        LedgerError: this Python's SQLite is too old.
        NotALedgerError: the file is no database.
        CorruptLogError: its schema is damaged.
        DiskError: the file cannot be opened.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise LedgerError(
            f"SQLite {sqlite3.sqlite_version} is too old",
            why="the ledger needs STRICT tables, SQLite 3.37 or newer",
            next="use a newer Python, or one built with a newer SQLite",
        )
    uri = f"file:{quote(str(path))}?mode={mode}"
    try:
        connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_SECONDS)
    except sqlite3.Error as problem:
        raise faults.of_sqlite(problem, path) from problem
    try:
        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        connection.execute("PRAGMA trusted_schema=OFF")
        if mode == "ro":
            connection.execute("PRAGMA query_only=ON")
    except (sqlite3.Error, UnicodeDecodeError) as problem:
        connection.close()
        raise faults.of_sqlite(problem, path) from problem
    return connection


def configure_writer(connection: sqlite3.Connection) -> None:
    """Prepare a connection for durable appending.

    synchronous=FULL because NORMAL may lose acknowledged commits at power failure in WAL mode
    (sqlite.org/pragma.html#pragma_synchronous). Only one connection ever writes or checkpoints, which also keeps clear
    of the WAL-reset bug of SQLite 3.7.0 to 3.51.2 (sqlite.org/wal.html).

    Raises:
        sqlite3.Error: as SQLite says.
    """
    mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":
        raise sqlite3.OperationalError(f"the database stays in journal mode {mode}")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA wal_autocheckpoint=2000")
    connection.execute("PRAGMA journal_size_limit=67108864")
    _sync_to_the_platter(connection)


def build(path: Path) -> None:
    """Make an empty ledger in a file that exists and is empty, complete and synced when this returns.

    Raises:
        LedgerError: SQLite could not.
    """
    connection = connect(path, "rw")
    try:
        connection.execute(f"PRAGMA page_size={_PAGE_BYTES}")
        connection.execute("PRAGMA synchronous=FULL")
        _sync_to_the_platter(connection)
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        migrate(connection)
    except sqlite3.Error as problem:
        raise faults.of_sqlite(problem, path) from problem
    finally:
        connection.close()


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the migrations that a database lacks, each in a transaction with its own record."""
    # Imported late: opening an up-to-date ledger needs none of it.
    from sqlite_utils import Database, Migrations

    migrations = Migrations("ledger")
    for version, (name, statements) in enumerate(MIGRATIONS, start=1):

        def apply(database: Database, statements: tuple[str, ...] = statements, version: int = version) -> None:
            for statement in statements:
                database.execute(statement)
            database.execute(f"PRAGMA user_version={version}")

        migrations(name=name)(apply)
    # Plugins that a user installed for sqlite-utils have no business in a ledger.
    migrations.apply(Database(connection, recursive_triggers=False, execute_plugins=False))


def require_ours(connection: sqlite3.Connection, path: Path) -> int:
    """Return the schema version of a database that is a ledger.

    Raises:
        NotALedgerError: it is none, or one of a newer version.
    """
    try:
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except (sqlite3.Error, UnicodeDecodeError) as problem:
        raise faults.of_sqlite(problem, path) from problem
    if application_id != APPLICATION_ID:
        raise NotALedgerError(
            "not a batch ledger",
            where=str(path),
            why="the file is an SQLite database of another program" if path.stat().st_size else "the file is empty",
            next="name the .ledger file of a run",
        )
    if version > SCHEMA_VERSION:
        raise NotALedgerError(
            f"the ledger has the schema version {version}, this program knows {SCHEMA_VERSION}",
            where=str(path),
            why="it was written by a newer version",
            next="pip install --upgrade claude-batch-ledger",
        )
    return int(version)


def _sync_to_the_platter(connection: sqlite3.Connection) -> None:
    if sys.platform == "darwin":  # fsync alone leaves data in the drive's cache there
        connection.execute("PRAGMA fullfsync=ON")
        connection.execute("PRAGMA checkpoint_fullfsync=ON")
