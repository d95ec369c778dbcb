"""What can be learnt without a ledger: help, version, and what was meant by a mistyped word."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from commanding import SCRIPT, application, clean_environment, invoke, shell

COMMANDS = [
    "init",
    "doctor",
    "completion",
    "check",
    "run",
    "resume",
    "retry",
    "status",
    "results",
    "show",
    "diff",
    "costs",
    "prices",
    "report",
    "receipt",
    "verify",
    "replay",
    "events",
    "cancel",
    "resolve",
    "recover",
    "copy",
    "redact",
    "simulator",
]  # fmt: skip
HEAVY = ("anthropic", "httpx2", "rich", "structlog", "sqlite_utils", "genai_prices", "sqlite3", "asyncio", "msgspec")


def test_every_command_is_listed_with_the_sentence_of_its_own_help() -> None:
    listed = {name: short for section in application()._sections.values() for name, short in section.items()}
    assert list(listed) == COMMANDS
    package = application().__module__.rpartition(".")[0]
    for name, short in listed.items():
        command = importlib.import_module(f"{package}.{name}").command
        assert (command.name, command.short_help) == (name, short)
        assert f"{name} " in invoke("--help").stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_that_fits_a_terminal(name: str) -> None:
    for flag in ("--help", "-h"):
        result = invoke(name, flag)
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.startswith(f"Usage: ledger {name} ")
        assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does(name: str) -> None:
    command = application().get_command(None, name)
    for parameter in command.params:
        assert parameter.param_type_name == "argument" or parameter.help, f"{name} {parameter.name}"


def test_the_exit_codes_are_in_the_help() -> None:
    said = invoke("--help").stdout
    codes = said[said.index("Exit codes:") :]
    for code in ("0", "1", "2", "3", "4", "5", "6", "7", "70", "129, 130, 143"):
        assert f"  {code}  " in codes


def test_the_help_imports_nothing_heavy(tmp_path: Path) -> None:
    """Neither the SDK nor the library is loaded to show what commands there are."""
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", SCRIPT, "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env=clean_environment(),
    )
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines() if line.startswith("import time:")}
    assert "click" in imported
    assert not {name for name in imported if name.partition(".")[0] in HEAVY}
    assert not {name for name in imported if name.startswith("ledger.")}


def test_status_imports_neither_the_sdk_nor_the_screens_of_a_run(finished: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", SCRIPT, "status"],
        cwd=finished,
        capture_output=True,
        text=True,
        check=True,
        env=clean_environment(),
    )
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines() if line.startswith("import time:")}
    assert "sqlite3" in imported
    assert not {"anthropic", "httpx2", "rich", "structlog", "sqlite_utils", "genai_prices"} & imported


def test_the_version_is_that_of_the_distribution() -> None:
    result = invoke("--version")
    assert (result.exit_code, result.stdout) == (0, "claude-batch-ledger 0.1.0\n")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["stauts"], "Error: No such command 'stauts'. (Did you mean one of: 'results', 'status'?)"),
        (["resum"], "Error: No such command 'resum'. (Did you mean one of: 'results', 'resume'?)"),
        (["items.jsonl"], "Error: No such command 'items.jsonl'. (Did you mean 'ledger run items.jsonl'?)"),
        (["items.ledger"], "Error: No such command 'items.ledger'. (Did you mean 'ledger status items.ledger'?)"),
        (["run", "items.jsonl", "--simulat"], "Error: No such option '--simulat'. Did you mean '--simulate'?"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_one_that_was_meant(typed: list[str], said: str) -> None:
    result = invoke(*typed)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1] == said


def test_no_command_at_all_shows_the_help() -> None:
    result = invoke()
    assert result.exit_code == 2
    assert "Exit codes:" in result.stderr


@pytest.mark.parametrize("way", [[str(SCRIPT)], [sys.executable, "-m", "ledger"], [sys.executable, "-m", "ledger_cli"]])
def test_there_are_three_ways_to_start_it(way: list[str], tmp_path: Path) -> None:
    ran = subprocess.run([*way, "--version"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "claude-batch-ledger 0.1.0\n", "")


def test_the_short_name_is_not_the_only_one(tmp_path: Path) -> None:
    """Another well-known program owns the name ``ledger`` on some machines."""
    ran = subprocess.run(
        [SCRIPT.with_name("batch-ledger"), "--version"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, "claude-batch-ledger 0.1.0\n")


def test_a_directory_without_a_ledger_is_told_how_to_begin(tmp_path: Path) -> None:
    ran = shell("status", cwd=tmp_path)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == (
        "error: there is no *.ledger in this directory\n"
        "next: ledger status --ledger FILE, or begin with: ledger run ITEMS\n"
    )
