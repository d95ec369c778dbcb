"""The README's picture of a chunk's life, drawn from the transition table: ``python tests/diagram.py`` renews it."""

from __future__ import annotations

import re
from pathlib import Path

from ledger.core import events as e
from ledger.core.state import TERMINAL, TRANSITIONS

README = Path(__file__).parents[1] / "README.md"
BEGIN = "<!-- chunk states: drawn by tests/diagram.py from ledger.core.state.TRANSITIONS -->"
END = "<!-- end of chunk states -->"
_BLOCK = re.compile(re.escape(BEGIN) + r"\n.*?" + re.escape(END), re.DOTALL)


def mermaid() -> str:
    """Return the transition table as a Mermaid state diagram in a code block: one arrow for each pair of states."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for status, ways in TRANSITIONS.items():
        for event, following in ways.items():
            arrows.setdefault((status, following), []).append(e.TYPE_NAMES[event])
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> sealed: {e.TYPE_NAMES[e.ChunkSealed]}"]
    lines += [f"    {status} --> {following}: {', '.join(names)}" for (status, following), names in arrows.items()]
    lines += [f"    {status} --> [*]" for status in TRANSITIONS if status in TERMINAL]
    return "\n".join([*lines, "```"])


def drawn(readme: str) -> str:
    """Return the README with the picture of the table as it is.

    Raises:
        ValueError: the README has no place for it.
    """
    renewed, places = _BLOCK.subn(lambda _: f"{BEGIN}\n{mermaid()}\n{END}", readme)
    if places != 1:
        raise ValueError(f"{places} places for the chunk states")
    return renewed


if __name__ == "__main__":
    README.write_text(drawn(README.read_text(encoding="utf-8")), encoding="utf-8")
