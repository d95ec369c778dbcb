"""What a preview says beside the estimate: lanes, price steps, the cache's range, how long it may take, what to know.

None of it changes an amount of the estimate; it says where the amounts come from and between which they may lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction

import msgspec

from ledger.core.costs import BytesPerToken, RequestClass, estimate, expected_output_tokens, plain
from ledger.core.models import Notice, find_model, model_notices
from ledger.core.order import PrimingPreview, Turn
from ledger.core.pace import TYPICAL_PER_HOUR
from ledger.core.prices import EXACT, GEO_US, PriceTable, Usage, rates, step_of

BATCH_HOURS_USUAL = 1
BATCH_HOURS_MAX = 24
"""Most batches end within an hour, none is worked on for more than 24 (batch guide)."""


class LanePreview(msgspec.Struct, frozen=True, kw_only=True):
    """What waits in one lane; lanes of higher priority are sent first, in batches of their own."""

    priority: int
    requests: int
    bytes: int
    batches: int
    cost_usd: Decimal | None
    cost_ceiling_usd: Decimal | None


class StepPreview(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests of a model are so long that the whole of each is priced by another row."""

    model: str
    above_prompt_tokens: int
    requests: int


class CachePreview(msgspec.Struct, frozen=True, kw_only=True):
    """What the requests of a model that set ``cache_control`` cost with answers of the expected length.

    ``read_usd`` if every marked prompt were read from the cache as a whole, ``written_usd`` if every one were written
    for an hour and never read; hit rates in batches are anything between (prompt caching guide). None: no price.
    """

    model: str
    requests: int
    read_usd: Decimal | None
    written_usd: Decimal | None


class TimePreview(msgspec.Struct, frozen=True, kw_only=True):
    """How long it may take once nothing is waited for that goes first; retries apart.

    ``queue_fills`` is how often the processing queue of the tier must be filled. ``hours_usual`` counts an hour for
    each, ``hours_max`` the 24 after which a batch expires. ``hours_by_pace`` are the hours at the fast and the slow end
    of what large runs with these models typically see; empty where that is not known of every model.
    """

    tier: str
    queue_requests: int
    queue_fills: int
    hours_usual: int
    hours_max: int
    hours_by_pace: tuple[float, ...]


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be known before money is spent, beside the amounts. ``us_requests`` name ``inference_geo: us``.

    ``order`` is in which order it will be sent, ``priming`` what there is to prime, None where there is nothing.
    """

    lanes: tuple[LanePreview, ...]
    steps: tuple[StepPreview, ...]
    cache: tuple[CachePreview, ...]
    us_requests: int
    time: TimePreview
    notices: tuple[Notice, ...]
    order: tuple[Turn, ...] = ()
    priming: PrimingPreview | None = None


def preview(
    table: PriceTable,
    classes: Sequence[RequestClass],
    *,
    batches: Mapping[int, int],
    tier: str,
    queue_requests: int,
    today: date,
    bytes_per_token: BytesPerToken,
) -> Preview:
    """Return what is to be known of requests that wait to be sent.

    Args:
        table: the prices that will be recorded.
        classes: the requests, those on different steps of a price apart.
        batches: how many batches each lane will be, by priority.
        tier: the usage tier.
        queue_requests: how many requests may be at the service at once.
        today: the day by which models are retired.
        bytes_per_token: bytes of a request that make a token, by model.
    """
    models = sorted({each.model for each in classes})
    return Preview(
        lanes=tuple(_lane(table, classes, priority, count, bytes_per_token) for priority, count in batches.items()),
        steps=_steps(table, classes, bytes_per_token),
        cache=tuple(_cache(table, classes, model, bytes_per_token) for model in models if _cached(classes, model)),
        us_requests=sum(each.requests for each in classes if each.geo == GEO_US),
        time=_time(classes, tier, queue_requests),
        notices=(
            *(notice for model in models for notice in model_notices(model, today)),
            *_short_prefixes(classes, models, bytes_per_token),
        ),
    )


def _lane(
    table: PriceTable,
    classes: Iterable[RequestClass],
    priority: int,
    batches: int,
    bytes_per_token: BytesPerToken,
) -> LanePreview:
    total = estimate(table, [each for each in classes if each.priority == priority], bytes_per_token).total
    return LanePreview(
        priority=priority,
        requests=total.requests,
        bytes=total.bytes,
        batches=batches,
        cost_usd=total.cost_usd,
        cost_ceiling_usd=total.cost_ceiling_usd,
    )


def _steps(
    table: PriceTable, classes: Iterable[RequestClass], bytes_per_token: BytesPerToken
) -> tuple[StepPreview, ...]:
    requests: dict[tuple[str, int], int] = {}
    for each in classes:
        step = step_of(table, each.model, Usage(input_tokens=_tokens(each.largest_bytes, bytes_per_token(each.model))))
        if step:
            key = each.model, int(step.removeprefix(">"))
            requests[key] = requests.get(key, 0) + each.requests
    return tuple(
        StepPreview(model=model, above_prompt_tokens=above, requests=count)
        for (model, above), count in sorted(requests.items())
    )


def _cached(classes: Iterable[RequestClass], model: str) -> list[RequestClass]:
    return [each for each in classes if each.cached and each.model == model]


def _cache(
    table: PriceTable, classes: Iterable[RequestClass], model: str, bytes_per_token: BytesPerToken
) -> CachePreview:
    read: Decimal | None = Decimal(0)
    written: Decimal | None = Decimal(0)
    marked = _cached(classes, model)
    for each in marked:
        prompts = _tokens(each.bytes, bytes_per_token(model))
        mean = Usage(input_tokens=_tokens(-(-each.bytes // each.requests), bytes_per_token(model)))
        found = rates(table, model, step_of(table, model, mean), geo=each.geo)
        per_answer = min(each.expected_output_tokens or expected_output_tokens(each.max_tokens), each.max_tokens)
        answers = each.requests * per_answer
        if found is None or read is None or written is None:
            read = written = None
            break
        read = EXACT.add(read, found.usd(Usage(cache_read_tokens=prompts, output_tokens=answers)))
        written = EXACT.add(written, found.usd(Usage(cache_write_1h_tokens=prompts, output_tokens=answers)))
    return CachePreview(
        model=model,
        requests=sum(each.requests for each in marked),
        read_usd=None if read is None else plain(read),
        written_usd=None if written is None else plain(written),
    )


def _short_prefixes(
    classes: Iterable[RequestClass], models: Iterable[str], bytes_per_token: BytesPerToken
) -> Iterable[Notice]:
    for model in models:
        marked, known = _cached(classes, model), find_model(model)
        if not marked or known is None or known.cache_tokens_min is None:
            continue
        largest = max(_tokens(each.largest_bytes, bytes_per_token(model)) for each in marked)
        if largest < known.cache_tokens_min:
            yield Notice(
                model,
                "cache-too-short",
                f"{model} caches no prefix below {known.cache_tokens_min:,} tokens; "
                f"the longest marked request here has about {largest:,}, so nothing will be cached",
                "leave cache_control out, or put more of what the requests share before it",
            )


def _time(classes: Sequence[RequestClass], tier: str, queue_requests: int) -> TimePreview:
    requests = sum(each.requests for each in classes)
    fills = -(-requests // queue_requests)
    fast = slow = 0.0
    is_known = bool(classes)
    for each in classes:
        band = next((band for family, band in TYPICAL_PER_HOUR.items() if f"-{family}-" in each.model), None)
        is_known = is_known and band is not None
        if band is not None:
            fast += each.requests / band[1]
            slow += each.requests / band[0]
    return TimePreview(
        tier=tier,
        queue_requests=queue_requests,
        queue_fills=fills,
        hours_usual=fills * BATCH_HOURS_USUAL,
        hours_max=fills * BATCH_HOURS_MAX,
        hours_by_pace=(round(fast, 2), round(slow, 2)) if is_known else (),
    )


def _tokens(size_bytes: int, bytes_per_token: int | Fraction) -> int:
    return -(-size_bytes // bytes_per_token)
