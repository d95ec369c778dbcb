"""``ledger doctor --live``, on the simulated service and its switches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commanding import invoke

from ledger import livecheck
from ledger.livecheck import MODEL, USD_MAX, cost_bound
from ledger.service.simulator.faults import Fault, Faults
from ledger.service.simulator.http import RunningServer, serve
from ledger.service.simulator.settings import CALM, Settings

QUICK = {"mix": CALM, "turnaround_minimum_seconds": 5.0, "turnaround_maximum_seconds": 5.0}
FILE = "seen.json"


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-very-secret")


def asked(server: RunningServer, *more: str, code: int = 0) -> dict[str, Any]:
    """Ask a service, and return what was written."""
    result = invoke("doctor", "--live", "--yes", "-o", FILE, "--base-url", server.url, *more)
    assert result.exit_code == code, result.stderr
    report: dict[str, Any] = json.loads(Path(FILE).read_text())
    assert "sk-ant-very-secret" not in Path(FILE).read_text() + result.stdout + result.stderr
    return report


def by_question(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["question"]: one for one in report["observed"]}


def test_what_the_simulated_service_does_is_what_is_seen() -> None:
    with serve(settings=Settings(**QUICK)) as server:
        report = asked(server)
        bill = server.bill()
        left = list(server.core.list_page(server.service.now(), 1000).batches)
    seen = by_question(report)
    assert report["complete"]
    assert {question: one["status"] for question, one in seen.items()} == {
        "is an ordinary batch accepted": 200,
        "how soon is a new batch listed": 200,
        "results before the end": 404,
        "an empty batch": 400,
        "a custom_id twice": 400,
        "stream in a batch": 200,
        "max_tokens in a batch": 200,
        "speed in a batch": 200,
        "chunked transfer": 200,
        "a compressed body": 400,
        "an Idempotency-Key": 200,
        "the same Idempotency-Key again": 200,
        "is it the same batch": 200,
        "a batch to be canceled": 200,
        "deleting before the end": 400,
        "canceling at once": 200,
        "canceling again": 200,
        "stream in a batch: what became of it": 200,
        "max_tokens in a batch: what became of it": 200,
        "speed in a batch: what became of it": 200,
        "chunked transfer: what became of it": 200,
        "an ended batch": 200,
        "how results are framed": 200,
        "a range of results": 200,
        "canceling what has ended": 400,
        "deleting what has ended": 200,
        "results of what was deleted": 404,
        "a batch that was deleted": 404,
    }
    assert seen["is it the same batch"]["seen"] == {"same": False}
    assert seen["a custom_id twice"]["said"].startswith("invalid_request_error: requests.1.custom_id: Duplicate")
    assert seen["an ended batch"]["seen"]["results_host"] == "127.0.0.1"
    assert seen["how results are framed"]["seen"]["service_tier"] == "batch"
    assert bill is not None
    assert report["left"] == [batch.batch_id for batch in left]


def test_a_list_that_lags_is_seen_to_lag() -> None:
    with serve(settings=Settings(**QUICK, faults=Faults(list_lag_seconds=1.5))) as server:
        listed = by_question(asked(server))["how soon is a new batch listed"]["seen"]
    assert listed["listed"]
    assert listed["seconds"] >= 1.0


def test_what_cannot_be_waited_for_is_left_out_and_said() -> None:
    never = Faults(faults=(Fault(operation="create", kind="never_ends"),))
    with serve(settings=Settings(**QUICK, faults=never)) as server:
        report = asked(server, "--wait", "0.1")
    assert not report["complete"]
    assert "an ended batch" not in by_question(report)
    assert report["left"]


def test_answers_that_are_lost_are_seen_as_none() -> None:
    lost = Faults(faults=(Fault(operation="create", kind="drop", call=4),))
    with serve(settings=Settings(**QUICK, faults=lost)) as server:
        lost_one = by_question(asked(server))["stream in a batch"]
    assert (lost_one["status"], lost_one["said"].split(":")[1]) == (0, " no answer")


def test_a_service_that_takes_no_batch_is_asked_nothing_more() -> None:
    spent = Faults(faults=(Fault(operation="create", kind="refuse", error="spend_cap"),))
    with serve(settings=Settings(**QUICK, faults=spent)) as server:
        report = asked(server, code=6)
    assert list(by_question(report)) == ["is an ordinary batch accepted"]
    assert not report["complete"]


def test_nothing_is_sent_unless_somebody_agrees() -> None:
    with serve(settings=Settings(**QUICK)) as server:
        result = invoke("doctor", "--live", "-o", FILE, "--base-url", server.url)
        assert server.core.batches == {}
    assert result.exit_code == 3
    assert result.stderr.splitlines()[0].startswith("a dozen requests to http://127.0.0.1, at most $0.0")
    assert result.stderr.splitlines()[-1] == "next: ledger doctor --live --yes"
    assert not Path(FILE).exists()


def test_a_model_that_is_dear_or_unknown_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model of today's is dear enough: so many requests would be."""
    assert cost_bound(MODEL, "2026-11-22") < cost_bound("claude-fable-5", "2026-11-22") < USD_MAX
    monkeypatch.setattr(livecheck, "REQUESTS_MAX", 100)
    for model in ("claude-fable-5", "claude-zebra-9"):
        result = invoke("doctor", "--live", "--yes", "--model", model, "--base-url", "http://127.0.0.1:9")
        assert result.exit_code == 2
        assert "$0.05 is the limit" in result.stderr


def test_a_file_that_is_there_is_not_overwritten() -> None:
    Path(FILE).write_text("mine")
    assert invoke("doctor", "--live", "--yes", "-o", FILE).exit_code == 2
    assert Path(FILE).read_text() == "mine"


@pytest.mark.parametrize("more", [("--live", "--offline"), ("--live", "x.ledger"), ("--yes",), ("--wait", "1m")])
def test_options_that_do_not_belong_together_are_refused(more: tuple[str, ...]) -> None:
    assert invoke("doctor", *more).exit_code == 2


def test_without_a_key_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    result = invoke("doctor", "--live", "--yes", "-o", FILE, "--base-url", "http://127.0.0.1:9")
    assert (result.exit_code, result.stderr.splitlines()[-2]) == (6, "error: no usable credentials for the Claude API")
