"""Where on an axis a value lies, and at which round values an axis is labelled.

Places are percent of an axis's length, so that a drawing fits any width while its letters keep their size.

An axis of time may be *folded*: a stretch in which nothing changed (the last batch took a day, the run was resumed
after a weekend) gets a fixed, marked width, however long it was, so that it does not squeeze everything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from math import ceil, floor, log10
from statistics import median_low
from typing import NamedTuple

from ledger.core.units import MICROSECONDS_PER_SECOND, format_duration

FOLDS_AT_MOST = 4
FOLD_PERCENT = 7.0
_FOLD_SHARE = 0.25
_FOLD_DURATIONS = 3
_TICK_PERCENT = 11.0
"""Ticks closer than that would run into each other on a narrow screen's half of them: see ``_thinned``."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_STEPS = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * _HOUR for hours in (1, 2, 3, 6, 12)),
    *(days * _DAY for days in (1, 2, 7, 14, 28)),
)
_CLOCK_FROM_SECONDS = 2 * _HOUR
"""Longer runs are labelled with times of day, shorter ones with what has passed."""


class Tick(NamedTuple):
    """A label on an axis; ``is_minor`` ones give way on narrow screens. ``day`` is said where another one begins."""

    percent: float
    label: str
    is_minor: bool
    day: str = ""


class Fold(NamedTuple):
    """A stretch of time that is drawn shorter than it was: instants, places, and how long it was."""

    begin: int
    end: int
    percent: float
    width_percent: float
    label: str


class TimeAxis:
    """An axis of time from ``begin`` to ``end`` (µs), with stretches folded.

    Args:
        begin: its first instant.
        end: its last one.
        folds: the stretches to fold, in order.
    """

    def __init__(self, begin: int, end: int, folds: Sequence[tuple[int, int]] = ()) -> None:
        self.begin = begin
        self.end = max(end, begin + 1)
        folded_us = sum(high - low for low, high in folds)
        self._per_us = (100 - FOLD_PERCENT * len(folds)) / max(self.end - begin - folded_us, 1)
        self._pieces: list[tuple[int, int, float, float]] = []  # begin, end, percent, percent per µs
        at, percent = begin, 0.0
        self.folds: list[Fold] = []
        for low, high in [*folds, (self.end, self.end)]:
            self._pieces.append((at, low, percent, self._per_us))
            percent += (low - at) * self._per_us
            if high > low:
                self._pieces.append((low, high, percent, FOLD_PERCENT / (high - low)))
                label = format_duration((high - low) / MICROSECONDS_PER_SECOND)
                self.folds.append(Fold(low, high, percent, FOLD_PERCENT, label))
                percent += FOLD_PERCENT
            at = high

    def place(self, at: int) -> float:
        """Return where an instant lies, in percent; what is outside of the axis lies at its ends."""
        for begin, end, percent, per_us in self._pieces:
            if at <= end:
                return round(min(max(percent + (at - begin) * per_us, 0.0), 100.0), 3)
        return 100.0

    def ticks(self) -> list[Tick]:
        """Return round instants with their labels, none of them in a fold or near another."""
        seconds = 100 / self._per_us / MICROSECONDS_PER_SECOND
        step = next((step for step in _STEPS if seconds / step <= 8), _STEPS[-1] * ceil(seconds / _STEPS[-1] / 8))
        is_clock = (self.end - self.begin) / MICROSECONDS_PER_SECOND >= _CLOCK_FROM_SECONDS
        step_us = round(step * MICROSECONDS_PER_SECOND)
        origin = 0 if is_clock else self.begin
        found = []
        for begin, end in self._drawn():
            first, last = -(-(begin - origin) // step_us), (end - origin) // step_us
            found += [origin + number * step_us for number in range(first, min(last, first + 100) + 1)]
        taken = [fold.percent + fold.width_percent / 2 for fold in self.folds]
        chosen = _thinned([(self.place(at), at) for at in found], taken)
        if not is_clock:
            return [Tick(percent, self._elapsed(at, step), minor) for percent, at, minor in chosen]
        return self._dated(chosen, step)

    def _dated(self, chosen: list[tuple[float, int, bool]], step: float) -> list[Tick]:
        days = ["", *(_day(at) for _, at, _ in chosen)]
        several = len(set(days)) > 2 and step < _DAY
        return [
            Tick(percent, _day(at) if step >= _DAY else _clock(at), minor, day if several and day != before else "")
            for (percent, at, minor), before, day in zip(chosen, days, days[1:], strict=False)
        ]

    def _drawn(self) -> list[tuple[int, int]]:
        edges = [self.begin, *(edge for fold in self.folds for edge in (fold.begin, fold.end)), self.end]
        return [(edges[index], edges[index + 1]) for index in range(0, len(edges), 2)]

    def _elapsed(self, at: int, step: float) -> str:
        seconds = (at - self.begin) / MICROSECONDS_PER_SECOND
        if step < 1:
            return f"{seconds:.1f} s"
        if self.end - self.begin < 2 * _MINUTE * MICROSECONDS_PER_SECOND:
            return f"{seconds:.0f} s"
        minutes, rest = divmod(round(seconds), 60)
        if minutes >= 60:
            return f"{minutes // 60}:{minutes % 60:02d} h"
        return f"{minutes}:{rest:02d} min" if step < 60 else f"{minutes} min"


def _clock(at: int) -> str:
    return f"{datetime.fromtimestamp(at / MICROSECONDS_PER_SECOND, UTC):%H:%M}"


def _day(at: int) -> str:
    moment = datetime.fromtimestamp(at / MICROSECONDS_PER_SECOND, UTC)
    return f"{moment.day} {moment:%b}"


def _thinned(ticks: Iterable[tuple[float, int]], taken: Sequence[float]) -> list[tuple[float, int, bool]]:
    """Return ticks with room between them and beside what is taken; every second one may give way, too."""
    kept: list[tuple[float, int, bool]] = []
    for percent, at in ticks:
        if any(abs(percent - place) < _TICK_PERCENT * 0.75 for place in taken):
            continue
        if not kept or percent - kept[-1][0] >= _TICK_PERCENT:
            kept.append((percent, at, len(kept) % 2 == 1))
    return kept


def folds(changes: Iterable[int], durations: Sequence[int]) -> list[tuple[int, int]]:
    """Return the stretches worth folding: without any change, a quarter of what is left, and long beside a batch.

    Args:
        changes: every instant at which anything began or ended.
        durations: how long the batches took; without any there is nothing that a long stretch could squeeze.
    """
    instants = sorted(set(changes))
    if len(instants) < 3 or not durations:
        return []
    shortest = _FOLD_DURATIONS * median_low(durations)
    gaps = sorted(pairwise(instants), key=lambda gap: gap[0] - gap[1])
    left = instants[-1] - instants[0]
    chosen: list[tuple[int, int]] = []
    for low, high in gaps[:FOLDS_AT_MOST]:
        if high - low < max(_FOLD_SHARE * left, shortest, 1):
            break
        margin = (high - low) // 200  # what happens at its edges is still drawn
        chosen.append((low + margin, high - margin))
        left -= high - low
    return sorted(chosen)


def heights(highest: float, wanted: int = 4) -> tuple[list[float], float]:
    """Return round values from 0 on, 1, 2 or 5 times a power of ten apart, and where the axis ends."""
    if highest <= 0:
        return [0.0], 1.0
    rough = highest / wanted
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999999)
    step = max(step, 1.0) if highest >= 1 else step
    return [round(step * index, 10) for index in range(floor(highest / step + 1e-9) + 1)], highest * 1.04


def height_ticks(values: Iterable[float], top: float) -> list[Tick]:
    """Return the labels of an axis of numbers that ends at ``top``."""
    return [Tick(round(100 - 100 * value / top, 3), short_number(value), False) for value in values]


def log_ticks(low: float, high: float) -> list[float]:
    """Return values to label on a logarithmic axis: 1, 2 and 5 times powers of ten, or the powers alone."""
    if low <= 0 or high <= low:
        return []
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    factors = (1, 2, 5) if log10(high / low) < 2.5 else (1,)
    values = [factor * 10.0**power for power in powers for factor in factors]
    return [value for value in values if low <= value <= high]


def short_number(value: float) -> str:
    """Return a number for an axis: ``950``, ``12K``, ``1.5M``."""
    for unit, factor in (("M", 1_000_000), ("K", 1_000)):
        if value >= factor:
            return f"{value / factor:.1f}".rstrip("0").rstrip(".") + unit
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"
