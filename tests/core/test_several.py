"""Several ledgers in one table."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from running import PRICES, World

from ledger.core.errors import UsageError
from ledger.core.proof import CostProof, cost_proof, per_thousand
from ledger.core.several import require_different, rows_by_key, rows_of_ledgers


@pytest.fixture(scope="module")
def proof() -> CostProof:
    world = World(["Say one.", "[[simulate:max_tokens]]", "[[simulate:errored:api_error:1]]"])
    world.run()
    return cost_proof(world.state(), PRICES, ledger="a.ledger", by="attempt")


def other(proof: CostProof, **changes: object) -> CostProof:
    return msgspec.structs.replace(proof, ledger="b.ledger", ledger_id="another", **changes)  # type: ignore[arg-type]


def test_the_total_of_two_ledgers_is_their_sum(proof: CostProof) -> None:
    rows = rows_of_ledgers([proof, other(proof)])
    assert [row.key for row in rows] == ["a.ledger", "b.ledger", "total"]
    assert proof.total.cost_usd is not None
    assert rows[-1].cost_usd == 2 * proof.total.cost_usd
    assert rows[-1].wasted_usd == {"truncated": 2 * (proof.total.wasted_usd["truncated"] or 0)}


def test_rows_of_one_key_are_put_together_over_ledgers(proof: CostProof) -> None:
    rows = rows_by_key([proof, other(proof)], "attempt")
    assert [(row.key, row.requests) for row in rows] == [("1", 4), ("2", 2), ("total", 6)]


def test_what_is_unknown_in_one_ledger_is_unknown_in_the_total(proof: CostProof) -> None:
    unknown = other(proof, total=msgspec.structs.replace(proof.total, cost_usd=None))
    assert rows_of_ledgers([proof, unknown])[-1].cost_usd is None


def test_simulated_money_is_not_added_to_real_money(proof: CostProof) -> None:
    assert proof.simulated
    real = other(proof, simulated=False)
    assert rows_of_ledgers([proof, real])[-1].cost_usd == proof.total.cost_usd
    assert [row.requests for row in rows_by_key([proof, real], "attempt")] == [2, 1, 3]


@pytest.mark.parametrize("name", ["a.ledger", "copy.ledger"])
def test_one_run_is_not_counted_twice_under_any_name(proof: CostProof, name: str) -> None:
    with pytest.raises(UsageError) as refused:
        require_different([proof, msgspec.structs.replace(proof, ledger=name)])
    assert refused.value.what == f"a.ledger and {name} are one run; its money would be counted twice"


def test_what_a_thousand_cost_is_unknown_where_the_cost_is_or_nothing_ended() -> None:
    assert per_thousand(Decimal(3), 2_000) == Decimal("1.5")
    assert per_thousand(Decimal(1), 3) == Decimal("333.333333")
    assert per_thousand(None, 3) is None
    assert per_thousand(Decimal(0), 0) is None
