"""The simulated service's memory on disk: an append-only file that survives SIGKILL at any instant.

A frame is the length and the CRC-32 of a MessagePack record, then the record. What ends in a torn frame is cut off at
the next opening: the torn record was never answered for, because the answer waits for ``fsync``.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ledger.core.errors import LockedError, NotALedgerError, UsageError
from ledger.service.simulator.core import Simulator
from ledger.service.simulator.records import Opened, Record
from ledger.service.simulator.settings import Settings

_MAGIC = b"batch-ledger simulator 1\n"
_FRAME = struct.Struct("<II")


class Journal:
    """The open file, locked against other processes.

    Args:
        path: created, readable by its owner only, if it is not there.

    Raises:
        LockedError: another process simulates with this file.
        NotALedgerError: the file is something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        existed = path.exists()
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b", buffering=0)
        try:
            self._lock()
            self._begin(existed)
        except BaseException:
            self._file.close()
            raise

    def records(self) -> Iterator[Record]:
        """Yield what was kept, in order, and cut a torn end off; call once, before the first append."""
        self._file.seek(len(_MAGIC))
        end = len(_MAGIC)
        while True:
            header = self._file.read(_FRAME.size)
            length, checksum = _FRAME.unpack(header) if len(header) == _FRAME.size else (0, 1)
            data = _read_exactly(self._file.fileno(), length)
            if len(data) != length or zlib.crc32(data) != checksum:
                break
            end += _FRAME.size + length
            yield msgspec.msgpack.decode(data, type=Record)
        self._file.truncate(end)
        self._file.seek(end)

    def append(self, record: Record) -> None:
        """Return when the record is durable."""
        data = msgspec.msgpack.encode(record)
        _write_all(self._file.fileno(), _FRAME.pack(len(data), zlib.crc32(data)) + data)
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Release the file and its lock."""
        self._file.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(
                "another process simulates the service with this file",
                where=str(self._path),
                next="wait for it, or stop it",
            ) from error

    def _begin(self, existed: bool) -> None:
        head = self._file.read(len(_MAGIC))
        if head == _MAGIC:
            return
        if not _MAGIC.startswith(head):
            raise NotALedgerError("this is no state of a simulated service", where=str(self._path))
        self._file.seek(0)
        self._file.truncate(0)
        _write_all(self._file.fileno(), _MAGIC)
        os.fsync(self._file.fileno())
        if not existed:
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(directory)
            os.close(directory)


def open_simulator(settings: Settings, path: Path | None, now: int) -> tuple[Simulator, Opened, Journal | None]:
    """Return the service as it was left, or a new one.

    Args:
        settings: how it behaves; the seed must be the one of the file.
        path: its state; None for one that lives in memory only.
        now: microseconds UTC, kept as the origin of a new service.

    Raises:
        LockedError: another process simulates with this file.
        NotALedgerError: the file is something else.
        UsageError: the file was made with another seed, which would change answers that were already given.
    """
    if path is None:
        return Simulator(settings), Opened(settings.seed, now), None
    journal = Journal(path)
    simulator = Simulator(settings, journal.append)
    opened: Opened | None = None
    try:
        for record in journal.records():
            if isinstance(record, Opened):
                opened = record
            simulator.apply(record)
        if opened is None:
            opened = Opened(settings.seed, now)
            journal.append(opened)
        if opened.seed != settings.seed:
            raise UsageError(
                f"the simulated service was begun with seed {opened.seed}, not {settings.seed}",
                where=str(path),
                next=f"use seed {opened.seed}, or another file",
            )
    except BaseException:
        journal.close()
        raise
    return simulator, opened, journal


def _read_exactly(descriptor: int, length: int) -> bytes:
    pieces, missing = [], length
    while missing:
        piece = os.read(descriptor, min(missing, 1 << 24))
        if not piece:
            break
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
