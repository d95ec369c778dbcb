"""``ledger doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .options import complete_files, debug_option, json_option, ledger_operand, service_options

if TYPE_CHECKING:
    from pathlib import Path

    from ledger.doctor import Finding

_FAILED = 1


@click.command("doctor", short_help="Say whether everything is as a run needs it.")
@ledger_operand
@click.option("--items", metavar="FILE", shell_complete=complete_files, help="Is there room for these?")
@click.option("--offline", is_flag=True, help="Ask nobody, not even whether the key works.")
@service_options
@json_option
@debug_option
def command(
    operand: str | None,
    ledger_file: str | None,
    items: str | None,
    offline: bool,
    base_url: str | None,
    as_json: bool,
) -> None:
    """Say whether everything is as a run needs it: versions, disk, prices, configuration, key, workspace, clock.

    Spends nothing: the service is asked for its newest batch, which is free. Exits with 1 where something would keep a
    run from working.
    """
    from pathlib import Path

    from ledger.doctor import diagnose

    from .diagnostics import silence
    from .options import require_items
    from .output import answer, answer_json
    from .screens.doctor import doctor_screen

    silence()
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
