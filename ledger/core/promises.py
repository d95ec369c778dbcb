"""The witness of the guarantees: reads the log's events and believes nothing but them.

``evolve`` refuses what its transition table does not know, while a run is going on. This is the second opinion, after
the fact, in other words than the table's: whether each chunk had at most one accepted batch (guarantee 1), whether
nothing was accepted ahead of the event that announced it (guarantee 2), and whether what was collected is what was
submitted and what the service counted (guarantee 3).

What a run recorded about the service (``finding_recorded``: rows that are corrupt, foreign, duplicate or missing,
counts that lie) is passed on as notes. None of them breaks a guarantee by itself: they are what the run met and coped
with, and whether it did is judged here by its consequences.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ledger.core import events as e
from ledger.core.findings import Finding, breach, note
from ledger.core.state import SERVICE_TYPE, RunState

COUNTS_ACCEPTED = "counts_accepted"
"""The finding by which a person took the stored rows for complete although the service had counted otherwise."""


class Promises:
    """Is told of every event in order; says what breaks a promise.

    Attributes:
        weighed_twins: the twins whose rows proved what they cost, acknowledged or not.
    """

    def __init__(self) -> None:
        self.weighed_twins: dict[str, e.TwinFound] = {}
        self._sealed: dict[int, int] = {}
        self._released: set[tuple[int, int]] = set()
        self._live: dict[int, list[str]] = {}
        self._chunk_of: dict[str, int] = {}
        self._twins: dict[str, tuple[int, e.TwinFound]] = {}
        self._dealt_with: set[str] = set()
        self._tallies: dict[int, dict[str, int]] = {}
        self._accepted: set[int] = set()

    def told(self, position: int, event: e.AnyEvent, state: RunState) -> Iterable[Finding]:
        """Return what an event breaks; ``state`` is the state after it."""
        if isinstance(event, e.ResultStored):  # these come by the million
            tally = self._tallies.setdefault(event.chunk, {})
            kind = SERVICE_TYPE[event.outcome]
            tally[kind] = tally.get(kind, 0) + 1
            return ()
        if isinstance(event, e.RequestBuilt):
            return ()
        return self._judge(position, event, state)

    def ended(self) -> Iterable[Finding]:
        """Return what is broken at the end of the log."""
        for batch, (position, twin) in self._twins.items():
            where = f"chunk {twin.chunk}, batch {batch}"
            way_out = f"(ledger resolve {twin.chunk} --acknowledge, or --cancel {batch})"
            if twin.proven:
                what = "guarantee 1: a second batch of this chunk exists and nobody has acknowledged it"
                yield breach(position, f"{what} {way_out}", where)
            else:  # a stranger's batch of the same size looks the same until its rows are read
                what = "a batch that may be a second one of this chunk: ledger resume reads its rows once it has ended"
                yield note(position, f"{what} {way_out}", where)

    def _judge(self, position: int, event: e.AnyEvent, state: RunState) -> Iterator[Finding]:
        match event:
            case e.ChunkSealed():
                self._sealed[event.chunk] = event.requests
            case e.SubmissionPrepared() if self._live.get(event.chunk):
                yield breach(
                    position,
                    f"guarantee 1: a submission was prepared while batch {self._live[event.chunk][-1]} was accepted",
                    f"chunk {event.chunk}",
                )
            case e.SubmissionReleased():
                self._released.add((event.chunk, event.submission))
            case e.BatchCreated():
                yield from self._announced(position, event)
                yield from self._claim(position, event)
            case e.BatchAdopted():
                if event.by == "reconcile":  # a person and the recovery know of submissions that the log lost
                    yield from self._announced(position, event)
                yield from self._claim(position, event)
            case e.BatchDisowned():
                self._live[event.chunk] = [one for one in self._live.get(event.chunk, []) if one != event.batch]
                self._chunk_of.pop(event.batch, None)
            case e.TwinFound():
                if event.batch not in self._dealt_with:
                    first = self._twins.get(event.batch, (position, event))[0]
                    self._twins[event.batch] = (first, event)
                if event.usage is not None:
                    self.weighed_twins[event.batch] = event
            case e.TwinAcknowledged():
                yield from self._acknowledged(position, event)
            case e.FindingRecorded():
                if event.finding == COUNTS_ACCEPTED:
                    self._accepted.add(event.chunk)
                yield note(position, f"recorded by the run: {event.finding}: {event.detail}", _place(event))
            case e.BatchCollected():
                yield from self._collected(position, event)
            case e.RunFinished():
                counted = {outcome: count for outcome, count in state.outcomes.items() if count}
                if event.outcomes != counted:
                    yield breach(
                        position, f"guarantee 3: the run says it ended with {event.outcomes}, its events with {counted}"
                    )
            case _:
                pass

    def _announced(self, position: int, event: e.BatchCreated | e.BatchAdopted) -> Iterator[Finding]:
        if (event.chunk, event.submission) not in self._released:
            yield breach(
                position,
                f"guarantee 2: batch {event.batch} was accepted, but submission {event.submission} was never released",
                f"chunk {event.chunk}",
            )

    def _claim(self, position: int, event: e.BatchCreated | e.BatchAdopted) -> Iterator[Finding]:
        self._twins.pop(event.batch, None)
        self.weighed_twins.pop(event.batch, None)  # from now on its rows are counted one by one
        other = self._chunk_of.setdefault(event.batch, event.chunk)
        if other != event.chunk:
            yield breach(position, f"batch {event.batch} is that of chunk {other} already", f"chunk {event.chunk}")
        live = self._live.setdefault(event.chunk, [])
        live.append(event.batch)
        if len(live) > 1:
            yield breach(
                position, f"guarantee 1: the chunk has {len(live)} batches: {', '.join(live)}", f"chunk {event.chunk}"
            )

    def _acknowledged(self, position: int, event: e.TwinAcknowledged) -> Iterator[Finding]:
        self._dealt_with.add(event.batch)
        _, twin = self._twins.pop(event.batch, (0, None))
        if twin is not None and twin.proven:
            yield note(
                position,
                "a second batch of this chunk was acknowledged; what its rows used counts as waste",
                f"chunk {event.chunk}, batch {event.batch}",
            )

    def _collected(self, position: int, event: e.BatchCollected) -> Iterator[Finding]:
        where = f"chunk {event.chunk}, batch {event.batch}"
        sealed, tally = self._sealed.get(event.chunk, 0), self._tallies.pop(event.chunk, {})
        rows, missing, counts = sum(tally.values()), len(event.missing), event.counts
        if rows != event.rows or rows + missing != sealed:
            yield breach(
                position,
                f"guarantee 3: {sealed} requests were submitted, but {rows} rows are stored, "
                f"{event.rows} were said to be, and {missing} are missing",
                where,
            )
        counted = {
            "succeeded": counts.succeeded,
            "errored": counts.errored,
            "canceled": counts.canceled,
            "expired": counts.expired,
        }
        counted = {kind: count for kind, count in counted.items() if count}
        if missing:
            if counts.total != sealed:
                yield note(position, f"the service counted {counts.total} of {sealed} requests", where)
        elif tally != counted and event.chunk not in self._accepted:
            yield breach(position, f"guarantee 3: the rows say {tally}, the service counted {counted}", where)


def _place(event: e.FindingRecorded) -> str:
    parts = [f"chunk {event.chunk}"] if event.chunk else []
    parts += [f"batch {event.batch}"] if event.batch else []
    parts += [f"request {event.ordinal}"] if event.ordinal >= 0 else []
    return ", ".join(parts)
