"""Intake taken up again: after an interruption, and from a stream that cannot be read twice."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ledger.core import events as e
from ledger.core.items import Defaults
from ledger.core.state import RunState
from ledger.files.intake import BadLinesError, Intake
from ledger.files.lines import STDIN
from ledger.reading import SystemClock
from ledger.runner import Writer
from ledger.store.memory import Disk, MemoryLog

DEFAULTS = Defaults(model="claude-haiku-4-5", max_tokens=10)


class DiedError(Exception):
    pass


def opened() -> Writer:
    writer = Writer(MemoryLog(Disk()), RunState(), SystemClock())
    writer.append([e.RunOpened(ledger_id="0" * 32, origin="simulator", tool_version="test")])
    writer.append([e.SettingsChanged(defaults=DEFAULTS)])
    return writer


def item(name: str, text: str = "hello") -> str:
    return json.dumps({"id": name, "prompt": text}) + "\n"


def known_ids(writer: Writer) -> set[str]:
    state = writer.state
    pending = [ordinal for ordinal, status in enumerate(state.columns.status) if not status]
    return {payload.custom_id for payload in writer.log.request_payloads(pending)}


def test_no_item_is_lost_when_an_intake_with_bad_lines_dies_and_goes_on_with_skip_invalid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its first bad line a reading builds nothing more; one that skips bad lines must not go on from there."""
    monkeypatch.setattr("ledger.files.intake.BYTES_A_COMMIT", 1)
    long = "x" * 600_000  # a group is about a megabyte
    path = tmp_path / "items.jsonl"
    path.write_text(item("0", long) + "no item\n" + "".join(item(str(n), long) for n in range(2, 8)))
    writer = opened()

    def die(lines: int, size_bytes: int) -> None:
        if lines >= 4:
            raise DiedError

    with pytest.raises(DiedError):
        Intake(writer, str(path), progress=die).read()
    writer.append([e.SettingsChanged(policy=e.Policy(skip_invalid=True))])
    report = Intake(writer, str(path)).read()
    assert (report.built, report.rejected) == (7, 1)
    assert known_ids(writer) == {"0", "2", "3", "4", "5", "6", "7"}
    assert writer.state.pending == 7


def test_an_intake_with_bad_lines_that_dies_and_goes_on_is_refused_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.files.intake.BYTES_A_COMMIT", 1)
    long = "x" * 600_000
    path = tmp_path / "items.jsonl"
    path.write_text(item("0", long) + "no item\n" + "".join(item(str(n), long) for n in range(2, 8)))
    writer = opened()

    def die(lines: int, size_bytes: int) -> None:
        if lines >= 4:
            raise DiedError

    with pytest.raises(DiedError):
        Intake(writer, str(path), progress=die).read()
    with pytest.raises(BadLinesError):
        Intake(writer, str(path)).read()
    assert (writer.state.asked, writer.state.pending) == (0, 0)


def test_other_items_from_standard_input_are_all_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first bytes of a second stream must not be passed over for those of the first."""
    writer = opened()
    for ids in ("ab", "cde", "cde"):
        stream = io.BytesIO("".join(item(name) for name in ids).encode())
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stream))
        Intake(writer, STDIN).read()
    assert known_ids(writer) == set("abcde")
    assert writer.state.sources[3].deduplicated == 3


def test_a_conflict_names_both_lines_wherever_blank_lines_and_repetitions_stand(tmp_path: Path) -> None:
    """The first of them also where an earlier reading took it in, of a file with lines of its own."""
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    first.write_text(item("a") + "\n" + item("a") + item("b") + item("c") + "\n\n" + item("d"))
    second.write_text("\n" + item("e") + item("c", "other") + item("d", "other") + item("e", "other"))
    writer = opened()
    Intake(writer, str(first)).read()
    with pytest.raises(BadLinesError) as refused:
        Intake(writer, str(second)).read()
    named = [(problem.line, problem.problem.why.split(",")[1]) for problem in refused.value.problems]
    assert named == [(3, " in line 5"), (4, " in line 8"), (5, " in line 2")]
