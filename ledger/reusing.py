"""Taking answers from another ledger (``--reuse``): which ledgers, and storing what fits.

The other ledger is read as of the position that ``reuse_opened`` names, so that a process may be writing it. What is
taken is appended in groups, in the order of the own requests; whoever is killed goes on behind the last one, and what
one process would have taken another one takes, too.

Memory: 16 bytes for each request of the other ledger, beside its state, and one group of answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import tee
from pathlib import Path

from ledger.core import events as e
from ledger.core.errors import CorruptLogError, PausedError, UsageError
from ledger.core.reuse import never_sent, open_reuses, place_of, require_usable
from ledger.core.state import Reuse, RunState
from ledger.loading import load_state
from ledger.otherledger import Asked, Found, OtherLedger
from ledger.ports import ResultPayload
from ledger.runner import Writer
from ledger.store.bodyindex import BodyIndex, body_key
from ledger.store.payloads import digest, new_salts, result_blocks
from ledger.store.sqlite import SqliteLog

GROUP_ITEMS = 256
GROUP_BYTES = 4_000_000
ANSWERS_A_COMMIT = 1000
ANSWER_BYTES_A_COMMIT = 4_000_000


# ── which ledgers ───────────────────────────────────────────────────────────────────────────────────────────────


def opened(state: RunState, paths: Sequence[str | Path]) -> list[e.AnyEvent]:
    """Return the events by which a person names other ledgers; one that is open already is not opened twice.

    Raises:
        UsageError: a ledger is not there, or its answers are none to what this one asks.
        LedgerError: it cannot be read.
    """
    events: list[e.AnyEvent] = []
    known = {reuse.ledger_id for reuse in open_reuses(state)}
    for path in paths:
        with _reader(Path(path)) as log:
            position = log.head.position
            other = load_state(log, position)
            require_usable(state, other, str(path))
            if other.ledger_id in known:
                continue
            known.add(other.ledger_id)
            events.append(
                e.ReuseOpened(
                    reuse=len(state.reuses) + len(events) + 1,
                    path=str(log.path),
                    ledger_id=other.ledger_id,
                    position=position,
                    hash=_hash_at(log, position).hex(),
                )
            )
    return events


def forgotten(state: RunState) -> list[e.AnyEvent]:
    """Return the events that give up what was not taken yet.

    Raises:
        UsageError: there is nothing to give up.
    """
    left = open_reuses(state)
    if not left:
        raise UsageError("there is no other ledger whose answers are being taken", next="leave --forget-reuse out")
    return [e.ReuseClosed(reuse=reuse.reuse, taken=reuse.taken, abandoned=True) for reuse in left]


@contextmanager
def _reader(path: Path) -> Iterator[SqliteLog]:
    try:
        log = SqliteLog.open_reader(path)
    except UsageError as problem:
        raise UsageError(
            f"there is no ledger {path} to take answers from", next="--reuse LEDGER names a ledger that is there"
        ) from problem
    with log:
        yield log


def _hash_at(log: SqliteLog, position: int) -> bytes:
    row = next(iter(log.read(position - 1, position)), None)
    if row is None:
        raise UsageError(
            "the ledger is empty", where=str(log.path), next="--reuse LEDGER names a ledger that has answers"
        )
    return row.hash


# ── taking ──────────────────────────────────────────────────────────────────────────────────────────────────────


def take_all(writer: Writer, path: Path, is_stopped: Callable[[], bool]) -> None:
    """Take what the open reuses have for the requests that were never sent, and close them.

    Args:
        writer: the log that gets the answers.
        path: of that log.
        is_stopped: whether to end soon.

    Raises:
        PausedError: it was to stop; whoever resumes goes on.
        CorruptLogError: something in the other ledger is not what was written; nothing more is taken from it.
        UsageError: the other ledger is not there any more.
    """
    for reuse in open_reuses(writer.state):
        if next(never_sent(writer.state, reuse.last), None) is not None:
            try:
                with _reader(Path(reuse.path)) as log:
                    _take(writer, reuse, OtherLedger(log, reuse), is_stopped)
            except (UsageError, CorruptLogError) as problem:
                raise type(problem)(
                    problem.what,
                    where=problem.where,
                    why=problem.why,
                    next=f"bring {reuse.path} back as it was, and: ledger resume {path}; "
                    f"or pay for the rest: ledger resume {path} --forget-reuse",
                ) from problem
        if is_stopped():
            raise PausedError(
                "stopped while answers were taken from another ledger; nothing was sent", next=f"ledger resume {path}"
            )
        writer.append([e.ReuseClosed(reuse=reuse.reuse, taken=writer.state.reuses[reuse.reuse].taken)])


def _take(writer: Writer, reuse: Reuse, other: OtherLedger, is_stopped: Callable[[], bool]) -> None:
    gathered: list[Found] = []
    with closing(BodyIndex()) as index:
        other.add_bodies(index)
        for group in _groups(_waiting(writer, reuse.last)):
            keys = [body_key(asked.params) for asked in group]
            found = index.find(keys)
            gathered += other.answers(
                [(asked, found[key]) for asked, key in zip(group, keys, strict=True) if key in found]
            )
            if len(gathered) >= ANSWERS_A_COMMIT or sum(len(one.row) for one in gathered) >= ANSWER_BYTES_A_COMMIT:
                _store(writer, reuse, gathered)
                gathered = []
            if is_stopped():
                break
    _store(writer, reuse, gathered)


def _waiting(writer: Writer, after: int) -> Iterator[Asked]:
    ordinals, again = tee(never_sent(writer.state, after))
    return map(Asked, ordinals, (payload.params for payload in writer.log.request_payloads(again)))


def _groups(waiting: Iterator[Asked]) -> Iterator[list[Asked]]:
    """Yield runs of requests that are looked for together: few enough that their answers fit into memory."""
    group: list[Asked] = []
    size = 0
    for asked in waiting:
        group.append(asked)
        size += len(asked.params)
        if len(group) == GROUP_ITEMS or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _store(writer: Writer, reuse: Reuse, gathered: Sequence[Found]) -> None:
    events: list[e.AnyEvent] = []
    payloads: list[ResultPayload] = []
    for found, salt in zip(gathered, new_salts(len(gathered)), strict=True):
        events.append(
            e.AnswerReused(
                ordinal=found.asked.ordinal,
                reuse=reuse.reuse,
                digest=digest(salt, found.row),
                position=found.position,
                chunk=found.chunk,
                submission=found.submission,
                source_ordinal=found.ordinal,
                ledger_id="" if found.ledger_id == reuse.ledger_id else found.ledger_id,
            )
        )
        payloads.append(ResultPayload(found.asked.ordinal, salt, found.row))
    writer.append(events, results=list(result_blocks(place_of(reuse.reuse), payloads)))
