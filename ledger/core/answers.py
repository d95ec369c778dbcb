"""What the service's answers mean: refusals of a submission, and rows of a result file.

Branches follow the documented order: status, then ``error.details.error_code``, then ``error.type``; never the
message, whose wording may change, but for the one case that has no code: a customer's own spend limit, a 400
whose message begins "You have reached your specified …" (errors page).
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from ledger.core.events import Outcome
from ledger.core.prices import TIER_BATCH, Usage

Reaction: TypeAlias = Literal["wait", "wait_for_queue", "split", "reject", "bisect", "pause", "stop"]

_SPEND_MESSAGE = "You have reached your specified"
_SPEND_CODES = frozenset({"enforced_spend_limit_reached", "contract_spend_limit_reached"})
_STOP_CODES = frozenset(
    {
        "organization_on_hold",
        "organization_type_not_supported",
        "cmek_key_disabled",
        "cmek_key_network_blocked",
        "claude_code_key_creator_not_member",
    }
)
_NAMED_REQUEST = re.compile(r"\brequests\.(\d+)\b", re.ASCII)

FINAL_KINDS = frozenset({"invalid_request_error", "not_found_error"})
"""Errors of an item that would only repeat themselves (batch guide: results)."""
UNKNOWN_TYPE = "unknown type"
"""How the error kind of a result begins whose type is none of the four that are documented."""
PAUSE_KINDS = frozenset({"billing_error", "authentication_error", "permission_error"})
"""Errors of an item that every other item would meet too."""


def reaction_to(status: int, code: str, message: str, *, envelope: bool, retry_after: bool) -> Reaction | None:
    """Return what follows a refusal of a submission, or None when the answer refuses nothing for certain.

    A refusal counts only in the API's own error envelope, except 413, which the CDN in front of it answers.
    """
    if status == 413:
        return "split"
    if not envelope:
        return None
    match status:
        case 400:
            if code in _STOP_CODES:
                return "stop"
            if code == "request_body_timeout":
                return "split"
            if message.startswith(_SPEND_MESSAGE):
                return "pause"
            return "reject" if named_request(message) is not None else "bisect"
        case 422:
            return "reject" if named_request(message) is not None else "bisect"
        case 401 | 403 | 404:
            return "stop"
        case 402:
            return "pause"
        case 429:
            if code in _SPEND_CODES:
                return "pause"
            return "wait" if retry_after or code == "ramp_limit_exceeded" else "wait_for_queue"
        case _:
            return None


def named_request(message: str) -> int | None:
    """Return the index N of the ``requests.N`` that a refusal names, if it names one."""
    match = _NAMED_REQUEST.search(message)
    return int(match[1]) if match else None


# ── result rows ─────────────────────────────────────────────────────────────────────────────────────────────────


class _CacheCreation(msgspec.Struct, gc=False):
    ephemeral_5m_input_tokens: int | None = 0
    ephemeral_1h_input_tokens: int | None = 0


class _ServerTools(msgspec.Struct, gc=False):
    web_search_requests: int | None = 0


class _Usage(msgspec.Struct, gc=False):
    input_tokens: int | None = 0
    output_tokens: int | None = 0
    cache_creation_input_tokens: int | None = 0
    cache_read_input_tokens: int | None = 0
    cache_creation: _CacheCreation | None = None
    server_tool_use: _ServerTools | None = None
    service_tier: str | None = None
    inference_geo: str | None = None


class _ErrorKind(msgspec.Struct, gc=False):
    type: str = ""
    message: str = ""


class _Error(msgspec.Struct, gc=False):
    error: _ErrorKind | None = None


class _Message(msgspec.Struct, gc=False):
    """A message of which nothing inside is read: the forms below read more in the same pass, and may fail for it."""

    model: str = ""
    stop_reason: str | None = None
    content: msgspec.Raw = msgspec.Raw(b"[]")
    usage: msgspec.Raw = msgspec.Raw(b"null")


class _Result(msgspec.Struct, gc=False):
    type: str
    message: _Message | None = None
    error: _Error | None = None


class _Row(msgspec.Struct, gc=False):
    custom_id: str
    result: _Result


class _CountedMessage(msgspec.Struct, gc=False):
    """For storing: the usage is read, the blocks are not."""

    model: str = ""
    stop_reason: str | None = None
    content: msgspec.Raw = msgspec.Raw(b"[]")
    usage: _Usage | None = None


class _CountedResult(msgspec.Struct, gc=False):
    type: str
    message: _CountedMessage | None = None
    error: _Error | None = None


class _CountedRow(msgspec.Struct, gc=False):
    custom_id: str
    result: _CountedResult


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    text: str = ""


class _OpenedMessage(msgspec.Struct, gc=False):
    """For writing out: the blocks are read, and the usage is kept as the service wrote it."""

    model: str = ""
    stop_reason: str | None = None
    content: list[_Block] = []
    usage: msgspec.Raw = msgspec.Raw(b"null")


class _OpenedResult(msgspec.Struct, gc=False):
    type: str
    message: _OpenedMessage | None = None
    error: _Error | None = None


class _OpenedRow(msgspec.Struct, gc=False):
    custom_id: str
    result: _OpenedResult


class _RowId(msgspec.Struct):
    custom_id: str


_decode_row = msgspec.json.Decoder(_Row).decode
_decode_counted_row = msgspec.json.Decoder(_CountedRow).decode
_decode_opened_row = msgspec.json.Decoder(_OpenedRow).decode
_decode_blocks = msgspec.json.Decoder(list[_Block]).decode
_decode_id = msgspec.json.Decoder(_RowId).decode
_decode_usage = msgspec.json.Decoder(_Usage | None).decode
_UNREADABLE = (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError)
_NO_USAGE = Usage()

_REFUSAL = "refusal"
_NULL = msgspec.Raw(b"null")
_OUTCOME_OF_STOP: dict[str | None, Outcome] = {
    "end_turn": "ok",
    "stop_sequence": "ok",
    "tool_use": "ok",
    "max_tokens": "truncated",
    "model_context_window_exceeded": "truncated",
    "pause_turn": "paused_turn",
    _REFUSAL: "refused",
}


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a result row says. ``service_type`` is the service's own word; ``outcome`` is what it means."""

    service_type: str
    outcome: Outcome
    usage: Usage | None = None
    stop_reason: str = "end_turn"
    error_kind: str = ""
    error_message: str = ""
    model: str = ""
    tier: str = TIER_BATCH
    geo: str = ""
    billed: bool = True


def row_wire_id(row: bytes) -> str | None:
    """Return the wire id of a result row, or None when the row is not readable."""
    if row.startswith(b'{"custom_id":"'):  # the service's own form; a wire id has nothing that JSON escapes
        end = row.find(b'"', 14)
        if end > 0 and b"\\" not in row[14:end]:
            return row[14:end].decode("utf-8", "replace")
    try:
        return _decode_id(row).custom_id
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError):
        return None


def own_row(nonce: str) -> re.Pattern[bytes]:
    """Return the beginning of a row of a submission, as the service writes it; group 1 is the ordinal in base 36.

    One match tells the ordinal and proves the nonce: 1 µs a row, a third of taking the wire id out and apart, which is
    left for what is not alike.
    """
    return re.compile(rb'\{"custom_id":"([0-9a-z]{1,7})-%b(?:-[a-zA-Z0-9_-]*)?"' % nonce.encode())


class ReadRow(NamedTuple):
    """What a result row says, with what `ledger results` writes beside it.

    ``usage`` is as the service wrote it, ``text`` the answer's text blocks, joined; None where there is none.
    """

    answer: Answer
    usage: msgspec.Raw | None
    text: str | None


def read_row(row: bytes) -> Answer | None:
    """Return what a result row says, or None when it is no result row.

    The strings are compared, never the classes of an SDK, which take an unknown type for a success. A succeeded
    row is not yet a good answer: its stop reason decides. An unknown stop reason counts as ``ok``, with the reason
    kept; an unknown result type as ``errored``, with the type as its kind.
    """
    # One pass over a row as nearly all are, 4 µs; two passes take 5.
    try:
        result = _decode_counted_row(row).result
        message = result.message
        if result.type == "succeeded" and message is not None and message.stop_reason != _REFUSAL:
            return _succeeded(message.model, message.stop_reason, message.usage)
    except _UNREADABLE:
        pass  # what makes it so may be in a part that is of no matter
    try:
        return _answer(_decode_row(row).result)
    except _UNREADABLE:
        return None


def read_row_whole(row: bytes) -> ReadRow | None:
    """Return all that is to be said of a result row, or None when it is no result row."""
    # Likewise: of 13 KB, with what is written of it, one pass takes 71 µs and three take 84.
    try:
        opened = _decode_opened_row(row).result
        if opened.type == "succeeded" and opened.message is not None and opened.message.stop_reason != _REFUSAL:
            message = opened.message
            answer = _succeeded(message.model, message.stop_reason, _decode_usage(message.usage))
            return ReadRow(answer, _unless_null(message.usage), _joined(message.content))
    except _UNREADABLE:
        pass
    try:
        result = _decode_row(row).result
        read = _answer(result)
    except _UNREADABLE:
        return None
    if read is None:
        return None
    if read.service_type != "succeeded" or result.message is None:
        return ReadRow(read, None, None)
    return ReadRow(read, _unless_null(result.message.usage), _text(result.message.content))


def _unless_null(usage: msgspec.Raw) -> msgspec.Raw | None:
    return usage if usage != _NULL else None


def _answer(result: _Result) -> Answer | None:
    match result.type:
        case "succeeded":
            message = result.message
            if message is None:
                return None
            billed = True
            if message.stop_reason == _REFUSAL and bytes(message.content).strip() in (b"[]", b"null", b""):
                billed = False  # refused before any output: counted, not charged (stop reasons page)
            return _succeeded(message.model, message.stop_reason, _decode_usage(message.usage), billed=billed)
        case "errored":
            error = result.error.error if result.error is not None else None
            kind, text = (error.type, error.message) if error is not None else ("", "")
            return Answer("errored", "errored", error_kind=kind or "unknown", error_message=text, stop_reason="")
        case "expired":
            return Answer("expired", "expired", stop_reason="")
        case "canceled":
            return Answer("canceled", "canceled", stop_reason="")
        case other:
            return Answer("errored", "errored", error_kind=f"{UNKNOWN_TYPE} {other}"[:80], stop_reason="")


def _succeeded(model: str, stop_reason: str | None, usage: _Usage | None, *, billed: bool = True) -> Answer:
    return Answer(
        "succeeded",
        _OUTCOME_OF_STOP.get(stop_reason, "ok"),
        _usage(usage) if usage is not None else _NO_USAGE,
        stop_reason or "",
        "",
        "",
        model,
        usage.service_tier or "" if usage is not None else "",
        usage.inference_geo or "" if usage is not None else "",
        billed,
    )


def _usage(usage: _Usage) -> Usage:
    written, hour = usage.cache_creation_input_tokens or 0, 0
    if usage.cache_creation is not None:
        hour = usage.cache_creation.ephemeral_1h_input_tokens or 0
        written = max(written, hour + (usage.cache_creation.ephemeral_5m_input_tokens or 0))
    tools = usage.server_tool_use
    return Usage(
        usage.input_tokens or 0,
        usage.output_tokens or 0,
        written - hour,
        hour,
        usage.cache_read_input_tokens or 0,
        (tools.web_search_requests or 0) if tools is not None else 0,
    )


def is_final(answer: Answer, attempt: int, max_attempts: int, *, cancel_wanted: bool) -> bool:
    """Return whether an answer ends its item, or the item is asked again.

    Truncated and refused answers are final: asking again is billed again. So is a result of a type that is not known
    yet, which may have been billed. Errors that would repeat themselves are final at once, errors that concern the
    account never (the run pauses), all else after ``max_attempts``.
    """
    if answer.service_type == "succeeded" or answer.error_kind in FINAL_KINDS:
        return True
    if answer.error_kind.startswith(UNKNOWN_TYPE):
        return True
    if answer.error_kind in PAUSE_KINDS:
        return False
    if answer.service_type == "canceled" and cancel_wanted:
        return True
    return attempt >= max_attempts


def text_of(row: bytes) -> str | None:
    """Return the text of a succeeded row: its text blocks, joined; None where there is none."""
    read = read_row_whole(row)
    return read.text if read is not None else None


def _text(content: msgspec.Raw) -> str | None:
    try:
        return _joined(_decode_blocks(content))
    except _UNREADABLE:
        return None


def _joined(blocks: list[_Block]) -> str | None:
    if len(blocks) == 1 and blocks[0].type == "text":
        return blocks[0].text
    texts = [block.text for block in blocks if block.type == "text"]
    return "".join(texts) if texts else None
