"""Which custom_ids are taken: an index on disk that is rebuilt from the log, in bounded memory.

It lies in a temporary SQLite database that vanishes with its connection. The key is Python's own hash of the id (64
bits, keyed anew by every process), so that a million ids take some 20 MB and no Python object. Two ids may share a key:
an id is taken only when the id it meets is truly the same, and one that is not moves on to another key (SHA-256 with a
counter in front).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from hashlib import sha256

_CACHE_KIB = 16384
_KEY_BITS = 64


class IdIndex:
    """The ordinal of every custom_id seen so far.

    Args:
        custom_id_of: returns the custom_id of an ordinal that was added before.
        key_bits: how much of the hash makes a key; less than 64 is for tests, which make ids meet.
    """

    def __init__(self, custom_id_of: Callable[[int], str], key_bits: int = _KEY_BITS) -> None:
        self._custom_id_of = custom_id_of
        self._shift = _KEY_BITS - key_bits
        self._connection = sqlite3.connect("", isolation_level=None)  # a temporary file that nobody else sees
        self._connection.execute("PRAGMA journal_mode=OFF")
        self._connection.execute("PRAGMA synchronous=OFF")
        self._connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        self._connection.execute("CREATE TABLE taken (key INTEGER PRIMARY KEY, ordinal INTEGER NOT NULL)")
        self._connection.execute("BEGIN")  # never committed: nothing here outlives the process, and it is quicker

    def close(self) -> None:
        """Drop the index."""
        self._connection.close()

    def add_many(self, custom_ids: Sequence[str], first: int) -> list[tuple[int, int]]:
        """Give the new ids of a group consecutive ordinals from ``first`` on, in order, and return the others.

        Args:
            custom_ids: the group; some thousand at a time is quick.
            first: the next free ordinal, beyond every ordinal added so far.

        Returns:
            (index in the group, ordinal the id has already) of every id that was taken, be it by an earlier group or
            earlier in this one. The new ids have used ``len(custom_ids)`` minus that many ordinals.
        """
        keys = self._first_keys(custom_ids)
        before = self._connection.total_changes
        rows = sorted(zip(keys, range(first, first + len(keys)), strict=True))  # ascending keys are twice as quick
        self._connection.executemany("INSERT OR IGNORE INTO taken VALUES (?, ?)", rows)
        taken: list[tuple[int, int]] = []
        if self._connection.total_changes - before != len(keys):
            self._connection.executemany("DELETE FROM taken WHERE key = ? AND ordinal >= ?", [(k, first) for k in keys])
            taken = self._add_one_by_one(custom_ids, first)
        return taken

    def _first_keys(self, custom_ids: Sequence[str]) -> list[int]:
        return [hash(custom_id) >> self._shift for custom_id in custom_ids]

    def _later_key(self, custom_id: str, probe: int) -> int:
        return (
            int.from_bytes(sha256(b"%d:%b" % (probe, custom_id.encode())).digest()[:8], "big", signed=True)
            >> self._shift
        )

    def _add_one_by_one(self, custom_ids: Sequence[str], first: int) -> list[tuple[int, int]]:
        taken: list[tuple[int, int]] = []
        new: list[str] = []
        for index, custom_id in enumerate(custom_ids):
            ordinal = first + len(new)
            existing = self._claim(custom_id, ordinal, first, new)
            if existing == ordinal:
                new.append(custom_id)
            else:
                taken.append((index, existing))
        return taken

    def _claim(self, custom_id: str, ordinal: int, first: int, new: Sequence[str]) -> int:
        """Return the ordinal an id has, which is the one offered when the id is new."""
        (key,) = self._first_keys([custom_id])
        probe = 0
        while True:
            row = self._connection.execute("SELECT ordinal FROM taken WHERE key = ?", (key,)).fetchone()
            if row is None:
                self._connection.execute("INSERT INTO taken VALUES (?, ?)", (key, ordinal))
                return ordinal
            existing = int(row[0])
            if custom_id == (new[existing - first] if existing >= first else self._custom_id_of(existing)):
                return existing
            probe += 1
            key = self._later_key(custom_id, probe)
