"""Lines that are like an earlier one: the same but for the id and the prompt, as nearly all lines of most files are.

Such a line needs no parser. Where ``A + id + B + prompt + C`` is an item, so is the same with another id and another
prompt, as long as both are JSON texts that the checks let through; all else that a request has stays the same. What is
not exactly like that, and all that may be wrong with anything, is left to `ledger.core.items`.

For a line of 2 KB that is 5 µs instead of 13 (`make bench-hot`).
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from ledger.core.items import ITEM_BYTES_MAX, ItemParser, Problem, Request
from ledger.core.strict_json import read_object

SHAPES_MAX: Final = 4
"""So many kinds of lines are told apart: models, say, that take turns in one file."""

LOOKS_MAX: Final = 64
"""After so many lines were looked at in vain, the file is taken to have no shape."""

_ID = re.compile(rb'"(?:custom_)?id"[ \t]*:[ \t]*(?:"([^"\\]+)"|([0-9]+))')
_PROMPT = re.compile(rb'"(?:prompt|content|text)"[ \t]*:[ \t]*("(?:[^"\\]|\\.)*")', re.DOTALL)
_NUMBER = re.compile("0|[1-9][0-9]{0,17}", re.ASCII)
_PROBE_ID: Final = "7310553"  # a text and a number alike
_PROBE_PROMPT: Final = "a prompt that nobody writes"
_VISIBLE: Final = bytes(range(0x21, 0x7F)).replace(b'"', b"").replace(b"\\", b"")
_decode_text = msgspec.json.Decoder(str).decode
_skip_value = msgspec.json.Decoder(msgspec.Raw).decode
_encode = msgspec.json.Encoder().encode


class Shape:
    """What lines have in common that differ in nothing but their id and their prompt.

    Args:
        line: such a line.
        id_at: where its id begins and ends, without quotes.
        prompt_at: where its prompt begins and ends, with quotes.
        request: what the line asks for.
    """

    def __init__(self, line: bytes, id_at: tuple[int, int], prompt_at: tuple[int, int], request: Request) -> None:
        self._before = line[: id_at[0]]
        self._between = line[id_at[1] : prompt_at[0]]
        self._behind = line[prompt_at[1] :]
        self._id_is_text = self._between.startswith(b'"')
        self._like = request
        self._params_from_id = len(request.prefix) - id_at[1]
        # Of params that are no slice of the line: what stands before and behind the prompt in them.
        before, _, behind = request.params.partition(_encode(_decode_text(line[prompt_at[0] : prompt_at[1]])))
        self._around = before, behind

    def request(self, line: bytes) -> Request | None:
        """Return what a line asks for; None where it is not of this shape, or something may be wrong with it."""
        like, before, between, behind = self._like, self._before, self._between, self._behind
        if not line.startswith(before) or not line.endswith(behind):
            return None
        id_end = line.find(between[:1], len(before))
        prompt = line[id_end + len(between) : len(line) - len(behind)]
        if not line.startswith(between, id_end) or not prompt.startswith(b'"'):
            return None
        try:
            custom_id = line[len(before) : id_end].decode()
            if like.verbatim:
                params_at = id_end + self._params_from_id
                prefix, params = line[:params_at], line[params_at : len(line) - len(like.suffix)]
                is_blank = _is_blank(prompt)
            else:
                text = _decode_text(prompt)
                prefix, params = line, _encode(text).join(self._around)
                is_blank = not text or text.isspace()
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if self._id_is_text:
            if not custom_id.isprintable() or not custom_id or "\\" in custom_id:
                return None
        elif not _NUMBER.fullmatch(custom_id):
            return None
        if is_blank or len(params) > ITEM_BYTES_MAX:
            return None
        return Request(
            custom_id,
            params,
            prefix,
            like.suffix,
            like.verbatim,
            like.priority,
            like.model,
            like.max_tokens,
            like.cached,
            like.geo,
            like.unbounded,
            like.prefixes,
        )


class LineParser:
    """An `ItemParser` that is quick with lines that are like one it has seen; it says the same of every line.

    Args:
        careful: parses all others.
    """

    def __init__(self, careful: ItemParser) -> None:
        self._careful = careful
        self._shapes: list[Shape] = []
        self._looks = 0

    def parse(self, line: bytes) -> Request | Problem:
        """Return the request that a line asks for, or the first thing that is wrong with it."""
        for shape in self._shapes:
            request = shape.request(line)
            if request is not None:
                return request
        parsed = self._careful.parse(line)
        if isinstance(parsed, Request) and len(self._shapes) < SHAPES_MAX and self._looks < LOOKS_MAX:
            self._looks += 1
            found = shape_of(line, parsed, self._careful)
            if found is not None:
                self._shapes.append(found)
        return parsed


def shape_of(line: bytes, request: Request, careful: ItemParser) -> Shape | None:
    """Return the shape of a line, or None where it has none: a prompt of several texts that change, or no id.

    Where the id and the prompt seem to stand is proven by putting others there: the careful parser must find those in
    their places, and ask for the very request that the shape foretells.
    """
    prompt = _prompt(read_object(line))
    id_found = next((found for found in _ID.finditer(line) if _text(found) == request.custom_id), None)
    if prompt is None or id_found is None:
        return None
    id_at = id_found.span(id_found.lastindex or 0)
    spans = [found.span(1) for found in _PROMPT.finditer(line, id_at[1])]
    prompt_at = next((span for span in reversed(spans) if _decode_text(line[slice(*span)]) == prompt), None)
    if prompt_at is None:
        return None
    shape = Shape(line, id_at, prompt_at, request)
    probe = b"".join(
        (
            line[: id_at[0]],
            _PROBE_ID.encode(),
            line[id_at[1] : prompt_at[0]],
            _encode(_PROBE_PROMPT),
            line[prompt_at[1] :],
        )
    )
    foretold, parsed = shape.request(probe), careful.parse(probe)
    proven = (
        isinstance(parsed, Request)
        and parsed == foretold
        and parsed.custom_id == _PROBE_ID
        and _prompt(read_object(probe)) == _PROBE_PROMPT
        and shape.request(line) == request
    )
    return shape if proven else None


def _text(found: re.Match[bytes]) -> str:
    return found[found.lastindex or 0].decode(errors="replace")


def _prompt(item: dict[str, Any]) -> str | None:
    """Return the text that an item ends its talk with, of which no check asks but whether it is blank."""
    content = item["params"]["messages"][-1]["content"] if "params" in item else item["prompt"]
    if type(content) is list and content and type(content[-1]) is dict and content[-1].get("type") == "text":
        content = content[-1].get("text")
    return content if type(content) is str else None


def _is_blank(text: bytes) -> bool:
    """Return whether a JSON text, quotes included, has nothing to read.

    Of ASCII the decoder checks as much when it skips a value as when it builds one, in half the time.

    Raises:
        msgspec.DecodeError: it is no JSON text.
        UnicodeDecodeError: it is no UTF-8.
    """
    _skip_value(text)
    if not text.isascii():
        text.decode()
    return text[1] not in _VISIBLE and not _decode_text(text).strip()
