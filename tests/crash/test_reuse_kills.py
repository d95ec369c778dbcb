"""SIGKILL while answers are taken from another ledger: who goes on takes the others, each once, and pays for none."""

from __future__ import annotations

from pathlib import Path

import pytest
from points import POINTS, Crash
from processes import Nursery

from ledger import Ledger
from ledger.core import events as e
from ledger.service.simulator.settings import CALM, Settings

ITEMS = 2300
"""More than two commits of answers."""


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated run with an answer to each item."""
    place = tmp_path_factory.mktemp("answered")
    items = place / "items.jsonl"
    items.write_text("".join(f'{{"id": "{n}", "prompt": "Say {n}."}}\n' for n in range(ITEMS)))
    settings = Settings(turnaround_minimum_seconds=0.1, turnaround_maximum_seconds=0.2, mix=CALM)
    ledger = Ledger(place / "may.ledger", simulate=True, settings=settings)
    summary = ledger.run(items, model="claude-haiku-4-5", max_tokens=50, poll_seconds=0.05)
    assert summary.outcomes == {"ok": ITEMS}
    return place


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize(
    ("kind", "append"), [("reuse_opened", 1), ("answer_reused", 1), ("answer_reused", 2), ("reuse_closed", 1)]
)
def test_killed_there_it_takes_the_others_once_and_sends_nothing(
    tmp_path: Path, nursery: Nursery, answered: Path, kind: str, append: int, point: str
) -> None:
    path = tmp_path / "june.ledger"
    argv = ["run", str(answered / "items.jsonl"), "--ledger", str(path), "--simulate"]
    argv += ["--model", "claude-haiku-4-5", "--max-tokens", "50", "--reuse", str(answered / "may.ledger")]
    first = nursery.command(argv, notes=str(tmp_path / "notes"), crash=Crash(point, append, kind))
    assert first.wait() == -9, first.said()
    again = argv if kind == "reuse_opened" else ["resume", str(path)]  # no item was taken in before that
    second = nursery.command(again)
    assert second.wait() == 0, second.said()
    ledger = Ledger(path)
    summary = ledger.summary()
    assert (summary.state, summary.outcomes, summary.reused) == ("finished", {"ok": ITEMS}, ITEMS)
    assert (summary.batches, summary.cost_usd) == (0, 0)
    events = [e.decode(row.type_name, row.data) for row in ledger.events()]
    assert [event.ordinal for event in events if isinstance(event, e.AnswerReused)] == list(range(ITEMS))
    assert sum(isinstance(event, e.ReuseClosed) for event in events) == 1
    assert ledger.audit().ok
