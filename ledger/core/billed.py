"""What was billed, result by result, off the log: for what sums cannot tell, as which items were dear."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ledger.core.events import ResultStored, decode
from ledger.core.prices import TIER_BATCH, Usage
from ledger.core.state import RunState

RESULT_STORED = "result_stored"


class Billed(NamedTuple):
    """One result that was billed; ``final`` is whether it ended its item."""

    ordinal: int
    outcome: str
    model: str
    geo: str
    is_batch: bool
    final: bool
    usage: Usage


def billed_results(rows: Iterable[tuple[str, str]], state: RunState) -> Iterator[Billed]:
    """Yield every billed result of a log in its order; second batches of a chunk (twins) have none in it.

    Args:
        rows: type and data of the events.
        state: the state at the end of them.
    """
    classes, class_ids = state.classes, state.columns.class_id
    for type_name, data in rows:
        if type_name != RESULT_STORED:
            continue
        event = decode(type_name, data)
        assert isinstance(event, ResultStored)
        if event.billed and event.usage is not None:
            model = event.model or classes[class_ids[event.ordinal]].model
            is_batch = event.tier in (TIER_BATCH, "")
            yield Billed(event.ordinal, event.outcome, model, event.geo, is_batch, event.final, event.usage)
