"""``make power``: the power cuts and bad disks of ``make test``, in numbers; seeded, on all processors.

Recordings of runs and of logs, each different, and the states that a cut could have left of them; cuts while the damage
of a first cut is mended; every byte of a ``-wal`` as the last one, and every byte of it with a flipped bit; every step
of a run failing in every way. A failure is printed with the command that shows it again.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from cuts import State, Tally, finish, record_log, record_reopening, record_run, states
from recorder import Watched
from troubles import FIRST_STEP, MESSAGES, STEPS, TROUBLES, strike
from verdicts import LEDGER, Bench

from ledger.core.errors import RolledBackError
from ledger.store.sqlite import SqliteLog

WAL = f"{LEDGER}-wal"
SAMPLES = 25
ENDED_A_SEED = 10
FRAMES = (3, 6)
PARTS = 16


class Task(NamedTuple):
    """A share of the work: what, its seed, and which part of it."""

    kind: str
    seed: int
    part: int = 0


def cuts_of_runs(place: Path, task: Task) -> tuple[int, list[str]]:
    """Cut a run everywhere; a few of the states are carried on to their end."""
    chance = random.Random(task.seed)
    said = {"chunk_requests": chance.randrange(2, 8)}
    watched = record_run(place, chance.choice((6, 12, 24, 48, 2000)), **said)
    tally, found = _looked_into(watched, task.seed)
    for state in chance.sample(found, min(ENDED_A_SEED, len(found))):
        finish(place, state, watched.picture(state.step), **said)
    return tally.states, tally.wrong + tally.refused + tally.recovering


def cuts_of_logs(place: Path, task: Task) -> tuple[int, list[str]]:
    """Cut the writing of a log everywhere."""
    chance = random.Random(task.seed)
    pages = str(chance.choice((4, 8, 24, 60)))
    tally, _ = _looked_into(record_log(place, task.seed, 25, wal_autocheckpoint=pages), task.seed)
    return tally.states, tally.wrong + tally.refused + tally.recovering


def second_cuts(place: Path, task: Task) -> tuple[int, list[str]]:
    """Cut again while what a first cut left is opened and written on."""
    chance = random.Random(task.seed)
    watched = record_log(place, task.seed, 10)
    first = [state for state in states(watched, task.seed, 2) if LEDGER in state.files]
    tally = Tally()
    bench = Bench(place)
    for state in chance.sample(first, 25):
        again = record_reopening(place, state)
        for second in states(again, task.seed, 4, promised=state.promised):
            tally.add(bench, second)
    return tally.states, tally.wrong + tally.refused + tally.recovering


def _looked_into(watched: Watched, seed: int) -> tuple[Tally, list[State]]:
    tally, bench, found = Tally(), Bench(watched.place), list[State]()
    for state in states(watched, seed, SAMPLES):
        tally.add(bench, state)
        found.append(state)
    return tally, found


def every_byte_of_a_wal(place: Path, task: Task) -> tuple[int, list[str]]:
    """Cut the ``-wal`` before each byte of this part, and flip a bit of each: all are refused as rolled back."""
    watched = record_log(place, task.seed)
    end, instant = 0, 0
    for number, step in enumerate(watched.steps, 1):
        if step.name == WAL and step.kind == "write":
            end = step.offset + len(step.data)
        elif step.name == LEDGER and step.kind == "write":
            end = 0
        elif step.kind == "ack" and FRAMES[0] * 8216 < end < FRAMES[1] * 8216:
            instant = number
            break
    state = next(one for one in states(watched, 0, 0) if (one.step, one.how) == (instant, "all of it"))
    bench, content, wrong, chance = Bench(place), state.files[WAL], [], random.Random(task.part)
    looked = 0
    for at in range(task.part, end, PARTS):
        flipped = bytearray(content)
        flipped[at] ^= 1 << chance.randrange(8)
        for how, damaged in (("cut before", content[:at]), ("a bit flipped in", bytes(flipped))):
            bench.lay_out(state.files | {WAL: damaged})
            looked += 1
            try:
                SqliteLog.open_writer(bench.path).close()
            except RolledBackError:
                continue
            wrong.append(f"{how} byte {at} of the -wal: opened")
    return looked, wrong


def bad_disks(place: Path, task: Task) -> tuple[int, list[str]]:
    """Let every step of this part fail in every way; at every second one power fails, too."""
    wrong, looked = [], 0
    for at in range(FIRST_STEP + task.part, STEPS + 40, PARTS):
        for name in TROUBLES:
            for lasts in (True, False):
                there = Path(tempfile.mkdtemp(dir=place))
                ended = strike(there, name, at, lasts=lasts, cut=at % 2 == 0)
                allowed = {"untroubled", "finished", *(f"3 {what}; ledger resume" for what in MESSAGES[name])}
                if ended not in allowed:
                    wrong.append(f"{name} at step {at}: {ended}")
                looked += 1
                shutil.rmtree(there)
    return looked, wrong


KINDS = {
    "runs": cuts_of_runs,
    "logs": cuts_of_logs,
    "second": second_cuts,
    "wal": every_byte_of_a_wal,
    "disks": bad_disks,
}
NAMES = {
    "runs": "power cuts in a run",
    "logs": "power cuts in a log",
    "second": "second power cuts",
    "wal": "bytes of a -wal, cut off and flipped",
    "disks": "runs on a bad disk",
}


def perform(task: Task) -> tuple[Task, int, list[str], float]:
    began = time.monotonic()
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(prefix="ledger-power-", dir=memory if memory.is_dir() else None)).resolve()
    try:
        looked, wrong = KINDS[task.kind](place, task)
    except Exception as problem:  # noqa: BLE001 - reported with the command that shows it again
        looked, wrong = 0, [f"{type(problem).__name__}: {problem}"]
    finally:
        shutil.rmtree(place)
    return task, looked, wrong, time.monotonic() - began


def tasks(seeds: int, seed: int) -> Iterator[Task]:
    for number in range(seed, seed + seeds):
        yield from (Task(kind, number) for kind in ("runs", "logs", "second"))
    yield from (Task(kind, seed, part) for kind in ("wal", "disks") for part in range(PARTS))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=8, help="recordings of each kind")
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--only", choices=KINDS, default="")
    said = parser.parse_args()
    looked, seconds, failed = Counter[str](), Counter[str](), 0
    with ProcessPoolExecutor() as pool:
        wanted = [task for task in tasks(said.seeds, said.seed) if said.only in ("", task.kind)]
        waiting = [pool.submit(perform, task) for task in wanted]
        for done in as_completed(waiting):
            task, count, wrong, took = done.result()
            looked[task.kind] += count
            seconds[task.kind] += took
            for one in wrong[:3]:
                failed += 1
                again = f"python tests/power/powercampaign.py --only {task.kind} --seed {task.seed} --seeds 1"
                print(f"FAILED {NAMES[task.kind]}: {one}\n  again: {again}", flush=True)
    for kind, count in looked.items():
        print(f"{count:>9,}  {NAMES[kind]:<40} {seconds[kind]:8.0f} s of a processor")
    print(f"{sum(looked.values()):>9,}  in all, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
