"""A copy carries the log of one instant and its head."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from samples import AT, new_ledger, polled

from ledger.core.errors import RolledBackError, UsageError
from ledger.store.chain import verify_chain
from ledger.store.copy import copy_ledger
from ledger.store.sqlite import SqliteLog


def test_a_copy_has_the_same_events_and_a_head_of_its_own(tmp_path: Path) -> None:
    with new_ledger(tmp_path / "a.ledger", events=3) as log:
        head = copy_ledger(log.path, tmp_path / "b.ledger")  # while it is written
        assert head == log.head
        events = list(log.read())
        log.append([polled(9)], AT)
    assert sorted(p.name for p in tmp_path.glob("b.*")) == ["b.ledger", "b.ledger.lock"]
    assert stat.S_IMODE((tmp_path / "b.ledger").stat().st_mode) == 0o600
    with SqliteLog.open_writer(tmp_path / "b.ledger") as copy:
        assert copy.needs_recovery == ""
        assert list(copy.read()) == events
        assert list(verify_chain(copy, copy.expected)) == []


def test_a_copy_overwrites_nothing(tmp_path: Path) -> None:
    new_ledger(tmp_path / "a.ledger").close()
    (tmp_path / "b.ledger").write_text("poetry")
    with pytest.raises(UsageError, match="a file of this name"):
        copy_ledger(tmp_path / "a.ledger", tmp_path / "b.ledger")
    assert (tmp_path / "b.ledger").read_text() == "poetry"
    assert not (tmp_path / "b.ledger.lock").exists()


def test_copying_does_not_make_an_unverified_head_a_verified_one(tmp_path: Path) -> None:
    new_ledger(tmp_path / "a.ledger").close()
    (tmp_path / "a.ledger.lock").unlink()
    copy_ledger(tmp_path / "a.ledger", tmp_path / "b.ledger")
    with SqliteLog.open_writer(tmp_path / "b.ledger") as copy:
        assert copy.needs_recovery == "missing"


def test_a_ledger_behind_its_head_is_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "a.ledger"
    new_ledger(path).close()
    old = path.read_bytes()
    with SqliteLog.open_writer(path) as log:
        log.append([polled(1)], AT)
    path.write_bytes(old)
    with pytest.raises(RolledBackError, match="ledger recover"):
        copy_ledger(path, tmp_path / "b.ledger")
    assert not (tmp_path / "b.ledger").exists()
