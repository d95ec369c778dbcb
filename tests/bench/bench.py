"""What `ledger run` costs the machine it runs on, beside the plain SDK script that does the same job.

    python tests/bench/bench.py [--items 100000] [--repeat 3] [--quick]

Both sides get the same file and the same simulated service, over HTTP on loopback, in a process of its own and anew
for every job. They take turns. Every client is a fresh process; its CPU time (user and system) and its peak memory
are what the kernel says of it when it has ended (wait4). `ledger run` and `ledger results` are two processes: times
are added, of the memory the larger counts. Both look for news every half second. Where there are several CPUs, the
service has the last one for itself. The medians are printed as a Markdown table.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
PRODUCTS = HERE.parents[1] / "examples" / "products.jsonl"
LEDGER = Path(sys.executable).with_name("ledger")
ITEM_BYTES = 2_000
POLL = "0.5"
MODEL = "claude-sonnet-4-6"
MAX_TOKENS = 1024
QUICK_ITEMS = 2_000
_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


class Cost(NamedTuple):
    """What a job took."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int

    def then(self, other: Cost) -> Cost:
        """Return the cost of this process followed by another one."""
        return Cost(
            self.wall_seconds + other.wall_seconds,
            self.cpu_seconds + other.cpu_seconds,
            max(self.peak_bytes, other.peak_bytes),
        )


def write_items(path: Path, count: int) -> None:
    """Write items of 2 KB: sentences of the example products in an order of their own, so that no two are alike."""
    with PRODUCTS.open(encoding="utf-8") as rows:
        prompts = [json.loads(row)["prompt"] for row in rows]
    sentences = sorted({sentence for prompt in prompts for sentence in prompt.split(". ") if len(sentence) > 40})
    with path.open("w", encoding="utf-8") as out:
        for number in range(count):
            params = {"model": MODEL, "max_tokens": MAX_TOKENS, "messages": [{"role": "user", "content": ""}]}
            item = {"custom_id": f"item-{number:07d}", "params": params}
            room = ITEM_BYTES - len(json.dumps(item)) - 1
            draw = hashlib.shake_128(str(number).encode()).digest(80)
            picks = (int.from_bytes(draw[at : at + 2], "big") % len(sentences) for at in range(0, 80, 2))
            text = ". ".join(sentences[pick] for pick in picks).encode()[:room].decode("utf-8", "ignore")
            params["messages"] = [{"role": "user", "content": text}]
            out.write(json.dumps(item, ensure_ascii=False) + "\n")


def measure(command: Sequence[str], environment: dict[str, str], cpus: set[int] | None) -> Cost:
    """Run a command to its end and return what it took.

    Raises:
        SystemExit: it failed; a benchmark of a failure is none.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=_pin(cpus) if cpus is not None else None,
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall_seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{said.decode(errors='replace')[-2000:]}")
    return Cost(wall_seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _RSS_UNIT_BYTES)


def _pin(cpus: set[int]) -> Callable[[], None]:
    return lambda: os.sched_setaffinity(0, cpus)  # type: ignore[attr-defined, unused-ignore]  # Linux only


def baseline(items: Path, place: Path) -> list[list[str]]:
    """Return the commands of the plain script."""
    return [[sys.executable, str(HERE / "baseline.py"), str(items), str(place / "answers.jsonl"), "--poll", POLL]]


def ours(items: Path, place: Path) -> list[list[str]]:
    """Return the commands of this program, as a person types them."""
    book = str(place / "items.ledger")
    return [
        [str(LEDGER), "run", str(items), "--ledger", book, "--poll", POLL, "--yes"],
        [str(LEDGER), "results", book, "-o", str(place / "answers.jsonl")],
    ]


def fingerprint(answers: Path) -> tuple[int, int]:
    """Return how many answers there are, and a sum over their ids that does not depend on their order."""
    count = total = 0
    with answers.open("rb") as rows:
        for row in rows:
            count += 1
            name = json.loads(row)["custom_id"].encode()
            total ^= int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")
    return count, total


def expected(items: int) -> tuple[int, int]:
    """Return the fingerprint of a complete job."""
    total = 0
    for number in range(items):
        name = f"item-{number:07d}".encode()
        total ^= int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")
    return items, total


def job(side: Callable[[Path, Path], list[list[str]]], items: Path, count: int, cpus: list[int]) -> tuple[Cost, int]:
    """Do one side's job against a service of its own; return what it took, and the bytes that it left on the disk."""
    with tempfile.TemporaryDirectory(dir=items.parent) as name:
        place = Path(name)
        pinned = len(cpus) > 1
        arguments = [str(cpus[-1])] if pinned else []
        server = subprocess.Popen(
            [sys.executable, str(HERE / "server.py"), *arguments], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            environment = {**os.environ, "ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "simulated"}
            total = Cost(0, 0, 0)
            for command in side(items, place):
                total = total.then(measure(command, environment, set(cpus[:-1]) if pinned else None))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
        if fingerprint(place / "answers.jsonl") != expected(count):
            sys.exit(f"{side.__name__}: not every item has exactly one answer")
        left_bytes = sum(path.stat().st_size for path in place.iterdir() if path.suffix != ".jsonl")
        return total, left_bytes


def median(costs: Sequence[Cost]) -> Cost:
    """Return the medians, each figure by itself."""
    return Cost(
        statistics.median(cost.wall_seconds for cost in costs),
        statistics.median(cost.cpu_seconds for cost in costs),
        round(statistics.median(cost.peak_bytes for cost in costs)),
    )


def table(plain: Cost, own: Cost) -> str:
    """Return the comparison in Markdown."""
    rows = [
        ("wall, s", plain.wall_seconds, own.wall_seconds, ".1f"),
        ("CPU, s", plain.cpu_seconds, own.cpu_seconds, ".1f"),
        ("peak memory, MB", plain.peak_bytes / 1e6, own.peak_bytes / 1e6, ".0f"),
    ]
    lines = ["| | SDK script | ledger | ratio |", "| --- | ---: | ---: | ---: |"]
    lines += [f"| {name} | {a:{form}} | {b:{form}} | {b / a:.2f} |" for name, a, b, form in rows]
    return "\n".join(lines)


def machine() -> str:
    """Return what was measured on and with."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    names = ("anthropic", "claude-batch-ledger", "msgspec")
    return f"{os.cpu_count()} CPUs, {platform.system()} {platform.machine()}, {python}, " + ", ".join(
        f"{name} {version(name)}" for name in names
    )


def available_cpus() -> list[int]:
    """Return the CPUs to share out; none where the system does not let processes be bound to them."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def main() -> None:
    """Measure both sides in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000, help="how many items of 2 KB (default 100,000)")
    parser.add_argument("--repeat", type=int, default=3, help="how often each side does the job (default 3)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ITEMS:,} items, once: does it work at all?")
    options = parser.parse_args()
    count, repeat = (QUICK_ITEMS, 1) if options.quick else (options.items, options.repeat)
    cpus = available_cpus()
    with tempfile.TemporaryDirectory(prefix="ledger-bench-") as name:
        items = Path(name) / "items.jsonl"
        write_items(items, count)
        plain, own, left_bytes = [], [], 0
        for turn in range(repeat):
            print(f"round {turn + 1} of {repeat}", file=sys.stderr)
            plain.append(job(baseline, items, count, cpus)[0])
            cost, left_bytes = job(ours, items, count, cpus)
            own.append(cost)
            print(f"  SDK script {plain[-1]}\n  ledger     {own[-1]}", file=sys.stderr)
        print(f"{count:,} items, {items.stat().st_size / 1e6:.0f} MB; medians of {repeat}\n")
        print(table(median(plain), median(own)))
        print(f"\nThe ledger has {left_bytes / 1e6:.1f} MB.")
        print(f"{machine()}\n{' '.join(['python', *sys.argv])}")


if __name__ == "__main__":
    main()
