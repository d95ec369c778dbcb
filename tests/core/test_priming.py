"""Which prefixes are primed, when again, and what is waited for: by the state and the clock alone."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from stating import LEDGER_ID, NOON, POLICY, SECOND, tell

from ledger.core import events as e
from ledger.core.chunks import body_size_bytes, nonce_of
from ledger.core.columns import to_ranges
from ledger.core.commands import Seal, SealChosen
from ledger.core.decide import decide
from ledger.core.prices import Usage, quote
from ledger.core.priming import PRIMERS_AT_MOST, is_in_vain, primed, primers_due
from ledger.core.snapshot import dump, load
from ledger.core.state import RunState, Warmth

SONNET = "claude-sonnet-4-6"
MINUTE, HOUR = 60 * SECOND, 3600 * SECOND
SIZE = 10_000
WRITES = Usage(input_tokens=20, output_tokens=50, cache_write_1h_tokens=2_000)
READS = Usage(input_tokens=20, output_tokens=50, cache_read_tokens=2_000)


def taken_in(*kinds: tuple[str, int], minutes: int = 60, size_bytes: int = 8_000, **policy: Any) -> RunState:
    """Return a run of (prefix, requests) in the order given; of an empty prefix they share nothing."""
    state = RunState()
    changed = msgspec.structs.replace(POLICY, **{"prime_cache": True, "chunk_requests": 10_000, **policy})
    tell(
        state,
        e.RunOpened(ledger_id=LEDGER_ID, origin="o", tool_version="t"),
        e.WriterOpened(epoch=1, tool_version="t"),
        e.SettingsChanged(policy=changed),
        e.SourceOpened(source=1, path="/i"),
    )
    for class_id, (prefix, requests) in enumerate(kinds):
        bytes_, kept = (size_bytes, minutes) if prefix else (0, 0)
        tell(
            state,
            e.ClassDeclared(
                class_id=class_id,
                model=SONNET,
                max_tokens=100,
                cached=bool(prefix),
                prefix=prefix,
                prefix_bytes=bytes_,
                prefix_minutes=kept,
            ),
        )
        for ordinal in range(len(state.columns), len(state.columns) + requests):
            built = e.RequestBuilt(
                ordinal=ordinal, custom_id="c", line=1, size_bytes=SIZE, digest="d", class_id=class_id
            )
            tell(state, built)
    built = len(state.columns)
    completed = e.IntakeCompleted(
        source=1, lines=built, bytes_read=1, digest="d", built=built, deduplicated=0, rejected=0
    )  # fmt: skip
    return tell(state, completed, e.PricesQuoted(table=quote("2026-11-22")))


def primers(state: RunState, now: int = NOON) -> list[int]:
    return primers_due(state, now, 10_000, 200_000, 64_000_000)


def sealed(state: RunState, members: list[int], cause: str) -> int:
    """Seal a chunk of these requests; return its number."""
    number = state.next_chunk
    size = body_size_bytes(SIZE * len(members), len(members))
    ranges = to_ranges(members)
    tell(state, e.ChunkSealed(chunk=number, ranges=ranges, requests=len(members), size_bytes=size, cause=cause))  # type: ignore[arg-type]
    return number


def sent(state: RunState, number: int) -> None:
    chunk = state.chunks[number]
    prepared = e.SubmissionPrepared(
        chunk=number,
        submission=1,
        nonce=nonce_of(LEDGER_ID, number, 1),
        requests=chunk.requests,
        size_bytes=chunk.size_bytes,
        server_date=NOON,
    )
    created = e.BatchCreated(
        chunk=number,
        submission=1,
        batch=f"b{number}",
        created_at=NOON,
        expires_at=NOON + 24 * HOUR,
        total=chunk.requests,
    )
    tell(state, prepared, e.SubmissionReleased(chunk=number, submission=1, digest="d"), created)


def ended(state: RunState, number: int, at: int, usage: Usage | None = WRITES) -> None:
    """Have a batch end at an instant of both clocks, and all of it collected; without usage all of it failed."""
    chunk = state.chunks[number]
    failed = usage is None
    counts = e.Counts(errored=chunk.requests) if failed else e.Counts(succeeded=chunk.requests)
    seen = e.BatchSeen(batch=chunk.batch, status="ended", ended_at=at, counts=counts)
    members = [ordinal for ordinal, of in enumerate(state.columns.chunk) if of == number]
    rows = [
        e.ResultStored(ordinal=o, chunk=number, digest="d", outcome="errored", error_kind="api_error")
        if failed
        else e.ResultStored(ordinal=o, chunk=number, digest="d", usage=usage)
        for o in members
    ]
    tell(state, e.StatusPolled(server_date=at, changes=(seen,)), at=at)
    tell(state, *rows, e.BatchCollected(chunk=number, batch=chunk.batch, rows=len(rows), counts=counts), at=at)


def primed_at(state: RunState, at: int, usage: Usage | None = WRITES) -> RunState:
    """Prime what is due."""
    number = sealed(state, sorted(primers(state, at)), "priming")
    sent(state, number)
    ended(state, number, at, usage)
    return state


# ── which ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_request_of_every_prefix_that_two_share_is_a_primer() -> None:
    assert primers(taken_in(("", 3), ("p", 2), ("q", 5), ("r", 1))) == [5, 3]


def test_nothing_is_primed_unless_it_was_asked_for() -> None:
    assert primers(taken_in(("p", 9), prime_cache=False)) == []


def test_a_prefix_is_not_primed_that_is_too_short_or_kept_for_five_minutes() -> None:
    assert primers(taken_in(("p", 9), size_bytes=4 * 1_023)) == []
    assert primers(taken_in(("p", 9), size_bytes=4 * 1_024)) == [0]
    assert primers(taken_in(("p", 9), minutes=5)) == []


def test_the_most_valuable_prefixes_go_first_and_no_more_than_so_many() -> None:
    kinds = [(f"p{number}", 2 + number % 7) for number in range(PRIMERS_AT_MOST + 40)]
    state = taken_in(*kinds)
    found = primers(state)
    assert len(found) == PRIMERS_AT_MOST
    sizes = [kinds[state.columns.class_id[ordinal]][1] for ordinal in found]
    assert sizes == sorted((size for _, size in kinds), reverse=True)[:PRIMERS_AT_MOST]


def test_primers_fit_into_one_body() -> None:
    state = taken_in(*((f"p{number}", 2) for number in range(9)))
    assert len(primers_due(state, NOON, 10_000, 200_000, body_size_bytes(4 * SIZE, 4))) == 4
    assert len(primers_due(state, NOON, 10_000, 200_000, 1)) == 1


def test_whether_to_prime_is_told_by_what_is_sealed_next_and_then_all_that_the_queue_takes_is() -> None:
    state = taken_in(("", 10), ("p", 10), ("q", 10))
    assert primers_due(state, NOON, 11, 30, 64_000_000) == []
    assert primers_due(state, NOON, 12, 21, 64_000_000) == [10]
    assert primers_due(state, NOON, 12, 22, 64_000_000) == [10, 20]


# ── when again ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_primed_is_warm_for_55_minutes_and_then_primed_again() -> None:
    state = primed_at(taken_in(("p", 9)), NOON + HOUR)
    assert state.warmth == {"p": Warmth(1, NOON + HOUR)}
    assert primers(state, NOON + HOUR + 54 * MINUTE) == []
    assert primers(state, NOON + HOUR + 56 * MINUTE) == [1]


def test_a_canary_that_outlasted_the_cache_calls_for_another_primer_and_one_that_used_it_does_not() -> None:
    for usage, due in ((READS, []), (None, [4])):
        state = primed_at(taken_in(("p", 9)), NOON + HOUR)
        number = sealed(state, [1, 2, 3], "canary")
        assert state.warmth["p"].primings == 0
        sent(state, number)
        ended(state, number, NOON + 3 * HOUR, usage)
        assert primers(state, NOON + 3 * HOUR + MINUTE) == due


def test_the_services_clock_decides_whatever_the_writers_says() -> None:
    state = taken_in(("p", 9))
    number = sealed(state, primers(state), "priming")
    sent(state, number)
    ended(state, number, NOON + HOUR)
    tell(state, e.StatusPolled(server_date=NOON + HOUR), at=NOON + 9 * HOUR)  # the writer's clock is eight hours ahead
    assert primers(state, NOON + 9 * HOUR + 54 * MINUTE) == []
    assert primers(state, NOON + 9 * HOUR + 56 * MINUTE) == [1]


def test_two_primers_that_fail_are_the_last_until_something_else_was_sealed() -> None:
    state = primed_at(primed_at(taken_in(("p", 9)), NOON + HOUR, None), NOON + 2 * HOUR, None)
    assert state.warmth == {"p": Warmth(2, 0)}
    assert primers(state, NOON + 9 * HOUR) == []
    sealed(state, [2, 3, 4], "fresh")
    assert primers(state, NOON + 9 * HOUR) == [5]


def test_nothing_is_primed_again_where_what_followed_read_nothing() -> None:
    state = primed_at(taken_in(("p", 9)), NOON + HOUR)
    number = sealed(state, [1, 2, 3], "fresh")
    sent(state, number)
    ended(state, number, NOON + 2 * HOUR, WRITES)
    assert is_in_vain(state)
    assert primers(state, NOON + 9 * HOUR) == []
    found = primed(state)
    assert found is not None
    assert (found.written_tokens, found.read_after_tokens, found.written_after_tokens) == (2_000, 0, 6_000)


def test_nothing_is_primed_again_where_nothing_was_cached() -> None:
    state = primed_at(taken_in(("p", 9)), NOON + HOUR, Usage(input_tokens=900, output_tokens=3))
    assert is_in_vain(state)
    assert primers(state, NOON + 9 * HOUR) == []


def test_a_memo_keeps_what_is_known_of_prefixes() -> None:
    state = primed_at(taken_in(("p", 9)), NOON + HOUR)
    again = load(dump(state))
    assert again is not None
    assert (again.warmth, again.canary_chunk) == (state.warmth, 0)
    assert dump(again) == dump(state)


# ── what is waited for ───────────────────────────────────────────────────────────────────────────────────────────────


def seals(state: RunState, now: int) -> list[Seal | SealChosen]:
    return [command for command in decide(state, now).commands if isinstance(command, Seal | SealChosen)]


def test_nothing_fresh_is_sealed_while_a_primer_is_on_its_way() -> None:
    state = taken_in(("p", 9), canary_wait_us=2 * HOUR)
    (command,) = seals(state, NOON)
    assert command == SealChosen((0,), 0, "priming")
    number = sealed(state, [0], "priming")
    assert seals(state, NOON) == []
    sent(state, number)
    at = state.chunks[number].sent_at
    decision = decide(state, at + MINUTE)
    assert seals(state, at + MINUTE) == []
    assert decision.waiting[-1].until == at + 2 * HOUR
    assert len(seals(state, at + 2 * HOUR)) == 1


def test_a_primer_that_a_person_is_asked_about_holds_nobody_up() -> None:
    state = taken_in(("p", 9))
    sealed(state, [0], "priming")
    tell(state, e.ChunkHeld(chunk=1, reason="refused", detail="d", lift="l"))
    (command,) = seals(state, NOON)
    assert isinstance(command, Seal)


def test_a_canary_is_the_first_of_all_but_primers() -> None:
    state = taken_in(("p", 30), canary="always", canary_requests=5)
    primed_at(state, NOON + MINUTE)
    (command,) = seals(state, NOON + MINUTE)
    assert isinstance(command, SealChosen)
    assert (command.cause, len(command.members)) == ("canary", 5)
    sealed(state, list(command.members), "canary")
    assert state.canary_chunk == 2
    fresh = taken_in(("", 30), canary="always", canary_requests=5)
    sealed(fresh, list(range(10)), "fresh")
    assert fresh.canary_chunk == -1


def test_a_budget_with_room_for_some_primers_lets_those_go() -> None:
    state = taken_in(("p", 9), ("q", 9))
    one = (Decimal(SIZE) / 2 + 1) * Decimal("0.0000033") + 100 * Decimal("0.00000825")  # written for an hour, in the US
    tell(state, e.BudgetSet(max_usd=f"{one * Decimal('1.5'):.6f}"))
    (command,) = seals(state, NOON)
    assert command == SealChosen((0,), 0, "priming")
