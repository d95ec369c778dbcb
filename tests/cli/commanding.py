"""The shipped command line, loaded as its entry point: in this process, or as the console script it installs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

SCRIPT = Path(sys.executable).with_name("ledger")
MODEL = ("--model", "claude-sonnet-4-6", "--max-tokens", "200")

ITEMS = (
    '{"id": "kettle", "prompt": "Describe a kettle."}\n'
    '{"id": "teapot", "prompt": "Describe a teapot. [[simulate:refusal]]", "shelf": 7}\n'
    '{"id": "kettle", "prompt": "Describe a kettle."}\n'
    '{"id": "cup", "prompt": "Describe a cup. [[simulate:max_tokens]]"}\n'
)
"""Three requests and a repetition: one ends ok, one refused, one truncated; all of it follows from these bytes."""

FINE = '{"id": "spoon", "prompt": "Describe a spoon."}\n'
BAD = "".join(f'{{"id": "bad-{number}", "prompt": {number}}}\n' for number in range(12))


def application() -> Any:
    """Return what the console script calls."""
    (script,) = entry_points(group="console_scripts", name="ledger")
    return script.load()


def invoke(*arguments: str | Path, typed: str | None = None) -> Result:
    """Run a command in this process; what it should not raise is raised here."""
    result = CliRunner().invoke(
        application(), [str(argument) for argument in arguments], input=typed, prog_name="ledger"
    )
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def clean_environment(**more: str) -> dict[str, str]:
    """Return the environment without credentials, without colours, and with no other service than the one named."""
    unwanted = re.compile(r"ANTHROPIC_|NO_COLOR|COLUMNS|LINES|TERM")
    return {name: value for name, value in os.environ.items() if not unwanted.match(name)} | more


def shell(*arguments: str | Path, cwd: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run the console script in a directory, to its end."""
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL, "env": clean_environment(), **more}
    return subprocess.run(
        [SCRIPT, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=60, check=False, **given
    )


def start(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """Start the console script in a directory."""
    return subprocess.Popen(
        [SCRIPT, *map(str, arguments)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(**environment),
    )


def read_until(process: subprocess.Popen[str], is_it: Callable[[str], bool]) -> list[str]:
    """Return the lines that a process says on standard error, up to the first that is it."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if is_it(line):
            return lines
    raise AssertionError(f"it ended without saying so: {''.join(lines)}")


def steady(text: str) -> str:
    """Return an output without what differs from run to run: instants, the log's length, its hash."""
    text = re.sub(r"position \d+", "position N", text)
    text = re.sub(r"\d\d-\d\d \d\d:\d\d$", "MM-DD hh:mm", text, flags=re.MULTILINE)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "THEN", text)
    text = re.sub(r"the oldest for [\d.]+ s", "the oldest for S", text)
    text = re.sub(r"prices of \d{4}-\d\d-\d\d: .*", "prices of TODAY", text)
    text = re.sub(r"\b\d+:[0-9a-f]{64}\b", "N:HASH", text)
    return re.sub(r"\b\d+ events checked", "N events checked", text)
