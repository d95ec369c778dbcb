"""Bugs in the brake: money that is not counted, errors that stop nothing, pauses that lift themselves."""

from __future__ import annotations

from planted.bug import Bug

BUDGETS = "tests/core/test_budget.py"
CANARIES = "tests/core/test_canary.py"
COMMANDS = "tests/cli/test_cli_brake.py"

BRAKING = (
    Bug(
        "what is on its way costs nothing",
        "A budget counts what was let go with the most it can cost, until it is known what it did cost.",
        "ledger/core/budget.py",
        'for chunk in state.chunks_in("prepared", "released", "uncertain", "submitted", "ended"):',
        'for chunk in state.chunks_in("prepared", "released"):',
        (BUDGETS,),
    ),
    Bug(
        "lost rows cost nothing",
        "Rows that may have been billed although nobody says what count at their dearest.",
        "ledger/core/budget.py",
        "EXACT.add(exposure.unmetered_usd(state), exposure.twins_usd(state))",
        "exposure.twins_usd(state)",
        (BUDGETS,),
    ),
    Bug(
        "second batches cost nothing",
        "A twin counts with its bound until its rows say what it cost.",
        "ledger/core/budget.py",
        "EXACT.add(exposure.unmetered_usd(state), exposure.twins_usd(state))",
        "exposure.unmetered_usd(state)",
        (BUDGETS,),
    ),
    Bug(
        "answers are shorter than they may be",
        "The bound of a request holds for an answer of max_tokens.",
        "ledger/core/budget.py",
        "EXACT.fma(rated.output, one.max_tokens,",
        "EXACT.fma(rated.output, one.max_tokens // 2,",
        (BUDGETS,),
    ),
    Bug(
        "two submissions take the same money",
        "A submission that was decided on begins only if the budget still has room for it.",
        "ledger/core/sending.py",
        " and affordable(state, one)\n",
        "\n",
        (BUDGETS,),
    ),
    Bug(
        "saying a budget again lifts the pause",
        "Repeating a command lifts no brake.",
        "ledger/core/requests.py",
        "    if state.budget is not None and (before.max_usd, before.mode) == (request.max_usd, request.mode):\n",
        "    if False:\n",
        (BUDGETS,),
    ),
    Bug(
        "a canary is not waited for",
        "Nothing fresh is sealed while the verdict on a canary is owed.",
        "ledger/core/sending.py",
        "    if verdict_owed(state):\n",
        "    if False:\n",
        (CANARIES,),
    ),
    Bug(
        "a few errors stop everything",
        "Fewer than five errors trip nothing.",
        "ledger/core/canary.py",
        "    if failed < FAILED_AT_LEAST or failed <= rate * requests:\n",
        "    if failed <= rate * requests:\n",
        (CANARIES,),
    ),
    Bug(
        "a lifted breaker trips over old errors",
        "Lifting a brake counts errors anew.",
        "ledger/core/evolve.py",
        "            if event.reason in BRAKES:",
        "            if not event.reason:",
        (CANARIES,),
    ),
    Bug(
        "off a terminal everything is agreed to",
        "Nothing that is expected to cost more than $10 is sent without anybody's agreement.",
        "cli/conduct.py",
        "            return estimate.total.cost_usd is not None and estimate.total.cost_usd <= ASK_ABOVE_USD\n",
        "            return True\n",
        (COMMANDS,),
    ),
)
