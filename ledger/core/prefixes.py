"""The prefixes of a prompt that ``cache_control`` marks: which requests could share an entry of the service's cache.

The order is that of the prompt (tools, system, messages), not that of the JSON ("Prompt caching"). A mark ends a prefix
with the block that it stands in; a mark at the top level means the whole prompt. Two requests share a prefix where all
of it is written alike, for the same model and region, with equal settings of tools and thinking: those are part of what
a cache entry is found by. Requests that differ in how the same thing is written are told apart, which is the safe side.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgspec

DIGEST_DIGITS: Final = 16
MINUTES_SHORT: Final = 5
MINUTES_LONG: Final = 60
"""How long an entry of the cache lives after its last use: ``ttl`` 5m, the default, and 1h ("Prompt caching")."""
REMEMBERED_MAX: Final = 1 << 16
SHARED_MAX: Final = 1_000

_PART_OF_THE_KEY: Final = ("model", "inference_geo", "tool_choice", "thinking")

_encode = msgspec.json.Encoder().encode


class Prefix(NamedTuple):
    """A marked prefix: 16 hex digits of its digest, its size as JSON, and how long an entry lives after its last use.

    ``minutes`` is 5 or 60.
    """

    digest: str
    size_bytes: int
    minutes: int


NO_PREFIX: Final = Prefix("", 0, 0)


def marked_prefixes(params: Mapping[str, Any]) -> tuple[Prefix, ...]:
    """Return the prefixes that a request marks, shortest first; as many as it has marks, 4 at most in a sound one."""
    key = blake2b(_encode([params.get(name) for name in _PART_OF_THE_KEY]), digest_size=DIGEST_DIGITS // 2)
    size_bytes = 0
    found: list[Prefix] = []
    for piece, mark in _pieces(params):
        key.update(len(piece).to_bytes(4, "big"))
        key.update(piece)
        size_bytes += len(piece)
        if mark is not None:
            found.append(Prefix(key.hexdigest(), size_bytes, _minutes(mark)))
    whole = params.get("cache_control")
    if whole is not None and not (found and found[-1].size_bytes == size_bytes):
        found.append(Prefix(key.hexdigest(), size_bytes, _minutes(whole)))
    return tuple(found)


def _pieces(params: Mapping[str, Any]) -> list[tuple[bytes, Any]]:
    """Return what a prompt is made of, in its order, each with its mark or None."""
    pieces = [(_encode(block), _mark_of(block)) for block in _listed(params.get("tools"))]
    pieces += [(_encode(block), _mark_of(block)) for block in _listed(params.get("system"))]
    for message in _listed(params.get("messages")):
        if isinstance(message, dict):
            role = message.get("role")
            pieces += [(_encode([role, block]), _mark_of(block)) for block in _listed(message.get("content"))]
    return pieces


def _mark_of(block: object) -> Any:
    """Return the mark of a block: its own, or the last one of the blocks inside a tool's result."""
    if not isinstance(block, dict):
        return None
    mark = block.get("cache_control")
    if mark is None and block.get("type") == "tool_result":
        marks = [mark for inner in _listed(block.get("content")) if (mark := _mark_of(inner)) is not None]
        mark = marks[-1] if marks else None
    return mark


def _listed(value: object) -> Sequence[object]:
    if isinstance(value, list):
        return value
    return () if value is None else (value,)


def _minutes(mark: object) -> int:
    return MINUTES_LONG if isinstance(mark, dict) and mark.get("ttl") == "1h" else MINUTES_SHORT


class SharedPrefixes:
    """Tells which of its prefixes a request has in common with an earlier one, in the memory of half a megabyte.

    A prefix is shared from its second request on; the first goes with what is not shared, and reads from the cache all
    the same. Of the prefixes that were seen once the latest 65,536 are remembered, fewer where their digests collide:
    of more that take turns in one file, hardly any pair would be sent within an hour. Of those that are shared the
    first ``SHARED_MAX`` are told apart.

    Args:
        known: digests of those that were found to be shared already.
    """

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._shared = set(known)
        self._seen: array[int] | None = None  # made when the first marked request comes; most runs have none

    def shared_by(self, prefixes: Sequence[Prefix]) -> Prefix | None:
        """Return the longest prefix that an earlier request had, too; one that lives for an hour goes before others."""
        found = [prefix for prefix in prefixes if self._is_shared(prefix.digest)]
        longest = max(found, key=lambda prefix: (prefix.minutes, prefix.size_bytes), default=None)
        if longest is not None:
            self._shared.add(longest.digest)
        return longest

    def _is_shared(self, digest: str) -> bool:
        if digest in self._shared:
            return True
        if self._seen is None:
            self._seen = array("Q", bytes(8 * REMEMBERED_MAX))
        number = int(digest, 16)
        place = number % REMEMBERED_MAX
        if self._seen[place] == number:
            return len(self._shared) < SHARED_MAX
        self._seen[place] = number
        return False
