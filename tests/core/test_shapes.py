"""A line that is like an earlier one is read quickly, and says what the careful parser says of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.core import shapes
from ledger.core.items import ITEM_BYTES_MAX, Defaults, ItemParser, Problem, Request
from ledger.core.shapes import SHAPES_MAX, LineParser, Shape, shape_of

MODEL = "claude-opus-5-5"
DEFAULTS = Defaults(model=MODEL, max_tokens=100)
HELLO = [{"role": "user", "content": "hello"}]
PARAMS: dict[str, Any] = {"model": MODEL, "max_tokens": 100, "messages": HELLO}
CACHED = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
SHAPED: dict[str, Any] = {
    "params": {"custom_id": "a", "params": PARAMS},
    "messages first": {"custom_id": "a", "mine": 1, "params": {"messages": HELLO, "model": MODEL, "max_tokens": 100}},
    "defaults filled in": {"custom_id": "a", "params": {"messages": HELLO}, "priority": 7},
    "a prompt": {"id": "a", "prompt": "hello", "category": "b"},
    "a number for an id": {"id": 17, "prompt": "hello"},
    "two ids": {"id": "mine", "custom_id": "a", "prompt": "hello"},
    "blocks": {"custom_id": "a", "prompt": [{"type": "text", "text": "one"}, {"type": "text", "text": "hello"}]},
    "cached": {"custom_id": "a", "params": {**PARAMS, "system": CACHED, "inference_geo": "us"}},
    "turns": {
        "custom_id": "a",
        "params": {**PARAMS, "messages": [*HELLO, {"role": "assistant", "content": "?"}, *HELLO]},
    },
    "elsewhere": {
        "custom_id": "a",
        "prompt": [{"type": "image", "source": {"type": "url", "url": "u"}}, {"type": "text", "text": "hello"}],
    },
}
UNSHAPED: dict[str, Any] = {
    "no id": {"prompt": "hello"},
    "the prompt twice": {"custom_id": "a", "note": "hello", "params": {**PARAMS, "metadata": {"content": "hello"}}},
    "an escaped id": {"id": 'a"', "prompt": "hello"},
    "the id behind": {"prompt": "hello", "id": "a"},
    "an image": {"id": "a", "prompt": [{"type": "image", "source": {"type": "base64", "data": ""}}]},
}
PIECES = [
    '"',
    "\\",
    "\\u",
    "d83d",
    "\\ude00",
    "é",
    "\t",
    " ",
    "\x7f",
    "\u3000",
    "x",
    "}",
    ",",
    '","',
    "\ud800",
    "0",
    "17",
]


def dump(item: Any) -> bytes:
    return json.dumps(item, ensure_ascii=False).encode()


def shape_like(item: Any) -> Shape | None:
    careful = ItemParser(DEFAULTS)
    line = dump(item)
    request = careful.parse(line)
    assert isinstance(request, Request)
    return shape_of(line, request, careful)


def read_by_shape(item: Any, line: bytes) -> Request | None:
    shape = shape_like(item)
    assert shape is not None
    return shape.request(line)


@pytest.mark.parametrize("item", SHAPED.values(), ids=SHAPED)
@pytest.mark.parametrize("prompt", ["good bye", '\\" \\\\ \\n \\/ \\u20ac \\ud83d\\ude00', "ünï\u2028", " x", "}]}"])
def test_another_id_and_another_prompt_make_another_request(item: Any, prompt: str) -> None:
    line = dump(item)
    at = line.rindex(b'"hello"')
    old_id, new_id = (b"17", b"4711") if item.get("id") == 17 else (b'"a"', '"b-ü.7"'.encode())
    other = line[:at].replace(old_id, new_id, 1) + b'"%b"' % prompt.encode() + line[at + len(b'"hello"') :]
    found = read_by_shape(item, other)
    assert found is not None
    assert found == ItemParser(DEFAULTS).parse(other)
    assert found.row == other


@pytest.mark.parametrize("item", UNSHAPED.values(), ids=UNSHAPED)
def test_a_line_without_an_id_and_a_prompt_behind_it_has_no_shape(item: Any) -> None:
    assert shape_like(item) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"hello"', b'""'),
        (b'"hello"', b'" \\n\\u3000"'),
        (b'"hello"', b'"\\ud800"'),
        (b'"hello"', b'"\xff"'),
        (b'"hello"', b'"\xed\xa0\x80"'),
        (b'"hello"', b'"a\tb"'),
        (b'"hello"', b'"\\x"'),
        (b'"hello"', b'"a", "b"'),
        (b'"hello"', b'"a", "role": "user"'),
        (b'"hello"', b"5"),
        (b'"hello"', b'"'),
        (b'"a"', b'""'),
        (b'"a"', b'"\\u0061"'),
        (b'"a"', b'"\x1b"'),
        (b'"a"', b'"\xff"'),
        (b'"a"', b'"a", "custom_id": "b"'),
        (b'"a"', b"007"),
        (b'"max_tokens": 100', b'"max_tokens": 1000000'),
        (b'"user"', b'"assistant"'),
        (b"}]}}", b"}]}}}"),
        (b"}]}}", b"}]}"),
    ],
)
def test_what_may_be_wrong_is_left_to_the_careful_parser(old: bytes, new: bytes) -> None:
    line = dump(SHAPED["params"]).replace(old, new, 1)
    assert read_by_shape(SHAPED["params"], line) is None
    parser = LineParser(ItemParser(DEFAULTS))
    parser.parse(dump(SHAPED["params"]))
    assert parser.parse(line) == ItemParser(DEFAULTS).parse(line)


def test_a_prompt_too_long_for_a_request_is_left_to_the_careful_parser() -> None:
    line = dump(SHAPED["params"]).replace(b"hello", b"x" * ITEM_BYTES_MAX)
    assert read_by_shape(SHAPED["params"], line) is None
    assert isinstance(ItemParser(DEFAULTS).parse(line), Problem)


def test_a_text_block_without_a_text_is_refused_by_both() -> None:
    """A single byte lost: `ext` instead of `text`."""
    blocks = [{"type": "image", "source": {"type": "url", "url": "u"}}, {"type": "text", "ext": "hello"}]
    line = dump({"custom_id": "a", "prompt": blocks})
    found = LineParser(ItemParser(DEFAULTS)).parse(line)
    assert found == ItemParser(DEFAULTS).parse(line)
    assert isinstance(found, Problem)
    assert found.field == "prompt[1].text"


@given(st.data())
def test_no_line_however_torn_is_read_otherwise_than_by_the_careful_parser(data: st.DataObject) -> None:
    """Everything that a hand or a program may do to a line, in the id, the prompt and around them."""
    items = data.draw(st.lists(st.sampled_from(list(SHAPED.values())), min_size=1, max_size=5))
    parser, careful = LineParser(ItemParser(DEFAULTS)), ItemParser(DEFAULTS)
    for item in items:
        line = json.dumps(item, ensure_ascii=data.draw(st.booleans()))
        for _ in range(data.draw(st.integers(0, 2))):
            places = [at for word in ("hello", '"a"', "17") for at in (line.find(word), line.find(word) + len(word))]
            at = data.draw(st.one_of(st.sampled_from([max(place, 0) for place in places]), st.integers(0, len(line))))
            piece = "".join(data.draw(st.lists(st.sampled_from(PIECES), max_size=3)))
            line = line[:at] + piece + line[at + data.draw(st.integers(0, 3)) :]
        raw = line.encode(errors="surrogatepass")
        assert parser.parse(raw) == careful.parse(raw)


def test_lines_of_several_shapes_are_told_apart_and_no_more_than_some(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = LineParser(ItemParser(DEFAULTS))
    looked: list[bytes] = []

    def counted(line: bytes, request: Request, careful: ItemParser) -> Shape | None:
        looked.append(line)
        return shape_of(line, request, careful)

    monkeypatch.setattr(shapes, "shape_of", counted)
    lines = [
        dump({"id": str(number), "model": MODEL, "system": f"system {number % (SHAPES_MAX + 2)}", "prompt": "hello"})
        for number in range(10 * SHAPES_MAX)
    ]
    assert [parser.parse(line) for line in lines] == [ItemParser(DEFAULTS).parse(line) for line in lines]
    assert looked == lines[:SHAPES_MAX]


def test_a_file_without_a_shape_is_not_searched_for_one_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = LineParser(ItemParser(DEFAULTS))
    looked: list[bytes] = []
    monkeypatch.setattr(shapes, "shape_of", lambda line, request, careful: looked.append(line))
    lines = [dump({"prompt": f"hello {number}"}) for number in range(2 * shapes.LOOKS_MAX)]
    assert all(isinstance(parser.parse(line), Request) for line in lines)
    assert looked == lines[: shapes.LOOKS_MAX]
