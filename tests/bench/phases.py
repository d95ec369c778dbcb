"""Where the time goes: `ledger run` and `ledger results` watched by py-spy, by phase and as a flame graph.

    python tests/bench/phases.py [--case 100k] [--py-spy PATH]

py-spy (`pip install py-spy`; no dependency of this project) looks 200 times a second at every thread that is on a CPU.
A sample counts for the innermost phase that its stack is in: the append of events that a collection made is "append".
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from bench import CASES, ours
from corpus import write_items
from flame import flame_graph
from measure import RESULTS, keep, load, machine, progress, server, workplace

RATE = 200
PHASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("import", ("_find_and_load (",)),
    ("append", ("append (ledger/store/sqlite.py",)),
    ("fold", ("evolve (ledger/core/evolve.py", "fold (ledger/core/evolve.py")),
    ("decide", ("decide (ledger/core/decide.py",)),
    ("seal", ("_sealed (ledger/runner.py",)),
    ("intake", ("read (ledger/files/intake.py", "_take_in (ledger/ledger.py")),
    ("submit", ("submit (ledger/perform",)),
    ("collect", ("collect (ledger/collecting",)),
    ("look", ("look (ledger/perform",)),
    ("export", ("ledger/files/export.py",)),
    ("open and close", ("/store/sqlite.py", "/store/schema.py", "save_state (", "load_state (")),
    ("loop", ("_run (ledger/runner.py",)),
)
"""Phases by the frames that begin them, in the order of precedence where one stack holds two."""
OTHER, INTERPRETER = "other", "interpreter"
"""A stack of nothing but its thread is Python itself, starting or ending."""
_THREAD = re.compile(r"thread \(\d+\): (?:[a-z]+:[^;]*)?")
"""Worker threads are taken out: the name of one says what its first job was, not what it does now."""
_PLACE = re.compile(r"\(/[^;]*/")


def phase_of(stack: str) -> str:
    """Return the phase that a stack of frames, outermost first and joined by semicolons, is in."""
    if ";" not in stack:
        return INTERPRETER
    return next((name for name, frames in PHASES if any(frame in stack for frame in frames)), OTHER)


def collapsed(recorded: str, root: Path) -> Counter[str]:
    """Return how often each stack was seen, its threads and files named alike in every run."""
    stacks: Counter[str] = Counter()
    for line in recorded.splitlines():
        stack, _, count = line.rpartition(" ")
        named = _THREAD.sub("", stack.replace(f"{root}/", "")).removeprefix(";")
        stacks[_PLACE.sub("(", named) or "worker"] += int(count)
    return stacks


def _without_importlib(stack: str) -> str:
    """Return a stack without the machinery between a module and the module that imports it: it hides what is there."""
    frames = stack.split(";")
    kept = [frame for frame in frames if "<frozen importlib" not in frame]
    return ";".join([*kept, "importing"] if "<frozen importlib" in frames[-1] else kept)


def record(py_spy: str, command: list[str], environment: dict[str, str], place: Path) -> str:
    """Run a command under py-spy and return the stacks it saw."""
    out = place / "stacks.txt"
    watch = [py_spy, "record", "--rate", str(RATE), "--format", "raw", "--output", str(out), "--threads", "--"]
    done = subprocess.run([*watch, *command], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"py-spy ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return out.read_text()


def profile(py_spy: str, case_name: str, where: Path | None) -> tuple[dict[str, Any], Counter[str]]:
    """Return the samples by command and phase, and all stacks."""
    case, every = CASES[case_name], Counter[str]()
    samples: dict[str, dict[str, int]] = {}
    before = load()
    with workplace(where) as place, server(case.answer_bytes) as service:
        items = place / "items.jsonl"
        write_items(items, case.items, case.item_bytes)
        for command in ours(items, place):
            command[:1] = [sys.executable, "-m", "ledger"]
            stacks = collapsed(record(py_spy, command, service.environment, place), Path(__file__).parents[2])
            phases: Counter[str] = Counter()
            for stack, count in stacks.items():
                phases[phase_of(stack)] += count
            samples[command[3]] = dict(phases)
            for stack, count in stacks.items():
                every[f"ledger {command[3]};{_without_importlib(stack)}"] += count
    return {**case._asdict(), "case": case_name, "samples": samples, "rate": RATE, "load": before, **machine()}, every


def main() -> None:
    """Profile a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="100k", choices=CASES)
    parser.add_argument("--py-spy", default=shutil.which("py-spy"), help="where it is, unless on the PATH")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures are kept")
    parser.add_argument("--where", type=Path, help="a directory on the disk to measure; the system's temporary one")
    options = parser.parse_args()
    if options.py_spy is None:
        sys.exit("py-spy is not here; pip install py-spy, or --py-spy PATH")
    found, stacks = profile(options.py_spy, options.case, options.where)
    keep("phases", found, options.results)
    title = f"ledger run and ledger results, {found['items']:,} items of {found['item_bytes'] / 1000:.0f} KB"
    (options.results.parent / "flame.svg").write_text(flame_graph(stacks, title))
    for command, phases in found["samples"].items():
        total = sum(phases.values())
        shown = ", ".join(f"{name} {100 * count / total:.0f}%" for name, count in Counter(phases).most_common())
        progress(f"ledger {command}: {shown}")


if __name__ == "__main__":
    main()
