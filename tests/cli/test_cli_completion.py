"""Completion in the shell."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from commanding import SCRIPT, clean_environment, invoke, shell

COMPLETED = {"COMP_CWORD": "1", "_BATCH_LEDGER_COMPLETE": "bash_complete"}


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_the_script_says_where_it_belongs_and_serves_both_names(name: str) -> None:
    result = invoke("completion", name)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].startswith("# ")
    assert f"ledger completion {name}" in result.stdout.splitlines()[0]
    assert result.stdout.count(f"_BATCH_LEDGER_COMPLETE={name}_complete") == 2
    assert "_LEDGER_COMPLETE=" not in result.stdout.replace("_BATCH_LEDGER_COMPLETE=", "")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("ledger re", ["plain,results", "plain,resume", "plain,receipt", "plain,replay", "plain,resolve"]),
        ("ledger run --max-c", ["plain,--max-cost"]),
        ("ledger run it", ["file,it"]),
        ("ledger status -l ", ["file,"]),
        ("ledger run --budget-mode ", ["plain,worst", "plain,expected"]),
    ],
)
def test_commands_options_values_and_files_are_offered(tmp_path: Path, typed: str, offered: list[str]) -> None:
    words = typed.split(" ")
    environment = clean_environment(
        COMP_WORDS="\n".join(words), COMP_CWORD=str(len(words) - 1), _BATCH_LEDGER_COMPLETE="bash_complete"
    )
    ran = shell(cwd=tmp_path, env=environment)
    assert ran.stderr == ""
    assert set(offered) <= set(ran.stdout.splitlines())


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_a_command(tmp_path: Path) -> None:
    script = invoke("completion", "bash").stdout
    (tmp_path / "completion.sh").write_text(script)
    asked = 'source completion.sh; COMP_WORDS=(ledger stat); COMP_CWORD=1; _ledger_completion ledger; echo "$COMPREPLY"'
    path = f"{SCRIPT.parent}:{clean_environment()['PATH']}"
    ran = subprocess.run(
        ["bash", "-c", asked],
        cwd=tmp_path,
        env=clean_environment(PATH=path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "status\n"
