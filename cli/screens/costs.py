"""What a run cost, and whether the discount was given."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from ledger.core.costs import CostReport, CostRow, Discount

from .money import usd, usd_column
from .prices import prices_line
from .tables import counted, table


def costs_screen(report: CostReport) -> str:
    """Return the report: a table, the verdict on the discount, and what brought no answer."""
    lines = [cost_table(report), discount_line(report.discount)]
    total = report.total
    if total.unbilled_requests:
        lines.append(f"{counted(total.unbilled_requests, 'result')} of {total.requests:,} cost nothing")
    if total.unpriced_requests:
        priced = usd(total.priced_usd)
        lines.append(
            f"the price of {counted(total.unpriced_requests, 'result')} is not known; the others cost {priced}"
        )
    if total.web_search_requests:
        verb = "is" if total.web_search_requests == 1 else "are"
        lines.append(f"{counted(total.web_search_requests, 'web search')} {verb} in it, without a discount")
    if total.wasted_usd:
        causes = ", ".join(f"{cause} {usd(amount)}" for cause, amount in total.wasted_usd.items())
        lines.append(f"paid without an answer: {causes}")
    lines.append(prices_line(report.quoted_on, report.source))
    return "\n".join(lines)


def cost_table(report: CostReport) -> str:
    """Return the rows and their total."""
    return rows_table([*report.rows, report.total] if len(report.rows) != 1 else list(report.rows), report.by)


def rows_table(rows: Sequence[CostRow], title: str) -> str:
    """Return rows of which the last may be the total of the others."""
    is_cached = any(row.cache_write_tokens or row.cache_read_tokens for row in rows)
    header = (title, "results", "input", *(("cached",) if is_cached else ()), "output", "cost", "standard")
    money = zip(usd_column(row.cost_usd for row in rows), usd_column(row.standard_usd for row in rows), strict=True)
    cells = [(*_tokens(row, cached=is_cached), *amounts) for row, amounts in zip(rows, money, strict=True)]
    return table(cells, "l" + "r" * (len(header) - 1), header=header, elastic=0)


def _tokens(row: CostRow, *, cached: bool) -> tuple[str, ...]:
    in_cache = (f"{row.cache_write_tokens + row.cache_read_tokens:,}",) if cached else ()
    return (
        row.key,
        f"{row.requests:,}",
        f"{row.input_tokens:,}",
        *in_cache,
        f"{row.output_tokens:,}",
    )


def discount_line(discount: Discount) -> str:
    """Return the verdict on the batch discount in a sentence."""
    percent = f"{(1 - Decimal(discount.factor)) * 100:.0f}%"
    match discount.verdict:
        case "nothing":
            return "batch discount: nothing was billed"
        case "confirmed":
            return (
                f"batch discount: {percent} on every one of {discount.batch_requests:,} billed results: "
                f"{usd(discount.tokens_paid_usd)} instead of {usd(discount.tokens_standard_usd)}"
            )
        case "unstated":
            return (
                f"batch discount: confirmed for {discount.batch_requests:,} results; "
                f"of {discount.unstated_requests:,} the service did not say, and they are counted at the batch price"
            )
        case "missing":
            return (
                f"batch discount: NOT GIVEN on {discount.other_requests:,} results: "
                f"{usd(discount.overpaid_usd)} more than at the batch price"
            )
        case "unknown":
            return "batch discount: cannot be told, a price is not known"
