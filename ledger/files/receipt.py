"""Receipts made from a log, and held against it again: every event up to the head on it is folded and its hash checked.

What the log says after that head is of no concern to an older receipt. Payloads are not read; that is the audit's work.
"""

from __future__ import annotations

from ledger.core import events as e
from ledger.core.costs import cost_report
from ledger.core.errors import CorruptLogError, UsageError
from ledger.core.evolve import evolve
from ledger.core.receipt import Difference, Receipt, Verification, differences, make_receipt
from ledger.core.spending import cost_groups
from ledger.core.state import RunState
from ledger.ports import EventLog
from ledger.store.chain import CHAIN_VERSION, GENESIS, link


def receipt_of(log: EventLog, position: int | None = None) -> Receipt:
    """Return the receipt of a log at a position, at its end by default; about 5 µs an event.

    Raises:
        UsageError: no prices were recorded until then.
        CorruptLogError: an event is not the one that was written, or not allowed.
    """
    state, tool, last = RunState(), "", GENESIS
    ledger_id = log.ledger_id
    for number, row in enumerate(log.read(0, log.head.position if position is None else position), 1):
        follows = link(CHAIN_VERSION, ledger_id, number, last, row.at, row.type_name, row.data.encode()) == row.hash
        if row.position != number or not follows:
            raise CorruptLogError(
                "the event is not the one that was written, or one is missing",
                where=f"position {number}",
                next="ledger replay --audit",
            )
        event = e.decode(row.type_name, row.data)
        evolve(state, row.position, row.at, event)
        if isinstance(event, e.WriterOpened):
            tool = event.tool_version
        last = row.hash
    if state.prices is None:
        raise UsageError("no prices are recorded yet: nothing was sent, and nothing can be receipted")
    report = cost_report(state.prices, cost_groups(state))
    return make_receipt(state, report, last, tool)


def verify_receipt(log: EventLog, receipt: Receipt, ledger: str) -> Verification:
    """Return whether every line of a receipt holds for a log.

    Args:
        log: the log.
        receipt: the receipt, as it was read.
        ledger: how the ledger is called.
    """
    end = log.head.position
    found = _problem_with_head(log, receipt, end)
    if not found:
        try:
            found = differences(receipt, receipt_of(log, receipt.position))
        except (CorruptLogError, UsageError) as problem:
            where = f"{problem.where}: " if problem.where else ""
            found = (_head(receipt, "", f"{where}{problem.what}"),)
    return Verification(ok=not found, ledger=ledger, position=receipt.position, head_position=end, differences=found)


def _problem_with_head(log: EventLog, receipt: Receipt, end: int) -> tuple[Difference, ...]:
    if log.ledger_id != receipt.ledger_id:
        why = "the receipt is of another ledger"
        return (Difference(line="ledger receipt", receipt=receipt.ledger_id, ledger=log.ledger_id, why=why),)
    if receipt.position > end:
        why = f"the log ends at {end}, but had reached {receipt.position}: its tail is missing"
        return (_head(receipt, f"{end}:{log.head.hash.hex()}", why),)
    row = next(iter(log.read(receipt.position - 1, receipt.position)), None)
    if row is None or row.hash.hex() != receipt.hash:
        there = f"{receipt.position}:{row.hash.hex()}" if row is not None else ""
        return (_head(receipt, there, "the event here is not the one whose hash was noted: the log was rewritten"),)
    return ()


def _head(receipt: Receipt, ledger: str, why: str) -> Difference:
    return Difference(line="head", receipt=f"{receipt.position}:{receipt.hash}", ledger=ledger, why=why)
