"""Which ledgers of a user have answered which bodies: an index of keyed digests, and nothing of what was asked.

It serves one hint, before money is spent: that some of the items were answered in another ledger. It lies in the user's
state directory and belongs to no ledger; it may be deleted at any time, and comes back as runs end. A digest is 64 bits
of SHA-256 under a secret that is made once and kept beside it, both open to the user alone: without the secret nobody
can try whether a text was asked. About 20 bytes of disk an answer; what is beyond ten million answers, oldest ledgers
first, is forgotten.

Nothing here may hinder a run: whoever calls is told what went wrong and goes on.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from ledger.store.bodyindex import body_key

DIRECTORY_VARIABLE = "BATCH_LEDGER_STATE_DIR"
SWITCH_VARIABLE = "BATCH_LEDGER_INDEX"
ANSWERS_AT_MOST = 10_000_000
_NAME = "claude-batch-ledger"
_SECRET_BYTES = 32
_KEYS_A_QUERY = 500
_KEYS_A_COMMIT = 50_000
_BUSY_SECONDS = 5.0
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS ledger (
        number  INTEGER PRIMARY KEY,
        id      TEXT NOT NULL UNIQUE,
        path    TEXT NOT NULL,
        scope   TEXT NOT NULL,
        answers INTEGER NOT NULL,
        at      INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE IF NOT EXISTS answer (
        digest INTEGER NOT NULL,
        ledger INTEGER NOT NULL,
        PRIMARY KEY (digest, ledger)
    ) STRICT, WITHOUT ROWID""",
)


class IndexTroubleError(Exception):
    """The index cannot be used; its text says why."""


class Indexed(NamedTuple):
    """A ledger as the index has it.

    ``scope`` is what must be equal for answers to be taken (service, beta headers); ``answers`` is how many of its
    requests were ok; ``at`` is the instant in microseconds at which the index was told.
    """

    ledger_id: str
    path: str
    scope: str
    answers: int
    at: int


class Known(NamedTuple):
    """A ledger that has answers to requests of another one, and to how many of them."""

    ledger_id: str
    path: str
    requests: int


class AnswerIndex:
    """The index of one user.

    Args:
        place: its directory, which is made when there is none.

    Raises:
        IndexTroubleError: it cannot be used.
    """

    def __init__(self, place: Path) -> None:
        with _trouble(place):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._secret = _secret_in(place)
            # Digests under another secret say nothing: a new secret has a new file.
            self._path = place / f"answers-{body_key(b'name', self._secret) & 0xFFFF_FFFF:08x}.sqlite"
            self._connection = self._open()

    @classmethod
    def of_user(cls) -> AnswerIndex | None:
        """Return the index of whoever runs this, or None where it is switched off (``BATCH_LEDGER_INDEX=off``).

        Raises:
            IndexTroubleError: it cannot be used.
        """
        if os.environ.get(SWITCH_VARIABLE, "").lower() in ("off", "0", "no", "false"):
            return None
        return cls(_place_of_user())

    def close(self) -> None:
        """Close the index."""
        self._connection.close()

    def remember(self, ledger: Indexed, bodies: Iterable[bytes], is_stopped: Callable[[], bool]) -> None:
        """Note that a ledger has answers to these bodies; quick where nothing was added since the last time.

        Args:
            ledger: the ledger.
            bodies: what was asked and answered ``ok``; read only where they are needed.
            is_stopped: whether to leave it at that.

        Raises:
            IndexTroubleError: it could not be noted.
        """
        with _trouble(self._path, self._drop):
            known = self._connection.execute("SELECT answers FROM ledger WHERE id = ?", (ledger.ledger_id,)).fetchone()
            is_told = known is not None and known[0] == ledger.answers
            number = self._note(ledger, ledger.answers if is_told else 0)
            if is_told:
                return
            for digests in _grouped((body_key(body, self._secret) for body in bodies), _KEYS_A_COMMIT):
                if is_stopped():
                    return
                rows = [(digest, number) for digest in sorted(digests)]  # ascending keys are twice as quick
                with self._connection:
                    self._connection.executemany("INSERT OR IGNORE INTO answer VALUES (?, ?)", rows)
            self._note(ledger, ledger.answers)
            self._keep_small()

    def forget(self, ledger_id: str) -> None:
        """Delete all that is noted of a ledger.

        Raises:
            IndexTroubleError: it could not be deleted.
        """
        with _trouble(self._path, self._drop):
            self._connection.execute("PRAGMA secure_delete=ON")
            found = self._connection.execute("SELECT number FROM ledger WHERE id = ?", (ledger_id,)).fetchall()
            self._forget([number for (number,) in found])

    def knows_others(self, scope: str, but: Iterable[str]) -> bool:
        """Return whether any ledger but those is noted whose answers could be taken.

        Raises:
            IndexTroubleError: it cannot be read.
        """
        with _trouble(self._path, self._drop):
            return bool(self._others(scope, but))

    def who_knows(self, scope: str, but: Iterable[str], bodies: Iterable[bytes]) -> list[Known]:
        """Return the ledgers that have answers to some of these bodies, those with most first; forget those gone.

        Args:
            scope: what must be equal.
            but: ledgers that do not count.
            bodies: what is about to be asked.

        Raises:
            IndexTroubleError: it cannot be read.
        """
        with _trouble(self._path, self._drop):
            others = self._others(scope, but)
            counts = dict.fromkeys(others, 0)
            for digests in _grouped((body_key(body, self._secret) for body in bodies), _KEYS_A_QUERY):
                times: dict[int, int] = {}
                for digest in digests:
                    times[digest] = times.get(digest, 0) + 1
                marks = ",".join("?" * len(times))
                query = f"SELECT digest, ledger FROM answer WHERE digest IN ({marks})"  # noqa: S608 - question marks
                for digest, number in self._connection.execute(query, tuple(times)):
                    if number in counts:
                        counts[number] += times[digest]
            found = [Known(*others[number], count) for number, count in counts.items() if count]
            return sorted(found, key=lambda known: (-known.requests, known.path))

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _open(self) -> sqlite3.Connection:
        if not self._path.exists():
            os.close(os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))  # its journal gets the mode
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS)
        try:
            with connection:
                for statement in _SCHEMA:
                    connection.execute(statement)
        except sqlite3.Error as problem:
            connection.close()
            self._drop(problem)
            raise
        return connection

    def _drop(self, problem: BaseException) -> None:
        """Delete a file that is no database any more: it comes back by itself."""
        if isinstance(problem, sqlite3.DatabaseError) and not isinstance(problem, sqlite3.OperationalError):
            self._path.unlink(missing_ok=True)

    def _note(self, ledger: Indexed, answers: int) -> int:
        with self._connection:
            self._connection.execute(
                "INSERT INTO ledger (id, path, scope, answers, at) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET path = excluded.path, answers = excluded.answers, at = excluded.at",
                (ledger.ledger_id, ledger.path, ledger.scope, answers, ledger.at),
            )
        row = self._connection.execute("SELECT number FROM ledger WHERE id = ?", (ledger.ledger_id,)).fetchone()
        return int(row[0])

    def _others(self, scope: str, but: Iterable[str]) -> Mapping[int, tuple[str, str]]:
        excluded = set(but)
        found = self._connection.execute("SELECT number, id, path FROM ledger WHERE scope = ?", (scope,)).fetchall()
        gone = [number for number, _, path in found if not Path(path).is_file()]
        self._forget(gone)
        return {
            number: (ledger_id, path)
            for number, ledger_id, path in found
            if number not in gone and ledger_id not in excluded and path not in excluded
        }

    def _forget(self, numbers: Sequence[int]) -> None:
        if numbers:
            with self._connection:
                self._connection.executemany("DELETE FROM ledger WHERE number = ?", [(number,) for number in numbers])
                self._connection.execute("DELETE FROM answer WHERE ledger NOT IN (SELECT number FROM ledger)")

    def _keep_small(self) -> None:
        """Forget ledgers that are gone, of whatever service, and the oldest of too many answers; never the newest."""
        total = 0
        doomed = []
        newest_first = self._connection.execute("SELECT number, path, answers FROM ledger ORDER BY at DESC").fetchall()
        for number, path, answers in newest_first:
            total += answers
            is_gone = not Path(path).is_file()
            if is_gone or (total > ANSWERS_AT_MOST and number != newest_first[0][0]):
                doomed.append(number)
        self._forget(doomed)


def _place_of_user() -> Path:
    named = os.environ.get(DIRECTORY_VARIABLE)
    if named:
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / _NAME


def _secret_in(place: Path) -> bytes:
    path = place / "key"
    if not path.exists():
        mine = place / f"key.{os.getpid()}.{secrets.token_hex(4)}"
        fd = os.open(mine, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, secrets.token_bytes(_SECRET_BYTES))
        finally:
            os.close(fd)
        with suppress(FileExistsError):  # another process was first: its secret is the one
            os.link(mine, path)
        mine.unlink()
    found = path.read_bytes()
    if len(found) != _SECRET_BYTES:
        raise IndexTroubleError(f"{path} has {len(found)} bytes, not {_SECRET_BYTES}: delete it")
    return found


@contextmanager
def _trouble(place: Path, drop: Callable[[BaseException], None] = lambda _: None) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, sqlite3.Error) as problem:  # RuntimeError: whoever runs this has no home
        with suppress(OSError):
            drop(problem)
        raise IndexTroubleError(f"{place}: {problem}") from problem


def _grouped(digests: Iterable[int], size: int) -> Iterator[list[int]]:
    group: list[int] = []
    for digest in digests:
        group.append(digest)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


__all__ = ["DIRECTORY_VARIABLE", "SWITCH_VARIABLE", "AnswerIndex", "IndexTroubleError", "Indexed", "Known"]
