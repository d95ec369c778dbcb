"""Two runs side by side."""

from __future__ import annotations

from decimal import Decimal

from ledger.diffing import Difference, RunDiff, Side

from .money import UNKNOWN, usd, usd_column
from .summary import SIMULATED_NOTE
from .tables import counted, table

_KINDS = {"answer": "answer", "outcome": "outcome", "only_a": "only A", "only_b": "only B"}


def diff_screen(diff: RunDiff) -> str:
    """Return what is the same, what differs, and the first differences."""
    parts = [_sides(diff), _counts(diff)]
    if diff.moved:
        parts.append(table([(moved, f"{count:,}") for moved, count in diff.moved.items()], "lr", header=("A → B", "")))
    if diff.first:
        rows = [_row(difference) for difference in diff.first]
        parts.append(
            table(rows, "lllllrr", header=("item", "differs", "asked", "A", "B", "cost A", "cost B"), elastic=0)
        )
        rest = diff.answer + diff.outcome + diff.only_a + diff.only_b - len(diff.first)
        if rest:
            parts[-1] += f"\n{rest:,} more (--top N shows more, -o FILE writes all)"
    return "\n\n".join(parts)


def _sides(diff: RunDiff) -> str:
    sides = (diff.a, diff.b)
    costs = usd_column(side.cost_usd for side in sides)
    rows = [
        (name, f"{side.asked:,}", f"{side.outcomes.get('ok', 0):,}", f"{side.pending:,}", cost, _models(side))
        for name, side, cost in zip("AB", sides, costs, strict=True)
    ]
    lines = [f"A  {diff.a.ledger}", f"B  {diff.b.ledger}"]
    lines.append(table(rows, "lrrrrl", header=("", "asked", "ok", "pending", "cost", "models"), elastic=5))
    if diff.a.simulated or diff.b.simulated:
        which = "" if diff.a.simulated and diff.b.simulated else "A: " if diff.a.simulated else "B: "
        lines.append(f"{which}{SIMULATED_NOTE}")
    return "\n".join(lines)


def _models(side: Side) -> str:
    return ", ".join(side.models) or "-"


def _counts(diff: RunDiff) -> str:
    a, b = usd(diff.both_cost_a_usd), usd(diff.both_cost_b_usd)
    rows = [("in both", f"{diff.both:,}", f"last results cost {a} in A, {b} in B{_change(diff)}")]
    rows.append(("same", f"{diff.same:,}", "the same outcome and the same answer"))
    if diff.answer:
        rows.append(("other answer", f"{diff.answer:,}", "the same outcome, another text or tool call"))
    if diff.outcome:
        rows.append(("other outcome", f"{diff.outcome:,}", ""))
    for name, count in (("only in A", diff.only_a), ("only in B", diff.only_b)):
        if count:
            rows.append((name, f"{count:,}", ""))
    if diff.asked_otherwise:
        rows.append(
            (
                "asked otherwise",
                f"{diff.asked_otherwise:,}",
                f"of {counted(diff.both, 'request')}: prompt or parameters",
            )
        )
    return table(rows, "lrl", elastic=2)


def _change(diff: RunDiff) -> str:
    a, b = diff.both_cost_a_usd, diff.both_cost_b_usd
    if not a or b is None:
        return ""
    percent = (b - a) / a * 100
    return f" ({'+' if percent > 0 else ''}{percent.quantize(Decimal('0.1'))}%)"


def _row(difference: Difference) -> tuple[str, ...]:
    asked = {None: "", True: "alike", False: "otherwise"}[difference.asked_alike]
    return (
        difference.custom_id,
        _KINDS[difference.kind],
        asked,
        _ended(difference.outcome_a, difference.stop_reason_a),
        _ended(difference.outcome_b, difference.stop_reason_b),
        _cost(difference.cost_a_usd, missing=difference.outcome_a is None),
        _cost(difference.cost_b_usd, missing=difference.outcome_b is None),
    )


def _ended(outcome: str | None, stop_reason: str | None) -> str:
    if outcome is None:
        return "-"
    return outcome if stop_reason in (None, "end_turn", "max_tokens", "refusal") else f"{outcome} ({stop_reason})"


def _cost(cost_usd: str | None, *, missing: bool) -> str:
    if missing:
        return "-"
    return f"${Decimal(cost_usd):.6f}" if cost_usd is not None else UNKNOWN
