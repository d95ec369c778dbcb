"""Cache priming: of every prefix that requests share one request goes first, so that the others find it in the cache.

Requests of a batch run many at once and in any order, so that many of them write to the cache what one could have
written; the guide's way out is a batch of one request first, and the rest once that has ended ("Prompt caching", FAQ).
With ``--prime-cache`` that is done for every prefix that pending requests share, the most valuable first. It goes
before the canary and before the lanes, and is waited for no longer than a canary is.

What is known of a prefix that was primed is its *warmth*: when, by the service's clock, it was last used by a batch
that is known to have ended. An entry lives for an hour from its last use; when a canary, or the wait for a full queue,
outlasted that, the prefix is primed again before more of it is sealed. A prefix is primed ``PRIMINGS_AT_MOST`` times
for what is sealed next, since a primer may fail; and never again once it showed that nothing is read.

Not primed are prefixes that a single waiting request has (of those that would be sealed next), that are shorter than
what the model caches, or that the service keeps for five minutes: no batch is sure to end, and the next to begin,
within those.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import NamedTuple

import msgspec

from ledger.core import events as e
from ledger.core.chunks import body_size_bytes
from ledger.core.costs import bytes_per_token
from ledger.core.models import find_model
from ledger.core.prefixes import MINUTES_LONG
from ledger.core.prices import EXACT, rates
from ledger.core.state import Chunk, RunState, Warmth
from ledger.core.units import MICROSECONDS_PER_SECOND

PRIMERS_AT_MOST = 100
"""Prefixes that are primed at once, the most valuable first."""
PRIMINGS_AT_MOST = 2
WARM_US = 55 * 60 * MICROSECONDS_PER_SECOND
"""A prefix counts as cached for so long: an hour, less the time it takes to send a batch and to have it begun."""
CACHE_TOKENS_MIN_UNKNOWN = 512
"""What is taken for the shortest cached prefix of models of which no page says it: that of the others of their age."""

_NOTHING = Decimal(0)


class Shared(NamedTuple):
    """A prefix that waiting requests share: what it is, how many they are, and the first of them."""

    one: e.ClassDeclared
    requests: int
    first: int

    @property
    def tokens(self) -> int:
        """About how many tokens the prefix has."""
        return self.one.prefix_bytes // bytes_per_token(self.one.model)


# ── what is primed ──────────────────────────────────────────────────────────────────────────────────────────────


def is_long_enough(shared: Shared) -> bool:
    """Return whether a prefix is as long as what its model caches; shorter ones are silently not cached."""
    known = find_model(shared.one.model)
    least = known.cache_tokens_min if known is not None else None
    return shared.tokens >= (CACHE_TOKENS_MIN_UNKNOWN if least is None else least)


def is_kept_long_enough(shared: Shared) -> bool:
    """Return whether a prefix is marked to be kept for an hour."""
    return shared.one.prefix_minutes >= MINUTES_LONG


def shared_prefixes(state: RunState, ranges: Iterable[tuple[int, int]]) -> list[Shared]:
    """Return the prefixes that at least two of some requests share, in the order in which they come."""
    class_id, classes = state.columns.class_id, state.classes
    counts: Counter[int] = Counter()
    first: dict[int, int] = {}
    for start, end in ranges:
        members = class_id[start:end]
        earliest = dict(zip(reversed(members), range(end - 1, start - 1, -1), strict=True))  # the last of equals stays
        for number, count in Counter(members).items():
            if classes[number].prefix:
                counts[number] += count
                first.setdefault(number, earliest[number])
    found: dict[str, Shared] = {}
    for number, count in counts.items():
        one, at = classes[number], first[number]
        before = found.get(one.prefix)
        found[one.prefix] = Shared(one, count, at) if before is None else before._replace(
            requests=before.requests + count
        )  # fmt: skip
    return [shared for shared in found.values() if shared.requests > 1]


def write_less_read_usd(state: RunState, shared: Shared) -> Decimal:
    """Return what a request saves that reads a prefix instead of writing it; 0 where the price is not known."""
    rated = None if state.prices is None else rates(state.prices, shared.one.model, geo=shared.one.geo)
    if rated is None:
        return _NOTHING
    return EXACT.multiply(EXACT.subtract(rated.cache_write_1h, rated.cache_read), shared.tokens)


def worth_priming(state: RunState, found: Iterable[Shared]) -> list[Shared]:
    """Return the prefixes that can be primed, those first whose other requests save most by it."""
    fit = [shared for shared in found if is_long_enough(shared) and is_kept_long_enough(shared)]
    value = {shared.one.prefix: (shared.requests - 1) * write_less_read_usd(state, shared) for shared in fit}
    return sorted(fit, key=lambda shared: (-value[shared.one.prefix], shared.first))


def primers_due(state: RunState, now: int, sealed_next: int, window: int, max_bytes: int) -> list[int]:
    """Return the requests that prime what is to be sealed, the most valuable first; none where nothing needs it.

    Args:
        state: the run.
        now: the writer's clock.
        sealed_next: how many requests the next chunk takes: whether to prime is told by those.
        window: for how many of the next requests prefixes are primed if any are: what the queue takes at once.
        max_bytes: how large the body of the primers may be.
    """
    if not state.policy.prime_cache or not any(_due(state, now, shared_prefixes(state, _front(state, sealed_next)))):
        return []
    if is_in_vain(state) or any(chunk.cause == "priming" for chunk in state.live_chunks()):
        return []  # one that is waited for no longer does not call for another
    primers: list[int] = []
    size_bytes = 0
    for shared in _due(state, now, shared_prefixes(state, _front(state, window))):
        size_bytes += state.columns.size_bytes[shared.first]
        if len(primers) == PRIMERS_AT_MOST or (primers and body_size_bytes(size_bytes, len(primers) + 1) > max_bytes):
            break
        primers.append(shared.first)
    return primers


def _due(state: RunState, now: int, found: list[Shared]) -> list[Shared]:
    cold = [shared for shared in found if _is_cold(state, now, state.warmth.get(shared.one.prefix))]
    return worth_priming(state, cold)


def _is_cold(state: RunState, now: int, known: Warmth | None) -> bool:
    if known is None:
        return True
    if known.primings >= PRIMINGS_AT_MOST:
        return False
    asked_at = max(state.polled_at, state.listed_at)  # then it was server_date; since, the writer's clock has gone on
    return not known.used_at or state.server_date - known.used_at + max(now - asked_at, 0) >= WARM_US


def _front(state: RunState, requests: int) -> Iterator[tuple[int, int]]:
    """Yield the next fresh requests, in the order of the lanes, as ranges of ordinals."""
    for priority in sorted(state.fresh, reverse=True):
        for start, end in state.fresh[priority]:
            if requests <= 0:
                return
            yield start, min(end, start + requests)
            requests -= end - start


# ── waiting for it, and what came of it ─────────────────────────────────────────────────────────────────────────


def priming_under_way(state: RunState, now: int, in_doubt: set[int]) -> list[Chunk]:
    """Return the priming chunks whose end is waited for before anything fresh is sealed.

    Not waited for: one that a person is asked about, that waits for a submission in doubt of its own size, or whose
    time is over, as long as a canary's.

    Args:
        state: the run.
        now: the writer's clock.
        in_doubt: the sizes that cannot be submitted now.
    """
    return [
        chunk
        for chunk in state.live_chunks()
        if chunk.cause == "priming"
        and chunk.hold is None
        and not (chunk.status == "sealed" and chunk.requests in in_doubt)
        and not 0 < waited_until(state, chunk) <= now
    ]


def waited_until(state: RunState, chunk: Chunk) -> int:
    """Return until when, by the writer's clock, a priming chunk is waited for; 0 while it was not sent yet."""
    return chunk.sent_at + state.policy.canary_wait_us if chunk.sent_at else 0


class Primed(msgspec.Struct, frozen=True, kw_only=True):
    """What priming came to, in tokens: of the primers, and of all batches that were sealed after the first of them."""

    primers: int
    written_tokens: int
    read_after_tokens: int
    written_after_tokens: int


def primed(state: RunState) -> Primed | None:
    """Return what priming came to by the results that are stored; None where nothing was primed."""
    first = next((chunk.chunk for chunk in state.chunks.values() if chunk.cause == "priming"), 0)
    if not first:
        return None
    primers = written = read_after = written_after = 0
    for key, numbers in state.spent.items():
        chunk = state.chunks[key[0]]
        writes, reads = numbers[3] + numbers[4], numbers[5]
        if chunk.cause == "priming":
            primers += numbers[0]
            written += writes
        elif chunk.chunk > first:
            read_after += reads
            written_after += writes
    return Primed(
        primers=primers, written_tokens=written, read_after_tokens=read_after, written_after_tokens=written_after
    )


def is_in_vain(state: RunState) -> bool:
    """Return whether priming showed to be of no use: what followed wrote anew and read nothing, or nothing was cached.

    Entries of one batch may be kept from the next, which nobody promises they are not; and a prefix may have fewer
    tokens than its bytes let expect.
    """
    came = primed(state)
    if came is None or not came.primers or came.read_after_tokens:
        return False
    return bool(came.written_after_tokens) or not came.written_tokens
