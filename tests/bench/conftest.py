"""The hot functions are timed by `make bench-hot` alone: a test of times fails on a busy machine without a fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the timings out unless pytest-benchmark is at work (it is switched off in pyproject.toml)."""
    timed = config.pluginmanager.hasplugin("benchmark")
    return True if collection_path.name == "test_hot.py" and not timed else None


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Keep the name of whoever's machine it was out of files that are committed."""
    machine_info.pop("node", None)
