"""Runs of any mix of models, caches, price steps, regions and fates: for what must hold of money whatever is asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st
from running import LEDGER_ID, POLICY, START, World, taken_in

from ledger.core import events as e
from ledger.service.simulator.faults import Fault
from ledger.service.simulator.pricelist import _CARD
from ledger.service.simulator.settings import CALM, Mix, Reporting, Settings
from ledger.store.memory import MemoryLog

MAX_TOKENS = 200
LONG = "Read this. " * 30_000  # 330,000 bytes: above the step of Haiku 5.5, at three bytes a token
SHARED = "You describe household goods for a catalogue. " * 500  # long enough to be cached by every model


def params(
    model: str, text: str, *, geo: str | None = None, cache: str | None = None, prompt: str = ""
) -> dict[str, Any]:
    made: dict[str, Any] = {"model": model, "max_tokens": MAX_TOKENS}
    if geo is not None:
        made["inference_geo"] = geo
    if cache is not None:
        mark = {"type": "ephemeral"} if cache == "5m" else {"type": "ephemeral", "ttl": cache}
        made["system"] = [{"type": "text", "text": SHARED, "cache_control": mark}]
    return {**made, "messages": [{"role": "user", "content": text + prompt}]}


class MixedWorld(World):
    """A world whose requests are whatever a test likes, each with a priority."""

    def __init__(
        self,
        requests: Sequence[tuple[dict[str, Any], int]],
        *faults: Fault,
        mix: Mix = CALM,
        reporting: Reporting = Reporting(),  # noqa: B008 - a frozen value
        **policy: Any,
    ) -> None:
        self._requests = requests
        service = Settings(turnaround_minimum_seconds=20, turnaround_maximum_seconds=40, mix=mix, reporting=reporting)
        chosen = msgspec.structs.replace(POLICY, **{"chunk_requests": 7, **policy})
        super().__init__([""] * len(requests), *faults, settings=service, policy=chosen)

    def _intake(self, policy: e.Policy, priorities: list[int]) -> None:
        classes: dict[tuple[str, int, bool, str], int] = {}
        bodies = []
        for request, priority in self._requests:
            key = (request["model"], priority, "system" in request, request.get("inference_geo", ""))
            bodies.append((json.dumps(request, separators=(",", ":")).encode(), classes.setdefault(key, len(classes))))
        declared = [
            e.ClassDeclared(
                class_id=number, model=model, max_tokens=MAX_TOKENS, priority=priority, cached=cached, geo=geo
            )
            for (model, priority, cached, geo), number in classes.items()
        ]
        events, blocks = taken_in(LEDGER_ID, policy, declared, bodies)
        MemoryLog(self.disk).append(events, START, blocks)

    def log_rows(self) -> list[tuple[str, str]]:
        return [(row.type_name, row.data) for row in self.disk.rows]


MARKERS = (
    "",
    "",
    "[[simulate:max_tokens]]",
    "[[simulate:refusal]]",
    "[[simulate:refusal_midway]]",
    "[[simulate:pause_turn]]",
    "[[simulate:errored:overloaded_error:1]]",
    "[[simulate:errored:invalid_request_error]]",
    "[[simulate:expired:1]]",
)
old_models = st.sampled_from(["claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5-20251101"])
new_models = st.sampled_from([model for model in _CARD if not model.endswith(("-20251101", "-20250929", "-20251001"))])


@st.composite
def mixed_requests(draw: st.DrawFn) -> tuple[dict[str, Any], int]:
    is_old = draw(st.booleans())
    model = draw(old_models if is_old else new_models)
    geo = None if is_old else draw(st.sampled_from([None, "us", "global"]))
    cache = draw(st.sampled_from([None, None, "5m", "1h"]))
    is_long = model == "claude-haiku-5-5" and draw(st.booleans())
    text = f"{draw(st.integers(0, 10**6))} {draw(st.sampled_from(MARKERS))}"
    request = params(model, text, geo=geo, cache=cache, prompt=LONG if is_long else "")
    return request, draw(st.sampled_from([0, 0, 5]))
