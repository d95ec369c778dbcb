"""What the tests of the simulator share: bodies, envelopes, and services that answer at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from ledger.service.simulator.core import Batch, Simulator
from ledger.service.simulator.envelope import Envelope, parse_envelope
from ledger.service.simulator.faults import Fault, Faults
from ledger.service.simulator.settings import CALM, Settings

VERSION = "2026-10-21"
SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
NOON = 1_795_348_800 * SECOND


def settings(*faults: Fault, **changes: Any) -> Settings:
    """Return a service without chance: batches end a microsecond after they were made, and every answer is good."""
    given = Settings(turnaround_minimum_seconds=0, turnaround_maximum_seconds=0, mix=CALM, faults=Faults(faults=faults))
    return msgspec.structs.replace(given, **changes)


def params(text: str = "Say hello.", **changes: Any) -> dict[str, Any]:
    return {
        "model": "claude-haiku-4-5",
        "max_tokens": 512,
        "messages": [{"role": "user", "content": text}],
        **changes,
    }


def requests(*texts: str, ids: str = "{}-nonce-label") -> list[Any]:
    return [{"custom_id": ids.format(index), "params": params(text)} for index, text in enumerate(texts)]


def body_of(items: list[Any]) -> bytes:
    return json.dumps({"requests": items}, separators=(",", ":")).encode()


def envelope(*texts: str, ids: str = "{}-nonce-label", seed: int = 0) -> Envelope:
    return envelope_of(requests(*texts, ids=ids), seed)


def envelope_of(items: list[Any], seed: int = 0) -> Envelope:
    return parse_envelope(body_of(items), VERSION, frozenset(), seed)


def rows_of(batch: Batch) -> list[dict[str, Any]]:
    """Return the result rows in the order of submission."""
    return [json.loads(row) for row in batch.answers().rows(list(range(batch.columns.count)))]


def outcomes_of(batch: Batch) -> list[str]:
    """Return stop reasons, error kinds, or the plain result types."""
    return [outcome_of(row["result"]) for row in rows_of(batch)]


def outcome_of(result: dict[str, Any]) -> str:
    if result["type"] == "succeeded":
        return str(result["message"]["stop_reason"])
    return str(result["error"]["error"]["type"] if result["type"] == "errored" else result["type"])


def answered(*texts: str, **changes: Any) -> Batch:
    """Return an ended batch of these prompts in a service of its own."""
    return Simulator(settings(**changes)).create(envelope(*texts), NOON)


def all_pages(simulator: Simulator, now: int, limit: int) -> Iterator[Batch]:
    after_id = None
    while True:
        page = simulator.list_page(now, limit, after_id=after_id)
        yield from page.batches
        if not page.has_more:
            return
        after_id = page.batches[-1].batch_id
