"""``--if-free``: for those who start it again and again, and do not mind that it is at work already."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commanding import MODEL, invoke

from ledger.store.sqlite import SqliteLog

LEDGER = "items.simulated.ledger"
COMMANDS = (("resume",), ("run", "items.jsonl", "--simulate", *MODEL))


@pytest.mark.parametrize("command", COMMANDS)
def test_where_another_process_is_at_work_it_ends_well_only_if_that_was_said(
    finished: Path, command: tuple[str, ...]
) -> None:
    with SqliteLog.open_writer(LEDGER):
        before = Path(LEDGER).read_bytes()
        assert invoke(*command).exit_code == 4
        free = invoke(*command, "--if-free")
        assert (free.exit_code, free.stdout) == (0, "")
        assert free.stderr.endswith(": left to it\n")
        assert Path(LEDGER).read_bytes() == before
        summary = json.loads(invoke(*command, "--if-free", "--json", "-q").stdout)
        assert (summary["asked"], summary["state"]) == (3, "finished")


def test_where_nobody_is_it_does_what_it_does_otherwise(finished: Path) -> None:
    assert invoke("resume", "--if-free").exit_code == 1
