"""``ledger receipt`` and ``ledger verify``."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
from commanding import invoke

from ledger.core.receipt import LABELS, Verification

LEDGER = "items.simulated.ledger"


def test_a_receipt_is_written_and_holds(finished: Path) -> None:
    shown = invoke("receipt")
    assert (shown.exit_code, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    assert len(lines) == len(LABELS) == 10
    assert max(map(len, lines)) <= 88
    assert "cost            0.0026235 USD" in lines
    written = invoke("receipt", LEDGER, "-o", "receipt.txt")
    assert (written.exit_code, written.stdout) == (0, "")
    assert written.stderr.endswith(" written to receipt.txt\n")
    assert Path("receipt.txt").read_text() == shown.stdout
    for arguments in (["receipt.txt"], ["receipt.txt", LEDGER], ["receipt.txt", "-l", LEDGER]):
        verified = invoke("verify", *arguments)
        assert (verified.exit_code, verified.stderr) == (0, "")
        assert verified.stdout.startswith(f"receipt.txt: every line holds for {LEDGER} at position ")
    assert invoke("verify", "-", LEDGER, typed=shown.stdout).exit_code == 0


def test_an_older_receipt_holds_after_the_ledger_has_grown(finished: Path) -> None:
    assert invoke("receipt", "-o", "receipt.txt").exit_code == 0
    assert invoke("resume", "--settle", "0.1", "--poll", "0.1", "-q").exit_code == 1
    verified = invoke("verify", "receipt.txt")
    assert verified.exit_code == 0
    assert verified.stdout.endswith(" events have come since\n")


def test_the_line_that_differs_is_named_with_both_sides(finished: Path) -> None:
    Path("receipt.txt").write_text(invoke("receipt").stdout.replace("0.0026235 USD\n", "0.0016235 USD\n", 1))
    verified = invoke("verify", "receipt.txt")
    assert (verified.exit_code, verified.stderr) == (1, "")
    assert verified.stdout == (
        f"receipt.txt does not hold for {LEDGER}\ncost: differs\n  receipt  0.0016235 USD\n  ledger   0.0026235 USD\n"
    )
    read = msgspec.json.decode(invoke("verify", "receipt.txt", "--json").stdout, type=Verification)
    assert (read.ok, [each.line for each in read.differences]) == (False, ["cost"])


def test_a_ledger_that_was_changed_does_not_pass(finished: Path) -> None:
    assert invoke("receipt", "-o", "receipt.txt").exit_code == 0
    with sqlite3.connect(finished / LEDGER) as database:
        database.execute("UPDATE event SET data = replace(data, 'kettle', 'kettlf') WHERE type = 'request_built'")
    database.close()
    verified = invoke("verify", "receipt.txt")
    assert verified.exit_code == 1
    assert "the event is not the one that was written" in verified.stdout


def test_what_is_no_receipt_or_not_there_is_refused(finished: Path) -> None:
    no_receipt = invoke("verify", "items.jsonl")
    assert (no_receipt.exit_code, no_receipt.stdout) == (2, "")
    assert no_receipt.stderr.startswith("error: this is no receipt of a ledger\nwhere: items.jsonl:1\n")
    missing = invoke("verify", "missing.txt")
    assert (missing.exit_code, missing.stdout) == (2, "")
    assert missing.stderr.startswith("error: the receipt missing.txt cannot be read\n")
