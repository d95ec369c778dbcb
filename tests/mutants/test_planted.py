"""The planted bugs follow the source, and planting one shows: ``make mutants`` plants them all."""

from __future__ import annotations

import ast
import re
from collections import Counter

import pytest
from mutants import ROOT, UnjudgedError, judge, laboratory, plant, prove_imports
from planted import BUGS, Bug

COMMENT = Bug(
    "a comment says something else",
    "Nothing.",
    "ledger/core/chunks.py",
    "the documented 256 MB, read as decimal",
    "the documented 256 MB, read aloud",
    ("tests/core/test_chunks.py::test_the_limits_of_the_api_leave_a_margin",),
)
MARGIN = COMMENT._replace(
    name="no margin", breaks="A batch stays below the limit.", old="MAX_BYTES = 250_000_000", new="MAX_BYTES = 10**9"
)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_every_bug_applies_to_the_source_as_it_is(bug: Bug) -> None:
    source = (ROOT / bug.file).read_text(encoding="utf-8")
    sick = plant(source, bug)
    assert ast.dump(ast.parse(sick)) != ast.dump(ast.parse(source))


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_the_tests_that_should_catch_a_bug_are_there(bug: Bug) -> None:
    for selected in bug.tests:
        file, _, name = selected.partition("::")
        assert (ROOT / file).exists()
        assert not name or re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_no_two_bugs_have_one_name() -> None:
    assert [name for name, times in Counter(bug.name for bug in BUGS).items() if times > 1] == []


def test_what_stands_there_twice_or_not_at_all_is_not_planted() -> None:
    bug = COMMENT._replace(old="a", new="b")
    for source in ("", "a a"):
        with pytest.raises(UnjudgedError, match="not once"):
            plant(source, bug)


def test_a_bug_is_caught_by_the_test_that_notices_it_and_survives_where_none_does() -> None:
    with laboratory() as (base, place):
        prove_imports(base, place)
        caught, survived = judge(MARGIN, base, place), judge(COMMENT, base, place)
        assert caught.caught_by == MARGIN.tests[0]
        assert survived.survived
        hung = judge(
            MARGIN._replace(old="MAX_BYTES = 250_000_000", new="while True: pass\nMAX_BYTES = 1"), base, place, 1
        )
        assert (hung.hung, hung.survived) == (True, False)
