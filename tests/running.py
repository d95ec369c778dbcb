"""A world for tests of the runner: a log in memory, the real SDK, the simulated service, one virtual clock for both.

Nobody ever sleeps: when the runner has nothing to do but wait, the clock leaps, and minutes of polling and settling
take milliseconds.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, BinaryIO

import httpx2
import msgspec

from ledger.core import events as e
from ledger.core.chunks import item_size_bytes
from ledger.core.columns import IN_CHUNK
from ledger.core.decide import Waiting
from ledger.core.evolve import fold
from ledger.core.prices import quote
from ledger.core.state import RunState, outcome_of
from ledger.ports import EventLog, Head, RequestBlock, RequestPayload, ResultBlock
from ledger.runner import Runner, Writer
from ledger.service.gateway import AnthropicGateway
from ledger.service.simulator.faults import Fault, Faults
from ledger.service.simulator.settings import CALM, Settings
from ledger.service.simulator.transport import SimulatorTransport
from ledger.store.memory import Disk, MemoryLog
from ledger.store.payloads import digest, new_salts, request_blocks

SECOND = 1_000_000
MINUTE = 60 * SECOND
MOMENT = 1_000
LEAP = 5 * SECOND
IDLE_AT_MOST = 500
IDLE_WITHOUT_EVENT_AT_MOST = 70  # five minutes for a full queue, and some
START = 1_795_348_800 * SECOND
LEDGER_ID = "0123456789abcdef"
PRICES = quote("2026-11-22")
MODEL = "claude-haiku-4-5"
POLICY = e.Policy(chunk_requests=4, poll_us=5 * SECOND, settle_us=60 * SECOND)


class VirtualClock:
    """A clock that moves a little whenever the runner looks at it, and a leap whenever it waits with no work at hand.

    It is the runner's listener too: that is how it knows.
    """

    def __init__(self) -> None:
        self.at = START
        self._others = threading.active_count()
        self._idle = self._idle_without_event = 0

    def now(self) -> int:
        self.at += MOMENT
        return self.at

    def waiting(self, reasons: tuple[Waiting, ...], state: RunState) -> None:
        if threading.active_count() > self._others:
            return
        self.at += LEAP
        self._idle += 1
        self._idle_without_event += 1
        stuck = self._idle > IDLE_AT_MOST or self._idle_without_event > IDLE_WITHOUT_EVENT_AT_MOST
        assert not stuck, f"the run waits for ever, for {[reason.why for reason in reasons]}"

    def recorded(self, position: int, at: int, event: e.AnyEvent, state: RunState) -> None:
        self._idle_without_event = 0

    def peek(self) -> int:
        return self.at

    def monotonic(self) -> float:
        return self.at / SECOND


class DiedError(Exception):
    """The process is gone."""


class MortalLog(MemoryLog):
    """A log whose process dies at an append: before it is durable, or right after."""

    def __init__(self, disk: Disk, dies_at: int = 0, *, after: bool = False) -> None:
        super().__init__(disk)
        self.appends = 0
        self._dies_at = dies_at
        self._after = after

    def append(
        self,
        events: Sequence[e.AnyEvent],
        at: int,
        requests: Sequence[RequestBlock] = (),
        results: Sequence[ResultBlock] = (),
    ) -> Head:
        self.appends += 1
        if self.appends == self._dies_at and not self._after:
            raise DiedError
        head = super().append(events, at, requests, results)
        if self.appends == self._dies_at:
            raise DiedError
        return head


class World:
    """One service, one disk, and as many processes, one after another, as a test likes.

    Args:
        texts: the prompts; markers of the simulator script their fates.
        faults: what goes wrong at the service.
        policy: how the run is conducted.
        settings: the service, when not the calm one.
        priorities: of each prompt; all 0 when left out.
    """

    def __init__(
        self,
        texts: Sequence[str],
        *faults: Fault,
        policy: e.Policy = POLICY,
        settings: Settings | None = None,
        priorities: Sequence[int] = (),
        lag_seconds: float = 0.0,
    ) -> None:
        self.clock = VirtualClock()
        calm = Settings(turnaround_minimum_seconds=20, turnaround_maximum_seconds=40, mix=CALM)
        chosen = msgspec.structs.replace(
            settings or calm, faults=Faults(faults=tuple(faults), list_lag_seconds=lag_seconds)
        )
        self.transport = SimulatorTransport(chosen, clock=self.clock.peek)
        self.disk = Disk()
        self.texts = list(texts)
        self._intake(policy, list(priorities) or [0] * len(self.texts))

    @property
    def service(self) -> Any:
        """The simulated service itself, for looking behind its answers."""
        return self.transport.service

    def gateway(self, transport: httpx2.BaseTransport | None = None) -> AnthropicGateway:
        client = httpx2.Client(transport=transport or self.transport)
        return AnthropicGateway(base_url="http://simulator", http_client=client, api_key="simulated")

    def state(self) -> RunState:
        """Return the fold of what is durable."""
        log = MemoryLog(self.disk.cut(len(self.disk.rows)))
        return fold((row.position, row.at, e.decode(row.type_name, row.data)) for row in log.read())

    def process(
        self,
        log: MortalLog | None = None,
        *,
        gateway: Any = None,
        requests: Callable[[RunState], Sequence[e.AnyEvent]] = lambda _: (),
        lift: bool = True,
    ) -> Runner:
        """Return a runner as a new process makes it: the log folded, the writer announced, pauses lifted."""
        log = log or MortalLog(self.disk)
        writer = Writer(log, self.state(), self.clock, self.clock)
        opening: list[e.AnyEvent] = [e.WriterOpened(epoch=writer.state.epoch + 1, tool_version="test")]
        if lift:
            opening += [e.RunResumed(reason=reason) for reason in writer.state.pauses]
        writer.append(opening)
        return Runner(writer, gateway or self.gateway(), _reader(log), spool, requests)

    def run(self, **process: Any) -> int:
        """Run one process to its end and return its exit code."""
        with joined_threads():
            return self.process(**process).run()

    def events(self, *types: type[Any]) -> list[Any]:
        """Return the recorded events of some types, in order."""
        read = [e.decode(row.type_name, row.data) for row in self.disk.rows]
        return [event for event in read if isinstance(event, types)]

    def outcomes(self) -> list[str]:
        """Return each item's outcome, in the order of the input."""
        state = self.state()
        return [outcome_of(state, ordinal) for ordinal in range(len(state.columns))]

    def own_batches(self) -> int:
        """Return how many submissions the service accepted."""
        return int(self.transport.bill().batches)

    def answers(self) -> dict[int, bytes]:
        """Return the last stored row of every request."""
        log = MemoryLog(self.disk.cut(len(self.disk.rows)))
        chunks = sorted(self.disk.results)
        return {payload.ordinal: payload.row for chunk in chunks for payload in log.result_payloads(chunk)}

    def _intake(self, policy: e.Policy, priorities: list[int]) -> None:
        classes = sorted(set(priorities))
        bodies = [
            (body_of(text), classes.index(priority)) for text, priority in zip(self.texts, priorities, strict=True)
        ]
        declared = [
            e.ClassDeclared(class_id=number, model=MODEL, max_tokens=100, priority=priority)
            for number, priority in enumerate(classes)
        ]
        events, blocks = taken_in(LEDGER_ID, policy, declared, bodies)
        MemoryLog(self.disk).append(events, START, blocks)


def body_of(text: str, max_tokens: int = 100) -> bytes:
    """Return the params of a prompt."""
    messages = [{"role": "user", "content": text}]
    return json.dumps({"model": MODEL, "max_tokens": max_tokens, "messages": messages}, separators=(",", ":")).encode()


def taken_in(
    ledger_id: str, policy: e.Policy, classes: Sequence[e.ClassDeclared], bodies: Sequence[tuple[bytes, int]]
) -> tuple[list[e.AnyEvent], list[RequestBlock]]:
    """Return what an intake leaves of params and the number of their class: events up to the prices, and payloads."""
    built, payloads = list[e.AnyEvent](), []
    for ordinal, ((params, class_id), salt) in enumerate(zip(bodies, new_salts(len(bodies)), strict=True)):
        custom_id = f"item {ordinal}"
        payloads.append(RequestPayload(salt, params, b"", b"", False, custom_id))
        built.append(
            e.RequestBuilt(
                ordinal=ordinal,
                custom_id=custom_id,
                line=ordinal + 1,
                size_bytes=item_size_bytes(ordinal, custom_id, len(params)),
                digest=digest(salt, params),
                class_id=class_id,
            )
        )
    lines = len(built)
    completed = e.IntakeCompleted(
        source=1, lines=lines, bytes_read=lines, digest="d", built=lines, deduplicated=0, rejected=0
    )
    opening: list[e.AnyEvent] = [
        e.RunOpened(ledger_id=ledger_id, origin="simulator", tool_version="test"),
        e.SettingsChanged(policy=policy),
        e.SourceOpened(source=1, path="/items.jsonl"),
    ]
    return [*opening, *classes, *built, completed, e.PricesQuoted(table=PRICES)], list(request_blocks(0, payloads))


def _reader(log: EventLog) -> Callable[[], AbstractContextManager[EventLog]]:
    return lambda: nullcontext(log)


def spool() -> BinaryIO:
    """Return a private temporary file."""
    return tempfile.TemporaryFile()


@contextmanager
def joined_threads() -> Iterator[None]:
    """Wait until every thread that was started inside has ended: none outlives the process it stands for."""
    before = set(threading.enumerate())
    try:
        yield
    finally:
        for thread in set(threading.enumerate()) - before:
            thread.join(10)
            assert not thread.is_alive(), f"{thread.name} outlives its run"


def in_no_chunk(state: RunState) -> bool:
    """Return whether no request is on its way."""
    return IN_CHUNK not in state.columns.status
