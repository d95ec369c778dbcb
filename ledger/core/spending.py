"""From the state to the groups that a cost report sums: who was asked, in which batch, on which day, and for what.

A batch's day is the UTC date on which the service says it ended. A twin (a second batch of one chunk) is money without
an answer: what its rows prove it used enters as waste of the cause ``twin``. Its rows were weighed as one sum, so it
has a price only where all requests of the chunk went to one model whose price has no steps; else its price is unknown,
and so is every total with it, rather than wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ledger.core.columns import ordinals
from ledger.core.costs import CostGroup, waste_cause
from ledger.core.events import TwinFound
from ledger.core.models import find_model
from ledger.core.prices import TIER_BATCH, Usage, steps_of_model
from ledger.core.reuse import REUSED
from ledger.core.state import Chunk, RunState
from ledger.core.units import format_instant

TWIN = "twin"
MIXED = "several models"
"""What stands for the model of a twin whose requests went to more than one: no price table knows it."""
DAY_UNKNOWN = "unknown"
STEP_UNKNOWN = "unknown"


def cost_groups(state: RunState, twins: Iterable[TwinFound] | None = None) -> Iterator[CostGroup]:
    """Yield everything that was used, in groups that are priced and reported alike.

    Args:
        state: the run.
        twins: the twins to count; those of the state by default.
    """
    accepted = state.policy.accept
    for spent in state.spending():
        chunk = state.chunks[spent.chunk]
        yield CostGroup(
            model=spent.model,
            attempt=spent.attempt,
            batch=chunk.batch,
            day=_day_of(chunk),
            tier=spent.tier,
            geo=spent.geo,
            step=spent.step,
            billed=spent.billed,
            cause=waste_cause(spent.outcome, accepted) if spent.billed else "",
            requests=spent.requests,
            usage=spent.usage,
            lane=chunk.priority,
        )
    for class_id, requests in state.reused.items():
        if requests:  # else all of them were opened again
            yield _reused_group(state, class_id, requests)
    for twin in (*state.twins.values(), *state.acknowledged.values()) if twins is None else twins:
        if twin.usage is not None:
            yield _twin_group(state, twin)


def _reused_group(state: RunState, class_id: int, requests: int) -> CostGroup:
    """Return the answers that were taken from other ledgers, which cost nothing."""
    one = state.classes[class_id]
    known = find_model(one.model)
    return CostGroup(
        model=one.model if known is None else known.resolved,
        attempt=0,
        batch=REUSED,
        day=REUSED,
        tier=TIER_BATCH,
        geo=one.geo,
        step="",
        billed=False,
        cause=REUSED,
        requests=requests,
        usage=Usage(),
        lane=one.priority,
    )


def _day_of(chunk: Chunk) -> str:
    at = chunk.ended_at or chunk.created_at
    return format_instant(at)[:10] if at else DAY_UNKNOWN


def _twin_group(state: RunState, twin: TwinFound) -> CostGroup:
    assert twin.usage is not None
    columns, chunk = state.columns, state.chunks[twin.chunk]
    members = list(ordinals(chunk.ranges))
    classes = [state.classes[class_id] for class_id in {columns.class_id[ordinal] for ordinal in members}]
    models = {one.model for one in classes}
    geos = {one.geo for one in classes}
    model = models.pop() if len(models) == 1 and len(geos) == 1 else MIXED
    has_steps = state.prices is not None and len(steps_of_model(state.prices, model)) > 1
    return CostGroup(
        model=model,
        attempt=max(columns.attempts[members[0]], 1),
        batch=twin.batch,
        day=_day_of(chunk),
        tier=TIER_BATCH,
        geo=min(geos),
        step=STEP_UNKNOWN if has_steps else "",
        billed=True,
        cause=TWIN,
        requests=twin.requests,
        usage=twin.usage,
        lane=chunk.priority,
    )
