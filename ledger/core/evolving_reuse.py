"""What the events of answers from another ledger make of a state: a part of ``evolve``."""

from __future__ import annotations

from msgspec.structs import replace

from ledger.core import events as e
from ledger.core.columns import PENDING, STATUS_NAMES, STATUS_OF_OUTCOME
from ledger.core.events import AnyEvent
from ledger.core.state import REUSED_FROM, Reuse, RunState, illegal


def answer_reused(state: RunState, position: int, event: e.AnswerReused) -> None:
    """Give a request that was never sent the answer of another ledger."""
    reuse = _open(state, position, event, event.reuse)
    columns, ordinal = state.columns, event.ordinal
    if not reuse.last < ordinal < len(columns):
        illegal(position, event, f"request {ordinal} is unknown, or not behind {reuse.last}, which was taken last")
    class_id = columns.class_id[ordinal]
    queue = state.fresh.get(state.classes[class_id].priority)
    if columns.status[ordinal] != PENDING or queue is None or not queue.discard(ordinal):
        illegal(position, event, f"request {ordinal} is {STATUS_NAMES[columns.status[ordinal]]}, or was sent before")
    columns.status[ordinal] = STATUS_OF_OUTCOME["ok"]
    columns.chunk[ordinal] = REUSED_FROM + event.reuse
    state.outcomes["ok"] += 1
    # No brake counts it: that another run went well says nothing of this one.
    state.released_outcomes["ok"] = state.released_outcomes.get("ok", 0) + 1
    state.reused[class_id] = state.reused.get(class_id, 0) + 1
    state.reuses[event.reuse] = replace(reuse, taken=reuse.taken + 1, last=ordinal)


def reuse_event(state: RunState, position: int, event: e.ReuseOpened | e.ReuseClosed) -> None:
    """Begin or end to take answers from another ledger."""
    if isinstance(event, e.ReuseOpened):
        if event.reuse != len(state.reuses) + 1 or event.ledger_id == state.ledger_id:
            illegal(position, event, f"the next one is {len(state.reuses) + 1}, of another ledger than this")
        state.reuses[event.reuse] = Reuse(
            reuse=event.reuse, path=event.path, ledger_id=event.ledger_id, position=event.position, hash=event.hash
        )
        return
    reuse = _open(state, position, event, event.reuse)
    if event.taken != reuse.taken:
        illegal(position, event, f"{reuse.taken} answers were taken")
    state.reuses[event.reuse] = replace(reuse, status="abandoned" if event.abandoned else "completed")


def _open(state: RunState, position: int, event: AnyEvent, number: int) -> Reuse:
    reuse = state.reuses.get(number)
    if reuse is None or reuse.status != "open":
        illegal(position, event, f"reuse {number} is {reuse.status if reuse else 'unknown'}")
    return reuse
