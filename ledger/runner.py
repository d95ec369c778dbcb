"""The imperative shell: fold → decide → perform → evolve → append, until nothing is left to do.

One thread writes. It asks ``decide`` what to do, starts each command on a thread of its own, and waits for what they
have to say: events. An event is evolved before it is committed, so that none that the state does not allow reaches
the log; and no effect starts before the events that announce it are durable, because the thread that wants to start it
waits in ``emit`` until they are.

The runner remembers nothing but which commands are at work. Everything else is in the log.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol, assert_never

import msgspec

from ledger import collecting, perform
from ledger.core import events as e
from ledger.core.chunks import cut, halves, nonce_of, whole
from ledger.core.columns import IN_CHUNK, ordinals
from ledger.core.commands import Cancel, Collect, Command, Inspect, Look, Record, Seal, SealChosen, Split, Submit
from ledger.core.decide import Decision, Waiting, decide, may_begin
from ledger.core.errors import ServiceError
from ledger.core.evolve import evolve
from ledger.core.looking import Looked, looked_events
from ledger.core.state import RunState
from ledger.loading import save_state
from ledger.perform import StoppedError, Tools
from ledger.ports import Body, Clock, EventLog, Gateway, RequestBlock, ResultBlock
from ledger.workers import Mailbox, Signal, Threads, Workers

SLICE_SECONDS = 0.25
"""How long one wait lasts: signals and requests from other processes are noticed within it."""
GRACE_SECONDS = 15.0
"""When stopping: how long the answer to a released submission is waited for, so that nothing is left in doubt."""
CONTROLS = 3

STILL_RUNNING = 7
NO_SERVICE = 6
MEMO_EVENTS = 50_000
"""A memo of the state is kept whenever so many events were added: whoever opens the ledger folds no more than those, a
third of a second. Of large runs it is a twentieth of the requests: a memo is made of all of them."""
UNANSWERED_AT_MOST = 5
"""A process whose first calls all fail gives up, so that a wrong address is noticed; later, it waits and goes on."""


class Listener(Protocol):
    """Whoever watches a run. Called on the writer's thread."""

    def recorded(self, position: int, at: int, event: e.AnyEvent, state: RunState) -> None:
        """Be told of an event that became durable."""
        ...

    def waiting(self, reasons: tuple[Waiting, ...], state: RunState) -> None:
        """Be told what the run waits for."""
        ...


class Writer:
    """The one way in: evolve, then append, in one go. Owns the state that mirrors the log.

    Args:
        log: where events become durable.
        state: the fold of the log as it stands.
        clock: what time it is.
        listener: is told of every durable event.
        memo_events: after how many events a memo of the state is kept, at least.
    """

    def __init__(
        self,
        log: EventLog,
        state: RunState,
        clock: Clock,
        listener: Listener | None = None,
        memo_events: int = MEMO_EVENTS,
    ) -> None:
        self.log = log
        self.state = state
        self.clock = clock
        self.listener = listener
        self._memo_events = memo_events
        self._memo_position = state.position

    def append(
        self,
        events: Sequence[e.AnyEvent],
        requests: Sequence[RequestBlock] = (),
        results: Sequence[ResultBlock] = (),
    ) -> None:
        """Evolve events and make them durable.

        Raises:
            IllegalEventError: the state does not allow one; nothing was stored, and this writer is of no more use.
            DiskError: the log could not be written; likewise.
            LockedError: another process has taken over; likewise.
        """
        if events:
            self._store(events, lambda at: self.log.append(events, at, requests, results))

    def rewrite(
        self, events: Sequence[e.AnyEvent], amended: Sequence[Body] = (), redacted: Collection[int] = ()
    ) -> None:
        """Evolve events, make them durable, and change the payloads that they say, at once.

        Raises:
            IllegalEventError: as for ``append``.
            CorruptLogError: a payload is not there, or not what was written; likewise.
            DiskError: as for ``append``.
            LockedError: as for ``append``.
        """
        self._store(events, lambda at: self.log.rewrite(events, at, amended, redacted))

    def _store(self, events: Sequence[e.AnyEvent], make_durable: Callable[[int], object]) -> None:
        at = self.clock.now()
        first = self.state.position + 1
        for position, event in enumerate(events, first):
            evolve(self.state, position, at, event)
        make_durable(at)
        if self.listener is not None:
            for position, event in enumerate(events, first):
                self.listener.recorded(position, at, event, self.state)
        if self.state.position - self._memo_position >= max(self._memo_events, len(self.state.columns) // 20):
            save_state(self.log, self.state)
            self._memo_position = self.state.position


_DEPENDENT = frozenset({e.SubmissionPrepared, e.SubmissionReleased, e.TwinFound, e.TwinAcknowledged})


class _Message(msgspec.Struct):
    """What a working thread has to say: events to store; ``finished`` is the key of a command that is done."""

    events: Sequence[e.AnyEvent] = ()
    results: Sequence[ResultBlock] = ()
    finished: str = ""
    looked: Looked | None = None
    failure: BaseException | None = None
    done: Signal | None = None
    refused: list[BaseException] = []

    @property
    def depends_on_the_state(self) -> bool:
        """Whether what it means depends on what happened while it was on its way."""
        return self.looked is not None or not _DEPENDENT.isdisjoint(map(type, self.events))


class Runner:
    """Carries a run on until it is finished, stuck, interrupted, or (``once``) until it has nothing to do right now.

    Args:
        writer: the log and its state.
        gateway: the service.
        reader: opens the ledger for reading, for one working thread.
        spool: opens a private temporary file beside the ledger.
        requests: takes what other processes ask of this one (``cancel``, ``resolve``), as events.
        workers: where commands are carried out; threads by default.
        slice_seconds: how long one wait lasts at most.
    """

    def __init__(
        self,
        writer: Writer,
        gateway: Gateway,
        reader: Callable[[], AbstractContextManager[EventLog]],
        spool: Callable[[], BinaryIO],
        requests: Callable[[RunState], Sequence[e.AnyEvent]] = lambda _: (),
        workers: Workers | None = None,
        slice_seconds: float = SLICE_SECONDS,
    ) -> None:
        self._writer = writer
        self._workers: Workers = workers or Threads()
        self._slice_seconds = slice_seconds
        self._tools = Tools(gateway, reader, spool, self._emit)
        self._requests = requests
        self._messages: Mailbox[_Message] = self._workers.mailbox()
        self._running: dict[str, Command] = {}
        self._stopping = False
        self._over = False
        self._answered = False
        self._unanswered = 0

    @property
    def state(self) -> RunState:
        """The state as of the last durable event."""
        return self._writer.state

    def stop(self) -> None:
        """End the run soon; safe to call from a signal handler."""
        self._stopping = True
        self._messages.put(_Message())

    def record(self, events: Sequence[e.AnyEvent]) -> None:
        """Make events of a person durable; to be called from ``requests`` only."""
        self._writer.append(events)

    def run(self, *, once: bool = False) -> int:
        """Return 0 or 1 when finished, 3 or 6 when stuck, 7 when ``once`` and healthy, -1 when stopped.

        Raises:
            LedgerError: the log could not be written, or something happened that must not.
        """
        try:
            return self._run(once=once)
        finally:
            self._over = True  # nobody listens from here on: what still works must not wait for an answer

    def _run(self, *, once: bool) -> int:
        has_looked = False
        while not self._stopping:
            self._take(block_seconds=0)
            self._writer.append(self._requests(self.state))
            decision = decide(self.state, self._writer.clock.now())
            if not has_looked and "look" not in self._running:
                has_looked = True
                decision = self._with_a_look(decision)
            if self._start(decision.commands):
                continue
            if self._running:
                self._wait(decision)
            elif decision.exit_code is not None:
                return decision.exit_code
            elif once:
                return NO_SERVICE if self.state.failures.keys() & {"look", "submit"} else STILL_RUNNING
            else:
                self._wait(decision)
        self._wind_down()
        return -1

    def _with_a_look(self, decision: Decision) -> Decision:
        """Return the decision with a look: who starts a process wants to know now, whenever the last poll was."""
        if any(isinstance(command, Look | Record) for command in decision.commands):
            return decision
        if not self.state.chunks_in("submitted"):
            return decision
        return msgspec.structs.replace(decision, commands=(*decision.commands, Look(evidence=False, horizon=0)))

    def _start(self, commands: Sequence[Command]) -> bool:
        """Start what is not at work yet; return whether the state has changed, so that it must be asked again."""
        changed = False
        for command in commands:
            if command.key in self._running:
                continue
            match command:
                case Record(events):
                    self._writer.append(events)
                    return True
                case Seal():
                    self._writer.append([self._sealed(command)])
                    changed = True
                case SealChosen():
                    self._writer.append([self._sealed_chosen(command)])
                    changed = True
                case Split():
                    self._writer.append(self._split(command))
                    changed = True
                case Submit() | Look() | Inspect() | Collect() | Cancel():
                    self._start_thread(command)
                case _:
                    assert_never(command)
        return changed

    def _wait(self, decision: Decision) -> None:
        if self._writer.listener is not None:
            self._writer.listener.waiting(decision.waiting, self.state)
        seconds = self._slice_seconds
        if decision.wake_at:
            seconds = min(max((decision.wake_at - self._writer.clock.now()) / 1_000_000, 0.001), seconds)
        self._take(block_seconds=seconds)

    # ── what needs no thread ────────────────────────────────────────────────────────────────────────────────────

    def _sealed(self, command: Seal) -> e.ChunkSealed:
        state = self.state
        lane = (state.retries if command.retry else state.fresh)[command.priority]
        taken = cut(state.columns, lane, command.max_requests, command.max_bytes, command.avoid)
        return e.ChunkSealed(
            chunk=state.next_chunk,
            ranges=taken.ranges,
            requests=taken.requests,
            size_bytes=taken.size_bytes,
            priority=command.priority,
            cause="retry" if command.retry else "fresh",
        )

    def _sealed_chosen(self, command: SealChosen) -> e.ChunkSealed:
        taken = whole(self.state.columns, list(command.members))
        return e.ChunkSealed(
            chunk=self.state.next_chunk,
            ranges=taken.ranges,
            requests=taken.requests,
            size_bytes=taken.size_bytes,
            priority=command.priority,
            cause=command.cause,
        )

    def _split(self, command: Split) -> list[e.AnyEvent]:
        state = self.state
        chunk = state.chunks[command.chunk]
        members = [o for o in ordinals(chunk.ranges) if state.columns.status[o] == IN_CHUNK]
        events: list[e.AnyEvent] = []
        if command.ordinal >= 0:
            if command.ordinal in members:  # else the log was cut in the middle of what follows, which is one commit
                events.append(e.RequestRejected(ordinal=command.ordinal, chunk=chunk.chunk, why=command.why))
                members.remove(command.ordinal)
            parts = [whole(state.columns, members)] if members else []
        else:
            parts = halves(state.columns, members)
        events.append(e.ChunkDissolved(chunk=chunk.chunk, cause=command.cause))
        for number, part in enumerate(parts, state.next_chunk):
            events.append(
                e.ChunkSealed(
                    chunk=number,
                    ranges=part.ranges,
                    requests=part.requests,
                    size_bytes=part.size_bytes,
                    priority=chunk.priority,
                    cause="split",
                )
            )
        return events

    # ── working threads ─────────────────────────────────────────────────────────────────────────────────────────

    def _start_thread(self, command: Submit | Look | Inspect | Collect | Cancel) -> None:
        work = self._job(command)
        key = command.key

        def target() -> None:
            message = _Message(finished=key)
            try:
                came = work()
                if isinstance(came, Looked):
                    message.looked = came
                else:
                    message.events = [came] if isinstance(came, msgspec.Struct) else came
            except StoppedError:
                pass  # the run is ending, and says so itself
            except BaseException as failure:  # noqa: BLE001 - it is raised again on the writer's thread
                message.failure = failure
            self._messages.put(message)

        self._running[key] = command
        self._workers.start(key, target)

    def _job(
        self, command: Submit | Look | Inspect | Collect | Cancel
    ) -> Callable[[], Sequence[e.AnyEvent] | Looked | e.CallFailed]:
        """Return the work of a command, with all it needs of the state taken by value, here on the writer's thread."""
        state, tools = self.state, self._tools
        match command:
            case Submit(number):
                submit = perform.SubmitJob(
                    chunk=state.chunks[number],
                    ledger_id=state.ledger_id,
                    workspace=state.workspace,
                    betas=state.defaults.betas,
                    opaque_ids=state.policy.opaque_ids,
                    claimed=frozenset(state.batches),
                )
                return lambda: perform.submit(submit, tools)
            case Look(evidence, horizon):
                known = sorted(state.chunks.values(), key=lambda c: c.created_at, reverse=True)
                look = perform.LookJob(
                    asked_at=state.position,
                    open_batches=frozenset(chunk.batch for chunk in state.chunks_in("submitted")),
                    evidence=evidence,
                    horizon=horizon,
                    controls=tuple(chunk.batch for chunk in known if chunk.batch)[:CONTROLS],
                    workspace=state.workspace,
                )
                return lambda: perform.look(look, tools)
            case Inspect(batch):
                nonces = {
                    nonce_of(state.ledger_id, chunk.chunk, submission): (chunk.chunk, submission)
                    for chunk in state.chunks.values()
                    for submission in range(1, chunk.submission + 1)
                }
                twin = state.twins.get(batch) or state.acknowledged.get(batch)
                if twin is not None:  # a recovery finds some of submissions that the log has forgotten
                    own = (twin.chunk, twin.submission)
                    nonces[nonce_of(state.ledger_id, *own)] = own
                short = state.failures.get(f"weigh:{batch}")
                inspect = perform.InspectJob(batch, nonces, twin, state.workspace, short.count if short else 0)
                return lambda: perform.inspect(inspect, tools)
            case Collect(number):
                collect = self._collect_job(number)
                return lambda: collecting.collect(collect, tools)
            case Cancel(batch):
                workspace = state.workspace
                return lambda: perform.cancel(batch, tools, workspace)
            case _:
                assert_never(command)

    def _collect_job(self, number: int) -> collecting.CollectJob:
        state = self.state
        chunk, columns = state.chunks[number], state.columns
        waiting = array(
            "I",
            (
                ordinal
                for ordinal in sorted(ordinals(chunk.ranges))
                if columns.chunk[ordinal] == number and columns.status[ordinal] == IN_CHUNK
            ),
        )
        return collecting.CollectJob(
            chunk=chunk,
            nonce=nonce_of(state.ledger_id, number, chunk.submission),
            earlier={nonce_of(state.ledger_id, number, n): n for n in range(1, chunk.submission)},
            waiting=waiting,
            attempts=bytes(columns.attempts_that_count(ordinal) for ordinal in waiting),
            models=[state.classes[columns.class_id[ordinal]].model for ordinal in waiting],
            stored=dict(state.stored[number]),
            max_attempts=state.policy.max_attempts,
            cancel_wanted=chunk.batch in state.cancels,
            workspace=state.workspace,
            failures=failed.count if (failed := state.failures.get(f"collect:{number}")) is not None else 0,
        )

    def _emit(self, events: Sequence[e.AnyEvent], results: Sequence[ResultBlock] = ()) -> None:
        """Called on a working thread: return once the events are durable."""
        if self._stopping:
            raise StoppedError
        done = self._workers.signal()
        message = _Message(events=events, results=results, done=done, refused=[])
        self._messages.put(message)
        while not done.wait(self._slice_seconds):
            if self._over:
                raise StoppedError
        if message.refused:
            raise StoppedError from message.refused[0]

    def _take(self, block_seconds: float) -> None:
        """Store, in one commit, what the working threads have to say by now; wait for the first word if told to."""
        taken: list[_Message] = []
        message = self._messages.take(block_seconds)
        while message is not None:
            taken.append(message)
            message = self._messages.take(0)
        if not taken:
            return
        try:
            self._store(taken)
        except BaseException as problem:
            self._stopping = True
            for message in taken:
                message.refused.append(problem)
            raise
        finally:
            for message in taken:
                if message.done is not None:
                    message.done.give()
                self._running.pop(message.finished, None)

    def _store(self, taken: Sequence[_Message]) -> None:
        """Append what is meant, in as few commits as its meaning allows, and only then raise what failed."""
        events: list[e.AnyEvent] = []
        results: list[ResultBlock] = []
        failures: list[BaseException] = []
        for message in taken:
            if message.failure is not None:
                failures.append(message.failure)
                continue
            depends_on_the_state = message.depends_on_the_state
            if depends_on_the_state:  # which must have all events before it
                self._writer.append(events, (), results)
                events, results = [], []
            try:
                events += self._meant(message)
                self._notice(message)
            except StoppedError as refused:
                message.refused.append(refused)
            except ServiceError as gives_up:
                failures.append(gives_up)
            results += message.results
            if depends_on_the_state:
                self._writer.append(events, (), results)
                events, results = [], []
        self._writer.append(events, (), results)
        if failures:
            raise failures[0]

    def _meant(self, message: _Message) -> Sequence[e.AnyEvent]:
        """Return a message's events, as the state of this moment takes them.

        Raises:
            StoppedError: a submission must not go on, because of what happened since it was decided on.
        """
        state = self.state
        if message.looked is not None:
            return list(looked_events(state, message.looked))
        if not message.depends_on_the_state:
            return message.events
        for event in message.events:
            if isinstance(event, e.SubmissionPrepared) and not may_begin(state, event.chunk):
                raise StoppedError
            if isinstance(event, e.SubmissionReleased) and state.pauses:
                raise StoppedError
        return [event for event in message.events if self._stands(event)]

    def _stands(self, event: e.AnyEvent) -> bool:
        """Return whether what was read of a twin still holds: it may have been adopted or acknowledged meanwhile."""
        state = self.state
        if isinstance(event, e.TwinFound) and event.proven:
            return event.batch in state.twins or event.batch in state.acknowledged
        return not isinstance(event, e.TwinAcknowledged) or event.batch in state.twins

    def _notice(self, message: _Message) -> None:
        """Give up when nothing that this process asked the service was ever answered."""
        failed = [event for event in message.events if isinstance(event, e.CallFailed)]
        self._answered = self._answered or message.looked is not None or bool(message.events and not failed)
        self._unanswered += len(failed)
        if not self._answered and self._unanswered >= UNANSWERED_AT_MOST:
            raise ServiceError(
                "the service does not answer",
                why=failed[-1].detail or str(failed[-1].status),
                next="check the network and ANTHROPIC_BASE_URL; then: ledger resume",
            )

    def _wind_down(self) -> None:
        """Let no submission go on to its release, and wait a while for the answers of those that were released."""
        deadline = self._writer.clock.monotonic() + GRACE_SECONDS
        while self._writer.clock.monotonic() < deadline:
            released = {f"submit:{chunk.chunk}" for chunk in self.state.chunks_in("prepared", "released")}
            if not any(key in self._running for key in released):
                break
            self._take(block_seconds=self._slice_seconds)
