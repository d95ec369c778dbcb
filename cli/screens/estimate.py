"""What a run may cost, before anything is spent."""

from __future__ import annotations

from pathlib import Path

from ledger.core.costs import Estimate, EstimateRow
from ledger.core.preview import Preview
from ledger.core.units import format_bytes
from ledger.store.space import answers_bytes, free_bytes

from .money import usd
from .preview import preview_lines
from .prices import prices_line
from .tables import counted, table

_HEADER = ("at batch price", "requests", "expected", "at most")


def estimate_screen(
    estimate: Estimate, preview: Preview, *, batches: int, simulated: bool, assumptions: bool = False
) -> str:
    """Return the preview.

    Args:
        estimate: what is to be sent.
        preview: what else is to be known of it.
        batches: in how many.
        simulated: whether nothing will be spent.
        assumptions: whether to say what the figures rest on.
    """
    total = estimate.total
    rows = [_row(row) for row in estimate.rows]
    if len(rows) > 1:
        rows.append(_row(total))
    rows.append(("at standard price", "", usd(total.standard_usd), usd(total.standard_ceiling_usd)))
    lines = [
        f"{counted(total.requests, 'request')}, {format_bytes(total.bytes)}, {counted(batches, 'batch')}; "
        f"about {total.input_tokens:,} input tokens",
        table(rows, "lrrr", header=_HEADER, elastic=0),
        *preview_lines(preview, always_time=assumptions),
        prices_line(estimate.quoted_on, estimate.source),
    ]
    if assumptions:
        lines += [f"  {assumption}" for assumption in estimate.assumptions]
    if simulated:
        lines.append("SIMULATED: nothing is spent")
    return "\n".join(lines)


def _row(row: EstimateRow) -> tuple[str, ...]:
    return (
        row.model,
        f"{row.requests:,}",
        usd(row.cost_usd),
        usd(row.cost_ceiling_usd),
    )


def space_lines(ledger: Path, estimate: Estimate) -> list[str]:
    """Return what is to be said of the disk before anything is sent: nothing, where the answers will fit."""
    needed = answers_bytes(estimate.total.requests, estimate.total.output_tokens)
    free = free_bytes(ledger.resolve().parent)
    if free >= needed:
        return []
    return [
        f"warning: the answers may need {format_bytes(needed)}, and {format_bytes(free)} are free at {ledger}; "
        "a full disk stops the run and loses nothing"
    ]
