"""Named points around every append, where a process dies or is told to stop, and what it had acknowledged by then.

    before     an append begins: nothing of it is on the disk
    committed  SQLite has committed it; the head in the sidecar still is the one before
    recorded   the append has returned: it is acknowledged, and effects may follow

They are put around the real store in a forked process, so that the shipped command dies there by SIGKILL, or is told
there to stop.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ledger.core.events import TYPE_NAMES, AnyEvent
from ledger.ports import Head, RequestBlock, ResultBlock
from ledger.store.sqlite import SqliteLog

POINTS = ("before", "committed", "recorded")


class Crash(NamedTuple):
    """Where a process signals itself: at a point of its so-and-so-many-th append, from 1, that holds such an event."""

    point: str
    append: int
    type_name: str = ""
    signals: Sequence[int] = (signal.SIGKILL,)


def watch(notes: Path, crash: Crash | None) -> None:
    """Write down every acknowledged append of this process, and kill it at its crash point.

    The notes are lines of JSON, each written by one system call: what a killed process has written stays.
    """
    fd = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    transact, append = SqliteLog._transact, SqliteLog.append
    begun = 0  # appends that hold such an event

    def note(**what: Any) -> None:
        os.write(fd, json.dumps(what).encode() + b"\n")

    def at(point: str, types: list[str]) -> None:
        if crash is not None and crash[:2] == (point, begun) and crash.type_name in ("", *types):
            note(died=point, types=types)
            for number in crash.signals:
                os.kill(os.getpid(), number)

    def transacting(self: SqliteLog, ledger_id: str, head: Head, rows: list[Any], *payloads: Any) -> None:
        transact(self, ledger_id, head, rows, *payloads)
        at("committed", list(dict.fromkeys(row[2] for row in rows)))

    def appending(
        self: SqliteLog,
        events: Sequence[AnyEvent],
        instant: int,
        requests: Sequence[RequestBlock] = (),
        results: Sequence[ResultBlock] = (),
    ) -> Head:
        nonlocal begun
        types = list(dict.fromkeys(TYPE_NAMES[type(event)] for event in events))
        begun += crash is not None and crash.type_name in ("", *types)
        at("before", types)
        head = append(self, events, instant, requests, results)
        note(position=head.position, hash=head.hash.hex(), types=types)
        at("recorded", types)
        return head

    SqliteLog._transact = transacting  # type: ignore[method-assign]
    SqliteLog.append = appending  # type: ignore[method-assign]


class Notes(NamedTuple):
    """What the processes of a run left behind: the last acknowledged head, and at which appends they died."""

    position: int
    hash: bytes
    appends: int
    deaths: list[tuple[str, list[str]]]


def read_notes(notes: Path) -> Notes:
    """Return what was written so far."""
    position, last, appends, deaths = 0, b"", 0, []
    lines = [json.loads(line) for line in notes.read_bytes().splitlines()] if notes.exists() else []
    for line in lines:
        if "died" in line:
            deaths.append((line["died"], line["types"]))
        else:
            position, last, appends = line["position"], bytes.fromhex(line["hash"]), appends + 1
    return Notes(position, last, appends, deaths)
