"""Answers that another ledger has paid for, taken for requests that ask the very same: what is pure about it.

A request is the same when its body is, byte for byte, and when it goes to the same service with the same beta headers.
Asked twice, a model answers twice, and differently; so nothing is ever taken unless a person names the ledger
(``--reuse``). Only answers that are ``ok`` are taken: who asks again for a truncated or refused one wants another.

Each ledger that is named is a *reuse*, numbered from 1: ``reuse_opened`` says which ledger, and how far it had got;
``answer_reused`` is one answer; ``reuse_closed`` says that there was no more to take. While it is open, whoever resumes
goes on with it before anything is paid for. What is taken lies beside the results of chunks, under a number that no
chunk can have (`place_of`), as the row that the service once sent: its wire id proves which batch of which ledger it
was in.
"""

from __future__ import annotations

from collections.abc import Iterator

from ledger.core.errors import UsageError
from ledger.core.state import REUSED_FROM, Reuse, RunState

REUSED = "reused"
"""What stands for the batch, the day and the cause of answers that were not asked for."""


def place_of(reuse: int) -> int:
    """Return the number under which the rows of a reuse are stored, where chunks have theirs."""
    return REUSED_FROM + reuse


def reuse_of(state: RunState, ordinal: int) -> Reuse | None:
    """Return from where a request has its answer, or None where it was asked, or has none."""
    place = state.columns.chunk[ordinal]
    return state.reuses[place - REUSED_FROM] if place > REUSED_FROM else None


def reused_count(state: RunState) -> int:
    """Return how many requests have the answer of another ledger."""
    return sum(state.reused.values())


def open_reuses(state: RunState) -> list[Reuse]:
    """Return what was begun to be taken and not ended, oldest first."""
    return [reuse for reuse in state.reuses.values() if reuse.status == "open"]


def never_sent(state: RunState, after: int = -1) -> Iterator[int]:
    """Yield the requests that wait and were never sent, beyond an ordinal, ascending over all lanes."""
    ranges = sorted(pair for queue in state.fresh.values() for pair in queue)
    for start, end in ranges:
        yield from range(max(start, after + 1), end)


def scope_of(origin: str, state: RunState) -> str:
    """Return what must be equal, beside the body, for two requests to ask the same: service and beta headers."""
    return "\n".join([origin, *sorted(state.defaults.betas)])


def require_usable(own: RunState, other: RunState, path: str) -> None:
    """Refuse a ledger whose answers are no answers to what this one asks.

    Args:
        own: the run that is to have them.
        other: the run that has them.
        path: of the other ledger.

    Raises:
        UsageError: it is the same ledger, of another service, or asked with other beta headers.
    """
    if other.ledger_id == own.ledger_id:
        raise UsageError(
            "a ledger cannot take answers from itself",
            where=path,
            why="it is this ledger, or a copy of it",
            next="leave --reuse out: what is answered here is never asked again",
        )
    if other.origin != own.origin:
        raise UsageError(
            f"its answers are of {other.origin}, this ledger belongs to {own.origin}",
            where=path,
            why="what one service answered is no answer of another",
            next="name a ledger of the same service, or leave --reuse out",
        )
    if sorted(other.defaults.betas) != sorted(own.defaults.betas):
        theirs, ours = (", ".join(sorted(betas)) or "none" for betas in (other.defaults.betas, own.defaults.betas))
        raise UsageError(
            "its requests were sent with other beta headers",
            where=path,
            why=f"there: {theirs}; here: {ours}; the same body may mean something else",
            next="leave --reuse out, or use the same --beta in another ledger",
        )
