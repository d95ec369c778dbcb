"""What is freed is kept for the next one to ask, where the C library is glibc."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

ROUNDS = """
import resource, sys
from ledger_cli.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def fill(): blocks = [b"x" * 1_000_000 for _ in range(10)]
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10): fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    ran = subprocess.run([sys.executable, "-c", ROUNDS, how], capture_output=True, text=True, check=True)
    return int(ran.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library is left as it is")
def test_memory_that_is_freed_and_needed_again_is_not_asked_of_the_system_again() -> None:
    assert faults("kept") < faults("as it is") / 10
