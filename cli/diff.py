"""``ledger diff``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .options import complete_files, debug_option, json_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ledger.diffing import Difference


@click.command("diff", short_help="Compare two runs: outcomes, answers, costs.")
@click.argument("a", shell_complete=complete_files)
@click.argument("b", shell_complete=complete_files)
@click.option("--top", type=click.IntRange(0), default=20, metavar="N", help="How many differences to show.  [20]")
@click.option("-o", "--output", metavar="FILE", help="Write every difference to a file, a JSON line each.")
@json_option
@debug_option
def command(a: str, b: str, top: int, output: str | None, as_json: bool) -> None:
    """Compare the ledgers A and B, item by item: who ended otherwise, who answered otherwise, what it cost.

    Items are matched by custom_id, however many there are. Of answers the texts and the tool calls are compared. The
    exit code is 0 whether they differ or not.
    """
    from ledger.core.errors import UsageError
    from ledger.reading import Reading

    from .options import find_ledger
    from .output import answer, answer_json, say
    from .screens.diff import diff_screen
    from .screens.tables import counted

    mine, other = find_ledger(None, a), find_ledger(None, b)
    if mine.exists() and other.exists() and mine.samefile(other):
        raise UsageError("A and B are the same ledger", next="ledger diff A B, of two runs")
    written = 0

    def write(differences: Iterator[Difference]) -> None:
        import msgspec

        from ledger.files.export import write_atomically

        nonlocal written
        assert output is not None
        written = write_atomically(output, map(msgspec.json.encode, differences))

    diff = Reading(mine).diff(Reading(other), top=top, write=write if output is not None else None)
    if as_json:
        answer_json(diff)
    else:
        answer(diff_screen(diff))
    if output is not None:
        say(f"{counted(written, 'difference')} written to {output}")
