"""``ledger retry`` with other bodies: corrected items, another model, more tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commanding import MODEL, invoke

from ledger import amending
from ledger.core import events as e
from ledger.core.decide import Waiting
from ledger.core.errors import PausedError
from ledger.core.state import RunState
from ledger.ledger import Ledger
from ledger.ports import RequestBlock
from ledger.reading import Reading
from ledger.store import schema
from ledger.store.payloads import decode_superseded, superseded_blocks
from ledger.store.sqlite import SqliteLog

LEDGER = "items.simulated.ledger"
ITEMS = [
    {"id": "fine", "prompt": "Describe a spoon.", "shelf": 1},
    {"id": "cut", "prompt": "Describe a knife. [[simulate:max_tokens]]", "shelf": 2},
    {"id": "no", "prompt": "Describe a cup. [[simulate:refusal]]", "shelf": 3},
    {"id": "bad", "prompt": "Describe a pan. [[simulate:errored:invalid_request_error]]", "shelf": 4},
]


def lines(*items: dict[str, Any]) -> str:
    return "".join(json.dumps(item) + "\n" for item in items)


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    """A finished run whose items ended in four ways."""
    (tmp_path / "items.jsonl").write_text(lines(*ITEMS))
    assert invoke("run", "items.jsonl", "--simulate", *MODEL).exit_code == 1
    assert outcomes() == {"fine": "ok", "cut": "truncated", "no": "refused", "bad": "errored"}
    return tmp_path


def outcomes() -> dict[str, str]:
    return {row["custom_id"]: row["outcome"] for row in Reading(LEDGER).results(all=True)}


def params(custom_id: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(invoke("show", custom_id, "--json").stdout)["params"]
    return shown


def types() -> list[str]:
    with SqliteLog.open_reader(LEDGER) as log:
        return [row.type_name for row in log.read()]


def audit_is_ok() -> bool:
    result = invoke("replay", "--audit")
    assert result.exit_code == 0, result.stdout
    return Reading(LEDGER).audit().ok


def test_a_file_that_still_holds_what_is_answered_does_not_pay_for_that_again(failed: Path) -> None:
    mended = [*ITEMS[:3], {"id": "bad", "prompt": "Describe a pan.", "shelf": 4}]
    (failed / "fixed.jsonl").write_text(lines(*mended))
    invoke("retry", "--from", "fixed.jsonl")
    attempts = {row["custom_id"]: row["attempts"] for row in Reading(LEDGER).results(all=True)}
    assert attempts == {"fine": 1, "cut": 2, "no": 2, "bad": 2}
    assert audit_is_ok()
    invoke("retry", "--from", "fixed.jsonl", "--ids", "-", typed="fine\n")
    assert {row["custom_id"]: row["attempts"] for row in Reading(LEDGER).results(all=True)}["fine"] == 2


def test_corrected_items_are_asked_instead_and_only_they(failed: Path) -> None:
    (failed / "fixed.jsonl").write_text(
        lines({"id": "bad", "prompt": "Describe a pan."}, {"id": "no", "prompt": "Describe a cup."})
    )
    result = invoke("retry", "--from", "fixed.jsonl")
    assert result.exit_code == 1
    assert "2 items opened again: 1 refused, 1 errored" in result.stderr
    assert "2 items with another body" in result.stderr
    assert outcomes() == {"fine": "ok", "cut": "truncated", "no": "ok", "bad": "ok"}
    assert params("bad")["messages"] == [{"role": "user", "content": "Describe a pan."}]
    assert audit_is_ok()
    assert "it got another body" in invoke("show", "bad").stdout


def test_the_body_before_is_kept_with_its_digest(failed: Path) -> None:
    for text in ("second", "third"):
        invoke("retry", "--from", "-", typed=lines({"id": "bad", "prompt": text}))
    with SqliteLog.open_reader(LEDGER) as log:
        kept = [json.loads(body.payload.params)["messages"][0]["content"] for body in log.superseded_payloads()]
    assert kept == [ITEMS[3]["prompt"], "second"]
    assert audit_is_ok()


def test_a_file_is_narrowed_by_outcomes_and_by_ids(failed: Path) -> None:
    fixed = lines(*({"id": item["id"], "prompt": "Describe a hat."} for item in ITEMS))
    (failed / "fixed.jsonl").write_text(fixed)
    assert "1 item opened again: 1 refused" in invoke("retry", "--from", "fixed.jsonl", "--outcome", "refused").stderr
    result = invoke("retry", "--from", "fixed.jsonl", "--ids", "-", typed="cut\n")
    assert "1 item opened again: 1 truncated" in result.stderr
    assert outcomes() == {"fine": "ok", "cut": "ok", "no": "ok", "bad": "errored"}


def test_an_item_that_is_the_same_is_opened_and_not_amended(failed: Path) -> None:
    result = invoke("retry", "--from", "-", typed=lines(ITEMS[2]))
    assert "1 item opened again: 1 refused" in result.stderr
    assert "another body" not in result.stderr
    assert "request_amended" not in types()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (lines({"id": "bad", "prompt": "x"}, {"id": "nobody", "prompt": "x"}), "there is no item 'nobody'"),
        (lines({"id": "bad", "prompt": "x"}, {"id": "no", "prompt": 7}), "fixed.jsonl:2 (no): prompt"),
        (lines({"id": "bad", "prompt": "x"}, {"id": "bad", "prompt": "y"}), "another item has this id, in line 1"),
        (lines({"id": "bad", "prompt": "x", "max_tokens": 10_000_000}), "fixed.jsonl:1 (bad): max_tokens"),
        ('{"id": "bad", "prompt"\n', "fixed.jsonl:1"),
        ("", "there is no item in it"),
    ],
)
def test_what_is_no_correction_is_refused_by_name_and_nothing_is_changed(failed: Path, text: str, said: str) -> None:
    (failed / "fixed.jsonl").write_text(text)
    before = outcomes()
    result = invoke("retry", "--from", "fixed.jsonl")
    assert result.exit_code == 2
    assert said in result.stderr
    assert outcomes() == before
    assert "request_amended" not in types()


def test_more_tokens_and_another_model_are_put_into_the_stored_bodies(failed: Path) -> None:
    result = invoke("retry", "--outcome", "truncated", "--max-tokens", "2000", "--model", "claude-haiku-4-5")
    assert "1 item opened again: 1 truncated" in result.stderr
    assert "1 item with another body" in result.stderr
    assert (params("cut")["max_tokens"], params("cut")["model"]) == (2000, "claude-haiku-4-5")
    assert "claude-haiku-4-5" not in json.dumps(params("no"))
    assert audit_is_ok()
    for by in ("model", "attempt", "batch", "item"):
        assert invoke("costs", "--by", by).exit_code == 0
    assert invoke("costs").exit_code == 0


def test_what_was_paid_for_the_model_before_is_counted_with_its_price(failed: Path) -> None:
    before = {row["custom_id"]: row for row in json.loads(invoke("costs", "--by", "item", "--json").stdout)["rows"]}
    invoke("retry", "--ids", "-", "--model", "claude-opus-4-7", typed="fine\n")
    report = json.loads(invoke("costs", "--by", "item", "--json").stdout)
    after = {row["custom_id"]: row for row in report["rows"]}
    total = json.loads(invoke("costs", "--json").stdout)["total"]
    assert report["items_usd"] == total["cost_usd"]
    assert float(after["fine"]["cost_usd"]) > float(before["fine"]["cost_usd"])
    assert after["cut"] == before["cut"]


def test_limits_of_the_other_model_are_checked_by_id_before_anything_is_changed(failed: Path) -> None:
    result = invoke("retry", "--ids", "-", "--max-tokens", "900000", typed="fine\ncut\n")
    assert result.exit_code == 2
    assert "2 items cannot be asked like that; nothing was changed" in result.stderr
    assert "fine: params.max_tokens" in result.stderr
    assert "request_amended" not in types()
    assert invoke("retry", "--outcome", "errored", "--model", "claude-nonsense-1").exit_code == 2


def test_corrections_and_a_model_go_together(failed: Path) -> None:
    invoke("retry", "--from", "-", "--model", "claude-haiku-4-5", typed=lines({"id": "bad", "prompt": "Say pan."}))
    assert (params("bad")["model"], params("bad")["messages"][0]["content"]) == ("claude-haiku-4-5", "Say pan.")
    assert outcomes()["bad"] == "ok"


def test_who_declines_may_correct_again_before_anything_is_sent(failed: Path) -> None:
    ledger = Ledger(LEDGER, simulate=True)
    sent = len(ledger.state().batches)

    def decline(_: object) -> bool:
        raise PausedError("no")

    for text in ("Say one.", "Say two."):
        (failed / "fixed.jsonl").write_text(lines({"id": "bad", "prompt": text}))
        with pytest.raises(PausedError):
            ledger.retry(corrected=failed / "fixed.jsonl", confirm=decline)
    assert len(ledger.state().batches) == sent
    assert ledger.resume(confirm=lambda _: True).exit_code == 1
    assert params("bad")["messages"][0]["content"] == "Say two."
    assert outcomes()["bad"] == "ok"
    assert audit_is_ok()


def test_later_runs_compare_with_the_newest_body(failed: Path) -> None:
    fixed = lines({"id": "bad", "prompt": "Describe a pan."})
    invoke("retry", "--from", "-", typed=fixed)
    assert invoke("run", "items.jsonl", "--simulate", *MODEL).exit_code == 1
    (failed / "more.jsonl").write_text(fixed + lines({"id": "new", "prompt": "Describe a lamp."}))
    added = invoke("run", "more.jsonl", "--add", "--simulate", "--ledger", LEDGER, *MODEL)
    assert added.exit_code == 1, added.stderr
    assert outcomes() == {"fine": "ok", "cut": "truncated", "no": "refused", "bad": "ok", "new": "ok"}
    (failed / "old.jsonl").write_text(lines(ITEMS[3]))
    conflict = invoke("run", "old.jsonl", "--add", "--simulate", "--ledger", LEDGER, *MODEL)
    assert conflict.exit_code == 2
    assert "another item has this id" in conflict.stderr


def test_own_columns_are_those_of_the_corrected_line(failed: Path) -> None:
    invoke("retry", "--from", "-", typed=lines({"id": "bad", "prompt": "Say pan.", "shelf": 9}))
    invoke("retry", "--outcome", "truncated", "--max-tokens", "2000")
    rows = {row["custom_id"]: row["item"] for row in Reading(LEDGER).results(all=True, join=True)}
    assert (rows["bad"]["shelf"], rows["cut"]["shelf"]) == (9, 2)


def test_an_answer_for_the_body_before_is_not_taken_into_another_ledger(failed: Path) -> None:
    other = Ledger("other.simulated.ledger", simulate=True)
    (failed / "again.jsonl").write_text(lines(ITEMS[0], {"id": "spare", "prompt": "Describe a bowl."}))
    invoke("retry", "--from", "-", typed=lines({"id": "fine", "prompt": "Describe a bowl."}))
    other.run(failed / "again.jsonl", model=MODEL[1], max_tokens=int(MODEL[3]), reuse=(LEDGER,))
    rows = {row["custom_id"]: row for row in other.results()}
    assert "reused_from" not in rows["fine"]
    assert rows["spare"]["reused_from"]["ledger"].endswith(LEDGER)
    assert other.audit().ok


class DiedError(Exception):
    """The process is gone."""


class Dying:
    """Dies right after the first group of amendments is durable."""

    def recorded(self, position: int, at: int, event: e.AnyEvent, state: RunState) -> None:
        if isinstance(event, e.RequestsReopened):
            raise DiedError

    def waiting(self, reasons: tuple[Waiting, ...], state: RunState) -> None:
        raise AssertionError("it died before")


def test_who_dies_between_two_groups_has_sent_nothing_and_the_same_command_does_the_rest(
    failed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amending, "GROUP_REQUESTS", 1)
    fixed = failed / "fixed.jsonl"
    fixed.write_text(lines(*({"id": item["id"], "prompt": f"Describe {item['id']}."} for item in ITEMS)))
    with pytest.raises(DiedError):
        Ledger(LEDGER, simulate=True, listener=Dying()).retry(corrected=fixed, confirm=lambda _: True)
    assert sorted(outcomes().values()) == ["errored", "pending", "refused", "truncated"]
    assert invoke("resume", "--quiet", "--once").exit_code in (0, 1, 3, 7)
    assert invoke("retry", "--from", fixed).exit_code == 0
    assert set(outcomes().values()) == {"ok"}
    assert types().count("request_amended") == 4
    assert audit_is_ok()


def test_the_pause_until_somebody_agrees_is_told_of_only_where_nobody_does(failed: Path) -> None:
    told: list[str] = []

    class Noting:
        def recorded(self, position: int, at: int, event: e.AnyEvent, state: RunState) -> None:
            if isinstance(event, e.RunPaused | e.RunResumed):
                told.append(f"{type(event).__name__} {event.reason}")

        def waiting(self, reasons: tuple[Waiting, ...], state: RunState) -> None:
            pass

    ledger = Ledger(LEDGER, simulate=True, listener=Noting())
    assert ledger.retry(outcomes=["errored"], confirm=lambda _: True).exit_code == 1
    assert told == []
    assert ledger.retry(outcomes=["errored"], confirm=lambda _: False).exit_code == 3
    assert told == ["RunPaused unconfirmed"]


def test_a_kept_body_that_was_changed_is_found_by_the_audit(failed: Path) -> None:
    invoke("retry", "--from", "-", typed=lines({"id": "bad", "prompt": "Describe a pan."}))
    connection = schema.connect(failed / LEDGER, "rw")
    (data,) = connection.execute("SELECT data FROM superseded_block").fetchone()
    (body,) = decode_superseded(RequestBlock(0, 1, data))
    forged = body._replace(payload=body.payload._replace(params=body.payload.params.replace(b"a pan", b"a pot")))
    connection.execute("UPDATE superseded_block SET data = ?", (next(superseded_blocks(0, [forged])).data,))
    connection.close()
    said = [str(found) for found in Reading(LEDGER).audit().findings if found.severity == "breach"]
    assert len(said) == 2  # the event that put it there, and the one that replaced it
    assert all("request 3: the stored body is not the one whose digest was recorded" in text for text in said)
