"""Errors say what, where, why and next, and end with the exit code the README promises."""

from __future__ import annotations

import re

import pytest

from ledger.core import errors
from ledger.ports import CallError

EXIT_CODES = {
    "LedgerError": 2,
    "UsageError": 2,
    "InputError": 2,
    "NotALedgerError": 2,
    "PausedError": 3,
    "RolledBackError": 3,
    "DiskError": 3,
    "LockedError": 4,
    "CorruptLogError": 5,
    "IllegalEventError": 5,
    "ServiceError": 6,
}


def error_classes() -> dict[str, type[errors.LedgerError]]:
    return {
        name: cls
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, errors.LedgerError) and cls.__module__ == errors.__name__
    }


def test_every_error_has_its_exit_code() -> None:
    assert {name: cls.exit_code for name, cls in error_classes().items()} == EXIT_CODES
    assert CallError("no answer").exit_code == 6


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    lines = re.findall(r"^ {4}([│├└─ ]*)(\w+Error) +(\d)?", errors.__doc__ or "", re.MULTILINE)
    drawn = {name: int(code or 2) for _, name, code in lines}
    assert drawn == EXIT_CODES
    parents: list[str] = []
    for branches, name, _ in lines:
        depth = len(branches) // 4
        parents[depth:] = [name]
        if depth:
            assert error_classes()[name].__bases__ == (error_classes()[parents[depth - 1]],)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errors.UsageError("no"), "no"),
        (errors.InputError("bad line", where="items.jsonl:7"), "items.jsonl:7: bad line"),
        (
            errors.PausedError("paused", where="chunk 3", why="the limit is reached", next="ledger resume"),
            "chunk 3: paused\nbecause the limit is reached\nnext: ledger resume",
        ),
    ],
)
def test_an_error_reads_as_what_where_why_and_next(error: errors.LedgerError, text: str) -> None:
    assert str(error) == text
