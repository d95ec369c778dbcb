"""What SQLite and the system report, said to a person.

After any of these the state of the disk cannot be known: the caller stops before the next effect.
"""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from ledger.core.errors import CorruptLogError, DiskError, LedgerError, LockedError, NotALedgerError

_SPACE = "make room (df -h shows where), then: ledger resume {path}"
_DISK = "check the disk (dmesg, df -h), then: ledger resume {path}"
_RIGHTS = "make the file and its directory writable for you, then: ledger resume {path}"


def of_sqlite(problem: sqlite3.Error | UnicodeDecodeError, path: Path) -> LedgerError:
    """Return the error to raise for one of SQLite's; see sqlite.org/rescode.html for its names.

    A ``UnicodeDecodeError`` is one too: SQLite quotes a damaged schema in its message, and Python cannot decode it.
    """
    damaged = isinstance(problem, UnicodeDecodeError)
    name = "SQLITE_CORRUPT" if damaged else getattr(problem, "sqlite_errorname", "")
    why = f"{problem} ({name})" if name else str(problem)
    where = str(path)
    if name.startswith("SQLITE_FULL"):
        return DiskError("the disk is full", where=where, why=why, next=_SPACE.format(path=path))
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return DiskError("the ledger cannot be opened or written", where=where, why=why, next=_RIGHTS.format(path=path))
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return LockedError(
            "another program has locked the ledger's database",
            where=where,
            why=why,
            next=f"close what has it open (lsof {path}), then: ledger resume {path}",
        )
    if name.startswith("SQLITE_NOTADB"):
        return NotALedgerError("not a batch ledger", where=where, why=why, next="name the .ledger file of a run")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_CONSTRAINT", "SQLITE_MISMATCH")):
        return CorruptLogError("the log is damaged", where=where, why=why, next=f"ledger replay --audit {path}")
    return DiskError("the ledger could not be read or written", where=where, why=why, next=_DISK.format(path=path))


def of_system(problem: OSError, path: Path) -> DiskError:
    """Return the error to raise for one of the operating system's about a file."""
    why = problem.strerror or str(problem)
    if problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DiskError("the disk is full", where=str(path), why=why, next=_SPACE.format(path=path))
    if problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        hint = _RIGHTS.format(path=path)
        return DiskError("the file cannot be opened or written", where=str(path), why=why, next=hint)
    return DiskError("the file could not be read or written", where=str(path), why=why, next=_DISK.format(path=path))
