"""``ledger doctor --live``: asks a person first, then the service, and writes down what it saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ledger.core.errors import PausedError, UsageError
from ledger.livecheck import MODEL, LiveCheck, LiveReport, cost_bound
from ledger.reading import SystemClock, today

from .output import answer, answer_json, is_terminal, say
from .screens.tables import counted, table

if TYPE_CHECKING:
    from pathlib import Path

WAIT_SECONDS = 3600.0


def ask_live(
    base_url: str | None, model: str | None, wait: float | None, output: str | None, *, yes: bool, as_json: bool
) -> None:
    """Ask the service what is documented nowhere, and write what it answers.

    Raises:
        UsageError: the file is there already, or the model is too dear.
        PausedError: nobody agreed.
        ServiceError: the key or the service does not work.
    """
    from pathlib import Path

    from ledger.service.probe import Probe

    clock = SystemClock()
    file = Path(output or f"ledger-live-{today(clock)}.json")
    if file.exists():
        raise UsageError(f"{file} is there already", next="-o FILE names another")
    bound = cost_bound(model or MODEL, today(clock))
    with Probe(base_url) as probe:
        check = LiveCheck(
            probe,
            model=model or MODEL,
            usd_max=bound,
            at=clock.now(),
            wait_seconds=WAIT_SECONDS if wait is None else wait,
            say=lambda text: say(f"  {text}"),
        )
        say(f"a dozen requests to {check.report.origin}, at most ${bound:f} (of {check.report.model}); to {file}")
        _require_agreement(yes=yes)
        try:
            check.run()
        finally:
            if check.report.observed:
                _write(file, check.report, as_json=as_json)


def _require_agreement(*, yes: bool) -> None:
    if yes:
        return
    again = "ledger doctor --live --yes"
    if not is_terminal(0) or not is_terminal(2):
        raise PausedError("nothing was sent: nobody is here to agree", next=again)
    if not click.confirm("Send?", err=True):
        raise PausedError("nothing was sent", next=again)


def _write(file: Path, report: LiveReport, *, as_json: bool) -> None:
    import msgspec

    from ledger.files.export import write_atomically

    write_atomically(file, msgspec.json.format(msgspec.json.encode(report), indent=2).splitlines())
    if as_json:
        answer_json(report)
    else:
        answer(live_screen(report))
    say(f"written to {file}")


def live_screen(report: LiveReport) -> str:
    """Return what was seen, a line for each question."""
    rows = [
        (one.question, str(one.status) if one.status else "none", _seen(one.seen) or one.said)
        for one in report.observed
    ]
    lines = [table(rows, "lrl", header=("question", "answer", "seen"), elastic=2)]
    if not report.complete:
        lines.append("not everything was asked: it was interrupted, or a batch did not end in time")
    if report.left:
        lines.append(f"{counted(len(report.left), 'batch')} could not be deleted yet: {', '.join(report.left)}")
    return "\n".join(lines)


def _seen(seen: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in seen.items() if not isinstance(value, dict))
