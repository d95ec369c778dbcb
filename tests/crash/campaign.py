"""Lives of runs under faults, killed again and again: ``make crash``, or some seeds of it in the tests.

Every life is one process; it is killed after so many durable events, or after so long, as its seed draws, until the
run is over. The faults lose answers, refuse, lag and cut within what the guarantees allow; so whatever the seed, every
item is answered once and none is paid for twice.

    python tests/crash/campaign.py --kills 2000
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "hostile"))

from processes import Nursery
from scene import CALMLY, SETTLE_SECONDS, Scene

from ledger.service.simulator.faults import Fault, Faults
from ledger.service.simulator.settings import Settings

LIVES_AT_MOST = 60
"""After so many the run is left to end: a process that dies young may do nothing but find out what its elders did."""


def service(chance: random.Random) -> Settings:
    """Return a service that loses answers as a seed draws; none of its refusals ends an item."""
    rates = {
        "drop": Fault(operation="create", kind="drop", rate=0.15),
        "never": Fault(operation="create", kind="drop", rate=0.1, carried_out=False),
        "500": Fault(operation="create", kind="status", status=500, rate=0.1),
        "cut": Fault(operation="create", kind="cut", bytes=50, rate=0.1),
        "late": Fault(operation="create", kind="late", seconds=SETTLE_SECONDS / 3, rate=0.1),
        "limit": Fault(operation="create", kind="refuse", error="rate_limit", retry_after_seconds=0.1, rate=0.1),
        "stranger": Fault(operation="create", kind="stranger", rate=0.1),
        "blind": Fault(operation="list", kind="status", status=503, rate=0.1),
        "torn": Fault(operation="results", kind="cut", bytes=900, framing="chunked", rate=0.2),
        "twice": Fault(operation="results", kind="duplicate_row", rate=0.2),
    }
    chosen = chance.sample(sorted(rates), chance.randint(2, 6))
    lag = chance.choice([0.0, 0.0, SETTLE_SECONDS / 3])
    return msgspec.structs.replace(
        CALMLY,
        seed=chance.randrange(1 << 30),
        turnaround_minimum_seconds=1.0,
        turnaround_maximum_seconds=chance.choice([2.0, 10.0]),
        faults=Faults(faults=tuple(rates[name] for name in chosen), list_lag_seconds=lag),
    )


def live(nursery: Nursery, place: Path, seed: int) -> int:
    """Carry one run from its first process to its end; return how many of its processes were killed.

    Raises:
        AssertionError: something was lost, or paid for twice, or the log does not prove the opposite.
    """
    chance = random.Random(seed)
    count = chance.randint(5, 30)
    failing = chance.sample(range(count), 2)
    texts = [f"{'[[simulate:errored:api_error:1]] ' if n in failing else ''}Say {n}." for n in range(count)]
    killed = 0
    with Scene(place, texts=texts, settings=service(chance), chunk_requests=chance.randint(2, 9)) as scene:
        for life in range(LIVES_AT_MOST + 1):
            dies_after = 0 if life == LIVES_AT_MOST or chance.random() < 0.3 else chance.randint(1, 30)
            process = nursery.act(
                "run",
                path=str(scene.path),
                base_url=scene.server.url,
                items=str(scene.items),
                said=scene.said,
                dies_after=dies_after,
            )
            if not dies_after and life < LIVES_AT_MOST:
                time.sleep(chance.uniform(0.01, 0.6))
                code = -9 if process.kill() else process.wait()
            else:
                code = process.wait()
            if code == 0:
                break
            assert code == -9, f"seed {seed}, life {life} ended with {code}:\n{process.said()}"
            killed += 1
        try:
            # A stranger's batch, made after a submission was given up, is suspected until its rows can be read.
            while any(not twin.proven for twin in scene.ledger()[0].state().twins.values()):
                assert scene.resume().exit_code == 0
            scene.answered_after_retries()
        except AssertionError as problem:
            raise AssertionError(f"seed {seed}: {problem}") from problem
    return killed


def main() -> None:
    """Kill until enough were killed."""
    parser = argparse.ArgumentParser(description="Kill runs and see that nothing is lost or paid for twice.")
    parser.add_argument("--kills", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    said = parser.parse_args()
    killed, seed, began = 0, said.seed, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ledger-crash-") as top, Nursery(Path(top)) as nursery:
        while killed < said.kills:
            place = Path(top) / str(seed)
            place.mkdir()
            killed += live(nursery, place, seed)
            seed += 1
            print(f"\r{seed - said.seed} runs, {killed} kills, 0 lost, 0 paid for twice", end="", flush=True)
    print(f"; {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
