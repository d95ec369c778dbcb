"""Before ``ledger retry`` goes on as ``resume``: what is to be asked again is opened, as it is or amended."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from typing import BinaryIO, NamedTuple

from ledger.amending import Amending, Changes, open_amended
from ledger.braking import UNCONFIRMED, reopened_unconfirmed
from ledger.core import events as e
from ledger.core.decide import Waiting
from ledger.core.reopening import Reopening, reopening
from ledger.core.state import RunState, outcome_of
from ledger.retrying import find_ids, refuse_redacted
from ledger.runner import Listener, Writer


class Wanted(NamedTuple):
    """Which items a person wants to have asked again, and with which bodies; ``corrected`` is a file of items."""

    outcomes: Sequence[str] | None
    ids: Collection[str] | None
    corrected: str | None
    changes: Changes


class HoldingBack:
    """A listener before another one, which is not told of the pause that only lasts until somebody has agreed.

    Args:
        listener: is told of everything else, and of the pause as soon as the run goes on with it.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._pause: tuple[int, int, e.RunPaused] | None = None

    def recorded(self, position: int, at: int, event: e.AnyEvent, state: RunState) -> None:
        """Be told of a durable event."""
        if isinstance(event, e.RunPaused) and event.reason == UNCONFIRMED:
            self._pause = position, at, event
        elif isinstance(event, e.RunResumed) and event.reason == UNCONFIRMED and self._pause is not None:
            self._pause = None
        else:
            self._listener.recorded(position, at, event, state)

    def waiting(self, reasons: tuple[Waiting, ...], state: RunState) -> None:
        """Be told what is waited for."""
        self.release(state)
        self._listener.waiting(reasons, state)

    def release(self, state: RunState) -> None:
        """Tell of the pause: nobody has agreed."""
        if self._pause is not None:
            self._listener.recorded(*self._pause, state)
            self._pause = None


def reopen(
    writer: Writer, wanted: Wanted, spool: BinaryIO, today: date, *, has_to_agree: bool
) -> tuple[Reopening, int]:
    """Open requests again; return what was opened, and how many bodies were replaced.

    Args:
        writer: of the ledger.
        wanted: which, and how.
        spool: a private, empty file.
        today: the day by which models are retired.
        has_to_agree: whether nothing of it may be sent before somebody has agreed to what it costs.

    Raises:
        UsageError: there is no such item, or it cannot be asked like that; nothing was recorded.
        InputError: a body is no valid item; likewise.
    """
    state = writer.state
    amending = Amending(writer.log, state, wanted.changes, today)
    ids = None if wanted.ids is None else set(wanted.ids)
    if wanted.corrected is not None:
        corrected = amending.read(wanted.corrected, spool)
        found_in_file = find_ids(writer.log, state, corrected)
        amending.names(found_in_file)
        ids = set(corrected) if ids is None else ids.intersection(_known(writer, ids), corrected)
    named = None
    if ids is not None:
        by_id = find_ids(writer.log, state, ids)
        refuse_redacted(state, by_id)
        named = sorted(by_id.values())
        if wanted.ids is None and wanted.outcomes is None:
            named = _without_answered(state, amending, named)
    found = reopening(state, wanted.outcomes, named)
    # With the first event: a process that dies behind it leaves nothing that a later one would send unasked.
    asks = has_to_agree and UNCONFIRMED not in state.pauses and found.event is not None
    announce = [reopened_unconfirmed(found.event)] if asks and found.event is not None else []
    if wanted.corrected is None and not wanted.changes.said():
        if found.event is not None:
            writer.append([found.event, *announce])
        return found, 0
    opened = found.ordinals
    return found, open_amended(writer, lambda: amending.plan(opened, named or ()), opened, announce)


def _without_answered(state: RunState, amending: Amending, named: list[int]) -> list[int]:
    """Leave out what is answered and would be asked the very same: a file often holds more than was mended."""
    fine = {"ok", *state.policy.accept}
    answered = [ordinal for ordinal in named if outcome_of(state, ordinal) in fine]
    same = {change.ordinal for change in amending.plan(answered, ()) if change.after is None}
    return [ordinal for ordinal in named if ordinal not in same]


def _known(writer: Writer, ids: Collection[str]) -> Collection[str]:
    return find_ids(writer.log, writer.state, ids)
