"""``--notify``: who is told of what a run comes to."""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from commanding import ITEMS, MODEL, application, invoke

from ledger.core import events as e
from ledger.core.notice import Notice
from ledger.core.state import RunState
from ledger.notify import Notifier
from ledger.store.sqlite import SqliteLog

LEDGER = "items.simulated.ledger"


@pytest.fixture
def bell(tmp_path: Path) -> str:
    """A command that keeps every notice it gets."""
    (tmp_path / "items.jsonl").write_text(ITEMS)
    file = tmp_path / "bell.py"
    file.write_text("import sys\nopen('bell.jsonl', 'a').write(sys.stdin.read() + '\\n')\n")
    return f"{sys.executable} {file}"


def rung() -> list[dict[str, Any]]:
    file = Path("bell.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_the_end_is_told_once_and_after_the_answers_are_written(bell: str, tmp_path: Path) -> None:
    (tmp_path / "after.py").write_text("import shutil\nshutil.copy('answers.jsonl', 'seen.jsonl')\n")
    after = f"{sys.executable} {tmp_path / 'after.py'}"
    told = ("--notify", bell, "--notify", after)
    ran = invoke("run", "items.jsonl", "--simulate", *MODEL, "-q", "-o", "answers.jsonl", *told)
    assert ran.exit_code == 1
    (notice,) = rung()
    assert (notice["event"], notice["exit_code"], notice["pending"], notice["simulated"]) == ("finished", 1, 0, True)
    assert notice["message"] == "finished: 3 items, 2 of them not ok"
    assert notice["outcomes"] == {"ok": 1, "truncated": 1, "refused": 1}
    assert notice["cost_usd"] == json.loads(invoke("costs", "--json").stdout)["total"]["cost_usd"]
    assert Path("seen.jsonl").read_bytes() == Path("answers.jsonl").read_bytes()
    assert invoke("resume", "--notify", bell).exit_code == 1
    assert len(rung()) == 1  # it was finished before


def test_nothing_that_was_asked_or_answered_is_told(bell: str) -> None:
    invoke("run", "items.jsonl", "--simulate", *MODEL, "-q", "--notify", bell)
    answers = [json.loads(line) for line in invoke("results").stdout.splitlines()]
    said = Path("bell.jsonl").read_text()
    for secret in ("kettle", "teapot", "Describe", *(answer["text"] for answer in answers if answer["text"])):
        assert secret not in said


def test_a_pause_is_told_with_what_lifts_it_and_not_twice(bell: str) -> None:
    run = ("run", "items.jsonl", "--simulate", *MODEL, "-q", "--max-cost", "0.0001", "--notify", bell)
    assert invoke(*run).exit_code == 3
    assert [(notice["event"], notice["message"].split(":")[0]) for notice in rung()] == [("paused", "paused by budget")]
    assert rung()[0]["next"].startswith("ledger resume --max-cost ")
    assert invoke("resume", "-q", "--notify", bell).exit_code == 3
    assert len(rung()) == 1


def test_a_run_that_nobody_agreed_to_is_told_as_a_pause_and_not_as_an_error_too(
    bell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-nobody")
    lines = [f'{{"id": "{number}", "prompt": "{number}"}}\n' for number in range(300)]
    Path("dear.jsonl").write_text("".join(lines))
    dear = ("--model", "claude-opus-4-7", "--max-tokens", "32000")
    ran = invoke("run", "dear.jsonl", *dear, "-q", "--base-url", "http://127.0.0.1:9", "--notify", bell)
    assert ran.exit_code == 3
    assert [notice["message"].split(":")[0] for notice in rung()] == ["paused by unconfirmed"]


def test_a_command_that_ends_in_an_error_is_told(bell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-nobody")
    run = ("run", "items.jsonl", *MODEL, "-q", "--once", "--base-url", "http://127.0.0.1:9", "--notify", bell)
    assert invoke(*run).exit_code == 6
    (notice,) = rung()
    assert (notice["event"], notice["exit_code"]) == ("failed", 6)
    assert notice["message"] == "the service or the key does not work"


def test_what_is_wrong_with_the_command_is_told_to_nobody(bell: str) -> None:
    assert invoke("run", "items.jsonl", "--simulate", "-q", "--notify", bell).exit_code == 2
    invoke("run", "items.jsonl", "--simulate", *MODEL, "-q")
    with SqliteLog.open_writer(LEDGER):
        assert invoke("resume", "-q", "--notify", bell).exit_code == 4
        assert invoke("resume", "-q", "--if-free", "--notify", bell).exit_code == 0
    assert rung() == []


def test_who_cannot_be_told_is_said_and_changes_nothing(bell: str) -> None:
    ran = invoke("run", "items.jsonl", "--simulate", *MODEL, "-q", "--notify", "false", "--notify", bell)
    assert ran.exit_code == 1
    assert "warning: false was not told that finished: the command ended with 1" in ran.stderr
    assert len(rung()) == 1


def test_whom_nobody_could_tell_is_refused_before_anything_is_done(bell: str) -> None:
    ran = invoke("run", "items.jsonl", "--simulate", *MODEL, "--notify", "no-such-command-anywhere")
    assert ran.exit_code == 2
    assert not Path(LEDGER).exists()


def test_ones_own_configuration_names_who_is_told_and_an_option_names_others(bell: str, tmp_path: Path) -> None:
    file = Path(os.environ["XDG_CONFIG_HOME"], "claude-batch-ledger", "config.toml")
    file.parent.mkdir(parents=True)
    file.write_text(f"notify = {json.dumps([bell])}\n")
    invoke("run", "items.jsonl", "--simulate", *MODEL, "-q")
    assert [notice["event"] for notice in rung()] == ["finished"]
    invoke("run", "items.jsonl", "--simulate", *MODEL, "-q", "-l", "other.ledger", "--notify", "true")
    assert len(rung()) == 1


def test_the_end_is_told_when_the_command_ends_and_not_before() -> None:
    package = application().__module__.rpartition(".")[0]
    telling = importlib.import_module(f"{package}.telling")
    progress = importlib.import_module(f"{package}.progress").Progress()
    told: list[Notice] = []

    class Listening(Notifier):
        def tell(self, notice: Notice) -> None:
            told.append(notice)

    one = telling.Telling(progress, Listening([], complain=print), Path(LEDGER))
    one.recorded(9, 0, e.RunFinished(outcomes={"ok": 1}, exit_code=0), RunState())
    assert told == []
    one.ended(0)
    assert [notice.event for notice in told] == ["finished"]
