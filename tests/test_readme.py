"""The README says what is so: its blocks are run, its tables compared with the code, its picture with the table."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from diagram import drawn
from pages import ROOT, Command, blocks, commands, environment, steady, typed

from ledger.core.events import OUTCOMES
from ledger.service.simulator.faults import Operation, RefusingKind, RowKind, SpoilingKind, TraitKind
from ledger.service.simulator.http import serve
from ledger.service.simulator.settings import CALM, Settings

README = (ROOT / "README.md").read_text(encoding="utf-8")
DEMO = "make demo"
DEMO_PROMPT = f"$ {DEMO}\n"  # what it prints has dollar signs of its own


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with the examples in it."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return tmp_path.resolve()


def tour() -> list[Command]:
    """The console blocks that build on each other, without the demo, which has a test of its own."""
    run = [block for block in blocks(README) if block.language == "console" and block.is_run]
    return [command for block in run if not block.text.startswith(DEMO_PROMPT) for command in commands(block.text)]


def test_every_command_of_the_tour_prints_what_the_readme_shows(home: Path) -> None:
    shown = tour()
    assert [command.line.split()[0:2] for command in shown] == [
        ["ledger", "run"],
        ["ledger", "costs"],
        ["ledger", "results"],
        ["ledger", "replay"],
        ["echo", """'{"id":"""],
        ["ledger", "check"],
        ["ledger", "costs"],
        ["ledger", "costs"],
        ["ledger", "receipt"],
        ["ledger", "verify"],
        ["ledger", "costs"],
        ["ledger", "run"],
        ["echo", """'{"id":"""],
        ["echo", """'{"id":"""],
        ["ledger", "run"],
        ["ledger", "retry"],
        ["echo", """'{"id":"""],
        ["ledger", "retry"],
        ["echo", "whisk"],
        ["ledger", "redact"],
        ["ledger", "report"],
    ]
    for command in shown:
        assert steady(typed(command.line, home), home) == steady(command.output), command.line


def test_the_demo_prints_what_the_readme_shows(home: Path) -> None:
    block = next(block for block in blocks(README) if block.is_run and block.text.startswith(DEMO_PROMPT))
    printed = typed(f"{sys.executable} examples/demo.py", home)
    assert steady(printed, home) == steady(block.text.removeprefix(DEMO_PROMPT))


def test_the_library_example_prints_what_the_readme_shows(home: Path) -> None:
    example = next(block for block in blocks(README) if block.language == "python")
    printed = next(block for block in blocks(README) if block.language == "text")
    assert [block.language for block in blocks(README)].count("python") == 1
    (home / "example.py").write_text(example.text, encoding="utf-8")
    assert typed(f"{sys.executable} example.py", home).splitlines() == printed.text.splitlines()


def test_blocks_that_are_not_run_say_why() -> None:
    not_run = [block.text.splitlines()[0] for block in blocks(README) if not block.is_run]
    assert [line.split("#")[0].split(" --")[0].strip() for line in not_run] == [
        "$ make demo",
        "$ ledger check documents.jsonl",
        "$ ledger check june.jsonl",
        "$ ledger check questions.jsonl",
        "$ ledger run examples/products.jsonl",
        "$ ledger simulator",
    ]


def test_the_item_shapes_are_valid_items(home: Path) -> None:
    shapes = next(block for block in blocks(README) if block.language == "json")
    (home / "shapes.jsonl").write_text(shapes.text, encoding="utf-8")
    said = typed("ledger check shapes.jsonl --model claude-sonnet-4-6 --max-tokens 100", home)
    assert "shapes.jsonl: nothing is wrong with what would be sent" in said
    assert re.search(r"^requests +2$", said, re.MULTILINE)


def test_the_picture_is_drawn_from_the_transition_table() -> None:
    assert drawn(README) == README, "python tests/diagram.py draws it anew"


def column(heading: str) -> list[str]:
    """Return the first cells of the table under a heading, without the backquotes."""
    section = README.split(f"\n{heading}\n", 1)[1].split("\n#", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][2:]
    return [row.split("|")[1].strip().strip("`") for row in rows]


def test_the_outcomes_are_those_of_the_log() -> None:
    assert tuple(column("## Outcomes")) == OUTCOMES


def test_the_commands_are_those_of_the_program(home: Path) -> None:
    listed = re.findall(r"^  ([a-z]+)  +[A-Z]", typed("ledger --help", home), re.MULTILINE)
    documented = [cell.split()[1] for cell in column("## Commands")]
    assert sorted(documented) == sorted(listed)


def test_the_exit_codes_are_those_of_the_help(home: Path) -> None:
    codes = typed("ledger --help", home).split("Exit codes:", 1)[1]
    said = [
        int(code)
        for line in codes.splitlines()
        for code in re.findall(r"^ *([\d, ]+)  ", line)[:1]
        for code in code.split(",")
    ]
    assert said == [int(code) for cell in column("### Exit codes") for code in cell.split(",")]


def test_the_fault_kinds_are_those_of_the_simulator() -> None:
    section = README.split("\n## The simulator\n", 1)[1].split("\n## ", 1)[0]
    kinds = [row.split("|")[2] for row in section.splitlines() if row.startswith("| ")][2:]
    documented = [re.findall(r"`(\w+)`", cell) for cell in kinds]
    assert documented == [list(get_args(kind)) for kind in (RefusingKind, SpoilingKind, TraitKind, RowKind)]
    assert re.search(r"\(([^)]+)\) at its `call`", section.replace("\n", " "))
    assert all(f"`{operation}`" in section for operation in get_args(Operation))


def test_every_file_that_the_readme_names_is_there() -> None:
    named = set(re.findall(r"`((?:tests|examples|schemas)/[\w/.]*)`", README))
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_same_log_folds_to_the_same_state_under_any_hash_seed(tmp_path: Path) -> None:
    """In states and audits as programs read them: the order of their keys counts too."""
    rows = (ROOT / "examples" / "products.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "few.jsonl").write_text("".join(rows[:20]), encoding="utf-8")
    typed("ledger run few.jsonl --model claude-sonnet-4-6 --max-tokens 1024 --simulate --chunk-requests 7 -q", tmp_path)
    told = set()
    for seed in ("1", "4711"):
        for options in ([], ["--audit"]):
            done = subprocess.run(
                ["ledger", "replay", "few.simulated.ledger", "--json", *options],
                cwd=tmp_path,
                env=environment(PYTHONHASHSEED=seed),
                capture_output=True,
                check=True,
            )
            told.add((*options, done.stdout))
    assert len(told) == 2


SECRET = "sk-ant-very-secret"
PASSWORD = "user-info-password"
HEADER = "custom-header-value"


def test_no_byte_of_a_credential_is_stored_or_said(tmp_path: Path) -> None:
    """In a run that succeeds, and in one that is refused: a password in the URL takes the place of the key."""
    (tmp_path / "items.jsonl").write_text('{"id": "a", "prompt": "Say hello."}\n', encoding="utf-8")
    run = "run items.jsonl --model claude-sonnet-4-6 --max-tokens 1024 --poll 0.1 --settle 2 -v --yes"
    reports = ("status --json", "events --json", "costs --json", "results --raw", "replay --audit --json")
    with serve(settings=Settings(mix=CALM)) as server:
        good = server.url
        odd = server.url.replace("http://", f"http://user:{PASSWORD}@")
        lines = [
            (good, f"{run} -o answers.jsonl", 0),
            *((good, f"{report} -l items.ledger", 0) for report in reports),
            (good, "copy copied.ledger -l items.ledger", 0),
            (odd, f"{run} -l refused.ledger", 6),
            (odd, "events --json -l refused.ledger", 0),
        ]
        said = b""
        for url, line, code in lines:
            variables = environment(
                ANTHROPIC_API_KEY=SECRET, ANTHROPIC_BASE_URL=url, ANTHROPIC_CUSTOM_HEADERS=f"X-Gateway: {HEADER}"
            )
            done = subprocess.run(
                ["ledger", *line.split()], cwd=tmp_path, env=variables, capture_output=True, check=False
            )
            assert done.returncode == code, (line, done.stderr)
            said += done.stdout + done.stderr
    assert json.loads((tmp_path / "answers.jsonl").read_text(encoding="utf-8"))["outcome"] == "ok"
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (SECRET, PASSWORD, HEADER):
        assert secret.encode() not in kept
        assert secret.encode() not in said
