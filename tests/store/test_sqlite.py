"""The SQLite log's file: what it is, who may read it, and what happens when the disk does not play along."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from samples import AT, OPENED, built, new_ledger, polled, request, result

from ledger.core.errors import CorruptLogError, DiskError, LockedError, NotALedgerError, RolledBackError, UsageError
from ledger.core.events import LedgerRecovered
from ledger.ports import Head
from ledger.store import schema
from ledger.store.chain import GENESIS, verify_chain
from ledger.store.payloads import request_blocks, result_blocks
from ledger.store.sqlite import SqliteLog


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def python(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


# ── the file ──


def test_a_created_file_has_the_schema_of_the_migrations_and_nothing_else(tmp_path: Path) -> None:
    SqliteLog.create(tmp_path / "a.ledger").close()
    migrated = sqlite3.connect(":memory:", isolation_level=None)
    for _, statements in schema.MIGRATIONS:
        for statement in statements:
            migrated.execute(statement)
    query = "SELECT type, name, sql FROM sqlite_master WHERE name NOT GLOB '*sqlite_migrations*' ORDER BY name"
    created = sqlite3.connect(tmp_path / "a.ledger")
    assert created.execute(query).fetchall() == migrated.execute(query).fetchall()
    assert created.execute("SELECT name FROM _sqlite_migrations").fetchall() == [(n,) for n, _ in schema.MIGRATIONS]
    assert created.execute("PRAGMA user_version").fetchone() == (schema.SCHEMA_VERSION,)
    assert created.execute("PRAGMA application_id").fetchone() == (0x43424C67,)
    tables = created.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main'").fetchall()
    assert [name for name, strict in tables if not strict] == ["_sqlite_migrations", "sqlite_schema"]
    created.close()
    migrated.close()


def test_an_open_ledger_is_durable_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        log = new_ledger(tmp_path / "a.ledger", events=1)
    finally:
        os.umask(before)
    assert names_in(tmp_path) == ["a.ledger", "a.ledger-shm", "a.ledger-wal", "a.ledger.lock"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    pragmas = ("journal_mode", "synchronous", "page_size")
    assert [log._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in pragmas] == ["wal", 2, 8192]
    log.close()
    assert names_in(tmp_path) == ["a.ledger", "a.ledger.lock"]


def test_opening_a_ledger_that_is_up_to_date_does_not_load_sqlite_utils(tmp_path: Path) -> None:
    new_ledger(tmp_path / "a.ledger").close()
    program = """
        import sys
        from ledger.store.sqlite import SqliteLog
        SqliteLog.open_reader(sys.argv[1]).close()
        SqliteLog.open_writer(sys.argv[1]).close()
        print([name for name in ("sqlite_utils", "click", "pluggy") if name in sys.modules])
    """
    assert python(program, tmp_path / "a.ledger").stdout == "[]\n"


def test_creating_refuses_a_name_that_is_taken_and_leaves_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("poetry")
    with pytest.raises(UsageError, match="a file of this name"):
        SqliteLog.create(path)
    assert names_in(tmp_path) == ["mine.txt"]
    assert path.read_text() == "poetry"


def test_creating_refuses_what_a_deleted_database_left_behind(tmp_path: Path) -> None:
    (tmp_path / "a.ledger-wal").write_bytes(b"frames")
    with pytest.raises(UsageError, match=r"a\.ledger-wal: this belongs to a ledger that was here before"):
        SqliteLog.create(tmp_path / "a.ledger")


def test_a_creation_that_was_killed_half_way_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "a.ledger.creating").write_bytes(b"half")
    (tmp_path / "a.ledger.creating-journal").write_bytes(b"half")
    SqliteLog.create(tmp_path / "a.ledger").close()
    assert names_in(tmp_path) == ["a.ledger", "a.ledger.lock"]


def test_a_new_ledger_does_not_inherit_the_head_of_a_deleted_one(tmp_path: Path) -> None:
    new_ledger(tmp_path / "a.ledger", events=5).close()
    (tmp_path / "a.ledger").unlink()
    with SqliteLog.create(tmp_path / "a.ledger") as log:
        assert log.head == Head(0, GENESIS, 1)
        assert log.needs_recovery == ""


def test_creating_in_a_directory_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mkdir -p"):
        SqliteLog.create(tmp_path / "no" / "a.ledger")


def not_ledgers(directory: Path) -> dict[str, Path]:
    text = directory / "text.ledger"
    text.write_text("name,price\n" * 100)
    empty = directory / "empty.ledger"
    empty.touch()
    other = directory / "other.ledger"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE event (position)")
    connection.close()
    return {"text": text, "empty": empty, "other": other}


@pytest.mark.parametrize("kind", ["text", "empty", "other"])
@pytest.mark.parametrize("open_log", [SqliteLog.open_reader, SqliteLog.open_writer])
def test_a_file_that_is_not_ours_is_refused_and_not_touched(tmp_path: Path, kind: str, open_log) -> None:  # type: ignore[no-untyped-def]
    path = not_ledgers(tmp_path)[kind]
    before = path.read_bytes()
    names = names_in(tmp_path)
    with pytest.raises(NotALedgerError, match="not a batch ledger"):
        open_log(path)
    assert (path.read_bytes(), names_in(tmp_path)) == (before, names)


@pytest.mark.parametrize("open_log", [SqliteLog.open_reader, SqliteLog.open_writer])
def test_a_ledger_that_is_not_there_is_refused_and_not_made(tmp_path: Path, open_log) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="there is no such ledger"):
        open_log(tmp_path / "a.ledger")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("open_log", [SqliteLog.open_reader, SqliteLog.open_writer])
def test_a_ledger_of_a_newer_version_names_the_upgrade(tmp_path: Path, open_log) -> None:  # type: ignore[no-untyped-def]
    new_ledger(tmp_path / "a.ledger").close()
    connection = sqlite3.connect(tmp_path / "a.ledger")
    connection.execute(f"PRAGMA user_version={schema.SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(NotALedgerError, match="pip install --upgrade claude-batch-ledger"):
        open_log(tmp_path / "a.ledger")


def test_every_name_of_a_ledger_means_the_same_lock(tmp_path: Path) -> None:
    (tmp_path / "link.ledger").symlink_to(tmp_path / "a.ledger")
    with new_ledger(tmp_path / "a.ledger"), pytest.raises(LockedError):
        SqliteLog.open_writer(tmp_path / "link.ledger")


# ── readers ──


def test_a_reader_sees_what_is_committed_while_the_writer_goes_on(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "a.ledger", events=2) as log, SqliteLog.open_reader(log.path) as reader:
        assert reader.head == log.head
        rows = reader.read()
        first = next(rows)
        for number in range(20):
            log.append([polled(number)], AT)
        assert [first.position, *(row.position for row in rows)] == [1, 2, 3]
        assert reader.head == log.head
        assert [row.position for row in reader.read(after=20)] == [21, 22, 23]
        assert reader.head_verified


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    new_ledger(tmp_path / "a.ledger").close()
    with SqliteLog.open_reader(tmp_path / "a.ledger") as reader:
        for act in (lambda: reader.append([polled(1)], AT), lambda: reader.save_snapshot(1, b""), reader.check_fence):
            with pytest.raises(ValueError, match="not open for writing"):
                act()
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._connection.execute("UPDATE head SET epoch = 9")


def test_a_writer_that_closes_beside_a_reader_leaves_the_log_whole(tmp_path: Path) -> None:
    log = new_ledger(tmp_path / "a.ledger", events=2)
    with SqliteLog.open_reader(log.path) as reader:
        log.close()
        assert len(list(reader.read())) == 3
    with SqliteLog.open_writer(tmp_path / "a.ledger") as again:
        assert again.head.position == 3
    assert names_in(tmp_path) == ["a.ledger", "a.ledger.lock"]


def test_a_reader_never_checkpoints_what_a_killed_writer_left(tmp_path: Path) -> None:
    killed = python(
        """
        import os, signal, sys
        from pathlib import Path
        from samples import new_ledger
        log = new_ledger(Path(sys.argv[1]), events=3)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        tmp_path / "a.ledger",
    )
    assert killed.returncode == -9
    sizes = [(tmp_path / name).stat().st_size for name in ("a.ledger", "a.ledger-wal")]
    with SqliteLog.open_reader(tmp_path / "a.ledger") as reader:
        assert len(list(reader.read())) == 4
        assert reader.head_verified
    assert [(tmp_path / name).stat().st_size for name in ("a.ledger", "a.ledger-wal")] == sizes


def test_a_snapshot_that_is_damaged_or_beyond_the_log_is_passed_over(tmp_path: Path) -> None:
    log = new_ledger(tmp_path / "a.ledger", events=4)
    log.save_snapshot(3, b"three")
    log.save_snapshot(5, b"five")
    log._connection.execute("UPDATE snapshot SET data = x'00' WHERE position = 5")
    assert log.load_snapshot() == (3, b"three")
    log._connection.execute("UPDATE snapshot SET position = 9 WHERE position = 3")
    assert log.load_snapshot() is None
    log.close()


def test_a_damaged_page_is_found_by_the_integrity_check_and_named_by_the_chain(tmp_path: Path) -> None:
    log = new_ledger(tmp_path / "a.ledger", events=400)
    assert log.integrity_problems() == []
    log.close()
    with (tmp_path / "a.ledger").open("r+b") as file:  # no connection is open here
        file.seek(-2 * 8192, os.SEEK_END)
        file.write(b"\xff" * 8192)
    with SqliteLog.open_reader(tmp_path / "a.ledger") as reader:
        assert reader.integrity_problems() != []
        ((position, _),) = verify_chain(reader)
        assert [row.position for row in reader.read(upto=position - 1)] == list(range(1, position))
        with pytest.raises(CorruptLogError, match=f"position {position}: the event cannot be read"):
            list(reader.read())


# ── rollbacks ──


def copy_file(source: Path, destination: Path) -> None:
    destination.write_bytes(source.read_bytes())


def test_an_older_copy_put_back_in_place_is_refused_and_names_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "a.ledger"
    new_ledger(path, events=2).close()
    shutil.copy(path, tmp_path / "backup")
    with SqliteLog.open_writer(path) as log:
        log.append([polled(7)], AT)
    copy_file(tmp_path / "backup", path)  # the same inode
    with pytest.raises(RolledBackError, match=r"ends at position 3 .* had reached 4(.|\n)*ledger recover"):
        SqliteLog.open_writer(path)


def test_an_older_copy_moved_into_place_is_refused_although_it_is_another_file(tmp_path: Path) -> None:
    path = tmp_path / "a.ledger"
    new_ledger(path, events=2).close()
    shutil.copy(path, tmp_path / "backup")
    with SqliteLog.open_writer(path) as log:
        log.append([polled(7)], AT)
    (tmp_path / "backup").rename(path)
    with pytest.raises(RolledBackError):
        SqliteLog.open_writer(path)


def test_a_rolled_back_log_that_went_on_differently_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ledger"
    new_ledger(path, events=2).close()
    shutil.copy(path, tmp_path / "backup")
    with SqliteLog.open_writer(path) as log:
        log.append([polled(7)], AT)
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "backup", tmp_path / "elsewhere" / "a.ledger")
    with SqliteLog.open_writer(tmp_path / "elsewhere" / "a.ledger") as log:
        log.append([polled(8), polled(9)], AT)
    copy_file(tmp_path / "elsewhere" / "a.ledger", path)
    with pytest.raises(RolledBackError, match="position 4 is not the one that its head names"):
        SqliteLog.open_writer(path)


def test_a_lost_wal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ledger"
    program = """
        import os, signal, sys
        from pathlib import Path
        from samples import new_ledger
        log = new_ledger(Path(sys.argv[1]), events=3)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    python(program, path)
    (tmp_path / "a.ledger-wal").unlink()
    (tmp_path / "a.ledger-shm").unlink()
    with pytest.raises(RolledBackError):
        SqliteLog.open_writer(path)
    with SqliteLog.open_reader(path) as reader:
        assert (reader.needs_recovery, reader.head_verified) == ("behind", False)
        assert list(verify_chain(reader, reader.expected)) == [
            (1, "the log ends at 0, but had reached 4: its tail is missing")
        ]


def rolled_back(path: Path) -> None:
    new_ledger(path, events=2).close()
    old = path.read_bytes()
    with SqliteLog.open_writer(path) as log:
        log.append([polled(7)], AT)
    path.write_bytes(old)


def test_recovery_opens_a_log_behind_its_head_and_ends_with_ledger_recovered(tmp_path: Path) -> None:
    path = tmp_path / "a.ledger"
    rolled_back(path)
    with SqliteLog.open_writer(path, for_recovery=True) as log:
        assert log.needs_recovery == "behind"
        log.append([polled(1)], AT)
        assert log.needs_recovery == "behind"
    with pytest.raises(RolledBackError):  # recovery was interrupted: it is not done
        SqliteLog.open_writer(path)
    with SqliteLog.open_writer(path, for_recovery=True) as log:
        log.append([LedgerRecovered(cause="behind")], AT)
        assert log.needs_recovery == ""
    with SqliteLog.open_writer(path) as log:
        assert (log.needs_recovery, log.head.position) == ("", 5)


@pytest.mark.parametrize("case", ["missing", "torn", "foreign file", "foreign ledger"])
def test_without_a_head_of_this_very_file_a_log_opens_unverified_until_it_has_recovered(
    tmp_path: Path, case: str
) -> None:
    path = tmp_path / "a.ledger"
    sidecar = tmp_path / "a.ledger.lock"
    new_ledger(path, events=2).close()
    match case:
        case "missing":
            sidecar.unlink()
        case "torn":
            sidecar.write_bytes(b"\xff" * sidecar.stat().st_size)
        case "foreign file":
            shutil.copytree(tmp_path, tmp_path / "copied")
            path = tmp_path / "copied" / "a.ledger"
        case _:
            with SqliteLog.create(tmp_path / "b.ledger") as other:
                other.append([OPENED.__class__(ledger_id="b", origin="simulator", tool_version="1")], AT)
            shutil.copy(tmp_path / "b.ledger.lock", sidecar)
    expected = "missing" if case in ("missing", "torn") else "foreign"
    with SqliteLog.open_reader(path) as reader:
        assert (reader.needs_recovery, reader.head_verified) == (expected, False)
        assert list(verify_chain(reader)) == []
    for _ in range(2):  # what is not recovered stays so
        with SqliteLog.open_writer(path) as log:
            assert log.needs_recovery == expected
            log.append([polled(1)], AT)
    with SqliteLog.open_writer(path) as log:
        log.append([LedgerRecovered(cause=expected)], AT)
    with SqliteLog.open_writer(path) as log:
        assert log.needs_recovery == ""


def test_a_head_synced_before_a_crash_between_commit_and_sidecar_is_no_rollback(tmp_path: Path) -> None:
    path = tmp_path / "a.ledger"
    log = new_ledger(path, events=2)
    sidecar = (tmp_path / "a.ledger.lock").read_bytes()
    log.append([polled(5)], AT)
    log.close()
    (tmp_path / "a.ledger.lock").write_bytes(sidecar)
    with SqliteLog.open_writer(path) as again:
        assert (again.needs_recovery, again.head.position) == ("", 4)


def test_epochs_only_ever_grow_also_when_the_log_was_rolled_back(tmp_path: Path) -> None:
    path = tmp_path / "a.ledger"
    new_ledger(path, events=1).close()
    old = path.read_bytes()
    for _ in range(3):
        SqliteLog.open_writer(path).close()
    path.write_bytes(old)  # no event was lost with it
    with SqliteLog.open_writer(path) as log:
        assert log.epoch == 5


# ── trouble ──


def test_a_full_disk_is_said_and_the_log_stays_what_it_was(tmp_path: Path) -> None:
    program = """
        import resource, signal, sys
        from pathlib import Path
        from ledger.core.errors import DiskError
        from samples import AT, new_ledger, polled
        log = new_ledger(Path(sys.argv[1]))
        limit = 400_000
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        acknowledged = 1
        try:
            while True:
                acknowledged = log.append([polled(n) for n in range(100)], AT).position
        except DiskError as problem:
            print(type(problem).__name__, problem.next.split(":")[0])
        try:
            log.append([polled(1)], AT)
        except DiskError as problem:
            print(problem.what)
        log.close()
        print(acknowledged)
    """
    path = tmp_path / "a.ledger"
    answer = python(program, path)
    assert answer.stderr == ""
    first, second, acknowledged = answer.stdout.splitlines()
    assert first == "DiskError check the disk (dmesg, df -h), then"
    assert second == "the ledger was closed to writing after a failed write"
    assert int(acknowledged) > 100
    with SqliteLog.open_writer(path) as log:
        assert log.head.position == int(acknowledged)
        assert list(verify_chain(log, log.expected)) == []


def test_a_log_of_full_pages_names_the_full_disk(tmp_path: Path) -> None:
    log = new_ledger(tmp_path / "a.ledger")
    log._connection.execute("PRAGMA max_page_count=1")
    with pytest.raises(DiskError, match=r"the disk is full(.|\n)*make room"):
        log.append([polled(n) for n in range(10_000)], AT)
    with pytest.raises(DiskError, match="closed to writing"):
        log.append([polled(1)], AT)
    log.close()
    with SqliteLog.open_writer(tmp_path / "a.ledger") as again:
        assert again.head.position == 1


def test_payloads_and_events_are_stored_together_or_not_at_all(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "a.ledger") as log:
        log.append([built(0)], AT, requests=list(request_blocks(0, [request(0)])))
        log._connection.execute("INSERT INTO request_block VALUES (1, 1, x'00')")
        with pytest.raises(CorruptLogError):
            log.append([built(1)], AT, requests=list(request_blocks(1, [request(1)])))
    with SqliteLog.open_reader(tmp_path / "a.ledger") as reader:
        assert reader.head.position == 2
        assert list(verify_chain(reader)) == []


def test_a_ledger_moved_away_while_it_is_written_stops_the_writer(tmp_path: Path) -> None:
    log = new_ledger(tmp_path / "a.ledger")
    (tmp_path / "a.ledger").rename(tmp_path / "b.ledger")
    with pytest.raises(DiskError):
        log.append([polled(1)], AT)
    log.close()


def test_a_fenced_writer_can_neither_append_nor_act(tmp_path: Path) -> None:
    log = new_ledger(tmp_path / "a.ledger")
    (tmp_path / "a.ledger.lock").unlink()  # whoever removes the sidecar opens the door to a second writer
    with SqliteLog.open_writer(tmp_path / "a.ledger") as second:
        with pytest.raises(LockedError, match="taken over"):
            log.check_fence()
        with pytest.raises(LockedError, match="taken over"):
            log.append([polled(1)], AT)
        second.append([polled(2)], AT)
        log.close()
        assert second.head.position == 2
        assert list(verify_chain(second)) == []


def test_blocks_that_no_event_speaks_of_are_dropped_and_missing_ones_are_named(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "a.ledger") as log:
        log.append([built(0)], AT, requests=list(request_blocks(0, [request(0)])))
        log.append([built(1)], AT, requests=list(request_blocks(1, [request(1)])))
        for ordinal in (0, 1):
            log.append([polled(1)], AT, results=list(result_blocks(1, [result(ordinal)])))
        log.append([polled(1)], AT, results=list(result_blocks(2, [result(5)])))
        for requests, results, missing in ((3, {}, "bodies of the 3"), (2, {1: 3}, "chunk 1"), (2, {7: 1}, "chunk 7")):
            with pytest.raises(CorruptLogError, match=missing):
                log.drop_unlogged(requests, results)
        log.drop_unlogged(2, {1: 2, 2: 1})
        assert [len(list(log.result_payloads(chunk))) for chunk in (1, 2)] == [2, 1]
        log.drop_unlogged(1, {1: 1, 2: 0})
        assert [payload.ordinal for payload in log.result_payloads(1)] == [0]
        assert not list(log.result_payloads(2))
        log.append([built(1)], AT, requests=list(request_blocks(1, [request(1)])))
