"""A run as it stands this moment, in a few lines that fit a terminal: drawn again and again by ``run`` and ``--watch``.

The service tells nothing of a batch before it has ended, so nothing here pretends to know how far one is: the bar
counts items whose batch has ended, and beside the age of the oldest stands how long others took.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Literal, NamedTuple

from ledger.core.costs import cost_report
from ledger.core.spending import cost_groups
from ledger.core.state import Chunk, RunState
from ledger.core.units import MICROSECONDS_PER_SECOND, format_duration, format_usd

from .tables import cell_width, counted, printable, table

Style = Literal["", "bar", "dim", "strong", "alarm"]

_DONE, _OUT, _LEFT = "█", "▒", "░"
_PLAIN = {_DONE: "#", _OUT: "=", _LEFT: "."}
_BEFORE = ("sealed", "prepared", "released")
_STATE = {
    "sealed": "to be sent",
    "prepared": "being sent",
    "released": "being sent",
    "uncertain": "in doubt",
    "submitted": "at the service",
    "ended": "being collected",
}
_FIRST = ("uncertain", "ended", "submitted", "released", "prepared", "sealed")
_TABLE_ROWS = 8
_USUAL = "most batches end within an hour, all within 24"


class Line(NamedTuple):
    """One line of the screen: its text, and what it is."""

    text: str
    style: Style = ""


class Purse:
    """What was spent, worked out at most once for each position of the log."""

    def __init__(self) -> None:
        self._position = -1
        self._spent: Decimal | None = None

    def spent_usd(self, state: RunState) -> Decimal | None:
        """Return the dollars that are known to be billed; None where a price is not known."""
        if state.position != self._position and state.prices is not None:
            self._position = state.position
            self._spent = cost_report(state.prices, cost_groups(state), "model").total.cost_usd
        return self._spent


def live_lines(
    state: RunState, purse: Purse, *, name: str, waiting: str, now: int, columns: int, rows: int, unicode: bool = True
) -> list[Line]:
    """Return the screen.

    Args:
        state: the run.
        purse: remembers what it cost.
        name: of the ledger.
        waiting: what is waited for, in a sentence; empty where nobody knows.
        now: microseconds since 1970 UTC.
        columns: of the terminal; no line is longer.
        rows: of the terminal; there are fewer lines than that.
        unicode: whether the terminal can show more than ASCII.
    """
    head = [_title(state, name, now), Line(_bar(state, columns, unicode=unicode), "bar"), Line(_counts(state))]
    head += [Line(text, "dim") for text in _ages(state, now)]
    money = _money(state, purse)
    head += [Line(money)] if money else []
    alarms = [Line(text, "alarm") for text in _alarms(state)]
    tail = [*alarms, *([Line(waiting, "dim")] if waiting else [])]
    room = min(rows - 1 - len(head) - len(tail) - 2, _TABLE_ROWS)
    found = [*head, *_batches(state, now, columns, room), *tail]
    return [Line(_cut(line.text, columns), line.style) for line in found][: max(rows - 1, 1)]


def _title(state: RunState, name: str, now: int) -> Line:
    done, asked = state.asked - state.unfinished, state.asked
    since = format_duration(max(now - state.opened_at, 0) / MICROSECONDS_PER_SECOND)
    simulated = " · SIMULATED" if state.origin == "simulator" else ""
    return Line(f"{name}: {done:,} of {asked:,} items done · begun {since} ago{simulated}", "strong")


def _bar(state: RunState, columns: int, *, unicode: bool) -> str:
    size, asked = max(columns, 10), max(state.asked, 1)
    done = state.asked - state.unfinished
    out = _requests(state, "submitted", "ended", "uncertain")
    wide = [_share(done, asked, size), _share(done + out, asked, size)]
    bar = _DONE * wide[0] + _OUT * (wide[1] - wide[0]) + _LEFT * (size - wide[1])
    return bar if unicode else "".join(_PLAIN[letter] for letter in bar)


def _share(part: int, whole: int, size: int) -> int:
    """Return how much of a bar a part fills: all of it only when all is done, and something when anything is."""
    if part >= whole:
        return size
    return min(max(part * size // whole, 1 if part else 0), size - 1)


def _requests(state: RunState, *statuses: str) -> int:
    return sum(chunk.requests for status in statuses for chunk in state.by_status[status].values())


def _counts(state: RunState) -> str:
    groups = (
        ("being collected", _requests(state, "ended")),
        ("at the service", _requests(state, "submitted")),
        ("in doubt", _requests(state, "uncertain")),
        ("on their way", _requests(state, *_BEFORE)),
        ("not sent yet", state.pending),
    )
    said = [f"{count:,} {name}" for name, count in groups if count]
    bad = [f"{count:,} {outcome}" for outcome, count in state.outcomes.items() if outcome != "ok" and count]
    return " · ".join([f"{state.outcomes['ok']:,} ok", *bad, *said])


def _ages(state: RunState, now: int) -> Iterator[str]:
    """Say how long the oldest batch has been away, and how long others took: nobody knows more."""
    open_ones = [chunk.created_at for chunk in state.by_status["submitted"].values() if chunk.created_at]
    if not open_ones:
        return
    age = format_duration(max(now - min(open_ones), 0) / MICROSECONDS_PER_SECOND)
    took = sorted(
        chunk.ended_at - chunk.created_at for chunk in state.chunks.values() if chunk.ended_at > chunk.created_at > 0
    )
    usual = _USUAL
    if took:
        low, high = (format_duration(one / MICROSECONDS_PER_SECOND) for one in (took[0], took[-1]))
        span = f"took {low}" if low == high else f"took {low} to {high}"
        usual = f"{counted(len(took), 'batch')} that ended {span}"
    yield f"the oldest batch is {age} old; {usual}"


def _money(state: RunState, purse: Purse) -> str:
    spent = purse.spent_usd(state)
    if state.prices is None:
        return ""
    said = "spent: unknown (a price is missing)" if spent is None else f"spent {format_usd(spent)}"
    budget = state.budget.max_usd if state.budget is not None else ""
    return f"{said} of {format_usd(Decimal(budget))}" if budget else said


def _batches(state: RunState, now: int, columns: int, room: int) -> list[Line]:
    """Return the batches that are not done, what needs attention first, and how many there are beside them."""
    chunks = [chunk for status in _FIRST for chunk in state.by_status[status].values()]
    chunks.sort(key=lambda chunk: chunk.hold is None)
    if not chunks or room < 2:
        return []
    shown = chunks if len(chunks) <= room else chunks[: room - 1]
    text = table(
        [_row(chunk, now) for chunk in shown],
        "rlrrl",
        header=("chunk", "batch", "requests", "age", "state"),
        elastic=1,
        columns=columns,
    )
    lines = [Line(line, "dim" if not at else "") for at, line in enumerate(text.splitlines())]
    left = len(chunks) - len(shown)
    return [*lines, Line(f"and {counted(left, 'batch')} more", "dim")] if left else lines


def _row(chunk: Chunk, now: int) -> Sequence[str]:
    age = format_duration(max(now - chunk.created_at, 0) / MICROSECONDS_PER_SECOND) if chunk.created_at else "-"
    said = "held" if chunk.hold else _STATE[chunk.status]
    return (str(chunk.chunk), chunk.batch or "-", f"{chunk.requests:,}", age, said)


def _alarms(state: RunState) -> Iterator[str]:
    for pause in state.pauses.values():
        yield f"paused by {pause.reason}: {pause.detail}"
        yield f"  next: {pause.lift}"
    for chunk in state.live_chunks():
        if chunk.hold is not None:
            yield f"chunk {chunk.chunk} is held; next: {chunk.hold.lift}"
    for twin in state.twins.values():
        yield f"chunk {twin.chunk} has a second batch; next: ledger resolve {twin.chunk} --cancel {twin.batch}"
    for alarm in list(state.alarms.values())[-2:]:
        yield alarm.detail


def _cut(text: str, columns: int) -> str:
    """Return a text that fits into one line."""
    text = printable(text)
    if cell_width(text) <= columns:
        return text
    while cell_width(text) > columns - 1:
        text = text[:-1]
    return f"{text}…"
