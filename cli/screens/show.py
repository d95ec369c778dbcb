"""The story of one item."""

from __future__ import annotations

import textwrap
from typing import Any

import msgspec

from ledger.core.units import format_bytes
from ledger.showing import Happened, ItemStory, Sending

from .money import usd_column
from .summary import SIMULATED_NOTE
from .tables import counted, printable, table, width

_TEXT_LINES = 12
_TEXT_CHARACTERS = 900
_WIDTH_DEFAULT = 80
_INDENT = "  "


def show_screen(story: ItemStory, *, full: bool = False) -> str:
    """Return the story: what it is, where it was sent, what happened, request and answer (``full``: whole)."""
    parts = [_head(story)]
    if story.sendings:
        parts.append(_sendings(story))
    parts.append(table([(step.at, _sentence(step)) for step in story.history], "ll", elastic=1))
    parts.append("request\n" + _block(_request(story), full=full))
    if story.text:
        parts.append("answer\n" + _block(story.text, full=full))
    return "\n\n".join(parts)


def _head(story: ItemStory) -> str:
    rows = [
        ("item", f"{story.custom_id}, request {story.ordinal:,} of {story.ledger}"),
        ("outcome", story.outcome + (f", taken from {story.reused_from}" if story.reused_from else "")),
        ("read from", f"{story.source}:{story.line}" if story.source != "-" else f"standard input, line {story.line}"),
        ("asks", f"{story.model}, at most {story.max_tokens:,} tokens, {format_bytes(story.size_bytes)}"),
        ("attempts", f"{story.attempts:,}"),
        ("cost", usd_column([story.cost_usd])[0]),
    ]
    if story.priority:
        rows.insert(4, ("priority", str(story.priority)))
    if story.repetitions:
        rows.append(("repeated", f"by {counted(story.repetitions, 'line')}"))
    text = table(rows, "ll", elastic=1)
    return f"{text}\n{SIMULATED_NOTE}" if story.simulated else text


def _sendings(story: ItemStory) -> str:
    lines = []
    for number, sending in enumerate(story.sendings, 1):
        rows = [("batch", f"{sending.batch or 'none yet'} (chunk {sending.chunk}, submission {sending.submission})")]
        if sending.wire_id:
            rows.append(("sent as", sending.wire_id))
        times = [text for text in (sending.created_at, sending.ended_at) if text]
        if times:
            rows.append(("from, to", " to ".join(times)))
        rows.append(("became", _became(sending)))
        lines.append(f"sending {number}\n" + table(rows, "ll", indent="  ", elastic=1))
    return "\n".join(lines)


def _became(sending: Sending) -> str:
    said = [sending.became]
    if sending.stop_reason and sending.row is not None:
        said[0] += f" ({sending.stop_reason})"
    if sending.error:
        said.append(sending.error)
    if sending.row is not None:
        usage: dict[str, Any] = msgspec.json.decode(sending.usage) if sending.usage is not None else {}
        if usage:
            said.append(f"{usage.get('input_tokens') or 0:,} tokens in, {usage.get('output_tokens') or 0:,} out")
        said.append(usd_column([sending.cost_usd])[0] if sending.billed else "not billed")
    return ", ".join(said)


def _request(story: ItemStory) -> str:
    """Return the text of the messages where that is all there is, else the params as JSON."""
    if story.redacted:
        return "deleted from this ledger (ledger redact)"
    params = msgspec.json.decode(story.params)
    messages = params.get("messages")
    shown = {name: value for name, value in params.items() if name not in ("model", "max_tokens", "messages")}
    if isinstance(messages, list) and len(messages) == 1 and isinstance(messages[0].get("content"), str):
        lines = [f"{name}: {_value(value)}" for name, value in shown.items()]
        return "\n".join([*lines, messages[0]["content"]])
    return msgspec.json.format(msgspec.json.encode(params), indent=2).decode()


def _value(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _block(text: str, *, full: bool) -> str:
    """Return a text, indented and wrapped to the terminal; its beginning only, unless all of it is wanted."""
    room = (width() or _WIDTH_DEFAULT) - len(_INDENT)
    shown = text if full else text[:_TEXT_CHARACTERS]
    lines = [piece for line in shown.splitlines() for piece in textwrap.wrap(printable(line), room) or [""]] or [""]
    is_cut = not full and (len(lines) > _TEXT_LINES or len(text) > _TEXT_CHARACTERS)
    block = "\n".join(f"{_INDENT}{line}".rstrip() for line in (lines[:_TEXT_LINES] if is_cut else lines))
    return f"{block}\n{_INDENT}… {len(text):,} characters in all (--full shows them)" if is_cut else block


# ── what happened, in a sentence each ───────────────────────────────────────────────────────────────────────────

_SENTENCES = {
    "request_built": "read from line {line}, {size_bytes:,} bytes on the wire",
    "item_deduplicated": "line {line} repeats it",
    "answer_reused": "the answer of another ledger was taken",
    "chunk_sealed": "put into chunk {chunk} with {others}",
    "chunk_dissolved": "chunk {chunk} is cut anew: {cause}",
    "submission_released": "chunk {chunk} may be sent, submission {submission}",
    "submission_aborted": "submission {submission} of chunk {chunk} ended before its last byte: {cause}",
    "submission_refused": "chunk {chunk} was refused with {status}: {message}",
    "submission_uncertain": "no answer came for chunk {chunk}: {cause}",
    "submission_resolved": "chunk {chunk} was not accepted: {evidence}",
    "chunk_held": "chunk {chunk} is held: {detail}",
    "hold_lifted": "chunk {chunk} goes on",
    "batch_created": "batch {batch} created",
    "batch_adopted": "batch {batch} found, by {by}",
    "batch_disowned": "batch {batch} is another's: {why}",
    "twin_found": "a second batch of chunk {chunk} was found: {batch}",
    "twin_acknowledged": "the second batch {batch} is dealt with",
    "request_rejected": "the service refused it by name: {why}",
    "results_short": "{missing:,} rows of batch {batch} did not come; downloaded again",
    "results_lost": "the results of batch {batch} are {cause}",
    "batch_collected": "batch {batch} collected: {rows:,} rows",
    "cancel_requested": "somebody wanted batch {batch} canceled",
    "cancel_accepted": "batch {batch} is being canceled",
    "finding_recorded": "finding: {detail}",
    "request_amended": "it got another body, {size_bytes:,} bytes on the wire; the one before it is kept",
    "requests_reopened": "opened again, by a {by}",
    "payloads_redacted": "what was asked and answered was deleted",
}


class _Fields(dict[str, Any]):
    """An event's fields; one that is not written has its default, which says nothing."""

    def __missing__(self, name: str) -> Any:
        if name == "by":
            return "person"
        return 0 if name in ("rows", "missing", "status", "submission", "size_bytes") else ""


def _sentence(step: Happened) -> str:
    fields = _Fields(msgspec.json.decode(step.data))
    if step.event == "status_polled":
        return "; ".join(f"batch {seen['batch']} is {seen['status']}" for seen in fields["changes"])
    if step.event == "result_stored":
        final = "" if fields.get("final", True) else "; it is asked again"
        return f"result stored: {fields.get('outcome', 'ok')}{final}"
    if step.event == "chunk_sealed":
        others = fields["requests"] - 1
        fields["others"] = f"{counted(others, 'other')}" if others else "no other"
    said = _SENTENCES.get(step.event, step.event.replace("_", " ")).format_map(fields)
    return said.removesuffix(": ")
