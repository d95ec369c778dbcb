"""What to ask the service's usage report for, and how to read what it says in a ledger's terms. Pure.

The report knows no batches: it counts tokens by workspace, model and tier in buckets of time. What concerns a ledger
are the buckets in which a batch of it was open, from its creation to its end. In which instant of that time a request
is counted is documented nowhere, and with all of that time it does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias, get_args

import msgspec

from ledger.core.costs import CostGroup
from ledger.core.models import find_model
from ledger.core.prices import Usage, undated
from ledger.core.spending import MIXED
from ledger.core.state import Chunk, RunState
from ledger.core.units import DAY_US, MICROSECONDS_PER_SECOND

Kind: TypeAlias = Literal["input", "cache_write_5m", "cache_write_1h", "cache_read", "output", "web_search"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Place: TypeAlias = Literal["named", "default", "absent", "unknown"]
Width: TypeAlias = Literal["1m", "1h", "1d"]

_SLACK_US = 300 * MICROSECONDS_PER_SECOND  # what is counted when it is written down, not when it happened
_OPEN_AT_MOST_US = DAY_US + _SLACK_US  # a batch expires 24 hours after its creation (batch guide)
_MINUTE_US = 60 * MICROSECONDS_PER_SECOND
WIDTHS_US: Mapping[Width, int] = {"1m": _MINUTE_US, "1h": 60 * _MINUTE_US, "1d": DAY_US}
"""What a bucket of each width lasts, in microseconds."""

_FINEST_FOR_US: Mapping[Width, int] = {"1m": DAY_US, "1h": 31 * DAY_US}  # a page of minutes is a day (reference, limit)


class UsageRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row of one bucket of the usage report; ``workspace`` is empty for the default one, whose id is null there."""

    starts_at: int
    ends_at: int
    workspace: str
    model: str
    tier: str
    geo: str
    usage: Usage


class Others(msgspec.Struct, frozen=True):
    """The batches of the workspace that are not this ledger's and were open at the same time.

    ``requests`` are those that were answered, or may yet be.
    """

    batches: int
    requests: int


class Span(NamedTuple):
    """A time, in microseconds UTC."""

    since: int
    until: int


class Window(msgspec.Struct, frozen=True):
    """What to ask the usage report for: buckets of a width from the first span to the last."""

    spans: tuple[Span, ...]
    width: Width
    since: int
    until: int

    def holds(self, row: UsageRow) -> bool:
        """Return whether a bucket touches a time in which a batch was open."""
        return any(row.starts_at <= span.until and row.ends_at > span.since for span in self.spans)

    def days(self) -> frozenset[int]:
        """Return the beginnings of the UTC days in which a batch was open."""
        return frozenset(
            day for span in self.spans for day in range(span.since - span.since % DAY_US, span.until + 1, DAY_US)
        )


# ── what to ask for ──────────────────────────────────────────────────────────────────────────────────────────────────


def window_of(state: RunState, now: int) -> Window | None:
    """Return when batches of this ledger were open, or None if there never was one.

    Args:
        state: the run.
        now: microseconds UTC; the end of what is still open.
    """
    twins = {twin.chunk for twin in (*state.twins.values(), *state.acknowledged.values())}
    found = [_span_of(chunk, chunk.chunk in twins, now) for chunk in state.chunks.values()]
    spans = _merged(span for span in found if span is not None)
    if not spans:
        return None
    since, until = spans[0].since, spans[-1].until
    width: Width = next((name for name, most in _FINEST_FOR_US.items() if until - since <= most), "1d")
    lasts = WIDTHS_US[width]
    return Window(tuple(spans), width, since - since % lasts, until - until % lasts + lasts)


def last_end_of(state: RunState, now: int) -> int:
    """Return when the last batch that was collected ended, or now while one is open; 0 where there is none."""
    return max((chunk.ended_at or now for chunk in state.chunks.values() if chunk.batch), default=0)


def _span_of(chunk: Chunk, has_twin: bool, now: int) -> Span | None:
    """Return when batches of a chunk may have been open: all of them, also those that were taken for never accepted."""
    instants = [chunk.created_at or chunk.sent_at, *(sent.server_date for sent in chunk.presumed_absent)]
    since = min((at for at in instants if at), default=0)
    if not since or not (chunk.batch or chunk.presumed_absent or chunk.status in ("released", "uncertain")):
        return None
    is_alone = chunk.batch and not has_twin and not chunk.presumed_absent
    until = chunk.ended_at + _SLACK_US if is_alone and chunk.ended_at else max(instants) + _OPEN_AT_MOST_US
    return Span(since, max(min(until, now), since))


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for span in sorted(spans):
        if merged and span.since <= merged[-1].until:
            merged[-1] = Span(merged[-1].since, max(merged[-1].until, span.until))
        else:
            merged.append(span)
    return merged


# ── reading it ───────────────────────────────────────────────────────────────────────────────────────────────────────


def place_in(rows: Sequence[UsageRow], workspace: str) -> Place:
    """Return how a report names the ledger's workspace.

    ``default``: not at all, but usage without a workspace is there, and the default workspace has no id in reports
    ("Get Messages Usage Report"); ``absent``: all usage is of other workspaces; ``unknown``: the service never said
    which the ledger's is, so that the whole organization must stand for it.
    """
    if not workspace:
        return "unknown"
    named = {row.workspace for row in rows}
    return "named" if workspace in named else "default" if "" in named else "absent"


def is_placed(found: str, place: Place, workspace: str) -> bool:
    """Return whether a row of this workspace counts as the ledger's."""
    match place:
        case "named":
            return found == workspace
        case "default":
            return not found
        case "absent":
            return False
        case "unknown":
            return True


def recorded_usage(groups: Iterable[CostGroup], *, billed: bool = True) -> dict[str, Usage]:
    """Return what a ledger recorded as billed, or as free, by model without its date."""
    usage: dict[str, Usage] = {}
    for group in groups:
        if group.billed == billed and group.model != MIXED and group.usage != Usage():
            model = undated(group.model)
            usage[model] = usage.get(model, Usage()) + group.usage
    return usage


def reported_usage(rows: Iterable[UsageRow]) -> dict[str, Usage]:
    """Return what a report counts, by model without its date."""
    usage: dict[str, Usage] = {}
    for row in rows:
        model = undated(row.model)
        usage[model] = usage.get(model, Usage()) + row.usage
    return usage


def asked_models(state: RunState) -> set[str]:
    """Return the models that requests of this ledger were for, without their dates."""
    return {resolved_model(one.model) for one in state.classes}


def resolved_model(name: str) -> str:
    """Return the model that a name stands for, without its date."""
    known = find_model(name)
    return undated(name if known is None else known.resolved)


def by_kind(usage: Usage) -> dict[Kind, int]:
    """Return the counts of a usage by kind."""
    return {
        "input": usage.input_tokens,
        "cache_write_5m": usage.cache_write_5m_tokens,
        "cache_write_1h": usage.cache_write_1h_tokens,
        "cache_read": usage.cache_read_tokens,
        "output": usage.output_tokens,
        "web_search": usage.web_search_requests,
    }
