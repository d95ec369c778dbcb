"""A process that forks a process for each order it reads: importing the SDK takes two seconds, and is done once.

An order is a line of JSON. ``{"argv": […]}`` runs the installed command ``ledger`` with these arguments;
``{"action": "run" | "resume" | "recover", …}`` does the same through the library, where the process can be told after
how many durable events it kills itself. ``{"wait": PID}`` returns how a process ended, ``{"look": PID}`` the same or
null while it has not.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from ledger import Ledger
from ledger.core.errors import LedgerError
from ledger.service.gateway import AnthropicGateway


class Mortal:
    """A listener that kills its process with SIGKILL right after so many events became durable; 0 for never."""

    def __init__(self, dies_after: int) -> None:
        self._left = dies_after

    def recorded(self, position: int, at: int, event: object, state: object) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def waiting(self, reasons: object, state: object) -> None:
        pass


def command(argv: list[str]) -> int:
    """Run the installed command."""
    (found,) = entry_points(group="console_scripts", name="ledger")
    sys.argv = ["ledger", *argv]
    try:
        found.load()(argv)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0


def act(order: dict[str, Any]) -> int:
    """Do the same through the library."""
    ledger = Ledger(
        order["path"],
        base_url=order["base_url"],
        api_key="k",
        listener=Mortal(order.get("dies_after", 0)),
        take_over=order.get("take_over", False),
    )
    try:
        if order["action"] == "run":
            return ledger.run(order["items"], **order.get("said", {})).exit_code
        if order["action"] == "recover":
            ledger.recover(order.get("items"))
            return 0
        return ledger.resume().exit_code
    except LedgerError as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code


def live(order: dict[str, Any]) -> None:
    """Be the forked process."""
    for number, name in ((0, os.devnull), (1, order["out"]), (2, order["out"])):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), number)
    code = 99
    try:
        code = command(order["argv"]) if "argv" in order else act(order)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def main() -> None:
    """Answer orders until there are no more."""
    AnthropicGateway(api_key="k", base_url="http://127.0.0.1:9")  # whatever the SDK does once is done before the forks
    for line in sys.stdin:
        order = json.loads(line)
        answer: int | None
        if "wait" in order or "look" in order:
            pid, status = os.waitpid(order.get("wait") or order["look"], 0 if "wait" in order else os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if not answer:
                live(order)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    os.chdir(Path(__file__).parent)
    main()
