"""What is to be known before money is spent, beside the amounts."""

from __future__ import annotations

from ledger.core.preview import CachePreview, Preview, TimePreview
from ledger.core.units import format_bytes, format_duration

from .money import usd
from .tables import counted, table

_HOUR_SECONDS = 3600
_WORTH_SAYING_SECONDS = 60
"""Below this the pace of large runs says nothing about a run."""


def preview_lines(preview: Preview, *, always_time: bool) -> list[str]:
    """Return what there is to say; nothing of what goes without saying.

    Args:
        preview: what is known.
        always_time: whether to say how long it may take also where the queue is filled only once.
    """
    lines = []
    if len(preview.lanes) > 1:
        lines.append(_lanes(preview))
    for step in preview.steps:
        above = f"above {step.above_prompt_tokens:,} tokens, where {step.model} costs more for the whole request"
        lines.append(f"{counted(step.requests, 'prompt')} {above}")
    lines += [_cache(cache) for cache in preview.cache]
    if preview.us_requests:
        lines.append(f"{counted(preview.us_requests, 'request')} with inference_geo us, which costs more")
    if always_time or preview.time.queue_fills > 1:
        lines.append(_time(preview.time))
    lines += [f"note: {notice.why}\n  {notice.fix}" for notice in preview.notices]
    return lines


def _lanes(preview: Preview) -> str:
    rows = [
        (
            str(lane.priority),
            f"{lane.requests:,}",
            format_bytes(lane.bytes),
            f"{lane.batches:,}",
            usd(lane.cost_usd),
            usd(lane.cost_ceiling_usd),
        )
        for lane in preview.lanes
    ]
    header = ("lane, in order", "requests", "size", "batches", "expected", "at most")
    return table(rows, "rrrrrr", header=header)


def _cache(cache: CachePreview) -> str:
    return (
        f"{counted(cache.requests, 'prompt')} with cache_control for {cache.model}:\n"
        f"  {usd(cache.read_usd)} if all is read from the cache, {usd(cache.written_usd)} if all is written for an hour"
    )


def _time(time: TimePreview) -> str:
    usual, most = format_duration(time.hours_usual * _HOUR_SECONDS), format_duration(time.hours_max * _HOUR_SECONDS)
    text = (
        f"time: {counted(time.queue_fills, 'queue fill')} (tier {time.tier}: {time.queue_requests:,} requests at once)"
        f"\n  {usual} if every batch ends within an hour, as most do; {most} at most"
    )
    if time.hours_by_pace and time.hours_by_pace[-1] * _HOUR_SECONDS > _WORTH_SAYING_SECONDS:
        fast, slow = (format_duration(hours * _HOUR_SECONDS) for hours in time.hours_by_pace)
        text += f"\n  {fast} to {slow} at the pace that large runs typically see"
    return text
