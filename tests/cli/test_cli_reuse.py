"""``--reuse`` and the hint that leads to it, through the shipped command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commanding import MODEL, invoke

SIMULATE = ("--simulate", *MODEL, "--poll", "0.05")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The index is on, and lies in this test's own directory."""
    monkeypatch.delenv("BATCH_LEDGER_INDEX")
    monkeypatch.setenv("BATCH_LEDGER_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def items(name: str, *numbers: int) -> None:
    rows = [{"id": f"{name} {n}", "prompt": f"Describe {n}."} for n in numbers]
    Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def ran(name: str, *numbers: int) -> None:
    items(name, *numbers)
    assert invoke("run", f"{name}.jsonl", *SIMULATE, "-q").exit_code == 0


def test_what_was_answered_elsewhere_is_named_and_taken_for_nothing(state: Path) -> None:
    ran("may", 1, 2, 3)
    items("june", 2, 3, 4)
    hint = "2 of these were answered in may.simulated.ledger: --reuse may.simulated.ledger\n"
    checked = invoke("check", "june.jsonl", *MODEL, "--simulate")
    assert checked.stdout.endswith(hint)
    run = invoke("run", "june.jsonl", *SIMULATE, "--reuse", "may.simulated.ledger")
    assert run.exit_code == 0
    may = Path("may.simulated.ledger").resolve()
    assert f"2 answers taken from {may}; 1 request to be asked\n" in run.stderr
    assert hint not in run.stderr, "what is taken is not hinted at"
    assert [line.split() for line in run.stdout.splitlines() if line.startswith("reused")] == [
        ["reused", "2", "answers", "of", f"{may},", "at", "no", "cost"]
    ]
    lines = [json.loads(line) for line in invoke("results", "june.simulated.ledger").stdout.splitlines()]
    assert [(line["custom_id"], "reused_from" in line) for line in lines] == [
        ("june 2", True),
        ("june 3", True),
        ("june 4", False),
    ]
    by_cause = invoke("costs", "june.simulated.ledger", "--by", "cause").stdout.splitlines()
    assert [line.split()[:2] for line in by_cause[1:4]] == [["answers", "1"], ["reused", "2"], ["total", "3"]]
    assert invoke("replay", "june.simulated.ledger", "--audit").exit_code == 0


def test_a_run_shows_the_hint_before_it_sends(state: Path) -> None:
    ran("may", 1, 2, 3)
    items("june", 3)
    run = invoke("run", "june.jsonl", *SIMULATE)
    at_hint = run.stderr.index("1 of these was answered in may.simulated.ledger: --reuse may.simulated.ledger\n")
    assert at_hint < run.stderr.index("batch msgbatch_")


def test_no_index_neither_notes_nor_hints(state: Path) -> None:
    ran("may", 1)
    items("june", 1, 2)
    assert "answered in" not in invoke("run", "june.jsonl", *SIMULATE, "--no-index").stderr
    items("july", 2)
    assert "answered in" not in invoke("check", "july.jsonl", *MODEL, "--simulate").stdout


def test_simulated_answers_are_not_named_to_a_real_run(state: Path) -> None:
    ran("may", 1)
    items("june", 1)
    assert "answered in" not in invoke("check", "june.jsonl", *MODEL).stdout


def test_the_ledger_that_a_file_would_go_on_with_is_not_named(state: Path) -> None:
    ran("may", 1, 2)
    assert "answered in" not in invoke("check", "may.jsonl", *MODEL, "--simulate").stdout


def test_a_broken_index_is_a_warning_and_nothing_else(state: Path) -> None:
    state.touch()
    ran("may", 1)
    items("june", 1)
    run = invoke("run", "june.jsonl", *SIMULATE)
    assert run.exit_code == 0
    assert run.stderr.count("warning: the index of what was answered cannot be used") == 1


def test_json_is_left_as_it_is(state: Path) -> None:
    ran("may", 1)
    items("june", 1)
    checked = json.loads(invoke("check", "june.jsonl", *MODEL, "--simulate", "--json").stdout)
    assert checked["answered"] == [{"ledger": str(Path("may.simulated.ledger").resolve()), "requests": 1}]
    summary = json.loads(invoke("run", "june.jsonl", *SIMULATE, "--reuse", "may.simulated.ledger", "--json").stdout)
    assert (summary["reused"], summary["batches"], summary["cost_usd"]) == (1, 0, "0")


def test_a_ledger_that_is_not_there_is_refused_and_nothing_is_sent(state: Path) -> None:
    items("june", 1)
    run = invoke("run", "june.jsonl", *SIMULATE, "--reuse", "may.ledger")
    assert run.exit_code == 2
    assert "error: there is no ledger may.ledger to take answers from" in run.stderr


def test_who_gives_up_the_other_ledger_pays_for_the_rest(state: Path) -> None:
    ran("may", 1, 2)
    items("june", 1, 2)
    bad = Path("june.jsonl").read_text() + "nonsense\n"
    Path("june.jsonl").write_text(bad)
    assert invoke("run", "june.jsonl", *SIMULATE, "--reuse", "may.simulated.ledger").exit_code == 2
    items("june", 1, 2)
    Path("may.simulated.ledger").unlink()
    refused = invoke("run", "june.jsonl", *SIMULATE)
    assert refused.exit_code == 2
    assert "ledger resume june.simulated.ledger --forget-reuse" in refused.stderr
    resumed = invoke("resume", "june.simulated.ledger", "--forget-reuse")
    assert resumed.exit_code == 0
    assert "reused" not in resumed.stdout
