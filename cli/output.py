"""The two ways out: answers on standard output, everything else on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import click
import msgspec

from .screens.tables import is_terminal, printable, width

__all__ = ["answer", "answer_json", "is_terminal", "printable", "say", "warn_of_index", "width", "write_lines"]


def say(text: str) -> None:
    """Say something about the answer, on standard error."""
    click.echo(printable(text), err=True)


def warn_of_index(problem: str) -> None:
    """Say what is wrong with the user's index of answers, if anything is; nothing depends on it."""
    if problem:
        say(f"warning: the index of what was answered cannot be used ({problem}); --no-index leaves it out")


def answer(text: str) -> None:
    """Write a text that was asked for."""
    click.echo(printable(text))


def answer_json(value: Any) -> None:
    """Write a value that was asked for, as one JSON document."""
    write_lines([msgspec.json.format(msgspec.json.encode(value), indent=2)])


def write_lines(lines: Iterable[bytes]) -> None:
    """Write lines of bytes to standard output as they are."""
    is_closed: bool = sys.stdout is None  # by whoever started us
    if is_closed:
        return
    stream = sys.stdout.buffer
    for line in lines:
        stream.write(line + b"\n")
    stream.flush()
