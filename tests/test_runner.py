"""The runner, the real SDK, the simulated service: whatever goes wrong, every item ends once and is paid once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx2
import msgspec
import pytest
from running import MINUTE, POLICY, SECOND, DiedError, MortalLog, World, joined_threads

from ledger.core import events as e
from ledger.core.chunks import nonce_of, parse_wire_id
from ledger.core.errors import IllegalEventError
from ledger.core.requests import CancelBatches, Resolve, request_events
from ledger.core.state import RunState
from ledger.runner import STILL_RUNNING
from ledger.service.simulator.faults import Fault
from ledger.service.simulator.settings import CALM, Settings

TEN = [f"Say {number}." for number in range(10)]


def answered_once(world: World) -> None:
    """Assert that every item has its answer, that the log says so, and that nothing was paid twice."""
    bill = world.transport.bill()
    assert world.outcomes() == ["ok"] * len(world.texts)
    assert sorted(world.answers()) == list(range(len(world.texts)))
    assert (bill.prompts_accepted_twice, bill.prompts_billed_twice) == (0, 0)
    assert world.events(e.RunFinished)[-1].exit_code == 0


# ── what goes well ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_answers_every_item_in_chunks_of_distinct_sizes() -> None:
    world = World(TEN)
    assert world.run() == 0
    answered_once(world)
    assert [sealed.requests for sealed in world.events(e.ChunkSealed)] == [4, 3, 2, 1]
    assert world.own_batches() == 4


def test_every_accepted_body_is_the_one_that_was_announced_and_its_wire_ids_carry_the_nonce() -> None:
    world = World(TEN)
    world.run()
    for created in world.events(e.BatchCreated):
        columns = world.service.simulator.batches[created.batch].columns
        wires = [parse_wire_id(wire.decode()) for wire in columns.wire_ids.split(b"\n")]
        nonce = nonce_of(world.state().ledger_id, created.chunk, created.submission)
        assert {wire.nonce for wire in wires if wire} == {nonce}
        ranges = next(s.ranges for s in world.events(e.ChunkSealed) if s.chunk == created.chunk)
        assert [wire.ordinal for wire in wires if wire] == list(range(*ranges))


def test_no_post_runs_ahead_of_the_event_that_announces_it() -> None:
    """What is recorded of one submission is always prepared, released, created, in this order."""
    world = World(TEN)
    world.run()
    told = world.events(e.SubmissionPrepared, e.SubmissionReleased, e.BatchCreated)
    for chunk in (1, 2, 3, 4):
        assert [type(event) for event in told if event.chunk == chunk] == [
            e.SubmissionPrepared,
            e.SubmissionReleased,
            e.BatchCreated,
        ]


def test_a_finished_run_that_is_run_again_sends_nothing_and_returns_the_same() -> None:
    world = World(["[[simulate:refusal]]", "fine"])
    assert world.run() == 1
    before, calls = world.outcomes(), world.own_batches()
    assert world.run() == 1
    assert (world.outcomes(), world.own_batches()) == (before, calls)
    assert len(world.events(e.RunFinished)) == 1


def test_higher_priorities_are_sent_first_and_in_chunks_of_their_own() -> None:
    world = World(TEN, priorities=[0, 5, 0, 0, 5, 0, 9, 0, 0, 0])
    assert world.run() == 0
    answered_once(world)
    sealed = world.events(e.ChunkSealed)
    assert [(chunk.priority, chunk.ranges) for chunk in sealed[:2]] == [(9, [6, 7]), (5, [1, 2, 4, 5])]
    assert {chunk.priority for chunk in sealed[2:]} == {0}


def test_accepted_outcomes_make_the_exit_code_zero() -> None:
    world = World(["[[simulate:max_tokens]]", "fine"], policy=msgspec.structs.replace(POLICY, accept=("truncated",)))
    assert world.run() == 0
    assert world.outcomes() == ["truncated", "ok"]


def test_once_looks_once_and_says_that_the_run_goes_on() -> None:
    world = World(TEN)
    with joined_threads():
        assert world.process().run(once=True) == STILL_RUNNING
    assert world.own_batches() == 4
    assert world.events(e.RunFinished) == []
    code = STILL_RUNNING
    for _ in range(20):
        world.clock.at += 30 * SECOND
        with joined_threads():
            code = world.process().run(once=True)
        if code != STILL_RUNNING:
            break
    assert code == 0
    answered_once(world)


# ── what comes back ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_kind_of_answer_becomes_its_outcome() -> None:
    fates = {
        "fine": "ok",
        "[[simulate:stop_sequence]]": "ok",
        "[[simulate:tool_use]]": "ok",
        "[[simulate:max_tokens]]": "truncated",
        "[[simulate:model_context_window_exceeded]]": "truncated",
        "[[simulate:pause_turn]]": "paused_turn",
        "[[simulate:refusal]]": "refused",
        "[[simulate:refusal_midway]]": "refused",
        "[[simulate:errored:invalid_request_error]]": "errored",
        "[[simulate:errored:not_found_error]]": "errored",
        "[[simulate:expired]]": "expired",
        "[[simulate:canceled]]": "canceled",
        "[[simulate:errored:api_error]]": "errored",
    }
    world = World(list(fates))
    assert world.run() == 1
    assert world.outcomes() == list(fates.values())
    attempts = list(world.state().columns.attempts)
    assert attempts == [1] * 10 + [3, 3, 3]  # the last three are asked again, up to the maximum of attempts
    assert world.transport.bill().prompts_billed_twice == 0


def test_what_passes_by_itself_is_asked_again_and_answered() -> None:
    world = World(["[[simulate:errored:overloaded_error:2]]", "[[simulate:expired:1]]", "[[simulate:canceled:1]]", "x"])
    assert world.run() == 0
    answered_once(world)
    assert list(world.state().columns.attempts) == [3, 2, 2, 1]


def test_a_batch_that_expires_makes_its_rest_be_asked_again() -> None:
    world = World(TEN, Fault(operation="create", kind="expire", call=1, share=0.5))
    assert world.run() == 0
    answered_once(world)
    assert max(world.state().columns.attempts) == 2
    assert world.state().expired_batches == 1


def test_the_spending_is_that_of_the_bill() -> None:
    world = World(["[[simulate:refusal]]", "[[simulate:refusal_midway]]", "[[simulate:errored:api_error:1]]", *TEN])
    world.run()
    spent = [group for group in world.state().spending() if group.billed]
    tokens = world.transport.bill().tokens.values()
    assert sum(group.requests for group in spent) == sum(model.requests for model in tokens)
    assert sum(group.usage.output_tokens for group in spent) == sum(model.output_tokens for model in tokens)
    assert sum(group.usage.input_tokens for group in spent) == sum(model.input_tokens for model in tokens)


# ── results files ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "fault",
    [
        *(Fault(operation="results", call=1, calls=2, kind="cut", bytes=size) for size in (0, 1, 700, 1500)),
        Fault(operation="results", call=1, kind="cut", bytes=900, framing="close"),
        Fault(operation="results", call=1, kind="cut", bytes=900, framing="length"),
        Fault(operation="results", call=1, calls=2, kind="short"),
        Fault(operation="results", kind="blank_line"),
        Fault(operation="results", kind="line_separators"),
        Fault(operation="results", kind="gzip"),
        Fault(operation="results", kind="duplicate_row"),
        Fault(operation="results", kind="foreign_row"),
        Fault(operation="results", call=1, kind="corrupt_row"),
        Fault(operation="results", call=1, calls=3, kind="drop"),
        Fault(operation="results", call=1, calls=3, kind="status", status=529),
        Fault(operation="results", call=1, calls=2, kind="html"),
        Fault(operation="results", call=1, calls=2, kind="empty"),
        Fault(operation="retrieve", call=1, calls=2, kind="html"),
        Fault(operation="list", call=1, calls=3, kind="status", status=503),
        Fault(operation="list", call=2, calls=2, kind="cut"),
        Fault(operation="list", call=2, calls=2, kind="empty"),
        Fault(operation="any", rate=0.2, kind="refuse", error="rate_limit", retry_after_seconds=3),
        Fault(operation="any", rate=0.2, kind="refuse", error="overloaded"),
        Fault(operation="create", call=1, kind="wrong_counts", requests=3),
    ],
    ids=lambda fault: f"{fault.operation}-{fault.kind}-{fault.bytes}-{fault.framing}-{fault.error}",
)
def test_no_trouble_in_reading_costs_an_answer(fault: Fault) -> None:
    world = World(TEN, fault)
    assert world.run() == 0
    answered_once(world)
    assert world.own_batches() == 4


def test_rows_that_are_in_no_download_are_missing_and_the_rest_is_kept() -> None:
    world = World(TEN, Fault(operation="results", kind="short", rows=1))
    assert world.run() == 1
    outcomes = world.outcomes()
    assert outcomes.count("missing") == 4
    assert outcomes.count("ok") == 6
    assert len(world.events(e.ResultsShort)) == 4 * 3 - 4  # the third identical gap is believed
    assert [found.finding for found in world.events(e.FindingRecorded)] == ["rows_missing"] * 4
    assert world.transport.bill().prompts_accepted_twice == 0


@pytest.mark.parametrize(("kind", "cause"), [("deleted", "deleted"), ("archived", "archived")])
def test_results_that_are_gone_are_lost_and_never_asked_again(kind: Any, cause: str) -> None:
    world = World(TEN[:4], Fault(operation="create", kind=kind, call=1, seconds=0.001))
    assert world.run() == 1
    assert world.outcomes() == ["lost"] * 4
    assert [lost.cause for lost in world.events(e.ResultsLost)] == [cause]
    assert world.own_batches() == 1


def test_a_download_that_ends_inside_a_row_is_no_complete_one() -> None:
    """Cut at the same byte again and again, without a length that would show it: nothing counts as missing."""
    world = World(TEN[:4], Fault(operation="results", call=1, calls=5, kind="cut", bytes=900, framing="close"))
    assert world.run() == 0
    answered_once(world)
    assert [failed.kind for failed in world.events(e.CallFailed)] == ["torn"] * 5
    assert world.events(e.ResultsShort, e.FindingRecorded) == []


@pytest.mark.parametrize("verdict", ["absent", "again"])
def test_an_adopted_batch_that_vanishes_unproven_is_held_for_a_person_and_every_way_out_leads_on(
    verdict: Any,
) -> None:
    """It may have been a stranger's of the same size: its items are not lost, and nothing is sent again unasked."""
    world = World(
        TEN[:4],
        Fault(operation="create", call=1, kind="drop"),
        Fault(operation="create", call=1, kind="deleted", seconds=0.001),
    )
    assert world.run() == 3
    (held,) = world.events(e.ChunkHeld)
    assert held.reason == "vanished"
    assert "--again" in held.lift
    assert "--absent" in held.lift
    assert world.events(e.ResultsLost) == []
    asked: list[Any] = [Resolve(chunk=1, verdict=verdict)]
    code = world.run(requests=lambda state: request_events(state, asked.pop()) if asked else ())
    if verdict == "absent":
        assert code == 0
        assert world.outcomes() == ["ok"] * 4
        assert world.own_batches() == 2
    else:
        assert code == 3
        assert len(world.events(e.ChunkHeld)) == 2


def test_counts_that_lie_hold_the_chunk_and_name_the_way_out() -> None:
    """The rows differ from what the service counted, download after download: a person decides, the others go on."""
    world = World([*TEN[:3], "[[simulate:max_tokens]]"])
    honest = world.gateway()

    class LyingAboutCounts:
        """The gateway with one answer bent: what no documented fault of the service produces."""

        def __getattr__(self, name: str) -> Any:
            return getattr(honest, name)

        def retrieve(self, batch: str) -> Any:
            answer = honest.retrieve(batch)
            counts = answer.batch.counts
            if answer.batch.status != "ended" or counts is None:
                return answer
            bent = msgspec.structs.replace(counts, succeeded=counts.succeeded - 1, errored=counts.errored + 1)
            return msgspec.structs.replace(answer, batch=msgspec.structs.replace(answer.batch, counts=bent))

    assert world.run(gateway=LyingAboutCounts()) == 3
    [held] = [chunk for chunk in world.state().chunks.values() if chunk.hold]
    assert held.hold is not None
    assert held.hold.lift == f"ledger resolve {held.chunk} --accept-counts"
    asked = iter([Resolve(held.chunk, "accept-counts")])

    def person(state: RunState) -> Sequence[e.AnyEvent]:
        request = next(asked, None)
        return request_events(state, request) if request else ()

    assert world.run(requests=person) == 1
    assert world.outcomes() == ["ok", "ok", "ok", "truncated"]


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("error", ["too_large", "too_large_html", "body_timeout"])
def test_a_chunk_that_is_too_large_is_cut_in_two(error: str) -> None:
    world = World(TEN, Fault(operation="create", call=1, kind="refuse", error=error))
    assert world.run() == 0
    answered_once(world)
    assert sum(sealed.cause == "split" for sealed in world.events(e.ChunkSealed)) == 2


def test_a_request_that_the_service_names_is_rejected_and_the_rest_answered() -> None:
    world = World([*TEN[:2], "[[simulate:reject]]", *TEN[3:6]])
    assert world.run() == 1
    assert world.outcomes() == ["ok", "ok", "invalid", "ok", "ok", "ok"]


def test_a_request_that_the_service_refuses_without_a_name_is_found_by_halving() -> None:
    world = World([*TEN[:5], "[[simulate:poison]]", *TEN[6:]], policy=msgspec.structs.replace(POLICY, chunk_requests=9))
    assert world.run() == 1
    assert world.outcomes() == ["ok"] * 5 + ["invalid"] + ["ok"] * 4
    assert world.transport.bill().prompts_accepted_twice == 0


def test_a_full_queue_is_waited_for_and_burns_no_attempt() -> None:
    settings = Settings(turnaround_minimum_seconds=20, turnaround_maximum_seconds=40, mix=CALM, queue_maximum=5)
    world = World(TEN, settings=settings)
    assert world.run() == 0
    answered_once(world)
    assert list(world.state().columns.attempts) == [1] * 10
    refused = world.events(e.SubmissionRefused)
    assert {refusal.reaction for refusal in refused} == {"wait_for_queue"}
    assert 0 < len(refused) <= 4


def test_the_policy_keeps_the_queue_within_its_limit() -> None:
    settings = Settings(turnaround_minimum_seconds=20, turnaround_maximum_seconds=40, mix=CALM, queue_maximum=5)
    world = World(TEN, settings=settings, policy=msgspec.structs.replace(POLICY, queue_requests=5))
    assert world.run() == 0
    answered_once(world)
    assert world.events(e.SubmissionRefused) == []


@pytest.mark.parametrize("error", ["spend_cap", "customer_limit", "billing"])
def test_a_spend_limit_pauses_the_run_and_marks_no_item(error: str) -> None:
    world = World(TEN, Fault(operation="create", call=2, calls=3, kind="refuse", error=error))
    assert world.run() == 3
    state = world.state()
    assert list(state.pauses) == ["spend"]
    assert "ledger resume" in state.pauses["spend"].lift
    assert set(world.outcomes()) <= {"ok", "in_chunk", "pending"}
    for _ in range(3):
        code = world.run()
    assert code == 0
    answered_once(world)
    assert list(world.state().columns.attempts) == [1] * 10


def test_a_spend_limit_that_is_lifted_while_the_clock_goes_back_pauses_only_once() -> None:
    """No state is a dead end: a person's word counts, whatever the clock of the machine says."""
    world = World(TEN, Fault(operation="create", call=1, kind="refuse", error="spend_cap"))
    assert world.run() == 3
    world.clock.at -= 10 * MINUTE
    assert world.run() == 0
    answered_once(world)


@pytest.mark.parametrize("error", ["unauthorized", "forbidden", "organization_on_hold", "not_found"])
def test_a_key_that_does_not_work_ends_the_run_with_six_and_a_better_one_carries_on(error: str) -> None:
    world = World(TEN, Fault(operation="create", call=1, kind="refuse", error=error))
    assert world.run() == 6
    assert list(world.state().pauses) == ["key"]
    assert world.run() == 0
    answered_once(world)


@pytest.mark.parametrize("error", ["unauthorized", "forbidden"])
def test_a_key_that_stops_working_while_batches_run_ends_the_run_with_six(error: str) -> None:
    world = World(TEN, Fault(operation="list", call=6, calls=1_000_000, kind="refuse", error=error))
    assert world.run() == 6
    assert list(world.state().pauses) == ["key"]
    assert world.state().chunks_in("submitted")
    failed = world.events(e.CallFailed)
    assert len(failed) < 5


def test_a_key_that_stops_working_while_results_are_fetched_ends_the_run_with_six() -> None:
    world = World(TEN, Fault(operation="results", call=1, calls=4, kind="refuse", error="unauthorized"))
    assert world.run() == 6
    code = 6
    for _ in range(4):
        code = world.run()
    assert code == 0
    answered_once(world)


def test_items_that_come_back_with_an_error_of_the_account_pause_the_run_and_are_asked_again() -> None:
    world = World([*TEN[:3], "[[simulate:errored:billing_error:1]]", *TEN[4:]])
    assert world.run() == 3
    assert list(world.state().pauses) == ["spend"]
    assert world.run() == 0
    answered_once(world)


# ── submissions in doubt ─────────────────────────────────────────────────────────────────────────────────────────────

LOST_ANSWERS = [
    Fault(operation="create", call=2, kind="drop"),
    Fault(operation="create", call=2, kind="hang"),
    Fault(operation="create", call=2, kind="cut"),
    Fault(operation="create", call=2, kind="empty"),
    Fault(operation="create", call=2, kind="html"),
    *(Fault(operation="create", call=2, kind="status", status=status) for status in (408, 409, 499, 500, 503, 504)),
    Fault(operation="create", call=2, kind="status", error="bad_gateway"),
    Fault(operation="create", call=2, kind="status", error="overloaded"),
]


def name_of(fault: Fault) -> str:
    return f"{fault.kind}-{fault.error or fault.status}"


@pytest.mark.parametrize("fault", LOST_ANSWERS, ids=name_of)
def test_a_batch_whose_answer_was_lost_is_found_and_adopted(fault: Fault) -> None:
    world = World(TEN, fault)
    assert world.run() == 0
    answered_once(world)
    assert world.own_batches() == 4
    assert len(world.events(e.SubmissionUncertain)) == len(world.events(e.BatchAdopted)) == 1
    assert world.events(e.SubmissionResolved) == []


@pytest.mark.parametrize(
    "fault",
    [
        msgspec.structs.replace(fault, carried_out=False)
        for fault in LOST_ANSWERS
        if fault.kind in ("drop", "hang", "status", "empty", "html")
    ],
    ids=name_of,
)
def test_a_submission_that_was_never_accepted_is_repeated_after_the_settle_time_only(fault: Fault) -> None:
    world = World(TEN, fault)
    assert world.run() == 0
    answered_once(world)
    [uncertain] = world.events(e.SubmissionUncertain)
    [resolved] = world.events(e.SubmissionResolved)
    assert (resolved.chunk, resolved.submission) == (uncertain.chunk, uncertain.submission)
    read = [(row.position, e.decode(row.type_name, row.data)) for row in world.disk.rows]
    at = {type(event): position for position, event in read if isinstance(event, type(uncertain) | type(resolved))}
    lists = [
        event
        for position, event in read
        if isinstance(event, e.BatchesListed) and at[type(uncertain)] < position < at[type(resolved)]
    ]
    assert sum(listed.complete for listed in lists) >= 2
    assert lists[-1].server_date - lists[0].server_date >= POLICY.settle_us


def test_on_uncertain_hold_never_repeats_and_a_person_decides() -> None:
    policy = msgspec.structs.replace(POLICY, on_uncertain="hold")
    world = World(TEN, Fault(operation="create", call=2, kind="drop", carried_out=False), policy=policy)
    assert world.run() == 3
    [held] = [chunk for chunk in world.state().chunks.values() if chunk.hold]
    assert held.hold is not None
    assert f"ledger resolve {held.chunk} --absent" in held.hold.lift
    assert world.outcomes().count("ok") == 10 - held.requests
    asked = iter([Resolve(held.chunk, "absent")])

    def person(state: RunState) -> Sequence[e.AnyEvent]:
        request = next(asked, None)
        return request_events(state, request) if request else ()

    assert world.run(requests=person) == 0
    answered_once(world)


def test_a_batch_that_is_listed_late_is_still_found_within_the_settle_time() -> None:
    world = World(TEN, Fault(operation="create", call=1, kind="drop"), lag_seconds=40)
    assert world.run() == 0
    answered_once(world)
    assert len(world.events(e.BatchAdopted)) == 1


def test_a_strangers_batch_of_the_same_size_is_adopted_at_most_until_its_rows_are_read() -> None:
    world = World(
        TEN,
        Fault(operation="create", call=1, kind="drop", carried_out=False),
        Fault(operation="create", call=1, kind="stranger"),
    )
    assert world.run() == 0
    answered_once(world)
    [disowned] = world.events(e.BatchDisowned)
    assert world.service.simulator.batches[disowned.batch].accepted.is_foreign
    assert len(world.events(e.SubmissionResolved)) == 1


def test_among_several_batches_of_the_same_size_the_rows_decide() -> None:
    world = World(
        TEN,
        Fault(operation="create", call=1, kind="drop"),
        Fault(operation="create", call=1, kind="stranger"),
        Fault(operation="create", call=1, kind="stranger"),
    )
    assert world.run() == 0
    answered_once(world)
    assert world.own_batches() == 4
    [adopted] = world.events(e.BatchAdopted)
    assert not world.service.simulator.batches[adopted.batch].accepted.is_foreign


def test_a_batch_that_appears_after_the_settle_time_is_found_and_weighed_as_a_twin() -> None:
    """The service broke its side of guarantee 1: it must be said, and counted as waste, with the tokens of its rows."""
    world = World(
        TEN,
        Fault(operation="create", call=1, kind="drop"),
        Fault(operation="create", call=1, kind="late", seconds=90),
        Fault(operation="create", call=4, calls=9, kind="turnaround", seconds=600),
    )
    assert world.run() == 0
    bill = world.transport.bill()
    assert bill.prompts_billed_twice > 0
    [twin] = world.state().twins.values()
    assert twin.proven
    assert twin.usage is not None
    [line] = [line for line in bill.by_batch if line.batch_id == twin.batch]
    assert twin.usage.output_tokens == line.output_tokens
    assert [alarm.alarm for alarm in world.events(e.AlarmRaised)] == ["twin"]


def test_a_twin_that_still_runs_is_weighed_when_it_has_ended() -> None:
    world = World(
        TEN,
        Fault(operation="create", call=1, kind="drop"),
        Fault(operation="create", call=1, kind="late", seconds=90),
        Fault(operation="create", call=1, kind="turnaround", seconds=120),
        Fault(operation="create", call=4, calls=9, kind="turnaround", seconds=600),
    )
    assert world.run() == 0
    [twin] = world.state().twins.values()
    assert twin.proven
    assert twin.usage is not None
    assert {inspected.verdict for inspected in world.events(e.CandidateInspected)} == {"ours"}


def test_a_twin_whose_rows_never_all_come_is_said_to_cost_more_than_is_known() -> None:
    world = World(
        TEN,
        Fault(operation="create", call=1, kind="drop"),
        Fault(operation="create", call=1, kind="late", seconds=90),
        Fault(operation="create", call=4, calls=9, kind="turnaround", seconds=600),
        Fault(operation="results", kind="short", rows=1),
    )
    assert world.run() == 1
    [twin] = world.state().twins.values()
    assert twin.usage is not None
    [line] = [line for line in world.transport.bill().by_batch if line.batch_id == twin.batch]
    assert 0 < twin.usage.output_tokens < line.output_tokens
    said = [one for one in world.events(e.FindingRecorded) if one.finding == "twin_short"]
    assert [(one.batch, one.detail[:5]) for one in said] == [(twin.batch, "1 of ")]


# ── another workspace ────────────────────────────────────────────────────────────────────────────────────────────────


class OtherWorkspace(httpx2.BaseTransport):
    """The same service as a key of another workspace sees it: nothing is there."""

    def __init__(self) -> None:
        self.calls = 0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.calls += 1
        assert self.calls < 50, "the service is asked again and again for what it cannot know"
        headers = {"anthropic-workspace-id": "wrkspc_other", "date": "Sun, 22 Nov 2026 12:00:00 GMT"}
        if request.url.path == "/v1/messages/batches" and request.method == "GET":
            return httpx2.Response(200, headers=headers, json={"data": [], "has_more": False}, request=request)
        error = {"type": "error", "error": {"type": "not_found_error", "message": "not found"}}
        return httpx2.Response(404, headers=headers, json=error, request=request)


@pytest.mark.parametrize("kind", ["submitted", "ended", "uncertain"])
def test_a_key_of_another_workspace_pauses_the_run_and_nothing_is_lost(kind: str) -> None:
    refused = Fault(operation="results", call=1, calls=4, kind="refuse", error="unauthorized")
    dropped = Fault(operation="create", call=1, kind="drop")
    world = World(TEN, dropped if kind == "uncertain" else refused, lag_seconds=40 if kind == "uncertain" else 0)
    if kind == "ended":
        assert world.run() == 6
        assert world.state().chunks_in("ended")
    else:
        with joined_threads():
            world.process().run(once=True)
        assert world.state().chunks_in(kind)  # type: ignore[arg-type]
    elsewhere = OtherWorkspace()
    assert world.run(gateway=world.gateway(elsewhere)) == 3
    assert elsewhere.calls < 10
    assert list(world.state().pauses) == ["workspace"]
    assert "lost" not in world.outcomes()
    while (code := world.run()) == 6:
        pass
    assert code == 0
    answered_once(world)


# ── cancel, stop, other processes ────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_that_a_person_cancels_ends_canceled_and_is_not_asked_again() -> None:
    world = World(TEN[:4])
    asked: list[str] = []

    def person(state: RunState) -> Sequence[e.AnyEvent]:
        if asked or not state.chunks_in("submitted"):
            return ()
        asked.append("everything")
        return request_events(state, CancelBatches(everything=True))

    assert world.run(requests=person) in (1, 3)
    assert world.outcomes() == ["canceled"] * 4
    assert [accepted.status for accepted in world.events(e.CancelAccepted)] == ["canceling"]


def test_a_stopped_run_leaves_nothing_in_doubt_and_goes_on_later() -> None:
    world = World(TEN)

    class StopAtRelease(MortalLog):
        def append(self, events: Sequence[e.AnyEvent], *rest: Any, **named: Any) -> Any:
            head = super().append(events, *rest, **named)
            if any(isinstance(event, e.SubmissionReleased) for event in events):
                runner.stop()
            return head

    with joined_threads():
        runner = world.process(StopAtRelease(world.disk))
        assert runner.run() == -1
    state = world.state()
    assert not state.chunks_in("released", "uncertain")
    assert len(state.batches) == world.own_batches() >= 1
    assert world.run() == 0
    answered_once(world)


# ── crashes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

STORIES: dict[str, tuple[list[str], list[Fault]]] = {
    "plain": (TEN[:6], []),
    "retry": (["[[simulate:errored:api_error:1]]", *TEN[:4]], []),
    "lost answer": (TEN[:5], [Fault(operation="create", call=1, kind="drop")]),
    "never accepted": (TEN[:5], [Fault(operation="create", call=1, kind="drop", carried_out=False)]),
    "split": (TEN[:7], [Fault(operation="create", call=1, kind="refuse", error="too_large")]),
}


def appends_of(story: str) -> int:
    world = World(STORIES[story][0], *STORIES[story][1])
    log = MortalLog(world.disk)
    assert world.run(log=log) == 0
    return log.appends


@pytest.mark.parametrize("story", list(STORIES))
@pytest.mark.parametrize("after", [False, True], ids=["before it is durable", "after it is durable"])
def test_a_process_that_dies_at_any_append_is_carried_on_without_loss_and_without_paying_twice(
    story: str, after: bool
) -> None:
    texts, faults = STORIES[story]
    for dies_at in range(2, appends_of(story) + 1):
        world = World(texts, *faults)
        try:
            code = world.run(log=MortalLog(world.disk, dies_at, after=after))
        except DiedError:
            code = world.run()
        assert code == 0, f"died at append {dies_at}"
        answered_once(world)
        live = [chunk for chunk in world.state().chunks.values() if chunk.batch]
        assert len({chunk.batch for chunk in live}) == len(live)


def test_an_event_that_the_state_does_not_allow_never_reaches_the_log() -> None:
    world = World(TEN[:4])
    rows = len(world.disk.rows)
    with pytest.raises(IllegalEventError, match="batch_collected"):
        world.run(requests=lambda _: [e.BatchCollected(chunk=1, batch="b", rows=1, counts=e.Counts())])
    assert [row.type_name for row in world.disk.rows[rows:]] == ["writer_opened"]


def test_a_process_looks_when_it_starts_however_seldom_it_is_to_poll() -> None:
    world = World(TEN, policy=msgspec.structs.replace(POLICY, poll_us=3600 * SECOND))
    with joined_threads():
        assert world.process().run(once=True) == STILL_RUNNING
    world.clock.at += 600 * SECOND
    started_at = world.clock.at
    assert world.run() == 0
    collected_at = max(row.at for row in world.disk.rows if row.type_name == "batch_collected")
    assert collected_at - started_at < 60 * SECOND
