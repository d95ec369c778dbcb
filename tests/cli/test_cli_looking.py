"""Commands that look at a finished run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
from commanding import MODEL, invoke, shell, steady

from ledger.core.audit import AuditReport
from ledger.core.costs import CostReport
from ledger.ledger import Check
from ledger.summary import Status, Summary

NOTE = "SIMULATED: no service was asked, nothing was spent, the answers are made up\n"
SUMMARY = (
    "items.simulated.ledger: finished; the log is at position N\n"
    + NOTE
    + """\
asked                  3  1 batch made
ok                     1
truncated              1
refused                1
input tokens          59
output tokens        338
cost           $0.002624  at batch price; the standard price is $0.005247
"""
)
COSTS = """\
model              results  input  output       cost   standard
claude-sonnet-4-6        3     59     338  $0.002624  $0.005247
"""
DISCOUNT = "batch discount: 50% on every one of 2 billed results: $0.002624 instead of $0.005247\n"
NEXT = "next: ledger results items.simulated.ledger --failed\n"


def test_a_run_shows_the_estimate_what_happens_and_how_it_ended(finished: Path) -> None:
    assert (finished / "run.code").read_text() == "1"
    assert steady((finished / "run.stdout").read_text()) == SUMMARY
    said = steady((finished / "run.stderr").read_text()).splitlines()
    assert [line for line in said if "waiting:" not in line] == [
        "THEN  4 lines read, 3 requests, 1 repetition",
        "3 requests, 492 B, 1 batch; about 123 input tokens",
        "at batch price     requests   expected    at most",
        "claude-sonnet-4-6         3  $0.001984  $0.004684",
        "at standard price            $0.003969  $0.009369",
        "prices of TODAY",
        "SIMULATED: nothing is spent",
        "THEN  batch msgbatch_01b56a74f9ab440013000000 created: chunk 1, 3 requests",
        "THEN  batch msgbatch_01b56a74f9ab440013000000 ended: 3 succeeded",
        "THEN  batch msgbatch_01b56a74f9ab440013000000 collected: 3 rows; 3 of 3 items are done",
        "not ok: teapot, cup",
        "3 answers written to answers.jsonl (SIMULATED)",
        "next: ledger results items.simulated.ledger --failed",
    ]
    assert {line for line in said if "waiting:" in line} <= {
        "THEN  waiting: 1 batch of 3 requests at the service, the oldest for S"
    }


def test_status_shows_the_summary_the_batches_and_that_this_file_is_a_copy(finished: Path) -> None:
    result = invoke("status")
    assert (result.exit_code, result.stderr) == (0, NEXT)
    assert steady(result.stdout) == (
        SUMMARY
        + """
chunk  batch                              status     requests  created (UTC)
    1  msgbatch_01b56a74f9ab440013000000  collected         3  MM-DD hh:mm

head unverified: nothing beside this file says how far it had got
"""
    )


def test_status_in_json_is_the_library_s_status(finished: Path) -> None:
    result = invoke("status", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    status = msgspec.json.decode(result.stdout, type=Status)
    assert (status.summary.exit_code, status.summary.simulated, status.summary.failed_ids) == (
        1,
        True,
        ("teapot", "cup"),
    )


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ([], ["kettle", "teapot", "cup"]),
        (["--failed"], ["teapot", "cup"]),
        (["--outcome", "ok"], ["kettle"]),
        (["--outcome", "refused,truncated"], ["teapot", "cup"]),
        (["--outcome", "pending"], []),
        (["--all"], ["kettle", "teapot", "cup"]),
        (["--raw"], ["kettle", "teapot", "cup"]),
        (["--join"], ["kettle", "teapot", "cup"]),
    ],
)
def test_results_are_json_lines_in_the_order_of_the_input(finished: Path, options: list[str], ids: list[str]) -> None:
    result = invoke("results", *options)
    assert (result.exit_code, result.stderr) == (0, NOTE)
    assert [json.loads(line)["custom_id"] for line in result.stdout.splitlines()] == ids


def test_joined_results_carry_the_source_row(finished: Path) -> None:
    lines = [json.loads(line) for line in invoke("results", "--join", "--outcome", "refused").stdout.splitlines()]
    assert [line["item"]["shelf"] for line in lines] == [7]


def test_results_written_to_a_file_are_those_of_standard_output(finished: Path) -> None:
    result = invoke("results", "-o", "again.jsonl")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "3 lines written to again.jsonl\n" + NOTE
    written = (finished / "again.jsonl").read_text()
    assert written == invoke("results").stdout == (finished / "answers.jsonl").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--failed", "--all"], "error: --failed, --outcome and --all exclude each other\nnext: pass one of them\n"),
        (
            ["--raw", "--join"],
            "error: the service's own rows have no room for the item\nnext: pass --raw or --join, not both\n",
        ),
    ],
)
def test_results_of_two_kinds_at_once_are_refused(finished: Path, options: list[str], said: str) -> None:
    result = invoke("results", *options)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", said)


def test_an_outcome_that_does_not_exist_is_refused_with_those_that_do(finished: Path) -> None:
    result = invoke("results", "--outcome", "great")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: there is no outcome 'great'\nnext: use one of ok, truncated, refused,")


def test_costs_say_whether_the_discount_was_given(finished: Path) -> None:
    result = invoke("costs", "--by", "model")
    assert (result.exit_code, result.stderr) == (0, "")
    assert steady(result.stdout) == (
        COSTS
        + DISCOUNT
        + "1 result of 3 cost nothing\npaid without an answer: truncated $0.001548\nprices of TODAY\n"
        + NOTE
    )


@pytest.mark.parametrize("by", ["model", "attempt", "batch", "day"])
def test_costs_in_json_are_the_library_s_report(finished: Path, by: str) -> None:
    report = msgspec.json.decode(invoke("costs", "--by", by, "--json").stdout, type=CostReport)
    assert (report.by, report.total.requests, str(report.total.cost_usd)) == (by, 3, "0.0026235")


def test_an_audit_shows_money_and_head(finished: Path) -> None:
    """The copied ledger is another file than the one its sidecar knows."""
    result = invoke("replay", "--audit")
    assert (result.exit_code, result.stderr) == (0, "")
    assert steady(result.stdout) == (
        "items.simulated.ledger: audit ok\n"
        + NOTE
        + "N events checked\n3 requests: 1 ok, 1 truncated, 1 refused\n\n"
        + "note: the ledger: head unverified: a tail that was cut off cleanly would not show "
        + "(the sidecar is of another ledger, file or machine)\n\n"
        + COSTS
        + "\n"
        + COSTS.replace("model            ", "attempt").replace("claude-sonnet-4-6", "1      ")
        + "\n"
        + DISCOUNT
        + "\nhead N:HASH  (head unverified)\n"
    )


def test_a_head_that_was_noted_proves_the_log_later(finished: Path) -> None:
    first = msgspec.json.decode(invoke("replay", "--audit", "--json").stdout, type=AuditReport)
    assert (first.ok, first.head_verified) == (True, False)
    again = invoke("replay", "--expect-head", f"{first.position}:{first.hash}", "--json")
    assert again.exit_code == 0
    assert msgspec.json.decode(again.stdout, type=AuditReport).head_verified


def test_another_head_than_the_one_noted_is_exit_5(finished: Path) -> None:
    result = invoke("replay", "--expect-head", f"3:{'0' * 64}")
    assert result.exit_code == 5
    assert result.stdout.startswith("items.simulated.ledger: audit 1 breach\n")
    assert "breach: position 3: the event here is not the one whose hash was noted" in result.stdout


def test_replay_shows_the_run_as_it_was(finished: Path) -> None:
    result = invoke("replay", "--to", "10")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "items.simulated.ledger: running; the log is at position 10\n"
        + NOTE
        + "asked    3  0 batches made\npending  3\n\n"
        + "head unverified: nothing beside this file says how far it had got\n"
    )
    status = msgspec.json.decode(invoke("replay", "--to", "10", "--json").stdout, type=Status)
    assert (status.summary.position, status.summary.pending) == (10, 3)


def test_replay_to_a_position_that_is_not_there_is_refused(finished: Path) -> None:
    result = invoke("replay", "--to", "9999")
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(
        r"error: there is no position 9999\nbecause: the log ends at \d+\nnext: ledger events\n", result.stderr
    )


def test_events_are_the_log(finished: Path) -> None:
    lines = [json.loads(line) for line in invoke("events", "--json").stdout.splitlines()]
    assert [line["position"] for line in lines] == list(range(1, len(lines) + 1))
    assert [line["type"] for line in lines][:4] == ["run_opened", "writer_opened", "settings_changed", "source_opened"]
    assert lines[-1]["type"] == "run_finished"
    assert lines[-1]["data"] == {"outcomes": {"ok": 1, "truncated": 1, "refused": 1}, "exit_code": 1}
    head = msgspec.json.decode(invoke("replay", "--audit", "--json").stdout, type=AuditReport)
    assert lines[-1]["hash"] == head.hash


def test_events_can_be_chosen_by_type_and_position(finished: Path) -> None:
    shown = [json.loads(line) for line in invoke("events", "--json", "--type", "request_built").stdout.splitlines()]
    assert [event["data"]["custom_id"] for event in shown] == ["kettle", "teapot", "cup"]
    later = invoke("events", "--from", str(shown[1]["position"]), "--type", "request_built").stdout
    assert [line.split()[2] for line in later.splitlines()] == ["request_built"] * 2


def test_an_event_type_that_does_not_exist_is_refused(finished: Path) -> None:
    result = invoke("events", "--type", "nonsense")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: there is no event type 'nonsense'\nnext: one of run_opened, ")


def test_check_says_how_items_would_be_sent_and_leaves_nothing_behind(finished: Path) -> None:
    before = sorted(path.name for path in finished.iterdir())
    result = invoke("check", "items.jsonl", *MODEL)
    assert (result.exit_code, result.stderr) == (0, "")
    assert sorted(path.name for path in finished.iterdir()) == before
    assert result.stdout.startswith(
        "items.jsonl: nothing is wrong with what would be sent\n"
        "requests                 3\n"
        "repetitions              1\n"
        "lines that are no items  0\n"
        "largest batch            3 requests, 509 B\n"
    )
    check = msgspec.json.decode(invoke("check", "items.jsonl", *MODEL, "--json").stdout, type=Check)
    assert (check.requests, check.deduplicated, check.batches, str(check.estimate.total.cost_usd)) == (
        3,
        1,
        1,
        "0.0019845",
    )


def test_a_copy_is_a_ledger_and_is_not_written_over(finished: Path) -> None:
    result = invoke("copy", "copied.ledger", "-l", "items.simulated.ledger")
    assert (result.exit_code, result.stdout) == (0, "items.simulated.ledger copied to copied.ledger\n")
    assert invoke("results", "copied.ledger").stdout == invoke("results", "-l", "items.simulated.ledger").stdout
    again = invoke("copy", "copied.ledger", "-l", "items.simulated.ledger")
    assert again.exit_code == 2
    assert again.stderr.startswith("error: there is a file of this name already\n")


def test_a_copy_goes_into_a_directory_under_its_own_name(finished: Path) -> None:
    (finished / "backups").mkdir()
    result = invoke("copy", "backups")
    assert (result.exit_code, result.stdout) == (
        0,
        "items.simulated.ledger copied to backups/items.simulated.ledger\n",
    )
    assert invoke("replay", "backups/items.simulated.ledger", "--audit").exit_code == 0


@pytest.mark.parametrize("command", ["status", "results", "costs", "replay", "events", "resume", "recover"])
def test_with_two_ledgers_one_must_be_named(finished: Path, command: str) -> None:
    (finished / "b.ledger").write_bytes((finished / "items.simulated.ledger").read_bytes())
    result = invoke(command)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "error: there are 2 ledgers in this directory, and none was named\n"
        "next: one of\n"
        f"  ledger {command} --ledger b.ledger\n"
        f"  ledger {command} --ledger items.simulated.ledger\n"
    )


def test_a_ledger_can_be_named_by_position_or_by_option_but_not_differently(finished: Path) -> None:
    by_position = invoke("status", "items.simulated.ledger")
    by_option = invoke("status", "--ledger", "items.simulated.ledger")
    assert by_position.stdout == by_option.stdout != ""
    both = invoke("status", "a.ledger", "-l", "b.ledger")
    assert (both.exit_code, both.stderr) == (2, "error: two ledgers are named, a.ledger and b.ledger\nnext: name one\n")


def test_a_file_that_is_no_ledger_is_told_from_one(finished: Path) -> None:
    result = invoke("status", "items.jsonl")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "error: not a batch ledger\n"
        f"where: {finished / 'items.jsonl'}\n"
        "because: file is not a database (SQLITE_NOTADB)\n"
        "next: name the .ledger file of a run\n"
    )


def test_a_damaged_ledger_fails_its_audit_with_5(finished: Path) -> None:
    import sqlite3

    with sqlite3.connect(finished / "items.simulated.ledger") as database:
        database.execute("UPDATE event SET data = replace(data, 'kettle', 'kettlf') WHERE type = 'request_built'")
    database.close()
    result = invoke("replay", "--audit")
    assert result.exit_code == 5
    assert re.search(r"^breach: position \d+: ", result.stdout, re.MULTILINE)


def test_a_finished_run_is_resumed_without_spending_and_ends_the_same(finished: Path) -> None:
    before = [line for line in invoke("events", "--json").stdout.splitlines() if '"batch_created"' in line]
    # The sidecar is that of the original, so this copy first makes sure that nothing was forgotten.
    result = invoke("resume", "--settle", "0.1", "--poll", "0.1", "-q", "--json")
    assert result.exit_code == 1
    assert msgspec.json.decode(result.stdout, type=Summary).exit_code == 1
    after = [line for line in invoke("events", "--json").stdout.splitlines() if '"batch_created"' in line]
    assert after == before


def test_nothing_but_the_answer_is_on_standard_output(finished: Path) -> None:
    ran = shell("results", "--failed", cwd=finished)
    assert [json.loads(line)["custom_id"] for line in ran.stdout.splitlines()] == ["teapot", "cup"]
    assert ran.stderr == NOTE


def test_a_run_that_is_over_has_nothing_to_cancel_or_decide(finished: Path) -> None:
    canceled = invoke("cancel", "--all")
    assert (canceled.exit_code, canceled.stdout, canceled.stderr) == (0, "cancel: there is nothing to do\n", "")
    unknown = invoke("cancel", "msgbatch_x")
    assert (unknown.exit_code, unknown.stderr) == (
        2,
        "error: batch msgbatch_x is not of this ledger\nnext: ledger status (lists its batches)\n",
    )
    resolved = invoke("resolve", "1", "--again")
    assert (resolved.exit_code, resolved.stderr) == (
        2,
        "error: chunk 1 needs no decision\nbecause: it is collected\n"
        "next: ledger status (shows which chunks are held or in doubt)\n",
    )


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["cancel"], "error: name batches, or say --all\nnext: ledger status lists them\n"),
        (["cancel", "x", "--all"], "error: name batches, or say --all\nnext: ledger status lists them\n"),
        (
            ["resolve", "1"],
            "error: one decision is needed\n"
            "next: one of --adopt, --absent, --cancel, --again, --accept-counts, --lost, --acknowledge\n",
        ),
        (
            ["resolve", "1", "--again", "--absent"],
            "error: one decision is needed\n"
            "next: one of --adopt, --absent, --cancel, --again, --accept-counts, --lost, --acknowledge\n",
        ),
        (
            ["replay", "--audit", "--to", "3"],
            "error: an audit is of the whole log\nnext: pass --to or --audit, not both\n",
        ),
        (
            ["resume", "--lift", "spend"],
            "error: the run is not paused by spend\nbecause: it is paused by nothing\nnext: ledger status\n",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(finished: Path, typed: list[str], said: str) -> None:
    result = invoke(*typed)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", said)
