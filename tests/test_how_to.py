"""The how-tos say what is so: their commands are run in an empty directory, one page each, and print what is shown."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from pages import ROOT, blocks, commands, shows, steady, typed

PAGES = ROOT / "docs" / "how-to"
INDEX = PAGES / "README.md"
TASKS = sorted(path for path in PAGES.glob("*.md") if path != INDEX)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with the examples in it."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    return tmp_path.resolve()


@pytest.mark.parametrize("page", TASKS, ids=lambda page: page.stem)
def test_every_command_prints_what_the_page_shows(page: Path, home: Path) -> None:
    text = page.read_text(encoding="utf-8")
    run = [block for block in blocks(text) if block.language == "console" and block.is_run]
    typed_here = [command for block in run for command in commands(block.text)]
    assert typed_here
    for command in typed_here:
        shown, printed = steady(command.output), steady(typed(command.line, home), home)
        assert shows(shown, printed), f"{command.line}\n--- shown\n{shown}\n--- printed\n{printed}"


def test_the_index_names_every_page_and_no_other() -> None:
    named = re.findall(r"^\| .+ \| \[[\w-]+\.md\]\(([\w-]+\.md)\) \|$", INDEX.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(named) == [page.name for page in TASKS]


def test_every_page_begins_with_its_goal_and_ends_with_what_can_go_wrong() -> None:
    for page in TASKS:
        text = page.read_text(encoding="utf-8")
        title, goal = text.split("\n\n")[:2]
        assert title.startswith("# "), page.name
        assert re.fullmatch(r"[A-Z][^.`]+\.", goal), page.name
        assert text.index("**Look at**") < text.index("**What can go wrong**"), page.name


def test_every_page_that_is_linked_to_is_there() -> None:
    for page in (INDEX, *TASKS):
        for target in re.findall(r"\]\(([^)]+\.md)\)", page.read_text(encoding="utf-8")):
            assert (PAGES / target).exists(), (page.name, target)


def test_every_option_that_is_named_belongs_to_a_command_of_the_program(home: Path) -> None:
    names = re.findall(r"^  ([a-z]+)  +[A-Z]", typed("ledger --help", home), re.MULTILINE)
    options = {option for name in names for option in re.findall(r"--[a-z-]+", typed(f"ledger {name} --help", home))}
    for page in TASKS:
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text(encoding="utf-8")))
        assert named - options == set(), page.name


def test_the_airflow_example_compiles_and_maps_the_exit_codes() -> None:
    page = (PAGES / "schedule.md").read_text(encoding="utf-8")
    (example,) = [block for block in blocks(page) if block.language == "python"]
    compile(example.text, "schedule.md", "exec")
    assert "retry_exit_code=7" in example.text
    assert "|| [ $? -eq 7 ]" in example.text


def test_the_command_in_the_crontab_is_one_that_the_program_understands(home: Path) -> None:
    """It finds no ledger, which is said only when every option was understood."""
    page = (PAGES / "schedule.md").read_text(encoding="utf-8")
    (crontab,) = [block for block in blocks(page) if block.language == "crontab"]
    words = shlex.split(crontab.text)
    assert words[5:9] == ["cd", "/data/june", "&&", "ledger"]
    said = typed(shlex.join(words[8 : words.index(">")]), home)
    assert "there is no *.ledger in this directory" in said


def test_a_line_of_an_ellipsis_stands_for_any_lines_and_nothing_else_does() -> None:
    assert shows("a\n…\nd", "a\nb\nc\nd")
    assert shows("a\n…\nd", "a\nd")
    assert shows("…\nd", "a\nd")
    assert shows("a\n…", "a\nb")
    assert not shows("a\n…\nd", "a\nb\nc")
    assert not shows("a\nd", "a\nb\nd")
    assert not shows("a…", "ab")
    assert not shows("", "a")
