"""The simulated Message Batches service, without I/O: a fold over records, asked at instants that are given to it.

Faithful to what is documented of the real one (batch processing guide of 2026-10-08, anthropic SDK 2.12
``types/messages/message_batch.py``):

* a batch is ``in_progress``, perhaps ``canceling``, then ``ended``; all counts but ``processing`` are 0 until then;
* it expires 24 hours after creation, request by request; results are there for 29 days from creation;
* nothing looks at ``params`` before the end; the envelope is checked at once;
* there is no idempotency: a body that is sent twice is two batches.

Time is integer microseconds UTC and always an argument. Nothing happens between calls: a batch has ended if the instant
of a call lies after the one that was decided for its end when it was created or canceled.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Literal

from ledger.core.units import MICROSECONDS_PER_SECOND
from ledger.service.simulator.answers import (
    CANCELED,
    EXPIRED,
    WHOLE,
    Answers,
    count_kind,
    decide_outcomes,
)
from ledger.service.simulator.caches import Caches
from ledger.service.simulator.envelope import (
    DIGEST_BYTES,
    Columns,
    Envelope,
    stranger_columns,
)
from ledger.service.simulator.records import (
    PLAIN,
    Accepted,
    Called,
    CancelRequested,
    Deleted,
    Opened,
    Record,
    Traits,
)
from ledger.service.simulator.refusals import NAMED_REFUSALS, RefusalError, not_found
from ledger.service.simulator.settings import Settings

HOUR = 3600 * MICROSECONDS_PER_SECOND
EXPIRES_AFTER = 24 * HOUR  # from creation (batch processing guide)
RESULTS_FOR = 29 * 24 * HOUR  # from creation, not from the end (batch processing guide)
PAGE_MAXIMUM = 1000  # SDK types/messages/batch_list_params.py
PAGE_DEFAULT = 20

Status = Literal["in_progress", "canceling", "ended"]


class Batch:
    """One batch: the record of its acceptance, and what was done to it since."""

    def __init__(self, accepted: Accepted, settings: Settings) -> None:
        self.accepted = accepted
        self.cancel_requested_at: int | None = None
        self.was_deleted = False
        self._settings = settings
        self._codes: bytes | None = None
        self._counts: dict[str, int] = {}

    @property
    def batch_id(self) -> str:
        """Its id, opaque to clients."""
        return self.accepted.batch_id

    @property
    def columns(self) -> Columns:
        """Its requests."""
        return self.accepted.columns

    @property
    def created_at(self) -> int:
        """The instant of its creation, server time."""
        return self.accepted.created_at

    @property
    def expires_at(self) -> int:
        """The instant it expires, 24 hours after creation."""
        return self.created_at + EXPIRES_AFTER

    @property
    def ends_at(self) -> int | None:
        """The instant of its end, as far as is decided; None if never."""
        if self.accepted.traits.never_ends:
            return None
        by_itself = self.created_at + min(self.accepted.turnaround, EXPIRES_AFTER)
        if self.cancel_requested_at is None:
            return by_itself
        return min(by_itself, self.cancel_requested_at + _microseconds(self._settings.cancel_seconds))

    @property
    def archived_at(self) -> int:
        """The instant its results become unavailable."""
        after = self.accepted.traits.archived_after
        return self.created_at + (RESULTS_FOR if after is None else after)

    def status(self, now: int) -> Status:
        """Return ``processing_status`` at this instant."""
        ends_at = self.ends_at
        if ends_at is not None and now >= ends_at:
            return "ended"
        return "in_progress" if self.cancel_requested_at is None else "canceling"

    def is_there(self, now: int) -> bool:
        """Return whether it exists by now: not before it materialises, not after it was deleted."""
        after, ends_at = self.accepted.traits.deleted_after, self.ends_at
        swept = after is not None and ends_at is not None and now >= ends_at + after
        return self.created_at <= now and not self.was_deleted and not swept

    def codes(self) -> bytes:
        """Return the outcome codes of an ended batch, in the order of submission."""
        if self._codes is None:
            ends_at = self.ends_at
            assert ends_at is not None
            # Everything that was finished by the end keeps its result; the rest was canceled, or expired.
            elapsed, turnaround = ends_at - self.created_at, self.accepted.turnaround
            reached = WHOLE if elapsed >= turnaround else elapsed * WHOLE // turnaround
            unreached = EXPIRED if self.cancel_requested_at is None else CANCELED
            share = self.accepted.traits.expired_share
            self._codes = decide_outcomes(self.columns, self._settings, reached, unreached, share)
            self._counts = dict(Counter(count_kind(code) for code in self._codes))
        return self._codes

    def answers(self) -> Answers:
        """Return the rows of an ended batch."""
        return Answers(self.columns, self.codes(), self._settings)

    def order(self) -> list[int]:
        """Return the order of its result rows: shuffled, the same every time."""
        order = list(range(self.columns.count))
        random.Random(self.batch_id).shuffle(order)  # noqa: S311 - reproducible, no secret
        return order

    def document(self, now: int, origin: str) -> dict[str, object]:
        """Return the MessageBatch object.

        Args:
            now: server time.
            origin: scheme and host of this service, for ``results_url``.
        """
        status = self.status(now)
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        if status == "ended":
            self.codes()
            counts.update(self._counts)
        else:
            counts["processing"] = self.columns.count
        is_archived = status == "ended" and now >= self.archived_at
        has_results = status == "ended" and not is_archived
        return {
            "id": self.batch_id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": counts,
            "ended_at": _instant(self.ends_at if status == "ended" else None),
            "created_at": _instant(self.created_at),
            "expires_at": _instant(self.expires_at),
            "archived_at": _instant(self.archived_at if is_archived else None),
            "cancel_initiated_at": _instant(self.cancel_requested_at),
            "results_url": f"{origin}/v1/messages/batches/{self.batch_id}/results" if has_results else None,
        }


class Page:
    """One page of the list, newest first."""

    def __init__(self, batches: list[Batch], *, has_more: bool) -> None:
        self.batches = batches
        self.has_more = has_more


def _keep_nothing(record: Record) -> None:
    """The keeper of a service that lives in memory only."""


class Simulator:
    """The service. Not thread-safe: a front holds a lock around each call.

    Args:
        settings: how it behaves.
        keep: called with every record before it takes effect; when it returns, the record is durable. What it raises
            leaves the state unchanged.
    """

    def __init__(self, settings: Settings, keep: Callable[[Record], None] = _keep_nothing) -> None:
        self.settings = settings
        self.batches: dict[str, Batch] = {}
        self._keep = keep
        self._by_creation: list[tuple[int, int, str]] = []  # ascending (created_at, ordinal, id)
        self._attempts: dict[bytes, int] = {}  # digest of a body → batches that held it
        self._caches = Caches(settings)
        self._calls: dict[str, int] = {}
        self._allowance, self._allowance_at = float(settings.calls_per_minute_maximum), 0

    def apply(self, record: Record) -> None:
        """Change the state by one record; the only place where it changes."""
        match record:
            case Opened():
                pass
            case Accepted():
                self._apply_accepted(record)
            case CancelRequested():
                self.batches[record.batch_id].cancel_requested_at = record.at
            case Deleted():
                self.batches[record.batch_id].was_deleted = True
            case Called():
                self._calls[record.operation] = record.count

    def count_call(self, operation: str, *, durable: bool) -> int:
        """Return the number of this call of an operation, from 1.

        Args:
            operation: what is called.
            durable: whether the count must survive, because a fault waits for a number.
        """
        called = Called(operation, self._calls.get(operation, 0) + 1)
        if durable:
            self._keep(called)
        self.apply(called)
        return called.count

    def admit(self, now: int) -> None:
        """Count one call against the rate limit, a token bucket (rate limits page).

        Raises:
            RefusalError: 429 with ``retry-after``.
        """
        maximum = self.settings.calls_per_minute_maximum
        if not maximum:
            return
        refill = (now - self._allowance_at) * maximum / (60 * MICROSECONDS_PER_SECOND)
        self._allowance = min(float(maximum), self._allowance + refill)
        self._allowance_at = now
        if self._allowance < 1:
            seconds = (1 - self._allowance) * 60 / maximum
            raise NAMED_REFUSALS["rate_limit"](retry_after_seconds=max(round(seconds), 1))
        self._allowance -= 1

    def create(self, envelope: Envelope, now: int, traits: Traits = PLAIN, late: int = 0) -> Batch:
        """Accept a batch.

        Args:
            envelope: the parsed body.
            now: server time.
            traits: what is special about it.
            late: microseconds until it materialises.

        Raises:
            RefusalError: 429 if the processing queue is too full; nothing was created.
        """
        queued = self.queued(now)
        if queued + envelope.columns.count > self.settings.queue_maximum:
            raise NAMED_REFUSALS["queue_limit"]()
        turnaround = self._turnaround(traits)
        columns = self._judged(envelope, now + late, turnaround)
        return self._accept(columns, now + late, turnaround, traits, is_foreign=False)

    def create_foreign(self, count: int, now: int, traits: Traits = PLAIN) -> Batch:
        """Have somebody else make a batch of so many requests in this workspace, past every limit."""
        columns = stranger_columns(count, self._batch_id(len(self.batches)), self.settings.seed)
        return self._accept(columns, now, self._turnaround(traits), traits, is_foreign=True)

    def queued(self, now: int) -> int:
        """Return the requests in unfinished batches, everybody's (rate limits page: the processing queue)."""
        return sum(
            batch.columns.count
            for batch in self.batches.values()
            if batch.is_there(now) and batch.status(now) != "ended"
        )

    def retrieve(self, batch_id: str, now: int) -> Batch:
        """Return a batch.

        Raises:
            RefusalError: 404 if it is not there.
        """
        batch = self.batches.get(batch_id)
        if batch is None or not batch.is_there(now):
            raise not_found(batch_id)
        return batch

    def list_page(
        self, now: int, limit: int = PAGE_DEFAULT, after_id: str | None = None, before_id: str | None = None
    ) -> Page:
        """Return one page, newest first.

        Args:
            now: server time.
            limit: the size of a page, 1 to 1000.
            after_id: only what is older than this batch.
            before_id: only what is newer; the page next to it.

        Raises:
            RefusalError: 400 for a limit out of range, both cursors, or a cursor that is no batch of the list.
        """
        if not 1 <= limit <= PAGE_MAXIMUM:
            raise RefusalError(400, f"limit: Input should be between 1 and {PAGE_MAXIMUM}")
        if after_id and before_id:
            raise RefusalError(400, "Only one of after_id and before_id may be given")
        lag = _microseconds(self.settings.faults.list_lag_seconds)
        newest = bisect_right(self._by_creation, now - lag, key=lambda entry: entry[0])
        listed = [self.batches[batch_id] for _, _, batch_id in reversed(self._by_creation[:newest])]
        listed = [batch for batch in listed if batch.is_there(now - batch.accepted.traits.list_lag)]
        listed = [batch for batch in listed if batch.is_there(now)]
        if not after_id and not before_id:
            return Page(listed[:limit], has_more=len(listed) > limit)
        cursor = after_id or before_id
        at = next((index for index, batch in enumerate(listed) if batch.batch_id == cursor), None)
        if at is None:
            raise RefusalError(400, f"{cursor} is not a batch of this list")
        rest = listed[at + 1 :] if after_id else listed[:at]
        return Page(rest[:limit] if after_id else rest[-limit:], has_more=len(rest) > limit)

    def cancel(self, batch_id: str, now: int) -> Batch:
        """Ask for a batch to be canceled; again is no error while it is canceling.

        Raises:
            RefusalError: 404 if it is not there; 400 if it has ended, where the real answer is not documented.
        """
        batch = self.retrieve(batch_id, now)
        if batch.status(now) == "ended":
            raise RefusalError(400, f"Batch {batch_id} has already ended and cannot be canceled.")
        if batch.cancel_requested_at is None:
            self._commit(CancelRequested(batch_id, now))
        return batch

    def delete(self, batch_id: str, now: int) -> None:
        """Delete an ended batch.

        Raises:
            RefusalError: 404 if it is not there; 400 if it has not ended (SDK: "cancel it first").
        """
        if self.retrieve(batch_id, now).status(now) != "ended":
            raise RefusalError(400, f"Batch {batch_id} has not ended; cancel it first.")
        self._commit(Deleted(batch_id))

    def results(self, batch_id: str, now: int) -> Batch:
        """Return a batch whose results can be read.

        Raises:
            RefusalError: 404 before the end, after archiving and after deletion; the real status is not documented.
        """
        batch = self.retrieve(batch_id, now)
        if batch.status(now) != "ended":
            raise RefusalError(404, f"Batch {batch_id} has no results yet: it is {batch.status(now)}.")
        if now >= batch.archived_at:
            raise RefusalError(404, f"The results of batch {batch_id} are no longer available.")
        return batch

    def _commit(self, record: Record) -> None:
        self._keep(record)
        self.apply(record)

    def _turnaround(self, traits: Traits) -> int:
        """Return how long the next batch takes."""
        shortest, longest = self.settings.turnaround_minimum_seconds, self.settings.turnaround_maximum_seconds
        seconds = shortest + (longest - shortest) * self._draw(f"turnaround/{len(self.batches)}") / 2**64
        turnaround = _microseconds(seconds) if traits.turnaround is None else traits.turnaround
        return max(turnaround, 1)  # no batch has ended in the answer to its own creation

    def _accept(self, columns: Columns, created_at: int, turnaround: int, traits: Traits, *, is_foreign: bool) -> Batch:
        ordinal = len(self.batches)
        batch_id = self._batch_id(ordinal)
        self._commit(Accepted(ordinal, batch_id, created_at, turnaround, columns, traits, is_foreign))
        return self.batches[batch_id]

    def _apply_accepted(self, accepted: Accepted) -> None:
        self.batches[accepted.batch_id] = Batch(accepted, self.settings)
        entry = (accepted.created_at, accepted.ordinal, accepted.batch_id)
        self._by_creation.insert(bisect_right(self._by_creation, entry), entry)
        if accepted.is_foreign:
            return
        for digest in set(_digests(accepted.columns)):
            self._attempts[digest] = self._attempts.get(digest, 0) + 1
        self._caches.keep(accepted.columns.prefixes)

    def _judged(self, envelope: Envelope, created_at: int, turnaround: int) -> Columns:
        """Return the columns with what only the service's memory knows: attempts, and cache hits."""
        columns = envelope.columns
        attempts = bytes(min(self._attempts.get(digest, 0) + 1, 255) for digest in _digests(columns))
        modes, entries = self._caches.judge(envelope, attempts, created_at, turnaround)
        return Columns(
            columns.count,
            columns.wire_ids,
            columns.digests,
            columns.input_tokens,
            columns.max_tokens,
            columns.shape_numbers,
            columns.shapes,
            attempts,
            columns.cached_tokens,
            modes,
            entries,
        )

    def _draw(self, name: str) -> int:
        digest = blake2b(f"{self.settings.seed}/{name}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little")

    def _batch_id(self, ordinal: int) -> str:
        return f"msgbatch_01{self._draw(f'batch/{ordinal}'):016x}{ordinal:06x}"


def _digests(columns: Columns) -> list[bytes]:
    digests = columns.digests
    return [digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES)]


def _microseconds(seconds: float) -> int:
    return round(seconds * MICROSECONDS_PER_SECOND)


def _instant(at: int | None) -> str | None:
    """Return RFC 3339 with microseconds, as the service writes it."""
    if at is None:
        return None
    moment = datetime.fromtimestamp(at // MICROSECONDS_PER_SECOND, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at % MICROSECONDS_PER_SECOND:06d}Z"
