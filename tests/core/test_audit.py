"""The audit: silent about a sound ledger, and it names the position of whatever was changed in any other."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from running import LEDGER_ID, MODEL, PRICES, START, DiedError, MortalLog, World

from ledger.core import events as e
from ledger.core import snapshot
from ledger.core.audit import AuditReport, Noted, audit_log
from ledger.core.chunks import nonce_of
from ledger.core.errors import CorruptLogError, UsageError
from ledger.core.findings import FINDINGS_KEPT, Findings, breach, note
from ledger.core.prices import Usage, price
from ledger.core.promises import Promises
from ledger.core.state import RunState
from ledger.files.audit import PayloadWitness, audit, parse_head, replay
from ledger.ports import Recorded, ResultPayload
from ledger.service.simulator.faults import Fault
from ledger.store.chain import CHAIN_VERSION, link
from ledger.store.lease import lock_path
from ledger.store.memory import Disk, MemoryLog
from ledger.store.payloads import decode_requests, decode_results, digest, encode_requests, encode_results
from ledger.store.sqlite import SqliteLog

FATES = ["Say one.", "[[simulate:refusal_midway]]", "[[simulate:errored:api_error:1]]", "Say four.", "Say five."]


@pytest.fixture(scope="module")
def finished() -> World:
    """A run of five items in two chunks and a retry, finished."""
    world = World(FATES)
    assert world.run() == 1
    return world


@pytest.fixture
def disk(finished: World) -> Disk:
    """A disk of the finished run, to be tampered with."""
    return finished.disk.cut(len(finished.disk.rows))


@pytest.fixture(scope="module")
def ledger(finished: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run in a file, with its sidecar."""
    path = tmp_path_factory.mktemp("audit") / "items.ledger"
    disk = finished.disk
    with closing(SqliteLog.create(path)) as log:
        for row in disk.rows:
            log.append([e.decode(row.type_name, row.data)], row.at)
        results = [block for blocks in disk.results.values() for _, block in blocks]
        log.append([], START, [block for _, block in disk.requests], results)
        log.save_snapshot(log.head.position, log.head.hash + snapshot.dump(replay(log)))
        assert log.head.hash == disk.rows[-1].hash
    return path


@pytest.fixture(scope="module")
def last(finished: World) -> int:
    return len(finished.disk.rows)


def audit_disk(disk: Disk, **options: Any) -> AuditReport:
    return audit(MemoryLog(disk), **options)


def audit_file(path: Path, **options: Any) -> AuditReport:
    with closing(SqliteLog.open_reader(path)) as log:
        return audit(log, **options)


def breaches(report: AuditReport) -> list[tuple[int, str]]:
    return [(one.position, one.what) for one in report.findings if one.severity == "breach"]


def of_type(disk: Disk, name: str) -> list[int]:
    """Return the positions of a type's events."""
    return [row.position for row in disk.rows if row.type_name == name]


def appended(disk: Disk, *events: e.AnyEvent) -> Disk:
    """Add events as they are, legal or not."""
    MemoryLog(disk).append(events, disk.rows[-1].at)
    return disk


# ── a sound ledger ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sound_ledger_passes_without_a_word(ledger: Path, last: int) -> None:
    report = audit_file(ledger)
    assert (report.ok, report.findings, report.head_verified) == (True, (), True)
    assert (report.ledger_id, report.position, report.events, report.folded_to) == (LEDGER_ID, last, last, last)
    assert (report.requests, report.outcomes) == (5, {"ok": 4, "refused": 1})


def test_the_money_is_that_of_the_services_own_bill(finished: World, ledger: Path) -> None:
    report = audit_file(ledger)
    tokens = finished.transport.bill().tokens
    usd = {
        model: price(PRICES, model, Usage(input_tokens=one.input_tokens, output_tokens=one.output_tokens))
        for model, one in tokens.items()
    }
    assert report.costs is not None
    assert report.costs_by_attempt is not None
    assert {row.key: row.cost_usd for row in report.costs.rows if row.requests > row.unbilled_requests} == usd
    assert [row.key for row in report.costs_by_attempt.rows] == ["1", "2"]
    assert report.costs.total.cost_usd == report.costs_by_attempt.total.cost_usd == report.costs.total.saved_usd
    assert report.discount is not None
    assert report.discount.verdict == "confirmed"


def test_a_report_goes_to_json_and_back(ledger: Path) -> None:
    report = audit_file(ledger)
    assert msgspec.json.decode(msgspec.json.encode(report), type=AuditReport) == report


@pytest.mark.parametrize(
    "fault",
    [
        Fault(operation="create", kind="drop", call=1),
        Fault(operation="results", kind="duplicate_row", call=1),
        Fault(operation="results", kind="foreign_row", call=1),
        Fault(operation="results", kind="cut", call=1, bytes=700),
        Fault(operation="results", kind="short", rows=1),
        Fault(operation="create", kind="stranger", call=1),
        Fault(operation="create", kind="wrong_counts", call=1, requests=1),
    ],
    ids=lambda fault: str(fault.kind),
)
def test_what_a_run_coped_with_is_no_breach(fault: Fault) -> None:
    world = World(FATES, fault)
    world.run()
    report = audit_disk(world.disk)
    assert breaches(report) == []
    recorded = [one.what for one in report.findings if one.what.startswith("recorded by the run")]
    assert len(recorded) == len(world.events(e.FindingRecorded))


@pytest.mark.parametrize("dies_at", range(2, 16, 3))
def test_a_run_that_was_killed_passes_before_and_after_it_goes_on(dies_at: int) -> None:
    world = World(FATES)
    with pytest.raises(DiedError):
        world.run(log=MortalLog(world.disk, dies_at, after=True))
    assert breaches(audit_disk(world.disk)) == []
    assert world.run() == 1
    assert breaches(audit_disk(world.disk)) == []


# ── tampering with events ───────────────────────────────────────────────────────────────────────────────────────


CHANGES = {
    "type": "UPDATE event SET type = 'alarm_raised' WHERE position = {p}",
    "data": "UPDATE event SET data = replace(data, '}}', ' }}') WHERE position = {p}",
    "at": "UPDATE event SET at = at + 1 WHERE position = {p}",
    "hash": "UPDATE event SET hash = zeroblob(32) WHERE position = {p}",
    "removal": "DELETE FROM event WHERE position = {p}",
    "swap": """UPDATE event SET position = -position WHERE position IN ({p}, {p} % {last} + 1);
               UPDATE event SET position = CASE -position WHEN {p} THEN {p} % {last} + 1 ELSE {p} END
               WHERE position < 0""",
    "cut": "DELETE FROM event WHERE position >= {p}",
    "clean cut": """DELETE FROM event WHERE position >= {p}; DELETE FROM snapshot;
                    UPDATE head SET position = {p} - 1,
                    hash = coalesce((SELECT hash FROM event WHERE position = {p} - 1), zeroblob(32))""",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_to_any_one_event_is_found_where_it_is(ledger: Path, last: int, change: str, tmp_path: Path) -> None:
    """For every position of the log; in the last case the head's row is changed along, and the sidecar tells."""
    whole = ledger.read_bytes()
    found: dict[int, list[int]] = {}
    try:
        for position in range(1, last + 1):
            with closing(sqlite3.connect(ledger)) as connection:
                connection.executescript(f"BEGIN; {CHANGES[change].format(p=position, last=last)}; COMMIT")
            report = audit_file(ledger)
            assert not report.ok
            found[position] = [at for at, _ in breaches(report)]
            ledger.write_bytes(whole)
    finally:
        ledger.write_bytes(whole)
    # The last event changes places with the first.
    named = {position: 1 if change == "swap" and position == last else position for position in found}
    assert [position for position in found if named[position] not in found[position]] == []


def test_a_history_rewritten_with_all_its_hashes_is_told_by_the_sidecar_or_a_noted_head(
    ledger: Path, disk: Disk, last: int
) -> None:
    noted = f"{last}:{disk.rows[-1].hash.hex()}"
    assert audit_disk(disk, expect_head=noted).ok
    forged = Disk()
    log = MemoryLog(forged)
    for row in disk.rows:
        log.append([e.decode(row.type_name, row.data)], row.at + 1)
    forged.requests, forged.results = disk.requests, disk.results
    assert breaches(audit_disk(forged)) == []  # nothing inside a forged log can tell
    assert breaches(audit_disk(forged, expect_head=noted)) == [
        (last, "the event here is not the one whose hash was noted: the log was rewritten")
    ]
    whole = ledger.read_bytes()
    try:
        with closing(sqlite3.connect(ledger)) as connection:
            rows = [(row.at, row.hash, row.position) for row in forged.rows]
            connection.executemany("UPDATE event SET at = ?, hash = ? WHERE position = ?", rows)
            connection.execute("UPDATE head SET hash = ?", (forged.rows[-1].hash,))
            connection.execute("DELETE FROM snapshot")
            connection.commit()
        assert [at for at, _ in breaches(audit_file(ledger))] == [last]
    finally:
        ledger.write_bytes(whole)


def test_without_its_sidecar_a_ledger_passes_but_says_that_its_head_is_unverified(
    ledger: Path, tmp_path: Path, last: int, disk: Disk
) -> None:
    copy = tmp_path / "copy.ledger"
    copy.write_bytes(ledger.read_bytes())
    report = audit_file(copy)
    assert (report.ok, report.head_verified, report.notes) == (True, False, 1)
    assert "head unverified" in report.findings[0].what
    copy.with_name(lock_path(copy).name).write_bytes(lock_path(ledger).read_bytes())
    assert "the sidecar is of another ledger, file or machine" in audit_file(copy).findings[0].what
    assert audit_file(copy, expect_head=f"{last}:{disk.rows[-1].hash.hex()}").head_verified


def test_a_noted_head_beyond_the_end_says_that_the_tail_is_missing(disk: Disk, last: int) -> None:
    noted = f"{last}:{disk.rows[-1].hash.hex()}"
    assert (last - 1, f"the log ends at {last - 2}, but had reached {last}: its tail is missing") in breaches(
        audit_disk(disk.cut(last - 2), expect_head=noted)
    )


@pytest.mark.parametrize("text", ["", "12", "12:abc", ":" + "0" * 64, "x:" + "0" * 64, "1:" + "g" * 64])
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="POSITION:HASH"):
        parse_head(text)
    assert parse_head(f" 12:{'Ab' * 32}\n") == Noted(12, b"\xab" * 32)


def test_an_illegal_event_under_a_sound_chain_ends_the_folding_there(disk: Disk, last: int) -> None:
    report = audit_disk(
        appended(
            disk, e.SubmissionReleased(chunk=1, submission=1, digest="d"), e.WriterOpened(epoch=99, tool_version="t")
        )
    )
    assert (report.ok, report.folded_to, report.events) == (False, last, last + 2)
    assert breaches(report) == [
        (
            last + 1,
            "submission_released is not allowed here (chunk 1 is collected); from here on only the chain was checked",
        )
    ]


def test_an_event_of_a_newer_version_ends_the_folding_there(disk: Disk, last: int) -> None:
    before, name, data = disk.rows[-1], "from_the_future", "{}"
    stored = link(CHAIN_VERSION, LEDGER_ID, last + 1, before.hash, before.at, name, data.encode())
    disk.rows.append(Recorded(last + 1, before.at, name, data, stored))
    ((position, what),) = breaches(audit_disk(disk))
    assert position == last + 1
    assert "'from_the_future' is not known to this version" in what


def test_a_damaged_file_is_a_breach() -> None:
    report = audit_log([], integrity=["row 3 missing from index"], head_verified=True)
    assert breaches(report) == [(0, "the database file is damaged: row 3 missing from index")]


# ── tampering with payloads and memos ───────────────────────────────────────────────────────────────────────────


def test_a_changed_request_body_is_found_at_its_event(disk: Disk) -> None:
    for ordinal, position in enumerate(of_type(disk, "request_built")):
        kept = disk.requests[0]
        rows = decode_requests(kept[1])
        rows[ordinal] = rows[ordinal]._replace(params=rows[ordinal].params.replace(b"Say", b"Sow") + b" ")
        disk.requests[0] = (kept[0], kept[1]._replace(data=encode_requests(rows)))
        assert breaches(audit_disk(disk)) == [(position, "the stored body is not the one whose digest was recorded")]
        disk.requests[0] = kept


def test_bodies_that_changed_places_are_found(disk: Disk) -> None:
    kept = disk.requests[0][1]
    rows = decode_requests(kept)
    rows[0], rows[1] = rows[1], rows[0]
    disk.requests[0] = (disk.requests[0][0], kept._replace(data=encode_requests(rows)))
    assert [at for at, _ in breaches(audit_disk(disk))] == of_type(disk, "request_built")[:2]


def test_a_missing_request_body_is_found(disk: Disk) -> None:
    disk.requests.clear()
    positions = of_type(disk, "request_built")
    assert breaches(audit_disk(disk)) == [
        (position, "its body cannot be read: the body of a request is not stored") for position in positions
    ]


def stored_rows(disk: Disk, chunk: int) -> list[ResultPayload]:
    return [row for _, block in disk.results[chunk] for row in decode_results(block)]


def put_rows(disk: Disk, chunk: int, rows: Sequence[ResultPayload]) -> None:
    at, block = disk.results[chunk][0]
    disk.results[chunk] = [(at, block._replace(rows=len(rows), data=encode_results(rows)))]


def results_of(disk: Disk, chunk: int) -> dict[int, int]:
    """Return ordinal → position of the stored results of a chunk."""
    found = {}
    for position in of_type(disk, "result_stored"):
        event = e.decode("result_stored", disk.rows[position - 1].data)
        assert isinstance(event, e.ResultStored)
        if event.chunk == chunk:
            found[event.ordinal] = position
    return found


def test_a_changed_row_is_found_at_its_event(disk: Disk) -> None:
    rows = stored_rows(disk, 1)
    for index, row in enumerate(rows):
        put_rows(disk, 1, [*rows[:index], row._replace(row=row.row + b" "), *rows[index + 1 :]])
        assert breaches(audit_disk(disk)) == [
            (results_of(disk, 1)[row.ordinal], "the stored row is not the one whose digest was recorded")
        ]


def test_a_missing_row_is_found_at_its_event(disk: Disk) -> None:
    rows = stored_rows(disk, 1)
    for index, row in enumerate(rows):
        put_rows(disk, 1, rows[:index] + rows[index + 1 :])
        assert breaches(audit_disk(disk)) == [(results_of(disk, 1)[row.ordinal], "the row is not stored")]


def test_a_row_that_no_event_names_is_found_where_the_chunk_ends(disk: Disk) -> None:
    rows = stored_rows(disk, 1)
    for extra in (rows[0]._replace(ordinal=9), rows[-1]):
        put_rows(disk, 1, sorted([*rows, extra]))
        collected = next(
            position
            for position in of_type(disk, "batch_collected")
            if e.decode("batch_collected", disk.rows[position - 1].data).chunk == 1  # type: ignore[union-attr]
        )
        assert breaches(audit_disk(disk)) == [(collected, "1 rows are stored that no event names")]


def test_a_damaged_block_is_found_once(disk: Disk) -> None:
    at, block = disk.results[1][0]
    disk.results[1] = [(at, block._replace(data=block.data[:-1] + b"?"))]
    ((position, what),) = breaches(audit_disk(disk))
    assert position == min(results_of(disk, 1).values())
    assert "cannot be read" in what


def test_rows_stored_in_several_goes_are_matched_whatever_their_order(finished: World) -> None:
    """An interrupted collection leaves gaps that a later one fills."""
    disk = finished.disk
    state = replay(MemoryLog(disk.cut(results_first(disk) - 1)))
    log = MemoryLog(disk)
    witness = PayloadWitness(log, log.head)
    named = sorted(results_of(disk, 1).items(), key=lambda one: (one[0] % 2 == 0, one[0]))
    assert [ordinal for ordinal, _ in named] != sorted(ordinal for ordinal, _ in named)
    for _, position in named:
        event = e.decode("result_stored", disk.rows[position - 1].data)
        assert list(witness.told(position, event, state)) == []
    assert list(witness.ended()) == []


def results_first(disk: Disk) -> int:
    """Return the position of the first result of chunk 1."""
    return min(results_of(disk, 1).values())


def test_what_a_writer_adds_during_an_audit_is_no_finding(disk: Disk) -> None:
    end = results_first(disk)
    earlier = MemoryLog(disk.cut(end)).head
    log = MemoryLog(disk)
    witness = PayloadWitness(log, earlier)
    event = e.decode("result_stored", disk.rows[end - 1].data)
    assert list(witness.told(end, event, replay(MemoryLog(disk.cut(end))))) == []
    assert list(witness.ended()) == []  # more rows are stored, as the log has gone on
    alone = PayloadWitness(log, log.head)
    assert list(alone.told(end, event, replay(MemoryLog(disk.cut(end))))) == []
    assert [one.severity for one in alone.ended()] == ["breach"]


def test_a_row_that_answers_another_request_is_found() -> None:
    """Its digest is right, its wire id is not: the ledger was fed a row of another batch."""
    world = World(["Say one."])
    world.run()
    disk, position = world.disk, of_type(world.disk, "result_stored")[0]
    nonce = nonce_of(LEDGER_ID, 1, 1).encode()
    (row,) = stored_rows(disk, 1)
    forged = row._replace(row=row.row.replace(nonce, b"0" * 10))
    event = e.decode("result_stored", disk.rows[position - 1].data)
    assert isinstance(event, e.ResultStored)
    put_rows(disk, 1, [forged])
    witness = PayloadWitness(MemoryLog(disk), MemoryLog(disk).head)
    told = msgspec.structs.replace(event, digest=digest(forged.salt, forged.row))
    (finding,) = witness.told(position, told, replay(MemoryLog(disk.cut(position))))
    assert finding.what == "the row's wire id is not that of the request"


def test_a_snapshot_must_be_the_fold_at_its_position(disk: Disk, last: int) -> None:
    log = MemoryLog(disk)
    good = log.head.hash + snapshot.dump(replay(log))
    log.save_snapshot(last, good)
    assert audit_disk(disk).ok
    other = log.head.hash + snapshot.dump(replay(log, last - 1))
    for bad in (other, bytes(32) + good[32:]):
        log = MemoryLog(disk)
        log.save_snapshot(last, bad)
        assert breaches(audit_disk(disk)) == [(last, "guarantee 4: the stored snapshot is not what the events fold to")]


def test_a_snapshot_of_another_version_is_only_noted(disk: Disk, last: int) -> None:
    log = MemoryLog(disk)
    log.save_snapshot(last, log.head.hash + b"of another version")
    report = audit_disk(disk)
    assert report.ok
    assert any("snapshot is of another version" in one.what for one in report.findings)


# ── the second witness of the guarantees ────────────────────────────────────────────────────────────────────────

SEALED = e.ChunkSealed(chunk=1, ranges=[0, 2], requests=2, size_bytes=100)
PREPARED = e.SubmissionPrepared(chunk=1, submission=1, nonce="n", requests=2, size_bytes=100, server_date=1)
RELEASED = e.SubmissionReleased(chunk=1, submission=1, digest="d")
CREATED = e.BatchCreated(chunk=1, submission=1, batch="b1", created_at=1, expires_at=2, total=2)
ADOPTED = e.BatchAdopted(chunk=1, submission=1, batch="b2", created_at=1, expires_at=2, by="reconcile")
TWIN = e.TwinFound(chunk=1, submission=1, batch="b2", requests=2, proven=True, usage=Usage(input_tokens=10))
STORED = e.ResultStored(ordinal=0, chunk=1, digest="d")
BOTH = [SEALED, PREPARED, RELEASED, CREATED, STORED, msgspec.structs.replace(STORED, ordinal=1)]


def collected(**changes: Any) -> e.BatchCollected:
    whole = e.BatchCollected(chunk=1, batch="b1", rows=2, counts=e.Counts(succeeded=2))
    return msgspec.structs.replace(whole, **changes)


def judged(*events: e.AnyEvent) -> list[tuple[int, str, str]]:
    """Return (position, severity, the guarantee or the words that begin the finding)."""
    promises = Promises()
    found = [one for at, event in enumerate(events, 1) for one in promises.told(at, event, RunState())]
    found += promises.ended()
    return [(one.position, one.severity, one.what.partition(":")[0]) for one in found]


ACCEPTED_COUNTS = e.FindingRecorded(finding="counts_accepted", detail="a person said so", chunk=1)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([*BOTH, collected()], []),
        ([SEALED, PREPARED, CREATED], [(3, "breach", "guarantee 2")]),
        ([SEALED, PREPARED, ADOPTED], [(3, "breach", "guarantee 2")]),
        ([SEALED, PREPARED, RELEASED, ADOPTED], []),
        ([SEALED, msgspec.structs.replace(ADOPTED, by="recovery")], []),
        ([SEALED, msgspec.structs.replace(ADOPTED, by="person")], []),
        ([SEALED, PREPARED, RELEASED, CREATED, ADOPTED], [(5, "breach", "guarantee 1")]),
        ([SEALED, PREPARED, RELEASED, CREATED, PREPARED], [(5, "breach", "guarantee 1")]),
        (
            [SEALED, PREPARED, RELEASED, CREATED, e.BatchDisowned(chunk=1, submission=1, batch="b1", why=""), ADOPTED],
            [],
        ),
        (
            [SEALED, PREPARED, RELEASED, CREATED, msgspec.structs.replace(CREATED, chunk=2)],
            [(5, "breach", "guarantee 2"), (5, "breach", "batch b1 is that of chunk 1 already")],
        ),
        ([*BOTH, collected(), TWIN], [(8, "breach", "guarantee 1")]),
        (
            [*BOTH, collected(), msgspec.structs.replace(TWIN, proven=False, usage=None)],
            [(8, "note", "a batch that may be a second one of this chunk")],
        ),
        (
            [*BOTH, collected(), TWIN, e.TwinAcknowledged(chunk=1, batch="b2")],
            [(9, "note", "a second batch of this chunk was acknowledged; what its rows used counts as waste")],
        ),
        ([*BOTH, collected(rows=1)], [(7, "breach", "guarantee 3")]),
        ([*BOTH[:-1], collected(rows=1)], [(6, "breach", "guarantee 3"), (6, "breach", "guarantee 3")]),
        ([*BOTH, collected(counts=e.Counts(succeeded=1, errored=1))], [(7, "breach", "guarantee 3")]),
        (
            [*BOTH, ACCEPTED_COUNTS, collected(counts=e.Counts(succeeded=1, errored=1))],
            [(7, "note", "recorded by the run")],
        ),
        ([*BOTH[:-1], collected(rows=1, missing=(1,))], []),
        (
            [*BOTH[:-1], collected(rows=1, missing=(1,), counts=e.Counts(succeeded=1))],
            [(6, "note", "the service counted 1 of 2 requests")],
        ),
        ([e.RunFinished(outcomes={"ok": 1}, exit_code=0)], [(1, "breach", "guarantee 3")]),
    ],
)
def test_each_broken_promise_is_named_at_its_event(
    events: list[e.AnyEvent], expected: list[tuple[int, str, str]]
) -> None:
    assert judged(*events) == expected


def test_an_open_twin_fails_the_audit_until_it_is_acknowledged_and_costs_all_the_same(disk: Disk) -> None:
    twin = e.TwinFound(
        chunk=1, submission=1, batch="msgbatch_twin", requests=4, proven=True, usage=Usage(input_tokens=1_000_000)
    )
    before, report = audit_disk(disk), audit_disk(appended(disk, twin))
    assert [at for at, _ in breaches(report)] == [len(disk.rows)]
    after = audit_disk(appended(disk, e.TwinAcknowledged(chunk=1, batch="msgbatch_twin")))
    assert after.ok
    wasted = price(PRICES, MODEL, Usage(input_tokens=1_000_000))
    assert wasted == Decimal("0.5")
    for one in (report, after):
        assert before.costs is not None
        assert before.costs.total.cost_usd is not None
        assert one.costs is not None
        assert one.costs.total.wasted_usd["twin"] == wasted
        assert one.costs.total.cost_usd == before.costs.total.cost_usd + wasted


# ── bounds, and time travel ─────────────────────────────────────────────────────────────────────────────────────


def test_findings_are_kept_in_bounded_memory_and_all_counted() -> None:
    findings = Findings()
    for number in range(FINDINGS_KEPT + 5):
        findings.add(note(number, "a note"))
    findings.add(breach(7, "the breach"))
    assert findings.counts == {"breach": 1, "note": FINDINGS_KEPT + 5}
    assert [str(one) for one in findings.kept()[:2]] == ["position 7: the breach", "the ledger: a note"]
    assert len(findings.kept()) == FINDINGS_KEPT + 1


def test_findings_taken_over_are_kept_and_counted_as_if_added_one_by_one() -> None:
    one_by_one, first, second = Findings(), Findings(), Findings()
    for part, count in ((first, FINDINGS_KEPT - 2), (second, FINDINGS_KEPT + 5)):
        for number in range(count):
            part.add(note(number, f"note {number} of {count}"))
            one_by_one.add(note(number, f"note {number} of {count}"))
    together = Findings()
    together.add_all(first)
    together.add_all(second)
    assert together.counts == one_by_one.counts
    assert together.kept() == one_by_one.kept()


def test_replaying_to_a_position_gives_the_state_of_then(finished: World, last: int) -> None:
    log = MemoryLog(finished.disk)
    for position in range(last + 1):
        then = replay(MemoryLog(finished.disk.cut(position)))
        assert replay(log, position).position == position
        assert snapshot.dump(replay(log, position)) == snapshot.dump(then)
    for beyond in (-1, last + 1):
        with pytest.raises(UsageError, match=f"the log ends at {last}"):
            replay(log, beyond)


def test_an_unreadable_event_is_named_and_what_is_before_it_still_counts(finished: World, last: int) -> None:
    def torn() -> Iterator[Recorded]:
        yield from finished.disk.rows[:10]
        raise CorruptLogError("the event cannot be read", where="position 11")

    report = audit_log(torn(), head_verified=True)
    assert breaches(report) == [(11, "the event cannot be read")]
    assert report.folded_to == 10
