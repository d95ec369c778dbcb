"""How long the service keeps what is not fetched yet: results can be had for 29 days from a batch's creation."""

from __future__ import annotations

from typing import NamedTuple

from ledger.core.deadlines import RETENTION_ALARM_US, RETENTION_US
from ledger.core.state import RunState
from ledger.core.units import DAY_US

DEADLINES_AT_MOST = 12


class Deadline(NamedTuple):
    """A batch whose results are not all stored: until when they can be had, and how much of the time has passed."""

    chunk: int
    batch: str
    requests: int
    until: int
    days_left: float
    percent: float
    is_near: bool


class Retention(NamedTuple):
    """What is still to be fetched, nearest deadline first; and when the service drops its copies of the rest.

    ``copies_from`` and ``copies_until`` are the first and the last such instant; 0 where nothing was stored yet.
    """

    deadlines: list[Deadline]
    more: int
    stored: int
    copies_from: int
    copies_until: int


def retention(state: RunState, now: int) -> Retention:
    """Return the countdown as of an instant of the service's clock, nearly."""
    waiting, copies = [], []
    for chunk in state.chunks.values():
        if not chunk.created_at:
            continue
        until = chunk.created_at + RETENTION_US
        if chunk.status == "collected":
            copies.append(until)
        elif chunk.status in ("submitted", "ended"):
            left = until - now
            passed = min(max(100 * (now - chunk.created_at) / RETENTION_US, 0.0), 100.0)
            waiting.append(
                Deadline(
                    chunk=chunk.chunk,
                    batch=chunk.batch,
                    requests=chunk.requests,
                    until=until,
                    days_left=max(left / DAY_US, 0.0),
                    percent=round(passed, 2),
                    is_near=left < RETENTION_ALARM_US,
                )
            )
    waiting.sort(key=lambda one: one.until)
    return Retention(
        deadlines=waiting[:DEADLINES_AT_MOST],
        more=len(waiting) - len(waiting[:DEADLINES_AT_MOST]),
        stored=len(copies),
        copies_from=min(copies, default=0),
        copies_until=max(copies, default=0),
    )
