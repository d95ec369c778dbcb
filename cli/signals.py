"""Being told to stop: the first signal stops cleanly, a second Ctrl-C at once; neither loses anything."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ledger.core.errors import LedgerError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedError(LedgerError):
    """The run was told to stop before it sent anything."""


class Stopping:
    """What was asked for by signals.

    Args:
        stop: ends the run soon; safe to call from a signal handler.
        announce: says that it is being stopped; must not use Python's buffered streams.
    """

    def __init__(self, stop: Callable[[], None], announce: Callable[[str], None]) -> None:
        self._stop = stop
        self._announce = announce
        self._received = 0
        self.is_sending = False
        """Set once something may be under way: from then on the run itself winds down."""

    @property
    def exit_code(self) -> int:
        """128 + the signal, as shells say it; 0 where none came."""
        return 128 + self._received if self._received else 0

    def handle(self, number: int, _: FrameType | None) -> None:
        """Handle a signal."""
        if self._received:
            if number == signal.SIGINT:
                self._announce("stopped at once; nothing is lost, `ledger resume` goes on")
                os._exit(128 + number)
            return
        self._received = number
        self._stop()
        if not self.is_sending:
            raise StoppedError("stopped while the items were read; nothing was sent")
        self._announce("stopping; Ctrl-C again ends at once")


@contextmanager
def stoppable(stop: Callable[[], None], announce: Callable[[str], None]) -> Iterator[Stopping]:
    """Handle SIGINT, SIGTERM and SIGHUP inside the block, as they were handled before after it."""
    stopping = Stopping(stop, announce)
    before: dict[int, Any] = {}
    for number in map(int, _SIGNALS):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
            before[number] = signal.signal(number, stopping.handle)
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
