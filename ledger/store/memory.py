"""The event log in memory: for simulations, which run thousands of lives of a run a minute, and for tests.

It keeps the contract of the SQLite log, fencing and encoded payload blocks included, so that what is true of a run
over the one is true over the other. What a killed process loses is the ``MemoryLog``; what the disk keeps is its
``Disk``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from heapq import merge

from ledger.core.errors import CorruptLogError, LockedError
from ledger.core.events import AnyEvent
from ledger.ports import Body, Head, Recorded, RequestBlock, RequestPayload, ResultBlock, ResultPayload
from ledger.store.chain import GENESIS, chained
from ledger.store.payloads import decode_requests, decode_results, require_consecutive, without_body, without_row


class Disk:
    """What outlives a process: rows, payload blocks, snapshots, and the epoch of the last writer."""

    def __init__(self) -> None:
        self.ledger_id = ""
        self.rows: list[Recorded] = []
        self.requests: list[tuple[int, RequestBlock]] = []  # the position after which, the block
        self.results: dict[int, list[tuple[int, ResultBlock]]] = {}  # by chunk, likewise
        self.amended: list[tuple[int, Body]] = []  # what replaced a body, in order, with the position
        self.redacted: dict[int, int] = {}  # the position after which, by ordinal
        self.snapshots: list[tuple[int, bytes]] = []
        self.epoch = 0

    def cut(self, position: int) -> Disk:
        """Return the disk as it was when the log ended at a position."""
        kept = Disk()
        kept.ledger_id = self.ledger_id if position else ""
        kept.rows = self.rows[:position]
        kept.requests = [one for one in self.requests if one[0] <= position]
        kept.results = {chunk: [one for one in blocks if one[0] <= position] for chunk, blocks in self.results.items()}
        kept.amended = [one for one in self.amended if one[0] <= position]
        kept.redacted = {ordinal: at for ordinal, at in self.redacted.items() if at <= position}
        kept.snapshots = [one for one in self.snapshots if one[0] <= position]
        kept.epoch = self.epoch
        return kept


class MemoryLog:
    """An `EventLog` on a `Disk`; opening one fences off whoever had it open before.

    Args:
        disk: what an earlier process left; a new, empty one by default.
    """

    def __init__(self, disk: Disk | None = None) -> None:
        self.disk = disk if disk is not None else Disk()
        self.disk.epoch += 1
        self._epoch = self.disk.epoch
        self._changes: tuple[Sequence[Body], Collection[int]] = (), ()  # what the next append changes, too

    @property
    def ledger_id(self) -> str:
        """The id in the first event; empty before it."""
        return self.disk.ledger_id

    @property
    def head(self) -> Head:
        """Where the log ends."""
        rows = self.disk.rows
        return Head(len(rows), rows[-1].hash if rows else GENESIS, self._epoch)

    @property
    def epoch(self) -> int:
        """The number of this opening."""
        return self._epoch

    def check_fence(self) -> None:
        """Make sure that nobody has opened the log since.

        Raises:
            LockedError: somebody has.
        """
        if self.disk.epoch != self._epoch:
            raise LockedError("another process has taken over this ledger")

    def append(
        self,
        events: Sequence[AnyEvent],
        at: int,
        requests: Sequence[RequestBlock] = (),
        results: Sequence[ResultBlock] = (),
    ) -> Head:
        """Store events and payloads at once and return the new head.

        Raises:
            LockedError: another writer has taken over.
            IllegalEventError: the first event of the log is not ``run_opened``; nothing was stored.
            ValueError: blocks of requests are not consecutive; nothing was stored.
        """
        self.check_fence()
        disk = self.disk
        ledger_id, rows = chained(disk.ledger_id, self.head, events, at)
        require_consecutive(requests, _end(disk.requests[-1][1]) if disk.requests else 0)
        disk.ledger_id = ledger_id
        disk.rows += [Recorded(position, at, name, data.decode(), link) for position, at, name, data, link in rows]
        disk.requests += [(len(disk.rows), block) for block in requests]
        for block in results:
            disk.results.setdefault(block.chunk, []).append((len(disk.rows), block))
        amended, redacted = self._changes
        disk.amended += [(len(disk.rows), body) for body in amended]
        disk.redacted |= dict.fromkeys(redacted, len(disk.rows))
        return self.head

    def rewrite(
        self, events: Sequence[AnyEvent], at: int, amended: Sequence[Body] = (), redacted: Collection[int] = ()
    ) -> Head:
        """Store events and change payloads at once; see the port. What is redacted can be had no more, and stays."""
        for ordinal in (*(body.ordinal for body in amended), *redacted):
            self._block_of(ordinal)
        self._changes = amended, redacted
        try:
            return self.append(events, at)
        finally:
            self._changes = (), ()

    def superseded_payloads(self) -> Iterator[Body]:
        """Yield the bodies that were replaced, in the order of the events that replaced them.

        Raises:
            CorruptLogError: a block is not what was written.
        """
        latest: dict[int, RequestPayload] = {}
        for _, body in self.disk.amended:
            ordinal = body.ordinal
            payload = (
                latest.get(ordinal) or decode_requests(self._block_of(ordinal))[ordinal - self._block_of(ordinal).first]
            )
            latest[ordinal] = body.payload
            yield Body(ordinal, without_body(payload) if ordinal in self.disk.redacted else payload)

    def read(self, after: int = 0, upto: int | None = None) -> Iterator[Recorded]:
        """Yield the rows with ``after < position <= upto``, in order; by default up to the end as it is now."""
        end = len(self.disk.rows) if upto is None else min(upto, len(self.disk.rows))
        for index in range(after, end):
            yield self.disk.rows[index]

    def request_payloads(self, ordinals: Iterable[int]) -> Iterator[RequestPayload]:
        """Yield the payload of each ordinal.

        Raises:
            CorruptLogError: a payload is not there, or not what was written.
        """
        latest = {body.ordinal: body.payload for _, body in self.disk.amended}
        open_block, payloads = None, list[RequestPayload]()
        for ordinal in ordinals:
            block = self._block_of(ordinal)
            if block is not open_block:
                open_block, payloads = block, decode_requests(block)
            payload = latest.get(ordinal) or payloads[ordinal - block.first]
            yield without_body(payload) if ordinal in self.disk.redacted else payload

    def result_payloads(self, chunk: int) -> Iterator[ResultPayload]:
        """Yield the stored rows of a chunk in ascending order of ordinal, of equal ones the one stored first.

        Raises:
            CorruptLogError: a block is not what was written.
        """
        blocks = [decode_results(block) for _, block in self.disk.results.get(chunk, [])]
        rows = merge(*blocks, key=lambda row: row.ordinal)
        return (without_row(row) if row.ordinal in self.disk.redacted else row for row in rows)

    def save_snapshot(self, position: int, data: bytes) -> None:
        """Keep a memo of the fold at a position, beside the newest one before it.

        Raises:
            LockedError: another writer has taken over.
        """
        self.check_fence()
        others = [one for one in self.disk.snapshots if one[0] != position]
        self.disk.snapshots = sorted([*others, (position, data)])[-2:]

    def load_snapshot(self) -> tuple[int, bytes] | None:
        """Return the newest memo, if there is one."""
        return self.disk.snapshots[-1] if self.disk.snapshots else None

    def _block_of(self, ordinal: int) -> RequestBlock:
        index = bisect_right(self.disk.requests, ordinal, key=lambda one: one[1].first) - 1
        if index < 0 or ordinal >= _end(self.disk.requests[index][1]):
            raise CorruptLogError("the body of a request is not stored", where=f"request {ordinal}")
        return self.disk.requests[index][1]


def _end(block: RequestBlock) -> int:
    first, count, _ = block
    return first + count
