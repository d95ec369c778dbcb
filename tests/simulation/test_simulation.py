"""20,000 histories of a run, each decided by its seed alone, and what must hold in every one of them."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest
from simulate import COMMAND, one

SEEDS = int(os.environ.get("LEDGER_TEST_SEEDS", "20000"))
SLICES = 40


@pytest.fixture(autouse=True, scope="module")
def _what_is_there_already_is_not_searched_for_garbage_again_and_again() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("part", range(SLICES))
def test_no_seed_breaks_a_promise(part: int) -> None:
    seeds = range(part * SEEDS // SLICES, (part + 1) * SEEDS // SLICES)
    broken = [f"{problem}\n  {COMMAND.format(seed=seed)}" for seed, problem, _ in map(one, seeds) if problem]
    assert not broken, "\n".join(broken)
