"""The bill tells a prompt that was paid twice from prompts that merely look alike."""

from __future__ import annotations

from simulating import HOUR, NOON, SECOND, envelope, settings

from ledger.service.simulator.bill import Bill, draw_bill
from ledger.service.simulator.core import Simulator
from ledger.service.simulator.records import Traits


def bill_of(simulator: Simulator) -> Bill:
    return draw_bill(simulator.batches, NOON + 10 * HOUR)


def repetitions(bill: Bill) -> tuple[int, int, int, int, int]:
    return (
        bill.prompts_accepted_twice,
        bill.prompts_billed_twice,
        bill.bodies_accepted_more_than_once,
        bill.bodies_billed_twice,
        bill.ordinals_billed_twice,
    )


def test_the_same_batch_twice_is_every_prompt_twice() -> None:
    simulator = Simulator(settings())
    simulator.create(envelope("a", "b", ids="{}-first-x"), NOON)
    simulator.create(envelope("a", "b", ids="{}-second-x"), NOON + SECOND)
    assert repetitions(bill_of(simulator)) == (2, 2, 2, 2, 2)


def test_equal_prompts_of_different_items_are_no_repetition() -> None:
    simulator = Simulator(settings())
    simulator.create(envelope("a", "a", "a"), NOON)
    assert repetitions(bill_of(simulator)) == (0, 0, 0, 0, 0)
    # In another batch, equal bodies of other ordinals can be told apart by the ordinal, and only by it.
    simulator.create(envelope("a", ids="7{}-nonce-x"), NOON + SECOND)
    assert repetitions(bill_of(simulator)) == (0, 0, 1, 1, 0)


def test_an_item_that_errored_expired_or_was_refused_unpaid_is_sent_again_without_being_paid_twice() -> None:
    simulator = Simulator(settings())
    texts = ("[[simulate:errored:api_error:1]]", "[[simulate:expired:1]]", "[[simulate:refusal:1]]")
    simulator.create(envelope(*texts), NOON)
    assert bill_of(simulator).requests_billed == 0
    simulator.create(envelope(*texts), NOON + SECOND)
    bill = bill_of(simulator)
    assert (bill.requests_accepted, bill.requests_billed) == (6, 3)
    assert repetitions(bill) == (0, 0, 0, 0, 0)


def test_a_prompt_that_is_sent_again_while_its_batch_is_open_is_accepted_twice_whatever_becomes_of_it() -> None:
    simulator = Simulator(settings())
    simulator.create(envelope("[[simulate:expired:1]]"), NOON, Traits(turnaround=HOUR))
    simulator.create(envelope("[[simulate:expired:1]]"), NOON + SECOND)
    assert repetitions(bill_of(simulator)) == (1, 0, 1, 0, 0)


def test_ids_that_are_no_wire_ids_of_a_runner_count_by_their_first_field_and_body() -> None:
    simulator = Simulator(settings())
    simulator.create(envelope("a", "b", ids="item_{}"), NOON)
    simulator.create(envelope("a", ids="item_{}"), NOON + SECOND)
    assert repetitions(bill_of(simulator)) == (1, 1, 1, 1, 0)


def test_tokens_are_those_of_the_rows_and_strangers_are_left_out() -> None:
    simulator = Simulator(settings())
    batch = simulator.create(envelope("a", "b", "[[simulate:refusal]]"), NOON)
    simulator.create_foreign(5, NOON)
    answers = batch.answers()
    usages = [answers.usage(index) for index in range(2)]
    bill = bill_of(simulator)
    assert (bill.batches, bill.foreign_batches, bill.requests_accepted, bill.requests_billed) == (1, 1, 3, 2)
    tokens = bill.tokens["claude-haiku-4-5-20251001"]
    assert tokens.input_tokens == sum(usage.input_tokens for usage in usages) == bill.by_batch[0].input_tokens
    assert tokens.output_tokens == sum(usage.output_tokens for usage in usages) == bill.by_batch[0].output_tokens


def test_a_deleted_batch_stays_on_the_bill_and_an_open_one_is_not_yet_charged() -> None:
    simulator = Simulator(settings())
    batch = simulator.create(envelope("a"), NOON)
    simulator.delete(batch.batch_id, NOON + 1)
    simulator.create(envelope("b"), NOON, Traits(never_ends=True))
    bill = bill_of(simulator)
    assert (bill.batches, bill.requests_billed) == (2, 1)
