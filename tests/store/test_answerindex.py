"""The index of what was answered: it names ledgers, holds no content, and its troubles are told in one way."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ledger.store import answerindex
from ledger.store.answerindex import AnswerIndex, Indexed, IndexTroubleError, Known

BODIES = [f'{{"prompt":"{number}"}}'.encode() for number in range(10)]
SCOPE = "https://api.anthropic.com"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def index(place: Path) -> Iterator[AnswerIndex]:
    with closing(AnswerIndex(place)) as index:
        yield index


def noted(index: AnswerIndex, tmp_path: Path, name: str, bodies: list[bytes], scope: str = SCOPE, at: int = 1) -> Path:
    path = tmp_path / f"{name}.ledger"
    path.touch()
    index.remember(Indexed(name, str(path), scope, len(bodies), at), iter(bodies), lambda: False)
    return path


def known(
    index: AnswerIndex, bodies: list[bytes] = BODIES, scope: str = SCOPE, but: tuple[str, ...] = ()
) -> list[Known]:
    return index.who_knows(scope, but, iter(bodies))


def test_it_names_the_ledgers_that_know_bodies_those_with_most_first(index: AnswerIndex, tmp_path: Path) -> None:
    april = noted(index, tmp_path, "april", BODIES[:3])
    may = noted(index, tmp_path, "may", BODIES[2:8])
    assert known(index) == [Known("may", str(may), 6), Known("april", str(april), 3)]
    assert known(index, BODIES[9:]) == []


def test_a_body_that_is_asked_twice_counts_twice(index: AnswerIndex, tmp_path: Path) -> None:
    noted(index, tmp_path, "may", BODIES[:1])
    assert [one.requests for one in known(index, BODIES[:1] * 3)] == [3]


def test_a_ledger_of_another_service_is_not_named(index: AnswerIndex, tmp_path: Path) -> None:
    noted(index, tmp_path, "simulated", BODIES, scope="simulator")
    assert not index.knows_others(SCOPE, ())
    assert known(index) == []


@pytest.mark.parametrize("by", ["id", "path"])
def test_a_ledger_is_not_named_to_itself(index: AnswerIndex, tmp_path: Path, by: str) -> None:
    path = noted(index, tmp_path, "may", BODIES)
    assert known(index, but=("may",) if by == "id" else (str(path),)) == []


def test_what_a_ledger_learns_later_is_added_and_nothing_is_read_where_it_learnt_nothing(
    index: AnswerIndex, tmp_path: Path
) -> None:
    noted(index, tmp_path, "may", BODIES[:3])
    path = noted(index, tmp_path, "may", BODIES[:5])
    assert [one.requests for one in known(index)] == [5]

    def unread() -> Iterator[bytes]:
        raise AssertionError("the bodies were read again")
        yield b""

    index.remember(Indexed("may", str(path), SCOPE, 5, 2), unread(), lambda: False)


def test_who_is_stopped_begins_anew_the_next_time(index: AnswerIndex, tmp_path: Path) -> None:
    path = tmp_path / "may.ledger"
    path.touch()
    index.remember(Indexed("may", str(path), SCOPE, 10, 1), iter(BODIES), lambda: True)
    assert known(index) == []
    noted(index, tmp_path, "may", BODIES)
    assert [one.requests for one in known(index)] == [10]


def test_a_ledger_that_is_gone_is_forgotten_with_its_digests(index: AnswerIndex, place: Path, tmp_path: Path) -> None:
    noted(index, tmp_path, "may", BODIES).unlink()
    assert known(index) == []
    (file,) = place.glob("answers-*.sqlite")
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT (SELECT count(*) FROM ledger), (SELECT count(*) FROM answer)").fetchone() == (
            0,
            0,
        )


def test_ledgers_of_any_service_that_are_gone_are_forgotten_when_one_is_noted(
    index: AnswerIndex, place: Path, tmp_path: Path
) -> None:
    noted(index, tmp_path, "bench", BODIES, scope="http://127.0.0.1:5000").unlink()
    noted(index, tmp_path, "may", BODIES[:2])
    (file,) = place.glob("answers-*.sqlite")
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT id FROM ledger").fetchall() == [("may",)]
        assert connection.execute("SELECT count(*) FROM answer").fetchone() == (2,)


def test_the_oldest_ledgers_are_forgotten_when_there_are_too_many_answers(
    index: AnswerIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answerindex, "ANSWERS_AT_MOST", 8)
    for at, name in enumerate(("march", "april", "may")):
        noted(index, tmp_path, name, BODIES[:4], at=at)
    assert [one.ledger_id for one in known(index)] == ["april", "may"]


def test_nobody_else_can_read_it_and_no_content_is_in_it(index: AnswerIndex, place: Path, tmp_path: Path) -> None:
    noted(index, tmp_path, "may", BODIES)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (place, *place.iterdir())}
    assert set(modes.values()) == {0o700, 0o600}
    assert all(b"prompt" not in path.read_bytes() for path in place.iterdir())


def test_the_same_body_has_other_digests_for_other_users(tmp_path: Path) -> None:
    digests = []
    for user in ("ada", "bob"):
        with closing(AnswerIndex(tmp_path / user)) as index:
            noted(index, tmp_path, "may", BODIES[:1])
        (file,) = (tmp_path / user).glob("answers-*.sqlite")
        with closing(sqlite3.connect(file)) as connection:
            digests += connection.execute("SELECT digest FROM answer").fetchall()
    assert digests[0] != digests[1]


def test_another_secret_begins_another_index(place: Path, tmp_path: Path) -> None:
    with closing(AnswerIndex(place)) as index:
        noted(index, tmp_path, "may", BODIES)
    (place / "key").unlink()
    with closing(AnswerIndex(place)) as index:
        assert known(index) == []


def test_a_file_that_is_no_database_is_told_once_and_comes_back(place: Path, tmp_path: Path) -> None:
    with closing(AnswerIndex(place)) as index:
        noted(index, tmp_path, "may", BODIES)
    (file,) = place.glob("answers-*.sqlite")
    file.write_bytes(b"nonsense" * 1000)
    with pytest.raises(IndexTroubleError, match="not a database"):
        AnswerIndex(place)
    with closing(AnswerIndex(place)) as index:
        noted(index, tmp_path, "may", BODIES)
        assert len(known(index)) == 1


def test_a_place_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(IndexTroubleError):
        AnswerIndex(tmp_path / "file" / "state")


def test_a_secret_of_another_length_is_told(place: Path) -> None:
    place.mkdir()
    (place / "key").write_bytes(b"short")
    with pytest.raises(IndexTroubleError, match="delete it"):
        AnswerIndex(place)


def test_an_index_that_another_process_holds_is_told(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answerindex, "_BUSY_SECONDS", 0.01)
    with closing(AnswerIndex(place)) as index:
        (file,) = place.glob("answers-*.sqlite")
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(IndexTroubleError, match="locked"):
                noted(index, tmp_path, "may", BODIES)
        noted(index, tmp_path, "may", BODIES)


def test_it_can_be_switched_off_and_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert AnswerIndex.of_user() is None, "no test touches the index of whoever runs it"
    monkeypatch.delenv("BATCH_LEDGER_INDEX")
    for variable, place in (
        ("XDG_STATE_HOME", tmp_path / "claude-batch-ledger"),
        ("BATCH_LEDGER_STATE_DIR", tmp_path / "x"),
    ):
        monkeypatch.setenv(variable, str(tmp_path if variable.startswith("XDG") else place))
        index = AnswerIndex.of_user()
        assert index is not None
        index.close()
        assert (place / "key").is_file()
