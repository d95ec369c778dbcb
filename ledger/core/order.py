"""The order in which a run will go: what primes the cache, the canary, then the lanes; and what each wait may cost.

Whoever sees a preview should know what will be sent first and how long the rest waits for it, and what priming the
cache costs and may save. None of it is a promise about the cache: hits are best effort ("Prompt caching").
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Literal

import msgspec

from ledger.core.canary import canary_wanted
from ledger.core.costs import plain
from ledger.core.models import Notice
from ledger.core.prefixes import MINUTES_SHORT
from ledger.core.prices import EXACT, rates
from ledger.core.priming import (
    PRIMERS_AT_MOST,
    Shared,
    is_kept_long_enough,
    is_long_enough,
    shared_prefixes,
    worth_priming,
    write_less_read_usd,
)
from ledger.core.state import RunState
from ledger.core.units import MICROSECONDS_PER_SECOND

HOURS_USUAL = 1.0
"""Most batches end within an hour (batch guide)."""
_HOUR_US = 3600 * MICROSECONDS_PER_SECOND


class PrimingPreview(msgspec.Struct, frozen=True, kw_only=True):
    """The prefixes that waiting requests share and that can be primed.

    ``wanted`` is whether they will be, by ``--prime-cache``; ``prefixes`` how many, each by one of the ``requests``
    that share them; ``left_out`` how many more there are than are primed at once. ``written_usd`` is what the primers
    pay to have them written. ``saved_usd_max`` is what is saved where otherwise every other request had written its
    own, all of which read now; ``saved_usd_min``, below 0, where no batch reads what another wrote. Amounts are None
    where a price is not known.
    """

    wanted: bool
    prefixes: int
    requests: int
    left_out: int
    written_usd: Decimal | None
    saved_usd_min: Decimal | None
    saved_usd_max: Decimal | None


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent at one stage: so many requests, of ``priorities`` in this order.

    What comes after it waits until it has ended: ``wait_hours_usual`` as a rule, ``wait_hours_max`` at most; both are 0
    of the last.
    """

    what: Literal["priming", "canary", "lanes"]
    requests: int
    priorities: tuple[int, ...]
    wait_hours_usual: float = 0.0
    wait_hours_max: float = 0.0


def priming_preview(state: RunState) -> PrimingPreview | None:
    """Return what there is to prime of the requests that wait; None where there is nothing."""
    fit = worth_priming(state, shared_prefixes(state, _waiting(state)))
    if not fit:
        return None
    chosen = fit[:PRIMERS_AT_MOST]
    known = state.prices is not None and all(_writing_usd(state, shared) is not None for shared in chosen)
    written = _sum(_writing_usd(state, shared) or Decimal(0) for shared in chosen)
    once = _sum(write_less_read_usd(state, shared) for shared in chosen)
    each = _sum((shared.requests - 1) * write_less_read_usd(state, shared) for shared in chosen)
    return PrimingPreview(
        wanted=state.policy.prime_cache,
        prefixes=len(chosen),
        requests=sum(shared.requests for shared in chosen),
        left_out=len(fit) - len(chosen),
        written_usd=written if known else None,
        saved_usd_min=plain(-once) if known else None,
        saved_usd_max=each if known else None,
    )


def order_of(state: RunState) -> tuple[Turn, ...]:
    """Return in which order what waits will be sent; one turn where nothing goes ahead of the rest."""
    priorities = tuple(priority for priority in sorted(state.fresh, reverse=True) if state.fresh[priority].size)
    left = sum(queue.size for queue in state.fresh.values())
    wait_hours = state.policy.canary_wait_us / _HOUR_US
    turns = []
    primed = priming_preview(state) if state.policy.prime_cache else None
    ahead: list[tuple[Literal["priming", "canary"], int]] = []
    if primed is not None:
        ahead.append(("priming", primed.prefixes))
    if canary_wanted(state):
        ahead.append(("canary", min(state.policy.canary_requests, state.policy.chunk_requests)))
    for what, requests in ahead:
        turns.append(
            Turn(
                what=what,
                requests=min(requests, left),
                priorities=priorities,
                wait_hours_usual=min(HOURS_USUAL, wait_hours),
                wait_hours_max=wait_hours,
            )
        )
        left -= turns[-1].requests
    return (*turns, Turn(what="lanes", requests=left, priorities=priorities)) if left else tuple(turns)


def prefix_notices(state: RunState) -> list[Notice]:
    """Return what is to be known of prefixes that requests share and that will hardly be read from the cache."""
    found = shared_prefixes(state, _waiting(state))
    notices = []
    for model in sorted({shared.one.model for shared in found}):
        short_lived = _requests(s for s in found if s.one.model == model and not is_kept_long_enough(s))
        if short_lived:
            notices.append(
                Notice(
                    model,
                    "cache-five-minutes",
                    f"{short_lived:,} prompts for {model} share a prefix that is kept for {MINUTES_SHORT} minutes: "
                    "a batch mostly takes longer, and another one cannot read it; it is not primed either",
                    'write "cache_control": {"type": "ephemeral", "ttl": "1h"}, which costs more to write',
                )
            )
        too_short = _requests(s for s in found if s.one.model == model and not is_long_enough(s))
        if too_short and state.policy.prime_cache:
            notices.append(
                Notice(
                    model,
                    "prefix-too-short",
                    f"{too_short:,} prompts for {model} share a prefix that is shorter than what it caches: "
                    "it is not primed",
                    "put more of what the requests share before the mark",
                )
            )
    return notices


def _waiting(state: RunState) -> Iterable[tuple[int, int]]:
    return (pair for priority in sorted(state.fresh, reverse=True) for pair in state.fresh[priority])


def _requests(found: Iterable[Shared]) -> int:
    return sum(shared.requests for shared in found)


def _writing_usd(state: RunState, shared: Shared) -> Decimal | None:
    rated = None if state.prices is None else rates(state.prices, shared.one.model, geo=shared.one.geo)
    return None if rated is None else EXACT.multiply(rated.cache_write_1h, shared.tokens)


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for amount in amounts:
        total = EXACT.add(total, amount)
    return plain(total)
