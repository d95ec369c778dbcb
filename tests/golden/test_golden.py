"""What earlier versions wrote comes to the same for ever: outcomes, chunks, costs, and every byte of every event."""

from __future__ import annotations

import gzip
import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from reading import COMMANDS, FIELDS, HERE, Golden, all_golden, application, fields

from ledger import Ledger
from ledger.core import events as e
from ledger.core.evolve import evolve
from ledger.core.projection import PROJECTION_VERSION, Projection, project, projection_text
from ledger.core.state import RunState
from ledger.loading import load_state
from ledger.store.chain import CHAIN_VERSION, link, verify_chain
from ledger.store.sqlite import SqliteLog

ALL = all_golden()
SIMULATED = Golden("0.1.0-outcomes")
SIZE_AT_MOST = 100_000
each = pytest.mark.parametrize("golden", ALL, ids=lambda golden: golden.name)

NEWER_COMMANDS = (
    ["status"],
    ["results"],
    ["costs"],
    ["events"],
    ["replay"],
    ["replay", "--projection"],
    ["resume"],
    ["recover", "--simulate"],
    ["cancel", "--all"],
    ["copy", "copy.ledger"],
)


def run(ledger: Path, arguments: Sequence[str]) -> tuple[int, str, str]:
    command, *rest = arguments
    result = CliRunner().invoke(application(), [command, "--ledger", str(ledger), *rest], prog_name="ledger")
    return result.exit_code, result.stdout, result.stderr


def rows_of(ledger: Path) -> list[tuple[int, int, str, str, bytes]]:
    with SqliteLog.open_reader(ledger) as log:
        return [tuple(row) for row in log.read()]


def continued(ledger: Path, type_name: str, data: bytes) -> None:
    """Append a row as a newer version would: its hash is right, only its meaning is not known here."""
    connection = sqlite3.connect(ledger)
    ledger_id, position, prev = connection.execute("SELECT ledger_id, position, hash FROM head").fetchone()
    (at,) = connection.execute("SELECT at FROM event WHERE position = ?", (position,)).fetchone()
    after = link(CHAIN_VERSION, ledger_id, position + 1, prev, at, type_name, data)
    with connection:
        connection.execute(
            "INSERT INTO event VALUES (?, ?, ?, ?, ?)", (position + 1, at, type_name, data.decode(), after)
        )
        connection.execute("UPDATE head SET position = ?, hash = ?", (position + 1, after))
    connection.close()


# ── what they come to ────────────────────────────────────────────────────────────────────────────────────────────────


@each
def test_it_comes_to_what_it_came_to_when_it_was_written(golden: Golden, tmp_path: Path) -> None:
    """When this fails, a later version gives an old log another meaning: the committed file is never what is wrong."""
    assert golden.projected(tmp_path) == golden.projection.read_bytes()


@each
def test_its_memo_comes_to_the_same_or_is_not_believed(golden: Golden, tmp_path: Path) -> None:
    with SqliteLog.open_reader(golden.unpacked(tmp_path)) as log:
        assert log.load_snapshot() is not None
        assert projection_text(project(load_state(log))) + b"\n" == golden.projection.read_bytes()


@each
def test_the_command_prints_the_committed_projection(golden: Golden, tmp_path: Path) -> None:
    code, printed, said = run(golden.unpacked(tmp_path), ["replay", "--projection"])
    assert (code, printed.encode(), said) == (0, golden.projection.read_bytes(), "")
    assert msgspec.json.decode(printed, type=Projection).projection == PROJECTION_VERSION


@each
def test_the_commands_print_what_they_printed(golden: Golden, tmp_path: Path) -> None:
    """When a screen was changed on purpose: ``python tests/golden/make.py --screens``, and look at the difference."""
    assert golden.shown(tmp_path) == golden.screens.read_text(encoding="utf-8")


@each
def test_its_chain_and_its_payloads_are_sound(golden: Golden, tmp_path: Path) -> None:
    """When this finds another snapshot than the events fold to: what a state holds has changed, raise MEMO_VERSION."""
    path = golden.unpacked(tmp_path)
    with SqliteLog.open_reader(path) as log:
        assert list(verify_chain(log)) == []
    assert [finding for finding in Ledger(path).audit().findings if finding.severity == "breach"] == []


@each
def test_reading_it_changes_no_byte_of_it(golden: Golden, tmp_path: Path) -> None:
    path = golden.unpacked(tmp_path)
    for command in COMMANDS:
        run(path, command)
    assert path.read_bytes() == gzip.decompress(golden.packed.read_bytes())


# ── the same everywhere ──────────────────────────────────────────────────────────────────────────────────────────────

EVERY_POSITION = """
import hashlib, sys
from ledger.core import events as e
from ledger.core.projection import project, projection_text
from ledger.core.snapshot import dump
from ledger.core.evolve import evolve
from ledger.core.state import RunState
from ledger.store.sqlite import SqliteLog

for path in sys.argv[1:]:
    state, digest = RunState(), hashlib.sha256()
    with SqliteLog.open_reader(path) as log:
        for row in log.read():
            evolve(state, row.position, row.at, e.decode(row.type_name, row.data))
            digest.update(projection_text(project(state)) + dump(state))
    print(state.position, digest.hexdigest())
"""


def test_every_position_of_every_log_comes_to_the_same_under_any_hash_seed(tmp_path: Path) -> None:
    paths = [str(golden.unpacked(tmp_path)) for golden in ALL]

    def folded(seed: str) -> str:
        environment = os.environ | {"PYTHONHASHSEED": seed}
        ran = subprocess.run(
            [sys.executable, "-c", EVERY_POSITION, *paths], env=environment, capture_output=True, text=True, check=True
        )
        return ran.stdout

    first = folded("0")
    assert len(first.splitlines()) == len(ALL)
    assert {folded(seed) for seed in ("1", "2", "4294967295", "random")} == {first}


# ── the promise of the format ────────────────────────────────────────────────────────────────────────────────────────


@each
def test_every_event_is_read_and_written_as_the_same_bytes(golden: Golden, tmp_path: Path) -> None:
    for position, _, type_name, data, _ in rows_of(golden.unpacked(tmp_path)):
        assert e.encode(e.decode(type_name, data)) == (type_name, data.encode()), position


@pytest.mark.parametrize("frozen", sorted(HERE.glob(f"*{FIELDS}")), ids=lambda path: path.name.removesuffix(FIELDS))
def test_fields_are_only_added_with_defaults_and_mean_what_they_meant(frozen: Path) -> None:
    """When this fails, old events would be refused, or read as what they did not say: a new meaning is a new type."""
    then, now = msgspec.json.decode(frozen.read_bytes()), msgspec.json.decode(msgspec.json.encode(fields()))
    assert then["types"].items() <= now["types"].items()
    for name, were in then["fields"].items():
        are = now["fields"][name]
        assert {field: _without_values(are.get(field)) for field in were} == {
            field: _without_values(kind) for field, kind in were.items()
        }, name
        for field, kind in were.items():
            assert set(kind["type"].get("enum", ())) <= set(are[field]["type"].get("enum", ())), (name, field)
        assert all(are[field].get("optional") for field in are.keys() - were.keys()), name


def _without_values(kind: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what a field holds, whichever values of an enumeration there are by now."""
    return kind and kind | {"type": {name: part for name, part in kind["type"].items() if name != "enum"}}


def test_every_type_of_event_that_can_be_written_is_in_some_golden_ledger(tmp_path: Path) -> None:
    """When this fails, a type is new: add it to a run in ``make.py``, and make the ledgers of this version."""
    found = {row[2] for golden in ALL for row in rows_of(golden.unpacked(tmp_path))}
    assert found == set(e.TYPE_NAMES.values())


def test_every_outcome_is_in_some_golden_ledger(tmp_path: Path) -> None:
    found: set[str] = set()
    for golden in ALL:
        found |= msgspec.json.decode(golden.projection.read_bytes(), type=Projection).outcomes.keys()
    assert set(e.OUTCOMES) < found
    assert {"pending", "in_chunk"} < found


@each
def test_it_is_small(golden: Golden) -> None:
    assert golden.packed.stat().st_size < SIZE_AT_MOST


@pytest.mark.parametrize("arguments", NEWER_COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("type_name", "data", "what"),
    [
        ("batch_teleported", b'{"batch":"b"}', "event type 'batch_teleported' is not known to this version"),
        ("run_resumed", b'{"reason":"spend","mood":"good"}', "a run_resumed event cannot be read"),
    ],
    ids=["unknown type", "unknown field"],
)
def test_an_event_of_a_newer_version_is_refused_with_what_to_do_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type_name: str, data: bytes, what: str, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = SIMULATED.unpacked(tmp_path)
    continued(path, type_name, data)
    before = rows_of(path)
    code, printed, said = run(path, arguments)
    if arguments[0] in ("events", "copy"):  # they hand on what is stored, without asking what it means
        assert code == 0
    else:
        assert (code, printed) == (2, "")
        assert f"error: {what}" in said
        assert "pip install --upgrade claude-batch-ledger" in said
    assert rows_of(path) == before


@pytest.mark.parametrize("arguments", NEWER_COMMANDS, ids=" ".join)
def test_a_newer_schema_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = SIMULATED.unpacked(tmp_path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    code, printed, said = run(path, arguments)
    assert (code, printed) == (2, "")
    assert said == (
        "error: the ledger has the schema version 2, this program knows 1\n"
        f"where: {path}\n"
        "because: it was written by a newer version\n"
        "next: pip install --upgrade claude-batch-ledger\n"
    )


# ── the projection itself ────────────────────────────────────────────────────────────────────────────────────────────


@each
def test_every_request_is_in_one_outcome_and_the_costs_add_up_at_every_position(golden: Golden, tmp_path: Path) -> None:
    state = RunState()
    for position, at, type_name, data, _ in rows_of(golden.unpacked(tmp_path)):
        evolve(state, position, at, e.decode(type_name, data))
        found = project(state)
        told = sorted(
            ordinal
            for ranges in found.outcomes.values()
            for start, end in zip(ranges[::2], ranges[1::2], strict=True)
            for ordinal in range(start, end)
        )
        assert told == list(range(len(state.columns)))
        if found.costs is not None:
            for rows in (found.costs.by_model, found.costs.by_attempt, found.costs.by_batch, found.costs.by_day):
                assert sum(row.cost_usd or 0 for row in rows) == found.costs.total.cost_usd


def test_a_position_is_projected_as_the_log_was_then(tmp_path: Path) -> None:
    path = SIMULATED.unpacked(tmp_path)
    code, printed, _ = run(path, ["replay", "--projection", "--to", "1"])
    assert code == 0
    assert msgspec.json.decode(printed) == {
        "attempts": {},
        "cancels": {},
        "chunks": [],
        "costs": None,
        "exit_code": None,
        "findings": 0,
        "ledger_id": Ledger(path).state().ledger_id,
        "origin": "simulator",
        "outcomes": {},
        "pauses": [],
        "position": 1,
        "projection": 1,
        "requests": 0,
        "sources": [],
        "twins": [],
        "workspace": "",
    }


@pytest.mark.parametrize("flag", ["--audit", "--expect-head=3:00"])
def test_an_audit_and_a_projection_are_two_commands(tmp_path: Path, flag: str) -> None:
    code, printed, said = run(SIMULATED.unpacked(tmp_path), ["replay", "--projection", flag])
    assert (code, printed) == (2, "")
    assert said == "error: an audit has a report of its own\nnext: pass --audit or --projection, not both\n"
