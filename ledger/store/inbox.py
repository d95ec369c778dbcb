"""The mailbox beside a ledger: how ``ledger cancel`` and ``ledger resolve`` reach the process that writes it.

One JSON object a line in ``<ledger>.inbox``, open to its owner alone. A message is delivered at least once: it leaves
the file only after the reader has dealt with it, so a kill at any instant loses nothing and may deliver twice.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from ledger.store import faults
from ledger.store.lease import sync_directory

_MESSAGE_BYTES = 65_536


def inbox_path(ledger: Path | str) -> Path:
    """Return the path of a ledger's mailbox."""
    ledger = Path(ledger).resolve()
    return ledger.with_name(ledger.name + ".inbox")


def post(ledger: Path | str, message: dict[str, Any]) -> None:
    """Leave a message for the writer of a ledger, or for the next one; durable when this returns.

    Raises:
        ValueError: the message is longer than 64 KiB.
        DiskError: it could not be written.
    """
    line = msgspec.json.encode(message) + b"\n"
    if len(line) > _MESSAGE_BYTES:
        raise ValueError(f"a message of {len(line)} bytes is longer than {_MESSAGE_BYTES}")
    path = inbox_path(ledger)
    with _system_errors(path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            whole = _whole(_content(fd))
            os.ftruncate(fd, len(whole))  # half a line is of a sender that was killed and got no answer
            os.pwrite(fd, line, len(whole))
            os.fsync(fd)
            sync_directory(path.parent)  # the file may be new: its name is not durable by itself
        finally:
            os.close(fd)


@contextmanager
def drain(ledger: Path | str) -> Iterator[list[dict[str, Any]]]:
    """Yield the messages of a ledger's mailbox, and empty it when the block ends without an error.

    Senders wait meanwhile; make what the messages ask for durable inside the block, and nothing else. A line that is
    no JSON object is dropped.

    Raises:
        DiskError: the mailbox could not be read.
    """
    path = inbox_path(ledger)
    fd = _open_if_filled(path)
    if fd < 0:
        yield []
        return
    try:
        with _system_errors(path):
            fcntl.flock(fd, fcntl.LOCK_EX)
            lines = _whole(_content(fd)).splitlines()
        yield [message for message in map(_decoded, lines) if message is not None]
        with _system_errors(path):
            os.ftruncate(fd, 0)
    finally:
        os.close(fd)


@contextmanager
def _system_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise faults.of_system(problem, path) from problem


def _open_if_filled(path: Path) -> int:
    """Return an open mailbox, or -1 when there is nothing in it: the usual case costs one look."""
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC) if path.stat().st_size else -1
    except FileNotFoundError:
        return -1
    except OSError as problem:
        raise faults.of_system(problem, path) from problem


def _content(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)


def _whole(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]


def _decoded(line: bytes) -> dict[str, Any] | None:
    try:
        message = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None
    return message if isinstance(message, dict) else None
