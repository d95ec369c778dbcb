"""The page in a headless Chromium: nothing logged, nothing asked for, hostile words as text, no sideways scrolling."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browsing import Browser, browser, program

pytestmark = pytest.mark.skipif(
    program() is None, reason="there is no Chromium on this machine (apt-get install chromium)"
)
SHOWN = ["empty", "unanswered", "hostile", "slow", "days", "many"]


@pytest.fixture(scope="module")
def running() -> Iterator[Browser]:
    with browser() as started:
        yield started


def test_nothing_is_logged_and_nothing_asked_for(running: Browser, pages: dict[str, Path]) -> None:
    for name in sorted(pages):
        page = running.open(pages[name])
        assert page.requests == [pages[name].resolve().as_uri()], name
        assert page.logged == [], name


def test_no_width_and_no_scheme_makes_the_page_scroll_sideways(running: Browser, pages: dict[str, Path]) -> None:
    for name in SHOWN:
        for width, scheme in ((400, "light"), (400, "dark"), (320, "light"), (1280, "light")):
            page = running.open(pages[name], width=width, scheme=scheme)
            assert page.js("document.documentElement.scrollWidth") == width, (name, width)


def test_hostile_words_are_shown_and_make_no_element(running: Browser, pages: dict[str, Path]) -> None:
    page = running.open(pages["hostile"])
    assert page.js("document.querySelectorAll('script, iframe, img, link, [onload], [onerror]').length") == 0
    shown = page.js("document.body.innerText")
    assert "<script>alert(1)</script>" in shown
    assert "</bdi></dd><iframe src='https://evil.example/'></iframe>" in shown


def test_a_script_that_got_in_all_the_same_would_not_run(
    running: Browser, pages: dict[str, Path], tmp_path: Path
) -> None:
    page = pages["empty"].read_text(encoding="utf-8")
    spoilt = tmp_path / "spoilt.html"
    inserted = "<script>document.title = 'ran'</script><img src='x.png' onerror='document.title = \"ran\"'>"
    spoilt.write_text(page.replace("</main>", f"{inserted}</main>"), encoding="utf-8")
    opened = running.open(spoilt)
    assert opened.js("document.title") == "empty.ledger: empty"
    assert opened.logged != []


def test_light_and_dark_are_two_looks_with_readable_contrast(running: Browser, pages: dict[str, Path]) -> None:
    looks = {}
    for scheme in ("light", "dark"):
        page = running.open(pages["days"], scheme=scheme)
        colours = [
            page.js(f"getComputedStyle(document.querySelector('{where}')).{what}")
            for where, what in (
                ("section", "backgroundColor"),
                ("body", "color"),
                (".note", "color"),
                ("nav a", "color"),
            )
        ]
        looks[scheme] = colours
        for ink in colours[1:]:
            assert contrast(colours[0], ink) >= 4.5, (scheme, colours)
    assert looks["light"] != looks["dark"]


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, as WCAG 2 counts it."""
    lights = sorted((luminance(one), luminance(other)))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_every_link_and_fold_is_reached_by_the_keyboard_in_order(running: Browser, pages: dict[str, Path]) -> None:
    page = running.open(pages["hostile"])
    wanted = page.js("[...document.querySelectorAll('a, summary, [tabindex]')].length")
    reached = []
    for _ in range(wanted):
        page.key("Tab")
        reached.append(
            page.js("[...document.querySelectorAll('a, summary, [tabindex]')].indexOf(document.activeElement)")
        )
    assert reached == list(range(wanted))


def test_axis_labels_do_not_run_into_each_other(running: Browser, pages: dict[str, Path]) -> None:
    overlaps = """[...document.querySelectorAll('svg')].map(svg => {
        const boxes = [...svg.querySelectorAll(':scope > text, :scope > g > text')]
            .map(text => text.getBoundingClientRect()).filter(box => box.width);
        return boxes.filter((a, i) => boxes.some((b, j) => j > i && a.left < b.right && b.left < a.right
            && a.top + 2 < b.bottom && b.top + 2 < a.bottom)).length;
    }).reduce((sum, number) => sum + number, 0)"""
    for name in SHOWN:
        for width in (400, 1280):
            assert running.open(pages[name], width=width).js(overlaps) == 0, (name, width)


def test_whatever_exists_is_at_least_a_pixel_wide(running: Browser, pages: dict[str, Path]) -> None:
    """A line of a pixel in its own colour surrounds every bar, however short it is."""
    page = running.open(pages["slow"])
    bars = """[...document.querySelectorAll('.gantt .b:not(.life), .rows .b')].map(bar => getComputedStyle(bar))"""
    assert page.js(f"{bars}.length") > 100
    assert page.js(f"{bars}.filter(look => parseFloat(look.strokeWidth) < 1 || look.stroke != look.fill).length") == 0


def test_what_is_folded_away_is_printed(running: Browser, pages: dict[str, Path]) -> None:
    page = running.open(pages["days"], width=760, media="print")
    assert page.js("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert page.js("document.documentElement.scrollWidth") == 760
