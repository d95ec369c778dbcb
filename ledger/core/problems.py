"""What is wrong with an item, as a value: recorded, counted, exported and shown, never raised at a user."""

from __future__ import annotations

from typing import NoReturn

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong with one item.

    Args:
        code: a stable word for programs and counts, as ``duplicate-key``.
        field: where in the line: ``params.thinking``, ``prompt``, ``--param temperature``; empty for the whole line.
        why: what is wrong.
        fix: what to write instead.
        custom_id: the item's id, as far as it could be read.
    """

    code: str
    field: str
    why: str
    fix: str
    custom_id: str = ""


class Refused(Exception):  # noqa: N818 - no error, but the way out of the parsing of one line
    """Carries a problem from where it is found to where the line is given up; it never leaves the parser."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


def refuse(code: str, field: str, why: str, fix: str) -> NoReturn:
    """Give the line up.

    Raises:
        Refused: always, with the problem these four make.
    """
    raise Refused(Problem(code, field, why, fix))
