"""A result row of the service under the user's own custom_id, every other byte as it was."""

from __future__ import annotations

import json

import msgspec

from ledger.core.errors import CorruptLogError

_SERVICE_FORM = b'{"custom_id":"'


def with_custom_id(row: bytes, custom_id: str) -> bytes:
    """Return a result row with another custom_id, every other byte as it was.

    Raises:
        CorruptLogError: the row is no object with a custom_id.
    """
    if row.startswith(_SERVICE_FORM):
        start = len(_SERVICE_FORM)
        end = row.find(b'"', start)
        if b"\\" not in row[start:end]:
            return b"".join((row[: start - 1], msgspec.json.encode(custom_id), row[end + 1 :]))
    try:
        text = row.decode()
        start, end = _span_of_custom_id(text)
    except ValueError as problem:  # UnicodeDecodeError and JSONDecodeError are ones
        raise CorruptLogError(
            "a stored row is no result row", why=str(problem), next="ledger replay --audit"
        ) from problem
    return b"".join((text[:start].encode(), msgspec.json.encode(custom_id), text[end:].encode()))


def _span_of_custom_id(text: str) -> tuple[int, int]:
    """Return where the value of the object's own custom_id stands; a quotation of one inside is not it."""
    decoder = json.JSONDecoder()
    at = _skip(text, 0, "{")
    while True:
        name, at = decoder.raw_decode(text, _skip(text, at, ""))
        start = _skip(text, _skip(text, at, ":"), "")
        _, end = decoder.raw_decode(text, start)
        if name == "custom_id":
            return start, end
        at = _skip(text, end, ",")


def _skip(text: str, at: int, expected: str) -> int:
    """Return the place behind white space and an expected character."""
    while text[at : at + 1] in (" ", "\t", "\r", "\n"):
        at += 1
    if not text.startswith(expected, at):
        raise ValueError(f"no {expected!r} at character {at}")
    return at + len(expected)
