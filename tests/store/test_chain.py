"""One changed, removed, reordered or truncated event is found and named."""

from __future__ import annotations

import sqlite3
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import AT, OPENED, new_ledger, polled

from ledger.core.errors import CorruptLogError
from ledger.store.chain import CHAIN_VERSION, GENESIS, link, verify_chain
from ledger.store.memory import MemoryLog
from ledger.store.sqlite import SqliteLog

fields = st.tuples(
    st.text(max_size=6), st.integers(1, 2**40), st.binary(min_size=32, max_size=32), st.text(max_size=6), st.binary()
)


def test_the_framing_is_written_down_here_and_may_never_change() -> None:
    framed = b"\0\1" + b"\0\2id" + (7).to_bytes(8) + GENESIS + (AT).to_bytes(8) + b"\0\4kind" + b'{"a":1}'
    assert link(CHAIN_VERSION, "id", 7, GENESIS, AT, "kind", b'{"a":1}') == sha256(framed).digest()


@given(fields, fields)
def test_different_rows_have_different_hashes(
    one: tuple[str, int, bytes, str, bytes], other: tuple[str, int, bytes, str, bytes]
) -> None:
    def hashed(row: tuple[str, int, bytes, str, bytes]) -> bytes:
        ledger_id, position, prev, name, data = row
        return link(1, ledger_id, position, prev, AT, name, data)

    assert (hashed(one) == hashed(other)) == (one == other)


def test_bytes_moved_between_id_type_and_data_change_the_hash() -> None:
    hashes = {
        link(1, ledger_id, 1, GENESIS, 0, name, data)
        for ledger_id, name, data in [("ab", "c", b"d"), ("a", "bc", b"d"), ("a", "b", b"cd"), ("", "abc", b"d")]
    }
    assert len(hashes) == 4


def tampered(path: Path, *statements: str) -> list[tuple[int, str]]:
    """What is found in a closed ledger after somebody edited it with SQLite."""
    new_ledger(path, events=9).close()
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()
    with SqliteLog.open_reader(path) as log:
        return list(verify_chain(log, log.expected))


BROKEN = "the hash does not follow from the event and the one before it"


def test_a_sound_log_has_no_findings(tmp_path: Path) -> None:
    assert tampered(tmp_path / "a.ledger") == []


@pytest.mark.parametrize("position", [1, 2, 5, 10])
@pytest.mark.parametrize(
    "change", ["data = replace(data, '}', ' }')", "at = at + 1", "type = type || 'x'", "hash = zeroblob(32)"]
)
def test_a_changed_event_is_named(tmp_path: Path, position: int, change: str) -> None:
    found = tampered(tmp_path / "a.ledger", f"UPDATE event SET {change} WHERE position = {position}")
    assert (position, BROKEN) in found
    assert {at for at, _ in found} <= {position, position + 1}


def test_an_event_changed_together_with_its_hash_breaks_the_next(tmp_path: Path) -> None:
    data = b'{"server_date":99}'
    path = tmp_path / "a.ledger"
    with new_ledger(tmp_path / "b.ledger", events=9) as twin:
        prev = list(twin.read(upto=4))[-1].hash
    forged = link(CHAIN_VERSION, OPENED.ledger_id, 5, prev, AT + 3, "status_polled", data).hex()
    found = tampered(path, f"UPDATE event SET data = '{data.decode()}', hash = x'{forged}' WHERE position = 5")
    assert found == [(6, BROKEN)]


@pytest.mark.parametrize("position", [2, 5, 9])
def test_a_removed_event_is_named(tmp_path: Path, position: int) -> None:
    found = tampered(tmp_path / "a.ledger", f"DELETE FROM event WHERE position = {position}")
    assert found == [(position, "the event is missing")]


def test_a_removed_first_event_is_named(tmp_path: Path) -> None:
    assert tampered(tmp_path / "a.ledger", "DELETE FROM event WHERE position = 1")[0] == (1, "the event is missing")


def test_a_removed_range_is_named(tmp_path: Path) -> None:
    found = tampered(tmp_path / "a.ledger", "DELETE FROM event WHERE position BETWEEN 3 AND 6")
    assert found == [(3, "the events 3 to 6 are missing")]


def test_two_swapped_events_are_named(tmp_path: Path) -> None:
    found = tampered(
        tmp_path / "a.ledger",
        "UPDATE event SET position = -1 WHERE position = 4",
        "UPDATE event SET position = 4 WHERE position = 7",
        "UPDATE event SET position = 7 WHERE position = -1",
    )
    assert [position for position, _ in found] == [4, 5, 7, 8]


def test_removing_an_event_and_closing_the_gap_is_named(tmp_path: Path) -> None:
    found = tampered(
        tmp_path / "a.ledger",
        "DELETE FROM event WHERE position = 4",
        "UPDATE event SET position = -position WHERE position > 4",
        "UPDATE event SET position = -position - 1 WHERE position < 0",
    )
    assert found[0] == (4, BROKEN)


def test_a_cut_tail_is_named(tmp_path: Path) -> None:
    found = tampered(tmp_path / "a.ledger", "DELETE FROM event WHERE position > 7")
    assert found == [
        (8, "the head says the log ends at 10, its last event is 7"),
        (8, "the log ends at 7, but had reached 10: its tail is missing"),
    ]


def test_a_tail_cut_together_with_the_head_is_named_by_the_sidecar(tmp_path: Path) -> None:
    found = tampered(
        tmp_path / "a.ledger",
        "DELETE FROM event WHERE position > 7",
        "UPDATE head SET position = 7, hash = (SELECT hash FROM event WHERE position = 7)",
    )
    assert found == [(8, "the log ends at 7, but had reached 10: its tail is missing")]


def test_an_added_event_is_named(tmp_path: Path) -> None:
    found = tampered(tmp_path / "a.ledger", "INSERT INTO event VALUES (11, 0, 'status_polled', '{}', zeroblob(32))")
    assert found == [(11, "the head says the log ends at 10, and there are events after it")]


def test_a_changed_ledger_id_is_named(tmp_path: Path) -> None:
    found = tampered(tmp_path / "a.ledger", "UPDATE head SET ledger_id = 'another'")
    assert (1, f"run_opened names the ledger {OPENED.ledger_id}, the head another") in found


def test_bytes_that_are_no_text_are_named_and_what_is_before_them_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.ledger"
    found = tampered(path, "UPDATE event SET data = CAST(x'7bff7d' AS TEXT) WHERE position = 5")
    assert [position for position, _ in found] == [5]
    with SqliteLog.open_reader(path) as log:
        rows = log.read()
        assert [next(rows).position for _ in range(4)] == [1, 2, 3, 4]
        with pytest.raises(CorruptLogError, match="position 5"):
            next(rows)


def test_a_head_noted_elsewhere_must_be_in_the_log() -> None:
    log, other = MemoryLog(), MemoryLog()
    for number, one in enumerate((log, other)):
        one.append([OPENED, polled(number)], AT)
    assert list(verify_chain(log, log.head)) == []
    assert [position for position, _ in verify_chain(log, other.head)] == [2]
    assert list(verify_chain(log, MemoryLog().head)) == []


@pytest.mark.parametrize("statement", ["DELETE FROM event WHERE position = 10", "UPDATE event SET at = 0"])
def test_a_writer_does_not_go_on_after_a_damaged_end(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "a.ledger"
    tampered(path, statement)
    with pytest.raises(CorruptLogError, match="replay --audit"):
        SqliteLog.open_writer(path)
