"""``ledger retry``: what has an outcome is asked again, once more and only then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commanding import MODEL, invoke

from ledger.reading import Reading

ITEMS = [
    {"id": "fine", "prompt": "Describe a spoon."},
    {"id": "busy", "prompt": "Describe a fork. [[simulate:errored:overloaded_error:2]]"},
    {"id": "cut", "prompt": "Describe a knife. [[simulate:max_tokens]]"},
    {"id": "no", "prompt": "Describe a cup. [[simulate:refusal]]"},
    {"id": "bad", "prompt": "Describe a pan. [[simulate:reject]]"},
]


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    """A finished run whose items ended in five ways; `busy` would be answered at its third attempt."""
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    ran = invoke("run", "items.jsonl", "--simulate", *MODEL, "--max-attempts", "1")
    assert ran.exit_code == 1
    assert outcomes(tmp_path) == {
        "fine": ("ok", 1),
        "busy": ("errored", 1),
        "cut": ("truncated", 1),
        "no": ("refused", 1),
        "bad": ("invalid", 0),
    }
    return tmp_path


def outcomes(place: Path) -> dict[str, tuple[str, int]]:
    rows = Reading(place / "items.simulated.ledger").results(all=True)
    return {row["custom_id"]: (row["outcome"], row["attempts"]) for row in rows}


def batches(place: Path) -> int:
    return len(Reading(place / "items.simulated.ledger").state().batches)


def test_what_may_go_well_by_itself_is_asked_again_and_nothing_else(failed: Path) -> None:
    before = outcomes(failed)
    result = invoke("retry", "--max-attempts", "2")
    assert result.exit_code == 1
    assert "1 item opened again: 1 errored" in result.stderr
    assert "1 truncated, 1 refused, 1 invalid stay as they are: --outcome truncated,refused,invalid" in result.stderr
    assert outcomes(failed) == before | {"busy": ("ok", 3)}
    assert Reading("items.simulated.ledger").audit().ok


def test_attempts_are_bounded_anew(failed: Path) -> None:
    invoke("retry")
    assert outcomes(failed)["busy"] == ("errored", 2)
    invoke("retry")
    assert outcomes(failed)["busy"] == ("ok", 3)


def test_a_retry_with_nothing_to_open_sends_nothing(failed: Path) -> None:
    invoke("retry", "--max-attempts", "2")
    sent = batches(failed)
    result = invoke("retry")
    assert result.exit_code == 1
    assert "no item is opened again" in result.stderr
    assert batches(failed) == sent


def test_outcomes_are_opened_by_name(failed: Path) -> None:
    invoke("retry", "--outcome", "truncated,refused")
    assert outcomes(failed)["cut"] == ("truncated", 2)
    assert outcomes(failed)["no"] == ("refused", 2)
    assert outcomes(failed)["busy"] == ("errored", 1)
    wrong = invoke("retry", "--outcome", "failed")
    assert wrong.exit_code == 2
    assert "there is no outcome 'failed'" in wrong.stderr


@pytest.mark.parametrize(
    "text", ["cut\nfine\n", '["cut", "fine"]', '{"custom_id": "cut", "outcome": "truncated"}\n{"id": "fine"}\n']
)
def test_items_are_opened_by_their_ids_whatever_their_outcome(failed: Path, text: str) -> None:
    (failed / "ids").write_text(text)
    invoke("retry", "--ids", "ids")
    found = outcomes(failed)
    assert {name for name, (_, attempts) in found.items() if attempts == 2} == {"cut", "fine"}
    assert Reading("items.simulated.ledger").audit().ok


def test_ids_and_outcomes_are_both_to_hold(failed: Path) -> None:
    result = invoke("retry", "--ids", "-", "--outcome", "errored", typed="cut\nbusy\n")
    assert "1 item opened again: 1 errored" in result.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cut\nnobody\n", "there is no item 'nobody'"),
        ("", "there is no id in it"),
        ('{"name": "cut"}\n', "neither custom_id nor id"),
        ('{"id": "cut"\n', "this is no JSON"),
        ("[1]", "an array of ids holds strings"),
    ],
)
def test_ids_that_cannot_be_meant_are_refused_and_nothing_is_opened(failed: Path, text: str, said: str) -> None:
    (failed / "ids").write_text(text)
    head = Reading("items.simulated.ledger").state().outcomes
    result = invoke("retry", "--ids", "ids")
    assert result.exit_code == 2
    assert said in result.stderr
    assert Reading("items.simulated.ledger").state().outcomes == head


def test_what_was_paid_stays_in_the_costs(failed: Path) -> None:
    before = Reading("items.simulated.ledger").costs().total.cost_usd
    assert before is not None
    invoke("retry", "--outcome", "truncated")
    report = Reading("items.simulated.ledger").costs("attempt")
    assert [row.key for row in report.rows] == ["1", "2"]
    total = report.total.cost_usd
    assert total is not None
    assert total > before
