"""What `ledger run` and `ledger results` cost, beside the plain SDK script that does the same job (`baseline.py`).

    python tests/bench/bench.py [--cases 1k,10k,100k] [--rounds 3] [--quick]

Both sides get the same file and the same service over HTTP on loopback (`server.py`), in a process of its own and anew
for every job. They take turns. Every client is a fresh process; its CPU time (user and system) and its peak memory
are what the kernel says of it when it has ended (wait4). `ledger run` and `ledger results` are two processes: times
are added, of the memory the larger counts. Both look for news every half second. The answers of both sides are checked:
every item has exactly one. Results go to docs/benchmarks/results.json; `report.py` makes docs/benchmarks.md of them.

After the last round of a case, what else a ledger of that size is asked is measured once: `status`, `replay`, the
audit, and a run of the same file that has nothing to do.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

from corpus import custom_id, write_items
from measure import (
    HERE,
    LEDGER,
    POLL,
    RESULTS,
    Cost,
    calls,
    keep,
    load,
    machine,
    measure,
    progress,
    server,
    spread,
    workplace,
)


class Case(NamedTuple):
    """How many items of which size, with answers of which size; ``rounds`` are those of a suite."""

    items: int
    item_bytes: int
    answer_bytes: int
    rounds: int


CASES = {
    "1k": Case(1_000, 2_000, 2_000, 5),
    "10k": Case(10_000, 2_000, 2_000, 3),
    "100k": Case(100_000, 2_000, 2_000, 3),
    "1m": Case(1_000_000, 2_000, 2_000, 1),
    "small-answers": Case(100_000, 2_000, 500, 1),
    "large-prompts": Case(20_000, 20_000, 500, 1),
    "large-answers": Case(20_000, 2_000, 13_000, 1),
    "huge-answers": Case(200, 2_000, 1_000_000, 1),
}
SHORT = "1k,10k,100k"
FULL = ",".join(CASES)


def baseline(items: Path, place: Path) -> list[list[str]]:
    """Return the commands of the plain script."""
    return [[sys.executable, str(HERE / "baseline.py"), str(items), str(place / "answers.jsonl"), "--poll", POLL]]


def ours(items: Path, place: Path) -> list[list[str]]:
    """Return the commands of this program, as a person types them."""
    book = str(place / "items.ledger")
    return [
        [str(LEDGER), "run", str(items), "--ledger", book, "--poll", POLL, "--yes", "--no-canary"],
        [str(LEDGER), "results", book, "-o", str(place / "answers.jsonl")],
    ]


def afterwards(items: Path, place: Path) -> dict[str, list[str]]:
    """Return what else a finished ledger is asked."""
    book = str(place / "items.ledger")
    return {
        "help": [str(LEDGER), "--help"],
        "status": [str(LEDGER), "status", book],
        "replay": [str(LEDGER), "replay", book],
        "audit": [str(LEDGER), "replay", book, "--audit"],
        "again": [str(LEDGER), "run", str(items), "--ledger", book, "--yes"],
    }


def fingerprint(answers: Path) -> tuple[int, int]:
    """Return how many answers there are, and a sum over their ids that does not depend on their order."""
    count = total = 0
    with answers.open("rb") as rows:
        for row in rows:
            count += 1
            total ^= _mark(json.loads(row)["custom_id"])
    return count, total


def expected(items: int) -> tuple[int, int]:
    """Return the fingerprint of a complete job."""
    total = 0
    for number in range(items):
        total ^= _mark(custom_id(number))
    return items, total


def _mark(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def job(side: str, items: Path, case: Case, *, last: bool) -> dict[str, Any]:
    """Do one side's job against a service of its own; return what it took."""
    commands, more = {"sdk": baseline, "ledger": ours}[side], {}
    with workplace(items.parent) as place:
        with server(case.answer_bytes) as service:
            before = load()
            parts = [measure(command, service.environment) for command in commands(items, place)]
            results_bytes = calls(service)["results_bytes"]
            answers_bytes = (place / "answers.jsonl").stat().st_size
            left_bytes = sum(path.stat().st_size for path in place.iterdir() if path.suffix != ".jsonl")
            if last and side == "ledger":
                more = {
                    name: measure(command, service.environment)._asdict()
                    for name, command in afterwards(items, place).items()
                }
        if fingerprint(place / "answers.jsonl") != expected(case.items):
            sys.exit(f"{side}: not every item has exactly one answer")
    total = parts[0]
    for part in parts[1:]:
        total = total.then(part)
    return {
        **total._asdict(),
        "parts": [part._asdict() for part in parts],
        "server_cpu_seconds": service.cpu_seconds,
        "answers_bytes": answers_bytes,
        "results_bytes": results_bytes,
        "left_bytes": left_bytes,
        "load": before,
        "afterwards": more,
    }


def compare(name: str, case: Case, rounds: int, where: Path | None) -> dict[str, Any]:
    """Return what both sides took, in turns."""
    described = machine()
    with workplace(where) as place:
        items = place / "items.jsonl"
        write_items(items, case.items, case.item_bytes)
        jobs: dict[str, list[dict[str, Any]]] = {"sdk": [], "ledger": []}
        for turn in range(rounds):
            for side, done in jobs.items():
                done.append(job(side, items, case, last=turn == rounds - 1))
                took = Cost(*(done[-1][field] for field in Cost._fields))
                progress(
                    f"{name}, round {turn + 1} of {rounds}: {side:6} {took.wall_seconds:7.1f} s,"
                    f" CPU {took.cpu_seconds:6.1f} s, peak {took.peak_bytes / 1e6:4.0f} MB; load {done[-1]['load']}"
                )
        return {**case._asdict(), "rounds": rounds, "input_bytes": items.stat().st_size, "jobs": jobs, **described}


def ratios(found: dict[str, Any]) -> dict[str, float]:
    """Return ours by theirs, of the medians."""
    return {
        field: spread([one[field] for one in found["jobs"]["ledger"]])["median"]
        / spread([one[field] for one in found["jobs"]["sdk"]])["median"]
        for field in Cost._fields
    }


def main() -> None:
    """Measure the cases that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=SHORT, help=f"of {FULL}, or full (default {SHORT})")
    parser.add_argument("--rounds", type=int, help="how often each side does each job (default: 5 to 1, by size)")
    parser.add_argument("--quick", action="store_true", help="1,000 items, once: does it work at all?")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures are kept")
    parser.add_argument("--where", type=Path, help="a directory on the disk to measure; the system's temporary one")
    options = parser.parse_args()
    cases = "1k" if options.quick else FULL if options.cases == "full" else options.cases
    for name in cases.split(","):
        if name not in CASES:
            parser.error(f"there is no case {name}: {FULL}")
        case = CASES[name]
        rounds = 1 if options.quick else options.rounds or case.rounds
        found = compare(name, case, rounds, options.where)
        keep(f"compare:{name}", found, options.results)
        shown = ", ".join(f"{field} {value:.2f}" for field, value in ratios(found).items())
        progress(f"{name}: ledger ÷ SDK script: {shown}")


if __name__ == "__main__":
    main()
