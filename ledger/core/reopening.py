"""Second chances: which requests that have an outcome are to be asked again."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from ledger.core import events as e
from ledger.core.columns import FINAL, OUTCOME_OF_STATUS, to_ranges
from ledger.core.columns import ordinals as ordinals_in
from ledger.core.errors import UsageError
from ledger.core.events import OUTCOMES, Outcome
from ledger.core.state import RunState

BY_ITSELF: tuple[Outcome, ...] = ("errored", "expired", "canceled", "missing", "lost")
"""What may go well when the very same is asked again. The others need another body, or another limit."""


class Reopening(msgspec.Struct, frozen=True, kw_only=True):
    """What a retry opens. ``left`` counts, by outcome, what went wrong and stays as it is.

    ``redacted`` is how many would have been opened, had their bodies not been deleted.
    """

    event: e.RequestsReopened | None
    opened: dict[str, int]
    left: dict[str, int]
    redacted: int = 0

    @property
    def ordinals(self) -> list[int]:
        """The requests that are opened, ascending."""
        return list(ordinals_in(self.event.ranges)) if self.event is not None else []


def reopening(
    state: RunState, outcomes: Collection[str] | None = None, ordinals: Sequence[int] | None = None
) -> Reopening:
    """Return what is opened again.

    Args:
        state: the run.
        outcomes: only requests of these; ``BY_ITSELF`` when None, or any where ``ordinals`` names them.
        ordinals: only these requests; those of them without an outcome are at work already and are left out.

    Raises:
        UsageError: there is no such outcome.
    """
    unknown = sorted(set(outcomes or ()) - set(OUTCOMES))
    if unknown:
        raise UsageError(f"there is no outcome {unknown[0]!r}", next=f"use of {', '.join(OUTCOMES)}")
    named = OUTCOMES if outcomes is None and ordinals is not None else outcomes or BY_ITSELF
    wanted = bytearray(256)
    for status, outcome in OUTCOME_OF_STATUS.items():
        wanted[status] = outcome in named
    statuses = state.columns.status
    among = range(len(statuses)) if ordinals is None else sorted(set(ordinals))
    columns = state.columns
    chosen = [ordinal for ordinal in among if wanted[statuses[ordinal]]]
    members = [ordinal for ordinal in chosen if not columns.is_redacted(ordinal)] if columns.redacted else chosen
    opened: dict[str, int] = {}
    for ordinal in members:
        outcome = OUTCOME_OF_STATUS[statuses[ordinal]]
        opened[outcome] = opened.get(outcome, 0) + 1
    fine = {"ok", *state.policy.accept}
    left = {
        str(outcome): count - opened.get(outcome, 0)
        for outcome, count in state.outcomes.items()
        if outcome not in fine and count > opened.get(outcome, 0)
    }
    event = e.RequestsReopened(ranges=to_ranges(members), requests=len(members)) if members else None
    return Reopening(event=event, opened=opened, left=left, redacted=len(chosen) - len(members))


def reopened_for_recovery(state: RunState, ordinals: Sequence[int]) -> list[e.AnyEvent]:
    """Return the event of a forgotten reopening: a batch that the log forgot asked again what has an outcome here."""
    members = [ordinal for ordinal in ordinals if state.columns.status[ordinal] >= FINAL]
    return [e.RequestsReopened(ranges=to_ranges(members), requests=len(members), by="recovery")] if members else []
