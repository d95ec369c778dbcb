"""What becomes of each request of a batch, and the row that says so.

Everything follows from the seed, the bytes of the params and the number of the attempt; never from a clock or from the
custom_id. A body that is sent again gets the same text and usage; what a retry can change (an overload, an expiry) is
drawn anew at every attempt.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from ledger.service.simulator.envelope import (
    CACHE_FIVE_MINUTES,
    CACHE_ONE_HOUR,
    CACHE_READ,
    DIGEST_BYTES,
    Columns,
    Shape,
)
from ledger.service.simulator.prose import prose_of
from ledger.service.simulator.scripts import OUTCOME_CODES, OUTCOMES, STOP_REASONS
from ledger.service.simulator.settings import Mix, Settings

WHOLE = 1 << 16
_ONE = 1 << 32
_BYTES_PER_OUTPUT_TOKEN = 4
_SEEDED_TRUNCATION_CAP = 8_192  # a seeded truncation of a larger cap would make rows of many hundred KB

END_TURN = OUTCOME_CODES["end_turn"]
TRUNCATED = OUTCOME_CODES["max_tokens"]
PAUSED = OUTCOME_CODES["pause_turn"]
REFUSED = OUTCOME_CODES["refusal"]
EXPIRED = OUTCOME_CODES["expired"]
CANCELED = OUTCOME_CODES["canceled"]
_LAST_SUCCEEDED = OUTCOME_CODES[STOP_REASONS[-1]]


def is_succeeded(code: int) -> bool:
    """Return whether an outcome is ``succeeded`` at the service, whatever its stop reason."""
    return code <= _LAST_SUCCEEDED


def is_billed(code: int) -> bool:
    """Return whether an outcome is charged: succeeded, and not refused before any output (pricing page)."""
    return code <= _LAST_SUCCEEDED and code != REFUSED


def count_kind(code: int) -> str:
    """Return the field of ``request_counts`` that an outcome adds to."""
    if is_succeeded(code):
        return "succeeded"
    return "errored" if code < EXPIRED else OUTCOMES[code]


class Usage(NamedTuple):
    """The token counts of one answer; the prompt is the sum of the first four."""

    input_tokens: int
    five_minute_write_tokens: int
    one_hour_write_tokens: int
    cache_read_tokens: int
    output_tokens: int


def decide_outcomes(columns: Columns, settings: Settings, reached: int, unreached: int, expired_share: float) -> bytes:
    """Return one outcome code a request, in the order of submission; about 1.5 µs each.

    Args:
        columns: the requests.
        settings: seed and mix.
        reached: how far processing came before the batch ended, of ``WHOLE``.
        unreached: the code of what was not reached: expired or canceled.
        expired_share: the share that was not sent to the model in time, for reasons of the service.
    """
    mix = settings.mix
    stable, drawn = _stable_thresholds(mix), _drawn_thresholds(mix, expired_share)
    fixed = [_fixed_outcome(shape) for shape in columns.shapes]
    shape_numbers, max_tokens = memoryview(columns.shape_numbers).cast("I"), memoryview(columns.max_tokens).cast("I")
    key = settings.seed.to_bytes(16, "little", signed=True)
    codes = bytearray(columns.count)
    for index in range(columns.count):
        at = index * DIGEST_BYTES
        digest, attempt = columns.digests[at : at + DIGEST_BYTES], columns.attempts[index]
        chance = chance_of(digest, attempt, key)
        number = shape_numbers[index]
        if int.from_bytes(chance[:2], "little") >= reached:
            codes[index] = unreached
        elif fixed[number] is not None:
            codes[index] = fixed[number] or 0
        elif (script := columns.shapes[number].script) is not None:
            codes[index] = OUTCOME_CODES[script.outcome_at(attempt, max_tokens[index])]
        else:
            code = _pick(drawn, int.from_bytes(chance[2:6], "little"))
            if code == END_TURN:
                code = _pick(stable, int.from_bytes(digest[:4], "little"))
            if code == TRUNCATED and max_tokens[index] > _SEEDED_TRUNCATION_CAP:
                code = END_TURN
            codes[index] = code
    return bytes(codes)


def chance_of(digest: bytes, attempt: int, key: bytes) -> bytes:
    """Return 8 bytes that decide about one attempt of a request; the first two are when it is due, of ``WHOLE``."""
    return blake2b(digest, digest_size=8, key=key, salt=attempt.to_bytes(16, "little")).digest()


def _fixed_outcome(shape: Shape) -> int | None:
    return OUTCOME_CODES[f"errored:{shape.problem[0]}"] if shape.problem else None


def _stable_thresholds(mix: Mix) -> list[tuple[int, int]]:
    return _thresholds(
        {
            "max_tokens": mix.max_tokens,
            "refusal": mix.refusal,
            "refusal_midway": mix.refusal_midway,
            "pause_turn": mix.pause_turn,
            "errored:invalid_request_error": mix.invalid,
        }
    )


def _drawn_thresholds(mix: Mix, expired_share: float) -> list[tuple[int, int]]:
    shares = {f"errored:{kind}": share for kind, share in mix.errored.items()}
    return _thresholds({"expired": max(mix.expired, expired_share), **shares})


def _thresholds(shares: dict[str, float]) -> list[tuple[int, int]]:
    total, table = 0.0, []
    for name, share in shares.items():
        total += share
        if share:
            table.append((int(total * _ONE), OUTCOME_CODES[name]))
    return table


def _pick(table: list[tuple[int, int]], draw: int) -> int:
    for limit, code in table:
        if draw < limit:
            return code
    return END_TURN


class Answers:
    """The rows of an ended batch, made when they are asked for.

    Args:
        columns: the requests.
        codes: their outcomes.
        settings: seed, and the lengths of answers.
    """

    def __init__(self, columns: Columns, codes: bytes, settings: Settings) -> None:
        self._columns, self._codes = columns, codes
        self._minimum = settings.output_tokens_minimum
        self._span = max(settings.output_tokens_maximum - settings.output_tokens_minimum, 0)
        self._prose = prose_of(settings.seed)
        self._wire_ids = columns.wire_ids.split(b"\n")
        self._input_tokens = memoryview(columns.input_tokens).cast("I")
        self._max_tokens = memoryview(columns.max_tokens).cast("I")
        self._shape_numbers = memoryview(columns.shape_numbers).cast("I")
        self._cached_tokens = memoryview(columns.cached_tokens).cast("I")
        self._shapes = [
            (msgspec.json.encode(shape.model), msgspec.json.encode(shape.geography), shape) for shape in columns.shapes
        ]

    def rows(self, order: list[int]) -> Iterator[bytes]:
        """Yield the rows of these requests, each ending with a newline."""
        for index in order:
            yield self.row(index)

    def row(self, index: int) -> bytes:
        """Return one result row, with its newline."""
        code, wire_id = self._codes[index], self._wire_ids[index]
        if not is_succeeded(code):
            return self._unsuccessful(index, OUTCOMES[code], wire_id)
        model, geography, _ = self._shapes[self._shape_numbers[index]]
        usage = self.usage(index)
        content, stop_reason, stop_sequence, stop_details = self._content(index, code, usage.output_tokens)
        count = self.searches(index)
        searches = b'{"web_search_requests":%d,"web_fetch_requests":0}' % count if count else b"null"
        # Field names and nesting: anthropic SDK 2.12, types/message.py and types/usage.py.
        return (
            b'{"custom_id":"%b","result":{"type":"succeeded","message":{"model":%b,"id":"msg_01%b%06x","type":"message"'
            b',"role":"assistant","content":%b,"stop_reason":"%b","stop_sequence":%b,"stop_details":%b,"usage":'
            b'{"input_tokens":%d,"cache_creation_input_tokens":%d,"cache_read_input_tokens":%d,"cache_creation":'
            b'{"ephemeral_5m_input_tokens":%d,"ephemeral_1h_input_tokens":%d},"output_tokens":%d,"server_tool_use":%b'
            b',"service_tier":"batch","inference_geo":%b}}}}\n'
        ) % (
            wire_id,
            model,
            self._digest(index).hex()[:16].encode(),
            index,
            content,
            stop_reason,
            stop_sequence,
            stop_details,
            usage.input_tokens,
            usage.five_minute_write_tokens + usage.one_hour_write_tokens,
            usage.cache_read_tokens,
            usage.five_minute_write_tokens,
            usage.one_hour_write_tokens,
            usage.output_tokens,
            searches,
            geography,
        )

    def usage(self, index: int) -> Usage:
        """Return the token counts of one succeeded answer."""
        prompt, cached, mode = self._input_tokens[index], 0, 0
        if self._columns.cache_modes:
            mode, cached = self._columns.cache_modes[index], self._cached_tokens[index]
        return Usage(
            prompt - cached,
            cached if mode == CACHE_FIVE_MINUTES else 0,
            cached if mode == CACHE_ONE_HOUR else 0,
            cached if mode == CACHE_READ else 0,
            self._output_tokens(index),
        )

    def searches(self, index: int) -> int:
        """Return how many web searches an answer took: one where the loop of the service's tool was cut short."""
        return int(self._codes[index] == PAUSED)

    def _digest(self, index: int) -> bytes:
        return self._columns.digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]

    def _output_tokens(self, index: int) -> int:
        code, cap = self._codes[index], self._max_tokens[index]
        if code == TRUNCATED:
            return cap
        if code == REFUSED:
            return 1  # refused before any output still reports usage, which is not charged
        script = self._shapes[self._shape_numbers[index]][2].script
        if script is not None and script.outcome == "needs":
            return script.number
        draw = int.from_bytes(self._digest(index)[4:8], "little")
        wanted = self._minimum + (draw * self._span >> 32)
        # Below its cap an answer ends by itself, somewhere in the upper half of it.
        return wanted if wanted < cap else max(cap // 2 + (draw * (cap // 2) >> 32), 1)

    def _content(self, index: int, code: int, output_tokens: int) -> tuple[bytes, bytes, bytes, bytes]:
        """Return content, stop_reason, stop_sequence and stop_details as JSON."""
        reason = OUTCOMES[code]
        if code == REFUSED:
            return b"[]", b"refusal", b"null", _REFUSAL_DETAILS
        draw = int.from_bytes(self._digest(index)[8:14], "little")
        whole = reason in ("end_turn", "tool_use", "pause_turn")
        text = self._prose.passage(draw, output_tokens * _BYTES_PER_OUTPUT_TOKEN, whole=whole)
        block = b'{"type":"text","text":"%b"}' % text
        identity = self._digest(index)[:12].hex().encode()
        if reason == "refusal_midway":
            return b"[%b]" % block, b"refusal", b"null", _REFUSAL_DETAILS
        if reason == "tool_use":
            use = b'{"type":"tool_use","id":"toolu_01%b","name":"look_up","input":{"query":"balance"}}' % identity
            return b"[%b,%b]" % (block, use), b"tool_use", b"null", b"null"
        if reason == "pause_turn":
            use = b'{"type":"server_tool_use","id":"srvtoolu_01%b","name":"web_search","input":{"query":"balance"}}'
            return b"[%b,%b]" % (block, use % identity), b"pause_turn", b"null", b"null"
        stop_sequence = b'"###"' if reason == "stop_sequence" else b"null"
        return b"[%b]" % block, reason.encode(), stop_sequence, b"null"

    def _unsuccessful(self, index: int, outcome: str, wire_id: bytes) -> bytes:
        kind = outcome.removeprefix("errored:")
        if kind == outcome:
            return b'{"custom_id":"%b","result":{"type":"%b"}}\n' % (wire_id, outcome.encode())
        problem = self._shapes[self._shape_numbers[index]][2].problem
        message = problem[1] if problem else _ERROR_MESSAGES.get(kind, "The request could not be processed.")
        return (
            b'{"custom_id":"%b","result":{"type":"errored","error":{"type":"error","error":{"type":"%b","message":%b}'
            b',"request_id":"req_01%b%06x"}}}\n'
        ) % (wire_id, kind.encode(), msgspec.json.encode(message), self._digest(index)[:8].hex().encode(), index)


_REFUSAL_DETAILS = b'{"type":"refusal","category":null,"explanation":null}'
_ERROR_MESSAGES = {
    "overloaded_error": "Overloaded",
    "api_error": "Internal server error",
    "timeout_error": "The request timed out",
    "rate_limit_error": "This request would exceed a rate limit",
}
