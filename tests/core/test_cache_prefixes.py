"""Marked prefixes: which requests could share an entry of the service's cache."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ledger.core.items import Defaults, Request, parse_item
from ledger.core.lints import count_breakpoints
from ledger.core.prefixes import SHARED_MAX, Prefix, SharedPrefixes, marked_prefixes

HOUR = {"type": "ephemeral", "ttl": "1h"}
SHORT = {"type": "ephemeral"}


def asked(prompt: str, **changes: Any) -> dict[str, Any]:
    system = [{"type": "text", "text": "Rules.", "cache_control": HOUR}]
    return {
        "model": "claude-sonnet-4-6",
        "max_tokens": 10,
        "system": system,
        "messages": [{"role": "user", "content": prompt}],
    } | changes


def test_what_comes_behind_the_mark_is_no_part_of_the_prefix() -> None:
    assert marked_prefixes(asked("one")) == marked_prefixes(asked("two", max_tokens=99, temperature=0.5))
    (prefix,) = marked_prefixes(asked("one"))
    assert (len(prefix.digest), prefix.minutes) == (16, 60)
    assert prefix.size_bytes == len(msgspec.json.encode(asked("")["system"][0]))


def test_what_an_entry_is_found_by_tells_prefixes_apart() -> None:
    others = [
        asked("one", model="claude-haiku-5-5"),
        asked("one", inference_geo="us"),
        asked("one", tools=[{"name": "look", "input_schema": {}}]),
        asked("one", tool_choice={"type": "any"}),
        asked("one", thinking={"type": "adaptive"}),
        asked("one", system=[{"type": "text", "text": "Rules!", "cache_control": HOUR}]),
    ]
    digests = [marked_prefixes(params)[-1].digest for params in (asked("one"), *others)]
    assert len(set(digests)) == len(digests)


def test_every_mark_ends_a_prefix_in_the_order_of_the_prompt() -> None:
    document = {"type": "text", "text": "A book.", "cache_control": SHORT}
    params = asked("", messages=[{"role": "user", "content": [document, {"type": "text", "text": "Why?"}]}])
    rules, book = marked_prefixes(params)
    assert rules == marked_prefixes(asked("x"))[0]
    assert (rules.minutes, book.minutes) == (60, 5)
    assert book.size_bytes > rules.size_bytes
    tools = [{"name": "look", "input_schema": {}, "cache_control": HOUR}]
    assert [prefix.minutes for prefix in marked_prefixes(params | {"tools": tools})] == [60, 60, 5]


def test_a_mark_at_the_top_means_the_whole_prompt() -> None:
    bare = {"model": "m", "messages": [{"role": "user", "content": "one"}], "cache_control": HOUR}
    (whole,) = marked_prefixes(bare)
    assert whole != marked_prefixes(bare | {"messages": [{"role": "user", "content": "two"}]})[0]
    assert len(marked_prefixes(asked("one", cache_control=HOUR))) == 2
    marked = [{"type": "text", "text": "one", "cache_control": HOUR}]
    assert len(marked_prefixes(bare | {"messages": [{"role": "user", "content": marked}]})) == 1


def test_a_mark_inside_a_tools_result_ends_the_prefix_with_that_result() -> None:
    result = {
        "type": "tool_result",
        "tool_use_id": "t",
        "content": [{"type": "text", "text": "4", "cache_control": HOUR}],
    }
    assert len(marked_prefixes({"model": "m", "messages": [{"role": "user", "content": [result]}]})) == 1


def test_a_speaker_is_a_part_of_what_is_said() -> None:
    said = [{"type": "text", "text": "one", "cache_control": HOUR}]
    one, other = ({"model": "m", "messages": [{"role": role, "content": said}]} for role in ("user", "assistant"))
    assert marked_prefixes(one) != marked_prefixes(other)


def test_an_item_knows_its_prefixes_and_one_without_marks_has_none() -> None:
    marked = parse_item(msgspec.json.encode({"custom_id": "a", "params": asked("one")}), Defaults())
    plain = parse_item(msgspec.json.encode({"custom_id": "a", "params": asked("one", system="Rules.")}), Defaults())
    assert isinstance(marked, Request)
    assert isinstance(plain, Request)
    assert (marked.prefixes, plain.prefixes) == (marked_prefixes(asked("one")), ())


_BLOCKS = st.lists(
    st.builds(
        lambda text, mark: {"type": "text", "text": text} | ({"cache_control": HOUR} if mark else {}),
        st.sampled_from("abc"),
        st.booleans(),
    ),
    max_size=3,
)


@given(_BLOCKS, st.lists(_BLOCKS, min_size=1, max_size=3))
def test_there_is_a_prefix_for_every_mark_and_each_is_longer_than_the_one_before(system: Any, contents: Any) -> None:
    params = {"model": "m", "system": system, "messages": [{"role": "user", "content": blocks} for blocks in contents]}
    prefixes = marked_prefixes(params)
    assert len(prefixes) == count_breakpoints(params)
    sizes = [prefix.size_bytes for prefix in prefixes]
    assert sizes == sorted(set(sizes))
    assert len({prefix.digest for prefix in prefixes}) == len(prefixes)


# ── which are shared ─────────────────────────────────────────────────────────────────────────────────────────────────


def prefix(number: int, minutes: int = 60, size_bytes: int = 100) -> Prefix:
    return Prefix(f"{number:016x}", size_bytes, minutes)


def test_a_prefix_is_shared_from_its_second_request_on() -> None:
    shared = SharedPrefixes()
    assert [shared.shared_by([prefix(1)]) for _ in range(3)] == [None, prefix(1), prefix(1)]
    assert SharedPrefixes([prefix(1).digest]).shared_by([prefix(1)]) == prefix(1)


def test_of_several_the_longest_that_another_request_has_counts_and_an_hour_before_minutes() -> None:
    shared, rules, book, chapter = SharedPrefixes(), prefix(1), prefix(2, size_bytes=200), prefix(3, 5, 300)
    shared.shared_by([rules, book, chapter])
    assert shared.shared_by([rules, prefix(7, size_bytes=200)]) == rules
    assert shared.shared_by([rules, book, prefix(8, 5, 300)]) == book
    assert shared.shared_by([rules, book, chapter]) == book
    assert shared.shared_by([chapter]) == chapter


def test_so_many_are_told_apart_and_no_more() -> None:
    shared = SharedPrefixes()
    for number in range(SHARED_MAX + 1):
        shared.shared_by([prefix(number)])
    found = [shared.shared_by([prefix(number)]) for number in range(SHARED_MAX + 1)]
    assert found.count(None) == 1
    assert found[-1] is None
