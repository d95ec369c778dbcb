"""POSTs over a real socket: whatever becomes of the answer, no prompt is accepted twice and none is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from scene import CALMLY, SETTLE_SECONDS, TWELVE, Scene

from ledger.core import events as e
from ledger.service.simulator.faults import Fault, Faults

# ── accepted, and the answer is lost ─────────────────────────────────────────────────────────────────────────────────

LOST_ANSWERS: dict[str, dict[str, Any]] = {
    "connection dropped": {"kind": "drop"},
    "cut after the headers": {"kind": "cut", "bytes": 0},
    "cut in the middle": {"kind": "cut", "bytes": 60},
    "an empty object": {"kind": "empty"},
    "a captive portal": {"kind": "html"},
    "HTML 502": {"kind": "status", "error": "bad_gateway"},
    **{str(status): {"kind": "status", "status": status} for status in (408, 409, 499, 500, 503, 504, 529)},
}


@pytest.mark.parametrize("answer", LOST_ANSWERS.values(), ids=LOST_ANSWERS)
def test_an_accepted_batch_whose_answer_is_lost_is_found_and_not_repeated(tmp_path: Path, answer: Any) -> None:
    with Scene(tmp_path, Fault(operation="create", call=1, **answer)) as scene:
        scene.answered_once(scene.run())
        assert [event.chunk for event in scene.of(e.SubmissionUncertain)] == [1]
        assert [(event.by, event.submission) for event in scene.of(e.BatchAdopted)] == [("reconcile", 1)]


def test_an_accepted_batch_that_is_never_answered_for_is_found_after_the_read_time_out(tmp_path: Path) -> None:
    with Scene(tmp_path, Fault(operation="create", call=1, kind="hang", seconds=30)) as scene:
        scene.answered_once(scene.run(read_seconds=0.5))
        assert [event.cause for event in scene.of(e.SubmissionUncertain)] == ["ReadTimeout"]
        assert len(scene.of(e.BatchAdopted)) == 1


# ── not accepted, and the answer is lost ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("answer", [{"kind": "drop"}, {"kind": "status", "status": 500}, {"kind": "empty"}])
def test_a_batch_that_was_never_accepted_is_sent_again_after_the_settle_time(tmp_path: Path, answer: Any) -> None:
    with Scene(tmp_path, Fault(operation="create", call=1, carried_out=False, **answer)) as scene:
        scene.answered_once(scene.run())
        (resolved,) = scene.of(e.SubmissionResolved)
        assert (resolved.by, resolved.chunk, resolved.submission) == ("reconcile", 1, 1)
        lists = [event for event in scene.of(e.BatchesListed) if event.complete]
        waited = (lists[-1].server_date - lists[0].server_date) / 1e6
        assert waited >= SETTLE_SECONDS
        assert any("until it is certain whether chunk 1 was accepted" in why for why in scene.reasons)


def test_under_hold_nothing_in_doubt_is_repeated_until_a_person_says_so(tmp_path: Path) -> None:
    with Scene(
        tmp_path, Fault(operation="create", call=1, kind="drop", carried_out=False), on_uncertain="hold"
    ) as scene:
        lift = scene.stuck(scene.run(), 3, "uncertain")
        assert lift == "ledger resolve 1 --absent (or --adopt BATCH)"
        assert scene.server.bill().batches == 0
        scene.stuck(scene.resume(), 3, "uncertain")
        scene.ledger()[0].resolve(1, "absent")
        scene.answered_once(scene.resume())


def test_under_hold_a_batch_that_shows_is_adopted_without_a_person(tmp_path: Path) -> None:
    with Scene(tmp_path, Fault(operation="create", call=1, kind="drop"), on_uncertain="hold") as scene:
        scene.answered_once(scene.run())


def test_the_other_chunks_go_on_while_one_is_in_doubt(tmp_path: Path) -> None:
    with Scene(
        tmp_path, Fault(operation="create", call=1, kind="drop", carried_out=False), texts=TWELVE, settle_seconds=40.0
    ) as scene:
        scene.answered_once(scene.run())
        (doubted,) = {event.chunk for event in scene.of(e.SubmissionUncertain)}
        kinds = [(type(event), getattr(event, "chunk", 0)) for event in scene.events]
        resolved = kinds.index((e.SubmissionResolved, doubted))
        assert [chunk for kind, chunk in kinds[:resolved] if kind is e.BatchCollected]


# ── strangers, lags, twins ───────────────────────────────────────────────────────────────────────────────────────────


def test_of_two_batches_of_the_same_size_the_nonces_in_the_rows_decide(tmp_path: Path) -> None:
    with Scene(
        tmp_path,
        Fault(operation="create", call=1, kind="drop"),
        Fault(operation="create", call=1, kind="stranger"),
    ) as scene:
        scene.answered_once(scene.run(), foreign=1)
        assert {event.verdict for event in scene.of(e.CandidateInspected)} <= {"ours", "foreign"}
        assert scene.of(e.CandidateInspected), "which of the two ended first is chance, that its rows were read is not"
        assert len(scene.of(e.BatchAdopted)) == 1
        assert scene.of(e.BatchDisowned) == []


def test_a_strangers_batch_alone_is_disowned_by_its_rows_and_the_chunk_is_sent(tmp_path: Path) -> None:
    with Scene(
        tmp_path,
        Fault(operation="create", call=1, kind="drop", carried_out=False),
        Fault(operation="create", call=1, kind="stranger"),
    ) as scene:
        scene.answered_once(scene.run(), foreign=1)
        (disowned,) = scene.of(e.BatchDisowned)
        assert disowned.why == "4 of its 4 rows are somebody else's"
        assert scene.findings() == {}


def test_a_strangers_batch_that_was_there_before_is_no_candidate(tmp_path: Path) -> None:
    with Scene(
        tmp_path,
        Fault(operation="create", call=1, kind="stranger"),
        Fault(operation="create", call=2, kind="drop", carried_out=False),
        texts=[f"Say {number}." for number in range(7)],
    ) as scene:
        scene.answered_once(scene.run(), foreign=1)
        assert scene.of(e.BatchDisowned) == []


def test_a_list_that_lags_less_than_the_settle_time_makes_no_second_batch(tmp_path: Path) -> None:
    lagging = msgspec.structs.replace(CALMLY, faults=Faults(list_lag_seconds=SETTLE_SECONDS - 2))
    with Scene(tmp_path, Fault(operation="create", call=1, kind="drop"), settings=lagging) as scene:
        scene.answered_once(scene.run())
        assert len(scene.of(e.BatchAdopted)) == 1


def test_a_batch_that_materialises_late_but_within_the_settle_time_is_adopted(tmp_path: Path) -> None:
    with Scene(
        tmp_path,
        Fault(operation="create", call=1, kind="drop"),
        Fault(operation="create", call=1, kind="late", seconds=SETTLE_SECONDS - 2),
    ) as scene:
        scene.answered_once(scene.run())
        assert len(scene.of(e.BatchAdopted)) == 1


# ── 2xx that lie ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("more", [1, 96])
def test_an_id_in_hand_beats_counts_that_are_wrong(tmp_path: Path, more: int) -> None:
    with Scene(tmp_path, Fault(operation="create", call=1, kind="wrong_counts", requests=more)) as scene:
        scene.answered_once(scene.run())
        assert scene.findings() == {"counts_differ": 1}
        assert any("counted" in finding.what for finding in scene.audit().findings)


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_item_that_a_400_names_is_rejected_and_the_rest_is_sent(tmp_path: Path) -> None:
    texts = ["Say 0.", "Say 1.", "[[simulate:reject]] Say 2.", "Say 3."]
    with Scene(tmp_path, texts=texts) as scene:
        scene.ended_with(scene.run(), ok=3, invalid=1)
        assert scene.outcomes()["item-2"] == "invalid"
        assert scene.server.bill().batches == 1


@pytest.mark.parametrize("poisoned", [0, 5, 11])
def test_an_item_that_makes_a_400_naming_none_is_found_by_halving(tmp_path: Path, poisoned: int) -> None:
    texts = [f"{'[[simulate:poison]] ' if number == poisoned else ''}Say {number}." for number in range(12)]
    with Scene(tmp_path, texts=texts, chunk_requests=12) as scene:
        scene.ended_with(scene.run(), ok=11, invalid=1)
        assert scene.outcomes()[f"item-{poisoned}"] == "invalid"
        assert len(scene.of(e.SubmissionRefused)) <= 5  # 12, 6, 3, 2 and 1


@pytest.mark.parametrize("error", ["too_large", "too_large_html"])
def test_a_413_halves_the_chunk(tmp_path: Path, error: str) -> None:
    with Scene(tmp_path, Fault(operation="create", call=1, kind="refuse", error=error)) as scene:
        scene.answered_once(scene.run())
        assert [event.reaction for event in scene.of(e.SubmissionRefused)] == ["split"]


def test_a_413_for_one_item_ends_that_item(tmp_path: Path) -> None:
    with Scene(
        tmp_path, Fault(operation="create", call=1, kind="refuse", error="too_large"), texts=["Say 0."]
    ) as scene:
        scene.ended_with(scene.run(), invalid=1)


def test_a_body_that_comes_too_slowly_is_sent_in_halves(tmp_path: Path) -> None:
    with Scene(tmp_path, Fault(operation="create", call=1, kind="refuse", error="body_timeout")) as scene:
        scene.answered_once(scene.run())


def test_a_full_queue_is_waited_for_and_burns_no_attempt(tmp_path: Path) -> None:
    with Scene(tmp_path, texts=TWELVE, settings=msgspec.structs.replace(CALMLY, queue_maximum=8)) as scene:
        scene.answered_once(scene.run())
        assert {event.reaction for event in scene.of(e.SubmissionRefused)} == {"wait_for_queue"}
        assert {row["attempts"] for row in scene.ledger()[0].results()} == {1}


def test_a_rate_limit_is_waited_for(tmp_path: Path) -> None:
    refused = Fault(operation="create", call=1, kind="refuse", error="rate_limit", retry_after_seconds=1)
    with Scene(tmp_path, refused) as scene:
        scene.answered_once(scene.run())
        (refusal,) = scene.of(e.SubmissionRefused)
        assert (refusal.reaction, refusal.retry_after_us) == ("wait", 1_000_000)


@pytest.mark.parametrize("error", ["spend_cap", "customer_limit", "billing"])
def test_a_spend_limit_pauses_and_resume_goes_on_once_it_is_lifted(tmp_path: Path, error: str) -> None:
    refused = Fault(operation="create", call=2, calls=2, kind="refuse", error=error)
    with Scene(tmp_path, refused, texts=TWELVE) as scene:
        lift = scene.stuck(scene.run(), 3, "spend")
        assert lift == "ledger resume (once the limit is lifted)"
        assert scene.server.bill().batches >= 1
        summary = scene.resume()
        while summary.exit_code == 3:  # how many calls met the limit at once is the runner's business
            scene.stuck(summary, 3, "spend")
            summary = scene.resume()
        scene.answered_once(summary)


@pytest.mark.parametrize("error", ["unauthorized", "forbidden"])
@pytest.mark.parametrize("operation", ["create", "list"])
def test_a_key_that_does_not_work_stops_the_run_and_another_goes_on(tmp_path: Path, error: str, operation: Any) -> None:
    with Scene(tmp_path, Fault(operation=operation, call=1, kind="refuse", error=error)) as scene:
        lift = scene.stuck(scene.run(), 6, "key")
        assert lift == "ledger resume (with a key that works)"
        scene.answered_once(scene.resume())


def test_a_key_that_is_revoked_midway_loses_nothing(tmp_path: Path) -> None:
    with Scene(tmp_path, Fault(operation="list", call=3, calls=3, kind="refuse", error="unauthorized")) as scene:
        scene.stuck(scene.run(), 6, "key")
        summary = scene.resume()
        while summary.exit_code == 6:
            summary = scene.resume()
        scene.answered_once(summary)


def test_another_workspace_is_told_at_once_and_the_right_key_goes_on(tmp_path: Path) -> None:
    with Scene(tmp_path, texts=TWELVE) as scene:
        assert scene.run(once=True).exit_code == 7
        first = scene.server.service.workspace_id
        scene.server.service.workspace_id = "wrkspc_of_somebody_else"
        lift = scene.stuck(scene.resume(), 3, "workspace")
        assert lift == f"ledger resume (with a key of workspace {first})"
        scene.server.service.workspace_id = first
        scene.answered_once(scene.resume())
