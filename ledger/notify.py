"""Notices to commands and URLs, beside the run: it never waits for them while it works, and never fails for them.

A command gets the notice as JSON on its standard input, and its main fields as ``BATCH_LEDGER_*`` variables. There is
no shell between, unless it is the command: ``sh -c '…'``. A URL gets the same JSON as the body of a POST, and, where
there is a secret, a signature: ``Batch-Ledger-Signature: t=SECONDS,v1=HEX``, the HMAC-SHA256 of ``SECONDS.BODY``. The
receiver computes the same, compares in constant time, and refuses what is older than some minutes.
``Batch-Ledger-Delivery`` is the same in every repetition of one notice.

What is told is in the log already; that it was told is nobody's history, and is not recorded.
"""

from __future__ import annotations

import hmac
import os
import queue
import secrets
import shlex
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.client import HTTPException
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import msgspec

from ledger.core.errors import UsageError
from ledger.core.notice import Notice

COMMAND_SECONDS = 30.0
URL_SECONDS = 10.0
PAUSES_SECONDS = (1.0, 5.0)
"""Before the second and the third try of a URL."""
CLOSING_SECONDS = 30.0
"""So long the end of a command waits for what is not delivered yet."""
VARIABLE_CHARACTERS = 4096
"""Of a text in a variable: what is too long keeps a command from being started."""
SECRET_VARIABLE = "BATCH_LEDGER_WEBHOOK_SECRET"  # noqa: S105 - its name
SIGNATURE_HEADER = "Batch-Ledger-Signature"
DELIVERY_HEADER = "Batch-Ledger-Delivery"
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


class Target(NamedTuple):
    """Who is told: a command's words, or a URL. ``name`` is safe to show; a URL's path may be a secret."""

    name: str
    words: tuple[str, ...]
    url: str


class DeliveryError(Exception):
    """A notice did not arrive; the text says why."""


def parse_target(text: str) -> Target:
    """Return whom ``--notify`` names.

    Raises:
        UsageError: it is no command that is there, and no URL that can be used.
    """
    if "://" in text.split(" ", 1)[0]:
        return _parse_url(text)
    try:
        words = tuple(shlex.split(text))
    except ValueError as problem:
        raise UsageError(f"--notify {text}: {problem}", next="--notify 'COMMAND ARGUMENT …'") from problem
    if not words or shutil.which(words[0]) is None:
        raise UsageError(
            f"--notify: there is no command {words[0] if words else text!r}",
            next="name a program with its arguments; for a shell: --notify \"sh -c '…'\"",
        )
    return Target(os.path.basename(words[0]), words, "")  # noqa: PTH119 - a word, no path


def _parse_url(text: str) -> Target:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or any(letter <= " " for letter in text):
        raise UsageError("--notify: this is no http or https URL", next="--notify https://HOST/PATH")
    if parts.username or parts.password:
        raise UsageError(
            "--notify: a URL with a password is not used",
            why="it would show in the list of processes",
            next=f"let the receiver check {SIGNATURE_HEADER}, with the secret of {SECRET_VARIABLE}",
        )
    return Target(f"{parts.scheme}://{parts.hostname}", (), text)


class Notifier:
    """Delivers notices in their order, from a thread of its own.

    Args:
        targets: who is told of each.
        secret: signs what URLs get; unsigned where it is empty.
        complain: is told, in a sentence, of what did not arrive.
        pauses_seconds: before each repetition for a URL.
        closing_seconds: how long ``close`` waits for what is under way.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        secret: str = "",
        complain: Callable[[str], None],
        pauses_seconds: Sequence[float] = PAUSES_SECONDS,
        closing_seconds: float = CLOSING_SECONDS,
    ) -> None:
        self._targets = tuple(targets)
        self._secret = secret
        self._complain = complain
        self._pauses_seconds = pauses_seconds
        self._closing_seconds = closing_seconds
        self._waiting: queue.SimpleQueue[Notice | None] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def tell(self, notice: Notice) -> None:
        """Have everybody told; returns at once."""
        if not self._targets:
            return
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name="notify", daemon=True)
            self._worker.start()
        self._waiting.put(notice)

    def close(self) -> None:
        """Wait until everybody is told, for so long at most."""
        if self._worker is None:
            return
        self._waiting.put(None)
        self._worker.join(self._closing_seconds)
        if self._worker.is_alive():
            self._complain("a notice was not delivered before the end: it took too long")
        self._worker = None

    def _work(self) -> None:
        while (notice := self._waiting.get()) is not None:
            body, delivery = msgspec.json.encode(notice), secrets.token_hex(16)
            for target in self._targets:
                try:
                    if target.url:
                        self._post(target, body, delivery)
                    else:
                        run_command(target.words, body, notice)
                except DeliveryError as problem:
                    self._complain(f"{target.name} was not told that {notice.event}: {problem}")

    def _post(self, target: Target, body: bytes, delivery: str) -> None:
        for pause_seconds in (*self._pauses_seconds, None):
            try:
                post(target.url, body, self._secret, delivery)
            except _AgainError as problem:
                if pause_seconds is None:
                    raise DeliveryError(str(problem)) from problem
                time.sleep(pause_seconds)
            else:
                return


class _AgainError(DeliveryError):
    """It may arrive when it is tried again."""


# ── commands ────────────────────────────────────────────────────────────────────────────────────────────────────


def run_command(words: Sequence[str], body: bytes, notice: Notice, seconds: float = COMMAND_SECONDS) -> None:
    """Run a command with a notice on its standard input; what it prints is thrown away.

    Raises:
        DeliveryError: it cannot be started, takes too long, or ends with another code than 0.
    """
    environment = {name: value for name, value in os.environ.items() if name != SECRET_VARIABLE}
    try:
        process = subprocess.Popen(  # noqa: S603 - a person's own command, from an option or their configuration
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment | variables(notice),
            start_new_session=True,  # Ctrl-C is for the run; and what it starts can be ended with it
        )
    except OSError as problem:
        raise DeliveryError(problem.strerror or str(problem)) from problem
    with process:
        try:
            process.communicate(body, timeout=seconds)
        except subprocess.TimeoutExpired as problem:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise DeliveryError(f"the command took more than {seconds:g} s") from problem
        except OSError:  # it does not read its input, which it need not
            process.wait(seconds)
    if process.returncode:
        raise DeliveryError(f"the command ended with {process.returncode}")


def variables(notice: Notice) -> dict[str, str]:
    """Return the main fields of a notice as a command finds them in its environment."""
    return {
        "BATCH_LEDGER_EVENT": notice.event,
        "BATCH_LEDGER_LEDGER": notice.ledger,
        "BATCH_LEDGER_MESSAGE": notice.message[:VARIABLE_CHARACTERS],
        "BATCH_LEDGER_NEXT": notice.next[:VARIABLE_CHARACTERS],
        "BATCH_LEDGER_EXIT_CODE": "" if notice.exit_code is None else str(notice.exit_code),
    }


# ── URLs ────────────────────────────────────────────────────────────────────────────────────────────────────────


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A notice goes where it was sent, and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""


def signature(secret: str, body: bytes, seconds: int) -> str:
    """Return the value of the signature's header.

    Args:
        secret: what sender and receiver share.
        body: the bytes that are sent.
        seconds: since 1970 UTC, so that an old notice cannot be sent again.
    """
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, "sha256").hexdigest()
    return f"t={seconds},v1={digest}"


def post(url: str, body: bytes, secret: str, delivery: str, seconds: float = URL_SECONDS) -> None:
    """Send a notice to a URL, once.

    Raises:
        DeliveryError: it was not taken.
    """
    headers = {"Content-Type": "application/json", "User-Agent": "claude-batch-ledger", DELIVERY_HEADER: delivery}
    if secret:
        headers[SIGNATURE_HEADER] = signature(secret, body, int(time.time()))
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - http or https: parse_target
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=seconds):
            pass
    except urllib.error.HTTPError as problem:
        problem.close()
        kind = _AgainError if problem.code in _TRY_AGAIN else DeliveryError
        raise kind(f"it answered {problem.code}") from problem
    except (OSError, HTTPException) as problem:
        reason = getattr(problem, "reason", problem)
        raise _AgainError(f"{type(reason).__name__}: {reason}" if str(reason) else type(reason).__name__) from problem
