"""One writer at a time, across processes, and an acknowledged append that outlives every kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from samples import AT, new_ledger, polled

from ledger.core.errors import LockedError
from ledger.ports import Head
from ledger.store import identity
from ledger.store import lease as lease_module
from ledger.store.chain import verify_chain
from ledger.store.lease import Holder, Lease, holder, lock_path, read_head
from ledger.store.sqlite import SqliteLog

Spawn = Callable[..., "subprocess.Popen[str]"]

HOLD = """
    import sys
    from ledger.store.sqlite import SqliteLog
    log = SqliteLog.open_writer(sys.argv[1])
    print(log.epoch, flush=True)
    sys.stdin.read()
    log.close()
"""


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Start a program of a few lines; its first line of output says that it is ready."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str, *arguments: str | Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
        started.append(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_a_second_process_is_refused_and_told_who_and_what_to_type(tmp_path: Path, spawn: Spawn) -> None:
    path = tmp_path / "a.ledger"
    new_ledger(path).close()
    process = spawn(HOLD, path)
    assert line_of(process) == "2\n"
    with pytest.raises(LockedError) as refusal:
        SqliteLog.open_writer(path)
    found = holder(path)
    assert found is not None
    assert found.pid == process.pid
    assert refusal.value.what.startswith(f"process {process.pid} on {found.host} has been writing this ledger since 20")
    assert refusal.value.next.startswith(f"ledger status {path}")
    assert "--take-over" in refusal.value.next
    process.communicate()
    assert holder(path) is None
    with SqliteLog.open_writer(path) as log:
        assert log.epoch == 3


def test_the_same_process_cannot_open_a_ledger_twice_nor_take_over_from_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.ledger"
    with new_ledger(path):
        with pytest.raises(LockedError):
            SqliteLog.open_writer(path)
        with pytest.raises(LockedError, match="this process has the ledger open"):
            SqliteLog.open_writer(path, take_over=True)


def test_a_stopped_holder_keeps_its_lock_until_it_is_taken_over(tmp_path: Path, spawn: Spawn) -> None:
    path = tmp_path / "a.ledger"
    new_ledger(path).close()
    process = spawn(HOLD, path)
    line_of(process)
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(LockedError):
        SqliteLog.open_writer(path)
    with SqliteLog.open_writer(path, take_over=True) as log:
        assert process.wait(timeout=30) == -signal.SIGKILL
        assert log.epoch == 3
        assert log.needs_recovery == ""
        log.append([polled(1)], AT)


def test_taking_over_where_nobody_writes_kills_nobody(tmp_path: Path) -> None:
    path = tmp_path / "a.ledger"
    new_ledger(path).close()
    with SqliteLog.open_writer(path, take_over=True) as log:
        assert log.epoch == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"machine": "another"}, "runs on another host"),
        ({"boot": "another"}, "runs on another host"),
        ({"start": "1"}, "cannot be found from here"),
    ],
)
def test_only_the_very_process_of_the_record_is_killed(
    tmp_path: Path, spawn: Spawn, change: dict[str, str], message: str
) -> None:
    path = tmp_path / "a.ledger"
    new_ledger(path).close()
    process = spawn(HOLD, path)
    line_of(process)
    found = holder(path)
    assert found is not None
    write_holder(path, msgspec.structs.replace(found, **change))
    with pytest.raises(LockedError, match=message):
        SqliteLog.open_writer(path, take_over=True)
    assert process.poll() is None


def write_holder(path: Path, record: Holder) -> None:
    from ledger.store.lease import _HOLDER_OFFSET, _write_record

    fd = os.open(lock_path(path), os.O_RDWR)
    _write_record(fd, _HOLDER_OFFSET, 0, record)
    os.close(fd)


def test_a_process_of_another_start_time_is_not_the_holder() -> None:
    me = Holder(
        pid=os.getpid(),
        start=identity.process_start(os.getpid()),
        boot=identity.boot_id(),
        machine=identity.machine_id(),
        host="here",
        since=0,
    )
    assert me.is_alive()
    assert not msgspec.structs.replace(me, start="1").is_alive()
    assert not msgspec.structs.replace(me, boot="another").is_alive()
    assert identity.process_start(2**22 + 1) == ""


def test_a_head_is_overwritten_in_place_and_a_torn_one_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "a.ledger"
    path.touch()
    heads = [Head(number, bytes([number]) * 32, 1) for number in range(1, 4)]
    with Lease.acquire(path) as lease:
        before = lock_path(path).stat()
        for head in heads:
            lease.write_head("id", head)
        after = lock_path(path).stat()
    assert (before.st_ino, before.st_size) == (after.st_ino, after.st_size)
    whole = lock_path(path).read_bytes()
    newest, older = (4096, 0) if b'"position":3' in whole[4096:6144] else (0, 4096)
    for at in range(0, 2048, 31):
        torn = bytearray(whole)
        torn[newest + at] ^= 0xFF
        lock_path(path).write_bytes(torn)
        found = read_head(path)
        assert found is not None
        assert found.head == heads[1]
    torn[older] ^= 0xFF
    lock_path(path).write_bytes(torn)
    assert read_head(path) is None


def test_a_head_is_synced_whole_before_writing_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.ledger"
    path.touch()
    sync_data = lease_module.sync_data
    synced: list[Head] = []

    def noting(fd: int) -> None:
        sync_data(fd)
        found = read_head(path)
        assert found is not None
        synced.append(found.head)

    monkeypatch.setattr(lease_module, "sync_data", noting)
    heads = [Head(number, bytes([number]) * 32, 1) for number in range(1, 4)]
    with Lease.acquire(path) as lease:
        for number, head in enumerate(heads, 1):
            lease.write_head("id", head)
            assert synced == heads[:number]


def test_after_a_torn_head_the_next_one_goes_into_its_slot(tmp_path: Path) -> None:
    path = tmp_path / "a.ledger"
    path.touch()
    for position in range(1, 6):
        with Lease.acquire(path) as lease:
            lease.write_head("id", Head(position, bytes(32), 1))
        content = bytearray(lock_path(path).read_bytes())
        offset = 4096 if f'"position":{position},'.encode() in content[4096:6144] else 0
        content[offset + 100] ^= 0xFF
        lock_path(path).write_bytes(content)
        with Lease.acquire(path) as lease:
            lease.write_head("id", Head(position, bytes(32), 2))
        found = read_head(path)
        assert found is not None
        assert found.head == Head(position, bytes(32), 2)


def test_a_sidecar_that_was_replaced_excludes_nobody_and_is_locked_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.ledger"
    path.touch()
    with Lease.acquire(path):
        lock_path(path).unlink()
        with Lease.acquire(path), pytest.raises(LockedError):
            Lease.acquire(path)


APPEND = """
    import sys
    from ledger.store.sqlite import SqliteLog
    from samples import AT, polled
    log = SqliteLog.open_writer(sys.argv[1])
    while True:
        print(log.append([polled(n) for n in range(20)], AT).position, flush=True)
"""


def test_no_acknowledged_event_is_lost_to_sigkill(tmp_path: Path, spawn: Spawn) -> None:
    """Each process is killed in the midst of appending, after a different number of acknowledgements."""
    path = tmp_path / "a.ledger"
    new_ledger(path).close()
    for life in range(1, 13):
        process = spawn(APPEND, path)
        for _ in range(life * 7):
            line_of(process)
        process.kill()
        rest, _ = process.communicate()
        complete = [line for line in rest.splitlines(keepends=True) if line.endswith("\n")]
        with SqliteLog.open_reader(path) as reader:
            assert reader.head.position >= (int(complete[-1]) if complete else 0)
            assert reader.head.position % 20 == 1, "half an append was stored"
            assert reader.head_verified
            assert reader.head.epoch == life + 1
    with SqliteLog.open_writer(path) as log:
        assert log.head.position > 20 * 7 * 12
        assert list(verify_chain(log, log.expected)) == []
        assert log.integrity_problems() == []


def test_a_reader_beside_a_writer_that_never_rests_reads_a_sound_log(tmp_path: Path, spawn: Spawn) -> None:
    path = tmp_path / "a.ledger"
    new_ledger(path).close()
    process = spawn(APPEND, path)
    line_of(process)
    ends = []
    for _ in range(10):
        with SqliteLog.open_reader(path) as reader:
            assert reader.head_verified
            upto = reader.head.position
            assert [row.position for row in reader.read(upto=upto)] == list(range(1, upto + 1))
            ends.append(upto)
        line_of(process)
    assert ends == sorted(ends)
    assert ends[-1] > ends[0]
    assert process.poll() is None
