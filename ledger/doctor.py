"""Whether everything is as a run needs it, line by line, before one begins; the service is asked one free question."""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from collections.abc import Iterator, Mapping
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from ledger.core.errors import LedgerError, ServiceError
from ledger.core.prices import OWN_TABLE_DATE
from ledger.core.units import MICROSECONDS_PER_SECOND, format_bytes, format_duration
from ledger.ports import CallError, Reply
from ledger.reading import Reading, SystemClock, today_date
from ledger.store.filesystem import file_system_of, require_local_disk
from ledger.store.lease import holder
from ledger.store.space import answers_bytes, free_bytes, intake_bytes

CLOCK_SECONDS_MAX = 30.0
"""Beyond that the log's dates mislead whoever compares them with the service's; waiting is by the service's clock."""
PRICES_DAYS_MAX = 90
SPACE_BYTES_MIN = 1_000_000_000
SQLITE_MIN = (3, 37, 0)
"""STRICT tables came with it (sqlite.org/stricttables.html)."""

_CREDENTIALS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE")
"""In the order in which the SDK looks for them."""
_PACKAGES = ("claude-batch-ledger", "anthropic")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at: how it is, and, where it is not well, what to do next."""

    check: str
    verdict: Literal["ok", "warn", "fail"]
    detail: str
    next: str = ""


class Answered(NamedTuple):
    """What the service answered to the one question, and our clock when it did."""

    reply: Reply
    origin: str
    now_us: int


def diagnose(
    *,
    directory: Path,
    ledger: Path | None = None,
    items: Path | None = None,
    base_url: str | None = None,
    offline: bool = False,
) -> Iterator[Finding]:
    """Yield what is to be said, in the order in which it is found out.

    Args:
        directory: where a ledger is, or is to be.
        ledger: one that is to be looked at, too.
        items: whose size says how much room is needed.
        base_url: the service; as in the SDK when None.
        offline: ask nobody.
    """
    yield _versions()
    yield _sqlite()
    yield _file_system(directory)
    yield _space(directory, ledger, items)
    yield _prices()
    simulated, workspace, origin = False, "", ""
    if ledger is not None:
        yield (standing := _ledger(ledger))
        if standing.verdict != "fail":
            state = Reading(ledger).state()
            simulated, workspace, origin = state.origin == "simulator", state.workspace, state.origin
    if simulated:
        yield Finding(check="service", verdict="ok", detail="none is needed: this ledger is simulated")
    elif offline:
        yield _key(os.environ)
        yield Finding(check="service", verdict="warn", detail="not asked", next="ledger doctor, without --offline")
    else:
        yield from _service(base_url, workspace, origin)


# ── this machine ────────────────────────────────────────────────────────────────────────────────────────────────


def _versions() -> Finding:
    names = [f"{name} {_version(name)}" for name in _PACKAGES]
    return Finding(
        check="versions",
        verdict="ok",
        detail=f"{names[0]}, Python {platform.python_version()}, {', '.join(names[1:])}",
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _sqlite() -> Finding:
    found = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        wanted = ".".join(map(str, SQLITE_MIN))
        return Finding(
            check="SQLite", verdict="fail", detail=f"{found}, {wanted} is needed", next="use a Python with a newer one"
        )
    return Finding(check="SQLite", verdict="ok", detail=found)


def _file_system(directory: Path) -> Finding:
    try:
        require_local_disk(directory / "new.ledger")
    except LedgerError as problem:
        return Finding(check="file system", verdict="fail", detail=problem.why, next=problem.next)
    if not os.access(directory, os.W_OK):
        return Finding(
            check="file system",
            verdict="fail",
            detail=f"{directory} cannot be written to",
            next="--ledger FILE, in a directory of yours",
        )
    kind = file_system_of(directory.resolve()) or "of a kind that the system does not name"
    return Finding(check="file system", verdict="ok", detail=f"{kind}, of this machine")


def _space(directory: Path, ledger: Path | None, items: Path | None) -> Finding:
    free, needed = free_bytes(directory), 0
    if items is not None:
        needed = intake_bytes(items)
    elif ledger is not None and ledger.exists():
        try:
            state = Reading(ledger).state()
        except LedgerError:  # said by the check of the ledger
            return _space(directory, None, None)
        pairs = zip(state.classes, state.class_requests, strict=True)
        tokens = sum(one.max_tokens * requests for one, requests in pairs)
        if state.unfinished:
            needed = answers_bytes(state.unfinished, tokens * state.unfinished // state.asked)
    detail = f"{format_bytes(free)} are free"
    if needed:
        detail += f", {format_bytes(needed)} may be needed"
    elsewhere = "make room, or --ledger FILE on another disk"
    if free < needed:
        return Finding(check="space", verdict="fail", detail=detail, next=elsewhere)
    verdict: Literal["ok", "warn"] = "warn" if free < SPACE_BYTES_MIN else "ok"
    return Finding(check="space", verdict=verdict, detail=detail, next=elsewhere if verdict == "warn" else "")


def _prices() -> Finding:
    today = today_date(SystemClock())
    days = (today - date.fromisoformat(OWN_TABLE_DATE)).days
    detail = f"genai-prices {_version('genai-prices')}, own table of {OWN_TABLE_DATE}"
    if days > PRICES_DAYS_MAX:
        return Finding(
            check="prices",
            verdict="warn",
            detail=f"{detail}, {days:,} days old",
            next="pip install --upgrade claude-batch-ledger genai-prices, or --prices FILE",
        )
    return Finding(check="prices", verdict="ok", detail=detail)


def _ledger(path: Path) -> Finding:
    try:
        status = Reading(path).status()
        at_work = holder(path.resolve())
    except LedgerError as problem:
        return Finding(check="ledger", verdict="fail", detail=problem.what, next=problem.next)
    detail = f"{path}: {status.summary.state}, at position {status.summary.position:,}"
    if at_work is not None:
        detail += f"; process {at_work.pid} is at work"
    if not status.head_verified:
        return Finding(
            check="ledger",
            verdict="warn",
            detail=f"{detail}; nothing says how far it had got",
            next=f"ledger resume {path} (reconciles it first)",
        )
    if status.pauses or status.holds:
        return Finding(check="ledger", verdict="warn", detail=detail, next=status.summary.next)
    return Finding(check="ledger", verdict="ok", detail=detail)


# ── the service ─────────────────────────────────────────────────────────────────────────────────────────────────


def credential_source(environment: Mapping[str, str]) -> str:
    """Return the variable that credentials are taken from; empty where they are the SDK's own affair."""
    return next((name for name in _CREDENTIALS if environment.get(name)), "")


def _key(environment: Mapping[str, str], refusal: str = "") -> Finding:
    """Return where the key is from; never a byte of it."""
    source = credential_source(environment)
    again = "export ANTHROPIC_API_KEY=…; to try without a key: ledger run ITEMS --simulate"
    if refusal:
        return Finding(check="key", verdict="fail", detail=f"{source or 'the SDK'}: {refusal}", next=again)
    if not source:
        return Finding(check="key", verdict="warn", detail="in none of the SDK's variables", next=again)
    value = environment[source]
    if value != value.strip() or not value.isprintable():
        return Finding(check="key", verdict="fail", detail=f"{source} has a space or a line end", next=again)
    return Finding(check="key", verdict="ok", detail=f"from {source}")


def _service(base_url: str | None, workspace: str, origin: str) -> Iterator[Finding]:
    try:
        answered = _ask(base_url)
    except CallError as problem:
        if problem.status in (401, 403):
            yield _key(os.environ, f"the service refuses it ({problem.status})")
            return
        yield _key(os.environ)
        yield Finding(
            check="service", verdict="fail", detail=problem.what, next="see whether the network and the service work"
        )
        return
    except ServiceError as problem:
        yield _key(os.environ, problem.what)
        return
    if credential_source(os.environ):
        yield _key(os.environ)
    else:
        yield Finding(check="key", verdict="ok", detail="from the SDK's own configuration")
    yield _origin(answered, origin)
    yield _workspace(answered.reply.workspace, workspace)
    yield _clock(answered)


def _ask(base_url: str | None) -> Answered:
    """List one batch: a free question that only a working key of a workspace is answered."""
    from ledger.service.gateway import AnthropicGateway

    gateway = AnthropicGateway(base_url=base_url, read_seconds=20.0)
    try:
        began = time.time_ns()
        page = gateway.list(1)
        return Answered(page.reply, gateway.base_url, (began + time.time_ns()) // 2000)
    finally:
        gateway.close()


def _origin(answered: Answered, origin: str) -> Finding:
    from urllib.parse import urlsplit

    host = urlsplit(answered.origin).hostname or ""
    if origin and (urlsplit(origin).hostname or "") != host:
        return Finding(
            check="service",
            verdict="fail",
            detail=f"{host} answers, the ledger belongs to {origin}",
            next=f"ANTHROPIC_BASE_URL={origin}",
        )
    return Finding(check="service", verdict="ok", detail=f"{host} answers")


def _workspace(answered: str, recorded: str) -> Finding:
    if not answered:
        return Finding(check="workspace", verdict="warn", detail="the answer does not name it")
    if recorded and answered != recorded:
        return Finding(
            check="workspace",
            verdict="fail",
            detail=f"the key is of {answered}, the ledger of {recorded}",
            next=f"use a key of workspace {recorded}",
        )
    return Finding(check="workspace", verdict="ok", detail=answered)


def _clock(answered: Answered) -> Finding:
    if answered.reply.undated:
        return Finding(check="clock", verdict="warn", detail="the service's answer bears no date")
    # A Date has whole seconds: what it says began up to a second earlier.
    behind = abs(answered.now_us - answered.reply.server_date) / MICROSECONDS_PER_SECOND
    if behind > CLOCK_SECONDS_MAX:
        way = "ahead of" if answered.now_us > answered.reply.server_date else "behind"
        return Finding(
            check="clock",
            verdict="warn",
            detail=f"{format_duration(behind)} {way} the service's",
            next="set this machine's clock (NTP)",
        )
    return Finding(check="clock", verdict="ok", detail=f"within {CLOCK_SECONDS_MAX:.0f} s of the service's")
