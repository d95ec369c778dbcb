"""The timeline of a run: a row for each batch, lanes for processes, readings and pauses, on one axis of time.

Of thousands of batches the rows would be a grey block. Then areas count how many were in which phase, and rows are
drawn for those worth looking at: to whom something happened, the slowest, and some from all over the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from math import ceil
from typing import NamedTuple

from ledger.core.state import RunState
from ledger.core.units import MICROSECONDS_PER_SECOND, format_duration
from ledger.report.history import History, Process, Row
from ledger.report.scales import Fold, Tick, TimeAxis, folds, height_ticks, heights

ROWS_AT_MOST = 72
ROWS_CHOSEN = 48
ODD_AT_MOST = 24
SLOWEST = 8
LANE_BARS_AT_MOST = 240
RESTARTS_AT_MOST = 48
"""More of them, as of a run by cron, are seen in the lane of the processes, and need no line and no cross each."""
AREA_COLUMNS = 240
AREA_HEIGHT = 1000

PHASES = ("send", "run", "wait", "fetch")


class Bar(NamedTuple):
    """A stretch of a row: its kind, place and width in percent, and what to say of it."""

    kind: str
    percent: float
    width_percent: float
    title: str


class Point(NamedTuple):
    """An instant of a row."""

    kind: str
    percent: float
    title: str


class Share(NamedTuple):
    """A part of what came of a batch."""

    kind: str
    percent: float
    width_percent: float


class Drawn(NamedTuple):
    """A row as it is drawn; ``took`` is how long the batch was at the service."""

    label: str
    note: str
    title: str
    bars: list[Bar]
    points: list[Point]
    shares: list[Share]
    took: str


class Lane(NamedTuple):
    """A row of what is not a batch."""

    label: str
    bars: list[Bar]
    points: list[Point]


class Area(NamedTuple):
    """How many batches were in a phase, stacked on those below: an SVG path in a box of 1000 × ``AREA_HEIGHT``."""

    kind: str
    path: str


class Timeline(NamedTuple):
    """All of the picture; ``clipped`` says which rows are drawn where not all are, ``kinds`` what a key explains."""

    ticks: list[Tick]
    folds: list[Fold]
    lanes: list[Lane]
    rows: list[Drawn]
    areas: list[Area]
    area_ticks: list[Tick]
    clipped: str
    restarts: list[float]
    kinds: frozenset[str]


def axis_of(state: RunState, history: History) -> TimeAxis:
    """Return the axis of time that all pictures of a run share."""
    begin, end = state.opened_at, state.at
    changes = {begin, end}
    for row in history.rows.values():
        changes.update((row.begin, row.created, row.ended, row.seen, row.closed, row.last))
        changes.update(attempt.begin for attempt in row.tries)
        changes.update(span.begin for span in (*row.doubts, *row.holds))
    for process in history.processes:
        changes.update((process.begin, process.end))
    for span in history.readings:
        changes.update((span.begin, span.end))
    durations = [row.ended - row.created for row in history.rows.values() if row.ended > row.created]
    return TimeAxis(begin, end, folds((at for at in changes if begin <= at <= end), durations))


def timeline(state: RunState, history: History, axis: TimeAxis) -> Timeline:
    """Return the picture of a run."""
    rows = [row for row in history.rows.values() if row.tries or row.batch or row.closed_as != "dissolved"]
    chosen = _chosen(rows)
    is_clipped = len(chosen) < len(rows)
    areas, area_ticks = _areas(rows, axis) if is_clipped else ([], [])
    lanes = _lanes(history, axis)
    drawn = [_drawn(row, state, axis) for row in chosen]
    return Timeline(
        ticks=axis.ticks(),
        folds=axis.folds,
        lanes=lanes,
        rows=drawn,
        areas=areas,
        area_ticks=area_ticks,
        clipped=_clip_note(len(chosen), len(rows)) if is_clipped else "",
        restarts=_restarts(history, axis),
        kinds=_kinds(lanes, drawn),
    )


def _restarts(history: History, axis: TimeAxis) -> list[float]:
    begins = [axis.place(process.begin) for process in history.processes[1:] if process.how != "command"]
    return begins if len(begins) <= RESTARTS_AT_MOST else []


def _kinds(lanes: list[Lane], rows: list[Drawn]) -> frozenset[str]:
    bars = [bar.kind for bars in (*(lane.bars for lane in lanes), *(row.bars for row in rows)) for bar in bars]
    points = [one.kind for some in (*(lane.points for lane in lanes), *(row.points for row in rows)) for one in some]
    return frozenset(bars + points)


def _clip_note(drawn: int, rows: int) -> str:
    return (
        f"Rows are drawn for {drawn} of {rows:,} batches: some to which something happened, the slowest, and "
        "others from all over the run. The areas count all of them."
    )


def _chosen(rows: list[Row]) -> list[Row]:
    if len(rows) <= ROWS_AT_MOST:
        return rows
    chosen = {row.chunk: row for row in [row for row in rows if row.is_odd][:ODD_AT_MOST]}
    slowest = sorted(rows, key=lambda row: row.created - row.ended if row.ended else 0)
    chosen |= {row.chunk: row for row in slowest[:SLOWEST]}
    wanted = max(ROWS_CHOSEN - len(chosen), 2)
    chosen |= {row.chunk: row for row in (rows[(len(rows) - 1) * index // (wanted - 1)] for index in range(wanted))}
    return [chosen[number] for number in sorted(chosen)]


# ── one row ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _drawn(row: Row, state: RunState, axis: TimeAxis) -> Drawn:
    took = _lasted(row.created, row.ended) if row.ended else ""
    note = "" if row.cause == "fresh" else row.cause
    return Drawn(
        label=f"{row.chunk}",
        note=note,
        title=f"Batch {row.chunk}{f' ({note})' if note else ''}, {row.requests:,} requests, {row.batch or 'no batch'}",
        bars=_bars(row, axis),
        points=_points(row, axis),
        shares=_shares(row, state),
        took=took,
    )


def _bars(row: Row, axis: TimeAxis) -> list[Bar]:
    end = axis.end
    bars = [_bar("life", row.begin, row.closed or (row.last if row.closed_as else end), axis, "")]
    bars += [
        _bar("send", attempt.begin, attempt.end or attempt.begin, axis, f"submission {number}: {_how(attempt.how)}")
        for number, attempt in enumerate(row.tries, 1)
    ]
    bars += [
        _bar("doubt", span.begin, span.end or end, axis, f"in doubt for {_lasted(span.begin, span.end or end)}")
        for span in row.doubts
    ]
    if row.created:
        ended = row.ended or row.closed or end
        said = "at the service for" if row.ended else "at the service, since"
        bars.append(_bar("run", row.created, ended, axis, f"{said} {_lasted(row.created, ended)}"))
    if row.ended:
        seen, closed = row.seen, row.closed or end
        bars.append(_bar("wait", row.ended, seen, axis, f"ended, not noticed for {_lasted(row.ended, seen)}"))
        fetched = "results stored in" if row.closed else "results not stored yet, for"
        bars.append(_bar("fetch", seen, closed, axis, f"{fetched} {_lasted(seen, closed)}"))
    bars += [
        _bar("hold", span.begin, span.end or end, axis, f"held: {span.why}, {_lasted(span.begin, span.end or end)}")
        for span in row.holds
    ]
    return [bar for bar in bars if bar.width_percent > 0 or bar.kind in ("send", "run", "fetch", "doubt")]


def _bar(kind: str, begin: int, end: int, axis: TimeAxis, title: str) -> Bar:
    low = axis.place(begin)
    return Bar(kind, low, round(max(axis.place(end) - low, 0.0), 3), title)


def _how(how: str) -> str:
    words = {
        "created": "accepted",
        "refused": "refused",
        "aborted": "given up before it was sent",
        "uncertain": "its answer was lost",
    }
    return words.get(how, "not answered")


def _points(row: Row, axis: TimeAxis) -> list[Point]:
    points = [
        Point("no", axis.place(attempt.end), f"{_how(attempt.how)}: {attempt.why}")
        for attempt in row.tries
        if attempt.how in ("refused", "aborted")
    ]
    points += [Point("odd", axis.place(mark.at), mark.what) for mark in row.marks]
    if row.closed_as == "lost":
        points.append(Point("no", axis.place(row.closed), "its results are lost"))
    if row.closed_as == "dissolved":
        points.append(Point("cut", axis.place(row.closed), "taken apart, its requests go into other batches"))
    return points


def _shares(row: Row, state: RunState) -> list[Share]:
    stored = state.stored.get(row.chunk, {})
    total = sum(stored.values())
    shares, at = [], 0.0
    for kind in ("succeeded", "errored", "expired", "canceled"):
        count = stored.get(kind, 0)
        if count:
            width = 100 * count / total
            shares.append(Share(kind, round(at, 2), round(width, 2)))
            at += width
    return shares


def _lasted(begin: int, end: int) -> str:
    return format_duration(max(end - begin, 0) / MICROSECONDS_PER_SECOND)


# ── lanes ───────────────────────────────────────────────────────────────────────────────────────────────────────

ENDS = {
    "finished": "ended: finished",
    "paused": "ended: the run was paused",
    "sending": "stopped in the middle of a submission",
    "command": "a command that only decided something",
    "stopped": "stopped before the run was finished",
    "latest": "the last one",
}


def _lanes(history: History, axis: TimeAxis) -> list[Lane]:
    lanes = [_processes(history, axis)]
    if history.readings:
        lanes.append(
            _spans("reading", "read", [(one.begin, one.end, "items were read") for one in history.readings], axis)
        )
    if history.pauses:
        lanes.append(_spans("paused", "hold", [(one.begin, one.end, f"by {one.why}") for one in history.pauses], axis))
    return lanes


def _processes(history: History, axis: TimeAxis) -> Lane:
    bars: list[Bar] = []
    points: list[Point] = []
    for process in history.processes:
        said = f"process {process.epoch}, for {_lasted(process.begin, process.end)}; {ENDS[process.how]}"
        bars.append(_bar("process", process.begin, process.end, axis, said))
        if process.how == "sending" or (process.how == "stopped" and len(history.processes) <= RESTARTS_AT_MOST):
            points.append(Point("stop", axis.place(process.end), said))
    return Lane("process", _merged(bars), _spread(points))


def _spans(label: str, kind: str, spans: Iterable[tuple[int, int, str]], axis: TimeAxis) -> Lane:
    bars = [
        _bar(kind, begin, end or axis.end, axis, f"{what}, for {_lasted(begin, end or axis.end)}")
        for begin, end, what in spans
    ]
    return Lane(label, _merged(bars), [])


def _merged(bars: list[Bar]) -> list[Bar]:
    """Return bars of which those that would not be told apart are one: a run of cron has thousands."""
    if len(bars) <= LANE_BARS_AT_MOST:
        return bars
    apart = 100 / LANE_BARS_AT_MOST
    merged: list[Bar] = []
    for bar in bars:
        before = merged[-1] if merged else None
        if before is not None and bar.percent - (before.percent + before.width_percent) < apart / 2:
            width = round(bar.percent + bar.width_percent - before.percent, 3)
            merged[-1] = Bar(before.kind, before.percent, max(width, before.width_percent), "several")
        else:
            merged.append(bar)
    return merged


def _spread(points: list[Point]) -> list[Point]:
    kept: list[Point] = []
    for point in points:
        if len(points) <= LANE_BARS_AT_MOST or not kept or point.percent - kept[-1].percent > 1:
            kept.append(point)
    return kept


# ── areas ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _areas(rows: Sequence[Row], axis: TimeAxis) -> tuple[list[Area], list[Tick]]:
    """Return how many batches were in which phase, stacked, and the labels of their numbers."""
    spans: dict[str, Callable[[Row], tuple[int, int]]] = {
        "send": lambda row: (row.begin, row.created or row.begin),
        "run": lambda row: (row.created, row.ended or axis.end) if row.created else (0, 0),
        "wait": lambda row: (row.ended, row.seen) if row.ended else (0, 0),
        "fetch": lambda row: (row.seen, row.closed or axis.end) if row.seen else (0, 0),
    }
    below = [0] * AREA_COLUMNS
    edges: list[tuple[str, list[int], list[int]]] = []
    for phase in reversed(PHASES):
        counted = _counted((spans[phase](row) for row in rows), axis)
        above = [low + more for low, more in zip(below, counted, strict=True)]
        edges.append((phase, below, above))
        below = above
    values, top = heights(max(below), 2)
    return [Area(phase, _path(low, high, top)) for phase, low, high in edges], height_ticks(values[1:], top)


def _counted(spans: Iterable[tuple[int, int]], axis: TimeAxis) -> list[int]:
    """Return how many spans cover the middle of each column."""
    changes = [0] * (AREA_COLUMNS + 1)
    for begin, end in spans:
        if begin:
            changes[_first_column(begin, axis)] += 1
            changes[_first_column(end, axis)] -= 1
    return list(accumulate(changes[:-1]))


def _first_column(at: int, axis: TimeAxis) -> int:
    """Return the first column whose middle is not before an instant."""
    return min(max(ceil(axis.place(at) / 100 * AREA_COLUMNS - 0.5), 0), AREA_COLUMNS)


def _path(low: Sequence[int], high: Sequence[int], top: float) -> str:
    if low == high:
        return ""
    width = 1000 / AREA_COLUMNS

    def edge(values: Sequence[int], order: Iterable[int]) -> list[str]:
        points = []
        for index in order:
            y = AREA_HEIGHT * (1 - values[index] / top)
            x = index * width
            points += [(x, y), (x + width, y)]
        return [f"{x:.4g} {y:.4g}" for x, y in points]

    forth = edge(high, range(AREA_COLUMNS))
    back = edge(low, range(AREA_COLUMNS))[::-1]
    return f"M{'L'.join([*forth, *back])}Z"


def process_words(processes: Sequence[Process]) -> str:
    """Return in a sentence how many processes there were, and how they ended."""
    count = len(processes)
    if count <= 1:
        return "One process did all of it." if count else "No process has worked on it."
    text = f"{count:,} processes worked on it, one after the other"
    sending = sum(process.how == "sending" for process in processes)
    stopped = sum(process.how == "stopped" for process in processes)
    parts = [f"{_some(sending)} stopped in the middle of a submission"] if sending else []
    parts += [f"{_some(stopped)} stopped before the run was finished"] if stopped else []
    return f"{text}{': ' if parts else ''}{', '.join(parts)}."


def _some(number: int) -> str:
    return "one" if number == 1 else f"{number:,}"
