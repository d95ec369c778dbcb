"""A state from a log: the newest memo that fits, and the events after it."""

from __future__ import annotations

from ledger.core import events as e
from ledger.core import snapshot
from ledger.core.state import RunState, fold
from ledger.ports import EventLog


def load_state(log: EventLog, upto: int | None = None) -> RunState:
    """Return the state at the end of a log, or at position ``upto``.

    Raises:
        IllegalEventError: the log holds an event that the state before it does not allow.
        NotALedgerError: the log holds an event that this version does not know.
    """
    state = _from_memo(log, upto)
    after = state.position if state is not None else 0
    rows = log.read(after, upto)
    return fold(((row.position, row.at, e.decode(row.type_name, row.data)) for row in rows), state)


def save_state(log: EventLog, state: RunState) -> None:
    """Keep a memo of a state that is at the head of its log."""
    if state.position == log.head.position:
        log.save_snapshot(state.position, log.head.hash + snapshot.dump(state))


def _from_memo(log: EventLog, upto: int | None) -> RunState | None:
    memo = log.load_snapshot()
    if memo is None or (upto is not None and memo[0] > upto):
        return None
    position, data = memo
    row = next(iter(log.read(position - 1, position)), None)
    if row is None or row.hash != data[:32]:  # of another history than this log's: a memo is never believed over it
        return None
    state = snapshot.load(data[32:])
    return state if state is not None and state.position == position else None
