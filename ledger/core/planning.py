"""A decision in the making: commands, reasons to wait, when to ask again; and how long a failure is waited for."""

from __future__ import annotations

from hashlib import sha256

import msgspec

from ledger.core.commands import Command
from ledger.core.state import RunState

BACKOFF_CAP_US = 60_000_000


class Waiting(msgspec.Struct, frozen=True):
    """What the run waits for, in words, and until when on the writer's clock (0: it cannot be said)."""

    why: str
    until: int = 0


class Decision(msgspec.Struct, frozen=True):
    """Commands to start now, when to ask again at the latest (0: when something happens), and what is waited for.

    ``exit_code`` is None while the run goes on; else it is over (0, 1) or stuck until a person acts (3, 6).
    """

    commands: tuple[Command, ...]
    wake_at: int = 0
    waiting: tuple[Waiting, ...] = ()
    exit_code: int | None = None


class Plan:
    """A decision in the making."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.wakes: list[int] = []
        self.waiting: list[Waiting] = []

    def wait(self, until: int, why: str = "") -> None:
        """Plan to ask again at an instant, and say why if there is something to say."""
        self.wakes.append(until)
        if why:
            self.waiting.append(Waiting(why, until))

    def decision(self, exit_code: int | None = None) -> Decision:
        """Return what was planned."""
        return Decision(tuple(self.commands), min(self.wakes, default=0), tuple(self.waiting), exit_code)


def backoff_us(state: RunState, key: str, count: int, retry_after_us: int) -> int:
    """Return how long to wait after ``count`` failures in a row: doubling, capped, jittered, at least what was asked.

    The jitter is drawn from a hash, so that replaying decides the same.
    """
    base = min(1_000_000, max(state.policy.poll_us, 1))
    delay = min(base << min(count - 1, 16), BACKOFF_CAP_US)
    draw = sha256(f"{state.ledger_id}/{key}/{count}".encode()).digest()[0]
    return max(retry_after_us, delay * (768 + draw) // 1024)


def is_ready(state: RunState, now: int, plan: Plan, key: str) -> bool:
    """Return whether a command's back-off is over; if not, plan to wake when it is."""
    failure = state.failures.get(key)
    if failure is None:
        return True
    due = failure.at + backoff_us(state, key, failure.count, failure.retry_after_us)
    if now >= due or now < failure.at:  # a clock set back must not stretch a wait
        return True
    plan.wait(due, f"{key} failed ({failure.detail or failure.status}); trying again")
    return False
