"""The library's door: open a ledger, run it, resume it, read its answers, its costs, and its proof.

from ledger import Ledger

ledger = Ledger("products.ledger")
summary = ledger.run("products.jsonl", model="claude-sonnet-4-6", max_tokens=1024)
for answer in ledger.results():
print(answer["custom_id"], answer["outcome"], answer["text"])
print(ledger.costs().total.cost_usd, ledger.audit().ok)
"""

from __future__ import annotations

import os
import secrets
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import urlsplit, urlunsplit

import msgspec

from ledger.amending import Changes
from ledger.answered import AnsweredBefore, answered_before, remember
from ledger.braking import UNCONFIRMED, confirmation, require_agreement, unconfirmed
from ledger.choices import Choices
from ledger.choosing import SIMULATOR, choose
from ledger.core import events as e
from ledger.core.costs import Estimate, estimate
from ledger.core.decide import Waiting
from ledger.core.errors import LockedError, PausedError, UsageError
from ledger.core.preview import Preview
from ledger.core.prices import quote
from ledger.core.reopening import Reopening
from ledger.core.requests import CancelBatches, Lift, PersonRequest, Resolve, decode_request, request_events
from ledger.core.reuse import place_of
from ledger.core.state import RunState
from ledger.core.units import MICROSECONDS_PER_SECOND
from ledger.counting import Counted
from ledger.files.intake import Intake, IntakeReport, last_reading, settled
from ledger.files.lines import STDIN
from ledger.loading import load_state, save_state
from ledger.ports import Gateway, ResultBlock
from ledger.reading import (
    Reading,
    custom_ids,
    require_file,
    today,
    today_date,
)
from ledger.recovery import recover
from ledger.redacting import Redaction, redact
from ledger.reopening import HoldingBack, Wanted, reopen
from ledger.retrying import all_ordinals
from ledger.reusing import take_all
from ledger.runner import Listener, Runner, Writer
from ledger.store import faults, inbox
from ledger.store.copy import copy_ledger
from ledger.store.lease import read_head
from ledger.store.space import intake_bytes, require_space
from ledger.store.sqlite import SqliteLog
from ledger.summary import Summary, failed_ordinals, request_classes, summarize
from ledger.troubles import errors_met

if TYPE_CHECKING:
    from ledger.service.gateway import AnthropicGateway
    from ledger.service.simulator.settings import Settings

_AT_REST = (0, 1, 3)
"""Exit codes of runs that nothing more comes of by itself: time to note what was answered."""
NOTHING_TO_DO = "there is nothing to do"
PUBLIC_ADDRESS = "https://api.anthropic.com"
"""Where the SDK asks when nobody says otherwise."""
_SERVICE_PAUSES = ("key", "spend", "workspace")
"""Pauses that the world may have lifted meanwhile: every invocation tries once."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What `check` found: the items are fine, and this is how they would be sent and what they may cost."""

    requests: int
    deduplicated: int
    rejected: int
    bytes: int
    batches: int
    largest_batch_requests: int
    largest_batch_bytes: int
    ledger_bytes: int
    estimate: Estimate
    preview: Preview
    counted: Counted | None = None
    answered: tuple[AnsweredBefore, ...] = ()


Confirm = Callable[[Estimate], bool]


class Ledger(Reading):
    """One run, in one file.

    Args:
        path: the ledger; made by the first ``run``.
        simulate: answer from the embedded simulator: no key, no network, nothing is spent.
        base_url: the service; as in the SDK when None (``ANTHROPIC_BASE_URL``, profile, api.anthropic.com).
        api_key: a key; as in the SDK when None.
        settings: how the simulator behaves.
        listener: is told of every durable event, and of what is waited for.
        take_over: end the process that is writing this ledger, if there is one.
        read_seconds: how long one answer of the service may take before it counts as lost; the SDK's 600 when None.
        index: note what was answered in the user's index when a run ends, and look there what was answered before.

    Attributes:
        index_problem: what went wrong with that index; it never keeps a run from anything.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        simulate: bool = False,
        base_url: str | None = None,
        api_key: str | None = None,
        settings: Settings | None = None,
        listener: Listener | None = None,
        take_over: bool = False,
        read_seconds: float | None = None,
        index: bool = False,
    ) -> None:
        super().__init__(path)
        self.index_problem = ""
        self._index = index
        self._simulate = simulate
        self._base_url = base_url
        self._api_key = api_key
        self._settings = settings
        self._listener = listener
        self._take_over = take_over
        self._read_seconds = read_seconds
        self._stop = threading.Event()
        self._runner: Runner | None = None

    # ── running ─────────────────────────────────────────────────────────────────────────────────────────────────

    def run(
        self,
        items: str | Path,
        *,
        choices: Choices | None = None,
        add: bool = False,
        keep: bool = False,
        rejects: IO[bytes] | None = None,
        once: bool = False,
        confirm: Confirm | None = None,
        progress: Callable[[int, int], None] | None = None,
        **said: Any,
    ) -> Summary:
        """Take in the items, send them, wait, store every answer, and return how it ended.

        Args:
            items: a file of JSON lines (also .gz and .zst), or ``-`` for standard input.
            choices: what was said about the run; or say it by keyword (``model=…, max_tokens=…``).
            add: take these items into a ledger that never took this file.
            keep: where an id is known with another body, keep the known one instead of refusing.
            rejects: gets every bad line as JSON, with its reasons.
            once: do what can be done now, and return.
            confirm: is shown the estimate of new requests before they are sent; False keeps them from being sent.
            progress: is told (lines, bytes) while the items are read.
            **said: choices by keyword.

        Raises:
            BadLinesError: lines are no valid items; nothing was sent.
            LedgerError: anything else a person must know.
        """
        choices = choices or Choices(**said)
        path = STDIN if str(items) == STDIN else str(Path(items).resolve())
        if path != STDIN and not Path(path).is_file():
            raise UsageError(f"there is no file {items}", next="ledger run ITEMS (JSON lines, one item each)")
        if path != STDIN:
            require_space(self.path, intake_bytes(Path(path)), "the items")
        with self._service() as (gateway, origin), self._writer(create=origin) as writer:
            _require_origin(writer.state, origin, self.path)
            choose(writer, self.path, today(self._clock), choices)
            _require_taken(writer.state, path, self.path, add=add)
            report = self._take_in(writer, path, keep=keep, rejects=rejects, progress=progress)
            is_new = bool(report.built) or not writer.state.chunks
            return self._go_on(writer, gateway, once=once, confirm=confirm, is_new=is_new)

    def resume(
        self,
        *,
        choices: Choices | None = None,
        lift: Sequence[str] = (),
        once: bool = False,
        confirm: Confirm | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Summary:
        """Go on where the last process ended, however it ended, and return how it stands.

        Args:
            choices: what is to be different from now on; run defaults cannot be.
            lift: reasons to pause that are lifted.
            once: do what can be done now, and return.
            confirm: as for ``run``.
            progress: as for ``run``.

        Raises:
            LedgerError: what a person must know.
        """
        require_file(self.path)
        with self._reader() as log:
            self._simulate = self._simulate or load_state(log, min(1, log.head.position)).origin == SIMULATOR
        with self._service() as (gateway, origin), self._writer() as writer:
            _require_origin(writer.state, origin, self.path)
            choose(writer, self.path, today(self._clock), choices or Choices())
            if lift:
                writer.append(request_events(writer.state, Lift(tuple(lift))))
            if all(source.status == "abandoned" for source in writer.state.sources.values()):
                raise _without_items(self.path)
            if not settled(writer.state):
                source = writer.state.sources[writer.state.next_source - 1]
                if source.path == STDIN:
                    raise PausedError(
                        "the items from standard input were not read to their end; nothing was sent",
                        next=f"pipe the same input again: … | ledger run - --ledger {self.path}",
                    )
                self._take_in(writer, source.path, progress=progress)
            return self._go_on(writer, gateway, once=once, confirm=confirm, is_new=not writer.state.chunks)

    def retry(
        self,
        *,
        outcomes: Sequence[str] | None = None,
        ids: Collection[str] | None = None,
        corrected: str | Path | None = None,
        model: str | None = None,
        max_tokens: int | None = None,
        choices: Choices | None = None,
        once: bool = False,
        confirm: Confirm | None = None,
        opened: Callable[[Reopening, int], None] | None = None,
    ) -> Summary:
        """Ask again what has an outcome, and go on as ``resume`` does.

        What was stored and billed stays; an item has the outcome of its last answer. Where nothing is left to be opened
        this is ``resume``.

        Args:
            outcomes: of which items: errored, expired, canceled, missing and lost ones when None, or any that ``ids``
                names.
            ids: only these items.
            corrected: a file of items, or ``-``: their bodies take the place of those that have the same ids. Without
                ``outcomes`` and ``ids`` these items are opened, and no others; not what is ok and asks the very same.
            model: the model that what is opened asks from now on.
            max_tokens: likewise, the most tokens of an answer.
            choices: as for ``resume``.
            once: as for ``resume``.
            confirm: is shown the estimate; without it nothing is asked.
            opened: is told what was opened, and how many bodies were replaced.

        Raises:
            UsageError: there is no such outcome or item, or an item that is to get another body is at work.
            InputError: corrected lines are no valid items, or with the other model they are none; nothing was changed.
            LedgerError: what a person must know.
        """
        require_file(self.path)
        with self._reader() as log:
            self._simulate = self._simulate or load_state(log, min(1, log.head.position)).origin == SIMULATOR
        with self._service() as (gateway, origin), self._writer() as writer:
            _require_origin(writer.state, origin, self.path)
            choose(writer, self.path, today(self._clock), choices or Choices())
            wanted = Wanted(
                outcomes, ids, str(corrected) if corrected is not None else None, Changes(model, max_tokens)
            )
            held = None if writer.listener is None else HoldingBack(writer.listener)
            writer.listener = held
            with self._spool() as spool:
                found, amended = reopen(
                    writer, wanted, spool, today_date(self._clock), has_to_agree=confirm is not None
                )
            if opened is not None:
                opened(found, amended)
            summary = self._go_on(writer, gateway, once=once, confirm=confirm, is_new=False)
            if held is not None:
                held.release(writer.state)
            return summary

    def redact(self, ids: Collection[str] | None = None, *, at_service: bool = False) -> Redaction:
        """Delete what was asked and answered, with the salts of its digests; it cannot be brought back.

        Ids, sizes, outcomes, usage and costs stay, and the audit still holds. So do the run's own settings, a system
        prompt among them: they are events of the log.

        Args:
            ids: only of these items; of all when None, lines that were refused after they were read included.
            at_service: delete the batches that they were in at the service, too, with all other items of those.

        Raises:
            UsageError: there is no such item, or one has no outcome yet; nothing was deleted.
            LockedError: another process works on the ledger, or reads it.
            ServiceError: the service does not delete a batch.
        """
        require_file(self.path)
        with self._reader() as log:
            self._simulate = self._simulate or load_state(log, min(1, log.head.position)).origin == SIMULATOR
        with ExitStack() as stack:
            gateway, origin = stack.enter_context(self._service()) if at_service else (None, "")
            writer = stack.enter_context(self._writer())
            if gateway is not None:
                _require_origin(writer.state, origin, self.path)
            named = all_ordinals(writer.log, writer.state, ids) if ids is not None else None
            found = redact(writer, cast("SqliteLog", writer.log), named, gateway)
            save_state(writer.log, writer.state)
            return found

    def recover(self, items: str | Path | None = None, *, choices: Choices | None = None) -> e.LedgerRecovered:
        """Reconcile a ledger that is behind its head (or lost it) with the workspace; nothing is submitted.

        Args:
            items: the run's items, where the log was cut back to before they were taken in.
            choices: the run's defaults as they were, where the log was cut back to before those.

        Raises:
            LedgerError: it cannot be done, and what to do instead.
        """
        require_file(self.path)
        with self._reader() as log:
            self._simulate = self._simulate or load_state(log, min(1, log.head.position)).origin == SIMULATOR
        with self._service() as (gateway, origin), self._writer(create=origin, for_recovery=True) as writer:
            _require_origin(writer.state, origin, self.path)
            if choices is not None:
                choose(writer, self.path, today(self._clock), choices)
            if items is not None:
                self._take_in(writer, str(Path(items).resolve()))
            return self._recover(writer, gateway)

    def stop(self) -> None:
        """End a run that another thread, or this one, is in; safe to call from a signal handler."""
        self._stop.set()
        if self._runner is not None:
            self._runner.stop()

    def _go_on(self, writer: Writer, gateway: Gateway, *, once: bool, confirm: Confirm | None, is_new: bool) -> Summary:
        log = cast("SqliteLog", writer.log)
        state = writer.state
        if state.prices is None:
            writer.append([e.PricesQuoted(table=quote(today(self._clock)))])
        if not log.needs_recovery:  # else what waits may have been sent: that must be known first
            take_all(writer, self.path, self._stop.is_set)
        if confirm is not None:
            self._ask_first(writer, confirm, is_new=is_new)
        require_agreement(state, str(self.path))
        if log.needs_recovery:
            self._recover(writer, gateway)
            take_all(writer, self.path, self._stop.is_set)
        writer.append([e.RunResumed(reason=r, by="service") for r in _SERVICE_PAUSES if r in state.pauses])
        self._runner = Runner(
            writer,
            gateway,
            reader=lambda: SqliteLog.open_reader(self.path),
            spool=self._spool,
            requests=self._person_requests,
        )
        if self._stop.is_set():
            self._runner.stop()
        try:
            code = self._runner.run(once=once)
        except OSError as problem:  # of a working thread: the spool, mostly
            raise faults.of_system(problem, self.path) from problem
        finally:
            self._runner = None
        save_state(log, state)
        if self._index and code in _AT_REST:
            self.index_problem = remember(log, state, self._stop.is_set)
        return summarize(
            state,
            ledger=str(self.path),
            exit_code=code,
            failed_ids=tuple(custom_ids(log, failed_ordinals(state))),
            interrupted=code < 0,
            errors=errors_met(log, state),
        )

    def _ask_first(self, writer: Writer, confirm: Confirm, *, is_new: bool) -> None:
        """Ask whether new requests may be sent; whoever declines is asked again, and nobody overlooks it."""
        state = writer.state
        try:
            writer.append(confirmation(state, confirm, lambda: self._estimate(state), is_new=is_new))
        except PausedError:
            if UNCONFIRMED not in state.pauses:
                writer.append([unconfirmed(self._estimate(state))])
            raise

    def _recover(self, writer: Writer, gateway: Gateway) -> e.LedgerRecovered:
        log = cast("SqliteLog", writer.log)
        lost = log.expected.position if log.expected is not None else 0

        def collect() -> None:
            self._runner = Runner(writer, gateway, reader=lambda: SqliteLog.open_reader(self.path), spool=self._spool)
            try:
                if self._stop.is_set() or self._runner.run() < 0:
                    raise PausedError(
                        "recovery was interrupted; nothing was submitted", next=f"ledger recover {self.path}"
                    )
            finally:
                self._runner = None

        return recover(writer, gateway, log.needs_recovery or "asked", lost, self._recovery_wait, collect)

    def _recovery_wait(self, why: str, seconds: float) -> None:
        if self._listener is not None:
            until = self._clock.now() + int(seconds * MICROSECONDS_PER_SECOND)
            self._listener.waiting((Waiting(f"{why} (recovery)", until),), RunState())
        if self._stop.wait(seconds):
            raise PausedError("recovery was interrupted; nothing was submitted", next=f"ledger resume {self.path}")

    def _take_in(
        self,
        writer: Writer,
        path: str,
        *,
        keep: bool = False,
        rejects: IO[bytes] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> IntakeReport:
        """Read the items; a reading that was interrupted is taken up first."""
        state = writer.state
        unfinished = None if settled(state) else state.sources[state.next_source - 1]
        if unfinished is not None and unfinished.path != path:
            if unfinished.path == STDIN:
                raise UsageError(
                    "an earlier intake from standard input was interrupted",
                    next=f"pipe the same input again: … | ledger run - --ledger {self.path}",
                )
            Intake(writer, unfinished.path, progress=progress).read()
        name = str(getattr(rejects, "name", "")) if rejects is not None else ""
        intake = Intake(writer, path, keep=keep, rejects=rejects, rejects_name=name, progress=progress)
        report = intake.read()
        if report.built:
            save_state(writer.log, state)
        return report

    # ── what a person asks of a run ─────────────────────────────────────────────────────────────────────────────

    def cancel(self, batches: Sequence[str] = (), *, everything: bool = False) -> str:
        """Ask for batches to be canceled; return what was done. Reaches a process that is at work on the ledger.

        Raises:
            UsageError: a batch is not of this ledger, or has ended.
        """
        return self._ask(CancelBatches(tuple(batches), everything))

    def resolve(self, chunk: int, verdict: str, batch: str = "") -> str:
        """Decide about a chunk that is held or in doubt; return what was done.

        Raises:
            UsageError: the chunk needs no such decision.
        """
        seen = None
        if verdict == "adopt":
            with self._reader() as log:
                self._simulate = self._simulate or load_state(log, 1).origin == SIMULATOR
            with self._service() as (gateway, _):
                seen = gateway.retrieve(batch).batch
        request = msgspec.convert({"type": "resolve", "chunk": chunk, "verdict": verdict, "batch": batch}, type=Resolve)
        return self._ask(msgspec.structs.replace(request, seen=seen))

    def _ask(self, request: PersonRequest) -> str:
        require_file(self.path)
        with self._reader() as log:
            state = load_state(log)
            self._simulate = self._simulate or state.origin == SIMULATOR
        events = request_events(state, request)  # refused here, by name, whoever is going to do it
        if not events:
            return NOTHING_TO_DO
        try:
            with self._writer() as writer:
                events = request_events(writer.state, request)
                writer.append(events)
                if any(isinstance(event, e.CancelRequested) for event in events):
                    self._cancel_now(writer)
        except LockedError as locked:
            inbox.post(self.path, cast("dict[str, Any]", msgspec.to_builtins(request)))
            return f"asked the process that is at work on this ledger ({locked.why or locked.what})"
        return "recorded"

    def _cancel_now(self, writer: Writer) -> None:
        from ledger.perform import Tools, cancel

        with self._service() as (gateway, origin):
            _require_origin(writer.state, origin, self.path)
            tools = Tools(gateway, lambda: SqliteLog.open_reader(self.path), self._spool, _no_events)
            for batch in [batch for batch, done in writer.state.cancels.items() if not done]:
                writer.append(cancel(batch, tools, writer.state.workspace))

    def _person_requests(self, state: RunState) -> Sequence[e.AnyEvent]:
        events: list[e.AnyEvent] = []
        with inbox.drain(self.path) as messages:
            for message in messages:
                try:
                    wanted = request_events(state, decode_request(msgspec.json.encode(message)))
                    self._runner_append(wanted)
                except (UsageError, msgspec.ValidationError) as problem:
                    events.append(e.AlarmRaised(alarm="request", detail=f"a request was not carried out: {problem}"))
        return events

    def _runner_append(self, events: Sequence[e.AnyEvent]) -> None:
        if self._runner is not None:
            self._runner.record(events)

    def answered_before(self) -> tuple[AnsweredBefore, ...]:
        """Return the ledgers of this user that have answers to what was never sent, those with most first.

        Counted by digests in the user's index, three ledgers at most; what is really the same only ``reuse`` tells.
        Nothing where there is no index (``index``), or where there is trouble with it (``index_problem``).
        """
        if not self._index:
            return ()
        with self._reader() as log:
            state = load_state(log)
            found, self.index_problem = answered_before(log, state, state.origin, [state.ledger_id])
        return found

    def copy(self, destination: str | Path) -> None:
        """Make a legitimate copy of the ledger, its head with it.

        Raises:
            UsageError: something is there already.
        """
        copy_ledger(self.path, Path(destination))

    def check(
        self,
        items: str | Path,
        *,
        choices: Choices | None = None,
        rejects: IO[bytes] | None = None,
        progress: Callable[[int, int], None] | None = None,
        count_tokens: int = 0,
        learn_from: str | Path | None = None,
        **said: Any,
    ) -> Check:
        """Check items as ``run`` would, and say how they would be sent and what they may cost. Spends nothing.

        The items are taken into a ledger in a temporary place, which is how its size is known.

        Args:
            items: as for ``run``.
            choices: as for ``run``.
            rejects: as for ``run``.
            progress: as for ``run``.
            count_tokens: of how many requests of every kind the service is asked to count the tokens; it is asked
                nothing where this is 0.
            learn_from: another ledger, whose answers tell how long those of the same models will be, and how many
                bytes make a token.
            **said: choices by keyword.

        Raises:
            BadLinesError: lines are no valid items.
            ServiceError: tokens were to be counted, and the service does not.
        """
        from ledger.previewing import Expectations, preview_of

        with tempfile.TemporaryDirectory(prefix="ledger-check-") as place:
            scratch = Ledger(
                Path(place) / "check.ledger", simulate=self._simulate, base_url=self._base_url, api_key=self._api_key
            )
            with scratch._writer(create=SIMULATOR) as writer:
                choose(writer, scratch.path, today(self._clock), choices or Choices(**said))
                path = STDIN if str(items) == STDIN else str(Path(items).resolve())
                report = scratch._take_in(writer, path, rejects=rejects, progress=progress)
                if writer.state.prices is None:
                    writer.append([e.PricesQuoted(table=quote(today(self._clock)))])
                counted = scratch._counted(writer, count_tokens) if count_tokens else None
                answered = self._answered_elsewhere(writer, items)
                learned = Ledger(learn_from).learned() if learn_from is not None else None
                expectations = Expectations(counted, learned)
                preview, batches = preview_of(writer.state, today_date(self._clock), expectations)
                requests_bytes = sum(writer.state.class_bytes)
                found = expectations.estimate(writer.state)
            return Check(
                requests=sum(cut.requests for cut in batches),
                deduplicated=report.deduplicated,
                rejected=report.rejected,
                bytes=requests_bytes,
                batches=len(batches),
                largest_batch_requests=max((cut.requests for cut in batches), default=0),
                largest_batch_bytes=max((cut.size_bytes for cut in batches), default=0),
                ledger_bytes=(Path(place) / "check.ledger").stat().st_size,
                estimate=found,
                preview=preview,
                counted=counted,
                answered=answered,
            )

    def _answered_elsewhere(self, writer: Writer, items: str | Path) -> tuple[AnsweredBefore, ...]:
        """Return the same for items that are only checked; not for the ledger that running them would go on with."""
        if not self._index:
            return ()
        address = self._base_url or os.environ.get("ANTHROPIC_BASE_URL") or PUBLIC_ADDRESS
        origin = SIMULATOR if self._simulate else _origin(address)
        own = str(default_ledger(items, simulate=self._simulate).resolve())
        found, self.index_problem = answered_before(cast("SqliteLog", writer.log), writer.state, origin, [own])
        return found

    def _counted(self, writer: Writer, per_class: int) -> Counted:
        from ledger.counting import count_sample

        with self._service() as (gateway, _):
            return count_sample(writer.log, writer.state, cast("AnthropicGateway", gateway), per_class, self._stop.wait)

    # ── opening ─────────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _service(self) -> Iterator[tuple[Gateway, str]]:
        """Open the gateway, and say which origin the ledger is pinned to."""
        from ledger.service.gateway import READ_SECONDS, AnthropicGateway

        if self._simulate:
            import httpx2

            from ledger.service.simulator.settings import Settings
            from ledger.service.simulator.transport import SimulatorTransport

            transport = SimulatorTransport(self._settings or Settings(), self.path.with_name(self.path.name + ".sim"))
            with httpx2.Client(transport=transport) as client:  # closing it unlocks the simulated service's memory
                yield AnthropicGateway(http_client=client, api_key="simulated", base_url="http://simulator"), SIMULATOR
            return
        read_seconds = self._read_seconds or READ_SECONDS
        gateway = AnthropicGateway(base_url=self._base_url, api_key=self._api_key, read_seconds=read_seconds)
        try:
            yield gateway, _origin(gateway.base_url)
        finally:
            gateway.close()

    @contextmanager
    def _writer(self, *, create: str | None = None, for_recovery: bool = False) -> Iterator[Writer]:
        """Open the ledger for writing, making it first if ``create`` names the origin to pin it to."""
        if create is not None and not self.path.exists():
            log = SqliteLog.create(self.path)
        else:
            log = SqliteLog.open_writer(self.path, take_over=self._take_over, for_recovery=for_recovery)
        with log:
            writer = Writer(log, load_state(log, proven=True), self._clock, self._listener)
            if log.needs_recovery:
                stored = {chunk: sum(rows.values()) for chunk, rows in writer.state.stored.items()}
                stored |= {place_of(number): reuse.taken for number, reuse in writer.state.reuses.items()}
                log.drop_unlogged(len(writer.state.columns), stored, writer.state.amended)
            tool = version("claude-batch-ledger")
            if not writer.state.position:
                if create is None:  # nobody has said yet which service it belongs to, and that is not to be guessed
                    raise _without_items(self.path)
                writer.append([self._opened(create, tool)])
            writer.append(
                [
                    e.WriterOpened(
                        epoch=log.epoch,
                        tool_version=tool,
                        sdk_version=version("anthropic"),
                        host=os.uname().nodename,
                        pid=os.getpid(),
                    )
                ]
            )
            yield writer

    def _opened(self, origin: str, tool: str) -> e.RunOpened:
        # A log that lost all it had keeps the id that its sidecar remembers: only with it are its batches recognised.
        known = read_head(self.path.resolve())
        ledger_id = known.ledger_id if known is not None and known.ledger_id else secrets.token_hex(16)
        return e.RunOpened(ledger_id=ledger_id, origin=origin, tool_version=tool)

    def _spool(self) -> BinaryIO:
        """Return a private file that has no name: nothing of it is left behind, however the process ends."""
        return cast("BinaryIO", tempfile.TemporaryFile(dir=self.path.resolve().parent))

    def _estimate(self, state: RunState) -> Estimate:
        table = state.prices or quote(today(self._clock))
        return estimate(table, request_classes(state))


def _no_events(events: Sequence[e.AnyEvent], results: Sequence[ResultBlock] = ()) -> None:
    raise AssertionError(f"a cancellation has nothing to say in between: {events}, {results}")


def _without_items(path: Path) -> PausedError:
    return PausedError("no items were taken in yet; nothing was sent", next=f"ledger run ITEMS --ledger {path}")


def _require_origin(state: RunState, origin: str, path: Path) -> None:
    if state.origin and state.origin != origin:
        flag = "--simulate" if state.origin == SIMULATOR else f"ANTHROPIC_BASE_URL={state.origin}"
        raise UsageError(
            f"this ledger belongs to {state.origin}, not to {origin}",
            where=str(path),
            why="batches of one service cannot be found at another",
            next=f"use {flag}, or another ledger: --ledger FILE",
        )


def _require_taken(state: RunState, path: str, ledger: Path, *, add: bool) -> None:
    """An existing ledger that never took this file: joining and separating are both possible, so neither is guessed."""
    taken = [source for source in state.sources.values() if source.status != "abandoned"]
    if not add and taken and last_reading(state, path) is None:
        raise UsageError(
            f"{ledger} holds the items of {', '.join(sorted({source.path for source in taken}))}, not of {path}",
            next="--add takes these items into the same ledger; --ledger FILE keeps them apart",
        )


def _origin(base_url: str) -> str:
    """Return a base URL without userinfo, query and trailing slash: no byte of a secret is ever recorded."""
    parts = urlsplit(base_url)
    if not parts.scheme or not parts.netloc:
        raise UsageError(
            f"{base_url!r} is no base URL",
            why="ANTHROPIC_BASE_URL is empty, or not of the form https://HOST",
            next="unset ANTHROPIC_BASE_URL, or set it to the service's address",
        )
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


def default_ledger(items: str | Path, *, simulate: bool) -> Path:
    """Return the ledger that ``ledger run ITEMS`` uses: the items' stem, in the current directory."""
    name = Path(items).name
    for suffix in (".gz", ".zst", ".jsonl", ".ndjson", ".json"):
        name = name.removesuffix(suffix)
    return Path(f"{name}.simulated.ledger" if simulate else f"{name}.ledger")


__all__ = ["Check", "Choices", "Ledger", "Summary", "default_ledger"]
