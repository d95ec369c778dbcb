"""Amounts as people read them."""

from __future__ import annotations

from decimal import Decimal

from ledger.core.units import format_usd

UNKNOWN = "unknown"


def usd(amount: Decimal | None) -> str:
    """Return dollars, or that the price is not known."""
    return UNKNOWN if amount is None else format_usd(amount)
