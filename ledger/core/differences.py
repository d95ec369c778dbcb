"""Why a ledger and the service's usage report count differently: what is known, and whether it may be all of it. Pure.

A difference is *explained* when something is known that brings about such a difference, and could be as large as this
one: what requests without a recorded result can have used is bounded by their bytes and ``max_tokens``, what a report
that is behind can lack by what ended lately. What is left is *unexplained*, and that is for a person: nothing here
guesses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from ledger.core.columns import ordinals, pairs
from ledger.core.costs import CostGroup
from ledger.core.prices import TIER_BATCH, Usage
from ledger.core.spending import MIXED
from ledger.core.state import RunState
from ledger.core.units import MICROSECONDS_PER_SECOND, format_duration
from ledger.core.usagereport import (
    Kind,
    Others,
    UsageRow,
    by_kind,
    last_end_of,
    recorded_usage,
    reported_usage,
    resolved_model,
)

Side: TypeAlias = Literal["more", "less"]
Match: TypeAlias = Literal["equal", "close", "more", "less"]
Ranges: TypeAlias = list[int] | tuple[int, ...]

LATE_SECONDS = 3600
"""How long a report may be behind: it is mostly five minutes, and "occasionally" more (Usage and Cost API)."""


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens (searches of ``web_search``) of one model and kind; ``difference`` is what the service counts more."""

    model: str
    kind: Kind
    ledger: int
    service: int
    difference: int
    match: Match


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Something known that makes the service say more, or less; ``explains`` is whether it may be all of it."""

    code: str
    side: Side
    explains: bool
    text: str


class Aside(msgspec.Struct, frozen=True):
    """What of the report was not compared: usage of other workspaces, and of the ledger's with other tiers."""

    elsewhere: tuple[UsageRow, ...] = ()
    tiers: tuple[UsageRow, ...] = ()


def differences(
    state: RunState,
    groups: Sequence[CostGroup],
    rows: Sequence[TokenRow],
    others: Others | None,
    aside: Aside,
    now: int,
) -> tuple[Reason, ...]:
    """Return what is known to bring about the differences of some rows; nothing where there are none.

    Args:
        state: the run.
        groups: its usage, as ``cost_groups`` yields it.
        rows: the comparison.
        others: the other batches of the workspace; None where nobody could ask.
        aside: what of the report was not compared.
        now: microseconds UTC.
    """
    more = [row for row in rows if row.match == "more"]
    less = [row for row in rows if row.match == "less"]
    reasons: list[Reason] = []
    if more:
        reasons += _more(state, groups, more, others)
    if less:
        reasons += [
            *_late(state, groups, less, now),
            *_elsewhere(state, less, aside.elsewhere),
            *_tiers(less, aside.tiers),
        ]
    return tuple(reasons)


# ── why the service counts more ──────────────────────────────────────────────────────────────────────────────────────


def _more(
    state: RunState, groups: Sequence[CostGroup], rows: Sequence[TokenRow], others: Others | None
) -> Iterable[Reason]:
    yield from _not_recorded(state, groups, rows)
    if free := recorded_usage(groups, billed=False):
        tokens = sum(usage.prompt_tokens + usage.output_tokens for usage in free.values())
        text = f"{tokens:,} tokens of results that cost nothing (refusals before any output) may be counted"
        yield Reason(code="free", side="more", explains=_covers(free, rows), text=text)
    if not state.workspace:
        text = "the ledger's workspace is not known: usage of the whole organization was taken for it"
        yield Reason(code="organization", side="more", explains=True, text=text)
    for tier in sorted({group.tier for group in groups if group.billed} - {"", TIER_BATCH}):
        text = f"some results have the tier {tier}, and ordinary calls of the workspace are counted with it, too"
        yield Reason(code="ordinary_calls", side="more", explains=True, text=text)
    if others is None:
        text = "whether other batches of the workspace were open was not asked: that takes its ordinary key"
        yield Reason(code="others_unknown", side="more", explains=False, text=text)
    elif others.batches:
        text = (
            f"{_counted(others.batches, 'batch', 'batches')} of somebody else in the workspace at the same time, "
            f"with {_counted(others.requests, 'answer', 'answers')}"
        )
        yield Reason(code="others", side="more", explains=bool(others.requests), text=text)
    else:
        text = "no other batch is listed in the workspace for that time; deleted ones never are"
        yield Reason(code="no_others", side="more", explains=False, text=text)


def _not_recorded(state: RunState, groups: Sequence[CostGroup], rows: Sequence[TokenRow]) -> Iterable[Reason]:
    """Yield what may have been billed to this ledger without it knowing how much; its bound must cover the rows."""
    mixed = {group.batch for group in groups if group.model == MIXED}
    found = (*state.twins.values(), *state.acknowledged.values())
    twins = [twin for twin in found if twin.usage is None or twin.batch in mixed]
    known_submissions = {(twin.chunk, twin.submission) for twin in found}
    absent: list[Ranges] = [
        state.chunks[sent.chunk].ranges
        for chunk in state.chunks.values()
        for sent in chunk.presumed_absent
        if (sent.chunk, sent.submission) not in known_submissions
    ]
    facts: tuple[tuple[str, list[Ranges], str], ...] = (
        (
            "uncollected",
            [chunk.ranges for chunk in state.chunks_in("submitted", "ended")],
            "sent in batches whose results are not collected yet",
        ),
        (
            "doubtful",
            [chunk.ranges for chunk in state.chunks_in("released", "uncertain")],
            "sent, and whether they arrived is in doubt",
        ),
        ("twins", [state.chunks[twin.chunk].ranges for twin in twins], "answered again, in second batches"),
        ("absent", absent, "sent before, in batches that were taken for never accepted"),
        ("lost", [state.unmetered], "without a result, lost or missing: they may have been billed unseen"),
    )
    known = [(code, members, text) for code, members, text in facts if any(members)]
    bounds = _bounds(state, [ranges for _, members, _ in known for ranges in members])
    explains = all(_is_within(bounds.get(model), [row for row in rows if row.model == model]) for model in _of(rows))
    for code, members, text in known:
        count = sum(behind - first for ranges in members for first, behind in pairs(ranges))
        text = f"{_counted(count, 'request', 'requests')} {text}"
        yield Reason(code=code, side="more", explains=explains, text=text)


def _bounds(state: RunState, members: Iterable[Ranges]) -> dict[str, tuple[int, int]]:
    """Return the most tokens of prompt and output that requests can have had, by model: half a token a byte."""
    columns, bounds = state.columns, dict[str, tuple[int, int]]()
    models = [resolved_model(one.model) for one in state.classes]
    for ranges in members:
        for ordinal in ordinals(ranges):
            class_id = columns.class_id[ordinal]
            prompt, output = bounds.get(models[class_id], (0, 0))
            prompt += columns.size_bytes[ordinal] // 2 + 1
            bounds[models[class_id]] = prompt, output + state.classes[class_id].max_tokens
    return bounds


def _is_within(bound: tuple[int, int] | None, rows: Iterable[TokenRow]) -> bool:
    prompt, output = bound or (0, 0)
    for row in rows:
        if row.kind == "output":
            output -= row.difference
        elif row.kind != "web_search":  # searches have no bound
            prompt -= row.difference
    return prompt >= 0 and output >= 0 and bound is not None


# ── why it counts less ───────────────────────────────────────────────────────────────────────────────────────────────


def _late(state: RunState, groups: Sequence[CostGroup], rows: Sequence[TokenRow], now: int) -> Iterable[Reason]:
    """Yield how old the youngest usage is; it explains what is missing if that is no more than the young usage."""
    since = now - LATE_SECONDS * MICROSECONDS_PER_SECOND
    young = {chunk.batch for chunk in state.chunks.values() if chunk.batch and (chunk.ended_at or now) > since}
    recent = recorded_usage(group for group in groups if group.batch in young)
    age_seconds = max(now - last_end_of(state, now), 0) // MICROSECONDS_PER_SECOND
    ago = f"the last batch ended {format_duration(age_seconds)} ago"
    if young and _covers(recent, rows):
        text = f"{ago}: usage is in the report five minutes later, and sometimes not so soon"
        yield Reason(code="late", side="less", explains=True, text=text)
    else:
        text = f"{ago}: what is missing should be in the report by now"
        yield Reason(code="not_late", side="less", explains=False, text=text)


def _elsewhere(state: RunState, rows: Sequence[TokenRow], elsewhere: Sequence[UsageRow]) -> Iterable[Reason]:
    for workspace in sorted({row.workspace for row in elsewhere}):
        usage = reported_usage(row for row in elsewhere if row.workspace == workspace)
        if _of(rows) & usage.keys():
            text = f"the same models were used in {workspace or 'the default workspace'}, not in {state.workspace}"
            yield Reason(code="workspace", side="less", explains=_covers(usage, rows), text=text)


def _tiers(rows: Sequence[TokenRow], other_tiers: Sequence[UsageRow]) -> Iterable[Reason]:
    for tier in sorted({row.tier for row in other_tiers}):
        usage = reported_usage(row for row in other_tiers if row.tier == tier)
        if _of(rows) & usage.keys():
            tokens = sum(usage[model].prompt_tokens + usage[model].output_tokens for model in _of(rows) & usage.keys())
            text = f"{tokens:,} tokens of the same models are counted with tier {tier}, which has no batch discount"
            yield Reason(code="tier", side="less", explains=False, text=text)


def _of(rows: Iterable[TokenRow]) -> set[str]:
    return {row.model for row in rows}


def _covers(usage: Mapping[str, Usage], rows: Iterable[TokenRow]) -> bool:
    """Return whether a usage is as large as every difference."""
    return all(abs(row.difference) <= by_kind(usage.get(row.model, Usage()))[row.kind] for row in rows)


def _counted(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"
