"""Which file was meant where the one that was named is not there."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

FILES_LOOKED_AT = 10_000


def did_you_mean(path: str | Path, *suffixes: str) -> str:
    """Return a question that names the file most like one that is not there, with a blank behind it; empty for none.

    Args:
        path: what was named.
        *suffixes: how files end that come into question; all do where none is given.
    """
    named = Path(path)
    try:
        there = [file.name for file, _ in zip(named.parent.iterdir(), range(FILES_LOOKED_AT), strict=False)]
    except OSError:
        return ""
    fitting = [name for name in there if not suffixes or name.endswith(suffixes)]
    meant = get_close_matches(named.name, fitting, n=1)
    return f"did you mean {named.with_name(meant[0])}? " if meant else ""
