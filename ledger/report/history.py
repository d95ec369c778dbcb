"""What happened to every batch, process and pause of a run, told by the writer's clock: what a timeline is drawn from.

A fold of its own beside the state's: the state knows how things stand, not when they came to stand so. It takes the
seldom events only, so that its cost grows with batches and not with requests.

The service's clock and ours need not agree. What the service dates (creation and end of a batch) is moved between the
two instants of ours that it must lie between, so that no bar of a timeline ends before it begins.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ledger.core import events as e

TryEnd: TypeAlias = Literal["open", "created", "refused", "aborted", "uncertain"]
ProcessEnd: TypeAlias = Literal["finished", "paused", "sending", "stopped", "command", "latest"]

# What a person's command writes (``cancel``, ``resolve``): whoever wrote nothing else was at no work that could stop.
_DECISIONS = (
    e.WriterOpened,
    e.HoldLifted,
    e.CancelRequested,
    e.CancelAccepted,
    e.TwinAcknowledged,
    e.RunResumed,
    e.BudgetSet,
    e.SettingsChanged,
)


@dataclass
class Span:
    """A stretch of time with a reason; ``end`` is 0 while it lasts."""

    begin: int
    end: int = 0
    why: str = ""


@dataclass
class Try:
    """One submission of a chunk, from its intent to whatever came of it."""

    begin: int
    end: int = 0
    how: TryEnd = "open"
    why: str = ""


@dataclass
class Mark:
    """Something that happened to a batch at one instant."""

    at: int
    what: str


@dataclass
class Row:
    """The life of one chunk; instants in microseconds of the writer's clock, 0 for what has not happened.

    ``created`` to ``ended`` is the batch at the service, ``seen`` when its end was learnt, ``closed`` when its results
    were stored, or it was dissolved or lost: ``closed_as`` says which.
    """

    chunk: int
    cause: str
    requests: int
    priority: int
    sealed: int
    batch: str = ""
    tries: list[Try] = field(default_factory=list)
    doubts: list[Span] = field(default_factory=list)
    holds: list[Span] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    created: int = 0
    ended: int = 0
    seen: int = 0
    closed: int = 0
    closed_as: str = ""

    @property
    def begin(self) -> int:
        """When it was first tried to send it, else when it was sealed."""
        return self.tries[0].begin if self.tries else self.sealed

    @property
    def last(self) -> int:
        """The last instant at which anything is known to have changed."""
        spans = [span.end or span.begin for span in (*self.doubts, *self.holds)]
        return max(self.sealed, self.created, self.ended, self.seen, self.closed, *spans, *self._tried())

    def _tried(self) -> list[int]:
        return [attempt.end or attempt.begin for attempt in self.tries]

    @property
    def is_odd(self) -> bool:
        """Whether something happened to it that does not happen to most."""
        calm = all(attempt.how in ("created", "open") for attempt in self.tries)
        return not calm or bool(self.doubts or self.holds or self.marks) or self.closed_as in ("lost", "dissolved")


@dataclass
class Process:
    """One opening of the ledger for writing; ``end`` is its last event. ``how`` it ended is read off what it left."""

    epoch: int
    begin: int
    end: int
    how: ProcessEnd = "latest"
    has_worked: bool = False


class History:
    """Collects it, event by event."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.processes: list[Process] = []
        self.pauses: list[Span] = []
        self.readings: list[Span] = []
        self.finished_at = 0
        self._by_batch: dict[str, int] = {}
        self._sending: set[int] = set()

    def passed(self, at: int) -> None:
        """Note that the process at work was alive at an instant."""
        if self.processes:
            self.processes[-1].end = max(self.processes[-1].end, at)

    def stored(self, at: int) -> None:
        """Note that the process at work stored results, the last of them at an instant."""
        self.passed(at)
        if self.processes:
            self.processes[-1].has_worked = True

    def told(self, at: int, event: e.AnyEvent) -> None:
        """Take one of the seldom events."""
        if isinstance(event, e.WriterOpened):
            self._process(at, event)
        self.passed(at)
        if self.processes and not _is_decision(event):
            self.processes[-1].has_worked = True
        match event:
            case e.ChunkSealed():
                self.rows[event.chunk] = Row(event.chunk, event.cause, event.requests, event.priority, at)
                self.finished_at = 0
            case e.ChunkDissolved():
                self._close(event.chunk, at, "dissolved")
            case (
                e.SubmissionPrepared()
                | e.SubmissionAborted()
                | e.SubmissionRefused()
                | e.SubmissionUncertain()
                | e.SubmissionResolved()
            ):
                self._submission(at, event)
            case e.BatchCreated() | e.BatchAdopted() | e.BatchDisowned():
                self._batch(at, event)
            case e.StatusPolled():
                for seen in event.changes:
                    self._changed(at, seen)
            case e.BatchCollected():
                self._close(event.chunk, at, "collected")
            case e.ResultsLost():
                self._close(event.chunk, at, "lost")
            case e.ResultsShort():
                self.rows[event.chunk].marks.append(Mark(at, f"{event.missing:,} rows were not in the download"))
            case e.TwinFound():
                self.rows[event.chunk].marks.append(Mark(at, f"a second batch of it: {event.batch}"))
            case e.ChunkHeld():
                self.rows[event.chunk].holds.append(Span(at, why=event.reason))
            case e.HoldLifted():
                _end(self.rows[event.chunk].holds, at)
            case e.CancelRequested():
                if event.batch in self._by_batch:
                    self.rows[self._by_batch[event.batch]].marks.append(Mark(at, "its cancellation was asked for"))
            case e.SourceOpened():
                self.readings.append(Span(at))
            case e.IntakeCompleted() | e.IntakeAbandoned():
                _end(self.readings, at)
            case e.RunPaused():
                self.pauses.append(Span(at, why=event.reason))
            case e.RunResumed():
                _end([span for span in self.pauses if span.why == event.reason], at)
            case e.RunFinished():
                self.finished_at = at
            case _:
                pass  # it changes no bar

    def _process(self, at: int, event: e.WriterOpened) -> None:
        if self.processes:
            before = self.processes[-1]
            if self._sending:
                before.how = "sending"
            elif self.finished_at:
                before.how = "finished"
            elif not before.has_worked:
                before.how = "command"
            else:
                before.how = "paused" if self._waits_for_a_person() else "stopped"
        self.processes.append(Process(event.epoch, at, at))

    def _waits_for_a_person(self) -> bool:
        stops = [*self.pauses, *(span for row in self.rows.values() if not row.closed for span in row.holds)]
        return any(not span.end for span in stops)

    def _submission(
        self,
        at: int,
        event: e.SubmissionPrepared
        | e.SubmissionAborted
        | e.SubmissionRefused
        | e.SubmissionUncertain
        | e.SubmissionResolved,
    ) -> None:
        row = self.rows[event.chunk]
        match event:
            case e.SubmissionPrepared():
                row.tries.append(Try(at))
                self._sending.add(row.chunk)
            case e.SubmissionAborted():
                self._tried(row, at, "aborted", event.cause)
            case e.SubmissionRefused():
                self._tried(row, at, "refused", f"{event.status} {event.kind or event.code}".strip())
            case e.SubmissionUncertain():
                self._tried(row, at, "uncertain", event.cause)
                row.doubts.append(Span(at, why=event.cause))
            case e.SubmissionResolved():
                _end(row.doubts, at)
                _end(row.holds, at)

    def _tried(self, row: Row, at: int, how: TryEnd, why: str = "") -> None:
        self._sending.discard(row.chunk)
        if row.tries and row.tries[-1].how == "open":
            row.tries[-1].end, row.tries[-1].how, row.tries[-1].why = at, how, why

    def _batch(self, at: int, event: e.BatchCreated | e.BatchAdopted | e.BatchDisowned) -> None:
        row = self.rows[event.chunk]
        if isinstance(event, e.BatchDisowned):
            row.batch, row.created = "", 0
            row.marks.append(Mark(at, "the batch that was taken for it was not its own"))
            row.doubts.append(Span(at, why="not its own"))
            self._by_batch.pop(event.batch, None)
            return
        begin = row.tries[-1].begin if row.tries else min(event.created_at, at)
        row.batch, row.created = event.batch, _between(begin, event.created_at, at)
        self._by_batch[event.batch] = row.chunk
        self._tried(row, at, "created")
        _end(row.doubts, at)
        _end(row.holds, at)

    def _changed(self, at: int, seen: e.BatchSeen) -> None:
        row = self.rows.get(self._by_batch.get(seen.batch, 0))
        if row is not None and seen.status == "ended" and not row.seen:
            row.seen = at
            row.ended = _between(row.created, seen.ended_at, at)

    def _close(self, chunk: int, at: int, how: str) -> None:
        row = self.rows[chunk]
        row.closed, row.closed_as = at, how
        _end(row.holds, at)
        _end(row.doubts, at)


def _is_decision(event: e.AnyEvent) -> bool:
    match event:
        case e.SubmissionResolved(by="person") | e.BatchAdopted(by="person") | e.ResultsLost(cause="given_up"):
            return True
        case _:
            return isinstance(event, _DECISIONS)


def _end(spans: list[Span], at: int) -> None:
    """End whatever lasts."""
    for span in spans:
        span.end = span.end or at


def _between(low: int, instant: int, high: int) -> int:
    return max(low, min(instant or high, high))
