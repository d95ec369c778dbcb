"""Which items a person means to have asked again, named by their ids."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from ledger.core.columns import WITHDRAWN
from ledger.core.errors import UsageError
from ledger.core.state import RunState
from ledger.ports import EventLog

_SHOWN = 5
"""How many ids a message names."""

_decode = msgspec.json.Decoder().decode


class _Named(msgspec.Struct, gc=False):
    """What is needed of a request_built event."""

    ordinal: int
    custom_id: str


_decode_named = msgspec.json.Decoder(_Named).decode


def read_ids(text: str, name: str) -> set[str]:
    """Return the ids in a file: one a line, a JSON array of them, or JSON lines with a ``custom_id`` or an ``id``.

    The last is what ``ledger results`` writes, and what a file of items looks like.

    Args:
        text: its content.
        name: what it is called, for what is said about it.

    Raises:
        UsageError: it holds no ids; says which line.
    """
    if text.lstrip().startswith("["):
        found = _json(text, name)
        if not all(isinstance(one, str) for one in found):
            raise UsageError("an array of ids holds strings", where=name)
        ids = set(found)
    else:
        ids = {
            _id_of(line, f"{name}, line {number}") for number, line in enumerate(text.splitlines(), 1) if line.strip()
        }
    if not ids:
        raise UsageError("there is no id in it", where=name, next="one id a line")
    return ids


def _id_of(line: str, where: str) -> str:
    if not line.lstrip().startswith("{"):
        return line.strip()
    found = _json(line, where)
    custom_id = found.get("custom_id", found.get("id"))
    if not isinstance(custom_id, str):
        raise UsageError("the object has neither custom_id nor id", where=where, next="one id a line, or JSON")
    return custom_id


def _json(text: str, where: str) -> Any:
    try:
        return _decode(text)
    except msgspec.DecodeError as problem:
        raise UsageError("this is no JSON", where=where, why=str(problem), next="one id a line, or JSON") from problem


def find_ids(log: EventLog, state: RunState, ids: Collection[str]) -> dict[str, int]:
    """Return the requests of some ids.

    Raises:
        UsageError: the ledger has no such items.
    """
    wanted, found = set(ids), dict[str, int]()
    left = len(state.columns)
    for row in log.read(0, state.position):
        if row.type_name != "request_built":
            continue
        named = _decode_named(row.data)
        left -= 1
        if named.custom_id in wanted and state.columns.status[named.ordinal] != WITHDRAWN:
            found[named.custom_id] = named.ordinal
        if not left or len(found) == len(wanted):
            break
    if len(found) < len(wanted):
        raise _unknown(name for name in ids if name not in found)
    return found


def all_ordinals(log: EventLog, state: RunState, ids: Collection[str]) -> list[int]:
    """Return all requests of some ids, ascending, those that were withdrawn included.

    Raises:
        UsageError: the ledger has no such items.
    """
    wanted, met = set(ids), set[str]()
    found: list[int] = []
    left = len(state.columns)
    for row in log.read(0, state.position):
        if row.type_name != "request_built":
            continue
        named = _decode_named(row.data)
        left -= 1
        if named.custom_id in wanted:
            found.append(named.ordinal)
            met.add(named.custom_id)
        if not left:
            break
    if len(met) < len(wanted):
        raise _unknown(wanted - met)
    return found


def refuse_redacted(state: RunState, found: Mapping[str, int]) -> None:
    """Refuse to ask again what nobody can read any more.

    Raises:
        UsageError: bodies of items that were named are deleted.
    """
    gone = [name for name, ordinal in found.items() if state.columns.is_redacted(ordinal)]
    if gone:
        raise UsageError(
            f"item{'s' if len(gone) > 1 else ''} {_listed(gone)} cannot be asked again",
            why="what was asked was deleted from this ledger (ledger redact)",
            next="put the items into another ledger: ledger run ITEMS --ledger FILE",
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"{', '.join(map(repr, names[:_SHOWN]))}{more}"


def _unknown(missing: Iterable[str]) -> UsageError:
    return UsageError(
        f"there is no item {_listed(sorted(missing))}", next="ledger results --all shows the ids of all items"
    )
