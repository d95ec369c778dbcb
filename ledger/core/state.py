"""The state of a run: a fold over its log.

Theory of operation
===================

The log is the run. ``evolve(state, position, at, event)`` is the only thing that changes a state, and a state is
nothing but what evolve made of the events so far. Live running, resuming, replaying and time travel are therefore the
same code, and what the runner believes can always be recomputed from what was durably written.

The runner evolves an event *before* it commits it. An event that the state does not allow raises
``IllegalEventError`` and changes nothing, so that an illegal event never reaches the log.

Three kinds of things have a life of their own:

*Requests* are born ``pending``, sit in a chunk while it is in flight, and end in exactly one outcome, from which only
an explicit new decision of a person leads back. They live in packed columns (``columns.py``).

*Chunks* are where the money is. ``TRANSITIONS`` is their whole life; the README's diagram is drawn from it. Two
rules carry guarantee 1 (at most one accepted submission per chunk):

* ``submission_released`` is written before the last byte of a body is sent. A submission that dies before
  (``prepared``) cannot have made a batch and is simply aborted. One that dies after (``released``) may have, and
  becomes ``uncertain``.
* From ``uncertain`` there is no way back to ``sealed`` (from where it would be sent again) but ``submission_resolved``,
  which needs proof of absence: see ``reconcile.py``.

*Batches* belong to the service. We only believe what it says about them, row by row, and only when wire ids prove
that they are ours.

A pause is a named reason why nothing more may be sent; each names the command that lifts it. A hold is the same
for one chunk.

The brake (``budget.py``, ``canary.py``) is made of pauses, too. ``budget_set`` says what all of it may cost;
``canary_judged`` is said once, of chunk 1, where its cause is ``canary``: while it is owed nothing fresh is sealed.
What the service may have billed without saying so (rows that are lost, missing, or of a type nobody knows) is kept in
``unmetered``; errors are counted from ``released_outcomes`` on, which a person moves by lifting a brake.

Everything ``decide`` needs is here (back-off, queue limits, the settle clock), because everything is in an event.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NoReturn, TypeAlias, assert_never

import msgspec
from msgspec.structs import replace

from ledger.core import events as e
from ledger.core.answers import UNKNOWN_TYPE
from ledger.core.columns import (
    FINAL,
    IN_CHUNK,
    PENDING,
    STATUS_NAMES,
    STATUS_OF_OUTCOME,
    WITHDRAWN,
    Columns,
    OrdinalQueue,
    ordinals,
    to_ranges,
)
from ledger.core.errors import IllegalEventError
from ledger.core.events import OUTCOMES, AnyEvent, Outcome
from ledger.core.items import Defaults
from ledger.core.prices import Pricer, PriceTable, Usage

BRAKES = ("canary", "breaker")
"""Pauses for too many errors."""
EXAMPLES_AT_MOST = 3
"""Items that are remembered by name for a kind of error."""

ChunkStatus: TypeAlias = Literal[
    "sealed",
    "prepared",
    "released",
    "uncertain",
    "submitted",
    "ended",
    "collected",
    "dissolved",
    "lost",
]

TRANSITIONS: dict[ChunkStatus, dict[type[AnyEvent], ChunkStatus]] = {
    "sealed": {
        e.SubmissionPrepared: "prepared",
        e.ChunkDissolved: "dissolved",
        e.BatchAdopted: "submitted",  # only by recovery: the log was cut back, the batch was not
    },
    "prepared": {
        e.SubmissionReleased: "released",
        e.SubmissionAborted: "sealed",
        e.SubmissionRefused: "sealed",
    },
    "released": {
        e.BatchCreated: "submitted",
        e.SubmissionRefused: "sealed",
        e.SubmissionUncertain: "uncertain",
    },
    "uncertain": {
        e.BatchAdopted: "submitted",
        e.SubmissionResolved: "sealed",
    },
    "submitted": {
        e.StatusPolled: "ended",  # a change that says so, with counts
        e.BatchDisowned: "uncertain",
        e.ResultsLost: "lost",
    },
    "ended": {
        e.BatchDisowned: "uncertain",
        e.BatchCollected: "collected",
        e.ResultsLost: "lost",
    },
    "collected": {},
    "dissolved": {},
    "lost": {},
}
"""From which status which event leads where. Everything else is illegal."""

TERMINAL: frozenset[ChunkStatus] = frozenset(status for status, ways in TRANSITIONS.items() if not ways)

SERVICE_TYPE: dict[Outcome, str] = {
    "ok": "succeeded",
    "truncated": "succeeded",
    "refused": "succeeded",
    "paused_turn": "succeeded",
    "errored": "errored",
    "expired": "expired",
    "canceled": "canceled",
}
"""Which of the service's four result types an outcome was told from."""


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk and its latest submission.

    The settle clock of reconcile: ``uncertain_at`` is the position where the uncertainty began, ``settle_from`` the
    service's instant of the first list since, ``settled_at`` that of the last complete one; ``settle_clock`` is whose
    clock they are of: 0 the service's, else that of the writer of this epoch, where the service's answers bear no date.
    ``waits_since`` is the service's instant at which a person last said that it shall be waited for.
    """

    chunk: int
    ranges: tuple[int, ...]
    requests: int
    size_bytes: int
    priority: int
    cause: str
    status: ChunkStatus = "sealed"
    # the latest submission
    submission: int = 0
    epoch: int = 0
    prepared: e.SubmissionPrepared | None = None
    refusal: e.SubmissionRefused | None = None
    sent_at: int = 0
    failures: int = 0
    failed_at: int = 0
    retry_after_us: int = 0
    # uncertainty
    uncertain_at: int = 0
    settle_from: int = 0
    settled_at: int = 0
    settle_clock: int = 0
    complete_lists: int = 0
    seen_at: int = 0
    candidates: tuple[e.BatchSeen, ...] = ()
    disowned: tuple[str, ...] = ()
    presumed_absent: tuple[e.SubmissionPrepared, ...] = ()
    hold: e.ChunkHeld | None = None
    # the batch
    batch: str = ""
    created_at: int = 0
    expires_at: int = 0
    ended_at: int = 0
    state: str = ""
    waits_since: int = 0
    proven: bool = False
    counts: e.Counts | None = None
    gap_digest: str = ""
    gap_count: int = 0


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A reading of an input. The newest reading of a path is the one that counts."""

    source: int
    path: str
    first: int
    continues: int = 0
    status: Literal["reading", "completed", "abandoned"] = "reading"
    lines: int = 0
    bytes_read: int = 0
    digest: str = ""
    built: int = 0
    deduplicated: int = 0
    rejected: int = 0


class Failure(msgspec.Struct, frozen=True):
    """How often in a row a command failed, when last, and how long the service asked to wait."""

    count: int
    at: int
    retry_after_us: int
    status: int
    detail: str


class Spent(msgspec.Struct, frozen=True):
    """One group of usage: what `costs` sums and prices."""

    chunk: int
    attempt: int
    model: str
    tier: str
    geo: str
    step: str
    outcome: str
    billed: bool
    requests: int
    usage: Usage


SpentKey: TypeAlias = tuple[int, int, str, str, str, str, str, bool]


class RunState:
    """What is known about a run. Only ``evolve`` changes it. ``position`` and ``at`` are those of the last event."""

    __slots__ = (
        "acknowledged",
        "alarms",
        "asked",
        "at",
        "batches",
        "budget",
        "by_status",
        "canary",
        "cancels",
        "chunks",
        "class_bytes",
        "class_requests",
        "classes",
        "collected_position",
        "columns",
        "defaults",
        "ended_batches",
        "epoch",
        "errors",
        "expired_batches",
        "exposure",
        "failures",
        "findings",
        "finished",
        "finished_at",
        "format_version",
        "fresh",
        "inspected",
        "last_chunk",
        "ledger_id",
        "listed_at",
        "listed_position",
        "opened_at",
        "origin",
        "outcomes",
        "pauses",
        "policy",
        "polled_at",
        "position",
        "pricer",
        "prices",
        "queue_full_at",
        "queue_full_ended",
        "recovered_position",
        "released_outcomes",
        "retries",
        "server_date",
        "sources",
        "spent",
        "stored",
        "twins",
        "unmetered",
        "workspace",
    )

    def __init__(self) -> None:
        self.position = 0
        self.at = 0
        self.opened_at = 0
        self.format_version = e.FORMAT_VERSION
        self.ledger_id = ""
        self.origin = ""
        self.workspace = ""
        self.epoch = 0
        self.defaults = Defaults()
        self.policy = e.Policy()
        self.prices: PriceTable | None = None
        self.pricer: Pricer | None = None  # a memo of the prices, not a part of the state
        self.sources: dict[int, Source] = {}
        self.classes: list[e.ClassDeclared] = []
        self.class_requests: list[int] = []
        self.class_bytes: list[int] = []
        self.columns = Columns()
        self.asked = 0
        self.outcomes: dict[Outcome, int] = dict.fromkeys(OUTCOMES, 0)
        self.fresh: dict[int, OrdinalQueue] = {}
        self.retries: dict[int, OrdinalQueue] = {}
        self.chunks: dict[int, Chunk] = {}
        self.last_chunk = 0
        self.by_status: dict[str, dict[int, None]] = {status: {} for status in TRANSITIONS}
        self.stored: dict[int, dict[str, int]] = {}
        self.batches: dict[str, int] = {}
        self.inspected: dict[str, e.CandidateInspected] = {}
        self.twins: dict[str, e.TwinFound] = {}
        self.acknowledged: dict[str, e.TwinFound] = {}
        self.cancels: dict[str, bool] = {}
        self.pauses: dict[str, e.RunPaused] = {}
        self.failures: dict[str, Failure] = {}
        self.queue_full_at = 0
        self.queue_full_ended = 0
        self.ended_batches = 0
        self.expired_batches = 0
        self.polled_at = 0
        self.listed_at = 0
        self.listed_position = 0
        self.collected_position = 0
        self.server_date = 0
        self.spent: dict[SpentKey, list[int]] = {}
        self.budget: e.BudgetSet | None = None
        self.canary: e.CanaryJudged | None = None
        self.exposure: object = None  # a memo of what may yet be billed, not a part of the state: see budget.py
        self.released_outcomes: dict[str, int] = {}
        self.errors: dict[str, list[int]] = {}
        self.unmetered: list[int] = []
        self.findings = 0
        self.alarms: dict[str, e.AlarmRaised] = {}
        self.recovered_position = 0
        self.finished: e.RunFinished | None = None
        self.finished_at = 0

    def live_chunks(self) -> Iterable[Chunk]:
        """Yield the chunks that are not done, oldest first within each status."""
        for status, members in self.by_status.items():
            if status not in TERMINAL:
                for chunk in members:
                    yield self.chunks[chunk]

    def chunks_in(self, *statuses: ChunkStatus) -> list[Chunk]:
        """Return the chunks in any of these statuses."""
        return [self.chunks[chunk] for status in statuses for chunk in self.by_status[status]]

    @property
    def pending(self) -> int:
        """How many requests wait to be put in a chunk."""
        return sum(queue.size for lanes in (self.fresh, self.retries) for queue in lanes.values())

    @property
    def unfinished(self) -> int:
        """How many requests have no outcome yet."""
        return self.asked - sum(self.outcomes.values())

    @property
    def in_queue(self) -> int:
        """How many of our requests are, or may be, unfinished at the service."""
        return sum(c.requests for c in self.chunks_in("prepared", "released", "uncertain", "submitted"))

    @property
    def next_source(self) -> int:
        """The number the next reading of an input gets."""
        return len(self.sources) + 1

    @property
    def next_chunk(self) -> int:
        """The number the next chunk gets; chunks are counted from 1."""
        return self.last_chunk + 1

    @property
    def rejected(self) -> int:
        """How many lines of the newest readings of all inputs are no valid items."""
        counted = 0
        for source in {source.path: source for source in self.sources.values()}.values():
            reading: Source | None = source
            while reading is not None:
                counted += reading.rejected if reading.status == "completed" else 0
                reading = self.sources.get(reading.continues)
        return counted

    def spending(self) -> list[Spent]:
        """Return the usage of all stored results, summed by what a price or a report can depend on."""
        return [Spent(*key, numbers[0], Usage(*numbers[1:])) for key, numbers in self.spent.items()]


def fold(rows: Iterable[tuple[int, int, AnyEvent]], state: RunState | None = None) -> RunState:
    """Return the state after the given (position, at, event) rows, on top of ``state``, which is changed.

    Raises:
        IllegalEventError: a row that the state before it does not allow.
    """
    state = RunState() if state is None else state
    for position, at, event in rows:
        evolve(state, position, at, event)
    return state


def evolve(state: RunState, position: int, at: int, event: AnyEvent) -> None:
    """Apply one event to a state, in place.

    Raises:
        IllegalEventError: the state does not allow it; nothing was changed.
    """
    if position != state.position + 1:
        _illegal(position, event, f"the log is at position {state.position}")
    if (state.position == 0) != isinstance(event, e.RunOpened):
        _illegal(position, event, "run_opened is the first event and only that")
    _apply(state, position, at, event)
    state.position = position
    state.at = at


def _illegal(position: int, event: AnyEvent, status: str) -> NoReturn:
    name = e.TYPE_NAMES[type(event)]
    raise IllegalEventError(
        f"{name} is not allowed here",
        where=f"position {position}",
        why=status,
        next="ledger replay --audit",
    )


def _apply(state: RunState, position: int, at: int, event: AnyEvent) -> None:
    match event:
        case e.ResultStored():  # the two that come by the million stand first
            _result_stored(state, position, event)
        case e.RequestBuilt():
            _request_built(state, position, event)
        case e.RunOpened():
            state.ledger_id, state.origin = event.ledger_id, event.origin
            state.format_version, state.opened_at = event.format_version, at
        case e.WriterOpened():
            if event.epoch <= state.epoch:
                _illegal(position, event, f"the epoch is {state.epoch} already")
            state.epoch = event.epoch
        case e.WorkspaceSeen():
            if state.workspace not in ("", event.workspace):  # two calls at once may both be the first to see it
                _illegal(position, event, f"the workspace is {state.workspace}")
            state.workspace = event.workspace
        case e.SettingsChanged():
            stored = e.as_stored(event)  # it holds a mapping, whose order a later fold reads from the log
            state.defaults = stored.defaults or state.defaults
            state.policy = stored.policy or state.policy
        case e.SourceOpened() | e.SourceRead() | e.IntakeCompleted() | e.IntakeAbandoned():
            _source(state, position, event)
        case e.ClassDeclared():
            if event.class_id != len(state.classes):
                _illegal(position, event, f"the next class is {len(state.classes)}")
            state.classes.append(event)
            state.class_requests.append(0)
            state.class_bytes.append(0)
        case e.ItemDeduplicated():
            source = _reading(state, position, event)
            if not 0 <= event.ordinal < len(state.columns):
                _illegal(position, event, f"there is no request {event.ordinal}")
            state.sources[source.source] = replace(source, deduplicated=source.deduplicated + 1)
        case e.ItemRejected():
            source = _reading(state, position, event)
            state.sources[source.source] = replace(source, rejected=source.rejected + 1)
        case e.PricesQuoted():
            state.prices, state.pricer = event.table, Pricer(event.table)
        case e.ChunkSealed():
            _chunk_sealed(state, position, event)
        case e.RequestRejected():
            _request_rejected(state, position, event)
        case e.ChunkDissolved():
            _chunk_dissolved(state, position, event)
        case (
            e.SubmissionPrepared()
            | e.SubmissionAborted()
            | e.SubmissionReleased()
            | e.SubmissionRefused()
            | e.SubmissionUncertain()
            | e.SubmissionResolved()
        ):
            _submission(state, position, at, event)
        case e.ChunkHeld():
            chunk = _live(state, position, event, event.chunk)
            _put(state, replace(chunk, hold=event))
        case e.HoldLifted():
            chunk = _live(state, position, event, event.chunk)
            if chunk.hold is None:
                _illegal(position, event, f"chunk {chunk.chunk} is not held")
            state.failures.pop(f"collect:{chunk.chunk}", None)
            state.failures.pop(f"gone:{chunk.batch}", None)
            changed = replace(
                chunk, hold=None, refusal=None, gap_digest="", gap_count=0, failures=0, waits_since=state.server_date
            )
            _put(state, _searched_anew(changed, position) if chunk.status == "uncertain" else changed)
        case e.BatchCreated() | e.BatchAdopted() | e.BatchDisowned():
            _claim(state, position, at, event)
        case e.BatchesListed():
            _batches_listed(state, position, event)
            state.listed_at = at
        case e.CandidateInspected():
            state.inspected[event.batch] = event
        case e.TwinFound():
            if event.chunk not in state.chunks or event.batch in state.batches:
                _illegal(position, event, "the batch is claimed, or the chunk unknown")
            # One that a person has dealt with stays so, also when its rows are weighed only then.
            (state.acknowledged if event.batch in state.acknowledged else state.twins)[event.batch] = event
        case e.TwinAcknowledged():
            if event.batch not in state.twins:
                _illegal(position, event, "no such twin")
            twin = state.acknowledged[event.batch] = state.twins.pop(event.batch)  # dealt with, and still paid for
            chunk = state.chunks[twin.chunk]
            _put(state, replace(chunk, disowned=(*chunk.disowned, event.batch)))  # the next list shows it again
        case e.StatusPolled():
            _status_polled(state, position, at, event)
        case e.ResultsShort():
            chunk = _in(state, position, event, event.chunk, "ended")
            again = chunk.gap_count + 1 if chunk.gap_digest == event.gap_digest else 1
            _put(state, replace(chunk, gap_digest=event.gap_digest, gap_count=again))
        case e.BatchCollected():
            _batch_collected(state, position, event)
        case e.ResultsLost():
            _results_lost(state, position, event)
        case e.CallFailed():
            before = state.failures.get(event.command)
            state.failures[event.command] = Failure(
                (before.count if before else 0) + 1, at, event.retry_after_us, event.status, event.detail or event.kind
            )
        case e.FindingRecorded():
            state.findings += 1
        case e.RunPaused():
            state.pauses[event.reason] = event
        case e.RunResumed():
            if event.reason not in state.pauses:
                _illegal(position, event, f"the run is not paused by {event.reason}")
            del state.pauses[event.reason]
            _forget_refusals(state, event.reason)
            if event.reason in BRAKES:  # errors are counted anew from here on: else it would trip again at once
                state.released_outcomes = {outcome: count for outcome, count in state.outcomes.items() if count}
            state.failures = {
                key: failure for key, failure in state.failures.items() if failure.status not in (401, 403)
            }
        case e.BudgetSet():
            state.budget = event
        case e.CanaryJudged():
            if state.canary is not None:
                _illegal(position, event, f"it was {state.canary.verdict} already")
            state.canary = e.as_stored(event)  # it holds a mapping, too
        case e.AlarmRaised():
            state.alarms[f"{event.alarm} {event.batch}".rstrip()] = event
        case e.CancelRequested():
            state.cancels[event.batch] = False
        case e.CancelAccepted():
            if event.batch not in state.cancels:
                _illegal(position, event, "nobody asked for it")
            state.cancels[event.batch] = True
            state.failures.pop(f"cancel:{event.batch}", None)
        case e.LedgerRecovered():
            state.recovered_position = position
        case e.RunFinished():
            if state.unfinished or any(True for _ in state.live_chunks()):
                _illegal(position, event, f"{state.unfinished} requests have no outcome yet")
            state.finished, state.finished_at = e.as_stored(event), at  # likewise
        case _:
            assert_never(event)


# ── requests ────────────────────────────────────────────────────────────────────────────────────────────────────


def _request_built(state: RunState, position: int, event: e.RequestBuilt) -> None:
    columns = state.columns
    if event.ordinal != len(columns) or event.class_id >= len(state.classes):
        _illegal(position, event, f"the next ordinal is {len(columns)}, there are {len(state.classes)} classes")
    source = _reading(state, position, event)
    columns.add(event.size_bytes, event.class_id)
    state.asked += 1
    state.class_requests[event.class_id] += 1
    state.class_bytes[event.class_id] += event.size_bytes
    _lane(state.fresh, state.classes[event.class_id].priority).push(event.ordinal, event.ordinal + 1)
    state.sources[source.source] = replace(source, built=source.built + 1)
    state.finished = None


def _lane(lanes: dict[int, OrdinalQueue], priority: int) -> OrdinalQueue:
    lane = lanes.get(priority)
    if lane is None:
        lane = lanes[priority] = OrdinalQueue()
    return lane


def _reading(state: RunState, position: int, event: AnyEvent) -> Source:
    source = state.sources.get(len(state.sources))
    if source is None or source.status != "reading":
        _illegal(position, event, "no source is being read")
    return source


def _source(
    state: RunState, position: int, event: e.SourceOpened | e.SourceRead | e.IntakeCompleted | e.IntakeAbandoned
) -> None:
    if isinstance(event, e.SourceOpened):
        last = state.sources.get(len(state.sources))
        if event.source != state.next_source or (last and last.status == "reading"):
            _illegal(position, event, "another source is being read")
        state.sources[event.source] = Source(
            source=event.source, path=event.path, first=len(state.columns), continues=event.continues
        )
        return
    source = _reading(state, position, event)
    match event:
        case e.SourceRead():
            if event.bytes_read < source.bytes_read:
                _illegal(position, event, f"{source.bytes_read} bytes were read already")
            changed = replace(source, lines=event.lines, bytes_read=event.bytes_read, digest=event.digest)
        case e.IntakeCompleted():
            if (event.built, event.deduplicated, event.rejected) != (
                source.built,
                source.deduplicated,
                source.rejected,
            ):
                _illegal(position, event, f"counted {source.built}, {source.deduplicated}, {source.rejected}")
            changed = replace(
                source, status="completed", lines=event.lines, bytes_read=event.bytes_read, digest=event.digest
            )
        case e.IntakeAbandoned():
            _withdraw(state, position, event, source)
            changed = replace(source, status="abandoned")
    state.sources[source.source] = changed


def _withdraw(state: RunState, position: int, event: e.IntakeAbandoned, source: Source) -> None:
    columns = state.columns
    if event.first != source.first or any(status != PENDING for status in columns.status[event.first :]):
        _illegal(position, event, f"the reading began at request {source.first}, or some of it was sent")
    for ordinal in range(event.first, len(columns)):
        columns.status[ordinal] = WITHDRAWN
        state.class_requests[columns.class_id[ordinal]] -= 1
        state.class_bytes[columns.class_id[ordinal]] -= columns.size_bytes[ordinal]
    state.asked -= len(columns) - event.first
    for lane in state.fresh.values():
        lane.discard_from(event.first)


def _result_stored(state: RunState, position: int, event: e.ResultStored) -> None:
    columns, ordinal = state.columns, event.ordinal
    stored = state.stored.get(event.chunk)
    if stored is None or event.chunk not in state.by_status["ended"]:
        chunk = state.chunks.get(event.chunk)
        _illegal(position, event, f"chunk {event.chunk} is {chunk.status if chunk else 'unknown'}")
    if not ordinal < len(columns) or columns.chunk[ordinal] != event.chunk or columns.status[ordinal] != IN_CHUNK:
        _illegal(position, event, f"request {ordinal} is not waiting for a result of chunk {event.chunk}")
    columns.attempts[ordinal] = min(columns.attempts[ordinal] + 1, 255)
    stored[SERVICE_TYPE[event.outcome]] += 1
    if event.usage is not None:
        _spend(state, event, event.usage)
    elif event.error_kind:
        _err(state, event)
    if event.final:
        columns.status[ordinal] = STATUS_OF_OUTCOME[event.outcome]
        state.outcomes[event.outcome] += 1
    else:
        columns.status[ordinal] = PENDING
        _lane(state.retries, state.classes[columns.class_id[ordinal]].priority).push(ordinal, ordinal + 1)


def _err(state: RunState, event: e.ResultStored) -> None:
    met = state.errors.setdefault(event.error_kind, [0])
    met[0] += 1
    if len(met) <= EXAMPLES_AT_MOST:
        met.append(event.ordinal)
    if event.error_kind.startswith(UNKNOWN_TYPE):
        _unmeter(state, [event.ordinal])


def _unmeter(state: RunState, members: list[int]) -> None:
    """Note requests that may have been billed although nobody says what: a budget counts them at their dearest."""
    state.unmetered += to_ranges(members)


def _spend(state: RunState, event: e.ResultStored, usage: Usage) -> None:
    ordinal = event.ordinal
    if event.billed and not usage.output_tokens and not usage.prompt_tokens:
        _unmeter(state, [ordinal])
    model = event.model or state.classes[state.columns.class_id[ordinal]].model
    step = state.pricer.step(model, usage) if state.pricer is not None else ""
    key = (
        event.chunk,
        state.columns.attempts[ordinal],
        model,
        event.tier,
        event.geo,
        step,
        event.outcome,
        event.billed,
    )
    sums = state.spent.get(key)
    if sums is None:
        sums = state.spent[key] = [0] * 7
    sums[0] += 1
    sums[1] += usage.input_tokens
    sums[2] += usage.output_tokens
    sums[3] += usage.cache_write_5m_tokens
    sums[4] += usage.cache_write_1h_tokens
    sums[5] += usage.cache_read_tokens
    sums[6] += usage.web_search_requests


# ── chunks ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _put(state: RunState, chunk: Chunk) -> None:
    before = state.chunks.get(chunk.chunk)
    if before is None or before.status != chunk.status:
        if before is not None:
            del state.by_status[before.status][chunk.chunk]
        state.by_status[chunk.status][chunk.chunk] = None
    state.chunks[chunk.chunk] = chunk


def _live(state: RunState, position: int, event: AnyEvent, number: int) -> Chunk:
    chunk = state.chunks.get(number)
    if chunk is None or chunk.status in TERMINAL:
        _illegal(position, event, f"chunk {number} is {chunk.status if chunk else 'unknown'}")
    return chunk


def _in(state: RunState, position: int, event: AnyEvent, number: int, *statuses: ChunkStatus) -> Chunk:
    chunk = _live(state, position, event, number)
    if chunk.status not in statuses:
        _illegal(position, event, f"chunk {number} is {chunk.status}")
    return chunk


def _step(state: RunState, position: int, event: AnyEvent, number: int) -> tuple[Chunk, ChunkStatus]:
    """Return the chunk and the status that the transition table leads it to."""
    chunk = _live(state, position, event, number)
    after = TRANSITIONS[chunk.status].get(type(event))
    if after is None:
        _illegal(position, event, f"chunk {number} is {chunk.status}")
    return chunk, after


def _chunk_sealed(state: RunState, position: int, event: e.ChunkSealed) -> None:
    if event.cause == "canary" and event.chunk != 1:
        _illegal(position, event, "only the first chunk can be a canary")
    recovered = event.cause == "recovered"  # chunks whose events were lost leave gaps before those that were found
    if event.chunk != state.next_chunk and not (recovered and event.chunk > state.next_chunk):
        _illegal(position, event, f"the next chunk is {state.next_chunk}")
    columns = state.columns
    members = list(ordinals(event.ranges))
    if len(members) != event.requests or not members:
        _illegal(position, event, f"the ranges hold {len(members)} requests")
    for ordinal in members:
        if ordinal >= len(columns) or columns.status[ordinal] != PENDING:
            status = STATUS_NAMES[columns.status[ordinal]] if ordinal < len(columns) else "unknown"
            _illegal(position, event, f"request {ordinal} is {status}")
    if recovered:
        for lanes in (state.fresh, state.retries):
            _lane(lanes, event.priority).remove(set(members))
    elif event.cause == "canary":  # it is taken from all over the input
        chosen = set(members)
        for lane in state.fresh.values():
            lane.remove(chosen)
    else:
        try:
            _lane(state.fresh if event.cause == "fresh" else state.retries, event.priority).take(event.ranges)
        except ValueError as problem:
            _illegal(position, event, str(problem))
    for ordinal in members:
        columns.status[ordinal] = IN_CHUNK
        columns.chunk[ordinal] = event.chunk
    state.last_chunk = event.chunk
    state.stored[event.chunk] = {"succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    state.finished = None
    _put(
        state,
        Chunk(
            chunk=event.chunk,
            ranges=tuple(event.ranges),
            requests=event.requests,
            size_bytes=event.size_bytes,
            priority=event.priority,
            cause=event.cause,
        ),
    )


def _request_rejected(state: RunState, position: int, event: e.RequestRejected) -> None:
    _in(state, position, event, event.chunk, "sealed")
    columns = state.columns
    if not event.ordinal < len(columns) or columns.chunk[event.ordinal] != event.chunk:
        _illegal(position, event, f"request {event.ordinal} is not in chunk {event.chunk}")
    if columns.status[event.ordinal] != IN_CHUNK:
        _illegal(position, event, f"request {event.ordinal} is {STATUS_NAMES[columns.status[event.ordinal]]}")
    columns.status[event.ordinal] = STATUS_OF_OUTCOME["invalid"]
    state.outcomes["invalid"] += 1


def _forget_refusals(state: RunState, reason: str) -> None:
    """Let what was refused for a reason that is lifted now be sent again; the order of events decides, no clock."""
    reaction = {"key": "stop", "spend": "pause"}.get(reason)
    for chunk in state.chunks_in("sealed"):
        if chunk.refusal is not None and chunk.refusal.reaction == reaction:
            _put(state, replace(chunk, refusal=None, failures=0))


def _chunk_dissolved(state: RunState, position: int, event: e.ChunkDissolved) -> None:
    """Its requests stand first in their lane again; the events that seal them otherwise follow in the same commit."""
    chunk, after = _step(state, position, event, event.chunk)
    columns = state.columns
    back = [o for o in ordinals(chunk.ranges) if columns.status[o] == IN_CHUNK and columns.chunk[o] == chunk.chunk]
    for ordinal in back:
        columns.status[ordinal] = PENDING
    _lane(state.retries, chunk.priority).push_front(tuple(to_ranges(back)))
    _put(state, replace(chunk, status=after))


def _submission(
    state: RunState,
    position: int,
    at: int,
    event: e.SubmissionPrepared
    | e.SubmissionAborted
    | e.SubmissionReleased
    | e.SubmissionRefused
    | e.SubmissionUncertain
    | e.SubmissionResolved,
) -> None:
    chunk, after = _step(state, position, event, event.chunk)
    expected = chunk.submission + 1 if isinstance(event, e.SubmissionPrepared) else chunk.submission
    if event.submission != expected:
        _illegal(position, event, f"chunk {chunk.chunk} is at submission {chunk.submission}")
    match event:
        case e.SubmissionPrepared():
            if (event.requests, event.size_bytes) != (chunk.requests, chunk.size_bytes):
                _illegal(position, event, f"the chunk was sealed with {chunk.requests} in {chunk.size_bytes} bytes")
            changed = replace(
                chunk,
                submission=event.submission,
                epoch=state.epoch,
                prepared=event,
                refusal=None,
                sent_at=at,
                uncertain_at=0,
                settle_from=0,
                settled_at=0,
                complete_lists=0,
                seen_at=0,
                candidates=(),
            )
        case e.SubmissionReleased():
            changed = chunk
        case e.SubmissionAborted():
            changed = replace(chunk, failures=chunk.failures + 1, failed_at=at, retry_after_us=0)
        case e.SubmissionRefused():
            if event.reaction == "wait_for_queue":
                state.queue_full_at, state.queue_full_ended = at, state.ended_batches
            changed = replace(
                chunk,
                refusal=event,
                failures=chunk.failures + 1,
                failed_at=at,
                retry_after_us=event.retry_after_us,
            )
        case e.SubmissionUncertain():
            changed = replace(chunk, uncertain_at=position)
        case e.SubmissionResolved():
            absent = (*chunk.presumed_absent, chunk.prepared) if chunk.prepared else chunk.presumed_absent
            changed = replace(chunk, presumed_absent=absent, hold=None)
        case _:
            assert_never(event)
    state.failures.pop("submit", None)
    _put(state, replace(changed, status=after))


def _claim(state: RunState, position: int, at: int, event: e.BatchCreated | e.BatchAdopted | e.BatchDisowned) -> None:
    chunk, after = _step(state, position, event, event.chunk)
    if isinstance(event, e.BatchDisowned):
        if chunk.batch != event.batch or any(state.stored[chunk.chunk].values()):
            _illegal(position, event, f"chunk {chunk.chunk} has batch {chunk.batch}, or rows of it are stored")
        del state.batches[event.batch]
        disowned = (*chunk.disowned, event.batch)
        unclaimed = replace(chunk, batch="", state="", counts=None, proven=False, disowned=disowned)
        changed = _searched_anew(unclaimed, position)  # lists from before the adoption prove nothing
    else:
        if event.batch in state.batches:
            _illegal(position, event, f"batch {event.batch} belongs to chunk {state.batches[event.batch]}")
        if isinstance(event, e.BatchAdopted) and chunk.status == "sealed" and event.by != "recovery":
            _illegal(position, event, f"chunk {chunk.chunk} has no submission in doubt")
        state.batches[event.batch] = chunk.chunk
        state.twins.pop(event.batch, None)
        changed = replace(
            chunk,
            batch=event.batch,
            state="in_progress",
            created_at=event.created_at,
            expires_at=event.expires_at,
            submission=event.submission,
            proven=isinstance(event, e.BatchCreated) or event.proven,
            sent_at=chunk.sent_at or at,
            failures=0,
            hold=None,
            candidates=(),
            settle_from=0,
            complete_lists=0,
        )
    _put(state, replace(changed, status=after))


def _searched_anew(chunk: Chunk, position: int) -> Chunk:
    """Return an uncertain chunk whose search begins here: no list from before counts."""
    return replace(
        chunk, uncertain_at=position, settle_from=0, settled_at=0, complete_lists=0, seen_at=0, candidates=()
    )


def _batches_listed(state: RunState, position: int, event: e.BatchesListed) -> None:
    """A list counts for a submission when it was asked for after the uncertainty began; the first starts its clock."""
    state.server_date = max(state.server_date, event.server_date)
    state.listed_position = position
    state.failures.pop("look", None)
    for chunk in state.chunks_in("uncertain"):
        if event.asked_at < chunk.uncertain_at:
            continue
        clock = state.epoch if event.undated else 0
        if chunk.settle_from and chunk.settle_clock != clock:  # no time can be told between two clocks
            if event.undated and not chunk.settle_clock:
                # The service's clock, once seen, is kept to: where only some answers bear a date, to begin anew with
                # each change would be to wait for ever.
                _put(state, replace(chunk, seen_at=position, candidates=event.candidates))
                continue
            chunk = replace(chunk, settle_from=0, settled_at=0, complete_lists=0)
        _put(
            state,
            replace(
                chunk,
                settle_from=chunk.settle_from or event.server_date,
                settled_at=max(chunk.settled_at, event.server_date) if event.complete else chunk.settled_at,
                settle_clock=clock,
                complete_lists=chunk.complete_lists + event.complete,
                seen_at=position,
                candidates=event.candidates,
            ),
        )


def _status_polled(state: RunState, position: int, at: int, event: e.StatusPolled) -> None:
    for seen in event.changes:
        if seen.batch not in state.batches:
            _illegal(position, event, f"batch {seen.batch} is not of this ledger")
        if seen.status == "ended" and seen.counts is None:
            _illegal(position, event, f"batch {seen.batch} ended without counts")
    state.polled_at, state.server_date = at, max(state.server_date, event.server_date)
    state.failures.pop("look", None)
    for seen in event.changes:
        chunk = state.chunks[state.batches[seen.batch]]
        if chunk.status != "submitted":
            continue
        if seen.status == "ended" and seen.counts is not None:
            state.ended_batches += 1
            if seen.counts.expired:
                state.expired_batches += 1
            chunk = replace(chunk, counts=seen.counts, ended_at=seen.ended_at, status="ended")
        _put(state, replace(chunk, state=seen.status))


def _batch_collected(state: RunState, position: int, event: e.BatchCollected) -> None:
    chunk, after = _step(state, position, event, event.chunk)
    rows = sum(state.stored[chunk.chunk].values())
    if chunk.batch != event.batch or rows != event.rows or rows + len(event.missing) != chunk.requests:
        _illegal(position, event, f"{rows} rows are stored of {chunk.requests} in batch {chunk.batch}")
    columns = state.columns
    for ordinal in event.missing:
        if not ordinal < len(columns) or columns.chunk[ordinal] != chunk.chunk or columns.status[ordinal] != IN_CHUNK:
            _illegal(position, event, f"request {ordinal} is not missing")
    for ordinal in event.missing:
        columns.status[ordinal] = STATUS_OF_OUTCOME["missing"]
        state.outcomes["missing"] += 1
    _unmeter(state, list(event.missing))
    state.failures.pop(f"collect:{chunk.chunk}", None)
    state.collected_position = position
    _put(state, replace(chunk, status=after, proven=True))


def _results_lost(state: RunState, position: int, event: e.ResultsLost) -> None:
    chunk, after = _step(state, position, event, event.chunk)
    columns = state.columns
    lost = [o for o in ordinals(chunk.ranges) if columns.chunk[o] == chunk.chunk and columns.status[o] == IN_CHUNK]
    for ordinal in lost:
        columns.status[ordinal] = STATUS_OF_OUTCOME["lost"]
    state.outcomes["lost"] += len(lost)
    _unmeter(state, lost)
    _put(state, replace(chunk, status=after))


# ── reading a state ─────────────────────────────────────────────────────────────────────────────────────────────


def outcome_of(state: RunState, ordinal: int) -> str:
    """Return an item's outcome, or ``pending``, ``in_chunk`` or ``withdrawn``."""
    return STATUS_NAMES[state.columns.status[ordinal]]


def is_final(state: RunState, ordinal: int) -> bool:
    """Return whether an item has its outcome."""
    return state.columns.status[ordinal] >= FINAL


def accepted(state: RunState) -> bool:
    """Return whether every item ended ``ok`` or in an outcome that the policy accepts."""
    fine = {"ok", *state.policy.accept}
    return not state.rejected and all(not count or outcome in fine for outcome, count in state.outcomes.items())


def exit_code_when_finished(state: RunState) -> int:
    """Return 0 when every item is ok or accepted, else 1."""
    return 0 if accepted(state) else 1


__all__ = [
    "TERMINAL",
    "TRANSITIONS",
    "Chunk",
    "ChunkStatus",
    "Failure",
    "RunState",
    "Source",
    "Spent",
    "accepted",
    "evolve",
    "exit_code_when_finished",
    "fold",
    "is_final",
    "outcome_of",
]
