"""What a process costs, as the kernel says when it has ended; the server of a job; where results are kept."""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LEDGER = Path(sys.executable).with_name("ledger")
POLL = "0.5"
RESULTS = ROOT / "docs" / "benchmarks" / "results.json"
_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


class Cost(NamedTuple):
    """What a job took: seconds, CPU seconds (user and system, with children), and the largest resident set."""

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


def measure(
    command: Sequence[str], environment: dict[str, str] | None = None, stdin: Any = None, expect: tuple[int, ...] = (0,)
) -> Cost:
    """Run a command to its end and return what it took.

    The peak is never below that of this process, whose memory a child shares until it starts its program: so this
    process stays small.

    Raises:
        SystemExit: it failed; a benchmark of a failure is none.
    """
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, env=environment, stdin=stdin or subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall_seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in expect:
            said.seek(0)
            text = said.read().decode(errors="replace")[-2000:]
            sys.exit(f"{shlex.join(command)} ended with {process.returncode}:\n{text}")
    return Cost(wall_seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _RSS_UNIT_BYTES)


class Server:
    """A running service. ``cpu_seconds`` is what it took, once it has ended."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url
        # The index of answers is kept as for any user, but not in the home of whoever measures.
        self._state = tempfile.TemporaryDirectory(prefix="ledger-bench-")
        self.environment = {
            **os.environ,
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": "simulated",
            "BATCH_LEDGER_STATE_DIR": self._state.name,
        }
        self.cpu_seconds = 0.0


@contextmanager
def server(answer_bytes: int, turnaround_seconds: float = 0.5) -> Iterator[Server]:
    """Run a service in a process of its own."""
    command = [sys.executable, str(HERE / "server.py"), "--answer-bytes", str(answer_bytes)]
    process = subprocess.Popen(
        [*command, "--turnaround", str(turnaround_seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    running = Server(process, process.stdout.readline().strip())
    try:
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdin.close()
        process.stdout.close()
        running.cpu_seconds = usage.ru_utime + usage.ru_stime


def calls(service: Server) -> dict[str, int]:
    """Return how often each operation was called, how many requests came, and how many bytes of results went out."""
    with urllib.request.urlopen(f"{service.url}/calls") as answer:
        return dict(json.load(answer))


@contextmanager
def workplace(where: Path | None = None) -> Iterator[Path]:
    """Make a directory on a disk; it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="ledger-bench-", dir=where) as name:
        yield Path(name)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the range."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values), "rounds": len(values)}


def load() -> float:
    """Return how many processes wanted a CPU, averaged over the last minute."""
    return round(os.getloadavg()[0], 2)


def machine() -> dict[str, Any]:
    """Return what was measured on and with, and when."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": "python " + shlex.join([_relative(sys.argv[0]), *_without_places(sys.argv[1:])]),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "processor": _processor(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": _of_sqlite(),
        "packages": {name: version(name) for name in ("anthropic", "claude-batch-ledger", "msgspec")},
        "commit": _commit(),
    }


def _relative(path: str) -> str:
    full = Path(path).resolve()
    return str(full.relative_to(ROOT)) if full.is_relative_to(ROOT) else full.name


def _without_places(arguments: Sequence[str]) -> list[str]:
    """Return arguments without those that say where something is on this machine."""
    places = [at for at, word in enumerate(arguments) if word in ("--results", "--where", "--py-spy")]
    return [word for at, word in enumerate(arguments) if not {at, at - 1} & set(places)]


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _of_sqlite() -> str:
    import sqlite3

    return sqlite3.sqlite_version


def _commit() -> str:
    """Return the commit, with a mark when the product's files differ from it."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        return ""

    def said(*arguments: str) -> str:
        return subprocess.run([git, "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True).stdout

    changed = said("status", "--porcelain", "--untracked-files=no", "--", "ledger", "cli")
    return said("rev-parse", "--short", "HEAD").strip() + (" with uncommitted changes" if changed else "")


def keep(section: str, found: dict[str, Any], results: Path = RESULTS) -> None:
    """Store what a part of the suite found, beside what the others did."""
    results.parent.mkdir(parents=True, exist_ok=True)
    stored = json.loads(results.read_text()) if results.exists() else {}
    stored[section] = found
    results.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")


def progress(text: str) -> None:
    """Say how far a benchmark is."""
    print(text, file=sys.stderr, flush=True)
