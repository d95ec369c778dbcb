"""``ledger status --watch``: the screen of a run that another process carries on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from ledger.core.state import RunState
from ledger.core.units import format_instant
from ledger.reading import Reading

from .drawing import Screen
from .output import is_terminal, say
from .progress import now_us
from .screens.live import Purse, live_lines

DRAWN_EVERY_SECONDS = 1.0
SAID_EVERY_SECONDS = 60.0


def watch(path: Path) -> None:
    """Show a run until it is finished, or somebody presses Ctrl-C; off a terminal, say a line a minute.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    screen, purse = Screen(), Purse()
    try:
        for state in _until_finished(Reading(path).follow()):
            if not is_terminal(2):
                _say(state)
                time.sleep(SAID_EVERY_SECONDS)
                continue
            screen.draw(
                lambda columns, rows, unicode, state=state: live_lines(  # type: ignore[misc]
                    state,
                    purse,
                    name=path.name,
                    waiting="watching; Ctrl-C ends this, and nothing else",
                    now=now_us(),
                    columns=columns,
                    rows=rows,
                    unicode=unicode,
                ),
                at_once=True,
            )
            time.sleep(DRAWN_EVERY_SECONDS)
    except KeyboardInterrupt:
        return
    finally:
        screen.clear()


def _until_finished(states: Iterator[RunState]) -> Iterator[RunState]:
    for state in states:
        if state.asked and state.finished is not None and not state.unfinished:
            return
        yield state


def _say(state: RunState) -> None:
    batches = len(state.by_status["submitted"]) + len(state.by_status["ended"])
    done = state.asked - state.unfinished
    say(f"{format_instant(now_us())}  {done:,} of {state.asked:,} items done; batches at the service: {batches:,}")
