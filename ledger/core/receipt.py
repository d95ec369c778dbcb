"""A receipt: ten lines that say what a run came to at a position of its log, for a ticket or an invoice.

Every line can be worked out again from the log up to that position, by any later version; the head on it is a copy that
lies outside of the ledger, so that it also exposes somebody who rewrites the ledger together with what lies beside it.
The form has a version and does not change within it.
"""

from __future__ import annotations

import re
from decimal import Decimal

import msgspec

from ledger.core.costs import CostReport, Discount, plain
from ledger.core.errors import UsageError
from ledger.core.reuse import reused_count
from ledger.core.state import RunState
from ledger.core.units import format_instant

RECEIPT_VERSION = 1
TOOL = "claude-batch-ledger"

LABELS = (
    "ledger receipt",
    "head",
    "requests",
    "outcomes",
    "cost",
    "standard price",
    "batch discount",
    "prices",
    "tool",
    "last event",
)
_WIDTH = max(map(len, LABELS)) + 2
_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})", re.ASCII)
_FIRST = re.compile(r"v([0-9]+) ([0-9a-zA-Z_-]+)(?: SIMULATED)?", re.ASCII)


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What a receipt says: ``position`` and ``hash`` (hex) are its head, ``lines`` its text by label."""

    ledger_id: str
    position: int
    hash: str
    lines: dict[str, str]

    def text(self) -> str:
        """Return the ten lines, without a line end."""
        return "\n".join(f"{label:<{_WIDTH}}{self.lines.get(label, '')}".rstrip() for label in LABELS)


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A line that does not hold: as the receipt has it, as the ledger has it, and why where that needs words."""

    line: str
    receipt: str
    ledger: str
    why: str = ""


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a receipt: ``ok`` is whether every line of it holds. ``head_position`` is where the log is now."""

    ok: bool
    ledger: str
    position: int
    head_position: int
    differences: tuple[Difference, ...]


def make_receipt(state: RunState, report: CostReport, head_hash: bytes, tool_version: str) -> Receipt:
    """Return the receipt of a state.

    Args:
        state: the run at the position of the receipt.
        report: what it cost there, with the recorded prices.
        head_hash: the hash of the event at that position.
        tool_version: the version that wrote last before it.
    """
    total = report.total
    simulated = " SIMULATED" if state.origin == "simulator" else ""
    values = (
        f"v{RECEIPT_VERSION} {state.ledger_id}{simulated}",
        f"{state.position}:{head_hash.hex()}",
        str(state.asked),
        _outcomes(state),
        _usd(total.cost_usd),
        f"{_usd(total.standard_usd)}, saved {_usd(total.saved_usd)}",
        _discount(report.discount),
        f"{report.quoted_on} {report.source}",
        f"{TOOL} {tool_version}",
        format_instant(state.at),
    )
    return Receipt(
        ledger_id=state.ledger_id,
        position=state.position,
        hash=head_hash.hex(),
        lines=dict(zip(LABELS, values, strict=True)),
    )


def read_receipt(text: str, name: str) -> Receipt:
    """Return the receipt that a text holds; blank lines and blanks at the ends of lines do not matter.

    Args:
        text: the receipt.
        name: what its file is called.

    Raises:
        UsageError: it is no receipt, or one of a newer version.
    """
    lines: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        label = next((label for label in LABELS if line.strip().startswith(f"{label} ")), None)
        if label is None:
            raise _no_receipt(f"{name}:{number}", f"{line.strip()[:60]!r} is no line of one")
        if label in lines:
            raise _no_receipt(f"{name}:{number}", f"the line {label!r} is there twice")
        lines[label] = " ".join(line.strip()[len(label) :].split())
    first, head = _FIRST.fullmatch(lines.get(LABELS[0], "")), _HEAD.fullmatch(lines.get("head", ""))
    if first is None or head is None:
        raise _no_receipt(name, f"it has no line {'head' if first else LABELS[0]} of the right form")
    if int(first[1]) > RECEIPT_VERSION:
        raise UsageError(
            f"the receipt has version {first[1]}, this program knows {RECEIPT_VERSION}",
            where=name,
            next=f"pip install --upgrade {TOOL}",
        )
    return Receipt(ledger_id=first[2], position=int(head[1]), hash=head[2], lines=lines)


def differences(receipt: Receipt, actual: Receipt) -> tuple[Difference, ...]:
    """Return every line in which a receipt differs from what the ledger comes to at its position."""
    return tuple(
        Difference(line=label, receipt=receipt.lines.get(label, ""), ledger=_one_spaced(actual.lines[label]))
        for label in LABELS
        if receipt.lines.get(label) != _one_spaced(actual.lines[label])
    )


def _one_spaced(text: str) -> str:
    return " ".join(text.split())


def _outcomes(state: RunState) -> str:
    counts = [f"{count} {outcome}" for outcome, count in state.outcomes.items() if count]
    if state.unfinished:
        counts.append(f"{state.unfinished} pending")
    reused = reused_count(state)
    return (", ".join(counts) or "none") + (f"; {reused} of them reused from other ledgers" if reused else "")


def _usd(amount: Decimal | None) -> str:
    return "unknown" if amount is None else f"{plain(amount):f} USD"


def _discount(discount: Discount) -> str:
    billed = discount.batch_requests + discount.unstated_requests + discount.other_requests
    return f"{discount.verdict}: x {discount.factor} on {discount.batch_requests} of {billed} billed results"


def _no_receipt(where: str, why: str) -> UsageError:
    return UsageError(
        "this is no receipt of a ledger",
        where=where,
        why=why,
        next="ledger receipt LEDGER -o FILE writes one",
    )
