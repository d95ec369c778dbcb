"""How long prompts and answers were, and which results to show as examples: one pass over the results.

Lengths are counted exactly up to 2,047 tokens and to about a thousandth above, so that memory is bounded whatever
there is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import NamedTuple

import msgspec

from ledger.core.errors import CorruptLogError

EXAMPLES_AT_MOST = 3
QUANTILES = (0.5, 0.9, 0.99)
_EXACT_BITS = 11


class _Used(msgspec.Struct, gc=False):
    input_tokens: int = 0
    output_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_read_tokens: int = 0


class _Result(msgspec.Struct, gc=False):
    """What is needed of a result_stored event."""

    ordinal: int
    chunk: int
    outcome: str = "ok"
    error_kind: str = ""
    usage: _Used | None = None


_decode = msgspec.json.Decoder(list[_Result]).decode


class Example(NamedTuple):
    """A result to show: the request, and the chunk whose rows hold it."""

    ordinal: int
    chunk: int


class Lengths:
    """How often each number of tokens occurred."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def add(self, counted: Mapping[int, int]) -> None:
        """Add occurrences by value."""
        for value, count in counted.items():
            self.counts[_rounded(value)] += count


class Distributions:
    """Collects it, a window of the log at a time."""

    def __init__(self) -> None:
        self.results = 0
        self.prompts = Lengths()
        self.answers = Lengths()
        self.examples: dict[tuple[str, str], list[Example]] = {}
        self.kinds: Counter[tuple[str, str]] = Counter()

    def told(self, results: list[str]) -> None:
        """Take the data of result events.

        Raises:
            CorruptLogError: one of them is none.
        """
        try:
            decoded = _decode(f"[{','.join(results)}]")  # one call for thousands: a quarter of the time
        except msgspec.MsgspecError as problem:
            raise CorruptLogError(
                "a result_stored event cannot be read", why=str(problem), next="ledger replay --audit"
            ) from problem
        self.results += len(decoded)
        used = [result.usage for result in decoded if result.usage is not None]
        self.answers.add(Counter([usage.output_tokens for usage in used]))
        self.prompts.add(
            Counter(
                [
                    usage.input_tokens
                    + usage.cache_read_tokens
                    + usage.cache_write_5m_tokens
                    + usage.cache_write_1h_tokens
                    for usage in used
                ]
            )
        )
        for result in decoded:
            if result.outcome != "ok":
                self._note(result)

    def _note(self, result: _Result) -> None:
        kind = result.outcome, result.error_kind
        self.kinds[kind] += 1
        examples = self.examples.setdefault(kind, [])
        if len(examples) < EXAMPLES_AT_MOST and all(result.ordinal != one.ordinal for one in examples):
            examples.append(Example(result.ordinal, result.chunk))


class Bin(NamedTuple):
    """A column of a histogram: ``low`` to ``high`` exclusive, and how many are in it."""

    low: float
    high: float
    number: int


def quantiles(counts: Mapping[int, int], shares: Iterable[float] = QUANTILES) -> list[int]:
    """Return the smallest values that at least these shares of all do not exceed; 0 where there are none."""
    values = sorted(counts)
    sums = list(accumulate(counts[value] for value in values))
    found = []
    for share in shares:
        wanted = share * sums[-1] if sums else 0
        found.append(next((value for value, reached in zip(values, sums, strict=True) if reached >= wanted), 0))
    return found


def bins(counts: Mapping[int, int], columns: int) -> tuple[list[Bin], bool]:
    """Return values in columns of equal width, and whether that is of their logarithms: where they span decades."""
    values = [value for value in counts if counts[value]]
    if not values:
        return [], False
    low, high = min(values), max(values) + 1
    is_wide = low > 0 and high / low > 20
    if is_wide:
        factor = (high / low) ** (1 / columns)
        edges = [low * factor**index for index in range(columns)] + [high]
    else:
        columns = min(columns, high - low)
        edges = [low + (high - low) * index / columns for index in range(columns)] + [high]
    sums = [0] * (len(edges) - 1)
    column = 0
    for value in sorted(values):
        while column < len(sums) - 1 and value >= edges[column + 1]:
            column += 1
        sums[column] += counts[value]
    return [Bin(edges[index], edges[index + 1], count) for index, count in enumerate(sums)], is_wide


def _rounded(value: int) -> int:
    spare = value.bit_length() - _EXACT_BITS
    return value if spare <= 0 else value >> spare << spare
