"""Bugs in cache priming: primers that nobody waits for, that are primed too often, or that are not told from others."""

from __future__ import annotations

from planted.bug import Bug

PREFIXES = "tests/core/test_cache_prefixes.py"
STATES = "tests/core/test_priming.py"
RUNS = "tests/test_priming_runs.py"

PRIMING = (
    Bug(
        "a primer is not waited for",
        "Nothing fresh is sealed while a primer is on its way.",
        "ledger/core/sending.py",
        "    return bool(priming)\n",
        "    return False\n",
        (STATES, RUNS),
    ),
    Bug(
        "a primer is waited for without end",
        "A primer is waited for no longer than a canary.",
        "ledger/core/priming.py",
        "        and not 0 < waited_until(state, chunk) <= now\n",
        "",
        (STATES, RUNS),
    ),
    Bug(
        "the cache is warm for ever",
        "A prefix is primed again when more than its hour has gone by.",
        "ledger/core/priming.py",
        "    return not known.used_at or state.server_date - known.used_at + max(now - asked_at, 0) >= WARM_US\n",
        "    return not known.used_at\n",
        (STATES,),
    ),
    Bug(
        "a primer that failed warms",
        "Only what was answered is taken to be in the cache.",
        "ledger/core/evolving_chunks.py",
        "    answered = [o for o in ordinals(chunk.ranges) if state.columns.status[o] in _ANSWERED]\n",
        "    answered = list(ordinals(chunk.ranges))\n",
        (STATES, RUNS),
    ),
    Bug(
        "primers that fail have successors without end",
        "A prefix is primed twice for what is sealed next, not more often.",
        "ledger/core/priming.py",
        "    if known.primings >= PRIMINGS_AT_MOST:\n",
        "    if False:\n",
        (STATES, RUNS),
    ),
    Bug(
        "priming in vain goes on",
        "Nothing is primed again once what followed read nothing.",
        "ledger/core/priming.py",
        "    if is_in_vain(state) or any(",
        "    if any(",
        (STATES,),
    ),
    Bug(
        "a prefix that one request has is primed",
        "Only what at least two waiting requests share is primed.",
        "ledger/core/priming.py",
        "if shared.requests > 1]",
        "if shared.requests > 0]",
        (STATES,),
    ),
    Bug(
        "a mark for five minutes is primed",
        "What is kept for five minutes is over before the next batch begins.",
        "ledger/core/priming.py",
        "if is_long_enough(shared) and is_kept_long_enough(shared)]",
        "if is_long_enough(shared)]",
        (STATES, RUNS),
    ),
    Bug(
        "the dearest prefix is primed last",
        "The prefixes that save most are primed first.",
        "ledger/core/priming.py",
        "key=lambda shared: (-value[shared.one.prefix], shared.first)",
        "key=lambda shared: (value[shared.one.prefix], shared.first)",
        (STATES,),
    ),
    Bug(
        "a primer keeps the canary from coming",
        "A canary goes first of all but primers.",
        "ledger/core/evolving_chunks.py",
        'event.cause in ("canary", "fresh", "recovered"):',
        'event.cause in ("canary", "fresh", "recovered", "priming"):',
        (STATES, RUNS),
    ),
    Bug(
        "prefixes of different models are one",
        "A cache entry is found by the model, too.",
        "ledger/core/prefixes.py",
        '("model", "inference_geo", "tool_choice", "thinking")',
        '("inference_geo", "tool_choice", "thinking")',
        (PREFIXES,),
    ),
    Bug(
        "what comes behind the mark is in the prefix",
        "A prefix ends with the block that is marked.",
        "ledger/core/prefixes.py",
        '    for piece, mark in _pieces(params):\n        key.update(len(piece).to_bytes(4, "big"))\n',
        '    key.update(_encode(params.get("messages")))\n    for piece, mark in _pieces(params):\n',
        (PREFIXES,),
    ),
)
