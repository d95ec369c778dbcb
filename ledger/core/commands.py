"""What ``decide`` wants done. A command is an imperative; what comes of it are events.

``key`` names what a command is about: the runner starts none whose key is already at work.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from ledger.core.events import AnyEvent


class Record(msgspec.Struct, frozen=True):
    """Append events: a conclusion that follows from the state alone."""

    events: tuple[AnyEvent, ...]

    @property
    def key(self) -> str:
        """Conclusions are drawn one at a time."""
        return "record"


class Seal(msgspec.Struct, frozen=True):
    """Cut the next chunk of a lane, of a number of requests that is not in ``avoid``."""

    priority: int
    retry: bool
    max_requests: int
    max_bytes: int
    avoid: frozenset[int]

    @property
    def key(self) -> str:
        """One chunk is cut at a time."""
        return "seal"


class SealChosen(msgspec.Struct, frozen=True):
    """Seal these requests, from all over the input, ahead of the rest: as a canary, or to prime the cache."""

    members: tuple[int, ...]
    priority: int
    cause: Literal["canary", "priming"]

    @property
    def key(self) -> str:
        """One chunk is cut at a time."""
        return "seal"


class Split(msgspec.Struct, frozen=True):
    """Cut a refused chunk in two, or, with ``ordinal``, reject that item and seal the rest."""

    chunk: int
    cause: str
    ordinal: int = -1
    why: str = ""

    @property
    def key(self) -> str:
        """By chunk."""
        return f"split:{self.chunk}"


class Submit(msgspec.Struct, frozen=True):
    """Have a sealed chunk accepted."""

    chunk: int

    @property
    def key(self) -> str:
        """By chunk."""
        return f"submit:{self.chunk}"


class Look(msgspec.Struct, frozen=True):
    """List the workspace's batches: statuses, evidence for uncertain submissions, twins.

    ``horizon`` is the server's instant to page back to when ``evidence`` is wanted; without it the list stops as
    soon as every open batch was seen.
    """

    evidence: bool
    horizon: int

    @property
    def key(self) -> str:
        """One look at a time."""
        return "look"


class Inspect(msgspec.Struct, frozen=True):
    """Read the rows of an ended batch that nobody claims, to know whose it is."""

    batch: str

    @property
    def key(self) -> str:
        """By batch."""
        return f"inspect:{self.batch}"


class Collect(msgspec.Struct, frozen=True):
    """Store the results of an ended batch."""

    chunk: int

    @property
    def key(self) -> str:
        """By chunk."""
        return f"collect:{self.chunk}"


class Cancel(msgspec.Struct, frozen=True):
    """Ask the service to cancel a batch."""

    batch: str

    @property
    def key(self) -> str:
        """By batch."""
        return f"cancel:{self.batch}"


Command: TypeAlias = Record | Seal | SealChosen | Split | Submit | Look | Inspect | Collect | Cancel
