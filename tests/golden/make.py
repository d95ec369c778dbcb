"""Make the golden ledgers of this version: real runs, kept so that every later version can be held to them.

    python tests/golden/make.py            # what this version lacks; nothing that exists is touched
    python tests/golden/make.py --screens  # only what the commands print, after a screen was changed on purpose

A ledger, its projection and the fields of its version are never made again once that version is released: they are what
the promise of the format is about. (Until then, remove them and make them anew.) A release that can write something new
makes ledgers of its own beside those of its predecessors.

Most runs are against the simulated service over a socket, with faults, so that they meet all that a run can meet. The
machine's name and directory are kept out of what is committed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "hostile"))

import msgspec
from reading import FIELDS, HERE, Golden, all_golden, fields
from scene import CALMLY, SETTLE_SECONDS, Scene

from ledger import Ledger
from ledger.choices import Choices
from ledger.core import events as e
from ledger.files.intake import BadLinesError
from ledger.service.simulator.faults import Fault, Faults
from ledger.service.simulator.settings import CALM, Settings

DISTRIBUTION = "claude-batch-ledger"
TRIES_AT_MOST = 200


def outcomes(place: Path) -> Path:
    """Every outcome that an answer can have, three models, two lanes; a second source, refused first."""
    path = place / "outcomes.ledger"
    first, second = place / "first.jsonl", place / "second.jsonl"
    texts = {
        "tick": "Say hello.",
        "größer": "Sag „hallo“. \u2028 日本語",
        "cut": "[[simulate:max_tokens]]",
        "declined": "[[simulate:refusal]]",
        "declined midway": "[[simulate:refusal_midway]]",
        "tool loop": "[[simulate:pause_turn]]",
        "tool": "[[simulate:tool_use]]",
        "wrong": "[[simulate:errored:invalid_request_error]]",
        "overloaded": "[[simulate:errored:overloaded_error]]",
        "twice": "[[simulate:errored:api_error:1]]",
        "late": "[[simulate:expired:1]]",
        "never": "[[simulate:canceled]]",
        "too late": "[[simulate:expired]]",
    }
    models = ("claude-haiku-4-5", "claude-sonnet-4-6", "claude-opus-4-5")
    items = [
        {"id": name, "prompt": text, "model": models[number % 3], "priority": (0, 0, 0, 5)[number % 4], "shelf": number}
        for number, (name, text) in enumerate(texts.items())
    ]
    _write(first, [*items, items[0]])
    cached = [{"type": "text", "text": "Be brief. " * 400, "cache_control": {"type": "ephemeral"}}]
    whole = {"model": models[1], "max_tokens": 50, "inference_geo": "us", "system": cached}
    later = [{"custom_id": "whole", "params": whole | {"messages": [{"role": "user", "content": "Say whole."}]}}]
    _write(second, [{"id": "a", "prompt": "Say a."}, {"id": "b", "prompt": 7}, {"id": "tick", "prompt": "Say no."}])
    settings = Settings(
        turnaround_minimum_seconds=0.2, turnaround_maximum_seconds=0.4, output_tokens_maximum=60, mix=CALM
    )
    ledger = Ledger(path, simulate=True, settings=settings)
    said: dict[str, Any] = {"model": models[0], "max_tokens": 100, "chunk_requests": 5, "poll_seconds": 0.05}
    said |= {"params": {"stop_sequences": ["END"]}, "system": "Be brief."}
    ledger.run(first, accept=("truncated", "refused"), **said)
    with suppress(BadLinesError):
        ledger.run(second, add=True, keep=True, **said)
        raise AssertionError("bad lines were taken")
    ledger.run(second, add=True, keep=True, skip_invalid=True, **said)
    _write(first, [*items, items[0], *later])
    ledger.run(first, **said)
    return path


def refused(place: Path) -> Path:
    """Every refusal: items named and unnamed, bodies too large, limits of rate, queue and money, keys; one pause."""
    texts = [f"Say {number}." for number in range(16)]
    texts[2] = "[[simulate:reject]] Say 2."
    texts[5] = "[[simulate:poison]] Say 5."
    refusals = ("too_large", "rate_limit", "billing", "unauthorized", "body_timeout")
    faults = [
        Fault(
            operation="create",
            call=call,
            kind="refuse",
            error=error,
            retry_after_seconds=1 if "rate" in error else None,
        )
        for call, error in enumerate(refusals, start=3)
    ]
    settings = msgspec.structs.replace(CALMLY, queue_maximum=9)
    with Scene(place, *faults, texts=texts, settings=settings) as scene:
        summary = scene.run()
        for _ in range(TRIES_AT_MOST):
            if summary.state == "finished":
                return scene.path
            summary = scene.resume(lift=tuple(scene.ledger()[0].state().pauses))
    raise AssertionError("it never ended")


def uncertain(place: Path) -> Path:
    """Submissions in doubt: found, absent, a stranger's, held, resolved by a person, stopped before the last byte."""
    faults = (
        Fault(operation="create", call=1, kind="drop"),
        Fault(operation="create", call=2, kind="status", status=500, carried_out=False),
        Fault(operation="create", call=3, kind="drop", carried_out=False),
        Fault(operation="create", call=3, kind="stranger"),
        Fault(operation="create", call=4, kind="drop"),
        Fault(operation="create", call=4, kind="stranger"),
    )
    with Scene(place, *faults, texts=[f"Say {number}." for number in range(14)], chunk_requests=4) as scene:
        stopping: list[Ledger] = []

        def stop(event: e.AnyEvent) -> None:
            if isinstance(event, e.SubmissionPrepared) and event.chunk == 2:
                stopping[0].stop()

        ledger, watcher = scene.ledger(told=stop)
        stopping.append(ledger)
        ledger.run(scene.items, **scene.said)
        scene._remember(watcher)
        assert scene.of(e.SubmissionAborted), "it was stopped too late"
        scene.said |= {"on_uncertain": "hold"}
        summary = scene.run()
        for _ in range(TRIES_AT_MOST):
            if summary.state == "finished":
                return scene.path
            for hold in ledger.status().holds:
                chunk = int(hold["chunk"])
                lifted = [event for event in scene.of(e.ChunkHeld) if event.chunk == chunk]
                ledger.resolve(chunk, "again" if len(lifted) == 1 else "absent")
            summary = scene.resume()
    raise AssertionError("it never ended")


def twin(place: Path) -> Path:
    """A batch that shows up after it was given up: found, weighed, acknowledged, paid for."""
    faults = (
        Fault(operation="create", call=1, kind="drop"),
        Fault(operation="create", call=1, kind="late", seconds=SETTLE_SECONDS + 12),
        Fault(operation="create", call=1, kind="turnaround", seconds=0.01),  # over when it is seen
        Fault(operation="create", call=2, kind="turnaround", seconds=30),
    )
    with Scene(place, *faults) as scene:
        scene.run()
        for _ in range(TRIES_AT_MOST):
            if scene.of(e.TwinFound) and scene.of(e.TwinFound)[-1].proven:
                scene.ledger()[0].resolve(1, "acknowledge")
                scene.resume()
                return scene.path
            scene.resume()
    raise AssertionError("the twin was never weighed")


def collecting(place: Path) -> Path:
    """Results that come short, twice, corrupt, foreign, expired, or not at all; calls that fail; a cancellation."""
    faults = (
        Fault(operation="create", call=1, kind="deleted", seconds=0),
        Fault(operation="create", call=2, kind="expire", share=0.5),
        Fault(operation="create", call=3, kind="wrong_counts", requests=2),
        Fault(operation="results", call=1, kind="cut", bytes=700),
        Fault(operation="results", call=2, kind="duplicate_row"),
        Fault(operation="results", call=3, kind="foreign_row"),
        Fault(operation="results", call=4, calls=3, kind="short", rows=1),
        Fault(operation="results", call=7, calls=6, kind="corrupt_row"),
        Fault(operation="list", call=4, kind="refuse", error="overloaded"),
    )
    texts = [f"Say {number}." for number in range(16)]
    with Scene(place, *faults, texts=texts, on_uncertain="hold", max_attempts=2) as scene:

        def cancel(event: e.AnyEvent) -> None:
            if isinstance(event, e.BatchCreated) and event.chunk == 4:
                scene.ledger()[0].cancel([event.batch])

        ledger, watcher = scene.ledger(told=cancel)
        ledger.run(scene.items, **scene.said)
        assert any(isinstance(event, e.CancelAccepted) for event in watcher.events), "it was canceled too late"
        return scene.path


def recovered(place: Path) -> Path:
    """A ledger restored from an older copy: what the service knows and the log had forgotten is adopted."""
    said = {"allowed_models": ("claude-golden-9",), "betas": ("interleaved-thinking-2025-05-14",)}
    with Scene(place, texts=[f"Say {number}." for number in range(10)], **said) as scene:
        stopping: list[Ledger] = []

        def stop(event: e.AnyEvent) -> None:
            if isinstance(event, e.ChunkSealed):
                stopping[0].stop()

        ledger, _ = scene.ledger(told=stop)
        stopping.append(ledger)
        ledger.run(scene.items, **scene.said)
        older = place / "older.ledger"
        ledger.copy(older)
        before = older.read_bytes()
        scene.resume()
        scene.path.write_bytes(before)
        recovery = scene.ledger()[0].recover()
        assert len(recovery.adopted) > 1, "nothing was forgotten"
        scene.resume()
        return scene.path


def halfway(place: Path) -> Path:
    """A run that is not over: answered, on its way, held, waiting, and paused by a person who canceled everything."""
    faults = (
        Fault(operation="create", call=1, kind="turnaround", seconds=2),
        Fault(operation="create", call=2, kind="drop", carried_out=False),
        Fault(operation="create", call=3, kind="turnaround", seconds=86_000),
        Fault(operation="create", call=4, calls=TRIES_AT_MOST, kind="refuse", error="spend_cap"),
    )
    settings = msgspec.structs.replace(CALMLY, faults=Faults(list_lag_seconds=1.0))
    texts = [f"Say {number}." for number in range(18)]
    with Scene(place, *faults, texts=texts, settings=settings, on_uncertain="hold") as scene:
        scene.run(once=True)
        for _ in range(TRIES_AT_MOST):
            state = scene.ledger()[0].state()
            if state.outcomes["ok"] and any(chunk.hold for chunk in state.live_chunks()) and state.pauses:
                scene.ledger()[0].cancel(everything=True)
                return scene.path
            scene.resume(once=True)
    raise AssertionError("it never came to that")


def braked(place: Path) -> Path:
    """A budget that was too small and was raised, a canary that tripped and was released, a breaker that was lifted."""
    path, items = place / "braked.ledger", place / "items.jsonl"
    texts = [f"Say {number}." + ("[[simulate:errored:not_found_error]]" if number < 24 else "") for number in range(40)]
    _write(items, [{"id": f"item {number}", "prompt": text} for number, text in enumerate(texts)])
    settings = Settings(
        turnaround_minimum_seconds=0.2, turnaround_maximum_seconds=0.4, output_tokens_maximum=60, mix=CALM
    )
    ledger = Ledger(path, simulate=True, settings=settings)
    said: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 100, "poll_seconds": 0.05}
    said |= {"canary": "always", "canary_requests": 10, "chunk_requests": 8, "queue_requests": 10}
    summary = ledger.run(items, max_cost="0.0011", budget_mode="worst", **said)
    met: list[str] = []
    for _ in range(TRIES_AT_MOST):
        if summary.state == "finished":
            assert {"budget", "canary", "breaker"} <= set(met), met
            return path
        (reason,) = ledger.state().pauses
        met.append(reason)
        if reason == "budget":
            summary = ledger.resume(choices=Choices(max_cost=f"0.00{len(met) + 1}5", budget_mode="expected"))
        else:
            summary = ledger.resume(lift=(reason,))
    raise AssertionError("it never ended")


def reused(place: Path) -> Path:
    """Answers taken from another ledger, and through it from a third; the rest asked; one ledger given up."""
    settings = Settings(
        turnaround_minimum_seconds=0.2, turnaround_maximum_seconds=0.4, output_tokens_maximum=60, mix=CALM
    )
    said: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 100, "poll_seconds": 0.05}
    paths = [place / f"{name}.ledger" for name in ("march", "april", "reused")]
    for number, path in enumerate(paths):
        texts = [f"Say {text}." for text in range(2 * number, 6 + number)] + ["[[simulate:refusal]] Say no."]
        items = path.with_suffix(".jsonl")
        _write(items, [{"id": f"{path.stem} {at}", "prompt": text} for at, text in enumerate(texts)])
        ledger = Ledger(path, simulate=True, settings=settings)
        ledger.run(items, **said, reuse=tuple(map(str, paths[max(number - 1, 0) : number])))
    _write(paths[2].with_name("bad.jsonl"), [{"id": "bad", "prompt": 7}])
    with suppress(BadLinesError):
        ledger.run(paths[2].with_name("bad.jsonl"), add=True, **said, reuse=(str(paths[0]),))
        raise AssertionError("bad lines were taken")
    ledger.resume(choices=Choices(forget_reuse=True))
    return paths[2]


def primed(place: Path) -> Path:
    """Two shared prefixes that were primed, a third that is marked for five minutes only, a canary, and the rest."""
    path, items = place / "primed.ledger", place / "items.jsonl"
    lines: list[dict[str, Any]] = []
    for number in range(12):
        text = ("Be brief. ", "Be kind. ", "Be quick. ")[number % 3] * 180
        mark = {"type": "ephemeral"} | ({"ttl": "1h"} if number % 3 else {})
        asked = {
            "model": "claude-haiku-5-5",
            "max_tokens": 50,
            "system": [{"type": "text", "text": text, "cache_control": mark}],
            "messages": [{"role": "user", "content": f"Say {number}."}],
        }
        lines.append({"id": f"item {number}", "params": asked})
    _write(items, lines)
    settings = Settings(turnaround_minimum_seconds=0.2, turnaround_maximum_seconds=0.4, mix=CALM)
    said: dict[str, Any] = {"poll_seconds": 0.05, "canary": "always", "canary_requests": 3, "prime_cache": True}
    Ledger(path, simulate=True, settings=settings).run(items, **said)
    return path


def chances(place: Path) -> Path:
    """Items asked again, as they were, with more tokens, and corrected; then one deleted, and its batches."""
    path, items, fixed = place / "chances.ledger", place / "items.jsonl", place / "fixed.jsonl"
    texts = {"fine": "Say yes.", "cut": "[[simulate:max_tokens]]", "declined": "[[simulate:refusal]]"}
    texts |= {"busy": "[[simulate:errored:overloaded_error:2]]"}
    _write(items, [{"id": name, "prompt": text} for name, text in texts.items()])
    _write(fixed, [{"id": "declined", "prompt": "Say no."}])
    settings = Settings(
        turnaround_minimum_seconds=0.2, turnaround_maximum_seconds=0.4, output_tokens_maximum=60, mix=CALM
    )
    ledger = Ledger(path, simulate=True, settings=settings)
    ledger.run(items, model="claude-haiku-4-5", max_tokens=100, poll_seconds=0.05, max_attempts=1)
    ledger.retry(choices=Choices(max_attempts=2))
    ledger.retry(outcomes=["truncated"], max_tokens=200, model="claude-sonnet-4-6")
    ledger.retry(corrected=fixed)
    ledger.redact(["declined"], at_service=True)
    return path


SCENES: dict[str, Callable[[Path], Path]] = {
    scene.__name__: scene
    for scene in (outcomes, refused, uncertain, twin, collecting, recovered, halfway, braked, reused, primed, chances)
}


def _write(path: Path, items: list[dict[str, Any]]) -> None:
    path.write_bytes(b"".join(msgspec.json.encode(item) + b"\n" for item in items))


def _anonymous() -> None:
    """Call this machine ``golden`` in all that is recorded from now on."""
    real = os.uname()
    nameless = os.uname_result((real.sysname, "golden", *real[2:]))
    os.uname = lambda: nameless


def main(arguments: list[str]) -> int:
    """Make what is missing, or with ``--screens`` what the commands print; return the exit code."""
    if arguments not in ([], ["--screens"]):
        sys.stderr.write("usage: python tests/golden/make.py [--screens]\n")
        return 2
    if not arguments:
        frozen = HERE / f"{version(DISTRIBUTION)}{FIELDS}"
        if not frozen.exists():
            frozen.write_bytes(msgspec.json.format(msgspec.json.encode(fields(), order="sorted"), indent=1) + b"\n")
        _anonymous()
        for name, scene in SCENES.items():
            golden = Golden(f"{version(DISTRIBUTION)}-{name}")
            if not golden.packed.exists():
                with _place() as place:
                    golden.pack(scene(place))
                with _place() as place:
                    golden.projection.write_bytes(golden.projected(place))
                sys.stdout.write(f"{golden.packed.name}: {golden.packed.stat().st_size:,} bytes\n")
    for golden in all_golden():
        if arguments or not golden.screens.exists():
            with _place() as place:
                golden.screens.write_text(golden.shown(place), encoding="utf-8")
    return 0


@contextmanager
def _place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="golden-") as place:
        yield Path(place)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
