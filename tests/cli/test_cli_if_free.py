"""``--if-free``: for those who start it again and again, and do not mind that it is at work already."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import click
import pytest
from commanding import MODEL, application, invoke

from ledger.core.errors import LockedError
from ledger.ledger import Ledger, Summary
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


def test_who_is_driven_out_while_at_work_does_not_end_well(finished: Path) -> None:
    """That another process took over is no reason to think that all is done."""
    conduct = importlib.import_module(f"{application().__module__.rpartition('.')[0]}.conduct")
    said: dict[str, Any] = dict.fromkeys(conduct.Manner._fields, False)
    manner = conduct.Manner(**{**said, "output": None, "quiet": True, "if_free": True, "notify": ()})

    def act(ledger: Ledger, *_: object) -> Summary:
        ledger.resume()
        raise LockedError("another process has taken over")

    with click.Context(click.Command("resume")), pytest.raises(LockedError):
        conduct.conduct(Path(LEDGER), act, manner)
