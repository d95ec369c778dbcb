"""The mailbox loses no message that was acknowledged."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ledger.store.inbox import drain, inbox_path, post


def drained(ledger: Path) -> list[dict[str, object]]:
    with drain(ledger) as messages:
        return messages


def test_messages_are_delivered_once_in_order(tmp_path: Path) -> None:
    ledger = tmp_path / "a.ledger"
    assert drained(ledger) == []
    post(ledger, {"cancel": "msgbatch_1"})
    post(ledger, {"cancel": "msgbatch_2", "why": "line\nbreak"})
    assert drained(ledger) == [{"cancel": "msgbatch_1"}, {"cancel": "msgbatch_2", "why": "line\nbreak"}]
    assert drained(ledger) == []
    post(ledger, {"again": True})
    assert drained(ledger) == [{"again": True}]
    assert stat.S_IMODE(inbox_path(ledger).stat().st_mode) == 0o600


def test_messages_stay_until_they_are_dealt_with(tmp_path: Path) -> None:
    post(tmp_path / "a", {"n": 1})
    with pytest.raises(OSError, match="the reader's own"), drain(tmp_path / "a"):
        raise OSError("the reader's own")
    assert drained(tmp_path / "a") == [{"n": 1}]


@pytest.mark.parametrize("kept", range(8))
def test_a_sender_killed_while_writing_harms_no_other_message(tmp_path: Path, kept: int) -> None:
    ledger = tmp_path / "a.ledger"
    post(ledger, {"n": 1})
    with inbox_path(ledger).open("ab") as file:
        file.write(b'{"n":2}\n'[:kept])
    post(ledger, {"n": 3})
    assert drained(ledger) == [{"n": 1}, {"n": 3}]


def test_half_a_message_alone_is_none(tmp_path: Path) -> None:
    inbox_path(tmp_path / "a").write_bytes(b'{"n":')
    assert drained(tmp_path / "a") == []


def test_lines_that_are_no_message_are_dropped(tmp_path: Path) -> None:
    inbox_path(tmp_path / "a").write_bytes(b'nonsense\n[1]\n{"n":1}\n')
    assert drained(tmp_path / "a") == [{"n": 1}]


def test_a_message_without_bounds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="longer than 65536"):
        post(tmp_path / "a", {"text": "x" * 70_000})
