"""A ledger whose whole log was in a lost ``-wal``: its sidecar still knows whose batches are its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ledger import Ledger
from ledger.core.errors import LedgerError
from ledger.store.lease import read_head
from ledger.store.sqlite import SqliteLog


def test_an_emptied_ledger_that_is_recovered_keeps_its_id(tmp_path: Path) -> None:
    items, path = tmp_path / "items.jsonl", tmp_path / "items.ledger"
    items.write_text(json.dumps({"id": "a", "prompt": "hello"}) + "\n")
    SqliteLog.create(path).close()
    empty = path.read_bytes()
    path.unlink()
    assert Ledger(path, simulate=True).run(items, model="claude-haiku-4-5", max_tokens=10).exit_code == 0
    before = Ledger(path).state()
    path.write_bytes(empty)  # what is left of it when SQLite had written nothing back yet
    with pytest.raises(LedgerError):
        Ledger(path, simulate=True).recover(items)  # the run's model is lost too, so the items are refused by name
    after = Ledger(path).state()
    assert (after.ledger_id, after.origin) == (before.ledger_id, before.origin)
    head = read_head(path.resolve())
    assert head is not None
    assert head.position > after.position
