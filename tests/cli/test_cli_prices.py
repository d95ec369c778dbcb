"""``ledger prices``, and prices of one's own in a run."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from commanding import FINE, MODEL, invoke

from ledger import Ledger
from ledger.core import events as e
from ledger.core.pricelist import PriceList
from ledger.files.export import write_atomically


def tables(path: str) -> list[str]:
    """The sources of all tables that a ledger recorded."""
    recorded = [e.decode(row.type_name, row.data) for row in Ledger(path).events()]
    return [event.table.source for event in recorded if isinstance(event, e.PricesQuoted)]


def own_prices(name: str = "own.json", **changes: str) -> None:
    assert invoke("prices", "-o", name).exit_code == 0
    document = json.loads(Path(name).read_text())
    document["models"] = [{**row, **changes} for row in document["models"] if row["model"] == "claude-sonnet-4-6"]
    Path(name).write_text(json.dumps(document))


def test_todays_table_names_every_model_with_its_dates_and_its_source() -> None:
    result = invoke("prices")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "standard prices, USD per million tokens"
    assert ["claude-sonnet-4-6", "3.00", "15.00", "3.75", "6.00", "0.30", "≥", "2027-02-17"] in map(str.split, lines)
    assert any(line.startswith("claude-sonnet-4-5 *") and line.endswith("2026-11-30") for line in lines)
    assert lines[-1].startswith("prices of 20")
    assert "genai-prices" in lines[-1]
    assert max(map(len, lines)) <= 80


def test_one_model_is_shown_with_what_a_batch_costs() -> None:
    assert invoke("prices", "--model", "claude-haiku-5-5").stdout.startswith(
        """\
claude-haiku-5-5; promised until 2027-10-07
USD per million tokens  standard   batch  batch, us
input                       0.10    0.05      0.055
output                      0.50    0.25      0.275
cache write, 5 minutes     0.125  0.0625    0.06875
cache write, 1 hour         0.20    0.10       0.11
cache read                  0.01   0.005     0.0055

claude-haiku-5-5, prompts above 100,000 tokens (the whole request); promised until 2027-10-07
"""
    )
    unknown = invoke("prices", "--model", "claude-sonet-4-6")
    assert (unknown.exit_code, unknown.stdout) == (2, "")
    assert unknown.stderr.endswith("next: ledger prices --model claude-sonnet-4-6\n")


def test_a_ledger_shows_the_table_that_it_recorded_also_as_json(finished: Path) -> None:
    result = invoke("prices", "items.simulated.ledger", "--model", "claude-sonnet-4-6")
    assert result.stdout.startswith("items.simulated.ledger: the prices it recorded\nclaude-sonnet-4-6; ")
    read = msgspec.json.decode(invoke("prices", "items.simulated.ledger", "--json").stdout, type=PriceList)
    assert read == Ledger("items.simulated.ledger").prices()
    assert read.source == tables("items.simulated.ledger")[0]


def test_a_run_counts_with_the_prices_of_a_file_and_records_them_with_its_digest() -> None:
    Path("items.jsonl").write_text(FINE)
    own_prices(output="1500")
    dear = invoke("run", "items.jsonl", "--simulate", *MODEL, "-q", "--prices", "own.json", "--json")
    usual = invoke("run", "items.jsonl", "--simulate", *MODEL, "-q", "--json", "-l", "usual.ledger")
    assert (dear.exit_code, usual.exit_code) == (0, 0)
    assert float(json.loads(dear.stdout)["cost_usd"]) > 50 * float(json.loads(usual.stdout)["cost_usd"])
    (source,) = tables("items.simulated.ledger")
    assert source.startswith("file own.json, SHA-256 ")
    shown = invoke("costs", "items.simulated.ledger").stdout
    assert source not in shown, "64 digits are for the log"
    assert f": {source[:35]}…" in shown


def test_a_preview_counts_with_the_prices_of_a_file() -> None:
    Path("items.jsonl").write_text(FINE)
    own_prices(output="1500")
    result = invoke("check", "items.jsonl", *MODEL, "--prices", "own.json")
    assert result.exit_code == 0
    assert "prices of " in result.stdout
    assert ": file own.json, SHA-256 " in result.stdout


def test_other_prices_can_be_given_later_and_the_same_ones_are_not_recorded_twice(finished: Path) -> None:
    own_prices(output="1500")
    resume = ("resume", "--settle", "0.1", "--poll", "0.1", "-q", "--prices", "own.json")
    before = invoke("costs", "--json").stdout
    assert invoke(*resume).exit_code == 1
    assert invoke("costs", "--json").stdout != before
    assert invoke(*resume).exit_code == 1
    assert [source[:13] for source in tables("items.simulated.ledger")] == [
        tables("items.simulated.ledger")[0][:13],
        "file own.json",
    ]


def test_a_table_with_other_steps_cannot_reprice_what_is_stored(finished: Path) -> None:
    own_prices()
    document = json.loads(Path("own.json").read_text())
    document["models"].append({**document["models"][0], "above_prompt_tokens": 1000})
    write_atomically("own.json", [json.dumps(document).encode()])
    result = invoke("resume", "--settle", "0.1", "-q", "--prices", "own.json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(
        "error: the prices of claude-sonnet-4-6 would change at other prompt lengths\nwhere: own.json\n"
    )
    assert len(tables("items.simulated.ledger")) == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bad.json", "error: the price table cannot be used; nothing was sent\nwhere: bad.json: models\n"),
        ("missing.json", "error: the prices of missing.json cannot be read\nbecause: No such file or directory\n"),
    ],
)
def test_a_file_that_is_no_table_stops_the_run_before_anything_is_sent(name: str, said: str) -> None:
    Path("items.jsonl").write_text(FINE)
    Path("bad.json").write_text('{"models": []}')
    for command in (("run", "items.jsonl", "--simulate", "-q"), ("check", "items.jsonl")):
        result = invoke(*command, *MODEL, "--prices", name)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(said)
