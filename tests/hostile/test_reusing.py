"""Answers that another ledger has paid for: taken for nothing, proven, and never for anything but the very same."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from scene import Scene, Watcher

from ledger import Ledger, otherledger, reusing
from ledger.choices import Choices
from ledger.core import events as e
from ledger.core.errors import CorruptLogError, LedgerError, PausedError, UsageError
from ledger.core.evolve import evolve
from ledger.core.findings import Finding
from ledger.core.state import RunState
from ledger.files.reusedaudit import ReusedWitness
from ledger.ports import ResultBlock
from ledger.store.payloads import decode_results, encode_results
from ledger.store.sqlite import SqliteLog

TEXTS = [
    *(f"Say {number}." for number in range(8)),
    "[[simulate:max_tokens]] Say much.",
    "[[simulate:refusal]] Say it.",
]
OK = 8


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A finished run of ten items, of which eight are ok, one is truncated and one refused."""
    with Scene(tmp_path, texts=TEXTS) as scene:
        scene.ended_with(scene.run(), ok=OK, truncated=1, refused=1)
        yield scene


class Next:
    """Another ledger at the same service."""

    def __init__(self, scene: Scene, name: str, texts: Sequence[str], told: Any = None) -> None:
        self.path = scene.path.with_name(f"{name}.ledger")
        self.items = scene.path.with_name(f"{name}.jsonl")
        self.ids = [f"{name}-{number}" for number in range(len(texts))]
        rows = [{"id": one, "prompt": text} for one, text in zip(self.ids, texts, strict=True)]
        self.items.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.watcher = Watcher(told)
        self.ledger = Ledger(self.path, base_url=scene.server.url, api_key="k", listener=self.watcher)
        self.said = dict(scene.said)
        self._scene = scene

    def run(self, *sources: Path, **said: Any) -> Any:
        return self.ledger.run(self.items, **self.said | {"reuse": tuple(map(str, sources))} | said)

    def rows(self) -> list[dict[str, Any]]:
        rows = list(self.ledger.results(all=True))
        assert [row["custom_id"] for row in rows] == self.ids
        return rows

    def proven(self) -> None:
        report = self.ledger.audit()
        assert report.ok, report.findings

    def reused(self) -> list[e.AnswerReused]:
        return [event for event in self.watcher.events if isinstance(event, e.AnswerReused)]


def accepted(scene: Scene) -> int:
    return int(scene.server.bill().requests_accepted)


# ── what is taken ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_items_again_cost_nothing_and_the_service_hears_of_none(scene: Scene) -> None:
    before = scene.server.bill()
    second = Next(scene, "second", TEXTS[:OK])
    summary = second.run(scene.path)
    assert scene.server.bill() == before
    assert (summary.state, summary.exit_code, summary.outcomes) == ("finished", 0, {"ok": OK})
    assert (summary.reused, summary.reused_from, summary.batches) == (OK, (str(scene.path),), 0)
    assert summary.cost_usd == 0
    second.proven()


def test_an_answer_is_the_one_that_was_given_there_and_says_so(scene: Scene) -> None:
    second = Next(scene, "second", TEXTS[:OK])
    second.run(scene.path)
    first = list(scene.ledger()[0].results())
    for given, taken in zip(first[:OK], second.rows(), strict=True):
        assert {name: taken[name] for name in ("text", "usage", "model", "stop_reason")} == {
            name: given[name] for name in ("text", "usage", "model", "stop_reason")
        }
        assert (taken["attempts"], taken["batch_id"], taken["cost_usd"]) == (0, None, "0")
        source = {"ledger_id": scene.ledger()[0].state().ledger_id, "ledger": str(scene.path)}
        assert taken["reused_from"] == source
    assert all("reused_from" not in row for row in first)
    raw = [json.loads(line) for line in second.ledger.result_lines(raw=True)]
    assert [row["custom_id"] for row in raw] == second.ids


def test_only_what_changed_is_asked_and_paid(scene: Scene) -> None:
    before = accepted(scene)
    texts = [f"Say {number}{'!' if number % 2 else '.'}" for number in range(8)]
    second = Next(scene, "second", texts)
    summary = second.run(scene.path)
    assert accepted(scene) == before + 4
    assert (summary.reused, summary.outcomes) == (4, {"ok": 8})
    assert [("reused_from" in row) for row in second.rows()] == [True, False] * 4
    proof = second.ledger.proof("cause")
    assert {row.key: row.requests for row in proof.rows} == {"answers": 4, "reused": 4}
    assert proof.discount.verdict == "confirmed"
    fall = proof.waterfall
    assert fall is not None
    assert fall.steps_usd["reused"] < 0
    assert sum(fall.steps_usd.values(), fall.estimate_usd) == fall.actual_usd == proof.total.cost_usd
    second.proven()


def test_truncated_and_refused_answers_are_asked_for_again(scene: Scene) -> None:
    before = accepted(scene)
    summary = Next(scene, "second", TEXTS).run(scene.path)
    assert accepted(scene) == before + 2
    assert (summary.reused, summary.outcomes) == (OK, {"ok": OK, "truncated": 1, "refused": 1})


def test_items_with_the_same_body_each_get_the_one_answer(scene: Scene) -> None:
    second = Next(scene, "second", [TEXTS[3], TEXTS[3], TEXTS[0], TEXTS[3]])
    summary = second.run(scene.path)
    rows = second.rows()
    assert (summary.reused, summary.batches) == (4, 0)
    assert rows[0]["text"] == rows[1]["text"] == rows[3]["text"] != rows[2]["text"]
    assert [event.source_ordinal for event in second.reused()] == [3, 3, 0, 3]
    second.proven()


def test_a_body_that_differs_in_one_parameter_is_another_one(scene: Scene) -> None:
    before = accepted(scene)
    second = Next(scene, "second", TEXTS[:OK])
    summary = second.run(scene.path, max_tokens=255)
    assert (summary.reused, accepted(scene) - before) == (0, OK)


def test_a_key_that_meets_is_not_enough(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two bodies may share the 64 bits by which they are looked for; here all do."""
    for module in (otherledger, reusing):
        monkeypatch.setattr(module, "body_key", lambda body: 7)
    before = accepted(scene)
    summary = Next(scene, "second", [TEXTS[1], TEXTS[0]]).run(scene.path)
    assert (summary.reused, accepted(scene) - before) == (1, 1)


def test_items_may_stand_in_any_order_and_lane(scene: Scene) -> None:
    second = Next(scene, "second", TEXTS[:OK][::-1])
    rows = [
        json.loads(line) | {"priority": number % 3} for number, line in enumerate(second.items.read_text().splitlines())
    ]
    second.items.write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = second.run(scene.path)
    assert (summary.reused, summary.batches) == (OK, 0)
    first = [row["text"] for row in scene.ledger()[0].results()][:OK]
    assert [row["text"] for row in second.rows()] == first[::-1]
    second.proven()


def test_what_was_taken_can_be_taken_further_and_keeps_its_origin(scene: Scene) -> None:
    second = Next(scene, "second", [*TEXTS[:4], "Say something new."])
    second.run(scene.path)
    before = accepted(scene)
    third = Next(scene, "third", [TEXTS[2], "Say something new."])
    third.run(second.path)
    assert accepted(scene) == before
    assert [event.ledger_id for event in third.reused()] == [scene.ledger()[0].state().ledger_id, ""]
    third.proven()


def test_several_ledgers_are_taken_from_in_the_order_they_are_named(scene: Scene) -> None:
    other = Next(scene, "other", ["Say other.", TEXTS[0]])
    other.run()
    second = Next(scene, "second", [TEXTS[0], "Say other.", TEXTS[1]])
    summary = second.run(other.path, scene.path)
    assert (summary.reused, summary.batches) == (3, 0)
    assert [event.reuse for event in second.reused()] == [1, 1, 2]
    assert [row["reused_from"]["ledger"] for row in second.rows()] == [str(other.path)] * 2 + [str(scene.path)]
    second.proven()


def test_whoever_is_asked_to_agree_sees_what_is_left_to_pay(scene: Scene) -> None:
    seen = []
    second = Next(scene, "second", [*TEXTS[:OK], "Say new."])
    second.ledger.run(
        second.items, confirm=lambda found: bool(seen.append(found)) or True, reuse=(str(scene.path),), **second.said
    )
    assert [found.total.requests for found in seen] == [1]


def test_a_receipt_counts_them_and_holds(scene: Scene) -> None:
    second = Next(scene, "second", TEXTS[:OK])
    second.run(scene.path)
    receipt = second.ledger.receipt()
    assert receipt.lines["outcomes"] == f"{OK} ok; {OK} of them reused from other ledgers"
    assert receipt.lines["cost"] == "0 USD"
    assert second.ledger.verify(receipt.text()).ok


def test_a_paused_run_takes_answers_when_it_is_resumed(scene: Scene) -> None:
    before = accepted(scene)
    second = Next(scene, "second", TEXTS[:OK])
    assert second.run(max_cost="0").state == "paused"
    summary = second.ledger.resume(choices=Choices(reuse=(str(scene.path),)))
    assert (summary.state, summary.exit_code, summary.reused) == ("finished", 0, OK)
    assert accepted(scene) == before


def test_what_was_sent_is_not_taken_any_more(scene: Scene) -> None:
    second = Next(scene, "second", TEXTS[:OK])
    second.run()
    summary = second.run(scene.path)
    assert (summary.reused, summary.outcomes) == (0, {"ok": OK})


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────────────────


def refused(second: Next, *sources: Path, kind: type[LedgerError] = UsageError, **said: Any) -> LedgerError:
    with pytest.raises(kind) as caught:
        second.run(*sources, **said)
    return caught.value


def test_a_ledger_of_another_service_is_refused(scene: Scene) -> None:
    simulated = Ledger(scene.path.with_name("s.ledger"), simulate=True)
    simulated.run(scene.items, **scene.said)
    before = accepted(scene)
    problem = refused(Next(scene, "second", TEXTS[:OK]), simulated.path)
    assert problem.what == f"its answers are of simulator, this ledger belongs to {scene.server.url}"
    assert accepted(scene) == before


def test_a_ledger_that_was_asked_with_other_betas_is_refused(scene: Scene) -> None:
    problem = refused(Next(scene, "second", TEXTS[:OK]), scene.path, betas=("output-300k-2026-03-24",))
    assert problem.what == "its requests were sent with other beta headers"


def test_a_ledger_takes_nothing_from_itself_or_its_copy(scene: Scene) -> None:
    copy = scene.path.with_name("copy.ledger")
    scene.ledger()[0].copy(copy)
    for path in (scene.path, copy):
        with pytest.raises(UsageError, match="a ledger cannot take answers from itself"):
            scene.ledger()[0].run(scene.items, reuse=(str(path),), **scene.said)


def test_a_ledger_that_is_not_there_is_refused_by_name(scene: Scene) -> None:
    problem = refused(Next(scene, "second", TEXTS[:OK]), scene.path.with_name("none.ledger"))
    assert problem.what == f"there is no ledger {scene.path.with_name('none.ledger')} to take answers from"


def change(path: Path, query: str, *values: Any) -> None:
    connection = sqlite3.connect(path)
    with connection:
        assert connection.execute(query, values).rowcount
    connection.close()


@pytest.mark.parametrize("kind", ["result_stored", "request_built", "batch_created", "class_declared"])
def test_one_changed_event_of_the_other_ledger_is_told_and_nothing_is_sent(scene: Scene, kind: str) -> None:
    before = accepted(scene)
    query = "UPDATE event SET at = at + 1 WHERE position = (SELECT min(position) FROM event WHERE type = ?)"
    change(scene.path, query, kind)
    second = Next(scene, "second", TEXTS[:OK])
    problem = refused(second, scene.path, kind=CorruptLogError)
    assert problem.where.startswith(f"{scene.path}, position ")
    assert accepted(scene) == before
    assert second.reused() == []


def test_one_changed_answer_of_the_other_ledger_is_told_and_nothing_is_sent(scene: Scene) -> None:
    before = accepted(scene)
    connection = sqlite3.connect(scene.path)
    with connection:
        query = "SELECT chunk, first, last, count, data FROM result_block ORDER BY first"  # stored as batches ended
        block = ResultBlock(*connection.execute(query).fetchone())
        rows = [row._replace(row=row.row.replace(b'"text":"', b'"text":"Not ')) for row in decode_results(block)]
        connection.execute(
            "UPDATE result_block SET data = ? WHERE chunk = ? AND first = ?",
            (encode_results(rows), block.chunk, block.first),
        )
    connection.close()
    second = Next(scene, "second", TEXTS[:OK])
    problem = refused(second, scene.path, kind=CorruptLogError)
    assert problem.what == "the answer to request 0 is not the one that was recorded"
    assert accepted(scene) == before
    with pytest.raises(CorruptLogError):  # and who resumes pays for nothing unasked
        second.ledger.resume()
    assert accepted(scene) == before
    summary = second.ledger.resume(choices=Choices(forget_reuse=True))
    assert (summary.outcomes, summary.reused) == ({"ok": OK}, 0)
    assert accepted(scene) == before + OK


def test_a_ledger_that_was_put_back_meanwhile_is_told(scene: Scene) -> None:
    """What was opened is what is read: an older copy under the same name is not."""
    second = Next(scene, "second", TEXTS[:OK], told=_stops_at(e.ReuseOpened))
    with pytest.raises(_StoppedHereError):
        second.run(scene.path)
    change(scene.path, "UPDATE event SET hash = zeroblob(32) WHERE position = (SELECT max(position) FROM event)")
    with pytest.raises(CorruptLogError) as caught:
        second.run(scene.path)
    assert "--forget-reuse" in caught.value.next
    scene.path.unlink()
    with pytest.raises(UsageError) as gone:
        second.run()
    assert gone.value.what == f"there is no ledger {scene.path} to take answers from"
    assert "--forget-reuse" in gone.value.next


def test_nothing_is_forgotten_that_is_not_open(scene: Scene) -> None:
    with pytest.raises(UsageError, match="there is no other ledger"):
        scene.ledger()[0].resume(choices=Choices(forget_reuse=True))


# ── at the same time, and once more ─────────────────────────────────────────────────────────────────────────────


class _StoppedHereError(Exception):
    """The process ends here."""


def _stops_at(kind: type[e.Event]) -> Any:
    def told(event: e.AnyEvent) -> None:
        if isinstance(event, kind):
            raise _StoppedHereError

    return told


def test_a_ledger_that_a_process_is_writing_is_read_as_of_when_it_was_named(scene: Scene) -> None:
    second = Next(scene, "second", TEXTS[:OK])
    with SqliteLog.open_writer(scene.path) as writing:
        position = writing.head.position
        second.watcher._told = lambda event: (
            writing.append([e.AlarmRaised(alarm="test", detail="meanwhile")], at=1)
            if isinstance(event, e.ReuseOpened)
            else None
        )
        summary = second.run(scene.path)
        assert writing.head.position == position + 1
    assert (summary.reused, summary.batches) == (OK, 0)
    (opened,) = [event for event in second.watcher.events if isinstance(event, e.ReuseOpened)]
    assert opened.position == position
    second.proven()


def test_who_ends_before_the_items_were_read_takes_them_when_the_run_goes_on(scene: Scene) -> None:
    before = accepted(scene)
    second = Next(scene, "second", TEXTS[:OK], told=_stops_at(e.IntakeCompleted))
    with pytest.raises(_StoppedHereError):
        second.run(scene.path)
    again = Next(scene, "second", TEXTS[:OK])
    summary = again.ledger.resume()
    assert (summary.reused, summary.outcomes) == (OK, {"ok": OK})
    assert accepted(scene) == before
    assert len([event for event in again.watcher.events if isinstance(event, e.ReuseOpened)]) == 0


def test_stopping_takes_no_harm(scene: Scene) -> None:
    second = Next(scene, "second", TEXTS[:OK])
    second.watcher._told = lambda event: second.ledger.stop() if isinstance(event, e.AnswerReused) else None
    with pytest.raises(PausedError, match="stopped while answers were taken"):
        second.run(scene.path)
    summary = Next(scene, "second", TEXTS[:OK]).ledger.resume()
    assert (summary.reused, summary.outcomes) == (OK, {"ok": OK})


def test_a_ledger_that_lost_its_sidecar_keeps_what_it_took(scene: Scene) -> None:
    """Recovery drops rows that no event names; those of a reuse have events."""
    second = Next(scene, "second", [*TEXTS[:OK], "Say new."])
    second.run(scene.path)
    moved = scene.path.with_name("moved.ledger")
    shutil.copy(second.path, moved)
    ledger = Ledger(moved, base_url=scene.server.url, api_key="k")
    summary = ledger.resume()
    assert (summary.outcomes, summary.reused) == ({"ok": OK + 1}, OK)
    assert ledger.audit().ok


@pytest.mark.parametrize("damage", ["text", "swap", "drop"])
def test_the_audit_tells_a_row_that_is_not_the_one_that_was_taken(scene: Scene, damage: str) -> None:
    second = Next(scene, "second", TEXTS[:OK])
    second.run(scene.path)
    connection = sqlite3.connect(second.path)
    with connection:
        block = ResultBlock(*connection.execute("SELECT chunk, first, last, count, data FROM result_block").fetchone())
        rows = decode_results(block)
        if damage == "text":
            rows[2] = rows[2]._replace(row=rows[2].row.replace(b'"text":"', b'"text":"Not '))
        elif damage == "swap":
            rows[1], rows[2] = (
                rows[2]._replace(ordinal=rows[1].ordinal),
                rows[1]._replace(ordinal=rows[2].ordinal),
            )
        else:
            del rows[2]
        connection.execute("UPDATE result_block SET data = ?, count = ?", (encode_results(rows), len(rows)))
    connection.close()
    report = second.ledger.audit()
    assert not report.ok
    assert any("reuse 1" in finding.where for finding in report.findings if finding.severity == "breach")


def test_the_audit_tells_whose_row_it_is(scene: Scene) -> None:
    """A true row of the other ledger under the event of another request: its digest is right, its wire id is not."""
    second = Next(scene, "second", TEXTS[:2])
    second.run(scene.path)
    wrong = [event for event in second.reused() if event.ordinal == 1]
    assert [event.source_ordinal for event in wrong] == [1]
    rows = [(row.position, row.at, row.type_name, row.data, row.hash) for row in second.ledger.events()]
    with SqliteLog.open_reader(second.path) as log:
        witness = ReusedWitness(log)
        state, found = RunState(), list[Finding]()
        for position, at, type_name, data, _ in rows:
            event = e.decode(type_name, data)
            if isinstance(event, e.AnswerReused) and event.ordinal == 1:
                event = msgspec.structs.replace(event, source_ordinal=0)
            evolve(state, position, at, event)
            found += witness.told(position, event, state)
    assert [finding.what for finding in found] == ["the row's wire id is not that of the request it is said to answer"]


def test_the_cost_of_all_that_was_taken_is_explained(scene: Scene) -> None:
    second = Next(scene, "second", TEXTS[:OK])
    second.run(scene.path)
    fall = second.ledger.proof().waterfall
    assert fall is not None
    assert fall.steps_usd["reused"] == -fall.estimate_usd < 0
    assert fall.actual_usd == Decimal(0)
