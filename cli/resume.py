"""``ledger resume``."""

from __future__ import annotations

from typing import Any

import click

from .options import choices_of, conduct_options, find_ledger, ledger_operand, policy_options, service_options


@click.command("resume", short_help="Go on where the last process ended, however it ended.")
@ledger_operand
@click.option("--lift", metavar="REASON", multiple=True, help="Lift a pause; `ledger status` names them.")
@click.option("--release-canary", is_flag=True, help="Send the rest although the first items went badly.")
@click.option("--forget-reuse", is_flag=True, default=None, help="Pay for what was to be taken from another ledger.")
@policy_options
@service_options
@conduct_options
def command(
    operand: str | None, ledger_file: str | None, lift: tuple[str, ...], release_canary: bool, **said: Any
) -> None:
    """Go on where the last process ended, however it ended.

    A finished run stays as it is, and the exit code is the same again.
    """
    from .conduct import Manner, conduct

    if release_canary:
        lift = (*lift, "canary")
    path = find_ledger(ledger_file, operand)
    manner = Manner.taken_from(said)
    once = said.pop("once")
    opening = {"base_url": said.pop("base_url"), "take_over": said.pop("take_over")}
    choices = choices_of(said)
    conduct(
        path,
        lambda ledger, confirm, progress: ledger.resume(
            choices=choices, lift=lift, once=once, confirm=confirm, progress=progress
        ),
        manner,
        budget_from="option" if choices.max_cost is not None else "ledger",
        **opening,
    )
