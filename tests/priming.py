"""A world whose prompts share prefixes: real items, real intake, the simulated service with its cache."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from running import LEDGER_ID, POLICY, PRICES, World

from ledger.core import events as e
from ledger.core.state import RunState
from ledger.files.intake import Intake
from ledger.runner import Writer
from ledger.service.simulator.settings import CALM, Settings

SONNET = "claude-sonnet-4-6"
PRIMED = msgspec.structs.replace(POLICY, prime_cache=True, chunk_requests=100)
RULES = "You answer in one word. " * 300  # about 1,800 tokens: Sonnet 4.6 caches from 1,024 on
SERVICE = Settings(turnaround_minimum_seconds=20, turnaround_maximum_seconds=40, mix=CALM)


class Item(NamedTuple):
    """A prompt behind a marked text."""

    prompt: str
    rules: str = RULES
    ttl: str = "1h"
    priority: int = 0

    def line(self, number: int) -> str:
        """Return the line of items that asks for it."""
        mark = {"type": "ephemeral", "ttl": self.ttl}
        system = [{"type": "text", "text": self.rules, "cache_control": mark}] if self.ttl else self.rules
        messages = [{"role": "user", "content": self.prompt}]
        params = {"model": SONNET, "max_tokens": 100, "system": system, "messages": messages}
        return json.dumps({"custom_id": f"item {number}", "params": params, "priority": self.priority})


class PrimedWorld(World):
    """A world of items; the service is calm unless told otherwise."""

    def __init__(self, items: Sequence[Item], *faults: Any, policy: e.Policy = PRIMED, settings: Settings = SERVICE):
        self.items = list(items)
        super().__init__([item.prompt for item in items], *faults, policy=policy, settings=settings)

    def _intake(self, policy: e.Policy, priorities: list[int]) -> None:
        from ledger.store.memory import MemoryLog

        writer = Writer(MemoryLog(self.disk), RunState(), self.clock)
        opening: list[e.AnyEvent] = [
            e.RunOpened(ledger_id=LEDGER_ID, origin="simulator", tool_version="test"),
            e.WriterOpened(epoch=1, tool_version="test"),
            e.SettingsChanged(policy=policy),
        ]
        writer.append(opening)
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "items.jsonl"
            path.write_text("\n".join(item.line(number) for number, item in enumerate(self.items)))
            Intake(writer, str(path)).read()
        writer.append([e.PricesQuoted(table=PRICES)])

    def sealed(self) -> list[tuple[str, int]]:
        """Return cause and size of every chunk, in order."""
        return [(chunk.cause, chunk.requests) for chunk in self.events(e.ChunkSealed)]

    def cache(self) -> tuple[int, int]:
        """Return the tokens that were written to the cache, and read from it, as the service bills them."""
        tokens = self.transport.bill().tokens[SONNET]
        return tokens.one_hour_write_tokens + tokens.five_minute_write_tokens, tokens.cache_read_tokens

    def hit_rate(self) -> float:
        """Return the share of what was marked that was read from the cache."""
        written, read = self.cache()
        return read / (read + written)


def asking(count: int, rules: str = RULES, **changes: Any) -> list[Item]:
    """Return items that share a prefix."""
    return [Item(f"Say {number}.", rules, **changes) for number in range(count)]
