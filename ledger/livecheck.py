"""What no documentation says about the service, asked of the service itself: ``ledger doctor --live``.

A dozen requests of one word, answered with one token, in batches of one or two, made as no run makes them. What each
call was answered with is written down as it was; nothing is concluded. All batches that come of it are canceled or
deleted in the end, as far as the service lets that happen.

A run in the same workspace is not disturbed: its own batches are known by their wire ids.
"""

from __future__ import annotations

import gzip
import secrets
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from importlib.metadata import version
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from ledger.core.costs import plain
from ledger.core.errors import ServiceError, UsageError
from ledger.core.prices import EXACT, Usage, price, quote
from ledger.core.units import format_instant
from ledger.service.probe import BATCHES, Answer, Probe

MODEL = "claude-haiku-4-5"
USD_MAX = Decimal("0.05")
REQUESTS_MAX = 16
"""More than all batches together have, were every one of them accepted."""
_INPUT_TOKENS_MAX, _OUTPUT_TOKENS_MAX = 100, 16
LIST_SECONDS_MAX = 60.0
_LOOK_SECONDS = 0.25
_POLL_SECONDS_MAX = 20.0


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """One question, what was sent, and what came back: the status, the service's words, what was measured."""

    question: str
    sent: str
    status: int
    said: str
    seen: dict[str, Any]


class LiveReport(msgspec.Struct, kw_only=True):
    """What was seen of a service; ``usd_max`` is what it can have cost, ``left`` are batches that are still there."""

    origin: str
    at: str
    tool_version: str
    sdk_version: str
    model: str
    usd_max: Decimal
    observed: list[Observed] = []
    left: list[str] = []
    complete: bool = False


def cost_bound(model: str, today: str) -> Decimal:
    """Return the most that it can cost, at the standard price, were every request answered at length.

    Raises:
        UsageError: the price is not known, or it is too much.
    """
    usage = Usage(input_tokens=_INPUT_TOKENS_MAX * REQUESTS_MAX, output_tokens=_OUTPUT_TOKENS_MAX * REQUESTS_MAX)
    usd = price(quote(today), model, usage, batch=False)
    if usd is None or usd > USD_MAX:
        said = "is not known" if usd is None else f"may be ${usd:f}"
        raise UsageError(
            f"what it costs with {model} {said}, and ${USD_MAX} is the limit",
            next=f"leave --model out: {MODEL} is cheap",
        )
    return plain(EXACT.plus(usd))


class _Case(NamedTuple):
    """A POST that may or may not be accepted."""

    question: str
    sent: str
    content: bytes | Callable[[], Iterator[bytes]]
    headers: dict[str, str]


class LiveCheck:
    """Asks, one question after the other; ``report`` has what was seen so far.

    Args:
        probe: the service.
        model: a cheap one.
        usd_max: what it can cost.
        at: now, microseconds UTC.
        wait_seconds: for the end of batches, at most.
        say: is told what is asked.
    """

    def __init__(
        self, probe: Probe, *, model: str, usd_max: Decimal, at: int, wait_seconds: float, say: Callable[[str], None]
    ) -> None:
        self._probe = probe
        self._model = model
        self._wait_seconds = wait_seconds  # for all of them together
        self._say = say
        self._made: list[str] = []
        self._accepted: dict[str, str] = {}
        host = urlsplit(probe.base_url)
        self.report = LiveReport(
            origin=f"{host.scheme}://{host.hostname or ''}",
            at=format_instant(at),
            tool_version=version("claude-batch-ledger"),
            sdk_version=version("anthropic"),
            model=model,
            usd_max=usd_max,
        )

    def run(self) -> None:
        """Ask everything; what was made is removed in the end, also when it is interrupted.

        Raises:
            ServiceError: the first, ordinary batch was not accepted; nothing more was asked.
        """
        try:
            first = self._first()
            for case in self._cases():
                self._try(case)
            self._repeat()
            self._canceled()
            self.report.complete = self._ended(first)
        finally:
            self._clean_up()

    # ── questions ───────────────────────────────────────────────────────────────────────────────────────────────

    def _first(self) -> str:
        answer = self._post("is an ordinary batch accepted", "one request, Content-Length", self._body())
        batch = str(answer.document.get("id", ""))
        if not answer.is_good or not batch:
            raise ServiceError(
                "the service took no batch, so nothing more was asked",
                why=f"{answer.status} {answer.kind} {answer.message}".strip(),
                next="ledger doctor",
            )
        began = time.monotonic()
        listed = False
        while not listed and time.monotonic() - began < LIST_SECONDS_MAX:
            page = self._probe.get(f"{BATCHES}?limit=20")
            listed = any(one.get("id") == batch for one in page.document.get("data", []))
            if not listed:
                time.sleep(_LOOK_SECONDS)
        seen = {"listed": listed, "seconds": round(time.monotonic() - began, 2)}
        self._note("how soon is a new batch listed", "GET the list, again and again", page, seen)
        self._get("results before the end", f"{BATCHES}/{batch}/results")
        return batch

    def _cases(self) -> Iterator[_Case]:
        body = self._body()
        yield _Case("an empty batch", "no requests", b'{"requests":[]}', {})
        yield _Case("a custom_id twice", "two requests of one custom_id", self._body("same", "same"), {})
        for name, value in (("stream", True), ("max_tokens", 0), ("speed", "fast")):
            yield _Case(
                f"{name} in a batch", f"{name}: {msgspec.json.encode(value).decode()}", self._with(name, value), {}
            )
        yield _Case("chunked transfer", "Transfer-Encoding: chunked", lambda: iter((body[:20], body[20:])), {})
        yield _Case("a compressed body", "Content-Encoding: gzip", gzip.compress(body), {"Content-Encoding": "gzip"})

    def _try(self, case: _Case) -> None:
        content = case.content if isinstance(case.content, bytes) else case.content()
        answer = self._post(case.question, case.sent, content, case.headers)
        if answer.is_good and "id" in answer.document:
            self._accepted[str(answer.document["id"])] = case.question

    def _repeat(self) -> None:
        key = {"Idempotency-Key": secrets.token_hex(16)}
        body = self._body()
        one = self._post("an Idempotency-Key", "a body with one", body, key)
        again = self._post("the same Idempotency-Key again", "the same body with the same one", body, key)
        same = one.document.get("id") == again.document.get("id") if one.is_good and again.is_good else None
        self._note("is it the same batch", "compare the ids", again, {"same": same})

    def _canceled(self) -> None:
        answer = self._post("a batch to be canceled", "one request", self._body())
        batch = answer.document.get("id")
        if not answer.is_good or not batch:
            return
        deleted = self._probe.delete(f"{BATCHES}/{batch}")
        self._note("deleting before the end", "DELETE", deleted)
        if deleted.is_good:
            return
        canceled = self._probe.post(f"{BATCHES}/{batch}/cancel", None)
        self._note("canceling at once", "POST cancel", canceled, _standing(canceled))
        again = self._probe.post(f"{BATCHES}/{batch}/cancel", None)
        self._note("canceling again", "POST cancel", again, _standing(again))

    def _ended(self, batch: str) -> bool:
        """Ask what can be asked of an ended batch; return whether it ended in time."""
        took = self._wait_for(batch)
        if took is None:
            self._say(f"{batch} did not end in time; what is asked of ended batches is left out")
            return False
        for accepted, question in self._accepted.items():
            self._wait_for(accepted)
            answer = self._probe.get(f"{BATCHES}/{accepted}")
            self._note(f"{question}: what became of it", "GET it", answer, _standing(answer))
        ended = self._probe.get(f"{BATCHES}/{batch}")
        url = urlsplit(str(ended.document.get("results_url") or ""))
        seen = {**_standing(ended), "seconds": took, "results_host": url.hostname}
        self._note("an ended batch", "GET it", ended, seen)
        results = self._probe.get(f"{BATCHES}/{batch}/results", {"Accept": "application/binary"})
        self._note("how results are framed", "GET the results", results, {**results.headers, **_usage(results)})
        part = self._probe.get(f"{BATCHES}/{batch}/results", {"Accept": "application/binary", "Range": "bytes=0-9"})
        self._note("a range of results", "Range: bytes=0-9", part, {**part.headers, "bytes": len(part.body)})
        canceled = self._probe.post(f"{BATCHES}/{batch}/cancel", None)
        self._note("canceling what has ended", "POST cancel", canceled, _standing(canceled))
        deleted = self._probe.delete(f"{BATCHES}/{batch}")
        self._note("deleting what has ended", "DELETE", deleted)
        if deleted.is_good:
            self._made.remove(batch)
        self._get("results of what was deleted", f"{BATCHES}/{batch}/results")
        self._get("a batch that was deleted", f"{BATCHES}/{batch}")
        return True

    # ── how they are asked ──────────────────────────────────────────────────────────────────────────────────────

    def _post(
        self, question: str, sent: str, content: bytes | Iterator[bytes], headers: dict[str, str] | None = None
    ) -> Answer:
        self._say(question)
        answer = self._probe.post(BATCHES, content, headers)
        batch = answer.document.get("id") if answer.is_good else None
        if isinstance(batch, str) and batch not in self._made:
            self._made.append(batch)
        self._note(question, sent, answer, {"accepted": answer.is_good})
        return answer

    def _get(self, question: str, path: str) -> None:
        self._say(question)
        self._note(question, "GET", self._probe.get(path))

    def _note(self, question: str, sent: str, answer: Answer, seen: dict[str, Any] | None = None) -> None:
        said = f"{answer.kind}: {answer.message}".strip(": ")
        self.report.observed.append(
            Observed(question=question, sent=sent, status=answer.status, said=said, seen=seen or {})
        )

    def _body(self, *custom_ids: str) -> bytes:
        return self._bodies({}, *custom_ids)

    def _with(self, name: str, value: object) -> bytes:
        return self._bodies({name: value})

    def _bodies(self, more: dict[str, object], *custom_ids: str) -> bytes:
        params = {"model": self._model, "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}], **more}
        names = custom_ids or (f"ledger-doctor-{secrets.token_hex(4)}",)
        return msgspec.json.encode({"requests": [{"custom_id": name, "params": params} for name in names]})

    def _wait_for(self, batch: str) -> float | None:
        """Return after how many seconds a batch has ended; None where it did not, in time."""
        self._say(f"waiting for {batch} to end; most do within an hour, Ctrl-C ends the waiting")
        began, pause = time.monotonic(), 0.5
        until = began + self._wait_seconds
        while time.monotonic() < until:
            if self._probe.get(f"{BATCHES}/{batch}").document.get("processing_status") == "ended":
                self._wait_seconds = until - time.monotonic()
                return round(time.monotonic() - began, 1)
            time.sleep(pause)
            pause = min(pause * 1.5, _POLL_SECONDS_MAX)
        self._wait_seconds = 0.0
        return None

    def _clean_up(self) -> None:
        """Delete what was made; what has not ended yet is canceled, and named."""
        for batch in self._made:
            if self._probe.delete(f"{BATCHES}/{batch}").is_good:
                continue
            self._probe.post(f"{BATCHES}/{batch}/cancel", None)
            if not self._probe.delete(f"{BATCHES}/{batch}").is_good:
                self.report.left.append(batch)


def _standing(answer: Answer) -> dict[str, Any]:
    document = answer.document
    return {name: document[name] for name in ("processing_status", "request_counts") if name in document}


def _usage(results: Answer) -> dict[str, Any]:
    """Return the usage of the first row, which tells whether the batch discount is named."""
    line = results.body.split(b"\n", 1)[0]
    try:
        usage = msgspec.json.decode(line)["result"]["message"]["usage"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return {}
    names = ("input_tokens", "output_tokens", "service_tier")
    return {name: usage[name] for name in names if name in usage}
