"""Amounts as people read them."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from ledger.core.units import format_usd

UNKNOWN = "unknown"
_CENT = Decimal("0.01")


def usd(amount: Decimal | None) -> str:
    """Return dollars, or that the price is not known."""
    if amount is None:
        return UNKNOWN
    return f"-{format_usd(-amount)}" if amount < 0 else format_usd(amount)


def usd_column(amounts: Iterable[Decimal | None]) -> list[str]:
    """Return dollars for one column of a table: all with cents, or all with as many digits as the smallest needs."""
    amounts = list(amounts)
    if any(amount and abs(amount) < _CENT for amount in amounts):
        return [UNKNOWN if amount is None else _fine(amount) for amount in amounts]
    return [usd(amount) for amount in amounts]


def _fine(amount: Decimal) -> str:
    return f"{'-' if amount < 0 else ''}${abs(amount):,.6f}"
