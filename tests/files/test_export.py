"""Answers out: whole, in the order of the input, whatever order they came in."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from running import MODEL, POLICY, PRICES, DiedError, MortalLog, VirtualClock, World

from ledger.core import events as e
from ledger.core.answers import row_wire_id
from ledger.core.costs import cost_report
from ledger.core.errors import CorruptLogError, DiskError, UsageError
from ledger.core.items import Defaults
from ledger.core.prices import Usage, price
from ledger.core.spending import cost_groups
from ledger.core.state import RunState
from ledger.files import export
from ledger.files.audit import replay
from ledger.files.export import Answered, answers, source_row, write_atomically
from ledger.files.intake import Intake
from ledger.files.renaming import with_custom_id
from ledger.ports import RequestPayload
from ledger.runner import Writer
from ledger.service.simulator.faults import Fault
from ledger.service.simulator.settings import CALM, Settings
from ledger.store.memory import MemoryLog

FATES = {
    "Say zero.": "ok",
    "[[simulate:max_tokens]]": "truncated",
    "[[simulate:refusal]]": "refused",
    "[[simulate:refusal_midway]] ": "refused",
    "[[simulate:pause_turn]]": "paused_turn",
    "[[simulate:errored:invalid_request_error]]": "errored",
    "[[simulate:expired]]": "expired",
    "[[simulate:errored:overloaded_error:1]]": "ok",
    "[[simulate:reject]]": "invalid",
    "Say nine.": "ok",
}


@pytest.fixture(scope="module")
def world() -> World:
    """A finished run in which everything happened that can happen to an item by its own fault."""
    made = World(list(FATES), policy=msgspec.structs.replace(POLICY, max_attempts=2))
    assert made.run() == 1
    return made


def exported(world: World, **options: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines_of(world, **options)]


def lines_of(world: World, **options: Any) -> list[bytes]:
    return list(answers(MemoryLog(world.disk), world.state(), **options))


# ── what is in a line ───────────────────────────────────────────────────────────────────────────────────────────


def test_every_item_comes_once_in_the_order_of_the_input_with_its_outcome(world: World) -> None:
    found = exported(world)
    assert [one["custom_id"] for one in found] == [f"item {number}" for number in range(10)]
    assert [one["outcome"] for one in found] == list(FATES.values())


def test_a_line_has_exactly_the_documented_fields_and_fits_its_schema(world: World) -> None:
    for line in lines_of(world):
        assert list(json.loads(line)) == [
            name for name in Answered.__struct_fields__ if name not in ("reused_from", "item")
        ]
        msgspec.json.decode(line, type=Answered)
        assert b"\n" not in line


def test_an_answer_carries_the_services_own_words_and_figures(world: World) -> None:
    row, line = json.loads(world.answers()[9])["result"]["message"], exported(world)[9]
    state = world.state()
    assert line["text"] == "".join(block["text"] for block in row["content"])
    assert (line["usage"], line["model"], line["stop_reason"]) == (row["usage"], row["model"], "end_turn")
    assert (line["attempts"], line["batch_id"]) == (1, state.chunks[state.columns.chunk[9]].batch)
    used = Usage(input_tokens=row["usage"]["input_tokens"], output_tokens=row["usage"]["output_tokens"])
    assert Decimal(line["cost_usd"]) == price(PRICES, MODEL, used)
    assert line["error"] is None


def test_the_cost_column_adds_up_to_the_cost_report(world: World) -> None:
    """Only final rows are billed here, so that the last attempts are all that cost anything."""
    state = world.state()
    total = sum(Decimal(one["cost_usd"]) for one in exported(world))
    assert total == cost_report(PRICES, cost_groups(state)).total.cost_usd
    assert total > 0


def test_what_is_free_costs_0_and_says_why_there_is_no_answer(world: World) -> None:
    found = {one["custom_id"]: one for one in exported(world)}
    refused, errored, expired, invalid = (found[f"item {number}"] for number in (2, 5, 6, 8))
    assert [one["cost_usd"] for one in (refused, errored, expired, invalid)] == ["0"] * 4
    assert (refused["stop_reason"], refused["text"], refused["error"]) == ("refusal", None, None)
    assert errored["error"]["kind"] == "invalid_request_error"
    assert errored["error"]["message"]
    assert expired["error"] == {"kind": "expired", "message": export._MESSAGES["expired"]}
    assert expired["attempts"] == 2
    assert invalid["error"]["kind"] == "invalid"
    assert "requests." in invalid["error"]["message"]
    assert (invalid["batch_id"], invalid["attempts"], invalid["usage"], invalid["model"]) == (None, 0, None, None)


def test_a_retried_item_shows_its_last_row_and_how_many_there_were(world: World) -> None:
    line = exported(world)[7]
    assert (line["outcome"], line["attempts"], line["error"]) == ("ok", 2, None)


def test_without_recorded_prices_no_cost_is_claimed(world: World) -> None:
    state = world.state()
    state.prices = None
    found = [json.loads(line) for line in answers(MemoryLog(world.disk), state)]
    assert found[9]["cost_usd"] is None
    assert found[2]["cost_usd"] == "0"


def test_missing_rows_have_no_row_no_figures_and_a_reason() -> None:
    world = World([f"Say {number}." for number in range(4)], Fault(operation="results", kind="short", rows=1))
    world.run()
    (gone,) = [one for one in exported(world) if one["outcome"] == "missing"]
    assert (gone["text"], gone["usage"], gone["cost_usd"]) == (None, None, None)
    assert gone["error"] == {"kind": "missing", "message": "the service never returned a row for it"}
    assert len(lines_of(world, raw=True)) == 3


def test_lost_results_say_so() -> None:
    settings = Settings(turnaround_minimum_seconds=20, turnaround_maximum_seconds=40, mix=CALM)
    world = World(["Say one."], Fault(operation="create", kind="deleted", seconds=0.001), settings=settings)
    world.run()
    (line,) = exported(world)
    assert (line["outcome"], line["error"]["kind"], line["cost_usd"]) == ("lost", "lost", None)


# ── which lines ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wanted", [{"refused"}, {"ok", "expired"}, set(e.OUTCOMES), {"lost"}, {"pending"}])
def test_outcomes_select(world: World, wanted: set[str]) -> None:
    expected = [name for name in FATES.values() if name in wanted]
    assert [one["outcome"] for one in exported(world, outcomes=wanted)] == expected


def test_an_outcome_that_does_not_exist_is_refused_at_once(world: World) -> None:
    with pytest.raises(UsageError, match="no outcome 'okay'"):
        answers(MemoryLog(world.disk), world.state(), outcomes=["ok", "okay"])
    with pytest.raises(UsageError, match="not both"):
        answers(MemoryLog(world.disk), world.state(), raw=True, join=True)


def test_unfinished_items_come_only_when_asked_for() -> None:
    world = World([f"Say {number}." for number in range(6)])
    with pytest.raises(DiedError):
        world.run(log=MortalLog(world.disk, 9, after=True))
    finished = [one["custom_id"] for one in exported(world)]
    assert len(finished) < 6
    both = exported(world, all=True)
    assert [one["custom_id"] for one in both] == [f"item {number}" for number in range(6)]
    pending = [one for one in both if one["outcome"] == "pending"]
    assert [one["custom_id"] for one in both if one not in pending] == finished
    assert exported(world, outcomes=["pending"]) == pending
    assert {(one["text"], one["cost_usd"], one["error"]) for one in pending} == {(None, None, None)}


# ── the service's own rows ──────────────────────────────────────────────────────────────────────────────────────


def test_raw_rows_are_the_services_but_for_the_custom_id(world: World) -> None:
    rows = lines_of(world, raw=True)
    stored = world.answers()
    with_row = [ordinal for ordinal, outcome in enumerate(FATES.values()) if outcome != "invalid"]
    assert [json.loads(row)["custom_id"] for row in rows] == [f"item {ordinal}" for ordinal in with_row]
    for ordinal, row in zip(with_row, rows, strict=True):
        wire = row_wire_id(stored[ordinal])
        assert wire is not None
        assert row == stored[ordinal].replace(b'"%b"' % wire.encode(), b'"item %d"' % ordinal, 1)


@pytest.mark.parametrize(
    "row",
    [
        '{"custom_id":@,"result":{"type":"expired"}}',
        ' {"custom_id" : @ , "result":{}} ',
        '{"result":{"custom_id":"WIRE","text":"\\"custom_id\\":\\"WIRE\\""},"custom_id":@}',
        '{"result":"\u2028\\ud83d\U0001f600","n":[1.50,1e3],"custom_id":@}',
        '{"custom_id":@,"custom_id_2":"WIRE"}',
    ],
)
@pytest.mark.parametrize("wire", ['"WIRE"', '"W\\u0049RE"'])
def test_only_the_objects_own_custom_id_is_replaced(row: str, wire: str) -> None:
    expected = row.replace("@", '"é \\"quoted\\""')
    assert with_custom_id(row.replace("@", wire).encode(), 'é "quoted"') == expected.encode()


@given(st.text(), st.dictionaries(st.text(), st.text() | st.integers()))
def test_replacing_a_custom_id_changes_nothing_else(custom_id: str, others: dict[str, Any]) -> None:
    for row in ({"custom_id": "x", **others}, {**others, "custom_id": "x"}):
        original = {**row, "custom_id": "x"}
        assert json.loads(with_custom_id(json.dumps(original).encode(), custom_id)) == {**row, "custom_id": custom_id}


@pytest.mark.parametrize("row", [b"", b"{}", b"[1]", b'{"custom_id"', b'{"id":"x"}', b"\xff"])
def test_a_row_without_a_custom_id_is_corrupt(row: bytes) -> None:
    with pytest.raises(CorruptLogError):
        with_custom_id(row, "x")


# ── many chunks at once ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("streams", [1, 2, 256])
def test_interleaved_chunks_come_in_input_order_however_few_may_be_open(
    monkeypatch: pytest.MonkeyPatch, streams: int
) -> None:
    """Priorities and retries scatter neighbours over many chunks."""
    texts = [f"[[simulate:errored:api_error:1]] {n}" if n % 3 else f"Say {n}." for n in range(24)]
    world = World(texts, priorities=[number * 7 % 5 for number in range(24)])
    assert world.run() == 0
    chunks = [world.state().columns.chunk[ordinal] for ordinal in range(24)]
    assert len(set(chunks)) > 5
    assert chunks != sorted(chunks)
    monkeypatch.setattr(export, "STREAMS_AT_MOST", streams)
    stored = world.answers()
    expected = [json.loads(stored[ordinal])["result"]["message"]["content"][0]["text"] for ordinal in range(24)]
    assert [one["text"] for one in exported(world)] == expected


def test_rows_stored_after_the_state_was_folded_are_not_looked_at() -> None:
    world = World([f"Say {number}." for number in range(6)])
    assert world.run() == 0
    position = next(row.position for row in world.disk.rows if row.type_name == "result_stored")
    log = MemoryLog(world.disk)
    (line,) = answers(log, replay(log, position))
    assert json.loads(line)["outcome"] == "ok"


# ── joined with the source, and lines that were none ────────────────────────────────────────────────────────────

ITEMS = [
    b'{"id": 7, "prompt": "Say one.", "price": 1.50, "tags": ["a"]}',
    b'{"prompt": ""}',
    b'{"custom_id":"two","params":{"model":"claude-haiku-4-5","max_tokens":9,'
    b'"messages":[{"role":"user","content":"x"}]},"own":"column"}',
    b"not JSON",
    b'{"custom_id":"two","params":{"model":"claude-haiku-4-5","max_tokens":8,'
    b'"messages":[{"role":"user","content":"x"}]}}',
]


def taken_in(path: Path, lines: list[bytes], writer: Writer | None = None) -> Writer:
    if writer is None:
        writer = Writer(MemoryLog(), RunState(), VirtualClock())
        defaults = Defaults(model=MODEL, max_tokens=50)
        writer.append(
            [
                e.RunOpened(ledger_id="0123456789abcdef", origin="simulator", tool_version="test"),
                e.SettingsChanged(defaults=defaults, policy=e.Policy(skip_invalid=True)),
            ]
        )
    path.write_bytes(b"\n".join(lines) + b"\n")
    Intake(writer, str(path)).read()
    return writer


def test_joined_lines_carry_the_users_own_row(tmp_path: Path) -> None:
    writer = taken_in(tmp_path / "items.jsonl", ITEMS)
    found = list(answers(writer.log, writer.state, outcomes=["pending"], join=True))
    assert [json.loads(line)["item"] for line in found] == [json.loads(ITEMS[0]), json.loads(ITEMS[2])]
    assert [line.endswith(b',"item":' + row + b"}") for line, row in zip(found, (ITEMS[0], ITEMS[2]), strict=True)]


def test_a_source_row_stays_one_line_for_every_reader() -> None:
    row = b'{"a":1,\r"b":"\\r"}\r'
    payload = RequestPayload(b"", b'{"b"}', row, b"", False, "a")
    assert source_row(payload) == b'{"a":1, "b":"\\r"}'
    assert source_row(payload._replace(prefix=b'{"p":', suffix=b"}\r", verbatim=True)) == b'{"p":{"b"}}'


@pytest.mark.parametrize("options", [{"all": True}, {"outcomes": ["invalid"]}])
def test_lines_that_were_no_items_come_last_with_their_place(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "items.jsonl"
    writer = taken_in(path, ITEMS)
    found = [json.loads(line) for line in answers(writer.log, writer.state, **options)]
    rejected = [one for one in found if one["outcome"] == "invalid"]
    assert found[-3:] == rejected
    assert [(one["custom_id"], one["error"]["line"], one["error"]["source"]) for one in rejected] == [
        ("", 2, str(path)),
        ("", 4, str(path)),
        ("two", 5, str(path)),
    ]
    assert [one["error"]["kind"] for one in rejected][-1] == "conflict"
    assert {(one["cost_usd"], one["attempts"], one["batch_id"]) for one in rejected} == {("0", 0, None)}
    assert list(answers(writer.log, writer.state)) == []
    assert len(rejected) == writer.state.rejected


def test_rejected_lines_of_a_source_that_grew_are_all_there_and_those_of_an_older_reading_are_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "items.jsonl"
    writer = taken_in(path, ITEMS)
    taken_in(path, [*ITEMS, b"bad too"], writer)
    assert lines_rejected(writer) == [2, 4, 5, 6]
    taken_in(path, [ITEMS[0], b"only this is bad", ITEMS[2]], writer)
    assert lines_rejected(writer) == [2]
    assert writer.state.rejected == 1


def lines_rejected(writer: Writer) -> list[int]:
    found = answers(writer.log, writer.state, outcomes=["invalid"])
    return [json.loads(line)["error"]["line"] for line in found]


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_written_whole_with_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        assert write_atomically(tmp_path / "answers.jsonl", [b"a", b"b"]) == 2
    finally:
        os.umask(umask)
    assert (tmp_path / "answers.jsonl").read_bytes() == b"a\nb\n"
    assert stat.S_IMODE((tmp_path / "answers.jsonl").stat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["answers.jsonl"]


def test_a_failure_on_the_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_bytes(b"old\n")

    def torn() -> Iterator[bytes]:
        yield b"new"
        raise CorruptLogError("a block is damaged")

    with pytest.raises(CorruptLogError):
        write_atomically(path, torn())
    assert path.read_bytes() == b"old\n"
    assert [one.name for one in tmp_path.iterdir()] == ["answers.jsonl"]


def test_a_replaced_file_keeps_its_mode_and_a_link_stays_a_link(tmp_path: Path) -> None:
    target, name = tmp_path / "answers.jsonl", tmp_path / "link"
    target.write_bytes(b"old\n")
    target.chmod(0o600)
    name.symlink_to(target)
    write_atomically(name, [b"new"])
    assert name.is_symlink()
    assert target.read_bytes() == b"new\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_what_is_no_regular_file_is_written_to_and_stays(tmp_path: Path) -> None:
    assert write_atomically(os.devnull, [b"a"]) == 1
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_a_place_that_cannot_hold_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="this is a directory"):
        write_atomically(tmp_path, [])
    with pytest.raises(UsageError, match="no such directory"):
        write_atomically(tmp_path / "nowhere" / "answers.jsonl", [])
    with pytest.raises(DiskError, match="could not be written"):
        write_atomically(tmp_path / ("long" * 60), [b"a"])
