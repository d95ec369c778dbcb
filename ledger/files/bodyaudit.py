"""The audit of bodies that were replaced or deleted: each against the digest that was recorded when it was put there.

The first body of a request is the first that was superseded, or the one that is there where none was. A body that is
gone must be one whose deletion is recorded; its digest in the log stays, and says nothing without the salt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ledger.core import events as e
from ledger.core.columns import ordinals, to_ranges
from ledger.core.findings import Finding, breach, note
from ledger.ports import EventLog, RequestPayload
from ledger.store.payloads import digest, is_redacted

_GONE = ""
"""What stands for the digest of a body that was redacted."""


class Redacted:
    """Which payloads are gone, and of which it is recorded that they were deleted."""

    def __init__(self) -> None:
        self._met: set[int] = set()
        self._recorded = 0

    def met(self, ordinal: int) -> None:
        """Note that a payload of a request is gone."""
        self._met.add(ordinal)

    def announced(self, ranges: Sequence[int]) -> Iterable[Finding]:
        """Take note of the event that says so; what it deleted was met before it, where its own events stand."""
        members = set(ordinals(list(ranges)))
        self._recorded += len(members)
        self._met -= members
        return ()

    def ended(self, position: int) -> Iterator[Finding]:
        """Return what is gone although nobody recorded it, and how much was deleted."""
        for start, end in zip(*[iter(to_ranges(sorted(self._met)))] * 2, strict=True):
            what = "a body or an answer is gone, and no event says that it was deleted"
            yield breach(position, what, f"request {start}" if end == start + 1 else f"requests {start} to {end - 1}")
        if self._recorded:
            whose = f"{self._recorded:,} request{'s' if self._recorded > 1 else ''}"
            yield note(position, f"what {whose} asked, and what was answered, was deleted (ledger redact)")


class Bodies:
    """Compares the bodies of requests with the digests in the events that put them there.

    Args:
        log: where the bodies are.
        redacted: is told of bodies that are gone.
    """

    def __init__(self, log: EventLog, redacted: Redacted) -> None:
        self._log = log
        self._redacted = redacted
        self._current: dict[int, str] = {}  # of requests that were amended
        self._superseded: dict[int, list[str]] = {}
        self._amended: dict[int, int] = {}
        self._load()

    def built(self, position: int, event: e.RequestBuilt, payload: RequestPayload) -> Sequence[Finding]:
        """Return what is wrong with the first body of a request."""
        found = _digest(payload)
        if event.ordinal not in self._superseded and found not in (event.digest, _GONE):
            self._load()  # amended since this audit began: what is there now has replaced it
        first = self._superseded.get(event.ordinal)
        if first is not None:
            self._current[event.ordinal] = found
        return self._compare(position, event.ordinal, first[0] if first else found, event.digest)

    def amended(self, position: int, event: e.RequestAmended) -> Sequence[Finding]:
        """Return what is wrong with a body that replaced another, and with the one that was kept."""
        ordinal = event.ordinal
        kept = self._superseded.get(ordinal)
        number = self._amended.get(ordinal, 0)
        if kept is None or number >= len(kept):
            return [breach(position, "the body that was replaced is not stored", f"request {ordinal}")]
        self._amended[ordinal] = number + 1
        if number + 1 == len(kept) and self._current.get(ordinal) not in (event.digest, _GONE):
            self._load()  # likewise
            kept = self._superseded[ordinal]
        found = kept[number + 1] if number + 1 < len(kept) else self._current.get(ordinal, "?")
        return [
            *self._compare(position, ordinal, kept[number], event.old_digest),
            *self._compare(position, ordinal, found, event.digest),
        ]

    def _compare(self, position: int, ordinal: int, found: str, recorded: str) -> Sequence[Finding]:
        if found == _GONE:
            self._redacted.met(ordinal)
        elif found != recorded:
            what = "the stored body is not the one whose digest was recorded"
            return [breach(position, what, f"request {ordinal}")]
        return ()

    def _load(self) -> None:
        superseded: dict[int, list[str]] = {}
        for body in self._log.superseded_payloads():
            superseded.setdefault(body.ordinal, []).append(_digest(body.payload))
        self._superseded = superseded


def _digest(payload: RequestPayload) -> str:
    return _GONE if is_redacted(payload) else digest(payload.salt, payload.params)
