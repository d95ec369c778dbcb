"""What a person says about money and errors, as events: a budget, and that what waits may be sent at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation

from ledger.choices import Choices
from ledger.core import events as e
from ledger.core.costs import Estimate
from ledger.core.errors import PausedError, UsageError
from ledger.core.requests import SetBudget, request_events
from ledger.core.state import RunState
from ledger.core.units import format_usd

UNCONFIRMED = "unconfirmed"
"""The pause of a run whose cost nobody has agreed to."""
NO_LIMIT = "none"


def budget_events(state: RunState, choices: Choices) -> Sequence[e.AnyEvent]:
    """Return the events of what was said about the budget; none where it is what was said before.

    Raises:
        UsageError: it is no amount, or a way to count without anything to count towards.
    """
    before = state.budget or e.BudgetSet()
    if choices.max_cost is None:
        if choices.budget_mode is None or choices.budget_mode == before.mode:
            return ()
        if not before.max_usd:
            raise UsageError("--budget-mode needs a budget", next="--max-cost USD")
    max_usd = before.max_usd if choices.max_cost is None else _amount(choices.max_cost)
    return request_events(state, SetBudget(max_usd, choices.budget_mode or before.mode))


def _amount(text: str) -> str:
    """Return an amount of dollars as it is recorded, empty for no limit: one amount has one form."""
    if text.strip().lower() == NO_LIMIT:
        return ""
    try:
        usd = Decimal(text.strip().removeprefix("$").replace(",", ""))
    except InvalidOperation:
        usd = Decimal("NaN")
    if not usd.is_finite() or usd < 0:
        raise UsageError(f"--max-cost {text} is no amount", next="--max-cost 25, --max-cost 0.50, or --max-cost none")
    return f"{usd.normalize():f}"


def confirmation(
    state: RunState, confirm: Callable[[Estimate], bool], preview: Callable[[], Estimate], *, is_new: bool
) -> Sequence[e.AnyEvent]:
    """Ask whether what waits may be sent, where nobody has agreed to it yet; return the events of the answer.

    Args:
        state: the run.
        confirm: is shown the estimate, and answers.
        preview: makes the estimate.
        is_new: whether requests were taken in just now, or nothing was ever sent.
    """
    before, first_after = state.budget, _first_after(state)
    again = UNCONFIRMED in state.pauses and any(queue.size for queue in state.retries.values())
    if not (first_after or again) or not _is_open(state, first_after, is_new=is_new):
        return ()
    estimate = preview()
    if not confirm(estimate):
        return () if UNCONFIRMED in state.pauses else (unconfirmed(estimate),)
    lifted = [e.RunResumed(reason=UNCONFIRMED)] if UNCONFIRMED in state.pauses else []
    if state.origin == "simulator":
        return lifted
    budget = before or e.BudgetSet()
    return [e.BudgetSet(max_usd=budget.max_usd, mode=budget.mode, confirmed=len(state.columns)), *lifted]


def _is_open(state: RunState, first_after: int, *, is_new: bool) -> bool:
    """Return whether somebody must still agree: once they have, no later process asks again."""
    if UNCONFIRMED in state.pauses:
        return True
    if state.budget is None or state.origin == "simulator":
        return is_new
    return state.budget.confirmed < first_after


def _first_after(state: RunState) -> int:
    """Return the ordinal after the last request that was never sent; 0 where there is none."""
    return max((end for queue in state.fresh.values() for _, end in queue), default=0)


def unconfirmed(estimate: Estimate) -> e.RunPaused:
    """Return the pause of a run whose estimate somebody declined, or nobody was there to see."""
    total = estimate.total
    expected, ceiling = (
        "an unknown amount" if usd is None else format_usd(usd) for usd in (total.cost_usd, total.cost_ceiling_usd)
    )
    return e.RunPaused(
        reason=UNCONFIRMED,
        detail=f"{total.requests:,} requests, about {expected} and at most {ceiling}; nobody has agreed to that",
        lift="ledger resume --yes, or --max-cost USD",
    )


def reopened_unconfirmed(event: e.RequestsReopened) -> e.RunPaused:
    """Return the pause of requests that were opened again, until somebody agrees to what that costs."""
    were = "requests were" if event.requests > 1 else "request was"
    return e.RunPaused(
        reason=UNCONFIRMED,
        detail=f"{event.requests:,} {were} opened again; nobody has agreed to what that costs",
        lift="ledger resume --yes, or --max-cost USD",
    )


def unbounded_requests(state: RunState) -> int:
    """Return how many requests a budget cannot bound: they bring input that is not in their bytes."""
    return sum(count for one, count in zip(state.classes, state.class_requests, strict=True) if one.unbounded)


def require_agreement(state: RunState, ledger: str) -> None:
    """Stop a run that nobody has agreed to and that has nothing at the service to wait for.

    Raises:
        PausedError: with the command that agrees.
    """
    pause = state.pauses.get(UNCONFIRMED)
    if pause is not None and not state.chunks:
        raise PausedError(
            "nothing was sent",
            why=pause.detail,
            next=f"ledger resume {ledger} --yes, or: ledger resume {ledger} --max-cost USD",
        )
