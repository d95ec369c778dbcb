"""``ledger receipt``."""

from __future__ import annotations

import click

from .options import debug_option, find_ledger, ledger_operand


@click.command("receipt", short_help="Write ten lines that prove later what a run came to.")
@ledger_operand
@click.option("-o", "--output", metavar="FILE", help="Write them to a file.")
@debug_option
def command(operand: str | None, ledger_file: str | None, output: str | None) -> None:
    """Write ten lines for a ticket or an invoice: head, requests, outcomes, dollars, discount, prices.

    `ledger verify FILE` holds them against the ledger later. Keep them somewhere else than the ledger: they also expose
    somebody who rewrites the ledger with all its hashes.
    """
    from ledger.files.export import write_atomically
    from ledger.reading import Reading

    from .output import answer, say

    receipt = Reading(find_ledger(ledger_file, operand)).receipt()
    if output is None:
        answer(receipt.text())
        return
    write_atomically(output, receipt.text().encode().splitlines())
    say(f"receipt of position {receipt.position} written to {output}")
