"""How a simulated service behaves when nothing goes wrong: speed, limits, and the mix of outcomes."""

from __future__ import annotations

from typing import Literal

import msgspec

from ledger.service.simulator.faults import NO_FAULTS, Faults


def _transient_errors() -> dict[str, float]:
    return {"overloaded_error": 0.004, "api_error": 0.004}


class Mix(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The seeded shares of outcomes other than ``end_turn``, each between 0 and 1.

    The first five follow from the body alone, so that the same body meets them again when it is sent again, as a
    refusal or a truncation does in reality; the last two are drawn anew at every attempt.

    Args:
        max_tokens: truncated at the request's cap; only where the cap is at most 8,192 tokens.
        refusal: refused before any output: usage is reported and not charged.
        refusal_midway: refused after some output, which is charged.
        pause_turn: a server-side tool loop that hit its limit.
        invalid: ``errored`` with invalid_request_error although our checks find nothing.
        errored: error kind → share.
        expired: not sent to the model in time.
    """

    max_tokens: float = 0.004
    refusal: float = 0.002
    refusal_midway: float = 0.001
    pause_turn: float = 0.0
    invalid: float = 0.0
    errored: dict[str, float] = msgspec.field(default_factory=_transient_errors)
    expired: float = 0.0


class Reporting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the usage and cost reports come about: what their documentation leaves open, as switches.

    Args:
        attributed_to: the instant whose bucket a request's usage goes into: the creation of its batch, the processing
            of the request, or the end of the batch.
        lag_seconds: how long after the end of a batch its usage is in the reports; really mostly within five minutes.
        default_workspace: whether the workspace is the organization's default one, whose id is null in reports.
        counts_unbilled: whether usage that is not charged, of refusals before any output, is counted.
        discounted: whether tokens are charged at half the price, as they should be.
    """

    attributed_to: Literal["created", "processed", "ended"] = "processed"
    lag_seconds: float = 0.0
    default_workspace: bool = False
    counts_unbilled: bool = False
    discounted: bool = True


CALM = Mix(max_tokens=0, refusal=0, refusal_midway=0, errored={})


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a simulated service is made from; equal settings and calls give equal answers.

    Args:
        seed: decides ids, answers, usage, outcomes and seeded faults.
        turnaround_minimum_seconds: the shortest time from the creation of a batch to its end.
        turnaround_maximum_seconds: the longest. The real service: mostly below an hour, at most 24 hours.
        cancel_seconds: how long a batch stays ``canceling``.
        output_tokens_minimum: the shortest answer.
        output_tokens_maximum: the longest answer that is not scripted.
        queue_maximum: batch requests in the processing queue, all unfinished batches together: 200,000, 300,000 and
            500,000 on the tiers Start, Build and Scale (rate limits page, 2026-10-08).
        calls_per_minute_maximum: over all batch endpoints, 0 for none: 1,000, 2,000 and 4,000 on the same tiers.
        cache_lag_share: the share of a batch's turnaround after which others can read what one of its requests wrote
            to the prompt cache. With 0.3, three in ten requests of a batch without an entry write one of their own; the
            real share is somewhere between 2 % and 70 % (batch guide).
        cache_across_batches: whether a batch reads what an earlier one wrote. It is advised to count on it ("Prompt
            caching"), and nowhere promised.
        mix: shares of outcomes.
        faults: what goes wrong.
        reporting: how the usage and cost reports come about.
    """

    seed: int = 0
    turnaround_minimum_seconds: float = 1.0
    turnaround_maximum_seconds: float = 2.0
    cancel_seconds: float = 0.2
    output_tokens_minimum: int = 40
    output_tokens_maximum: int = 400
    queue_maximum: int = 500_000
    calls_per_minute_maximum: int = 0
    cache_lag_share: float = 0.3
    cache_across_batches: bool = True
    mix: Mix = Mix()
    faults: Faults = NO_FAULTS
    reporting: Reporting = Reporting()
