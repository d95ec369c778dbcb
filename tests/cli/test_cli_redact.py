"""``ledger redact``: what was asked and answered is gone, byte by byte, and the proof holds."""

from __future__ import annotations

import json
import random
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest
from commanding import MODEL, invoke

from ledger import redacting
from ledger.core import events as e
from ledger.core import zstd
from ledger.core.decide import Waiting
from ledger.core.errors import ServiceError
from ledger.core.state import RunState
from ledger.ledger import Ledger
from ledger.ports import RequestPayload
from ledger.reading import Reading
from ledger.service.simulator.faults import Fault, Faults
from ledger.service.simulator.settings import CALM, Settings
from ledger.service.simulator.transport import SimulatorTransport
from ledger.store import schema
from ledger.store.answerindex import DIRECTORY_VARIABLE, SWITCH_VARIABLE
from ledger.store.payloads import request_blocks
from ledger.store.sqlite import SqliteLog

LEDGER = "items.simulated.ledger"
NAMES = [f"item-{number}" for number in range(150)]
TABLES = ("request_block", "superseded_block", "result_block")
WINDOW_BYTES = 32
SETTINGS = Settings(turnaround_minimum_seconds=0.1, turnaround_maximum_seconds=0.2, mix=CALM)


def secret(name: str) -> str:
    """Return words that stand nowhere but in what one item asks."""
    return f"zebra{name[5:]}x quagga{name[5:]}x"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, in which one item has got another body; its digests are in the index of whoever ran it."""
    place = tmp_path_factory.mktemp("made")
    items = [{"id": name, "prompt": f"Describe {secret(name)}."} for name in NAMES]
    (place / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (place / "again.jsonl").write_text(
        json.dumps({"id": NAMES[3], "prompt": f"Describe the wombat3x and {secret(NAMES[3])}."})
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DIRECTORY_VARIABLE, str(place / "index"))
        patch.setenv(SWITCH_VARIABLE, "on")
        ledger = Ledger(place / LEDGER, simulate=True, settings=SETTINGS, index=True)
        said: dict[str, Any] = {"model": MODEL[1], "max_tokens": int(MODEL[3]), "chunk_requests": 70}
        assert ledger.run(place / "items.jsonl", poll_seconds=0.05, **said).exit_code == 0
        assert ledger.retry(corrected=place / "again.jsonl").exit_code == 0
    return place


@pytest.fixture
def finished(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That run, for one test."""
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path / "index"))
    monkeypatch.setenv(SWITCH_VARIABLE, "on")
    shutil.copytree(made / "index", tmp_path / "index")
    for name in ("items.jsonl", f"{LEDGER}.sim"):
        shutil.copy(made / name, tmp_path / name)
    Ledger(made / LEDGER).copy(tmp_path / LEDGER)
    return tmp_path


def blocks(place: Path) -> list[bytes]:
    """Return all payload blocks as they are stored."""
    connection = schema.connect(place / LEDGER, "ro")
    try:
        return [row[0] for table in TABLES for row in connection.execute(f"SELECT data FROM {table}")]
    finally:
        connection.close()


def files(place: Path) -> dict[str, bytes]:
    """Return the ledger and all that lies beside it, but for what is the user's and the service's own."""
    others = ("items.jsonl", "ids", f"{LEDGER}.sim")
    return {path.name: path.read_bytes() for path in place.iterdir() if path.is_file() and path.name not in others}


def legible(data: bytes) -> bytes:
    """Return a file with every Zstandard frame in it unpacked behind it, those in pages that are free included."""
    found = [data]
    for match in re.finditer(re.escape(zstd.MAGIC), data):
        unpacking = zstd.ZstdDecompressor()
        try:
            found.append(unpacking.decompress(data[match.start() :]))
        except zstd.ZstdError:
            continue
    return b"\0".join(found)


def windows(found: list[bytes]) -> set[bytes]:
    """Return every piece of so many bytes of these blocks."""
    return {block[at : at + WINDOW_BYTES] for block in found for at in range(len(block) - WINDOW_BYTES)}


def answers(place: Path) -> dict[str, dict[str, Any]]:
    return {row["custom_id"]: row for row in Reading(place / LEDGER).results(all=True)}


def test_no_piece_of_what_was_stored_is_left_in_any_file(finished: Path) -> None:
    before = blocks(finished)
    texts = [row["text"].encode() for row in answers(finished).values()]
    assert all(len(text) > WINDOW_BYTES for text in texts)
    result = invoke("redact", "--all", "--yes")
    assert (result.exit_code, result.stdout) == (0, "what was asked and answered is deleted: 150 items now\n")
    with SqliteLog.open_reader(finished / LEDGER) as log:
        events = [row.data.encode() for row in log.read()]
    pieces = windows(before) - windows([*blocks(finished), *events])  # ids and settings stay, as they are in events
    assert len(pieces) > 20_000
    for name, data in files(finished).items():
        left = [at for at in range(len(data) - WINDOW_BYTES) if data[at : at + WINDOW_BYTES] in pieces]
        assert not left, name
        text = legible(data)
        assert b"zebra" not in text, name
        assert b"wombat" not in text, name
        assert not any(answer[:WINDOW_BYTES] in text for answer in texts), name


def test_what_is_searched_for_is_found_before(finished: Path) -> None:
    text = legible((finished / LEDGER).read_bytes())
    assert all(secret(name).split()[0].encode() in text for name in NAMES)
    assert b"wombat" in text


def test_only_what_is_named_is_deleted(finished: Path) -> None:
    before = answers(finished)
    (finished / "ids").write_text(f"{NAMES[3]}\n{NAMES[140]}\n")
    assert invoke("redact", "--ids", "ids", "--yes").exit_code == 0
    text = legible((finished / LEDGER).read_bytes())
    for name in (NAMES[3], NAMES[140]):
        assert secret(name).split()[0].encode() not in text
        assert before[name]["text"][:WINDOW_BYTES].encode() not in text
    assert b"wombat" not in text
    after = answers(finished)
    assert [name for name in NAMES if after[name] != before[name]] == [NAMES[3], NAMES[140]]
    assert secret(NAMES[4]).split()[0].encode() in text


def test_the_chain_holds_and_the_audit_counts_what_is_gone(finished: Path) -> None:
    before = Reading(finished / LEDGER)
    head, costs = before.audit(), before.costs()
    invoke("redact", "--all", "--yes")
    result = invoke("replay", "--audit", "--expect-head", f"{head.position}:{head.hash}")
    assert result.exit_code == 0, result.stdout
    assert "what 150 requests asked, and what was answered, was deleted" in result.stdout
    after = Reading(finished / LEDGER)
    assert (after.costs().total, after.state().outcomes) == (costs.total, before.state().outcomes)


def test_results_say_that_it_is_deleted(finished: Path) -> None:
    (finished / "ids").write_text(NAMES[0])
    invoke("redact", "--ids", "ids", "--yes")
    row = answers(finished)[NAMES[0]]
    assert (row["outcome"], row["text"], row["cost_usd"], row["attempts"]) == ("ok", None, None, 1)
    assert row["error"]["kind"] == "redacted"
    joined = {row["custom_id"]: row for row in Reading(finished / LEDGER).results(join=True)}
    assert "item" not in joined[NAMES[0]]
    assert joined[NAMES[1]]["item"]["id"] == NAMES[1]
    raw = [json.loads(line)["custom_id"] for line in Reading(finished / LEDGER).result_lines(raw=True)]
    assert raw == NAMES[1:]
    shown = invoke("show", NAMES[0])
    assert shown.exit_code == 0
    assert "deleted from this ledger" in shown.stdout
    assert json.loads(invoke("show", NAMES[0], "--json").stdout)["params"] is None


def test_what_is_deleted_cannot_be_asked_again(finished: Path) -> None:
    (finished / "ids").write_text(NAMES[0])
    invoke("redact", "--ids", "ids", "--yes")
    for options in (("--ids", "ids"), ("--ids", "ids", "--max-tokens", "300")):
        refused = invoke("retry", *options)
        assert refused.exit_code == 2
        assert f"item '{NAMES[0]}' cannot be asked again" in refused.stderr
        assert "ledger redact" in refused.stderr
    opened = invoke("retry", "--outcome", "ok")
    assert "149 items opened again" in opened.stderr
    assert "1 item cannot be asked again" in opened.stderr


def test_deleting_again_deletes_nothing_more(finished: Path) -> None:
    (finished / "ids").write_text(NAMES[0])
    invoke("redact", "--ids", "ids", "--yes")
    assert invoke("redact", "--all", "--yes").stdout.endswith("149 items now, 1 item before\n")
    position = Reading(finished / LEDGER).state().position
    assert invoke("redact", "--all", "--yes").exit_code == 0
    assert Reading(finished / LEDGER).state().position == position + 1  # that it was opened


def test_an_item_without_an_outcome_is_refused_and_nothing_is_deleted(finished: Path) -> None:
    (finished / "more.jsonl").write_text(json.dumps({"id": "late", "prompt": "Describe a lamp."}))
    added = invoke("run", "more.jsonl", "--add", "--ledger", LEDGER, "--simulate", *MODEL, "--once")
    assert added.exit_code == 7, added.stderr
    result = invoke("redact", "--all", "--yes")
    assert result.exit_code == 2
    assert "1 item has no outcome yet, or a batch that is not collected: 'late'" in result.stderr
    assert not any(Reading(finished / LEDGER).state().columns.redacted)


@pytest.mark.parametrize("options", [(), ("--all", "--ids", "ids", "--yes"), ("--all",)])
def test_nothing_is_deleted_by_accident(finished: Path, options: tuple[str, ...]) -> None:
    (finished / "ids").write_text(NAMES[0])
    assert invoke("redact", *options).exit_code == 2
    assert not any(Reading(finished / LEDGER).state().columns.redacted)


def test_batches_are_deleted_at_the_service_when_asked(finished: Path) -> None:
    ledger = Ledger(finished / LEDGER)
    batches = list(ledger.state().batches)
    assert len(batches) == 4
    (finished / "ids").write_text(NAMES[140])
    result = invoke("redact", "--ids", "ids", "--yes", "--at-service", "--json")
    first = json.loads(result.stdout)["batches"]
    assert first == [batches[2]]
    assert "3 batches deleted at the service" in invoke("redact", "--all", "--yes", "--at-service").stdout
    assert sorted(ledger.state().deleted) == sorted(batches)
    with SimulatorTransport(Settings(), finished / f"{LEDGER}.sim") as transport:
        assert all(batch.was_deleted for batch in transport.service.simulator.batches.values())
    assert ledger.audit().ok


def test_the_index_forgets_the_ledger_and_is_not_told_of_what_is_gone(finished: Path) -> None:
    def noted() -> int:
        (path,) = (finished / "index").glob("*.sqlite")
        connection = sqlite3.connect(path)
        try:
            return int(connection.execute("SELECT count(*) FROM answer").fetchone()[0])
        finally:
            connection.close()

    assert noted() >= 150
    (finished / "ids").write_text(NAMES[0])
    invoke("redact", "--ids", "ids", "--yes")
    assert noted() == 0
    invoke("resume")
    assert noted() == 149


def test_while_somebody_reads_the_log_file_it_is_said_that_it_is_not_over(finished: Path) -> None:
    with SqliteLog.open_writer(finished / LEDGER):  # in WAL mode a reader can be there beside the writer
        reader = schema.connect(finished / LEDGER, "ro")
    try:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM event").fetchone()
        result = invoke("redact", "--all", "--yes")
        assert result.exit_code == 4, result.stderr
        assert "another process reads this ledger" in result.stderr
    finally:
        reader.close()
    assert invoke("redact", "--all", "--yes").exit_code == 0
    assert b"zebra" not in b"".join(legible(data) for data in files(finished).values())


def test_another_ledger_takes_nothing_from_what_is_gone(finished: Path) -> None:
    (finished / "ids").write_text(NAMES[0])
    invoke("redact", "--ids", "ids", "--yes")
    other = Ledger("other.simulated.ledger", simulate=True)
    other.run(finished / "items.jsonl", model=MODEL[1], max_tokens=int(MODEL[3]), reuse=(LEDGER,))
    rows = {row["custom_id"]: row for row in other.results()}
    assert [name for name in NAMES if "reused_from" not in rows[name]] == [NAMES[0], NAMES[3]]


class DiedError(Exception):
    """The process is gone."""


class Dying:
    """Dies right after so many groups, or deletions at the service, are durable."""

    def __init__(self, left: int) -> None:
        self._left = left

    def recorded(self, position: int, at: int, event: e.AnyEvent, state: RunState) -> None:
        self._left -= isinstance(event, e.PayloadsRedacted | e.BatchDeleted)
        if not self._left:
            raise DiedError

    def waiting(self, reasons: tuple[Waiting, ...], state: RunState) -> None:
        raise AssertionError("nothing is waited for")


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 6])
def test_who_dies_on_the_way_is_followed_by_one_who_does_the_rest(
    finished: Path, monkeypatch: pytest.MonkeyPatch, groups: int
) -> None:
    monkeypatch.setattr(redacting, "GROUP_REQUESTS", 50)
    with pytest.raises(DiedError):
        Ledger(finished / LEDGER, listener=Dying(groups)).redact(at_service=True)
    assert Ledger(finished / LEDGER).audit().ok
    found = Ledger(finished / LEDGER).redact(at_service=True)
    assert (found.requests, found.before) == (max(150 - 50 * groups, 0), min(50 * groups, 150))
    assert len(found.batches) == 4 - max(groups - 3, 0)
    assert Ledger(finished / LEDGER).audit().ok
    assert b"zebra" not in b"".join(legible(data) for data in files(finished).values())


def test_a_batch_that_is_gone_already_is_as_good_as_deleted(finished: Path) -> None:
    batches = list(Reading(finished / LEDGER).state().batches)
    with SimulatorTransport(SETTINGS, finished / f"{LEDGER}.sim") as transport:
        service = transport.service
        service.simulator.delete(batches[1], service.now())
    assert Ledger(finished / LEDGER).redact(at_service=True).batches == tuple(batches)
    assert Reading(finished / LEDGER).state().deleted == batches


def test_a_service_that_does_not_delete_is_an_error_and_what_is_here_is_deleted(finished: Path) -> None:
    fault = Fault(operation="delete", call=1, kind="status", status=529, carried_out=False)
    settings = msgspec.structs.replace(SETTINGS, faults=Faults(faults=(fault,)))
    with pytest.raises(ServiceError, match=r"(?s)not deleted at the service.*529"):
        Ledger(finished / LEDGER, settings=settings).redact(at_service=True)
    assert all(Reading(finished / LEDGER).state().columns.redacted)
    assert len(Ledger(finished / LEDGER).redact(at_service=True).batches) == 4


def test_what_was_deleted_before_without_being_overwritten_is_gone_too(finished: Path) -> None:
    """Blocks that no event speaks of are deleted when a torn ledger is opened."""
    noise = random.Random(1).randbytes(40_000)  # over several pages, and stored as it is
    with SqliteLog.open_writer(finished / LEDGER) as log:
        log._connection.execute("PRAGMA secure_delete=OFF")  # as most builds of SQLite have it, and Debian's has not
        body = RequestPayload(bytes(range(16)), noise, b"", b"", False, "lost")
        log.append([], 0, requests=list(request_blocks(len(NAMES), [body])))
        log.drop_unlogged(len(NAMES), counted_results(finished), 1)
    pieces = windows([noise])
    assert pieces & windows(list(files(finished).values()))
    assert invoke("redact", "--all", "--yes").exit_code == 0
    assert not pieces & windows(list(files(finished).values()))


def counted_results(place: Path) -> dict[int, int]:
    return {chunk: sum(rows.values()) for chunk, rows in Reading(place / LEDGER).state().stored.items()}


def test_what_is_gone_without_an_event_is_a_breach(finished: Path) -> None:
    with SqliteLog.open_writer(finished / LEDGER) as log:
        log.rewrite([], 0, redacted={0, 1, 7})
    said = [str(found) for found in Reading(finished / LEDGER).audit().findings if found.severity == "breach"]
    assert [text.split(": ", 1)[0].split(", ")[1] for text in said] == ["requests 0 to 1", "request 7"]
    assert all("no event says that it was deleted" in text for text in said)
    (finished / "ids").write_text("\n".join((NAMES[0], NAMES[1], NAMES[7])))
    assert invoke("redact", "--ids", "ids", "--yes").exit_code == 0
    assert Reading(finished / LEDGER).audit().ok
