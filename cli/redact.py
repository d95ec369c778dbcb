"""``ledger redact``."""

from __future__ import annotations

from typing import Any

import click

from .options import debug_option, find_ledger, json_option, ledger_operand, service_options


@click.command("redact", short_help="Delete what was asked and answered, for good.")
@ledger_operand
@click.option(
    "--ids",
    "ids_file",
    type=click.File("r", encoding="utf-8"),
    metavar="FILE",
    help="Of items with these ids: one a line, or JSON; - for standard input.",
)
@click.option("--all", "everything", is_flag=True, help="Of all items.")
@click.option(
    "--at-service", is_flag=True, help="Delete the batches that they were in at the service, too; it costs nothing."
)
@click.option("--yes", is_flag=True, help="Ask nothing.")
@service_options
@json_option
@debug_option
def command(
    operand: str | None,
    ledger_file: str | None,
    ids_file: Any,
    everything: bool,
    at_service: bool,
    yes: bool,
    base_url: str | None,
    as_json: bool,
) -> None:
    """Delete what was asked and answered from the ledger, with the salts of its digests. It cannot be brought back.

    Ids, outcomes, usage and costs stay, and so does the proof: the audit says how much was deleted. Items without an
    outcome are refused. Copies of the ledger, files of items and of answers are not touched.
    """
    from ledger.core.errors import UsageError
    from ledger.ledger import Ledger
    from ledger.retrying import read_ids

    from .output import answer, answer_json, is_terminal, say
    from .screens.tables import counted

    if (ids_file is None) == (not everything):
        raise UsageError("say what is to be deleted", next="ledger redact --ids FILE, or: ledger redact --all")
    path = find_ledger(ledger_file, operand)
    ids = read_ids(ids_file.read(), getattr(ids_file, "name", "--ids")) if ids_file is not None else None
    if not yes:
        what = f"{counted(len(ids), 'item')} of" if ids is not None else "all items of"
        if not is_terminal(0):
            raise UsageError("nobody is there to ask, and what is deleted is gone", next="the same with --yes")
        if not click.confirm(f"Delete what was asked and answered for {what} {path}, for good?", err=True):
            raise UsageError("nothing was deleted")
    found = Ledger(path, base_url=base_url).redact(ids, at_service=at_service)
    if as_json:
        answer_json(found)
    else:
        before = f", {counted(found.before, 'item')} before" if found.before else ""
        answer(f"what was asked and answered is deleted: {counted(found.requests, 'item')} now{before}")
        if at_service:
            answer(f"{counted(len(found.batches), 'batch')} deleted at the service")
    if found.settings_stay:
        say("the run's own --system and --param are a part of the log, and stay")
    if found.index_problem:
        say(f"warning: your index of answers cannot be opened ({found.index_problem})")
        say("digests of what was asked may still be in it: delete it")
