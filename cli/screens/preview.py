"""What is to be known before money is spent, beside the amounts."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.core.order import PrimingPreview, Turn
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
    if preview.priming is not None:
        lines.append(_priming(preview.priming))
    if preview.us_requests:
        lines.append(f"{counted(preview.us_requests, 'request')} with inference_geo us, which costs more")
    if len(preview.order) > 1:
        lines.append(_order(preview.order))
    if always_time or preview.time.queue_fills > 1:
        lines.append(_time(preview.time, preview.order))
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


def _priming(priming: PrimingPreview) -> str:
    prefixes = "a prefix" if priming.prefixes == 1 else f"{priming.prefixes:,} prefixes"
    shared = f"{priming.requests:,} prompts share {prefixes}"
    if not priming.wanted:
        one = "one of them" if priming.prefixes == 1 else "one of each"
        return (
            f"{shared}: --prime-cache sends {one} first, which may save up to {usd(priming.saved_usd_max)} of writing"
        )
    ones = counted(priming.prefixes, "request")
    less = priming.saved_usd_min
    text = (
        f"priming: {shared}; {ones} first, whose writing costs {usd(priming.written_usd)}\n"
        f"  the others save up to {usd(priming.saved_usd_max)}, if each had written its own; "
        f"it costs {usd(less if less is None else -less)} if none reads"
    )
    if priming.left_out:
        text += f"\n  of {priming.left_out:,} more shared prefixes none is primed before these are sent"
    return text


def _order(order: Sequence[Turn]) -> str:
    names = [_turn(turn, last=turn is order[-1]) for turn in order]
    return "order: " + ",\n  then ".join(names)


def _turn(turn: Turn, *, last: bool) -> str:
    requests = counted(turn.requests, "request")
    if turn.what == "lanes":
        lanes = f" (lanes {', '.join(map(str, turn.priorities))})" if len(turn.priorities) > 1 else ""
        return f"the other {requests}{lanes}"
    what = f"priming of {requests}" if turn.what == "priming" else f"a canary of {requests}"
    usual, most = (format_duration(hours * _HOUR_SECONDS) for hours in (turn.wait_hours_usual, turn.wait_hours_max))
    return what if last else f"{what}, which is waited for {usual} as a rule, {most} at most"


def _time(time: TimePreview, order: Sequence[Turn]) -> str:
    waits = order[:-1]
    usual = format_duration((time.hours_usual + sum(turn.wait_hours_usual for turn in waits)) * _HOUR_SECONDS)
    most = format_duration((time.hours_max + sum(turn.wait_hours_max for turn in waits)) * _HOUR_SECONDS)
    text = (
        f"time: {counted(time.queue_fills, 'queue fill')} (tier {time.tier}: {time.queue_requests:,} requests at once)"
        f"\n  {usual} if every batch ends within an hour, as most do; {most} at most"
    )
    if time.hours_by_pace and time.hours_by_pace[-1] * _HOUR_SECONDS > _WORTH_SAYING_SECONDS:
        fast, slow = (format_duration(hours * _HOUR_SECONDS) for hours in time.hours_by_pace)
        text += f"\n  {fast} to {slow} at the pace that large runs typically see"
    return text
