"""What can go wrong between a client and the service, as data: scripted by call, or seeded by rate.

    --faults '{"faults": [{"operation": "create", "call": 2, "kind": "drop"},
                          {"operation": "results", "rate": 0.1, "kind": "cut", "bytes": 5000}],
               "list_lag_seconds": 30}'

Several faults may meet in one call: all traits and row faults apply, and the first that refuses or spoils wins. Each
kind stands for something that was seen, or that nothing documented rules out; the constants below say which.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal, get_args

import msgspec

from ledger.service.simulator.refusals import NAMED_REFUSALS, RefusalError

Operation = Literal["create", "retrieve", "list", "results", "cancel", "delete", "report", "any"]
Framing = Literal["length", "chunked", "close"]

# Instead of carrying the call out.
RefusingKind = Literal[
    "refuse",  # an error status, and nothing was done: `error` names one of NAMED_REFUSALS, or `status` is given
]
# After the call was carried out (or, with `carried_out` false, as if it had been): the answer is lost or false. One
# create() of a client with default retries can so become three live batches (SDK 2.12 `_base_client.py` retries
# all of these; there is no idempotency key for this endpoint).
SpoilingKind = Literal[
    "drop",  # the connection is closed without an answer
    "status",  # an error status although the call was carried out: 408, 409, 499, 500, 503, 504, 529, or an HTML 502
    "hang",  # no answer for `seconds`; clients meet their own time-out first
    "cut",  # the answer stops after `bytes` bytes, and the connection closes
    "wrong_counts",  # 2xx, and request_counts sum to `requests` more than were sent
    "empty",  # 2xx with {}: the SDK builds a MessageBatch whose id is None, without an exception
    "html",  # 2xx with text/html, as a captive portal or proxy does: the SDK returns a str
]
# Traits of the batch that a create makes.
TraitKind = Literal[
    "late",  # the batch materialises `seconds` after the call; until then it does not exist
    "slow_list",  # the batch is listed only `seconds` after its creation; immediate visibility is not documented
    "turnaround",  # the batch takes `seconds`; more than 24 hours makes some of its requests expire
    "never_ends",  # stays in_progress, beyond expires_at too
    "expire",  # a `share` of the requests expires: what was not sent to the model in time (batch guide)
    "deleted",  # somebody deletes the batch `seconds` after its end; any key of the workspace can
    "archived",  # results become unavailable `seconds` after creation instead of 29 days
    "stranger",  # somebody else makes a batch of `requests` (0: of the same size) `seconds` after this call
]
# Of a results stream.
RowKind = Literal[
    "short",  # `rows` rows are missing, and the stream ends properly
    "blank_line",  # a blank line in the JSONL, which the SDK's decoder does not survive
    "line_separators",  # raw U+2028 and U+0085 in texts: legal JSON that readers of "lines" split
    "duplicate_row",  # a row comes twice
    "foreign_row",  # a row with a custom_id that was never submitted
    "corrupt_row",  # a row is not JSON
    "unknown_type",  # a row with a result type nobody knows yet
    "gzip",  # Content-Encoding: gzip
    "framing",  # how the end is told: content-length, chunked, or only by closing (`framing`)
]
Kind = Literal[RefusingKind, SpoilingKind, TraitKind, RowKind]

SPOILING = frozenset(get_args(SpoilingKind))
# A fault that could never happen is a mistake of whoever wrote it, and is refused.
_ALLOWED: dict[str, frozenset[str]] = {
    **dict.fromkeys(get_args(TraitKind), frozenset({"create"})),
    **dict.fromkeys(get_args(RowKind), frozenset({"results"})),
    "wrong_counts": frozenset({"create", "retrieve", "cancel"}),
}


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that goes wrong, and when.

    Args:
        operation: the call it happens to.
        kind: what happens; see the literals of this module.
        call: the number of the call of that operation, from 1; 0 for any call.
        calls: how many calls in a row, from ``call`` on.
        rate: with ``call`` 0 the seeded share of calls; 1 for every call.
        error: for ``refuse`` and ``status``: a name of ``NAMED_REFUSALS``.
        status: for ``refuse`` and ``status`` without ``error``: the HTTP status.
        retry_after_seconds: the ``retry-after`` header of a refusal; absent by default, as on a spend cap.
        carried_out: for spoiling kinds: false if the call has no effect at all (the other half of every ambiguity).
        seconds: see the kind.
        bytes: for ``cut``: how many bytes of the body are sent.
        rows: for ``short``: how many rows are missing.
        requests: for ``stranger`` and ``wrong_counts``.
        share: for ``expire``.
        framing: for ``framing``, and for ``cut`` of results: how the client could know that something is missing.
    """

    operation: Operation
    kind: Kind
    call: int = 0
    calls: int = 1
    rate: float = 1.0
    error: str = ""
    status: int = 500
    retry_after_seconds: float | None = None
    carried_out: bool = True
    seconds: float = 0.0
    bytes: int = 40
    rows: int = 1
    requests: int = 0
    share: float = 0.5
    framing: Framing | None = None

    def __post_init__(self) -> None:
        if self.error and self.error not in NAMED_REFUSALS:
            raise ValueError(f"{self.error!r} is no refusal; choose one of {', '.join(sorted(NAMED_REFUSALS))}")
        allowed = _ALLOWED.get(self.kind)
        if allowed is not None and self.operation not in allowed:
            raise ValueError(f"{self.kind!r} happens to {' or '.join(sorted(allowed))}, not to {self.operation!r}")
        if not self.carried_out and self.kind not in ("drop", "hang", "status", "empty", "html"):
            raise ValueError(f"{self.kind!r} needs a call that is carried out")

    def refusal(self) -> RefusalError:
        """Return the error answer of a ``refuse`` or ``status`` fault."""
        if not self.error:
            return RefusalError(
                self.status, "The simulator was asked to fail.", retry_after_seconds=self.retry_after_seconds
            )
        return NAMED_REFUSALS[self.error](retry_after_seconds=self.retry_after_seconds)


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that goes wrong in one simulated service.

    Args:
        faults: by call or by rate.
        clock_offset_seconds: how far the server's clock is ahead; ``Date`` and all timestamps of batches follow it.
        list_lag_seconds: every batch is listed only so long after its creation. Immediate visibility is nowhere
            documented.
        results_framing: how the end of results is told. That of the real service is not documented.
    """

    faults: tuple[Fault, ...] = ()
    clock_offset_seconds: float = 0.0
    list_lag_seconds: float = 0.0
    results_framing: Framing = "chunked"

    def is_scripted(self, operation: Operation) -> bool:
        """Return whether some fault waits for a call of this operation by number."""
        return any(fault.call and fault.operation in (operation, "any") for fault in self.faults)

    def matching(self, operation: Operation, call_number: int, seed: int) -> tuple[Fault, ...]:
        """Return the faults that meet this call.

        Args:
            operation: what is called.
            call_number: counted from 1 over all calls of this operation.
            seed: decides which calls a rate hits; the same for every run.
        """
        return tuple(
            fault
            for index, fault in enumerate(self.faults)
            if fault.operation in (operation, "any") and _hits(fault, index, operation, call_number, seed)
        )


NO_FAULTS = Faults()


def _hits(fault: Fault, index: int, operation: str, call_number: int, seed: int) -> bool:
    if fault.call:
        return fault.call <= call_number < fault.call + fault.calls
    draw = blake2b(f"{seed}/{index}/{operation}/{call_number}".encode(), digest_size=4).digest()
    return int.from_bytes(draw, "little") < fault.rate * 2**32


def parse_faults(text: str | bytes) -> Faults:
    """Return the faults of a JSON text.

    Raises:
        ValueError: the text is no JSON, or names something that does not exist.
    """
    return msgspec.json.decode(text, type=Faults)
