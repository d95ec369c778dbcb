"""How the items ended, and every kind of result that is no answer, with examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ledger.core.columns import STATUS_OF_OUTCOME
from ledger.core.events import OUTCOMES, Outcome
from ledger.core.pace import Errors
from ledger.core.state import RunState
from ledger.report.distributions import EXAMPLES_AT_MOST, Example

PENDING = "pending"
KINDS_AT_MOST = 24

MEANINGS: dict[str, str] = {
    "ok": "answered",
    "truncated": "the answer ran into max_tokens or the context window",
    "refused": "the model declined",
    "paused_turn": "a tool loop of the service reached its limit",
    "errored": "the service reported an error for the item",
    "expired": "not processed within 24 hours",
    "canceled": "canceled before it was processed",
    "invalid": "no valid item, or refused by the service by name",
    "missing": "the service says it answered, and the row never came",
    "lost": "the results were gone before they were fetched",
    PENDING: "not ended yet",
}


class Ended(NamedTuple):
    """How many items ended in an outcome, and their share of all that was asked, in percent."""

    outcome: str
    meaning: str
    items: int
    percent: float
    is_good: bool


class Shown(NamedTuple):
    """An item as an example: its custom_id, and what came back."""

    custom_id: str
    text: str


class Kind(NamedTuple):
    """A kind of result that is no answer: how many of all attempts, and a few of them."""

    outcome: str
    error: str
    results: int
    percent: float
    meaning: str
    examples: list[Shown]


def ended_items(state: RunState) -> list[Ended]:
    """Return every outcome that occurs, and what is pending."""
    counts: dict[str, int] = {outcome: state.outcomes[outcome] for outcome in OUTCOMES}
    counts[PENDING] = state.unfinished
    good = {"ok", *state.policy.accept}
    return [
        Ended(outcome, _meaning(outcome, good), count, 100 * count / state.asked, outcome in good)
        for outcome, count in counts.items()
        if count
    ]


def _meaning(outcome: str, good: set[str]) -> str:
    return f"{MEANINGS[outcome]}{'; accepted' if outcome in good and outcome != 'ok' else ''}"


def kinds(
    state: RunState,
    errors: Errors,
    found: Mapping[tuple[str, str], list[Example]],
    show: Callable[[Example], Shown] | None,
) -> list[Kind]:
    """Return every kind of result that is no answer, most frequent first.

    Args:
        state: the run; its counts are exact.
        errors: how many results of all attempts were errors.
        found: examples by outcome and error kind.
        show: returns an example's words; None where none are wanted.
    """
    counts: dict[tuple[Outcome, str], int] = {("errored", kind): met[0] for kind, met in state.errors.items()}
    counts["expired", ""], counts["canceled", ""] = errors.expired, errors.canceled
    for outcome in OUTCOMES:
        if outcome not in ("ok", "errored", "expired", "canceled"):
            counts[outcome, ""] = state.outcomes[outcome]
    whole = max(errors.results, state.asked, 1)
    most = sorted(((count, key) for key, count in counts.items() if count), key=lambda one: (-one[0], one[1]))
    return [
        Kind(
            outcome,
            error,
            count,
            100 * count / whole,
            MEANINGS[outcome],
            [show(example) for example in _examples(state, outcome, error, found)] if show is not None else [],
        )
        for count, (outcome, error) in most[:KINDS_AT_MOST]
    ]


def _examples(
    state: RunState, outcome: Outcome, error: str, found: Mapping[tuple[str, str], list[Example]]
) -> list[Example]:
    """Return examples with a row; where there is none (lost, missing, refused by name) the items that ended so."""
    known = found.get((outcome, error)) or found.get((outcome, ""))
    if known:
        return known
    if error:
        return [Example(ordinal, 0) for ordinal in state.errors[error][1:]]
    examples: list[Example] = []
    at = state.columns.status.find(STATUS_OF_OUTCOME[outcome])
    while at >= 0 and len(examples) < EXAMPLES_AT_MOST:
        examples.append(Example(at, 0))
        at = state.columns.status.find(STATUS_OF_OUTCOME[outcome], at + 1)
    return examples
