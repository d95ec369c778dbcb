"""Every instant of a recorded run, lived again: log, head and service cut back together, then resumed.

The service is the embedded simulator: what it remembers is one file, copied at the instant each event became durable.
It lists a batch at once, so the settle time is zero here; two complete lists are needed all the same.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from scene import CALMLY, Watcher

from ledger import Ledger
from ledger.core import events as e
from ledger.core.columns import ordinals
from ledger.core.decide import Waiting
from ledger.core.errors import RolledBackError
from ledger.core.state import RunState
from ledger.ports import Recorded, RequestPayload, ResultBlock, ResultPayload
from ledger.service.simulator.bill import Bill, draw_bill
from ledger.service.simulator.clocks import real_clock
from ledger.service.simulator.journal import open_simulator
from ledger.store.lease import lock_path
from ledger.store.payloads import request_blocks, result_blocks
from ledger.store.sqlite import SqliteLog

AT_ONCE = msgspec.structs.replace(CALMLY, turnaround_minimum_seconds=0.05, turnaround_maximum_seconds=0.1)
PARTS = 4


def sim_path(ledger: Path) -> Path:
    return ledger.with_name(ledger.name + ".sim")


class Camera:
    """A listener that copies the service's memory whenever an event became durable."""

    def __init__(self, ledger: Path) -> None:
        self.pictures: list[bytes] = []
        self._sim = sim_path(ledger)

    def recorded(self, position: int, at: int, event: e.AnyEvent, state: RunState) -> None:
        self.pictures.append(self._sim.read_bytes())

    def waiting(self, reasons: tuple[Waiting, ...], state: RunState) -> None:
        pass


class Recording(NamedTuple):
    """A finished run: its log, its payloads, and the service's memory at each of its events."""

    items: Path
    rows: list[Recorded]
    requests: list[RequestPayload]
    results: dict[int, list[ResultPayload]]
    pictures: list[bytes]


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Twelve items; one of them fails once, another is named by a 400."""
    place = tmp_path_factory.mktemp("recorded")
    items = place / "items.jsonl"
    marks = {5: "[[simulate:errored:overloaded_error:1]] ", 9: "[[simulate:reject]] "}
    rows = [{"id": f"item-{n}", "prompt": f"{marks.get(n, '')}Say {n}."} for n in range(12)]
    items.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = place / "items.ledger"
    camera = Camera(path)
    summary = Ledger(path, simulate=True, settings=AT_ONCE, listener=camera).run(
        items, model="claude-haiku-4-5", max_tokens=256, chunk_requests=5, poll_seconds=0.02, settle_seconds=0.0
    )
    assert summary.outcomes == {"ok": 11, "invalid": 1}
    with SqliteLog.open_reader(path) as log:
        chunks = [e.decode(row.type_name, row.data) for row in log.read() if row.type_name == "chunk_sealed"]
        return Recording(
            items,
            list(log.read()),
            list(log.request_payloads(range(12))),
            {one.chunk: list(log.result_payloads(one.chunk)) for one in chunks if isinstance(one, e.ChunkSealed)},
            camera.pictures,
        )


def lay_out(recording: Recording, place: Path, position: int, picture: bytes) -> Path:
    """Write the ledger as it was at a position, its head with it, beside the service as it was in a picture."""
    path = place / "items.ledger"
    sim_path(path).write_bytes(picture)
    with SqliteLog.create(path) as log:
        for at, group in groupby(recording.rows[:position], key=lambda row: row.at):
            events = [e.decode(row.type_name, row.data) for row in group]
            requests = [event.ordinal for event in events if isinstance(event, e.RequestBuilt)]
            blocks = request_blocks(requests[0], [recording.requests[o] for o in requests]) if requests else ()
            log.append(events, at, list(blocks), list(stored(recording, events)))
        assert log.head.position == position
    return path


def stored(recording: Recording, events: Iterable[e.AnyEvent]) -> Iterator[ResultBlock]:
    """Yield the blocks of the result rows that events name."""
    named: dict[int, set[int]] = {}
    for event in events:
        if isinstance(event, e.ResultStored):
            named.setdefault(event.chunk, set()).add(event.ordinal)
    for chunk, members in named.items():
        yield from result_blocks(chunk, [row for row in recording.results[chunk] if row.ordinal in members])


def go_on(recording: Recording, path: Path) -> tuple[Ledger, Watcher]:
    """Finish a run, as the person does who types the same command again."""
    watcher = Watcher()
    ledger = Ledger(path, simulate=True, settings=AT_ONCE, listener=watcher)
    summary = ledger.run(
        recording.items,
        model="claude-haiku-4-5",
        max_tokens=256,
        chunk_requests=5,
        poll_seconds=0.02,
        settle_seconds=0.0,
    )
    assert summary.outcomes == {"ok": 11, "invalid": 1}
    return ledger, watcher


def bill_of(path: Path) -> Bill:
    simulator, _, journal = open_simulator(AT_ONCE, sim_path(path), real_clock())
    assert journal is not None
    journal.close()
    return draw_bill(simulator.batches, real_clock())


def assert_same_end(path: Path, ledger: Ledger) -> None:
    """Assert the outcomes of the recorded run, that the log proves them, and at most one batch a chunk and prompt."""
    outcomes = [(row["custom_id"], row["outcome"]) for row in ledger.results(all=True)]
    assert outcomes == [(f"item-{n}", "invalid" if n == 9 else "ok") for n in range(12)]
    report = ledger.audit()
    assert report.ok, report.findings
    bill = bill_of(path)
    assert (bill.prompts_accepted_twice, bill.prompts_billed_twice, bill.ordinals_billed_twice) == (0, 0, 0)
    assert (bill.requests_accepted, bill.requests_billed) == (12, 11), "eleven, and the one that failed once more"
    state = ledger.state()
    assert bill.batches == len(state.batches), "every batch that was accepted is one of the ledger's"
    answered = [ordinal for chunk in state.chunks.values() if chunk.batch for ordinal in ordinals(chunk.ranges)]
    assert len(answered) == 12


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("reply", ["last reply recorded", "last reply lost"])
def test_cut_back_to_the_instant_after_any_event_it_ends_the_same(
    recording: Recording, tmp_path: Path, reply: str, part: int
) -> None:
    """With the reply lost, the service is as it was when the *next* event became durable: it had done more."""
    lost = reply == "last reply lost"
    for position in range(1 + part, len(recording.rows) + (not lost), PARTS):
        place = tmp_path / str(position)
        place.mkdir()
        path = lay_out(recording, place, position, recording.pictures[position - 1 + lost])
        ledger, _ = go_on(recording, path)
        assert_same_end(path, ledger)


def collected(recording: Recording) -> list[int]:
    """Return the positions right after which a batch had been created or collected."""
    return [row.position for row in recording.rows if row.type_name in ("batch_created", "batch_collected")]


def test_the_log_alone_cut_back_is_refused_and_recover_mends_it(recording: Recording, tmp_path: Path) -> None:
    """An older copy of the file is restored under a newer head and a newer service, at every second position."""
    final = recording.pictures[-1]
    taken_in = next(row.position for row in recording.rows if row.type_name == "intake_completed")
    for position in range(taken_in, len(recording.rows), 2):
        place = tmp_path / str(position)
        place.mkdir()
        path = lay_out(recording, place, position, final)
        later = tmp_path / f"{position}-later"
        later.mkdir()
        newer = lay_out(recording, later, len(recording.rows), final)
        shutil.copyfile(lock_path(newer), lock_path(path))  # the head that the log had reached

        for command in (Ledger.resume, lambda ledger: ledger.run(recording.items)):
            with pytest.raises(RolledBackError) as refused:
                command(Ledger(path, simulate=True, settings=AT_ONCE))
            assert refused.value.exit_code == 3
            assert refused.value.next == f"ledger recover {path}"
        assert not Ledger(path, simulate=True, settings=AT_ONCE).audit().ok

        recovered = Ledger(path, simulate=True, settings=AT_ONCE).recover()
        assert (recovered.cause, recovered.lost_position) == ("behind", len(recording.rows))
        ledger, watcher = go_on(recording, path)
        assert_same_end(path, ledger)
        accepted = [event for event in watcher.events if isinstance(event, e.BatchCreated)]
        assert not accepted, "what the service has answered is found; only what it refused may be asked again"


@pytest.mark.parametrize("lost", ["sidecar moved away", "file copied by hand"])
def test_a_ledger_without_its_own_head_recovers_by_itself(recording: Recording, tmp_path: Path, lost: str) -> None:
    created = [row.position for row in recording.rows if row.type_name == "batch_created"]
    path = lay_out(recording, tmp_path, created[-1], recording.pictures[created[-1] - 1])
    if lost == "sidecar moved away":
        lock_path(path).rename(tmp_path / "elsewhere.lock")
    else:
        copied = path.with_name("copied")
        shutil.copyfile(path, copied)
        path.unlink()
        copied.rename(path)
    status = Ledger(path).status()
    assert not status.head_verified
    ledger, watcher = go_on(recording, path)
    assert_same_end(path, ledger)
    causes = [event.cause for event in watcher.events if isinstance(event, e.LedgerRecovered)]
    assert causes == ["missing" if lost == "sidecar moved away" else "foreign"]
    assert Ledger(path).status().head_verified


def test_a_legitimate_copy_goes_on_where_the_original_was(recording: Recording, tmp_path: Path) -> None:
    created = [row.position for row in recording.rows if row.type_name == "batch_created"]
    path = lay_out(recording, tmp_path, created[0], recording.pictures[created[0] - 1])
    other = tmp_path / "elsewhere"
    other.mkdir()
    Ledger(path).copy(other / "items.ledger")
    shutil.move(sim_path(path), sim_path(other / "items.ledger"))
    ledger, watcher = go_on(recording, other / "items.ledger")
    assert_same_end(other / "items.ledger", ledger)
    assert not [event for event in watcher.events if isinstance(event, e.LedgerRecovered)]
