"""Room on the disk, asked for before a run begins."""

from __future__ import annotations

import gzip
import random
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from ledger.core.errors import DiskError
from ledger.ledger import Ledger
from ledger.store.space import RESERVE_BYTES, answers_bytes, intake_bytes


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def written(place: Path, count: int) -> Path:
    """Items of random words: text that compresses less than English does."""
    words = random.Random(7)
    lines = (
        f'{{"id": "{number}", "prompt": "{" ".join(f"{words.getrandbits(24):x}" for _ in range(60))}"}}\n'
        for number in range(count)
    )
    file = place / "items.jsonl"
    file.write_text("".join(lines))
    return file


def test_a_ledger_of_unusual_text_needs_less_than_is_asked_for(tmp_path: Path) -> None:
    items = written(tmp_path, 2000)
    packed = tmp_path / "items.jsonl.gz"
    packed.write_bytes(gzip.compress(items.read_bytes()))
    check = Ledger(tmp_path / "x.ledger").check(items, model="claude-haiku-4-5", max_tokens=10)
    assert check.ledger_bytes < intake_bytes(items)
    assert check.ledger_bytes < intake_bytes(packed)


def test_answers_need_less_than_is_asked_for(tmp_path: Path) -> None:
    items = written(tmp_path, 500)
    ledger = Ledger(tmp_path / "x.ledger", simulate=True)
    ledger.run(items, model="claude-haiku-4-5", max_tokens=400)
    before = Ledger(tmp_path / "y.ledger").check(items, model="claude-haiku-4-5", max_tokens=400).ledger_bytes
    grown = ledger.path.stat().st_size - before
    assert grown < answers_bytes(500, ledger.costs().total.output_tokens) - RESERVE_BYTES


def test_a_run_without_room_for_its_items_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = written(tmp_path, 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 1000, 1000))
    ledger = Ledger(tmp_path / "x.ledger", simulate=True)
    with pytest.raises(DiskError) as refused:
        ledger.run(items, model="claude-haiku-4-5", max_tokens=400)
    assert refused.value.what == "there is too little room for the items"
    assert refused.value.why.startswith("1.0 KB are free, and 32.0 MB may be needed")
    assert not ledger.path.exists()
