"""The runs that are recorded, and every state of theirs that is looked into."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from powerdisk import Disk, survivors
from recorder import Watched, watching
from verdicts import LEDGER, Bench, judge

from ledger import Ledger, Summary
from ledger.core.events import AnyEvent, RequestBuilt, RunOpened, StatusPolled
from ledger.ports import Head, RequestPayload
from ledger.service.simulator.bill import draw_bill
from ledger.service.simulator.clocks import real_clock
from ledger.service.simulator.faults import Faults
from ledger.service.simulator.journal import open_simulator
from ledger.service.simulator.settings import CALM, Settings
from ledger.store.copy import copy_ledger
from ledger.store.payloads import digest, request_blocks
from ledger.store.sqlite import SqliteLog

AT = 1_795_348_800_000_000
AT_ONCE = Settings(
    turnaround_minimum_seconds=0.05,
    turnaround_maximum_seconds=0.1,
    output_tokens_maximum=60,
    mix=CALM,
    faults=Faults(),
)
SAID: dict[str, Any] = {
    "model": "claude-haiku-4-5",
    "max_tokens": 256,
    "chunk_requests": 5,
    "poll_seconds": 0.02,
    "settle_seconds": 0.0,
}
ITEMS = 12
MARKS = {5: "[[simulate:errored:overloaded_error:1]] ", 9: "[[simulate:reject]] "}
"""One item fails once, another is named by a 400."""
CHECKPOINT_PAGES = 24
"""Instead of the 2000 of a real run, so that a short run checkpoints its log and begins it anew, too."""


class State(NamedTuple):
    """What a cut left: after which step, how it came about, the files, and what was promised last."""

    step: int
    how: str
    files: dict[str, bytes]
    promised: Head | None


def states(watched: Watched, seed: int, samples: int, promised: Head | None = None) -> Iterator[State]:
    """Yield the states that a cut could have left, each once for each promise.

    Args:
        watched: a recording.
        seed: decides the samples.
        samples: how many of the countless ones are drawn at each instant.
        promised: what was promised before the recording began.
    """
    disk = Disk(watched.found_names, watched.found)
    chance = random.Random(seed)
    seen: set[bytes] = set()
    for step in watched.steps:
        disk.take(step)
        if isinstance(step.promise, Head):
            promised = step.promise
        for how, survivor in survivors(disk, chance, samples):
            files = survivor.files()
            key = _fingerprint(files, promised)
            if key not in seen:
                seen.add(key)
                yield State(disk.steps, how, files, promised)


def _fingerprint(files: Mapping[str, bytes], promised: Head | None) -> bytes:
    together = sha256(repr(promised).encode())
    for name in sorted(files):
        together.update(b"%s %d " % (name.encode(), len(files[name])))
        together.update(files[name])
    return together.digest()


# ── what is recorded ────────────────────────────────────────────────────────────────────────────────────────────


def write_items(place: Path) -> Path:
    items = place / "items.jsonl"
    rows = [{"id": f"item-{n}", "prompt": f"{MARKS.get(n, '')}Say {n}."} for n in range(ITEMS)]
    items.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return items


def run(place: Path, **said: Any) -> Summary:
    """Run the product on the embedded simulator, as ``ledger run`` does."""
    return Ledger(place / LEDGER, simulate=True, settings=AT_ONCE).run(place / "items.jsonl", **SAID | said)


def record_run(place: Path, checkpoint_pages: int = CHECKPOINT_PAGES, **said: Any) -> Watched:
    """Record a whole run."""
    write_items(place)
    with watching(place, wal_autocheckpoint=str(checkpoint_pages)) as watched:
        assert run(place, **said).outcomes == {"ok": ITEMS - 1, "invalid": 1}
    return watched


def _request(ordinal: int, size_bytes: int) -> tuple[RequestBuilt, RequestPayload]:
    salt = ordinal.to_bytes(16, "big")
    params = b'{"n":%d,"text":"%s"}' % (ordinal, random.Random(ordinal).randbytes(size_bytes // 2).hex().encode())
    payload = RequestPayload(salt, params, b'{"params":', b"}", True, f"item-{ordinal}")
    built = RequestBuilt(
        ordinal=ordinal, custom_id=payload.custom_id, line=1, size_bytes=len(params), digest=digest(salt, params)
    )
    return built, payload


def write_log(log: SqliteLog, chance: random.Random, appends: int) -> None:
    """Append what a log may hold: lone events, groups, bodies of up to some pages, memos."""
    ordinal = 0
    for number in range(appends):
        events: list[AnyEvent] = [StatusPolled(server_date=number) for _ in range(chance.choice((1, 1, 1, 3, 12)))]
        payloads = []
        for _ in range(chance.choice((0, 0, 1, 3))):
            built, payload = _request(ordinal, chance.choice((100, 3000, 9000)))
            events.append(built)
            payloads.append(payload)
            ordinal += 1
        log.append(events, AT + number, list(request_blocks(ordinal - len(payloads), payloads)))
        if chance.random() < 0.1:
            log.save_snapshot(log.head.position, log.head.hash + chance.randbytes(9000))


def record_log(place: Path, seed: int, appends: int = 18, **pragmas: str) -> Watched:
    """Record the store alone: made, written, read beside, closed, opened again, written on."""
    chance = random.Random(seed)
    path = place / LEDGER
    with watching(place, **{"wal_autocheckpoint": str(CHECKPOINT_PAGES)} | pragmas) as watched:
        with SqliteLog.create(path) as log:
            log.append([RunOpened(ledger_id="8f2c11d09ab34e57", origin="simulator", tool_version="0")], AT)
            write_log(log, chance, appends)
            with SqliteLog.open_reader(path) as reader:  # it holds up the -wal: the log goes on behind it
                log.append([StatusPolled(server_date=1)], AT)
                assert reader.head.position == log.head.position
                reader._connection.execute("BEGIN")
                reader._select("SELECT count(*) FROM event")
                for number in range(12):
                    log.append([StatusPolled(server_date=number)], AT)
                reader._connection.execute("COMMIT")
            log.append([StatusPolled(server_date=1)], AT)
        for _ in range(2):
            with SqliteLog.open_writer(path) as log:
                log.append([StatusPolled(server_date=2)], AT)
    return watched


def record_copy(place: Path, source: Path) -> Watched:
    """Record ``ledger copy`` of a ledger that is elsewhere."""
    with watching(place) as watched:
        watched.promised(copy_ledger(source, place / LEDGER))
    return watched


def record_reopening(place: Path, state: State) -> Watched:
    """Record what opening a state does, and one more event: a second cut may come while the first is mended."""
    Bench(place).lay_out(state.files)
    with watching(place, wal_autocheckpoint="6") as watched, SqliteLog.open_writer(place / LEDGER) as log:
        if log.head.position:
            for number in range(4):
                log.append([StatusPolled(server_date=number)], AT)
    return watched


# ── what is asserted ────────────────────────────────────────────────────────────────────────────────────────────


class Tally:
    """How many states were looked into, and what was wrong with any."""

    def __init__(self) -> None:
        self.states = 0
        self.went_on = 0
        self.recovering: list[str] = []
        self.refused: list[str] = []
        self.wrong: list[str] = []

    def add(self, bench: Bench, state: State) -> None:
        """Look into one state."""
        bench.lay_out(state.files)
        verdict = judge(bench.path, state.promised)
        where = f"after step {state.step}, {state.how}: "
        self.states += 1
        # A copy that was not acknowledged may have no head yet; it recovers by itself at its first write.
        unpromised = state.promised is None and verdict.refusal is None
        self.went_on += verdict.opened or unpromised
        if verdict.wrong:
            self.wrong.append(where + verdict.wrong)
        elif verdict.refusal is not None:
            self.refused.append(where + str(verdict.refusal))
        elif not verdict.opened and not unpromised:
            self.recovering.append(where.removesuffix(": "))

    def require_sound(self) -> None:
        """Assert that every state went on with all that was promised: a cut alone refuses no ledger."""
        assert not self.wrong, self.wrong[:5]
        assert not self.refused, self.refused[:5]
        assert not self.recovering, self.recovering[:5]
        assert self.went_on == self.states


def finish(place: Path, state: State, picture: bytes, **said: Any) -> None:
    """Lay out a state beside the service as it was, type the command again, and assert how it ends."""
    Bench(place).lay_out(state.files)
    path = place / LEDGER
    if picture:
        path.with_name(f"{LEDGER}.sim").write_bytes(picture)
    run(place, **said)
    assert_finished(place)


def assert_finished(place: Path) -> None:
    """Assert every outcome, the proof, and by the service's own books that nothing was asked or paid twice."""
    ledger = Ledger(place / LEDGER, simulate=True, settings=AT_ONCE)
    outcomes = [(row["custom_id"], row["outcome"]) for row in ledger.results(all=True)]
    assert outcomes == [(f"item-{n}", "invalid" if n == 9 else "ok") for n in range(ITEMS)]
    report = ledger.audit()
    assert report.ok, report.findings
    with service(place) as simulator:
        bill = draw_bill(simulator.batches, real_clock())
    assert (bill.prompts_accepted_twice, bill.prompts_billed_twice, bill.ordinals_billed_twice) == (0, 0, 0)
    assert (bill.requests_accepted, bill.requests_billed) == (ITEMS, ITEMS - 1), "one failed, and was asked again"
    assert bill.batches == len(ledger.state().batches), "every batch that was accepted is one of the ledger's"


@contextmanager
def service(place: Path) -> Iterator[Any]:
    """Open the simulated service's memory beside a ledger."""
    simulator, _, journal = open_simulator(AT_ONCE, place / f"{LEDGER}.sim", real_clock())
    try:
        yield simulator
    finally:
        assert journal is not None
        journal.close()
