"""The sidecar ``<ledger>.lock``: one writer at a time, and a head that the log must not fall behind.

Two things that SQLite cannot give. A lock that a second process can explain (who, where, since when) and take over; and
a memory of how far the log had got, outside the log: when an older copy of the file is restored, or its ``-wal`` is
lost, SQLite opens it without a word, and a run that went on from there would submit what was submitted.

The file has a fixed size and is only ever overwritten in place (a renamed file would be a new lock, open to a second
writer). It holds three records, each with its own checksum:

    0     head, odd sequence numbers     ┐ the newer valid one counts, so that a torn write
    4096  head, even sequence numbers    ┘ leaves the one before it
    8192  holder: the process that has the lock

The log is committed first, the head is written and synced after it: the log is never behind its head unless it was
rolled back.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import Literal, NoReturn, Self, TypeAlias, TypeVar

import msgspec

from ledger.core.errors import LockedError
from ledger.core.units import format_instant
from ledger.ports import Head
from ledger.store import faults, identity

Standing: TypeAlias = Literal["", "missing", "foreign", "behind"]
"""How a log stands to its sidecar's head: at or beyond it (""), nothing to compare with, of another machine or file,
or behind it."""

_MAGIC = b"CBLk"
_PREFIX = Struct(">4sQH")  # magic, sequence, bytes of the JSON
_CHECKSUM_BYTES = 32
_RECORD_BYTES = 2048
_HEAD_OFFSETS = (0, 4096)  # 4096 apart: a torn sector or page damages one of them
_HOLDER_OFFSET = 8192
_FILE_BYTES = _HOLDER_OFFSET + _RECORD_BYTES

_KILL_WAIT_SECONDS = 10.0
_RETRY_SECONDS = 0.02


class HeadRecord(msgspec.Struct, frozen=True, kw_only=True):
    """How far a log had got, and which file on which machine it was."""

    ledger_id: str
    position: int
    hash: bytes
    epoch: int
    machine: str
    boot: str
    device: int
    inode: int

    @property
    def head(self) -> Head:
        """The head alone."""
        return Head(self.position, self.hash, self.epoch)


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """The process that has the lock; ``since`` is in microseconds since 1970 UTC."""

    pid: int
    start: str
    boot: str
    machine: str
    host: str
    since: int

    def is_alive(self) -> bool:
        """Whether this very process runs on this machine now (a stopped one does)."""
        return self.boot == identity.boot_id() and self.start != "" and identity.process_start(self.pid) == self.start


Record = TypeVar("Record", HeadRecord, Holder)

# Made here, not where they are used: two threads that are the first to decode a type crash the process (msgspec 0.22).
_decode_head = msgspec.json.Decoder(HeadRecord).decode
_decode_holder = msgspec.json.Decoder(Holder).decode


def lock_path(ledger: Path) -> Path:
    """Return the path of a ledger's sidecar."""
    return ledger.with_name(ledger.name + ".lock")


def read_head(ledger: Path) -> HeadRecord | None:
    """Return the head in a ledger's sidecar, or None where there is none. Needs no lock."""
    found = _read_file(ledger, _newest_head)
    return found[1] if found is not None else None


def holder(ledger: Path) -> Holder | None:
    """Return the process that is writing a ledger, as far as this machine can tell. Needs no lock.

    The lock itself is not tried: that could make a writer that starts at the same moment believe it is taken.
    """
    found = _read_file(ledger, lambda fd: _read_record(fd, _HOLDER_OFFSET, _decode_holder))
    return found[1] if found is not None and found[1].is_alive() else None


def standing(
    record: HeadRecord | None, ledger: Path, ledger_id: str, position: int, hash_at: Callable[[int], bytes | None]
) -> Standing:
    """Return how a log stands to the head in its sidecar.

    Args:
        record: what ``read_head`` returned before the log was read.
        ledger: the log's file.
        ledger_id: the log's id, "" while it is empty.
        position: the log's last position.
        hash_at: returns the stored hash at a position up to the last.
    """
    if not position and (record is None or not record.ledger_id):
        return ""
    if record is None or (not record.ledger_id and position > 1):
        return "missing"
    # A head without an id is that of a log which was empty yet: the process died between its first event and the head.
    if ledger_id and record.ledger_id and record.ledger_id != ledger_id:
        return "foreign"
    if position < record.position or hash_at(record.position) != record.hash:
        return "behind"  # also where the file is another one: a restored backup is
    status = ledger.stat()
    same_machine = record.machine == identity.machine_id()
    # Device numbers may change with a boot; inode numbers do not.
    same_device = record.device == status.st_dev or record.boot != identity.boot_id()
    return "" if same_machine and same_device and record.inode == status.st_ino else "foreign"


class Lease:
    """The lock on a ledger, held by this process until ``release``, or until it ends in any way.

    Use ``Lease.acquire``.
    """

    def __init__(self, ledger: Path, fd: int) -> None:
        self._ledger = ledger
        self._path = lock_path(ledger)
        self._fd = fd
        self._sequence = 0
        self._record: HeadRecord | None = None
        newest = _newest_head(fd)
        if newest is not None:
            self._sequence, self._record = newest

    @classmethod
    def acquire(cls, ledger: Path, take_over: bool = False) -> Lease:
        """Return the lease on a ledger, whose file need not exist yet.

        Args:
            ledger: the ledger's path.
            take_over: kill the process that has the lock, when it is one of this machine, and wait for the lock.

        Raises:
            LockedError: another process has it; names the process, its host and since when.
            DiskError: the sidecar cannot be written.
        """
        try:
            fd = _lock(ledger, take_over)
            try:
                _announce(fd)
                return cls(ledger, fd)
            except BaseException:
                os.close(fd)
                raise
        except OSError as problem:
            raise faults.of_system(problem, lock_path(ledger)) from problem

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def read_head(self) -> HeadRecord | None:
        """Return the head as last written, by this process or one before it."""
        return self._record

    def write_head(self, ledger_id: str, head: Head) -> None:
        """Make a head durable; call it only after the log's own commit.

        Raises:
            DiskError: it may not be durable, or the ledger's file is no longer where it was.
        """
        try:
            status = self._ledger.stat()
            record = HeadRecord(
                ledger_id=ledger_id,
                position=head.position,
                hash=head.hash,
                epoch=head.epoch,
                machine=identity.machine_id(),
                boot=identity.boot_id(),
                device=status.st_dev,
                inode=status.st_ino,
            )
            sequence = self._sequence + 1
            _write_record(self._fd, _HEAD_OFFSETS[sequence % 2], sequence, record)
            sync_data(self._fd)
        except OSError as problem:
            raise faults.of_system(problem, self._path) from problem
        self._sequence, self._record = sequence, record

    def forget_head(self) -> None:
        """Drop the head of a ledger that had this name before and is no more.

        Raises:
            DiskError: it may still be there.
        """
        try:
            for offset in _HEAD_OFFSETS:
                os.pwrite(self._fd, bytes(_RECORD_BYTES), offset)
            sync_data(self._fd)
        except OSError as problem:
            raise faults.of_system(problem, self._path) from problem
        self._sequence, self._record = 0, None

    def release(self) -> None:
        """Give the lock back; calling it again does nothing."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        with suppress(OSError):  # a full or broken disk must not keep the lock
            os.pwrite(fd, bytes(_RECORD_BYTES), _HOLDER_OFFSET)
        fcntl.flock(fd, fcntl.LOCK_UN)  # closing alone would leave it to a forked child that has a copy
        os.close(fd)


def sync_data(fd: int) -> None:
    """Make what was written to a file durable; on macOS fsync alone leaves it in the drive's cache (fsync(2))."""
    if sys.platform == "darwin":
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(fd)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# ── the lock ────────────────────────────────────────────────────────────────────────────────────────────────────


def _lock(ledger: Path, take_over: bool) -> int:
    """Return an open, locked sidecar of full size."""
    path = lock_path(ledger)
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _try_lock(fd):
                if not take_over:
                    _refuse(fd, ledger)
                _kill_holder(fd, ledger)
            if _is_at(fd, path):
                _allocate(fd, ledger)
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # somebody removed or replaced the sidecar meanwhile: that lock excludes nobody


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _allocate(fd: int, ledger: Path) -> None:
    """Give the file its size once, so that overwriting it needs no new space and no new metadata."""
    size = os.fstat(fd).st_size
    if size < _FILE_BYTES:
        os.pwrite(fd, bytes(_FILE_BYTES - size), size)
        os.fsync(fd)
        sync_directory(ledger.absolute().parent)


def _announce(fd: int) -> None:
    me = Holder(
        pid=os.getpid(),
        start=identity.process_start(os.getpid()),
        boot=identity.boot_id(),
        machine=identity.machine_id(),
        host=identity.host_name(),
        since=time.time_ns() // 1000,
    )
    _write_record(fd, _HOLDER_OFFSET, 0, me)  # not synced: it only means something while this process lives


def _refuse(fd: int, ledger: Path) -> NoReturn:
    found = _read_record(fd, _HOLDER_OFFSET, _decode_holder)
    if found is None:
        raise LockedError("another process is just opening this ledger", where=str(ledger), next="try again")
    process = found[1]
    raise LockedError(
        f"process {process.pid} on {process.host} has been writing this ledger since {format_instant(process.since)}",
        where=str(ledger),
        next=f"ledger status {ledger} (to stop that process and go on here, repeat the command with --take-over)",
    )


def _kill_holder(fd: int, ledger: Path) -> None:
    """Kill the process that has the lock, and take it."""
    found = _read_record(fd, _HOLDER_OFFSET, _decode_holder)
    if found is None:
        raise LockedError("another process is just opening this ledger", where=str(ledger), next="try again")
    process = found[1]
    _require_killable(process, ledger)
    try:
        _kill(process)
    except PermissionError as problem:
        raise LockedError(
            f"process {process.pid} could not be stopped",
            where=str(ledger),
            why="it belongs to another user",
            next=f"sudo kill -9 {process.pid}",
        ) from problem
    deadline = time.monotonic() + _KILL_WAIT_SECONDS
    while not _try_lock(fd):
        if time.monotonic() > deadline:
            raise LockedError(
                f"process {process.pid} was killed, but the lock is still taken",
                where=str(ledger),
                why="it is stuck in the kernel, or a child of it holds the lock",
                next=f"lsof {lock_path(ledger)}",
            )
        time.sleep(_RETRY_SECONDS)


def _require_killable(process: Holder, ledger: Path) -> None:
    named = f"process {process.pid} on {process.host}"
    if process.machine != identity.machine_id() or process.boot != identity.boot_id():
        raise LockedError(
            f"{named} writes this ledger and cannot be stopped from here",
            where=str(ledger),
            why=f"it runs on another host than this one ({identity.host_name()})",
            next=f"stop it on {process.host}",
        )
    if process.pid == os.getpid():
        raise LockedError("this process has the ledger open already", where=str(ledger), next="close it first")
    if not process.is_alive():
        raise LockedError(
            f"{named} writes this ledger and cannot be found from here",
            where=str(ledger),
            why="it runs in another container, or a child of it still holds the lock",
            next=f"lsof {lock_path(ledger)}",
        )


def _kill(process: Holder) -> None:
    """Kill a process, never another one that has got its number since."""
    try:
        if not hasattr(os, "pidfd_open"):
            os.kill(process.pid, signal.SIGKILL)
            return
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return  # it ended by itself
    try:
        if process.is_alive():  # the descriptor now names the process that was checked
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            select.select([pidfd], [], [], _KILL_WAIT_SECONDS)
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)


# ── records ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _write_record(fd: int, offset: int, sequence: int, record: HeadRecord | Holder) -> None:
    data = msgspec.json.encode(record)
    body = (_PREFIX.pack(_MAGIC, sequence, len(data)) + data).ljust(_RECORD_BYTES - _CHECKSUM_BYTES, b"\0")
    if len(body) > _RECORD_BYTES - _CHECKSUM_BYTES:
        raise ValueError(f"a record of {len(data)} bytes does not fit its slot")
    os.pwrite(fd, body + sha256(body).digest(), offset)


def _read_record(fd: int, offset: int, decode: Callable[[bytes], Record]) -> tuple[int, Record] | None:
    """Return (sequence, record), or None where there is none or a torn one."""
    slot = os.pread(fd, _RECORD_BYTES, offset)
    body, checksum = slot[:-_CHECKSUM_BYTES], slot[-_CHECKSUM_BYTES:]
    if len(slot) != _RECORD_BYTES or sha256(body).digest() != checksum:
        return None
    magic, sequence, size = _PREFIX.unpack_from(body)
    if magic != _MAGIC:
        return None
    try:
        return sequence, decode(body[_PREFIX.size : _PREFIX.size + size])
    except msgspec.DecodeError:
        return None


def _newest_head(fd: int) -> tuple[int, HeadRecord] | None:
    slots = [_read_record(fd, offset, _decode_head) for offset in _HEAD_OFFSETS]
    return max((slot for slot in slots if slot is not None), key=lambda slot: slot[0], default=None)


def _read_file(ledger: Path, read: Callable[[int], tuple[int, Record] | None]) -> tuple[int, Record] | None:
    path = lock_path(ledger)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise faults.of_system(problem, path) from problem
    try:
        return read(fd)
    finally:
        os.close(fd)
