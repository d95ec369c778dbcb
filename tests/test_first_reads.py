"""Threads may be the first to read a type from JSON only where its decoder was made before there were any.

msgspec 0.22 learns a type at its first use, and two threads that do so at once crash the process.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ledger

PACKAGE = Path(ledger.__file__).parent
ONE_THREAD_ONLY = {
    "core/events.py",  # its types have decoders
    "ledger.py",  # a person's request, on the thread of the command
    "service/simulator/faults.py",  # a service's settings, before it serves
    "service/simulator/journal.py",  # its memory, before it serves
}

RACE = """
import sys, threading
from ledger.service import gateway
from ledger.service.simulator import envelope
from ledger.store import lease

sys.setswitchinterval(1e-6)
together = threading.Barrier(8)

def first():
    together.wait()
    gateway._decode_list(b'{"data": [{"id": "a", "request_counts": {"processing": 1}}]}')
    gateway._decode_batch(b'{"id": "a"}')
    envelope._decode_requests(b'{"requests": [{"custom_id": "a", "params": {}}]}')

threads = [threading.Thread(target=first) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def lazily_typed(path: Path) -> list[int]:
    """Return the lines of a module that decode or convert to a type which may not have been used before."""
    return [
        call.lineno
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in ("decode", "convert")
        and any(keyword.arg == "type" for keyword in call.keywords)
    ]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_type_is_read_for_the_first_time_by_several_threads(path: Path) -> None:
    assert lazily_typed(path) == [] or str(path.relative_to(PACKAGE)) in ONE_THREAD_ONLY


def test_threads_that_are_the_first_to_read_an_answer_do_not_crash_the_process() -> None:
    assert subprocess.run([sys.executable, "-c", RACE], capture_output=True, timeout=60, check=False).returncode == 0
