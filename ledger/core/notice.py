"""What those are told who do not watch: that a run is finished, paused, in trouble; never what was asked or answered.

A notice leaves the machine. It has counts, amounts, names of ours and commands to type; it has no prompt, no answer, no
custom_id and no word of the service, whose error messages may quote a request.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec

from ledger.core import events as e
from ledger.core.costs import cost_report
from ledger.core.spending import cost_groups
from ledger.core.state import RunState
from ledger.core.units import format_instant

NOTICE_VERSION = 1
Kind: TypeAlias = Literal["finished", "paused", "held", "alarm", "failed"]

_OWN_WORDS = frozenset({"budget", "unconfirmed", "workspace"})
"""Pauses whose detail is ours from beginning to end."""
_OWN_ALARMS = frozenset({"twin", "retention", "overdue"})
_PAUSES = {
    "key": "the service refuses the key",
    "spend": "a spend limit or the account's balance is exhausted",
    "canary": "the first items went badly; the rest was not sent",
    "breaker": "too many items ended in an error",
}
_FAILURES = {
    3: "it stopped, and a person is needed",
    5: "the log is damaged",
    6: "the service or the key does not work",
    70: "it ended by a bug",
}


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What a command of ``--notify`` gets on its standard input, and a URL as a body.

    ``event`` is what happened, ``message`` that in a sentence, ``next`` what to type. ``at`` is UTC. ``exit_code`` is
    that of the command, where it ends with this. ``pending`` counts items without an outcome; ``cost_usd`` is what is
    spent so far at batch price, None where that is not known.
    """

    event: Kind
    message: str
    next: str
    at: str
    ledger: str
    ledger_id: str
    simulated: bool
    exit_code: int | None
    asked: int
    pending: int
    outcomes: dict[str, int]
    batches: int
    cost_usd: Decimal | None
    version: int = NOTICE_VERSION


def notice_of(event: e.AnyEvent, at: int, state: RunState, ledger: str) -> Notice | None:
    """Return what is to be told of an event; None where it is nobody's business.

    Args:
        event: what became durable.
        at: when, microseconds UTC.
        state: the run after it.
        ledger: how the ledger is called.
    """
    match event:
        case e.RunFinished():
            failed = sum(count for outcome, count in event.outcomes.items() if outcome != "ok")
            message = f"finished: {sum(event.outcomes.values()):,} items, {failed:,} of them not ok"
            command = f"ledger results {ledger}" + (" --failed" if event.exit_code else "")
            return _notice("finished", message, command, at, state, ledger, event.exit_code)
        case e.RunPaused():
            said = event.detail if event.reason in _OWN_WORDS else _PAUSES.get(event.reason, "nothing more is sent")
            return _notice("paused", f"paused by {event.reason}: {said}", event.lift, at, state, ledger)
        case e.ChunkHeld():
            return _notice("held", f"chunk {event.chunk} is held ({event.reason})", event.lift, at, state, ledger)
        case e.AlarmRaised():
            said = event.detail if event.alarm in _OWN_ALARMS else "`ledger status` says more"
            return _notice("alarm", f"alarm ({event.alarm}): {said}", f"ledger status {ledger}", at, state, ledger)
        case _:
            return None


def failure(exit_code: int, at: int, state: RunState, ledger: str) -> Notice:
    """Return what is to be told of a command that ended in an error."""
    message = _FAILURES.get(exit_code, f"it ended with exit code {exit_code}")
    return _notice("failed", message, f"ledger status {ledger}", at, state, ledger, exit_code)


def _notice(
    kind: Kind, message: str, command: str, at: int, state: RunState, ledger: str, exit_code: int | None = None
) -> Notice:
    total = cost_report(state.prices, cost_groups(state)).total if state.prices is not None else None
    return Notice(
        event=kind,
        message=message,
        next=command,
        at=format_instant(at),
        ledger=ledger,
        ledger_id=state.ledger_id,
        simulated=state.origin == "simulator",
        exit_code=exit_code,
        asked=state.asked,
        pending=state.unfinished,
        outcomes={outcome: count for outcome, count in state.outcomes.items() if count},
        batches=len(state.batches),
        cost_usd=total.cost_usd if total is not None else None,
    )
