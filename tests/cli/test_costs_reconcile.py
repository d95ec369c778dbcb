"""``ledger costs --reconcile``: the service's own books, with an Admin key that is never seen again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
from click.testing import Result
from commanding import FINE, invoke

from ledger.core.trueup import TrueUp
from ledger.service.simulator.faults import Fault, Faults
from ledger.service.simulator.http import RunningServer, serve
from ledger.service.simulator.settings import CALM, Reporting, Settings

KEY = "sk-ant-admin-SECRET"
ITEMS = "".join(f'{{"id": "{name}", "prompt": "Describe a {name}."}}\n' for name in ("spoon", "fork", "knife"))
Serve = Callable[..., RunningServer]


@pytest.fixture(autouse=True)
def _no_admin_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_ADMIN_API_KEY", "ANTHROPIC_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def after_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Serve]:
    """Serve a simulated organization, and run three items with Haiku against it."""
    with ExitStack() as stack:

        def starting(*faults: Fault, **reporting: object) -> RunningServer:
            settings = Settings(
                turnaround_minimum_seconds=0.1,
                turnaround_maximum_seconds=0.1,
                mix=CALM,
                faults=Faults(faults=faults),
                reporting=msgspec.convert(reporting, Reporting),
            )
            server = stack.enter_context(serve(0, settings))
            monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
            monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-nobody")
            (tmp_path / "items.jsonl").write_text(ITEMS)
            model = ("--model", "claude-haiku-4-5", "--max-tokens", "100")
            ran = invoke("run", "items.jsonl", *model, "--poll", "0.1", "--settle", "0.5", "-q")
            assert ran.exit_code == 0, ran.stderr
            return server

        yield starting


def reconcile(*options: str, key: str = KEY) -> Result:
    Path("key").write_text(key)
    return invoke("costs", "--reconcile", "--admin-key-file", "key", *options)


def timeless(text: str) -> str:
    return re.sub(r" {2,}", "  ", re.sub(r"\S+Z to \S+Z", "THEN to THEN", text))


def unwrapped(result: Result) -> str:
    return result.stdout.replace("\n    ", " ")


def test_what_agrees_is_shown_with_what_it_was_charged_at(after_a_run: Serve) -> None:
    after_a_run()
    result = reconcile()
    assert (result.exit_code, result.stderr) == (0, "")
    assert timeless(result.stdout) == (
        """\
THEN to THEN  ledger  service  difference
claude-haiku-4-5
  input  80  80  0
  output  198  198  0

charged, in whole UTC days  tokens  amount  a million  of standard
claude-haiku-4-5
  input  80  $0.000040  $0.5000  unclear
  output  198  $0.000495  $2.5000  50.0%

usage: the service counts exactly what the ledger recorded
batch discount: charged at the recorded batch prices
money: $0.000535 charged for tokens, $0.000535 recorded: equal to the cent
"""
    )
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_a_simulated_ledger_is_held_against_its_own_service_without_a_key(finished: Path) -> None:
    result = invoke("costs", "--reconcile")
    assert result.exit_code == 0
    assert "usage: the service counts exactly what the ledger recorded" in result.stdout
    assert result.stdout.endswith("SIMULATED: no service was asked, nothing was spent, the answers are made up\n")


def test_json_is_the_library_s_comparison(after_a_run: Serve) -> None:
    after_a_run()
    found = msgspec.json.decode(reconcile("--json").stdout, type=TrueUp)
    assert (found.verdict, found.place, found.charges.verdict, found.exit_code) == ("equal", "named", "confirmed", 0)


def test_a_difference_that_others_explain_is_no_failure(after_a_run: Serve) -> None:
    after_a_run(Fault(operation="create", kind="stranger", call=1, requests=40))
    result = reconcile()
    assert result.exit_code == 0
    assert "usage: the two differ, and what is known may explain it" in result.stdout
    assert "1 batch of somebody else in the workspace at the same time, with 40 answers" in unwrapped(result)
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_without_the_workspace_s_key_the_same_difference_is_one(
    after_a_run: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_a_run(Fault(operation="create", kind="stranger", call=1, requests=40))
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    result = reconcile()
    assert result.exit_code == 1
    assert "usage: the two differ by more than 0.1%, UNEXPLAINED" in result.stdout
    assert "that takes its ordinary key" in unwrapped(result)


def test_a_discount_that_was_not_given_is_a_failure(after_a_run: Serve) -> None:
    after_a_run(discounted=False)
    result = reconcile()
    assert result.exit_code == 1
    assert "batch discount: NOT GIVEN on all of it" in result.stdout
    assert "100.0%" in result.stdout
    assert "money: $0.001070 charged for tokens, $0.000535 recorded: $0.000535 more than recorded" in unwrapped(result)


def test_what_is_not_reported_yet_is_explained(after_a_run: Serve) -> None:
    after_a_run(lag_seconds=300)
    result = reconcile()
    assert result.exit_code == 0
    text = unwrapped(result)
    assert "the service counts less: the last batch ended" in text
    assert "usage is in the report five minutes later" in text
    assert "batch discount: the cost report has no amounts for these days yet" in text


@pytest.mark.parametrize("name", ["ANTHROPIC_ADMIN_API_KEY", "ANTHROPIC_ADMIN_KEY"])
def test_the_key_may_be_in_the_environment(after_a_run: Serve, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    after_a_run()
    monkeypatch.setenv(name, KEY)
    assert invoke("costs", "--reconcile").exit_code == 0


def test_without_a_key_the_next_step_is_said(after_a_run: Serve) -> None:
    after_a_run()
    result = invoke("costs", "--reconcile")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "the service's reports take an Admin key, and there is none" in result.stderr
    assert "export ANTHROPIC_ADMIN_API_KEY=…, or pass --admin-key-file FILE" in result.stderr


def test_a_key_of_no_organization_is_refused(after_a_run: Serve) -> None:
    after_a_run(Fault(operation="report", kind="refuse", error="forbidden"))
    result = reconcile()
    assert result.exit_code == 6
    assert "the service refused the Admin key (403)" in result.stderr


def test_the_key_is_in_no_file_and_on_no_screen(after_a_run: Serve, tmp_path: Path) -> None:
    after_a_run(Fault(operation="report", kind="refuse", error="forbidden"))
    for options in ((), ("--debug",), ("--json",)):
        result = reconcile(*options)
        assert "SECRET" not in result.stdout + result.stderr
    for path in tmp_path.iterdir():
        assert path.name == "key" or b"SECRET" not in path.read_bytes()


def test_the_key_goes_to_the_service_of_the_ledger_only(after_a_run: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = after_a_run()
    with serve(0, Settings()) as other:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", other.url)
        result = reconcile()
    assert result.exit_code == 2
    assert f"this ledger belongs to {server.url}, not to {other.url}" in result.stderr


def test_before_the_first_batch_there_is_nothing_to_compare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "items.jsonl").write_text(FINE)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-nobody")
    with serve(0, Settings(queue_maximum=0)) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        model = ("--model", "claude-haiku-4-5", "--max-tokens", "100")
        invoke("run", "items.jsonl", *model, "--once", "-q")
        result = reconcile()
    assert result.exit_code == 2
    assert "no batch was made yet" in result.stderr


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--reconcile", "--by", "model"), "two questions"),
        (("--reconcile", "--what-if", "claude-opus-4-7"), "two questions"),
        (("--reconcile", "--csv"), "no table of costs"),
        (("--admin-key-file", "key"), "pass --reconcile, too"),
        (("--reconcile", "a.ledger", "b.ledger"), "asked of one ledger"),
    ],
)
def test_what_cannot_be_asked_at_once_is_refused(tmp_path: Path, options: tuple[str, ...], what: str) -> None:
    for name in ("a.ledger", "b.ledger"):
        (tmp_path / name).touch()
    result = invoke("costs", *options, *(() if "a.ledger" in options else ("a.ledger",)))
    assert result.exit_code == 2
    assert what in result.stderr
