"""A ledger held against the service's own reports."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TypeVar

from ledger.core.charged import ChargeReport, ChargeRow
from ledger.core.differences import TokenRow
from ledger.core.trueup import TOLERANCE, TrueUp
from ledger.core.usagereport import Kind

from .money import usd, usd_column
from .tables import table

_KINDS: dict[Kind, str] = {
    "input": "input",
    "cache_write_5m": "cache write 5 min",
    "cache_write_1h": "cache write 1 h",
    "cache_read": "cache read",
    "output": "output",
    "web_search": "web searches",
}
_COLUMNS = 78
_HALF_A_CENT = Decimal("0.005")
_ROUNDING_USD = Decimal("0.0001")

Row = TypeVar("Row", TokenRow, ChargeRow)


def true_up_screen(found: TrueUp) -> str:
    """Return the tokens of both sides, what they were charged at, and what that means."""
    parts = [_tokens(found), *([_charges(found.charges)] if found.charges.rows else [])]
    lines = [_verdict(found)]
    lines += [
        f"  {'may explain it' if reason.explains else 'known'}: the service counts {reason.side}: {reason.text}"
        for reason in found.reasons
    ]
    lines += _place(found)
    lines += _charged(found.charges)
    return "\n\n".join([*parts, "\n".join(_wrapped(lines))])


def _tokens(found: TrueUp) -> str:
    header = (f"{found.since[:16]}Z to {found.until[:16]}Z", "ledger", "service", "difference")
    if not found.rows:
        return "nothing was billed, and nothing is reported for the models of this ledger"
    rows: list[Sequence[str]] = []
    for model, of_model in _by_model(found.rows):
        rows.append((model, "", "", ""))
        rows += [
            (
                f"  {_KINDS[row.kind]}",
                f"{row.ledger:,}",
                f"{row.service:,}",
                f"{row.difference:+,}" if row.difference else "0",
            )
            for row in of_model
        ]
    return table(rows, "lrrr", header=header)


def _charges(charges: ChargeReport) -> str:
    amounts = iter(usd_column(row.charged_usd for row in charges.rows))
    rows: list[Sequence[str]] = []
    for model, of_model in _by_model(charges.rows):
        rows.append((model, "", "", "", ""))
        rows += [
            (
                f"  {_KINDS[row.kind]}",
                f"{row.tokens:,}",
                next(amounts),
                "" if row.per_million_usd is None else f"${row.per_million_usd:,.4f}",
                _share(row),
            )
            for row in of_model
        ]
    header = ("charged, in whole UTC days", "tokens", "amount", "a million", "of standard")
    return table(rows, "lrrrr", header=header)


def _share(row: ChargeRow) -> str:
    match row.verdict:
        case "unclear" | "unknown":
            return row.verdict
        case "batch" if row.of_standard is None:
            return "batch"
        case _:
            return row.verdict if row.of_standard is None else f"{row.of_standard * 100:.1f}%"


def _verdict(found: TrueUp) -> str:
    match found.verdict:
        case "equal":
            return "usage: the service counts exactly what the ledger recorded"
        case "close":
            return "usage: the service counts what the ledger recorded, within 0.1%"
        case "explained":
            return "usage: the two differ, and what is known may explain it"
        case "unexplained":
            return "usage: the two differ by more than 0.1%, UNEXPLAINED"


def _place(found: TrueUp) -> Iterable[str]:
    match found.place:
        case "named":
            return
        case "default":
            yield f"the report has no {found.workspace}: usage without a workspace, the default one's, was taken for it"
        case "absent":
            yield f"the report has no usage in {found.workspace}: not yet, or the key is of another organization"
        case "unknown":
            yield "the ledger's workspace is not known: usage of the whole organization was taken for it"


def _charged(charges: ChargeReport) -> Iterable[str]:
    match charges.verdict:
        case "confirmed":
            yield "batch discount: charged at the recorded batch prices"
        case "missing":
            yield "batch discount: NOT GIVEN on all of it: the service charged more than the recorded batch prices"
        case "cheaper":
            yield "batch discount: charged below the recorded batch prices (prices of your own: --prices)"
        case "early":
            yield "batch discount: the reports are too young to fit each other; ask again in an hour"
        case "unclear":
            yield "batch discount: the amounts are too small, or the prices too unknown, to tell"
        case "nothing":
            yield "batch discount: the cost report has no amounts for these days yet"
    if charges.difference_usd is not None and charges.recorded_usd is not None:
        apart = _apart(charges.difference_usd, charges.recorded_usd)
        yield f"money: {usd(charges.charged_usd)} charged for tokens, {usd(charges.recorded_usd)} recorded: {apart}"
    if charges.missing_days:
        yield f"the cost report lacks {', '.join(charges.missing_days)}"


def _apart(difference_usd: Decimal, recorded_usd: Decimal) -> str:
    is_close = abs(difference_usd) <= max(recorded_usd / TOLERANCE, _ROUNDING_USD)
    if is_close:
        return "equal to the cent" if abs(difference_usd) < _HALF_A_CENT else "within 0.1%"
    return f"{usd(abs(difference_usd))} {'more' if difference_usd > 0 else 'less'} than recorded"


def _by_model(rows: Iterable[Row]) -> Iterable[tuple[str, list[Row]]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.model, []).append(row)
    return found.items()


def _wrapped(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        yield textwrap.fill(line, _COLUMNS, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
