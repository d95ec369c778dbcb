"""``ledger costs`` in all its forms."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from commanding import FINE, SCRIPT, clean_environment, invoke, shell, steady

from ledger.core.costs import CostReport
from ledger.core.dearest import ItemCosts
from ledger.core.proof import CostProof

LEDGER = "items.simulated.ledger"
NOTE = "SIMULATED: no service was asked, nothing was spent, the answers are made up\n"


@pytest.fixture
def both(finished: Path) -> Path:
    """The directory of the finished run with a second one in it, of another model."""
    (finished / "more.jsonl").write_text(FINE)
    ran = invoke("run", "more.jsonl", "--simulate", "--model", "claude-haiku-4-5", "--max-tokens", "100", "-q")
    assert ran.exit_code == 0
    return finished


def timeless(text: str) -> str:
    """A text without how long the simulated service took."""
    lines = steady(text).splitlines()
    return "\n".join(line.split(" in ")[0] for line in lines if " an hour" not in line)


def test_costs_are_explained_from_the_estimate_on(finished: Path) -> None:
    result = invoke("costs")
    assert (result.exit_code, result.stderr) == (0, "")
    assert timeless(result.stdout) == timeless(
        """\
model              results  input  output       cost   standard
claude-sonnet-4-6        3     59     338  $0.002624  $0.005247
batch discount: 50% on every one of 2 billed results: $0.002624 instead of $0.005247
1 result of 3 cost nothing
paid without an answer: truncated $0.001548
prices of 2026-11-22: genai-prices

estimate   $0.001984  3 requests, with the recorded prices
count     -$0.000662  first attempts that were not billed, or are pending
input     -$0.000034  prompts longer or shorter in tokens
output    +$0.001335  answers longer or shorter
cost       $0.002624

$0.87 for every 1,000 requests that ended (3 did)
errors: 0 of 3 results
claude-sonnet-4-6: 3 answers
"""
        + NOTE
    )
    assert max(map(len, result.stdout.splitlines())) <= 90


def test_with_an_aspect_only_its_table_is_shown(finished: Path) -> None:
    lines = invoke("costs", "--by", "cause").stdout.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["cause", "answers", "not", "truncated", "total"]
    assert lines[2] == "not billed        1      0       0  $0.000000  $0.000000"
    assert not [line for line in lines if line.startswith("estimate")]


def test_json_is_the_library_s_report_with_all_that_explains_it(finished: Path) -> None:
    printed = invoke("costs", "--json").stdout
    proof = msgspec.json.decode(printed, type=CostProof)
    assert (proof.ledger, proof.simulated, proof.asked, proof.finished) == (LEDGER, True, 3, 3)
    assert proof.waterfall is not None
    assert proof.waterfall.actual_usd == proof.total.cost_usd
    assert msgspec.json.decode(printed, type=CostReport).total == proof.total


def test_csv_has_a_line_for_every_row_and_the_total(finished: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(invoke("costs", "--by", "cause", "--csv").stdout)))
    assert [row["key"] for row in rows] == ["answers", "not billed", "truncated", "total"]
    assert rows[-1]["cost_usd"] == "0.0026235"
    assert rows[-1]["wasted_usd"] == rows[2]["cost_usd"]


def test_the_dearest_items_come_first_by_their_own_ids(finished: Path) -> None:
    result = invoke("costs", "--by", "item", "--top", "1")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["item", "outcome", "model", "input", "output", "cost"]
    assert lines[1].split()[:3] == ["cup", "truncated", "claude-sonnet-4-6"]
    assert lines[2].startswith("these 1 of 2 billed items cost $0.001548, 59% of $0.002624")
    found = msgspec.json.decode(invoke("costs", "--by", "item", "--json").stdout, type=ItemCosts)
    assert [row.custom_id for row in found.rows] == ["cup", "kettle"]
    assert found.shown_usd == found.items_usd == sum(row.cost_usd for row in found.rows)


def test_another_model_is_priced_with_tokens_of_its_own(finished: Path) -> None:
    result = invoke("costs", "--what-if", "claude-haiku-4-5", "--what-if", "claude-opus-4-7")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["with", "input", "output", "cost", "standard", "difference"]
    assert [line.split()[0] for line in lines[1:3]] == ["claude-haiku-4-5", "claude-opus-4-7"]
    assert lines[3] == "against $0.002624 that was paid for 2 billed results"
    assert lines[4].startswith("tokenizers differ")
    assert max(map(len, lines)) <= 88
    columns = json.loads(invoke("costs", "--what-if", "claude-haiku-4-5", "--json").stdout)
    assert [float(column["cost_usd"]) * 3 for column in columns] == [pytest.approx(0.0026235)]


def test_several_ledgers_are_one_table_with_a_total(both: Path) -> None:
    result = invoke("costs", LEDGER, "more.simulated.ledger")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert [line.split()[:2] for line in lines[:4]] == [
        ["ledger", "results"],
        [LEDGER, "3"],
        ["more.simulated.ledger", "1"],
        ["total", "4"],
    ]
    assert lines[4] == "batch discount: confirmed for every billed result of every ledger"
    assert lines[-1] + "\n" == NOTE
    proofs = msgspec.json.decode(
        invoke("costs", LEDGER, "more.simulated.ledger", "--json").stdout, type=list[CostProof]
    )
    assert [proof.ledger for proof in proofs] == [LEDGER, "more.simulated.ledger"]
    by_model = invoke("costs", LEDGER, "more.simulated.ledger", "--by", "model", "--csv").stdout.splitlines()
    assert [line.split(",")[:2] for line in by_model[1:]] == [
        ["claude-haiku-4-5-20251001", "1"],
        ["claude-sonnet-4-6", "3"],
        ["total", "4"],
    ]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--top", "3"], "error: --top is how many items are shown\nnext: pass --by item, too\n"),
        (["--json", "--csv"], "error: an answer has one form\nnext: pass --json or --csv, not both\n"),
        (
            ["--by", "day", "--what-if", "claude-opus-5"],
            "error: these are two questions\nnext: pass --by, --what-if or --reconcile, not both\n",
        ),
        (["--csv", "--what-if", "claude-opus-5"], "error: --what-if is no table of costs\nnext: pass --json\n"),
        ([LEDGER, "b.ledger", "--by", "item"], "error: --by item is asked of one ledger\nnext: name one\n"),
        ([LEDGER, "nothing.ledger"], "error: there is no ledger nothing.ledger\n"),
        (["--what-if", "claude-nothing"], "error: there is no price for claude-nothing in the recorded table\n"),
    ],
)
def test_what_cannot_be_meant_is_refused(finished: Path, typed: list[str], said: str) -> None:
    result = invoke("costs", *typed)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(said)


def test_a_copy_is_not_counted_beside_its_original(finished: Path) -> None:
    assert invoke("copy", "copied.ledger", "-l", LEDGER).exit_code == 0
    result = invoke("costs", LEDGER, "copied.ledger")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(
        f"error: {LEDGER} and copied.ledger are one run; its money would be counted twice\n"
    )


def test_the_console_script_answers_the_same(finished: Path) -> None:
    ran = shell("costs", "--by", "day", "--csv", cwd=finished)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout == invoke("costs", "--by", "day", "--csv").stdout


def test_costs_import_neither_the_sdk_nor_the_bundled_prices(finished: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", SCRIPT, "costs"],
        cwd=finished,
        capture_output=True,
        text=True,
        check=True,
        env=clean_environment(),
    )
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines() if line.startswith("import time:")}
    assert "sqlite3" in imported
    assert not {"anthropic", "httpx2", "rich", "structlog", "sqlite_utils", "genai_prices"} & imported
