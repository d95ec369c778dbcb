"""The smaller pictures of a report: distributions, the flow of requests, and how the estimate became the cost."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, TypeAlias

from ledger.core.units import MICROSECONDS_PER_SECOND, format_duration
from ledger.core.waterfall import Step, Waterfall
from ledger.report.distributions import Bin, bins, quantiles
from ledger.report.history import Row
from ledger.report.scales import Fold, Tick, TimeAxis, height_ticks, heights, log_ticks, short_number

Say: TypeAlias = Callable[[float], str]

COLUMNS = 36
FLOW_POINTS = 300
BOX = 1000
"""Paths are drawn in a box of BOX × BOX that is stretched over the picture."""
_TICK_PERCENT = 9.0
_SECONDS_LABELLED = (
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    30,
    60,
    120,
    300,
    600,
    1800,
    3600,
    7200,
    14_400,
    28_800,
    43_200,
    86_400,
)


class Column(NamedTuple):
    """A column of a histogram: place, width and height in percent, and what to say of it."""

    percent: float
    width_percent: float
    height_percent: float
    title: str


class Quantile(NamedTuple):
    """A value that a share of all does not exceed."""

    label: str
    percent: float
    value: str


class Histogram(NamedTuple):
    """A distribution: its columns, the labels of both axes, its quantiles, and the largest value.

    ``only`` says how many had the one value, where there is no other: then there is nothing to draw.
    """

    columns: list[Column]
    ticks: list[Tick]
    heights: list[Tick]
    quantiles: list[Quantile]
    largest: str
    is_log: bool
    only: str


def token_histogram(counts: Mapping[int, int], noun: str) -> Histogram | None:
    """Return how many tokens there were, in prompts or answers; None where there are none."""
    return _histogram(counts, short_number, lambda value: f"{value:,.0f}", noun, None)


def duration_histogram(milliseconds: Mapping[int, int], noun: str) -> Histogram | None:
    """Return how long something took; None where nothing did."""
    labelled = [seconds * 1000 for seconds in _SECONDS_LABELLED]
    return _histogram(milliseconds, _axis_duration, _duration, noun, labelled)


def _duration(milliseconds: float) -> str:
    return format_duration(milliseconds / 1000)


def _axis_duration(milliseconds: float) -> str:
    return _duration(milliseconds).replace(" 00 s", "").replace(" 00 min", "").replace(" 0 h", "")


def _histogram(
    counts: Mapping[int, int], short: Say, exact: Say, noun: str, labelled: Sequence[float] | None
) -> Histogram | None:
    found, is_log = bins(counts, COLUMNS)
    if not found:
        return None
    labelled_heights, top = heights(max(one.number for one in found), 3)
    values = quantiles(counts)
    return Histogram(
        columns=[
            Column(
                round(100 * index / len(found), 3),
                round(100 / len(found), 3),
                round(100 * one.number / top, 3),
                f"{exact(one.low)} to {exact(one.high)}: {one.number:,} {noun}",
            )
            for index, one in enumerate(found)
            if one.number
        ],
        ticks=_value_ticks(found, is_log, short, labelled),
        heights=height_ticks(labelled_heights, top),
        quantiles=[
            Quantile(label, round(_within(found, value), 3), exact(value))
            for label, value in zip(("half", "90%", "99%"), values, strict=True)
        ],
        largest=exact(max(counts)),
        is_log=is_log,
        only=f"{sum(counts.values()):,} {noun}: {exact(next(iter(counts)))} each" if len(counts) == 1 else "",
    )


def _value_ticks(found: list[Bin], is_log: bool, short: Say, labelled: Sequence[float] | None) -> list[Tick]:
    low, high = found[0].low, found[-1].high
    if labelled is not None:
        values = [value for value in labelled if low <= value <= high]
    elif is_log:
        values = log_ticks(low, high)
    else:
        step = (heights(high - low, 5)[0] + [1.0])[1]
        first = -(-low // step)
        values = [step * (first + index) for index in range(12) if step * (first + index) <= high]
    if not values:
        values = [low]
    kept: list[Tick] = []
    for value in values:
        percent = round(_within(found, value), 3)
        if (not kept or percent - kept[-1].percent >= _TICK_PERCENT) and percent <= 96:
            kept.append(Tick(percent, short(value), len(kept) % 2 == 1))
    return kept


def _within(found: list[Bin], value: float) -> float:
    """Return the place of a value: columns are equally wide, whatever their bounds."""
    edges = [one.low for one in found]
    index = max(bisect_right(edges, value) - 1, 0)
    one = found[index]
    inside = (value - one.low) / (one.high - one.low) if one.high > one.low else 0.0
    return min(max(100 * (index + min(inside, 1.0)) / len(found), 0.0), 100.0)


# ── flow ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Line(NamedTuple):
    """A curve in a box of BOX × BOX, and where it ends."""

    kind: str
    label: str
    path: str
    total: int


class Flow(NamedTuple):
    """How many requests had been sent, had ended, and were stored, as time went by."""

    lines: list[Line]
    ticks: list[Tick]
    heights: list[Tick]
    folds: list[Fold]


def flow(rows: Iterable[Row], axis: TimeAxis) -> Flow | None:
    """Return the flow of requests through batches; a request that is sent again counts again. None without batches."""
    rows = [row for row in rows if row.batch or row.created]
    if not rows:
        return None
    steps = {
        "sent": ("accepted by the service", [(row.created, row.requests) for row in rows]),
        "ended": ("ended there", [(row.ended, row.requests) for row in rows if row.ended]),
        "stored": ("stored here", [(row.closed, row.requests) for row in rows if row.closed_as == "collected"]),
    }
    labelled, top = heights(sum(row.requests for row in rows), 4)
    lines = [_line(kind, label, moves, top, axis) for kind, (label, moves) in steps.items()]
    return Flow(
        lines=lines,
        ticks=axis.ticks(),
        heights=height_ticks(labelled, top),
        folds=axis.folds,
    )


def _line(kind: str, label: str, moves: list[tuple[int, int]], top: float, axis: TimeAxis) -> Line:
    total, reached = 0, {0: 0}
    for at, count in sorted(moves):
        total += count
        reached[round(axis.place(at) / 100 * FLOW_POINTS)] = total
    points, before = [f"0 {BOX}"], 0
    for column, value in sorted(reached.items()):
        x = column * BOX / FLOW_POINTS
        points += [f"{x:.4g} {BOX * (1 - before / top):.4g}", f"{x:.4g} {BOX * (1 - value / top):.4g}"]
        before = value
    points.append(f"{BOX} {BOX * (1 - before / top):.4g}")
    return Line(kind, label, f"M{'L'.join(points)}", total)


def batch_durations(rows: Iterable[Row]) -> tuple[dict[int, int], dict[int, int]]:
    """Return milliseconds → requests: how long they were at the service, and from there until they were stored."""
    served: dict[int, int] = {}
    stored: dict[int, int] = {}
    for row in rows:
        if row.ended:
            _count(served, row.ended - row.created, row.requests)
            if row.closed_as == "collected":
                _count(stored, row.closed - row.ended, row.requests)
    return served, stored


def _count(counts: dict[int, int], microseconds: int, requests: int) -> None:
    milliseconds = max(microseconds * 1000 // MICROSECONDS_PER_SECOND, 1)
    counts[milliseconds] = counts.get(milliseconds, 0) + requests


# ── waterfall ───────────────────────────────────────────────────────────────────────────────────────────────────

STEP_WORDS: dict[Step, str] = {
    "reused": "answers taken from other ledgers",
    "count": "first attempts not billed, or pending",
    "input": "prompts longer or shorter",
    "output": "answers longer or shorter",
    "cache": "cache writes and reads",
    "searches": "web searches",
    "price": "price steps, region, tier, model",
    "retries": "retries and second batches",
}


class Fall(NamedTuple):
    """A bar of a waterfall: from where to where in percent, and its amount."""

    kind: str
    label: str
    percent: float
    width_percent: float
    amount: Decimal


def falls(waterfall: Waterfall) -> list[Fall]:
    """Return the bars from the estimate to the cost; steps that came to nothing are left out."""
    steps = [(step, amount) for step, amount in waterfall.steps_usd.items() if amount]
    levels = [waterfall.estimate_usd]
    for _, amount in steps:
        levels.append(levels[-1] + amount)
    top = max(*levels, waterfall.actual_usd, Decimal("1e-12"))

    def fall(kind: str, label: str, low: Decimal, high: Decimal, amount: Decimal) -> Fall:
        return Fall(kind, label, _percent(low, top), _percent(high - low, top), amount)

    nothing = Decimal(0)
    bars = [fall("whole", "estimate", nothing, waterfall.estimate_usd, waterfall.estimate_usd)]
    for (step, amount), before, after in zip(steps, levels, levels[1:], strict=False):
        kind = "more" if amount > 0 else "less"
        bars.append(fall(kind, STEP_WORDS[step], min(before, after), max(before, after), amount))
    bars.append(fall("whole", "cost", nothing, waterfall.actual_usd, waterfall.actual_usd))
    return bars


def _percent(part: Decimal, whole: Decimal) -> float:
    return round(max(float(100 * part / whole), 0.0), 3) if whole else 0.0


__all__ = ["Fall", "Flow", "Histogram", "batch_durations", "duration_histogram", "falls", "flow", "token_histogram"]
