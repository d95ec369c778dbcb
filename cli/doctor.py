"""``ledger doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .options import Duration, complete_files, debug_option, json_option, ledger_operand, service_options

if TYPE_CHECKING:
    from pathlib import Path

    from ledger.doctor import Finding

_FAILED = 1


@click.command("doctor", short_help="Say whether everything is as a run needs it.")
@ledger_operand
@click.option("--items", metavar="FILE", shell_complete=complete_files, help="Is there room for these?")
@click.option("--offline", is_flag=True, help="Ask nobody, not even whether the key works.")
@click.option("--live", is_flag=True, help="Ask the service what is documented nowhere; asks you first.")
@click.option("--model", metavar="MODEL", help="With --live: a cheap one.  [claude-haiku-4-5]")
@click.option("--wait", type=Duration(), metavar="DURATION", help="With --live: for the end of a batch.  [1h]")
@click.option("-o", "--output", metavar="FILE", help="With --live: where to write what was seen.")
@click.option("--yes", is_flag=True, help="With --live: ask nothing.")
@service_options
@json_option
@debug_option
def command(
    operand: str | None,
    ledger_file: str | None,
    items: str | None,
    offline: bool,
    live: bool,
    model: str | None,
    wait: float | None,
    output: str | None,
    yes: bool,
    base_url: str | None,
    as_json: bool,
) -> None:
    """Say whether everything is as a run needs it: versions, disk, prices, configuration, key, workspace, clock.

    Spends nothing: the service is asked for its newest batch, which is free. Exits with 1 where something would keep a
    run from working.

    With --live a dozen requests of one word are sent, for less than five cents, in batches as no run makes them; what
    the service answers is written to a file. All of these batches are deleted or canceled in the end.
    """
    from pathlib import Path

    from ledger.core.errors import UsageError
    from ledger.doctor import diagnose

    from .diagnostics import silence
    from .options import require_items
    from .output import answer, answer_json
    from .screens.doctor import doctor_screen

    silence()
    if live:
        if offline or operand or ledger_file or items:
            raise UsageError("--live asks the service, and looks at nothing else", next="ledger doctor --live")
        from .live import ask_live

        ask_live(base_url, model, wait, output, yes=yes, as_json=as_json)
        return
    if model or wait is not None or output or yes:
        raise UsageError("--model, --wait, -o and --yes are for --live", next="ledger doctor --live")
    if items is not None:
        require_items(items)
    ledger = _ledger(ledger_file, operand)
    directory = ledger.resolve().parent if ledger is not None else Path()
    findings = [
        _configuration(),
        *diagnose(
            directory=directory,
            ledger=ledger,
            items=Path(items) if items is not None else None,
            base_url=base_url,
            offline=offline,
        ),
    ]
    if as_json:
        answer_json(findings)
    else:
        answer(doctor_screen(findings))
    if any(finding.verdict == "fail" for finding in findings):
        click.get_current_context().exit(_FAILED)


def _ledger(option: str | None, operand: str | None) -> Path | None:
    """Return the ledger that is meant; None where none is named and there is not exactly one here."""
    from ledger.core.errors import UsageError

    from .options import find_ledger

    if option or operand:
        return find_ledger(option, operand)
    try:
        return find_ledger(None)
    except UsageError:
        return None


def _configuration() -> Finding:
    from ledger.core.errors import LedgerError
    from ledger.doctor import Finding

    from .configuration import configuration

    try:
        said = configuration()
    except LedgerError as problem:
        where = f"{problem.where}: " if problem.where else ""
        return Finding(check="settings", verdict="fail", detail=f"{where}{problem.what}", next=problem.next)
    by_origin: dict[str, list[str]] = {}
    for key, configured in said.items():
        by_origin.setdefault(configured.origin, []).append(key)
    names = [f"{', '.join(keys)} by {origin}" for origin, keys in by_origin.items()]
    return Finding(check="settings", verdict="ok", detail="; ".join(names) or "none: what is built in holds")
