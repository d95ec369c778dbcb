"""A run that was simulated once, for all that only looks at it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from commanding import ITEMS, MODEL, shell

INDEX = "BATCH_LEDGER_INDEX"  # the tests leave none behind


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has a directory of its own, no credentials and no service."""
    monkeypatch.chdir(tmp_path)
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL", "ANTHROPIC_LOG"):
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.startswith("BATCH_LEDGER_") and name != INDEX]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "own"))


@pytest.fixture(scope="session")
def _finished_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("finished")
    (place / "items.jsonl").write_text(ITEMS)
    ran = shell("run", "items.jsonl", "--simulate", *MODEL, "-o", "answers.jsonl", cwd=place)
    (place / "run.stdout").write_text(ran.stdout)
    (place / "run.stderr").write_text(ran.stderr)
    (place / "run.code").write_text(str(ran.returncode))
    return place


@pytest.fixture
def finished(_finished_once: Path, tmp_path: Path) -> Path:
    """The directory of a finished run, in the current directory: items, ledger, answers, and what it said."""
    for path in _finished_once.iterdir():
        shutil.copy(path, tmp_path / path.name)
    return tmp_path
