"""One thread, many tasks, one virtual clock: what happens next is decided by a seed and by nothing else.

Tasks are greenlets. A task runs until it waits; then the one with the earliest instant goes on, and among equals the
seed chooses. Nobody ever sleeps, so weeks of polling pass in milliseconds, and the same seed is the same history.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

SECOND = 1_000_000


class Process:
    """A group of tasks that live and die together; ``paused_until`` is an instant before which none of them runs."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.scheduler = scheduler
        self.name = name
        self.dead = False
        self.paused_until = 0
        self._tasks: list[Task] = []
        scheduler.processes.append(self)

    def start(self, name: str, work: Callable[[], None]) -> None:
        """Begin a task; part of the runner's port for workers."""
        if self.dead:
            raise GreenletExit
        task = Task(work, self)
        self._tasks.append(task)
        self.scheduler.wake(task)

    def mailbox(self) -> Mailbox:
        """Return a mailbox; part of the port."""
        return Mailbox(self)

    def signal(self) -> Signal:
        """Return a signal; part of the port."""
        return Signal(self)

    def sleep(self, microseconds: int) -> None:
        """Let the current task wait so long."""
        self.block(self.scheduler.now + microseconds)

    def block(self, until: int) -> None:
        """Let the current task wait until it is woken, or until an instant."""
        if self.dead:
            raise GreenletExit
        scheduler, task = self.scheduler, getcurrent()
        assert isinstance(task, Task)
        scheduler.push(until, task)
        scheduler.hub.switch()
        task.ticket += 1
        if self.dead:
            raise GreenletExit

    def kill(self) -> None:
        """End all tasks as SIGKILL does: none of them does anything any more."""
        self.dead = True
        for task in self._tasks:
            if task is not getcurrent() and not task.dead and task.started:
                task.throw(GreenletExit)
        self._tasks.clear()


class Task(greenlet):
    """One thread of a process. ``ticket`` tells waits apart: who was woken is not woken again by an old alarm."""

    def __init__(self, work: Callable[[], None], process: Process) -> None:
        super().__init__(work, process.scheduler.hub)
        self.process = process
        self.ticket = 0
        self.started = False


class Scheduler:
    """The order of everything.

    Args:
        random: decides among what is due at the same instant.
        start: the first instant, microseconds UTC.
    """

    def __init__(self, random: Random, start: int) -> None:
        self.now = start
        self.hub = getcurrent()
        self.steps = 0
        self.processes: list[Process] = []
        self._draw = random.random
        self._heap: list[tuple[int, float, int, Any, int]] = []
        self._count = 0

    def at(self, instant: int, action: Callable[[], None]) -> None:
        """Have something happen at an instant; it must not wait."""
        self._count += 1
        heappush(self._heap, (max(instant, self.now), self._draw(), self._count, action, -1))

    def push(self, instant: int, task: Task) -> None:
        """Have a task go on at an instant, unless it was woken before."""
        self._count += 1
        if instant < self.now:
            instant = self.now
        heappush(self._heap, (instant, self._draw(), self._count, task, task.ticket))

    def wake(self, task: Task) -> None:
        """Have a task go on now."""
        self.push(self.now, task)

    def close(self) -> None:
        """End every process that is left: a suspended greenlet keeps its whole world in memory."""
        for process in self.processes:
            process.kill()
        self._heap.clear()

    def run(self, until: int, steps_at_most: int = 1 << 62) -> bool:
        """Let everything happen up to an instant; return whether anything is left to happen after it."""
        heap = self._heap
        while heap and heap[0][0] <= until and self.steps < steps_at_most:
            instant, _, _, what, ticket = heappop(heap)
            self.now = instant
            if ticket < 0:
                self.steps += 1
                what()
                continue
            process = what.process
            if ticket != what.ticket or process.dead or what.dead:
                continue
            if process.paused_until > instant:
                self.push(process.paused_until, what)
                continue
            self.steps += 1
            what.started = True
            what.switch()
        return bool(heap)


class Mailbox:
    """The runner's port, by one process's tasks."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._messages: deque[Any] = deque()
        self._reader: Task | None = None

    def put(self, message: Any) -> None:
        self._messages.append(message)
        if self._reader is not None and not self._process.dead:
            self._process.scheduler.wake(self._reader)

    def take(self, seconds: float) -> Any:
        if not self._messages and seconds:
            current = getcurrent()
            assert isinstance(current, Task)
            self._reader = current
            self._process.block(self._process.scheduler.now + max(round(seconds * SECOND), 1))
            self._reader = None
        return self._messages.popleft() if self._messages else None


class Signal:
    """The runner's port, by one process's tasks."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._given = False
        self._waiting: Task | None = None

    def give(self) -> None:
        self._given = True
        if self._waiting is not None and not self._process.dead:
            self._process.scheduler.wake(self._waiting)

    def wait(self, seconds: float) -> bool:
        if not self._given:
            current = getcurrent()
            assert isinstance(current, Task)
            self._waiting = current
            self._process.block(self._process.scheduler.now + max(round(seconds * SECOND), 1))
            self._waiting = None
        return self._given
