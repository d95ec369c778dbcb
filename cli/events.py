"""``ledger events``."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click
import msgspec

from .options import debug_option, find_ledger, json_option, ledger_operand

if TYPE_CHECKING:
    from ledger.ports import Recorded
    from ledger.reading import Reading

FOLLOW_SECONDS = 0.5


@click.command("events", short_help="Show the log, event by event.")
@ledger_operand
@click.option("--type", "types", metavar="TYPE", multiple=True, help="Only events of this type; repeat for more.")
@click.option("--from", "first", type=click.IntRange(min=1), default=1, metavar="POSITION", help="Begin here.  [1]")
@click.option("--follow", is_flag=True, help="Go on as events are recorded, until Ctrl-C.")
@json_option
@debug_option
def command(
    operand: str | None, ledger_file: str | None, types: tuple[str, ...], first: int, follow: bool, as_json: bool
) -> None:
    """Show the log, event by event: its position, when, what, and the event as it is stored.

    With --json a line is {"position", "at", "type", "hash", "data"}, with `at` in microseconds since 1970 UTC.
    """
    from ledger.core.errors import UsageError
    from ledger.core.events import TYPE_NAMES
    from ledger.reading import Reading

    from .output import write_lines

    unknown = [name for name in types if name not in TYPE_NAMES.values()]
    if unknown:
        raise UsageError(f"there is no event type {unknown[0]!r}", next=f"one of {', '.join(TYPE_NAMES.values())}")
    line = _json_line if as_json else _text_line
    rows = _rows(Reading(find_ledger(ledger_file, operand)), first - 1, follow=follow)
    for row in rows:
        if not types or row.type_name in types:
            write_lines([line(row)])


def _rows(ledger: Reading, after: int, *, follow: bool) -> Iterator[Recorded]:
    while True:
        for row in ledger.events(after):
            after = row.position
            yield row
        if not follow:
            return
        time.sleep(FOLLOW_SECONDS)


def _json_line(row: Recorded) -> bytes:
    return msgspec.json.encode(
        {
            "position": row.position,
            "at": row.at,
            "type": row.type_name,
            "hash": row.hash.hex(),
            "data": msgspec.Raw(row.data.encode()),
        }
    )


def _text_line(row: Recorded) -> bytes:
    from ledger.core.units import format_instant

    from .output import printable, width

    text = printable(f"{row.position:>7}  {format_instant(row.at)}  {row.type_name}  {row.data}")
    room = width()
    if room is not None and len(text) > room:
        text = text[: room - 1] + "…"
    return text.encode()
