"""How fast batches came back, and how often results were errors: measured, beside what is usual."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec

from ledger.core.state import RunState
from ledger.core.units import MICROSECONDS_PER_SECOND

HOUR_SECONDS = 3600

TYPICAL_PER_HOUR: dict[str, tuple[int, int]] = {"haiku": (50_000, 100_000), "sonnet": (10_000, 50_000)}
"""Requests an hour that users report of large runs, by model family; nobody promises them."""

ERRORS_NORMAL = Decimal("0.001")
"""Up to this share errors are the service's everyday."""
ERRORS_SYSTEMATIC = Decimal("0.01")
"""Above this share something is wrong with the requests."""

Fit: TypeAlias = Literal["", "below", "within", "above"]
ErrorVerdict: TypeAlias = Literal["none", "normal", "raised", "systematic"]


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How fast the answers of one model came.

    ``service_seconds`` is the time in which at least one batch with this model was at the service, from its creation to
    its end by the service's clock; ``own_seconds`` the rest between the first creation and the last end, in which
    nothing was there. ``per_hour`` is answers in an hour of the former, None where no time passed. ``typical`` is the
    band that such models usually reach, and ``fit`` how this compares; both are empty for families without one.
    """

    model: str
    answers: int
    batches: int
    service_seconds: float
    own_seconds: float
    per_hour: int | None
    typical: tuple[int, ...]
    fit: Fit


class Errors(msgspec.Struct, frozen=True, kw_only=True):
    """How many results of all attempts were ``errored``; ``rate`` is their share, None while there are no results."""

    results: int
    errored: int
    expired: int
    canceled: int
    rate: Decimal | None
    verdict: ErrorVerdict


def paces(state: RunState) -> tuple[Pace, ...]:
    """Return the pace of every model that answered, in alphabetical order."""
    answers: dict[str, int] = {}
    chunks: dict[str, set[int]] = {}
    for spent in state.spending():
        answers[spent.model] = answers.get(spent.model, 0) + spent.requests
        chunks.setdefault(spent.model, set()).add(spent.chunk)
    return tuple(_pace(state, model, answers[model], chunks[model]) for model in sorted(answers))


def errors(state: RunState) -> Errors:
    """Return how often results were errors."""
    sums = {kind: sum(stored[kind] for stored in state.stored.values()) for kind in _KINDS}
    results = sum(sums.values())
    rate = Decimal(sums["errored"]) / results if results else None
    return Errors(
        results=results,
        errored=sums["errored"],
        expired=sums["expired"],
        canceled=sums["canceled"],
        rate=None if rate is None else round(rate, 6),
        verdict=_error_verdict(rate),
    )


_KINDS = ("succeeded", "errored", "expired", "canceled")


def _error_verdict(rate: Decimal | None) -> ErrorVerdict:
    if not rate:
        return "none"
    if rate <= ERRORS_NORMAL:
        return "normal"
    return "raised" if rate <= ERRORS_SYSTEMATIC else "systematic"


def _pace(state: RunState, model: str, answers: int, chunks: Iterable[int]) -> Pace:
    spans = [(state.chunks[chunk].created_at, state.chunks[chunk].ended_at) for chunk in chunks]
    known = sorted((begin, end) for begin, end in spans if begin and end >= begin)
    busy = _covered(known)
    whole = max(end for _, end in known) - known[0][0] if known else 0
    per_hour = (
        round(answers * HOUR_SECONDS * MICROSECONDS_PER_SECOND / busy) if busy and len(known) == len(spans) else None
    )
    typical = next((band for family, band in TYPICAL_PER_HOUR.items() if f"-{family}-" in model), ())
    return Pace(
        model=model,
        answers=answers,
        batches=len(spans),
        service_seconds=busy / MICROSECONDS_PER_SECOND,
        own_seconds=(whole - busy) / MICROSECONDS_PER_SECOND,
        per_hour=per_hour,
        typical=typical,
        fit=_fit(per_hour, typical),
    )


def _covered(spans: list[tuple[int, int]]) -> int:
    """Return how long at least one of the spans, sorted by their beginnings, lasted."""
    covered, reached = 0, 0
    for begin, end in spans:
        covered += max(end - max(begin, reached), 0)
        reached = max(reached, end)
    return covered


def _fit(per_hour: int | None, typical: tuple[int, ...]) -> Fit:
    if per_hour is None or not typical:
        return ""
    return "below" if per_hour < typical[0] else "above" if per_hour > typical[-1] else "within"
