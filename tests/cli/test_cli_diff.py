"""``ledger diff``: two runs side by side."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest
from commanding import FINE, MODEL, invoke
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.diffing import Side, _Item, _said, _Tally

A, B = "items.simulated.ledger", "other.simulated.ledger"
PROMPTS = (
    '{"id": "cup", "prompt": "Describe a cup. [[simulate:max_tokens]]"}\n'
    '{"id": "kettle", "prompt": "Describe a kettle. [[simulate:refusal]]"}\n'
)


@pytest.fixture
def other(finished: Path) -> Path:
    """Beside the finished run one of a file in another order: the same cup, another kettle, no teapot, and a spoon."""
    (finished / "other.jsonl").write_text(FINE + PROMPTS)
    assert invoke("run", "other.jsonl", "--simulate", *MODEL, "-q").exit_code == 1
    return finished


def test_two_runs_are_compared_item_by_item(other: Path) -> None:
    result = invoke("diff", A, B)
    assert (result.exit_code, result.stderr) == (0, "")
    kettle, spoon = (line.split()[-2:] for line in result.stdout.splitlines() if line.startswith(("kettle", "spoon")))
    assert result.stdout == (
        "A  items.simulated.ledger\n"
        "B  other.simulated.ledger\n"
        "   asked  ok  pending       cost  models\n"
        "A      3   1        0  $0.002624  claude-sonnet-4-6\n"
        f"B      3   1        0  {invoke('costs', B).stdout.splitlines()[1].split()[4]}  claude-sonnet-4-6\n"
        "SIMULATED: no service was asked, nothing was spent, the answers are made up\n"
        "\n"
        "in both          2  last results cost $0.002624 in A, $0.001548 in B (-41.0%)\n"
        "same             1  the same outcome and the same answer\n"
        "other outcome    1\n"
        "only in A        1\n"
        "only in B        1\n"
        "asked otherwise  1  of 2 requests: prompt or parameters\n"
        "\n"
        "A → B\n"
        "ok → refused  1\n"
        "\n"
        "item    differs  asked      A        B           cost A     cost B\n"
        f"kettle  outcome  otherwise  ok       refused  {kettle[0]}  $0.000000\n"
        "teapot  only A              refused  -        $0.000000          -\n"
        f"spoon   only B              -        ok               -  {spoon[1]}\n"
    )
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_all_differences_are_written_and_counted_alike(other: Path) -> None:
    result = invoke("diff", A, B, "-o", "differences.jsonl", "--json", "--top", "1")
    diff = json.loads(result.stdout)
    written = [json.loads(line) for line in Path("differences.jsonl").read_text().splitlines()]
    assert result.stderr == "3 differences written to differences.jsonl\n"
    assert [difference["custom_id"] for difference in written] == ["kettle", "spoon", "teapot"]
    assert [difference["custom_id"] for difference in diff["first"]] == ["kettle"]
    assert (diff["both"], diff["same"], diff["outcome"], diff["answer"]) == (2, 1, 1, 0)
    assert (diff["only_a"], diff["only_b"], diff["asked_otherwise"]) == (1, 1, 1)
    assert diff["moved"] == {"ok → refused": 1}
    assert "2 more (--top N shows more, -o FILE writes all)" in invoke("diff", A, B, "--top", "1").stdout


def test_a_copy_differs_in_nothing(finished: Path) -> None:
    invoke("copy", "copied.ledger", "-l", A)
    diff = json.loads(invoke("diff", A, "copied.ledger", "--json").stdout)
    assert (diff["both"], diff["same"], diff["first"]) == (3, 3, [])
    assert diff["both_cost_a_usd"] == diff["both_cost_b_usd"] == diff["a"]["cost_usd"]


def test_a_ledger_is_not_compared_with_itself(finished: Path) -> None:
    result = invoke("diff", A, f"./{A}")
    assert (result.exit_code, result.stderr.splitlines()[0]) == (2, "error: A and B are the same ledger")


def row(*content: dict[str, object]) -> bytes:
    return json.dumps({"custom_id": "x", "result": {"type": "succeeded", "message": {"content": content}}}).encode()


def test_tool_calls_are_compared_by_what_they_ask_not_by_their_ids() -> None:
    first = row({"type": "tool_use", "id": "toolu_1", "name": "save", "input": {"a": 1, "b": 2}})
    again = row({"type": "tool_use", "id": "toolu_2", "name": "save", "input": {"b": 2, "a": 1}})
    other = row({"type": "tool_use", "id": "toolu_1", "name": "save", "input": {"a": 1, "b": 3}})
    assert _said(first, "") == _said(again, "") != _said(other, "")
    assert _said(row({"type": "thinking", "thinking": "hm", "signature": "1"}), "yes") == b"yes"


ENDS = st.fixed_dictionaries({}, optional={name: st.sampled_from(["ok", "ok2", "refused"]) for name in "abcdefgh"})


def _merged(a: dict[str, str], b: dict[str, str], top: int) -> tuple[list[str], _Tally]:
    rows = [
        _Item(name, side, place, re.sub(r"\d", "", said), b"", said.encode(), None, "0.25")
        for side, items in enumerate((a, b))
        for place, (name, said) in enumerate(items.items())
    ]
    tally = _Tally(top)
    return [difference.custom_id for difference in tally.differences(iter(sorted(rows)))], tally


@settings(max_examples=200)
@given(ENDS, ENDS, st.integers(0, 5))
def test_every_item_is_counted_once_and_the_first_are_those_of_the_first_run(
    a: dict[str, str], b: dict[str, str], top: int
) -> None:
    side = Side(
        ledger="", ledger_id="", simulated=True, position=0, asked=0, pending=0, models=(), outcomes={}, cost_usd=None
    )
    differing, tally = _merged(a, b, top)
    diff = tally.result(side, side)
    expected = {name for name in a.keys() | b.keys() if a.get(name) != b.get(name)}
    in_order = [name for name in [*a, *(name for name in b if name not in a)] if name in expected]
    assert set(differing) == expected
    assert [difference.custom_id for difference in diff.first] == in_order[:top]
    assert diff.same == len(a.keys() & b.keys()) - diff.outcome - diff.answer
    assert (diff.only_a, diff.only_b) == (len(a.keys() - b.keys()), len(b.keys() - a.keys()))
    assert diff.both_cost_a_usd == diff.both_cost_b_usd == Decimal("0.25") * diff.both
