"""``ledger show``: the story of one item."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path

from commanding import MODEL, invoke

from ledger.ledger import Ledger
from ledger.loading import load_state
from ledger.service.simulator.faults import Fault, Faults
from ledger.service.simulator.settings import CALM, Settings
from ledger.showing import show_item
from ledger.store.sqlite import SqliteLog

LEDGER = "items.simulated.ledger"


def told(text: str) -> str:
    """A screen without what differs from run to run: instants, ids, the directory."""
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "THEN", text)
    text = re.sub(r"msgbatch_\w+", "BATCH", text)
    text = re.sub(r"\b(\d)-[0-9a-z]{10}-", r"\1-NONCE-", text)
    return re.sub(r"read from  .*/", "read from  HERE/", text)


def test_an_item_is_told_from_its_line_to_its_answer(finished: Path) -> None:
    result = invoke("show", "teapot")
    assert (result.exit_code, result.stderr) == (0, "")
    assert told(result.stdout) == (
        "item       teapot, request 1 of items.simulated.ledger\n"
        "outcome    refused\n"
        "read from  HERE/items.jsonl:2\n"
        "asks       claude-sonnet-4-6, at most 200 tokens, 172 B\n"
        "attempts   1\n"
        "cost       $0.00\n"
        "SIMULATED: no service was asked, nothing was spent, the answers are made up\n"
        "\n"
        "sending 1\n"
        "  batch     BATCH (chunk 1, submission 1)\n"
        "  sent as   1-NONCE-teapot\n"
        "  from, to  THEN to THEN\n"
        "  became    refused (refusal), 32 tokens in, 1 out, not billed\n"
        "\n"
        "THEN  read from line 2, 172 bytes on the wire\n"
        "THEN  put into chunk 1 with 2 others\n"
        "THEN  chunk 1 may be sent, submission 1\n"
        "THEN  batch BATCH created\n"
        "THEN  batch BATCH is ended\n"
        "THEN  result stored: refused\n"
        "THEN  batch BATCH collected: 3 rows\n"
        "\n"
        "request\n"
        "  Describe a teapot. [[simulate:refusal]]\n"
    )
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_for_programs_the_request_and_the_row_are_as_they_were_sent(finished: Path) -> None:
    story = json.loads(invoke("show", "kettle", "--json").stdout)
    raw = json.loads(invoke("results", "--raw").stdout.splitlines()[0])
    (answer, *_) = map(json.loads, invoke("results").stdout.splitlines())
    (sending,) = story["sendings"]
    assert story["params"]["messages"] == [{"role": "user", "content": "Describe a kettle."}]
    assert sending["row"]["result"] == raw["result"]
    assert sending["row"]["custom_id"] == sending["wire_id"]
    assert (story["text"], story["cost_usd"]) == (answer["text"], answer["cost_usd"])
    assert [step["event"] for step in story["history"]].count("item_deduplicated") == story["repetitions"] == 1


def test_the_id_of_the_services_console_names_the_item_too(finished: Path) -> None:
    wire_id = json.loads(invoke("show", "cup", "--json").stdout)["sendings"][0]["wire_id"]
    assert json.loads(invoke("show", wire_id, "--json").stdout)["custom_id"] == "cup"
    forged = wire_id[:2] + ("0" if wire_id[2] != "0" else "1") + wire_id[3:]
    assert invoke("show", forged).exit_code == 2


def test_a_long_text_is_cut_unless_all_of_it_is_wanted(tmp_path: Path) -> None:
    prompt = "Describe a kettle. " * 100
    (tmp_path / "items.jsonl").write_text(json.dumps({"id": "x", "prompt": prompt}) + "\n")
    invoke("run", "items.jsonl", "--simulate", *MODEL, "-q")
    cut, full = (
        invoke("show", "x", *more).stdout.split("\nrequest\n")[1].split("\n\n")[0] for more in ((), ("--full",))
    )
    assert cut.splitlines()[-1] == "  … 1,900 characters in all (--full shows them)"
    assert full.split() == prompt.split()
    assert max(map(len, full.splitlines())) <= 80


def test_an_unknown_id_is_answered_with_the_one_that_was_meant(finished: Path) -> None:
    for typed, meant in (("ketle", "did you mean kettle? "), ("CUP", "did you mean cup? "), ("zebra", "")):
        result = invoke("show", typed)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.splitlines()[0] == f"error: there is no item {typed!r}"
        assert result.stderr.splitlines()[-1] == f"next: {meant}ledger results --all names all"


def test_an_item_without_an_answer_yet_is_told_as_far_as_it_got(finished: Path) -> None:
    story = Ledger(LEDGER).show("kettle")
    with SqliteLog.open_reader(LEDGER) as log:
        sealed = next(step.position for step in story.history if step.event == "chunk_sealed")
        early = show_item(log, load_state(log, sealed), "kettle", LEDGER)
    assert (early.outcome, early.text, early.cost_usd) == ("pending", None, Decimal(0))
    assert [step.event for step in early.history][-1] == "chunk_sealed"
    assert [(sending.became, sending.batch, sending.row) for sending in early.sendings] == [("sealed", "", None)]


def test_every_attempt_is_told_with_its_batch_and_its_cost(tmp_path: Path) -> None:
    """An expired item is asked again: two sendings, of which the second has the answer."""
    (tmp_path / "two.jsonl").write_text('{"id": "a", "prompt": "A"}\n{"id": "b", "prompt": "B"}\n')
    expiring = Faults(faults=(Fault(operation="create", call=1, kind="expire", share=1.0),))
    ledger = Ledger("two.ledger", simulate=True, settings=Settings(mix=CALM, faults=expiring))
    assert ledger.run("two.jsonl", model="claude-haiku-4-5", max_tokens=100).exit_code == 0
    story = ledger.show("b")
    assert [sending.became for sending in story.sendings] == ["expired", "ok"]
    assert len({sending.batch for sending in story.sendings}) == 2
    assert story.attempts == 2
    assert story.cost_usd == story.sendings[1].cost_usd
    assert "result stored: expired; it is asked again" in invoke("show", "b", "-l", "two.ledger").stdout


def test_a_prompt_cannot_steer_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(json.dumps({"id": "x", "prompt": "a\x1b[2Jb"}) + "\n")
    invoke("run", "items.jsonl", "--simulate", *MODEL, "-q")
    assert "\n  a\\x1b[2Jb\n" in invoke("show", "x").stdout
