"""What holds where no option says otherwise: ``ledger init``, ``ledger.toml``, the environment, one's own file."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from commanding import FINE, application, invoke

from ledger.core import events as e
from ledger.ledger import Ledger

LEDGER = "items.simulated.ledger"
RUN = ("run", "items.jsonl", "--simulate", "-q")
BASIS = 'model = "claude-haiku-4-5"\nmax_tokens = 100\n'


@pytest.fixture
def items(tmp_path: Path) -> Path:
    (tmp_path / "items.jsonl").write_text(FINE)
    return tmp_path


def found(text: str) -> None:
    Path("ledger.toml").write_text(text)


def own(text: str) -> Path:
    """Write one's own configuration."""
    file = Path(os.environ["XDG_CONFIG_HOME"]) / "claude-batch-ledger" / "config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def asked(ledger: str = LEDGER) -> dict[str, Any]:
    """What the request of a ledger asks."""
    params: dict[str, Any] = json.loads(invoke("show", "spoon", "-l", ledger, "--json").stdout)["params"]
    return params


def policy(ledger: str = LEDGER) -> e.Policy:
    return Ledger(ledger).state().policy


def refused(*arguments: str) -> list[str]:
    result = invoke(*(arguments or RUN))
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr.splitlines()


# ── init ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_init_writes_a_file_that_changes_nothing_until_a_line_is_uncommented(items: Path) -> None:
    result = invoke("init")
    assert (result.exit_code, result.stdout) == (0, "ledger.toml written; it says what every key means\n")
    assert tomllib.loads(Path("ledger.toml").read_text()) == {}
    assert refused()[0] == "error: 1 line is no valid item; nothing was sent"


def commented(file: Path) -> list[str]:
    return [line[2:] for line in file.read_text().splitlines() if line.startswith("# ") and " = " in line]


def test_every_line_of_it_holds_when_it_is_uncommented(items: Path) -> None:
    """Each alone, as it stands there: its key is one of `run`, its value one that the option takes."""
    invoke("init")
    Path("system.txt").write_text("Be brief.")
    invoke("prices", "-o", "prices.json")
    lines = commented(Path("ledger.toml"))
    for line in lines:
        found(f"{line}\n" + "".join(one for one in BASIS.splitlines(True) if one.split()[0] != line.split()[0]))
        checked = invoke("check", "items.jsonl")
        assert checked.exit_code == 0, (line, checked.stderr)
    options = {option for parameter in application().get_command(None, "run").params for option in parameter.opts}
    keys = [line.split()[0] for line in lines]
    assert {f"--{key.replace('_', '-')}" for key in keys} - options == {"--ledgers"}


def test_what_init_is_told_is_written_in(items: Path) -> None:
    assert invoke("init", "--model", "claude-haiku-4-5", "--max-tokens", "77", "--max-cost", "2.50").exit_code == 0
    assert invoke(*RUN).exit_code == 0
    assert (asked()["model"], asked()["max_tokens"]) == ("claude-haiku-4-5", 77)
    assert Ledger(LEDGER).state().budget == e.BudgetSet(max_usd="2.5")


def test_init_overwrites_nothing(items: Path) -> None:
    found(BASIS)
    assert refused("init")[0] == "error: ledger.toml is there already"
    assert Path("ledger.toml").read_text() == BASIS


def test_ones_own_file_has_what_no_other_may_say(items: Path) -> None:
    assert invoke("init", "--user").exit_code == 0
    invoke("init")
    file = Path(os.environ["XDG_CONFIG_HOME"], "claude-batch-ledger", "config.toml")
    more = {line.split()[0] for line in commented(file)} - {line.split()[0] for line in commented(Path("ledger.toml"))}
    assert more == {"notify", "webhook_secret"}


# ── who is stronger ─────────────────────────────────────────────────────────────────────────────────────────────


def test_an_option_is_stronger_than_the_environment_than_a_found_file_than_ones_own(
    items: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own('model = "claude-haiku-4-5"\nmax_tokens = 1\nmax_attempts = 1\ntier = "scale"\n')
    found("max_tokens = 2\nmax_attempts = 2\npoll = '2s'\n")
    monkeypatch.setenv("BATCH_LEDGER_MAX_ATTEMPTS", "4")
    monkeypatch.setenv("BATCH_LEDGER_POLL", "4s")
    assert invoke(*RUN, "--poll", "0.1").exit_code in (0, 1)
    assert (asked()["model"], asked()["max_tokens"]) == ("claude-haiku-4-5", 2)
    assert (policy().tier, policy().max_attempts, policy().poll_us) == ("scale", 4, 100_000)


def test_the_file_is_found_from_a_directory_below_and_its_paths_are_its_own(
    items: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(BASIS + 'system = "@brief.txt"\nledgers = "runs"\n')
    Path("brief.txt").write_text("Be brief.")
    Path("runs").mkdir()
    below = items / "some" / "where"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert invoke("run", str(items / "items.jsonl"), "--simulate", "-q").exit_code == 0
    assert [path.name for path in (items / "runs").glob("*.ledger")] == [LEDGER]
    assert asked()["system"] == "Be brief."  # a name without a directory is looked for there
    assert invoke("status").exit_code == 0


def test_a_ledger_that_holds_requests_goes_on_as_it_was_begun(items: Path) -> None:
    """A file that was edited lifts no budget and changes no question."""
    found(BASIS + "max_cost = 20\n")
    invoke(*RUN, "--max-cost", "5")
    found("model = 'claude-opus-4-7'\nmax_tokens = 9\nmax_cost = 1000\npoll = '9m'\n")
    before = Ledger(LEDGER).state()
    assert invoke(*RUN).exit_code == 0
    assert invoke("resume", "-q").exit_code == 0
    after = Ledger(LEDGER).state()
    assert (after.budget, after.policy, after.defaults) == (before.budget, before.policy, before.defaults)
    assert after.budget == e.BudgetSet(max_usd="5")


def test_what_stopped_at_bad_lines_takes_the_file_as_it_is_now(items: Path) -> None:
    found("max_tokens = 100\n")
    refused()
    found(BASIS)
    assert invoke(*RUN).exit_code == 0


def test_of_two_that_exclude_each_other_the_stronger_holds(items: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found(BASIS + "no_canary = true\n")
    monkeypatch.setenv("BATCH_LEDGER_CANARY", "1")
    assert invoke(*RUN).exit_code == 0
    assert (policy().canary, policy().canary_requests) == ("always", 1)
    assert invoke(*RUN, "--no-canary", "-l", "other.ledger").exit_code == 0
    assert policy("other.ledger").canary == "never"


def test_numbers_and_tables_arrive_as_they_were_written(items: Path) -> None:
    found(BASIS + "max_error_rate = 0.30\nmax_cost = 12.30\nparam = { metadata = { user_id = 'ada' } }\n")
    assert invoke(*RUN).exit_code == 0
    assert policy().max_error_rate == "0.3"
    assert Ledger(LEDGER).state().budget == e.BudgetSet(max_usd="12.3")
    assert asked()["metadata"] == {"user_id": "ada"}


def test_flags_and_lists_of_the_environment_are_understood(items: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found(BASIS)
    for name, value in (("OPAQUE_IDS", "yes"), ("ACCEPT", "truncated, refused"), ("BETA", "one,two")):
        monkeypatch.setenv(f"BATCH_LEDGER_{name}", value)
    assert invoke(*RUN).exit_code == 0
    assert (policy().opaque_ids, policy().accept) == (True, ("truncated", "refused"))
    assert Ledger(LEDGER).state().defaults.betas == ("one", "two")


def test_no_file_is_read_where_the_environment_says_none(items: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found("nonsense = 1\n")
    monkeypatch.setenv("BATCH_LEDGER_CONFIG", "")
    assert invoke(*RUN, "--model", "claude-haiku-4-5", "--max-tokens", "9").exit_code in (0, 1)
    Path("elsewhere.toml").write_text(BASIS)
    monkeypatch.setenv("BATCH_LEDGER_CONFIG", "elsewhere.toml")
    assert invoke(*RUN, "-l", "other.ledger").exit_code == 0


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "what", "last"),
    [
        ("modell = 'x'", "there is no setting modell", "next: did you mean model?"),
        ("max-tokens = 5", "there is no setting max-tokens", "next: did you mean max_tokens?"),
        ("max_tokens = true", "max_tokens is no number", "next: write it as max_tokens = 1024"),
        ("beta = 5", "beta is no list", "next: write it as beta = []"),
        ("poll = 'soon'", "poll: ", ""),
        ("budget_mode = 'wurst'", "budget_mode: ", ""),
        ("model = ", "this configuration cannot be read", "because: "),
        ("base_url = 'https://example.org'", "base_url is not taken from a file", "because: whoever writes a file"),
        ("api_key = 'sk'", "api_key is not taken from a file", "because: a key in a file"),
        ("yes = true", "yes is not taken from a file", "because: agreeing to a cost is yours"),
        ("system = '@../secret'", "system is outside of the directory: ../secret", "next: put it beside this file"),
        ("ledgers = '/tmp'", "ledgers is outside of the directory: /tmp", "next: name a directory below"),
    ],
)
def test_a_found_file_that_says_what_it_must_not_is_refused_by_name(
    items: Path, text: str, what: str, last: str
) -> None:
    found(text)
    said = refused()
    assert said[0].startswith(f"error: {what}")
    assert "ledger.toml" in said[1]
    assert said[-1].startswith(last)
    assert not Path(LEDGER).exists()


@pytest.mark.parametrize("key", ["notify", "webhook_secret"])
def test_commands_and_secrets_are_never_taken_from_a_file_that_was_found(items: Path, key: str) -> None:
    found(f"{BASIS}{key} = 'touch pwned'\n")
    said = refused()
    assert said[0] == f"error: {key} is not taken from a file that was found"
    assert said[2] == "because: whoever writes a file into a directory could run commands as whoever works there"
    assert said[3].endswith("claude-batch-ledger/config.toml")
    assert not Path("pwned").exists()


def test_a_file_of_another_user_is_not_believed(items: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found(BASIS)
    if os.geteuid():
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    else:
        os.chown("ledger.toml", 12345, -1)
    assert refused()[0] == "error: this configuration belongs to another user, and is not believed"


def test_unknown_variables_of_the_environment_are_refused(items: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BATCH_LEDGER_MODLE", "x")
    assert refused()[0] == "error: there is no setting BATCH_LEDGER_MODLE"
    assert refused()[-1] == "next: did you mean BATCH_LEDGER_MODEL?"
    monkeypatch.delenv("BATCH_LEDGER_MODLE")
    monkeypatch.setenv("BATCH_LEDGER_NOTIFY", "x")
    assert refused()[0] == "error: BATCH_LEDGER_NOTIFY is not read"


def test_every_variable_that_this_program_reads_is_known(items: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new one would be refused as unknown by the first command that it is set for."""
    root = Path(__file__).parents[2]
    sources = [file for place in ("ledger", "cli") for file in (root / place).rglob("*.py")]
    names = {name for file in sources for name in re.findall(r'"(BATCH_LEDGER_[A-Z_]+)"', file.read_text())}
    assert "BATCH_LEDGER_CONFIG" in names
    found(BASIS)
    for name in names - {"BATCH_LEDGER_CONFIG"}:
        monkeypatch.setenv(name, "off")
    assert invoke(*RUN).exit_code == 0


def test_variables_of_the_other_ledger_mean_nothing_here(items: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEDGER_FILE", "~/finance.journal")
    monkeypatch.setenv("LEDGER_MODEL", "x")
    found(BASIS)
    assert invoke(*RUN).exit_code == 0


def test_a_budget_that_a_found_file_names_bounds_the_run_and_agrees_to_nothing(
    items: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off a terminal a dear run is not sent for it; what is said by an option or in the environment is a person's."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "nobody's")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    lines = [f'{{"id": "{number}", "prompt": "{number}"}}\n' for number in range(1000)]
    Path("dear.jsonl").write_text("".join(lines))
    found("model = 'claude-opus-4-7'\nmax_tokens = 8000\nmax_cost = 1000\n")
    assert invoke("run", "dear.jsonl", "-q").exit_code == 3
    state = Ledger("dear.ledger").state()
    assert (state.budget.max_usd if state.budget else "", list(state.pauses)) == ("1000", ["unconfirmed"])
    assert invoke("resume", "-q").exit_code == 3
    assert list(Ledger("dear.ledger").state().pauses) == ["unconfirmed"]
    assert invoke("resume", "-q", "--once", "--max-cost", "1000").exit_code == 6  # nobody is there
    assert "unconfirmed" not in Ledger("dear.ledger").state().pauses


# ── files that were meant ───────────────────────────────────────────────────────────────────────────────────────


def test_a_mistyped_file_is_answered_with_the_one_that_was_meant(items: Path) -> None:
    for command in ("run", "check"):
        said = refused(command, "itmes.jsonl")
        assert said == [
            "error: there is no file itmes.jsonl",
            "next: did you mean items.jsonl? ledger run ITEMS takes JSON lines, one item each",
        ]
    found(BASIS)
    invoke(*RUN)
    assert refused("status", "items.simulatd.ledger")[1].startswith("next: did you mean items.simulated.ledger? ")
    assert refused("status", "zebra")[1] == "next: ledger run ITEMS --ledger zebra"
