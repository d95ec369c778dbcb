"""What the simulated service finds in its prompt cache: decided when a batch is accepted, by when each request is due.

As documented ("Prompt caching", "Batch processing"): an entry can be read once the answer to the request that wrote it
has begun, and lives for its time from its last use; requests of a batch run in any order and many at once, so that
several of them write what one could have written, and 30 % to 98 % of what could be read is. A request of a batch is
due at an instant of its own, spread over the batch's turnaround; what is written becomes readable a share of that
turnaround later. The entry of a request that a cancellation or the 24 hours kept from being processed is there all the
same: a small error, to the good.

Whether one batch reads what another wrote is nowhere promised; ``Settings.cache_across_batches`` says what this
service does.
"""

from __future__ import annotations

from typing import NamedTuple

from ledger.core.units import MICROSECONDS_PER_SECOND
from ledger.service.simulator.answers import WHOLE, chance_of
from ledger.service.simulator.envelope import CACHE_ONE_HOUR, CACHE_READ, DIGEST_BYTES, Envelope
from ledger.service.simulator.settings import Settings

_HOUR = 3600 * MICROSECONDS_PER_SECOND
_MISS_OF = 32  # one request in so many misses what is there: hits are best effort ("Prompt caching")


class Entry(NamedTuple):
    """An entry of the cache: which prefix, and from when to when it can be read."""

    prefix: int
    since: int
    until: int


class Caches:
    """The entries of a service."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._entries: dict[int, Entry] = {}

    def keep(self, entries: tuple[tuple[int, int, int], ...]) -> None:
        """Take up what an accepted batch leaves behind."""
        if not self._settings.cache_across_batches:
            return
        for entry in (Entry(*numbers) for numbers in entries):
            before = self._entries.get(entry.prefix)
            self._entries[entry.prefix] = entry if before is None else _joined(before, entry)

    def judge(
        self, envelope: Envelope, attempts: bytes, created_at: int, turnaround: int
    ) -> tuple[bytes, tuple[Entry, ...]]:
        """Return the cache mode of every request of a batch, and the entries that it leaves behind.

        Args:
            envelope: the batch.
            attempts: how many batches held each body, this one included.
            created_at: when it comes into being, server time.
            turnaround: how long it takes.
        """
        columns, modes = envelope.columns, bytearray(envelope.columns.cache_modes)
        lag = round(turnaround * self._settings.cache_lag_share)
        here: dict[int, Entry] = {}
        for due, index, prefix in sorted(self._dues(envelope, attempts, created_at, turnaround)):
            until = due + (_HOUR if modes[index] == CACHE_ONE_HOUR else _HOUR // 12)
            found = here.get(prefix) or self._entries.get(prefix)
            if found is not None and found.since <= due < found.until:
                here[prefix] = Entry(prefix, found.since, max(found.until, until))
                if columns.digests[index * DIGEST_BYTES + 14] % _MISS_OF:
                    modes[index] = CACHE_READ
            elif found is None or due >= found.until:  # else it is being written: this one writes it, too
                since = min(due + lag, created_at + turnaround)  # when the batch has ended, all answers have begun
                here[prefix] = Entry(prefix, since, max(until, since))
        return bytes(modes), tuple(here.values())

    def _dues(
        self, envelope: Envelope, attempts: bytes, created_at: int, turnaround: int
    ) -> list[tuple[int, int, int]]:
        digests, key = envelope.columns.digests, self._settings.seed.to_bytes(16, "little", signed=True)
        dues = []
        for index, prefix in envelope.marked_prefixes.items():
            chance = chance_of(digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES], attempts[index], key)
            dues.append((created_at + turnaround * int.from_bytes(chance[:2], "little") // WHOLE, index, prefix))
        return dues


def _joined(before: Entry, entry: Entry) -> Entry:
    """Return one entry for two of a prefix: the later one where they do not meet, since time goes on."""
    if entry.since > before.until:
        return entry
    return Entry(entry.prefix, min(before.since, entry.since), max(before.until, entry.until))
