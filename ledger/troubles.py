"""The errors that a run met most, as the service worded them, with items to look at: why a brake has stopped it."""

from __future__ import annotations

import msgspec

from ledger.core.answers import read_row
from ledger.core.state import BRAKES, RunState
from ledger.ports import EventLog

KINDS_SHOWN = 3
MESSAGE_CHARACTERS = 200


class ErrorMet(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of error, how many results had it, what the service said once, and the custom_ids of a few of them."""

    kind: str
    results: int
    message: str
    items: tuple[str, ...]


def errors_met(log: EventLog, state: RunState) -> tuple[ErrorMet, ...]:
    """Return the kinds of errors met most, where the run is stopped for too many; nothing otherwise.

    Args:
        log: the ledger, for what the service said.
        state: its state.
    """
    if not state.pauses.keys() & set(BRAKES):
        return ()
    kinds = sorted(state.errors.items(), key=lambda met: (-met[1][0], met[0]))[:KINDS_SHOWN]
    return tuple(
        ErrorMet(
            kind=kind,
            results=results,
            message=_message(log, state, kind, examples),
            items=tuple(payload.custom_id for payload in log.request_payloads(sorted(examples))),
        )
        for kind, (results, *examples) in kinds
    )


def _message(log: EventLog, state: RunState, kind: str, examples: list[int]) -> str:
    """Return what the service said of one of these items; nothing where they were all asked again meanwhile."""
    for ordinal in examples:
        for payload in log.result_payloads(state.columns.chunk[ordinal]):
            if payload.ordinal == ordinal:
                answer = read_row(payload.row)
                if answer is not None and answer.error_kind == kind and answer.error_message:
                    return answer.error_message[:MESSAGE_CHARACTERS]
    return ""
