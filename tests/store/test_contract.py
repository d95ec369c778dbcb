"""What every event log does, whatever it is kept in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import AT, OPENED, built, polled, request, result, salt

from ledger.core.errors import CorruptLogError, IllegalEventError, LockedError
from ledger.core.events import decode
from ledger.ports import Body, Head
from ledger.store.chain import GENESIS, verify_chain
from ledger.store.memory import MemoryLog
from ledger.store.payloads import is_redacted, request_blocks, result_blocks
from ledger.store.sqlite import SqliteLog

AnyLog: TypeAlias = MemoryLog | SqliteLog
Reopen: TypeAlias = Callable[[AnyLog], AnyLog]


def reopen_memory(log: AnyLog) -> AnyLog:
    assert isinstance(log, MemoryLog)
    return MemoryLog(log.disk)


def reopen_sqlite(log: AnyLog) -> SqliteLog:
    assert isinstance(log, SqliteLog)
    log.close()
    return SqliteLog.open_writer(log.path)


@pytest.fixture(params=["memory", "sqlite"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyLog]:
    if request.param == "memory":
        yield MemoryLog()
        return
    with SqliteLog.create(tmp_path / "items.ledger") as made:
        yield made


@pytest.fixture
def reopen(log: AnyLog) -> Iterator[Reopen]:
    with ExitStack() as opened:

        def again(log: AnyLog) -> AnyLog:
            return reopen_memory(log) if isinstance(log, MemoryLog) else opened.enter_context(reopen_sqlite(log))

        yield again


def test_an_empty_log_has_no_id_and_its_head_is_the_genesis(log: AnyLog) -> None:
    assert (log.ledger_id, log.head) == ("", Head(0, GENESIS, 1))
    assert list(log.read()) == []
    assert list(verify_chain(log)) == []


def test_what_is_appended_is_read_back_in_order_with_its_instant(log: AnyLog) -> None:
    log.append([OPENED, polled(1)], AT)
    head = log.append([polled(2)], AT + 5)
    rows = list(log.read())
    assert [(row.position, row.at, decode(row.type_name, row.data)) for row in rows] == [
        (1, AT, OPENED),
        (2, AT, polled(1)),
        (3, AT + 5, polled(2)),
    ]
    assert head == log.head == Head(3, rows[-1].hash, 1)
    assert log.ledger_id == OPENED.ledger_id


def test_reading_starts_after_and_ends_at_the_given_positions(log: AnyLog) -> None:
    log.append([OPENED, *map(polled, range(2500))], AT)
    assert [row.position for row in log.read(after=3, upto=6)] == [4, 5, 6]
    assert [row.position for row in log.read(after=2499)] == [2500, 2501]
    assert [row.position for row in log.read()] == list(range(1, 2502))
    assert list(log.read(after=2501)) == []


def test_reading_ends_where_the_log_ended_when_it_began(log: AnyLog) -> None:
    log.append([OPENED, polled(1)], AT)
    rows = log.read()
    first = next(rows)
    log.append([polled(2)], AT)
    assert [first.position, *(row.position for row in rows)] == [1, 2]


def test_the_first_event_must_be_run_opened_and_refusing_it_stores_nothing(log: AnyLog) -> None:
    with pytest.raises(IllegalEventError, match="run_opened"):
        log.append([polled(1)], AT)
    assert log.head.position == 0
    assert log.append([OPENED], AT).position == 1


def test_a_log_opened_again_goes_on_in_the_next_epoch(log: AnyLog, reopen: Reopen) -> None:
    log.append([OPENED, polled(1)], AT)
    again = reopen(log)
    assert again.head == log.head._replace(epoch=2)
    assert again.append([polled(2)], AT).position == 3
    assert list(verify_chain(again)) == []


def test_the_same_events_make_the_same_hashes_in_every_log(log: AnyLog) -> None:
    other = MemoryLog()
    for one in (log, other):
        one.append([OPENED, built(0)], AT)
        one.append([polled(2)], AT)
    assert list(log.read()) == list(other.read())


def test_request_payloads_come_back_by_ordinal_in_any_order(log: AnyLog) -> None:
    log.append([OPENED], AT)
    for first in (0, 150):
        ordinals = range(first, first + 150)
        log.append([built(o) for o in ordinals], AT, requests=list(request_blocks(first, map(request, ordinals))))
    assert list(log.request_payloads(range(300))) == [request(o) for o in range(300)]
    assert list(log.request_payloads([299, 0, 64, 63, 150])) == [request(o) for o in (299, 0, 64, 63, 150)]


@pytest.mark.parametrize("first", [0, 2, 4])
def test_blocks_of_requests_that_overlap_or_leave_a_gap_are_refused_and_nothing_is_stored(
    log: AnyLog, first: int
) -> None:
    log.append([OPENED, *map(built, range(3))], AT, requests=list(request_blocks(0, map(request, range(3)))))
    head = log.head
    with pytest.raises(ValueError, match=f"starts at request {first}, the next one is 3"):
        log.append([built(first)], AT, requests=list(request_blocks(first, [request(first)])))
    assert log.head == head
    assert log.append([built(3)], AT, requests=list(request_blocks(3, [request(3)]))).position == 5


def amended(ordinal: int, text: bytes) -> Body:
    return Body(ordinal, request(ordinal)._replace(params=text, salt=salt(1000 + ordinal)))


def stored(log: AnyLog, count: int = 200) -> AnyLog:
    events = [OPENED, *map(built, range(count))]
    log.append(
        events,
        AT,
        requests=list(request_blocks(0, map(request, range(count)))),
        results=list(result_blocks(1, map(result, range(0, count, 2)))),
    )
    return log


def test_bodies_that_are_replaced_are_kept_in_the_order_of_their_events(log: AnyLog, reopen: Reopen) -> None:
    stored(log)
    large = amended(3, b'"%s"' % (b"x" * 300_000))
    log.rewrite([polled(1)], AT, [amended(130, b'"a"'), large])
    log.rewrite([polled(2)], AT, [amended(3, b'"b"'), amended(0, b'"c"'), amended(3, b'"d"')])
    log = reopen(log)
    newest = {130: amended(130, b'"a"'), 3: amended(3, b'"d"'), 0: amended(0, b'"c"')}
    expected = [newest[o].payload if o in newest else request(o) for o in range(200)]
    assert list(log.request_payloads(range(200))) == expected
    kept = [Body(130, request(130)), Body(3, request(3)), large, Body(0, request(0)), amended(3, b'"b"')]
    assert list(log.superseded_payloads()) == kept
    assert [decode(row.type_name, row.data) for row in log.read(201)] == [polled(1), polled(2)]
    assert list(verify_chain(log)) == []


def test_what_is_redacted_is_gone_and_all_else_stays(log: AnyLog, reopen: Reopen) -> None:
    stored(log)
    log.rewrite([polled(1)], AT, [amended(7, b'"a"'), amended(8, b'"b"')])
    log.rewrite([polled(2)], AT, redacted={8, 100, 101})
    log = reopen(log)
    payloads = list(log.request_payloads(range(200)))
    assert [ordinal for ordinal, payload in enumerate(payloads) if is_redacted(payload)] == [8, 100, 101]
    assert [payload.custom_id for payload in payloads] == [request(o).custom_id for o in range(200)]
    assert payloads[7] == amended(7, b'"a"').payload
    assert [(body.ordinal, is_redacted(body.payload)) for body in log.superseded_payloads()] == [(7, False), (8, True)]
    rows = list(log.result_payloads(1))
    assert [row.ordinal for row in rows if is_redacted(row)] == [8, 100]
    assert [row for row in rows if not is_redacted(row)] == [result(o) for o in range(0, 200, 2) if o not in (8, 100)]


def test_a_body_that_is_not_there_cannot_be_replaced_and_nothing_is_stored(log: AnyLog, reopen: Reopen) -> None:
    stored(log, 3)
    with pytest.raises(CorruptLogError, match="request 3: the body of a request is not stored"):
        log.rewrite([polled(1)], AT, [amended(0, b'"a"'), amended(3, b'"b"')])
    log = reopen(log)
    assert log.head.position == 4
    assert list(log.request_payloads(range(3))) == [request(o) for o in range(3)]
    assert list(log.superseded_payloads()) == []


def test_a_request_that_was_never_stored_is_named(log: AnyLog) -> None:
    log.append([OPENED, built(0)], AT, requests=list(request_blocks(0, [request(0)])))
    with pytest.raises(CorruptLogError, match="request 1: the body of a request is not stored"):
        list(log.request_payloads([0, 1]))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(order=st.permutations(range(200)), group=st.integers(1, 200))
def test_results_stored_in_any_order_are_read_back_in_ascending_order(
    log: AnyLog, order: list[int], group: int
) -> None:
    if log.head.position == 0:
        log.append([OPENED], AT)
    chunk = log.head.position
    for at in range(0, len(order), group):
        part = [result(ordinal) for ordinal in order[at : at + group]]
        log.append([polled(at)], AT, results=list(result_blocks(chunk, part)))
    assert list(log.result_payloads(chunk)) == [result(ordinal) for ordinal in range(200)]
    assert list(log.result_payloads(chunk + 100_000)) == []


def test_of_results_stored_twice_the_first_comes_first(log: AnyLog) -> None:
    log.append([OPENED], AT)
    for text in ("one", "two"):
        rows = [result(ordinal, text) for ordinal in (5, 6)]
        log.append([polled(1)], AT, results=list(result_blocks(1, rows)))
    texts = [row.row[-5:-2] for row in log.result_payloads(1)]
    assert texts == [b"one", b"two", b"one", b"two"]


def test_the_newest_snapshot_is_loaded_and_two_are_kept(log: AnyLog, reopen: Reopen) -> None:
    assert log.load_snapshot() is None
    log.append([OPENED, *map(polled, range(3))], AT)
    for position in (1, 2, 4):
        log.save_snapshot(position, b"state at %d" % position)
    assert log.load_snapshot() == (4, b"state at 4")
    log.save_snapshot(4, b"again")
    assert reopen(log).load_snapshot() == (4, b"again")


def test_an_append_of_nothing_changes_nothing(log: AnyLog) -> None:
    log.append([OPENED], AT)
    head = log.head
    assert log.append([], AT) == head
    assert len(list(log.read())) == 1


def test_a_writer_that_was_superseded_can_neither_append_nor_act() -> None:
    """The SQLite log's own fence is tested with two processes, in test_lease.py."""
    old = MemoryLog()
    old.append([OPENED], AT)
    new = MemoryLog(old.disk)
    for act in (lambda: old.append([polled(1)], AT), old.check_fence, lambda: old.save_snapshot(1, b"")):
        with pytest.raises(LockedError):
            act()
    assert new.head.position == 1


def test_a_memory_disk_cut_back_holds_what_was_there_then() -> None:
    log = MemoryLog()
    log.append([OPENED, built(0)], AT, requests=list(request_blocks(0, [request(0)])))
    log.append([polled(0)], AT, results=list(result_blocks(1, [result(0)])))
    log.save_snapshot(3, b"three")
    earlier = MemoryLog(log.disk.cut(2))
    assert list(earlier.read()) == list(log.read(upto=2))
    assert list(earlier.request_payloads([0])) == [request(0)]
    assert list(earlier.result_payloads(1)) == []
    assert earlier.load_snapshot() is None
    assert MemoryLog(log.disk.cut(0)).ledger_id == ""


def test_a_memory_disk_cut_back_has_the_bodies_of_then() -> None:
    log = MemoryLog()
    stored(log, 3)
    position = log.head.position
    log.rewrite([polled(1)], AT, [amended(1, b'"a"')])
    assert list(MemoryLog(log.disk.cut(position)).request_payloads([1])) == [request(1)]
    assert list(MemoryLog(log.disk.cut(position)).superseded_payloads()) == []


def test_amendments_that_the_log_does_not_know_of_are_taken_back(tmp_path: Path) -> None:
    with SqliteLog.create(tmp_path / "items.ledger") as log:
        stored(log)
        log.rewrite([polled(1)], AT, [amended(3, b'"a"')])
        log.rewrite([polled(2)], AT, [amended(3, b'"b"'), amended(70, b'"c"'), amended(3, b'"d"')])
        log.drop_unlogged(200, {1: 100}, 1)
        now = list(log.request_payloads(range(200)))
        assert now == [amended(3, b'"a"').payload if o == 3 else request(o) for o in range(200)]
        assert list(log.superseded_payloads()) == [Body(3, request(3))]
        log.rewrite([polled(3)], AT, [amended(0, b'"e"')])
        assert list(log.superseded_payloads()) == [Body(3, request(3)), Body(0, request(0))]
