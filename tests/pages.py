"""Pages that are run: the blocks of a Markdown page, what their commands print, and how the two are compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PROGRAMS = Path(sys.executable).parent
HOME = "/home/ada"
ELIDED = "…"
PATIENCE_SECONDS = 300.0  # a command that hangs is a failure, not a test that never ends
BLOCK = re.compile(
    r"^```(?P<language>\w+)\n(?P<text>.*?)^```$(?P<after>(?:\n<!-- not run here: [^\n]+ -->$)?)",
    re.MULTILINE | re.DOTALL,
)
# What differs from one run to the next, and what stands for it on both sides of a comparison.
VOLATILE = (
    (r"msgbatch_\w+", "BATCH"),
    (r"head \d+:[0-9a-f]{64}", "head HEAD"),
    (r"position \d+", "position N"),
    (r"[\d,]+ events", "N events"),
    (r"\d{4}-\d\d-\d\d", "DATE"),
    (r"kill -9 \d+", "kill -9 PROCESS"),
    (r"killed: \d+ batches accepted, \d+ of", "killed: N batches accepted, M of"),
    (r"batches +\d+   accepted", "batches N accepted"),
    (r"v1 [0-9a-f]{32}", "v1 LEDGER"),
    (r"head +\d+:[0-9a-f]{64}", "head HEAD"),
    (r"T\d\d:\d\d(:\d\d)?Z", "THEN"),
    (r"answers in [^\n]+ at the service[^\n]*", "answers in SECONDS at the service"),
    (r"[\d,]+ an hour", "N an hour"),
    (r"sent as +\S+", "sent as WIRE_ID"),
    (r"\S+/ledger ", "ledger "),  # the program, wherever it is installed
)


class Block(NamedTuple):
    """A code block of a page; `is_run` is whether it does not say why it is not run."""

    language: str
    text: str
    is_run: bool


class Command(NamedTuple):
    """A command of a console block, with what it prints."""

    line: str
    output: str


def blocks(page: str) -> Iterator[Block]:
    for match in BLOCK.finditer(page):
        yield Block(match["language"], match["text"], not match["after"])


def commands(text: str) -> list[Command]:
    """Take a console block apart; a command goes on where a line ends with a backslash."""
    pieces = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    return [Command(*re.split(r"(?<!\\)\n", piece, maxsplit=1)) for piece in pieces]


def steady(text: str, home: Path | str = HOME) -> str:
    """Return a text without what differs from one run to the next, and without spaces at the ends of lines."""
    text = text.replace(str(home), HOME)
    for pattern, stand_in in VOLATILE:
        text = re.sub(pattern, stand_in, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def shows(shown: str, printed: str) -> bool:
    """Tell whether a page shows what was printed (both steady): a line of "…" stands for any lines, or none."""
    pattern = "".join(r"(?:[^\n]*\n)*?" if line == ELIDED else re.escape(line) + r"\n" for line in shown.splitlines())
    return re.fullmatch(pattern, f"{printed}\n" if printed else "") is not None


def environment(**more: str) -> dict[str, str]:
    """The environment of somebody who has installed the program, and has no key."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
    return {**kept, "PATH": f"{PROGRAMS}{os.pathsep}{kept['PATH']}", "NO_COLOR": "1", **more}


def typed(line: str, home: Path) -> str:
    """Return what a command prints, as a terminal would show it."""
    done = subprocess.run(
        line,
        shell=True,
        cwd=home,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    return done.stdout
