"""The texts of the benchmark: consecutive slices of English that every Python brings along, so that anybody has them.

They come from the language reference (`pydoc_data.topics`, some 460 KB). Within a stored block no two slices overlap,
so that compression finds what it finds in any English and not the same sentences again: Zstandard level 1 makes this
text 3.2 times smaller, plain prose some 2.6 times.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

MODEL = "claude-sonnet-4-6"
MAX_TOKENS = 1024
_SHIFT = 37  # characters; a second walk over the text cuts it elsewhere


def text_slices(size_bytes: int) -> Iterator[str]:
    """Yield slices of the text for ever, each about so long as JSON without its escapes."""
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics))
    at = 0
    while True:
        if at + size_bytes > len(text):
            at = (at + _SHIFT) % min(size_bytes, len(text))
            if size_bytes > len(text):
                yield (text * (size_bytes // len(text) + 2))[at : at + size_bytes]
                continue
        yield text[at : at + size_bytes]
        at += size_bytes


def custom_id(number: int) -> str:
    """Return the id of an item."""
    return f"item-{number:08d}"


def item_lines(count: int, item_bytes: int) -> Iterator[bytes]:
    """Yield so many items, each some ``item_bytes`` long with its line end."""
    fixed = {"model": MODEL, "max_tokens": MAX_TOKENS}
    head = b'{"custom_id":"%b","params":' + json.dumps(fixed, separators=(",", ":")).encode()[:-1]
    head += b',"messages":[{"role":"user","content":%b}]}}\n'
    room = item_bytes - len(head) - len(custom_id(0))
    slices = text_slices(room - room // 24)  # line ends and quotes take two bytes in JSON
    for number in range(count):
        yield head % (custom_id(number).encode(), json.dumps(next(slices), ensure_ascii=False).encode())


def write_items(path: Path, count: int, item_bytes: int) -> None:
    """Write items to a file."""
    with path.open("wb") as out:
        out.writelines(item_lines(count, item_bytes))
