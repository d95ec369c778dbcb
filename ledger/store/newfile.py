"""A new database file: whole under its name, or not there at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.core.errors import UsageError
from ledger.store import faults
from ledger.store.lease import sync_directory

_COMPANIONS = ("-wal", "-shm", "-journal")


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield an empty file, open to its owner alone, that gets its name when the block ends well.

    A crash half-way leaves ``<path>.creating``, which the next attempt removes, and never half a ledger. The caller
    holds the lease on ``path``, so that nobody else makes the same file.

    Raises:
        UsageError: there is something under the name, or what a deleted database left behind.
        DiskError: the file cannot be made.
    """
    require_free(path)
    unfinished = path.with_name(path.name + ".creating")
    try:
        _remove(unfinished)
        # The -wal and -shm that SQLite makes later get the database file's mode.
        os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        try:
            yield unfinished
        except BaseException:
            _remove(unfinished)
            raise
        unfinished.rename(path)
        sync_directory(path.parent)
    except OSError as problem:
        raise faults.of_system(problem, path) from problem


def require_free(path: Path) -> None:
    """Refuse a name that is taken; ask before the lease as well, so that no sidecar is left beside a stranger's file.

    Raises:
        UsageError: there is something under the name, or what a deleted database left behind.
    """
    if path.exists():
        raise UsageError("there is a file of this name already", where=str(path), next=f"ledger status {path}")
    for companion in _COMPANIONS:
        remains = path.with_name(path.name + companion)
        if remains.exists():  # SQLite would replay a deleted database's log into the new one
            raise UsageError(
                "this belongs to a ledger that was here before",
                where=str(remains),
                next=f"put {path.name} back beside it, or move it away",
            )


def _remove(unfinished: Path) -> None:
    for companion in ("", *_COMPANIONS):
        unfinished.with_name(unfinished.name + companion).unlink(missing_ok=True)
