"""What happens while a working thread is under way, and changes what its work means."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from running import World, joined_threads

from ledger.core import events as e
from ledger.core.requests import CancelBatches, Lift, Resolve, request_events
from ledger.core.state import RunState
from ledger.ports import Accepted, Gateway, Page
from ledger.service.simulator.faults import Fault

TEN = [f"Say {number}." for number in range(10)]
PATIENCE_SECONDS = 20.0


class Meeting:
    """Two threads meet: one arrives and waits; the other, having seen it, lets it go."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.go = threading.Event()

    def arrive(self) -> None:
        self.arrived.set()
        assert self.go.wait(PATIENCE_SECONDS), "nobody lets go on who waits here"


class Stopped:
    """A gateway whose calls stop at meetings: before the first list, before the last byte, before the first results."""

    def __init__(self, gateway: Gateway, **meetings: Meeting) -> None:
        self._gateway = gateway
        self._meetings = meetings

    def _stop_at(self, name: str) -> None:
        meeting = self._meetings.get(name)
        if meeting is not None and not meeting.arrived.is_set():
            meeting.arrive()

    def submit(
        self, body: Iterable[bytes], size_bytes: int, betas: Sequence[str], release: Callable[[str], None]
    ) -> Accepted:
        def first_meet(digest: str) -> None:
            self._stop_at("release")
            release(digest)

        accepted = self._gateway.submit(body, size_bytes, betas, first_meet)
        self._stop_at("accepted")
        return accepted

    def list(self, limit: int, after_id: str = "") -> Page:
        page = self._gateway.list(limit, after_id)
        self._stop_at("list")
        return page

    def retrieve(self, batch: str) -> Accepted:
        return self._gateway.retrieve(batch)

    def results(self, batch: str) -> Iterator[bytes]:
        self._stop_at(f"results {batch}")
        yield from self._gateway.results(batch)

    def cancel(self, batch: str) -> Accepted:
        return self._gateway.cancel(batch)


def when_met(meeting: Meeting, request: Callable[[RunState], Any]) -> Callable[[RunState], Sequence[e.AnyEvent]]:
    """Return what a person asks for as soon as somebody waits at a meeting; ``request`` is made of the state then."""
    told: list[bool] = []

    def asked(state: RunState) -> Sequence[e.AnyEvent]:
        if told:
            meeting.go.set()  # what was asked for is durable by now
        if told or not meeting.arrived.is_set():
            return ()
        told.append(True)
        return request_events(state, request(state))

    return asked


def canceled_at(name: str) -> World:
    """Return a world where everything was canceled while a submission was at some point."""
    world = World(TEN[:4])
    meeting = Meeting()
    gateway = Stopped(world.gateway(), **{name: meeting})
    requests = when_met(meeting, lambda _: CancelBatches(everything=True))
    with joined_threads():
        assert world.process(gateway=gateway, requests=requests).run() in (1, 3)
    return world


def test_canceling_everything_stops_a_submission_before_it_is_announced() -> None:
    world = canceled_at("list")
    assert world.own_batches() == 0
    assert world.events(e.SubmissionPrepared) == []


def test_canceling_everything_stops_a_submission_before_its_last_byte() -> None:
    world = canceled_at("release")
    assert world.own_batches() == 0
    assert [aborted.cause for aborted in world.events(e.SubmissionAborted)] == ["stopped"]
    with joined_threads():
        runner = world.process(lift=False)
        runner.record(request_events(runner.state, Lift(("canceled",))))
        assert runner.run() == 0
    assert world.outcomes() == ["ok"] * 4


def test_canceling_everything_cancels_a_batch_whose_name_comes_only_afterwards() -> None:
    world = canceled_at("accepted")
    assert world.own_batches() == 1
    [created] = world.events(e.BatchCreated)
    assert [accepted.batch for accepted in world.events(e.CancelAccepted)] == [created.batch]


def test_a_twin_that_is_acknowledged_while_its_rows_are_read_stays_so_and_its_cost_is_known() -> None:
    world = World(
        TEN,
        Fault(operation="create", call=1, kind="drop"),
        Fault(operation="create", call=1, kind="late", seconds=90),
        Fault(operation="create", call=4, calls=9, kind="turnaround", seconds=600),
    )
    meeting = Meeting()

    class AtTheTwin(Stopped):
        def results(self, batch: str) -> Iterator[bytes]:
            if any(twin.batch == batch for twin in world.events(e.TwinFound)):
                self._stop_at("twin")
            yield from self._gateway.results(batch)

    # Two chunks are submitted at once: whose call comes first, and has a twin, is not said.
    requests = when_met(
        meeting, lambda state: Resolve(chunk=next(iter(state.twins.values())).chunk, verdict="acknowledge")
    )
    with joined_threads():
        assert world.process(gateway=AtTheTwin(world.gateway(), twin=meeting), requests=requests).run() == 0
    assert meeting.arrived.is_set()
    assert len(world.events(e.TwinAcknowledged)) == 1
    assert [twin.proven for twin in world.events(e.TwinFound)] == [False, True]
    state = world.state()
    assert not state.twins
    (twin,) = state.acknowledged.values()
    assert twin.usage is not None
    assert twin.usage.output_tokens > 0
