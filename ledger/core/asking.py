"""What is asked, in the groups that an estimate is made from."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from ledger.core.columns import WITHDRAWN
from ledger.core.costs import RequestClass, bytes_per_token
from ledger.core.prices import steps_of_model
from ledger.core.state import REUSED_FROM, RunState


def asked_classes(state: RunState, *, without_reused: bool = False) -> list[RequestClass]:
    """Return everything that was ever asked, sent or not, in groups that are estimated alike.

    Args:
        state: the run.
        without_reused: leave out what has the answer of another ledger.
    """
    if without_reused and state.reused:
        status, chunk = state.columns.status, state.columns.chunk
        kept = (o for o in range(len(status)) if status[o] != WITHDRAWN and chunk[o] <= REUSED_FROM)
        return classes_of(state, kept)
    if any(_step_limits_bytes(state, one.model) for one in state.classes):
        status = state.columns.status
        return classes_of(state, (ordinal for ordinal in range(len(status)) if status[ordinal] != WITHDRAWN))
    return [
        _group(state, number, count, size, 0)
        for number, (count, size) in enumerate(zip(state.class_requests, state.class_bytes, strict=True))
        if count
    ]


def classes_of(state: RunState, ordinals: Iterable[int]) -> list[RequestClass]:
    """Return some requests in groups that are estimated alike, by the order in which the classes were declared.

    Requests whose size puts them on another step of their model's price are a group of their own.
    """
    limits = [_step_limits_bytes(state, one.model) for one in state.classes]
    groups: dict[tuple[int, int], list[int]] = {}
    class_id, size_bytes = state.columns.class_id, state.columns.size_bytes
    for ordinal in ordinals:
        number, size = class_id[ordinal], size_bytes[ordinal]
        step = bisect_left(limits[number], size) if limits[number] else 0
        group = groups.get((number, step))
        if group is None:
            group = groups[number, step] = [0, 0, 0]
        group[0] += 1
        group[1] += size
        if size > group[2]:
            group[2] = size
    return [_group(state, number, *group) for (number, _), group in sorted(groups.items())]


def _group(state: RunState, number: int, requests: int, size_bytes: int, largest_bytes: int) -> RequestClass:
    one = state.classes[number]
    return RequestClass(
        model=one.model,
        max_tokens=one.max_tokens,
        requests=requests,
        bytes=size_bytes,
        largest_bytes=largest_bytes,
        cached=one.cached,
        geo=one.geo,
        priority=one.priority,
    )


def _step_limits_bytes(state: RunState, model: str) -> list[int]:
    """Return the largest sizes of requests that are still on a step of a model's price; empty for most models."""
    if state.prices is None:
        return []
    steps = steps_of_model(state.prices, model)
    return [step.above_prompt_tokens * bytes_per_token(model) for step in steps if step.above_prompt_tokens]
