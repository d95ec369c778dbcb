"""From the bytes of a POST to the few columns that answering needs.

A request of 2 KB leaves about 30 bytes and its ``custom_id`` behind: a digest of its params, token counts, and the
number of its shape (model, residency, problem, script). 100,000 of them take a few MB, and results are generated while
they are streamed.
"""

from __future__ import annotations

import re
from array import array
from hashlib import blake2b
from typing import Any

import msgspec

from ledger.service.simulator.models import UNKNOWN_MODEL, Model, find_model
from ledger.service.simulator.params import find_problem
from ledger.service.simulator.refusals import RefusalError
from ledger.service.simulator.scripts import Script, find_script

REQUESTS_MAXIMUM = 100_000  # on every tier (batch processing guide, 2026-10-08)
BODY_BYTES_MAXIMUM = 256_000_000  # "256 MB", read as decimal: the safe side of an undefined unit
DIGEST_BYTES = 16
CACHE_NONE, CACHE_FIVE_MINUTES, CACHE_ONE_HOUR, CACHE_READ = range(4)

_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_JSON_PATH = re.compile(r"(.*) - at `\$(.*)`")


class _Item(msgspec.Struct):
    custom_id: str
    params: msgspec.Raw


class _Body(msgspec.Struct):
    requests: list[_Item]


# Made here, not where it is used: two threads that are the first to decode a type crash the process (msgspec 0.22).
_decode_requests = msgspec.json.Decoder(_Body).decode


class Shape(msgspec.Struct, frozen=True, array_like=True):
    """What many requests of a batch share.

    Args:
        model: the resolved model id, or the unknown one as it was sent.
        geography: ``inference_geo`` of the request.
        problem: what is wrong with the params, and will be said after processing.
        script: the outcome that the prompt asks for.
    """

    model: str
    geography: str
    problem: tuple[str, str] | None
    script: Script | None


class Columns(msgspec.Struct, frozen=True):
    """All that is kept of a batch's requests, as packed columns in the order of submission.

    Args:
        count: the number of requests.
        wire_ids: the custom_ids, joined by newlines.
        digests: 16 bytes a request: a keyed hash of the bytes of its params.
        input_tokens: u32 a request, the whole prompt.
        max_tokens: u32 a request, 0 where there is none.
        shape_numbers: u32 a request, into ``shapes``.
        shapes: the distinct shapes.
        attempts: u8 a request: how many batches with this body were accepted, this one included.
        cached_tokens: u32 a request, the length of the marked prefix; empty if no request marks one.
        cache_modes: u8 a request, one of the ``CACHE_`` numbers; empty if no request marks a prefix.
        prefixes: the cache entries that it leaves behind, as (digest of the prefix, readable since, until).
    """

    count: int
    wire_ids: bytes
    digests: bytes
    input_tokens: bytes
    max_tokens: bytes
    shape_numbers: bytes
    shapes: tuple[Shape, ...]
    attempts: bytes = b""
    cached_tokens: bytes = b""
    cache_modes: bytes = b""
    prefixes: tuple[tuple[int, int, int], ...] = ()


class Envelope(msgspec.Struct):
    """A parsed POST: columns, and the prefixes that the cache has yet to judge.

    Args:
        columns: the requests.
        marked_prefixes: request index → digest of its cached prefix.
    """

    columns: Columns
    marked_prefixes: dict[int, int]


def parse_envelope(body: bytes | bytearray, version: str, betas: frozenset[str], seed: int) -> Envelope:
    """Return what a POST body asks for; about 10 µs a request of 2 KB.

    Args:
        body: the whole body.
        version: the ``anthropic-version`` header.
        betas: the names in the ``anthropic-beta`` header.
        seed: keys the digests, so that another seed gives other answers.

    Raises:
        RefusalError: 413 for too many bytes; 400 for malformed JSON, a count outside 1..100,000, a custom_id that is
            missing, illegal or used twice (named by index), or a marker that asks for a 400.
    """
    if len(body) > BODY_BYTES_MAXIMUM:
        raise RefusalError(413, "Request exceeds the maximum size", form="edge")
    items = _decode_body(body)
    if not 1 <= len(items) <= REQUESTS_MAXIMUM:
        least_most = "at least 1" if not items else f"at most {REQUESTS_MAXIMUM}"
        raise RefusalError(400, f"requests: List should have {least_most} items, not {len(items)}")
    _check_custom_ids(items)
    reader = _Reader(version, betas, seed, len(items))
    for index, item in enumerate(items):
        reader.read(index, bytes(item.params))
    if reader.poisoned:
        raise RefusalError(400, "The batch could not be created: one of its requests is invalid.")
    wire_ids = "\n".join([item.custom_id for item in items]).encode()
    return Envelope(reader.columns(wire_ids), reader.marked_prefixes)


def _decode_body(body: bytes | bytearray) -> list[_Item]:
    try:
        return _decode_requests(body).requests
    except msgspec.ValidationError as error:
        raise RefusalError(400, _with_python_path(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _malformed(error) from error


def _malformed(error: Exception) -> RefusalError:
    return RefusalError(400, f"The request body is not valid JSON: {error}")


def _with_python_path(message: str) -> str:
    """Return msgspec's ``… - at `$.requests[3].custom_id``` as the API's ``requests.3.custom_id: …``."""
    match = _JSON_PATH.fullmatch(message)
    if match is None:
        return message
    path = match[2].replace("[", ".").replace("]", "").lstrip(".")
    missing = re.fullmatch(r"Object missing required field `(\w+)`", match[1])
    if missing:
        return f"{path}.{missing[1]}: Field required".lstrip(".")
    return f"{path}: {match[1]}"


def _check_custom_ids(items: list[_Item]) -> None:
    seen: dict[str, int] = {}
    matches = _CUSTOM_ID.fullmatch
    for index, item in enumerate(items):
        if matches(item.custom_id) is None:
            raise RefusalError(400, f"requests.{index}.custom_id: {_custom_id_problem(item.custom_id)}")
        first = seen.setdefault(item.custom_id, index)
        if first != index:
            raise RefusalError(
                400, f"requests.{index}.custom_id: Duplicate custom_id, already used by requests.{first}"
            )


def _custom_id_problem(custom_id: str) -> str:
    if not custom_id:
        return "String should have at least 1 character"
    if len(custom_id) > 64:
        return "String should have at most 64 characters"
    return "String should match pattern '^[a-zA-Z0-9_-]{1,64}$'"


class _Reader:
    """Fills the columns, one request after the other."""

    def __init__(self, version: str, betas: frozenset[str], seed: int, count: int) -> None:
        self.poisoned = False
        self.marked_prefixes: dict[int, int] = {}
        self._version, self._betas, self._count = version, betas, count
        self._key = seed.to_bytes(16, "little", signed=True)
        self._digests = bytearray()
        self._input_tokens, self._max_tokens, self._shape_numbers = array("I"), array("I"), array("I")
        self._shapes: dict[Shape, int] = {}
        self._cached_tokens, self._cache_modes = array("I"), bytearray()

    def read(self, index: int, raw: bytes) -> None:
        try:
            params = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _malformed(error) from error
        if not isinstance(params, dict):
            raise RefusalError(400, f"requests.{index}.params: Input should be an object")
        script = self._script(index, raw)
        model = find_model(params.get("model")) or UNKNOWN_MODEL
        max_tokens = params.get("max_tokens")
        self._digests += blake2b(raw, digest_size=DIGEST_BYTES, key=self._key).digest()
        self._input_tokens.append(len(raw) // model.bytes_per_token + 1)
        self._max_tokens.append(max_tokens if isinstance(max_tokens, int) and 0 < max_tokens < 1 << 32 else 0)
        problem = find_problem(params, self._version, self._betas)
        shape = Shape(*_named(params, model), problem, script)
        self._shape_numbers.append(self._shapes.setdefault(shape, len(self._shapes)))
        if b'"cache_control"' in raw:
            self._mark_prefix(index, params, model)

    def _script(self, index: int, raw: bytes) -> Script | None:
        try:
            script = find_script(raw)
        except ValueError as error:
            raise RefusalError(400, f"requests.{index}: {error}") from error
        if script is not None and script.outcome == "reject":
            raise RefusalError(400, f"requests.{index}: the request was rejected, as its text asked")
        if script is not None and script.outcome == "poison":
            self.poisoned = True
        return script

    def _mark_prefix(self, index: int, params: dict[str, Any], model: Model) -> None:
        prefix, mode = cached_prefix(params)
        tokens = len(prefix) // model.bytes_per_token
        if tokens < model.minimum_cached_tokens:
            return  # silently not cached
        if not self._cache_modes:
            self._cache_modes = bytearray(self._count)
            self._cached_tokens = array("I", bytes(4 * self._count))
        self._cache_modes[index] = mode
        self._cached_tokens[index] = min(tokens, self._input_tokens[index])
        digest = blake2b(model.name.encode() + prefix, digest_size=8, key=self._key).digest()
        self.marked_prefixes[index] = int.from_bytes(digest, "little")

    def columns(self, wire_ids: bytes) -> Columns:
        return Columns(
            count=self._count,
            wire_ids=wire_ids,
            digests=bytes(self._digests),
            input_tokens=self._input_tokens.tobytes(),
            max_tokens=self._max_tokens.tobytes(),
            shape_numbers=self._shape_numbers.tobytes(),
            shapes=tuple(self._shapes),
            cached_tokens=self._cached_tokens.tobytes(),
            cache_modes=bytes(self._cache_modes),
        )


def _named(params: dict[str, Any], model: Model) -> tuple[str, str]:
    geography = params.get("inference_geo")
    name = model.name or str(params.get("model", ""))[:256]
    return name, geography if isinstance(geography, str) else "global"


def cached_prefix(params: dict[str, Any]) -> tuple[bytes, int]:
    """Return the bytes of the prefix that ``cache_control`` marks, and its cache mode; empty if none is marked.

    The order is that of the prompt (tools, system, messages), not that of the JSON. A mark at the top level means the
    whole prompt.
    """
    blocks: list[object] = [*_listed(params.get("tools")), *_listed(params.get("system"))]
    for message in _listed(params.get("messages")):
        blocks.extend(_listed(message.get("content")) if isinstance(message, dict) else ())
    end, mark = len(blocks), params.get("cache_control")
    if not isinstance(mark, dict):
        end = 0
        for index, block in enumerate(blocks):
            if isinstance(block, dict) and isinstance(block.get("cache_control"), dict):
                end, mark = index + 1, block["cache_control"]
    if not isinstance(mark, dict):
        return b"", CACHE_NONE
    return msgspec.json.encode(blocks[:end]), CACHE_ONE_HOUR if mark.get("ttl") == "1h" else CACHE_FIVE_MINUTES


def _listed(value: object) -> list[Any]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def stranger_columns(count: int, batch_id: str, seed: int) -> Columns:
    """Return the requests of a batch that somebody else made in this workspace: sound ones, of ids not ours."""
    names = [f"stranger-{batch_id[-8:]}-{index}" for index in range(count)]
    key = seed.to_bytes(16, "little", signed=True)
    digests = b"".join(blake2b(name.encode(), digest_size=DIGEST_BYTES, key=key).digest() for name in names)
    return Columns(
        count=count,
        wire_ids="\n".join(names).encode(),
        digests=digests,
        input_tokens=array("I", [50] * count).tobytes(),
        max_tokens=array("I", [256] * count).tobytes(),
        shape_numbers=bytes(4 * count),
        shapes=(Shape("claude-haiku-4-5-20251001", "global", None, None),),
        attempts=b"\x01" * count,
    )
