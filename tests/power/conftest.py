"""What the tests of power cuts and bad disks share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cuts import record_run
from recorder import Watched


@contextmanager
def _quick(otherwise: Path) -> Iterator[Path]:
    """Yield an empty directory in memory where there is one: cuts are simulated, real syncs would only take time."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield otherwise
        return
    place = Path(tempfile.mkdtemp(prefix="ledger-power-", dir=memory))
    try:
        yield place
    finally:
        shutil.rmtree(place)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """An empty directory for one test."""
    with _quick(tmp_path.resolve()) as place:
        yield place


@pytest.fixture(scope="session")
def recorded_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A whole run of the product, recorded; its directory is where its states are laid out."""
    with _quick(tmp_path_factory.mktemp("recorded").resolve()) as place:
        yield record_run(place)
