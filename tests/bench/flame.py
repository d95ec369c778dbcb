"""A flame graph of collapsed stacks as one small SVG without scripts: frames name themselves under the pointer."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from zlib import crc32

WIDTH = 1200
ROW = 17
LEAST_WIDTH = 1.5
"""Frames narrower than this many pixels are left out: they could not be seen, and would be most of the file."""
DEEPEST = 40
"""Frames below this depth are left out, too: only recursive libraries, at import, go so deep."""
_STYLE = """
:root{color-scheme:light dark}text{font:11px ui-monospace,Menlo,Consolas,monospace;fill:#1b1b1b;pointer-events:none}
.title,.note{fill:#24292f}.title{font-weight:600;font-size:13px}
@media(prefers-color-scheme:dark){.title,.note{fill:#d0d7de}rect{filter:brightness(.86)}}
"""
_OURS, _HTTP, _IMPORTS = 28, 205, 110


class _Frame:
    def __init__(self) -> None:
        self.count = 0
        self.callees: dict[str, _Frame] = {}


def flame_graph(stacks: Mapping[str, int], title: str) -> str:
    """Return the graph: a frame is as wide as the samples that were in it, its callees stand below it.

    Args:
        stacks: frames, outermost first and joined by semicolons → samples.
        title: stands above it.
    """
    root = _Frame()
    for stack, count in stacks.items():
        root.count += count
        frame = root
        for name in stack.split(";")[:DEEPEST]:
            frame = frame.callees.setdefault(re.sub(r":\d+\)$", ")", name), _Frame())
            frame.count += count
    drawn: list[str] = []
    depth = _draw(root, 0.0, 0, WIDTH / max(root.count, 1), root.count, drawn)
    height = (depth + 1) * ROW + 44
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            f"<style>{_STYLE}</style>",
            f'<text class="title" x="4" y="16">{html.escape(title)}</text>',
            f'<text class="note" x="4" y="32">{root.count:,} samples of py-spy; orange: ledger, blue: SDK and HTTP, '
            "green: imports, grey: other libraries. Callers above callees; point at a frame for its name.</text>",
            *drawn,
            "</svg>\n",
        )
    )


def _draw(frame: _Frame, x: float, depth: int, scale: float, total: int, drawn: list[str]) -> int:
    deepest = depth
    for name, callee in sorted(frame.callees.items()):
        width = callee.count * scale
        if width >= LEAST_WIDTH:
            drawn.append(_box(name, x, 42 + depth * ROW, width, callee.count / total))
            deepest = max(deepest, _draw(callee, x, depth + 1, scale, total, drawn))
        x += width
    return deepest


def _box(name: str, x: float, y: int, width: float, share: float) -> str:
    hue = _hue(name)
    fill = f"hsl({hue},75%,{64 + crc32(name.encode()) % 12}%)" if hue is not None else "hsl(0,0%,78%)"
    room = int(width / 6.8)
    text = name if len(name) <= room else name[: room - 1] + "…" if room > 3 else ""
    label = f'<text x="{x + 2:.1f}" y="{y + 12}">{html.escape(text)}</text>' if text else ""
    return (
        f"<g><title>{html.escape(name)}: {100 * share:.1f}%</title>"
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 1}" fill="{fill}"/>{label}</g>'
    )


def _hue(name: str) -> int | None:
    """Return the colour of a frame by whose it is; None for other libraries and Python itself."""
    file = name.partition(" (")[2]
    if name == "importing" or name.startswith("<module>"):
        return _IMPORTS
    if name.startswith("ledger ") or file.startswith(("ledger/", "ledger_cli/", "cli/")):
        return _OURS
    return _HTTP if file.startswith(("anthropic/", "httpx", "httpcore", "h11/")) else None
