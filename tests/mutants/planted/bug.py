"""What a planted bug is."""

from __future__ import annotations

from typing import NamedTuple

RUNNER = "tests/test_runner.py"
RACES = "tests/test_runner_races.py"
GATEWAY = "tests/test_gateway.py"
SUBMISSIONS = "tests/hostile/test_submissions.py"
READING = "tests/hostile/test_collecting.py"
TWINS = "tests/hostile/test_twins.py"


class Bug(NamedTuple):
    """One planted bug: a short name, the promise it breaks, the edit, and the pytest selection that should catch it."""

    name: str
    breaks: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
