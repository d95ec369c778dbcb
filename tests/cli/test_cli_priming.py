"""``--prime-cache`` from the command line: offered, asked for, asked for later, and what came of it."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from commanding import invoke

from ledger.core.events import ChunkSealed, decode
from ledger.core.proof import CostProof
from ledger.ledger import Check, Ledger

RULES = "You answer in one word. " * 300


def shared(count: int, ttl: str = "1h") -> Path:
    system = [{"type": "text", "text": RULES, "cache_control": {"type": "ephemeral", "ttl": ttl}}]
    path = Path("shared.jsonl")
    with path.open("w") as file:
        for number in range(count):
            messages = [{"role": "user", "content": f"Say {number}."}]
            params = {"model": "claude-sonnet-4-6", "max_tokens": 100, "system": system, "messages": messages}
            print(json.dumps({"id": str(number), "params": params}), file=file)
    return path


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def causes(path: str) -> list[str]:
    events = (decode(row.type_name, row.data) for row in Ledger(path).events())
    return [event.cause for event in events if isinstance(event, ChunkSealed)]


def test_a_check_offers_it_and_shows_what_it_would_do() -> None:
    shared(50)
    offered = invoke("check", "shared.jsonl").stdout
    assert "49 prompts share a prefix: --prime-cache sends one of them first, which may save up to $0.2" in offered
    assert "order:" not in offered
    lines = invoke("check", "shared.jsonl", "--prime-cache").stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("priming:"))
    assert lines[at].startswith("priming: 49 prompts share a prefix; 1 request first, whose writing costs $0.00")
    assert lines[at + 1].startswith("  the others save up to $0.2")
    assert lines[at + 2 : at + 6] == [
        "order: priming of 1 request, which is waited for 1 h 00 min as a rule, 2 h 00 min at most,",
        "  then the other 49 requests",
        "time: 1 queue fill (tier start: 200,000 requests at once)",
        "  2 h 00 min if every batch ends within an hour, as most do; 1 d 2 h at most",
    ]


def test_the_json_of_a_check_has_the_order_and_the_priming() -> None:
    shared(50)
    check = msgspec.json.decode(invoke("check", "shared.jsonl", "--prime-cache", "--json").stdout, type=Check)
    assert [turn.what for turn in check.preview.order] == ["priming", "lanes"]
    assert check.preview.priming is not None
    assert check.preview.priming.wanted


def test_a_mark_for_five_minutes_is_named_before_anything_is_spent() -> None:
    shared(50, ttl="5m")
    said = invoke("check", "shared.jsonl", "--prime-cache").stdout
    assert "49 prompts for claude-sonnet-4-6 share a prefix that is kept for 5 minutes" in said
    assert "priming:" not in said


def test_a_run_primes_and_its_costs_say_what_it_brought() -> None:
    shared(60)
    run = invoke("run", "shared.jsonl", "--simulate", "--prime-cache", "--quiet")
    assert run.exit_code in (0, 1), run.stderr
    assert causes("shared.simulated.ledger")[0] == "priming"
    said = invoke("costs", "shared.simulated.ledger").stdout
    assert "priming: 1 request wrote " in said
    assert " marked tokens were read from it; it saved $" in said
    proof = msgspec.json.decode(invoke("costs", "shared.simulated.ledger", "--json").stdout, type=CostProof)
    assert proof.cache is not None
    assert proof.cache.primed is not None
    assert proof.cache.primed.verdict == "read"
    assert proof.cache.hit_rate > Decimal("0.8")


def test_it_is_a_setting_that_stays_and_can_be_said_later() -> None:
    shared(30)
    asked = invoke("run", "shared.jsonl", "--simulate", "--max-cost", "0.0001")
    assert asked.exit_code == 3
    again = invoke("resume", "--prime-cache", "--max-cost", "0.0002")
    assert again.exit_code == 3
    done = invoke("resume", "--max-cost", "none")
    assert done.exit_code in (0, 1), done.stderr
    assert causes("shared.simulated.ledger")[0] == "priming"
