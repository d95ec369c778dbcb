"""How a run stands when a command ends."""

from __future__ import annotations

from ledger.summary import Summary
from ledger.troubles import ErrorMet

from .money import usd
from .tables import counted, table

SIMULATED_NOTE = "SIMULATED: no service was asked, nothing was spent, the answers are made up"
_FAILED_SHOWN = 5


def summary_screen(summary: Summary) -> str:
    """Return the summary as a table: what, how much, and a remark."""
    rows = [("asked", f"{summary.asked:,}", f"{counted(summary.batches, 'batch')} made")]
    rows += [(outcome, f"{count:,}", "") for outcome, count in summary.outcomes.items()]
    if summary.reused:
        rows.append(("reused", f"{summary.reused:,}", f"answers of {', '.join(summary.reused_from)}, at no cost"))
    if summary.pending:
        at_service = f"{counted(summary.open_batches, 'batch')} at the service" if summary.open_batches else ""
        rows.append(("pending", f"{summary.pending:,}", at_service))
    if summary.rejected:
        rows.append(("skipped", f"{summary.rejected:,}", "lines that were no valid items"))
    if not summary.batches:
        return _lines(summary, rows)
    rows += [
        ("input tokens", f"{summary.tokens.input:,}", _cached(summary)),
        ("output tokens", f"{summary.tokens.output:,}", ""),
        ("cost", usd(summary.cost_usd), f"at batch price; the standard price is {usd(summary.standard_usd)}"),
    ]
    if summary.budget is not None:
        budget = summary.budget
        more = f", {usd(budget.open_usd)} more may be" if budget.open_usd else ""
        rows.append(("budget", usd(budget.max_usd), f"{usd(budget.spent_usd)} of it are spent{more}"))
    return _lines(summary, rows)


def _lines(summary: Summary, rows: list[tuple[str, str, str]]) -> str:
    lines = [f"{summary.ledger}: {summary.state}; the log is at position {summary.position:,}"]
    if summary.simulated:
        lines.append(SIMULATED_NOTE)
    return "\n".join([*lines, table(rows, "lrl"), *map(_error, summary.errors)])


def _error(met: ErrorMet) -> str:
    said = f": {met.message}" if met.message else ""
    more = ", …" if met.results > len(met.items) else ""
    return f"{met.kind}, {counted(met.results, 'result')}{said} ({', '.join(met.items)}{more})"


def failed_line(summary: Summary) -> str:
    """Return which items ended neither ok nor accepted, the first few by name; empty where all is well."""
    failed = summary.failed_ids
    if not failed:
        return ""
    shown = ", ".join(failed[:_FAILED_SHOWN])
    rest = len(failed) - _FAILED_SHOWN
    return f"not ok: {shown}" + (f" and {rest:,} more" if rest > 0 else "")


def _cached(summary: Summary) -> str:
    tokens = summary.tokens
    if not tokens.cache_write and not tokens.cache_read:
        return ""
    rate = f" ({tokens.cache_read * 100 // (tokens.cache_read + tokens.cache_write)}%)"
    return f"and {tokens.cache_write:,} written to the cache, {tokens.cache_read:,} read from it{rate}"
