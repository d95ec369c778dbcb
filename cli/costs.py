"""``ledger costs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .options import debug_option, json_option, ledger_option

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ledger.core.costs import CostRow
    from ledger.reading import Reading

BYS = ("model", "lane", "attempt", "batch", "day", "cause", "item")
TOP_DEFAULT = 20


@click.command("costs", short_help="Show what a run cost, and whether the batch discount was given.")
@click.argument("operands", metavar="[LEDGER]...", nargs=-1)
@ledger_option
@click.option("--by", type=click.Choice(BYS), help="A row for each; `item` shows the dearest.  [model]")
@click.option("--top", type=click.IntRange(1), metavar="N", help=f"With --by item: how many.  [{TOP_DEFAULT}]")
@click.option("--what-if", "models", metavar="MODEL", multiple=True, help="What it would have cost with this model.")
@click.option("--reconcile", is_flag=True, help="Hold it against the service's own reports; takes an Admin key.")
@click.option(
    "--admin-key-file", metavar="FILE", help="Where the Admin key is.  [ANTHROPIC_ADMIN_API_KEY, ANTHROPIC_ADMIN_KEY]"
)
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Answer in CSV, for spreadsheets.")
@debug_option
def command(
    operands: tuple[str, ...],
    ledger_file: str | None,
    by: str | None,
    top: int | None,
    models: tuple[str, ...],
    reconcile: bool,
    admin_key_file: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Show what a run cost so far, how the estimate became that, and whether the batch discount was given.

    Counted from the usage that the service reported, with the prices that were recorded when the run began. Several
    ledgers are shown in one table.

    With --reconcile the exit code is 1 where a difference of more than 0.1% is unexplained, or tokens were charged
    above the batch price.
    """
    from ledger.core.errors import UsageError
    from ledger.reading import Reading

    from .options import find_ledger

    wanted = [
        option
        for option, said in (("--by item", by == "item"), ("--what-if", models), ("--reconcile", reconcile))
        if said
    ]
    if top is not None and by != "item":
        raise UsageError("--top is how many items are shown", next="pass --by item, too")
    if as_json and as_csv:
        raise UsageError("an answer has one form", next="pass --json or --csv, not both")
    if len(wanted) > 1 or (by and (models or reconcile)):
        raise UsageError("these are two questions", next="pass --by, --what-if or --reconcile, not both")
    if as_csv and (models or reconcile):
        raise UsageError(f"{wanted[0]} is no table of costs", next="pass --json")
    if admin_key_file and not reconcile:
        raise UsageError("an Admin key is for the service's own reports", next="pass --reconcile, too")
    if len(operands) > 1 or (operands and ledger_file):
        paths = [find_ledger(None, operand) for operand in (*operands, *((ledger_file,) if ledger_file else ()))]
        if len(set(paths)) > 1:
            if wanted:
                raise UsageError(f"{wanted[0]} is asked of one ledger", next="name one")
            _several(paths, by, as_json=as_json, as_csv=as_csv)
            return
    path = find_ledger(ledger_file, operands[0] if operands else None)
    ledger = Reading(path)
    if by == "item":
        _dearest(ledger, top or TOP_DEFAULT, as_json=as_json, as_csv=as_csv)
    elif models:
        _what_if(ledger, models, as_json=as_json)
    elif reconcile:
        _reconcile(ledger, admin_key_file, as_json=as_json)
    else:
        _one(ledger, by, as_json=as_json, as_csv=as_csv)


def _one(ledger: Reading, by: Any, *, as_json: bool, as_csv: bool) -> None:
    from .output import answer, answer_json
    from .screens.costs import costs_screen
    from .screens.proof import proof_screen

    proof = ledger.proof(by or "model")
    if as_json:
        answer_json(proof)
    elif as_csv:
        _write_csv([*proof.rows, proof.total])
    else:
        answer(costs_screen(proof) if by else proof_screen(proof))
        _say_simulated(proof.simulated)


def _several(paths: Sequence[Path], by: Any, *, as_json: bool, as_csv: bool) -> None:
    from ledger.core.several import require_different, rows_by_key, rows_of_ledgers
    from ledger.reading import Reading

    from .output import answer, answer_json
    from .screens.proof import several_screen

    proofs = [Reading(path).proof(by or "model") for path in paths]
    require_different(proofs)
    rows = rows_by_key(proofs, by) if by else rows_of_ledgers(proofs)
    if as_json:
        answer_json(proofs)
    elif as_csv:
        _write_csv(rows)
    else:
        answer(several_screen(proofs, rows, by or "ledger"))
        _say_simulated(all(proof.simulated for proof in proofs))


def _dearest(ledger: Reading, top: int, *, as_json: bool, as_csv: bool) -> None:
    from .output import answer, answer_json
    from .screens.proof import items_screen

    found = ledger.dearest(top)
    if as_json:
        answer_json(found)
    elif as_csv:
        _write_csv(found.rows)
    else:
        answer(items_screen(found))
        _say_simulated(ledger.summary().simulated)


def _what_if(ledger: Reading, models: Sequence[str], *, as_json: bool) -> None:
    from .output import answer, answer_json
    from .screens.proof import what_if_screen

    columns = ledger.what_if(models)
    if as_json:
        answer_json(columns)
    else:
        answer(what_if_screen(columns, ledger.costs().total.cost_usd))
        _say_simulated(ledger.summary().simulated)


def _reconcile(ledger: Reading, admin_key_file: str | None, *, as_json: bool) -> None:
    from .output import answer, answer_json
    from .screens.trueup import true_up_screen

    found = ledger.true_up(admin_key_file=admin_key_file)
    if as_json:
        answer_json(found)
    else:
        answer(true_up_screen(found))
        _say_simulated(found.simulated)
    click.get_current_context().exit(found.exit_code)


def _say_simulated(simulated: bool) -> None:
    from .output import answer
    from .screens.summary import SIMULATED_NOTE

    if simulated:
        answer(SIMULATED_NOTE)


def _write_csv(rows: Sequence[CostRow] | Sequence[Any]) -> None:
    """Write rows with their fields as columns; what was wasted as one sum, what is not known as an empty cell."""
    import csv
    import io

    import msgspec

    from .output import write_lines

    stream = io.StringIO()
    writer: Any = None
    for row in rows:
        cells = msgspec.to_builtins(row)
        if "wasted_usd" in cells:
            amounts = row.wasted_usd.values()
            cells["wasted_usd"] = None if None in amounts else str(sum(amounts)) if amounts else "0"
        if writer is None:
            writer = csv.DictWriter(stream, list(cells), lineterminator="\n")
            writer.writeheader()
        writer.writerow(cells)
    write_lines(stream.getvalue().encode().splitlines())
