"""The command line: one small file a command, imported when it is run and not before.

The answer of a command goes to standard output; progress, warnings, questions and the next command to type go to
standard error.
"""

from __future__ import annotations

import gc

from .application import Application

SECTIONS: dict[str, dict[str, str]] = {
    "Begin": {
        "init": "Write a ledger.toml: what holds where no option says otherwise.",
        "doctor": "Say whether everything is as a run needs it.",
        "completion": "Write what completes commands and options in your shell.",
    },
    "Run": {
        "check": "Say what is wrong with items, how they would be sent, and what they may cost.",
        "run": "Take in items, send them, wait, and store every answer.",
        "resume": "Go on where the last process ended, however it ended.",
        "retry": "Ask again what went wrong, and nothing else.",
    },
    "Look": {
        "status": "Show where a run stands, its batches, and what needs a person.",
        "results": "Write the answers as JSON lines, in the order of the input.",
        "show": "Tell the whole story of one item.",
        "diff": "Compare two runs: outcomes, answers, costs.",
        "costs": "Show what a run cost, and whether the batch discount was given.",
        "prices": "Show what tokens cost: today, or as a ledger recorded it.",
        "report": "Write one HTML page about a run, for people.",
        "receipt": "Write ten lines that prove later what a run came to.",
        "verify": "Hold a receipt against the ledger; 1 if any line differs.",
        "replay": "Refold the log: the state at any position, or with --audit the proof.",
        "events": "Show the log, event by event.",
    },
    "Decide": {
        "cancel": "Cancel batches at the service.",
        "resolve": "Decide about a chunk that is held or in doubt.",
        "recover": "Reconcile a restored or copied ledger with the service.",
        "copy": "Make a legitimate copy of a ledger.",
        "redact": "Delete what was asked and answered, for good.",
    },
    "Try": {
        "simulator": "Serve a simulated Message Batches API over HTTP.",
    },
}

# What this program makes by the million has no cycles. At Python's own thresholds the collector looks through the SDK's
# 150,000 objects again and again: 3% of a run, 0.15 s of importing the SDK.
gc.set_threshold(100_000, 50, 100)

main = Application(SECTIONS)
