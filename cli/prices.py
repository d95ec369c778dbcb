"""``ledger prices``."""

from __future__ import annotations

import click

from .options import debug_option, json_option, ledger_option


@click.command("prices", short_help="Show what tokens cost: today, or as a ledger recorded it.")
@click.argument("operand", metavar="[LEDGER]", required=False, default=None)
@ledger_option
@click.option("--model", metavar="MODEL", help="Only this model, with what a batch costs.")
@click.option("-o", "--output", metavar="FILE", help="Write the table as a file for --prices of `run`.")
@json_option
@debug_option
def command(operand: str | None, ledger_file: str | None, model: str | None, output: str | None, as_json: bool) -> None:
    """Show what tokens cost: as LEDGER recorded it, or as known to this version today.

    Costs of a run are always counted with the table that it recorded. `run`, `resume` and `check` take another one
    with --prices FILE: negotiated prices, or models that this version does not know.
    """
    from ledger.reading import Reading, price_list_today, prices_today

    from .options import find_ledger
    from .output import answer, answer_json, say
    from .screens.prices import prices_screen

    ledger = Reading(find_ledger(ledger_file, operand)) if operand or ledger_file else None
    if output is not None:
        from ledger.core.pricefile import price_file
        from ledger.files.export import write_atomically

        table = ledger.price_table() if ledger is not None else prices_today()
        write_atomically(output, [price_file(table)])
        say(f"{len(table.models)} prices written to {output}")
        return
    prices = ledger.prices(model) if ledger is not None else price_list_today(model)
    if as_json:
        answer_json(prices)
    else:
        answer(prices_screen(prices, detailed=model is not None))
