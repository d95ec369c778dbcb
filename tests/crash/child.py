"""A process that forks a process for each order it reads: importing the SDK takes two seconds, and is done once.

An order is a line of JSON. ``{"argv": […]}`` runs the installed command ``ledger`` with these arguments, in the forked
process or (``"anew": true``) as the console script itself, in an interpreter of its own; ``{"action": "run" | "resume"
| "recover", …}`` does the same through the library. With ``"notes"`` the process writes down what was acknowledged, and
with ``"crash": [point, append]`` it kills itself there (``points.py``). ``"stops_at": TYPE`` makes it stop itself, as
SIGSTOP does, right after the first event of a type became durable. ``{"wait": PID}`` returns how a process ended,
``{"look": PID}`` the same or null while it has not.
"""

from __future__ import annotations

import json
import os
import pkgutil
import signal
import sys
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import ledger_cli
from points import Crash, watch

import ledger
from ledger import Ledger
from ledger.core import events as e
from ledger.core.errors import LedgerError
from ledger.service.gateway import AnthropicGateway


class Stopper:
    """A listener that stops its process right after the first event of a type became durable."""

    def __init__(self, type_name: str) -> None:
        self._type_name = type_name

    def recorded(self, position: int, at: int, event: e.AnyEvent, state: object) -> None:
        if e.TYPE_NAMES[type(event)] == self._type_name:
            self._type_name = ""
            os.kill(os.getpid(), signal.SIGSTOP)

    def waiting(self, reasons: object, state: object) -> None:
        pass


def command(argv: list[str], *, anew: bool) -> int:
    """Run the installed command."""
    if anew:
        os.execv(Path(sys.executable).with_name("ledger"), ["ledger", *argv])
    (found,) = entry_points(group="console_scripts", name="ledger")
    sys.argv = ["ledger", *argv]
    try:
        found.load()(argv)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0


def act(order: dict[str, Any]) -> int:
    """Do the same through the library."""
    run = Ledger(
        order["path"],
        base_url=order["base_url"],
        api_key="k",
        listener=Stopper(order.get("stops_at", "")),
        take_over=order.get("take_over", False),
    )
    try:
        if order["action"] == "run":
            return run.run(order["items"], **order.get("said", {})).exit_code
        if order["action"] == "recover":
            run.recover(order.get("items"))
            return 0
        return run.resume().exit_code
    except LedgerError as problem:
        print(problem, file=sys.stderr)
        return problem.exit_code


def live(order: dict[str, Any]) -> None:
    """Be the forked process."""
    for number, name in ((0, os.devnull), (1, order["out"]), (2, order["out"])):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), number)
    code = 99
    try:
        if "notes" in order:
            watch(Path(order["notes"]), Crash(*order["crash"]) if order.get("crash") else None)
        code = command(order["argv"], anew=order.get("anew", False)) if "argv" in order else act(order)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def warm_up() -> None:
    """Do before the forks whatever a process does once: the imports, and what the SDK prepares."""
    for package in (ledger, ledger_cli):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                import_module(module.name)
    AnthropicGateway(api_key="k", base_url="http://127.0.0.1:9")


def main() -> None:
    """Answer orders until there are no more."""
    warm_up()
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
