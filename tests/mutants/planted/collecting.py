"""Bugs of fetching results: rows that are short, twice there, torn or gone."""

from __future__ import annotations

from planted.bug import READING, RUNNER, Bug

COLLECTING = (
    Bug(
        "a duplicate row replaces the first",
        "A row that comes twice is stored once and reported.",
        "ledger/collecting.py",
        "        elif ordinal in places:\n",
        "        elif False:\n",
        (f"{READING}::test_a_row_too_many_is_a_finding_and_is_not_stored",),
    ),
    Bug(
        "a result counted twice",
        "A result is counted once for each attempt, whatever is delivered.",
        "ledger/core/evolving_requests.py",
        """ != event.chunk or columns.status[ordinal] != IN_CHUNK:
        illegal(position, event, f"request {ordinal} is not waiting""",
        """ != event.chunk:
        illegal(position, event, f"request {ordinal} is not waiting""",
        ("tests/core/test_state.py::test_a_result_is_stored_once",),
    ),
    Bug(
        "collected when rows are short",
        "A batch counts as collected only when its rows are those that were submitted.",
        "ledger/collecting.py",
        "    if agree and (not missing or lasting):\n",
        "    if agree:\n",
        (f"{RUNNER}::test_no_trouble_in_reading_costs_an_answer",),
    ),
    Bug(
        "one short download is enough",
        "Rows are missing only when three complete downloads lack the same ones.",
        "ledger/perform.py",
        "GAPS_NEEDED = 3\n",
        "GAPS_NEEDED = 1\n",
        (f"{READING}::test_short_results_are_fetched_again",),
    ),
    Bug(
        "the service's counts are not compared",
        "A batch counts as collected only when its rows are those that the service counted.",
        "ledger/collecting.py",
        "    agree = tallies == counted or bool(missing)\n",
        "    agree = True\n",
        (f"{RUNNER}::test_counts_that_lie_hold_the_chunk_and_name_the_way_out",),
    ),
    Bug(
        "the state takes any collection",
        "The log refuses a collection whose rows are not those of the chunk.",
        "ledger/core/evolving_chunks.py",
        "    if chunk.batch != event.batch or rows != event.rows or rows + len(event.missing) != chunk.requests:\n",
        "    if chunk.batch != event.batch:\n",
        ("tests/core/test_state.py",),
    ),
    Bug(
        "a torn download is a whole one",
        "A download that ends inside a row is no complete one.",
        "ledger/collecting.py",
        "    if not pieces.ended_a_line and row.strip() and read_row(row) is None and job.failures < TORN_TIMES:\n",
        "    if False:\n",
        (f"{RUNNER}::test_a_download_that_ends_inside_a_row_is_no_complete_one",),
    ),
    Bug(
        "a 404 for results is the end",
        "Results are lost only when the batch is gone or archived, not when one answer says so.",
        "ledger/collecting.py",
        "    if seen.archived_at:\n",
        "    if True:\n",
        (f"{READING}::test_results_that_are_refused_once_are_not_lost",),
    ),
    Bug(
        "a batch is gone after one 404",
        "A batch is taken as deleted only when it was not found several times.",
        "ledger/core/looking.py",
        "GONE_TIMES = 3\n",
        "GONE_TIMES = 1\n",
        ("tests/core/test_looking.py",),
    ),
)
