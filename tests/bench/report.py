"""docs/benchmarks.md and its plot, from what the parts of the suite have stored in docs/benchmarks/results.json.

    python tests/bench/report.py [--print]

Parts that have not been measured are left out. The text around the figures is in `template.md`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import Any

from measure import HERE, RESULTS, spread
from plot import Panel, Point, chart

SIZES = ("1k", "10k", "100k", "1m")
OTHERS = ("small-answers", "large-prompts", "large-answers", "huge-answers")
MAIN = "100k"
MEASURES = (
    ("wall, s", "wall_seconds", 1.0, 1),
    ("CPU, s", "cpu_seconds", 1.0, 1),
    ("peak memory, MB", "peak_bytes", 1e6, 0),
)
Found = dict[str, Any]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose first column is text and whose others are numbers."""
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def of(found: Found, side: str, field: str) -> dict[str, float]:
    """Return median and range of one figure of one side."""
    return spread([one[field] for one in found["jobs"][side]])


def ratio(found: Found, field: str) -> float:
    """Return ours by theirs."""
    return of(found, "ledger", field)["median"] / of(found, "sdk", field)["median"]


def size(count: float) -> str:
    """Return a number of bytes as a person says it."""
    for unit, name in ((1e6, "MB"), (1e3, "KB")):
        if count >= unit:
            return f"{count / unit:g} {name}"
    return f"{count:g} B"


def comparison(results: Found) -> str:
    """Return both sides by case."""
    rows = []
    for name in (*SIZES, *OTHERS):
        found = results.get(f"compare:{name}")
        if found is None:
            continue
        case = f"{found['items']:,} × {size(found['item_bytes'])}, answers {size(found['answer_bytes'])}"
        for title, field, unit, digits in MEASURES:
            sides = [_shown(of(found, side, field), unit, digits) for side in ("sdk", "ledger")]
            rows.append((case, title, *sides, f"{ratio(found, field):.2f}"))
            case = ""
        rows.append(("", "rounds; load average", str(found["rounds"]), "", _loads(found)))
    return table(("items", "", "SDK script", "ledger", "ratio"), rows)


def _shown(values: dict[str, float], unit: float, digits: int) -> str:
    median = f"{values['median'] / unit:,.{digits}f}"
    if values["rounds"] == 1:
        return median
    return f"{median} ({values['least'] / unit:,.{digits}f}–{values['most'] / unit:,.{digits}f})"


def _loads(found: Found) -> str:
    loads = [one["load"] for side in found["jobs"].values() for one in side]
    return f"{min(loads):.1f}–{max(loads):.1f}"


def disk(results: Found) -> str:
    """Return what a ledger of each case has on the disk."""
    rows = []
    for name in (*SIZES, *OTHERS):
        found = results.get(f"compare:{name}")
        if found is None or "results_bytes" not in found["jobs"]["ledger"][-1]:
            continue
        done = found["jobs"]["ledger"][-1]
        moved = found["input_bytes"] + done["results_bytes"]
        case = f"{found['items']:,} × {size(found['item_bytes'])}, answers {size(found['answer_bytes'])}"
        figures = (found["input_bytes"], done["results_bytes"], done["left_bytes"])
        rows.append((case, *(f"{figure / 1e6:,.1f}" for figure in figures), f"{done['left_bytes'] / moved:.2f}"))
    return table(("items", "input, MB", "results, MB", "ledger, MB", "ledger ÷ (input + results)"), rows)


def server_share(results: Found) -> str:
    """Return how little the service had to do."""
    found = results[f"compare:{MAIN}"]
    took = of(found, "ledger", "server_cpu_seconds")["median"]
    text = f"In a job of {found['items']:,} items the server used {took:.1f} s of CPU"
    floor = results.get(f"floor:{MAIN}")
    if floor is None:
        return text + "."
    steps = floor["steps"]
    up = floor["up_bytes"] / steps["upload"]["wall_seconds"] / 1e6
    down = floor["down_bytes"] / steps["download"]["wall_seconds"] / 1e6
    return (
        f"{text}; for `{floor['client']}` it took {floor['up_bytes'] / 1e6:,.0f} MB at {up:,.0f} MB/s and gave "
        f"{floor['down_bytes'] / 1e6:,.0f} MB at {down:,.0f} MB/s, which is "
        f"{steps['upload']['wall_seconds'] + steps['download']['wall_seconds']:.1f} s of a job that takes the ledger "
        f"{of(found, 'ledger', 'wall_seconds')['median']:.0f} s and the script "
        f"{of(found, 'sdk', 'wall_seconds')['median']:.0f} s."
    )


def targets(results: Found, hot: Found) -> str:
    """Return what was aimed for, what was measured, and whether it is met."""
    main = results[f"compare:{MAIN}"]
    small, large = results.get("compare:1k"), results.get("compare:1m")
    rows: list[tuple[str, str, str, str]] = []

    def row(what: str, aim: str, value: float, bound: float, shown: str, *, least: bool = False) -> None:
        met = value >= bound if least else value <= bound
        rows.append((what, aim, shown, "yes" if met else "**no**"))

    for what, field, bound in (("CPU", "cpu_seconds", 0.35), ("wall", "wall_seconds", 0.40)):
        value = ratio(main, field)
        row(f"{what} ÷ SDK script, 100K × 2 KB", f"≤ {bound:.2f}", value, bound, f"{value:.2f}")
    peak = of(main, "ledger", "peak_bytes")["median"]
    row("peak memory, 100K × 2 KB", "≤ 120 MB", peak / 1e6, 120, f"{peak / 1e6:.0f} MB")
    if large:
        more = (of(large, "ledger", "peak_bytes")["median"] - peak) / (large["items"] - main["items"])
        row("peak memory from 100K to 1M", "≤ 32 bytes a request", more, 32, f"{more:.0f}")
    if answers := results.get("compare:large-answers"):
        value = ratio(answers, "cpu_seconds")
        row("CPU ÷ SDK script, answers of 13 KB", "≤ 0.15", value, 0.15, f"{value:.2f}")
    for what, name, bound in (
        ("chained, durable appends", "test_append_events_durably", 100_000),
        ("chain and fold", "test_chain_and_fold_a_log", 250_000),
        ("full audit", "test_audit_a_ledger", 100_000),
    ):
        if name in hot:
            value = hot[name]["extra_info"]["events"] / hot[name]["stats"]["median"]
            row(f"{what}, a second of CPU", f"≥ {bound / 1000:.0f}K", value, bound, f"{value / 1000:.0f}K", least=True)
    if resumed := results.get("resume"):
        least, most = resumed["sizes"][0], resumed["sizes"][-1]
        value = most["resume_cpu_seconds"]["median"] - least["resume_cpu_seconds"]["median"]
        what = f"`resume` with nothing to do, CPU more at {most['items']:,} than at {least['items']:,} items"
        row(what, "≤ 0.5 s", value, 0.5, f"{value:.2f} s")
        if most["status_cpu_seconds"]:
            value = most["status_cpu_seconds"]["median"]
            row(f"`status` of {most['items']:,} items while they run, CPU", "≤ 0.5 s", value, 0.5, f"{value:.2f} s")
    for what, case, bound in (("help", small, 0.15), ("status", small, 0.3)):
        if case and what in case["jobs"]["ledger"][-1]["afterwards"]:
            value = case["jobs"]["ledger"][-1]["afterwards"][what]["cpu_seconds"]
            title = "`ledger --help`, CPU" if what == "help" else "`status` of 1K, CPU"
            row(title, f"≤ {bound:.2f} s", value, bound, f"{value:.2f} s")
    done = main["jobs"]["ledger"][-1]
    value = done["left_bytes"] / (main["input_bytes"] + done["results_bytes"])
    row("ledger ÷ (input + results), English", "≤ 0.40", value, 0.4, f"{value:.2f}")
    return table(("what", "aim", "measured", "met"), rows)


def floor(results: Found) -> str:
    """Return the floor by step, and both sides as multiples of it."""
    found, main = results.get(f"floor:{MAIN}"), results.get(f"compare:{MAIN}")
    if found is None or main is None:
        return "Not measured."
    names = {
        "upload": f"upload {found['up_bytes'] / 1e6:,.0f} MB with `{found['client']}`",
        "download": f"download {found['down_bytes'] / 1e6:,.0f} MB with `{found['client']}`",
        "import": "insert both with `sqlite3`, synchronous=FULL",
    }
    steps = found["steps"]
    rows: list[tuple[str, ...]] = [
        (text, f"{steps[name]['wall_seconds']:.2f}", f"{steps[name]['cpu_seconds']:.2f}")
        for name, text in names.items()
    ]
    wall, cpu = (sum(step[field] for step in steps.values()) for field in ("wall_seconds", "cpu_seconds"))
    rows.append(("**the floor**", f"**{wall:.2f}**", f"**{cpu:.2f}**"))
    for title, side in (("ledger", "ledger"), ("SDK script (no log, no database)", "sdk")):
        took = [of(main, side, field)["median"] for field in ("wall_seconds", "cpu_seconds")]
        multiples = [f"{took[0]:.1f} = {took[0] / wall:.1f} ×", f"{took[1]:.1f} = {took[1] / cpu:.1f} ×"]
        rows.append((title, *multiples))
    text = table((f"{found['items']:,} × {size(found['item_bytes'])}", "wall, s", "CPU, s"), rows)
    return (
        f"{text}\n\nThe database of the floor has {found['database_bytes'] / 1e6:,.0f} MB, uncompressed; "
        f"load average {found['load']:.1f}."
    )


def phases(results: Found) -> str:
    """Return the share of every phase, and the CPU seconds it stands for."""
    found, main = results.get("phases"), results.get(f"compare:{MAIN}")
    if found is None:
        return "Not measured."
    rows = []
    total = sum(count for phases in found["samples"].values() for count in phases.values())
    cpu = of(main, "ledger", "cpu_seconds")["median"] if main and found["case"] == MAIN else None
    for command, counts in found["samples"].items():
        for phase, count in sorted(counts.items(), key=lambda pair: -pair[1]):
            if count >= total / 200:
                seconds = f"{cpu * count / total:.1f}" if cpu is not None else ""
                rows.append((f"{command}: {phase}", f"{100 * count / total:.0f} %", seconds))
    return table(("phase", "share", "CPU, s"), rows)


def scaling(results: Found) -> str:
    """Return time and memory by size, and the slope between neighbours."""
    found = [results[f"compare:{name}"] for name in SIZES if f"compare:{name}" in results]
    steps: list[tuple[str, Callable[[Found], float]]] = [
        ("run", lambda one: spread([job["parts"][0]["cpu_seconds"] for job in one["jobs"]["ledger"]])["median"]),
        ("results", lambda one: spread([job["parts"][1]["cpu_seconds"] for job in one["jobs"]["ledger"]])["median"]),
    ]
    steps += [(name, _afterwards(name, "cpu_seconds")) for name in ("replay", "audit", "status", "again")]
    head = ("CPU, s", *(f"{one['items']:,}" for one in found), *_slopes(found))
    rows = [_scaled(name, [measure(one) for one in found], found, 1e6, "µs") for name, measure in steps]
    memory = [of(one, "ledger", "peak_bytes")["median"] for one in found]
    row = _scaled("", memory, found, 1.0, "B")[-(len(found) - 1) :]
    rows.append(("peak memory, MB", *(f"{value / 1e6:.0f}" for value in memory), *row))
    return table(head, rows)


def _afterwards(name: str, field: str) -> Callable[[Found], float]:
    return lambda one: float(one["jobs"]["ledger"][-1]["afterwards"][name][field])


def _slopes(found: list[Found]) -> list[str]:
    return [f"more an item, {a['items']:,} to {b['items']:,}" for a, b in pairwise(found)]


def _scaled(name: str, values: list[float], found: list[Found], unit: float, suffix: str) -> tuple[str, ...]:
    slopes = [
        f"{(b - a) / (after['items'] - before['items']) * unit:,.3g} {suffix}"
        for a, b, before, after in zip(values, values[1:], found, found[1:], strict=False)
    ]
    return (name, *(f"{value:.2f}" for value in values), *slopes)


def stream(results: Found) -> str:
    """Return the intake of a stream by size."""
    found = results.get("stream")
    if found is None:
        return "Not measured."
    rows = []
    for before, one in zip([None, *found["sizes"]], found["sizes"], strict=False):
        more = one["items"] - before["items"] if before else 0
        slope = f"{(one['cpu_seconds'] - before['cpu_seconds']) / more * 1e6:.1f}" if before else ""
        bytes_more = f"{(one['peak_bytes'] - before['peak_bytes']) / more:.0f}" if before else ""
        rows.append(
            (
                f"{one['items']:,}",
                f"{one['cpu_seconds']:.1f}",
                slope,
                f"{one['peak_bytes'] / 1e6:.0f}",
                bytes_more,
                f"{one['disk_bytes'] / 1e6:,.0f}",
            )
        )
    head = ("items", "CPU, s", "µs more an item", "peak memory, MB", "bytes more an item", "disk, MB")
    return f"{table(head, rows)}\n\n{found['date']}, commit {found['commit']}."


def chunks(results: Found) -> str:
    """Return what a tick costs by the number of batches in flight."""
    found = results.get("chunks")
    if found is None:
        return "Not measured."
    rows = []
    for before, one in zip([None, *found["sizes"]], found["sizes"], strict=False):
        more = one["batches"] - before["batches"] if before else 0
        slope = (one["cpu_seconds_until_submitted"] - before["cpu_seconds_until_submitted"]) / more if before else 0
        rows.append(
            (
                f"{one['batches']:,}",
                f"{one['cpu_seconds_until_submitted']:.1f}",
                f"{slope * 1e3:.0f}" if before else "",
                f"{one['cpu_seconds_a_poll'] * 1e3:.1f}",
                f"{100 * one['cpu_share']:.1f} %",
                f"{one['list_calls'] / one['polls']:.1f}",
                f"{one['decide_seconds'] * 1e6:.0f}",
            )
        )
    head = (
        "in flight",
        "CPU until all are accepted, s",
        "ms more a batch",
        "CPU a list call, ms",
        "of one CPU",
        "list calls a poll",
        "`decide`, µs",
    )
    return table(head, rows)


def hot_functions(hot: Found) -> str:
    """Return rows a second of every hot function."""
    rows = []
    for name, one in hot.items():
        info, median = one["extra_info"], one["stats"]["median"]
        unit, count = next(iter(info.items()))
        rows.append(
            (
                name.removeprefix("test_").replace("_", " "),
                f"{median / count * 1e6:.2f}",
                f"{count / median:,.0f}",
                unit,
            )
        )
    return table(("function", "µs CPU each", "a second", "of"), rows)


def plot(results: Found) -> str:
    """Return the chart of both sides by size."""
    found = [results[f"compare:{name}"] for name in SIZES if f"compare:{name}" in results]
    panels = [
        Panel(title, [[_point(one, side, field, unit) for one in found] for side in ("sdk", "ledger")])
        for title, field, unit, _ in MEASURES
    ]
    return chart("Items of 2 KB, answers of 2 KB", ("SDK script", "ledger"), panels, "items")


def _point(found: Found, side: str, field: str, unit: float) -> Point:
    values = of(found, side, field)
    return Point(found["items"], *(values[name] / unit for name in ("median", "least", "most")))


def quiet(results: Found) -> str:
    """Return what is to be said of other work on the machine."""
    loads = [one["load"] for name in SIZES for one in _jobs(results, name)]
    cpus = results[f"compare:{MAIN}"]["cpus"]
    if max(loads) <= cpus:
        return f"The load average was {min(loads):.1f} to {max(loads):.1f}, on {cpus} CPUs."
    return (
        f"**Other work was running on the machine at the same time**: the load average was {min(loads):.1f} to "
        f"{max(loads):.1f}, on {cpus} CPUs. Wall times are inflated by it, for both sides; CPU times somewhat. "
        "Hence the ratios, and the load beside every case."
    )


def _jobs(results: Found, name: str) -> list[Found]:
    found = results.get(f"compare:{name}")
    return [one for side in found["jobs"].values() for one in side] if found else []


def machine(results: Found) -> str:
    """Return what the comparison was measured on."""
    one = results[f"compare:{MAIN}"]
    packages = ", ".join(f"{name} {number}" for name, number in one["packages"].items())
    dates: dict[tuple[str, str], list[str]] = {}
    for found in results.values():
        dates.setdefault((found["command"], found["commit"]), []).append(found["date"])
    lines = [
        f"- {min(when)}, commit {commit}: `{command}`"
        for (command, commit), when in sorted(dates.items(), key=lambda pair: min(pair[1]))
    ]
    return (
        f"{one['cpus']} CPUs ({one['processor']}), {one['memory_bytes'] / 1e9:.0f} GB, {one['system']}, "
        f"{one['python']}, SQLite {one['sqlite']}, {packages}.\n\n" + "\n".join(lines)
    )


def read_hot(folder: Path) -> Found:
    """Return the newest saved timings of the hot functions by name."""
    saved = sorted(folder.glob("hot/*/*.json"), key=lambda path: path.name)
    return {one["name"]: one for one in json.loads(saved[-1].read_text())["benchmarks"]} if saved else {}


def main() -> None:
    """Write the page and its plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print", action="store_true", help="print the comparison, too")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures are kept")
    options = parser.parse_args()
    results, hot = json.loads(options.results.read_text()), read_hot(options.results.parent)
    if f"compare:{MAIN}" in results:
        page = Template((HERE / "template.md").read_text()).substitute(
            quiet=quiet(results),
            comparison=comparison(results),
            disk=disk(results),
            server=server_share(results),
            targets=targets(results, hot),
            floor=floor(results),
            phases=phases(results),
            scaling=scaling(results),
            stream=stream(results),
            chunks=chunks(results),
            hot=hot_functions(hot),
            machine=machine(results),
        )
        options.results.parent.with_suffix(".md").write_text(page)
        (options.results.parent / "compare.svg").write_text(plot(results))
    if options.print:
        print(comparison(results))


if __name__ == "__main__":
    main()
