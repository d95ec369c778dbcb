"""A power cut at any instant of a run loses nothing that was acknowledged, and refuses no ledger."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from cuts import Tally, finish, record_copy, record_log, record_reopening, states
from powerdisk import Disk, survivors
from recorder import Watched, watching
from verdicts import LEDGER, Bench

from ledger import Ledger
from ledger.store import inbox
from ledger.store.sqlite import SqliteLog


def look_into(watched: Watched, seed: int, samples: int) -> Tally:
    tally = Tally()
    bench = Bench(watched.place)
    for state in states(watched, seed, samples):
        tally.add(bench, state)
    return tally


def test_a_run_cut_at_any_instant_keeps_every_acknowledged_event(recorded_run: Watched) -> None:
    watched = recorded_run
    kinds = {(step.kind, step.name.removeprefix(LEDGER)) for step in watched.steps}
    assert kinds >= {("write", "-wal"), ("sync", "-wal"), ("write", ".lock"), ("sync", ".lock"), ("write", "")}
    assert kinds >= {("unlink", "-wal"), ("rename", ".creating"), ("sync names", ""), ("unlink", "-journal")}
    tally = look_into(watched, seed=1, samples=2)
    assert tally.states >= 600
    tally.require_sound()


@pytest.mark.parametrize("seed", range(2))
def test_a_log_cut_at_any_instant_keeps_every_acknowledged_event(place: Path, seed: int) -> None:
    watched = record_log(place, seed)
    began_anew = [step for step in watched.steps if step.name == f"{LEDGER}-wal" and step.offset == 0]
    assert len(began_anew) > 3, "the -wal was checkpointed and begun anew while it was written"
    tally = look_into(watched, seed, samples=2)
    assert tally.states >= 500
    tally.require_sound()


@pytest.mark.parametrize("part", range(2))
def test_a_run_that_was_cut_goes_on_to_the_same_end(recorded_run: Watched, part: int) -> None:
    """The service is as it was at that instant; nothing is asked or paid twice."""
    watched = recorded_run
    found = [state for state in states(watched, 7, samples=1) if state.files]
    for state in random.Random(part).sample(found, 10):
        finish(watched.place, state, watched.picture(state.step))


def test_a_second_cut_while_the_first_is_mended_loses_nothing(place: Path) -> None:
    watched = record_log(place, seed=3, appends=8)
    first = [state for state in states(watched, 3, samples=2) if LEDGER in state.files]
    tally = Tally()
    for number, state in enumerate(random.Random(5).sample(first, 12)):
        again = record_reopening(place, state)
        bench = Bench(place)
        for second in states(again, number, samples=1, promised=state.promised):
            tally.add(bench, second)
    assert tally.states >= 300
    tally.require_sound()


def test_a_copy_that_was_acknowledged_is_there_and_whole(place: Path, tmp_path: Path) -> None:
    record_log(place, seed=4, appends=5)
    other = place / "other"
    other.mkdir()
    tally = look_into(record_copy(other, place / LEDGER), seed=1, samples=6)
    assert tally.states >= 20
    tally.require_sound()


def test_a_message_that_was_acknowledged_is_delivered(place: Path) -> None:
    path = place / LEDGER
    with watching(place) as watched:
        for number in range(3):
            inbox.post(path, {"number": number})
            watched.promised(("posted", number))
        with inbox.drain(path) as messages:
            assert len(messages) == 3
            watched.promised(("taken", 2))
        inbox.post(path, {"number": 3})
        watched.promised(("posted", 3))
    disk, chance, looked = Disk(), random.Random(1), 0
    for step in watched.steps:
        disk.take(step)
        posted = {number for what, number in disk.promises if what == "posted"}  # type: ignore[misc]
        taken = {n for what, last in disk.promises if what == "taken" for n in range(last + 1)}  # type: ignore[misc]
        for how, survivor in survivors(disk, chance, 20):
            bench_lay_out(place, survivor.files())
            with inbox.drain(path) as messages:
                there = {message["number"] for message in messages}
            assert posted - taken <= there, f"after step {disk.steps}, {how}"
            looked += 1
    assert looked >= 100


def bench_lay_out(place: Path, files: dict[str, bytes]) -> None:
    for old in place.glob(f"{LEDGER}*"):
        old.unlink()
    for name, content in files.items():
        (place / name).write_bytes(content)


# ── the harness itself ──


def test_weaker_syncing_is_caught(place: Path) -> None:
    """Commits are lost then; the sidecar, which is synced by itself, has every such ledger refused."""
    tally = look_into(record_log(place, seed=0, appends=8, synchronous="NORMAL"), 0, samples=1)
    assert len(tally.refused) > 100
    assert all("next: ledger recover" in refusal for refusal in tally.refused)
    assert not tally.wrong, "lost commits are noticed, never silent"


def test_weaker_syncing_without_a_sidecar_is_caught_as_lost_commits(place: Path) -> None:
    """What the sidecar is for: without it the same ledgers open without a word."""
    watched = record_log(place, seed=0, appends=8, synchronous="NORMAL")
    tally = Tally()
    bench = Bench(place)
    lost = 0
    for state in states(watched, 0, samples=1):
        if state.promised is None or LEDGER not in state.files:
            continue
        bench.lay_out({name: held for name, held in state.files.items() if not name.endswith(".lock")})
        with SqliteLog.open_reader(bench.path) as log:
            lost += log.head.position < state.promised.position
        tally.states += 1
    assert tally.states > 100
    assert lost > tally.states / 4


def test_a_ledger_whose_name_is_not_synced_is_caught(place: Path) -> None:
    watched = record_log(place, seed=0, appends=4)
    watched.steps = [step for step in watched.steps if step.kind != "sync names"]
    tally = look_into(watched, 0, samples=1)
    assert any("the ledger is gone" in wrong for wrong in tally.wrong)


def test_status_and_resume_work_on_a_ledger_whose_opening_was_interrupted(recorded_run: Watched) -> None:
    """Its rollback journal lies beside it, and a connection that only reads sees nothing then."""
    watched = recorded_run
    opening = [state for state in states(watched, 0, samples=0) if state.files.get(f"{LEDGER}-journal")]
    assert opening
    for state in (opening[0], opening[len(opening) // 2], opening[-1]):
        Bench(watched.place).lay_out(state.files)
        assert Ledger(watched.place / LEDGER).status().head_verified
        finish(watched.place, state, watched.picture(state.step))
