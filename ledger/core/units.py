"""Durations, sizes, times and money: parsed from what people write, printed as people read them.

Durations are seconds (float) on the command line and integer microseconds in the log; instants are integer
microseconds UTC; sizes are bytes with decimal units (1 MB = 1,000,000 bytes), the safe reading of the API's
"256 MB", which is never defined as decimal or binary.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal

MICROSECONDS_PER_SECOND = 1_000_000
DAY_US = 86_400 * MICROSECONDS_PER_SECOND

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|m|h|d)?", re.ASCII)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KB|MB|GB)?", re.ASCII | re.IGNORECASE)
_BYTES = {"b": 1, "kb": 1_000, "mb": 1_000_000, "gb": 1_000_000_000}


def parse_duration(text: str) -> float:
    """Return the seconds meant by ``0.2``, ``90s``, ``15m``, ``2h``, ``1h30m`` or ``1d``.

    Raises:
        ValueError: the text is no duration.
    """
    compact = text.strip().lower()
    total, at = 0.0, 0
    for match in _DURATION.finditer(compact):
        if match.start() != at:
            break
        total += float(match[1]) * _SECONDS[match[2]]
        at = match.end()
    if not compact or at != len(compact):
        raise ValueError(f"{text!r} is no duration; write 0.2, 90s, 15m, 2h or 1h30m")
    return total


def parse_size(text: str) -> int:
    """Return the bytes meant by ``64MB``, ``500KB`` or ``1000000``; units are decimal.

    Raises:
        ValueError: the text is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size; write 64MB, 500KB or a number of bytes")
    return int(Decimal(match[1]) * _BYTES[(match[2] or "B").lower()])


def format_duration(seconds: float) -> str:
    """Return a duration as a person says it: ``0.2 s``, ``45 s``, ``12 min 41 s``, ``3 h 05 min``, ``2 d 4 h``."""
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def format_bytes(size_bytes: int) -> str:
    """Return a size in decimal units: ``812 B``, ``2.1 KB``, ``64.0 MB``, ``1.2 GB``."""
    if size_bytes < 1000:
        return f"{size_bytes} B"
    for unit, factor in (("KB", 1_000), ("MB", 1_000_000)):
        if size_bytes < factor * 999.95:
            return f"{size_bytes / factor:.1f} {unit}"
    return f"{size_bytes / 1_000_000_000:.1f} GB"


def format_usd(usd: Decimal) -> str:
    """Return dollars: two digits from one cent on, more where two would show nothing: ``$0.000123``."""
    if usd and abs(usd) < Decimal("0.01"):
        return f"${usd:.6f}"
    return f"${usd:,.2f}"


def parse_instant(text: str) -> int:
    """Return the microseconds since 1970 UTC of an RFC 3339 instant.

    Raises:
        ValueError: the text is no instant.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86400 + delta.seconds) * MICROSECONDS_PER_SECOND + delta.microseconds


def format_instant(at: int) -> str:
    """Return an instant of microseconds since 1970 as RFC 3339 in UTC, to the second: ``2026-11-22T17:30:00Z``."""
    return datetime.fromtimestamp(at // MICROSECONDS_PER_SECOND, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
