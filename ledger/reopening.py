"""Before ``ledger retry`` goes on as ``resume``: what is to be asked again is opened, as it is or amended."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from typing import BinaryIO, NamedTuple

from ledger.amending import Amending, Changes, open_amended
from ledger.braking import UNCONFIRMED, reopened_unconfirmed
from ledger.core.reopening import Reopening, reopening
from ledger.retrying import find_ids, refuse_redacted
from ledger.runner import Writer


class Wanted(NamedTuple):
    """Which items a person wants to have asked again, and with which bodies; ``corrected`` is a file of items."""

    outcomes: Sequence[str] | None
    ids: Collection[str] | None
    corrected: str | None
    changes: Changes


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


def _known(writer: Writer, ids: Collection[str]) -> Collection[str]:
    return find_ids(writer.log, writer.state, ids)
