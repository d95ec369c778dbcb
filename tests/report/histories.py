"""Ledgers with a past of any length, made in no time: real events in the real store, at instants of the script's own.

Every event goes through the same ``evolve`` as in a run, every request and row has its payload and its digest, so that
the audit finds nothing to say of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from ledger.core import events as e
from ledger.core.chunks import body_size_bytes, item_size_bytes, nonce_of, wire_id
from ledger.core.columns import ordinals
from ledger.core.evolve import evolve
from ledger.core.items import Defaults
from ledger.core.prices import Usage, quote
from ledger.core.state import RunState
from ledger.ports import RequestBlock, RequestPayload, ResultBlock, ResultPayload
from ledger.store.payloads import digest, new_salts, request_blocks, result_blocks
from ledger.store.sqlite import SqliteLog

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
NOON = 1_795_348_800 * SECOND
MADE_AT = NOON + 6 * DAY
"""When the reports are made that the tests look at."""
LEDGER_ID = "0123456789abcdef0123456789abcdef"
MODEL = "claude-sonnet-4-6"
MAX_TOKENS = 1024
GROUP = 2_000


class Script:
    """Writes a ledger. Instants are given in microseconds after the beginning.

    Args:
        path: the ledger to make.
        policy: how the run is conducted.
        seed: decides lengths.
        origin: whose batches they are.
    """

    def __init__(self, path: Path, *, policy: e.Policy | None = None, seed: int = 1, origin: str = "simulator") -> None:
        self.log = SqliteLog.create(path)
        self.state = RunState()
        self._random = Random(seed)
        self._names: list[str] = []
        self.tell(0, e.RunOpened(ledger_id=LEDGER_ID, origin=origin, tool_version="0.1.0"))
        self.process(0)
        defaults = Defaults(model=MODEL, max_tokens=MAX_TOKENS)
        self.tell(0, e.SettingsChanged(defaults=defaults, policy=policy or e.Policy()))

    def close(self) -> None:
        """Close the log."""
        self.log.close()

    def tell(
        self,
        at: int,
        *events: e.AnyEvent,
        requests: Sequence[RequestBlock] = (),
        results: Sequence[ResultBlock] = (),
    ) -> None:
        """Append events at an instant."""
        for position, event in enumerate(events, self.state.position + 1):
            evolve(self.state, position, NOON + at, event)
        self.log.append(events, NOON + at, requests, results)

    def process(self, at: int) -> None:
        """Another process opens the ledger."""
        epoch = self.state.epoch + 1
        self.tell(at, e.WriterOpened(epoch=epoch, tool_version="0.1.0", host="host", pid=1))

    def take_in(self, at: int, names: Sequence[str], *, took: int = 0) -> None:
        """Items of these ids are read, and prices recorded."""
        first = len(self.state.columns)
        self.tell(at, e.SourceOpened(source=self.state.next_source, path="/home/ada/secret/items.jsonl"))
        if not self.state.classes:
            self.tell(at, e.ClassDeclared(class_id=0, model=MODEL, max_tokens=MAX_TOKENS))
        for begin in range(0, len(names), GROUP):
            self._request_group(at + took, first + begin, names[begin : begin + GROUP])
        source, built = self.state.next_source - 1, len(names)
        counted: dict[str, Any] = {"lines": built, "bytes_read": built, "digest": "d", "built": built}
        self.tell(at + took, e.IntakeCompleted(source=source, deduplicated=0, rejected=0, **counted))
        if self.state.prices is None:
            self.tell(at + took, e.PricesQuoted(table=quote("2026-11-22")))
        self._names += names

    def _request_group(self, at: int, first: int, names: Sequence[str]) -> None:
        payloads, built = [], []
        for ordinal, (name, salt) in enumerate(zip(names, new_salts(len(names)), strict=True), first):
            params = b'{"model":"%b","max_tokens":%d,"messages":[]}' % (MODEL.encode(), MAX_TOKENS)
            payloads.append(RequestPayload(salt, params, b"{}", b"", False, name))
            size = item_size_bytes(ordinal, name, len(params))
            line = ordinal - first + 1
            built.append(
                e.RequestBuilt(ordinal=ordinal, custom_id=name, line=line, size_bytes=size, digest=digest(salt, params))
            )
        self.tell(at, *built, requests=list(request_blocks(first, payloads)))

    # ── a batch ─────────────────────────────────────────────────────────────────────────────────────────────────

    def seal(self, at: int, first: int, end: int) -> int:
        """Requests are put into a chunk; returns its number."""
        return self._seal(at, [[first, end]], "fresh")[0]

    def seal_all(self, at: int, first: int, end: int, size: int) -> list[int]:
        """Requests are put into chunks of a size; returns their numbers."""
        return self._seal(at, [[low, min(low + size, end)] for low in range(first, end, size)], "fresh")

    def seal_retries(self, at: int) -> int:
        """All that is to be asked again is put into a chunk; returns its number."""
        return self._seal(at, [self.state.retries[0].dump()], "retry")[0]

    def _seal(self, at: int, chunks: list[list[int]], cause: Any) -> list[int]:
        sealed = []
        for number, ranges in enumerate(chunks, self.state.next_chunk):
            members = list(ordinals(ranges))
            size = body_size_bytes(sum(self.state.columns.size_bytes[ordinal] for ordinal in members), len(members))
            sealed.append(
                e.ChunkSealed(chunk=number, ranges=ranges, requests=len(members), size_bytes=size, cause=cause)
            )
        self.tell(at, *sealed)
        return [event.chunk for event in sealed]

    def prepare(self, at: int, chunk: int) -> int:
        """The submission of a chunk begins; returns its number."""
        one = self.state.chunks[chunk]
        submission = one.submission + 1
        prepared = e.SubmissionPrepared(
            chunk=chunk,
            submission=submission,
            nonce=nonce_of(LEDGER_ID, chunk, submission),
            requests=one.requests,
            size_bytes=one.size_bytes,
            server_date=NOON + at,
        )
        self.tell(at, prepared, e.SubmissionReleased(chunk=chunk, submission=submission, digest="d"))
        return submission

    def submit(self, at: int, chunk: int, *, took: int = SECOND) -> str:
        """A chunk is submitted and accepted; returns the batch."""
        submission = self.prepare(at, chunk)
        batch = f"msgbatch_{chunk:06}"
        created = NOON + at + took
        self.tell(
            at + took,
            e.BatchCreated(
                chunk=chunk,
                submission=submission,
                batch=batch,
                created_at=created,
                expires_at=created + DAY,
                total=self.state.chunks[chunk].requests,
            ),
        )
        return batch

    def end(self, at: int, chunk: int, *, noticed: int = SECOND, odd: dict[int, str] | None = None) -> None:
        """The batch of a chunk ends, and that is noticed later; ``odd`` are errors by ordinal."""
        one = self.state.chunks[chunk]
        errored = sum(what not in ("ok", "truncated", "refused") for what in (odd or {}).values())
        counts = e.Counts(succeeded=one.requests - errored, errored=errored)
        seen = e.BatchSeen(
            batch=one.batch, status="ended", created_at=one.created_at, ended_at=NOON + at, counts=counts
        )
        self.tell(at + noticed, e.StatusPolled(server_date=NOON + at + noticed, changes=(seen,)))

    def collect(
        self, at: int, chunk: int, *, odd: dict[int, str] | None = None, texts: dict[int, str] | None = None
    ) -> None:
        """All rows of an ended batch are stored: answers, or the errors in ``odd`` (kinds by ordinal)."""
        one = self.state.chunks[chunk]
        members = list(ordinals(one.ranges))
        nonce = nonce_of(LEDGER_ID, chunk, one.submission)
        for begin in range(0, len(members), GROUP):
            group = members[begin : begin + GROUP]
            told, payloads = [], []
            for ordinal, salt in zip(group, new_salts(len(group)), strict=True):
                kind, text = (odd or {}).get(ordinal, "ok"), (texts or {}).get(ordinal, "An answer.")
                row, event = self._row(ordinal, chunk, nonce, kind, text, salt)
                payloads.append(ResultPayload(ordinal, salt, row))
                told.append(event)
            self.tell(at, *told, results=list(result_blocks(chunk, payloads)))
        counts = one.counts
        assert counts is not None
        self.tell(at, e.BatchCollected(chunk=chunk, batch=one.batch, rows=len(members), counts=counts))

    def _row(
        self, ordinal: int, chunk: int, nonce: str, kind: str, text: str, salt: bytes
    ) -> tuple[bytes, e.ResultStored]:
        name = wire_id(ordinal, nonce, self._names[ordinal])
        if kind in ("ok", "truncated", "refused"):
            used = int(self._random.lognormvariate(6, 0.5)), min(int(self._random.lognormvariate(5.3, 0.7)) + 1, 1024)
            stop = {"ok": "end_turn", "truncated": "max_tokens", "refused": "refusal"}[kind]
            message = {
                "model": MODEL,
                "stop_reason": stop,
                "content": [{"type": "text", "text": text}],
                "usage": {"input_tokens": used[0], "output_tokens": used[1], "service_tier": "batch"},
            }
            result: dict[str, Any] = {"type": "succeeded", "message": message}
            outcome: dict[str, Any] = {"outcome": kind, "usage": Usage(*used), "stop_reason": stop}
        else:
            final = self.state.columns.attempts[ordinal] + 1 >= self.state.policy.max_attempts
            error = {"type": "error", "error": {"type": kind, "message": text}}
            result = {"type": "errored", "error": error}
            outcome = {"outcome": "errored", "error_kind": kind, "final": final, "stop_reason": "", "billed": True}
        row = json.dumps({"custom_id": name, "result": result}, separators=(",", ":")).encode()
        return row, e.ResultStored(ordinal=ordinal, chunk=chunk, digest=digest(salt, row), **outcome)

    def whole(
        self, at: int, chunk: int, *, served: int, noticed: int = SECOND, stored: int = SECOND, **said: Any
    ) -> int:
        """A chunk is submitted, served, noticed and stored; returns the instant at which all of it is done."""
        self.submit(at, chunk)
        ended = at + SECOND + served
        self.end(ended, chunk, noticed=noticed, odd=said.get("odd"))
        self.collect(ended + noticed + stored, chunk, **said)
        return ended + noticed + stored

    def redact(self, at: int, ordinal: int) -> None:
        """What was asked and answered of a request is deleted."""
        event = e.PayloadsRedacted(ranges=[ordinal, ordinal + 1], requests=1)
        evolve(self.state, self.state.position + 1, NOON + at, event)
        self.log.rewrite([event], NOON + at, redacted=[ordinal])

    def finish(self, at: int) -> None:
        """Every item has its outcome."""
        outcomes = {outcome: count for outcome, count in self.state.outcomes.items() if count}
        self.tell(at, e.RunFinished(outcomes=outcomes, exit_code=0))


# ── whole runs ──────────────────────────────────────────────────────────────────────────────────────────────────


def interleaved(
    script: Script,
    plan: Sequence[tuple[int, int, int, int]],
    *,
    odd: dict[int, dict[int, str]] | None = None,
) -> int:
    """Run chunks beside each other: (chunk, submitted, served, stored after) each; returns when the last is stored."""
    steps = []
    for chunk, at, served, stored in plan:
        ended = at + SECOND + served
        steps += [(at, 0, chunk, ended), (ended, 1, chunk, ended), (ended + 20 * SECOND + stored, 2, chunk, ended)]
    for at, step, chunk, _ in sorted(steps):
        kinds = (odd or {}).get(chunk)
        if step == 0:
            script.submit(at, chunk)
        elif step == 1:
            script.end(at, chunk, noticed=10 * SECOND, odd=kinds)
        else:
            script.collect(at, chunk, odd=kinds)
    return max(at for at, *_ in steps)


def one_slow_batch(path: Path) -> None:
    """Forty batches of which one takes nearly a day, all others within the hour; 1% of errors, which are retried."""
    script = Script(path)
    script.take_in(SECOND, [f"item-{number}" for number in range(2_000)], took=3 * SECOND)
    chunks = script.seal_all(5 * SECOND, 0, 2_000, 50)
    random = Random(7)
    odd = {chunk: {(chunk - 1) * 50 + 7: "overloaded_error"} for chunk in chunks if chunk % 2}
    plan = [(chunk, (6 + 2 * chunk) * SECOND, int(random.uniform(8, 40) * MINUTE), 20 * SECOND) for chunk in chunks]
    plan[17] = (18, plan[17][1], 23 * HOUR + 10 * MINUTE, 20 * SECOND)
    last = interleaved(script, plan, odd=odd)
    chunk = script.seal_retries(last + SECOND)
    last = script.whole(last + 2 * SECOND, chunk, served=12 * MINUTE)
    script.finish(last)
    script.close()


def five_days(path: Path) -> None:
    """Killed in the middle of a submission, found again three days later, paused once; five days in all."""
    script = Script(path, policy=e.Policy(settle_us=900 * SECOND))
    script.take_in(SECOND, [f"doc-{number:05}" for number in range(3_000)], took=8 * SECOND)
    chunks = script.seal_all(10 * SECOND, 0, 3_000, 200)
    last = interleaved(script, [(n, n * 40 * SECOND, (10 + 5 * n) * MINUTE, MINUTE) for n in chunks[:6]])
    script.prepare(last + MINUTE, chunks[6])
    begin = last + 3 * DAY
    script.process(begin)
    lost = e.SubmissionUncertain(chunk=chunks[6], submission=1, cause="the process ended before an answer came")
    script.tell(begin, lost)
    listed = [
        e.BatchesListed(asked_at=script.state.position, server_date=NOON + begin + minutes * MINUTE, complete=True)
        for minutes in (0, 16)
    ]
    script.tell(begin + SECOND, listed[0])
    script.tell(begin + 16 * MINUTE, listed[1])
    absent = e.SubmissionResolved(chunk=chunks[6], submission=1, by="reconcile", evidence="in no list")
    script.tell(begin + 16 * MINUTE, absent)
    plan = [(n, begin + (17 + 3 * n) * MINUTE, (20 + 9 * (n % 4)) * MINUTE, MINUTE) for n in chunks[6:10]]
    last = interleaved(script, plan)
    pause = e.RunPaused(
        reason="budget", detail="$1.00 of $1.00 are spent", lift="ledger resume /home/ada/x.ledger --max-cost 2"
    )
    script.tell(last + MINUTE, pause)
    script.process(last + DAY)
    script.tell(last + DAY + SECOND, e.RunResumed(reason="budget"))
    refused = e.SubmissionRefused(chunk=chunks[10], submission=1, status=429, reaction="wait", kind="rate_limit_error")
    script.prepare(last + DAY + MINUTE, chunks[10])
    script.tell(last + DAY + MINUTE + SECOND, refused)
    plan = [(n, last + DAY + (2 + n) * MINUTE, (30 + 60 * (n % 3)) * MINUTE, 3 * MINUTE) for n in chunks[10:]]
    script.finish(interleaved(script, plan))
    script.close()


def many_batches(path: Path, batches: int, size: int) -> None:
    """Thousands of small batches, 40 at a time, over many hours."""
    script = Script(path)
    random = Random(3)
    script.take_in(SECOND, [f"n{number}" for number in range(batches * size)], took=20 * SECOND)
    free = [30 * SECOND + slot * 2 * SECOND for slot in range(40)]
    steps: list[tuple[int, int, int]] = []
    for chunk in range(1, batches + 1):
        slot = min(range(40), key=free.__getitem__)
        at = free[slot]
        served = int(random.lognormvariate(6.2, 0.6) * SECOND)
        steps += [(at, 0, chunk), (at + SECOND + served, 1, chunk), (at + 40 * SECOND + served, 2, chunk)]
        free[slot] = at + 45 * SECOND + served
    script.seal_all(25 * SECOND, 0, batches * size, size)
    for at, step, chunk in sorted(steps):
        if step == 0:
            script.submit(at, chunk)
        elif step == 1:
            script.end(at, chunk, noticed=30 * SECOND)
        else:
            script.collect(at, chunk)
    script.finish(max(at for at, *_ in steps) + SECOND)
    script.close()


def hostile(path: Path) -> None:
    """Ids, answers and messages that would like to be markup, script, or something else than they are."""
    script = Script(path)
    names = [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(2)>',
        "</style><script>alert(3)</script>",
        "\u202egnp.exe \x00\x1b[31m {{ 7 * 7 }}",
    ]
    script.take_in(SECOND, names)
    chunk = script.seal(2 * SECOND, 0, 4)
    odd = {0: "truncated", 1: "<b>kind</b>", 2: "refused", 3: "truncated"}
    texts = {
        0: "</bdi></dd><iframe src='https://evil.example/'></iframe>",
        1: '<link rel=stylesheet href="https://evil.example/x.css">',
        2: "<svg onload=alert(4)><use href='https://evil.example/#x'/></svg>",
        3: "{% raw %}]]><!-- {{ f.ledger_id }} \u2066",
    }
    script.submit(3 * SECOND, chunk)
    script.end(9 * SECOND, chunk, odd=odd)
    script.tell(
        10 * SECOND,
        e.FindingRecorded(
            finding="foreign_row", detail="<script>alert(5)</script> /home/ada/secret/x.ledger", chunk=chunk
        ),
    )
    script.collect(12 * SECOND, chunk, odd=odd, texts=texts)
    script.close()
