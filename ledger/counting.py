"""Counting tokens before spending: a sample of what waits, at the free counting endpoint, kind by kind of request.

The endpoint counts one request a call, under a limit of its own (2,000 calls a minute on the lowest tier; token
counting guide), so a sample stands for all: some requests of every class, whose bytes and tokens say how many tokens
the bytes of all make. Counts are the service's estimates; output nobody can count beforehand.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import ceil
from typing import NamedTuple, Protocol

import msgspec

from ledger.core.costs import bytes_per_token
from ledger.core.errors import ServiceError
from ledger.core.state import RunState
from ledger.core.units import MICROSECONDS_PER_SECOND
from ledger.ports import CallError, EventLog

CALLS_AT_MOST = 2_000
CALLS_PER_SECOND = 30.0
"""Somewhat below the 2,000 a minute of the lowest tier."""
RETRY_AFTER_SECONDS_MAX = 60.0


class Counter(Protocol):
    """The one call that counting needs; it costs nothing."""

    def count_tokens(self, params: bytes) -> int:
        """Return the input tokens of a request, as the service estimates them.

        Raises:
            CallError: no usable answer.
        """
        ...


class CountedModel(msgspec.Struct, frozen=True, kw_only=True):
    """What a sample of one model's requests says of all of them that wait.

    ``sampled`` requests were counted; by them the ``bytes`` of all make ``tokens``. ``bytes_per_token`` is rounded.
    """

    model: str
    sampled: int
    bytes: int
    tokens: int
    bytes_per_token: float


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """A sample that was counted, by model."""

    models: tuple[CountedModel, ...]

    def bytes_per_token(self, model: str) -> Fraction:
        """Return the bytes that make a token by the sample; by the model's generation where it has none of it."""
        found = next((one for one in self.models if one.model == model), None)
        return Fraction(found.bytes, found.tokens) if found is not None else Fraction(bytes_per_token(model))

    def assumption(self) -> str:
        """Return in words what estimates of input rest on."""
        parts = [f"{one.bytes_per_token:.2f} bytes a token in {one.sampled:,} of {one.model}" for one in self.models]
        return f"input: counted by the service: {', '.join(parts)}"


class Sample(NamedTuple):
    """Which requests of a class stand for all of it, and how often each; and how many bytes that is."""

    class_id: int
    weights: dict[int, int]
    size_bytes: int


def count_sample(
    log: EventLog, state: RunState, counter: Counter, per_class: int, pause: Callable[[float], object]
) -> Counted:
    """Return what a sample of the waiting requests says of all of them.

    Args:
        log: where the requests are.
        state: the run.
        counter: the service.
        per_class: how many requests of every class are counted; of many classes fewer, so that it ends in a minute.
        pause: waits so many seconds.

    Raises:
        ServiceError: the service does not count, or its limit is reached again and again.
    """
    samples = sampled(state, per_class)
    ordinals = sorted(ordinal for sample in samples for ordinal in sample.weights)
    tokens = {}
    for ordinal, payload in zip(ordinals, log.request_payloads(ordinals), strict=True):
        tokens[ordinal] = _counted(counter, payload.params, pause)
        pause(1 / CALLS_PER_SECOND)
    models: dict[str, list[Fraction]] = {}
    for sample in samples:
        rates = [Fraction(tokens[o], state.columns.size_bytes[o]) * weight for o, weight in sample.weights.items()]
        one = models.setdefault(state.classes[sample.class_id].model, [Fraction(0)] * 3)
        one[0] += len(sample.weights)
        one[1] += sample.size_bytes
        one[2] += sum(rates, Fraction(0)) / sum(sample.weights.values()) * sample.size_bytes
    return Counted(
        models=tuple(
            CountedModel(
                model=model,
                sampled=int(counted),
                bytes=int(size),
                tokens=ceil(all_tokens),
                bytes_per_token=round(float(size / all_tokens), 2),
            )
            for model, (counted, size, all_tokens) in sorted(models.items())
        )
    )


def sampled(state: RunState, per_class: int) -> list[Sample]:
    """Return a sample of every class of the waiting requests: evenly spread over its bytes, not over its number.

    Few long prompts may hold most of the tokens; a request is therefore taken as often as its size calls for, so that
    the mean of tokens per byte over the sample is that of the class.
    """
    waiting = [(start, end) for lane in state.fresh.values() for start, end in lane]
    class_ids, sizes = state.columns.class_id, state.columns.size_bytes
    totals: dict[int, int] = {}
    for start, end in waiting:
        for ordinal in range(start, end):
            totals[class_ids[ordinal]] = totals.get(class_ids[ordinal], 0) + sizes[ordinal]
    wanted = max(min(per_class, CALLS_AT_MOST // max(len(totals), 1)), 1)
    samples = {number: Sample(number, {}, total) for number, total in totals.items()}
    behind = dict.fromkeys(totals, 0)
    for start, end in waiting:
        for ordinal in range(start, end):
            number = class_ids[ordinal]
            before = behind[number]
            behind[number] = after = before + sizes[ordinal]
            total = totals[number]
            # Ticks lie in the middle of equal shares of the class's bytes; how many of them are within this request?
            weight = (after * wanted + total // 2) // total - (before * wanted + total // 2) // total
            if weight:
                samples[number].weights[ordinal] = weight
    return [sample for sample in samples.values() if sample.weights]


def _counted(counter: Counter, params: bytes, pause: Callable[[float], object]) -> int:
    for _ in range(3):
        try:
            return max(counter.count_tokens(params), 1)
        except CallError as problem:
            if problem.status != 429:
                raise
            pause(min(problem.retry_after_us / MICROSECONDS_PER_SECOND or 1.0, RETRY_AFTER_SECONDS_MAX))
    raise ServiceError(
        "the limit of the counting endpoint is reached",
        next="a smaller --count-tokens, or none: bytes are counted then",
    )
