"""What is made of the files that a cut, or a bad disk, left: opened as ``ledger status`` and ``ledger resume`` do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ledger.core.errors import LedgerError
from ledger.core.events import ChunkSealed, RequestBuilt, decode
from ledger.ports import Head
from ledger.store.chain import verify_chain
from ledger.store.sqlite import SqliteLog

LEDGER = "items.ledger"


class Verdict(NamedTuple):
    """What became of one state.

    Attributes:
        opened: whether the ledger went on (or had not been made yet, and nothing was promised).
        refusal: the error that refused it, when it was.
        wrong: what must not be; nothing when all is well.
    """

    opened: bool
    refusal: LedgerError | None = None
    wrong: str = ""


class Bench:
    """A directory in which states are laid out one after another, each in the ledger's own inode.

    The sidecar names the file by its inode, as it must: a copy is not the ledger. So the recorded file itself is
    written anew for each state, and its name is taken away when the state has none.

    Args:
        place: the directory that was watched.
        ledger: the file there that is the ledger.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.path = place / LEDGER
        self._anchor = place / "anchor"
        if self.path.exists() and not self._anchor.exists():
            os.link(self.path, self._anchor)

    def lay_out(self, files: Mapping[str, bytes]) -> None:
        """Make these the only files of the ledger."""
        for old in self.place.glob(f"{LEDGER}*"):
            old.unlink()
        for name, content in files.items():
            if name == LEDGER and self._anchor.exists():
                with self._anchor.open("r+b") as file:
                    file.truncate(0)
                    file.write(content)
                os.link(self._anchor, self.path)
            else:
                (self.place / name).write_bytes(content)


def judge(path: Path, promised: Head | None) -> Verdict:
    """Open what is there for reading, then for writing, and compare it with what was promised last.

    Right is: all that was promised is there and the chain verifies, or the ledger is refused with the next command.
    """
    promise = promised or Head(0, bytes(32), 0)
    if not path.exists():
        return Verdict(True, wrong="the ledger is gone" if promise.position else "")
    try:
        with SqliteLog.open_reader(path) as log:
            wrong = "" if log.needs_recovery else _behind(log, promise)
    except LedgerError as problem:
        wrong = "" if problem.next else f"a refusal without a next command: {problem}"
    if wrong:
        return Verdict(True, wrong=f"status: {wrong}")
    try:
        with SqliteLog.open_writer(path) as log:
            if log.needs_recovery:  # the first write recovers before anything is submitted
                return Verdict(False)
            return Verdict(True, wrong=_missing(log, promise))
    except LedgerError as problem:
        return Verdict(False, problem, "" if problem.next else f"a refusal without a next command: {problem}")


def _behind(log: SqliteLog, promise: Head) -> str:
    at_promise = [row.hash for row in log.read(promise.position - 1, promise.position)]
    if at_promise != [promise.hash] * (promise.position > 0):
        return f"the log ends at {log.head.position}; the event {promise.position} that was promised is not there"
    return ""


def _missing(log: SqliteLog, promise: Head) -> str:
    """Return what of a promise is not in a log, or what is wrong with the log; nothing when all is well."""
    if behind := _behind(log, promise):
        return behind
    for position, problem in verify_chain(log, promise if promise.position else None):
        return f"position {position}: {problem}"
    events = [decode(row.type_name, row.data) for row in log.read()]
    built = [event.ordinal for event in events if isinstance(event, RequestBuilt)]
    if len(list(log.request_payloads(built))) != len(built):
        return "bodies of requests are missing"
    for chunk in (event.chunk for event in events if isinstance(event, ChunkSealed)):
        list(log.result_payloads(chunk))
    problems = log.integrity_problems()
    return problems[0] if problems else ""
