"""``run`` and ``check``: what is refused before anything is spent, and what is written."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import msgspec
import pytest
from commanding import BAD, FINE, ITEMS, MODEL, invoke, steady

from ledger.summary import Summary

SIMULATE = ("--simulate", *MODEL)


def test_ten_bad_lines_are_shown_and_the_others_counted(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(FINE + BAD)
    for command in (("run", "items.jsonl", *SIMULATE), ("check", "items.jsonl", *MODEL)):
        result = invoke(*command)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.splitlines() == [
            "error: 12 lines are no valid item; nothing was sent",
            *(
                f"{tmp_path}/items.jsonl:{number + 2} (bad-{number}): prompt: a prompt is a text, "
                'or a list of content blocks, and not empty. write "prompt": "..."'
                for number in range(10)
            ),
            "… and 2 more",
            "next: mend the lines, or pass --skip-invalid to run without them; --rejects FILE writes all of them",
        ]


def test_rejects_holds_every_bad_line_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(FINE + BAD)
    result = invoke("run", "items.jsonl", *SIMULATE, "--rejects", "rejects.jsonl")
    assert result.exit_code == 2
    assert "all of them are in rejects.jsonl" in result.stderr
    rejects = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert [reject["line"] for reject in rejects] == list(range(2, 14))
    assert "".join(reject["row"] + "\n" for reject in rejects) == BAD
    assert {reject["field"] for reject in rejects} == {"prompt"}


def test_no_rejects_file_appears_where_no_line_is_bad(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(FINE)
    assert invoke("check", "items.jsonl", *MODEL, "--rejects", "rejects.jsonl").exit_code == 0
    assert not (tmp_path / "rejects.jsonl").exists()


def test_skipping_bad_lines_answers_the_others_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(FINE + BAD)
    result = invoke("run", "items.jsonl", *SIMULATE, "--skip-invalid", "-q", "--json")
    assert result.exit_code == 1
    summary = msgspec.json.decode(result.stdout, type=Summary)
    assert (summary.asked, summary.rejected, summary.outcomes) == (1, 12, {"ok": 1})
    lines = [json.loads(line) for line in invoke("results", "--all").stdout.splitlines()]
    assert [line["outcome"] for line in lines] == ["ok"] + ["invalid"] * 12


def test_accepted_outcomes_end_a_run_with_0(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(ITEMS)
    result = invoke("run", "items.jsonl", *SIMULATE, "-q", "--json", "--accept", "truncated,refused")
    assert result.exit_code == 0
    assert msgspec.json.decode(result.stdout, type=Summary).outcomes == {"ok": 1, "truncated": 1, "refused": 1}
    assert invoke("results", "--failed").stdout == ""


def test_standard_input_and_packed_files_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl.gz").write_bytes(gzip.compress(FINE.encode()))
    packed = invoke("run", "items.jsonl.gz", *SIMULATE, "-q", "--json")
    assert (packed.exit_code, (tmp_path / "items.simulated.ledger").exists()) == (0, True)
    piped = invoke("run", "-", "-l", "piped.ledger", *SIMULATE, "-q", "--json", typed=FINE)
    assert piped.exit_code == 0
    assert msgspec.json.decode(piped.stdout, type=Summary).asked == 1


def test_the_same_file_again_takes_in_what_is_new_and_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(FINE)
    assert invoke("run", "items.jsonl", *SIMULATE, "-q").exit_code == 0
    (tmp_path / "items.jsonl").write_text(FINE + '{"id": "fork", "prompt": "Describe a fork."}\n')
    grown = invoke("run", "items.jsonl", *SIMULATE, "-q", "--json")
    assert msgspec.json.decode(grown.stdout, type=Summary).outcomes == {"ok": 2}
    (tmp_path / "more.jsonl").write_text('{"id": "knife", "prompt": "Describe a knife."}\n')
    refused = invoke("run", "more.jsonl", "-l", "items.simulated.ledger", *SIMULATE)
    assert (refused.exit_code, refused.stdout, refused.stderr) == (
        2,
        "",
        f"error: items.simulated.ledger holds the items of {tmp_path}/items.jsonl, not of {tmp_path}/more.jsonl\n"
        "next: --add takes these items into the same ledger; --ledger FILE keeps them apart\n",
    )
    joined = invoke("run", "more.jsonl", "-l", "items.simulated.ledger", *SIMULATE, "--add", "-q", "--json")
    assert msgspec.json.decode(joined.stdout, type=Summary).asked == 3


def test_a_simulated_run_is_not_continued_at_the_service(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-nothing")
    result = invoke("run", "items.jsonl", "-l", "items.simulated.ledger", *MODEL)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: this ledger belongs to simulator, not to https://api.anthropic.com\n")


def test_without_a_key_a_run_ends_with_6_and_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "items.jsonl").write_text(FINE)
    result = invoke("run", "items.jsonl", *MODEL, "-q")
    assert (result.exit_code, result.stdout) == (6, "")
    assert result.stderr.startswith("error: no usable credentials for the Claude API\n")
    assert "next: export ANTHROPIC_API_KEY=… and run it again" in result.stderr


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["nowhere.jsonl"], "error: there is no file nowhere.jsonl"),
        (["-"], "error: standard input has no name to call the ledger by"),
        (["items.jsonl", "-o", "-"], "error: -o writes a file"),
        (["items.jsonl", "-o", "items.jsonl"], "error: -o items.jsonl would overwrite the run's own file"),
        (
            ["items.jsonl", "-o", "no/where.jsonl"],
            "error: no/where.jsonl cannot be written: there is no such directory",
        ),
        (["items.jsonl", "--rejects", "items.jsonl"], "error: --rejects would overwrite the items"),
        (["items.jsonl", "--model", "claude-sonnet-9-9"], "error: --model: claude-sonnet-9-9 does not exist"),
        (["items.jsonl", "--param", "temperature"], "error: --param temperature is not KEY=JSON"),
        (["items.jsonl", "--accept", "great"], "error: there is no outcome 'great'"),
        (["items.jsonl", "--tier", "gold"], "error: there is no tier 'gold'"),
        (["items.jsonl", "--chunk-requests", "0"], "error: --chunk-requests must be between 1 and 100,000, not 0"),
        (["items.jsonl", "--poll", "soon"], "Error: Invalid value for '--poll': 'soon' is no duration; write 0.2, 90s"),
        (["items.jsonl", "--chunk-bytes", "big"], "Error: Invalid value for '--chunk-bytes': 'big' is no size; write"),
        (["items.jsonl", "--system", "@missing"], "Error: Invalid value for '--system': missing cannot be read"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(tmp_path: Path, typed: list[str], said: str) -> None:
    (tmp_path / "items.jsonl").write_text(FINE)
    result = invoke("run", *typed, "--simulate", *([] if "--model" in typed else MODEL))
    assert (result.exit_code, result.stdout) == (2, "")
    assert any(line.startswith(said) for line in result.stderr.splitlines()), result.stderr
    assert (tmp_path / "items.jsonl").read_text() == FINE


def test_a_system_prompt_can_come_from_a_file_and_is_never_logged(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(FINE)
    (tmp_path / "system.txt").write_text("Speak like a butler.")
    result = invoke("run", "items.jsonl", *SIMULATE, "--system", "@system.txt", "-v", "--log-format", "json")
    assert result.exit_code == 0
    logged = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
    assert [entry["event"] for entry in logged][:3] == ["run_opened", "writer_opened", "settings_changed"]
    assert logged[-1]["event"] == "run_finished"
    assert [entry["position"] for entry in logged] == list(range(1, len(logged) + 1))
    for secret in ("butler", "spoon.", "Describe"):
        assert secret not in result.stderr
    recorded = invoke("events", "--type", "settings_changed").stdout
    assert "Speak like a butler." in recorded


def test_the_estimate_of_two_models_has_a_total(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(
        '{"id": "a", "model": "claude-haiku-4-5", "prompt": "A"}\n'
        '{"id": "b", "model": "claude-sonnet-4-6", "prompt": "B"}\n'
    )
    result = invoke("check", "items.jsonl", "--max-tokens", "1000")
    assert result.exit_code == 0
    shown = steady(result.stdout).splitlines()
    (heading,) = [at for at, line in enumerate(shown) if line.startswith("2 requests, ")]
    table = shown[heading + 1 :][:5]
    assert [line.split()[0] for line in table] == ["at", "claude-haiku-4-5", "claude-sonnet-4-6", "total", "at"]
    assert len({len(line) for line in table}) == 1


def test_a_bug_is_one_line_and_the_way_to_its_traceback(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the sky fell")

    monkeypatch.setattr("ledger.reading.load_state", broken)
    plain = invoke("status")
    assert (plain.exit_code, plain.stdout) == (70, "")
    assert plain.stderr == (
        "error: RuntimeError: the sky fell\n"
        "this is a bug in ledger, not in what you did; what was recorded is safe\n"
        "next: the same command with --debug shows where; please report that\n"
    )
    debugged = invoke("status", "--debug")
    assert debugged.exit_code == 70
    assert debugged.stderr.startswith("Traceback (most recent call last):\n")
