"""Notices to commands and URLs: how they are delivered, and that nothing about that hinders anybody."""

from __future__ import annotations

import hmac
import json
import os
import re
import select
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, get_args

import pytest

from ledger.core import events as e
from ledger.core.errors import UsageError
from ledger.core.notice import Kind, Notice, failure, notice_of
from ledger.core.state import RunState
from ledger.notify import DeliveryError, Notifier, Target, parse_target, run_command, signature, variables

NOTICE = failure(6, 0, RunState(), "items.ledger")


class Receiver:
    """A web server that answers what it is told to, and keeps what it got."""

    def __init__(self, statuses: list[int]) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.statuses = statuses
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.got.append((dict(self.headers.items()), body))
                status = receiver.statuses.pop(0) if receiver.statuses else 204
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", f"{receiver.url}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receivers() -> Iterator[list[Receiver]]:
    made: list[Receiver] = []
    yield made
    for receiver in made:
        receiver.close()


def told(target: str, *notices: Notice, secret: str = "", **more: float) -> list[str]:
    """Tell a target of notices, and return what was complained of."""
    complaints: list[str] = []
    with Notifier(
        [parse_target(target)], secret=secret, complain=complaints.append, pauses_seconds=(0, 0), **more
    ) as notifier:
        for notice in notices:
            notifier.tell(notice)
    return complaints


def test_a_url_gets_the_notice_with_a_signature_over_time_and_body(receivers: list[Receiver]) -> None:
    receivers.append(receiver := Receiver([]))
    assert told(f"{receiver.url}/hook?a=1", NOTICE, secret="s3cret") == []
    ((headers, body),) = receiver.got
    assert json.loads(body)["event"] == "failed"
    stamp, digest = (part.split("=")[1] for part in headers["Batch-Ledger-Signature"].split(","))
    assert digest == hmac.new(b"s3cret", f"{stamp}.".encode() + body, "sha256").hexdigest()
    assert headers["Content-Type"] == "application/json"
    assert b"s3cret" not in body + str(headers).encode()


def test_without_a_secret_nothing_is_signed(receivers: list[Receiver]) -> None:
    receivers.append(receiver := Receiver([]))
    assert told(receiver.url, NOTICE) == []
    assert "Batch-Ledger-Signature" not in receiver.got[0][0]


def test_the_signature_depends_on_secret_time_and_body() -> None:
    signed = {signature(secret, body, at) for secret in ("a", "b") for body in (b"1", b"2") for at in (1, 2)}
    assert len(signed) == 8


@pytest.mark.parametrize(
    ("statuses", "tries", "complaint"),
    [
        ([500, 429], 3, None),
        ([503, 503, 503], 3, "it answered 503"),
        ([404], 1, "it answered 404"),
        ([302], 1, "it answered 302"),
    ],
)
def test_a_url_is_tried_again_a_little_and_only_where_that_may_help(
    receivers: list[Receiver], statuses: list[int], tries: int, complaint: str | None
) -> None:
    receivers.append(receiver := Receiver(statuses))
    said = told(f"{receiver.url}/a-secret-path", NOTICE)
    assert len(receiver.got) == tries
    assert len({headers["Batch-Ledger-Delivery"] for headers, _ in receiver.got}) == 1
    assert said == ([f"http://127.0.0.1 was not told that failed: {complaint}"] if complaint else [])


def test_nobody_there_is_a_complaint_and_no_error(receivers: list[Receiver]) -> None:
    gone = Receiver([])
    gone.close()
    (said,) = told(gone.url, NOTICE)
    assert said.startswith("http://127.0.0.1 was not told that failed: ConnectionRefusedError")


def script(place: Path, text: str) -> str:
    file = place / "told.py"
    file.write_text(text)
    return f"{sys.executable} {file}"


def test_a_command_gets_the_notice_on_its_input_and_in_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCH_LEDGER_WEBHOOK_SECRET", "s3cret")
    kept = tmp_path / "kept.json"
    text = f"import json, os, sys\njson.dump([json.load(sys.stdin), dict(os.environ)], open({str(kept)!r}, 'w'))"
    assert told(script(tmp_path, text), NOTICE) == []
    notice, variables = json.loads(kept.read_text())
    assert notice["next"] == variables["BATCH_LEDGER_NEXT"] == "ledger status items.ledger"
    assert (variables["BATCH_LEDGER_EVENT"], variables["BATCH_LEDGER_EXIT_CODE"]) == ("failed", "6")
    assert "BATCH_LEDGER_WEBHOOK_SECRET" not in variables


def test_no_shell_reads_a_command_unless_it_is_one(tmp_path: Path) -> None:
    kept = tmp_path / "kept.txt"
    text = f"import sys\nopen({str(kept)!r}, 'w').write(repr(sys.argv[1:]))"
    assert told(script(tmp_path, text) + " '$HOME' ; touch pwned", NOTICE) == []
    assert kept.read_text() == "['$HOME', ';', 'touch', 'pwned']"
    assert told(f"sh -c 'echo $BATCH_LEDGER_EVENT > {kept}'", NOTICE) == []
    assert kept.read_text() == "failed\n"


def test_a_command_that_fails_or_reads_nothing_is_no_error(tmp_path: Path) -> None:
    long = Notice(**{**{name: getattr(NOTICE, name) for name in NOTICE.__struct_fields__}, "message": "x" * 1_000_000})
    assert told("true", long) == []
    assert told("false", NOTICE) == ["false was not told that failed: the command ended with 1"]


def test_a_command_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    """It ends only by being killed, and so does its child, which holds the pipe that is read here to its end."""
    pipe = tmp_path / "pipe"
    words = ("sh", "-c", f"mkfifo {pipe}; sleep 600 > {pipe} & echo > {tmp_path}/on; exec sleep 600")
    ended: list[DeliveryError] = []

    def run() -> None:
        with pytest.raises(DeliveryError) as raised:
            run_command(words, b"", NOTICE, seconds=1.0)
        ended.append(raised.value)

    thread = threading.Thread(target=run)
    thread.start()
    while not pipe.exists() and thread.is_alive():
        pass
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    assert select.select([reading], [], [], 60)[0]  # its end comes when the last writer is gone
    assert os.read(reading, 1) == b""
    os.close(reading)
    thread.join()
    assert str(ended[0]) == "the command took more than 1 s"


def test_the_end_does_not_wait_for_ever(tmp_path: Path) -> None:
    said = told("sleep 2", NOTICE, closing_seconds=0.01)
    assert said == ["a notice was not delivered before the end: it took too long"]


def test_notices_come_in_their_order_and_one_that_fails_keeps_none_back(tmp_path: Path) -> None:
    kept = tmp_path / "kept.txt"
    text = f"import os, sys\nopen({str(kept)!r}, 'a').write(os.environ['BATCH_LEDGER_EXIT_CODE'])\nsys.exit(1)"
    notices = [failure(code, 0, RunState(), "x.ledger") for code in (6, 5, 3)]
    assert len(told(script(tmp_path, text), *notices)) == 3
    assert kept.read_text() == "653"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("no-such-command-anywhere now", "--notify: there is no command 'no-such-command-anywhere'"),
        ("", "--notify: there is no command ''"),
        ("echo 'open", "--notify echo 'open: No closing quotation"),
        ("ftp://example.org/", "--notify: this is no http or https URL"),
        ("https:///path", "--notify: this is no http or https URL"),
        ("https://ada:pass@example.org/", "--notify: a URL with a password is not used"),
    ],
)
def test_whom_nobody_could_tell_is_refused_at_once(text: str, what: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_target(text)
    assert refused.value.what == what
    assert "pass@" not in str(refused.value)


def test_of_a_url_only_the_host_is_shown() -> None:
    assert parse_target("https://hooks.example.org/T0/secret?x=1").name == "https://hooks.example.org"
    assert parse_target("/bin/sh -c 'secret'") == Target("sh", ("/bin/sh", "-c", "secret"), "")


SECRETS = "the-prompt-itself"


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (
            e.RunPaused(reason="key", detail=f"the service answered 403: {SECRETS}", lift="ledger resume"),
            "paused by key: the service refuses the key",
        ),
        (
            e.RunPaused(reason="breaker", detail=f"5 of 9 items: {SECRETS}", lift="ledger resume"),
            "paused by breaker: too many items ended in an error",
        ),
        (
            e.RunPaused(reason="budget", detail="$1.00 of $1.00 are spent", lift="ledger resume --max-cost 2"),
            "paused by budget: $1.00 of $1.00 are spent",
        ),
        (
            e.ChunkHeld(chunk=3, reason="refused", detail=SECRETS, lift="ledger resolve 3 --again"),
            "chunk 3 is held (refused)",
        ),
        (e.AlarmRaised(alarm="request", detail=SECRETS), "alarm (request): `ledger status` says more"),
        (e.AlarmRaised(alarm="overdue", detail="batch b is still open"), "alarm (overdue): batch b is still open"),
        (e.RunFinished(outcomes={"ok": 5, "refused": 2}, exit_code=1), "finished: 7 items, 2 of them not ok"),
    ],
)
def test_a_notice_says_what_happened_in_words_of_its_own(event: e.AnyEvent, message: str) -> None:
    notice = notice_of(event, 1_795_348_800_000_000, RunState(), "items.ledger")
    assert notice is not None
    assert (notice.message, notice.at) == (message, "2026-11-22T12:00:00Z")
    assert SECRETS not in str(notice)


def test_most_events_are_nobodys_business() -> None:
    assert notice_of(e.RunResumed(reason="key"), 0, RunState(), "items.ledger") is None


PAGE = (Path(__file__).parents[1] / "docs" / "notifications.md").read_text(encoding="utf-8")


def test_the_receiver_of_the_page_accepts_what_is_signed_and_nothing_else() -> None:
    code = PAGE.split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(code, names)
    now = int(time.time())
    header = signature("secret", b"{}", now)
    assert names["is_genuine"]("secret", header, b"{}")
    assert not names["is_genuine"]("secret", header, b"{ }")
    assert not names["is_genuine"]("other", header, b"{}")
    assert not names["is_genuine"]("secret", signature("secret", b"{}", now - 3600), b"{}")


def test_the_page_shows_every_field_and_every_event() -> None:
    shown = json.loads(PAGE.split("```json\n")[1].split("```")[0])
    assert list(shown) == list(Notice.__struct_fields__)
    assert re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)[1:] == list(get_args(Kind))
    assert all(f"`{name}`" in PAGE for name in variables(NOTICE))
