"""What checking items found."""

from __future__ import annotations

from ledger.core.units import format_bytes
from ledger.ledger import Check

from .answered import answered_lines
from .estimate import estimate_screen
from .tables import counted, table


def check_screen(check: Check, *, items: str) -> str:
    """Return what would be sent and what it may cost."""
    largest = f"{counted(check.largest_batch_requests, 'request')}, {format_bytes(check.largest_batch_bytes)}"
    rows = [
        ("requests", f"{check.requests:,}"),
        ("repetitions", f"{check.deduplicated:,}"),
        ("lines that are no items", f"{check.rejected:,}"),
        ("largest batch", largest),
        ("ledger before answers", format_bytes(check.ledger_bytes)),
    ]
    preview = estimate_screen(check.estimate, check.preview, batches=check.batches, simulated=False, assumptions=True)
    preview = "\n".join([preview, *answered_lines(check.answered)])
    return f"{items}: nothing is wrong with what would be sent\n{table(rows, 'll')}\n\n{preview}"
