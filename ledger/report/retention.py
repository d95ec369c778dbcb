"""Until when what: open batches that expire, results that can be had for 29 days, and copies that the service drops."""

from __future__ import annotations

from typing import NamedTuple

from ledger.core.deadlines import EXPIRY_ALARM_US, RETENTION_ALARM_US, RETENTION_US, deadlines
from ledger.core.state import RunState
from ledger.core.units import DAY_US

SHOWN_AT_MOST = 12


class Countdown(NamedTuple):
    """A batch that must end, or be collected, until an instant of the service: how much of the time has passed."""

    chunk: int
    batch: str
    requests: int
    what: str
    until: int
    days_left: float
    percent: float
    is_near: bool


class Retention(NamedTuple):
    """What is still to come in time, nearest first; and when the service drops its copies of the rest.

    ``copies_from`` and ``copies_until`` are the first and the last such instant; 0 where nothing was stored yet.
    """

    countdowns: list[Countdown]
    more: int
    stored: int
    copies_from: int
    copies_until: int


def retention(state: RunState, now: int) -> Retention:
    """Return the countdown as of an instant of the service's clock, nearly."""
    waiting = deadlines(state)
    copies = [chunk.created_at + RETENTION_US for chunk in state.chunks_in("collected") if chunk.created_at]
    return Retention(
        countdowns=[
            _countdown(one.chunk, one.batch, one.requests, one.kind, one.at, now) for one in waiting[:SHOWN_AT_MOST]
        ],
        more=max(len(waiting) - SHOWN_AT_MOST, 0),
        stored=len(copies),
        copies_from=min(copies, default=0),
        copies_until=max(copies, default=0),
    )


def _countdown(chunk: int, batch: str, requests: int, kind: str, until: int, now: int) -> Countdown:
    whole, near = (DAY_US, EXPIRY_ALARM_US) if kind == "expires" else (RETENTION_US, RETENTION_ALARM_US)
    left = max(until - now, 0)
    return Countdown(
        chunk=chunk,
        batch=batch,
        requests=requests,
        what="the batch expires" if kind == "expires" else "results are gone",
        until=until,
        days_left=left / DAY_US,
        percent=round(100 - min(100 * left / whole, 100), 2),
        is_near=left < near,
    )
