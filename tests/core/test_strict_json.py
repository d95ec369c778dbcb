"""A line is read strictly, or refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.core.problems import Problem, Refused
from ledger.core.strict_json import DEPTH_MAX, read_object


def read(line: bytes) -> dict[str, Any] | Problem:
    try:
        return read_object(line)
    except Refused as refused:
        return refused.problem


def problem(line: bytes) -> Problem:
    found = read(line)
    assert isinstance(found, Problem), found
    return found


def slow_has_duplicate(text: str) -> bool:
    """The obvious method: look at the pairs of each object."""
    found = False

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        found = found or len({key for key, _ in pairs}) != len(pairs)
        return dict(pairs)

    json.loads(text, object_pairs_hook=look)
    return found


@st.composite
def spelt(draw: st.DrawFn, characters: st.SearchStrategy[str]) -> str:
    """A JSON string of awkward characters, each written raw, with its short escape, or as \\uXXXX."""
    out = []
    for character in draw(st.lists(characters, max_size=4)):
        ways = [f"\\u{ord(character):04x}", json.dumps(character)[1:-1]]
        out.append(draw(st.sampled_from(ways)))
    return '"' + "".join(out) + '"'


AWKWARD = spelt(st.sampled_from(['"', "\\", "/", "\n", "a", "{", "é"]))
KEY = spelt(st.sampled_from(['"', "\\", "a"]))


def objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(KEY, values).map(lambda pair: f"{pair[0]} : {pair[1]}")
    return st.lists(pair, max_size=4).map(lambda pairs: "{" + ", ".join(pairs) + "}")


VALUES = st.recursive(
    st.one_of(AWKWARD, st.sampled_from(["1", "-0.5e3", "null", "true", "[]", "{}"])),
    lambda inner: st.one_of(objects(inner), st.lists(inner, max_size=3).map(lambda each: f"[{','.join(each)}]")),
    max_leaves=8,
)


@given(objects(VALUES))
@example('{"\\\\":"\\\\\\"","\\\\":1}')
@example('{"a":{"b":["\\"\\\\"],"b":1}}')
@example('{"a":1,"\\u0061":"x"}')
def test_counting_strings_finds_duplicate_keys_exactly(text: str) -> None:
    """The count and the pairs agree on every document, whatever its escapes."""
    found = read(text.encode())
    if slow_has_duplicate(text):
        assert isinstance(found, Problem)
        assert found.code == "duplicate-key"
    else:
        assert found == json.loads(text)


LONG = AWKWARD.map(lambda text: f'"{text[1:-1]}{"x" * 300}{text[1:-1]}"')
MARKS = st.sampled_from(['"here stood the prompt"', '"here stood the prompt\\u0021"', '"content"', '"\\"prompt\\":"'])
PROMPTS = st.recursive(
    st.one_of(LONG, AWKWARD, MARKS, st.just("1")),
    lambda inner: st.one_of(
        st.lists(
            st.tuples(st.sampled_from(["content", "prompt", "a", 'a\\"content']), inner).map(
                lambda pair: f'"{pair[0]}" : {pair[1]}'
            ),
            max_size=3,
        ).map(lambda pairs: "{" + ",".join(pairs) + "}"),
        st.lists(inner, max_size=2).map(lambda each: f"[{','.join(each)}]"),
    ),
    max_leaves=6,
).filter(lambda text: text.startswith("{"))


@given(PROMPTS)
@example('{"a":"here stood the prompt","prompt":"' + "x" * 300 + '"}')
@example('{"prompt":1,"prompt":"' + "x" * 300 + '"}')
@example('{"content":"' + "x" * 300 + '","content":"y"}')
@example('{"content":{"a":"' + "x" * 300 + '"}}')
@example('{"a":[1,{"content":"' + 'x\\"' * 100 + '"}]}')
def test_a_line_that_ends_with_its_prompt_says_what_any_parser_reads_in_it(text: str) -> None:
    """The prompt is read apart from what is around it; nothing that is said may depend on that."""
    found = read(text.encode())
    if slow_has_duplicate(text):
        assert isinstance(found, Problem)
        assert found.code == "duplicate-key"
    else:
        assert found == json.loads(text)


@pytest.mark.parametrize(
    ("inside", "code"),
    [(b"\xe9", "not-utf-8"), (b"\\ud800", "surrogate"), (b"\t", "not-json"), (b"\x00", "nul"), (b'" x "', "not-json")],
)
def test_what_is_wrong_inside_a_long_prompt_is_named(inside: bytes, code: str) -> None:
    line = b'{"id": 1, "prompt": "' + b"x" * 300 + inside + b"x" * 300 + b'"}'
    assert problem(line).code == code


def test_a_duplicate_key_is_named_at_any_depth() -> None:
    found = problem(b'{"a": [{"model": 1, "x": 2, "model": 3}]}')
    assert (found.code, found.field) == ("duplicate-key", "model")
    assert found.why == "the key 'model' is there twice in one object"


def nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def test_nesting_is_bounded_and_never_overflows() -> None:
    assert isinstance(read(nested(DEPTH_MAX)), dict)
    for depth in (DEPTH_MAX + 1, 900, 5_000, 200_000):
        assert problem(nested(depth)).code == "too-deep"
    for depth in (DEPTH_MAX + 1, 900, 5_000, 200_000):
        assert problem(nested(depth)[: -depth // 2]).code == "too-deep", "also where it is no JSON at all"
    assert problem(b'{"a": NaN, "b": ' + nested(DEPTH_MAX)).code == "too-deep"
    assert problem(b'{"a": "' + b"[" * 200 + b'\\"' + b"{" * 200).code == "not-json", "brackets in strings do not count"


@pytest.mark.parametrize(
    ("line", "code", "why"),
    [
        (b'{"a": NaN}', "not-finite", "NaN is not JSON"),
        (b'{"a": -Infinity}', "not-finite", "-Infinity is not JSON"),
        (b'{"a": 1e999}', "not-finite", "1e999 is larger than any number"),
        (b'{"a": "\\ud800"}', "surrogate", "\\ud800 is half a character (a lone surrogate)"),
        (b'{"a": "\\udc00 and more text"}', "surrogate", "\\udc00 is half a character (a lone surrogate)"),
        (b'{"\\ud83d": 1}', "surrogate", "\\ud83d is half a character (a lone surrogate)"),
        (b'{"a": "\xe9"}', "not-utf-8", "byte 7 (0xe9) is not valid UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', "not-utf-8", "byte 7 (0xed) is not valid UTF-8"),
        (b'\xff\xfe{\x00"\x00', "not-utf-8", "this is UTF-16, not UTF-8"),
        (b'{\x00"\x00a\x00', "not-utf-8", "this is UTF-16, not UTF-8"),
        (b'{"a": "x\x00"}', "nul", "a NUL byte at byte 8; no JSON has one"),
        (b'\xef\xbb\xbf{"a": 1}', "byte-order-mark", "a byte order mark inside the file"),
        (b'{"a": 1', "not-json", "the JSON ends too early"),
        (b'{"a": 1} {"b": 2}', "not-json", "no JSON: trailing characters (byte 10)"),
        (b'{"a": "\t"}', "not-json", "no JSON: invalid character (byte 7)"),
        (b'{"a": 1' + b"0" * 5_000 + b"}", "not-json", "no JSON: Integer value out of range"),
        (b"[1, 2]", "not-an-object", "the line is no JSON object"),
        (b'"text"', "not-an-object", "the line is no JSON object"),
    ],
    ids=lambda value: value[:24] if isinstance(value, bytes) else "",
)
def test_what_is_not_strict_json_is_named(line: bytes, code: str, why: str) -> None:
    found = problem(line)
    assert (found.code, found.why) == (code, why)
    assert found.fix


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        (b"[", "one object a line, not an array: jq -c '.[]' FILE"),
        (b"[{}]", "one object a line, not an array: jq -c '.[]' FILE"),
        (b"{", "one object a line: jq -c . FILE"),
        (b"{'a': 1}", "JSON takes double quotes: write \"text\", not 'text'"),
    ],
)
def test_the_fix_fits_the_usual_mistakes(line: bytes, fix: str) -> None:
    assert problem(line).fix == fix


@given(st.binary(max_size=40))
@example(b'{"a":"\\')
def test_any_bytes_are_an_object_or_a_problem(line: bytes) -> None:
    found = read(line)
    if isinstance(found, dict):
        assert json.loads(line) == found
