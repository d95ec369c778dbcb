"""What a million results cost the log: nothing is said of a result that is as most are."""

from __future__ import annotations

import msgspec
from running import World


def test_a_result_that_is_as_most_are_says_only_which_it_is_and_what_it_used() -> None:
    world = World(["Say 0.", "[[simulate:stop_sequence]]", "[[simulate:errored:api_error:1]]"])
    assert world.run() == 0
    rows = [msgspec.json.decode(row.data) for row in world.disk.rows if row.type_name == "result_stored"]
    said = {row["ordinal"]: row.keys() for row in rows if "outcome" not in row}
    usual = {"ordinal", "chunk", "digest", "usage", "model", "geo"}
    assert said == {0: usual, 1: usual | {"stop_reason"}, 2: usual}
