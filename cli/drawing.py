"""A few lines on standard error that are drawn again in their place."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .output import printable, say
from .screens.live import Line

if TYPE_CHECKING:
    from rich.live import Live

REDRAW_SECONDS = 0.25
_STYLES = {"": "", "bar": "green", "dim": "dim", "strong": "bold", "alarm": "bold yellow"}

Compose = Callable[[int, int, bool], list[Line]]
"""(columns, rows, whether more than ASCII can be shown) → the lines."""


class Screen:
    """Lines at the bottom of a terminal. rich is imported when the first is drawn."""

    def __init__(self) -> None:
        self._live: Live | None = None
        self._drawn_at = 0.0
        self._is_abandoned = False

    def draw(self, compose: Compose, *, at_once: bool = False) -> None:
        """Draw lines in the place of those before, at most four times a second."""
        now = time.monotonic()
        if self._is_abandoned or (now - self._drawn_at < REDRAW_SECONDS and not at_once):
            return
        self._drawn_at = now
        live = self._started()
        from rich.text import Text

        console = live.console
        # One column is left free: some terminals begin a new line when the last one is written to.
        lines = compose(console.width - 1, console.height, not console.options.ascii_only)
        text = Text("\n").join(Text(line.text, style=_STYLES[line.style]) for line in lines)
        text.no_wrap, text.overflow = True, "crop"
        live.update(text, refresh=True)

    def leave(self, text: str) -> None:
        """Say something that stays above the lines."""
        if self._live is not None and not self._is_abandoned:
            self._live.console.print(printable(text), soft_wrap=True)
        else:
            say(text)

    def clear(self) -> None:
        """Take the lines away; drawing brings them back."""
        if self._live is not None and not self._is_abandoned:
            self._live.stop()
        self._live = None

    def abandon(self, text: str) -> None:
        """Say something from a signal handler, in the place of the last line, and draw nothing any more.

        A handler interrupts whatever the display is doing, so it writes past it; where the display is it then knows no
        longer.
        """
        self._is_abandoned = True
        show_cursor = "\x1b[?25h" if self._live is not None else ""
        os.write(2, f"\r\x1b[2K{text}\n{show_cursor}".encode())

    def _started(self) -> Live:
        if self._live is None:
            from rich.console import Console
            from rich.live import Live

            console = Console(stderr=True, highlight=False, markup=False, emoji=False)
            self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)
            self._live.start()
        return self._live
