"""Events and payloads for the tests of the store."""

from __future__ import annotations

from pathlib import Path

from ledger.core.events import AnyEvent, RequestBuilt, RunOpened, StatusPolled
from ledger.ports import RequestPayload, ResultPayload
from ledger.store.payloads import SALT_BYTES, digest
from ledger.store.sqlite import SqliteLog

AT = 1_763_800_000_000_000
OPENED = RunOpened(ledger_id="8f2c11d09ab34e57", origin="simulator", tool_version="0.1.0")


def salt(number: int) -> bytes:
    return number.to_bytes(SALT_BYTES, "big")


def request(ordinal: int, size_bytes: int = 100) -> RequestPayload:
    params = b'{"n":%d,"text":"%s"}' % (ordinal, b"word " * (size_bytes // 5))
    return RequestPayload(salt(ordinal), params, b'{"id":"%d","params":' % ordinal, b"}\r", True, f"naïve-{ordinal}")


def result(ordinal: int, text: str = "") -> ResultPayload:
    return ResultPayload(ordinal, salt(ordinal), b'{"custom_id":"%d","result":"%s"}' % (ordinal, text.encode()))


def built(ordinal: int) -> RequestBuilt:
    params = request(ordinal).params
    return RequestBuilt(
        ordinal=ordinal,
        custom_id=f"naïve-{ordinal}",
        line=ordinal + 1,
        size_bytes=len(params),
        digest=digest(salt(ordinal), params),
    )


def polled(number: int) -> AnyEvent:
    return StatusPolled(server_date=number)


def new_ledger(path: Path, events: int = 0) -> SqliteLog:
    """A ledger open for writing, holding run_opened and so many other events, each committed by itself."""
    log = SqliteLog.create(path)
    log.append([OPENED], AT)
    for number in range(events):
        log.append([polled(number)], AT + number)
    return log
