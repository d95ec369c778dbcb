"""What `run` and `resume` have in common: who is told what, who is asked, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import click
import msgspec

from ledger.braking import UNCONFIRMED, unbounded_requests
from ledger.core.costs import Estimate
from ledger.core.errors import LedgerError, LockedError, PausedError, UsageError
from ledger.files.export import write_atomically
from ledger.ledger import Confirm, Ledger
from ledger.previewing import preview_of
from ledger.reading import Reading
from ledger.summary import Summary

from .configuration import BudgetFrom
from .diagnostics import observer, silence
from .output import answer, answer_json, is_terminal, say, warn_of_index
from .progress import LiveProgress, Progress, progress_for
from .screens.answered import answered_lines
from .screens.estimate import estimate_screen, space_lines
from .screens.summary import failed_line, summary_screen
from .screens.tables import counted
from .signals import stoppable
from .telling import Telling, notifier_for

ASK_ABOVE_USD = Decimal(10)
"""Less than this at most is not worth a question; what is expected to cost more is not sent unasked."""

Act = Callable[[Ledger, Confirm, Callable[[int, int], None]], Summary]


class DeclinedError(PausedError):
    """Somebody looked at the estimate and said no; that is no error."""


class Manner(NamedTuple):
    """How a command behaves towards whoever started it; the options of the same names."""

    output: str | None
    yes: bool
    as_json: bool
    quiet: bool
    verbose: bool
    log_format: str
    if_free: bool
    notify: tuple[str, ...]
    no_index: bool

    @classmethod
    def taken_from(cls, said: dict[str, Any]) -> Manner:
        """Take the options of this out of all that were given."""
        return cls(**{name: said.pop(name) for name in cls._fields})


def conduct(
    path: Path, act: Act, manner: Manner, items: str = "", budget_from: BudgetFrom = "ledger", **opening: Any
) -> NoReturn:
    """Carry a run on, show it, and exit with its code.

    Args:
        path: the ledger.
        act: what to do with it.
        manner: how to behave.
        items: the file that is read, which must not be written to.
        budget_from: who says what it may cost; what a file that was found says bounds it, and agrees to nothing.
        **opening: for ``Ledger``.

    Raises:
        LedgerError: what a person must know.
    """
    _require_writable(manner.output, items, path)
    silence()
    observe = observer(manner.log_format) if manner.verbose else None
    progress = progress_for(quiet=manner.quiet, observe=observe, name=path.name)
    with notifier_for(manner.notify, progress) as notifier:
        telling = Telling(progress, notifier, path)
        ledger = Ledger(path, listener=telling, index=not manner.no_index, **opening)
        confirm = _confirming(ledger, progress, manner, budget_from, bool(opening.get("simulate")))
        try:
            summary = _carry_on(ledger, act, progress, manner, confirm)
            _show_end(ledger, summary, manner)
        except Exception as problem:
            telling.failed(problem)
            raise
        telling.ended(summary.exit_code)
    click.get_current_context().exit(summary.exit_code)


def _carry_on(ledger: Ledger, act: Act, progress: Progress, manner: Manner, confirm: Confirm) -> Summary:
    """Carry a run on until it ends, or a signal or somebody else ends it; return how it stands."""
    path = ledger.path
    try:
        with progress, stoppable(ledger.stop, progress.announce) as stopping:

            def sending() -> None:
                stopping.is_sending = True

            progress.on_sending = sending
            summary = act(ledger, confirm, progress.reading)
    except DeclinedError as problem:
        say(f"{problem.what}\nnext: {problem.next}")
        click.get_current_context().exit(problem.exit_code)
    except LockedError as problem:
        if not manner.if_free or progress.state.position:
            raise
        _leave_to_the_other(path, problem, manner)
    except LedgerError as problem:
        if not stopping.exit_code:
            raise
        again = _again(path, manner) if path.exists() else "the same command again: nothing was done yet"
        say(f"{problem.what}\nnext: {problem.next or again}")
        click.get_current_context().exit(stopping.exit_code)
    if summary.exit_code < 0:
        summary = msgspec.structs.replace(summary, exit_code=stopping.exit_code or 130)
    return summary


def _leave_to_the_other(path: Path, problem: LockedError, manner: Manner) -> NoReturn:
    """End well: another process does what this one was started for."""
    if manner.as_json:
        answer_json(Reading(path).summary())
    if not manner.quiet:
        say(f"{problem.what}: left to it")
    click.get_current_context().exit(0)


def _require_writable(output: str | None, items: str, ledger: Path) -> None:
    """Refuse what could not be written in the end, before anything is spent."""
    if output is None:
        return
    target = Path(output)
    if output == "-":
        raise UsageError("-o writes a file", next=f"ledger results {ledger} writes to standard output")
    if target.is_dir() or not target.parent.is_dir():
        raise UsageError(
            f"{output} cannot be written: {'it is a' if target.is_dir() else 'there is no such'} directory"
        )
    taken = [Path(items), ledger]
    if target.exists() and any(other.exists() and target.samefile(other) for other in taken):
        raise UsageError(f"-o {output} would overwrite the run's own file", next="name another file")


def _confirming(
    ledger: Ledger, progress: Progress, manner: Manner, budget_from: BudgetFrom, simulated: bool
) -> Confirm:
    def confirm(estimate: Estimate) -> bool:
        if isinstance(progress, LiveProgress):
            progress.pause()
        if not manner.quiet:
            preview, batches = preview_of(progress.state, datetime.now(UTC).date())
            is_simulated = simulated or progress.state.origin == "simulator"
            say(estimate_screen(estimate, preview, batches=len(batches), simulated=is_simulated))
            for line in answered_lines(ledger.answered_before()):
                say(line)
        for line in space_lines(ledger.path, estimate):
            say(line)
        budget = progress.state.budget
        if budget is not None and budget.max_usd and (beyond := unbounded_requests(progress.state)):
            say(
                f"warning: {counted(beyond, 'request')} with files by URL or id, or tools that the service runs: "
                "what they read is not in their bytes, so --max-cost does not bound it"
            )
        ceiling = estimate.total.cost_ceiling_usd
        dear = ceiling is None or ceiling > ASK_ABOVE_USD
        if not dear or manner.yes or simulated or progress.state.origin == "simulator":
            return True
        declined = UNCONFIRMED in progress.state.pauses
        is_meant = budget_from == "option" or (budget_from == "ledger" and not declined)
        if budget is not None and budget.max_usd and is_meant:
            return True  # that is the answer; a file that was found cannot give it
        if not is_terminal(0) or not is_terminal(2):
            return estimate.total.cost_usd is not None and estimate.total.cost_usd <= ASK_ABOVE_USD
        try:
            is_wanted = click.confirm("Send?", err=True)
        except click.Abort:  # the end of input is no yes
            is_wanted = False
        if not is_wanted:
            raise DeclinedError("nothing was sent", next=_again(ledger.path, manner))
        return True

    return confirm


def _show_end(ledger: Ledger, summary: Summary, manner: Manner) -> None:
    if manner.as_json:
        answer_json(summary)
    else:
        answer(summary_screen(summary))
    warn_of_index(ledger.index_problem)
    failed = failed_line(summary)
    if failed and not manner.quiet:
        say(failed)
    written = _write_answers(ledger, summary, manner)
    if summary.state == "interrupted":
        if summary.open_batches:
            goes = "goes" if summary.open_batches == 1 else "go"
            say(f"{counted(summary.open_batches, 'batch')} {goes} on at the service; nothing is lost")
        say(f"next: {_again(ledger.path, manner)}")
    elif summary.next and not (written and not summary.exit_code):
        say(f"next: {summary.next}")


def _write_answers(ledger: Ledger, summary: Summary, manner: Manner) -> bool:
    if manner.output is None:
        return False
    if summary.state != "finished":
        if summary.state != "interrupted":
            say(f"{manner.output} is not written yet: {summary.pending:,} of {summary.asked:,} items are pending")
        return False
    written = write_atomically(manner.output, ledger.result_lines())
    if not manner.quiet:
        note = " (SIMULATED)" if summary.simulated else ""
        say(f"{counted(written, 'answer')} written to {manner.output}{note}")
    return True


def _again(path: Path, manner: Manner) -> str:
    return f"ledger resume {path}" + (f" -o {manner.output}" if manner.output else "")
