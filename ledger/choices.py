"""What a caller says about a run, and what becomes of it: run defaults and policy as the log records them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import msgspec

from ledger.core import events as e
from ledger.core.errors import UsageError
from ledger.core.items import Defaults
from ledger.core.units import MICROSECONDS_PER_SECOND

TIERS = {"start": 200_000, "build": 300_000, "scale": 500_000}
"""Requests that may be in the processing queue, by tier (rate limits page, batch limits)."""
_SIMULATED_POLL_US = 200_000
_SIMULATED_SETTLE_US = 2_000_000
_LIMITS = (
    ("chunk_requests", 1, 100_000),
    ("chunk_bytes", 1_000, 250_000_000),
    ("max_attempts", 1, 100),
    ("queue_requests", 1, 100_000_000),
    ("canary_requests", 1, 10_000),
)


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """What the caller said about a run; None is "not said": what the ledger has recorded stays, or the default holds.

    The first seven are run defaults: they are part of what is asked, and a later run with other ones is refused.
    Durations are seconds. ``prices`` is a file that holds the price table to count with. ``max_cost`` is what the whole
    ledger may cost, in dollars, or ``none``; ``max_error_rate`` is a share: ``0.01`` or ``1%``. ``reuse`` are ledgers
    whose answers are taken for equal requests; ``forget_reuse`` gives up what was not taken yet. ``prime_cache`` sends
    one request of each shared prefix first, and waits for it as long as for a canary.
    """

    model: str | None = None
    max_tokens: int | None = None
    system: str | None = None
    params: Mapping[str, Any] | None = None
    betas: tuple[str, ...] | None = None
    allowed_models: tuple[str, ...] | None = None
    opaque_ids: bool | None = None
    tier: str | None = None
    queue_requests: int | None = None
    chunk_requests: int | None = None
    chunk_bytes: int | None = None
    max_attempts: int | None = None
    poll_seconds: float | None = None
    settle_seconds: float | None = None
    on_uncertain: Literal["repeat", "hold"] | None = None
    accept: tuple[str, ...] | None = None
    skip_invalid: bool | None = None
    prices: str | None = None
    max_cost: str | None = None
    budget_mode: Literal["worst", "expected"] | None = None
    canary: Literal["auto", "always", "never"] | None = None
    canary_requests: int | None = None
    canary_wait_seconds: float | None = None
    max_error_rate: str | None = None
    prime_cache: bool | None = None
    reuse: tuple[str, ...] | None = None
    forget_reuse: bool | None = None


def merged_defaults(recorded: Defaults, choices: Choices) -> Defaults:
    """Return the run defaults with what was said."""
    said: dict[str, Any] = {
        name: value for name in Defaults.__struct_fields__ if (value := getattr(choices, name)) is not None
    }
    if "params" in said:
        said["params"] = dict(said["params"])
    return msgspec.structs.replace(recorded, **said)


def merged_policy(recorded: e.Policy, choices: Choices, *, simulated: bool) -> e.Policy:
    """Return the policy with what was said; ``simulated`` runs wait for seconds, not for minutes.

    Raises:
        UsageError: a choice is none.
    """
    if simulated:  # a simulated batch ends in seconds
        recorded = msgspec.structs.replace(recorded, poll_us=_SIMULATED_POLL_US, settle_us=_SIMULATED_SETTLE_US)
    said: dict[str, Any] = {
        name: value
        for name in e.Policy.__struct_fields__
        if name not in ("poll_us", "settle_us", "canary_wait_us", "max_error_rate")
        and (value := getattr(choices, name)) is not None
    }
    if choices.poll_seconds is not None:
        said["poll_us"] = max(int(choices.poll_seconds * MICROSECONDS_PER_SECOND), 10_000)
    if choices.settle_seconds is not None:
        said["settle_us"] = max(int(choices.settle_seconds * MICROSECONDS_PER_SECOND), 0)
    if choices.canary_wait_seconds is not None:
        said["canary_wait_us"] = max(int(choices.canary_wait_seconds * MICROSECONDS_PER_SECOND), 0)
    if choices.max_error_rate is not None:
        said["max_error_rate"] = _rate(choices.max_error_rate)
    if choices.tier is not None:
        if choices.tier not in TIERS:
            raise UsageError(f"there is no tier {choices.tier!r}", next=f"--tier {'|'.join(TIERS)}")
        said.setdefault("queue_requests", TIERS[choices.tier])
    unknown = [outcome for outcome in choices.accept or () if outcome not in e.OUTCOMES]
    if unknown:
        raise UsageError(f"there is no outcome {unknown[0]!r}", next=f"--accept {','.join(e.OUTCOMES[1:])}")
    for name, least, most in _LIMITS:
        value = said.get(name, least)
        if not least <= value <= most:
            raise UsageError(f"--{name.replace('_', '-')} must be between {least:,} and {most:,}, not {value:,}")
    return msgspec.structs.replace(recorded, **said)


def _rate(text: str) -> str:
    """Return a share as it is recorded, a decimal string: one share has one form.

    Raises:
        UsageError: it is none.
    """
    bare = text.strip()
    try:
        share = Decimal(bare.removesuffix("%")) / (100 if bare.endswith("%") else 1)
    except InvalidOperation:
        share = Decimal(-1)
    if not share.is_finite() or not 0 <= share <= 1:
        raise UsageError(f"--max-error-rate {text} is no share", next="--max-error-rate 0.05, or 5%")
    return f"{share.normalize():f}"
