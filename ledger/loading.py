"""A state from a log: the newest memo that fits, and the events after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ledger.core import events as e
from ledger.core import snapshot, zstd
from ledger.core.errors import CorruptLogError
from ledger.core.evolve import fold
from ledger.core.state import RunState
from ledger.ports import EventLog, Recorded
from ledger.store.chain import CHAIN_VERSION, GENESIS, link


def load_state(log: EventLog, upto: int | None = None, *, proven: bool = False) -> RunState:
    """Return the state at the end of a log, or at position ``upto``.

    Args:
        log: the log.
        upto: a position; the end when None.
        proven: check the hash of every event that is folded. Whoever submits must know that none was changed: one bad
            byte could make a chunk look unsent. Whoever only reads may want what is left of a damaged log; the audit
            names the damage.

    Raises:
        CorruptLogError: an event is not what was written.
        IllegalEventError: the log holds an event that the state before it does not allow.
        NotALedgerError: the log holds an event that this version does not know.
    """
    state = _from_memo(log, upto)
    after = state.position if state is not None else 0
    rows: Iterable[Recorded] = log.read(after, upto)
    if proven:
        rows = proven_rows(log, after, log.head.position if upto is None else upto, rows)
    return fold(((row.position, row.at, e.decode(row.type_name, row.data)) for row in rows), state)


def proven_rows(log: EventLog, after: int, upto: int, rows: Iterable[Recorded]) -> Iterator[Recorded]:
    """Yield the rows up to a position as long as each follows from the one before it, and all are there.

    Raises:
        CorruptLogError: one does not, or is missing.
    """
    before = next(iter(log.read(after - 1, after)), None) if after else None
    prev = before.hash if before is not None else GENESIS
    ledger_id = log.ledger_id
    position = after
    for position, row in enumerate(rows, after + 1):
        follows = link(CHAIN_VERSION, ledger_id, position, prev, row.at, row.type_name, row.data.encode()) == row.hash
        if row.position != position or not follows:
            raise _changed(position)
        prev = row.hash
        yield row
    if position != upto:  # a damaged page may hide what follows it
        raise _changed(position + 1)


def _changed(position: int) -> CorruptLogError:
    return CorruptLogError(
        "the event is not the one that was written, or one is missing",
        where=f"position {position}",
        next="ledger replay --audit",
    )


def save_state(log: EventLog, state: RunState) -> None:
    """Keep a memo of a state that is at the head of its log."""
    if state.position == log.head.position:
        # Of a million requests 1 MB instead of 12: the disk is spared more than compressing costs.
        log.save_snapshot(state.position, log.head.hash + zstd.compress(snapshot.dump(state), level=1))


def unpacked_memo(log: EventLog) -> tuple[int, bytes] | None:
    """Return the newest memo as it was before it was compressed: its position, and a hash followed by a dumped state.

    One that was never compressed, by an earlier version, or cannot be unpacked any more, is returned as it lies there.
    """
    memo = log.load_snapshot()
    if memo is None:
        return None
    try:
        return memo[0], memo[1][:32] + zstd.decompress(memo[1][32:])
    except zstd.ZstdError:
        return memo


def _from_memo(log: EventLog, upto: int | None) -> RunState | None:
    memo = log.load_snapshot()
    if memo is None or (upto is not None and memo[0] > upto):
        return None
    position, data = memo
    row = next(iter(log.read(position - 1, position)), None)
    if row is None or row.hash != data[:32]:  # of another history than this log's: a memo is never believed over it
        return None
    try:
        state = snapshot.load(zstd.decompress(data[32:]))
    except zstd.ZstdError:
        return None  # of a version that did not compress them
    return state if state is not None and state.position == position else None
