"""JSON read strictly: one line that the service cannot read would fail a whole batch of thousands.

Valid UTF-8, finite numbers, no lone surrogates, no duplicate keys at any depth, bounded nesting, nothing behind the
object. The decoder checks all of it but the duplicates, of which it silently keeps the last; those are found by
counting strings, which costs a third of a parser that looks at pairs: see `count_strings`. The one long text that most
lines end with is no part of that count: see `_read_apart`.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

import msgspec

from ledger.core.problems import Problem, Refused, refuse

DEPTH_MAX: Final = 128
"""Arrays and objects inside one another; a limit of our own, so that every machine accepts the same items."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")
_PROMPT = re.compile(rb'"(?:content|prompt)"[ \t]*:[ \t]*')
_LONG_BYTES: Final = 256
_MARK_TEXT: Final = "here stood the prompt"
_MARK: Final = b'"%b"' % _MARK_TEXT.encode()
_decode = msgspec.json.Decoder().decode
_decode_text = msgspec.json.Decoder(str).decode


def read_object(line: bytes) -> dict[str, Any]:
    """Return the object of a line, or refuse it."""
    return _read_apart(line) or _read_whole(line)


def _read_apart(line: bytes) -> dict[str, Any] | None:
    """Return the object of a line that ends with its prompt, or None where that is not how it is written.

    The prompt is decoded as the one string that it must be, the little around it with a mark in its place. Where both
    are JSON, so is the line, and it says the same; whatever is wrong, the reader of whole lines says it better. For a
    line of 2 KB that is 5 µs instead of 8: no quote in the prompt needs to be counted.
    """
    found = _PROMPT.search(line)
    if found is None:
        return None
    start, end = found.end(), line.rfind(b'"') + 1
    if end - start < _LONG_BYTES:
        return None
    around = line[:start] + _MARK + line[end:]
    if b"\\" in around or around.count(_MARK) != 1:
        return None
    try:
        text = _decode_text(line[start:end])
        item = _decode(around)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if type(item) is not dict or count_strings(item, 1) * 2 != around.count(b'"') or not _put(item, text):
        return None
    return item


def _put(value: dict[str, Any] | list[Any], text: str) -> bool:
    """Return whether the mark was found in a decoded object or array, and the text put in its place."""
    places: Any = value.items() if type(value) is dict else enumerate(value)
    for place, member in places:
        if member == _MARK_TEXT:
            value[place] = text
            return True
        if type(member) in (dict, list) and _put(member, text):
            return True
    return False


def _read_whole(line: bytes) -> dict[str, Any]:
    try:
        item = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(_malformed(line, error)) from None
    if type(item) is not dict:
        refuse("not-an-object", "", "the line is no JSON object", _hint_not_an_object(line))
    quotes = line.count(b'"')
    if b"\\" in line:
        # Quotes inside strings are escaped. Pairs of backslashes go first: a backslash that is left is an escape.
        unpaired = line.replace(b"\\\\", b"")
        quotes = unpaired.count(b'"') - unpaired.count(b'\\"')
    if count_strings(item, 1) * 2 != quotes:
        key = _first_duplicate_key(line)
        refuse("duplicate-key", key, f"the key {key!r} is there twice in one object", "keep one of them")
    return item


def count_strings(value: dict[str, Any] | list[Any], depth: int) -> int:
    """Return how many strings, keys included, are inside a decoded object or array.

    It equals the number of strings in the text exactly when no key was dropped as a duplicate, since a dropped
    pair takes at least its key along. That makes the test exact, and cheaper than any parser that looks at pairs.
    """
    if depth > DEPTH_MAX:
        raise Refused(_too_deep())
    count = 0
    if type(value) is dict:
        count = len(value)
        members: Any = value.values()
    else:
        members = value
    for member in members:
        kind = type(member)
        if kind is str:
            count += 1
        elif kind is dict or kind is list:
            count += count_strings(member, depth + 1)
    return count


def _too_deep() -> Problem:
    why = f"more than {DEPTH_MAX} arrays and objects inside one another"
    return Problem("too-deep", "", why, "write it flatter")


def _depth(line: bytes) -> int:
    """Return how many arrays and objects are inside one another at most, in text that need not be JSON."""
    depth = deepest = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", line)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


class _DuplicateKeyFound(Exception):  # noqa: N818 - carries what was looked for
    def __init__(self, key: str) -> None:
        self.key = key


def _first_duplicate_key(line: bytes) -> str:
    def look(pairs: list[tuple[str, Any]]) -> None:
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyFound(key)
            seen.add(key)

    try:
        json.loads(line, object_pairs_hook=look)
    except _DuplicateKeyFound as found:
        return found.key
    raise AssertionError("the count of strings says that a key was dropped")


def _malformed(line: bytes, error: Exception) -> Problem:
    """Say what is wrong with a line that is no strict JSON; the slow path, so it may look twice."""
    if isinstance(error, RecursionError):
        return _too_deep()
    if line.startswith((b"\xff\xfe", b"\xfe\xff")) or (b"\x00" in line and line[1:2] == b"\x00"):
        why = "this is UTF-16, not UTF-8"
        return Problem("not-utf-8", "", why, "convert the file: iconv -f UTF-16 -t UTF-8")
    if line.startswith(_BYTE_ORDER_MARK):
        return Problem("byte-order-mark", "", "a byte order mark inside the file", "remove the bytes EF BB BF")
    if b"\x00" in line:
        why = f"a NUL byte at byte {line.index(0)}; no JSON has one"
        return Problem("nul", "", why, "restore the file: part of it was never written")
    try:
        text = line.decode()
    except UnicodeDecodeError as bad:
        why = f"byte {bad.start} (0x{line[bad.start]:02x}) is not valid UTF-8"
        return Problem("not-utf-8", "", why, "convert the file: iconv -f WINDOWS-1252 -t UTF-8")
    if _depth(line) > DEPTH_MAX:  # how deep a parser goes before it gives up differs between versions of Python
        return _too_deep()
    return _lenient_problem(text) or Problem("not-json", "", _reason(error), _hint_not_json(line))


def _lenient_problem(text: str) -> Problem | None:
    """Return what Python's lenient parser lets through and JSON does not: NaN, 1e999, lone surrogates."""

    def no_constant(name: str) -> NoReturn:
        refuse("not-finite", "", f"{name} is not JSON", "write null, or drop the field")

    def finite(digits: str) -> float:
        number = float(digits)
        if number in (float("inf"), float("-inf")):
            shown = digits if len(digits) <= 20 else f"{digits[:20]}…"
            refuse("not-finite", "", f"{shown} is larger than any number", "write a smaller number")
        return number

    try:
        value = json.loads(text, parse_constant=no_constant, parse_float=finite)
    except Refused as refused:
        return refused.problem
    except RecursionError:
        return _too_deep()
    except ValueError:
        return None  # no parser takes it: the first one's reason stands
    found = _SURROGATE.search(json.dumps(value, ensure_ascii=False))
    if found is None:
        return None
    why = f"\\u{ord(found[0]):04x} is half a character (a lone surrogate)"
    return Problem("surrogate", "", why, "write both halves, or the character itself")


def _reason(error: Exception) -> str:
    message = str(error).removeprefix("JSON is malformed: ").partition(" - at `")[0]
    return "the JSON ends too early" if message == "Input data was truncated" else f"no JSON: {message}"


def _hint_not_json(line: bytes) -> str:
    if line.strip() in (b"[", b"{"):
        return _hint_not_an_object(line)
    if b"'" in line[:40] and b'"' not in line[:40]:
        return "JSON takes double quotes: write \"text\", not 'text'"
    return "write one JSON object a line"


def _hint_not_an_object(line: bytes) -> str:
    if line.lstrip().startswith(b"["):
        return "one object a line, not an array: jq -c '.[]' FILE"
    return "one object a line: jq -c . FILE"
