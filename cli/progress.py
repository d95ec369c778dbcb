"""A run while it goes on, on standard error: one calm screen on a terminal, dated lines anywhere else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ledger.core import events as e
from ledger.core.decide import Waiting
from ledger.core.state import RunState
from ledger.core.units import MICROSECONDS_PER_SECOND, format_bytes, format_instant

from .drawing import Screen
from .news import news_of
from .output import is_terminal, say
from .screens.live import Line, Purse, live_lines

QUIET_SECONDS = 60.0
"""Off a terminal the reason to wait is said at most this often."""
EVENTS_BETWEEN = 4096
"""A live screen is drawn at least once for so many events."""

Observer = Callable[[int, int, e.AnyEvent], None]


def now_us() -> int:
    """Return the microseconds since 1970 UTC of this machine's clock."""
    return time.time_ns() // 1000


class Progress:
    """Listens to a run; this one says only what needs a person.

    Args:
        observe: is told every durable event: (position, microseconds, event).
    """

    def __init__(self, observe: Observer | None = None) -> None:
        self._observe = observe
        self.state = RunState()
        """As of the last event; to look at, on the writer's thread."""
        self.on_sending: Callable[[], None] = _nothing
        """Called when the first batch is about to be sent, or something is waited for."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the display."""

    # ── the library's Listener ──────────────────────────────────────────────────────────────────────────────────

    def recorded(self, position: int, at: int, event: e.AnyEvent, state: RunState) -> None:
        """Be told of a durable event."""
        self.state = state
        if self._observe is not None:
            self._observe(position, at, event)
        if isinstance(event, e.ResultStored | e.RequestBuilt):  # by the million
            return
        if isinstance(event, e.ChunkSealed):
            self.on_sending()
        for news in news_of(event, state):
            self.tell(at, news.text, urgent=news.urgent)

    def waiting(self, reasons: tuple[Waiting, ...], state: RunState) -> None:
        """Be told what is waited for, several times a second."""
        self.on_sending()
        self.show(reasons, state)

    # ── how it looks ────────────────────────────────────────────────────────────────────────────────────────────

    def tell(self, at: int, text: str, *, urgent: bool = False) -> None:  # noqa: ARG002 - for others
        """Say that something happened."""
        if urgent:
            say(text)

    def show(self, reasons: tuple[Waiting, ...], state: RunState) -> None:
        """Show what is waited for."""

    def reading(self, lines: int, size_bytes: int) -> None:
        """Show how far the items are read."""

    def announce(self, text: str) -> None:
        """Say something from a signal handler, where buffered streams must not be used."""
        os.write(2, f"{text}\n".encode())


class PlainProgress(Progress):
    """A dated line for everything that happens, and the reason to wait once a minute."""

    def __init__(self, observe: Observer | None = None) -> None:
        super().__init__(observe)
        self._shown_at = 0.0

    def tell(self, at: int, text: str, *, urgent: bool = False) -> None:  # noqa: ARG002
        """Say that something happened."""
        say(f"{format_instant(at)}  {text}")

    def show(self, reasons: tuple[Waiting, ...], state: RunState) -> None:  # noqa: ARG002
        """Say what is waited for, once a minute."""
        if reasons and time.monotonic() - self._shown_at >= QUIET_SECONDS:
            self._shown_at = time.monotonic()
            self.tell(now_us(), f"waiting: {sentence(reasons, now_us())}")


class LiveProgress(Progress):
    """A few lines that are drawn anew in their place; what a person should know stays above them.

    Args:
        name: of the ledger.
    """

    def __init__(self, name: str = "") -> None:
        super().__init__()
        self._name = name
        self._screen = Screen()
        self._purse = Purse()
        self._waiting = ""
        self._events = 0

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pause()

    def recorded(self, position: int, at: int, event: e.AnyEvent, state: RunState) -> None:
        """Be told of a durable event; while results come by the million nobody else says that time passes."""
        super().recorded(position, at, event, state)
        self._events += 1
        if self._events % EVENTS_BETWEEN == 0 and state.chunks:
            self._draw(state)

    def tell(self, at: int, text: str, *, urgent: bool = False) -> None:  # noqa: ARG002
        """Leave what needs a person above the screen; the rest is on it."""
        if urgent:
            self._screen.leave(text)

    def show(self, reasons: tuple[Waiting, ...], state: RunState) -> None:
        """Redraw the screen."""
        self._waiting = sentence(reasons, now_us())
        self._draw(state)

    def reading(self, lines: int, size_bytes: int) -> None:
        """Draw how far the items are read."""
        self._screen.draw(
            lambda _columns, _rows, _unicode: [Line(f"reading: {lines:,} lines, {format_bytes(size_bytes)}")]
        )

    def announce(self, text: str) -> None:
        """Say something from a signal handler: in the place of the last line; nothing is drawn after it."""
        self._screen.abandon(text)

    def pause(self) -> None:
        """Take the screen away, so that a question can be asked; it comes back by itself."""
        self._screen.clear()

    def _draw(self, state: RunState) -> None:
        self._screen.draw(
            lambda columns, rows, unicode: live_lines(
                state,
                self._purse,
                name=self._name,
                waiting=self._waiting,
                now=now_us(),
                columns=columns,
                rows=rows,
                unicode=unicode,
            )
        )


def progress_for(*, quiet: bool, observe: Observer | None = None, name: str = "") -> Progress:
    """Return the progress that fits where standard error goes."""
    if quiet:
        return Progress(observe)
    is_live = is_terminal(2) and observe is None and os.environ.get("TERM") != "dumb"
    return LiveProgress(name) if is_live else PlainProgress(observe)


def sentence(reasons: tuple[Waiting, ...], now: int) -> str:
    """Return what is waited for, and how long at most: ``12:41 until it is certain …; 2 batches of …``."""
    return "; ".join(_reason(reason, now) for reason in reasons)


def _reason(reason: Waiting, now: int) -> str:
    left = (reason.until - now) // MICROSECONDS_PER_SECOND
    if left <= 0:
        return reason.why
    minutes, seconds = divmod(left, 60)
    clock = f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}" if minutes >= 60 else f"{minutes}:{seconds:02d}"
    return f"{clock} {reason.why}" if reason.why.startswith("until ") else f"{reason.why} ({clock})"


def _nothing() -> None:
    """Nobody wants to know."""
