"""Runs under faults, killed again and again: ``make crash``, or some seeds of it in the tests.

Every life of a run is one process of the shipped command, talking HTTP to the simulated service. It dies by SIGKILL,
as its seed draws: at a named crash point of one of its appends (``points.py``) or at a random instant; some runs start
an interpreter anew for every life, the others fork one that has all imported. The next life goes on with ``ledger
resume`` or with the first command typed again, until the run is over. After every death the log must hold what was
acknowledged; at the end every item must be answered, and no prompt billed twice. The faults lose answers, refuse, lag
and cut within what the guarantees allow.

    python tests/crash/campaign.py --kills 2000
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "hostile"))

from points import POINTS, Crash, read_notes
from processes import Nursery, Process
from scene import CALMLY, SETTLE_SECONDS, Scene

from ledger.service.simulator.faults import Fault, Faults
from ledger.service.simulator.settings import Settings
from ledger.store.sqlite import SqliteLog

SPEED = 60.0
LIVES_AT_MOST = 80
"""After so many the run is left to end: a process that dies young may do nothing but find out what its elders did."""
ANEW_EVERY = 16
"""One run in so many starts an interpreter anew for every life; such a life costs a hundred times a forked one."""
ANEW_LIVES = 4
AT_RANDOM = "at random"
ANEW = "anew"
IN_ORDER = (
    "run_opened",
    "writer_opened",
    "settings_changed",
    "source_opened",
    "class_declared",
    "request_built",
    "intake_completed",
    "prices_quoted",
    "chunk_sealed",
    "workspace_seen",
    "submission_prepared",
    "submission_released",
    "batch_created",
    "status_polled",
    "result_stored",
    "batch_collected",
    "run_finished",
)
"""Every type of event that a run without trouble writes, in the order of their first ones."""
NORMAL = frozenset(IN_ORDER)
ONCE = (
    "run_opened",
    "writer_opened",
    "settings_changed",
    "source_opened",
    "class_declared",
    "intake_completed",
    "prices_quoted",
)


class Tally(msgspec.Struct):
    """What a number of runs came to. ``deaths`` counts kills by (where, event type)."""

    runs: int = 0
    kills: int = 0
    appends: int = 0
    lost: int = 0
    billed_twice: int = 0
    accepted_twice: int = 0
    deaths: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    by_where: Counter[str] = msgspec.field(default_factory=Counter)
    wrong: list[str] = msgspec.field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add up."""
        self.runs += other.runs
        self.kills += other.kills
        self.appends += other.appends
        self.lost += other.lost
        self.billed_twice += other.billed_twice
        self.accepted_twice += other.accepted_twice
        self.deaths += other.deaths
        self.by_where += other.by_where
        self.wrong += other.wrong

    def never_hit(self) -> dict[str, list[str]]:
        """Return, by crash point, the types of a normal run at none of whose appends a process died."""
        missed = {where: sorted(NORMAL - {kind for at, kind in self.deaths if at == where}) for where in POINTS}
        return {where: kinds for where, kinds in missed.items() if kinds}


def service(chance: random.Random) -> Settings:
    """Return a service that loses answers as a seed draws; none of its refusals ends an item."""
    rates = {
        "drop": Fault(operation="create", kind="drop", rate=0.15),
        "never": Fault(operation="create", kind="drop", rate=0.1, carried_out=False),
        "500": Fault(operation="create", kind="status", status=500, rate=0.1),
        "cut": Fault(operation="create", kind="cut", bytes=50, rate=0.1),
        "late": Fault(operation="create", kind="late", seconds=SETTLE_SECONDS / 3, rate=0.1),
        "limit": Fault(operation="create", kind="refuse", error="rate_limit", retry_after_seconds=0.1, rate=0.1),
        "stranger": Fault(operation="create", kind="stranger", rate=0.1),
        "blind": Fault(operation="list", kind="status", status=503, rate=0.05),
        "torn": Fault(operation="results", kind="cut", bytes=900, framing="chunked", rate=0.2),
        "twice": Fault(operation="results", kind="duplicate_row", rate=0.2),
    }
    chosen = chance.sample(sorted(rates), chance.randint(0, 5))
    lag = chance.choice([0.0, 0.0, SETTLE_SECONDS / 3])
    return msgspec.structs.replace(
        CALMLY,
        seed=chance.randrange(1 << 30),
        turnaround_minimum_seconds=1.0,
        turnaround_maximum_seconds=chance.choice([2.0, 10.0]),
        faults=Faults(faults=tuple(rates[name] for name in chosen), list_lag_seconds=lag),
    )


class Run:
    """One run, from its first process to its end.

    Args:
        nursery: makes its processes.
        place: an empty directory.
        seed: decides everything but the instants of the kills at random.
    """

    def __init__(self, nursery: Nursery, place: Path, seed: int) -> None:
        self._nursery = nursery
        self._notes = place / "notes"
        self._chance = random.Random(seed)
        self._anew = seed % ANEW_EVERY == 0
        self._seed = seed
        self.tally = Tally(runs=1)
        items = self._chance.randint(5, 30)
        failing = self._chance.sample(range(items), 2)
        texts = [f"{'[[simulate:errored:api_error:1]] ' if n in failing else ''}Say {n}." for n in range(items)]
        requests = self._chance.randint(2, 9)
        settings = service(self._chance)
        self.scene = Scene(place, texts=texts, settings=settings, speed=SPEED, chunk_requests=requests)

    def carry_out(self) -> Tally:
        """Kill and go on until the run is over; return what it came to, with all that went wrong."""
        with self.scene:
            try:
                self._live()
                self._judge()
            except AssertionError as problem:
                replay = f"python tests/crash/campaign.py --seed {self._seed} --runs 1"
                self.tally.wrong.append(f"seed {self._seed}: {problem}\n  replay: {replay}")
            bill = self.scene.server.bill()
            self.tally.billed_twice += max(bill.prompts_billed_twice, bill.ordinals_billed_twice)
            self.tally.accepted_twice += bill.prompts_accepted_twice
        notes = read_notes(self._notes)
        self.tally.appends += notes.appends
        for where, types in notes.deaths:
            self.tally.deaths.update((where, kind) for kind in types)
            self.tally.by_where[where] += 1
        return self.tally

    def _live(self) -> None:
        for life in range(LIVES_AT_MOST + 1):
            is_last = life == LIVES_AT_MOST or (self._anew and life == ANEW_LIVES)
            if self._anew:
                code = self._anew_life(is_last)
            elif is_last:
                code = self._start(None).wait()
            elif life and self._chance.random() < 0.25:
                code = self._at_random(self._chance.uniform(0.0, 0.15))
            else:
                code = self._start(self._crash(life)).wait()
            if code == 0:
                return
            if code == 3 and not self._has_items():
                continue  # resume says so where no items were taken in: the next life is told to run
            assert code == -9, f"life {life} ended with {code}: {self._last.said()}"
            self.tally.kills += 1
            self._require_acknowledged()
            self._let_the_service_finish()
        raise AssertionError("the last life was killed by somebody else")

    def _crash(self, life: int) -> Crash:
        if life == 0:  # what a run, or a life, writes once only is hit in turn, whatever the chance
            return Crash(POINTS[self._seed // len(ONCE) % 3], 1, ONCE[self._seed % len(ONCE)])
        point = self._chance.choice(POINTS)
        append = self._chance.choice([2, 2, 3, 3, 4, 5, 8])  # most get a little further than the one before
        return Crash(point, append + (point == "before"))

    def _has_items(self) -> bool:
        return self.scene.path.exists() and bool(self.scene.ledger()[0].state().sources)

    def _argv(self) -> list[str]:
        again = self.scene.path.exists() and self._chance.random() < 0.6
        return self.scene.resume_argv() if again else self.scene.argv()

    def _start(self, crash: Crash | None) -> Process:
        self._last = self._nursery.command(self._argv(), notes=str(self._notes), crash=crash)
        return self._last

    def _at_random(self, seconds: float) -> int:
        process = self._start(None)
        time.sleep(seconds)  # the instant of the kill is what the seed draws
        code = -9 if process.kill() else process.wait()
        if code == -9:
            self._died(AT_RANDOM)
        return code

    def _anew_life(self, is_last: bool) -> int:
        """Start the console script itself and kill it a moment after it has said that it recorded so many events."""
        process = self._last = self._nursery.command([*self._argv(), "-v", "--log-format", "json"], anew=True)
        wanted = self._chance.randint(2, 20)
        while not is_last and process.is_there() and len(said_positions(process)) < wanted:
            time.sleep(0.005)  # asking without pause would take the processor from the one that is asked
        if is_last or not process.is_there():
            return process.wait()
        time.sleep(self._chance.uniform(0.0, 0.03))
        code = -9 if process.kill() else process.wait()
        if code == -9:
            self._died(ANEW)
            said = said_positions(process)
            with SqliteLog.open_reader(self.scene.path) as log:
                stored = {row.position: row.type_name for row in log.read()}
            self._require(all(stored.get(position) == kind for position, kind in said.items()), "what was said is lost")
        return code

    def _died(self, where: str) -> None:
        """Count a death whose place nobody knows by the last event that the log holds."""
        self.tally.by_where[where] += 1
        last = "no ledger yet"
        if self.scene.path.exists():
            with SqliteLog.open_reader(self.scene.path) as log:
                last = next((row.type_name for row in log.read(log.head.position - 1)), "no event yet")
        self.tally.deaths[where, last] += 1

    def _require_acknowledged(self) -> None:
        """What was acknowledged is in the log, which is not behind its head."""
        notes = read_notes(self._notes)
        if not self.scene.path.exists():
            self._require(notes.position == 0, "the ledger is gone")
            return
        with SqliteLog.open_reader(self.scene.path) as log:
            self._require(log.needs_recovery == "", f"the ledger is {log.needs_recovery}")
            if notes.position:
                stored = [row.hash for row in log.read(notes.position - 1, notes.position)]
                self._require(stored == [notes.hash], f"the event at {notes.position} was acknowledged and is lost")

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            self.tally.lost += 1
            raise AssertionError(what)

    def _let_the_service_finish(self) -> None:
        """Wait until it has taken in what was on its way when the client died.

        Creating late is a fault of its own, on the service's clock; here a slow thread of ours would be one as well.
        """
        while self.scene.server.connections:
            time.sleep(0.002)

    def _judge(self) -> None:
        # A stranger's batch, made after a submission was given up, is suspected until its rows can be read.
        while any(not twin.proven for twin in self.scene.ledger()[0].state().twins.values()):
            assert self.scene.resume().exit_code == 0
        self.scene.answered_after_retries()


def said_positions(process: Process) -> dict[int, str]:
    """Return position → type of the events that a process has said are durable; a last line cut short is none."""
    lines = [line for line in process.said().splitlines(keepends=True) if line.startswith("{") and line.endswith("\n")]
    said = [json.loads(line) for line in lines]
    return {line["position"]: line["event"] for line in said if "position" in line}


def live(nursery: Nursery, place: Path, seed: int) -> Tally:
    """Carry one run from its first process to its end.

    Raises:
        AssertionError: something was lost, or paid for twice, or the log does not prove the opposite.
    """
    tally = Run(nursery, place, seed).carry_out()
    assert not tally.wrong, tally.wrong[0]
    assert (tally.lost, tally.billed_twice, tally.accepted_twice) == (0, 0, 0)
    return tally


# ── make crash ──────────────────────────────────────────────────────────────────────────────────────────────────


class Share(NamedTuple):
    """Seeds ``first``, ``first`` + ``step``, …, until so many kills or so many runs."""

    first: int
    step: int
    kills: int
    runs: int


def some(share: Share) -> Tally:
    """Carry out one worker's share."""
    total = Tally()
    with tempfile.TemporaryDirectory(prefix="ledger-crash-") as top, Nursery(Path(top)) as nursery:
        for seed in seeds(share):
            if total.kills >= share.kills:
                break
            place = Path(top) / str(seed)
            place.mkdir()
            total.add(Run(nursery, place, seed).carry_out())
            print(f"seed {seed}: {total.kills} kills, {len(total.wrong)} wrong", file=sys.stderr, flush=True)
    return total


def seeds(share: Share) -> Iterator[int]:
    """Yield the seeds of a share; without a number of runs, for ever."""
    every = count(share.first, share.step)
    return (seed for seed, _ in zip(every, range(share.runs), strict=False)) if share.runs else every


def table(total: Tally, seconds: float) -> str:
    """Return the report."""
    columns = (*POINTS, AT_RANDOM, ANEW)
    kinds = sorted({kind for _, kind in total.deaths}, key=lambda kind: (kind not in NORMAL, kind))
    lines = [f"{'killed at an append that held':<32}" + "".join(f"{name:>11}" for name in columns)]
    for kind in kinds:
        mark = "" if kind in NORMAL else " *"
        lines.append(f"{kind + mark:<32}" + "".join(f"{total.deaths[name, kind]:>11}" for name in columns))
    lines += [
        f"{'processes killed':<32}" + "".join(f"{total.by_where[name]:>11}" for name in columns),
        "(an append may hold several types; at random and anew: the last event found; *: not in a run without trouble)",
        "",
        f"runs            {total.runs:>9,}",
        f"kills           {total.kills:>9,}",
        f"appends         {total.appends:>9,}  acknowledged",
        f"lost            {total.lost:>9,}",
        f"accepted twice  {total.accepted_twice:>9,}",
        f"billed twice    {total.billed_twice:>9,}",
        f"seconds         {seconds:>9,.0f}",
    ]
    return "\n".join(lines)


def main() -> int:
    """Kill until enough were killed; return 1 if anything was lost, paid for twice, or never hit."""
    parser = argparse.ArgumentParser(description="Kill runs and see that nothing is lost or paid for twice.")
    parser.add_argument("--kills", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--runs", type=int, default=0, help="so many runs, however many kills that makes")
    parser.add_argument("--jobs", type=int, default=2)
    said = parser.parse_args()
    began, total = time.monotonic(), Tally()
    jobs = min(said.jobs, said.runs or said.jobs)
    kills = sys.maxsize if said.runs else -(-said.kills // jobs)
    shares = [Share(said.seed + job, jobs, kills, -(-said.runs // jobs)) for job in range(jobs)]
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for done in pool.map(some, shares):
            total.add(done)
    print(table(total, time.monotonic() - began))
    for problem in total.wrong:
        print(f"\nWRONG: {problem}")
    missed = total.never_hit() if total.kills >= 1000 else {}
    for where, kinds in missed.items():
        print(f"\nNOT HIT: {where}: {', '.join(kinds)}")
    return 1 if total.wrong or total.lost or total.billed_twice or total.accepted_twice or missed else 0


if __name__ == "__main__":
    sys.exit(main())
