"""A receipt holds for its ledger for ever, and for nothing else."""

from __future__ import annotations

import msgspec
import pytest
from running import LEDGER_ID, START, World

from ledger.core import events as e
from ledger.core.errors import CorruptLogError, UsageError
from ledger.core.receipt import LABELS, Receipt, read_receipt
from ledger.files.receipt import receipt_of, verify_receipt
from ledger.ports import Recorded
from ledger.store.chain import CHAIN_VERSION, GENESIS, link
from ledger.store.memory import Disk, MemoryLog

TEXTS = ["Say one.", "[[simulate:max_tokens]]", "[[simulate:errored:api_error:1]]", "[[simulate:refusal]]", "Five."]


@pytest.fixture(scope="module")
def disk() -> Disk:
    world = World(TEXTS)
    world.run()
    return world.disk


@pytest.fixture
def log(disk: Disk) -> MemoryLog:
    return MemoryLog(disk.cut(len(disk.rows)))


def first_prices(disk: Disk) -> int:
    return next(row.position for row in disk.rows if row.type_name == "prices_quoted")


def rewritten(disk: Disk, position: int, *, chained: bool) -> MemoryLog:
    """The log with one event moved by a microsecond; ``chained`` with all hashes made to follow."""
    copy = disk.cut(len(disk.rows))
    prev = GENESIS
    rows = []
    for row in copy.rows:
        at = row.at + (row.position == position)
        stored = row.hash
        if chained:
            stored = link(CHAIN_VERSION, LEDGER_ID, row.position, prev, at, row.type_name, row.data.encode())
        rows.append(Recorded(row.position, at, row.type_name, row.data, stored))
        prev = stored
    copy.rows[:] = rows
    return MemoryLog(copy)


def test_it_has_ten_lines_and_is_read_back_as_it_was(log: MemoryLog) -> None:
    receipt = receipt_of(log)
    lines = receipt.text().splitlines()
    assert [line[: len(label)] for line, label in zip(lines, LABELS, strict=True)] == list(LABELS)
    assert lines[0].split() == ["ledger", "receipt", "v1", LEDGER_ID, "SIMULATED"]
    assert lines[1].split() == ["head", f"{log.head.position}:{log.head.hash.hex()}"]
    assert lines[2].split() == ["requests", "5"]
    assert lines[3].split(maxsplit=1)[1] == "3 ok, 1 truncated, 1 refused"
    assert lines[6].split(maxsplit=2)[2] == "confirmed: x 0.5 on 4 of 4 billed results"
    assert lines[8].split() == ["tool", "claude-batch-ledger", "test"]
    assert read_receipt(receipt.text(), "r") == receipt


def test_a_receipt_of_any_position_holds_while_the_log_grows(disk: Disk, log: MemoryLog) -> None:
    for position in range(first_prices(disk), len(disk.rows) + 1):
        early = receipt_of(MemoryLog(disk.cut(position)))
        assert early == receipt_of(log, position)
        verified = verify_receipt(log, read_receipt(early.text(), "r"), "items.ledger")
        assert verified.ok, verified.differences
        assert (verified.position, verified.head_position) == (position, len(disk.rows))


def test_pending_requests_are_on_it(disk: Disk, log: MemoryLog) -> None:
    assert receipt_of(log, first_prices(disk)).lines["outcomes"] == "5 pending"


@pytest.mark.parametrize("label", LABELS[2:])
def test_a_line_that_was_changed_is_named_with_both_sides(log: MemoryLog, label: str) -> None:
    receipt = receipt_of(log)
    was = " ".join(receipt.lines[label].split())
    forged = msgspec.structs.replace(receipt, lines={**receipt.lines, label: f"{was}0"})
    verified = verify_receipt(log, read_receipt(forged.text(), "r"), "items.ledger")
    assert [(d.line, d.receipt, d.ledger) for d in verified.differences] == [(label, f"{was}0", was)]
    assert not verified.ok


def test_a_line_that_was_cut_out_is_named(log: MemoryLog) -> None:
    receipt = receipt_of(log)
    text = "\n".join(line for line in receipt.text().splitlines() if not line.startswith("cost"))
    (difference,) = verify_receipt(log, read_receipt(text, "r"), "items.ledger").differences
    assert (difference.line, difference.receipt, difference.ledger) == ("cost", "", receipt.lines["cost"])


def test_a_log_that_was_rewritten_with_all_its_hashes_is_exposed(disk: Disk, log: MemoryLog) -> None:
    receipt = receipt_of(log)
    other = rewritten(disk, 5, chained=True)
    assert receipt_of(other).lines["cost"] == receipt.lines["cost"], "its money is the same, and its chain is sound"
    (difference,) = verify_receipt(other, receipt, "items.ledger").differences
    assert difference.line == "head"
    assert difference.why == "the event here is not the one whose hash was noted: the log was rewritten"


def test_an_event_that_was_changed_before_the_head_is_found_by_its_hash(disk: Disk, log: MemoryLog) -> None:
    changed = rewritten(disk, 5, chained=False)
    (difference,) = verify_receipt(changed, receipt_of(log), "items.ledger").differences
    assert (difference.line, difference.why[:12]) == ("head", "position 5: ")
    with pytest.raises(CorruptLogError):
        receipt_of(changed)


def test_an_event_that_was_changed_behind_the_head_is_no_concern_of_an_older_receipt(disk: Disk) -> None:
    position = first_prices(disk) + 3
    early = receipt_of(MemoryLog(disk.cut(position)))
    assert verify_receipt(rewritten(disk, position + 1, chained=False), early, "items.ledger").ok
    assert not verify_receipt(rewritten(disk, position, chained=False), early, "items.ledger").ok


def test_a_log_whose_tail_is_missing_does_not_reach_the_receipt(disk: Disk, log: MemoryLog) -> None:
    end = len(disk.rows)
    (difference,) = verify_receipt(MemoryLog(disk.cut(end - 1)), receipt_of(log), "items.ledger").differences
    assert difference.why == f"the log ends at {end - 1}, but had reached {end}: its tail is missing"


def test_a_receipt_of_another_ledger_is_told_as_that(log: MemoryLog) -> None:
    receipt = receipt_of(log)
    other = msgspec.structs.replace(receipt, ledger_id="another")
    (difference,) = verify_receipt(log, other, "items.ledger").differences
    assert (difference.line, difference.why) == ("ledger receipt", "the receipt is of another ledger")


def test_without_prices_there_is_no_receipt(disk: Disk) -> None:
    with pytest.raises(UsageError, match="no prices are recorded yet"):
        receipt_of(MemoryLog(disk.cut(first_prices(disk) - 1)))


@pytest.mark.parametrize(
    ("changed", "where", "why"),
    [
        (lambda text: "hello", "r:1", "'hello' is no line of one"),
        (lambda text: text + "\ncost 5 USD", "r:11", "the line 'cost' is there twice"),
        (lambda text: text.replace("head ", "prices ", 1), "r:8", "the line 'prices' is there twice"),
        (lambda text: "\n".join(text.splitlines()[2:]), "r", "it has no line ledger receipt of the right form"),
        (lambda text: "\n".join(text.splitlines()[:1]), "r", "it has no line head of the right form"),
    ],
)
def test_what_is_no_receipt_is_refused_with_the_place(log: MemoryLog, changed: object, where: str, why: str) -> None:
    assert callable(changed)
    with pytest.raises(UsageError) as refused:
        read_receipt(changed(receipt_of(log).text()), "r")
    assert (refused.value.where, refused.value.why) == (where, why)


def test_mail_programs_may_add_blank_lines_and_blanks(log: MemoryLog) -> None:
    text = receipt_of(log).text().replace("\n", "  \r\n\r\n ")
    assert verify_receipt(log, read_receipt(text, "r"), "items.ledger").ok


def test_a_receipt_of_a_later_form_names_what_to_install(log: MemoryLog) -> None:
    text = receipt_of(log).text().replace(" v1 ", " v2 ", 1)
    with pytest.raises(UsageError, match="the receipt has version 2"):
        read_receipt(text, "r")


def test_a_real_run_is_not_said_to_be_simulated() -> None:
    log = MemoryLog(Disk())
    price_table = World(["Say one."]).events(e.PricesQuoted)[0]
    log.append(
        [e.RunOpened(ledger_id="real", origin="https://api.anthropic.com", tool_version="1"), price_table], START
    )
    receipt: Receipt = receipt_of(log)
    assert receipt.lines["ledger receipt"] == "v1 real"
    assert receipt.lines["batch discount"] == "nothing: x 0.5 on 0 of 0 billed results"
