"""A memo of the fold at a position: disposable, never believed by the audit, which folds from zero and compares."""

from __future__ import annotations

from typing import cast

import msgspec

from ledger.core import events as e
from ledger.core.columns import Columns, OrdinalQueue
from ledger.core.items import Defaults
from ledger.core.prices import Pricer, PriceTable
from ledger.core.state import Chunk, Failure, Reuse, RunState, Source, SpentKey, Warmth

MEMO_VERSION = 10
"""Raised whenever what a state holds changes: memos of other versions are not read."""


class _Memo(msgspec.Struct, kw_only=True):
    memo_version: int
    position: int
    at: int
    opened_at: int
    format_version: int
    ledger_id: str
    origin: str
    workspace: str
    epoch: int
    defaults: Defaults
    policy: e.Policy
    prices: PriceTable | None
    sources: dict[int, Source]
    classes: list[e.ClassDeclared]
    class_requests: list[int]
    class_bytes: list[int]
    reuses: dict[int, Reuse]
    reused: dict[int, int]
    amended: int
    deleted: list[str]
    asked: int
    outcomes: dict[e.Outcome, int]
    chunks: dict[int, Chunk]
    last_chunk: int
    by_status: dict[str, list[int]]
    stored: dict[int, dict[str, int]]
    batches: dict[str, int]
    inspected: dict[str, e.CandidateInspected]
    twins: dict[str, e.TwinFound]
    acknowledged: dict[str, e.TwinFound]
    cancels: dict[str, bool]
    pauses: dict[str, e.RunPaused]
    failures: dict[str, Failure]
    queue_full_at: int
    queue_full_ended: int
    ended_batches: int
    expired_batches: int
    polled_at: int
    listed_at: int
    listed_position: int
    collected_position: int
    server_date: int
    budget: e.BudgetSet | None
    canary: e.CanaryJudged | None
    canary_chunk: int
    warmth: dict[str, Warmth]
    released_outcomes: dict[str, int]
    errors: dict[str, list[int]]
    unmetered: list[int]
    findings: int
    alarms: dict[str, e.AlarmRaised]
    recovered_position: int
    finished: e.RunFinished | None
    finished_at: int
    # what is packed
    columns: list[bytes]
    fresh: dict[int, list[int]]
    retries: dict[int, list[int]]
    spent: list[tuple[SpentKey, list[int]]]


_PACKED = {"memo_version", "columns", "fresh", "retries", "spent", "by_status"}
_PLAIN = [field for field in _Memo.__struct_fields__ if field not in _PACKED]
_encode = msgspec.msgpack.Encoder().encode  # dicts in the order of insertion, which the log decides
_decode = msgspec.msgpack.Decoder(_Memo).decode


def dump(state: RunState) -> bytes:
    """Return a state as bytes: equal states give equal bytes."""
    return _encode(
        _Memo(
            memo_version=MEMO_VERSION,
            columns=cast("list[bytes]", state.columns.dump()),  # encoded alike, and not copied before
            fresh={priority: queue.dump() for priority, queue in state.fresh.items()},
            retries={priority: queue.dump() for priority, queue in state.retries.items()},
            spent=list(state.spent.items()),
            by_status={status: list(members) for status, members in state.by_status.items()},
            **{field: getattr(state, field) for field in _PLAIN},
        )
    )


def load(data: bytes) -> RunState | None:
    """Return the state that was dumped, or None when the memo is of another version or not readable."""
    try:
        memo = _decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None
    if memo.memo_version != MEMO_VERSION:
        return None
    state = RunState()
    for field in _PLAIN:
        setattr(state, field, getattr(memo, field))
    state.pricer = Pricer(memo.prices) if memo.prices is not None else None
    state.columns = Columns.load(memo.columns)
    state.fresh = {priority: OrdinalQueue(ranges) for priority, ranges in memo.fresh.items()}
    state.retries = {priority: OrdinalQueue(ranges) for priority, ranges in memo.retries.items()}
    state.spent = dict(memo.spent)
    state.by_status = {
        status: {number: state.chunks[number] for number in members} for status, members in memo.by_status.items()
    }
    return state
