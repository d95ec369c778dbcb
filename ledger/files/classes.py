"""Which class a request is of: those of one lane, model and size of answer are counted and estimated together."""

from __future__ import annotations

from ledger.core import events as e
from ledger.core.items import Request
from ledger.core.prefixes import NO_PREFIX, SharedPrefixes
from ledger.core.state import RunState

EXACT_CLASSES = 4096
"""Beyond so many classes, ceilings of answers are rounded up to a power of two, and no more prefixes are told apart, so
that classes stay few."""


class RequestClasses:
    """The classes of a run, and those that are declared from here on.

    Args:
        state: the run.
    """

    def __init__(self, state: RunState) -> None:
        self._classes = {
            (c.model, c.max_tokens, c.priority, c.cached, c.geo, c.unbounded, c.prefix): c.class_id
            for c in state.classes
        }
        self._shared = SharedPrefixes(c.prefix for c in state.classes if c.prefix)

    def of(self, request: Request, events: list[e.AnyEvent]) -> int:
        """Return the class of a request; where it is a new one, its declaration is added to the events."""
        ceiling, shared = request.max_tokens, NO_PREFIX
        if len(self._classes) >= EXACT_CLASSES:
            ceiling = 1 << max(ceiling - 1, 0).bit_length()
        elif request.prefixes:
            shared = self._shared.shared_by(request.prefixes) or NO_PREFIX
        key = (
            request.model,
            ceiling,
            request.priority,
            request.cached,
            request.geo or "",
            request.unbounded,
            shared.digest,
        )
        class_id = self._classes.get(key)
        if class_id is None:
            class_id = self._classes[key] = len(self._classes)
            events.append(
                e.ClassDeclared(
                    class_id=class_id,
                    model=request.model,
                    max_tokens=ceiling,
                    priority=request.priority,
                    cached=request.cached,
                    geo=request.geo or "",
                    unbounded=request.unbounded,
                    prefix=shared.digest,
                    prefix_bytes=shared.size_bytes,
                    prefix_minutes=shared.minutes,
                )
            )
        return class_id
