"""What may yet be billed: bounds that hold, a purse that is never overdrawn, and a pause that says how to go on."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stating import BATCH, COLLECTED, CREATED, ENDED, LOST, NOON, RESULTS, SEALED, WAY_TO, chunk_in, opened, tell

from ledger.core import events as e
from ledger.core.budget import BYTES_PER_TOKEN_WORST, Purse, affordable, exposure_of, open_purse
from ledger.core.commands import Record, Seal, Submit
from ledger.core.decide import decide, may_begin
from ledger.core.prices import PriceTable, Usage, price, quote
from ledger.core.requests import SetBudget, request_events
from ledger.core.snapshot import dump, load
from ledger.core.state import ChunkStatus, RunState

TABLE = quote("2026-11-22")
QUOTED = e.PricesQuoted(table=TABLE)
HAIKU = "claude-haiku-4-5"
STEPPED = "claude-haiku-5-5"
SPENT = tuple(msgspec.structs.replace(result, usage=Usage(input_tokens=20, output_tokens=40)) for result in RESULTS)
WAY_SPENT = {**WAY_TO, "collected": (*WAY_TO["ended"], *SPENT, COLLECTED)}


def state_of(status: ChunkStatus, max_usd: str = "1", mode: Any = "worst", **changes: Any) -> RunState:
    return tell(opened(**changes), QUOTED, e.BudgetSet(max_usd=max_usd, mode=mode), *WAY_SPENT[status])


def purse_of(state: RunState) -> Purse:
    purse = open_purse(state)
    assert purse is not None
    return purse


def bound(state: RunState, chunk: int = 1) -> Decimal:
    usd = purse_of(state).chunk_usd(state.chunks[chunk])
    assert usd is not None
    return usd


# ── bounds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(
    st.sampled_from([HAIKU, STEPPED, "claude-opus-4-7", "claude-sonnet-4-6"]),
    st.lists(st.integers(60, 600_000), min_size=1, max_size=4),
    st.integers(1, 64_000),
    st.booleans(),
    st.sampled_from(["", "us", "global"]),
    st.data(),
)
def test_no_request_of_two_bytes_a_token_costs_more_than_its_bound(
    model: str, sizes: list[int], max_tokens: int, cached: bool, geo: str, data: st.DataObject
) -> None:
    state = RunState()
    tell(
        state,
        e.RunOpened(ledger_id="l", origin="o", tool_version="t"),
        QUOTED,
        e.SourceOpened(source=1, path="/i"),
        e.ClassDeclared(class_id=0, model=model, max_tokens=max_tokens, cached=cached, geo=geo),
        *(
            e.RequestBuilt(ordinal=number, custom_id="c", line=1, size_bytes=size, digest="d")
            for number, size in enumerate(sizes)
        ),
    )
    exposure = exposure_of(state)
    assert exposure is not None
    whole = exposure.bound_usd(state, [(0, len(sizes))])
    total = Decimal(0)
    for ordinal, size in enumerate(sizes):
        prompt = data.draw(st.integers(0, -(-size // BYTES_PER_TOKEN_WORST)))
        written = data.draw(st.integers(0, prompt)) if cached else 0
        usage = Usage(
            input_tokens=prompt - written,
            cache_write_1h_tokens=written,
            output_tokens=data.draw(st.integers(0, max_tokens)),
        )
        usd = price(TABLE, model, usage, geo=geo or data.draw(st.sampled_from(["", "us"])))
        one = exposure.request_usd(state, ordinal)
        assert usd is not None
        assert one is not None
        assert usd <= one
        total += one
    assert whole == total


def test_a_request_that_can_reach_a_price_step_counts_with_it() -> None:
    state = tell(opened(), QUOTED, e.SourceOpened(source=2, path="/more"))
    tell(state, e.ClassDeclared(class_id=1, model=STEPPED, max_tokens=10))
    for ordinal, size in ((6, 200_000), (7, 200_001)):
        tell(state, e.RequestBuilt(ordinal=ordinal, custom_id="c", line=1, size_bytes=size, digest="d", class_id=1))
    exposure = exposure_of(state)
    assert exposure is not None
    below, above = (exposure.request_usd(state, ordinal) for ordinal in (6, 7))
    assert below is not None
    assert above is not None
    assert above > 4 * below


# ── what is committed ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", ["prepared", "released", "uncertain", "submitted", "ended"])
def test_what_is_on_its_way_is_committed_with_its_bound(status: ChunkStatus) -> None:
    state = state_of(status)
    purse = purse_of(state)
    assert (purse.spent_usd, purse.open_usd) == (0, bound(state))


@pytest.mark.parametrize("status", ["sealed", "dissolved"])
def test_what_was_not_sent_is_not_committed(status: ChunkStatus) -> None:
    assert purse_of(state_of(status)).room_usd == 1


def test_rows_that_are_stored_free_nothing_until_all_of_their_batch_are() -> None:
    state = tell(state_of("ended"), *SPENT[:2])
    assert purse_of(state).open_usd == bound(state)
    tell(state, SPENT[2], COLLECTED)
    paid = price(TABLE, HAIKU, Usage(input_tokens=60, output_tokens=120))
    assert (purse_of(state).spent_usd, purse_of(state).open_usd) == (paid, 0)


def test_rows_that_are_lost_or_missing_or_unreadable_count_as_if_they_were_billed() -> None:
    lost = tell(state_of("submitted"), LOST)
    assert purse_of(lost).open_usd == bound(lost)
    half = tell(state_of("ended"), *SPENT[:2], LOST)
    paid = price(TABLE, HAIKU, Usage(input_tokens=40, output_tokens=80))
    assert (purse_of(half).spent_usd, purse_of(half).open_usd) == (paid, bound(half) / 3)
    missing = e.BatchCollected(chunk=1, batch=BATCH, rows=2, counts=COLLECTED.counts, missing=(2,))
    short = tell(state_of("ended"), *SPENT[:2], missing)
    assert purse_of(short).open_usd == bound(short) / 3
    unknown = e.ResultStored(ordinal=2, chunk=1, digest="d", outcome="errored", error_kind="unknown type x")
    strange = tell(state_of("ended"), *SPENT[:2], unknown)
    silent = tell(state_of("ended"), *SPENT[:2], msgspec.structs.replace(RESULTS[2], usage=Usage()))
    for state in (strange, silent):
        assert state.unmetered == [2, 3]
    failed = tell(state_of("ended"), msgspec.structs.replace(unknown, error_kind="api_error"))
    assert failed.unmetered == []


def test_a_twin_counts_with_its_bound_until_its_rows_say_what_it_cost() -> None:
    state = state_of("collected")
    spent = purse_of(state).spent_usd
    twin = e.TwinFound(chunk=1, submission=1, batch="twin", requests=3)
    tell(state, twin)
    assert purse_of(state).open_usd == bound(state)
    tell(state, msgspec.structs.replace(twin, proven=True, usage=Usage(input_tokens=60, output_tokens=120)))
    assert purse_of(state).open_usd == spent
    stranger = tell(state_of("collected"), twin, e.CandidateInspected(batch="twin", verdict="foreign"))
    assert purse_of(stranger).open_usd == 0


def test_a_batch_that_cost_more_than_its_bound_raises_every_bound_after_it() -> None:
    state = state_of("ended")
    before = bound(state)
    huge = Usage(input_tokens=2_000, output_tokens=100)
    tell(state, *(msgspec.structs.replace(result, usage=huge) for result in RESULTS), COLLECTED)
    tell(state, e.ChunkSealed(chunk=2, ranges=[3, 6], requests=3, size_bytes=SEALED.size_bytes))
    paid = purse_of(state).spent_usd
    assert paid > before
    assert bound(state, 2) == pytest.approx(paid)


def test_the_memo_beside_the_state_is_no_part_of_it() -> None:
    state = state_of("collected")
    before = dump(state)
    purse_of(state)
    assert dump(state) == before
    loaded = load(before)
    assert loaded is not None
    assert purse_of(loaded).room_usd == purse_of(state).room_usd


def test_other_prices_count_anew() -> None:
    state = state_of("collected")
    spent = purse_of(state).spent_usd
    doubled = msgspec.structs.replace(TABLE, batch_factor="1.0")
    assert purse_of(tell(state, e.PricesQuoted(table=doubled))).spent_usd == 2 * spent


# ── deciding ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def chunk_usd(mode: Any = "worst") -> Decimal:
    return bound(state_of("sealed", mode=mode))


def test_a_chunk_that_fits_to_the_last_cent_is_submitted_and_one_that_does_not_pauses_the_run() -> None:
    fits = state_of("sealed", str(chunk_usd()))
    assert decide(fits, NOON).commands[0] == Submit(1)
    assert may_begin(fits, 1)
    short = state_of("sealed", str(chunk_usd() - Decimal("0.0000001")))
    (record,) = decide(short, NOON).commands
    assert isinstance(record, Record)
    assert isinstance(record.events[0], e.RunPaused)
    assert record.events[0].reason == "budget"
    assert not may_begin(short, 1)


def test_of_two_chunks_that_fit_apart_and_not_together_one_is_submitted() -> None:
    state = state_of("sealed", str(chunk_usd() * Decimal("1.5")))
    tell(state, e.ChunkSealed(chunk=2, ranges=[3, 5], requests=2, size_bytes=216))
    decision = decide(state, NOON)
    assert decision.commands == (Submit(1),)
    tell(state, *WAY_TO["prepared"][1:])
    assert not affordable(state, state.chunks[2])
    assert not may_begin(state, 2)


def test_while_something_is_on_its_way_the_next_batch_waits_for_what_it_costs() -> None:
    state = state_of("submitted", str(chunk_usd() * Decimal("1.5")))
    decision = decide(state, NOON)
    assert decision.exit_code is None
    assert not [command for command in decision.commands if isinstance(command, Seal | Submit | Record)]
    assert any("it waits until it is known what they cost" in reason.why for reason in decision.waiting)
    tell(state, ENDED, *SPENT, COLLECTED)
    assert any(isinstance(command, Seal) for command in decide(state, NOON).commands)


def test_a_chunk_is_cut_short_to_what_is_left() -> None:
    state = tell(opened(), QUOTED, e.BudgetSet(max_usd=str(chunk_usd() / 3 * 2)))
    (seal,) = decide(state, NOON).commands
    assert isinstance(seal, Seal)
    assert seal.max_requests == 2


def test_the_pause_names_the_budget_that_is_enough_and_raising_it_to_that_lifts_it() -> None:
    state = state_of("sealed", "0.0001")
    (record,) = decide(state, NOON).commands
    assert isinstance(record, Record)
    tell(state, *record.events)
    pause = state.pauses["budget"]
    assert pause.lift.startswith("ledger resume --max-cost ")
    assert decide(state, NOON).exit_code == 3
    enough = pause.lift.rsplit(" ", 1)[1]
    tell(state, *request_events(state, SetBudget(enough)))
    assert not state.pauses
    assert decide(state, NOON).commands[0] == Submit(1)
    assert enough in pause.lift
    assert Decimal(enough) >= 2 * chunk_usd()


PAUSED = e.RunPaused(reason="budget", detail="d", lift="l")


def test_saying_the_same_budget_again_lifts_nothing() -> None:
    state = tell(state_of("sealed", "0.0001"), PAUSED)
    assert request_events(state, SetBudget("0.0001")) == []
    assert request_events(state, SetBudget("0.0001", "expected")) != []


def test_a_log_cut_within_the_raising_of_a_budget_is_lifted_by_saying_it_again() -> None:
    raised = SetBudget("0.05")
    told = request_events(tell(state_of("sealed", "0.0001"), PAUSED), raised)
    for cut in range(len(told)):
        state = tell(state_of("sealed", "0.0001"), PAUSED, *told[:cut])
        tell(state, *request_events(state, raised))
        assert not state.pauses, f"cut behind {cut} of {len(told)} events"


def test_lifting_a_budget_pause_without_raising_the_budget_pauses_again() -> None:
    state = tell(state_of("sealed", "0.0001"), e.RunPaused(reason="budget", detail="d", lift="l"))
    tell(state, e.RunResumed(reason="budget"))
    (record,) = decide(state, NOON).commands
    assert isinstance(record, Record)
    assert [event.reason for event in record.events if isinstance(event, e.RunPaused)] == ["budget"]


def test_without_a_price_no_budget_is_kept_and_the_pause_says_so() -> None:
    bare = PriceTable(
        quoted_on="d", source="s", batch_factor="0.5", geo_us_factor="1.1", web_search_per_1000="10", models=()
    )
    for quoted in ((), (e.PricesQuoted(table=bare),)):
        state = tell(opened(), *quoted, e.BudgetSet(max_usd="100"), *WAY_TO["sealed"])
        (record,) = decide(state, NOON).commands
        assert isinstance(record, Record)
        (pause,) = record.events
        assert isinstance(pause, e.RunPaused)
        assert "price of a model is not known" in pause.detail


def test_without_a_limit_nothing_is_counted() -> None:
    state = tell(chunk_in("sealed"), QUOTED, e.BudgetSet(confirmed=6))
    assert open_purse(state) is None
    assert state.exposure is None
    assert decide(state, NOON).commands[0] == Submit(1)


# ── what is expected ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_expected_batch_counts_with_less_than_its_bound() -> None:
    assert 0 < chunk_usd("expected") < chunk_usd()


def test_enough_results_correct_what_is_expected_and_too_few_do_not() -> None:
    def expected_after(requests: int) -> Decimal:
        policy_free = opened(requests + 3, chunk_requests=requests)
        state = tell(policy_free, QUOTED, e.BudgetSet(max_usd="1", mode="expected"))
        size = 15 + 101 * requests - 1
        tell(
            state,
            e.ChunkSealed(chunk=1, ranges=[0, requests], requests=requests, size_bytes=size),
            msgspec.structs.replace(WAY_TO["prepared"][1], requests=requests, size_bytes=size),
            WAY_TO["released"][2],
            CREATED,
            ENDED,
            *(
                e.ResultStored(
                    ordinal=number, chunk=1, digest="d", usage=Usage(input_tokens=20, output_tokens=1), model=HAIKU
                )
                for number in range(requests)
            ),
        )
        counts = msgspec.structs.replace(COLLECTED.counts, succeeded=requests)
        tell(state, e.BatchCollected(chunk=1, batch=BATCH, rows=requests, counts=counts))
        tell(state, e.ChunkSealed(chunk=2, ranges=[requests, requests + 3], requests=3, size_bytes=317))
        return bound(state, 2)

    few, many = expected_after(19), expected_after(20)
    assert few == chunk_usd("expected")
    paid = price(TABLE, HAIKU, Usage(input_tokens=60, output_tokens=3))
    assert many == pytest.approx(paid)
