"""Many chunks: what one tick of a run costs when 10, 100 or 1,000 batches are in flight.

    python tests/bench/chunks.py [--batches 10,100,1000]

Every batch holds some 100 requests, and none of them ends. Once all are accepted, a process that has nothing to do but
wait and poll every half second is watched for some seconds: its CPU, and the calls that the service got from it. Then
it is ended, and `decide`, which computes what to do next from the state, is timed on the ledger that it left.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from corpus import write_items
from measure import LEDGER, POLL, RESULTS, calls, keep, load, machine, progress, server, workplace

REQUESTS = 100
ITEM_BYTES = 300
WATCHED_SECONDS = 15.0
GIVEN_UP_SECONDS = 600.0
_USUAL = ("GET list", "POST list", "GET calls", "requests", "results_bytes")
_TIMED = """
import sys, time, statistics
from ledger.core.decide import decide
from ledger.loading import load_state
from ledger.store.sqlite import SqliteLog
with SqliteLog.open_reader(sys.argv[1]) as log:
    state = load_state(log)
took = []
for _ in range(300):
    began = time.perf_counter()
    decide(state, time.time_ns() // 1000)
    took.append(time.perf_counter() - began)
print(statistics.median(took), len(state.chunks_in("submitted")))
"""


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a running process; Linux only."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def in_flight(batches: int, where: Path | None) -> dict[str, Any]:
    """Return what a tick costs with so many batches in flight."""
    before = load()
    with workplace(where) as place, server(REQUESTS, turnaround_seconds=1e9) as service:
        items, book = place / "items.jsonl", place / "items.ledger"
        write_items(items, batches * REQUESTS, ITEM_BYTES)
        run = [str(LEDGER), "run", str(items), "--ledger", str(book), "--poll", POLL, "--yes", "--no-canary", "--quiet"]
        began = time.monotonic()
        process = subprocess.Popen([*run, "--chunk-requests", str(REQUESTS)], env=service.environment)
        while calls(service)["requests"] < batches * REQUESTS:
            if process.poll() is not None or time.monotonic() - began > GIVEN_UP_SECONDS:
                sys.exit(f"{batches} batches were not accepted within {GIVEN_UP_SECONDS:.0f} s")
            time.sleep(0.2)
        submitted_seconds = time.monotonic() - began
        submitting = cpu_seconds(process.pid)
        time.sleep(2)
        listed, used, since = calls(service).get("GET list", 0), cpu_seconds(process.pid), time.monotonic()
        time.sleep(WATCHED_SECONDS)
        listed, used = calls(service).get("GET list", 0) - listed, cpu_seconds(process.pid) - used
        watched = time.monotonic() - since
        others = {name: count for name, count in calls(service).items() if name not in _USUAL}
        process.terminate()
        process.wait()
        timed = subprocess.run([sys.executable, "-c", _TIMED, str(book)], capture_output=True, text=True, check=True)
    decide_seconds, open_batches = timed.stdout.split()
    return {
        "batches": int(open_batches),
        "seconds_until_submitted": submitted_seconds,
        "cpu_seconds_until_submitted": submitting,
        "cpu_seconds_a_poll": used / max(listed, 1),
        "cpu_share": used / watched,
        "list_calls": listed,
        "polls": watched / float(POLL),
        "other_calls": others,
        "decide_seconds": float(decide_seconds),
        "load": before,
    }


def main() -> None:
    """Measure several numbers of batches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", default="10,100,1000")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures are kept")
    parser.add_argument("--where", type=Path, help="a directory on the disk to measure; the system's temporary one")
    options = parser.parse_args()
    found, described = [], machine()
    for batches in map(int, options.batches.split(",")):
        found.append(in_flight(batches, options.where))
        progress(json.dumps(found[-1]))
    keep("chunks", {"sizes": found, "requests": REQUESTS, **described}, options.results)


if __name__ == "__main__":
    main()
