"""Errors as people read them: what, where, why, and what to type next; never a traceback unless it is asked for."""

from __future__ import annotations

import traceback

from ledger.core.errors import DiskError, LedgerError

from .output import say

BUG = 70  # EX_SOFTWARE of sysexits.h


def explain(problem: Exception, *, debug: bool) -> int:
    """Say on standard error what went wrong and return the exit code.

    Args:
        problem: what was raised.
        debug: whether to show the traceback first.
    """
    if debug:
        say("".join(traceback.format_exception(problem)).rstrip())
    if isinstance(problem, LedgerError):
        say(in_words(problem))
        return problem.exit_code
    if isinstance(problem, OSError):
        where = f"{problem.filename}: " if problem.filename else ""
        say(f"error: {where}{problem.strerror or problem}")
        return DiskError.exit_code
    say(f"error: {type(problem).__name__}: {problem}")
    say("this is a bug in ledger, not in what you did; what was recorded is safe")
    if not debug:
        say("next: the same command with --debug shows where; please report that")
    return BUG


def in_words(problem: LedgerError) -> str:
    """Return what an error says, a line each."""
    lines = [f"error: {problem.what}"]
    if problem.where:
        lines.append(f"where: {problem.where}")
    if problem.why:
        lines.append(f"because: {problem.why}")
    if problem.next:
        lines.append(f"next: {problem.next}")
    return "\n".join(lines)
