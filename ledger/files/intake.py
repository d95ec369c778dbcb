"""Intake: read everything, check everything, and only then may anything be spent.

Lines are read, checked, given an ordinal and stored in groups; each group ends with how far the source was read and the
digest of its bytes so far. An interrupted intake therefore goes on where it was, and a source that changed in the
meantime is recognised instead of being half of one thing and half of another.
"""

from __future__ import annotations

import datetime
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from typing import IO, NamedTuple, Protocol

import msgspec

from ledger.core import events as e
from ledger.core.chunks import item_size_bytes
from ledger.core.columns import WITHDRAWN
from ledger.core.errors import InputError
from ledger.core.items import Defaults, ItemParser, Problem, Request, same_body, too_large
from ledger.core.shapes import LineParser
from ledger.core.state import RunState, Source
from ledger.files.classes import RequestClasses
from ledger.files.lines import STDIN, LineReader
from ledger.ports import EventLog, RequestBlock, RequestPayload
from ledger.store.idindex import IdIndex
from ledger.store.payloads import digest, new_salts, request_blocks

LINES_A_COMMIT = 4096
BYTES_A_COMMIT = 2_000_000
PROBLEMS_SHOWN = 10


class LineProblem(NamedTuple):
    """A problem and where it is."""

    path: str
    line: int
    problem: Problem

    def __str__(self) -> str:
        name = f" ({self.problem.custom_id})" if self.problem.custom_id else ""
        field = f" {self.problem.field}:" if self.problem.field else ""
        why, fix = self.problem.why, self.problem.fix
        end = "" if why.endswith("?") else "."
        return f"{self.path}:{self.line}{name}:{field} {why}{end} {fix}".rstrip()


class BadLinesError(InputError):
    """Some lines are no valid items; nothing was spent. ``problems`` holds the first ten of ``count``."""

    def __init__(self, problems: Sequence[LineProblem], count: int, rejects: str) -> None:
        shown = "\n".join(str(problem) for problem in problems)
        rest = f"\n… and {count - len(problems)} more" if count > len(problems) else ""
        plural = "s are" if count > 1 else " is"
        super().__init__(
            f"{count} line{plural} no valid item; nothing was sent\n{shown}{rest}",
            next=(f"mend the lines (all of them are in {rejects})" if rejects else "mend the lines")
            + ", or pass --skip-invalid to run without them"
            + ("" if rejects else "; --rejects FILE writes all of them"),
        )
        self.problems = tuple(problems)
        self.count = count


class Appender(Protocol):
    """What intake needs of the writer: the log, the state, and one durable append."""

    @property
    def log(self) -> EventLog: ...
    @property
    def state(self) -> RunState: ...
    def append(self, events: Sequence[e.AnyEvent], requests: Sequence[RequestBlock] = ()) -> None: ...


class IntakeReport(NamedTuple):
    """What a reading found: lines of the source, requests built, repetitions, and rejected lines."""

    path: str
    lines: int
    built: int
    deduplicated: int
    rejected: int


class _Group(NamedTuple):
    """What is stored together: requests and refused lines with their numbers, overlong lines with their sizes."""

    found: list[tuple[int, Request]]
    refused: list[tuple[int, bytes, Problem]]
    overlong: list[tuple[int, int]]
    last_line: int


class _Lines:
    """The line of every request. Where they follow one another, as nearly always, a run of them is two numbers."""

    def __init__(self) -> None:
        self._firsts = array("I")  # the ordinal that each run begins with
        self._shifts = array("q")  # from its ordinals to their lines

    def add(self, ordinal: int, line: int) -> None:
        """Note the line of a request; ordinals ascend."""
        if not self._shifts or self._shifts[-1] != line - ordinal:
            self._firsts.append(ordinal)
            self._shifts.append(line - ordinal)

    def of(self, ordinal: int) -> int:
        """Return the line of a request."""
        return ordinal + self._shifts[bisect_right(self._firsts, ordinal) - 1]


class Intake:
    """One reading of one source.

    Args:
        writer: where events go.
        path: of the items, or ``-``.
        keep: whether a known id with another body is passed over instead of refused.
        rejects: where every bad line is written as JSON, with what is wrong with it.
        rejects_name: what to call that file.
        progress: told of (lines, bytes) after every group.
    """

    def __init__(
        self,
        writer: Appender,
        path: str,
        *,
        keep: bool = False,
        rejects: IO[bytes] | None = None,
        rejects_name: str = "",
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._writer = writer
        self._path = path
        self._keep = keep
        self._rejects = rejects
        self._rejects_name = rejects_name
        self._progress = progress
        state = writer.state
        self._parser = LineParser(ItemParser(state.defaults, datetime.datetime.now(datetime.UTC).date()))
        self._opaque = state.policy.opaque_ids
        self._skip_invalid = state.policy.skip_invalid
        self._classes = RequestClasses(state)
        self._lines = _Lines()  # to name both lines of a conflict
        self._problems: list[LineProblem] = []
        self._rejected = 0
        self._last_line = 0

    def read(self) -> IntakeReport:
        """Read the source to its end, taking up an interrupted reading and passing over what is known.

        Raises:
            BadLinesError: some lines are no valid items, and the policy is not to skip them.
            InputError: the source cannot be read, or changed since it was half read.
        """
        before = self._without_gaps(last_reading(self._writer.state, self._path))
        with closing(self._reader(before)) as reader:
            groups = self._groups(reader)
            if before is not None and before.status == "reading":
                self._last_line, self._rejected = before.lines, before.rejected
            else:
                began_at = reader.offset
                first = next(groups, None)
                if before is not None and reader.offset == before.bytes_read and first is None:
                    return IntakeReport(self._path, before.lines, 0, 0, before.rejected)
                continues = before.source if before is not None and began_at else 0
                self._writer.append(
                    [e.SourceOpened(source=self._writer.state.next_source, path=self._path, continues=continues)]
                )
                groups = groups if first is None else chain([first], groups)
            with closing(IdIndex(self._custom_id_of)) as index:
                self._rebuild(index)
                for group in groups:
                    self._take(index, group, reader)
                    del group  # or it would be there until the next one is
            return self._finish(reader)

    def _without_gaps(self, before: Source | None) -> Source | None:
        """Return the last reading, given up when it found bad lines and they are to be skipped from now on.

        After its first bad line it may have built nothing more, since it was going to be withdrawn; to go on where it
        was interrupted would lose those items without a word.
        """
        if before is None or before.status != "reading" or not before.rejected or not self._skip_invalid:
            return before
        self._writer.append([e.IntakeAbandoned(source=before.source, first=before.first, rejected=before.rejected)])
        return self._writer.state.sources[before.source]

    def _reader(self, before: Source | None) -> LineReader:
        """Return a reader that stands where the last reading ended, or at the beginning if the source changed since."""
        reader = LineReader.open(self._path)
        if before is None or before.status == "abandoned" or not before.bytes_read:
            return reader
        if self._path == STDIN and before.status == "completed":
            return reader  # other items, mostly; and what is skipped of a stream cannot be read again
        try:
            reader.skip_to(before.bytes_read, before.digest)
        except InputError:
            reader.close()
            if before.status == "reading":
                raise
            return LineReader.open(self._path)  # read it all again: the ids tell what is new
        return reader

    def _custom_id_of(self, ordinal: int) -> str:
        return next(iter(self._writer.log.request_payloads([ordinal]))).custom_id

    def _rebuild(self, index: IdIndex) -> None:
        """Index the ids of the requests that are there, and remember their lines."""
        columns = self._writer.state.columns
        if not len(columns):
            return
        ids: list[str] = []
        first = 0
        for row in self._writer.log.read():
            if row.type_name != "request_built":
                continue
            built = e.decode(row.type_name, row.data)
            assert isinstance(built, e.RequestBuilt)
            self._lines.add(built.ordinal, built.line)
            if columns.status[built.ordinal] == WITHDRAWN or built.ordinal != first + len(ids):
                index.add_many(ids, first)
                ids, first = [], built.ordinal + (columns.status[built.ordinal] == WITHDRAWN)
            if columns.status[built.ordinal] != WITHDRAWN:
                ids.append(built.custom_id)
            if len(ids) >= LINES_A_COMMIT:
                index.add_many(ids, first)
                ids, first = [], first + len(ids)
        index.add_many(ids, first)

    def _groups(self, reader: LineReader) -> Iterator[_Group]:
        """Yield what was read, much of it together: a commit costs the disk the same for one line as for thousands.

        Lines are parsed as they come and not kept, so that a group is in memory once.
        """
        group = _Group([], [], [], 0)
        parse = self._parser.parse
        since, last_line = reader.offset, 0
        for lines, overlong, _, offset, _ in reader.groups():
            for line_number, line in lines:
                parsed = parse(line)
                if isinstance(parsed, Problem):
                    group.refused.append((line_number, line, parsed))
                else:
                    group.found.append((line_number, parsed))
            group.overlong.extend(overlong)
            last_line = max([last_line, *(number for number, _ in (*lines[-1:], *overlong[-1:]))])
            if len(group.found) + len(group.refused) >= LINES_A_COMMIT or offset - since >= BYTES_A_COMMIT:
                yield group._replace(last_line=last_line)
                group, since = _Group([], [], [], 0), reader.offset
        if group.found or group.refused or group.overlong:
            yield group._replace(last_line=last_line)

    def _take(self, index: IdIndex, group: _Group, reader: LineReader) -> None:
        events: list[e.AnyEvent] = []
        for line_number, line, problem in group.refused:
            self._reject(events, line_number, line, problem)
        for line_number, size in group.overlong:
            self._reject(events, line_number, b"", too_large(size))
        if self._rejected and not self._skip_invalid:
            blocks: list[RequestBlock] = []  # the reading will be withdrawn: only what is wrong still matters
        else:
            blocks = self._build(index, group.found, events)
        self._last_line = max(self._last_line, group.last_line)
        source = self._writer.state.next_source - 1
        events.append(
            e.SourceRead(source=source, lines=self._last_line, bytes_read=reader.offset, digest=reader.digest)
        )
        self._writer.append(events, blocks)
        if self._progress is not None:
            self._progress(self._last_line, reader.offset)

    def _build(self, index: IdIndex, found: list[tuple[int, Request]], events: list[e.AnyEvent]) -> list[RequestBlock]:
        first = len(self._writer.state.columns)
        taken = dict(index.add_many([request.custom_id for _, request in found], first))
        salts = new_salts(len(found) - len(taken))
        payloads: list[RequestPayload] = []
        for at, (line, request) in enumerate(found):
            known = taken.get(at)
            if known is not None:
                self._meet(events, line, request, known, first, payloads)
                continue
            ordinal = first + len(payloads)
            salt = salts[len(payloads)]
            events.append(
                e.RequestBuilt(
                    ordinal=ordinal,
                    custom_id=request.custom_id,
                    line=line,
                    size_bytes=item_size_bytes(ordinal, request.custom_id, len(request.params), opaque=self._opaque),
                    digest=digest(salt, request.params),
                    class_id=self._classes.of(request, events),
                )
            )
            self._lines.add(ordinal, line)
            payloads.append(
                RequestPayload(
                    salt, request.params, request.prefix, request.suffix, request.verbatim, request.custom_id
                )
            )
        return list(request_blocks(first, payloads))

    def _meet(
        self,
        events: list[e.AnyEvent],
        line: int,
        request: Request,
        known: int,
        first: int,
        payloads: list[RequestPayload],
    ) -> None:
        """A known id: the same body is a repetition, another one is refused, or passed over with ``--keep``."""
        if known >= first:
            params = payloads[known - first].params
        else:
            params = next(iter(self._writer.log.request_payloads([known]))).params
        same = same_body(params, request.params)
        if same or self._keep:
            events.append(e.ItemDeduplicated(line=line, ordinal=known, kept=not same))
            return
        problem = Problem(
            code="conflict",
            field="",
            why=f"another item has this id, in line {self._lines.of(known)}, with another body",
            fix="give one of them another id, or pass --keep to keep the first",
            custom_id=request.custom_id,
        )
        self._reject(events, line, request.row, problem)

    def _reject(self, events: list[e.AnyEvent], line_number: int, line: bytes, problem: Problem) -> None:
        self._rejected += 1
        if len(self._problems) < PROBLEMS_SHOWN:
            self._problems.append(LineProblem(self._path, line_number, problem))
        if self._rejects is not None:
            record = {
                "path": self._path,
                "line": line_number,
                **msgspec.structs.asdict(problem),
                "row": line.decode("utf-8", "replace"),
            }
            self._rejects.write(msgspec.json.encode(record) + b"\n")
        events.append(
            e.ItemRejected(
                line=line_number,
                code=problem.code,
                why=problem.why,
                field=problem.field,
                fix=problem.fix,
                custom_id=problem.custom_id[:200],
            )
        )

    def _finish(self, reader: LineReader) -> IntakeReport:
        state = self._writer.state
        source = state.sources[state.next_source - 1]
        if self._rejected and not self._skip_invalid:
            self._writer.append([e.IntakeAbandoned(source=source.source, first=source.first, rejected=self._rejected)])
            raise BadLinesError(self._problems, self._rejected, self._rejects_name)
        self._writer.append(
            [
                e.IntakeCompleted(
                    source=source.source,
                    lines=self._last_line,
                    bytes_read=reader.offset,
                    digest=reader.digest,
                    built=source.built,
                    deduplicated=source.deduplicated,
                    rejected=source.rejected,
                )
            ]
        )
        return IntakeReport(self._path, self._last_line, source.built, source.deduplicated, source.rejected)


def last_reading(state: RunState, path: str) -> Source | None:
    """Return the newest reading of a path, if there was one."""
    return next((source for source in reversed(state.sources.values()) if source.path == path), None)


def settled(state: RunState) -> bool:
    """Return whether no reading of a source is half done."""
    return all(source.status != "reading" for source in state.sources.values())


__all__ = ["BadLinesError", "Defaults", "Intake", "IntakeReport", "LineProblem", "last_reading", "settled"]
