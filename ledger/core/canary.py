"""Too many errors: the first, small batch that is judged before the rest is sent, and the breaker of the whole run.

Both trip by one rule: at least ``FAILED_AT_LEAST`` items ended in an error, and the share of such ends lies above
``--max-error-rate`` with 95 % confidence, so that a few unlucky items stop nobody. The bound is Wilson's. That it lies
above a rate is the same as the score test rejecting that rate, which needs no root: computed in whole numbers, it is
the same on every machine.

The canary takes its requests in turn from all kinds that there are (models, sizes of answers, caching, regions),
spread over the whole input. While its verdict is owed nothing else is sealed. It is owed until all of its items have
their outcome, or until ``--canary-wait`` is over: then the run goes on, for a slow day of the service is no sign of a
mistake, and budget and breaker are still there. What came back by then is judged all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

from msgspec.structs import replace

from ledger.core import events as e
from ledger.core.budget import exposure_of
from ledger.core.chunks import body_size_bytes
from ledger.core.columns import pairs
from ledger.core.prices import EXACT
from ledger.core.state import BRAKES, RunState
from ledger.core.units import format_usd

FAILED_AT_LEAST = 5
"""Errors below this number trip nothing, whatever their share."""
CONFIDENCE_Z = Fraction(1645, 1000)
"""The normal quantile of a one-sided confidence of 95 %."""
CANARY_ABOVE_REQUESTS = 10_000
CANARY_ABOVE_USD = Decimal(100)
"""Runs of more requests, or that may cost more at most, begin with a canary."""
FAILED_OUTCOMES: tuple[e.Outcome, ...] = ("errored", "expired", "invalid", "missing", "lost")
"""Ends that brought no answer: neither what a model declined or cut short, nor what a person canceled."""
KINDS_NAMED = 3


# ── the rule ────────────────────────────────────────────────────────────────────────────────────────────────────


def trips(requests: int, failed: int, max_rate: str) -> bool:
    """Return whether so many errors among so many ends are too many.

    Args:
        requests: how many have ended.
        failed: how many of them in an error.
        max_rate: the share that is tolerated, a decimal string.
    """
    rate = Fraction(max_rate)
    if failed < FAILED_AT_LEAST or failed <= rate * requests:
        return False
    above = failed - rate * requests
    return above * above > CONFIDENCE_Z**2 * rate * (1 - rate) * requests


def ends(state: RunState) -> tuple[int, int]:
    """Return how many items have their outcome since errors are counted (canceled ones apart), and how many failed."""
    since = {outcome: count - state.released_outcomes.get(outcome, 0) for outcome, count in state.outcomes.items()}
    failed = sum(since[outcome] for outcome in FAILED_OUTCOMES if outcome not in state.policy.accept)
    return sum(since.values()) - since["canceled"], failed


# ── the breaker ─────────────────────────────────────────────────────────────────────────────────────────────────


def breaker_pause(state: RunState) -> e.RunPaused | None:
    """Return the pause of a run that meets too many errors while there is something fresh left to send."""
    outcomes = state.outcomes
    if sum(map(outcomes.__getitem__, FAILED_OUTCOMES)) < FAILED_AT_LEAST:  # asked at every step of every run
        return None
    if state.pauses.keys() & set(BRAKES) or verdict_owed(state) or not trips(*ends(state), state.policy.max_error_rate):
        return None
    if not any(queue.size for queue in state.fresh.values()) and not any(
        chunk.cause == "fresh" for chunk in state.chunks_in("sealed")
    ):
        return None
    return e.RunPaused(
        reason="breaker",
        detail=_too_many(state, *ends(state)),
        lift="ledger resume --lift breaker (counts errors anew), or --max-error-rate RATE",
    )


def _too_many(state: RunState, requests: int, failed: int) -> str:
    share = Decimal(failed * 100) / requests
    return (
        f"{failed:,} of {requests:,} items ended in an error ({share:.1f} %, more than the "
        f"{_percent(state.policy.max_error_rate)} of --max-error-rate){_kinds(state)}; "
        "`ledger results --failed` shows the messages"
    )


def _percent(rate: str) -> str:
    return f"{(Decimal(rate) * 100).normalize():f} %"


def _kinds(state: RunState) -> str:
    """Return the kinds of errors that were met most, with the lines' ordinals as examples."""
    met = sorted(state.errors.items(), key=lambda one: (-one[1][0], one[0]))[:KINDS_NAMED]
    named = [f"{kind} {numbers[0]:,}" for kind, numbers in met]
    ended = [f"{o} {state.outcomes[o]:,}" for o in FAILED_OUTCOMES if o != "errored" and state.outcomes[o]]
    return f": {', '.join([*named, *ended])}" if named or ended else ""


# ── the canary ──────────────────────────────────────────────────────────────────────────────────────────────────


def canary_wanted(state: RunState) -> bool:
    """Return whether the next chunk is to be a canary: nothing but primers went before, and the run is large enough."""
    policy = state.policy
    if state.canary_chunk or policy.canary == "never":
        return False
    waiting = sum(queue.size for queue in state.fresh.values())
    if waiting <= policy.canary_requests:
        return False
    if policy.canary == "always" or waiting > CANARY_ABOVE_REQUESTS:
        return True
    exposure = exposure_of(state)
    if exposure is None:
        return False
    bound = exposure.bound_usd(state, _fresh(state))
    return bound is None or bound > CANARY_ABOVE_USD


def verdict_owed(state: RunState) -> bool:
    """Return whether a canary was sealed and is not judged yet."""
    return state.canary_chunk > 0 and state.canary is None


def _fresh(state: RunState) -> Iterator[tuple[int, int]]:
    return (pair for queue in state.fresh.values() for pair in queue)


def canary_members(state: RunState, requests: int, max_bytes: int) -> list[int]:
    """Return the ordinals of a canary, ascending: of every kind in turn, spread over the input; at least one.

    Args:
        state: the run; nothing was sealed yet.
        requests: how many at most.
        max_bytes: how large its body may be.
    """
    columns = state.columns
    kind_of = [
        (one.model, max(one.max_tokens - 1, 0).bit_length(), one.cached, one.geo)
        for one in state.classes
    ]  # fmt: skip
    kinds: dict[tuple[str, int, bool, str], list[int]] = {}
    for start, end in _fresh(state):
        for ordinal in range(start, end):
            kinds.setdefault(kind_of[columns.class_id[ordinal]], []).append(ordinal)
    by_size = sorted(kinds.values(), key=len, reverse=True)
    quotas = _quotas([len(members) for members in by_size], requests)
    taken: list[int] = []
    size_bytes = 0
    for turn in range(max(quotas, default=0)):
        for members, quota in zip(by_size, quotas, strict=True):
            if turn < quota:
                ordinal = members[turn * len(members) // quota]
                size_bytes += columns.size_bytes[ordinal]
                if taken and body_size_bytes(size_bytes, len(taken) + 1) > max_bytes:
                    return sorted(taken)
                taken.append(ordinal)
    return sorted(taken)


def _quotas(sizes: list[int], requests: int) -> list[int]:
    """Return how many to take of each kind: as many of each as there are, in turn, until all are given."""
    quotas = [0] * len(sizes)
    left = min(requests, sum(sizes))
    while left:
        open_kinds = [index for index, size in enumerate(sizes) if quotas[index] < size]
        each = max(left // len(open_kinds), 1)
        for index in open_kinds[:left]:
            more = min(each, sizes[index] - quotas[index], left)
            quotas[index] += more
            left -= more
    return quotas


def canary_verdict(state: RunState, *, waited: bool) -> tuple[e.AnyEvent, ...]:
    """Return the judgement of a canary by what is known now, and the pause that follows where it trips.

    Args:
        state: the run; the verdict is owed.
        waited: whether it is given although some items have no outcome yet.
    """
    requests, failed = ends(state)
    cost, extrapolated = _costs(state)
    judged = e.CanaryJudged(
        verdict="waited" if waited else "released",
        requests=requests,
        failed=failed,
        outcomes={outcome: count for outcome, count in state.outcomes.items() if count},
        cost_usd=_text(cost),
        extrapolated_usd=_text(extrapolated),
    )
    reasons = canary_reasons(state, judged, state.policy.max_error_rate, state.budget)
    if not reasons:
        return (judged,)
    lifts = ["ledger resume --release-canary (sends the rest)"]
    if trips(requests, failed, state.policy.max_error_rate):
        lifts.append("--max-error-rate RATE")
    if extrapolated is not None and _exceeds(judged, state.budget):
        lifts.append(f"--max-cost {extrapolated.quantize(Decimal('0.01'), rounding='ROUND_UP')}")
    return replace(judged, verdict="tripped"), e.RunPaused(
        reason="canary", detail="; ".join(reasons), lift=", or ".join(lifts)
    )


def canary_reasons(
    state: RunState, judged: e.CanaryJudged, max_rate: str, budget: e.BudgetSet | None
) -> tuple[str, ...]:
    """Return why the rest is not sent after a canary, by a rate and a budget; empty where nothing speaks against it."""
    reasons = []
    if trips(judged.requests, judged.failed, max_rate):
        reasons.append(_too_many(state, judged.requests, judged.failed))
    if _exceeds(judged, budget) and budget is not None:
        reasons.append(
            f"the first {judged.requests:,} items cost {format_usd(Decimal(judged.cost_usd))}; at that rate all of it "
            f"costs {format_usd(Decimal(judged.extrapolated_usd))}, more than the "
            f"{format_usd(Decimal(budget.max_usd))} of --max-cost"
        )
    return tuple(reasons)


def _exceeds(judged: e.CanaryJudged, budget: e.BudgetSet | None) -> bool:
    if budget is None or not budget.max_usd or not judged.extrapolated_usd:
        return False
    return Decimal(judged.extrapolated_usd) > Decimal(budget.max_usd)


def _costs(state: RunState) -> tuple[Decimal | None, Decimal | None]:
    """Return what came back so far cost, and what all of it would cost at that rate; None where it is not known."""
    exposure = exposure_of(state)
    if exposure is None:
        return None, None
    cost = exposure.spent_usd(state)
    if not cost:
        return cost, None
    waiting = list(_fresh(state)) + [pair for queue in state.retries.values() for pair in queue]
    waiting += [pair for chunk in state.live_chunks() for pair in pairs(chunk.ranges)]
    return cost, EXACT.add(cost, exposure.calibrated(exposure.expected_usd(state, waiting), rows_at_least=1))


def _text(usd: Decimal | None) -> str:
    return "" if usd is None else f"{usd.quantize(Decimal('0.000001')):f}"
