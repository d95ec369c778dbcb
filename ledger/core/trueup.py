"""What a ledger recorded against what the service's usage report says. Pure.

Compared is what the report counts with the tier of the ledger's results while a batch of it was open. What others did
in the same workspace at the same time is in the same buckets, so the service may say more; it says less while its
report is behind. Why is said by ``differences``; what the tokens were charged at by ``charged``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from ledger.core.charged import ChargeReport, CostLine, charge_report
from ledger.core.costs import CostGroup
from ledger.core.differences import LATE_SECONDS, Aside, Match, Reason, TokenRow, differences
from ledger.core.prices import TIER_BATCH, PriceTable, Usage
from ledger.core.spending import cost_groups
from ledger.core.state import RunState
from ledger.core.units import MICROSECONDS_PER_SECOND, format_instant
from ledger.core.usagereport import (
    KINDS,
    Kind,
    Others,
    Place,
    UsageRow,
    Width,
    Window,
    asked_models,
    by_kind,
    is_placed,
    last_end_of,
    place_in,
    recorded_usage,
    reported_usage,
)

TOLERANCE = 1000
"""One part of so many is no difference: what is asked of a bill is a tenth of a percent."""

Verdict: TypeAlias = Literal["equal", "close", "explained", "unexplained"]


class TokenReport(msgspec.Struct, frozen=True, kw_only=True):
    """The comparison of tokens: rows, what may be behind their differences, and the verdict on all of it.

    ``place`` is how the report names the ledger's workspace (``place_in``).
    """

    place: Place
    rows: tuple[TokenRow, ...]
    reasons: tuple[Reason, ...]
    verdict: Verdict


def token_rows(
    ledger: Mapping[str, Usage], service: Mapping[str, Usage], models: Iterable[str] = ()
) -> tuple[TokenRow, ...]:
    """Return a row for every kind of token of the ledger's models that either side counts.

    Args:
        ledger: what was recorded, by model.
        service: what is reported, by model.
        models: those that were asked for; what the service counts of any other is other work.
    """
    rows = []
    for model in sorted({*ledger, *models}):
        ours, theirs = by_kind(ledger.get(model, Usage())), by_kind(service.get(model, Usage()))
        rows += [_token_row(model, kind, ours[kind], theirs[kind]) for kind in KINDS if ours[kind] or theirs[kind]]
    return tuple(rows)


def _token_row(model: str, kind: Kind, ours: int, theirs: int) -> TokenRow:
    difference = theirs - ours
    match: Match = "more" if difference > 0 else "less"
    if abs(difference) * TOLERANCE <= max(ours, theirs):
        match = "close" if difference else "equal"
    return TokenRow(model=model, kind=kind, ledger=ours, service=theirs, difference=difference, match=match)


def compare_tokens(
    state: RunState,
    groups: Sequence[CostGroup],
    rows: Sequence[UsageRow],
    window: Window,
    others: Others | None,
    now: int,
) -> TokenReport:
    """Return what the ledger and the usage report count, and why they differ.

    Args:
        state: the run.
        groups: its usage, as ``cost_groups`` yields it.
        rows: the report, of all workspaces and tiers.
        window: what was asked for.
        others: the other batches of the workspace; None where nobody could ask.
        now: microseconds UTC.
    """
    place = place_in(rows, state.workspace)
    tiers = {TIER_BATCH, *(group.tier for group in groups if group.billed and group.tier)}
    held = [row for row in rows if window.holds(row)]
    ours = [row for row in held if is_placed(row.workspace, place, state.workspace)]
    service = reported_usage(row for row in ours if row.tier in tiers)
    found = token_rows(recorded_usage(groups), service, asked_models(state))
    aside = Aside(
        tuple(row for row in held if row.tier in tiers and not is_placed(row.workspace, place, state.workspace)),
        tuple(row for row in ours if row.tier not in tiers),
    )
    reasons = differences(state, groups, found, others, aside, now)
    matches = {row.match for row in found}
    explained = {reason.side for reason in reasons if reason.explains}
    sides = matches & {"more", "less"}
    verdict: Verdict = "equal" if matches <= {"equal"} else "close"
    if sides:
        verdict = "explained" if sides <= explained else "unexplained"
    return TokenReport(place=place, rows=found, reasons=reasons, verdict=verdict)


class TrueUp(TokenReport, frozen=True, kw_only=True):
    """A ledger held against the service's own reports.

    ``since`` and ``until`` are RFC 3339 instants: what was asked for, in buckets of a ``width``. ``exit_code`` is 1
    where a difference is unexplained, or tokens were charged above the batch price.
    """

    ledger: str
    ledger_id: str
    simulated: bool
    workspace: str
    since: str
    until: str
    width: Width
    charges: ChargeReport
    exit_code: int


def true_up(
    state: RunState,
    table: PriceTable,
    window: Window,
    usage: Sequence[UsageRow],
    daily_usage: Sequence[UsageRow],
    costs: Sequence[CostLine],
    others: Others | None,
    now: int,
    *,
    ledger: str,
) -> TrueUp:
    """Return how a ledger and the service's reports compare.

    Args:
        state: the run.
        table: its recorded prices.
        window: what the usage report was asked for.
        usage: what it said, of all workspaces and tiers.
        daily_usage: the same by whole days.
        costs: the cost report of these days.
        others: the other batches of the workspace; None where nobody could ask.
        now: microseconds UTC.
        ledger: how the ledger is called.
    """
    groups = tuple(cost_groups(state))
    tokens = compare_tokens(state, groups, usage, window, others, now)
    charges = charge_report(
        table,
        groups,
        daily_usage,
        costs,
        window.days(),
        asked_models(state) | recorded_usage(groups).keys(),
        place=tokens.place,
        workspace=state.workspace,
        is_late=now - last_end_of(state, now) < LATE_SECONDS * MICROSECONDS_PER_SECOND,
    )
    return TrueUp(
        **msgspec.structs.asdict(tokens),
        ledger=ledger,
        ledger_id=state.ledger_id,
        simulated=state.origin == "simulator",
        workspace=state.workspace,
        since=format_instant(window.since),
        until=format_instant(window.until),
        width=window.width,
        charges=charges,
        exit_code=int(tokens.verdict == "unexplained" or charges.verdict == "missing"),
    )
