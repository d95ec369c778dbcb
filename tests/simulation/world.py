"""A world: one service, one or two ledgers, processes that come and go, a person who does what the messages say.

Everything is drawn from one seed. What must always hold is checked while it runs, and again at the end.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cached_property, lru_cache
from io import BytesIO
from random import Random
from typing import Any, NamedTuple

from purse import Allowance, in_dollars
from running import MINUTE, MODEL, PRICES, START, body_of, taken_in
from scheduler import SECOND, Process, Scheduler
from service import OURS, Sent, Service, ServiceGateway, Weather

from ledger import recovery
from ledger.amending import Amending, Changes, open_amended
from ledger.core import events as e
from ledger.core import snapshot
from ledger.core.chunks import nonce_of, parse_wire_id
from ledger.core.columns import FINAL
from ledger.core.decide import Waiting
from ledger.core.errors import LockedError, PausedError, ServiceError, UsageError
from ledger.core.evolve import evolve, fold
from ledger.core.prefixes import NO_PREFIX, marked_prefixes
from ledger.core.prices import Pricer, Usage
from ledger.core.reopening import reopening
from ledger.core.requests import CancelBatches, Resolve, SetBudget, request_events
from ledger.core.state import RunState, outcome_of
from ledger.files.audit import audit
from ledger.ports import CallError, Head, RequestBlock, ResultBlock
from ledger.runner import Runner, Writer
from ledger.service.simulator.answers import is_billed
from ledger.service.simulator.scripts import OUTCOME_CODES
from ledger.service.simulator.settings import Settings
from ledger.store.memory import Disk, MemoryLog

HOUR = 3600 * SECOND
DAY = 24 * HOUR
END_AT_MOST = 80 * DAY
PROCESSES_AT_MOST = 60
STEPS_AT_MOST = 400_000
PAUSED_TURN = OUTCOME_CODES["pause_turn"]
PRIMED_MODEL = "claude-haiku-5-5"
"""It caches the shortest prefixes: from 512 tokens on, of 3 bytes each."""


@lru_cache(maxsize=4096)  # the worlds ask the same few dozen questions
def body(text: str, max_tokens: int, shares: str = "") -> bytes:
    """Return the params of a prompt; what it shares with others is marked to be cached for an hour."""
    if not shares:
        return body_of(text, max_tokens)
    system = [{"type": "text", "text": shares * 160, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    messages = [{"role": "user", "content": text}]
    params = {"model": PRIMED_MODEL, "max_tokens": max_tokens, "system": system, "messages": messages}
    return json.dumps(params, separators=(",", ":")).encode()


PRICER = Pricer(PRICES)
_SERVICE_PAUSES = ("key", "workspace", "spend")
_RESOLVE = re.compile(r"ledger resolve (\d+) (.*)")


# How far ahead of the log a recovery computes nonces; in reality ten thousand chunks, where these runs have a few.
recovery.CHUNKS_BEYOND, recovery.REPEATED_BEYOND = 50, 40


class BrokenPromiseError(AssertionError):
    """Something that must always hold does not."""


class DiedError(BaseException):
    """The process was killed."""


def require(holds: bool, what: str) -> None:
    """Raise when a promise is broken."""
    if not holds:
        raise BrokenPromiseError(what)


@dataclass
class Life:
    """How one process is to end, unless the run does first: at an append, before or after it is durable, or in time."""

    dies_at_append: int = 0
    durable: bool = False
    dies_after: int = 0
    stalls_after: int = 0
    stalls_for: int = 0
    wrong_workspace: bool = False
    jumps: tuple[tuple[int, int], ...] = ()
    cancels_after: int = 0
    restores: bool = False
    """Whether, once it is dead, an older copy of the ledger is put back in its place."""
    absent_for: int = MINUTE
    append_us: int = 2_000
    append_stall_rate: float = 0.0


class Retry(NamedTuple):
    """A retry: of which outcomes (None for those of the command itself), and whether it asks with other bodies."""

    outcomes: tuple[str, ...] | None
    amends: bool


@dataclass
class Plan:
    """One ledger of a simulation: its items, its policy, and the lives of its processes."""

    texts: list[str]
    priorities: list[int]
    policy: e.Policy
    lives: list[Life] = field(default_factory=list)
    budget: e.BudgetSet | None = None
    """What the run may cost, as said before its first batch."""
    frugal: bool = False
    """Whether the person raises a budget by little at a time, rather than to what the message says."""
    retries: tuple[Retry, ...] = ()
    """What the person asks again, each time the run has ended."""
    max_tokens: int = 100
    shared: tuple[str, ...] = ()
    """What the prompts share, in turn; none where nothing is marked to be cached."""

    def body(self, number: int) -> bytes:
        """Return the params of a prompt."""
        shares = self.shared[number % len(self.shared)] if self.shared else ""
        return body(self.texts[number], self.max_tokens, shares)


@dataclass
class Scenario:
    """A whole simulation, drawn from a seed."""

    seed: int
    settings: Settings
    weather: Weather
    offset_us: int
    plans: list[Plan]
    guarantee_one: bool = True
    """Whether every accepted batch is visible within the settle time, or nothing is repeated without a person."""


class SimulatedLog(MemoryLog):
    """The log of one process: appending takes time, may stall, and is where a process may die."""

    def __init__(self, ledger: LedgerLife, process: Process, life: Life) -> None:
        super().__init__(ledger.disk)
        self._ledger = ledger
        self._process = process
        self._life = life
        self._appends = 0

    def append(
        self,
        events: Sequence[e.AnyEvent],
        at: int,
        requests: Sequence[RequestBlock] = (),
        results: Sequence[ResultBlock] = (),
    ) -> Head:
        life, process = self._life, self._process
        self._appends += 1
        dies = self._appends == life.dies_at_append
        if dies and not life.durable:
            self._ledger.died(process)
        random = self._ledger.world.random
        if life.append_stall_rate and random.random() < life.append_stall_rate:
            process.sleep(random.randrange(12 * SECOND))
        elif life.append_us:
            process.sleep(life.append_us)
        before = len(self.disk.rows)
        head = super().append(events, at, requests, results)
        self._ledger.appended(before)
        if dies:
            self._ledger.died(process)
        return head


class Wall:
    """The clock of one machine, which somebody may set; also the runner's listener."""

    def __init__(self, scheduler: Scheduler, life: Life, offset: int) -> None:
        self._scheduler = scheduler
        self._started = scheduler.now
        self._offset = self._first_offset = offset
        self._jumps = list(life.jumps)
        self.waiting_for: tuple[Waiting, ...] = ()

    def now(self) -> int:
        elapsed = self._scheduler.now - self._started
        while self._jumps and elapsed >= self._jumps[0][0]:
            self._offset += self._jumps.pop(0)[1]
        return self._scheduler.now + self._offset

    def set_by(self, microseconds: int) -> None:
        """Set the clock, as a person or a time server does."""
        self._offset += microseconds

    def own_date(self) -> int:
        """Return what the gateway makes of it: set once, at the start, and steady from there."""
        return self._scheduler.now + self._first_offset

    def monotonic(self) -> float:
        return self._scheduler.now / SECOND

    def recorded(self, position: int, at: int, event: e.AnyEvent, state: RunState) -> None:
        pass

    def waiting(self, reasons: tuple[Waiting, ...], state: RunState) -> None:
        self.waiting_for = reasons


class LedgerLife:
    """One ledger, from its intake to its end, through as many processes as it takes."""

    def __init__(self, world: World, plan: Plan, name: str) -> None:
        self.world = world
        self.plan = plan
        self.name = name
        self.disk = Disk()
        self.shadow = RunState()
        self.process: Process | None = None
        self.runner: Runner | None = None
        self.wall: Wall | None = None
        self.exit_code: int | None = None
        self.processes = 0
        self.resolutions = 0
        self.patience: dict[int, int] = {}
        self.asked: list[Any] = []
        self.lost_position = 0
        self.restorations = 0
        self.next_lift: tuple[str, ...] = ()
        self.next_limit = ""
        self.stuck_states: list[str] = []
        self.allowance = Allowance()
        self.retried = 0
        self.retry: Retry | None = None
        self.paid_before = Counter[int]()
        """How often each item was opened again although it had been answered."""
        self._intake()
        self._taken_in = len(self.disk.rows)

    # ── processes ───────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        """Start the next process."""
        self.processes += 1
        require(self.processes <= PROCESSES_AT_MOST, f"{self.name} needs processes without end: {self.stuck_states}")
        lives = self.plan.lives
        life = lives[self.processes - 1] if self.processes <= len(lives) else Life()
        self.life = life
        scheduler = self.world.scheduler
        self.process = process = Process(scheduler, f"{self.name}/{self.processes}")
        process.start("main", lambda: self._main(process, life))
        if life.dies_after:
            scheduler.at(scheduler.now + life.dies_after, lambda: self._kill(process))
        if life.stalls_after:
            scheduler.at(scheduler.now + life.stalls_after, lambda: self._stall(process, life.stalls_for))
        if life.cancels_after:
            scheduler.at(scheduler.now + life.cancels_after, lambda: self.asked.append(CancelBatches(everything=True)))

    def _main(self, process: Process, life: Life) -> None:
        code: int | None
        try:
            code = self._run(process, life)
        except DiedError:
            return
        except LockedError:
            return  # another process has taken over, and goes on
        except (ServiceError, CallError):
            code = 6
        except PausedError:  # of a recovery: the key is of another workspace
            code = 3
        if process is self.process:
            self._ended(code)

    def _run(self, process: Process, life: Life) -> int:
        world = self.world
        self.wall = wall = Wall(world.scheduler, life, world.random.choice((0, 0, -3, 3)) * HOUR)
        log = SimulatedLog(self, process, life)
        writer = Writer(log, self._folded(), wall, wall)
        elsewhere = life.wrong_workspace and writer.state.workspace == OURS
        gateway = ServiceGateway(world.service, process, self.name, wall.own_date, wrong_workspace=elsewhere)
        opening: list[e.AnyEvent] = [e.WriterOpened(epoch=writer.state.epoch + 1, tool_version="simulated")]
        lifted = [reason for reason in writer.state.pauses if reason in (*_SERVICE_PAUSES, *self.next_lift)]
        self.next_lift = ()
        writer.append([*opening, *(e.RunResumed(reason=reason, by="service") for reason in lifted)])
        if self.lost_position:
            self._recover(writer, gateway, process, log)
        self._resolve(writer)
        self._raise_limit(writer)
        self._retry(writer)
        self.runner = runner = Runner(
            writer, gateway, lambda: nullcontext(log), BytesIO, self._requests, process, slice_seconds=600.0
        )
        code = runner.run()
        if process is self.process:  # else another has taken over, and this one ended without having written since
            require(snapshot.dump(runner.state) == snapshot.dump(self.shadow), "live and replayed state differ")
        return code

    def _recover(self, writer: Writer, gateway: ServiceGateway, process: Process, log: SimulatedLog) -> None:
        """Reconcile a ledger that is behind what was durable once, as its sidecar would have told."""

        def wait(why: str, seconds: float) -> None:
            process.sleep(round(seconds * SECOND))

        def collect() -> None:
            Runner(writer, gateway, lambda: nullcontext(log), BytesIO, workers=process, slice_seconds=600.0).run()

        recovery.recover(writer, gateway, "behind", self.lost_position, wait, collect)
        self.lost_position = 0

    def _restore(self) -> None:
        """Put an older copy of the ledger in its place; what was durable after it is gone."""
        self.world.check()
        position = self.world.random.randrange(self._taken_in, len(self.disk.rows) + 1)
        self.lost_position = max(self.lost_position, len(self.disk.rows))
        self.disk = self.disk.cut(position)
        self.shadow = fold((row.position, row.at, e.decode(row.type_name, row.data)) for row in self.disk.rows)
        self.restorations += 1

    def _requests(self, state: RunState) -> Sequence[e.AnyEvent]:
        events: list[e.AnyEvent] = []
        while self.asked:
            with suppress(UsageError):  # a person is told that it does not fit any more
                events += request_events(state, self.asked.pop())
        return events

    def _folded(self) -> RunState:
        """Return what a new process sees: sometimes the fold from zero, sometimes on top of a memo."""
        rows = self.disk.rows
        if self.world.random.random() < 0.5:
            return fold((row.position, row.at, e.decode(row.type_name, row.data)) for row in rows)
        state = snapshot.load(snapshot.dump(self.shadow))
        assert state is not None
        return state

    def died(self, process: Process) -> None:
        """Have the current task's process die here."""
        process.dead = True
        self.world.scheduler.at(self.world.scheduler.now, lambda: self._kill(process, dead=True))
        raise DiedError

    def kill(self) -> None:
        """Kill the process that is at work, if there is one; its successor comes by itself."""
        if self.process is not None:
            self._kill(self.process)

    def stall(self, microseconds: int) -> None:
        """Stop the process that is at work; another takes over, and later the first goes on."""
        if self.process is not None:
            self._stall(self.process, microseconds)

    def _kill(self, process: Process, *, dead: bool = False) -> None:
        if process.dead and not dead:
            return
        process.kill()
        if process is self.process and self.exit_code is None:
            if self.life.restores:
                self._restore()
            self._again(self.life.absent_for)

    def _stall(self, process: Process, microseconds: int) -> None:
        """Stop a process for a while; meanwhile, its lock broken, another takes over."""
        if process.dead or process is not self.process or self.exit_code is not None:
            return
        process.paused_until = self.world.scheduler.now + microseconds
        self._again(min(self.life.absent_for, microseconds))

    def _again(self, after: int) -> None:
        self.process = None
        self.world.scheduler.at(self.world.scheduler.now + after, self.begin)

    def _ended(self, code: int) -> None:
        require(code in (0, 1, 3, 6), f"exit code {code}")
        if code in (0, 1) and self.retried < len(self.plan.retries):
            self.retry = self.plan.retries[self.retried]
            self.retried += 1
            self._again(self.world.random.choice((MINUTE, HOUR)))
            return
        if code in (0, 1):
            self.exit_code = code
            return
        self.stuck_states.append(self._what_now())
        # A person comes back when the weather has changed, or some time later.
        self._again(self.world.random.choice((MINUTE, HOUR, 6 * HOUR)))

    # ── the person ──────────────────────────────────────────────────────────────────────────────────────────────

    def _what_now(self) -> str:
        """Read the messages of a run that is stuck, and note what they say is to be done."""
        state = self.shadow
        messages = [pause.lift for pause in state.pauses.values()]
        messages += [chunk.hold.lift for chunk in state.live_chunks() if chunk.hold]
        for message in messages:
            require(message.startswith("ledger "), f"a message names no command: {message!r}")
            match = re.match(r"ledger resume --(?:lift|release-)\s?(\w+)", message)
            if match:
                self.next_lift = (*self.next_lift, match[1])
            if raised := re.search(r"--max-cost ([\d.]+)", message):
                self.next_limit = raised[1]
        in_recovery = bool(self.lost_position)
        require(bool(messages) or not state.chunks or in_recovery or self._unanswered(), "stuck without a reason")
        return "; ".join(messages)

    def _unanswered(self) -> bool:
        """Whether the last process gave up because nothing was ever answered."""
        return bool(self.shadow.failures) or any(chunk.failures for chunk in self.shadow.chunks.values())

    def _raise_limit(self, writer: Writer) -> None:
        """Raise the budget as the message said, or by less: then another message comes."""
        limit, self.next_limit = self.next_limit, ""
        budget = writer.state.budget
        if not limit or budget is None or not budget.max_usd:
            return
        if self.plan.frugal:
            limit = str(min(Decimal(budget.max_usd) * 3 / 2 + Decimal("0.0001"), Decimal(limit)))
        writer.append(request_events(writer.state, SetBudget(limit, budget.mode)))

    def _retry(self, writer: Writer) -> None:
        """Open again what the person wants to have asked again, as it was or with other bodies."""
        if self.retry is None:
            return
        found = reopening(writer.state, self.retry.outcomes)
        before = {ordinal: outcome_of(writer.state, ordinal) for ordinal in found.ordinals}
        if found.event is not None and self.retry.amends:
            changes = Changes(max_tokens=max(self.plan.max_tokens - 1, 1))
            amending = Amending(writer.log, writer.state, changes, date(2026, 11, 22))
            self._note_paid(before)
            open_amended(writer, lambda: amending.plan(found.ordinals, ()), found.ordinals, ())
        elif found.event is not None:
            self._note_paid(before)
            writer.append([found.event])
        self.retry = None

    def _note_paid(self, outcomes: Mapping[int, str]) -> None:
        """Note before it happens what may be paid for again: a process that dies here leaves it open, or does not."""
        self.paid_before.update(o for o, outcome in outcomes.items() if outcome not in ("expired", "canceled"))

    def _resolve(self, writer: Writer) -> None:
        """Do for every held chunk what its message says."""
        for chunk in list(writer.state.live_chunks()):
            if chunk.hold is None:
                continue
            match = _RESOLVE.search(chunk.hold.lift)
            require(match is not None and int(match[1]) == chunk.chunk, f"no way out of {chunk.hold}")
            assert match is not None
            if any(sent.on_its_way for sent in self.world.service.sent):
                continue  # nobody can know yet; a person who says "absent" now says more than that
            self.resolutions += 1
            writer.append(request_events(writer.state, self._verdict(chunk, match[2])))

    def _verdict(self, chunk: Any, said: str) -> Resolve:
        ours = self.batch_of(chunk)
        if "--adopt" in said or "--absent" in said:  # a person looks into the console, and knows
            wanted = "adopt" if ours else "absent"
            if wanted == "adopt" and "--adopt" in said:
                assert ours is not None
                gateway = ServiceGateway(self.world.service, self.process, self.name, lambda: 0)  # type: ignore[arg-type]
                return Resolve(chunk.chunk, "adopt", ours.batch_id, gateway._seen(ours))
            if wanted == "absent":
                return Resolve(chunk.chunk, "absent")
        self.patience[chunk.chunk] = self.patience.get(chunk.chunk, 3) - 1
        if "--lost" in said and not self.patience[chunk.chunk]:
            return Resolve(chunk.chunk, "lost")
        verdict = re.search(r"--(again|accept-counts)", said)
        require(verdict is not None, f"no way out of {said!r}")
        assert verdict is not None
        return Resolve(chunk.chunk, verdict[1])  # type: ignore[arg-type]

    def batch_of(self, chunk: Any) -> Any:
        """Return the batch that the service made of a chunk's latest submission, if it did; omniscient."""
        if chunk.prepared is None:
            return None
        for sent in self.world.service.sent:
            if sent.ledger == self.name and sent.batch and _nonce(sent) == chunk.prepared.nonce:
                return self.world.service.core.batches[sent.batch]
        return None

    # ── what must hold at every step ────────────────────────────────────────────────────────────────────────────

    def appended(self, before: int) -> None:
        """Replay what became durable, from its bytes."""
        for row in self.disk.rows[before:]:
            event = e.decode(row.type_name, row.data)
            evolve(self.shadow, row.position, row.at, event)
            if row.type_name == "budget_set":
                assert isinstance(event, e.BudgetSet)
                self.allowance.told(self.world.scheduler.now, event)
            elif row.type_name == "submission_released" and self.allowance.limit is not None:
                assert isinstance(event, e.SubmissionReleased)
                self.check_release_is_covered(event)

    @cached_property
    def dearest_usd(self) -> Decimal:
        """What the longest request costs with an answer of full length."""
        plan = self.plan
        longest = max(len(plan.body(number)) for number in range(len(plan.texts)))
        if plan.shared:
            usage = Usage(cache_write_1h_tokens=longest // 3 + 1, output_tokens=plan.max_tokens)
            return in_dollars(PRICER, PRIMED_MODEL, usage)
        return in_dollars(PRICER, MODEL, Usage(input_tokens=longest // 4, output_tokens=plan.max_tokens))

    def check_release_is_covered(self, event: e.SubmissionReleased) -> None:
        """Require that the budget covers a submission also where every answer that is still open is of full length."""
        if not self.world.scenario.guarantee_one:
            return
        core, each = self.world.service.core, self.dearest_usd

        def at_most(requests: int) -> Decimal:
            return each * requests

        bill = at_most(self.shadow.chunks[event.chunk].requests)
        for sent in self.world.service.sent:
            if sent.ledger == self.name and sent.batch:
                batch = core.batches[sent.batch]
                if batch.accepted.traits.deleted_after is None or sent.batch in self.shadow.batches:
                    bill += self.allowance.charge(batch, self.world.service.now(), _charged_usd, at_most)
            elif sent.ledger == self.name and sent.on_its_way:
                bill += at_most(len(sent.wire_ids))
        limit = self.allowance.limit
        require(limit is None or bill <= limit, f"{self.name}: ${bill} may be charged, ${limit} are allowed")

    def check_budget(self) -> None:
        """Require that the service charges no more than was allowed when it was sent, by books of its own."""
        if not self.allowance.limits or not self.world.scenario.guarantee_one:
            return
        core = self.world.service.core
        # What somebody deletes before anybody has seen it leaves no trace: a condition of guarantee 1, and of this.
        counted = [
            sent
            for sent in self.world.service.sent
            if sent.ledger == self.name
            and sent.batch
            and (core.batches[sent.batch].accepted.traits.deleted_after is None or sent.batch in self.shadow.batches)
        ]
        broken = self.allowance.broken(
            counted,
            core.batches.__getitem__,
            self.world.service.now(),
            _charged_usd,
        )
        require(not broken, f"{self.name}: {broken}")

    def check_release(self, sent: Sent) -> None:
        """Require that the last byte of a body was announced durably, with the digest of the whole."""
        for row in reversed(self.disk.rows):
            if row.type_name == "submission_released" and sent.digest in row.data:
                return
        raise BrokenPromiseError(f"{self.name} sent a last byte that no durable event announced")

    # ── what must hold at the end ───────────────────────────────────────────────────────────────────────────────

    def check_end(self) -> None:
        """Require everything that is promised of a run that has ended."""
        state = self.shadow
        refolded = fold((row.position, row.at, e.decode(row.type_name, row.data)) for row in self.disk.rows)
        require(snapshot.dump(refolded) == snapshot.dump(state), "the fold from zero differs")
        for ordinal in range(len(self.plan.texts)):
            require(state.columns.status[ordinal] >= FINAL, f"item {ordinal} is {outcome_of(state, ordinal)}")
        require(sum(state.outcomes.values()) == len(self.plan.texts), "outcomes do not add up")
        all_ok = state.outcomes["ok"] == len(self.plan.texts)
        require(self.exit_code == (0 if all_ok else 1), f"exit code {self.exit_code} with {state.outcomes}")
        self._check_once()
        self._check_paid_once()
        self._check_costs()
        self.check_budget()
        if self.plan.retries:
            wrong = [str(found) for found in audit(MemoryLog(self.disk)).findings if re.search(r"\bbody\b", found.what)]
            require(not wrong, f"bodies are not what was recorded: {wrong}")

    def _check_once(self) -> None:
        accepted: dict[tuple[int, int], list[str]] = {}
        owners = self._owners()
        for sent in self.world.service.sent:
            if sent.ledger == self.name and sent.batch:
                accepted.setdefault(owners[_nonce(sent)], []).append(sent.batch)
        by_chunk: dict[int, list[str]] = {}
        for (chunk, _), batches in accepted.items():
            forgotten = self.restorations and not self.world.scenario.guarantee_one  # and numbered anew
            require(len(batches) == 1 or bool(forgotten), f"submission of chunk {chunk} made {batches}")
            by_chunk.setdefault(chunk, []).extend(batches)
        core = self.world.service.core
        for chunk, batches in by_chunk.items():
            # What somebody deletes while the submission is in doubt leaves no trace: a condition of guarantee 1.
            traces = all(core.batches[batch].accepted.traits.deleted_after is None for batch in batches)
            if self.world.scenario.guarantee_one and traces:
                require(len(batches) <= 1, f"chunk {chunk} was accepted as {batches}")

    def _check_paid_once(self) -> None:
        """Require that no item was answered for money twice, whatever chunks it was in."""
        if not self.world.scenario.guarantee_one:
            return
        core, paid = self.world.service.core, Counter[int]()
        for sent in self.world.service.sent:
            if sent.ledger != self.name or not sent.batch:
                continue
            batch = core.batches[sent.batch]
            if batch.accepted.traits.deleted_after or batch.status(self.world.service.now()) != "ended":
                continue
            for wire_id, code in zip(sent.wire_ids, batch.codes(), strict=True):
                wire = parse_wire_id(wire_id)
                assert wire is not None
                paid[wire.ordinal] += is_billed(code)
        twice = [ordinal for ordinal, times in paid.items() if times > 1 + self.paid_before[ordinal]]
        require(not twice, f"items {twice} were paid for twice")

    def _owners(self) -> dict[str, tuple[int, int]]:
        """Return chunk and submission by nonce; those of submissions that the log forgot can be computed again."""
        owners = {}
        if self.restorations:
            for chunk in range(1, self.shadow.last_chunk + 2 + len(self.world.service.sent)):
                for submission in range(1, PROCESSES_AT_MOST):
                    owners[nonce_of(self.shadow.ledger_id, chunk, submission)] = (chunk, submission)
        for row in self.disk.rows:
            if row.type_name == "submission_prepared":
                prepared = e.decode(row.type_name, row.data)
                assert isinstance(prepared, e.SubmissionPrepared)
                owners[prepared.nonce] = (prepared.chunk, prepared.submission)
        return owners

    def _check_costs(self) -> None:
        """Require that what we count of each batch is what the service charges for it."""
        state, core = self.shadow, self.world.service.core
        ours: dict[int, Usage] = {}
        for spent in state.spending():
            if spent.billed:
                ours[spent.chunk] = ours.get(spent.chunk, Usage()) + spent.usage
        for chunk in state.chunks.values():
            if chunk.status != "collected":
                continue
            batch = core.batches[chunk.batch]
            charged = _charged(batch)
            counted = ours.get(chunk.chunk, Usage())
            whole = sum(state.stored[chunk.chunk].values()) == chunk.requests
            if whole and self.world.service.lasting.get(chunk.batch) != "unknown_type":
                require(counted == charged, f"chunk {chunk.chunk}: counted {counted}, charged {charged}")
            else:
                require(counted.output_tokens <= charged.output_tokens, f"chunk {chunk.chunk} counts too much")
        short = self._found("twin_short")
        for twin in (*state.twins.values(), *state.acknowledged.values()):
            if twin.proven and twin.usage is not None and not self.world.service.lasting.get(twin.batch):
                charged = _charged(core.batches[twin.batch])
                less = twin.batch in short and twin.usage.output_tokens < charged.output_tokens
                require(twin.usage == charged or less, f"twin {twin.batch} is not weighed right")

    def _found(self, finding: str) -> set[str]:
        """Return the batches of which something was found."""
        recorded = (e.decode(row.type_name, row.data) for row in self.disk.rows if row.type_name == "finding_recorded")
        return {one.batch for one in recorded if isinstance(one, e.FindingRecorded) and one.finding == finding}

    # ── intake ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _intake(self) -> None:
        plan = self.plan
        params = [plan.body(number) for number in range(len(plan.texts))]
        kinds = [
            (priority, *(marked_prefixes(json.loads(asked)) or (NO_PREFIX,)))
            for priority, asked in zip(plan.priorities, params, strict=True)
        ]
        classes = sorted(set(kinds))
        declared = [
            e.ClassDeclared(
                class_id=number,
                model=PRIMED_MODEL if plan.shared else MODEL,
                max_tokens=plan.max_tokens,
                priority=priority,
                cached=bool(plan.shared),
                prefix=prefix.digest,
                prefix_bytes=prefix.size_bytes,
                prefix_minutes=prefix.minutes,
            )
            for number, (priority, prefix) in enumerate(classes)
        ]
        bodies = [(asked, classes.index(kind)) for asked, kind in zip(params, kinds, strict=True)]
        events, blocks = taken_in(self.name * 4, plan.policy, declared, bodies)
        MemoryLog(self.disk).append([*events, *([plan.budget] if plan.budget else [])], START, blocks)
        self.appended(0)


def _nonce(sent: Sent) -> str:
    wire = parse_wire_id(sent.wire_ids[0])
    assert wire is not None
    return wire.nonce


def _charged(batch: Any) -> Usage:
    answers, total = batch.answers(), Usage()
    for index, code in enumerate(batch.codes()):
        if is_billed(code):
            usage = answers.usage(index)
            total += Usage(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cache_write_5m_tokens=usage.five_minute_write_tokens,
                cache_write_1h_tokens=usage.one_hour_write_tokens,
                cache_read_tokens=usage.cache_read_tokens,
                web_search_requests=int(code == PAUSED_TURN),  # the simulator's paused turns have searched once
            )
    return total


def _charged_usd(batch: Any) -> Decimal:
    return in_dollars(PRICER, batch.columns.shapes[0].model, _charged(batch))


class World:
    """A simulation of one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.random = Random(scenario.seed)
        self.scheduler = Scheduler(self.random, START)
        self.service = Service(self.scheduler, self.random, scenario.settings, scenario.weather, scenario.offset_us)
        self.ledgers = [
            LedgerLife(self, plan, name) for plan, name in zip(scenario.plans, ("aaaa", "bbbb"), strict=False)
        ]
        self._checked = 0
        self._until = START

    def run(self) -> None:
        """Let everything happen, and check everything."""
        try:
            self.begin()
            self.finish()
        finally:
            self.scheduler.close()

    def begin(self) -> None:
        """Start every ledger's first process."""
        for ledger in self.ledgers:
            ledger.begin()

    @property
    def is_over(self) -> bool:
        """Whether every run has ended."""
        return all(ledger.exit_code is not None for ledger in self.ledgers)

    def advance(self, microseconds: int) -> None:
        """Let so much time pass, and check what must hold at every step."""
        more = self.scheduler.run(self._until + microseconds, STEPS_AT_MOST)
        self._until += microseconds
        self.check()
        waits = [ledger.wall.waiting_for for ledger in self.ledgers if ledger.wall]
        require(self.scheduler.steps < STEPS_AT_MOST, f"busy without end, waiting for {waits}")
        require(self._until < START + END_AT_MOST, f"waits for ever, for {waits}")
        require(more or self.is_over, f"nothing happens: {waits}")

    def finish(self) -> None:
        """Let every run come to its end, and check what must hold there."""
        while not self.is_over:
            self.advance(HOUR)
        for ledger in self.ledgers:
            ledger.check_end()

    def check(self) -> None:
        """Check what was sent since the last check."""
        if len(self.service.sent) == self._checked:
            return
        by_name = {ledger.name: ledger for ledger in self.ledgers}
        for sent in self.service.sent[self._checked :]:
            by_name[sent.ledger].check_release(sent)
        for ledger in self.ledgers:
            ledger.check_budget()
        self._checked = len(self.service.sent)
