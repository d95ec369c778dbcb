"""What the API would refuse after the batch has ended is refused before it is sent, with the fix."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.lints import LintRules, costs_beyond_its_bytes, count_breakpoints, is_plain, lint_params
from ledger.core.problems import Problem

USER = {"role": "user", "content": "hello"}
ASSISTANT = {"role": "assistant", "content": "The answer is ("}
MARK = {"type": "ephemeral"}


def text(content: str = "x", **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": content, **more}


def lint(rules: LintRules | None = None, **changes: Any) -> list[Problem]:
    params = {"model": "claude-opus-5-5", "max_tokens": 1024, "messages": [USER], **changes}
    return list(lint_params(params, rules or LintRules()))


def found(rules: LintRules | None = None, **changes: Any) -> list[tuple[str, str]]:
    return [(problem.code, problem.field) for problem in lint(rules, **changes)]


def user(*blocks: Any) -> list[Any]:
    return [{"role": "user", "content": list(blocks)}]


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def enabled(budget_tokens: int) -> dict[str, Any]:
    return {"type": "enabled", "budget_tokens": budget_tokens}


FIVE_MARKERS = {
    "cache_control": MARK,
    "system": [text(cache_control=MARK)],
    "tools": [{"name": "t", "cache_control": MARK}],
    "messages": user(text(cache_control=MARK), {"type": "tool_result", "content": [text(cache_control=MARK)]}),
}

OK: dict[str, dict[str, Any]] = {
    "stream false": {"stream": False},
    "speed null": {"speed": None},
    "prefill on 4.5": {"model": "claude-opus-4-5", "messages": [USER, ASSISTANT]},
    "enabled on 4.6": {"model": "claude-opus-4-6", "thinking": enabled(1024), "max_tokens": 1025},
    "adaptive on 4.6": {"model": "claude-opus-4-6", "thinking": {"type": "adaptive"}},
    "disabled on opus 5": {"model": "claude-opus-5", "thinking": {"type": "disabled"}},
    "an unknown kind of thinking": {"thinking": {"type": "between_tools"}},
    "geo on 4.6": {"model": "claude-sonnet-4-6", "inference_geo": "us"},
    "system blocks": {"system": [text(cache_control=MARK)]},
    "a document of the user's": {"messages": user({"type": "document", "source": {}}, text())},
    "empty citations": {"messages": user(text(citations=[]))},
    "an assistant's citations": {"messages": [USER, assistant(text(citations=[{}])), USER]},
    "a system role": {"messages": [{"role": "system", "content": "x"}, USER]},
    "a paused turn sent back": {"messages": [USER, assistant(text(), {"type": "server_tool_use"})]},
    "four markers": {"messages": user(*[text(cache_control=MARK)] * 4)},
    "the most tokens": {"max_tokens": 128_000},
}


@pytest.mark.parametrize("changes", OK.values(), ids=OK.keys())
def test_what_the_api_takes_is_let_through(changes: dict[str, Any]) -> None:
    assert lint(**changes) == []


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "temperature": ({"temperature": 0}, "refused-parameter", "temperature"),
    "top_p": ({"top_p": None}, "refused-parameter", "top_p"),
    "top_k": ({"top_k": 5}, "refused-parameter", "top_k"),
    "stream": ({"stream": True}, "refused-parameter", "stream"),
    "speed": ({"speed": "fast"}, "refused-parameter", "speed"),
    "fallbacks": ({"fallbacks": []}, "refused-parameter", "fallbacks"),
    "betas": ({"betas": ["x"]}, "refused-parameter", "betas"),
    "no model": ({"model": None}, "no-model", "model"),
    "model type": ({"model": 5}, "model-type", "model"),
    "unknown model": ({"model": "claude-sonnet-4-6-20250929"}, "model-unknown", "model"),
    "retired model": ({"model": "claude-3-opus-20240229"}, "model-retired", "model"),
    "no max_tokens": ({"max_tokens": None}, "no-max-tokens", "max_tokens"),
    "true": ({"max_tokens": True}, "max-tokens-type", "max_tokens"),
    "float": ({"max_tokens": 10.0}, "max-tokens-type", "max_tokens"),
    "zero": ({"max_tokens": 0}, "max-tokens-range", "max_tokens"),
    "128K and one": ({"max_tokens": 128_001}, "max-tokens-range", "max_tokens"),
    "64K and one": ({"model": "claude-haiku-4-5", "max_tokens": 64_001}, "max-tokens-range", "max_tokens"),
    "thinking true": ({"thinking": True}, "thinking", "thinking"),
    "enabled on 4.7": ({"model": "claude-opus-4-7", "thinking": enabled(1024)}, "thinking", "thinking"),
    "adaptive on 4.5": ({"model": "claude-haiku-4-5", "thinking": {"type": "adaptive"}}, "thinking", "thinking"),
    "disabled on fable": ({"model": "claude-fable-5", "thinking": {"type": "disabled"}}, "thinking", "thinking"),
    "disabled on opus 5.5": ({"thinking": {"type": "disabled"}}, "thinking", "thinking"),
    "small budget": (
        {"model": "claude-opus-4-6", "thinking": enabled(1023)},
        "thinking-budget",
        "thinking.budget_tokens",
    ),
    "budget is all": (
        {"model": "claude-opus-4-6", "thinking": enabled(1024)},
        "thinking-budget",
        "thinking.budget_tokens",
    ),
    "geo on 4.5": ({"model": "claude-opus-4-5", "inference_geo": "us"}, "geo", "inference_geo"),
    "geo number": ({"inference_geo": 1}, "geo", "inference_geo"),
    "system number": ({"system": 5}, "system", "system"),
    "no messages": ({"messages": []}, "messages", "messages"),
    "text for messages": ({"messages": "hello"}, "messages", "messages"),
    "100,001 messages": ({"messages": [USER] * 100_001}, "messages", "messages"),
    "text for a message": ({"messages": ["hello"]}, "message", "messages[0]"),
    "unknown role": ({"messages": [USER, {"role": "human", "content": "x"}]}, "role", "messages[1].role"),
    "role list": ({"messages": [{"role": [], "content": "x"}]}, "role", "messages[0].role"),
    "no content": ({"messages": [{"role": "user"}]}, "content", "messages[0].content"),
    "blank content": ({"messages": [{"role": "user", "content": " \n"}]}, "blank", "messages[0].content"),
    "blank block": ({"messages": user(text(), text(""))}, "blank", "messages[0].content[1]"),
    "block without type": ({"messages": user({"text": "x"})}, "block", "messages[0].content[0]"),
    "text for a block": ({"messages": user("x")}, "block", "messages[0].content[0]"),
    "citations": ({"messages": user(text(citations=[{}]))}, "citations", "messages[0].content[0].citations"),
    "assistant's document": (
        {"messages": [USER, assistant({"type": "document"}), USER]},
        "document",
        "messages[1].content[0]",
    ),
    "prefill": ({"messages": [USER, ASSISTANT]}, "prefill", "messages[1]"),
    "prefill on 4.6": ({"model": "claude-sonnet-4-6", "messages": [USER, assistant(text())]}, "prefill", "messages[1]"),
    "five markers": (FIVE_MARKERS, "cache-control", "cache_control"),
}


@pytest.mark.parametrize(("changes", "code", "field"), BAD.values(), ids=BAD.keys())
def test_what_the_api_refuses_is_named(changes: dict[str, Any], code: str, field: str) -> None:
    (problem,) = lint(**changes)
    assert (problem.code, problem.field) == (code, field)
    assert problem.why
    assert problem.fix


def test_everything_that_is_wrong_is_told() -> None:
    assert found(temperature=1, top_p=1, stream=True, max_tokens=0) == [
        ("max-tokens-range", "max_tokens"),
        ("refused-parameter", "temperature"),
        ("refused-parameter", "top_p"),
        ("refused-parameter", "stream"),
    ]


def test_a_misspelt_model_says_which_was_meant_and_how_to_insist() -> None:
    (problem,) = lint(model="claude-sonnet-4-6-20250929")
    assert problem.why == "claude-sonnet-4-6-20250929 does not exist; did you mean claude-sonnet-4-6?"
    assert problem.fix == (
        "write claude-sonnet-4-6; if it is newer than this program, pass --allow-model claude-sonnet-4-6-20250929"
    )


def test_an_allowed_model_is_not_judged() -> None:
    rules = LintRules(allowed_models=("claude-opus-9",))
    assert found(rules, model="claude-opus-9", max_tokens=500_000, messages=[USER, ASSISTANT]) == []


def test_retirement_is_judged_by_the_day_given() -> None:
    model = "claude-sonnet-4-5"
    assert found(LintRules(today=date(2026, 11, 29)), model=model) == []
    assert found(LintRules(today=date(2026, 11, 30)), model=model) == [("model-retired", "model")]


def test_the_long_output_beta_raises_the_limit_where_it_exists() -> None:
    rules = LintRules(betas=("output-300k-2026-03-24",))
    assert found(rules, max_tokens=300_000) == []
    assert found(rules, max_tokens=300_001) == [("max-tokens-range", "max_tokens")]
    assert found(rules, model="claude-fable-5-1", max_tokens=128_001) == [("max-tokens-range", "max_tokens")]
    (problem,) = lint(max_tokens=200_000)
    assert problem.fix == "write 128000 or less, or pass --beta output-300k-2026-03-24"


def test_interleaved_thinking_may_have_a_budget_above_max_tokens() -> None:
    rules = LintRules(betas=("interleaved-thinking-2025-05-14",))
    assert found(rules, model="claude-opus-4-5", thinking=enabled(9_000)) == []


def test_a_tool_with_a_field_named_cache_control_is_not_cached() -> None:
    tools = [{"name": "t", "input_schema": {"properties": {"cache_control": {"type": "string"}}}}]
    assert count_breakpoints({"tools": tools, "messages": [USER]}) == 0


JSON_VALUES = st.one_of(
    st.none(), st.booleans(), st.just(""), st.just("x"), st.just([]), st.just({}), st.integers(0, 2)
)
MESSAGE = st.one_of(
    st.sampled_from([USER, ASSISTANT]),
    JSON_VALUES,
    st.fixed_dictionaries(
        {},
        optional={
            "role": st.sampled_from(["user", "assistant", "system", "human", None]),
            "content": st.one_of(JSON_VALUES, st.just(" "), st.just([text()]), st.just([text("")])),
        },
    ),
)
KEYS = [
    "temperature",
    "stream",
    "speed",
    "betas",
    "fallbacks",
    "thinking",
    "system",
    "inference_geo",
    "metadata",
    "tools",
]


@given(st.lists(MESSAGE, max_size=3), st.dictionaries(st.sampled_from(KEYS), JSON_VALUES, max_size=2))
def test_plain_params_have_no_problem_but_model_and_max_tokens(messages: list[Any], more: dict[str, Any]) -> None:
    """The short cut for the common case and the full lints agree, whatever the model."""
    params = {"messages": messages, **more}
    if is_plain(params):
        for model in ("claude-opus-5-5", "claude-haiku-4-5"):
            full = {**params, "model": model, "max_tokens": 5}
            assert list(lint_params(full, LintRules())) == []
            assert count_breakpoints(full) == 0


@pytest.mark.parametrize(("changes", "code", "field"), BAD.values(), ids=BAD.keys())
def test_nothing_that_is_refused_is_plain(changes: dict[str, Any], code: str, field: str) -> None:
    assert field in ("model", "max_tokens") or not is_plain({"messages": [USER], **changes})


def test_the_common_request_is_plain() -> None:
    assert is_plain({"system": "x", "messages": [USER, {"role": "assistant", "content": "y"}, USER]})


@pytest.mark.parametrize(
    ("changes", "beyond"),
    [
        ({}, False),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "base64"}}]}]}, False),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url"}}]}]}, True),
        ({"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "file"}}]}]}, True),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "tool_result", "content": [{"source": {"type": "url"}}]}]}
                ]
            },
            True,
        ),
        ({"messages": [{"role": "user", "content": [{"type": "container_upload"}]}]}, True),
        ({"tools": [{"name": "mine", "input_schema": {}}, {"type": "custom"}]}, False),
        ({"tools": [{"type": "bash_20250124"}]}, False),
        ({"tools": [{"type": "web_search_20260209"}]}, True),
        ({"mcp_servers": [{"type": "url"}]}, True),
    ],
)
def test_input_that_is_not_in_the_bytes_is_noticed(changes: dict[str, Any], beyond: bool) -> None:
    assert costs_beyond_its_bytes({"messages": [{"role": "user", "content": "hi"}], **changes}) is beyond
