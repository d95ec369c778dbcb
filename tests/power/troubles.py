"""A run on a disk that goes bad at some step, then on one that is well."""

from __future__ import annotations

import errno
import random
from pathlib import Path

from cuts import CHECKPOINT_PAGES, assert_finished, run, service, write_items
from powerdisk import Disk, survivors
from recorder import Watched, watching
from verdicts import LEDGER, Bench

from ledger.core.errors import DiskError
from ledger.service.simulator.bill import draw_bill
from ledger.service.simulator.clocks import real_clock
from ledger.store.sqlite import SqliteLog

FIRST_STEP = 2
"""The first step is of the simulated service: it makes its own memory, in the same directory."""
STEPS = 340
"""About as many steps of a run can fail."""

TROUBLES = {
    "ENOSPC": (errno.ENOSPC, ("write", "create")),
    "EIO": (errno.EIO, ("write", "truncate", "rename", "unlink")),
    "fsync": (errno.EIO, ("sync",)),
    "EROFS": (errno.EROFS, ("write", "create", "truncate", "rename", "unlink")),
}
MESSAGES = {
    "ENOSPC": {"the disk is full"},
    "EIO": {"the ledger could not be read or written", "the file could not be read or written"},
    "fsync": {"the ledger could not be read or written", "the file could not be read or written"},
    "EROFS": {"the ledger cannot be opened or written", "the file cannot be opened or written"},
}


class Trouble:
    """A disk that goes bad at a step: from there on all such steps fail, or that one only.

    Attributes:
        struck: whether it has.
    """

    def __init__(self, name: str, at: int, *, lasts: bool) -> None:
        self.struck = False
        self._code, self._kinds = TROUBLES[name]
        self._at = at
        self._lasts = lasts

    def __call__(self, watched: Watched) -> int:
        if watched.attempts < self._at or watched.doing[0] not in self._kinds or (self.struck and not self._lasts):
            return 0
        self.struck = True
        return self._code


def books(place: Path) -> int:
    """Return how many batches the service has accepted."""
    sim = place / f"{LEDGER}.sim"
    if not sim.exists():
        return 0
    with service(place) as simulator:
        return draw_bill(simulator.batches, real_clock()).batches


def released(path: Path) -> int:
    """Return how many submissions the log says were let go."""
    if not path.exists():
        return 0
    with SqliteLog.open_reader(path) as log:
        return sum(row.type_name == "submission_released" for row in log.read())


def strike(place: Path, name: str, at: int, *, lasts: bool, cut: bool) -> str:
    """Run on a disk that goes bad, then on one that is well; return how the first run ended.

    Args:
        place: an empty directory.
        name: the trouble.
        at: the step at which it begins.
        lasts: all such steps fail from there on, not one alone.
        cut: power fails, too, before the disk is well: what was not synced is lost.
    """
    write_items(place)
    trouble = Trouble(name, at, lasts=lasts)
    ended = "finished"
    with watching(place, wal_autocheckpoint=str(CHECKPOINT_PAGES)) as watched:
        watched.fails = trouble
        try:
            run(place)
        except DiskError as problem:
            ended = f"{problem.exit_code} {problem.what}; {problem.next.partition('ledger resume')[1]}"
    if cut:
        power_off(watched)
    if released(place / LEDGER) < books(place):
        raise AssertionError("the service has batches whose release is not in the log")
    run(place)
    assert_finished(place)
    return ended if trouble.struck else "untroubled"


def power_off(watched: Watched) -> None:
    """Leave what a cut now leaves at worst."""
    disk = Disk()
    for step in watched.steps:
        disk.take(step)
    left = next((left for how, left in survivors(disk, random.Random(0), 0) if how == "none of it"), None)
    if left is not None:
        picture = [path.read_bytes() for path in watched.place.glob("*.sim")]
        Bench(watched.place).lay_out(left.files())
        for held in picture:
            (watched.place / f"{LEDGER}.sim").write_bytes(held)
