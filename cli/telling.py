"""Who is told of a run without watching it (``--notify``): from the events that it makes, and from how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from ledger.core import events as e
from ledger.core.decide import Waiting
from ledger.core.errors import DiskError, LedgerError
from ledger.core.notice import Notice, failure, notice_of
from ledger.core.state import RunState
from ledger.notify import Notifier, parse_target

from .configuration import notify_targets, webhook_secret
from .errors import BUG
from .progress import Progress, now_us

_TOLD = frozenset({e.RunFinished, e.RunPaused, e.ChunkHeld, e.AlarmRaised})
_FAILURES = frozenset({3, 5, 6})


class Telling:
    """A listener before a progress: passes everything on, and has others told of what they want to know.

    Args:
        progress: who listens, too.
        notifier: who delivers.
        ledger: the ledger.
    """

    def __init__(self, progress: Progress, notifier: Notifier, ledger: Path) -> None:
        self._progress = progress
        self._notifier = notifier
        self._ledger = str(ledger)
        self._end: Notice | None = None
        self._is_paused = False

    def recorded(self, position: int, at: int, event: e.AnyEvent, state: RunState) -> None:
        """Be told of a durable event."""
        self._progress.recorded(position, at, event, state)
        if type(event) not in _TOLD:  # by the million
            return
        notice = notice_of(event, at, state, self._ledger)
        if notice is None:
            return
        if notice.event == "finished":
            self._end = notice  # told when the answers are written: who waits for it reads them
            return
        self._is_paused = self._is_paused or notice.event == "paused"
        self._notifier.tell(notice)

    def waiting(self, reasons: tuple[Waiting, ...], state: RunState) -> None:
        """Be told what is waited for."""
        self._progress.waiting(reasons, state)

    def ended(self, exit_code: int) -> None:
        """Have it told that the run is finished, if this process finished it, or that the service does not work."""
        if self._end is not None:
            self._notifier.tell(self._end)
        elif exit_code in _FAILURES and exit_code != DiskError.exit_code:  # pauses and holds were told as they came
            self._notifier.tell(failure(exit_code, now_us(), self._progress.state, self._ledger))

    def failed(self, problem: Exception) -> None:
        """Have it told that the command ended in an error, unless that is a person's, or was told as a pause."""
        if isinstance(problem, click.ClickException | click.exceptions.Exit | click.Abort):
            return
        if isinstance(problem, LedgerError | OSError):
            code = problem.exit_code if isinstance(problem, LedgerError) else DiskError.exit_code
            if code not in _FAILURES or (code == DiskError.exit_code and self._is_paused):
                return
        else:
            code = BUG
        self._notifier.tell(failure(code, now_us(), self._progress.state, self._ledger))


def notifier_for(said: Sequence[str], progress: Progress) -> Notifier:
    """Return who delivers notices: to whom options name, else to whom one's own configuration names.

    Raises:
        UsageError: a command is not there, or a URL is none.
    """
    targets = [parse_target(text) for text in said or notify_targets()]
    secret = webhook_secret() if any(target.url for target in targets) else ""
    return Notifier(
        targets, secret=secret, complain=lambda text: progress.tell(now_us(), f"warning: {text}", urgent=True)
    )
