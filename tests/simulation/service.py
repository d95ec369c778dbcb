"""The simulator's pure core behind the Gateway port, with everything a network and a busy service can do in between.

No HTTP and no SDK: what those do to a run is tested elsewhere, against the real ones. Here each call takes time on
the virtual clock, may be refused, lost, torn or answered falsely, and carried out later than its caller believes; the
weather decides, by its seed. What is sent is the real withheld body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import TypeVar

from scheduler import SECOND, Process, Scheduler

from ledger.core.chunks import parse_wire_id
from ledger.core.events import BatchSeen, Counts
from ledger.ports import Accepted, CallError, Page, Reply
from ledger.service.gateway import WithheldBody
from ledger.service.simulator.core import Batch, Simulator
from ledger.service.simulator.envelope import parse_envelope
from ledger.service.simulator.faults import Fault
from ledger.service.simulator.records import PLAIN, Traits
from ledger.service.simulator.refusals import NAMED_REFUSALS, RefusalError
from ledger.service.simulator.settings import Settings
from ledger.service.simulator.streams import in_pieces, result_rows

Answer = TypeVar("Answer")

OURS = "wrkspc_ours"
READ_TIMEOUT = 600 * SECOND
REFUSALS = (
    "rate_limit",
    "queue_limit",
    "overloaded_429",
    "spend_cap",
    "customer_limit",
    "unauthorized",
    "forbidden",
    "billing",
    "too_large",
    "too_large_html",
    "body_timeout",
    "unprocessable",
    "organization_on_hold",
)
"""What says no to a submission for certain."""
AMBIGUOUS = (408, 409, 499, 500, 502, 503, 504, 529)
"""Statuses that come as well when the batch was made as when it was not."""
LOST = ("drop", "hang", "html", "empty", "cut")


@dataclass
class Storm:
    """A time in which every call fails in the same way."""

    begins: int
    ends: int
    status: int


@dataclass
class Weather:
    """How often what goes wrong, up to the instant after which nothing does.

    Rates are shares of calls. ``visible_within`` is the longest time, in microseconds, from the last byte of a
    submission until its batch is listed: late creation and list lag together.
    """

    calm_from: int = 0
    call_failure_rate: float = 0.0
    refusal_rate: float = 0.0
    ambiguous_rate: float = 0.0
    wrong_counts_rate: float = 0.0
    early_refusal_rate: float = 0.0
    row_fault_rate: float = 0.0
    lasting_row_fault_rate: float = 0.0
    visible_within: int = 0
    expire_rate: float = 0.0
    slow_batch_rate: float = 0.0
    never_ends_rate: float = 0.0
    deleted_rate: float = 0.0
    archived_rate: float = 0.0
    stranger_rate: float = 0.0
    storms: list[Storm] = field(default_factory=list)
    hides_workspace: bool = False
    hides_date: float = 0.0
    """The share of answers that bear no date, also when all else is calm: a proxy takes it away."""
    latency_us: int = 200_000


@dataclass
class Sent:
    """A body whose last byte went out."""

    ledger: str
    digest: str
    at: int
    wire_ids: list[str] = field(default_factory=list)
    batch: str = ""
    on_its_way: bool = False


class Service:
    """One workspace and the way to it, shared by every process of a simulation.

    Args:
        scheduler: the clock.
        random: decides the weather.
        settings: of the simulator.
        weather: what goes wrong.
        offset_us: how far the server's clock is ahead of true time.
    """

    def __init__(
        self, scheduler: Scheduler, random: Random, settings: Settings, weather: Weather, offset_us: int
    ) -> None:
        self.scheduler = scheduler
        self.random = random
        self.weather = weather
        self.core = Simulator(settings)
        self.elsewhere = Simulator(settings)  # what a key of another workspace sees
        self.offset_us = offset_us
        self.sent: list[Sent] = []
        self.lasting: dict[str, str] = {}
        self.row_faults_met: set[str] = set()
        self.lose_next: list[bool] = []
        """Whose answers are lost whatever the weather, and whether what they answer was carried out."""
        self.fail_next = 0
        """How many of the next other calls get no answer."""

    def now(self) -> int:
        """Return the server's time."""
        return self.scheduler.now + self.offset_us

    @property
    def is_calm(self) -> bool:
        """Whether nothing goes wrong any more."""
        return self.scheduler.now >= self.weather.calm_from

    def chance(self, rate: float) -> bool:
        """Return whether something of this rate happens now."""
        return rate > 0 and not self.is_calm and self.random.random() < rate

    def accepted(self, ledger: str) -> dict[tuple[int, str], list[Batch]]:
        """Return the batches that exist, by the (first ordinal, nonce) of their first request; a test's omniscience."""
        found: dict[tuple[int, str], list[Batch]] = {}
        for sent in self.sent:
            if sent.ledger == ledger and sent.batch:
                wire = parse_wire_id(sent.wire_ids[0])
                assert wire is not None
                found.setdefault((wire.ordinal, wire.nonce), []).append(self.core.batches[sent.batch])
        return found


class ServiceGateway:
    """The Gateway port for one process.

    Args:
        service: what answers.
        process: whose tasks call, and wait.
        ledger: a name for the ledger at work, for the record of what was sent.
        own_date: the process's own steady clock, which stands in where an answer has no date.
        wrong_workspace: whether the key is one of another workspace.
    """

    def __init__(
        self,
        service: Service,
        process: Process,
        ledger: str,
        own_date: Callable[[], int],
        *,
        wrong_workspace: bool = False,
    ) -> None:
        self._service = service
        self._process = process
        self._ledger = ledger
        self._own_date = own_date
        self._core = service.elsewhere if wrong_workspace else service.core
        self._workspace = "wrkspc_elsewhere" if wrong_workspace else OURS

    # ── the port ────────────────────────────────────────────────────────────────────────────────────────────────

    def submit(
        self, body: Iterable[bytes], size_bytes: int, betas: Sequence[str], release: Callable[[str], None]
    ) -> Accepted:
        service, weather = self._service, self._service.weather
        self._travel()
        if service.chance(weather.call_failure_rate):
            raise self._no_answer("ConnectError", sent=False)
        withheld = WithheldBody(body, size_bytes, release, seconds=lambda: service.scheduler.now / SECOND)
        pieces = iter(withheld)
        received = bytearray()
        if service.chance(weather.early_refusal_rate):
            received += next(pieces)
            pieces.close()  # type: ignore[attr-defined]
            raise self._refusal(NAMED_REFUSALS["too_large"](), sent=False)
        for piece in pieces:
            received += piece
            if not withheld.released and service.chance(weather.call_failure_rate / 4):
                pieces.close()  # type: ignore[attr-defined]
                raise self._no_answer("WriteError", sent=False)
        return self._answer_to(bytes(received))

    def list(self, limit: int, after_id: str = "") -> Page:
        self._call()
        page = self._refusing(lambda: self._core.list_page(self._service.now(), limit, after_id or None))
        batches = tuple(self._seen(batch) for batch in page.batches)
        return Page(
            reply=self._reply(200),
            batches=batches,
            has_more=page.has_more,
            last_id=batches[-1].batch if batches else "",
        )

    def retrieve(self, batch: str) -> Accepted:
        self._call()
        found = self._refusing(lambda: self._core.retrieve(batch, self._service.now()))
        return Accepted(reply=self._reply(200), batch=self._seen(found))

    def cancel(self, batch: str) -> Accepted:
        self._call()
        found = self._refusing(lambda: self._core.cancel(batch, self._service.now()))
        if self._service.chance(self._service.weather.call_failure_rate):
            raise self._no_answer("ReadError")
        return Accepted(reply=self._reply(200), batch=self._seen(found))

    def results(self, batch: str) -> Iterator[bytes]:
        self._call()
        service, weather = self._service, self._service.weather
        found = self._refusing(lambda: self._core.results(batch, service.now()))
        kind = service.lasting.get(batch, "")
        if not kind and batch not in service.lasting:
            choices = ("short", "duplicate_row", "foreign_row", "corrupt_row", "unknown_type")
            kind = service.random.choice(choices) if service.chance(weather.lasting_row_fault_rate) else ""
            service.lasting[batch] = kind
        if not kind and service.chance(weather.row_fault_rate):
            choices = ("short", "duplicate_row", "foreign_row", "corrupt_row", "blank_line", "cut", "torn")
            kind = service.random.choice(choices)
        if kind:
            service.row_faults_met.add(kind)
        faults = [] if kind in ("", "cut", "torn") else [Fault(operation="results", kind=kind)]  # type: ignore[arg-type]
        data = b"".join(in_pieces(result_rows(found.answers(), found.order(), faults), compressed=False))
        cut = service.random.randrange(len(data)) if kind in ("cut", "torn") and data else len(data)
        half = cut // 2
        yield data[:half]
        self._travel()
        yield data[half:cut]
        if kind == "cut":
            raise self._no_answer("RemoteProtocolError")

    # ── what becomes of a submission ────────────────────────────────────────────────────────────────────────────

    def _answer_to(self, body: bytes) -> Accepted:
        """Carry a complete submission out, or not, and answer it, or not, in time or not."""
        service, weather, random = self._service, self._service.weather, self._service.random
        sent = Sent(self._ledger, sha256(body).hexdigest(), service.scheduler.now)
        service.sent.append(sent)
        scripted = service.lose_next.pop(0) if service.lose_next else None
        storm = self._storm()
        if scripted is None and service.chance(weather.refusal_rate):
            self._travel()
            raise self._refusal(self._some_refusal())
        if storm is not None and storm.status == 429:  # a refusal means refused: a condition of guarantee 1
            self._travel()
            raise self._status_error(429)
        ambiguous = scripted is not None or service.chance(weather.ambiguous_rate) or storm is not None
        carried_out = scripted if scripted is not None else not ambiguous or random.random() < 0.6
        delay = random.randrange(weather.latency_us) if weather.latency_us else 0
        lag = 0
        if weather.visible_within:  # late creation and list lag share the time; one of them may take all of it
            lag = random.choice((0, weather.visible_within // 2, weather.visible_within - delay))
            if ambiguous:
                lag, delay = random.choice(((lag, delay), (0, weather.visible_within), (lag // 2, lag // 2)))
        outcome: list[Batch | RefusalError] = []

        def arrive() -> None:
            sent.on_its_way = False
            try:
                outcome.append(self._create(body, sent, lag))
            except RefusalError as refusal:
                outcome.append(refusal)

        sent.on_its_way = carried_out
        if carried_out:
            service.scheduler.at(service.scheduler.now + delay, arrive)
        if not ambiguous:
            self._process.sleep(delay + 1)
            self._travel()
            (came,) = outcome
            if isinstance(came, RefusalError):
                raise self._refusal(came)
            seen = self._seen(came)
            if service.chance(weather.wrong_counts_rate) and seen.counts is not None:
                wrong = None if random.random() < 0.3 else Counts(processing=seen.counts.total + random.choice((-1, 1)))
                seen = BatchSeen(batch=seen.batch, status=seen.status, created_at=seen.created_at, counts=wrong)
            return Accepted(reply=self._reply(200), batch=seen)
        self._travel()
        raise self._lost_answer(storm)

    def _create(self, body: bytes, sent: Sent, lag: int) -> Batch:
        service, weather, random = self._service, self._service.weather, self._service.random
        envelope = parse_envelope(body, "2023-06-01", frozenset(), self._core.settings.seed)
        if service.chance(weather.stranger_rate):
            for _ in range(random.choice((1, 1, 2))):
                early_or_late = random.randrange(-30, 60) * SECOND
                self._core.create_foreign(envelope.columns.count, service.now() + early_or_late)
        batch = self._core.create(envelope, service.now(), self._traits(lag))
        sent.batch = batch.batch_id
        sent.wire_ids = batch.columns.wire_ids.decode().split("\n")
        return batch

    def _traits(self, lag: int) -> Traits:
        service, weather, random = self._service, self._service.weather, self._service.random
        if service.is_calm:
            return Traits(list_lag=lag) if lag else PLAIN
        slow = service.chance(weather.slow_batch_rate)
        return Traits(
            list_lag=lag,
            turnaround=random.randrange(1, 30 * 3600) * SECOND if slow else None,
            never_ends=service.chance(weather.never_ends_rate),
            expired_share=random.choice((0.3, 1.0)) if service.chance(weather.expire_rate) else 0.0,
            deleted_after=random.randrange(1, 600) * SECOND if service.chance(weather.deleted_rate) else None,
            archived_after=random.randrange(60, 7200) * SECOND if service.chance(weather.archived_rate) else None,
        )

    def _some_refusal(self) -> RefusalError:
        name = self._service.random.choice(REFUSALS)
        retry_after = self._service.random.choice((None, 1.0, 30.0))
        if name == "overloaded_429":
            return RefusalError(429, "Please slow down.", retry_after_seconds=retry_after)
        if name in ("rate_limit", "queue_limit"):
            return NAMED_REFUSALS[name](retry_after_seconds=retry_after)
        return NAMED_REFUSALS[name]()

    def _lost_answer(self, storm: Storm | None) -> CallError:
        random = self._service.random
        if storm is not None:
            return self._status_error(storm.status)
        kind = random.choice((*LOST, *AMBIGUOUS))
        if isinstance(kind, int):
            return self._status_error(kind)
        if kind == "hang":
            self._process.sleep(READ_TIMEOUT)
            return self._no_answer("ReadTimeout")
        if kind in ("html", "empty"):
            return self._error(CallErrorFacts("unreadable_answer", 200))
        return self._no_answer("RemoteProtocolError")

    # ── the way there and back ──────────────────────────────────────────────────────────────────────────────────

    def _travel(self) -> None:
        latency = self._service.weather.latency_us
        self._process.sleep(1 + self._service.random.randrange(latency) if latency else 1)

    def _storm(self) -> Storm | None:
        now = self._service.scheduler.now
        return next((storm for storm in self._service.weather.storms if storm.begins <= now < storm.ends), None)

    def _call(self) -> None:
        """Make the way to the service and back, for a call that changes nothing."""
        self._travel()
        storm = self._storm()
        if storm is not None:
            raise self._status_error(storm.status)
        if self._service.fail_next:
            self._service.fail_next -= 1
            raise self._no_answer("ReadError")
        if self._service.chance(self._service.weather.call_failure_rate):
            kind = self._service.random.choice(("drop", "hang", 429, 500, 502, 503, 529, 401))
            if kind == "hang":
                self._process.sleep(READ_TIMEOUT)
            if isinstance(kind, int):
                raise self._status_error(kind)
            raise self._no_answer("ReadTimeout" if kind == "hang" else "ReadError")

    def _refusing(self, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except RefusalError as refusal:
            raise self._refusal(refusal) from refusal

    def _reply(self, status: int) -> Reply:
        weather = self._service.weather
        undated = weather.hides_date > 0 and self._service.random.random() < weather.hides_date
        date = self._own_date() if undated else self._service.now() // SECOND * SECOND
        workspace = "" if weather.hides_workspace else self._workspace
        return Reply(status=status, server_date=date, undated=undated, workspace=workspace)

    def _seen(self, batch: Batch) -> BatchSeen:
        now = self._service.now()
        status = batch.status(now)
        if status == "ended":
            batch.codes()
            counts = Counts(**batch._counts)
        else:
            counts = Counts(processing=batch.columns.count)
        return BatchSeen(
            batch=batch.batch_id,
            status=status,
            created_at=batch.created_at,
            expires_at=batch.expires_at,
            ended_at=batch.ends_at or 0 if status == "ended" else 0,
            archived_at=batch.archived_at if status == "ended" and now >= batch.archived_at else 0,
            counts=counts,
        )

    def _no_answer(self, kind: str, *, sent: bool = True) -> CallError:
        return CallError(f"no answer from the service: {kind}", kind=kind, sent=sent)

    def _status_error(self, status: int) -> CallError:
        refusal = RefusalError(status, "It failed.", form="html" if status == 502 else "api")
        return self._refusal(refusal)

    def _refusal(self, refusal: RefusalError, *, sent: bool = True) -> CallError:
        facts = CallErrorFacts(
            refusal.kind if refusal.form != "html" else "",
            refusal.status,
            refusal.code,
            refusal.message,
            envelope=refusal.form == "api",
            retry_after_us=round((refusal.retry_after_seconds or 0) * SECOND),
        )
        return self._error(facts, sent=sent)

    def _error(self, facts: CallErrorFacts, *, sent: bool = True) -> CallError:
        reply = self._reply(facts.status)
        return CallError(
            f"the service answered {facts.status}",
            status=facts.status,
            kind=facts.kind,
            code=facts.code,
            message=facts.message,
            envelope=facts.envelope,
            sent=sent,
            retry_after_us=facts.retry_after_us,
            workspace="" if facts.status == 413 else reply.workspace,
            server_date=reply.server_date,
        )


@dataclass
class CallErrorFacts:
    """What an error answer says."""

    kind: str
    status: int
    code: str = ""
    message: str = ""
    envelope: bool = False
    retry_after_us: int = 0
