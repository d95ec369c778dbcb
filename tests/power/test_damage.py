"""A byte missing or wrong anywhere in a ledger's files: all is there, or it is refused before anything is sent.

The ledger is one whose process was killed in the middle of its run: main file, ``-wal`` and sidecar. What is compared
is what a run goes on from: the folded state, the requests' bodies and the results' rows.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from cuts import AT_ONCE, ITEMS, SAID, State, assert_finished, run, service, states, write_items, write_log
from recorder import Watched
from verdicts import LEDGER, Bench, judge

from ledger import Choices, Ledger
from ledger.core.errors import LedgerError, RolledBackError
from ledger.core.events import RunOpened, StatusPolled
from ledger.core.snapshot import dump
from ledger.loading import load_state
from ledger.service.simulator.bill import draw_bill
from ledger.service.simulator.clocks import real_clock
from ledger.store.sqlite import SqliteLog

WAL = f"{LEDGER}-wal"
LOCK = f"{LEDGER}.lock"
FRAME_BYTES = 24 + 8192
PAGE_BYTES = 8192


class Killed(NamedTuple):
    """A ledger in the middle of its run, without a process.

    Attributes:
        files: its files.
        wal_bytes: how much of the ``-wal`` counts; what is behind is left from before it was begun anew.
        worth: all that a run goes on from.
        picture: what the service remembered.
    """

    bench: Bench
    files: dict[str, bytes]
    wal_bytes: int
    worth: bytes
    picture: bytes


@pytest.fixture(scope="module")
def killed(recorded_run: Watched) -> Killed:
    """The instant at which most of what was acknowledged was in the ``-wal`` alone, and the service had batches."""
    end, written, best = 0, -1, (0, 0)
    bench = Bench(recorded_run.place)
    working = next(at for at, picture in recorded_run.pictures if _accepted_in(bench.place, picture))
    for number, step in enumerate(recorded_run.steps, 1):
        if step.kind == "write" and step.name == WAL:
            end = step.offset + len(step.data)
            written = number
        elif step.kind == "write" and step.name == LEDGER:
            written = -1  # a checkpoint: the main file has it, too
        elif step.kind == "ack" and written > 0 and number >= working:
            best = max(best, (end, number))
    end, instant = best
    found = (one for one in states(recorded_run, 0, samples=0) if (one.step, one.how) == (instant, "all of it"))
    state = next(found)
    assert state.promised is not None
    bench.lay_out(state.files)
    return Killed(bench, state.files, end, worth(bench.path), recorded_run.picture(state.step))


def _accepted_in(place: Path, picture: bytes) -> int:
    (place / f"{LEDGER}.sim").write_bytes(picture)
    return accepted(place)


def worth(path: Path) -> bytes:
    """Return all that a run goes on from.

    Raises:
        LedgerError: the ledger is refused.
    """
    with SqliteLog.open_writer(path) as log:
        if log.needs_recovery == "behind":
            raise AssertionError("a ledger behind its head was opened for writing")
        state = load_state(log, proven=True)
        bodies = [payload.params for payload in log.request_payloads(range(len(state.columns)))]
        rows = [payload.row for chunk in sorted(state.chunks) for payload in log.result_payloads(chunk)]
    return b"\0".join((dump(state), *bodies, *rows))


def damage_is_noticed(killed: Killed, name: str, content: bytes, where: str) -> str:
    """Assert that a ledger with one damaged file is as it was, or refused; return how."""
    killed.bench.lay_out(killed.files | {name: content})
    try:
        found = worth(killed.bench.path)
    except LedgerError as problem:
        refusal = problem
    else:
        assert found == killed.worth, f"{name} {where}: opened, and is not what it was"
        return "intact"
    assert refusal.next, f"{name} {where}: refused without a next command: {refusal}"
    return type(refusal).__name__


def flipped(content: bytes, at: int, bit: int) -> bytes:
    changed = bytearray(content)
    changed[at] ^= 1 << bit
    return bytes(changed)


def interesting(size: int, unit: int, head: int, chance: random.Random, samples: int) -> Iterator[int]:
    """Yield offsets: some of the first bytes of each unit, its last one, and some anywhere."""
    for start in range(0, size, unit):
        yield from (start + at for at in chance.sample(range(min(head, size - start)), min(4, size - start)))
        yield min(start + unit, size) - 1
    yield from chance.sample(range(size), samples)


def expected(killed: Killed, at: int) -> str:
    """Return what becomes of a ``-wal`` that is damaged at an offset, or ends there."""
    return "RolledBackError" if at < killed.wal_bytes else "intact"


def test_a_wal_cut_off_anywhere_is_refused_unless_it_holds_all(killed: Killed) -> None:
    content = killed.files[WAL]
    chance = random.Random(1)
    for size in (0, 1, 31, 32, *interesting(len(content), FRAME_BYTES, 64, chance, 100), len(content)):
        assert damage_is_noticed(killed, WAL, content[:size], f"cut to {size}") == expected(killed, size), size


def test_a_missing_wal_is_refused_also_when_its_index_is_left(killed: Killed) -> None:
    for left in ({}, {f"{LEDGER}-shm": bytes(32768)}, {f"{LEDGER}-shm": b"\xff" * 32768}):
        killed.bench.lay_out({name: held for name, held in killed.files.items() if name != WAL} | left)
        with pytest.raises(RolledBackError, match="ledger recover"):
            worth(killed.bench.path)


def test_a_flipped_bit_in_the_wal_is_refused(killed: Killed) -> None:
    content = killed.files[WAL]
    chance = random.Random(2)
    for at in interesting(len(content), FRAME_BYTES, 32, chance, 150):
        changed = flipped(content, at, chance.randrange(8))
        assert damage_is_noticed(killed, WAL, changed, f"byte {at}") == expected(killed, at), at


def test_a_damaged_sidecar_costs_no_more_than_a_recovery(killed: Killed) -> None:
    """The log is whole; a head that cannot be read has the next writer recover before it sends anything."""
    content = killed.files[LOCK]
    chance = random.Random(1)
    for at in interesting(len(content), 2048, 300, chance, 60):
        assert damage_is_noticed(killed, LOCK, flipped(content, at, chance.randrange(8)), f"byte {at}") == "intact"
    for size in (0, 1, 2047, 2048, 4096, 6143, 6144, 8192, 10239):
        assert damage_is_noticed(killed, LOCK, content[:size], f"cut to {size}") == "intact"


def test_a_damaged_main_file_under_a_whole_wal_is_noticed(killed: Killed) -> None:
    content = killed.files[LEDGER]
    chance = random.Random(2)
    for at in interesting(len(content), PAGE_BYTES, 100, chance, 60):
        damage_is_noticed(killed, LEDGER, flipped(content, at, chance.randrange(8)), f"byte {at}")


@pytest.mark.parametrize("part", range(2))
@pytest.mark.parametrize("memo", ["with a memo", "without"])
def test_a_flipped_bit_in_a_closed_ledger_is_noticed(killed: Killed, memo: str, part: int) -> None:
    """All of the log is in the main file; without a memo its first event counts as much as its last."""
    killed.bench.lay_out(killed.files)
    SqliteLog.open_writer(killed.bench.path).close()
    connection = sqlite3.connect(killed.bench.path)
    if memo == "without":
        connection.execute("DELETE FROM snapshot")
        connection.commit()
    connection.execute("VACUUM")
    connection.close()
    held = {name: (killed.bench.place / name).read_bytes() for name in (LEDGER, LOCK)}
    closed = killed._replace(files=held, worth=worth(killed.bench.path))
    content = closed.files[LEDGER]
    chance = random.Random(part)
    seen = set()
    for at in interesting(len(content), PAGE_BYTES, 200, chance, 150):
        seen.add(damage_is_noticed(closed, LEDGER, flipped(content, at, chance.randrange(8)), f"byte {at}"))
    assert seen >= {"intact", "CorruptLogError"}


@pytest.mark.parametrize("damage", ["wal gone", "wal cut", "wal flipped", "event flipped", "page zeroed"])
def test_no_command_sends_anything_from_a_damaged_ledger(killed: Killed, damage: str) -> None:
    files = dict(killed.files)
    match damage:
        case "wal gone":
            del files[WAL]
        case "wal cut":
            files[WAL] = files[WAL][: killed.wal_bytes * 3 // 4]
        case "wal flipped":
            files[WAL] = flipped(files[WAL], killed.wal_bytes // 2, 3)
        case _:
            killed.bench.lay_out(files)
            SqliteLog.open_writer(killed.bench.path).close()
            files = {name: (killed.bench.place / name).read_bytes() for name in (LEDGER, LOCK)}
            at = files[LEDGER].rindex(b'{"chunk":1,"submission":1,"nonce"')
            changed = bytearray(files[LEDGER])
            if damage == "event flipped":
                changed[at + 9] = ord("2")  # the chunk
            else:
                page = at - at % PAGE_BYTES
                changed[page : page + PAGE_BYTES] = bytes(PAGE_BYTES)
            files[LEDGER] = bytes(changed)
    place = killed.bench.place
    for command in (run, lambda where: Ledger(where / LEDGER, simulate=True, settings=AT_ONCE).resume()):
        killed.bench.lay_out(files)
        before = _accepted_in(place, killed.picture)
        if damage == "event flipped":
            _forget_memos(killed.bench.path)
        with pytest.raises(LedgerError) as refused:
            command(place)
        assert refused.value.next.startswith(("ledger recover", "ledger replay --audit"))
        assert refused.value.exit_code == (3 if damage.startswith("wal") else 5)
        assert accepted(place) == before


def _forget_memos(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DELETE FROM snapshot")
    connection.commit()
    connection.close()


def accepted(place: Path) -> int:
    """Return how many batches the service has accepted."""
    with service(place) as simulator:
        return draw_bill(simulator.batches, real_clock()).batches


def test_recovery_mends_a_ledger_that_lost_its_wal(killed: Killed) -> None:
    """What the log forgot is found at the service by its nonces; nothing is asked or paid twice."""
    place = killed.bench.place
    killed.bench.lay_out({name: held for name, held in killed.files.items() if name != WAL})
    before = _accepted_in(place, killed.picture)
    assert before
    ledger = Ledger(killed.bench.path, simulate=True, settings=AT_ONCE)
    ledger.recover(place / "items.jsonl", choices=Choices(**SAID))
    assert accepted(place) == before
    run(place)
    outcomes = [row["outcome"] for row in ledger.results(all=True)]
    assert outcomes == ["invalid" if n == 9 else "ok" for n in range(ITEMS)]
    with service(place) as simulator:
        bill = draw_bill(simulator.batches, real_clock())
    assert (bill.prompts_accepted_twice, bill.prompts_billed_twice) == (0, 0)
    assert ledger.audit().ok


def torn(place: Path) -> dict[str, bytes]:
    """Return a ledger's files without their ``-wal``, of which SQLite could copy back a part: somebody was reading."""
    write_items(place)
    path = place / LEDGER
    with SqliteLog.create(path) as log:
        log.append([RunOpened(ledger_id="8f2c11d09ab34e57", origin="simulator", tool_version="0")], 1)
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA wal_checkpoint")
        write_log(log, random.Random(1), 6)
        with SqliteLog.open_reader(path) as reader:
            reader._connection.execute("BEGIN")
            reader._select("SELECT count(*) FROM event")
            for number in range(30):
                log.append([StatusPolled(server_date=number)], 2)
            connection.execute("PRAGMA wal_checkpoint")
            files = {name: (place / name).read_bytes() for name in (LEDGER, LOCK)}
        connection.close()
    return files


def test_a_main_file_with_some_pages_of_its_lost_wal_is_recovered(tmp_path: Path) -> None:
    bench_files = torn(tmp_path)
    bench = Bench(tmp_path)
    bench.lay_out(bench_files)
    with SqliteLog.open_reader(bench.path) as log:
        known, held = load_state(log), log._count_requests()
        assert held > len(known.columns), "the file is not torn"
    ledger = Ledger(bench.path, simulate=True, settings=AT_ONCE)
    ledger.recover(tmp_path / "items.jsonl", choices=Choices(**SAID))
    run(tmp_path)
    assert_finished(tmp_path)


# ── files of different instants ──


def instants(watched: Watched, samples: int) -> list[State]:
    """Return the files at some of the instants at which something had just been acknowledged."""
    found = [
        state
        for state in states(watched, 0, samples=0)
        if state.how == "all of it" and watched.steps[state.step - 1].kind == "ack"
    ]
    return found[:: max(1, len(found) // samples)]


def test_a_main_file_and_a_wal_of_different_instants_are_refused_unless_all_is_there(recorded_run: Watched) -> None:
    """SQLite takes any whole ``-wal`` that lies beside a file for its own, also an older or a newer one."""
    bench = Bench(recorded_run.place)
    found = instants(recorded_run, 12)
    wrong, refused = [], 0
    for main in found:
        for wal in [*found, None]:
            newest = max(main, wal or main, key=lambda state: state.step)
            files = {LEDGER: main.files[LEDGER], LOCK: newest.files[LOCK]}
            if wal is not None and WAL in wal.files:
                files[WAL] = wal.files[WAL]
            bench.lay_out(files)
            verdict = judge(bench.path, newest.promised)
            if verdict.opened and not verdict.wrong:
                with SqliteLog.open_writer(bench.path) as log:
                    load_state(log, proven=True)
            elif verdict.wrong and not _is_refused_when_run(bench, files):
                wrong.append(f"main file of step {main.step}, -wal of {wal and wal.step}: {verdict.wrong}")
            refused += not verdict.opened
    assert not wrong
    assert refused > len(found)


def _is_refused_when_run(bench: Bench, files: dict[str, bytes]) -> bool:
    bench.lay_out(files)
    try:
        worth(bench.path)
    except LedgerError as refusal:
        return bool(refusal.next)
    return False


@pytest.mark.parametrize("how", ["the ledger alone", "the ledger and its sidecar"])
def test_an_older_backup_is_recognised_before_anything_is_sent(recorded_run: Watched, how: str) -> None:
    """Restored as rsync and tar do it: as a new file under the old name."""
    place = recorded_run.place
    bench = Bench(place)
    found = [state for state in instants(recorded_run, 40) if recorded_run.picture(state.step)]
    older, newer = found[len(found) // 3], found[-2]
    bench.lay_out(newer.files)
    closed = {}
    for state in (older, newer):
        bench.lay_out(state.files)
        SqliteLog.open_writer(bench.path).close()
        closed[state.step] = {name: (place / name).read_bytes() for name in (LEDGER, LOCK)}
    bench.lay_out(closed[newer.step])
    (place / f"{LEDGER}.sim").write_bytes(recorded_run.picture(newer.step))
    (place / "restored").write_bytes(closed[older.step][LEDGER])
    (place / "restored").rename(bench.path)
    if how == "the ledger and its sidecar":
        (place / "restored").write_bytes(closed[older.step][LOCK])
        (place / "restored").rename(place / LOCK)
    before = accepted(place)
    ledger = Ledger(bench.path, simulate=True, settings=AT_ONCE)
    assert not ledger.status().head_verified
    if how == "the ledger alone":
        with pytest.raises(RolledBackError, match="next: ledger recover"):
            ledger.resume()
        ledger.recover()
        assert accepted(place) == before
    run(place)
    assert_finished(place)
