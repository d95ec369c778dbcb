"""Bugs in taking answers from other ledgers: no answer to the question, not proven, paid for all the same."""

from __future__ import annotations

from planted.bug import Bug

FOLD = "tests/core/test_reuse.py"
TAKING = "tests/hostile/test_reusing.py"
INDEX = "tests/store/test_answerindex.py"
COMMANDS = "tests/cli/test_cli_reuse.py"

REUSING = (
    Bug(
        "truncated answers are taken",
        "Only answers that are ok are taken from another ledger.",
        "ledger/core/columns.py",
        "STATUS_OF_OUTCOME: dict[Outcome, int] = {outcome: FINAL + index for index, outcome in enumerate(OUTCOMES)}",
        "STATUS_OF_OUTCOME: dict[Outcome, int] = {outcome: FINAL + index for index, outcome in enumerate(OUTCOMES)} "
        '| {"truncated": FINAL}',
        (f"{TAKING}::test_truncated_and_refused_answers_are_asked_for_again",),
    ),
    Bug(
        "a key that meets is a body that is equal",
        "Bodies are compared byte by byte, not by their digests.",
        "ledger/otherledger.py",
        "if theirs[ordinal] == asked.params]",
        "if theirs]",
        (f"{TAKING}::test_a_key_that_meets_is_not_enough",),
    ),
    Bug(
        "rows are taken unproven",
        "A row is taken only if it has the digest that was recorded when it came.",
        "ledger/otherledger.py",
        "if digest(payload.salt, payload.row) != event.digest or answer is None",
        "if answer is None",
        (f"{TAKING}::test_one_changed_answer_of_the_other_ledger_is_told_and_nothing_is_sent",),
    ),
    Bug(
        "other beta headers do not matter",
        "Answers are taken only from requests with the same beta headers.",
        "ledger/core/reuse.py",
        "if sorted(other.defaults.betas) != sorted(own.defaults.betas):",
        "if not own.defaults:",
        (f"{TAKING}::test_a_ledger_that_was_asked_with_other_betas_is_refused",),
    ),
    Bug(
        "other services do not matter",
        "Answers of the simulator are no answers of the service.",
        "ledger/core/reuse.py",
        "if other.origin != own.origin:",
        "if not other.origin:",
        (f"{TAKING}::test_a_ledger_of_another_service_is_refused",),
    ),
    Bug(
        "what was sent is taken, too",
        "A request that was ever sent may be paid for: it takes no answer.",
        "ledger/core/evolving_reuse.py",
        "queue is None or not queue.discard(ordinal):",
        "queue is None or queue.discard(ordinal) is None:",
        (FOLD,),
    ),
    Bug(
        "another run's answers calm the breaker",
        "Errors are counted among what this run was answered.",
        "ledger/core/evolving_reuse.py",
        'state.released_outcomes["ok"] = state.released_outcomes.get("ok", 0) + 1',
        "pass",
        (FOLD,),
    ),
    Bug(
        "the other ledger is forgotten in between",
        "Who named another ledger, and was killed before its items were read, pays for none of its answers.",
        "ledger/ledger.py",
        "if not log.needs_recovery:  # else what waits may have been sent: that must be known first",
        "if log.needs_recovery:",
        (f"{TAKING}::test_who_ends_before_the_items_were_read_takes_them_when_the_run_goes_on",),
    ),
    Bug(
        "any row will do",
        "The audit tells whether a row was sent for the request that its event names.",
        "ledger/files/reusedaudit.py",
        "if wire is None or parse_wire_id(wire) !=",
        "if wire is not None and wire ==",
        (f"{TAKING}::test_the_audit_tells_whose_row_it_is",),
    ),
    Bug(
        "recovery drops what was taken",
        "Rows that an event names stay.",
        "ledger/ledger.py",
        "stored |= {place_of(number): reuse.taken for number, reuse in writer.state.reuses.items()}",
        "stored |= {}",
        (f"{TAKING}::test_a_ledger_that_lost_its_sidecar_keeps_what_it_took",),
    ),
    Bug(
        "the index has no secret",
        "Nobody can try whether a text was asked.",
        "ledger/store/bodyindex.py",
        "sha256(secret + body)",
        "sha256(body)",
        (INDEX,),
    ),
    Bug(
        "a broken index stops the run",
        "Whatever is wrong with the index is a warning.",
        "ledger/answered.py",
        "    except (IndexTroubleError, LedgerError) as problem:\n        return str(problem)",
        "    except LedgerError as problem:\n        return str(problem)",
        (COMMANDS,),
    ),
)
