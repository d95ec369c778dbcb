"""Bugs in asking again with other bodies, and in deleting what was asked: unproven, forgotten, left behind."""

from __future__ import annotations

from planted.bug import Bug

FOLD = "tests/core/test_second_chances.py"
STORE = "tests/store/test_contract.py"
AMENDING = "tests/cli/test_cli_amend.py"
REDACTING = "tests/cli/test_cli_redact.py"

SECOND_CHANCES = (
    Bug(
        "what is in a batch gets another body",
        "A body is replaced only while nobody is asked it.",
        "ledger/core/evolving_requests.py",
        "    waits_again = status == PENDING and columns.chunk[ordinal]",
        "    waits_again = columns.chunk[ordinal]",
        (f"{FOLD}::test_what_is_on_its_way_is_left_alone",),
    ),
    Bug(
        "what is redacted is asked again",
        "A request without a body is never sent.",
        "ledger/core/evolving_requests.py",
        "columns.status[ordinal] < FINAL or columns.is_redacted(ordinal):",
        "columns.status[ordinal] < FINAL:",
        (f"{FOLD}::test_what_is_redacted_is_neither_asked_again_nor_redacted_twice",),
    ),
    Bug(
        "of a body replaced twice only the first is kept",
        "Every body that was ever asked stays, in the order of its event.",
        "ledger/store/rewriting.py",
        "        current[body.ordinal] = body\n",
        "",
        (f"{STORE}::test_bodies_that_are_replaced_are_kept_in_the_order_of_their_events",),
    ),
    Bug(
        "bodies that the log forgot stay replaced",
        "After a torn write the bodies are those that the log knows.",
        "ledger/store/rewriting.py",
        "        kept = max(known - block.first, 0)",
        "        kept = len(bodies)",
        (f"{STORE}::test_amendments_that_the_log_does_not_know_of_are_taken_back",),
    ),
    Bug(
        "superseded bodies are not redacted",
        "Nothing of what was asked is left.",
        "ledger/store/rewriting.py",
        "    _redact_superseded(connection, wanted)\n",
        "",
        (f"{REDACTING}::test_no_piece_of_what_was_stored_is_left_in_any_file",),
    ),
    Bug(
        "the file is not built anew, and nothing is overwritten",
        "Nothing of what was asked is left, in free pages and in the -wal neither.",
        "ledger/store/sqlite.py",
        '            self._connection.execute("VACUUM")\n',
        '            self._connection.execute("PRAGMA secure_delete=OFF")\n',
        (f"{REDACTING}::test_what_was_deleted_before_without_being_overwritten_is_gone_too",),
    ),
    Bug(
        "the index keeps the digests",
        "What is redacted is forgotten by the user's index, too.",
        "ledger/redacting.py",
        "    problem = forget(state)\n",
        '    problem = ""\n',
        (f"{REDACTING}::test_the_index_forgets_the_ledger_and_is_not_told_of_what_is_gone",),
    ),
    Bug(
        "open items are redacted",
        "What has no outcome yet is refused.",
        "ledger/redacting.py",
        "    _require_done(log, state, wanted)\n",
        "",
        (f"{REDACTING}::test_an_item_without_an_outcome_is_refused_and_nothing_is_deleted",),
    ),
    Bug(
        "a deletion that nobody recorded is no breach",
        "What is gone must be said to be gone.",
        "ledger/files/bodyaudit.py",
        "        for start, end in zip(*[iter(to_ranges(sorted(self._met)))] * 2, strict=True):",
        "        for start, end in zip(*[iter(to_ranges([]))] * 2, strict=True):",
        (f"{REDACTING}::test_what_is_gone_without_an_event_is_a_breach",),
    ),
    Bug(
        "the body that was replaced is not compared",
        "The audit proves every body that was ever asked.",
        "ledger/files/bodyaudit.py",
        "            *self._compare(position, ordinal, kept[number], event.old_digest),\n",
        "",
        (f"{AMENDING}::test_a_kept_body_that_was_changed_is_found_by_the_audit",),
    ),
    Bug(
        "a body is sent unchecked with the other model",
        "Bad input is refused by name, before money is spent.",
        "ledger/amending.py",
        "            if isinstance(parsed, Problem):\n                return parsed",
        "            if isinstance(parsed, Problem):\n                return _Change(ordinal, before, None, None)",
        (f"{AMENDING}::test_limits_of_the_other_model_are_checked_by_id_before_anything_is_changed",),
    ),
    Bug(
        "answers to the body before are taken for the new one",
        "An answer is taken only for the very body that it answered.",
        "ledger/otherledger.py",
        "                    self._built_at[_decode_ordinal(row.data).ordinal] = row.position",
        "                    pass",
        (f"{AMENDING}::test_an_answer_for_the_body_before_is_not_taken_into_another_ledger",),
    ),
)
