"""What can happen to a run: every event of the log, as a frozen struct.

An event is stored as the exact JSON text it was encoded to (fields with their default value are left out), under
a type name that is its class name in snake case. The format is a promise: fields are only added, with defaults; a
new meaning is a new type; a reader that meets an unknown type or field refuses it and names the version to
install.

Conventions: *ordinal* is the dense number of a request in intake order, *chunk* the number of a chunk (ours), *batch*
the service's id of a batch (theirs), *submission* the number of a try to have a chunk accepted, from 1. Ranges
are flat ``[start, end, start, end, …]`` with the end exclusive. Instants inside events (``created_at``,
``server_date``) are the service's clock in microseconds UTC; the log's own ``at`` column is the writer's clock.
Digests of bodies are salted (the salt lies beside the body), so that redacting a body leaves nothing to guess it
by.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias, TypeVar, get_args

import msgspec

from ledger.core.errors import NotALedgerError
from ledger.core.items import Defaults
from ledger.core.prices import PriceTable, Usage

FORMAT_VERSION = 1

Outcome: TypeAlias = Literal[
    "ok",
    "truncated",
    "refused",
    "paused_turn",
    "errored",
    "expired",
    "canceled",
    "invalid",
    "missing",
    "lost",
]
"""How an item ended; README, "Outcomes", says what each means."""

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

BatchState: TypeAlias = Literal["in_progress", "canceling", "ended"]


class Fact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A value inside an event."""


class Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing that happened."""


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Policy(Fact, frozen=True, kw_only=True):
    """How the run is conducted; none of it changes what is asked.

    ``queue_requests`` is the most requests that may be unfinished at the service at once (rate limits, batch limits
    by tier: 200,000, 300,000, 500,000); ``settle_us`` is D, the time after which a batch that is in no list is taken
    never to have been created. ``canary`` is whether the first batch is a small one that is judged before the rest is
    sent, of ``canary_requests``, waited for ``canary_wait_us`` at most; ``max_error_rate`` is the share of final
    errors, a decimal string, above which nothing more is sent. ``prime_cache`` is whether one request of each shared
    prefix is sent ahead of the others, and waited for no longer than a canary.
    """

    tier: str = "start"
    queue_requests: int = 200_000
    chunk_requests: int = 10_000
    chunk_bytes: int = 64_000_000
    max_attempts: int = 3
    poll_us: int = 60_000_000
    settle_us: int = 900_000_000
    on_uncertain: Literal["repeat", "hold"] = "repeat"
    accept: tuple[str, ...] = ()
    skip_invalid: bool = False
    opaque_ids: bool = False
    canary: Literal["auto", "always", "never"] = "auto"
    canary_requests: int = 100
    canary_wait_us: int = 7_200_000_000
    max_error_rate: str = "0.01"
    prime_cache: bool = False


class Counts(Fact, frozen=True, kw_only=True):
    """``request_counts`` of a batch: all but ``processing`` stay 0 until the whole batch has ended."""

    processing: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0

    @property
    def total(self) -> int:
        """The number of requests in the batch."""
        return self.processing + self.succeeded + self.errored + self.canceled + self.expired


class BatchSeen(Fact, frozen=True, kw_only=True):
    """A batch as the service showed it; ``counts`` is None where they were absent or malformed."""

    batch: str
    status: str
    created_at: int = 0
    expires_at: int = 0
    ended_at: int = 0
    archived_at: int = 0
    counts: Counts | None = None


# ── the run and its writers ─────────────────────────────────────────────────────────────────────────────────────


class RunOpened(Event, frozen=True, kw_only=True):
    """The ledger was created. ``origin`` is the service's base URL without userinfo, or ``simulator``."""

    ledger_id: str
    origin: str
    tool_version: str
    format_version: int = FORMAT_VERSION


class WriterOpened(Event, frozen=True, kw_only=True):
    """A process took the lease; what an earlier epoch left in flight is nobody's now."""

    epoch: int
    tool_version: str
    sdk_version: str = ""
    host: str = ""
    pid: int = 0


class WorkspaceSeen(Event, frozen=True, kw_only=True):
    """The first answer of the service named the workspace; every later answer must name the same."""

    workspace: str


class SettingsChanged(Event, frozen=True, kw_only=True):
    """Run defaults or policy were set; what is None stays as it was."""

    defaults: Defaults | None = None
    policy: Policy | None = None


# ── intake ──────────────────────────────────────────────────────────────────────────────────────────────────────


class SourceOpened(Event, frozen=True, kw_only=True):
    """Items began to be read from a source. ``path`` is absolute, or ``-`` for standard input.

    ``continues`` is the reading whose end this one begins at: the source has grown since.
    """

    source: int
    path: str
    continues: int = 0


class ClassDeclared(Event, frozen=True, kw_only=True):
    """Requests of one lane, model and size of answer share a class; ``max_tokens`` is their ceiling.

    ``unbounded`` requests bring input that is not in their bytes, so that a budget cannot tell what they cost at most.
    ``prefix`` is the digest of the marked prefix that they share among themselves, and with at least one request of
    another class; ``prefix_bytes`` is its size as JSON, ``prefix_minutes`` how long the service keeps it: 5 or 60.
    """

    class_id: int
    model: str
    max_tokens: int
    priority: int = 0
    cached: bool = False
    geo: str = ""
    unbounded: bool = False
    prefix: str = ""
    prefix_bytes: int = 0
    prefix_minutes: int = 0


class RequestBuilt(Event, frozen=True, kw_only=True, gc=False):
    """An item became a request. ``size_bytes`` is its exact size on the wire, ``digest`` that of its params."""

    ordinal: int
    custom_id: str
    line: int
    size_bytes: int
    digest: str
    class_id: int = 0


class ItemDeduplicated(Event, frozen=True, kw_only=True):
    """A line repeats a request: same id and same body, or another body that ``--keep`` passed over."""

    line: int
    ordinal: int
    kept: bool = False


class ItemRejected(Event, frozen=True, kw_only=True):
    """A line is no valid item."""

    line: int
    code: str
    why: str
    field: str = ""
    fix: str = ""
    custom_id: str = ""


class SourceRead(Event, frozen=True, kw_only=True):
    """The source is read and checked up to an offset; ``digest`` is the SHA-256 of its bytes so far."""

    source: int
    lines: int
    bytes_read: int
    digest: str


class IntakeCompleted(Event, frozen=True, kw_only=True):
    """A source was read to its end; its requests may now be sent."""

    source: int
    lines: int
    bytes_read: int
    digest: str
    built: int
    deduplicated: int
    rejected: int


class IntakeAbandoned(Event, frozen=True, kw_only=True):
    """Bad lines stopped the intake: the requests of this reading (from ``first`` on) are withdrawn unsent."""

    source: int
    first: int
    rejected: int


class PricesQuoted(Event, frozen=True, kw_only=True):
    """The prices that this ledger's money is counted with, so that no audit depends on today's."""

    table: PriceTable


# ── answers of another ledger ───────────────────────────────────────────────────────────────────────────────────


class ReuseOpened(Event, frozen=True, kw_only=True):
    """A person named another ledger, whose answers are to be taken for requests that ask the very same.

    ``position`` and ``hash`` (hex) are that ledger's head as it was then: nothing behind it is taken.
    """

    reuse: int
    path: str
    ledger_id: str
    position: int
    hash: str


class AnswerReused(Event, frozen=True, kw_only=True, gc=False):
    """A request that was never sent got the answer of another ledger, whose body is the same byte for byte; it is free.

    ``digest`` is that of the row as it is stored here, ``position`` where the other ledger stored it. ``chunk``,
    ``submission`` and ``source_ordinal`` are what its wire id tells: the request that was asked. ``ledger_id`` is whose
    request it was, where the other ledger itself had taken the answer from a third one.
    """

    ordinal: int
    reuse: int
    digest: str
    position: int
    chunk: int
    submission: int
    source_ordinal: int
    ledger_id: str = ""


class ReuseClosed(Event, frozen=True, kw_only=True):
    """There is nothing more to take from the other ledger; ``abandoned`` when a person gave up what was left."""

    reuse: int
    taken: int
    abandoned: bool = False


# ── second chances ──────────────────────────────────────────────────────────────────────────────────────────────


class RequestsReopened(Event, frozen=True, kw_only=True):
    """Requests that had an outcome wait to be sent again; what was stored and billed for them stays.

    A ``person`` asked for it, or a ``recovery`` found batches of a log that had known of it. Their attempts are bounded
    anew from here on.
    """

    ranges: list[int]
    requests: int
    by: Literal["person", "recovery"] = "person"


class RequestAmended(Event, frozen=True, kw_only=True, gc=False):
    """A request got another body, which a person corrected; what was answered to the old one stays.

    ``old_digest`` is that of the body before, which is kept; the other fields are those of ``request_built``.
    """

    ordinal: int
    size_bytes: int
    digest: str
    old_digest: str
    class_id: int = 0


class PayloadsRedacted(Event, frozen=True, kw_only=True):
    """The bodies of requests, with all that was answered to them, were deleted from the ledger, and their salts."""

    ranges: list[int]
    requests: int


class BatchDeleted(Event, frozen=True, kw_only=True):
    """A collected batch was deleted at the service, or was not there any more (``status`` 404)."""

    batch: str
    status: int = 200


# ── sealing and submitting ──────────────────────────────────────────────────────────────────────────────────────


class ChunkSealed(Event, frozen=True, kw_only=True):
    """Requests were frozen into a chunk of exact content and size. ``cause`` is why it was cut this way."""

    chunk: int
    ranges: list[int]
    requests: int
    size_bytes: int
    priority: int = 0
    cause: Literal["fresh", "retry", "split", "recovered", "canary", "priming"] = "fresh"


class ChunkDissolved(Event, frozen=True, kw_only=True):
    """The service refused a chunk as it was; its requests go back into their lane."""

    chunk: int
    cause: str


class RequestRejected(Event, frozen=True, kw_only=True):
    """The service's refusal of a whole chunk named this request: it ends as ``invalid``."""

    ordinal: int
    chunk: int
    why: str


class SubmissionPrepared(Event, frozen=True, kw_only=True):
    """The intent to submit, durable before the first byte.

    ``watermark`` is the newest batch listed before, ``listed`` the other unclaimed batches near it, so that a batch
    that appears later can be told from what was there.
    """

    chunk: int
    submission: int
    nonce: str
    requests: int
    size_bytes: int
    server_date: int
    watermark: str = ""
    watermark_created_at: int = 0
    listed: tuple[str, ...] = ()


class SubmissionAborted(Event, frozen=True, kw_only=True):
    """The submission ended before its last byte could be sent: no batch can exist."""

    chunk: int
    submission: int
    cause: str
    detail: str = ""


class SubmissionReleased(Event, frozen=True, kw_only=True):
    """The last byte may be sent from now on; ``digest`` is the SHA-256 of the whole body."""

    chunk: int
    submission: int
    digest: str


class SubmissionRefused(Event, frozen=True, kw_only=True):
    """The service said no, in the API's own words: no batch exists. ``reaction`` is what follows."""

    chunk: int
    submission: int
    status: int
    reaction: Literal["wait", "wait_for_queue", "split", "reject", "bisect", "pause", "stop"]
    kind: str = ""
    code: str = ""
    message: str = ""
    retry_after_us: int = 0
    request_id: str = ""
    ordinal: int = -1


class SubmissionUncertain(Event, frozen=True, kw_only=True):
    """The last byte was released and no trustworthy answer came: a batch may exist."""

    chunk: int
    submission: int
    cause: str
    detail: str = ""
    request_id: str = ""


class SubmissionResolved(Event, frozen=True, kw_only=True):
    """An uncertain submission is taken never to have been accepted; the chunk may be sent again."""

    chunk: int
    submission: int
    by: Literal["reconcile", "person"]
    evidence: str = ""


class ChunkHeld(Event, frozen=True, kw_only=True):
    """A chunk waits for a person; the others go on."""

    chunk: int
    reason: str
    detail: str
    lift: str


class HoldLifted(Event, frozen=True, kw_only=True):
    """A person lets a held chunk go on as it was."""

    chunk: int


class BatchCreated(Event, frozen=True, kw_only=True):
    """The service accepted a submission and named the batch."""

    chunk: int
    submission: int
    batch: str
    created_at: int
    expires_at: int
    total: int
    request_id: str = ""


class BatchesListed(Event, frozen=True, kw_only=True):
    """A list of the workspace's batches that counts as evidence: who is there that nobody claims.

    ``asked_at`` is the position of the log when the list was asked for; ``undated`` whether the answer bore no date, so
    that ``server_date`` is of the writer's own clock.
    """

    asked_at: int
    server_date: int
    complete: bool
    candidates: tuple[BatchSeen, ...] = ()
    undated: bool = False


class CandidateInspected(Event, frozen=True, kw_only=True):
    """The rows of an unclaimed batch were read: whose wire ids are they."""

    batch: str
    verdict: Literal["ours", "foreign", "unreadable"]
    chunk: int = 0
    submission: int = 0
    nonce: str = ""


class BatchAdopted(Event, frozen=True, kw_only=True):
    """A batch found in the workspace is taken to be this submission's; ``proven`` when its rows say so."""

    chunk: int
    submission: int
    batch: str
    created_at: int
    expires_at: int
    by: Literal["reconcile", "person", "recovery"]
    proven: bool = False


class BatchDisowned(Event, frozen=True, kw_only=True):
    """An adopted batch turned out to be somebody else's."""

    chunk: int
    submission: int
    batch: str
    why: str


class TwinFound(Event, frozen=True, kw_only=True):
    """A second batch of a chunk exists: guarantee 1 is broken and somebody is paying for it."""

    chunk: int
    submission: int
    batch: str
    requests: int
    proven: bool = False
    usage: Usage | None = None


class TwinAcknowledged(Event, frozen=True, kw_only=True):
    """A person has seen the twin and dealt with it."""

    chunk: int
    batch: str


# ── waiting and collecting ──────────────────────────────────────────────────────────────────────────────────────


class StatusPolled(Event, frozen=True, kw_only=True):
    """The batches were asked how they are; only what changed is named."""

    server_date: int
    changes: tuple[BatchSeen, ...] = ()


class ResultStored(Event, frozen=True, kw_only=True, gc=False):
    """A result row was stored. ``final`` is whether it ends the item or the item is to be asked again.

    ``model`` is what the service named, where it is not the one asked for; ``tier`` where it is not ``batch``.
    """

    ordinal: int
    chunk: int
    digest: str
    outcome: Outcome = "ok"
    final: bool = True
    usage: Usage | None = None
    stop_reason: str = "end_turn"
    error_kind: str = ""
    model: str = ""
    tier: str = "batch"
    geo: str = ""
    billed: bool = True


class ResultsShort(Event, frozen=True, kw_only=True):
    """A complete download lacked rows; ``gap_digest`` names which, so that equal gaps are recognised."""

    chunk: int
    batch: str
    rows: int
    missing: int
    gap_digest: str


class BatchCollected(Event, frozen=True, kw_only=True):
    """All rows of a batch are stored; ``missing`` are the ordinals the service never returned."""

    chunk: int
    batch: str
    rows: int
    counts: Counts
    missing: tuple[int, ...] = ()


class ResultsLost(Event, frozen=True, kw_only=True):
    """The service no longer has the results of a batch, or a person gave them up: what is not stored yet is lost."""

    chunk: int
    batch: str
    cause: Literal["archived", "deleted", "given_up"]


# ── trouble, people, ends ───────────────────────────────────────────────────────────────────────────────────────


class CallFailed(Event, frozen=True, kw_only=True):
    """A call other than a submission failed; the back-off is derived from these."""

    command: str
    status: int = 0
    kind: str = ""
    detail: str = ""
    retry_after_us: int = 0
    request_id: str = ""


class FindingRecorded(Event, frozen=True, kw_only=True):
    """Something that should not be, kept for the audit: a foreign, corrupt or duplicate row, counts that lie."""

    finding: str
    detail: str
    chunk: int = 0
    batch: str = ""
    ordinal: int = -1


class RunPaused(Event, frozen=True, kw_only=True):
    """Nothing more is sent until this reason is lifted; ``lift`` is the command that does it."""

    reason: str
    detail: str
    lift: str


class RunResumed(Event, frozen=True, kw_only=True):
    """A reason to pause was lifted."""

    reason: str
    by: Literal["person", "service"] = "person"


class BudgetSet(Event, frozen=True, kw_only=True):
    """A person said what the whole ledger may cost, or that it may go on without a limit.

    ``max_usd`` is a decimal string, empty for no limit. ``mode`` is what a batch is counted with before its results are
    known: the most it can cost, or what is expected of it. ``confirmed`` is how many requests had been taken in then:
    what comes later is asked about anew where there is no limit.
    """

    max_usd: str = ""
    mode: Literal["worst", "expected"] = "worst"
    confirmed: int = 0


class CanaryJudged(Event, frozen=True, kw_only=True):
    """The first, small batch was judged: ``released``, ``tripped``, or ``waited`` for long enough.

    ``requests`` are the items that have their outcome by now, ``failed`` those among them that ended in an error.
    ``cost_usd`` is what was measured, ``extrapolated_usd`` what all that was asked would cost at that rate; empty where
    a price is not known or nothing was billed. Both are decimal strings.
    """

    verdict: Literal["released", "tripped", "waited"]
    requests: int
    failed: int
    outcomes: dict[str, int] = {}
    cost_usd: str = ""
    extrapolated_usd: str = ""


class AlarmRaised(Event, frozen=True, kw_only=True):
    """Something a person should know now."""

    alarm: str
    detail: str
    batch: str = ""


class CancelRequested(Event, frozen=True, kw_only=True):
    """A person wants a batch canceled."""

    batch: str


class CancelAccepted(Event, frozen=True, kw_only=True):
    """The service took the cancellation, or the batch had ended before."""

    batch: str
    status: str


class LedgerRecovered(Event, frozen=True, kw_only=True):
    """The log was reconciled with the workspace after a rollback, a copy or a lost head."""

    cause: str
    lost_position: int = 0
    adopted: tuple[str, ...] = ()


class RunFinished(Event, frozen=True, kw_only=True):
    """Every item has its outcome."""

    outcomes: dict[str, int]
    exit_code: int


AnyEvent: TypeAlias = (
    RunOpened
    | WriterOpened
    | WorkspaceSeen
    | SettingsChanged
    | SourceOpened
    | ClassDeclared
    | RequestBuilt
    | ItemDeduplicated
    | ItemRejected
    | SourceRead
    | IntakeCompleted
    | IntakeAbandoned
    | PricesQuoted
    | ReuseOpened
    | AnswerReused
    | ReuseClosed
    | RequestsReopened
    | RequestAmended
    | PayloadsRedacted
    | BatchDeleted
    | ChunkSealed
    | ChunkDissolved
    | RequestRejected
    | SubmissionPrepared
    | SubmissionAborted
    | SubmissionReleased
    | SubmissionRefused
    | SubmissionUncertain
    | SubmissionResolved
    | ChunkHeld
    | HoldLifted
    | BatchCreated
    | BatchesListed
    | CandidateInspected
    | BatchAdopted
    | BatchDisowned
    | TwinFound
    | TwinAcknowledged
    | StatusPolled
    | ResultStored
    | ResultsShort
    | BatchCollected
    | ResultsLost
    | CallFailed
    | FindingRecorded
    | RunPaused
    | RunResumed
    | BudgetSet
    | CanaryJudged
    | AlarmRaised
    | CancelRequested
    | CancelAccepted
    | LedgerRecovered
    | RunFinished
)

EVENT_CLASSES: tuple[type[AnyEvent], ...] = get_args(AnyEvent)
TYPE_NAMES: dict[type[AnyEvent], str] = {
    cls: re.sub(r"(?<=.)([A-Z])", r"_\1", cls.__name__).lower() for cls in EVENT_CLASSES
}

_encode = msgspec.json.Encoder(order="deterministic").encode
_DECODERS = {name: msgspec.json.Decoder(cls) for cls, name in TYPE_NAMES.items()}


def encode(event: AnyEvent) -> tuple[str, bytes]:
    """Return the type name of an event and the JSON bytes that are stored and hashed."""
    return TYPE_NAMES[type(event)], _encode(event)


EventT = TypeVar("EventT", bound=Event)


def as_stored(event: EventT) -> EventT:
    """Return an event as a reader of the log will have it: mappings inside it in the order of their keys."""
    return msgspec.json.decode(_encode(event), type=type(event))


def decode(type_name: str, data: bytes | str) -> AnyEvent:
    """Return the event that was stored.

    Raises:
        NotALedgerError: the type or a field is not known to this version, or the text is no event.
    """
    decoder = _DECODERS.get(type_name)
    if decoder is None:
        raise NotALedgerError(
            f"event type {type_name!r} is not known to this version",
            why="the ledger was written by a newer version",
            next="pip install --upgrade claude-batch-ledger",
        )
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as problem:
        raise NotALedgerError(
            f"a {type_name} event cannot be read",
            why=str(problem),
            next="ledger replay --audit (and if that is clean: pip install --upgrade claude-batch-ledger)",
        ) from problem
