"""What an event means to whoever watches, in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ledger.core import events as e
from ledger.core.state import RunState

from .screens.tables import counted


class News(NamedTuple):
    """A sentence; ``urgent`` is said even where only what needs a person is said."""

    text: str
    urgent: bool = False


def news_of(event: e.AnyEvent, state: RunState) -> Iterator[News]:
    """Yield what there is to say about an event; nothing for most."""
    tell = _TELLERS.get(type(event))
    if tell is not None:
        yield from tell(event, state)


def _intake(event: e.IntakeCompleted, _: RunState) -> Iterator[News]:
    said = [f"{counted(event.lines, 'line')} read", counted(event.built, "request")]
    if event.deduplicated:
        said.append(counted(event.deduplicated, "repetition"))
    if event.rejected:
        said.append(f"{counted(event.rejected, 'line')} skipped")
    yield News(", ".join(said))


def _reuse(event: e.ReuseOpened, _: RunState) -> Iterator[News]:
    yield News(f"taking answers from {event.path}, as it stands at position {event.position:,}")


def _reused(event: e.ReuseClosed, state: RunState) -> Iterator[News]:
    end = "; what was left of them is given up" if event.abandoned else ""
    left = counted(state.pending, "request")
    yield News(f"{counted(event.taken, 'answer')} taken from {state.reuses[event.reuse].path}{end}; {left} to be asked")


def _created(event: e.BatchCreated, _: RunState) -> Iterator[News]:
    yield News(f"batch {event.batch} created: chunk {event.chunk}, {counted(event.total, 'request')}")


def _polled(event: e.StatusPolled, state: RunState) -> Iterator[News]:
    for seen in event.changes:
        if seen.batch not in state.batches:
            continue
        counts = seen.counts
        named = [
            f"{number:,} {kind}"
            for kind in ("succeeded", "errored", "canceled", "expired")
            if counts is not None and (number := getattr(counts, kind))
        ]
        yield News(f"batch {seen.batch} {seen.status}{': ' if named else ''}{', '.join(named)}")


def _collected(event: e.BatchCollected, state: RunState) -> Iterator[News]:
    done = state.asked - state.unfinished
    yield News(
        f"batch {event.batch} collected: {counted(event.rows, 'row')}; {done:,} of {state.asked:,} items are done"
    )
    if event.missing:
        yield News(f"batch {event.batch}: {counted(len(event.missing), 'row')} never came", urgent=True)


def _refused(event: e.SubmissionRefused, _: RunState) -> Iterator[News]:
    said = event.message or event.kind
    yield News(f"chunk {event.chunk} was refused with {event.status}{': ' if said else ''}{said}")


def _uncertain(event: e.SubmissionUncertain, _: RunState) -> Iterator[News]:
    yield News(f"no answer came for chunk {event.chunk} ({event.cause}): looking for it before anything is repeated")


def _resolved(event: e.SubmissionResolved, _: RunState) -> Iterator[News]:
    yield News(f"chunk {event.chunk} was not accepted ({event.evidence or event.by}); it is sent again")


def _adopted(event: e.BatchAdopted, _: RunState) -> Iterator[News]:
    yield News(f"batch {event.batch} is chunk {event.chunk}, found by {event.by}")


def _disowned(event: e.BatchDisowned, _: RunState) -> Iterator[News]:
    yield News(f"batch {event.batch} is not chunk {event.chunk}: {event.why}")


def _twin(event: e.TwinFound, _: RunState) -> Iterator[News]:
    yield News(
        f"chunk {event.chunk} has a second batch, {event.batch}: "
        f"ledger resolve {event.chunk} --cancel {event.batch} (or --acknowledge)",
        urgent=True,
    )


def _held(event: e.ChunkHeld, _: RunState) -> Iterator[News]:
    yield News(f"chunk {event.chunk} is held: {event.detail or event.reason}; next: {event.lift}", urgent=True)


def _paused(event: e.RunPaused, _: RunState) -> Iterator[News]:
    yield News(f"paused: {event.detail or event.reason}; next: {event.lift}", urgent=True)


def _resumed(event: e.RunResumed, _: RunState) -> Iterator[News]:
    yield News(f"no longer paused by {event.reason}")


def _lost(event: e.ResultsLost, _: RunState) -> Iterator[News]:
    yield News(f"the results of batch {event.batch} are {event.cause} at the service: what is not here is lost", True)


def _short(event: e.ResultsShort, _: RunState) -> Iterator[News]:
    yield News(f"batch {event.batch}: {counted(event.missing, 'row')} did not come; downloading again")


def _alarm(event: e.AlarmRaised, _: RunState) -> Iterator[News]:
    yield News(event.detail, urgent=True)


def _finding(event: e.FindingRecorded, _: RunState) -> Iterator[News]:
    yield News(f"finding: {event.detail}", urgent=True)


def _canceling(event: e.CancelAccepted, _: RunState) -> Iterator[News]:
    yield News(f"batch {event.batch} is being canceled: it is {event.status}")


def _rejected(event: e.RequestRejected, _: RunState) -> Iterator[News]:
    yield News(f"the service refused one request of chunk {event.chunk}: {event.why}; the others are sent without it")


def _dissolved(event: e.ChunkDissolved, _: RunState) -> Iterator[News]:
    yield News(f"chunk {event.chunk} is cut anew: {event.cause}")


def _recovered(event: e.LedgerRecovered, _: RunState) -> Iterator[News]:
    yield News(f"recovered ({event.cause}): {counted(len(event.adopted), 'forgotten batch')} claimed")


_TELLERS: dict[type[e.AnyEvent], Callable[[Any, RunState], Iterator[News]]] = {
    e.IntakeCompleted: _intake,
    e.ReuseOpened: _reuse,
    e.ReuseClosed: _reused,
    e.BatchCreated: _created,
    e.StatusPolled: _polled,
    e.BatchCollected: _collected,
    e.SubmissionRefused: _refused,
    e.SubmissionUncertain: _uncertain,
    e.SubmissionResolved: _resolved,
    e.BatchAdopted: _adopted,
    e.BatchDisowned: _disowned,
    e.TwinFound: _twin,
    e.ChunkHeld: _held,
    e.RunPaused: _paused,
    e.RunResumed: _resumed,
    e.ResultsLost: _lost,
    e.ResultsShort: _short,
    e.AlarmRaised: _alarm,
    e.FindingRecorded: _finding,
    e.CancelAccepted: _canceling,
    e.RequestRejected: _rejected,
    e.ChunkDissolved: _dissolved,
    e.LedgerRecovered: _recovered,
}
