"""Until when what: a batch ends within 24 hours or expires, and its results are there for 29 days (batch guide)."""

from __future__ import annotations

from typing import Literal, NamedTuple

from ledger.core.state import RunState
from ledger.core.units import DAY_US, MICROSECONDS_PER_SECOND

RETENTION_US = 29 * DAY_US
"""Results are kept for 29 days from the creation of their batch."""
RETENTION_ALARM_US = 7 * DAY_US
"""How long before that an alarm is raised for results that were not collected."""
EXPIRY_ALARM_US = 4 * 3_600 * MICROSECONDS_PER_SECOND
"""How long before its expiry an alarm is raised for a batch that has not ended: few take longer than an hour."""


class Deadline(NamedTuple):
    """What ends when: a batch ``expires``, or its ``results`` are gone; ``at`` is the service's instant."""

    at: int
    kind: Literal["expires", "results"]
    batch: str
    chunk: int
    requests: int


def deadlines(state: RunState) -> list[Deadline]:
    """Return what a run must not miss, soonest first: open batches, and ended ones that are not collected."""
    found = [
        Deadline(chunk.expires_at, "expires", chunk.batch, chunk.chunk, chunk.requests)
        for chunk in state.chunks_in("submitted")
        if chunk.expires_at
    ]
    found += [
        Deadline(chunk.created_at + RETENTION_US, "results", chunk.batch, chunk.chunk, chunk.requests)
        for chunk in state.chunks_in("ended")
        if chunk.created_at
    ]
    return sorted(found)
