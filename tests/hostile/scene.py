"""A service over a real socket, a ledger in a file, and the judge of what became of the two.

The service's clock runs twenty times faster than ours, so that a settle time of six of its seconds is over in 0.3 of
ours although its ``Date`` shows whole seconds only.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from ledger import Ledger, Summary
from ledger.core import events as e
from ledger.core.audit import AuditReport
from ledger.core.decide import Waiting
from ledger.core.errors import RolledBackError
from ledger.core.state import RunState
from ledger.service.simulator.faults import Fault, Faults
from ledger.service.simulator.http import RunningServer, serve
from ledger.service.simulator.settings import CALM, Settings

SPEED = 20.0
SETTLE_SECONDS = 6.0
CALMLY = Settings(
    turnaround_minimum_seconds=4.0, turnaround_maximum_seconds=8.0, output_tokens_maximum=60, mix=CALM, faults=Faults()
)
FOUR = [f"Say {number}." for number in range(4)]
TWELVE = [f"Say {number}." for number in range(12)]

Event = TypeVar("Event", bound=e.Event)


class Watcher:
    """A listener that remembers the events of one process, and tells somebody of each."""

    def __init__(self, told: Callable[[e.AnyEvent], None] | None = None) -> None:
        self.events: list[e.AnyEvent] = []
        self.reasons: list[str] = []
        self._told = told

    def recorded(self, position: int, at: int, event: e.AnyEvent, state: RunState) -> None:
        self.events.append(event)
        if self._told is not None:
            self._told(event)

    def waiting(self, reasons: tuple[Waiting, ...], state: RunState) -> None:
        self.reasons += [one.why for one in reasons]


class Scene:
    """One service, one ledger, one file of items; as many processes, one after another, as a test likes.

    Args:
        place: an empty directory.
        texts: the prompts; markers of the simulator script their fates.
        faults: what goes wrong at the service.
        settings: the service, when not the calm one.
        speed: how many times faster than ours the service's clock runs.
        said: choices of the run beyond the usual ones.
    """

    def __init__(
        self,
        place: Path,
        *faults: Fault,
        texts: Sequence[str] = FOUR,
        settings: Settings = CALMLY,
        speed: float = SPEED,
        **said: Any,
    ) -> None:
        self.items = place / "items.jsonl"
        self.path = place / "items.ledger"
        self.ids = [f"item-{number}" for number in range(len(texts))]
        self.events: list[e.AnyEvent] = []
        self.reasons: list[str] = []
        self._place = place
        self._speed = speed
        self._settings = msgspec.structs.replace(
            settings, faults=msgspec.structs.replace(settings.faults, faults=(*settings.faults.faults, *faults))
        )
        self.said: dict[str, Any] = {
            "model": "claude-haiku-4-5",
            "max_tokens": 256,
            "chunk_requests": 4,
            "poll_seconds": 0.05,
            "settle_seconds": SETTLE_SECONDS,
        } | said
        rows = [{"id": name, "prompt": text} for name, text in zip(self.ids, texts, strict=True)]
        self.items.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.server = self._serve(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.close()

    def _serve(self, port: int) -> RunningServer:
        return serve(port, self._settings, self._place / "service.sim", speed=self._speed)

    def replace_service(self, **changes: Any) -> None:
        """Have the service at this address behave otherwise from now on; what it remembers stays."""
        port = int(self.server.url.rpartition(":")[2])
        self.server.close()
        self._settings = msgspec.structs.replace(self._settings, **changes)
        self.server = self._serve(port)

    def ledger(
        self, told: Callable[[e.AnyEvent], None] | None = None, read_seconds: float = 5.0
    ) -> tuple[Ledger, Watcher]:
        """Return a ledger as a new process has it, and who watches it."""
        watcher = Watcher(told)
        ledger = Ledger(self.path, base_url=self.server.url, api_key="k", listener=watcher, read_seconds=read_seconds)
        return ledger, watcher

    def run(self, *, read_seconds: float = 5.0, once: bool = False) -> Summary:
        """Run until the run ends or is stuck."""
        ledger, watcher = self.ledger(read_seconds=read_seconds)
        try:
            return ledger.run(self.items, once=once, **self.said)
        finally:
            self._remember(watcher)

    def resume(self, *, lift: Sequence[str] = (), once: bool = False) -> Summary:
        """Go on as another process."""
        ledger, watcher = self.ledger()
        try:
            return ledger.resume(lift=lift, once=once)
        finally:
            self._remember(watcher)

    def argv(self) -> list[str]:
        """Return the command line that starts this run."""
        said = {"ledger": self.path, "base-url": self.server.url}
        renamed = {"poll_seconds": "poll", "settle_seconds": "settle"}
        said |= {renamed.get(name, name.replace("_", "-")): value for name, value in self.said.items()}
        return ["run", str(self.items), *(text for name, value in said.items() for text in (f"--{name}", str(value)))]

    def resume_argv(self) -> list[str]:
        """Return the command line that goes on with it."""
        return ["resume", str(self.path), "--base-url", self.server.url]

    def _remember(self, watcher: Watcher) -> None:
        self.events += watcher.events
        self.reasons += watcher.reasons

    def of(self, kind: type[Event]) -> list[Event]:
        """Return the recorded events of a type."""
        return [event for event in self.events if isinstance(event, kind)]

    def audit(self) -> AuditReport:
        return self.ledger()[0].audit()

    def outcomes(self) -> dict[str, str]:
        """Return custom_id → outcome of every item."""
        rows = list(self.ledger()[0].results(all=True))
        assert [row["custom_id"] for row in rows] == self.ids, "every item is there once, in the order of the input"
        return {row["custom_id"]: row["outcome"] for row in rows}

    def paid_once(self) -> None:
        """Assert that no prompt was accepted while it was open or answered, and none was billed twice."""
        bill = self.server.bill()
        assert (bill.prompts_accepted_twice, bill.prompts_billed_twice, bill.ordinals_billed_twice) == (0, 0, 0)

    def answered_once(self, summary: Summary, *, foreign: int = 0) -> None:
        """Assert that all went well in the end: every item ok, accepted once, paid once; the log proves it."""
        assert (summary.state, summary.exit_code, summary.pending) == ("finished", 0, 0)
        assert set(self.outcomes().values()) == {"ok"}
        self.paid_once()
        bill = self.server.bill()
        assert (bill.requests_accepted, bill.requests_billed) == (len(self.ids), len(self.ids))
        assert bill.foreign_batches == foreign
        self.proven()

    def answered_after_retries(self) -> None:
        """Assert the same of a run in which the service failed items: they were accepted again, and paid once."""
        summary = self.ledger()[0].summary()
        assert (summary.state, summary.exit_code, summary.outcomes) == ("finished", 0, {"ok": len(self.ids)})
        self.outcomes()
        self.paid_once()
        assert self.server.bill().requests_billed == len(self.ids)
        self.proven()

    def ended_with(self, summary: Summary, **outcomes: int) -> None:
        """Assert the outcomes of a finished run, and its exit code; the log proves it, and nothing was paid twice."""
        assert (summary.state, summary.pending) == ("finished", 0)
        assert summary.exit_code == (0 if set(outcomes) == {"ok"} else 1)
        assert Counter(self.outcomes().values()) == outcomes
        self.paid_once()
        self.proven()

    def proven(self) -> None:
        """Assert that the audit finds no breach."""
        report = self.audit()
        assert report.ok, report.findings
        assert report.head_verified

    def stuck(self, summary: Summary, code: int, reason: str) -> str:
        """Assert that the run stopped for a person; return the command that leads on."""
        assert (summary.state, summary.exit_code) == ("paused", code)
        status = self.ledger()[0].status()
        named = [one["lift"] for one in status.pauses if one["reason"] == reason]
        named += [one["lift"] for one in status.holds if one["reason"] == reason]
        assert named, f"nothing says {reason}: {status.pauses} {status.holds}"
        assert named[0] in summary.next
        self.paid_once()
        return named[0]

    def findings(self) -> Counter[str]:
        """Return how often each finding was recorded."""
        return Counter(event.finding for event in self.of(e.FindingRecorded))


__all__ = ["CALMLY", "FOUR", "SETTLE_SECONDS", "SPEED", "TWELVE", "RolledBackError", "Scene", "Watcher"]
