"""Intake of very many items from a stream that is made on the fly: time and memory by size, up to 10 million.

    python tests/bench/stream.py [--sizes 10000,100000,1000000,10000000]

`ledger check -` takes the items in as a run does (reads, checks, hashes, chains, stores durably, finds repeated ids),
cuts the batches, estimates the cost, and throws the copy away. Items have 300 bytes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from corpus import item_lines
from measure import LEDGER, RESULTS, keep, load, machine, measure, progress, workplace

ITEM_BYTES = 300
_LOOK_SECONDS = 0.5


def watch_disk(place: Path, done: threading.Event, largest: list[int]) -> None:
    """Note the largest sum of the files of a directory until ``done``."""
    while not done.wait(_LOOK_SECONDS):
        total = 0
        for path in place.rglob("*"):
            try:
                total += path.stat().st_size
            except FileNotFoundError:  # it was there a moment ago
                continue
        largest[0] = max(largest[0], total)


def intake(count: int, where: Path | None) -> dict[str, Any]:
    """Return what `ledger check -` took for so many items."""
    before, largest, done = load(), [0], threading.Event()
    with workplace(where) as place:
        watcher = threading.Thread(target=watch_disk, args=(place, done, largest))
        watcher.start()
        maker = subprocess.Popen(
            [sys.executable, __file__, "--make", str(count)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        environment = {**os.environ, "TMPDIR": str(place)}
        cost = measure([str(LEDGER), "check", "-"], environment, stdin=maker.stdout)
        assert maker.stdout is not None
        maker.stdout.close()
        if maker.wait():
            sys.exit("the maker of the items failed")
        done.set()
        watcher.join()
    return {"items": count, **cost._asdict(), "disk_bytes": largest[0], "load": before}


def main() -> None:
    """Measure several sizes, or be the maker of the items."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,100000,1000000,10000000")
    parser.add_argument("--make", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures are kept")
    parser.add_argument("--where", type=Path, help="a directory on the disk to measure; the system's temporary one")
    options = parser.parse_args()
    if options.make:
        sys.stdout.buffer.writelines(item_lines(options.make, ITEM_BYTES))
        return
    found, described = [], machine()
    for count in map(int, options.sizes.split(",")):
        began = time.monotonic()
        found.append(intake(count, options.where))
        progress(f"{count:,} items: {found[-1]} ({time.monotonic() - began:.0f} s)")
        keep("stream", {"sizes": found, "item_bytes": ITEM_BYTES, **described}, options.results)


if __name__ == "__main__":
    main()
