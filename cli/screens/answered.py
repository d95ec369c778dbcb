"""What was answered before, in other ledgers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ledger.answered import AnsweredBefore


def answered_lines(answered: Sequence[AnsweredBefore]) -> list[str]:
    """Return a line for each ledger that has answers to what is about to be paid, with the option that takes them."""
    return [
        f"{one.requests:,} of these {'was' if one.requests == 1 else 'were'} answered in {path}: --reuse {path}"
        for one in answered
        for path in [_as_typed(one.ledger)]
    ]


def _as_typed(path: str) -> str:
    """Return the shorter of the two ways to write a path: from the root, or from here."""
    return min(path, os.path.relpath(path, Path.cwd()), key=len)
