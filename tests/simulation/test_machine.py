"""The same worlds with hypothesis at the helm: what it finds, it shrinks to the shortest history that shows it."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.strategies import booleans, integers, sampled_from
from scheduler import SECOND
from service import Weather
from world import HOUR, MINUTE, Plan, Scenario, World

from ledger.core.events import Policy
from ledger.core.requests import CancelBatches
from ledger.service.simulator.settings import CALM, Settings

SETTLE = 2 * MINUTE
MARKERS = ("", "[[simulate:errored:overloaded_error:1]]", "[[simulate:reject]]", "[[simulate:poison]]")


class Troubled(RuleBasedStateMachine):
    """A run to which one thing after the other happens."""

    @initialize(
        count=integers(1, 6),
        chunk_requests=integers(1, 3),
        visible=sampled_from((0, SETTLE // 2, SETTLE - 8 * SECOND)),
        marker=sampled_from(MARKERS),
        hold=booleans(),
    )
    def begin(self, count: int, chunk_requests: int, visible: int, marker: str, hold: bool) -> None:
        policy = Policy(
            chunk_requests=chunk_requests,
            poll_us=MINUTE,
            settle_us=SETTLE,
            on_uncertain="hold" if hold else "repeat",
        )
        texts = [f"Say {number}.{marker if number == count - 1 else ''}" for number in range(count)]
        service = Settings(turnaround_minimum_seconds=30, turnaround_maximum_seconds=300, mix=CALM)
        weather = Weather(visible_within=visible, latency_us=200_000)
        self.world = World(Scenario(0, service, weather, 0, [Plan(texts, [0] * count, policy)]))
        self.ledger = self.world.ledgers[0]
        self.world.begin()

    @property
    def is_going_on(self) -> bool:
        return not self.world.is_over

    @rule(microseconds=sampled_from((1_000, 20_000, SECOND // 2, 5 * SECOND, MINUTE, SETTLE, HOUR)))
    def time_passes(self, microseconds: int) -> None:
        if self.is_going_on:
            self.world.advance(microseconds)

    @precondition(lambda self: self.is_going_on)
    @rule(carried_out=booleans())
    def the_answer_to_the_next_submission_is_lost(self, carried_out: bool) -> None:
        self.world.service.lose_next.append(carried_out)

    @precondition(lambda self: self.is_going_on)
    @rule(calls=integers(1, 4))
    def the_next_calls_fail(self, calls: int) -> None:
        self.world.service.fail_next += calls

    @precondition(lambda self: self.is_going_on)
    @rule()
    def the_process_is_killed(self) -> None:
        self.ledger.kill()

    @precondition(lambda self: self.is_going_on)
    @rule(seconds=sampled_from((1, 4, 20, 3600)))
    def the_process_stands_still_and_another_takes_over(self, seconds: int) -> None:
        self.ledger.stall(seconds * SECOND)

    @precondition(lambda self: self.is_going_on)
    @rule(count=integers(1, 3))
    def a_stranger_makes_a_batch(self, count: int) -> None:
        service = self.world.service
        service.core.create_foreign(count, service.now())

    @precondition(lambda self: self.is_going_on)
    @rule(hours=sampled_from((-30, -1, 1, 30)))
    def the_clock_is_set(self, hours: int) -> None:
        if self.ledger.wall is not None:
            self.ledger.wall.set_by(hours * HOUR)

    @precondition(lambda self: self.is_going_on)
    @rule()
    def everything_is_canceled(self) -> None:
        self.ledger.asked.append(CancelBatches(everything=True))

    @invariant()
    def what_was_sent_was_announced(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                self.world.finish()
            finally:
                self.world.scheduler.close()


TestTroubled = Troubled.TestCase
TestTroubled.settings = settings(
    max_examples=200, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
