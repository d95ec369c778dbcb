"""The floor: the same bytes moved with `curl`, and the same rows put into SQLite with nothing around them.

    python tests/bench/floor.py [--case 100k]

What no client can do without: one process uploads the bodies that the plain script would send, one downloads all
results into files, and one reads both line by line and inserts the lines as they are into two tables, 5,000 rows a
transaction, WAL, ``synchronous=FULL``. No JSON is read, nothing is checked, hashed or compressed. Where there is no
`curl`, `http.client` of the standard library takes its place, and the results say so. The rates of `curl` show how much
more the service could take and give than the clients ask of it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shutil
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench import CASES, Case
from corpus import write_items
from measure import RESULTS, keep, load, machine, measure, progress, server, workplace

CHUNK_REQUESTS = 10_000
ROWS_A_COMMIT = 5_000
PATH = "/v1/messages/batches"
TURNAROUND_SECONDS = 0.1
_PIECE_BYTES = 1 << 20


def write_bodies(items: Path, place: Path) -> list[Path]:
    """Write the bodies of the batches and return where they are."""
    bodies: list[Path] = []
    with items.open("rb") as lines:
        while chunk := list(islice(lines, CHUNK_REQUESTS)):
            bodies.append(place / f"body-{len(bodies):04d}.json")
            bodies[-1].write_bytes(b'{"requests":[' + b",".join(line.rstrip() for line in chunk) + b"]}")
    return bodies


def up(bodies: list[Path], url: str) -> list[str]:
    """Return the command that uploads the bodies, one after another on one connection."""
    curl = shutil.which("curl")
    if curl is None:
        return [sys.executable, __file__, "--upload", url, *map(str, bodies)]
    headers = ["-H", "content-type: application/json", "-H", "expect:"]
    command = [curl]
    for body in bodies:
        command += [] if len(command) == 1 else ["--next"]
        command += ["-sS", "-f", "-X", "POST", *headers, "-o", "/dev/null", "-T", str(body), url + PATH]
    return command


def down(names: list[str], url: str, place: Path) -> list[str]:
    """Return the command that downloads the results of some batches into files."""
    curl = shutil.which("curl")
    if curl is None:
        return [sys.executable, __file__, "--download", url, str(place), *names]
    command = [curl, "-sS", "-f"]
    for name in names:
        command += ["-o", str(place / f"{name}.jsonl"), f"{url}{PATH}/{name}/results"]
    return command


def upload(url: str, bodies: list[str]) -> None:
    """Be `curl -T` where there is none."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, blocksize=_PIECE_BYTES)
    for body in bodies:
        with Path(body).open("rb") as file:
            connection.request("POST", PATH, file, {"content-length": str(Path(body).stat().st_size)})
            connection.getresponse().read()


def download(url: str, place: Path, names: list[str]) -> None:
    """Be `curl -o` where there is none."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    for name in names:
        connection.request("GET", f"{PATH}/{name}/results")
        response = connection.getresponse()
        with (place / f"{name}.jsonl").open("wb") as file:
            while piece := response.read(_PIECE_BYTES):
                file.write(piece)


def import_rows(database: str, items: Path, results: list[Path]) -> None:
    """Insert the lines of files into two tables."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    for table, paths in (("request", [items]), ("result", results)):
        connection.execute(f"CREATE TABLE {table} (row BLOB NOT NULL)")
        for group in _groups(paths):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(f"INSERT INTO {table} VALUES (?)", group)
            connection.execute("COMMIT")
    connection.close()


def _groups(paths: Iterable[Path]) -> Iterator[list[tuple[bytes]]]:
    for path in paths:
        with path.open("rb") as lines:
            while group := [(line,) for line in islice(lines, ROWS_A_COMMIT)]:
                yield group


def measured(case: Case, place: Path) -> dict[str, Any]:
    """Return what the three steps took, how many bytes were moved, and what the service took for it."""
    items = place / "items.jsonl"
    write_items(items, case.items, case.item_bytes)
    bodies = write_bodies(items, place)
    before = load()
    with server(case.answer_bytes, TURNAROUND_SECONDS) as service:
        uploading = measure(up(bodies, service.url))
        time.sleep(2 * TURNAROUND_SECONDS)  # until the last batch has ended
        with urllib.request.urlopen(f"{service.url}{PATH}?limit=1000") as listed:
            names = [batch["id"] for batch in reversed(json.load(listed)["data"])]
        downloading = measure(down(names, service.url, place))
    results = [place / f"{name}.jsonl" for name in names]
    down_bytes = sum(path.stat().st_size for path in results)
    if sum(1 for path in results for _ in path.open("rb")) != case.items:
        sys.exit("the floor did not get every row")
    database = place / "rows.db"
    importing = measure([sys.executable, __file__, "--import", str(database), str(items), *map(str, results)])
    steps = {"upload": uploading, "download": downloading, "import": importing}
    curl = shutil.which("curl")
    version = subprocess.run([curl, "--version"], capture_output=True, text=True).stdout.split()[1] if curl else ""
    return {
        **case._asdict(),
        "client": f"curl {version}" if curl else "http.client",
        "steps": {name: {"wall_seconds": c.wall_seconds, "cpu_seconds": c.cpu_seconds} for name, c in steps.items()},
        "up_bytes": sum(path.stat().st_size for path in bodies),
        "down_bytes": down_bytes,
        "database_bytes": database.stat().st_size,
        "server_cpu_seconds": service.cpu_seconds,
        "load": before,
        **machine(),
    }


def main() -> None:
    """Measure the floor of a case, or be one of its processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="100k", choices=CASES)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures are kept")
    parser.add_argument("--where", type=Path, help="a directory on the disk to measure; the system's temporary one")
    for part in ("upload", "download", "import"):
        parser.add_argument(f"--{part}", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.upload:
        return upload(options.upload[0], options.upload[1:])
    if options.download:
        return download(options.download[0], Path(options.download[1]), options.download[2:])
    if words := getattr(options, "import"):
        return import_rows(words[0], Path(words[1]), [Path(word) for word in words[2:]])
    with workplace(options.where) as place:
        found = measured(CASES[options.case], place)
    keep(f"floor:{options.case}", found, options.results)
    for name, step in found["steps"].items():
        progress(f"floor {options.case}, {name:8} {step['wall_seconds']:6.2f} s, CPU {step['cpu_seconds']:6.2f} s")
    return None


if __name__ == "__main__":
    main()
