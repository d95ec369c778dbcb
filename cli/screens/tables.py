"""The one renderer of tables: columns that line up, two spaces between them, no lines drawn."""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
from collections.abc import Iterable, Sequence

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_WIDTH_DEFAULT = 80

GAP = "  "
_NARROWEST = 8


def table(
    rows: Iterable[Sequence[str]],
    align: str,
    *,
    header: Sequence[str] = (),
    elastic: int | None = None,
    indent: str = "",
    columns: int | None = None,
) -> str:
    """Return rows as aligned text, without trailing blanks or line end.

    Args:
        rows: cells; all rows have as many as ``align`` has letters.
        align: one letter a column: ``l`` left, ``r`` right.
        header: titles of the columns.
        elastic: the column whose cells lose their middle where the table is wider than the terminal.
        indent: put before every line.
        columns: the width to fit into; that of the terminal by default, none off a terminal.
    """
    cells = [[printable(cell) for cell in row] for row in ([header] if header else [])]
    cells += [[printable(cell) for cell in row] for row in rows]
    widths = [max((cell_width(row[column]) for row in cells), default=0) for column in range(len(align))]
    room = columns if columns is not None else width()
    if elastic is not None and room is not None:
        excess = len(indent) + sum(widths) + len(GAP) * (len(widths) - 1) - room
        if excess > 0:
            widths[elastic] = max(widths[elastic] - excess, _NARROWEST)
            for row in cells:
                row[elastic] = _without_middle(row[elastic], widths[elastic])
    return "\n".join((indent + GAP.join(_padded(row, widths, align))).rstrip() for row in cells)


def cell_width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def _padded(row: Sequence[str], widths: Sequence[int], align: str) -> Iterable[str]:
    for cell, size, side in zip(row, widths, align, strict=True):
        blank = " " * (size - cell_width(cell))
        yield blank + cell if side == "r" else cell + blank


def _without_middle(text: str, size: int) -> str:
    """Return a text cut to a size; of an id the end tells most."""
    if cell_width(text) <= size:
        return text
    tail = (size - 1) * 2 // 3
    return f"{text[: size - 1 - tail]}…{text[len(text) - tail :]}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 batch``, ``2 batches``, ``1 repetition``."""
    plural = "es" if noun.endswith("h") else "s"
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def printable(text: str) -> str:
    """Return a text without control characters: ids and messages of others must not steer a terminal."""
    return _CONTROLS.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def is_terminal(descriptor: int) -> bool:
    """Return whether a descriptor is open and a terminal."""
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def width() -> int | None:
    """Return the columns of the terminal that answers go to; None where they go to a file or a program."""
    return shutil.get_terminal_size((_WIDTH_DEFAULT, 24)).columns if is_terminal(1) else None
