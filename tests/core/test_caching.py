"""What the prompt cache was worth: hit rates, what they saved, and what priming did for them."""

from __future__ import annotations

from decimal import Decimal

import msgspec
from priming import PRIMED, SERVICE, SONNET, PrimedWorld, asking
from running import PRICES

from ledger.core.caching import CacheUse, cache_use
from ledger.core.costs import CostReport
from ledger.core.prices import Usage, price
from ledger.core.proof import cost_proof


def used(world: PrimedWorld) -> CacheUse:
    found = cache_use(world.state(), PRICES)
    assert found is not None
    return found


def test_what_was_saved_is_the_difference_to_a_run_without_marks() -> None:
    """The simulated service bills both; a prompt has as many tokens either way, but for those of the mark itself."""
    marked = PrimedWorld(asking(150))
    assert marked.run() == 0
    tokens = marked.transport.bill().tokens[SONNET]
    written, read = marked.cache()
    unmarked = Usage(input_tokens=tokens.input_tokens + written + read, output_tokens=tokens.output_tokens)
    found = used(marked)
    assert (found.written_tokens, found.read_tokens) == (written, read)
    assert found.hit_rate == (Decimal(read) / (read + written)).quantize(Decimal("0.0001"))
    assert found.saved_usd == price(PRICES, SONNET, unmarked) - tokens.cost_usd  # type: ignore[operator]
    assert found.primed is not None
    assert found.primed.verdict == "read"
    assert (found.primed.hit_rate_after or 0) > Decimal("0.9")


def test_a_cache_that_nobody_reads_costs_more_than_none() -> None:
    alone = msgspec.structs.replace(SERVICE, cache_across_batches=False, cache_lag_share=1)
    world = PrimedWorld(asking(30), settings=alone)
    assert world.run() == 0
    found = used(world)
    assert found.saved_usd is not None
    assert found.saved_usd < 0
    assert (found.hit_rate, found.primed and found.primed.verdict) == (0, "in_vain")


def test_a_run_without_marks_says_nothing_of_the_cache() -> None:
    world = PrimedWorld(asking(5, ttl=""))
    assert world.run() == 0
    assert cache_use(world.state(), PRICES) is None


def test_marks_that_were_not_primed_are_counted_all_the_same() -> None:
    world = PrimedWorld(asking(30), policy=msgspec.structs.replace(PRIMED, prime_cache=False))
    assert world.run() == 0
    assert used(world).primed is None
    assert used(world).written_tokens == world.cache()[0]


def test_a_proof_of_costs_has_it_and_a_price_that_is_unknown_is_not_zero() -> None:
    world = PrimedWorld(asking(5))
    assert world.run() == 0
    proof = cost_proof(world.state(), PRICES, ledger="l")
    assert isinstance(proof, CostReport)
    assert proof.cache == used(world)
    found = cache_use(world.state(), msgspec.structs.replace(PRICES, models=()))
    assert found is not None
    assert found.saved_usd is None
