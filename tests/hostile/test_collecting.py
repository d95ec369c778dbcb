"""Statuses and results over a real socket: each row is stored once, or its lack is said, whatever comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from scene import CALMLY, TWELVE, Scene

from ledger.core import events as e
from ledger.service.simulator.faults import Fault, Faults

# ── downloads that break ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("offset", [0, 1, 300, 700, 1021, 1999])
def test_results_cut_at_any_byte_are_fetched_again_and_stored_once(tmp_path: Path, offset: int, framing: Any) -> None:
    with Scene(
        tmp_path, Fault(operation="results", call=1, kind="cut", bytes=offset, framing=framing), texts=TWELVE
    ) as scene:
        scene.answered_once(scene.run())
        assert sum(event.rows for event in scene.of(e.BatchCollected)) == 12
        assert [event for event in scene.of(e.CallFailed) if event.command.startswith("collect:")]


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_whole_results_are_taken_however_their_end_is_told(tmp_path: Path, framing: Any) -> None:
    told = msgspec.structs.replace(CALMLY, faults=Faults(results_framing=framing))
    with Scene(tmp_path, settings=told) as scene:
        scene.answered_once(scene.run())
        assert scene.of(e.CallFailed) == []


@pytest.mark.parametrize("operation", ["list", "retrieve", "results"])
@pytest.mark.parametrize(
    "answer",
    [
        {"kind": "drop"},
        {"kind": "cut", "bytes": 30},
        {"kind": "html"},
        {"kind": "empty"},
        {"kind": "hang", "seconds": 20},
        {"kind": "status", "status": 500},
        {"kind": "refuse", "error": "overloaded"},
        {"kind": "refuse", "error": "bad_gateway"},
        {"kind": "refuse", "error": "rate_limit", "retry_after_seconds": 1},
    ],
    ids=lambda answer: answer.get("error", answer["kind"]),
)
def test_a_read_that_fails_is_repeated_and_costs_nothing(tmp_path: Path, operation: Any, answer: Any) -> None:
    with Scene(tmp_path, Fault(operation=operation, call=1, calls=2, **answer)) as scene:
        scene.answered_once(scene.run(read_seconds=0.4))
        assert scene.server.bill().batches == 1


@pytest.mark.parametrize("kind", ["blank_line", "line_separators", "gzip"])
def test_legal_oddities_of_a_stream_lose_nothing(tmp_path: Path, kind: Any) -> None:
    with Scene(tmp_path, Fault(operation="results", kind=kind)) as scene:
        scene.answered_once(scene.run())
        assert scene.findings() == {}
        texts = [row["text"] for row in scene.ledger()[0].results()]
        assert all("\u2028\u0085" in text for text in texts) == (kind == "line_separators")


# ── rows that are wrong ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "finding"), [("duplicate_row", "duplicate_row"), ("foreign_row", "foreign_row")], ids=lambda name: name
)
def test_a_row_too_many_is_a_finding_and_is_not_stored(tmp_path: Path, kind: Any, finding: str) -> None:
    with Scene(tmp_path, Fault(operation="results", kind=kind)) as scene:
        scene.answered_once(scene.run())
        assert scene.findings() == {finding: 1}


def test_a_corrupt_row_is_a_finding_and_is_fetched_again(tmp_path: Path) -> None:
    with Scene(tmp_path, Fault(operation="results", call=1, kind="corrupt_row")) as scene:
        scene.answered_once(scene.run())
        assert scene.findings() == {"corrupt_row": 1}
        assert [event.missing for event in scene.of(e.ResultsShort)] == [1]


def test_a_row_that_stays_corrupt_is_missing_after_three_downloads(tmp_path: Path) -> None:
    with Scene(tmp_path, Fault(operation="results", kind="corrupt_row")) as scene:
        scene.ended_with(scene.run(), ok=3, missing=1)
        assert scene.findings()["rows_missing"] == 1


@pytest.mark.parametrize("times", [1, 2])
def test_short_results_are_fetched_again(tmp_path: Path, times: int) -> None:
    with Scene(tmp_path, Fault(operation="results", call=1, calls=times, kind="short", rows=2)) as scene:
        scene.answered_once(scene.run())
        assert scene.of(e.BatchCollected)[0].missing == ()


def test_rows_that_three_complete_downloads_lack_are_missing_and_never_asked_again(tmp_path: Path) -> None:
    with Scene(tmp_path, Fault(operation="results", kind="short", rows=2)) as scene:
        scene.ended_with(scene.run(), ok=2, missing=2)
        assert len(scene.of(e.ResultsShort)) == 2
        assert scene.server.bill().batches == 1
        scene.ended_with(scene.resume(), ok=2, missing=2)
        assert scene.server.bill().batches == 1


# ── batches that go away ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("kind", "cause"), [("deleted", "deleted"), ("archived", "archived")])
def test_results_that_are_gone_are_lost_and_never_asked_again(tmp_path: Path, kind: Any, cause: str) -> None:
    with Scene(tmp_path, Fault(operation="create", call=1, kind=kind, seconds=0)) as scene:
        scene.ended_with(scene.run(), lost=4)
        assert [event.cause for event in scene.of(e.ResultsLost)] == [cause]
        assert scene.findings() == {"results_lost": 1}
        scene.ended_with(scene.resume(), lost=4)
        assert scene.server.bill().batches == 1


def test_what_is_stored_before_the_results_are_deleted_is_kept(tmp_path: Path) -> None:
    with Scene(
        tmp_path,
        Fault(operation="create", call=1, kind="deleted", seconds=12),
        Fault(operation="results", kind="short", rows=1),
        poll_seconds=0.5,
    ) as scene:
        scene.ended_with(scene.run(), ok=3, lost=1)


def test_results_that_are_refused_once_are_not_lost(tmp_path: Path) -> None:
    with Scene(tmp_path, Fault(operation="results", call=1, calls=2, kind="refuse", error="not_found")) as scene:
        scene.answered_once(scene.run())
        assert scene.of(e.ResultsLost) == []


def test_a_batch_that_is_denied_once_is_not_lost(tmp_path: Path) -> None:
    with Scene(tmp_path, Fault(operation="retrieve", call=1, calls=2, kind="refuse", error="not_found")) as scene:
        scene.answered_once(scene.run())
        assert scene.of(e.ResultsLost) == []


# ── outcomes and attempts ────────────────────────────────────────────────────────────────────────────────────────────


def test_each_outcome_is_told_apart_and_only_what_deserves_it_is_asked_again(tmp_path: Path) -> None:
    texts = [
        "Say hello.",
        "[[simulate:max_tokens]]",
        "[[simulate:refusal]]",
        "[[simulate:pause_turn]]",
        "[[simulate:errored:invalid_request_error]]",
        "[[simulate:errored:overloaded_error]]",
        "[[simulate:errored:api_error:1]]",
        "[[simulate:expired:2]]",
        "[[simulate:canceled]]",
        "[[simulate:errored:not_found_error]]",
    ]
    with Scene(tmp_path, texts=texts) as scene:
        summary = scene.run()
        assert (summary.state, summary.exit_code) == ("finished", 1)
        rows = {row["custom_id"]: row for row in scene.ledger()[0].results()}
        assert [(rows[name]["outcome"], rows[name]["attempts"]) for name in scene.ids] == [
            ("ok", 1),
            ("truncated", 1),
            ("refused", 1),
            ("paused_turn", 1),
            ("errored", 1),
            ("errored", 3),
            ("ok", 2),
            ("ok", 3),
            ("canceled", 3),
            ("errored", 1),
        ]
        scene.paid_once()
        scene.proven()


@pytest.mark.parametrize(("kind", "code", "reason"), [("billing_error", 3, "spend"), ("permission_error", 6, "key")])
def test_items_that_come_back_with_the_accounts_error_pause_the_run(
    tmp_path: Path, kind: str, code: int, reason: str
) -> None:
    texts = ["Say 0.", f"[[simulate:errored:{kind}:1]] Say 1.", "Say 2."]
    with Scene(tmp_path, texts=texts) as scene:
        lift = scene.stuck(scene.run(), code, reason)
        assert lift.startswith("ledger resume")
        summary = scene.resume()
        scene.ended_with(summary, ok=3)


def test_half_of_a_batch_that_expires_is_asked_again(tmp_path: Path) -> None:
    with Scene(tmp_path, Fault(operation="create", call=1, kind="expire", share=0.5), texts=TWELVE) as scene:
        scene.ended_with(scene.run(), ok=12)
        assert scene.server.bill().requests_billed == 12
