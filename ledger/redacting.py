"""``ledger redact``: what was asked and answered is deleted, and the log still proves what happened and what it cost.

The log names bodies by salted digests. With a body its salt is deleted, so that nobody can find out by trying whether a
text was asked. What stays are the ids, sizes, outcomes and usage.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice

import msgspec

from ledger.answered import forget
from ledger.core import events as e
from ledger.core.columns import IN_CHUNK, PENDING, ordinals, to_ranges
from ledger.core.errors import RolledBackError, ServiceError, UsageError
from ledger.core.state import TERMINAL, RunState
from ledger.ports import CallError, Gateway
from ledger.reading import custom_ids
from ledger.runner import Writer
from ledger.store.sqlite import SqliteLog

GROUP_REQUESTS = 4096
_SHOWN = 5
_GONE = 404


class Redaction(msgspec.Struct, frozen=True, kw_only=True):
    """What was deleted: of how many requests now, and before; which batches at the service.

    ``settings_stay`` is whether the run has a system prompt or parameters of its own, which are part of the log.
    """

    requests: int
    before: int
    batches: tuple[str, ...]
    settings_stay: bool
    index_problem: str = ""


def redact(writer: Writer, log: SqliteLog, named: Collection[int] | None, gateway: Gateway | None) -> Redaction:
    """Delete the bodies and answers of requests, with their salts.

    Args:
        writer: of the ledger.
        log: the same ledger's log.
        named: the requests; all of them when None.
        gateway: the service, where the batches that they were in are to be deleted, too.

    Raises:
        UsageError: a request has no outcome yet, or its batch is not collected.
        RolledBackError: what the service has of this ledger must be known first.
        LockedError: it is done, but a process that reads the ledger keeps its ``-wal`` from being emptied.
        ServiceError: the service does not delete a batch; those before it are deleted.
    """
    state = writer.state
    if log.needs_recovery:
        raise RolledBackError(
            "the ledger is not known to be up to date, and what is deleted cannot be asked again",
            where=str(log.path),
            next=f"ledger recover {log.path}",
        )
    wanted = sorted(range(len(state.columns)) if named is None else named)
    _require_done(log, state, wanted)
    left = [ordinal for ordinal in wanted if not state.columns.is_redacted(ordinal)]
    groups = iter(left)
    while group := list(islice(groups, GROUP_REQUESTS)):
        writer.rewrite([e.PayloadsRedacted(ranges=to_ranges(group), requests=len(group))], redacted=group)
    log.forget()
    problem = forget(state)
    deleted = tuple(_delete(writer, gateway, set(wanted))) if gateway is not None else ()
    return Redaction(
        requests=len(left),
        before=len(wanted) - len(left),
        batches=deleted,
        settings_stay=bool(state.defaults.system or state.defaults.params),
        index_problem=problem,
    )


def _require_done(log: SqliteLog, state: RunState, wanted: list[int]) -> None:
    """Refuse what is still needed: to be sent, or to tell which rows are stored already."""
    columns = state.columns
    working = {chunk.chunk for chunk in state.live_chunks()}
    is_open = [o for o in wanted if columns.status[o] in (PENDING, IN_CHUNK) or columns.chunk[o] in working]
    if not is_open:
        return
    names = ", ".join(map(repr, custom_ids(log, is_open[:_SHOWN])))
    more = f" and {len(is_open) - _SHOWN:,} more" if len(is_open) > _SHOWN else ""
    plural = "s have" if len(is_open) > 1 else " has"
    raise UsageError(
        f"{len(is_open):,} item{plural} no outcome yet, or a batch that is not collected: {names}{more}",
        why="what is deleted can neither be sent nor collected",
        next="ledger resume, until they have theirs; or ledger cancel --all, and resume; or leave them out: --ids FILE",
    )


def _delete(writer: Writer, gateway: Gateway, wanted: set[int]) -> Iterator[str]:
    state = writer.state
    for batch in _batches_of(state, wanted):
        try:
            status = gateway.delete(batch).status
        except CallError as error:
            if error.status != _GONE:
                raise ServiceError(
                    f"batch {batch} was not deleted at the service; what is here is deleted",
                    why=error.what,
                    next="the same command again",
                ) from error
            status = _GONE
        writer.append([e.BatchDeleted(batch=batch, status=status)])
        yield batch


def _batches_of(state: RunState, wanted: set[int]) -> list[str]:
    """Return the batches that some requests were in and that the service may still have, twins included."""
    twins = {**state.acknowledged, **state.twins}
    chunk_of = {**state.batches, **{batch: twin.chunk for batch, twin in twins.items() if twin.proven}}
    touched = {
        number
        for number, chunk in state.chunks.items()
        if chunk.status in TERMINAL and not wanted.isdisjoint(ordinals(chunk.ranges))
    }
    return [batch for batch, chunk in chunk_of.items() if chunk in touched and batch not in state.deleted]
