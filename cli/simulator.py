"""``ledger simulator``."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from .options import Duration, debug_option

_FAULTS = """What goes wrong, as {"faults": [{"operation": "create", "call": 2, "kind": "drop"}]}."""


@click.command("simulator", short_help="Serve a simulated Message Batches API over HTTP.")
@click.option("--port", type=click.IntRange(0, 65535), default=8787, help="0 takes a free one.  [8787]")
@click.option("--host", default="127.0.0.1", help="The address to listen on.  [127.0.0.1]")
@click.option("--state", type=click.Path(dir_okay=False, path_type=Path), help="Keep its memory in a file.")
@click.option("--seed", type=int, default=0, help="Decides ids, answers, outcomes and faults.  [0]")
@click.option("--turnaround", type=Duration(), metavar="DURATION", help="How long a batch takes.  [1s to 2s]")
@click.option("--speed", type=float, default=1.0, help="How many times faster than real its clock runs.  [1]")
@click.option("--queue", type=click.IntRange(min=1), metavar="N", help="Requests that fit into its queue.  [500000]")
@click.option("--calm", is_flag=True, help="No error, refusal or truncation unless a fault says so.")
@click.option("--faults", metavar="JSON|FILE", help=_FAULTS)
@debug_option
def command(
    port: int,
    host: str,
    state: Path | None,
    seed: int,
    turnaround: float | None,
    speed: float,
    queue: int | None,
    calm: bool,
    faults: str | None,
) -> None:
    """Serve a simulated Message Batches API over HTTP until Ctrl-C: no key, no cost, and as hostile as is wanted.

    Point ANTHROPIC_BASE_URL at the URL it prints, with any ANTHROPIC_API_KEY.
    """
    import msgspec

    from ledger.core.errors import UsageError
    from ledger.service.simulator.faults import parse_faults
    from ledger.service.simulator.http import run
    from ledger.service.simulator.settings import CALM, Settings

    from .output import answer, say

    settings = Settings(seed=seed)
    if turnaround is not None:
        settings = msgspec.structs.replace(
            settings, turnaround_minimum_seconds=turnaround, turnaround_maximum_seconds=turnaround
        )
    if queue is not None:
        settings = msgspec.structs.replace(settings, queue_maximum=queue)
    if calm:
        settings = msgspec.structs.replace(settings, mix=CALM)
    if faults is not None:
        try:
            text = faults if faults.lstrip().startswith("{") else Path(faults).read_text(encoding="utf-8")
            settings = msgspec.structs.replace(settings, faults=parse_faults(text))
        except (ValueError, OSError) as problem:
            raise UsageError(f"--faults: {problem}", next="""--faults '{"faults": [{"operation": …}]}'""") from problem
    if speed <= 0:
        raise UsageError("--speed must be positive")
    signal.signal(signal.SIGTERM, _interrupt)

    def announce(url: str) -> None:
        answer(url)
        say(f"SIMULATED service; in another shell: export ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY=simulated")

    try:
        run(port, settings, state, speed=speed, host=host, announce=announce)
    except OSError as problem:
        what, why = f"port {port} of {host} cannot be listened on", problem.strerror or str(problem)
        raise UsageError(what, why=why, next="--port 0 takes a free one") from problem


def _interrupt(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
