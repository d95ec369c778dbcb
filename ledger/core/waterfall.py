"""From what a run was estimated to cost to what it did cost, step by step.

The estimate is that of the preview, made again from the recorded requests with the recorded prices; the last figure is
what the results cost. Between the two, one thing after another is put to what it was, in this order:

* reused: what was taken from other ledgers, for nothing;
* count: as many requests as were billed at their first attempt (not those that failed, were free, or are pending);
* input: the prompt lengths that the service counted;
* output: the answers as long as they were;
* cache: cache writes and reads at their own prices instead of that of input;
* searches: web searches, which no estimate foresees;
* price: the rates that applied: the step of each request, the region, a tier without discount, another model;
* retries: what later attempts and second batches of a chunk cost.

Each figure is the difference of two amounts that are worked out in full, so they always add up to the last digit; what
falls to which thing depends, as in every such account, on the order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from itertools import pairwise
from typing import Literal, TypeAlias, get_args

import msgspec

from ledger.core.asking import asked_classes
from ledger.core.costs import CostGroup, RequestClass, estimate, paid_rates, plain
from ledger.core.models import find_model
from ledger.core.prices import EXACT, PriceTable, Rates, Usage, rates
from ledger.core.spending import TWIN
from ledger.core.state import RunState

Step: TypeAlias = Literal["reused", "count", "input", "output", "cache", "searches", "price", "retries"]
STEPS: tuple[Step, ...] = get_args(Step)

_DECIMALS = 12
"""Digits behind the point of what lies between estimate and cost, which are exact: shares of sums never end."""


class Waterfall(msgspec.Struct, frozen=True, kw_only=True):
    """USD: ``estimate_usd``, what each step adds, ``actual_usd``; and the requests that the estimate was for."""

    requests: int
    estimate_usd: Decimal
    steps_usd: dict[Step, Decimal]
    actual_usd: Decimal


@dataclass
class _Actual:
    """What the first attempts of one model used, and cost."""

    requests: int = 0
    usage: Usage = field(default_factory=Usage)
    cost: Fraction = Fraction(0)


def waterfall(state: RunState, groups: Iterable[CostGroup]) -> Waterfall | None:
    """Return how the estimate became the cost, or None while a price of either is unknown or nothing was billed.

    Args:
        state: the run.
        groups: what was used, as ``cost_groups`` yields it.
    """
    table = state.prices
    if table is None:
        return None
    first: dict[str, _Actual] = {}
    spent: list[Decimal] = []
    for group in groups:
        if not group.billed:
            continue
        found = paid_rates(table, group)
        if found is None:
            return None
        spent.append(found.usd(group.usage))
        if group.attempt > 1 or group.cause == TWIN:
            continue
        actual = first.setdefault(_resolved(group.model), _Actual())
        actual.requests += group.requests
        actual.usage += group.usage
        actual.cost += Fraction(spent[-1])
    estimated = estimate(table, asked_classes(state)).total.cost_usd
    classes = asked_classes(state, without_reused=True)
    to_pay = estimate(table, classes).total.cost_usd
    levels = _levels(table, classes, first) if spent or state.reused else None
    if levels is None or estimated is None or to_pay is None:
        return None
    paid = reduce(EXACT.add, spent, Decimal(0))
    return _as_steps(sum(state.class_requests), [estimated, to_pay], levels[1:], paid)


def _levels(table: PriceTable, classes: list[RequestClass], first: dict[str, _Actual]) -> list[Fraction] | None:
    """Return the amounts from the estimate to what the first attempts cost, over all models."""
    asked: dict[str, list[RequestClass]] = {}
    for each in classes:
        asked.setdefault(_resolved(each.model), []).append(each)
    totals = [Fraction(0)] * 7
    for model in sorted({*asked, *first}):
        levels = _levels_of_model(table, asked.get(model, []), first.get(model, _Actual()))
        if levels is None:
            return None
        totals = [total + level for total, level in zip(totals, levels, strict=True)]
    return totals


def _levels_of_model(table: PriceTable, classes: list[RequestClass], actual: _Actual) -> list[Fraction] | None:
    if not classes:  # the service answered with a model that nobody asked for: all of it is the price's
        return [Fraction(0)] * 6 + [actual.cost]
    expected = estimate(table, classes).total
    base = rates(table, classes[0].model)
    if expected.cost_usd is None or base is None:
        return None
    tokens = Usage(input_tokens=expected.input_tokens, output_tokens=expected.output_tokens)
    # Region and step multiply every category alike, so one factor holds what the estimate assumed of them.
    plainly = Fraction(base.tokens_usd(tokens))
    factor = Fraction(expected.cost_usd) / plainly if plainly else Fraction(1)  # a model may be free
    used = actual.usage
    estimated = Fraction(expected.cost_usd)
    counted = estimated * actual.requests / expected.requests
    output = Fraction(base.output) * expected.output_tokens * factor * actual.requests / expected.requests
    prompts = Fraction(base.input) * used.prompt_tokens * factor
    answers = Fraction(base.output) * used.output_tokens * factor
    cached = _prompts(base, used) * factor
    searched = Fraction(base.web_search) * used.web_search_requests
    return [
        estimated,
        counted,
        prompts + output,
        prompts + answers,
        cached + answers,
        cached + answers + searched,
        actual.cost,
    ]


def _prompts(base: Rates, used: Usage) -> Fraction:
    return Fraction(base.tokens_usd(msgspec.structs.replace(used, output_tokens=0)))


def _as_steps(requests: int, exact: list[Decimal], between: list[Fraction], actual: Decimal) -> Waterfall:
    rounded = [Decimal(round(level * 10**_DECIMALS)).scaleb(-_DECIMALS, EXACT) for level in between]
    amounts = [*exact, *rounded, actual]
    differences = [plain(EXACT.subtract(after, before)) for before, after in pairwise(amounts)]
    return Waterfall(
        requests=requests,
        estimate_usd=plain(exact[0]),
        steps_usd=dict(zip(STEPS, differences, strict=True)),
        actual_usd=plain(actual),
    )


def _resolved(model: str) -> str:
    """Return the id that results report: an alias and its dated id are one model."""
    known = find_model(model)
    return model if known is None else known.resolved
