"""What a timeline is drawn from: batches, processes, pauses, and incidents with the events around them."""

from __future__ import annotations

from pathlib import Path

import histories
from histories import DAY, HOUR, MINUTE, NOON, SECOND, Script

from ledger.core import events as e
from ledger.report.history import History
from ledger.report.incidents import Incidents, describe, without_directories
from ledger.store.sqlite import SqliteLog


def read(path: Path) -> tuple[History, Incidents]:
    history, incidents = History(), Incidents()
    with SqliteLog.open_reader(path) as log:
        for row in log.read():
            if row.type_name not in ("request_built", "result_stored"):
                event = e.decode(row.type_name, row.data)
                history.told(row.at, event)
                incidents.told(row.position, row.at, event)
            elif row.type_name == "result_stored":
                history.stored(row.at)
    return history, incidents


def test_a_run_of_days_has_its_crash_its_doubt_its_pause_and_its_refusal(ledgers: dict[str, Path]) -> None:
    history, _ = read(ledgers["days"])
    assert [process.how for process in history.processes] == ["sending", "paused", "latest"]
    (pause,) = history.pauses
    assert pause.why == "budget"
    assert pause.end - pause.begin == DAY - MINUTE + SECOND
    row = history.rows[7]
    assert [attempt.how for attempt in row.tries] == ["uncertain", "created"]
    (doubt,) = row.doubts
    assert doubt.end - doubt.begin == 16 * MINUTE
    assert [attempt.how for attempt in history.rows[11].tries] == ["refused", "created"]
    assert {row.closed_as for row in history.rows.values()} == {"collected"}
    assert [number for number, row in history.rows.items() if row.is_odd] == [7, 11]


def test_bars_never_end_before_they_begin_when_the_clocks_disagree(tmp_path: Path) -> None:
    """The service's clock is an hour behind: what it dates is moved between our own instants."""
    script = Script(tmp_path / "x.ledger")
    script.take_in(SECOND, ["a"])
    chunk = script.seal(2 * SECOND, 0, 1)
    script.prepare(3 * SECOND, chunk)
    created = NOON - HOUR
    script.tell(
        4 * SECOND,
        e.BatchCreated(
            chunk=1, submission=1, batch="msgbatch_1", created_at=created, expires_at=created + DAY, total=1
        ),
    )
    seen = e.BatchSeen(batch="msgbatch_1", status="ended", ended_at=created + 9 * SECOND, counts=e.Counts(succeeded=1))
    script.tell(20 * SECOND, e.StatusPolled(server_date=NOON, changes=(seen,)))
    script.close()
    history, _ = read(tmp_path / "x.ledger")
    row = history.rows[1]
    assert (row.created, row.ended, row.seen) == (NOON + 3 * SECOND, NOON + 3 * SECOND, NOON + 20 * SECOND)


def test_a_command_that_only_decided_is_no_crash(tmp_path: Path) -> None:
    script = Script(tmp_path / "x.ledger")
    script.take_in(SECOND, ["a"])
    script.submit(3 * SECOND, script.seal(2 * SECOND, 0, 1))
    script.process(10 * SECOND)
    script.tell(10 * SECOND, e.CancelRequested(batch="msgbatch_000001"))
    script.process(20 * SECOND)
    script.close()
    history, _ = read(tmp_path / "x.ledger")
    assert [process.how for process in history.processes] == ["stopped", "command", "latest"]


def test_incidents_have_what_was_before_and_what_followed(ledgers: dict[str, Path]) -> None:
    _, incidents = read(ledgers["days"])
    assert [incident.title for incident in incidents.kept] == [
        "another process went on; the answer to a submission was lost",
        "the run was paused; another process went on",
        "the service refused a batch",
    ]
    first = incidents.kept[0]
    assert [(told.type, told.is_odd) for told in first.events] == [
        ("batch_collected", False),
        ("submission_prepared", False),
        ("submission_released", False),
        ("writer_opened", True),
        ("submission_uncertain", True),
        ("batches_listed", False),
        ("batches_listed", False),
        ("submission_resolved", False),
    ]


def test_a_few_restarts_are_told_and_those_of_cron_are_counted() -> None:
    for restarts, told in ((12, 13), (13, 1)):
        incidents = Incidents()
        position = 0
        for epoch in range(1, restarts + 2):
            position += 10
            incidents.told(position, position, e.WriterOpened(epoch=epoch, tool_version="0.1.0"))
            for more in range(1, 4):
                incidents.told(position + more, position, e.HoldLifted(chunk=1))
        incidents.told(position + 5, position, e.CallFailed(command="look", status=500))
        assert incidents.count == len(incidents.kept) == told
        assert incidents.kinds["another process went on"] == restarts
        assert incidents.kept[-1].title == "a call to the service failed"
        positions = [incident.events[0].position for incident in incidents.kept]
        assert positions == sorted(positions)


def test_thousands_of_incidents_are_counted_and_the_first_are_told() -> None:
    incidents = Incidents()
    calm = e.HoldLifted(chunk=1)
    for number in range(300):
        incidents.told(4 * number + 1, number, e.CallFailed(command="look", status=500))
        for more in range(3):
            incidents.told(4 * number + 2 + more, number, calm)
    assert incidents.count == 300
    assert len(incidents.kept) == 40
    assert incidents.kinds == {"a call to the service failed": 300}
    assert sum(len(incident.events) for incident in incidents.kept) == 160


def test_a_long_incident_ends_with_how_much_was_left_out() -> None:
    incidents = Incidents()
    for position in range(1, 101):
        incidents.told(position, position, e.CallFailed(command="look", status=500))
    (incident,) = incidents.kept
    assert (len(incident.events), incident.untold) == (16, 84)
    assert incident.title == "a call to the service failed (100 times)"


def test_events_are_told_without_digests_and_directories() -> None:
    assert describe(e.SubmissionReleased(chunk=3, submission=1, digest="abc")) == "chunk 3 · submission 1"
    assert describe(e.SourceOpened(source=1, path="/home/ada/secret/items.jsonl")) == "source 1"
    said = e.RunPaused(reason="key", detail="see /home/ada/x.ledger", lift="ledger resume /home/ada/x.ledger")
    assert describe(said) == "reason key · detail see x.ledger"


def test_directories_are_left_out_and_addresses_kept() -> None:
    assert without_directories("ledger resume /var/lib/runs/a.ledger --yes") == "ledger resume a.ledger --yes"
    assert without_directories("in '../runs/a.ledger'") == "in 'a.ledger'"
    assert without_directories("https://api.example/v1/messages and/or 3/4") == (
        "https://api.example/v1/messages and/or 3/4"
    )


def test_every_scripted_past_passes_the_audit(ledgers: dict[str, Path]) -> None:
    from ledger.files.audit import audit

    assert histories.LEDGER_ID
    for name in ("slow", "days", "many", "hostile"):
        with SqliteLog.open_reader(ledgers[name]) as log:
            report = audit(log)
        assert [finding for finding in report.findings if finding.severity == "breach"] == [], name
