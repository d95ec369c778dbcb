"""What went otherwise than on most days, each with the events around it.

An incident begins with an event that should not be, takes in what was going on right before it, and ends when a few
events have passed in which nothing of the kind happened. That another process went on is one, too, but of a run by cron
with ``--once`` it happens all the time: where it is frequent, it is only counted. Events in bulk (requests, results,
polls that brought nothing new) are not told: the gap in the positions shows where they are.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ledger.core import events as e

BEFORE = 3
AFTER = 3
EVENTS_AT_MOST = 16
INCIDENTS_AT_MOST = 40
RESTARTS_AT_MOST = 12
"""More of them, and they are how the run is conducted."""
CHARACTERS_AT_MOST = 260

_ODD: dict[type[e.AnyEvent], str] = {
    e.SubmissionUncertain: "the answer to a submission was lost",
    e.SubmissionRefused: "the service refused a batch",
    e.SubmissionAborted: "a submission was given up before it was sent",
    e.BatchDisowned: "a batch turned out not to be ours",
    e.TwinFound: "a second batch of the same requests was found",
    e.ChunkHeld: "a batch was held for a person",
    e.ChunkDissolved: "a batch was taken apart",
    e.RequestRejected: "the service refused a request by name",
    e.ResultsShort: "a download lacked rows",
    e.ResultsLost: "results were lost",
    e.CallFailed: "a call to the service failed",
    e.FindingRecorded: "something that should not be was found",
    e.RunPaused: "the run was paused",
    e.AlarmRaised: "an alarm was raised",
    e.LedgerRecovered: "the ledger was recovered",
    e.IntakeAbandoned: "bad lines stopped the intake",
    e.CancelRequested: "a cancellation was asked for",
}
_RESTARTED = "another process went on"
_TRIPPED = "the canary stopped the run"
_MISSING = "rows never came"

# Which fields of an event a reader has no use for: digests and other names that only the program compares.
_UNTOLD = frozenset(
    {
        "digest",
        "nonce",
        "watermark",
        "watermark_created_at",
        "listed",
        "gap_digest",
        "host",
        "pid",
        "lift",
        "path",
        "ranges",
        "table",
        "policy",
        "defaults",
    }
)
_INSTANTS = frozenset({"server_date", "created_at", "expires_at", "ended_at", "archived_at", "asked_at"})
_DIRECTORIES = re.compile(r"(?<![\w:/.])(?:~|\.\.?)?/(?:[^/\s'\"]+/)+(?=[^/\s'\"])")


@dataclass
class Told:
    """One event, as a line."""

    position: int
    at: int
    type: str
    text: str
    is_odd: bool


@dataclass
class Incident:
    """Events in a row, at least one of which should not be; ``untold`` more were left out at its end."""

    titles: Counter[str] = field(default_factory=Counter)
    events: list[Told] = field(default_factory=list)
    untold: int = 0

    @property
    def title(self) -> str:
        """What happened, most frequent first; how often where it is more than once."""
        return "; ".join(what if count == 1 else f"{what} ({count:,} times)" for what, count in self.titles.items())


class Incidents:
    """Collects incidents in bounded memory: the first ones whole, and the number of every kind."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self._kept: list[Incident] = []
        self._count = 0
        self._restarts: list[Incident] = []
        self._restart_count = 0
        self._recent: deque[tuple[int, int, e.AnyEvent]] = deque(maxlen=BEFORE)
        self._open: Incident | None = None
        self._quiet = 0

    @property
    def _open_ones(self) -> list[Incident]:
        return [self._open] if self._open is not None else []

    @property
    def count(self) -> int:
        """How many there were, those included that are not told whole; but for restarts that are a habit."""
        others = sum(not _is_restart(incident) for incident in self._open_ones)
        return self._count + others + (self._restarted() if self._restarted() <= RESTARTS_AT_MOST else 0)

    @property
    def kept(self) -> list[Incident]:
        """The first ones, in order."""
        kept = [*self._kept, *(one for one in self._open_ones if not _is_restart(one))][:INCIDENTS_AT_MOST]
        if self._restarted() <= RESTARTS_AT_MOST:
            kept += [*self._restarts, *(one for one in self._open_ones if _is_restart(one))]
        return sorted(kept, key=lambda incident: incident.events[0].position)

    def _restarted(self) -> int:
        return self._restart_count + sum(_is_restart(incident) for incident in self._open_ones)

    def told(self, position: int, at: int, event: e.AnyEvent) -> None:
        """Take one of the seldom events."""
        if isinstance(event, e.StatusPolled) and not event.changes:
            return
        title = _title(event)
        if title:
            self.kinds[title] += 1
            if self._open is None:
                self._begin()
            assert self._open is not None
            self._open.titles[title] += 1
            self._quiet = 0
        if self._open is None:
            self._recent.append((position, at, event))
            return
        self._quiet += not title
        self._tell(position, at, event, is_odd=bool(title))
        if self._quiet == AFTER:
            self._close()

    def _close(self) -> None:
        assert self._open is not None
        if _is_restart(self._open):
            self._restart_count += 1
            some, most = self._restarts, RESTARTS_AT_MOST
        else:
            self._count += 1
            some, most = self._kept, INCIDENTS_AT_MOST
        if len(some) < most:
            some.append(self._open)
        self._open = None

    def _begin(self) -> None:
        self._open = Incident()
        self._quiet = 0
        for row in self._recent:
            self._tell(*row, is_odd=False)
        self._recent.clear()

    def _tell(self, position: int, at: int, event: e.AnyEvent, *, is_odd: bool) -> None:
        assert self._open is not None
        if len(self._open.events) >= EVENTS_AT_MOST:
            self._open.untold += 1
        else:
            name = e.TYPE_NAMES[type(event)]
            self._open.events.append(Told(position, at, name, describe(event), is_odd))


def _is_restart(incident: Incident) -> bool:
    return set(incident.titles) == {_RESTARTED}


def _title(event: e.AnyEvent) -> str:
    """Return what should not be about an event; nothing for those of every day."""
    match event:
        case e.WriterOpened():
            return _RESTARTED if event.epoch > 1 else ""
        case e.CanaryJudged():
            return _TRIPPED if event.verdict == "tripped" else ""
        case e.BatchCollected():
            return _MISSING if event.missing else ""
        case e.SubmissionRefused(reaction="wait_for_queue"):
            return "the service's queue was full"
        case _:
            return _ODD.get(type(event), "")


def describe(event: e.AnyEvent) -> str:
    """Return what an event says in one line: its fields, without digests, local directories and empty ones."""
    if isinstance(event, e.StatusPolled):
        return _cut(", ".join(f"{seen.batch} {seen.status}" for seen in event.changes))
    if isinstance(event, e.BatchesListed):
        what = "complete" if event.complete else "incomplete"
        return _cut(f"{what}; unclaimed: {', '.join(seen.batch for seen in event.candidates) or 'none'}")
    fields = msgspec.to_builtins(event)
    told = (f"{name.replace('_', ' ')} {_value(value)}" for name, value in fields.items() if _is_told(name, value))
    return _cut(" · ".join(told))


def _is_told(name: str, value: Any) -> bool:
    return name not in _UNTOLD and name not in _INSTANTS and value not in ("", None, [], {}, -1)


def _value(value: Any) -> str:
    match value:
        case dict():
            return " ".join(f"{name} {one}" for name, one in value.items())
        case list():
            return _some(value)
        case str():
            return without_directories(value)
        case _:
            return str(value)


def _some(values: Iterable[Any]) -> str:
    texts = [str(value) for value in values]
    return ", ".join(texts[:5]) + (f" and {len(texts) - 5:,} more" if len(texts) > 5 else "")


def without_directories(text: str) -> str:
    """Return a text in which files are named without where they lie on this machine."""
    return _DIRECTORIES.sub("", text)


def _cut(text: str) -> str:
    return text if len(text) <= CHARACTERS_AT_MOST else f"{text[:CHARACTERS_AT_MOST]}…"
