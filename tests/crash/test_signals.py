"""Told to stop at any append: it stops cleanly, says how to go on, and what it had recorded goes on."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from points import POINTS, Crash
from processes import Nursery
from scene import Scene
from test_kills import FAST, ONE_FAILS, QUICK, require_acknowledged

WAYS_ON = (
    "next: ledger resume",
    "`ledger resume` goes on",
    "next: ledger results",  # the run was over when it was told
    "the same command again: nothing was done yet",
)


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ([signal.SIGTERM], 143),
        ([signal.SIGHUP], 129),
        ([signal.SIGINT, signal.SIGINT], 130),
        ([signal.SIGTERM, signal.SIGTERM], 143),
    ],
    ids=["SIGTERM", "SIGHUP", "Ctrl-C twice", "SIGTERM twice"],
)
def test_told_to_stop_at_any_append_it_says_how_to_go_on_and_loses_nothing(
    tmp_path: Path, nursery: Nursery, signals: list[signal.Signals], code: int
) -> None:
    """Every third append of the run, each at another of the points around it."""
    stopped = 0
    for append in range(1 + code % 3, 100, 3):
        place = tmp_path / str(append)
        place.mkdir()
        with Scene(place, texts=ONE_FAILS, settings=QUICK, speed=FAST, chunk_requests=3) as scene:
            crash = Crash(POINTS[append // 3 % 3], append, "", signals)
            first = nursery.command(scene.argv(), notes=str(place / "notes"), crash=crash)
            ended = first.wait()
            require_acknowledged(scene, place / "notes")
            if ended == 0:
                break
            assert ended == code, first.said()
            assert any(way in first.said() for way in WAYS_ON), first.said()
            assert "Traceback" not in first.said()
            second = nursery.command(scene.argv())
            assert second.wait() == 0, second.said()
            scene.answered_after_retries()
            stopped += 1
    assert stopped >= 6, "most runs were stopped"
