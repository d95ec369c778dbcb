"""A run while it goes on, on standard error: one calm line on a terminal, dated lines anywhere else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ledger.core import events as e
from ledger.core.decide import Waiting
from ledger.core.state import RunState
from ledger.core.units import MICROSECONDS_PER_SECOND, format_bytes, format_instant

from .news import news_of
from .output import is_terminal, printable, say

if TYPE_CHECKING:
    from rich.live import Live

QUIET_SECONDS = 60.0
"""Off a terminal the reason to wait is said at most this often."""
REDRAW_SECONDS = 0.1

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
    """One sentence that is overwritten; what a person should know stays above it."""

    def __init__(self, observe: Observer | None = None) -> None:
        super().__init__(observe)
        self._live: Live | None = None
        self._drawn_at = 0.0

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pause()

    def tell(self, at: int, text: str, *, urgent: bool = False) -> None:  # noqa: ARG002
        """Leave what needs a person above the line; the rest is on it."""
        if urgent and self._live is not None:
            self._live.console.print(printable(text), soft_wrap=True)
        elif urgent:
            say(text)

    def show(self, reasons: tuple[Waiting, ...], state: RunState) -> None:
        """Redraw the line."""
        done = state.asked - state.unfinished
        said = sentence(reasons, now_us())
        self._draw(f"{done:,} of {state.asked:,} done" + (f" · {said}" if said else ""))

    def reading(self, lines: int, size_bytes: int) -> None:
        """Redraw the line."""
        self._draw(f"reading: {lines:,} lines, {format_bytes(size_bytes)}")

    def announce(self, text: str) -> None:
        """Say something from a signal handler: in the place of the line, which is drawn again below."""
        os.write(2, f"\r\x1b[2K{text}\n".encode())

    def pause(self) -> None:
        """Take the line away, so that a question can be asked; it comes back by itself."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _draw(self, text: str) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        now = time.monotonic()
        if now - self._drawn_at < REDRAW_SECONDS:
            return
        self._drawn_at = now
        if self._live is None:
            console = Console(stderr=True, highlight=False, markup=False, emoji=False)
            self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
            self._live.start()
        self._live.update(Text(printable(text)), refresh=True)


def progress_for(*, quiet: bool, observe: Observer | None = None) -> Progress:
    """Return the progress that fits where standard error goes."""
    if quiet:
        return Progress(observe)
    is_live = is_terminal(2) and observe is None and os.environ.get("TERM") != "dumb"
    return LiveProgress() if is_live else PlainProgress(observe)


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
