"""``ledger report``."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from commanding import invoke

LEDGER = "items.simulated.ledger"
SIMULATED = "SIMULATED: no service was asked, nothing was spent, the answers are made up\n"


def test_the_page_is_written_and_its_name_printed(finished: Path) -> None:
    ran = invoke("report")
    assert (ran.exit_code, ran.stdout) == (0, "items.simulated.html\n")
    assert ran.stderr == f"{SIMULATED}next: open it in a browser: items.simulated.html\n"
    page = Path("items.simulated.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>\n")
    assert page.endswith("</html>\n")
    assert str(finished) not in page
    assert "teapot" in page
    assert not list(Path().glob(".*unfinished"))


def test_the_page_goes_where_it_is_wanted(finished: Path) -> None:
    assert invoke("report", LEDGER, "-o", "page.html").stdout == "page.html\n"
    ran = invoke("report", "-l", LEDGER, "-o", "-")
    assert ran.stdout.startswith("<!DOCTYPE html>\n")
    assert ran.stderr == SIMULATED
    assert not Path("items.simulated.html").exists()


def test_examples_can_be_left_out(finished: Path) -> None:
    assert "teapot" not in invoke("report", "--no-examples", "-o", "-").stdout


def test_without_an_audit_it_says_how_to_get_one(finished: Path) -> None:
    ran = invoke("report", "--no-audit")
    assert ran.exit_code == 0
    assert "not audited: `ledger report --audit` checks every event and payload first\n" in ran.stderr


def test_a_broken_ledger_is_reported_about_and_ends_with_5(finished: Path) -> None:
    with sqlite3.connect(LEDGER) as connection:
        connection.execute("UPDATE event SET at = at + 1 WHERE type = 'batch_created'")
    connection.close()
    ran = invoke("report")
    assert (ran.exit_code, ran.stdout) == (5, "items.simulated.html\n")
    assert ran.stderr.endswith(f"next: ledger replay --audit {LEDGER}\n")
    assert "The audit found" in Path("items.simulated.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", [["report"], ["results"], ["receipt"], ["prices"]])
def test_no_answer_is_written_over_a_ledger(finished: Path, command: list[str]) -> None:
    before = Path(LEDGER).read_bytes()
    ran = invoke(*command, LEDGER, "-o", LEDGER) if command != ["prices"] else invoke("prices", LEDGER, "-o", LEDGER)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "this is a ledger, and is never written over" in ran.stderr
    assert Path(LEDGER).read_bytes() == before


def test_a_ledger_by_another_name_is_not_written_over_either(finished: Path) -> None:
    assert invoke("copy", "kept.db", "-l", LEDGER).exit_code == 0
    before = Path("kept.db").read_bytes()
    assert invoke("results", LEDGER, "-o", "kept.db").exit_code == 2
    assert Path("kept.db").read_bytes() == before
    Path("moved.ledger").write_bytes(before)  # and one without its sidecar
    assert invoke("results", LEDGER, "-o", "moved.ledger").exit_code == 2
    assert Path("moved.ledger").read_bytes() == before
