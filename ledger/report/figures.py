"""Everything that a report shows, as figures: pure, from the state, its history, and what an audit found."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ledger.core.audit import AuditReport
from ledger.core.costs import CostReport, cost_report
from ledger.core.pace import Errors, Pace, errors, paces
from ledger.core.proof import CostProof, cost_proof
from ledger.core.spending import cost_groups
from ledger.core.state import RunState
from ledger.core.units import MICROSECONDS_PER_SECOND, format_duration
from ledger.report.charts import (
    Fall,
    Flow,
    Histogram,
    batch_durations,
    duration_histogram,
    falls,
    flow,
    token_histogram,
)
from ledger.report.distributions import Distributions, Example, quantiles
from ledger.report.history import History
from ledger.report.incidents import Incidents
from ledger.report.outcomes import Ended, Kind, Shown, ended_items, kinds
from ledger.report.retention import Retention, retention
from ledger.report.timeline import Timeline, axis_of, process_words, timeline
from ledger.summary import Budget, Summary


class Gathered(NamedTuple):
    """What one pass over a log brought, and what else is known of it.

    ``sampled`` is 1 where all results were looked at for the lengths, else of how many windows one was. ``audit`` is
    None where none was made.
    """

    name: str
    head: str
    head_verified: bool
    made_at: int
    state: RunState
    summary: Summary
    history: History
    incidents: Incidents
    distributions: Distributions
    sampled: int
    audit: AuditReport | None
    show: Callable[[Example], Shown] | None


class Took(NamedTuple):
    """How long requests spent in a phase: half, 90%, 99% of them at most so long, and the longest."""

    phase: str
    quantiles: list[str]
    longest: str


class Figures(NamedTuple):
    """All that the page shows."""

    name: str
    ledger_id: str
    origin: str
    simulated: bool
    made_at: int
    head: str
    head_verified: bool
    summary: Summary
    started_at: int
    ended_at: int
    lasted: str
    submissions: int
    retried: int
    processes: int
    process_words: str
    timeline: Timeline
    ended: list[Ended]
    kinds: list[Kind]
    errors: Errors
    proof: CostProof | None
    by_attempt: CostReport | None
    falls: list[Fall]
    budget: Budget | None
    prompts: Histogram | None
    answers: Histogram | None
    sampled: int
    served: Histogram | None
    took: list[Took]
    flow: Flow | None
    paces: tuple[Pace, ...]
    retention: Retention
    audit: AuditReport | None
    incidents: Incidents
    has_examples: bool


def figures(gathered: Gathered) -> Figures:
    """Return what the page shows."""
    state, history = gathered.state, gathered.history
    axis = axis_of(state, history)
    rows = list(history.rows.values())
    proof = cost_proof(state, state.prices, ledger=gathered.name) if state.prices is not None else None
    met = errors(state)
    served, stored = batch_durations(rows)
    ended_at = state.finished_at or state.at
    return Figures(
        name=gathered.name,
        ledger_id=state.ledger_id,
        origin=state.origin,
        simulated=gathered.summary.simulated,
        made_at=gathered.made_at,
        head=gathered.head,
        head_verified=gathered.head_verified,
        summary=gathered.summary,
        started_at=state.opened_at,
        ended_at=ended_at,
        lasted=format_duration(max(ended_at - state.opened_at, 0) / MICROSECONDS_PER_SECOND),
        submissions=sum(len(row.tries) for row in rows),
        retried=sum(row.requests for row in rows if row.cause == "retry" and row.batch),
        processes=len(history.processes),
        process_words=process_words(history.processes),
        timeline=timeline(state, history, axis),
        ended=ended_items(state),
        kinds=kinds(state, met, gathered.distributions.examples, gathered.show),
        errors=met,
        proof=proof,
        by_attempt=_by_attempt(state),
        falls=falls(proof.waterfall) if proof is not None and proof.waterfall is not None else [],
        budget=gathered.summary.budget,
        prompts=token_histogram(gathered.distributions.prompts.counts, "results"),
        answers=token_histogram(gathered.distributions.answers.counts, "results"),
        sampled=gathered.sampled,
        served=duration_histogram(served, "requests"),
        took=[_took("at the service", served), _took("then, until stored here", stored)],
        flow=flow(rows, axis),
        paces=paces(state),
        retention=retention(state, gathered.made_at),
        audit=gathered.audit,
        incidents=gathered.incidents,
        has_examples=gathered.show is not None,
    )


def _by_attempt(state: RunState) -> CostReport | None:
    if state.prices is None:
        return None
    report = cost_report(state.prices, cost_groups(state), "attempt")
    return report if len(report.rows) > 1 else None


def _took(phase: str, milliseconds: dict[int, int]) -> Took:
    if not milliseconds:
        return Took(phase, [], "")
    values = [format_duration(value / 1000) for value in quantiles(milliseconds)]
    return Took(phase, values, format_duration(max(milliseconds) / 1000))
