"""What ``make demo`` runs: a batch run that is killed twice with SIGKILL, resumed, and then checked by its service.

The commands are the shipped ones, each in a process of its own; the service is the built-in simulator, which keeps
books of its own beside the ledger. What is claimed at the end is computed from those books, from the answers as
``ledger results`` prints them, and from ``ledger replay --audit``. Ends with 1 if any claim is false.

    python examples/demo.py [--directory .demo]
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from ledger import Ledger, LedgerError, Summary
from ledger.service.simulator.bill import Bill, draw_bill
from ledger.service.simulator.clocks import real_clock
from ledger.service.simulator.journal import open_simulator
from ledger.service.simulator.settings import Settings

ITEMS = Path(__file__).with_name("products.jsonl")
LEDGER = Path(sys.executable).with_name("ledger")
MODEL = "claude-sonnet-4-6"
# US dollars per million tokens of that model in batches (pricing page, 2026-10-08): written down here once more, so
# that what the ledger says of its cost is compared with something that is not the ledger.
INPUT_USD, OUTPUT_USD = Decimal("1.50"), Decimal("7.50")
LOOK_SECONDS = 0.03
PATIENCE_SECONDS = 120.0
ATTEMPTS = 3


class TooFastError(Exception):
    """A run was over before it could be killed; the play begins anew."""


class Claim(NamedTuple):
    """One line of the report, and whether it is true."""

    name: str
    value: str
    meaning: str
    holds: bool


def say(text: str = "") -> None:
    """Print a line at once: the next process may be killed."""
    print(text, flush=True)  # noqa: T201 - a demo talks


def command_line(*arguments: str) -> list[str]:
    """Show a command as a person would type it, and return it as it is started."""
    shown: list[str] = []
    for word in arguments:
        word = shlex.quote(os.path.relpath(word) if os.sep in word else word)
        if shown and shown[-1].startswith("--") and " " not in shown[-1] and not word.startswith("--"):
            shown[-1] += f" {word}"  # an option and its value stay on one line
        else:
            shown.append(word)
    lines, line = [], "$ ledger"
    for words in shown:
        if len(line) + len(words) > 76:
            lines.append(f"{line} \\")
            line = "   "
        line += f" {words}"
    say("\n".join([*lines, line]))
    return [str(LEDGER), *arguments]


@contextmanager
def started(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command in the background; whatever happens, it does not outlive the demo."""
    with log.open("ab") as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)  # noqa: S603 - our own program
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def watch(process: subprocess.Popen[bytes], book: Path, enough: Callable[[Summary], bool]) -> None:
    """Return as soon as the ledger of a running process says so; reading it disturbs nobody.

    Raises:
        TooFastError: the process was over before.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if enough(Ledger(book).summary()):
                return
        except LedgerError:
            pass  # the file is not there yet
        time.sleep(LOOK_SECONDS)
    raise TooFastError


def kill(process: subprocess.Popen[bytes], book: Path) -> None:
    """Kill a process as a power failure would, and say what it left behind."""
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = Ledger(book).summary()
    say(f"kill -9 {process.pid}")
    say(f"  killed: {left.batches} batches accepted, {left.asked - left.pending} of {left.asked} answers stored")
    say()


def play(book: Path, log: Path) -> int:
    """Run the job, kill it while it submits and while it collects; return the exit code of the last resumption."""
    options = ("--model", MODEL, "--max-tokens", "1024", "--chunk-requests", "40")
    run = command_line("run", str(ITEMS), *options, "--ledger", str(book), "--simulate")
    with started(run, log) as process:
        watch(process, book, lambda so_far: so_far.batches >= 3)
        kill(process, book)
    with started(command_line("resume", str(book)), log) as process:
        watch(process, book, lambda so_far: so_far.pending * 2 <= so_far.asked)
        kill(process, book)
    with started(command_line("resume", str(book)), log) as process:
        code = process.wait(PATIENCE_SECONDS)
    ended = Ledger(book).summary()
    say(f"  {ended.state}: {ended.asked - ended.pending} of {ended.asked} answers stored, exit code {code}")
    say()
    return code


def service_books(book: Path) -> Bill:
    """Return what the simulated service has accepted and charged, from its own file."""
    simulator, _, journal = open_simulator(Settings(), book.with_name(book.name + ".sim"), real_clock())
    if journal is not None:
        journal.close()
    return draw_bill(simulator.batches, real_clock())


def output_of(*arguments: str) -> tuple[int, str]:
    """Return the exit code of a command and what it printed."""
    done = subprocess.run([LEDGER, *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - our own program
    return done.returncode, done.stdout


def claims(book: Path, code: int) -> list[Claim]:
    """Return what the demo claims, each with the evidence for it."""
    asked = [json.loads(line)["id"] for line in ITEMS.open(encoding="utf-8")]
    answers = [json.loads(line) for line in output_of("results", "--ledger", str(book))[1].splitlines()]
    outcomes = Counter(answer["outcome"] for answer in answers)
    bill = service_books(book)
    tokens = bill.tokens[MODEL]
    charged_usd = (tokens.input_tokens * INPUT_USD + tokens.output_tokens * OUTPUT_USD) / 1_000_000
    total = Ledger(book).costs().total
    audit_code, audit_text = output_of("replay", "--audit", "--json", "--ledger", str(book))
    audit = json.loads(audit_text)
    told = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    repeated = bill.prompts_billed_twice + bill.prompts_accepted_twice
    return [
        Claim("asked", f"{len(asked)}", f"lines of {ITEMS.name}", len(asked) == 300),
        Claim(
            "answered",
            f"{len(answers)}",
            f"{told}; in the order of the input",
            [answer["custom_id"] for answer in answers] == asked and code == (0 if outcomes["ok"] == len(asked) else 1),
        ),
        Claim("batches", f"{bill.batches}", "accepted by the service", bill.batches == Ledger(book).summary().batches),
        Claim("billed twice", f"{repeated}", "according to the service's own books", repeated == 0),
        Claim("cost", f"${charged_usd:.4f}", "the same in both books", charged_usd == total.cost_usd),
        Claim(
            "at full price", f"${charged_usd * 2:.4f}", "without the Batches API", total.standard_usd == charged_usd * 2
        ),
        Claim(
            "audit",
            "ok" if audit_code == 0 else "FAILED",
            f"{audit['events']:,} events, every hash and payload checked",
            audit_code == 0 and audit["ok"],
        ),
    ]


def report(found: list[Claim]) -> bool:
    """Print the claims; return whether all are true."""
    say("What the simulated service and the ledger say afterwards:")
    say()
    for claim in found:
        say(f"  {claim.name:<14} {claim.value:>8}   {claim.meaning}{'' if claim.holds else '  <- NOT TRUE'}")
    say()
    values = {claim.name: claim.value for claim in found}
    say(", ".join(f"{name} {values[name]}" for name in ("asked", "answered", "billed twice", "audit")))
    return all(claim.holds for claim in found)


def advise(book: Path) -> None:
    """Print what to try next, in words that can be pasted."""
    on_path = shutil.which("ledger")
    ledger = "ledger" if on_path and Path(on_path) == LEDGER else os.path.relpath(LEDGER)
    shown = os.path.relpath(book)
    say()
    say("Try next:")
    for what in (f"status {shown}", f"results {shown} | head -n 2", f"costs {shown} --by batch", f"events {shown}"):
        say(f"  {ledger} {what}")


def main() -> int:
    """Play, report, and return 0 if every claim is true."""
    parser = argparse.ArgumentParser(description="A run that is killed twice, and what it cost.")
    parser.add_argument("--directory", type=Path, default=Path(".demo"), help="is emptied first")
    place: Path = parser.parse_args().directory
    book, log = place.resolve() / "products.simulated.ledger", place.resolve() / "log.txt"
    os.environ.setdefault("BATCH_LEDGER_INDEX", "off")  # a demo leaves nothing outside of its directory
    for attempt in range(1, ATTEMPTS + 1):
        place.mkdir(mode=0o700, exist_ok=True)
        for path in [*place.glob(f"{book.name}*"), *place.glob(log.name)]:
            path.unlink()
        try:
            code = play(book, log)
            break
        except TooFastError:
            if attempt == ATTEMPTS:
                say(f"no run could be killed half-way; the last one said:\n{log.read_text(encoding='utf-8')}")
                return 1
            say("(it was over before it could be killed; once more)\n")
    all_true = report(claims(book, code))
    advise(book)
    return 0 if all_true else 1


if __name__ == "__main__":
    sys.exit(main())
