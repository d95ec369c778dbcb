"""What `check` and `run` say before anything is spent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from commanding import MODEL, invoke

from ledger.ledger import Check


def line(custom_id: str, model: str, text: str, priority: int = 0, **params: Any) -> str:
    asked = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": text}], **params}
    return json.dumps({"custom_id": custom_id, "priority": priority, "params": asked}) + "\n"


def mixed() -> None:
    marked = [{"type": "text", "text": "Be brief. " * 500, "cache_control": {"type": "ephemeral"}}]
    Path("mixed.jsonl").write_text(
        line("long", "claude-haiku-5-5", "Read this. " * 30_000, priority=5)
        + line("short", "claude-haiku-5-5", "Say hello.")
        + line("marked", "claude-opus-4-6", "Say hello.", system=marked, inference_geo="us")
        + line("old", "claude-sonnet-4-5", "Say hello.")
    )


def test_a_preview_names_lanes_steps_the_cache_the_region_the_time_and_models_that_end() -> None:
    mixed()
    result = invoke("check", "mixed.jsonl", "--tier", "build")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    start = next(n for n, text in enumerate(lines) if text.startswith("lane, in order"))
    assert [text.split()[:2] for text in lines[start + 1 : start + 3]] == [["5", "1"], ["0", "3"]]
    for said in (
        "1 prompt above 100,000 tokens, where claude-haiku-5-5 costs more for the whole request",
        "1 prompt with cache_control for claude-opus-4-6:",
        "1 request with inference_geo us, which costs more",
        "time: 1 queue fill (tier build: 300,000 requests at once)",
        "  1 h 00 min if every batch ends within an hour, as most do; 1 d 0 h at most",
    ):
        assert said in lines, said
    assert any(text.startswith("note: claude-sonnet-4-5 is deprecated and ends on 2026-11-30") for text in lines)
    assert any(text.startswith("note: claude-opus-4-6 caches no prefix below 4,096 tokens") for text in lines)


def test_the_preview_is_in_the_json_of_a_check() -> None:
    mixed()
    check = msgspec.json.decode(invoke("check", "mixed.jsonl", "--json").stdout, type=Check)
    assert [lane.priority for lane in check.preview.lanes] == [5, 0]
    assert check.preview.us_requests == 1
    assert check.batches == sum(lane.batches for lane in check.preview.lanes) == 2


def test_a_run_says_what_there_is_to_say_and_not_how_long_one_queue_fill_takes() -> None:
    mixed()
    result = invoke("run", "mixed.jsonl", "--simulate")
    assert "lane, in order" in result.stderr
    assert "note: claude-sonnet-4-5 is deprecated" in result.stderr
    assert "queue fill" not in result.stderr


def test_a_plain_file_has_nothing_beside_its_amounts_but_the_time() -> None:
    Path("plain.jsonl").write_text('{"id": "a", "prompt": "Say hello."}\n')
    result = invoke("check", "plain.jsonl", "--model", "claude-sonnet-4-6", "--max-tokens", "100")
    lines = result.stdout.splitlines()
    after = lines.index(next(text for text in lines if text.startswith("at standard price"))) + 1
    assert lines[after].startswith("time: 1 queue fill (tier start")
    assert lines[after + 2].startswith("prices of "), "a pace of large runs says nothing about one request"

    Path("large.jsonl").write_text("".join(f'{{"id": "{n}", "prompt": "Say {n}."}}\n' for n in range(1_000)))
    large = invoke("check", "large.jsonl", "--model", "claude-sonnet-4-6", "--max-tokens", "100").stdout
    assert "\n  1 min 12 s to 6 min 00 s at the pace that large runs typically see\n" in large


def test_tokens_are_counted_by_the_service_where_that_is_asked() -> None:
    mixed()
    before = sorted(path.name for path in Path().iterdir())
    result = invoke("check", "mixed.jsonl", "--simulate", "--count-tokens", "2")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "\n  input: counted by the service: 3.00 bytes a token in 2 of claude-haiku-5-5, " in result.stdout
    assert sorted(path.name for path in Path().iterdir()) == before, "it leaves nothing behind"
    check = msgspec.json.decode(
        invoke("check", "mixed.jsonl", "--simulate", "--count-tokens", "2", "--json").stdout, type=Check
    )
    assert check.counted is not None
    counted = {one.model: one.tokens for one in check.counted.models}
    assert [row.model for row in check.estimate.rows] == sorted(counted)
    for row in check.estimate.rows:  # each kind of request is rounded up by itself, and there are two at most
        assert 0 <= row.input_tokens - counted[row.model] <= 2
    assert msgspec.json.decode(invoke("check", "mixed.jsonl", "--json").stdout, type=Check).counted is None


def test_counting_needs_a_key_and_says_so() -> None:
    mixed()
    result = invoke("check", "mixed.jsonl", "--count-tokens", "1")
    assert (result.exit_code, result.stdout) == (6, "")
    assert result.stderr.startswith("error: no usable credentials for the Claude API\n")


def test_another_ledger_teaches_how_long_answers_are() -> None:
    Path("some.jsonl").write_text("".join(f'{{"id": "{n}", "prompt": "Say {n}."}}\n' for n in range(25)))
    asked = ("--model", "claude-sonnet-4-6", "--max-tokens", "4000")
    assert invoke("run", "some.jsonl", "--simulate", *asked, "-q").exit_code in (0, 1)
    cost = json.loads(invoke("costs", "some.simulated.ledger", "--json").stdout)["total"]["cost_usd"]
    learned = invoke("check", "some.jsonl", *asked, "--learn-from", "some.simulated.ledger", "--json")
    expected = json.loads(learned.stdout)["estimate"]["total"]["cost_usd"]
    usual = json.loads(invoke("check", "some.jsonl", *asked, "--json").stdout)["estimate"]["total"]["cost_usd"]
    assert abs(float(expected) / float(cost) - 1) < 0.05 < abs(float(usual) / float(cost) - 1)
    shown = invoke("check", "some.jsonl", *asked, "--learn-from", "some.simulated.ledger").stdout
    assert "\n  output, expected: as in some.simulated.ledger: claude-sonnet-4-6 " in shown


def test_a_ledger_with_few_answers_teaches_nothing_and_says_so(finished: Path) -> None:
    result = invoke("check", "items.jsonl", *MODEL, "--learn-from", "items.simulated.ledger")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "error: there is nothing to learn from items.simulated.ledger\n"
        "because: no model has 20 answers in it\n"
        "next: leave --learn-from out\n"
    )
