"""Records what the store asks of the disk, in order, or lets it fail: the real store, on a real disk, watched.

SQLite is watched through a VFS of apsw, which brings its own SQLite; the sidecar, the inbox and the making of new files
through the functions of ``os`` that they call. Both write into one list. ``sqlite3.connect`` returns, for a ledger in
the watched directory, a connection of apsw that looks like one of ``sqlite3``; the store's own code runs unchanged.

One thing that SQLite does is not asked of a VFS but done inside of it: its Unix VFS syncs the directory at the first
sync of a journal or ``-wal`` that it has opened and might have made (os_unix.c, UNIXFILE_DIRSYNC). It is recorded where
it happens.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import apsw
from powerdisk import Step

from ledger.store import identity
from ledger.store.sqlite import SqliteLog

_WATCHED = "items.ledger"
_UNWATCHED = (".sim", "-shm")
"""The service's own memory; what SQLite makes anew whenever it opens a ledger that nobody has open."""
_SYNCS_ITS_NAME = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL

_KEPT: list[apsw.VFS] = []
"""For good: what a connection still uses must not be collected."""

Trip = Callable[["Watched"], int]


class Watched:
    """The steps so far, and the switch that makes one of them fail.

    Attributes:
        steps: what was asked, in order.
        found: what the files held that were there before, by their numbers.
        found_names: the names of those.
        pictures: (number of steps, what the service remembered) whenever it had changed.
        fails: asked before each step that changes a file; the errno to fail with, 0 for none.
        attempts: how many such steps there were.
        doing: the kind of the current one, and the name of its file.
    """

    def __init__(self, place: Path, pragmas: dict[str, str]) -> None:
        self.place = place
        self.pragmas = pragmas
        self.steps: list[Step] = []
        self.pictures: list[tuple[int, bytes]] = []
        self.fails: Trip = lambda _: 0
        self.attempts = 0
        self.doing = ("", "")
        found = sorted(path for path in place.iterdir() if self.watches(path))
        self.names = {path.name: number for number, path in enumerate(found, 1)}
        self.found = {number: path.read_bytes() for number, path in enumerate(found, 1)}
        self.found_names = dict(self.names)
        self._files = len(found)
        self._picture_key: tuple[int, int] | None = None

    # ── what may fail ──

    def attempt(self, kind: str, name: str) -> None:
        """Count a step that is about to be taken.

        Raises:
            OSError: the switch says so.
        """
        self.attempts += 1
        self.doing = (kind, name)
        code = self.fails(self)
        if code:
            raise OSError(code, os.strerror(code), name)

    # ── what was done ──

    def watches(self, path: str | os.PathLike[str]) -> str:
        """Return a file's name in the watched directory, or "" for one that is not watched."""
        candidate = Path(os.path.abspath(os.fspath(path)))  # noqa: PTH100 - resolving would ask the disk
        ours = candidate.parent == self.place and candidate.name.startswith(_WATCHED)
        return candidate.name if ours and not candidate.name.endswith(_UNWATCHED) else ""

    def file(self, name: str) -> int:
        return self.names[name]

    def created(self, name: str) -> None:
        self._files += 1
        self.names[name] = self._files
        self.step(Step("create", self._files, name))

    def renamed(self, name: str, to: str) -> None:
        self.names[to] = self.names.pop(name)
        self.step(Step("rename", self.names[to], name, to))

    def unlinked(self, name: str) -> None:
        self.step(Step("unlink", self.names.pop(name), name))

    def promised(self, promise: object) -> None:
        self.step(Step("ack", promise=promise))

    def step(self, step: Step) -> None:
        self._look_at_the_service()
        self.steps.append(step)

    def _look_at_the_service(self) -> None:
        for sim in self.place.glob("*.sim"):
            status = sim.stat()
            key = (status.st_mtime_ns, status.st_size)
            if key != self._picture_key:
                self._picture_key = key
                self.pictures.append((len(self.steps), sim.read_bytes()))

    def picture(self, steps: int) -> bytes:
        """Return what the service remembered when so many steps were taken."""
        return next((held for at, held in reversed(self.pictures) if at <= steps), b"")


# ── SQLite ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _as_sqlite(problem: OSError, doing: str) -> apsw.Error:
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return apsw.exception_for(apsw.SQLITE_FULL)
    if problem.errno == errno.EROFS:
        return apsw.exception_for(apsw.SQLITE_CANTOPEN if doing == "create" else apsw.SQLITE_READONLY)
    codes = {
        "write": apsw.SQLITE_IOERR_WRITE,
        "sync": apsw.SQLITE_IOERR_FSYNC,
        "truncate": apsw.SQLITE_IOERR_TRUNCATE,
        "unlink": apsw.SQLITE_IOERR_DELETE,
        "create": apsw.SQLITE_CANTOPEN,
    }
    return apsw.exception_for(codes[doing])


def _quietly(*_: object) -> None:
    """Say nothing of an error that SQLite was told of and has dealt with in its own way."""


class _File(apsw.VFSFile):
    def __init__(self, watched: Watched, filename: Any, flags: list[int]) -> None:
        self._watched = watched
        path = filename.filename() if isinstance(filename, apsw.URIFilename) else filename
        self._name = watched.watches(path) if path else ""
        is_new = bool(self._name) and bool(flags[0] & apsw.SQLITE_OPEN_CREATE) and not Path(path).exists()
        if is_new:
            self._attempt("create")
        super().__init__("", filename, flags)
        if is_new:
            watched.created(self._name)
        may_be_new = bool(self._name) and bool(flags[0] & apsw.SQLITE_OPEN_CREATE)
        self._unsynced_name = may_be_new and bool(flags[0] & _SYNCS_ITS_NAME)
        self._file = watched.file(self._name) if self._name else -1

    def excepthook(self, *problem: object) -> None:
        _quietly(*problem)

    def _attempt(self, kind: str) -> None:
        try:
            self._watched.attempt(kind, self._name)
        except OSError as problem:
            raise _as_sqlite(problem, kind) from None

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        if self._name:
            self._attempt("write")
            self._watched.step(Step("write", self._file, self._name, offset=offset, data=bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        if self._name:
            self._attempt("truncate")
            self._watched.step(Step("truncate", self._file, self._name, offset=size))
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._name:
            self._attempt("sync")
        super().xSync(flags)
        if self._name:
            self._watched.step(Step("sync", self._file, self._name))
        if self._unsynced_name:
            self._watched.step(Step("sync names"))
            self._unsynced_name = False


class _Vfs(apsw.VFS):
    def __init__(self, watched: Watched, name: str) -> None:
        self._watched = watched
        super().__init__(name, "")

    def excepthook(self, *problem: object) -> None:
        _quietly(*problem)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File(self._watched, name, flags)

    def xDelete(self, path: str, sync_directory: bool) -> None:  # noqa: N802
        name = self._watched.watches(path)
        if name and Path(path).exists():
            try:
                self._watched.attempt("unlink", name)
            except OSError as problem:
                raise _as_sqlite(problem, "unlink") from None
            self._watched.unlinked(name)
        super().xDelete(path, sync_directory)
        if name and sync_directory:
            self._watched.step(Step("sync names"))


class _Cursor:
    """Rows and counts of one statement, as ``sqlite3`` shows them."""

    def __init__(self, connection: apsw.Connection, sql: str, values: Any, *, many: bool) -> None:
        self.description: Any = None
        with _sqlite_errors():
            cursor = connection.cursor()
            cursor.exec_trace = self._describe
            before = connection.total_changes()
            (cursor.executemany if many else cursor.execute)(sql, values)
            self._rows = iter(cursor.fetchall())
        self.rowcount = connection.total_changes() - before
        self.lastrowid = connection.last_insert_rowid()

    def _describe(self, cursor: apsw.Cursor, sql: str, values: Any) -> bool:
        self.description = cursor.get_description()  # while it runs: an empty result has a description too
        return True

    def fetchall(self) -> list[Any]:
        return list(self._rows)

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def __iter__(self) -> Iterator[Any]:
        return self._rows


class _Connection:
    """A connection of apsw, in the words of ``sqlite3`` that the store uses."""

    isolation_level = None
    row_factory = None

    def __init__(self, watched: Watched, uri: str, vfs: str, timeout_seconds: float) -> None:
        self._watched = watched
        with _sqlite_errors():
            flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI
            self._connection = apsw.Connection(uri, flags=flags, vfs=vfs)
        self._connection.set_busy_timeout(int(timeout_seconds * 1000))

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, sql: str, values: Sequence[Any] | dict[str, Any] = ()) -> _Cursor:
        return _Cursor(self._connection, self._watched.pragmas.get(sql, sql), values or None, many=False)

    def executemany(self, sql: str, rows: Any) -> _Cursor:
        return _Cursor(self._connection, sql, rows, many=True)

    def cursor(self) -> _Connection:
        return self

    def commit(self) -> None:
        self.execute("COMMIT")

    def rollback(self) -> None:
        self.execute("ROLLBACK")

    def backup(self, into: _Connection) -> None:
        with _sqlite_errors(), into._connection.backup("main", self._connection, "main") as copying:
            copying.step()

    def close(self) -> None:
        # What fails while SQLite tidies up at the end it keeps to itself; apsw alone tells.
        with suppress(apsw.Error):
            self._connection.close()


@contextmanager
def _sqlite_errors() -> Iterator[None]:
    try:
        yield
    except apsw.Error as problem:
        code = getattr(problem, "extendedresult", apsw.SQLITE_ERROR)
        name = apsw.mapping_extended_result_codes.get(code) or apsw.mapping_result_codes.get(code & 0xFF)
        kinds = {apsw.SQLITE_CONSTRAINT: sqlite3.IntegrityError, apsw.SQLITE_CORRUPT: sqlite3.DatabaseError}
        translated = kinds.get(code & 0xFF, sqlite3.OperationalError)(str(problem))
        translated.sqlite_errorname = str(name)
        translated.sqlite_errorcode = code
        raise translated from problem


# ── plain files ─────────────────────────────────────────────────────────────────────────────────────────────────


class _System:
    """The functions of ``os`` that the store changes files with, watched."""

    names = ("open", "close", "pwrite", "ftruncate", "fsync", "fdatasync", "rename", "unlink")

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._real: dict[str, Any] = {name: getattr(os, name) for name in self.names if hasattr(os, name)}
        self._open: dict[int, str] = {}
        self._directories: set[int] = set()

    def __enter__(self) -> None:
        for name in self._real:
            setattr(os, name, getattr(self, name))

    def __exit__(self, *_: object) -> None:
        for name, real in self._real.items():
            setattr(os, name, real)

    def open(self, path: Any, flags: int, mode: int = 0o777, **rest: Any) -> int:
        name = self._watched.watches(path) if isinstance(path, str | os.PathLike) else ""
        is_new = bool(name) and bool(flags & os.O_CREAT) and not Path(path).exists()
        if is_new:
            self._watched.attempt("create", name)
        fd: int = self._real["open"](path, flags, mode, **rest)
        if is_new:
            self._watched.created(name)
        if name:
            self._open[fd] = name
        elif stat.S_ISDIR(os.fstat(fd).st_mode):
            self._directories.add(fd)
        return fd

    def close(self, fd: int) -> None:
        self._open.pop(fd, None)
        self._directories.discard(fd)
        self._real["close"](fd)

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        name = self._open.get(fd)
        if name is not None:
            self._watched.attempt("write", name)
            self._watched.step(Step("write", self._watched.file(name), name, offset=offset, data=bytes(data)))
        written: int = self._real["pwrite"](fd, data, offset)
        return written

    def ftruncate(self, fd: int, size: int) -> None:
        name = self._open.get(fd)
        if name is not None:
            self._watched.attempt("truncate", name)
            self._watched.step(Step("truncate", self._watched.file(name), name, offset=size))
        self._real["ftruncate"](fd, size)

    def fsync(self, fd: int) -> None:
        self._synced(fd, "fsync")

    def fdatasync(self, fd: int) -> None:
        self._synced(fd, "fdatasync")

    def _synced(self, fd: int, how: str) -> None:
        name = self._open.get(fd)
        if name is not None or fd in self._directories:
            self._watched.attempt("sync", name or "")
        self._real[how](fd)
        if name is not None:
            self._watched.step(Step("sync", self._watched.file(name), name))
        elif fd in self._directories:
            self._watched.step(Step("sync names"))

    def rename(self, source: Any, target: Any, **rest: Any) -> None:
        name = self._watched.watches(source)
        if name:
            self._watched.attempt("rename", name)
        self._real["rename"](source, target, **rest)
        if name:
            self._watched.renamed(name, self._watched.watches(target))

    def unlink(self, path: Any, **rest: Any) -> None:
        name = self._watched.watches(path)
        if name and Path(path).exists():
            self._watched.attempt("unlink", name)
        self._real["unlink"](path, **rest)
        if name:
            self._watched.unlinked(name)


@contextmanager
def watching(place: Path, **pragmas: str) -> Iterator[Watched]:
    """Watch all that happens in a directory until the block ends; every append that returns is a promise.

    Args:
        place: the directory, without symbolic links.
        **pragmas: pragmas of the store that are to have another value.
    """
    said = {"synchronous": "FULL", "wal_autocheckpoint": "2000"}
    watched = Watched(place, {f"PRAGMA {k}={said[k]}": f"PRAGMA {k}={v}" for k, v in pragmas.items()})
    name = f"watched-{id(watched)}"
    _KEPT.append(_Vfs(watched, name))
    before = set(threading.enumerate())
    connect, append = sqlite3.connect, SqliteLog.append

    def watched_connect(target: Any, **said: Any) -> Any:
        parts = urlsplit(str(target))
        if parts.scheme == "file" and "mode" in parse_qs(parts.query):
            return _Connection(watched, str(target), name, said.get("timeout", 5.0))
        return connect(target, **said)

    def watched_append(log: SqliteLog, *said: Any, **more: Any) -> Any:
        head = append(log, *said, **more)
        watched.promised(head)
        return head

    boot_id = identity.boot_id
    sqlite3.connect, SqliteLog.append = watched_connect, watched_append  # type: ignore[assignment, method-assign]
    identity.boot_id = lambda: "the boot before the cut"  # type: ignore[assignment]
    try:
        with _System(watched):
            try:
                yield watched
            finally:  # a run that fails leaves its working threads to end by themselves
                for thread in set(threading.enumerate()) - before:
                    thread.join(30)
                    assert not thread.is_alive(), f"{thread.name} outlives its run"
    finally:
        sqlite3.connect, SqliteLog.append = connect, append  # type: ignore[method-assign]
        identity.boot_id = boot_id
