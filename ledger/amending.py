"""Other bodies for requests that are asked again: corrected ones from a file, or another model, or more tokens.

First everything is looked at, and nothing recorded; what is wrong is said by id. Then bodies are replaced and requests
opened, in groups: each group is one transaction, so that whoever is killed in between finds some requests opened with
their new bodies and the others as they were, and the same command again does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import date
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

import msgspec

from ledger.core import events as e
from ledger.core.chunks import item_size_bytes
from ledger.core.columns import FINAL, PENDING, STATUS_NAMES, to_ranges
from ledger.core.errors import InputError, UsageError
from ledger.core.items import Defaults, ItemParser, Problem, Request, same_body
from ledger.core.shapes import LineParser
from ledger.core.state import RunState
from ledger.files.classes import RequestClasses
from ledger.files.corrections import Corrections
from ledger.ports import Body, EventLog, RequestPayload
from ledger.runner import Writer
from ledger.store.payloads import digest, new_salts

GROUP_REQUESTS = 1000
GROUP_BYTES = 16_000_000
_SHOWN = 10

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class Changes(NamedTuple):
    """What is different when requests are asked again; None leaves it as it was."""

    model: str | None = None
    max_tokens: int | None = None

    def said(self) -> dict[str, Any]:
        """Return the parameters that are replaced."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class _Change(NamedTuple):
    """A request that is opened, and its new body; None where it is the one that is there."""

    ordinal: int
    before: RequestPayload
    request: Request | None
    after: RequestPayload | None


class Amending:
    """The new bodies of what a retry opens.

    Args:
        log: the ledger.
        state: its state.
        changes: what is said for all of them.
        today: the day by which models are retired.
    """

    def __init__(self, log: EventLog, state: RunState, changes: Changes, today: date) -> None:
        self._log = log
        self._state = state
        self._changes = changes
        defaults = state.defaults
        self._bare = ItemParser(Defaults(betas=defaults.betas, allowed_models=defaults.allowed_models), today)
        self._lines = LineParser(ItemParser(msgspec.structs.replace(defaults, **changes.said()), today))
        self._corrections: Corrections | None = None
        self._ordinal_of: dict[str, int] = {}

    def read(self, path: str, spool: BinaryIO) -> list[str]:
        """Read and check corrected items; return their ids.

        Raises:
            InputError: some are no valid items.
        """
        self._corrections = Corrections(path, self._lines, spool)
        return list(self._corrections.ids)

    def names(self, found: dict[str, int]) -> None:
        """Be told which requests the items of the file are."""
        self._ordinal_of = found

    def plan(self, opened: Sequence[int], named: Sequence[int]) -> Iterator[_Change]:
        """Yield what becomes of the requests that are opened, and of those that were named and wait already.

        Args:
            opened: the requests that are opened.
            named: all that were named by their ids; those that wait to be asked again get their new body, too.

        Raises:
            UsageError: a request that is at work was to get another body.
            InputError: a body would be no valid item.
        """
        waiting = {ordinal for ordinal in named if self._waits(ordinal)}
        wanted = waiting.union(opened)
        at_work = {ordinal for ordinal in named if self._state.columns.status[ordinal] < FINAL} - waiting
        problems: list[str] = []
        for group in _grouped(self._requests(sorted(wanted | at_work))):
            bodies = self._log.request_payloads(ordinal for ordinal, _ in group)
            for (ordinal, request), payload in zip(group, bodies, strict=True):
                change = self._change(ordinal, payload, request)
                if isinstance(change, Problem):
                    field = f" {change.field}:" if change.field else ""
                    problems.append(f"{payload.custom_id}:{field} {change.why}. {change.fix}".rstrip())
                elif ordinal in wanted:
                    yield change
                elif change.after is not None:
                    raise self._busy(ordinal, payload.custom_id)
        if problems:
            shown = "\n".join(problems[:_SHOWN])
            more = f"\n… and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
            plural = "s" if len(problems) > 1 else ""
            raise InputError(
                f"{len(problems):,} item{plural} cannot be asked like that; nothing was changed\n{shown}{more}",
                next="say something else, or leave them out: --ids FILE, --outcome OUTCOME",
            )

    def _waits(self, ordinal: int) -> bool:
        columns = self._state.columns
        return columns.status[ordinal] == PENDING and columns.chunk[ordinal] > 0

    def _requests(self, wanted: list[int]) -> Iterator[tuple[int, Request | None]]:
        """Yield the requests that are wanted, with their corrections where there are some."""
        if self._corrections is None:
            yield from ((ordinal, None) for ordinal in wanted)
            return
        among = set(wanted)
        for request in self._corrections.requests():
            ordinal = self._ordinal_of[request.custom_id]
            if ordinal in among:
                yield ordinal, request

    def _change(self, ordinal: int, before: RequestPayload, request: Request | None) -> _Change | Problem:
        after = before if request is None else _payload(before, request)
        if self._changes.said():
            params = _decode(after.params)
            if any(params.get(name) != value for name, value in self._changes.said().items()):
                after = after._replace(params=_encode(params | self._changes.said()))
        if same_body(before.params, after.params):
            return _Change(ordinal, before, None, None)
        if request is None or request.params != after.params:
            line = b'{"custom_id":%b,"params":%b}' % (_encode(before.custom_id), after.params)
            parsed = self._bare.parse(line)
            if isinstance(parsed, Problem):
                return parsed
            request = parsed
        lane = self._state.classes[self._state.columns.class_id[ordinal]].priority
        return _Change(ordinal, before, msgspec.structs.replace(request, priority=lane), after)

    def _busy(self, ordinal: int, custom_id: str) -> UsageError:
        status = self._state.columns.status[ordinal]
        return UsageError(
            f"item {custom_id!r} has no outcome yet, so it cannot get another body",
            why="it is in a batch" if STATUS_NAMES[status] == "in_chunk" else f"it is {STATUS_NAMES[status]}",
            next="ledger resume, and the same command again once it has ended; or leave it out",
        )


def _payload(before: RequestPayload, request: Request) -> RequestPayload:
    return RequestPayload(
        before.salt, request.params, request.prefix, request.suffix, request.verbatim, before.custom_id
    )


def _grouped(
    requests: Iterable[tuple[int, Request | None]],
) -> Iterator[list[tuple[int, Request | None]]]:
    """Yield runs of requests, each in ascending order, as their bodies are read."""
    left = iter(requests)
    while group := list(islice(left, GROUP_REQUESTS)):
        yield sorted(group, key=lambda one: one[0])


def open_amended(
    writer: Writer, plan: Callable[[], Iterator[_Change]], opened: Collection[int], announce: Sequence[e.AnyEvent]
) -> int:
    """Replace the bodies and open the requests, group by group; return how many bodies were replaced.

    Args:
        writer: of the ledger.
        plan: what becomes of each request; asked twice, the first time only to be sure of all of it.
        opened: the requests that are opened.
        announce: recorded with the first group.

    Raises:
        UsageError: a request cannot be amended; nothing was recorded.
        InputError: a body would be no valid item; likewise.
    """
    for _ in plan():
        pass
    to_open = set(opened)
    classes = RequestClasses(writer.state)
    amended = 0
    for group in _committed(plan()):
        events, bodies = _amended(writer.state, classes, group)
        members = sorted(to_open.intersection(change.ordinal for change in group))
        if members:
            events.append(e.RequestsReopened(ranges=to_ranges(members), requests=len(members)))
            events += announce
            announce = ()
        if events:
            writer.rewrite(events, bodies)
        amended += len(bodies)
    return amended


def _committed(changes: Iterator[_Change]) -> Iterator[list[_Change]]:
    group: list[_Change] = []
    size = 0
    for change in changes:
        group.append(change)
        size += len(change.before.params) + (len(change.after.params) if change.after is not None else 0)
        if len(group) == GROUP_REQUESTS or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _amended(state: RunState, classes: RequestClasses, group: Sequence[_Change]) -> tuple[list[e.AnyEvent], list[Body]]:
    events: list[e.AnyEvent] = []
    bodies: list[Body] = []
    for change, salt in zip(group, new_salts(len(group)), strict=True):
        before, after = change.before, change.after
        if after is None or change.request is None:
            continue
        class_id = classes.of(change.request, events)
        size_bytes = item_size_bytes(
            change.ordinal, before.custom_id, len(after.params), opaque=state.policy.opaque_ids
        )
        events.append(
            e.RequestAmended(
                ordinal=change.ordinal,
                class_id=class_id,
                size_bytes=size_bytes,
                digest=digest(salt, after.params),
                old_digest=digest(before.salt, before.params),
            )
        )
        bodies.append(Body(change.ordinal, after._replace(salt=salt)))
    return events, bodies
