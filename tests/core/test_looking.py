"""From a look at the workspace to events: what changed, what is evidence, what is gone, what a person should know."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from stating import BATCH, NOON, SECOND, chunk_in, opened, tell

from ledger.core import events as e
from ledger.core.deadlines import EXPIRY_ALARM_US
from ledger.core.looking import GONE_TIMES, OVERDUE_US, Looked, looked_events
from ledger.core.state import RunState
from ledger.core.units import DAY_US

OPEN = e.BatchSeen(batch=BATCH, status="in_progress", created_at=NOON, counts=e.Counts(processing=3))
ENDED = msgspec.structs.replace(OPEN, status="ended", counts=e.Counts(succeeded=3))
STRANGER = e.BatchSeen(batch="msgbatch_x", status="in_progress", created_at=NOON, counts=e.Counts(processing=3))


def look(state: RunState, *batches: e.BatchSeen, **changes: Any) -> list[e.AnyEvent]:
    usual = Looked(
        asked_at=state.position,
        server_date=NOON + SECOND,
        workspace="",
        batches=batches,
        evidence=False,
        complete=True,
    )
    return list(looked_events(state, msgspec.structs.replace(usual, **changes)))


def types(events: list[e.AnyEvent]) -> list[str]:
    return [e.TYPE_NAMES[type(event)] for event in events]


def test_only_what_changed_is_named() -> None:
    canceling = msgspec.structs.replace(OPEN, status="canceling")
    for seen, named in ((OPEN, ()), (canceling, (canceling,)), (ENDED, (ENDED,)), (STRANGER, ())):
        assert look(chunk_in("submitted"), seen) == [e.StatusPolled(server_date=NOON + SECOND, changes=named)]


@pytest.mark.parametrize("counts", [None, e.Counts()], ids=["malformed", "zero"])
def test_an_end_without_counts_is_not_believed(counts: e.Counts | None) -> None:
    seen = msgspec.structs.replace(ENDED, counts=counts)
    assert look(chunk_in("submitted"), seen) == [e.StatusPolled(server_date=NOON + SECOND)]


def test_the_first_look_names_the_workspace_and_another_one_pauses_the_run() -> None:
    state = chunk_in("submitted")
    told = look(state, ENDED, workspace="wrkspc_1")
    assert types(told) == ["workspace_seen", "status_polled"]
    tell(state, e.WorkspaceSeen(workspace="wrkspc_1"))
    [paused] = look(state, ENDED, workspace="wrkspc_2", gone=(BATCH,), evidence=True)
    assert isinstance(paused, e.RunPaused)
    assert (paused.reason, "wrkspc_1" in paused.lift) == ("workspace", True)
    assert look(tell(state, paused), ENDED, workspace="wrkspc_2") == []


def test_evidence_names_who_is_there_that_nobody_claims() -> None:
    state = chunk_in("uncertain")
    [_, listed] = look(state, STRANGER, evidence=True)
    assert listed == e.BatchesListed(
        asked_at=state.position, server_date=NOON + SECOND, complete=True, candidates=(STRANGER,)
    )


def test_a_batch_is_gone_only_when_it_was_not_found_several_times() -> None:
    state = chunk_in("submitted")
    for _ in range(GONE_TIMES - 1):
        told = look(state, gone=(BATCH,))
        assert types(told) == ["status_polled", "call_failed"]
        tell(state, *told)
    assert types(look(state, gone=(BATCH,))) == ["status_polled", "finding_recorded", "results_lost"]


def test_a_late_batch_of_a_submission_that_was_given_up_raises_an_alarm() -> None:
    state = tell(chunk_in("uncertain"), e.SubmissionResolved(chunk=1, submission=1, by="reconcile"))
    told = look(state, STRANGER, evidence=True)
    assert types(told) == ["status_polled", "batches_listed", "twin_found", "alarm_raised"]
    [alarm] = [event for event in told if isinstance(event, e.AlarmRaised)]
    assert "ledger cancel msgbatch_x" in alarm.detail
    assert "twin_found" not in types(look(tell(state, *told), STRANGER, evidence=True))


@pytest.mark.parametrize(
    ("age_us", "alarm"),
    [
        (DAY_US - EXPIRY_ALARM_US, None),
        (DAY_US - EXPIRY_ALARM_US + SECOND, "expiring"),
        (DAY_US, None),
        (DAY_US + OVERDUE_US, None),
        (DAY_US + OVERDUE_US + SECOND, "overdue"),
        (22 * DAY_US + SECOND, "retention"),
    ],
)
def test_an_old_batch_raises_each_alarm_once(age_us: int, alarm: str | None) -> None:
    state = chunk_in("submitted")
    told = [event for event in look(state, OPEN, server_date=NOON + age_us) if isinstance(event, e.AlarmRaised)]
    assert alarm is None or alarm in [raised.alarm for raised in told]
    assert bool(told) == (alarm is not None)
    again = look(tell(state, *told), OPEN, server_date=NOON + age_us)
    assert [event for event in again if isinstance(event, e.AlarmRaised)] == []


def test_an_empty_workspace_teaches_nothing_else() -> None:
    assert look(opened()) == [e.StatusPolled(server_date=NOON + SECOND)]
