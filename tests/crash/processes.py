"""Real processes for tests: started in milliseconds, killed at any moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class Process:
    """One forked process."""

    def __init__(self, nursery: Nursery, pid: int, out: Path) -> None:
        self.pid = pid
        self._nursery = nursery
        self._out = out
        self._code: int | None = None

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)  # it is a child of ours that nobody has waited for: its number is its own

    def kill(self) -> bool:
        """Kill it; return whether it was still at work."""
        self.signal(signal.SIGKILL)
        return self.wait() == -signal.SIGKILL

    def is_there(self) -> bool:
        """Whether it has not ended yet."""
        if self._code is None:
            self._code = self._nursery.ask({"look": self.pid})
        return self._code is None

    def wait(self) -> int:
        """Return its exit code, negative for a signal."""
        if self._code is None:
            self._code = self._nursery.ask({"wait": self.pid})
        assert self._code is not None
        return self._code

    def said(self) -> str:
        return self._out.read_text()


class Nursery:
    """The process that forks the others; see ``child.py``."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._count = 0
        child = Path(__file__).with_name("child.py")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", str(child)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # No certificates: loading those of the system is half of what a process costs, and nobody speaks TLS here.
            env=environment
            | {"ANTHROPIC_API_KEY": "k", "BATCH_LEDGER_INDEX": "off", "NO_COLOR": "1", "SSL_CERT_DIR": str(place)},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._process:  # closing its input ends it
            pass

    def ask(self, order: dict[str, Any]) -> int | None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert answer is None or isinstance(answer, int)
        return answer

    def _start(self, order: dict[str, Any]) -> Process:
        self._count += 1
        out = self._place / f"process-{self._count}.out"
        out.touch()
        pid = self.ask(order | {"out": str(out)})
        assert pid is not None
        return Process(self, pid, out)

    def command(self, argv: Sequence[str], **order: Any) -> Process:
        """Start the installed command ``ledger``; see ``child.py`` for the orders."""
        return self._start({"argv": list(argv), **order})

    def act(self, action: str, **order: Any) -> Process:
        """Start the library's ``run``, ``resume`` or ``recover``."""
        return self._start({"action": action, **order})
