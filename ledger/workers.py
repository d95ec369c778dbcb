"""Work beside the writer, and how the two wait for one another.

The runner needs four things of its surroundings: start something beside it, take the next message or give up waiting,
tell one waiting worker to go on, and a clock for patience. Here they are threads. The simulation puts a scheduler in
their place that decides everything by a seed, and the runner never knows.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

Message = TypeVar("Message")


class Mailbox(Protocol[Message]):
    """Messages from many workers to one reader, in the order they came."""

    def put(self, message: Message) -> None:
        """Add a message; safe to call from a signal handler."""
        ...

    def take(self, seconds: float) -> Message | None:
        """Return the oldest message; None when none came within so many seconds (0: none is there)."""
        ...


class Signal(Protocol):
    """What one worker waits for and another gives, once."""

    def give(self) -> None:
        """Let who waits go on."""
        ...

    def wait(self, seconds: float) -> bool:
        """Return whether it was given, after so many seconds at most."""
        ...


class Workers(Protocol):
    """Where commands are carried out."""

    def start(self, name: str, work: Callable[[], None]) -> None:
        """Begin a piece of work beside the caller; it lets no exception out."""
        ...

    def mailbox(self) -> Mailbox[Message]:
        """Return a new, empty mailbox."""
        ...

    def signal(self) -> Signal:
        """Return a new signal."""
        ...


class _ThreadMailbox(Generic[Message]):
    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def put(self, message: Message) -> None:
        self._queue.put(message)

    def take(self, seconds: float) -> Message | None:
        try:
            return self._queue.get(timeout=seconds) if seconds else self._queue.get_nowait()
        except queue.Empty:
            return None


class _ThreadSignal:
    def __init__(self) -> None:
        self._event = threading.Event()

    def give(self) -> None:
        self._event.set()

    def wait(self, seconds: float) -> bool:
        return self._event.wait(seconds)


class Threads:
    """Workers that are daemon threads: none keeps a process alive that has ended."""

    def start(self, name: str, work: Callable[[], None]) -> None:
        """Begin a piece of work on a thread of its own."""
        threading.Thread(target=work, name=name, daemon=True).start()

    def mailbox(self) -> Mailbox[Message]:
        """Return a queue."""
        return _ThreadMailbox()

    def signal(self) -> Signal:
        """Return an event."""
        return _ThreadSignal()
