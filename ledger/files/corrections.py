"""Corrected items for requests that are there already (``ledger retry --from``): read, checked, and kept for a while.

The file is read once, so that it may be a pipe, and may change behind us. What it holds is checked as intake would, and
kept in a private file until all of it is known to be fine; only then is anything recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import BinaryIO

from ledger.core.errors import InputError
from ledger.core.items import Problem, Request, canonical, too_large
from ledger.core.shapes import LineParser
from ledger.files.intake import PROBLEMS_SHOWN, LineProblem
from ledger.files.lines import LineReader


class Corrections:
    """The items of one file. ``ids`` are theirs, in the order of the file.

    Args:
        path: of the file, or ``-``.
        parser: as intake would parse it.
        spool: a private, empty file.

    Raises:
        InputError: lines are no valid items, or two of one id differ; names the first ten.
    """

    def __init__(self, path: str, parser: LineParser, spool: BinaryIO) -> None:
        self._parser = parser
        self._spool = spool
        self._path = path
        self._problems: list[LineProblem] = []
        self._count = 0
        self.ids: dict[str, tuple[int, bytes]] = {}
        """Id → the line that it is in, and the digest of what it asks."""
        with LineReader.open(path) as reader:
            self._path = reader.name
            for lines, overlong, *_ in reader.groups():
                for number, line in lines:
                    self._take(number, line)
                for number, size in overlong:
                    self._refuse(number, too_large(size))
        if self._count:
            raise self._refused()
        if not self.ids:
            raise InputError("there is no item in it", where=self._path, next="one item a line, as for ledger run")

    def requests(self) -> Iterator[Request]:
        """Yield what the items ask for, each id once, in the order of the file."""
        self._spool.seek(0)
        for line in self._spool:
            request = self._parser.parse(line.removesuffix(b"\n"))
            assert isinstance(request, Request), "it was one when it was read"
            yield request

    def _take(self, number: int, line: bytes) -> None:
        parsed = self._parser.parse(line)
        if isinstance(parsed, Problem):
            self._refuse(number, parsed)
            return
        asks = sha256(canonical(parsed.params)).digest()
        before, known = self.ids.get(parsed.custom_id, (number, b""))
        if not known:
            self.ids[parsed.custom_id] = number, asks
            self._spool.write(line + b"\n")
        elif known != asks:
            why = f"another item has this id, in line {before}, with another body"
            problem = Problem(code="conflict", field="", why=why, fix="keep one of them", custom_id=parsed.custom_id)
            self._refuse(number, problem)

    def _refuse(self, line: int, problem: Problem) -> None:
        self._count += 1
        if len(self._problems) < PROBLEMS_SHOWN:
            self._problems.append(LineProblem(self._path, line, problem))

    def _refused(self) -> InputError:
        shown = "\n".join(map(str, self._problems))
        more = f"\n… and {self._count - len(self._problems)} more" if self._count > len(self._problems) else ""
        plural = "s are" if self._count > 1 else " is"
        return InputError(
            f"{self._count} line{plural} no valid item; nothing was changed\n{shown}{more}", next="mend the lines"
        )
