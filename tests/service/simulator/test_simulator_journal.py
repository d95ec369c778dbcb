"""The state file: durable before the answer, whole after SIGKILL, and never read as something it is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from simulating import DAY, NOON, all_pages, envelope, rows_of, settings

from ledger.core.errors import LockedError, NotALedgerError, UsageError
from ledger.service.simulator.journal import open_simulator

# Makes batches for ever and prints each id after it was accepted, as a service answers.
ENDLESS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from simulating import NOON, envelope, settings
from ledger.service.simulator.journal import open_simulator
simulator, _, _ = open_simulator(settings(), Path(sys.argv[1]), NOON)
given = envelope("a", "b", "c")
while True:
    print(simulator.create(given, NOON).batch_id, flush=True)
"""


def test_what_was_answered_survives_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "service.sim"
    known: list[str] = []
    for round_number in range(3):
        command = [sys.executable, "-c", ENDLESS, str(path), str(Path(__file__).parent)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            known += [process.stdout.readline().strip() for _ in range(5 + round_number)]
            process.send_signal(signal.SIGKILL)
            known += [line.strip() for line in process.stdout if line.endswith("\n")]
    simulator, _, journal = open_simulator(settings(), path, NOON)
    assert journal is not None
    journal.close()
    assert set(known) <= set(simulator.batches)
    assert len(simulator.batches) - len(known) <= 3  # at most the one each process was just about to tell
    assert all(len(rows_of(batch)) == 3 for batch in simulator.batches.values())


def test_a_file_cut_at_any_byte_is_what_it_was_some_records_ago(tmp_path: Path) -> None:
    path = tmp_path / "service.sim"
    simulator, _, journal = open_simulator(settings(), path, NOON)
    assert journal is not None
    lengths = [path.stat().st_size]
    for index in range(3):
        simulator.create(envelope(f"prompt {index}"), NOON + index)
        lengths.append(path.stat().st_size)
    journal.close()
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        restored, _, journal = open_simulator(settings(), path, NOON)
        assert journal is not None
        assert len(restored.batches) == max(sum(length <= cut for length in lengths) - 1, 0)
        restored.create(envelope("after"), NOON)  # what was torn is overwritten, not appended to
        journal.close()
        again, _, journal = open_simulator(settings(), path, NOON)
        assert journal is not None
        journal.close()
        assert list(again.batches) == list(restored.batches)


def test_a_service_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "service.sim"
    simulator, opened, journal = open_simulator(settings(), path, NOON)
    assert journal is not None
    first = simulator.create(envelope("a", "[[simulate:errored:api_error:1]]"), NOON)
    simulator.count_call("create", durable=True)
    journal.close()
    restored, reopened, journal = open_simulator(settings(), path, NOON + DAY)
    assert journal is not None
    assert reopened == opened
    second = restored.create(envelope("a", "[[simulate:errored:api_error:1]]"), NOON + DAY)
    journal.close()
    assert [batch.batch_id for batch in all_pages(restored, NOON + 2 * DAY, 10)] == [second.batch_id, first.batch_id]
    assert [row["result"]["type"] for row in rows_of(second)] == ["succeeded", "succeeded"]
    assert restored.count_call("create", durable=False) == 2


def test_a_batch_is_synced_to_the_disk_before_it_is_answered_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "service.sim"
    simulator, _, journal = open_simulator(settings(), path, NOON)
    assert journal is not None
    real, synced_bytes = os.fsync, [0]

    def watched(descriptor: int) -> None:
        real(descriptor)
        synced_bytes.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", watched)
    simulator.create(envelope("a"), NOON)
    assert synced_bytes[-1] == path.stat().st_size
    journal.close()


def test_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "service.sim"
    _, _, journal = open_simulator(settings(), path, NOON)
    assert journal is not None
    with pytest.raises(LockedError, match="another process simulates"):
        open_simulator(settings(), path, NOON)
    journal.close()
    _, _, journal = open_simulator(settings(), path, NOON)
    assert journal is not None
    journal.close()


def test_another_seed_is_refused_and_the_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "service.sim"
    _, _, journal = open_simulator(settings(), path, NOON)
    assert journal is not None
    journal.close()
    before = path.read_bytes()
    with pytest.raises(UsageError, match="seed 0, not 1"):
        open_simulator(settings(seed=1), path, NOON)
    assert path.read_bytes() == before


def test_another_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_bytes(b'{"custom_id": "a"}\n')
    with pytest.raises(NotALedgerError):
        open_simulator(settings(), path, NOON)
    assert path.read_bytes() == b'{"custom_id": "a"}\n'


def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "service.sim"
    _, _, journal = open_simulator(settings(), path, NOON)
    assert journal is not None
    journal.close()
    assert path.stat().st_mode & 0o777 == 0o600
