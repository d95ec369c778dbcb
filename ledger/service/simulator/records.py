"""What a simulated service remembers: every change of its state is one of these records.

The service is a fold over them, so that one which was killed comes back exactly as it was: whatever was answered is in
a record that was durable before the answer.
"""

from __future__ import annotations

import msgspec

from ledger.service.simulator.envelope import Columns


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """The service came into being.

    Args:
        seed: of its settings; reopening with another is refused.
        started_at: microseconds UTC, the origin of a clock that runs faster than the real one.
    """

    seed: int
    started_at: int


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """What is special about one batch; durations in microseconds.

    Args:
        turnaround: instead of the seeded one.
        never_ends: whether it stays in_progress for ever.
        list_lag: how long after its creation it is not listed.
        expired_share: the share of its requests that is not processed in time.
        deleted_after: when, after its end, somebody deletes it.
        archived_after: when, after its creation, its results become unavailable.
    """

    turnaround: int | None = None
    never_ends: bool = False
    list_lag: int = 0
    expired_share: float = 0.0
    deleted_after: int | None = None
    archived_after: int | None = None


PLAIN = Traits()


class Accepted(msgspec.Struct, frozen=True, tag="accepted"):
    """A batch was accepted, by us or, as far as we know, by a stranger.

    Args:
        ordinal: counted from 0 over all batches of the service.
        batch_id: opaque to clients.
        created_at: microseconds UTC of the server's clock; in the future if the batch materialises late.
        turnaround: microseconds from then to the end.
        columns: its requests.
        traits: what is special about it.
        is_foreign: whether somebody else made it; it is then left out of the bill.
    """

    ordinal: int
    batch_id: str
    created_at: int
    turnaround: int
    columns: Columns
    traits: Traits = PLAIN
    is_foreign: bool = False


class CancelRequested(msgspec.Struct, frozen=True, tag="cancel_requested"):
    """Somebody canceled a batch, at this instant of the server's clock."""

    batch_id: str
    at: int


class Deleted(msgspec.Struct, frozen=True, tag="deleted"):
    """Somebody deleted a batch; its requests stay on the bill."""

    batch_id: str


class Called(msgspec.Struct, frozen=True, tag="called"):
    """An operation was called for the n-th time; kept only where a fault waits for a number."""

    operation: str
    count: int


Record = Opened | Accepted | CancelRequested | Deleted | Called
