"""Plants each bug of ``planted.py`` in a copy of the tree and asks the tests whether they notice.

    python tests/mutants/mutants.py [WORD ...]

prints, for every bug (or those whose name holds one of the words), which test caught it and how long that took. Exit
code 0: all were caught; 1: some survived; 2: it could not be judged, since a bug does not apply any more, tests fail
without any bug, or the copy is not what the tests import.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from planted import BUGS, Bug

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 120.0
BASELINE_SECONDS = 1800.0

_LEFT_BEHIND = shutil.ignore_patterns(
    ".git", ".venv", ".demo", ".*_cache", ".hypothesis", "*.egg-info", "build", "dist"
)
_IMPORTS = ".imports"
_PACKAGES = {"ledger": "ledger", "ledger_cli": "cli"}
_FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


class UnjudgedError(Exception):
    """What the tests say about a bug would mean nothing."""


class Verdict(NamedTuple):
    """What became of a bug. ``caught_by`` is the test that failed, "" where none did."""

    bug: Bug
    caught_by: str
    hung: bool
    seconds: float

    @property
    def survived(self) -> bool:
        """Whether no test noticed."""
        return not self.caught_by and not self.hung

    def __str__(self) -> str:
        word = "SURVIVED" if self.survived else "hung" if self.hung else "caught"
        by = self.caught_by.removeprefix("tests/")
        return f"{word:8} {self.seconds:6.1f} s  {self.bug.name:52}  {by}".rstrip()


def plant(source: str, bug: Bug) -> str:
    """Return a source with a bug in it.

    Raises:
        UnjudgedError: what it changes does not stand there exactly once.
    """
    times = source.count(bug.old)
    if times != 1:
        raise UnjudgedError(f"{bug.name!r}: {bug.file} holds what it changes {times} times, not once")
    return source.replace(bug.old, bug.new)


def copied(tree: Path, destination: Path) -> Path:
    """Return a copy of a tree in which nothing leads back to the original, except to what is installed in .venv."""
    shutil.copytree(tree, destination, symlinks=True, ignore=_LEFT_BEHIND)
    imports = destination / _IMPORTS
    if not imports.exists():
        imports.mkdir()
        for package, folder in _PACKAGES.items():
            (imports / package).symlink_to(Path("..", folder))
    return destination


def edit(copy: Path, file: str, text: str) -> None:
    """Replace a source file of a copy, and what Python remembers of it."""
    path = copy / file
    path.write_text(text, encoding="utf-8")
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink()


def environment(copy: Path) -> dict[str, str]:
    """Return an environment in which every Python, of a child's child too, imports what is in the copy."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "ANTHROPIC_"))}
    return inherited | {"PYTHONPATH": str(copy / _IMPORTS)}


def prove_imports(base: Path, place: Path) -> None:
    """Make sure that a bug in either package shows, in this Python and in the command that is installed beside it.

    Raises:
        UnjudgedError: what is imported is not the copy's.
    """
    script = Path(sys.executable).with_name("ledger")
    for package, folder in _PACKAGES.items():
        copy = copied(base, place / f"proof-{package}")
        file = f"{folder}/__init__.py"
        said = f"{package} is imported from the copy"
        edit(copy, file, (copy / file).read_text(encoding="utf-8") + f"\nraise SystemExit({said!r})\n")
        for command in ([sys.executable, "-c", f"import {package}"], [str(script), "status"]):
            ran = subprocess.run(
                command, cwd=place, env=environment(copy), capture_output=True, text=True, timeout=60, check=False
            )
            if said not in ran.stderr:
                raise UnjudgedError(f"{' '.join(command)} does not import {package} from the copy: {ran.stderr}")
        shutil.rmtree(copy)


def run_tests(copy: Path, tests: Sequence[str], limit_seconds: float, *options: str) -> tuple[int | None, str]:
    """Return pytest's exit code (None when it did not end in time) and what it said."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line", *options, *tests]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(
            command,
            cwd=copy,
            env=environment(copy),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(limit_seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with the processes that its tests started
                process.wait()
        said.seek(0)
        return code, said.read()


def judge(bug: Bug, base: Path, place: Path, limit_seconds: float = LIMIT_SECONDS) -> Verdict:
    """Plant a bug in a copy of its own and return what the tests make of it.

    Raises:
        UnjudgedError: it cannot be planted, or its tests did not run.
    """
    with tempfile.TemporaryDirectory(dir=place) as name:
        copy = copied(base, Path(name) / "tree")
        edit(copy, bug.file, plant((copy / bug.file).read_text(encoding="utf-8"), bug))
        began = time.monotonic()
        code, said = run_tests(copy, bug.tests, limit_seconds, "-x")
        seconds = time.monotonic() - began
    if code not in (0, 1, None):
        raise UnjudgedError(f"{bug.name!r}: pytest ended with {code}\n{said[-3000:]}")
    failed = _FAILED.search(said)
    return Verdict(bug, failed[1] if code == 1 and failed else "", code is None, seconds)


def require_sound(base: Path, bugs: Sequence[Bug], jobs: int) -> None:
    """Make sure that the tests pass where no bug is planted.

    Raises:
        UnjudgedError: some fail.
    """
    tests = sorted({test for bug in bugs for test in bug.tests})
    whole = {test for test in tests if "::" not in test}
    selected = [test for test in tests if test in whole or test.partition("::")[0] not in whole]
    code, said = run_tests(base, selected, BASELINE_SECONDS, "-n", str(jobs))
    if code != 0:
        raise UnjudgedError(f"the tests fail without any bug\n{said[-3000:]}")


@contextmanager
def laboratory() -> Iterator[tuple[Path, Path]]:
    """Yield a copy of the tree as it is now, and a place for more; both vanish at the end."""
    with tempfile.TemporaryDirectory(prefix="ledger-mutants-") as name:
        place = Path(name)
        yield copied(ROOT, place / "base"), place


def verdicts(bugs: Sequence[Bug], jobs: int) -> Iterator[Verdict]:
    """Yield what becomes of each bug, in order.

    Raises:
        UnjudgedError: it cannot be said.
    """
    with laboratory() as (base, place):
        for bug in bugs:
            plant((base / bug.file).read_text(encoding="utf-8"), bug)
        prove_imports(base, place)
        require_sound(base, bugs, jobs)
        with ThreadPoolExecutor(jobs) as pool:
            try:
                yield from pool.map(partial(judge, base=base, place=place), bugs)
            finally:
                pool.shutdown(cancel_futures=True)


def main() -> int:
    """Plant the bugs that are asked for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("words", nargs="*", metavar="WORD", help="only bugs whose name or file holds one of these")
    parser.add_argument("--jobs", type=int, choices=(1, 2), default=2, help="how many at a time (default: 2)")
    said = parser.parse_args()
    bugs = [bug for bug in BUGS if not said.words or any(word in f"{bug.name} {bug.file}" for word in said.words)]
    began = time.monotonic()
    survivors: list[Bug] = []
    hung = 0
    try:
        for verdict in verdicts(bugs, said.jobs):
            print(verdict, flush=True)
            survivors += [verdict.bug] if verdict.survived else []
            hung += verdict.hung
    except UnjudgedError as problem:
        print(problem, file=sys.stderr)
        return 2
    caught = len(bugs) - len(survivors)
    print(f"\n{caught} of {len(bugs)} caught, {hung} of them by a hang, in {time.monotonic() - began:.0f} s")
    for bug in survivors:
        print(f"SURVIVED: {bug.name} ({bug.file})\n  {bug.breaks}\n  not noticed by {' '.join(bug.tests)}")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
