"""Ledgers that were copied, moved, restored or copied by half, on this machine and another one.

Each is of a run that was killed; what its log does not know is at the service, and the shipped command finds it there
before it sends anything.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from points import Crash
from processes import Nursery, Process
from scene import Scene

from ledger.core import events as e
from ledger.core.errors import RolledBackError
from ledger.store import identity
from ledger.store.lease import lock_path

FILES = ("", ".lock", "-wal", "-shm")


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, settle_seconds=1.0) as scene:
        yield scene


def killed_at(nursery: Nursery, scene: Scene, type_name: str) -> None:
    """Have a run killed right after such an event; its log then lies in the -wal."""
    crash = Crash("recorded", 1, type_name)
    notes = scene.path.with_name("notes")
    process = nursery.command(scene.argv(), notes=str(notes), crash=crash)
    assert process.wait() == -9, process.said()


def file(scene: Scene, suffix: str) -> Path:
    return scene.path.with_name(scene.path.name + suffix)


def resumed(nursery: Nursery, scene: Scene) -> Process:
    process = nursery.command(scene.resume_argv())
    process.wait()
    return process


def recoveries(scene: Scene) -> list[str]:
    """Return the cause of every recovery that the log tells of."""
    decoded = [e.decode(row.type_name, row.data) for row in scene.ledger()[0].events()]
    return [event.cause for event in decoded if isinstance(event, e.LedgerRecovered)]


def move(scene: Scene) -> None:
    """Move all of it into another directory, as ``mv`` does on one disk."""
    elsewhere = scene.path.parent / "elsewhere"
    elsewhere.mkdir()
    for suffix in FILES:
        file(scene, suffix).rename(elsewhere / file(scene, suffix).name)
    scene.path = elsewhere / scene.path.name


def copy_all(scene: Scene) -> None:
    """Put copies of all of it in its place, as ``rsync`` from a dead machine does."""
    for suffix in FILES:
        shutil.copy2(file(scene, suffix), file(scene, ".copied"))
        file(scene, ".copied").rename(file(scene, suffix))


def forget_the_sidecar(scene: Scene) -> None:
    lock_path(scene.path).unlink()


def test_a_moved_ledger_goes_on_as_if_nothing_had_happened(nursery: Nursery, scene: Scene) -> None:
    killed_at(nursery, scene, "batch_created")
    move(scene)
    assert scene.ledger()[0].status().head_verified
    process = resumed(nursery, scene)
    assert process.wait() == 0, process.said()
    assert recoveries(scene) == []
    scene.answered_once(scene.ledger()[0].summary())


@pytest.mark.parametrize("when", ["submission_prepared", "submission_released", "batch_created", "result_stored"])
@pytest.mark.parametrize(
    ("change", "cause"),
    [(copy_all, "foreign"), (forget_the_sidecar, "missing")],
    ids=["all of it copied", "without its sidecar"],
)
def test_a_copied_ledger_is_read_unverified_and_recovers_by_itself(
    nursery: Nursery, scene: Scene, change: Callable[[Scene], None], cause: str, when: str
) -> None:
    killed_at(nursery, scene, when)
    change(scene)
    assert not scene.ledger()[0].status().head_verified
    process = resumed(nursery, scene)
    assert process.wait() == 0, process.said()
    assert recoveries(scene) == [cause]
    scene.answered_once(scene.ledger()[0].summary())


def test_on_another_machine_it_recovers_by_itself(
    nursery: Nursery, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same file under the same inode, as on a disk that was put into another machine."""
    killed_at(nursery, scene, "batch_created")
    monkeypatch.setattr(identity, "machine_id", lambda: "another machine")
    monkeypatch.setattr(identity, "boot_id", lambda: "another boot")
    assert not scene.ledger()[0].status().head_verified
    scene.answered_once(scene.resume())
    assert recoveries(scene) == ["foreign"]
    assert scene.ledger()[0].status().head_verified


def test_a_copy_on_another_machine_that_lacks_the_wal_is_refused_there_too(
    nursery: Nursery, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_at(nursery, scene, "batch_created")
    copy_all(scene)
    file(scene, "-wal").unlink()
    file(scene, "-shm").unlink()
    monkeypatch.setattr(identity, "machine_id", lambda: "another machine")
    with pytest.raises(RolledBackError):
        scene.resume()


@pytest.mark.parametrize("when", ["submission_released", "batch_created", "result_stored"])
def test_half_a_copy_without_its_wal_is_refused_and_recover_finds_what_was_sent(
    nursery: Nursery, scene: Scene, when: str
) -> None:
    """All that the run recorded lay in the -wal: the log has forgotten even what was asked."""
    killed_at(nursery, scene, when)
    file(scene, "-wal").unlink()
    file(scene, "-shm").unlink()
    for argv in (scene.argv(), scene.resume_argv()):
        refused = nursery.command(argv)
        assert refused.wait() == 3, refused.said()
        assert f"next: ledger recover {scene.path}\n" in refused.said()
    accepted = scene.server.bill().requests_accepted
    argv = ["recover", str(scene.path), "--items", str(scene.items), "--base-url", scene.server.url]
    asked = ["--model", scene.said["model"], "--max-tokens", str(scene.said["max_tokens"])]
    paced = ["--chunk-requests", "4", "--poll", "0.05", "--settle", "1"]
    recovered = nursery.command([*argv, *asked, *paced])
    assert recovered.wait() == 0, recovered.said()
    assert f"recovered: {accepted // 4} batch" in recovered.said()
    assert scene.server.bill().requests_accepted == accepted, "a recovery sends nothing"
    process = resumed(nursery, scene)
    assert process.wait() == 0, process.said()
    assert recoveries(scene) == ["behind"]
    scene.answered_once(scene.ledger()[0].summary())


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9])
def test_a_file_that_was_copied_by_half_is_refused_unless_all_that_counts_is_in_it(
    nursery: Nursery, scene: Scene, kept: float
) -> None:
    """The last pages hold a memo of the state, which is made anew from the log; the audit misses them all the same.

    Which pages come last is SQLite's to say: where they are the memo's alone, a run goes on, and has nothing to send.
    """
    process = nursery.command(scene.argv())
    assert process.wait() == 0, process.said()
    whole = scene.path.read_bytes()
    scene.path.write_bytes(whole[: int(len(whole) * kept)])
    accepted = scene.server.bill().requests_accepted
    audited = nursery.command(["replay", str(scene.path), "--audit"])
    is_whole = audited.wait() == 0
    assert not is_whole or kept == 0.9
    fine = {0} if is_whole else {0, 2, 5} if kept == 0.9 else {2, 5}
    for argv in (scene.argv(), scene.resume_argv()):
        again = nursery.command(argv)
        assert again.wait() in fine, again.said()
        assert again.wait() == 0 or again.said().startswith("error: "), again.said()
    assert scene.server.bill().requests_accepted == accepted


def test_the_log_of_a_simulated_run_that_was_lost_is_found_again_at_the_simulator(
    nursery: Nursery, tmp_path: Path
) -> None:
    """``recover`` is told step by step what it lacks; in the end the answers are those that were paid for."""
    items, path = tmp_path / "items.jsonl", tmp_path / "items.ledger"
    items.write_text("".join(f'{{"id": "{n}", "prompt": "Say {n}."}}\n' for n in range(9)))
    asked = ["--model", "claude-haiku-4-5", "--max-tokens", "256"]
    paced = ["--chunk-requests", "4", "--poll", "0.05", "--settle", "1"]
    argv = ["run", str(items), "--ledger", str(path), "--simulate", *asked, *paced]
    crash = Crash("recorded", 1, "run_finished")
    assert nursery.command(argv, notes=str(tmp_path / "notes"), crash=crash).wait() == -9
    answers = told(nursery, ["results", str(path), "--all"])
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()

    refused = nursery.command(argv)
    assert refused.wait() == 3
    assert f"next: ledger recover {path}\n" in refused.said()
    lacking = nursery.command(["recover", str(path), "--simulate", *paced])
    assert lacking.wait() == 3, lacking.said()
    assert "next: ledger recover --items ITEMS" in lacking.said()
    recovered = nursery.command(["recover", str(path), "--simulate", "--items", str(items), *asked, *paced])
    assert recovered.wait() == 0, recovered.said()
    assert "batches claimed that the log did not know" in recovered.said()
    resumed = nursery.command(["resume", str(path), "-q"])
    assert resumed.wait() == 0, resumed.said()
    assert told(nursery, ["results", str(path), "--all"]) == answers
    assert nursery.command(["replay", str(path), "--audit"]).wait() == 0


def told(nursery: Nursery, argv: list[str]) -> str:
    process = nursery.command(argv)
    assert process.wait() == 0, process.said()
    return process.said()


def test_a_holder_of_another_machine_is_never_killed_from_here(nursery: Nursery, scene: Scene) -> None:
    """The sidecar of a machine that still writes, seen from another: the lock is respected, whatever the flag."""
    from ledger.store.lease import Lease

    killed_at(nursery, scene, "batch_created")
    real = identity.machine_id
    identity.machine_id = lambda: "another machine"  # type: ignore[assignment]
    try:
        lease = Lease.acquire(scene.path)
    finally:
        identity.machine_id = real
    with lease:
        refused = nursery.command([*scene.resume_argv(), "--take-over"])
        assert refused.wait() == 4
        assert f"process {os.getpid()} on " in refused.said()
        assert "it runs on another host" in refused.said()
