"""The state of a run: a fold over its log (``evolve.py``, and what it is made of).

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
``canary_judged`` is said once, of the chunk whose cause is ``canary``, the first of all but those that prime the cache
(``priming.py``) and what is repeated of them: while it is owed nothing fresh is sealed.
What the service may have billed without saying so (rows that are lost, missing, or of a type nobody knows) is kept in
``unmetered``; errors are counted from ``released_outcomes`` on, which a person moves by lifting a brake.

Everything ``decide`` needs is here (back-off, queue limits, the settle clock), because everything is in an event.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NoReturn, TypeAlias

import msgspec

from ledger.core import events as e
from ledger.core.columns import (
    FINAL,
    STATUS_NAMES,
    Columns,
    OrdinalQueue,
)
from ledger.core.errors import IllegalEventError
from ledger.core.events import OUTCOMES, AnyEvent, Outcome
from ledger.core.items import Defaults
from ledger.core.prices import Pricer, PriceTable, Usage

BRAKES = ("canary", "breaker")
"""Pauses for too many errors."""
REUSED_FROM = 1 << 31
"""Numbers of chunks end here: beyond it they are those of reuses, whose rows lie beside those of chunks."""
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


class Reuse(msgspec.Struct, frozen=True, kw_only=True):
    """Another ledger whose answers are taken; ``last`` is the request that got one last."""

    reuse: int
    path: str
    ledger_id: str
    position: int
    hash: str
    taken: int = 0
    last: int = -1
    status: Literal["open", "completed", "abandoned"] = "open"


class Warmth(msgspec.Struct, frozen=True):
    """What is known of a prefix that was primed.

    ``primings`` is how often it was since anything else of it was sealed; ``used_at`` the service's instant at which
    the last batch ended that is known to have used it, 0 while none is.
    """

    primings: int = 0
    used_at: int = 0


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
        "amended",
        "asked",
        "at",
        "batches",
        "budget",
        "by_status",
        "canary",
        "canary_chunk",
        "cancels",
        "chunks",
        "class_bytes",
        "class_requests",
        "classes",
        "collected_position",
        "columns",
        "defaults",
        "deleted",
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
        "reused",
        "reuses",
        "server_date",
        "sources",
        "spent",
        "stored",
        "twins",
        "unmetered",
        "warmth",
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
        self.reuses: dict[int, Reuse] = {}
        self.reused: dict[int, int] = {}  # of each class
        self.amended = 0  # how often any body was replaced
        self.deleted: list[str] = []  # batches that the service was told to forget
        self.asked = 0
        self.outcomes: dict[Outcome, int] = dict.fromkeys(OUTCOMES, 0)
        self.fresh: dict[int, OrdinalQueue] = {}
        self.retries: dict[int, OrdinalQueue] = {}
        self.chunks: dict[int, Chunk] = {}
        self.last_chunk = 0
        self.by_status: dict[str, dict[int, Chunk]] = {status: {} for status in TRANSITIONS}
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
        self.canary_chunk = 0  # -1 where something else was sealed first, so that there will be none
        self.warmth: dict[str, Warmth] = {}
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
                yield from members.values()

    def chunks_in(self, *statuses: ChunkStatus) -> list[Chunk]:
        """Return the chunks in any of these statuses."""
        found: list[Chunk] = []
        for status in statuses:
            found += self.by_status[status].values()
        return found

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


def illegal(position: int, event: AnyEvent, status: str) -> NoReturn:
    """Refuse an event that the state does not allow.

    Raises:
        IllegalEventError: always.
    """
    name = e.TYPE_NAMES[type(event)]
    raise IllegalEventError(
        f"{name} is not allowed here",
        where=f"position {position}",
        why=status,
        next="ledger replay --audit",
    )
