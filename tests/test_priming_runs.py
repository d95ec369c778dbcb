"""Cache priming in real runs: one request of each shared prefix goes first, and the rest reads what it wrote."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from priming import PRIMED, RULES, SERVICE, Item, PrimedWorld, asking
from running import MINUTE, DiedError, MortalLog, joined_threads

from ledger.core import events as e
from ledger.core.priming import is_in_vain, primed
from ledger.service.simulator.faults import Fault


def answered_once(world: PrimedWorld) -> None:
    """Assert that every item has its answer and nothing was paid twice."""
    bill = world.transport.bill()
    assert world.outcomes() == ["ok"] * len(world.items)
    assert (bill.prompts_accepted_twice, bill.prompts_billed_twice) == (0, 0)


def positions(world: PrimedWorld, kind: type[e.AnyEvent], chunk: int) -> list[int]:
    read = [(row.position, e.decode(row.type_name, row.data)) for row in world.disk.rows]
    return [position for position, event in read if type(event) is kind and getattr(event, "chunk", 0) == chunk]


def test_the_rest_is_sealed_when_the_primer_has_come_back_and_reads_what_it_wrote() -> None:
    world = PrimedWorld(asking(200))
    assert world.run() == 0
    answered_once(world)
    assert world.sealed() == [("priming", 1), ("fresh", 100), ("fresh", 99)]
    assert positions(world, e.BatchCollected, 1) < positions(world, e.ChunkSealed, 2)
    assert world.hit_rate() > 0.9
    found = primed(world.state())
    assert found is not None
    written, read = world.cache()
    assert (found.primers, found.written_tokens + found.written_after_tokens, found.read_after_tokens) == (
        1,
        written,
        read,
    )


def test_without_it_many_write_what_one_could_have_written() -> None:
    policy = msgspec.structs.replace(PRIMED, prime_cache=False)
    world = PrimedWorld(asking(200), policy=policy)
    assert world.run() == 0
    assert world.sealed() == [("fresh", 100), ("fresh", 99), ("fresh", 1)]
    assert world.hit_rate() < 0.8
    assert primed(world.state()) is None


def test_every_shared_prefix_has_one_primer_and_all_go_in_one_batch() -> None:
    books = [f"Book {number}. " * 700 for number in range(3)]
    mixed = [item for items in zip(*(asking(20, book) for book in books), strict=True) for item in items]
    world = PrimedWorld(mixed)
    assert world.run() == 0
    answered_once(world)
    assert world.sealed()[0] == ("priming", 3)
    assert world.hit_rate() > 0.85


def test_what_is_not_shared_or_too_short_or_kept_for_minutes_is_not_primed() -> None:
    alone = [Item("Why?", f"Book {number}. " * 700) for number in range(3)]
    world = PrimedWorld([*alone, *asking(5, "Be brief."), *asking(5, ttl="5m"), *asking(5, ttl="")])
    assert world.run() == 0
    assert {cause for cause, _ in world.sealed()} == {"fresh"}


def test_priming_goes_before_the_canary_and_the_canary_before_the_lanes() -> None:
    policy = msgspec.structs.replace(PRIMED, canary="always", canary_requests=5)
    world = PrimedWorld([*asking(20), *asking(20, priority=7)], policy=policy)
    assert world.run() == 0
    answered_once(world)
    assert world.sealed()[:2] == [("priming", 1), ("canary", 5)]
    rest = world.events(e.ChunkSealed)[2:]
    assert {chunk.cause for chunk in rest} == {"fresh"}
    assert [chunk.priority for chunk in rest] == sorted((chunk.priority for chunk in rest), reverse=True)
    (judged,) = world.events(e.CanaryJudged)
    assert (judged.verdict, judged.requests) == ("released", 6)


def test_a_service_whose_batches_share_nothing_costs_one_wait_and_the_run_says_so() -> None:
    world = PrimedWorld(
        asking(200), settings=msgspec.structs.replace(SERVICE, cache_across_batches=False, cache_lag_share=1)
    )
    assert world.run() == 0
    answered_once(world)
    assert world.sealed()[0] == ("priming", 1)
    assert [cause for cause, _ in world.sealed()].count("priming") == 1
    assert world.cache()[1] == 0
    assert is_in_vain(world.state())


def test_a_primer_that_fails_has_a_successor_and_after_two_the_rest_goes_without() -> None:
    failing = [Item(f"[[simulate:errored:api_error]] {number}") for number in range(30)]
    world = PrimedWorld(failing, policy=msgspec.structs.replace(PRIMED, max_attempts=1))
    assert world.run() != 0
    assert world.sealed() == [("priming", 1), ("priming", 1), ("fresh", 28)]


def test_a_primer_whose_batch_takes_too_long_is_waited_for_as_long_as_a_canary() -> None:
    slow = Fault(operation="create", call=1, kind="turnaround", seconds=600)
    policy = msgspec.structs.replace(PRIMED, canary_wait_us=MINUTE)
    world = PrimedWorld(asking(20), slow, policy=policy)
    assert world.run() == 0
    answered_once(world)
    assert world.sealed() == [("priming", 1), ("fresh", 19)]
    assert positions(world, e.ChunkSealed, 2) < positions(world, e.BatchCollected, 1)
    (first, second) = (row.at for row in world.disk.rows if row.type_name == "chunk_sealed")
    assert second - first >= MINUTE


@pytest.mark.parametrize("after", [False, True], ids=["before it is durable", "when it is durable"])
def test_a_run_killed_at_any_append_primes_once_and_answers_every_item_once(*, after: bool) -> None:
    policy = msgspec.structs.replace(PRIMED, canary="always", canary_requests=3)
    items = [*asking(8), *asking(8, RULES + "Shout.")]
    at = 0
    while True:
        at += 1
        world = PrimedWorld(items, policy=policy)
        log = MortalLog(world.disk, at, after=after)
        try:
            with joined_threads():
                world.process(log).run()
        except DiedError:
            assert world.run() == 0
        else:
            break
        answered_once(world)
        causes = [cause for cause, _ in world.sealed()]
        assert causes[:2] == ["priming", "canary"]
        assert "priming" not in causes[1:]
    assert at > 20


def test_a_budget_counts_a_primer_as_committed_and_pauses_before_what_it_cannot_pay() -> None:
    world = PrimedWorld(asking(20))
    with joined_threads():
        runner = world.process()
        runner.record([e.BudgetSet(max_usd="0.02")])
        assert runner.run() == 3
    assert world.sealed() == [("priming", 1)]
    assert world.outcomes().count("ok") == 1
    assert world.transport.bill().cost_usd <= Decimal("0.02")
    with joined_threads():
        runner = world.process()
        runner.record([e.BudgetSet(max_usd="")])
        assert runner.run() == 0
    assert world.sealed() == [("priming", 1), ("fresh", 19)]
    answered_once(world)


def test_a_budget_below_a_single_primer_sends_nothing() -> None:
    world = PrimedWorld(asking(20))
    with joined_threads():
        runner = world.process()
        runner.record([e.BudgetSet(max_usd="0.001")])
        assert runner.run() == 3
    assert (world.sealed(), world.own_batches()) == ([], 0)
