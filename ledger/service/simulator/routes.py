"""From an HTTP call to the service's answer, for both fronts: routes, headers, faults.

A front reads a whole body before it calls here (a body that falls short of its Content-Length was never received:
RFC 9112, 6.3), and plays the answer: the pieces, and what cuts them short.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import blake2b
from typing import Any, Literal

import msgspec

from ledger.core.units import MICROSECONDS_PER_SECOND
from ledger.service.simulator.bill import draw_bill
from ledger.service.simulator.core import PAGE_DEFAULT, Batch, Simulator
from ledger.service.simulator.count import count_tokens
from ledger.service.simulator.envelope import Envelope, parse_envelope
from ledger.service.simulator.faults import SPOILING, Fault, Framing, Operation
from ledger.service.simulator.records import Traits
from ledger.service.simulator.refusals import NAMED_REFUSALS, RefusalError
from ledger.service.simulator.reports import REPORTS
from ledger.service.simulator.streams import in_pieces, result_rows

_PATH = re.compile(r"/v1/messages/batches(?:/([^/]+)(?:/(cancel|results))?)?")
_OPERATIONS: Mapping[tuple[str, bool, str | None], Operation] = {
    ("POST", False, None): "create",
    ("GET", False, None): "list",
    ("GET", True, None): "retrieve",
    ("DELETE", True, None): "delete",
    ("POST", True, "cancel"): "cancel",
    ("GET", True, "results"): "results",
}
_JSON = "application/json"
ADMIN_KEY_PREFIX = "sk-ant-admin"


@dataclass(frozen=True)
class Call:
    """One HTTP request, its body complete.

    Args:
        method: upper case.
        path: without the query.
        pairs: the decoded parameters of the query, in order; names with brackets occur more than once.
        headers: by lower-case name.
        body: may be a bytearray, which is not kept.
        origin: scheme and host by which the client reached this service.
    """

    method: str
    path: str
    pairs: Sequence[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes | bytearray
    origin: str

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters by name."""
        return dict(self.pairs)


@dataclass
class Reply:
    """What a front sends back.

    Args:
        status: HTTP status.
        headers: without framing, which the front adds.
        pieces: makes the body; called once to send it, and once before to measure it if the length is to be told.
        framing: how the end of the body is told.
        silence: instead of any answer: drop the connection, or hang.
        hang_seconds: for how long.
        cut_at: the connection closes after so many bytes of the body.
    """

    status: int
    headers: dict[str, str]
    pieces: Callable[[], Iterator[bytes]]
    framing: Framing = "length"
    silence: Literal["drop", "hang"] | None = None
    hang_seconds: float = 0.0
    cut_at: int | None = None
    document: dict[str, Any] = field(default_factory=dict)


class CutError(Exception):
    """The body of an answer stops here, and the connection with it."""


def play(reply: Reply) -> Iterator[bytes]:
    """Yield the body of an answer.

    Raises:
        CutError: where it is cut, if it is longer than that.
    """
    left = reply.cut_at
    for piece in reply.pieces():
        if left is None:
            yield piece
            continue
        if left:
            yield piece[:left]
        if left < len(piece):
            raise CutError
        left -= len(piece)


class Service:
    """A simulated service behind HTTP semantics; safe to call from many threads.

    Args:
        simulator: the core.
        clock: microseconds UTC.
    """

    def __init__(self, simulator: Simulator, clock: Callable[[], int]) -> None:
        self.simulator = simulator
        self._clock = clock
        self._lock = threading.Lock()
        self._calls = 0
        seed = simulator.settings.seed
        identity = blake2b(f"workspace/{seed}".encode(), digest_size=10).hexdigest()
        self.workspace_id = f"wrkspc_01{identity}"
        self._organization_id = f"{identity[:8]}-{identity[8:12]}-4{identity[12:15]}-8000-{identity[8:20]}"

    def now(self) -> int:
        """Return the server's time, in microseconds UTC."""
        offset = self.simulator.settings.faults.clock_offset_seconds
        return self._clock() + round(offset * MICROSECONDS_PER_SECOND)

    def answer(self, call: Call) -> Reply:
        """Return the answer to one call; never raises what a client could cause."""
        with self._lock:
            self._calls += 1
            request_id = f"req_01{self._calls:020x}"
        try:
            reply = self._answer(call)
        except RefusalError as refusal:
            reply = _refused(refusal, request_id)
        reply.headers = {
            "date": formatdate(self.now() // MICROSECONDS_PER_SECOND, usegmt=True),
            "request-id": request_id,
            "anthropic-organization-id": self._organization_id,
            "anthropic-workspace-id": self.workspace_id,
            **reply.headers,
        }
        if reply.status == 413:
            # The proxy in front answers before the request reaches the API, which gives the ids.
            for name in ("request-id", "anthropic-organization-id", "anthropic-workspace-id"):
                del reply.headers[name]
        return reply

    def _answer(self, call: Call) -> Reply:
        if call.method == "GET" and call.path == "/simulator/bill":
            with self._lock:
                return _json(msgspec.to_builtins(draw_bill(self.simulator.batches, self.now())))
        if call.method == "POST" and call.path == "/v1/messages/count_tokens":
            _check_headers(call.headers)
            return _json({"input_tokens": count_tokens(bytes(call.body))})
        if call.method == "GET" and call.path in REPORTS:
            return self._report(call)
        match = _PATH.fullmatch(call.path)
        batch_id, action = match.groups() if match else (None, None)
        operation = _OPERATIONS.get((call.method, batch_id is not None, action)) if match else None
        if operation is None:
            raise NAMED_REFUSALS["not_found"]()
        _check_headers(call.headers)
        faults = self._meet(operation)
        for fault in faults:
            if fault.kind == "refuse":
                raise fault.refusal()
        spoiling = next((fault for fault in faults if fault.kind in SPOILING), None)
        if operation == "create":
            reply = self._create(call, faults, carried_out=spoiling is None or spoiling.carried_out)
        elif spoiling is None or spoiling.carried_out:
            reply = self._perform(operation, batch_id or "", call, faults)
        else:
            reply = _json({})
        return reply if spoiling is None else _spoilt(reply, spoiling)

    def _report(self, call: Call) -> Reply:
        _check_admin(call.headers)
        faults = self._meet("report")
        for fault in faults:
            if fault.kind == "refuse":
                raise fault.refusal()
        spoiling = next((fault for fault in faults if fault.kind in SPOILING), None)
        with self._lock:
            report = REPORTS[call.path](self.simulator, self.workspace_id, self.now(), call.pairs)
        return _json(report) if spoiling is None else _spoilt(_json(report), spoiling)

    def _meet(self, operation: Operation) -> tuple[Fault, ...]:
        settings = self.simulator.settings
        with self._lock:
            number = self.simulator.count_call(operation, durable=settings.faults.is_scripted(operation))
            self.simulator.admit(self.now())
        return settings.faults.matching(operation, number, settings.seed)

    def _create(self, call: Call, faults: tuple[Fault, ...], *, carried_out: bool) -> Reply:
        betas = frozenset(name.strip() for name in call.headers.get("anthropic-beta", "").split(",") if name.strip())
        version = call.headers["anthropic-version"]
        envelope = parse_envelope(call.body, version, betas, self.simulator.settings.seed)  # outside the lock: slow
        with self._lock:
            now = self.now()
            self._let_strangers_in(envelope, now, faults)
            if not carried_out:
                return _json({})
            late = sum(_microseconds(fault) for fault in faults if fault.kind == "late")
            batch = self.simulator.create(envelope, now, _traits(faults), late)
            return _json(batch.document(batch.created_at, call.origin))

    def _let_strangers_in(self, envelope: Envelope, now: int, faults: tuple[Fault, ...]) -> None:
        for fault in faults:
            if fault.kind == "stranger":
                count = fault.requests or envelope.columns.count
                self.simulator.create_foreign(count, now + _microseconds(fault))

    def _perform(self, operation: Operation, batch_id: str, call: Call, faults: tuple[Fault, ...]) -> Reply:
        with self._lock:
            now = self.now()
            if operation == "list":
                return self._list(call, now)
            if operation == "delete":
                self.simulator.delete(batch_id, now)
                return _json({"id": batch_id, "type": "message_batch_deleted"})
            if operation == "results":
                return self._results(self.simulator.results(batch_id, now), faults)
            batch = (
                self.simulator.cancel(batch_id, now)
                if operation == "cancel"
                else self.simulator.retrieve(batch_id, now)
            )
            return _json(batch.document(now, call.origin))

    def _list(self, call: Call, now: int) -> Reply:
        try:
            limit = int(call.query.get("limit", PAGE_DEFAULT))
        except ValueError as error:
            raise RefusalError(400, "limit: Input should be a valid integer") from error
        page = self.simulator.list_page(now, limit, call.query.get("after_id"), call.query.get("before_id"))
        documents = [batch.document(now, call.origin) for batch in page.batches]
        return _json(
            {
                "data": documents,
                "has_more": page.has_more,
                "first_id": documents[0]["id"] if documents else None,
                "last_id": documents[-1]["id"] if documents else None,
            }
        )

    def _results(self, batch: Batch, faults: tuple[Fault, ...]) -> Reply:
        answers, order = batch.answers(), batch.order()
        is_compressed = any(fault.kind == "gzip" for fault in faults)

        def pieces() -> Iterator[bytes]:
            return in_pieces(result_rows(answers, order, faults), compressed=is_compressed)

        headers = {"content-type": "application/x-jsonl"}
        if is_compressed:
            headers["content-encoding"] = "gzip"
        framings = [fault.framing for fault in faults if fault.framing]
        default = self.simulator.settings.faults.results_framing
        return Reply(200, headers, pieces, framing=framings[0] if framings else default)


def _check_headers(headers: Mapping[str, str]) -> None:
    # SDK 2 sends the key as a bearer token; older clients and curl users as x-api-key.
    bearer = headers.get("authorization", "")
    if not headers.get("x-api-key") and not (bearer.lower().startswith("bearer ") and bearer[7:].strip()):
        raise RefusalError(401, "x-api-key header is required")
    if not headers.get("anthropic-version"):
        raise RefusalError(400, "anthropic-version: header is required")


def _check_admin(headers: Mapping[str, str]) -> None:
    # An ordinary key is answered as an unknown one is (Usage and Cost API, "Admin API key required").
    _check_headers(headers)
    key = headers.get("x-api-key") or headers.get("authorization", "")[7:].strip()
    if not key.startswith(ADMIN_KEY_PREFIX):
        raise NAMED_REFUSALS["unauthorized"]()


def _json(document: dict[str, Any], status: int = 200) -> Reply:
    data = msgspec.json.encode(document)
    return Reply(status, {"content-type": _JSON}, lambda: iter((data,)), document=document)


def _refused(refusal: RefusalError, request_id: str) -> Reply:
    content_type, data = refusal.body(request_id)
    headers = {"content-type": content_type}
    if refusal.retry_after_seconds is not None:
        headers["retry-after"] = f"{refusal.retry_after_seconds:g}"
    return Reply(refusal.status, headers, lambda: iter((data,)))


def _spoilt(reply: Reply, fault: Fault) -> Reply:
    """Return the answer to a call that was carried out, as the client gets to see it."""
    match fault.kind:
        case "drop" | "hang":
            reply.silence, reply.hang_seconds = fault.kind, fault.seconds
        case "status":
            raise fault.refusal()
        case "cut":
            reply.cut_at = fault.bytes
        case "empty":
            return _json({})
        case "html":
            page = b"<html><body>Please sign in to this network.</body></html>"
            return Reply(200, {"content-type": "text/html; charset=utf-8"}, lambda: iter((page,)))
        case "wrong_counts":
            counts = dict(reply.document["request_counts"])
            counts["processing"] += fault.requests or 1
            return _json({**reply.document, "request_counts": counts})
        case _:
            raise AssertionError(f"{fault.kind} spoils no answer")
    return reply


def _traits(faults: tuple[Fault, ...]) -> Traits:
    by_kind = {fault.kind: fault for fault in faults}

    def duration(kind: str) -> int | None:
        return _microseconds(by_kind[kind]) if kind in by_kind else None

    return Traits(
        turnaround=duration("turnaround"),
        never_ends="never_ends" in by_kind,
        list_lag=duration("slow_list") or 0,
        expired_share=by_kind["expire"].share if "expire" in by_kind else 0.0,
        deleted_after=duration("deleted"),
        archived_after=duration("archived"),
    )


def _microseconds(fault: Fault) -> int:
    return round(fault.seconds * MICROSECONDS_PER_SECOND)
