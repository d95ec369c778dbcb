"""What was billed, result by result, off the log: for what sums cannot tell, as which items were dear."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ledger.core.events import RequestAmended, RequestBuilt, ResultStored, decode
from ledger.core.prices import TIER_BATCH, Usage
from ledger.core.state import RunState

RESULT_STORED = "result_stored"
_OF_CLASSES = ("request_built", "request_amended")


class Billed(NamedTuple):
    """One result that was billed; ``final`` is whether it ended its item, which nobody opened again."""

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
        rows: type and data of all events.
        state: the state at the end of them.
    """
    classes, class_ids = state.classes, state.columns.class_id
    was_reopened = state.columns.was_reopened
    if state.amended:  # a result is of the model that was asked then, not of the one that was asked after it
        class_ids = array("H", bytes(2 * len(class_ids)))
    for type_name, data in rows:
        if type_name != RESULT_STORED:
            if state.amended and type_name in _OF_CLASSES:
                declared = decode(type_name, data)
                assert isinstance(declared, RequestBuilt | RequestAmended)
                class_ids[declared.ordinal] = declared.class_id
            continue
        event = decode(type_name, data)
        assert isinstance(event, ResultStored)
        if event.billed and event.usage is not None:
            model = event.model or classes[class_ids[event.ordinal]].model
            is_batch = event.tier in (TIER_BATCH, "")
            final = event.final and not was_reopened(event.ordinal)
            yield Billed(event.ordinal, event.outcome, model, event.geo, is_batch, final, event.usage)
