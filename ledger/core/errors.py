"""Every error a user can meet, and what each one says.

    LedgerError                  what happened · where · why · what to type next · exit code
    ├── UsageError          2    the command line or the call is wrong
    ├── InputError          2    the items are wrong, line by line
    ├── NotALedgerError     2    the file is no batch ledger, or of a newer version
    ├── PausedError         3    a person is needed before anything else is done
    │   ├── RolledBackError 3    the log is behind its head: an old copy, or a lost -wal
    │   └── DiskError       3    the disk is full, read-only or broken
    ├── LockedError         4    another process writes this ledger
    ├── CorruptLogError     5    the log is not what was written
    │   └── IllegalEventError 5  an event that the state does not allow
    └── ServiceError        6    the service or the key does not work

Errors are for people: they are printed as what, where, why and next, never as a traceback (``--debug`` adds
that).
"""

from __future__ import annotations

from typing import ClassVar


class LedgerError(Exception):
    """Something a user must know, in the words they need.

    Args:
        what: what happened, one sentence without a full stop.
        where: file, line, custom_id, chunk or position, as far as known.
        why: the reason, when it is not obvious.
        next: the next command to type, or the next thing to do.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, what: str, *, where: str = "", why: str = "", next: str = "") -> None:  # noqa: A002 - the word users read
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.next = next

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.why:
            parts.append(f"because {self.why}")
        if self.next:
            parts.append(f"next: {self.next}")
        return "\n".join(parts)


class UsageError(LedgerError):
    """The command line or the call is wrong."""


class InputError(LedgerError):
    """The items are wrong; nothing was spent."""


class NotALedgerError(LedgerError):
    """The file is no batch ledger, or one of a version this program does not know."""


class PausedError(LedgerError):
    """A person is needed before anything else is done."""

    exit_code = 3


class RolledBackError(PausedError):
    """The log is behind its head: an older copy was restored, or its -wal was lost."""


class DiskError(PausedError):
    """The disk is full, read-only or broken; nothing was done after the last durable event."""


class LockedError(LedgerError):
    """Another process is writing this ledger."""

    exit_code = 4


class CorruptLogError(LedgerError):
    """The log is not what was written."""

    exit_code = 5


class IllegalEventError(CorruptLogError):
    """An event that the state does not allow; it changed nothing and was not stored."""


class ServiceError(LedgerError):
    """The service or the key does not work."""

    exit_code = 6
