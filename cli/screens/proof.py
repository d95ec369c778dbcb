"""What explains the costs of a run: how the estimate became the bill, errors, pace; and several ledgers at once."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from ledger.core.caching import CacheUse, PrimedUse
from ledger.core.costs import CostReport, CostRow
from ledger.core.dearest import ItemCosts
from ledger.core.pace import ERRORS_NORMAL, ERRORS_SYSTEMATIC, Errors, Pace
from ledger.core.proof import CostProof
from ledger.core.units import format_duration, format_usd
from ledger.core.waterfall import Step, Waterfall
from ledger.core.whatif import WhatIf

from .costs import costs_screen, rows_table
from .money import usd, usd_column
from .tables import counted, table

_NOTHING = Decimal(0)
_STEPS: dict[Step, str] = {
    "reused": "answers taken from other ledgers, for nothing",
    "count": "first attempts that were not billed, or are pending",
    "input": "prompts longer or shorter in tokens",
    "output": "answers longer or shorter",
    "cache": "cache writes and reads",
    "searches": "web searches",
    "price": "steps, region, tier, another model",
    "retries": "later attempts, second batches",
}


def proof_screen(proof: CostProof) -> str:
    """Return the costs, and what explains them."""
    parts = [costs_screen(proof)]
    if proof.waterfall is not None:
        parts.append(waterfall_table(proof.waterfall))
    facts = []
    if proof.per_1000_usd is not None:
        facts.append(f"{usd(proof.per_1000_usd)} for every 1,000 requests that ended ({proof.finished:,} did)")
    facts += cache_lines(proof.cache)
    facts.append(errors_line(proof.errors))
    facts += [pace_line(pace) for pace in proof.pace]
    parts.append("\n".join(facts))
    return "\n\n".join(parts)


def waterfall_table(waterfall: Waterfall) -> str:
    """Return how the estimate became the cost, one thing after the other."""
    steps = [(step, amount) for step, amount in waterfall.steps_usd.items() if amount]
    amounts = [waterfall.estimate_usd, *(amount for _, amount in steps), waterfall.actual_usd]
    texts = usd_column(amounts)
    middle = [
        (step, text if amount < 0 else f"+{text}", _STEPS[step])
        for (step, amount), text in zip(steps, texts[1:-1], strict=True)
    ]
    rows = [
        ("estimate", texts[0], f"{counted(waterfall.requests, 'request')}, with the recorded prices"),
        *middle,
        ("cost", texts[-1], ""),
    ]
    return table(rows, "lrl")


def cache_lines(cache: CacheUse | None) -> list[str]:
    """Return how much of what was marked was read from the cache, what that saved, and what priming did for it."""
    if cache is None:
        return []
    lines = []
    if cache.written_tokens or cache.read_tokens:
        marked = f"{cache.written_tokens + cache.read_tokens:,} marked tokens"
        worth = cache.saved_usd is None or cache.saved_usd >= 0
        saved = "it saved" if worth else "beside prompts without cache_control it cost"
        amount = usd(None if cache.saved_usd is None else abs(cache.saved_usd))
        lines.append(f"cache: {_percent(cache.hit_rate)} of {marked} were read from it; {saved} {amount}")
    if cache.primed is not None:
        lines.append(_priming(cache.primed))
    return lines


def _priming(primed: PrimedUse) -> str:
    wrote = f"priming: {counted(primed.primers, 'request')} wrote {primed.written_tokens:,} tokens"
    match primed.verdict:
        case "pending":
            return f"{wrote}; nothing that followed has come back"
        case "read":
            share = _percent(primed.hit_rate_after or _NOTHING)
            return f"{wrote}; of what was marked in all that followed, {share} was read"
        case "in_vain" if primed.written_tokens:
            return f"{wrote} IN VAIN: what followed wrote {primed.written_after_tokens:,} anew and read nothing"
        case "in_vain":
            return f"{wrote}: the shared prefixes are not cached, perhaps because they are too short"


def errors_line(errors: Errors) -> str:
    """Return how often results were errors, and what that means."""
    if errors.rate is None:
        return "errors: there are no results yet"
    shown = f"errors: {errors.errored:,} of {counted(errors.results, 'result')}"
    normal, systematic = f"{ERRORS_NORMAL * 100:f}".rstrip("0").rstrip("."), f"{ERRORS_SYSTEMATIC * 100:.0f}"
    match errors.verdict:
        case "none":
            return shown
        case "normal":
            return f"{shown} ({_percent(errors.rate)}), which is normal (up to {normal}%)"
        case "raised":
            return f"{shown} ({_percent(errors.rate)}), more than the usual {normal}%"
        case "systematic":
            return f"{shown} ({_percent(errors.rate)}): above {systematic}%, look at `ledger results --failed`"


def pace_line(pace: Pace) -> str:
    """Return how fast a model's answers came, beside what is typical."""
    text = f"{pace.model}: {counted(pace.answers, 'answer')} in {format_duration(pace.service_seconds)} at the service"
    if pace.own_seconds >= 1:
        text += f" (and {format_duration(pace.own_seconds)} between batches)"
    if pace.per_hour is None:
        return text
    text += f"\n  {pace.per_hour:,} an hour"
    if pace.typical:
        low, high = pace.typical
        text += f"; large runs typically see {low:,} to {high:,}"
    return text


def several_screen(proofs: Sequence[CostProof], rows: Sequence[CostRow], title: str) -> str:
    """Return the costs of several ledgers in one table with their total, and what is wrong with them."""
    lines = [rows_table(rows, title)]
    lines += [f"{proof.ledger}: {problem}" for proof in proofs for problem in [_discount_problem(proof)] if problem]
    if all(proof.discount.verdict in ("confirmed", "nothing") for proof in proofs):
        lines.append("batch discount: confirmed for every billed result of every ledger")
    total = rows[-1]
    if total.wasted_usd:
        causes = ", ".join(f"{cause} {usd(amount)}" for cause, amount in total.wasted_usd.items())
        lines.append(f"paid without an answer: {causes}")
    simulated = [proof.ledger for proof in proofs if proof.simulated]
    if simulated and len(simulated) < len(proofs):
        lines.append(f"SIMULATED, and not in the total: {', '.join(simulated)}")
    return "\n".join(lines)


def _discount_problem(report: CostReport) -> str:
    match report.discount.verdict:
        case "missing":
            return f"batch discount NOT GIVEN on {report.discount.other_requests:,} results"
        case "unstated":
            return f"of {report.discount.unstated_requests:,} results the service did not say the tier"
        case "unknown":
            return "a price is not known"
        case "confirmed" | "nothing":
            return ""


def items_screen(costs: ItemCosts) -> str:
    """Return the dearest items."""
    money = usd_column(row.cost_usd for row in costs.rows)
    rows = [
        (
            row.custom_id,
            row.outcome,
            row.model,
            f"{row.input_tokens + row.cache_write_tokens + row.cache_read_tokens:,}",
            f"{row.output_tokens:,}",
            amount,
        )
        for row, amount in zip(costs.rows, money, strict=True)
    ]
    header = ("item", "outcome", "model", "input", "output", "cost")
    share = costs.shown_usd / costs.items_usd if costs.items_usd else Decimal(0)
    whole = counted(costs.billed_items, "billed item")
    return (
        table(rows, "lllrrr", header=header, elastic=0)
        + f"\nthese {len(costs.rows):,} of {whole} cost {format_usd(costs.shown_usd)}"
        + f", {_percent(share)} of {format_usd(costs.items_usd)}"
    )


def what_if_screen(columns: Sequence[WhatIf], paid_usd: Decimal | None) -> str:
    """Return what the run would have cost with other models."""
    costs, standards = usd_column(one.cost_usd for one in columns), usd_column(one.standard_usd for one in columns)
    rows = [
        (
            one.model,
            f"{one.input_tokens:,}",
            f"{one.output_tokens:,}",
            cost,
            standard,
            _signed(one.difference_usd),
        )
        for one, cost, standard in zip(columns, costs, standards, strict=True)
    ]
    header = ("with", "input", "output", "cost", "standard", "difference")
    return (
        table(rows, "lrrrrr", header=header, elastic=0)
        + f"\nagainst {usd(paid_usd)} that was paid for {counted(columns[0].requests, 'billed result')}"
        + "\ntokenizers differ: tokens are scaled by bytes, 4 a token up to 4.6 and 3 from 4.7 on;"
        + "\nanswers are taken to be as long in text as they were"
    )


def _signed(amount: Decimal | None) -> str:
    return f"+{usd(amount)}" if amount is not None and amount > 0 else usd(amount)


def _percent(share: Decimal) -> str:
    return f"{share * 100:.2f}%" if share < Decimal("0.1") else f"{share * 100:.0f}%"
