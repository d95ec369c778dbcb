"""What was answered before in other ledgers of this user: noted as runs end, and named before money is spent.

A hint and no more: what is taken is decided by the bodies themselves (`ledger.reusing`). Whatever goes wrong with the
index is a sentence for whoever cares, and never keeps a run from anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing

import msgspec

from ledger.core.columns import STATUS_OF_OUTCOME
from ledger.core.errors import LedgerError
from ledger.core.reuse import never_sent, scope_of
from ledger.core.state import RunState
from ledger.store.answerindex import AnswerIndex, Indexed, IndexTroubleError
from ledger.store.sqlite import SqliteLog

COUNTED_AT_ONCE = 20_000
"""Of more requests than that a sample is looked up first, and all of them only when one of it is known."""
_STRETCHES = 64
_STRETCH_REQUESTS = 64  # as many as share a block of the ledger
_NAMED_AT_MOST = 3
_OK = STATUS_OF_OUTCOME["ok"]


class AnsweredBefore(msgspec.Struct, frozen=True, kw_only=True):
    """A ledger, and how many of the requests that are about to be sent have their answer in it."""

    ledger: str
    requests: int


def remember(log: SqliteLog, state: RunState, is_stopped: Callable[[], bool]) -> str:
    """Note which bodies a ledger has answers to; return what went wrong, or nothing.

    About 0.8 s of CPU for 100,000 answers to requests of 2 KB, once, and nothing where there are no new ones.
    """
    if not state.outcomes["ok"]:
        return ""
    columns = state.columns
    status = columns.status
    answered = (o for o in range(len(status)) if status[o] == _OK and not columns.is_redacted(o))
    note = Indexed(state.ledger_id, str(log.path), scope_of(state.origin, state), state.outcomes["ok"], state.at)
    try:
        index = AnswerIndex.of_user()
        if index is not None:
            with closing(index):
                index.remember(note, _bodies(log, answered), is_stopped)
    except (IndexTroubleError, LedgerError) as problem:
        return str(problem)
    return ""


def forget(state: RunState) -> str:
    """Delete what the index has of a ledger; return what went wrong, or nothing."""
    try:
        index = AnswerIndex.of_user()
        if index is not None:
            with closing(index):
                index.forget(state.ledger_id)
    except IndexTroubleError as problem:
        return str(problem)
    return ""


def answered_before(
    log: SqliteLog, state: RunState, origin: str, but: Iterable[str]
) -> tuple[tuple[AnsweredBefore, ...], str]:
    """Return the ledgers that have answers to what was never sent, most first, and what went wrong, or nothing.

    Args:
        log: the ledger that is about to send.
        state: its state.
        origin: the service it is going to ask.
        but: ids and paths of ledgers that do not count.
    """
    scope, excluded = scope_of(origin, state), tuple(but)
    try:
        index = AnswerIndex.of_user()
        if index is None:
            return (), ""
        with closing(index):
            if not index.knows_others(scope, excluded):
                return (), ""
            waiting = sum(queue.size for queue in state.fresh.values())
            if waiting > COUNTED_AT_ONCE and not index.who_knows(
                scope, excluded, _bodies(log, _sample(state, waiting))
            ):
                return (), ""
            known = index.who_knows(scope, excluded, _bodies(log, never_sent(state)))
    except (IndexTroubleError, LedgerError) as problem:
        return (), str(problem)
    return tuple(AnsweredBefore(ledger=one.path, requests=one.requests) for one in known[:_NAMED_AT_MOST]), ""


def _bodies(log: SqliteLog, ordinals: Iterable[int]) -> Iterable[bytes]:
    return (payload.params for payload in log.request_payloads(ordinals))


def _sample(state: RunState, waiting: int) -> Iterable[int]:
    """Return stretches of requests from all over the input: a stretch lies in one or two blocks."""
    every = waiting // _STRETCHES
    return (ordinal for number, ordinal in enumerate(never_sent(state)) if number % every < _STRETCH_REQUESTS)
