"""What stops a run before it costs too much or comes to nothing: and that no cron job goes on without a person."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commanding import MODEL, invoke

from ledger import Ledger
from ledger.core import events as e
from ledger.summary import Summary

SIMULATE = ("--simulate", *MODEL, "--poll", "0.05", "-q", "--json")
DEAR = ("--model", "claude-opus-4-7", "--max-tokens", "32000")
NOWHERE = ("--base-url", "http://127.0.0.1:9")
LEDGER = "items.simulated.ledger"


def items(count: int, text: str = "Describe {}.") -> None:
    Path("items.jsonl").write_text(
        "".join(json.dumps({"id": f"item {n}", "prompt": text.format(n)}) + "\n" for n in range(count))
    )


def told(*arguments: str) -> tuple[int, dict[str, object]]:
    result = invoke(*arguments)
    return result.exit_code, json.loads(result.stdout) if result.stdout else {}


def recorded(kind: type[e.AnyEvent], ledger: str = LEDGER) -> list[e.AnyEvent]:
    return [event for row in Ledger(ledger).events() if isinstance(event := e.decode(row.type_name, row.data), kind)]


# ── agreement ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-nobody")


def test_off_a_terminal_nothing_dear_is_sent_unasked_and_cron_is_refused_each_time(key: None) -> None:
    items(300)
    for command in (("run", "items.jsonl", *DEAR, *NOWHERE), ("resume", *NOWHERE), ("resume", "--once", *NOWHERE)):
        result = invoke(*command)
        assert result.exit_code == 3
        assert "error: nothing was sent" in result.stderr
        assert "300 requests, about $15.0" in result.stderr
        assert "next: ledger resume items.ledger --yes, or: ledger resume items.ledger --max-cost USD" in result.stderr
    assert not recorded(e.ChunkSealed, "items.ledger")
    assert len(recorded(e.RunPaused, "items.ledger")) == 1


@pytest.mark.parametrize("agreement", [("--yes",), ("--max-cost", "20")])
def test_who_agreed_once_is_not_asked_by_any_later_process(key: None, agreement: tuple[str, ...]) -> None:
    """The service is not there, so that each ends with exit code 6, after it had tried to send."""
    items(300)
    assert invoke("run", "items.jsonl", *DEAR, *NOWHERE, "--once", *agreement).exit_code == 6
    before = len(recorded(e.BudgetSet, "items.ledger"))
    assert invoke("resume", "--once", *NOWHERE).exit_code == 6
    assert invoke("run", "items.jsonl", *DEAR, *NOWHERE, "--once").exit_code == 6
    assert len(recorded(e.BudgetSet, "items.ledger")) == before
    assert not recorded(e.RunPaused, "items.ledger")


def test_what_was_refused_unasked_goes_on_once_somebody_agrees(key: None) -> None:
    items(300)
    assert invoke("run", "items.jsonl", *DEAR, *NOWHERE).exit_code == 3
    assert invoke("resume", "--once", "--yes", *NOWHERE).exit_code == 6
    assert [event.reason for event in recorded(e.RunResumed, "items.ledger")] == ["unconfirmed"]  # type: ignore[union-attr]


def test_items_that_come_later_are_asked_about_anew(key: None) -> None:
    items(300)
    assert invoke("run", "items.jsonl", *DEAR, *NOWHERE, "--once", "--yes").exit_code == 6
    items(301)
    assert invoke("run", "items.jsonl", *DEAR, *NOWHERE, "--once").exit_code == 3
    assert invoke("run", "items.jsonl", *DEAR, *NOWHERE, "--once").exit_code == 3
    assert invoke("run", "items.jsonl", *DEAR, *NOWHERE, "--once", "--yes").exit_code == 6


def test_cheap_runs_are_not_asked_about_off_a_terminal(key: None) -> None:
    items(3)
    assert invoke("run", "items.jsonl", *MODEL, *NOWHERE, "--once").exit_code == 6


# ── the budget ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_budget_stops_the_run_and_no_repetition_of_any_command_goes_beyond_it() -> None:
    items(6)
    limited = ("run", "items.jsonl", *SIMULATE, "--chunk-requests", "2", "--max-cost", "0.0025")
    code, summary = told(*limited)
    assert (code, summary["state"]) == (3, "paused")
    assert str(summary["next"]).startswith("ledger resume --max-cost 0.0")
    budget: Any = summary["budget"]
    assert (budget["max_usd"], budget["spent_usd"], budget["open_usd"]) == ("0.0025", summary["cost_usd"], "0")
    assert " of it are spent" in invoke("status").stdout
    sent = len(recorded(e.SubmissionPrepared))
    for again in (
        ("resume",),
        ("resume", "--once"),
        limited[:2] + SIMULATE,
        limited,
        ("resume", "--max-cost", "0.00250"),
    ):
        arguments = (*again, "-q", "--json") if again[0] == "resume" else again
        code, repeated = told(*arguments)
        assert (code, repeated["next"]) == (3, summary["next"])
    assert len(recorded(e.SubmissionPrepared)) == sent
    assert Ledger(LEDGER).costs().total.cost_usd <= 0.0025  # type: ignore[operator]
    code, finished = told(*str(summary["next"]).split()[1:], "-q", "--json")
    assert (code, finished["state"]) == (0, "finished")
    assert [event.max_usd for event in recorded(e.BudgetSet)] == ["0.0025", str(summary["next"]).split()[-1]]  # type: ignore[union-attr]


def test_a_budget_can_be_taken_away() -> None:
    items(2)
    assert told("run", "items.jsonl", *SIMULATE, "--max-cost", "0")[0] == 3
    assert told("resume", "--max-cost", "none", "-q", "--json")[0] == 0


@pytest.mark.parametrize("amount", ["much", "-1", "nan", "inf", ""])
def test_what_is_no_amount_is_refused_before_anything_is_taken_in(amount: str) -> None:
    items(2)
    result = invoke("run", "items.jsonl", *SIMULATE, "--max-cost", amount)
    assert result.exit_code == 2
    assert "is no amount" in result.stderr


@pytest.mark.parametrize("share", ["2", "-0.1", "101%", "few", "nan"])
def test_what_is_no_share_is_refused(share: str) -> None:
    items(2)
    result = invoke("run", "items.jsonl", *SIMULATE, "--max-error-rate", share)
    assert result.exit_code == 2
    assert "is no share" in result.stderr


def test_a_way_to_count_without_a_budget_is_refused() -> None:
    items(2)
    result = invoke("run", "items.jsonl", *SIMULATE, "--budget-mode", "expected")
    assert (result.exit_code, "--budget-mode needs a budget" in result.stderr) == (2, True)


def test_what_the_budget_cannot_bound_is_said_before_it_is_sent() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    lines = [{"id": "plain", "prompt": "Describe it."}, {"id": "seen", "prompt": [image]}]
    Path("items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = invoke("run", "items.jsonl", *SIMULATE, "--max-cost", "5")
    assert "warning: 1 request with files by URL or id, or tools that the service runs" in result.stderr


# ── canary and breaker ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_bad_canary_stops_the_run_with_what_the_service_said_until_it_is_released() -> None:
    items(40, "Describe {}. [[simulate:errored:invalid_request_error]]")
    code, summary = told("run", "items.jsonl", *SIMULATE, "--canary", "10")
    assert (code, summary["pending"], summary["outcomes"]) == (3, 30, {"errored": 10})
    (met,) = summary["errors"]  # type: ignore[misc]
    assert (met["kind"], met["results"], met["items"]) == ("invalid_request_error", 10, ["item 0", "item 4", "item 8"])  # type: ignore[index]
    assert met["message"]  # type: ignore[index]
    for _ in range(2):
        assert told("resume", "-q", "--json")[0] == 3
    assert told("resume", "--max-error-rate", "10%", "-q", "--json")[0] == 3
    shown = invoke("status").stdout
    assert "paused by canary: 10 of 10 items ended in an error (100.0 %" in shown
    assert "invalid_request_error, 10 results: " in shown
    code, rest = told("resume", "--release-canary", "--no-canary", "-q", "--json")
    assert (code, rest["state"]) == (1, "finished")
    (judged,) = recorded(e.CanaryJudged)
    assert (judged.verdict, judged.requests, judged.failed) == ("tripped", 10, 10)  # type: ignore[union-attr]


def test_a_good_canary_goes_first_and_the_rest_follows_by_itself() -> None:
    items(40)
    code, summary = told("run", "items.jsonl", *SIMULATE, "--canary", "10")
    assert (code, summary["state"]) == (0, "finished")
    first, *rest = recorded(e.ChunkSealed)
    assert (first.cause, first.requests) == ("canary", 10)  # type: ignore[union-attr]
    assert sum(chunk.requests for chunk in rest if chunk.cause == "fresh") == 30  # type: ignore[union-attr]
    assert Ledger(LEDGER).audit().ok
    answers = [json.loads(line)["custom_id"] for line in invoke("results").stdout.splitlines()]
    assert answers == [f"item {n}" for n in range(40)]


def test_nothing_is_released_where_nothing_is_held_back() -> None:
    items(2)
    told("run", "items.jsonl", *SIMULATE)
    result = invoke("resume", "--release-canary")
    assert (result.exit_code, "the run is not paused by canary" in result.stderr) == (2, True)


def test_a_canary_and_none_contradict_each_other() -> None:
    items(2)
    assert invoke("run", "items.jsonl", *SIMULATE, "--canary", "1", "--no-canary").exit_code == 2


def test_the_breaker_stops_a_run_of_errors_until_it_is_lifted_and_then_counts_anew() -> None:
    items(40, "Describe {}. [[simulate:errored:invalid_request_error]]")
    ledger = Ledger(LEDGER, simulate=True)
    said = {"model": "claude-sonnet-4-6", "max_tokens": 200, "poll_seconds": 0.05}
    ended = [ledger.run("items.jsonl", chunk_requests=8, queue_requests=8, **said)]
    ended += [ledger.resume(), ledger.resume(lift=("breaker",)), ledger.resume()]
    assert [one.exit_code for one in ended] == [3, 3, 3, 3]
    first, again, lifted, last = (one.outcomes["errored"] for one in ended)
    assert 0 < first == again < lifted == last < 40
    assert ended[3].errors[0].results == last
    assert ended[0].next == "ledger resume --lift breaker (counts errors anew), or --max-error-rate RATE"
    code, finished = told("resume", "--max-error-rate", "1", "-q", "--json")
    assert (code, finished["state"], finished["errors"]) == (1, "finished", [])


def test_the_library_says_it_as_the_command_line_does(tmp_path: Path) -> None:
    items(6)
    ledger = Ledger(tmp_path / "library.ledger", simulate=True)
    said = {"model": "claude-sonnet-4-6", "max_tokens": 200, "poll_seconds": 0.05}
    paused: Summary = ledger.run("items.jsonl", max_cost="0", **said)
    assert (paused.exit_code, paused.state) == (3, "paused")
    assert ledger.resume(choices=None).exit_code == 3
