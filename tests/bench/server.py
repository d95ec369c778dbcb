"""The simulated service for the benchmark, in a process of its own: prints its URL, serves until it is ended.

Batches end half a second after their creation, so that the clients' own work is what is measured. Every request
succeeds; what goes wrong is measured by tests.
"""

from __future__ import annotations

import os
import signal
import sys

from ledger.service.simulator.http import run
from ledger.service.simulator.settings import CALM, Settings

TURNAROUND_SECONDS = 0.5
# About the length of the prompts' own text in tokens: answers of some 1.5 KB, rows of 2 KB.
ANSWER_TOKENS = 350


def main() -> None:
    """Serve; the first argument, if there is one, is the CPU to stay on."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if len(sys.argv) > 1:
        os.sched_setaffinity(0, {int(sys.argv[1])})  # type: ignore[attr-defined, unused-ignore]  # Linux only
    settings = Settings(
        turnaround_minimum_seconds=TURNAROUND_SECONDS,
        turnaround_maximum_seconds=TURNAROUND_SECONDS,
        output_tokens_minimum=ANSWER_TOKENS,
        output_tokens_maximum=ANSWER_TOKENS,
        queue_maximum=100_000_000,
        mix=CALM,
    )
    run(0, settings, announce=lambda url: print(url, flush=True))


if __name__ == "__main__":
    main()
