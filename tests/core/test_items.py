"""A line becomes the request it asks for, or a problem with its field and its fix."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.errors import UsageError
from ledger.core.items import (
    ITEM_BYTES_MAX,
    PRIORITY_MAX,
    Defaults,
    ItemParser,
    Problem,
    Request,
    canonical,
    check_defaults,
    derived_id,
    parse_item,
    parse_param,
    same_body,
)

MODEL = "claude-opus-5-5"
MESSAGES = [{"role": "user", "content": "hello"}]
PARAMS: dict[str, Any] = {"model": MODEL, "max_tokens": 100, "messages": MESSAGES}
DEFAULTS = Defaults(model=MODEL, max_tokens=100)


def dump(item: Any) -> bytes:
    return json.dumps(item, ensure_ascii=False).encode()


def accept(item: Any, defaults: Defaults = DEFAULTS) -> Request:
    line = item if isinstance(item, bytes) else dump(item)
    parsed = parse_item(line, defaults)
    assert isinstance(parsed, Request), parsed
    assert parsed.row == line
    return parsed


def refused(item: Any, defaults: Defaults = DEFAULTS) -> Problem:
    parsed = parse_item(item if isinstance(item, bytes) else dump(item), defaults)
    assert isinstance(parsed, Problem), parsed
    assert parsed.why
    assert parsed.fix
    return parsed


def sent(item: Any, defaults: Defaults = DEFAULTS) -> Any:
    return json.loads(accept(item, defaults).params)


# --- params -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b'{"custom_id": "a", "params": PARAMS}',
        b'{"params":PARAMS,"custom_id":"a"}',
        b'  { "custom_id" : "a" , "params"\t:  PARAMS  , "mine" : [ 1 ] } ',
        b'{"custom_id": "a", "x\\"params": 1, "params": PARAMS}',
        b'{"custom_id": "a", "\\u0070arams": PARAMS}',
        b'{"custom_id": "a", "note": {"params": PARAMS}, "params": PARAMS}',
    ],
)
@pytest.mark.parametrize("spelling", [dump(PARAMS), dump(PARAMS).replace(b"hello", b"\\u0068\\/ \\u20ac")])
def test_params_go_on_the_wire_as_the_bytes_of_the_line(line: bytes, spelling: bytes) -> None:
    request = accept(line.replace(b"PARAMS", spelling), Defaults())
    assert request == Request(
        custom_id="a",
        params=spelling,
        prefix=request.prefix,
        suffix=request.suffix,
        verbatim=True,
        priority=0,
        model=MODEL,
        max_tokens=100,
        cached=False,
        geo=None,
    )


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)
CLEAN = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)


@given(CLEAN, st.dictionaries(st.text(max_size=3), JSON, max_size=3), st.booleans(), st.integers(0, 3))
def test_the_row_and_the_params_survive_whatever_stands_beside_them(
    custom_id: str, columns: dict[str, Any], escaped: bool, indent: int
) -> None:
    metadata = {"metadata": columns, "messages": [{"role": "user", "content": f"x{custom_id}"}]}
    item = {f"my {name}": value for name, value in columns.items()} | {"custom_id": custom_id}
    text = json.dumps(item | {"params": {**PARAMS, **metadata}}, ensure_ascii=escaped)
    line = text.replace(": ", ":" + " " * indent).encode()
    request = accept(line, Defaults())
    assert request.verbatim
    assert request.custom_id == json.loads(line)["custom_id"]
    assert json.loads(request.params) == json.loads(line)["params"]


@given(st.dictionaries(st.sampled_from(["model", "max_tokens", "system", "service_tier"]), st.just(None)))
def test_defaults_fill_what_is_missing_and_never_override(said: dict[str, None]) -> None:
    defaults = Defaults(model="claude-opus-5", max_tokens=7, system="default", params={"service_tier": "auto"})
    own = {"model": MODEL, "max_tokens": 100, "system": "own", "service_tier": "standard_only"}
    filled = {"model": "claude-opus-5", "max_tokens": 7, "system": "default", "service_tier": "auto"}
    params = {name: own[name] for name in said} | {"messages": MESSAGES}
    request = accept({"custom_id": "a", "params": params}, defaults)
    assert json.loads(request.params) == filled | params
    assert request.verbatim == (len(said) == len(own))
    if not request.verbatim:
        assert b'": ' not in request.params
        assert request.suffix == b""


def test_a_default_leaves_numbers_and_text_as_they_were() -> None:
    params = b'{"messages":[{"role":"user","content":"\\u20ac \\" \xf0\x9f\x98\x80"}],"metadata":NUMBERS}'
    params = params.replace(b"NUMBERS", b"[1e22,0.1,-0.0,10000000000000000000000]")
    request = accept(b'{"params":' + params + b"}")
    assert json.loads(request.params) == json.loads(params) | {"model": MODEL, "max_tokens": 100}


@pytest.mark.parametrize("name", ["prompt", "model", "max_tokens", "system", "temperature", "messages"])
def test_what_would_be_ignored_beside_params_is_refused(name: str) -> None:
    problem = refused({"custom_id": "a", "params": PARAMS, name: "x"})
    assert (problem.code, problem.field, problem.custom_id) == ("ignored", name, "a")


def test_params_that_are_no_object_are_refused() -> None:
    assert refused({"custom_id": "a", "params": [1]}).field == "params"
    assert refused({"custom_id": "a", "params": None}).field == "params"


# --- prompts ----------------------------------------------------------------------------------------------------------


def test_a_prompt_becomes_a_user_message_under_the_defaults() -> None:
    defaults = Defaults(model=MODEL, max_tokens=100, system="be brief", params={"service_tier": "auto"})
    request = accept({"id": "a", "prompt": "hello", "category": 5, "metadata": {"mine": 1}}, defaults)
    assert json.loads(request.params) == {**PARAMS, "system": "be brief", "service_tier": "auto"}
    assert (request.custom_id, request.verbatim, request.suffix) == ("a", False, b"")


def test_columns_go_before_defaults_and_null_means_not_said() -> None:
    defaults = Defaults(model=MODEL, max_tokens=100, system="be brief")
    columns = {"model": "claude-opus-5", "max_tokens": 9, "system": "own"}
    assert sent({"prompt": "hello", **columns}, defaults) == {**columns, "messages": MESSAGES}
    assert sent({"prompt": "hello", **dict.fromkeys(columns)}, defaults) == {**PARAMS, "system": "be brief"}
    assert sent({"prompt": "hello", "system": ""}, defaults) == PARAMS


def test_a_prompt_may_be_content_blocks() -> None:
    blocks = [{"type": "text", "text": "hello"}]
    assert sent({"prompt": blocks})["messages"] == [{"role": "user", "content": blocks}]
    problem = refused({"prompt": [*blocks, {"role": "user", "content": "x"}]})
    assert problem.field == "prompt[1]"


@pytest.mark.parametrize("prompt", ["", " \n", [], None, 5, {"text": "x"}])
def test_a_prompt_that_is_nothing_is_refused(prompt: Any) -> None:
    problem = refused({"id": "a", "prompt": prompt})
    assert (problem.code, problem.field, problem.custom_id) == ("prompt", "prompt", "a")


@pytest.mark.parametrize("name", ["temperature", "tools", "thinking", "stream", "cache_control", "output_config"])
def test_a_parameter_beside_a_prompt_is_refused_with_where_to_write_it(name: str) -> None:
    problem = refused({"id": "a", "prompt": "hello", name: 1})
    assert (problem.code, problem.field) == ("ignored", name)
    assert f"--param {name}=JSON" in problem.fix


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({"id": "a"}, ""),
        ({}, ""),
        ({"custom_id": "a", "messages": MESSAGES, "model": MODEL}, "messages"),
        ({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {}}, "body"),
    ],
)
def test_a_line_of_neither_shape_is_refused(item: dict[str, Any], field: str) -> None:
    problem = refused(item)
    assert (problem.code, problem.field) == ("shape", field)
    assert '"params"' in problem.fix or "params" in problem.fix


# --- ids and priorities -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "custom_id"),
    [
        ({"custom_id": "a"}, "a"),
        ({"id": "b"}, "b"),
        ({"custom_id": "a", "id": "b"}, "a"),
        ({"custom_id": None, "id": "b"}, "b"),
        ({"id": 17}, "17"),
        ({"id": "x" * 300}, "x" * 300),
        ({"id": "Größe \u2028 / 中文 \u200d"}, "Größe \u2028 / 中文 \u200d"),
    ],
)
def test_ids_are_kept_as_the_user_wrote_them(item: dict[str, Any], custom_id: str) -> None:
    assert accept({**item, "prompt": "hello"}).custom_id == custom_id
    assert accept({**item, "params": PARAMS}).custom_id == custom_id


def test_an_item_without_an_id_gets_the_digest_of_its_params() -> None:
    """Whichever shape or spelling asks for it, the same request has the same id."""
    text = json.dumps(PARAMS, sort_keys=True, separators=(",", ":"))
    expected = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert accept({"prompt": "hello", "row": 5}).custom_id == expected
    assert accept({"id": None, "params": PARAMS}).custom_id == expected
    assert accept(
        b'{"params": { "max_tokens":100, "messages":[{"content":"\\u0068ello","role":"user"}]}}'
    ).custom_id == (expected)
    assert derived_id(dump(PARAMS)) == derived_id(PARAMS) == expected
    assert accept({"prompt": "hello!"}).custom_id != expected


@pytest.mark.parametrize("value", ["", "a\nb", "\x7f", "\u0085", "\x00", True, 1.5, [], {}])
def test_an_id_that_is_no_id_is_refused(value: Any) -> None:
    problem = refused({"id": value, "prompt": "hello"})
    assert (problem.code, problem.field, problem.custom_id) == ("custom-id", "id", "")


@pytest.mark.parametrize(("value", "priority"), [(None, 0), (0, 0), (PRIORITY_MAX, PRIORITY_MAX), (-1000, -1000)])
def test_priorities(value: Any, priority: int) -> None:
    assert accept({"prompt": "hello", "priority": value}).priority == priority
    assert accept({"params": PARAMS, "priority": value}).priority == priority


@pytest.mark.parametrize("value", ["high", 1.0, True, PRIORITY_MAX + 1, -1001, []])
def test_a_priority_that_is_no_small_whole_number_is_refused(value: Any) -> None:
    assert refused({"id": "a", "prompt": "hello", "priority": value}).field == "priority"


# --- lints through the parser -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "defaults", "field"),
    [
        ({"params": {**PARAMS, "temperature": 0}}, Defaults(), "params.temperature"),
        ({"params": {"max_tokens": 5, "messages": MESSAGES}}, Defaults(), "params.model"),
        ({"params": {"model": MODEL, "messages": MESSAGES}}, Defaults(), "params.max_tokens"),
        ({"params": {**PARAMS, "model": None}}, DEFAULTS, "params.model"),
        ({"params": {"messages": MESSAGES}}, Defaults(model="claude-9", max_tokens=5), "--model"),
        ({"params": {**PARAMS, "messages": [{"role": "x"}]}}, Defaults(), "params.messages[0].role"),
        ({"prompt": "hello"}, Defaults(max_tokens=5), "model"),
        ({"prompt": "hello"}, Defaults(model=MODEL), "max_tokens"),
        ({"prompt": "hello", "max_tokens": "many"}, DEFAULTS, "max_tokens"),
        ({"prompt": "hello", "model": "claude-haiku-4-5"}, Defaults(max_tokens=128_000), "--max-tokens"),
        (
            {"prompt": "hello", "model": "claude-haiku-4-5"},
            Defaults(max_tokens=5, params={"thinking": {"type": "adaptive"}}),
            "--param thinking",
        ),
        ({"prompt": [{"type": "text", "text": "x", "citations": [{}]}]}, DEFAULTS, "prompt[0].citations"),
    ],
)
def test_a_lint_names_the_field_as_the_user_wrote_it(item: Any, defaults: Defaults, field: str) -> None:
    problem = refused({"custom_id": "a", **item}, defaults)
    assert (problem.field, problem.custom_id) == (field, "a")


def test_all_problems_of_a_line_can_be_listed() -> None:
    parser = ItemParser(Defaults())
    bad = {"custom_id": "a", "priority": "x", "params": {**PARAMS, "temperature": 0, "stream": True}}
    assert [(p.field, p.custom_id) for p in parser.problems(dump(bad))] == [
        ("priority", "a"),
        ("params.temperature", "a"),
        ("params.stream", "a"),
    ]
    assert [p.code for p in parser.problems(b"{")] == ["not-json"]
    assert parser.problems(dump({"params": PARAMS})) == []


def test_a_parser_that_has_seen_a_model_refuses_what_a_new_one_refuses() -> None:
    """The short cut for models seen before never lets a line through."""
    parser = ItemParser(Defaults(allowed_models=("claude-opus-9",)))
    lines = [
        dump({"custom_id": "a", "params": {**PARAMS, **changes}})
        for changes in (
            {},
            {"max_tokens": 128_001},
            {"max_tokens": True},
            {"max_tokens": 0},
            {"model": "claude-haiku-4-5", "max_tokens": 64_001},
            {"model": "claude-opus-9", "max_tokens": 10},
            {"model": "claude-opus-9", "max_tokens": 10**9},
            {"messages": [*MESSAGES, {"role": "assistant", "content": "x"}]},
            {"system": 5},
            {"stream": True},
        )
    ]
    fresh = [ItemParser(parser.defaults).parse(line) for line in lines]
    assert [parser.parse(line) for line in lines * 2] == fresh * 2
    assert [isinstance(parsed, Request) for parsed in fresh] == [True, *[False] * 4, True, True, *[False] * 3]


def test_caching_and_geography_are_told() -> None:
    system = [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]
    request = accept({"params": {**PARAMS, "system": system, "inference_geo": "us"}})
    assert (request.cached, request.geo) == (True, "us")
    talk = [{"role": "user", "content": 'what is "cache_control"?'}]
    assert not accept({"params": {**PARAMS, "messages": talk}}).cached


def test_retired_models_are_judged_by_the_day_given() -> None:
    line = dump({"prompt": "hello", "model": "claude-sonnet-4-5", "max_tokens": 5})
    assert isinstance(ItemParser(Defaults(), date(2026, 11, 29)).parse(line), Request)
    after = ItemParser(Defaults(), date(2026, 11, 30)).parse(line)
    assert isinstance(after, Problem)
    assert after.code == "model-retired"


def test_an_item_beyond_32_mb_is_refused() -> None:
    room = ITEM_BYTES_MAX - len(msgspec.json.encode({**PARAMS, "messages": [{"role": "user", "content": ""}]}))
    assert len(accept({"id": "a", "prompt": "x" * room}).params) == ITEM_BYTES_MAX
    problem = refused({"id": "a", "prompt": "x" * (room + 1)})
    assert (problem.code, problem.custom_id) == ("too-large", "a")


def test_a_malformed_line_has_no_id() -> None:
    assert refused(b'{"id": "a", "prompt": NaN}').custom_id == ""


# --- sameness ---------------------------------------------------------------------------------------------------------


@given(JSON)
def test_canonical_json_does_not_depend_on_spelling(value: Any) -> None:
    params = {"b": value, "a": 1}
    turned = {"a": 1, "b": value}
    assert canonical(json.dumps(params, indent=1).encode()) == canonical(turned)
    assert json.loads(canonical(params)) == params
    assert same_body(json.dumps(params).encode(), json.dumps(turned, ensure_ascii=False).encode())


@pytest.mark.parametrize(("a", "b"), [(b'{"a":1}', b'{"a":1.0}'), (b'{"a":1}', b'{"a":true}'), (b"{}", b'{"a":null}')])
def test_other_values_are_other_bodies(a: bytes, b: bytes) -> None:
    assert not same_body(a, b)


# --- the run's own defaults -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("defaults", "fields"),
    [
        (DEFAULTS, []),
        (Defaults(), []),
        (Defaults(model="claude-opus-9"), ["--model"]),
        (Defaults(model="claude-opus-9", allowed_models=("claude-opus-9",)), []),
        (Defaults(model="claude-haiku-4-5", max_tokens=64_001), ["--max-tokens"]),
        (Defaults(max_tokens=0), ["--max-tokens"]),
        (
            Defaults(params={"temperature": 0, "model": "x", "messages": []}),
            ["--param messages", "--param model", "--param temperature"],
        ),
        (Defaults(betas=("output-300k-2026-03-24", "a,b")), ["--beta"]),
    ],
)
def test_defaults_are_checked_once(defaults: Defaults, fields: list[str]) -> None:
    assert [problem.field for problem in check_defaults(defaults)] == fields


def test_defaults_survive_the_log() -> None:
    defaults = Defaults(MODEL, 5, "x", {"thinking": {"type": "adaptive"}, "n": [1, 0.5, None]}, ("b",), ("m",))
    assert msgspec.json.decode(msgspec.json.encode(defaults), type=Defaults) == defaults
    assert msgspec.json.decode(b"{}", type=Defaults) == Defaults()


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ('service_tier="auto"', ("service_tier", "auto")),
        ('thinking={"type": "adaptive"}', ("thinking", {"type": "adaptive"})),
        ("stop_sequences=[]", ("stop_sequences", [])),
        ('a="b=c"', ("a", "b=c")),
    ],
)
def test_a_param_is_key_and_json(text: str, pair: tuple[str, Any]) -> None:
    assert parse_param(text) == pair


@pytest.mark.parametrize("text", ["a", "=1", "a=auto", "a=", "a=NaN", 'a={"b":1,"b":2}', 'a=1,"x":2', 'a="\udc80"'])
def test_a_param_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_param(text)
    assert caught.value.next
