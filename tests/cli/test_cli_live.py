"""The live screen: right at any size of a terminal, honest about what nobody knows, and gone when it is over."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path
from struct import pack
from termios import TIOCSWINSZ

import pytest
from commanding import MODEL, SCRIPT, clean_environment, invoke
from ledger_cli.screens.live import Purse, live_lines
from ledger_cli.screens.tables import cell_width

from ledger.core.state import RunState
from ledger.reading import Reading

LEDGER = "items.simulated.ledger"


def screen(state: RunState, columns: int = 80, rows: int = 24, **more: bool) -> list[str]:
    lines = live_lines(
        state, Purse(), name=LEDGER, waiting="for batches", now=state.at, columns=columns, rows=rows, **more
    )
    return [line.text for line in lines]


@pytest.fixture
def states(finished: Path) -> Iterator[RunState]:
    """The state after every event of a run."""
    reading = Reading(finished / LEDGER)
    return (reading.state(upto) for upto in range(1, reading.state().position + 1))


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (40, 8), (20, 3), (200, 60)])
def test_the_screen_fits_at_every_moment_of_a_run(states: Iterator[RunState], columns: int, rows: int) -> None:
    for state in states:
        lines = screen(state, columns, rows)
        assert 0 < len(lines) < rows
        assert max(map(cell_width, lines)) <= columns


def test_the_bar_is_full_only_when_every_item_has_an_outcome(states: Iterator[RunState]) -> None:
    seen = set()
    for state in states:
        bar = screen(state)[1]
        is_over = bool(state.asked) and not state.unfinished
        assert (bar == "█" * 80) == is_over
        seen.add(bar)
    assert len(seen) > 3


def test_the_screen_without_unicode_is_ascii(states: Iterator[RunState]) -> None:
    for state in states:
        assert screen(state, unicode=False)[1].isascii()


def test_the_batches_stand_on_the_screen_with_what_they_are(states: Iterator[RunState]) -> None:
    said = {}
    for state in states:
        for chunk in state.live_chunks():
            lines = [line for line in screen(state)[4:] if line.split()[:1] == [str(chunk.chunk)]]
            assert len(lines) == 1
            said[chunk.status] = lines[0]
    assert said["submitted"].endswith("at the service")
    assert said["ended"].endswith("being collected")
    assert said["prepared"].endswith("being sent")


def on_a_terminal(*arguments: str, columns: int = 80, rows: int = 24) -> tuple[subprocess.Popen[bytes], int]:
    """Start the console script with a terminal of some size as its standard error."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        [SCRIPT, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=clean_environment(TERM="xterm-256color"),
    )
    os.close(theirs)
    return process, ours


def said_on(terminal: int, until: bytes = b"") -> bytes:
    """Return what a terminal shows up to some bytes, or to its end."""
    said = b""
    while not until or until not in said:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux says so when nobody has the other end any more
            break
        if not piece:
            break
        said += piece
    return said


SHOWN, HIDDEN = b"\x1b[?25h", b"\x1b[?25l"


def test_a_run_draws_its_screen_on_a_terminal_and_takes_it_away(finished: Path) -> None:
    process, terminal = on_a_terminal("run", "items.jsonl", "--simulate", "--ledger", "other.ledger", *MODEL)
    said = said_on(terminal)
    os.close(terminal)
    assert process.wait(timeout=30) == 1
    assert "of 3 items done" in said.decode()
    assert "at the service" in said.decode()
    assert said.rindex(SHOWN) > said.rindex(HIDDEN)
    assert b"next: ledger results" in said[said.rindex(SHOWN) :]


def test_a_run_that_is_stopped_leaves_its_words_and_a_cursor(finished: Path) -> None:
    process, terminal = on_a_terminal("run", "items.jsonl", "--simulate", "--ledger", "other.ledger", *MODEL)
    said = said_on(terminal, b"at the service")
    process.send_signal(signal.SIGINT)
    said += said_on(terminal)
    os.close(terminal)
    assert process.wait(timeout=30) == 130
    assert b"stopping; Ctrl-C again ends at once" in said
    assert said.rindex(SHOWN) > said.rindex(HIDDEN)
    assert b"next: ledger resume other.ledger" in said


def test_a_finished_run_is_not_watched(finished: Path) -> None:
    result = invoke("status", LEDGER, "--watch")
    assert result.exit_code == 0
    assert result.stdout == invoke("status", LEDGER).stdout


def test_a_run_is_watched_until_it_is_finished(finished: Path) -> None:
    (finished / "slow.jsonl").write_text('{"id": "a", "prompt": "Describe a kettle."}\n')
    runner = subprocess.Popen(
        [SCRIPT, "run", "slow.jsonl", "--simulate", *MODEL],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    assert runner.stderr is not None
    for line in runner.stderr:
        if b"created" in line:
            break
    watcher, terminal = on_a_terminal("status", "slow.simulated.ledger", "--watch")
    said = said_on(terminal)
    os.close(terminal)
    runner.communicate(timeout=30)
    assert (runner.returncode, watcher.wait(timeout=30)) == (0, 0)
    assert b"watching; Ctrl-C ends this, and nothing else" in said
    assert said.rindex(SHOWN) > said.rindex(HIDDEN)
