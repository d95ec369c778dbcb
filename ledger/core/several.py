"""The costs of several ledgers in one table: a month of runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from msgspec.structs import replace

from ledger.core.costs import TOTAL, By, CostRow, plain
from ledger.core.errors import UsageError
from ledger.core.prices import EXACT
from ledger.core.proof import CostProof


def require_different(proofs: Sequence[CostProof]) -> None:
    """Refuse to count one run twice.

    Raises:
        UsageError: two of the ledgers are the same one, or one is a copy of the other.
    """
    seen: dict[str, str] = {}
    for proof in proofs:
        if proof.ledger_id in seen:
            raise UsageError(
                f"{seen[proof.ledger_id]} and {proof.ledger} are one run; its money would be counted twice",
                why=f"both have the id {proof.ledger_id}",
                next="leave one of them out",
            )
        seen[proof.ledger_id] = proof.ledger


def counted_proofs(proofs: Sequence[CostProof]) -> Sequence[CostProof]:
    """Return the ledgers that a total is of: simulated ones are left out where there are others."""
    real = [proof for proof in proofs if not proof.simulated]
    return real or proofs


def rows_of_ledgers(proofs: Sequence[CostProof]) -> list[CostRow]:
    """Return a row for each ledger, and the total."""
    rows = [replace(proof.total, key=proof.ledger) for proof in proofs]
    return [*rows, together(TOTAL, (proof.total for proof in counted_proofs(proofs)))]


def rows_by_key(proofs: Sequence[CostProof], by: By) -> list[CostRow]:
    """Return a row for each model, lane, attempt, batch, day or cause over all ledgers, and the total."""
    by_key: dict[str, list[CostRow]] = {}
    for proof in counted_proofs(proofs):
        for row in proof.rows:
            by_key.setdefault(row.key, []).append(row)
    keys = list(by_key)
    if by != "batch":
        keys.sort(key=int if by in ("attempt", "lane") else str, reverse=by == "lane")
    total = together(TOTAL, (proof.total for proof in counted_proofs(proofs)))
    return [*(together(key, by_key[key]) for key in keys), total]


def together(key: str, rows: Iterable[CostRow]) -> CostRow:
    """Return the sum of rows; an amount that is unknown in one is unknown in the sum."""
    rows = list(rows)
    wasted: dict[str, Decimal | None] = {}
    for row in rows:
        for cause, amount in row.wasted_usd.items():
            wasted[cause] = _plus(wasted.get(cause, Decimal(0)), amount)
    return CostRow(
        key=key,
        requests=sum(row.requests for row in rows),
        unbilled_requests=sum(row.unbilled_requests for row in rows),
        unpriced_requests=sum(row.unpriced_requests for row in rows),
        input_tokens=sum(row.input_tokens for row in rows),
        output_tokens=sum(row.output_tokens for row in rows),
        cache_write_tokens=sum(row.cache_write_tokens for row in rows),
        cache_read_tokens=sum(row.cache_read_tokens for row in rows),
        web_search_requests=sum(row.web_search_requests for row in rows),
        priced_usd=_total(row.priced_usd for row in rows) or Decimal(0),
        cost_usd=_total(row.cost_usd for row in rows),
        standard_usd=_total(row.standard_usd for row in rows),
        saved_usd=_total(row.saved_usd for row in rows),
        wasted_usd={cause: wasted[cause] for cause in sorted(wasted)},
    )


def _total(amounts: Iterable[Decimal | None]) -> Decimal | None:
    total: Decimal | None = Decimal(0)
    for amount in amounts:
        total = _plus(total, amount)
    return total


def _plus(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    return None if one is None or other is None else plain(EXACT.add(one, other))
