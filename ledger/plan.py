"""How a run's requests would be cut into batches: the same cutting as in a run, without sending anything."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.core.chunks import MAX_BYTES, MAX_REQUESTS, Cut, cut
from ledger.core.columns import OrdinalQueue
from ledger.core.state import RunState


def plan(state: RunState) -> Iterator[Cut]:
    """Yield the chunks of all pending requests, in the order in which they would be sealed."""
    limit = min(state.policy.chunk_requests, MAX_REQUESTS, state.policy.queue_requests)
    for priority in sorted(state.fresh, reverse=True):
        queue = OrdinalQueue(state.fresh[priority].dump())
        while queue.size:
            taken = cut(state.columns, queue, limit, min(state.policy.chunk_bytes, MAX_BYTES), frozenset())
            queue.take(taken.ranges)
            yield taken
