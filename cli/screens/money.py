"""Amounts as people read them."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from ledger.core.units import format_usd

UNKNOWN = "unknown"
_CENT = Decimal("0.01")


def usd(amount: Decimal | None) -> str:
    """Return dollars, or that the price is not known."""
    return UNKNOWN if amount is None else format_usd(amount)


def usd_column(amounts: Iterable[Decimal | None]) -> list[str]:
    """Return dollars for one column of a table: all with cents, or all with as many digits as the smallest needs."""
    amounts = list(amounts)
    if any(amount and abs(amount) < _CENT for amount in amounts):
        return [UNKNOWN if amount is None else f"${amount:,.6f}" for amount in amounts]
    return [usd(amount) for amount in amounts]
