"""Two runs side by side: which items ended otherwise, were answered otherwise, or cost otherwise.

Items are matched by their custom_id, in constant memory: of each item of both runs some hundred bytes (custom_id, side,
digests of what is compared) go through one sorter on disk, and come back as a merge in which the two sides of an item
stand next to each other.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from decimal import Decimal
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from ledger.core.answers import read_row_whole
from ledger.core.columns import FINAL, STATUS_NAMES
from ledger.core.costs import cost_report, plain
from ledger.core.prices import EXACT, TIER_BATCH, Pricer
from ledger.core.reuse import reuse_of
from ledger.core.spending import cost_groups
from ledger.core.state import RunState
from ledger.files.export import all_items
from ledger.store.sorting import SortedSpool
from ledger.store.sqlite import SqliteLog

Kind: TypeAlias = Literal["outcome", "answer", "only_a", "only_b"]
SAME = "same"
PENDING_OUTCOME = "pending"
_BEHIND_ALL = 1 << 62


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two runs; ``cost_usd`` is what all of it cost, None where a price is not known or recorded."""

    ledger: str
    ledger_id: str
    simulated: bool
    position: int
    asked: int
    pending: int
    models: tuple[str, ...]
    outcomes: dict[str, int]
    cost_usd: Decimal | None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """An item that is not the same on both sides; what a side lacks is None.

    ``asked_alike`` is whether both requests are the same, byte for byte, model and parameters included. ``cost_a_usd``
    and ``cost_b_usd`` are what the last result of the item cost, as in ``ledger results``.
    """

    custom_id: str
    kind: Kind
    asked_alike: bool | None
    outcome_a: str | None
    outcome_b: str | None
    stop_reason_a: str | None
    stop_reason_b: str | None
    cost_a_usd: str | None
    cost_b_usd: str | None


class RunDiff(msgspec.Struct, frozen=True, kw_only=True):
    """Two runs compared.

    ``same`` counts items with the same outcome and the same answer, ``answer`` those with the same outcome and another
    text, stop reason or tool call, ``outcome`` those with another outcome. ``asked_otherwise`` counts items of both
    whose requests are not the same. ``moved`` says how many items went from which outcome to which.
    ``both_cost_a_usd`` and ``both_cost_b_usd`` are what the last results of the items that both have cost, None where a
    price is not known. ``first`` are the first differences in the order of the first run; those that only the second
    has come last.
    """

    a: Side
    b: Side
    both: int
    same: int
    answer: int
    outcome: int
    only_a: int
    only_b: int
    asked_otherwise: int
    moved: dict[str, int]
    both_cost_a_usd: Decimal | None
    both_cost_b_usd: Decimal | None
    first: tuple[Difference, ...]

    @property
    def is_same(self) -> bool:
        """Whether both runs have the same items, outcomes and texts."""
        return not (self.answer or self.outcome or self.only_a or self.only_b)


class _Item(NamedTuple):
    """What is compared of an item on one side; what a digest is of never leaves the process."""

    custom_id: str
    side: int
    place: int
    outcome: str
    request: bytes
    answer: bytes
    stop_reason: str | None
    cost_usd: str | None


def diff_runs(
    a: tuple[SqliteLog, RunState],
    b: tuple[SqliteLog, RunState],
    names: tuple[str, str],
    *,
    top: int,
    write: Callable[[Iterator[Difference]], Any] | None = None,
) -> RunDiff:
    """Return how two runs differ.

    Args:
        a: one run.
        b: the other.
        names: how their ledgers are called.
        top: how many differences are kept, at most.
        write: is given every difference, in the order of their custom_ids, and must take them all.
    """
    tally = _Tally(top)
    with SortedSpool(len(_Item._fields)) as spool:
        for side, (log, state) in enumerate((a, b)):
            spool.add(_rows(log, state, side))
        found = tally.differences(spool.sorted())
        if write is not None:
            write(found)
        for _ in found:  # what nobody wanted to have written
            pass
    return tally.result(_side(a[1], names[0]), _side(b[1], names[1]))


def _rows(log: SqliteLog, state: RunState, side: int) -> Iterator[_Item]:
    """Yield what is compared of each item, in the order of the input."""
    pricer = Pricer(state.prices) if state.prices is not None else None
    columns, classes = state.columns, state.classes
    requests = _params(log, state)
    for place, (ordinal, custom_id, row) in enumerate(all_items(log, state)):
        status = columns.status[ordinal]
        outcome = STATUS_NAMES[status] if status >= FINAL else PENDING_OUTCOME
        request = sha256(next(params for at, params in requests if at == ordinal)).digest()
        read = read_row_whole(row) if row is not None else None
        if row is None or read is None:
            yield _Item(custom_id, side, place, outcome, request, b"", None, None)
            continue
        answer = read.answer
        cost: str | None = "0"
        if answer.usage is not None and answer.billed and reuse_of(state, ordinal) is None:
            model = answer.model or classes[columns.class_id[ordinal]].model
            is_batch = answer.tier in (TIER_BATCH, "")
            cost = pricer.usd_text(model, answer.usage, batch=is_batch, geo=answer.geo) if pricer is not None else None
        digest = sha256(_said(row, read.text)).digest()
        yield _Item(custom_id, side, place, outcome, request, digest, answer.stop_reason or None, cost)


def _params(log: SqliteLog, state: RunState) -> Iterator[tuple[int, bytes]]:
    ordinals = range(len(state.columns))
    for ordinal, payload in zip(ordinals, log.request_payloads(ordinals), strict=True):
        yield ordinal, payload.params


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"null")


class _Message(msgspec.Struct, gc=False):
    content: list[_Block] = []


class _Result(msgspec.Struct, gc=False):
    message: _Message | None = None


class _Row(msgspec.Struct, gc=False):
    result: _Result


_decode_row = msgspec.json.Decoder(_Row).decode
_canonical = msgspec.json.Encoder(order="sorted").encode


def _said(row: bytes, text: str | None) -> bytes:
    """Return what an answer says: its text, and the tools it calls with what; no ids, no thoughts, no signatures."""
    said = [(text or "").encode("utf-8", "surrogatepass")]
    if b"tool_use" in row:
        message = _decode_row(row).result.message
        calls = [block for block in message.content if block.type == "tool_use"] if message is not None else []
        said += [_canonical([call.name, msgspec.json.decode(call.input)]) for call in calls]
    return b"\0".join(said)


class _Tally:
    """Counts while the merge goes by, and keeps the first differences."""

    def __init__(self, top: int) -> None:
        self._top = top
        self._first: list[tuple[int, int, Difference]] = []  # a heap of the largest place first
        self._moved: dict[str, int] = {}
        self._counts: dict[str, int] = dict.fromkeys((SAME, "answer", "outcome", "only_a", "only_b"), 0)
        self._asked_otherwise = 0
        self._costs: list[Decimal | None] = [Decimal(0), Decimal(0)]

    def differences(self, rows: Iterator[tuple[Any, ...]]) -> Iterator[Difference]:
        """Yield the differences of a merge of both sides."""
        for order, (_, sides) in enumerate(groupby(map(_Item._make, rows), key=itemgetter(0))):
            by_side = {item.side: item for item in sides}
            mine, theirs = by_side.get(0), by_side.get(1)
            kind = self._kind(mine, theirs)
            self._counts[kind or SAME] += 1
            if mine is not None and theirs is not None:
                self._add_costs(mine.cost_usd, theirs.cost_usd)
                self._asked_otherwise += mine.request != theirs.request
            if kind is None:
                continue
            difference = _difference(kind, mine, theirs)
            place = mine.place if mine is not None else _BEHIND_ALL + (theirs.place if theirs is not None else 0)
            self._keep(place, order, difference)
            yield difference

    def _kind(self, mine: _Item | None, theirs: _Item | None) -> Kind | None:
        if mine is None or theirs is None:
            return "only_b" if mine is None else "only_a"
        if mine.outcome != theirs.outcome:
            moved = f"{mine.outcome} → {theirs.outcome}"
            self._moved[moved] = self._moved.get(moved, 0) + 1
            return "outcome"
        return None if (mine.answer, mine.stop_reason) == (theirs.answer, theirs.stop_reason) else "answer"

    def _add_costs(self, *costs: str | None) -> None:
        for side, cost in enumerate(costs):
            total = self._costs[side]
            if total is not None:
                self._costs[side] = EXACT.add(total, Decimal(cost)) if cost is not None else None

    def _keep(self, place: int, order: int, difference: Difference) -> None:
        entry = (-place, -order, difference)
        if len(self._first) < self._top:
            heapq.heappush(self._first, entry)
        elif self._top:
            heapq.heappushpop(self._first, entry)

    def result(self, a: Side, b: Side) -> RunDiff:
        """Return what was counted."""
        counts = self._counts
        totals = [plain(total) if total is not None else None for total in self._costs]
        return RunDiff(
            a=a,
            b=b,
            both=counts[SAME] + counts["answer"] + counts["outcome"],
            same=counts[SAME],
            answer=counts["answer"],
            outcome=counts["outcome"],
            only_a=counts["only_a"],
            only_b=counts["only_b"],
            asked_otherwise=self._asked_otherwise,
            moved=dict(sorted(self._moved.items(), key=lambda moved: (-moved[1], moved[0]))),
            both_cost_a_usd=totals[0],
            both_cost_b_usd=totals[1],
            first=tuple(difference for _, _, difference in sorted(self._first, reverse=True)),
        )


def _difference(kind: Kind, mine: _Item | None, theirs: _Item | None) -> Difference:
    one = mine or theirs
    assert one is not None
    return Difference(
        custom_id=one.custom_id,
        kind=kind,
        asked_alike=mine.request == theirs.request if mine is not None and theirs is not None else None,
        outcome_a=mine.outcome if mine is not None else None,
        outcome_b=theirs.outcome if theirs is not None else None,
        stop_reason_a=mine.stop_reason if mine is not None else None,
        stop_reason_b=theirs.stop_reason if theirs is not None else None,
        cost_a_usd=mine.cost_usd if mine is not None else None,
        cost_b_usd=theirs.cost_usd if theirs is not None else None,
    )


def _side(state: RunState, ledger: str) -> Side:
    report = cost_report(state.prices, cost_groups(state)) if state.prices is not None else None
    return Side(
        ledger=ledger,
        ledger_id=state.ledger_id,
        simulated=state.origin == "simulator",
        position=state.position,
        asked=state.asked,
        pending=state.unfinished,
        models=tuple(sorted({one.model for one in state.classes})),
        outcomes={outcome: count for outcome, count in state.outcomes.items() if count},
        cost_usd=report.total.cost_usd if report is not None else None,
    )
