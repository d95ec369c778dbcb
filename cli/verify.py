"""``ledger verify``."""

from __future__ import annotations

import click

from .options import debug_option, find_ledger, json_option, ledger_option

DIFFERS = 1


@click.command("verify", short_help="Hold a receipt against the ledger; 1 if any line differs.")
@click.argument("receipt", metavar="RECEIPT")
@click.argument("operand", metavar="[LEDGER]", required=False, default=None)
@ledger_option
@json_option
@debug_option
def command(receipt: str, operand: str | None, ledger_file: str | None, as_json: bool) -> None:
    """Work out every line of RECEIPT again from the log up to its head, and say exactly which line differs.

    A receipt stays good while the ledger grows. RECEIPT may be - for standard input.
    """
    from ledger.core.errors import UsageError
    from ledger.reading import Reading

    from .output import answer, answer_json
    from .screens.receipt import verification_screen

    path = find_ledger(ledger_file, operand)
    try:
        with click.open_file(receipt, encoding="utf-8") as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError) as problem:
        raise UsageError(f"the receipt {receipt} cannot be read", why=str(problem)) from problem
    verification = Reading(path).verify(text, receipt)
    if as_json:
        answer_json(verification)
    else:
        answer(verification_screen(verification, receipt=receipt))
    click.get_current_context().exit(0 if verification.ok else DIFFERS)
