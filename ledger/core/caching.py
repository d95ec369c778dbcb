"""What the prompt cache was worth in a run: how much of what was marked was read, what that saved, what priming did."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal, TypeAlias

import msgspec

from ledger.core.costs import plain
from ledger.core.prices import EXACT, TIER_BATCH, PriceTable, Rates, rates
from ledger.core.priming import Primed, is_in_vain, primed
from ledger.core.state import RunState, Spent

_RATE = Decimal("0.0001")

PrimingVerdict: TypeAlias = Literal["pending", "read", "in_vain"]


class PrimedUse(Primed, frozen=True, kw_only=True):
    """What priming came to. ``hit_rate_after`` is the share of what followed that was read, None where nothing was.

    ``pending``: nothing that followed has come back. ``in_vain``: what followed wrote anew, and read nothing; or
    nothing was cached at all.
    """

    verdict: PrimingVerdict
    hit_rate_after: Decimal | None


class CacheUse(msgspec.Struct, frozen=True, kw_only=True):
    """What billed results did with the prompt cache, in tokens.

    ``hit_rate`` is the share of all marked tokens, written or read, that was read, to four decimals. ``saved_usd`` is
    what all of it saved beside prompts without ``cache_control``: below 0 where more was paid for writing than reading
    brought in; None where a price is not known. ``primed`` is None where nothing was primed.
    """

    written_tokens: int
    read_tokens: int
    hit_rate: Decimal
    saved_usd: Decimal | None
    primed: PrimedUse | None


def cache_use(state: RunState, table: PriceTable) -> CacheUse | None:
    """Return what the cache was worth by the results that are stored; None where it was neither written nor read.

    Args:
        state: the run.
        table: the recorded prices.
    """
    written = read = 0
    saved: Decimal | None = Decimal(0)
    for spent in state.spending():
        usage = spent.usage
        writes, reads = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens, usage.cache_read_tokens
        if not spent.billed or not (writes or reads):
            continue
        written += writes
        read += reads
        rated = rates(table, spent.model, spent.step, batch=spent.tier in (TIER_BATCH, ""), geo=spent.geo)
        saved = None if rated is None or saved is None else EXACT.add(saved, _saved_usd(rated, spent))
    came = primed(state)
    if not written and not read and came is None:
        return None
    return CacheUse(
        written_tokens=written,
        read_tokens=read,
        hit_rate=_rate(read, written) or Decimal(0),
        saved_usd=None if saved is None else plain(saved),
        primed=None if came is None else _primed_use(state, came),
    )


def _saved_usd(rated: Rates, spent: Spent) -> Decimal:
    """Return what the cached tokens would have cost as plain input, less what they did cost."""
    usage = spent.usage
    tokens = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens + usage.cache_read_tokens
    plainly = EXACT.multiply(rated.input, tokens)
    paid = EXACT.multiply(rated.cache_write_5m, usage.cache_write_5m_tokens)
    paid = EXACT.fma(rated.cache_write_1h, usage.cache_write_1h_tokens, paid)
    return EXACT.subtract(plainly, EXACT.fma(rated.cache_read, usage.cache_read_tokens, paid))


def _primed_use(state: RunState, came: Primed) -> PrimedUse:
    verdict: PrimingVerdict = "read" if came.read_after_tokens else "in_vain" if is_in_vain(state) else "pending"
    hit_rate = _rate(came.read_after_tokens, came.written_after_tokens)
    return PrimedUse(**msgspec.structs.asdict(came), verdict=verdict, hit_rate_after=hit_rate)


def _rate(read: int, written: int) -> Decimal | None:
    return (Decimal(read) / (read + written)).quantize(_RATE) if read or written else None
