"""Where a run stands: the summary, its batches, and what needs a person."""

from __future__ import annotations

from collections.abc import Sequence

from ledger.core.units import format_duration
from ledger.summary import BatchStatus, DeadlineStatus, Status

from .summary import summary_screen
from .tables import table

DONE_SHOWN = 5
"""Batches that are done are history: the last few are enough, unless all are asked for."""

_DONE = ("collected", "lost")
_HEADER = ("chunk", "batch", "status", "requests", "created (UTC)")


def status_screen(status: Status, *, every_batch: bool = False) -> str:
    """Return the status as text; ``every_batch`` shows those that are done, too."""
    parts = [summary_screen(status.summary)]
    if status.batches:
        parts.append(_batches(status.batches, every_batch=every_batch))
    if status.deadlines:
        parts.append(_deadlines(status.deadlines))
    parts += [text for text in (_people(status), _notes(status)) if text]
    return "\n\n".join(parts)


def _batches(batches: Sequence[BatchStatus], *, every_batch: bool) -> str:
    done = [batch for batch in batches if batch.status in _DONE]
    hidden = {batch.chunk for batch in done[:-DONE_SHOWN]} if not every_batch else set()
    shown = [batch for batch in batches if batch.chunk not in hidden]
    text = table([_row(batch) for batch in shown], "rllrl", header=_HEADER, elastic=1)
    return text + (f"\n{len(hidden):,} more are collected (--batches shows all)" if hidden else "")


def _deadlines(deadlines: Sequence[DeadlineStatus]) -> str:
    """Return the nearest deadline of each kind, and how many more there are."""
    lines = []
    for kind in ("expires", "results"):
        of_kind = [one for one in deadlines if one.kind == kind]
        if of_kind:
            more = f"; {len(of_kind) - 1:,} more later" if len(of_kind) > 1 else ""
            lines.append(_deadline(of_kind[0]) + more)
    return "\n".join(lines)


def _deadline(one: DeadlineStatus) -> str:
    left = format_duration(abs(one.left_seconds))
    if one.kind == "expires":
        said = f"expires in {left}" if one.left_seconds > 0 else f"should have expired {left} ago"
        return f"batch {one.batch} {said} ({one.at})"
    said = f"can be had for {left} more" if one.left_seconds > 0 else f"may be gone since {left}"
    return f"results of batch {one.batch} are not collected; they {said} ({one.at})"


def _row(batch: BatchStatus) -> tuple[str, ...]:
    created = batch.created_at.replace("T", " ").removesuffix("Z")[5:16]
    status = "held" if batch.held else batch.status
    return (str(batch.chunk), batch.batch or "-", status, f"{batch.requests:,}", created)


def _people(status: Status) -> str:
    """Return what needs a person, each with the command that settles it."""
    lines: list[str] = []
    for pause in status.pauses:
        lines += [f"paused by {pause['reason']}: {pause['detail']}", f"  next: {pause['lift']}"]
    for hold in status.holds:
        lines += [f"chunk {hold['chunk']} is held: {hold['detail'] or hold['reason']}", f"  next: {hold['lift']}"]
    for twin in status.twins:
        proven = "proven by its rows" if twin["proven"] == "yes" else "by its size"
        lines += [
            f"chunk {twin['chunk']} has a second batch, {twin['batch']} ({proven})",
            f"  next: {twin['lift']}",
        ]
    lines += [f"alarm: {alarm}" for alarm in status.alarms]
    return "\n".join(lines)


def _notes(status: Status) -> str:
    lines: list[str] = []
    if status.findings:
        lines.append(f"findings: {status.findings:,} (ledger replay --audit shows them)")
    if status.writer:
        lines.append(f"at work: {status.writer}")
    if not status.head_verified:
        lines.append("head unverified: nothing beside this file says how far it had got")
    return "\n".join(lines)
