"""``ledger doctor``: whether everything is as a run needs it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
from commanding import FINE, MODEL, invoke, steady

from ledger.service.simulator.faults import Fault, Faults
from ledger.service.simulator.http import serve
from ledger.service.simulator.settings import CALM, Settings

LEDGER = "items.simulated.ledger"
KEY = "sk-ant-very-secret"


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def found(*arguments: str, code: int = 0) -> dict[str, tuple[str, str, str]]:
    """What the doctor finds, by check."""
    result = invoke("doctor", "--json", *arguments)
    assert result.exit_code == code, result.stdout
    assert KEY not in result.stdout + result.stderr
    return {one["check"]: (one["verdict"], one["detail"], one["next"]) for one in json.loads(result.stdout)}


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)


def test_all_is_well_with_a_simulated_ledger_and_nobody_is_asked(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(FINE)
    invoke("run", "items.jsonl", "--simulate", *MODEL, "-q")
    result = invoke("doctor")
    lines = result.stdout.splitlines()
    assert (result.exit_code, result.stderr) == (0, "")
    assert [line.split("  ")[:2] for line in lines] == [
        ["ok", name]
        for name in ("settings", "versions", "SQLite", "file system", "space", "prices", "ledger", "service")
    ]
    assert steady(lines[-2]) == f"ok  ledger       {LEDGER}: finished, at position N"
    assert max(map(len, lines)) <= 80


def test_a_key_that_works_is_named_by_its_variable_and_asked_about_for_nothing(key: None) -> None:
    with serve(settings=Settings(mix=CALM)) as server:
        said = found("--base-url", server.url)
        assert said["key"] == ("ok", "from ANTHROPIC_API_KEY", "")
        assert said["service"] == ("ok", "127.0.0.1 answers", "")
        assert said["workspace"][0] == said["clock"][0] == "ok"
        assert said["workspace"][1].startswith("wrkspc_")


def test_offline_nobody_is_asked(key: None) -> None:
    said = found("--offline", "--base-url", "http://127.0.0.1:9")
    assert said["key"] == ("ok", "from ANTHROPIC_API_KEY", "")
    assert said["service"] == ("warn", "not asked", "ledger doctor, without --offline")


def test_a_service_that_is_not_there_keeps_a_run_from_working(key: None) -> None:
    said = found("--base-url", "http://127.0.0.1:9", code=1)
    assert said["service"][:2] == ("fail", "no answer from the service: ConnectError")


@pytest.mark.parametrize(
    ("value", "detail"),
    [(None, "no usable credentials for the Claude API"), ("sk-ant \n", "ANTHROPIC_API_KEY has a space or a line end")],
)
def test_a_key_that_is_missing_or_torn_is_said_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, value: str | None, detail: str
) -> None:
    if value is not None:
        monkeypatch.setenv("ANTHROPIC_API_KEY", value)
    said = found(*(["--offline"] if value else []), code=1)["key"]
    assert said[0] == "fail"
    assert detail in said[1]
    assert said[2].startswith("export ANTHROPIC_API_KEY=…")


def test_a_key_that_is_refused_is_said(key: None) -> None:
    refusing = Faults(faults=(Fault(operation="list", kind="refuse", error="unauthorized"),))
    with serve(settings=Settings(faults=refusing)) as server:
        said = found("--base-url", server.url, code=1)
    assert said["key"][:2] == ("fail", "ANTHROPIC_API_KEY: the service refuses it (401)")


def test_a_clock_that_is_wrong_is_said(key: None) -> None:
    for offset, way in ((-7200.0, "ahead of"), (7200.0, "behind")):
        with serve(settings=Settings(faults=Faults(clock_offset_seconds=offset))) as server:
            verdict, detail, then = found("--base-url", server.url)["clock"]
        assert (verdict, then) == ("warn", "set this machine's clock (NTP)")
        assert detail.endswith(f"{way} the service's")


def test_a_key_of_another_workspace_and_a_ledger_of_another_service_are_said(key: None, tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text(FINE)
    with serve(settings=Settings(mix=CALM)) as server:
        ran = invoke("run", "items.jsonl", *MODEL, "-q", "--poll", "0.1", "--base-url", server.url)
        assert ran.exit_code == 0
        assert found("--base-url", server.url)["workspace"][0] == "ok"
    with serve(settings=Settings(mix=CALM, seed=5)) as other:
        verdict, _, then = found("--base-url", other.url, code=1)["workspace"]
        assert (verdict, then.split(" wrkspc")[0]) == ("fail", "use a key of workspace")
        local = other.url.replace("127.0.0.1", "localhost")
        assert found("--base-url", local, code=1)["service"][1].startswith("localhost answers, the ledger belongs to ")


def test_a_full_disk_is_said(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, 10**6))
    assert found()["space"][:2] == ("warn", "1.0 MB are free")
    assert found("--items", "items.jsonl", code=1)["space"][:2] == ("fail", "1.0 MB are free, 32.0 MB may be needed")


def test_settings_are_named_with_where_they_are_from(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("ledger.toml").write_text("tier = 'scale'\n")
    monkeypatch.setenv("BATCH_LEDGER_POLL", "5s")
    assert found()["settings"][1] == f"tier by {Path('ledger.toml').resolve()}; poll by BATCH_LEDGER_POLL"
    Path("ledger.toml").write_text("notify = 'x'\n")
    assert found(code=1)["settings"][0] == "fail"


def test_a_damaged_and_a_missing_ledger_are_said(finished: Path) -> None:
    assert found("-l", "zebra.ledger", code=1)["ledger"][:2] == ("fail", "there is no ledger zebra.ledger")
    Path(LEDGER).write_bytes(b"no ledger at all" * 100)
    assert found("--offline", code=1)["ledger"][0] == "fail"


def test_a_ledger_that_was_copied_is_said_to_be_unverified(finished: Path) -> None:
    verdict, detail, then = found()["ledger"]
    assert (verdict, then) == ("warn", f"ledger resume {LEDGER} (reconciles it first)")
    assert detail.endswith("; nothing says how far it had got")


def test_nothing_is_written_and_nothing_is_sent(finished: Path, key: None) -> None:
    before = {path.name: path.read_bytes() for path in finished.iterdir() if path.is_file()}
    with serve(settings=Settings(mix=CALM)) as server:
        found("--base-url", server.url, "-l", "nowhere.ledger", code=1)
        assert server.service.simulator.batches == {}
    assert {path.name: path.read_bytes() for path in finished.iterdir() if path.is_file()} == before
