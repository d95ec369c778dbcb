"""Run the simulation over many seeds: ``python tests/simulation/simulate.py --seeds 1000 [--first 0] [--jobs 2]``.

Prints what was seen, and for a seed that breaks a promise the command that replays it; exit code 1 then.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from multiprocessing import Pool
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # run as a script it finds only its own folder

from scenario import draw
from scheduler import SECOND
from world import START, World

COMMAND = "python tests/simulation/simulate.py --first {seed} --seeds 1"


def simulate(seed: int) -> World:
    """Run one seed and return its world."""
    world = World(draw(seed))
    world.run()
    return world


def one(seed: int) -> tuple[int, str, Counter[str]]:
    """Run one seed; return it, what broke (empty: nothing), and what was met."""
    try:
        return seed, "", seen(simulate(seed))
    except Exception as problem:  # noqa: BLE001 - whatever it is, it is reported with the seed
        where = traceback.extract_tb(problem.__traceback__)[-1]
        return seed, f"{type(problem).__name__}: {problem} ({where.name}:{where.lineno})", Counter()


def seen(world: World) -> Counter[str]:
    """Return what a simulation went through, for the report of many."""
    met: Counter[str] = Counter(seeds=1)
    for ledger in world.ledgers:
        met["processes"] += ledger.processes
        met["resolved by a person"] += ledger.resolutions
        met["older copies put back"] += ledger.restorations
        met["batches"] += len(ledger.shadow.batches)
        met["events"] += ledger.shadow.position
        met.update(f"event {row.type_name}" for row in ledger.disk.rows)
    return met


def tell(world: World) -> int:
    """Run one simulation and print its whole history; whatever it raises is raised after that."""
    print(world.scenario)
    try:
        world.run()
    finally:
        history = [
            (sent.at, f"{sent.ledger} service: last byte; batch {sent.batch or '-'}") for sent in world.service.sent
        ]
        for ledger in world.ledgers:
            history += [
                (row.at, f"{ledger.name} {row.position} {row.type_name} {row.data}") for row in ledger.disk.rows
            ]
        for at, what in sorted(history, key=lambda one: one[0]):
            print(f"{(at - START) / SECOND:12.3f} {what[:300]}")
    for ledger in world.ledgers:
        print(f"{ledger.name}: exit {ledger.exit_code}, {dict(ledger.shadow.outcomes)}")
    return 0


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--verbose", action="store_true", help="what was met, by kind of event")
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds)
    if options.seeds == 1:
        return tell(World(draw(options.first)))
    began, met, broken = time.monotonic(), Counter[str](), 0
    with Pool(options.jobs) as pool:
        for seed, problem, more in pool.imap_unordered(one, seeds, chunksize=20):
            met.update(more)
            if problem:
                broken += 1
                print(f"seed {seed}: {problem}\n  {COMMAND.format(seed=seed)}", flush=True)
    for what, count in sorted(met.items()):
        if options.verbose or not what.startswith("event "):
            print(f"{what:40} {count:>12,}")
    seconds = time.monotonic() - began
    print(f"{options.seeds:,} seeds, {broken} broken, {seconds:.1f} s, {1000 * seconds / options.seeds:.2f} ms a seed")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
