"""Reads a ledger once and makes its page."""

from __future__ import annotations

import time
from bisect import bisect_left
from pathlib import Path
from typing import NamedTuple

from ledger.core import events as e
from ledger.core.answers import read_row_whole
from ledger.core.audit import AuditReport
from ledger.core.state import RunState
from ledger.files.audit import audit
from ledger.loading import load_state
from ledger.report.distributions import Distributions, Example
from ledger.report.figures import Figures, Gathered, figures
from ledger.report.history import History
from ledger.report.incidents import Incidents
from ledger.report.outcomes import Shown
from ledger.store.glance import Window, result_row, windows
from ledger.store.sqlite import SqliteLog
from ledger.summary import summarize

AUDITED_EVENTS_AT_MOST = 50_000
"""Logs of up to so many events are audited without being asked: that is about a second's work."""
RESULTS_AT_MOST = 1_200_000
"""Of more results only a part is looked at for the distributions of lengths; the report says so."""
TEXT_CHARACTERS = 240
REDACTED = "(what came back was deleted: ledger redact)"


class Report(NamedTuple):
    """The page about a ledger: UTF-8 HTML that loads nothing; and the audit that was made for it, if one was."""

    html: bytes
    position: int
    simulated: bool
    audit: AuditReport | None


def make_report(
    path: Path, *, with_audit: bool | None = None, with_examples: bool = True, made_at: int | None = None
) -> Report:
    """Return the page about a ledger.

    Args:
        path: the ledger; another process may be writing it.
        with_audit: whether all of it is audited for the page; by default where that takes no time to speak of.
        with_examples: whether custom_ids and words of answers and errors may stand in it.
        made_at: what counts as now, microseconds since 1970 UTC; the machine's clock by default.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    from ledger.report.page import render

    now = time.time_ns() // 1000 if made_at is None else made_at
    found = gather(path, with_audit=with_audit, with_examples=with_examples, made_at=now)
    return Report(render(found), found.summary.position, found.simulated, found.audit)


def gather(path: Path, *, with_audit: bool | None, with_examples: bool, made_at: int) -> Figures:
    """Return the figures of a ledger.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    history, incidents, distributions = History(), Incidents(), Distributions()
    with SqliteLog.open_reader(path) as log:
        state = load_state(log)
        results = sum(count for stored in state.stored.values() for count in stored.values())
        every = -(-results // RESULTS_AT_MOST) or 1
        for window in windows(log.path, state.position, every):
            _tell(window, history, incidents)
            if window.results:
                distributions.told([data for _, _, data in window.results])
        head = next(iter(log.read(state.position - 1, state.position)), None) if state.position else None
        is_audited = state.position <= AUDITED_EVENTS_AT_MOST if with_audit is None else with_audit
        return figures(
            Gathered(
                name=path.name,
                head=f"{state.position}:{head.hash.hex()}" if head is not None else "",
                head_verified=log.head_verified,
                made_at=made_at,
                state=state,
                summary=summarize(state, ledger=path.name, exit_code=0),
                history=history,
                incidents=incidents,
                distributions=distributions,
                sampled=every,
                audit=audit(log) if is_audited else None,
                show=Showing(log, state).shown if with_examples else None,
            )
        )


def _tell(window: Window, history: History, incidents: Incidents) -> None:
    """Tell the seldom events; of the results only which process stored them, and when the last."""
    told = 0
    for row in window.seldom:
        event = e.decode(row.type_name, row.data)
        if isinstance(event, e.WriterOpened):
            before = bisect_left(window.results, (row.position, 0, ""))
            if before > told:
                history.stored(window.results[before - 1][1])
            told = before
        history.told(row.at, event)
        incidents.told(row.position, row.at, event)
    if len(window.results) > told:
        history.stored(window.results[-1][1])


class Showing:
    """Looks up the words of an example.

    Args:
        log: the ledger.
        state: its state.
    """

    def __init__(self, log: SqliteLog, state: RunState) -> None:
        self._log = log
        self._state = state

    def shown(self, example: Example) -> Shown:
        """Return an item's id, and what the service said of it, or the beginning of what it answered.

        Raises:
            CorruptLogError: a payload is not what was written.
        """
        payload = next(iter(self._log.request_payloads([example.ordinal])))
        is_redacted = self._state.columns.is_redacted(example.ordinal)
        return Shown(_cut(payload.custom_id), REDACTED if is_redacted else _cut(self._words(example)))

    def _words(self, example: Example) -> str:
        row = result_row(self._log.path, example.chunk, example.ordinal) if example.chunk else None
        read = read_row_whole(row) if row is not None else None
        if read is None:
            return ""
        return read.answer.error_message or read.text or ""


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARACTERS else f"{text[:TEXT_CHARACTERS]}…"
