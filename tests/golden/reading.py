"""Reading a golden ledger: always as an unpacked copy, since reading one leaves files beside it."""

from __future__ import annotations

import gzip
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from ledger.core import events as e
from ledger.core.evolve import fold
from ledger.core.projection import project, projection_text
from ledger.files.schemas import event_schema
from ledger.store.sqlite import SqliteLog

HERE = Path(__file__).resolve().parent
FIELDS = ".fields.json"
COMMANDS = (
    ("status", "--batches"),
    ("results", "--all", "--join"),
    ("costs", "--by", "attempt"),
    ("costs", "--by", "batch"),
    ("replay", "--audit"),
)

_COUNTDOWN = re.compile(
    r"(expires in |should have expired |can be had for |may be gone since ).+?( more| ago|)(?= \(\d{4}-)"
)
"""What ``status`` says of the time from now to a deadline."""


class Golden:
    """A committed ledger, and what it comes to.

    Attributes:
        name: the version that wrote it, and what happened in it: ``0.1.0-twin``.
        packed: the ledger, gzipped.
        projection: its projection, which never changes.
        screens: what the commands print about it; a screen may change on purpose.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.packed = HERE / f"{name}.ledger.gz"
        self.projection = HERE / f"{name}.projection.json"
        self.screens = HERE / f"{name}.screens.txt"

    def pack(self, ledger: Path) -> None:
        """Keep a ledger, that nobody has open, as this one."""
        self.packed.write_bytes(gzip.compress(ledger.read_bytes(), mtime=0))

    def unpacked(self, place: Path) -> Path:
        """Return a copy of the ledger in a directory."""
        copy = place / f"{self.name}.ledger"
        copy.write_bytes(gzip.decompress(self.packed.read_bytes()))
        return copy

    def projected(self, place: Path) -> bytes:
        """Return the projection as it is committed: of the log folded from its first event, indented."""
        with SqliteLog.open_reader(self.unpacked(place)) as log:
            state = fold((row.position, row.at, e.decode(row.type_name, row.data)) for row in log.read())
        return projection_text(project(state)) + b"\n"

    def shown(self, place: Path) -> str:
        """Return what the commands print about a copy in an empty directory, and their exit codes.

        The copy has no memo: whether this version still reads those of another is not what the screens are about.
        """
        ledger = self.unpacked(place)
        _forget_memo(ledger)
        parts = []
        with _inside(place):
            for command, *options in COMMANDS:
                arguments = [command, ledger.name, *options]
                result = CliRunner().invoke(application(), arguments, prog_name="ledger")
                printed = _COUNTDOWN.sub(r"\1SOME TIME\2", result.stdout)
                parts.append(f"$ ledger {' '.join(arguments)}\n{printed}exit code {result.exit_code}\n")
        return "\n".join(parts)


def fields() -> dict[str, Any]:
    """Return the types of events, and of every event and value the fields: what they hold, and their defaults."""
    definitions = event_schema()["$defs"]
    return {
        "types": {cls.__name__: name for cls, name in e.TYPE_NAMES.items()},
        "fields": {
            name: {
                field: {"type": kind} if field in one.get("required", ()) else {"type": kind, "optional": True}
                for field, kind in one["properties"].items()
            }
            for name, one in definitions.items()
        },
    }


def application() -> Any:
    """Return what the console script calls."""
    (script,) = entry_points(group="console_scripts", name="ledger")
    return script.load()


def all_golden() -> list[Golden]:
    """Return every golden ledger, of every version."""
    return [Golden(path.name.removesuffix(".ledger.gz")) for path in sorted(HERE.glob("*.ledger.gz"))]


def _forget_memo(ledger: Path) -> None:
    connection = sqlite3.connect(ledger)
    with connection:
        connection.execute("DELETE FROM snapshot")
    connection.close()


@contextmanager
def _inside(place: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(place)
    try:
        yield
    finally:
        os.chdir(before)
