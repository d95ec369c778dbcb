"""Small log-log line charts as SVG, without a library, readable on light and on dark pages."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

PANEL_WIDTH, PANEL_HEIGHT = 290, 220
_LEFT, _TOP, _GAP = 52, 62, 34
_BOTTOM = 46
_STYLE = """
text{font:12px system-ui,sans-serif;fill:#57606a}.title{font-size:15px;font-weight:600}.title,.head{fill:#1f2328}
.head{font-size:13px;font-weight:600}.grid{stroke:#d0d7de;stroke-width:1}path{fill:none;stroke-width:2.2}
.s0{stroke:#8c6d1f}.s1{stroke:#0969da}.f0{fill:#8c6d1f}.f1{fill:#0969da}.r{stroke-width:1.4}
@media(prefers-color-scheme:dark){text{fill:#9198a1}.title,.head{fill:#f0f6fc}.grid{stroke:#3d444d}
.s0{stroke:#e3b341}.s1{stroke:#58a6ff}.f0{fill:#e3b341}.f1{fill:#58a6ff}}
"""


class Point(NamedTuple):
    """A median and the range it lies in."""

    x: float
    y: float
    least: float
    most: float


class Panel(NamedTuple):
    """One chart: a heading with its unit, and the points of every series."""

    heading: str
    series: Sequence[Sequence[Point]]


def chart(title: str, names: Sequence[str], panels: Sequence[Panel], x_label: str) -> str:
    """Return panels side by side; both axes are logarithmic, with a line at every power of ten."""
    width = _LEFT + len(panels) * (PANEL_WIDTH + _GAP + 18)
    height = _TOP + PANEL_HEIGHT + _BOTTOM
    drawn = [f'<text class="title" x="12" y="22">{html.escape(title)}</text>']
    for number, name in enumerate(names):
        x = width - 20 - 130 * (len(names) - number)
        drawn.append(f'<circle class="f{number}" cx="{x}" cy="18" r="5"/>')
        drawn.append(f'<text x="{x + 11}" y="22">{html.escape(name)}</text>')
    for number, panel in enumerate(panels):
        drawn += _panel(panel, _LEFT + number * (PANEL_WIDTH + _GAP + 18), x_label)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"><style>{_STYLE}</style>'
    return "\n".join((head, *drawn, "</svg>\n"))


def _panel(panel: Panel, left: int, x_label: str) -> list[str]:
    points = [point for series in panel.series for point in series]
    x_from, x_to = _decades([point.x for point in points])
    y_from, y_to = _decades([bound for point in points for bound in (point.least, point.most)])

    def across(x: float) -> float:
        return left + PANEL_WIDTH * (math.log10(x) - x_from) / (x_to - x_from)

    def down(y: float) -> float:
        return _TOP + PANEL_HEIGHT * (1 - (math.log10(y) - y_from) / (y_to - y_from))

    bottom = _TOP + PANEL_HEIGHT
    drawn = [f'<text class="head" x="{left}" y="{_TOP - 12}">{html.escape(panel.heading)}</text>']
    for power in range(y_from, y_to + 1):
        y = down(10.0**power)
        drawn.append(f'<line class="grid" x1="{left}" y1="{y:.1f}" x2="{left + PANEL_WIDTH}" y2="{y:.1f}"/>')
        drawn.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(10.0**power)}</text>')
    for power in range(x_from, x_to + 1):
        x = across(10.0**power)
        drawn.append(f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}"/>')
        drawn.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{_number(10.0**power)}</text>')
    middle = left + PANEL_WIDTH / 2
    drawn.append(f'<text x="{middle}" y="{bottom + 36}" text-anchor="middle">{html.escape(x_label)}</text>')
    for number, series in enumerate(panel.series):
        line = "L".join(f"{across(point.x):.1f} {down(point.y):.1f}" for point in series)
        drawn.append(f'<path class="s{number}" d="M{line}"/>')
        for point in series:
            x, label = across(point.x), f"{point.y:,.3g} ({point.least:,.3g} to {point.most:,.3g})"
            span = f"M{x:.1f} {down(point.least):.1f}V{down(point.most):.1f}"
            drawn.append(f'<path class="s{number} r" d="{span}"/>')
            drawn.append(
                f'<circle class="f{number}" cx="{x:.1f}" cy="{down(point.y):.1f}" r="4"><title>{label}</title></circle>'
            )
    return drawn


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Return the powers of ten around some values, at least one apart."""
    low, high = math.floor(math.log10(min(values)) + 1e-9), math.ceil(math.log10(max(values)) - 1e-9)
    return low, max(high, low + 1)


def _number(value: float) -> str:
    for size, suffix in ((1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:g}"
