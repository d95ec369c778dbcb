"""What to do next: always the same from the same, never what must not be, and never nothing without a way out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stating import (
    BATCH,
    COLLECTED,
    CREATED,
    ENDED,
    NOON,
    POLICY,
    PREPARED,
    RELEASED,
    RESULTS,
    SEALED,
    SECOND,
    chunk_in,
    opened,
    tell,
)

from ledger.core import events as e
from ledger.core.chunks import body_size_bytes, cut
from ledger.core.commands import Cancel, Collect, Command, Look, Record, Seal, Split, Submit
from ledger.core.decide import QUEUE_PATIENCE_US, UPLOADS_AT_ONCE, Decision, backoff_us, decide
from ledger.core.evolving_chunks import put
from ledger.core.snapshot import dump
from ledger.core.state import RunState

LATER = NOON + 10**6 * SECOND


def refused(reaction: Any, **changes: Any) -> e.SubmissionRefused:
    usual = e.SubmissionRefused(chunk=1, submission=1, status=429, reaction=reaction)
    return msgspec.structs.replace(usual, **changes)


def commands(state: RunState, now: int = 0) -> tuple[Command, ...]:
    return decide(state, now or state.at).commands


def kinds(state: RunState, now: int = 0) -> list[str]:
    return [type(command).__name__ for command in commands(state, now)]


# ── one step after another ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_is_read_is_sealed_then_submitted() -> None:
    assert commands(opened()) == (Seal(0, False, 3, 64_000_000, frozenset()),)
    assert commands(chunk_in("sealed"))[0] == Submit(1)


def test_nothing_is_sealed_while_a_source_is_being_read() -> None:
    """Everything is checked before anything is spent: bad lines may still withdraw what was read."""
    state = tell(opened(), e.SourceOpened(source=2, path="/more.jsonl"))
    decision = decide(state, state.at)
    assert decision.commands == ()
    assert decision.exit_code == 3
    assert "/more.jsonl" in decision.waiting[0].why


@pytest.mark.parametrize("status", ["prepared", "released"])
def test_what_a_dead_process_left_is_concluded_first(status: Any) -> None:
    state = tell(chunk_in(status), e.WriterOpened(epoch=2, tool_version="x"))
    expected: dict[str, type[Any]] = {"prepared": e.SubmissionAborted, "released": e.SubmissionUncertain}
    [record] = commands(state)
    assert isinstance(record, Record)
    assert [type(event) for event in record.events] == [expected[status]]
    tell(state, *record.events)
    assert not any(isinstance(command, Record) for command in commands(state))


def test_what_this_process_has_under_way_is_left_alone() -> None:
    assert not any(isinstance(command, Submit | Record) for command in commands(chunk_in("released")))
    assert decide(chunk_in("released"), NOON).exit_code is None


def test_batches_are_polled_each_tick_and_collected_when_they_ended() -> None:
    state = tell(opened(requests=3), SEALED, PREPARED, RELEASED, CREATED)
    sent = state.chunks[1].sent_at
    assert decide(state, sent).wake_at == sent + POLICY.poll_us
    assert commands(state, sent + POLICY.poll_us) == (Look(evidence=False, horizon=0),)
    assert commands(tell(state, ENDED)) == (Collect(1),)


def test_all_answered_is_finished_once() -> None:
    state = tell(opened(requests=3), SEALED, PREPARED, RELEASED, CREATED, ENDED, *RESULTS)
    tell(state, e.BatchCollected(chunk=1, batch=BATCH, rows=3, counts=e.Counts(succeeded=3)))
    [record] = commands(state)
    assert record == Record((e.RunFinished(outcomes={"ok": 3}, exit_code=0),))
    assert isinstance(record, Record)
    assert decide(tell(state, *record.events), LATER) == Decision((), exit_code=0)


def test_a_run_whose_submission_was_given_up_ends_only_after_a_last_list() -> None:
    """A batch that came late after all would be paid for and never be said, were the run over before."""
    again = [msgspec.structs.replace(event, submission=2) for event in (PREPARED, RELEASED, CREATED)]
    state = tell(chunk_in("uncertain", requests=3), e.BatchesListed(asked_at=99, server_date=NOON, complete=True))
    tell(state, e.SubmissionResolved(chunk=1, submission=1, by="reconcile"), *again, ENDED, *RESULTS, COLLECTED)
    due = state.listed_at + POLICY.poll_us
    assert (decide(state, due - 1).wake_at, decide(state, due - 1).exit_code) == (due, None)
    assert commands(state, due - 1) == ()
    [look] = commands(state, due)
    assert isinstance(look, Look)
    assert look.evidence
    tell(state, e.BatchesListed(asked_at=state.position, server_date=NOON, complete=True))
    assert commands(state, due + 1) == (Record((e.RunFinished(outcomes={"ok": 3}, exit_code=0),)),)


# ── order and limits ─────────────────────────────────────────────────────────────────────────────────────────────────


def sealed_chunks(sizes: list[int], priorities: list[int] | None = None, **policy: Any) -> RunState:
    state = opened(requests=sum(sizes), **policy)
    first = 0
    for number, size in enumerate(sizes, 1):
        seal = e.ChunkSealed(
            chunk=number,
            ranges=[first, first + size],
            requests=size,
            size_bytes=body_size_bytes(100 * size, size),
            priority=0,
        )
        tell(state, seal)
        if priorities:
            put(state, msgspec.structs.replace(state.chunks[number], priority=priorities[number - 1]))
        first += size
    return state


def submitted(state: RunState, number: int) -> RunState:
    chunk = state.chunks[number]
    prepared = msgspec.structs.replace(
        PREPARED, chunk=number, requests=chunk.requests, size_bytes=chunk.size_bytes, submission=chunk.submission + 1
    )
    return tell(
        state,
        prepared,
        msgspec.structs.replace(RELEASED, chunk=number, submission=prepared.submission),
        msgspec.structs.replace(CREATED, chunk=number, submission=prepared.submission, batch=f"b{number}"),
    )


def test_higher_priority_goes_first_and_two_uploads_at_once() -> None:
    state = sealed_chunks([1, 2, 3, 4], [0, 5, 1, 9])
    assert commands(state) == (Submit(4), Submit(2))
    assert UPLOADS_AT_ONCE == 2


def test_equal_sizes_are_never_in_doubt_together() -> None:
    assert commands(sealed_chunks([2, 2, 2])) == (Submit(1),)
    state = sealed_chunks([3, 3, 2])
    tell(state, PREPARED, RELEASED, e.SubmissionUncertain(chunk=1, submission=1, cause="x"))
    assert [command for command in commands(state) if isinstance(command, Submit)] == [Submit(3)]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_the_queue_limit_holds_but_for_a_chunk_alone(sizes: list[int], limit: int) -> None:
    state = sealed_chunks(sizes, queue_requests=limit)
    for _ in sizes:
        wanted = [command.chunk for command in commands(state) if isinstance(command, Submit)]
        together = state.in_queue + sum(state.chunks[number].requests for number in wanted)
        assert together <= limit or len(wanted) + len(state.batches) <= 1
        counts = [state.chunks[number].requests for number in wanted]
        assert len(set(counts)) == len(counts)
        for number in wanted:
            submitted(state, number)


def test_a_full_queue_is_waited_for_until_a_batch_ends_or_five_minutes() -> None:
    state = sealed_chunks([3, 2])
    submitted(state, 2)
    tell(state, PREPARED, RELEASED, refused("wait_for_queue"))
    full_at = state.at
    assert not any(isinstance(command, Submit) for command in commands(state, full_at + QUEUE_PATIENCE_US - 1))
    assert Submit(1) in commands(state, full_at + QUEUE_PATIENCE_US)
    tell(state, e.StatusPolled(server_date=NOON, changes=(e.BatchSeen(batch="b2", status="ended", counts=e.Counts()),)))
    assert Submit(1) in commands(state, full_at + 2 * SECOND)


def test_after_an_expiry_the_next_chunks_are_smaller() -> None:
    state = opened(requests=6, chunk_requests=8000)
    state.expired_batches = 2
    [seal] = commands(state)
    assert isinstance(seal, Seal)
    assert seal.max_requests == 2000


@pytest.mark.parametrize(
    ("reaction", "command"),
    [
        ("split", Split(1, cause="429")),
        ("bisect", Split(1, cause="429")),
        ("reject", Split(1, cause="rejected", ordinal=2)),
    ],
)
def test_a_refused_chunk_is_cut_anew(reaction: Any, command: Split) -> None:
    state = tell(chunk_in("released"), refused(reaction, ordinal=2 if reaction == "reject" else -1))
    assert commands(state)[0] == command
    assert not any(isinstance(one, Submit) for one in commands(state))


# ── pauses, holds, back-off ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_pause_stops_what_costs_money_and_nothing_else() -> None:
    state = sealed_chunks([3, 2, 1])
    submitted(submitted(state, 1), 2)
    tell(
        state,
        e.StatusPolled(
            server_date=NOON, changes=(e.BatchSeen(batch="b1", status="ended", counts=e.Counts(succeeded=3)),)
        ),
    )
    tell(state, e.RunPaused(reason="spend", detail="d", lift="ledger resume"), e.CancelRequested(batch="b2"))
    assert commands(state, LATER) == (Cancel("b2"), Collect(1), Look(evidence=False, horizon=0))


@pytest.mark.parametrize(("reason", "code"), [("spend", 3), ("key", 6), ("workspace", 3), ("canceled", 3)])
def test_a_paused_run_that_has_nothing_else_to_do_ends_with_its_code(reason: str, code: int) -> None:
    state = tell(chunk_in("sealed"), e.RunPaused(reason=reason, detail="d", lift="ledger resume"))
    assert decide(state, LATER) == Decision((), exit_code=code)


@pytest.mark.parametrize("status", ["sealed", "ended", "uncertain"])
def test_a_held_chunk_waits_for_a_person_and_does_not_keep_the_run(status: Any) -> None:
    state = tell(chunk_in(status, requests=3), e.ChunkHeld(chunk=1, reason="r", detail="d", lift="l"))
    assert decide(state, LATER) == Decision((), exit_code=3)


def test_failures_are_waited_out_and_a_clock_set_back_stretches_no_wait() -> None:
    state = tell(
        chunk_in("ended", requests=3), e.CallFailed(command="collect:1", status=500, retry_after_us=9 * SECOND)
    )
    assert decide(state, state.at).wake_at == state.at + 9 * SECOND
    assert commands(state, state.at + 9 * SECOND) == (Collect(1),)
    assert commands(state, state.at - 1) == (Collect(1),)


def test_the_back_off_doubles_up_to_a_minute_and_heeds_the_service() -> None:
    state = opened()
    waits = [backoff_us(state, "look", count, 0) for count in range(1, 40)]
    for count, wait in enumerate(waits):
        full = min(SECOND << min(count, 16), 60 * SECOND)
        assert 3 * full // 4 <= wait < full
    assert backoff_us(state, "look", 1, 500 * SECOND) == 500 * SECOND


@pytest.mark.parametrize("code", [401, 403])
def test_a_refused_key_pauses_the_run_whatever_it_was_used_for(code: int) -> None:
    state = tell(chunk_in("submitted"), e.CallFailed(command="look", status=code))
    [record] = commands(state)
    assert isinstance(record, Record)
    assert [event.reason for event in record.events if isinstance(event, e.RunPaused)] == ["key"]
    assert decide(tell(state, *record.events), LATER) == Decision((), exit_code=6)


# ── whatever happens ─────────────────────────────────────────────────────────────────────────────────────────────────

BATCHES = ("b1", "b2", "b3", "b4", "foreign")
ONCE = st.sampled_from(
    ["refuse", "uncertain", "create", "abort", "end", "list", "fail", "hold", "pause", "die", "store"]
)


def outcome_events(state: RunState, draw: Any, kind: str) -> list[e.AnyEvent]:
    """Return what the world may answer to what is under way in a state, as far as there is something under way."""
    released = state.chunks_in("released")
    if kind == "die":
        return [e.WriterOpened(epoch=state.epoch + 1, tool_version="x")]
    if kind == "pause":
        return [
            e.RunPaused(reason=draw(st.sampled_from(["spend", "key", "canceled"])), detail="d", lift="ledger resume")
        ]
    if kind == "list":
        ours = set(state.batches)
        found = tuple(
            e.BatchSeen(
                batch=name, status="in_progress", created_at=NOON, counts=e.Counts(processing=draw(st.integers(0, 3)))
            )
            for name in draw(st.sets(st.sampled_from(BATCHES)))
            if name not in ours
        )
        date = max(state.server_date, NOON) + draw(st.integers(0, 90)) * SECOND
        return [
            e.BatchesListed(asked_at=state.position, server_date=date, complete=draw(st.booleans()), candidates=found)
        ]
    if kind == "fail":
        status = draw(st.sampled_from([0, 401, 404, 500]))
        return [e.CallFailed(command=draw(st.sampled_from(["look", "submit", "collect:1"])), status=status)]
    if kind == "hold":
        live = [chunk.chunk for chunk in state.live_chunks()]
        return [e.ChunkHeld(chunk=draw(st.sampled_from(live)), reason="r", detail="d", lift="l")] if live else []
    if kind == "end":
        open_chunks = state.chunks_in("submitted")
        counts = e.Counts(succeeded=1)
        changes = tuple(e.BatchSeen(batch=chunk.batch, status="ended", counts=counts) for chunk in open_chunks[:1])
        return [e.StatusPolled(server_date=state.server_date, changes=changes)]
    if kind == "store":
        for chunk in state.chunks_in("ended"):
            left = [
                o
                for o in range(len(state.columns))
                if state.columns.chunk[o] == chunk.chunk and state.columns.status[o] == 1
            ]
            final = draw(st.booleans())
            rows: list[e.AnyEvent] = [
                e.ResultStored(
                    ordinal=o, chunk=chunk.chunk, digest="d", outcome="ok" if final else "expired", final=final
                )
                for o in left
            ]
            return [
                *rows,
                e.BatchCollected(chunk=chunk.chunk, batch=chunk.batch, rows=chunk.requests, counts=e.Counts()),
            ]
        return []
    if not released:
        return []
    chunk = released[0]
    submission = chunk.submission
    if kind == "create":
        name = next((name for name in BATCHES if name not in state.batches), f"more{len(state.batches)}")
        return [
            e.BatchCreated(
                chunk=chunk.chunk, submission=submission, batch=name, created_at=NOON, expires_at=NOON, total=1
            )
        ]
    if kind == "uncertain":
        return [e.SubmissionUncertain(chunk=chunk.chunk, submission=submission, cause="x")]
    if kind == "refuse":
        reaction = draw(st.sampled_from(["wait", "wait_for_queue", "pause", "stop"]))
        return [e.SubmissionRefused(chunk=chunk.chunk, submission=submission, status=429, reaction=reaction)]
    return []


def performed(state: RunState, command: Command) -> list[e.AnyEvent]:
    """Return what the runner itself does to a command, up to where the world answers."""
    match command:
        case Record(events):
            return list(events)
        case Seal(priority, retry, max_requests, max_bytes, avoid):
            lane = (state.retries if retry else state.fresh)[priority]
            taken = cut(state.columns, lane, max_requests, max_bytes, avoid)
            cause: Any = "retry" if retry else "fresh"
            return [
                e.ChunkSealed(
                    chunk=state.next_chunk,
                    ranges=taken.ranges,
                    requests=taken.requests,
                    size_bytes=taken.size_bytes,
                    cause=cause,
                )
            ]
        case Submit(number):
            chunk = state.chunks[number]
            assert chunk.status == "sealed"
            assert chunk.hold is None
            assert not state.pauses
            doubtful = [c.requests for c in state.chunks_in("prepared", "released", "uncertain")]
            assert chunk.requests not in doubtful
            prepared = e.SubmissionPrepared(
                chunk=number, submission=chunk.submission + 1, nonce="n", requests=chunk.requests,
                size_bytes=chunk.size_bytes, server_date=max(state.server_date, NOON),
            )  # fmt: skip
            return [prepared, e.SubmissionReleased(chunk=number, submission=chunk.submission + 1, digest="d")]
        case _:
            return []


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_happens_the_next_step_is_legal_and_there_is_always_one(data: st.DataObject) -> None:
    """Commands, a time to wake, work under way, or an exit code with a pause or a hold that says how to go on."""
    state, now = opened(requests=7), NOON
    for _ in range(40):
        before = dump(state)
        decision = decide(state, now)
        assert decide(state, now) == decision
        assert dump(state) == before
        under_way = state.chunks_in("prepared", "released")
        if decision.exit_code in (3, 6):
            ways_out = [pause.lift for pause in state.pauses.values()]
            ways_out += [chunk.hold.lift for chunk in state.live_chunks() if chunk.hold]
            assert ways_out
            assert all(ways_out)
        assert decision.commands or decision.wake_at or under_way or decision.exit_code is not None
        if decision.exit_code in (0, 1):
            assert not state.unfinished
            return
        done = False
        for command in decision.commands:
            events = performed(state, command)
            if events and not done:
                tell(state, *events, at=now)
                done = isinstance(command, Record | Seal)
        if not done:
            happened = outcome_events(state, data.draw, data.draw(ONCE))
            tell(state, *happened, at=now)
            now = max(now + SECOND, decision.wake_at if data.draw(st.booleans()) else 0)
        lifted = data.draw(st.booleans())
        if lifted:
            tell(state, *(e.RunResumed(reason=reason) for reason in list(state.pauses)), at=now)
