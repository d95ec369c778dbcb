"""What a log comes to, in a form that later versions keep: outcomes, chunks, costs.

A state is free to change its shape from version to version; what a log means is not. The projection is that meaning: a
pure function of the fold whose bytes are equal wherever and by whatever version the same log is folded. It names its
own version. What is shown, and how, never changes within a version; whoever needs more adds a version and keeps this
one.

Requests are named by their ordinals, in flat ``[start, end, …]`` ranges with the end exclusive, so that a run of
millions is as short as it is uniform. Money is text, exact to the last digit. Instants are those of the service, in
microseconds since 1970 UTC. Keys are sorted.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from ledger.core.columns import STATUS_NAMES
from ledger.core.costs import By, CostRow, cost_report
from ledger.core.spending import cost_groups
from ledger.core.state import Chunk, RunState

PROJECTION_VERSION = 1


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a projection; every field is always there."""


class SourceProjection(_Part, frozen=True, kw_only=True):
    """One reading of an input, and what became of its lines."""

    source: int
    path: str
    status: str
    lines: int
    built: int
    deduplicated: int
    rejected: int


class ChunkProjection(_Part, frozen=True, kw_only=True):
    """A chunk, its latest submission and its batch.

    ``counted`` is what the service counted when the batch ended, by result type, ``stored`` how many rows of each type
    are stored; types without any are left out. ``held`` is the reason for which the chunk waits for a person.
    """

    chunk: int
    ranges: list[int]
    requests: int
    size_bytes: int
    priority: int
    cause: str
    status: str
    submission: int
    batch: str
    created_at: int
    ended_at: int
    proven: bool
    counted: dict[str, int]
    stored: dict[str, int]
    held: str


class TwinProjection(_Part, frozen=True, kw_only=True):
    """A second batch of a chunk; ``acknowledged`` once a person has dealt with it."""

    batch: str
    chunk: int
    requests: int
    proven: bool
    acknowledged: bool


class CostProjection(_Part, frozen=True, kw_only=True):
    """What one model, attempt, batch or day cost; None as soon as one price in it is unknown.

    ``requests`` counts all results, ``unbilled_requests`` those that are free. ``wasted_usd`` is the part of the cost
    that brought no answer, by cause.
    """

    key: str
    requests: int
    unbilled_requests: int
    input_tokens: int
    output_tokens: int
    cache_write_tokens: int
    cache_read_tokens: int
    web_search_requests: int
    cost_usd: Decimal | None
    standard_usd: Decimal | None
    wasted_usd: dict[str, Decimal | None]


class CostsProjection(_Part, frozen=True, kw_only=True):
    """What the run cost, counted with the prices that its log quotes; ``discount`` is the verdict on it."""

    quoted_on: str
    discount: str
    total: CostProjection
    by_model: list[CostProjection]
    by_attempt: list[CostProjection]
    by_batch: list[CostProjection]
    by_day: list[CostProjection]


class Projection(_Part, frozen=True, kw_only=True):
    """The meaning of a log up to a position.

    ``outcomes`` are the requests by outcome, or ``pending``, ``in_chunk`` (on its way) and ``withdrawn`` (never to be
    sent); ``attempts`` the requests by how often they were answered. ``exit_code`` is that of the finished run, None
    while it is not. ``costs`` is None until prices are quoted.
    """

    projection: int
    ledger_id: str
    origin: str
    workspace: str
    position: int
    requests: int
    exit_code: int | None
    outcomes: dict[str, list[int]]
    attempts: dict[str, list[int]]
    sources: list[SourceProjection]
    chunks: list[ChunkProjection]
    twins: list[TwinProjection]
    cancels: dict[str, bool]
    pauses: list[str]
    findings: int
    costs: CostsProjection | None


def project(state: RunState) -> Projection:
    """Return the projection of a state."""
    columns = state.columns
    twins = [(twin, False) for twin in state.twins.values()] + [(twin, True) for twin in state.acknowledged.values()]
    return Projection(
        projection=PROJECTION_VERSION,
        ledger_id=state.ledger_id,
        origin=state.origin,
        workspace=state.workspace,
        position=state.position,
        requests=state.asked,
        exit_code=None if state.finished is None or state.unfinished else state.finished.exit_code,
        outcomes=_by_name(STATUS_NAMES[status] for status in columns.status),
        attempts=_by_name(map(str, columns.attempts)),
        sources=[
            SourceProjection(
                source=source.source,
                path=source.path,
                status=source.status,
                lines=source.lines,
                built=source.built,
                deduplicated=source.deduplicated,
                rejected=source.rejected,
            )
            for source in state.sources.values()
        ],
        chunks=[_chunk(state, state.chunks[number]) for number in sorted(state.chunks)],
        twins=[
            TwinProjection(
                batch=twin.batch, chunk=twin.chunk, requests=twin.requests, proven=twin.proven, acknowledged=is_settled
            )
            for twin, is_settled in sorted(twins, key=lambda each: each[0].batch)
        ],
        cancels=state.cancels,
        pauses=sorted(state.pauses),
        findings=state.findings,
        costs=_costs(state),
    )


def projection_text(projection: Projection) -> bytes:
    """Return a projection as indented JSON with sorted keys: equal projections give equal bytes."""
    return msgspec.json.format(_encode(projection), indent=2)


_encode = msgspec.json.Encoder(order="sorted").encode


def _by_name(names: Iterable[str]) -> dict[str, list[int]]:
    """Return the ordinals that have each name, as flat ranges."""
    ranges: dict[str, list[int]] = {}
    for ordinal, name in enumerate(names):
        of_name = ranges.setdefault(name, [])
        if of_name and of_name[-1] == ordinal:
            of_name[-1] = ordinal + 1
        else:
            of_name += (ordinal, ordinal + 1)
    return ranges


def _chunk(state: RunState, chunk: Chunk) -> ChunkProjection:
    counts = chunk.counts
    counted = {} if counts is None else {name: getattr(counts, name) for name in counts.__struct_fields__}
    return ChunkProjection(
        chunk=chunk.chunk,
        ranges=list(chunk.ranges),
        requests=chunk.requests,
        size_bytes=chunk.size_bytes,
        priority=chunk.priority,
        cause=chunk.cause,
        status=chunk.status,
        submission=chunk.submission,
        batch=chunk.batch,
        created_at=chunk.created_at,
        ended_at=chunk.ended_at,
        proven=chunk.proven,
        counted=_some(counted),
        stored=_some(state.stored[chunk.chunk]),
        held=chunk.hold.reason if chunk.hold is not None else "",
    )


def _some(numbers: dict[str, int]) -> dict[str, int]:
    return {name: number for name, number in numbers.items() if number}


def _costs(state: RunState) -> CostsProjection | None:
    if state.prices is None:
        return None
    groups = list(cost_groups(state))
    aspects: tuple[By, ...] = ("model", "attempt", "batch", "day")
    by_model, by_attempt, by_batch, by_day = (cost_report(state.prices, groups, by) for by in aspects)
    return CostsProjection(
        quoted_on=by_model.quoted_on,
        discount=by_model.discount.verdict,
        total=_cost(by_model.total),
        by_model=[_cost(row) for row in by_model.rows],
        by_attempt=[_cost(row) for row in by_attempt.rows],
        by_batch=sorted((_cost(row) for row in by_batch.rows), key=lambda row: row.key),
        by_day=[_cost(row) for row in by_day.rows],
    )


def _cost(row: CostRow) -> CostProjection:
    return CostProjection(
        key=row.key,
        requests=row.requests,
        unbilled_requests=row.unbilled_requests,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cache_write_tokens=row.cache_write_tokens,
        cache_read_tokens=row.cache_read_tokens,
        web_search_requests=row.web_search_requests,
        cost_usd=row.cost_usd,
        standard_usd=row.standard_usd,
        wasted_usd=row.wasted_usd,
    )
