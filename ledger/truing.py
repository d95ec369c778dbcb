"""Holding a ledger against the service's own reports: what is asked, of whom, and with which key."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ledger.choosing import SIMULATOR
from ledger.core.errors import LedgerError, UsageError
from ledger.core.prices import PriceTable
from ledger.core.state import RunState
from ledger.core.trueup import TrueUp, true_up
from ledger.core.units import DAY_US
from ledger.core.usagereport import Others, Window, window_of
from ledger.ports import Gateway
from ledger.service.gateway import AnthropicGateway
from ledger.service.reports import BASE_URL, AdminReports, read_admin_key

if TYPE_CHECKING:
    import httpx2

_PAGE_BATCHES = 1000
_SIMULATED_KEY = "sk-ant-admin-simulated"


def compare(
    path: Path,
    state: RunState,
    table: PriceTable,
    *,
    admin_key_file: str | None = None,
    base_url: str | None = None,
    now: Callable[[], int] = lambda: time.time_ns() // 1000,
) -> TrueUp:
    """Return how the ledger compares with the service's reports.

    Args:
        path: the ledger.
        state: its state.
        table: its recorded prices.
        admin_key_file: a file that holds an Admin key; the environment's when None.
        base_url: the service; that of the ledger when None.
        now: microseconds UTC.

    Raises:
        UsageError: there is no Admin key, or the ledger has no batch yet.
        ServiceError: the service does not answer, or refuses the key.
        LockedError: another process is using the simulated service of this ledger.
    """
    at = now()
    window = window_of(state, at)
    if window is None:
        raise UsageError("there is nothing to compare: no batch was made yet", next=f"ledger resume {path}")
    with _service(path, state, admin_key_file, base_url) as (reports, gateway):
        return compare_with(reports, gateway, state, table, window, at, ledger=str(path))


def compare_with(
    reports: AdminReports,
    gateway: Gateway | None,
    state: RunState,
    table: PriceTable,
    window: Window,
    now: int,
    *,
    ledger: str,
) -> TrueUp:
    """Return the comparison with what the reports say, and with the list of batches where there is a key for it."""
    days = window.days()
    daily = reports.usage(min(days), max(days) + DAY_US, "1d")
    usage = reports.usage(window.since, window.until, window.width)
    costs = reports.costs(min(days), max(days) + DAY_US)
    others = None if gateway is None else other_batches(gateway, state, window, now)
    return true_up(state, table, window, usage, daily, costs, others, now, ledger=ledger)


def other_batches(gateway: Gateway, state: RunState, window: Window, now: int) -> Others | None:
    """Return the batches of somebody else that were open when the ledger's were.

    None where the list cannot be had, or is of another workspace.
    """
    known = {*state.batches, *state.twins, *state.acknowledged}
    batches = requests = 0
    after = ""
    while True:
        try:
            page = gateway.list(_PAGE_BATCHES, after)
        except LedgerError:
            return None
        if state.workspace and page.reply.workspace not in ("", state.workspace):
            return None
        for seen in page.batches:
            ended_at = seen.ended_at or now
            if seen.batch not in known and any(
                seen.created_at <= span.until and ended_at >= span.since for span in window.spans
            ):
                batches += 1
                requests += seen.counts.succeeded + seen.counts.processing if seen.counts is not None else 1
        # A batch is open for a day at most: what was made earlier had ended before the first of ours.
        is_past = bool(page.batches) and page.batches[-1].created_at < window.since - DAY_US
        if not page.has_more or not page.last_id or is_past:
            return Others(batches, requests)
        after = page.last_id


@contextmanager
def _service(
    path: Path, state: RunState, admin_key_file: str | None, base_url: str | None
) -> Iterator[tuple[AdminReports, Gateway | None]]:
    import httpx2

    if state.origin == SIMULATOR:
        from ledger.service.simulator.settings import Settings
        from ledger.service.simulator.transport import SimulatorTransport

        transport = SimulatorTransport(Settings(), path.with_name(path.name + ".sim"))
        with httpx2.Client(transport=transport) as client:
            gateway = AnthropicGateway(http_client=client, api_key="simulated", base_url="http://simulator")
            yield AdminReports(_SIMULATED_KEY, base_url="http://simulator", http_client=client), gateway
        return
    key = read_admin_key(admin_key_file)
    url = base_url or os.environ.get("ANTHROPIC_BASE_URL") or BASE_URL
    _require_origin(state, httpx2.URL(url), path)
    reports = AdminReports(key, base_url=url)
    ordinary = _ordinary(url)
    try:
        yield reports, ordinary
    finally:
        reports.close()
        if ordinary is not None:
            ordinary.close()


def _require_origin(state: RunState, url: httpx2.URL, path: Path) -> None:
    """Refuse to compare with another service, and to send an Admin key to an address just because a file names it."""
    origin = str(url.copy_with(username=None, password=None, query=None, fragment=None)).rstrip("/")
    if state.origin and state.origin != origin:
        raise UsageError(
            f"this ledger belongs to {state.origin}, not to {origin}",
            where=str(path),
            why="the usage of one service is not in the reports of another",
            next=f"ANTHROPIC_BASE_URL={state.origin} ledger costs --reconcile {path}",
        )


def _ordinary(base_url: str) -> AnthropicGateway | None:
    """Return the service with the workspace's ordinary key, or None where there is none: it only helps to explain."""
    try:
        return AnthropicGateway(base_url=base_url)
    except LedgerError:
        return None
