"""A crash-safe, event-sourced runner for Claude's Message Batches API."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ledger.choices import Choices
    from ledger.core.errors import LedgerError
    from ledger.ledger import Ledger
    from ledger.summary import Status, Summary

__all__ = ["Choices", "Ledger", "LedgerError", "Status", "Summary"]

_HOMES = {
    "Choices": "ledger.choices",
    "Ledger": "ledger.ledger",
    "LedgerError": "ledger.core.errors",
    "Status": "ledger.summary",
    "Summary": "ledger.summary",
}


def __getattr__(name: str) -> object:
    """Import the public names when they are first asked for: a command that shows its help needs none of them."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'ledger' has no attribute {name!r}")
