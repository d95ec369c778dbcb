"""Per-request state in packed columns: twelve bytes a request, and no Python object for any of them.

Columns are owned by the fold and changed in place: copying tuples per event would be quadratic.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator

from ledger.core.events import OUTCOMES, Outcome

PENDING = 0
IN_CHUNK = 1
WITHDRAWN = 2
FINAL = 8
"""Statuses from FINAL on are outcomes: FINAL + index in OUTCOMES."""

STATUS_OF_OUTCOME: dict[Outcome, int] = {outcome: FINAL + index for index, outcome in enumerate(OUTCOMES)}

OUTCOME_OF_STATUS: dict[int, Outcome] = {status: outcome for outcome, status in STATUS_OF_OUTCOME.items()}

STATUS_NAMES: dict[int, str] = {
    PENDING: "pending",
    IN_CHUNK: "in_chunk",
    WITHDRAWN: "withdrawn",
    **{FINAL + index: outcome for index, outcome in enumerate(OUTCOMES)},
}


ATTEMPTS_AT_MOST = 255


class Columns:
    """Columns keyed by ordinal: status, attempts, chunk (0 for none), size in bytes on the wire, class.

    ``forgiven`` is how many of the attempts count no more; it reaches to the last request that was ever reopened.
    ``redacted`` is whether the bodies were deleted; it reaches to the last request of which they were.
    """

    __slots__ = ("attempts", "chunk", "class_id", "forgiven", "redacted", "size_bytes", "status")

    def __init__(self) -> None:
        self.status = bytearray()
        self.attempts = bytearray()
        self.chunk = array("I")
        self.size_bytes = array("I")
        self.class_id = array("H")
        self.forgiven = bytearray()
        self.redacted = bytearray()

    def __len__(self) -> int:
        return len(self.status)

    def add(self, size_bytes: int, class_id: int) -> None:
        """Append a pending request."""
        self.status.append(PENDING)
        self.attempts.append(0)
        self.chunk.append(0)
        self.size_bytes.append(size_bytes)
        self.class_id.append(class_id)

    def forgive(self, ordinal: int) -> None:
        """Bound a request's attempts anew; the column is there once somebody has reopened a request."""
        if ordinal >= len(self.forgiven):
            self.forgiven.extend(bytes(ordinal + 1 - len(self.forgiven)))
        self.forgiven[ordinal] = self.attempts[ordinal]

    def was_reopened(self, ordinal: int) -> bool:
        """Return whether a request that had been answered was opened again."""
        return ordinal < len(self.forgiven) and self.forgiven[ordinal] > 0

    def redact(self, ordinal: int) -> None:
        """Note that the bodies of a request were deleted."""
        if ordinal >= len(self.redacted):
            self.redacted.extend(bytes(ordinal + 1 - len(self.redacted)))
        self.redacted[ordinal] = 1

    def is_redacted(self, ordinal: int) -> bool:
        """Return whether the bodies of a request were deleted."""
        return ordinal < len(self.redacted) and bool(self.redacted[ordinal])

    def attempts_that_count(self, ordinal: int) -> int:
        """Return how often a request was answered since it was built, or reopened."""
        if self.attempts[ordinal] == ATTEMPTS_AT_MOST:  # nobody counts further: each reopening is one more
            return ATTEMPTS_AT_MOST
        before = self.forgiven[ordinal] if ordinal < len(self.forgiven) else 0
        return self.attempts[ordinal] - before

    def dump(self) -> list[memoryview]:
        """Return views of the columns, in the order of ``load``; integers are in the byte order of the machine.

        No column can grow while its view is there. Copies would be 12 MB of a million requests, for each memo.
        """
        columns = (self.status, self.attempts, self.forgiven, self.redacted, self.chunk, self.size_bytes, self.class_id)
        return [memoryview(column) for column in columns]

    @classmethod
    def load(cls, parts: list[bytes]) -> Columns:
        """Return the columns that ``dump`` wrote."""
        columns = cls()
        columns.status, columns.attempts, columns.forgiven, columns.redacted = map(bytearray, parts[:4])
        for column, part in zip((columns.chunk, columns.size_bytes, columns.class_id), parts[4:], strict=True):
            column.frombytes(part)
        return columns


class OrdinalQueue:
    """A first-in, first-out queue of ordinals, kept as flat ``[start, end, …]`` ranges.

    Requests of one lane mostly have consecutive ordinals, so that a queue of a million is two numbers.
    """

    __slots__ = ("ranges", "size", "skipped")

    def __init__(self, ranges: list[int] | None = None) -> None:
        self.ranges = array("I", ranges or [])
        self.skipped = 0
        self.size = sum(end - start for start, end in pairs(self.ranges))

    def push(self, start: int, end: int) -> None:
        """Append the ordinals ``start <= ordinal < end``."""
        if len(self.ranges) > self.skipped and self.ranges[-1] == start:
            self.ranges[-1] = end
        else:
            self.ranges.extend((start, end))
        self.size += end - start

    def push_front(self, ranges: tuple[int, ...]) -> None:
        """Put ordinals back before all others."""
        rest = list(self.ranges[self.skipped :])
        self.size += sum(end - start for start, end in pairs(ranges))
        if ranges and rest and ranges[-1] == rest[0]:  # adjacent ranges are always one: ``take`` relies on it
            ranges, rest = (*ranges[:-1], rest[1]), rest[2:]
        self.ranges = array("I", [*ranges, *rest])
        self.skipped = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((self.ranges[at], self.ranges[at + 1]) for at in range(self.skipped, len(self.ranges), 2))

    def take(self, ranges: list[int]) -> None:
        """Remove ordinals from the front; ``ranges`` must be exactly what stands there.

        Raises:
            ValueError: something else stands there; nothing was removed.
        """
        at, rest = self.skipped, None
        for start, end in pairs(ranges):
            low, high = (
                (rest, self.ranges[at + 1])
                if rest is not None
                else ((self.ranges[at], self.ranges[at + 1]) if at < len(self.ranges) else (-1, -1))
            )
            if low != start or end > high:
                raise ValueError(f"{start}..{end} is not at the front of the queue")
            at, rest = (at, end) if end < high else (at + 2, None)
        self.skipped = at
        if rest is not None:
            self.ranges[at] = rest
        self.size -= sum(end - start for start, end in pairs(ranges))
        if self.skipped > 1024 and self.skipped * 2 > len(self.ranges):  # amortised: each number is moved once
            del self.ranges[: self.skipped]
            self.skipped = 0

    def discard_from(self, first: int) -> None:
        """Remove every ordinal at or above ``first``."""
        self._become([bound for start, end in self if start < first for bound in (start, min(end, first))])

    def remove(self, unwanted: set[int]) -> None:
        """Remove these ordinals, wherever they stand."""
        kept: list[int] = []
        for start, end in self:
            kept += to_ranges([ordinal for ordinal in range(start, end) if ordinal not in unwanted])
        self._become(kept)

    def discard(self, ordinal: int) -> bool:
        """Remove one ordinal and return whether it was there; the ranges must ascend, as before the first sending.

        Quick where ordinals ascend from call to call, however many there are: what is cut stands near the end.
        """
        at = bisect_right(self.ranges, ordinal, self.skipped)
        if not (at - self.skipped) % 2:
            return False
        start, end = self.ranges[at - 1], self.ranges[at]
        if start == ordinal and end == ordinal + 1:
            if at - 1 == self.skipped:
                self.skipped += 2
            else:
                del self.ranges[at - 1 : at + 1]
        elif start == ordinal:
            self.ranges[at - 1] = ordinal + 1
        elif end == ordinal + 1:
            self.ranges[at] = ordinal
        else:
            self.ranges[at:at] = array("I", (ordinal, ordinal + 1))
        self.size -= 1
        return True

    def _become(self, ranges: list[int]) -> None:
        self.ranges = array("I")
        for start, end in pairs(ranges):  # adjacent ranges are always one: ``take`` relies on it
            if self.ranges and self.ranges[-1] == start:
                self.ranges[-1] = end
            else:
                self.ranges.extend((start, end))
        self.skipped = 0
        self.size = sum(end - start for start, end in pairs(ranges))

    def dump(self) -> list[int]:
        """Return the flat ranges that are left."""
        return list(self.ranges[self.skipped :])


def pairs(ranges: list[int] | array[int] | tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Yield the (start, end) pairs of flat ranges."""
    return ((ranges[at], ranges[at + 1]) for at in range(0, len(ranges), 2))


def ordinals(ranges: list[int] | array[int] | tuple[int, ...]) -> Iterator[int]:
    """Yield every ordinal of flat ranges."""
    for start, end in pairs(ranges):
        yield from range(start, end)


def to_ranges(numbers: Iterator[int] | list[int]) -> list[int]:
    """Return ascending ordinals as flat ranges."""
    ranges: list[int] = []
    for number in numbers:
        if ranges and ranges[-1] == number:
            ranges[-1] = number + 1
        else:
            ranges += (number, number + 1)
    return ranges
