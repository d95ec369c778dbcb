"""Whether there is room for what a run is going to store, asked before it begins.

A full disk loses nothing: the run stops before its next effect. But it stops in the middle, with batches at the service
whose results are kept there for 29 days, and that is better known beforehand.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ledger.core.errors import DiskError
from ledger.core.units import format_bytes

RESERVE_BYTES = 32_000_000
"""Beside what is counted: the -wal, the pages of indexes, what others write meanwhile."""
INTAKE_PERCENT = 50
"""Of the bytes of items: English text takes 16 to 30 percent once it is compressed, other text more."""
PACKED_FACTOR = 3
"""Of the bytes of a .gz or .zst file, which are unpacked, and packed again in smaller blocks."""
ROW_BYTES = 700
"""Of a result beside its text: the envelope of its row, its event, its place in the index."""
TOKEN_BYTES = 4
"""Of a token of an answer; compressing it is left out, since a batch's results lie unpacked for a while."""


def free_bytes(directory: Path) -> int:
    """Return how many bytes the file system of a directory has left for whoever asks."""
    return shutil.disk_usage(directory).free


def intake_bytes(items: Path) -> int:
    """Return how many bytes a ledger may need for the items of a file."""
    size = items.stat().st_size
    packed = items.suffix in (".gz", ".zst")
    return RESERVE_BYTES + (size * PACKED_FACTOR if packed else size * INTAKE_PERCENT // 100)


def answers_bytes(requests: int, output_tokens: int) -> int:
    """Return how many bytes a ledger may need for answers that are still to come."""
    return RESERVE_BYTES + requests * ROW_BYTES + output_tokens * TOKEN_BYTES


def require_space(ledger: Path, needed_bytes: int, what: str) -> None:
    """Refuse to begin what the disk has no room for.

    Args:
        ledger: where it is, or is to be.
        needed_bytes: how much it may need.
        what: for what, as people read it.

    Raises:
        DiskError: there is less.
    """
    directory = ledger.resolve().parent
    if not directory.is_dir():
        return  # another error, and another's to raise
    free = free_bytes(directory)
    if free < needed_bytes:
        raise DiskError(
            f"there is too little room for {what}",
            where=str(directory),
            why=f"{format_bytes(free)} are free, and {format_bytes(needed_bytes)} may be needed",
            next="make room and run it again, or keep the ledger elsewhere: --ledger FILE",
        )
