"""How soon a large run answers: `ledger status` while it runs, and `ledger resume` when nothing is left to do.

    python tests/bench/resume.py [--sizes 1000,1000000]

Both depend on how many items there are and not on their size: items of 300 bytes, answers of 100.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from corpus import write_items
from measure import LEDGER, POLL, RESULTS, calls, keep, load, machine, measure, progress, server, spread, workplace

ITEM_BYTES = 300
ANSWER_BYTES = 100
LOOKS = 5


def answers_of(count: int, where: Path | None) -> dict[str, Any]:
    """Return what `status` took while a run of so many items collected its results, and `resume` afterwards."""
    before = load()
    with workplace(where) as place, server(ANSWER_BYTES) as service:
        items, book = place / "items.jsonl", place / "items.ledger"
        write_items(items, count, ITEM_BYTES)
        run = [str(LEDGER), "run", str(items), "--ledger", str(book), "--poll", POLL, "--yes", "--no-canary", "--quiet"]
        process = subprocess.Popen(run, env=service.environment)
        while process.poll() is None and not calls(service).get("GET results", 0):
            time.sleep(0.05)
        looks = []
        while process.poll() is None and len(looks) < LOOKS:
            looks.append(measure([str(LEDGER), "status", str(book)], service.environment))
        if process.wait():
            sys.exit(f"the run of {count:,} items ended with {process.returncode}")
        resumed = [measure([str(LEDGER), "resume", str(book)], service.environment) for _ in range(LOOKS)]
    return {
        "items": count,
        "status_cpu_seconds": spread([look.cpu_seconds for look in looks]) if looks else None,
        "resume_cpu_seconds": spread([one.cpu_seconds for one in resumed]),
        "resume_peak_bytes": max(one.peak_bytes for one in resumed),
        "load": before,
    }


def main() -> None:
    """Measure several sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,1000000")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures are kept")
    parser.add_argument("--where", type=Path, help="a directory on the disk to measure; the system's temporary one")
    options = parser.parse_args()
    found, described = [], machine()
    for count in map(int, options.sizes.split(",")):
        found.append(answers_of(count, options.where))
        progress(str(found[-1]))
    keep("resume", {"sizes": found, **described}, options.results)


if __name__ == "__main__":
    main()
