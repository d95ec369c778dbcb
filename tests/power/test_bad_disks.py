"""A disk that is full, broken or read-only: the run stops before its next effect, says so, and goes on when it is well.

Every step that a run asks of the disk fails once, in each of these ways, over the real store and the real runner; then
the shipped command does the same under limits of the operating system.
"""

from __future__ import annotations

import ctypes
import os
import random
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cuts import AT_ONCE, ITEMS, write_items
from troubles import FIRST_STEP, MESSAGES, STEPS, TROUBLES, released, strike
from verdicts import LEDGER

from ledger import Ledger
from ledger.service.simulator.http import RunningServer, serve

RUNS = 4
_DROP_CAPABILITY, _IGNORE_MODES = 24, 1
"""PR_CAPBSET_DROP of prctl(2), CAP_DAC_OVERRIDE of capabilities(7)."""


@pytest.mark.parametrize("lasts", [True, False], ids=["lasting", "once"])
@pytest.mark.parametrize("name", TROUBLES)
def test_a_disk_that_goes_bad_at_any_step_stops_the_run_which_goes_on_when_it_is_well(
    place: Path, name: str, *, lasts: bool
) -> None:
    seen = Counter[str]()
    for number, at in enumerate(random.Random(name).sample(range(FIRST_STEP, STEPS), RUNS)):
        there = place / str(number)
        there.mkdir()
        seen[strike(there, name, at, lasts=lasts, cut=number % 2 == 0)] += 1
    told = seen.keys() - {"untroubled", "finished"}
    assert told
    assert told <= {f"3 {what}; ledger resume" for what in MESSAGES[name]}


# ── the shipped command ──


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with closing(serve(0, AT_ONCE, tmp_path / "service.sim")) as server:
        yield server


def command(place: Path, server: RunningServer, *argv: str, file_bytes: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the installed command under the rights of the files' modes, which do not bind the superuser otherwise."""

    def limit() -> None:
        if file_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY))
        if os.geteuid() == 0 and sys.platform == "linux":
            ctypes.CDLL(None).prctl(_DROP_CAPABILITY, _IGNORE_MODES, 0, 0, 0)

    clean = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
    return subprocess.run(
        [Path(sys.executable).with_name("ledger"), *argv],
        cwd=place,
        env=clean | {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": server.url, "NO_COLOR": "1"},
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


RUN = ("run", "items.jsonl", "--ledger", LEDGER, "--model", "claude-haiku-4-5", "--max-tokens", "256")
RUN += ("--chunk-requests", "5", "--poll", "0.02", "--settle", "0", "--quiet")


def well_again(place: Path, server: RunningServer) -> None:
    assert command(place, server, "resume", LEDGER, "--quiet").returncode == 1  # one item is named by a 400
    bill = server.bill()
    assert (bill.prompts_accepted_twice, bill.prompts_billed_twice, bill.requests_billed) == (0, 0, ITEMS - 1)
    assert Ledger(place / LEDGER).audit().ok


@pytest.mark.parametrize("file_bytes", [110_000, 260_000])
def test_the_command_under_a_limit_of_file_size_says_so_and_goes_on_without_it(
    place: Path, server: RunningServer, file_bytes: int
) -> None:
    write_items(place)
    ended = command(place, server, *RUN, file_bytes=file_bytes)
    assert ended.returncode == 3, ended.stderr
    assert ended.stderr.startswith("error: "), ended.stderr
    assert "Traceback" not in ended.stderr
    assert "then: ledger resume" in ended.stderr
    assert server.bill().batches <= released(place / LEDGER)
    well_again(place, server)


def test_the_command_in_a_directory_that_cannot_be_written_says_so_and_goes_on_when_it_can(
    place: Path, server: RunningServer
) -> None:
    write_items(place)
    place.chmod(0o500)
    try:
        ended = command(place, server, *RUN)
        assert ended.returncode == 3, ended.stderr
        assert "make the file and its directory writable for you, then: ledger resume" in ended.stderr
        assert server.bill().batches == 0
    finally:
        place.chmod(0o700)
    assert command(place, server, *RUN).returncode == 1
    (place / LEDGER).chmod(0o400)
    place.chmod(0o500)
    try:
        assert command(place, server, "resume", LEDGER).returncode == 3
        shown = command(place, server, "status", LEDGER)
        assert shown.returncode == 0, shown.stderr
    finally:
        place.chmod(0o700)
        (place / LEDGER).chmod(0o600)
    well_again(place, server)
