"""The usage report and the cost report of the simulated organization, made from what its batches used.

Shapes and limits are those of the API reference, "Get Messages Usage Report" and "Get Cost Report": buckets that begin
at whole minutes, hours or days UTC; at most 1,440, 168 or 31 of them a page; a field is null where nothing is grouped
by it; amounts are decimal strings of cents. Where that leaves something open it is a switch of ``Reporting``. The usage
of a batch shows up all at once, the lag after its end: before the end a cancellation could still change it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from ledger.core.units import DAY_US, MICROSECONDS_PER_SECOND, format_instant, parse_instant
from ledger.service.simulator.answers import Usage, is_billed, is_succeeded
from ledger.service.simulator.core import Batch, Simulator
from ledger.service.simulator.pricelist import FEMTODOLLARS, SEARCH, charges
from ledger.service.simulator.refusals import RefusalError

Pairs = Sequence[tuple[str, str]]
Row = dict[str, object]

_MINUTE = 60 * MICROSECONDS_PER_SECOND
_WIDTHS = {"1m": (_MINUTE, 60, 1440), "1h": (60 * _MINUTE, 24, 168), "1d": (DAY_US, 7, 31)}
"""Width in microseconds, and the default and largest number of buckets a page (reference, ``limit``)."""
_USAGE_GROUPS = ("context_window", "inference_geo", "model", "service_tier", "workspace_id")
_COST_GROUPS = ("description", "workspace_id")
_TOKEN_TYPES = (
    "uncached_input_tokens",
    "cache_creation.ephemeral_5m_input_tokens",
    "cache_creation.ephemeral_1h_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
)
_FILTERS = {"workspace_ids[]": "workspace_id", "models[]": "model", "service_tiers[]": "service_tier"}
_PAGE_PREFIX = "page_"
_CENTS_PLACES = Decimal("0.00001")
_LONG_CONTEXT_TOKENS = 200_000


class _Used(NamedTuple):
    """What one answer used, and when."""

    at: int
    group: Mapping[str, str | None]
    usage: Usage
    searches: int
    femtodollars: tuple[int, ...]
    is_billed: bool


class _Span(NamedTuple):
    """The buckets of one page."""

    starts: range
    width: int
    next_start: int | None


def usage_report(simulator: Simulator, workspace_id: str, now: int, pairs: Pairs) -> dict[str, object]:
    """Return ``GET /v1/organizations/usage_report/messages``.

    Raises:
        RefusalError: 400 for parameters that the service would not take.
    """
    _require_known(pairs, {"starting_at", "ending_at", "bucket_width", "limit", "page", "group_by[]", *_FILTERS})
    groups = _groups(pairs, _USAGE_GROUPS)
    wanted = [(field, {value for name, value in pairs if name == key}) for key, field in _FILTERS.items()]
    counts_unbilled = simulator.settings.reporting.counts_unbilled

    def rows(used: list[_Used]) -> list[Row]:
        sums: dict[tuple[str | None, ...], list[int]] = {}
        for one in used:
            if all(not values or one.group[field] in values for field, values in wanted) and (
                one.is_billed or counts_unbilled
            ):
                total = sums.setdefault(tuple(one.group[name] for name in groups), [0] * 6)
                for index, count in enumerate((*one.usage, one.searches)):
                    total[index] += count
        return [_usage_row(dict(zip(groups, key, strict=True)), total) for key, total in sums.items()]

    return _report(simulator, workspace_id, now, pairs, rows)


def cost_report(simulator: Simulator, workspace_id: str, now: int, pairs: Pairs) -> dict[str, object]:
    """Return ``GET /v1/organizations/cost_report``.

    Raises:
        RefusalError: 400 for parameters that the service would not take.
    """
    _require_known(pairs, {"starting_at", "ending_at", "bucket_width", "limit", "page", "group_by[]"})
    if dict(pairs).get("bucket_width", "1d") != "1d":
        raise RefusalError(400, "bucket_width: Input should be '1d'")
    groups = _groups(pairs, _COST_GROUPS)
    factor = 1 if simulator.settings.reporting.discounted else 2

    def rows(used: list[_Used]) -> list[Row]:
        sums: dict[tuple[tuple[str, str | None], ...], int] = {}
        for one in used:
            for item, femtodollars in _cost_items(one, factor):
                if femtodollars and one.is_billed:
                    kept = _ungrouped(item, groups)
                    sums[kept] = sums.get(kept, 0) + femtodollars
        return [{**dict(item), "currency": "USD", "amount": _cents(amount)} for item, amount in sums.items()]

    return _report(simulator, workspace_id, now, pairs, rows)


REPORTS: Mapping[str, Callable[[Simulator, str, int, Pairs], dict[str, object]]] = {
    "/v1/organizations/usage_report/messages": usage_report,
    "/v1/organizations/cost_report": cost_report,
}
"""The reports by their path."""


def _report(
    simulator: Simulator, workspace_id: str, now: int, pairs: Pairs, rows: Callable[[list[_Used]], list[Row]]
) -> dict[str, object]:
    span = _span(dict(pairs), now)
    buckets: dict[int, list[_Used]] = {start: [] for start in span.starts}
    for batch in simulator.batches.values():
        for one in _used(batch, simulator, workspace_id, now):
            start = one.at - one.at % span.width
            if start in buckets:
                buckets[start].append(one)
    data = [
        {"starting_at": format_instant(start), "ending_at": format_instant(start + span.width), "results": rows(used)}
        for start, used in buckets.items()
    ]
    token = None if span.next_start is None else f"{_PAGE_PREFIX}{span.next_start}"
    return {"data": data, "has_more": token is not None, "next_page": token}


def _used(batch: Batch, simulator: Simulator, workspace_id: str, now: int) -> Iterator[_Used]:
    """Yield what the answers of a batch used, as far as reports know of it by now."""
    reporting, ends_at = simulator.settings.reporting, batch.ends_at
    if ends_at is None or now < ends_at + round(reporting.lag_seconds * MICROSECONDS_PER_SECOND):
        return
    codes, answers = batch.codes(), batch.answers()
    shape_numbers = memoryview(batch.columns.shape_numbers).cast("I")
    for index, code in enumerate(codes):
        if not is_succeeded(code):
            continue
        usage, shape = answers.usage(index), batch.columns.shapes[shape_numbers[index]]
        processed_at = batch.created_at + (ends_at - batch.created_at) * (index + 1) // len(codes)
        instants = {"created": batch.created_at, "processed": processed_at, "ended": ends_at}
        group = {
            "workspace_id": None if reporting.default_workspace else workspace_id,
            "model": shape.model,
            "service_tier": "batch",
            "inference_geo": shape.geography,
            "context_window": "200k-1M" if sum(usage[:4]) > _LONG_CONTEXT_TOKENS else "0-200k",
        }
        yield _Used(
            instants[reporting.attributed_to],
            group,
            usage,
            answers.searches(index),
            charges(shape.model, shape.geography, usage),
            is_billed(code),
        )


def _usage_row(group: Mapping[str, str | None], total: Sequence[int]) -> Row:
    names = (*_USAGE_GROUPS, "account_id", "api_key_id", "service_account_id")
    return {name: group.get(name) for name in names} | {
        "uncached_input_tokens": total[0],
        "cache_creation": {"ephemeral_5m_input_tokens": total[1], "ephemeral_1h_input_tokens": total[2]},
        "cache_read_input_tokens": total[3],
        "output_tokens": total[4],
        "server_tool_use": {"web_search_requests": total[5]},
    }


def _cost_items(one: _Used, factor: int) -> Iterator[tuple[Mapping[str, str | None], int]]:
    for token_type, femtodollars in zip(_TOKEN_TYPES, one.femtodollars, strict=True):
        words = token_type.rpartition(".")[2].replace("_", " ")
        yield (
            {
                **one.group,
                "description": f"{one.group['model']} Usage (Batch) - {words}",
                "cost_type": "tokens",
                "token_type": token_type,
            },
            femtodollars * factor,
        )
    search = {"description": "Web Search Usage", "cost_type": "web_search", "workspace_id": one.group["workspace_id"]}
    yield search, SEARCH * one.searches


def _ungrouped(item: Mapping[str, str | None], groups: Sequence[str]) -> tuple[tuple[str, str | None], ...]:
    names = ("context_window", "cost_type", "description", "inference_geo", "model", "service_tier", "token_type")
    kept = {name: item.get(name) if "description" in groups else None for name in names}
    kept["workspace_id"] = item.get("workspace_id") if "workspace_id" in groups else None
    return tuple(kept.items())


def _cents(femtodollars: int) -> str:
    return str((Decimal(femtodollars) * 100 / FEMTODOLLARS).quantize(_CENTS_PLACES))


# ── parameters ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _require_known(pairs: Pairs, known: set[str]) -> None:
    for name, _ in pairs:
        if name not in known:
            raise RefusalError(400, f"{name}: Extra inputs are not permitted")


def _groups(pairs: Pairs, allowed: Sequence[str]) -> list[str]:
    groups = [value for name, value in pairs if name == "group_by[]"]
    for group in groups:
        if group not in allowed:
            raise RefusalError(400, f"group_by: Input should be one of {', '.join(allowed)}")
    return groups


def _span(query: Mapping[str, str], now: int) -> _Span:
    width_name = query.get("bucket_width", "1d")
    if width_name not in _WIDTHS:
        raise RefusalError(400, "bucket_width: Input should be '1d', '1m' or '1h'")
    width, default, maximum = _WIDTHS[width_name]
    first = _instant(query, "starting_at", None)
    last = _instant(query, "ending_at", now + width)
    try:
        limit = int(query.get("limit", default))
        if "page" in query:
            first = int(query["page"].removeprefix(_PAGE_PREFIX))
    except ValueError as error:
        raise RefusalError(400, "limit and page: Input should be valid") from error
    if not 1 <= limit <= maximum:
        raise RefusalError(400, f"limit: Input should be between 1 and {maximum} for {width_name}")
    first -= first % width
    behind = min(last // width * width, now - now % width + width)  # no bucket that has not begun
    end = min(behind, first + limit * width)
    return _Span(range(first, end, width), width, end if end < behind else None)


def _instant(query: Mapping[str, str], name: str, default: int | None) -> int:
    try:
        if name not in query and default is not None:
            return default
        moment = datetime.fromisoformat(query[name])
        return parse_instant(moment.astimezone(UTC).isoformat())
    except (KeyError, ValueError) as error:
        raise RefusalError(400, f"{name}: Input should be a valid datetime") from error
