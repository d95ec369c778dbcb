"""What ``-v`` logs: every durable event by its numbers and names, never by its text.

A prompt, an answer, a system prompt or a message of the service is never logged, nor is anything of a credential; the
ledger itself has the whole of every event (``ledger events``).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

import msgspec

from ledger.core import events as e
from ledger.core.units import format_instant

from .progress import Observer

_NAMED = frozenset(
    {
        "batch",
        "bytes_read",
        "chunk",
        "class_id",
        "code",
        "command",
        "epoch",
        "exit_code",
        "kind",
        "line",
        "lines",
        "max_tokens",
        "model",
        "ordinal",
        "outcome",
        "pid",
        "reason",
        "request_id",
        "requests",
        "rows",
        "size_bytes",
        "source",
        "status",
        "submission",
        "total",
    }
)
"""Fields that hold a number, an id of the service's, or a word of ours; everything else is left out."""

_FOREIGN = ("anthropic", "httpx2", "httpcore2", "httpx", "httpcore")


def silence() -> None:
    """Keep the SDK's loggers quiet, whatever ANTHROPIC_LOG says: at ``debug`` they print requests with their bodies."""
    for name in _FOREIGN:
        logger = logging.getLogger(name)
        logger.addHandler(logging.NullHandler())
        logger.propagate = False


def observer(log_format: str) -> Observer:
    """Return what logs events on standard error, as ``text`` or ``json``."""
    import structlog

    renderer: Callable[..., str | bytes]
    if log_format == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.processors.KeyValueRenderer(key_order=["at", "event", "position"])
    logger = structlog.wrap_logger(structlog.PrintLogger(sys.stderr), processors=[renderer])

    def observe(position: int, at: int, event: e.AnyEvent) -> None:
        fields = {
            name: value
            for name, value in msgspec.structs.asdict(event).items()
            if name in _NAMED and isinstance(value, str | int)
        }
        logger.info(e.TYPE_NAMES[type(event)], at=format_instant(at), position=position, **fields)

    return observe
