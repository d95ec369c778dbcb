"""A batch that shows up after it was given up: the one breach the protocol cannot prevent is seen, said and weighed."""

from __future__ import annotations

from pathlib import Path

import pytest
from scene import SETTLE_SECONDS, Scene

from ledger.core import events as e
from ledger.service.simulator.faults import Fault

LATE_SECONDS = SETTLE_SECONDS + 12


def late_twin(place: Path, *, twin_takes: float = 0.01) -> Scene:
    """Return a service that accepts the first batch long after the settle time, while the repeated one is at work."""
    return Scene(
        place,
        Fault(operation="create", call=1, kind="drop"),
        Fault(operation="create", call=1, kind="late", seconds=LATE_SECONDS),
        Fault(operation="create", call=1, kind="turnaround", seconds=twin_takes),
        Fault(operation="create", call=2, kind="turnaround", seconds=30),
    )


def weigh(scene: Scene) -> None:
    """Resume until the rows of the twin were read: the run may have ended before it did."""
    for _ in range(200):
        if scene.of(e.TwinFound)[-1].proven:
            return
        scene.resume()
    raise AssertionError("the rows of the twin were never read")


def test_a_late_twin_is_an_alarm_and_a_breach_until_a_person_acknowledges_it(tmp_path: Path) -> None:
    with late_twin(tmp_path) as scene:
        summary = scene.run()
        assert (summary.state, summary.exit_code, summary.outcomes) == ("finished", 0, {"ok": 4})
        assert scene.server.bill().prompts_billed_twice == 4, "the service did what it must not"
        weigh(scene)
        (alarm,) = [event for event in scene.of(e.AlarmRaised) if event.alarm == "twin"]
        assert f"ledger cancel {alarm.batch}" in alarm.detail

        report = scene.audit()
        assert not report.ok
        assert ["guarantee 1" in finding.what for finding in report.findings if finding.severity == "breach"] == [True]
        (twin,) = scene.ledger()[0].status().twins
        assert twin["lift"] == f"ledger resolve 1 --cancel {alarm.batch} (or --acknowledge)"

        scene.ledger()[0].resolve(1, "acknowledge")
        assert scene.audit().ok
        assert scene.resume().exit_code == 0


def test_what_a_twin_cost_is_in_the_costs(tmp_path: Path) -> None:
    with late_twin(tmp_path) as scene:
        scene.run()
        weigh(scene)
        scene.ledger()[0].resolve(1, "acknowledge")
        (charged,) = scene.server.bill().tokens.values()
        costs = scene.ledger()[0].audit().costs
        assert costs is not None
        assert (costs.total.input_tokens, costs.total.output_tokens) == (charged.input_tokens, charged.output_tokens)


def test_a_twin_is_seen_by_the_next_poll_while_it_can_still_be_canceled(tmp_path: Path) -> None:
    with late_twin(tmp_path, twin_takes=3600) as scene:

        def cancel(event: e.AnyEvent) -> None:
            if isinstance(event, e.TwinFound) and not event.proven:
                assert scene.ledger()[0].cancel([event.batch]).startswith("asked the process")

        ledger, watcher = scene.ledger(told=cancel)
        summary = ledger.run(scene.items, **scene.said)
        assert (summary.exit_code, summary.outcomes) == (0, {"ok": 4})
        kinds = [type(event) for event in watcher.events]
        assert kinds.index(e.TwinFound) < kinds.index(e.CancelAccepted) < kinds.index(e.BatchCollected)
        assert scene.server.bill().prompts_billed_twice == 0, "it was canceled before anything of it was answered"


@pytest.mark.parametrize("verdict", ["acknowledge", "cancel"])
def test_a_twin_that_is_still_open_can_be_resolved(tmp_path: Path, verdict: str) -> None:
    with late_twin(tmp_path, twin_takes=3600) as scene:
        while not any(isinstance(event, e.TwinFound) for event in scene.events):
            (scene.resume if scene.path.exists() else scene.run)(once=True)
        (twin,) = scene.ledger()[0].status().twins
        scene.ledger()[0].resolve(1, verdict, twin["batch"] if verdict == "cancel" else "")
        summary = scene.resume()
        assert (summary.exit_code, summary.outcomes) == (0, {"ok": 4})
        assert scene.audit().ok
