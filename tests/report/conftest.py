"""Ledgers to report about, made once: of every kind that there is, and the golden ones."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import histories
import pytest

GOLDEN = Path(__file__).parents[1] / "golden"


def empty(path: Path) -> None:
    """Nothing was asked."""
    histories.Script(path).close()


def unanswered(path: Path) -> None:
    """Items were taken in, and one batch was sent: there are no results yet."""
    script = histories.Script(path)
    script.take_in(histories.SECOND, ["a", "b", "c"])
    script.submit(2 * histories.SECOND, script.seal(2 * histories.SECOND, 0, 3))
    script.close()


SCRIPTED: dict[str, Callable[[Path], None]] = {
    "empty": empty,
    "unanswered": unanswered,
    "hostile": histories.hostile,
    "slow": histories.one_slow_batch,
    "days": histories.five_days,
    "many": lambda path: histories.many_batches(path, 80, 3),
}


@pytest.fixture(scope="session")
def ledgers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Ledgers by name."""
    place = tmp_path_factory.mktemp("ledgers")
    found = {}
    for name, write in SCRIPTED.items():
        found[name] = place / f"{name}.ledger"
        write(found[name])
    for packed in sorted(GOLDEN.glob("*.ledger.gz")):
        found[packed.stem] = place / packed.stem
        found[packed.stem].write_bytes(gzip.decompress(packed.read_bytes()))
    return found


@pytest.fixture(scope="session")
def pages(ledgers: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of every ledger, by its name."""
    from ledger.report.making import make_report

    place = tmp_path_factory.mktemp("pages")
    found = {}
    for name, path in ledgers.items():
        found[name] = place / f"{name}.html"
        found[name].write_bytes(make_report(path, made_at=histories.MADE_AT).html)
    return found
