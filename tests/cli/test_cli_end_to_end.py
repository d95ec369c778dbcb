"""The console script as processes meet it: signals, locks, pipes, a service over a socket."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from commanding import FINE, MODEL, SCRIPT, clean_environment, read_until, shell, start

from ledger.core.audit import AuditReport
from ledger.summary import Status, Summary

Serve = Callable[..., dict[str, str]]

PATIENT = ("--poll", "0.1", "--settle", "0.5")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start ``ledger simulator`` and return the environment that points a client at it."""
    servers: list[subprocess.Popen[str]] = []

    def starting(*options: str) -> dict[str, str]:
        server = start("simulator", "--port", "0", "--calm", *options, cwd=tmp_path)
        servers.append(server)
        assert server.stdout is not None
        return {"ANTHROPIC_BASE_URL": server.stdout.readline().strip(), "ANTHROPIC_API_KEY": "sk-ant-nothing"}

    yield starting
    for server in servers:
        server.terminate()
        _, said = server.communicate(timeout=20)
        assert server.returncode == 143, said


@pytest.fixture(autouse=True)
def _items(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(FINE)


def batches_at(service: dict[str, str]) -> list[object]:
    headers = {"x-api-key": service["ANTHROPIC_API_KEY"], "anthropic-version": "2023-06-01"}
    request = urllib.request.Request(service["ANTHROPIC_BASE_URL"] + "/v1/messages/batches", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        listed: list[object] = json.load(response)["data"]
    return listed


def events(cwd: Path, kind: str) -> list[dict[str, object]]:
    return [json.loads(line)["data"] for line in shell("events", "--json", "--type", kind, cwd=cwd).stdout.splitlines()]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=lambda x: str(x)
)
def test_a_signal_stops_a_run_cleanly_and_says_what_goes_on(
    tmp_path: Path, serve: Serve, number: signal.Signals, code: int
) -> None:
    service = serve("--turnaround", "1h")
    run = start("run", "items.jsonl", *MODEL, "-o", "answers.jsonl", "--json", cwd=tmp_path, **service)
    read_until(run, lambda line: "created: chunk 1, 1 request" in line)
    run.send_signal(number)
    stdout, stderr = run.communicate(timeout=30)
    assert run.returncode == code
    summary = msgspec.json.decode(stdout, type=Summary)
    assert (summary.state, summary.exit_code, summary.open_batches, summary.pending) == ("interrupted", code, 1, 1)
    said = [line for line in stderr.splitlines() if "waiting:" not in line]
    assert said == [
        "stopping; Ctrl-C again ends at once",
        "1 batch goes on at the service; nothing is lost",
        "next: ledger resume items.ledger -o answers.jsonl",
    ]
    assert not (tmp_path / "answers.jsonl").exists()


def test_a_second_ctrl_c_ends_at_once_and_resume_goes_on(tmp_path: Path, serve: Serve) -> None:
    """The first waits for the answer of the submission that is under way; here it never comes."""
    hang = '{"faults": [{"operation": "create", "call": 1, "kind": "hang", "seconds": 3600}]}'
    service = serve("--turnaround", "0.2", "--faults", hang)
    run = start("run", "items.jsonl", *MODEL, "-v", cwd=tmp_path, **service)
    read_until(run, lambda line: "submission_released" in line)
    while not batches_at(service):  # until the service has it: the last byte follows the durable release
        assert run.poll() is None
    run.send_signal(signal.SIGINT)
    read_until(run, lambda line: "stopping; Ctrl-C again ends at once" in line)
    run.send_signal(signal.SIGINT)
    stdout, stderr = run.communicate(timeout=10)
    assert (run.returncode, stdout) == (130, "")
    assert stderr.endswith("stopped at once; nothing is lost, `ledger resume` goes on\n")
    resumed = shell("resume", *PATIENT, "-q", "--json", cwd=tmp_path, env=clean_environment(**service))
    assert resumed.returncode == 0
    assert msgspec.json.decode(resumed.stdout, type=Summary).batches == 1


def test_once_returns_7_while_a_batch_is_open_and_status_says_the_same(tmp_path: Path, serve: Serve) -> None:
    service = serve("--turnaround", "1h")
    ran = shell("run", "items.jsonl", *MODEL, "--once", "--json", cwd=tmp_path, env=clean_environment(**service))
    assert ran.returncode == 7
    assert msgspec.json.decode(ran.stdout, type=Summary).exit_code == 7
    assert ran.stderr.splitlines()[-1] == "next: ledger resume items.ledger"
    status = shell("status", "--json", cwd=tmp_path)
    assert status.returncode == 0
    assert msgspec.json.decode(status.stdout, type=Status).summary.exit_code == 7
    unfinished = shell("results", "--all", cwd=tmp_path)
    assert json.loads(unfinished.stdout)["outcome"] == "pending"


def test_a_second_process_ends_with_4_but_its_cancel_reaches_the_first(tmp_path: Path, serve: Serve) -> None:
    service = serve("--turnaround", "1h")
    run = start("run", "items.jsonl", *MODEL, "--poll", "0.1", "-q", "-v", cwd=tmp_path, **service)
    read_until(run, lambda line: "batch_created" in line)
    second = shell("resume", cwd=tmp_path, env=clean_environment(**service))
    assert (second.returncode, second.stdout) == (4, "")
    assert second.stderr.startswith(f"error: process {run.pid} on ")
    assert f"at work: process {run.pid} on " in shell("status", cwd=tmp_path).stdout
    canceled = shell("cancel", "--all", cwd=tmp_path, env=clean_environment(**service))
    assert canceled.returncode == 0
    assert canceled.stdout.startswith("cancel: asked the process that is at work on this ledger")
    stdout, stderr = run.communicate(timeout=30)
    assert run.returncode == 1, stderr
    assert "\ncanceled           1\n" in stdout


def test_a_spend_limit_pauses_with_3_and_resuming_lifts_it(tmp_path: Path, serve: Serve) -> None:
    limit = '{"faults": [{"operation": "create", "call": 1, "kind": "refuse", "error": "spend_cap"}]}'
    service = serve("--turnaround", "0.2", "--faults", limit)
    ran = shell("run", "items.jsonl", *MODEL, *PATIENT, "-o", "a.jsonl", cwd=tmp_path, env=clean_environment(**service))
    assert ran.returncode == 3
    assert "a.jsonl is not written yet: 1 of 1 items are pending\n" in ran.stderr
    (paused,) = events(tmp_path, "run_paused")
    shown = shell("status", cwd=tmp_path).stdout
    assert f"paused by {paused['reason']}: {paused['detail']}\n  next: {paused['lift']}\n" in shown
    resumed = shell("resume", "-o", "a.jsonl", "-q", cwd=tmp_path, env=clean_environment(**service))
    assert resumed.returncode == 0
    assert json.loads((tmp_path / "a.jsonl").read_text())["custom_id"] == "spoon"


def test_a_key_that_does_not_work_ends_with_6(tmp_path: Path, serve: Serve) -> None:
    refuse = '{"faults": [{"operation": "any", "rate": 1, "kind": "refuse", "error": "unauthorized"}]}'
    service = serve("--faults", refuse)
    ran = shell("run", "items.jsonl", *MODEL, *PATIENT, "-q", cwd=tmp_path, env=clean_environment(**service))
    assert ran.returncode == 6, ran.stderr
    assert service["ANTHROPIC_API_KEY"] not in ran.stdout + ran.stderr
    assert service["ANTHROPIC_API_KEY"].encode() not in (tmp_path / "items.ledger").read_bytes()


def test_what_is_uncertain_is_looked_for_and_a_person_can_decide(tmp_path: Path, serve: Serve) -> None:
    """The batch was accepted and the answer lost; its counts agree, so it is found and nothing is repeated."""
    drop = '{"faults": [{"operation": "create", "call": 1, "kind": "drop"}]}'
    service = serve("--turnaround", "0.2", "--faults", drop)
    ran = shell("run", "items.jsonl", *MODEL, *PATIENT, cwd=tmp_path, env=clean_environment(**service))
    assert ran.returncode == 0
    assert "no answer came for chunk 1 (" in ran.stderr
    assert "is chunk 1, found by reconcile\n" in ran.stderr
    audit = shell("replay", "--audit", "--json", cwd=tmp_path)
    assert audit.returncode == 0
    assert msgspec.json.decode(audit.stdout, type=AuditReport).head_verified


def test_holding_what_is_uncertain_ends_with_3_until_resolved(tmp_path: Path, serve: Serve) -> None:
    drop = '{"faults": [{"operation": "create", "call": 1, "kind": "drop", "carried_out": false}]}'
    service = serve("--turnaround", "0.2", "--faults", drop)
    environment = clean_environment(**service)
    ran = shell("run", "items.jsonl", *MODEL, *PATIENT, "--on-uncertain", "hold", "-q", cwd=tmp_path, env=environment)
    assert ran.returncode == 3
    assert "chunk 1 is held: " in ran.stderr
    assert "  next: ledger resolve 1 --absent (or --adopt BATCH)\n" in shell("status", cwd=tmp_path).stdout
    resolved = shell("resolve", "1", "--absent", cwd=tmp_path, env=environment)
    assert (resolved.returncode, resolved.stdout, resolved.stderr) == (
        0,
        "chunk 1, absent: recorded\n",
        "next: ledger resume items.ledger\n",
    )
    assert shell("resume", "-q", cwd=tmp_path, env=environment).returncode == 0


def test_a_reader_that_has_enough_is_no_error(finished: Path) -> None:
    (finished / "items.jsonl").unlink()
    piped = subprocess.run(
        ["bash", "-c", f'{SCRIPT} events | head -1; echo "${{PIPESTATUS[0]}}"'],
        cwd=finished,
        capture_output=True,
        text=True,
        check=True,
        env=clean_environment(),
    )
    first, code = piped.stdout.splitlines()
    assert first.split()[2] == "run_opened"
    assert code in ("0", "141")  # all of it may have fitted into the pipe
    assert piped.stderr == ""


def test_it_works_with_standard_input_closed_and_without_colours(finished: Path) -> None:
    ran = subprocess.run(
        ["bash", "-c", f"{SCRIPT} status <&-"],
        cwd=finished,
        capture_output=True,
        text=True,
        check=False,
        env=clean_environment(NO_COLOR="1"),
    )
    assert ran.returncode == 0
    assert "\x1b" not in ran.stdout + ran.stderr


def test_on_a_terminal_a_dear_run_is_asked_about_and_no_is_no(tmp_path: Path, serve: Serve) -> None:
    """8,000 answers of up to 1,000 tokens may cost $60; whoever says no has spent nothing, and can say yes later."""
    (tmp_path / "items.jsonl").write_text(
        "".join(f'{{"id": "{number}", "prompt": "Describe a spoon."}}\n' for number in range(8000))
    )
    service = serve("--turnaround", "0.2")
    for answered in ("n", "\x04"):
        code, said = on_a_terminal(
            [str(SCRIPT), "run", "items.jsonl", "--model", "claude-sonnet-4-6", "--max-tokens", "1000"],
            answered,
            tmp_path,
            clean_environment(**service, TERM="xterm"),
        )
        assert code == 3
        assert "Send? [y/N]: " in said
        assert "nothing was sent\r\nnext: ledger resume items.ledger\r\n" in said
    assert events(tmp_path, "submission_prepared") == []


def on_a_terminal(command: list[str], typed: str, cwd: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Run a command on a pseudo-terminal, type once it asks, and return its exit code and all that was shown."""
    import pty

    controller, terminal = pty.openpty()
    process = subprocess.Popen(command, cwd=cwd, stdin=terminal, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    shown = ""
    try:
        while True:
            try:
                piece = os.read(controller, 65536).decode()
            except OSError:  # how Linux says that the other end was closed
                break
            if not piece:
                break
            shown += piece
            if typed and "[y/N]: " in shown:
                os.write(controller, (typed if typed == "\x04" else typed + "\n").encode())
                typed = ""
        return process.wait(timeout=20), shown
    finally:
        os.close(controller)
        process.kill()
        process.wait()
