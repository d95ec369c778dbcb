"""What was said for a run, recorded: its defaults, its policy, its budget, its prices."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from ledger.braking import budget_events
from ledger.choices import Choices, merged_defaults, merged_policy
from ledger.core import events as e
from ledger.core.errors import UsageError
from ledger.core.items import Defaults, check_defaults
from ledger.core.pricefile import other_steps, read_price_file
from ledger.core.requests import tolerating
from ledger.reusing import forgotten, opened
from ledger.runner import Writer

SIMULATOR = "simulator"
"""The origin of a ledger that the embedded simulator answers."""


def choose(writer: Writer, path: Path, today: str, choices: Choices) -> None:
    """Record what was said; refuse by name what cannot be changed any more.

    Args:
        writer: of the ledger.
        path: the ledger, for what is said about it.
        today: the day in ISO format, by which models are retired.
        choices: what was said.

    Raises:
        UsageError: it cannot be, or cannot be changed any more.
    """
    state = writer.state
    defaults = merged_defaults(state.defaults, choices)
    if defaults != state.defaults and state.asked:
        names = [n for n in Defaults.__struct_fields__ if getattr(defaults, n) != getattr(state.defaults, n)]
        recorded = {name: getattr(state.defaults, name) for name in names}
        raise UsageError(
            f"the run's {', '.join(names)} cannot be changed: its requests are built already",
            where=str(path),
            why=f"recorded: {recorded}",
            next="leave the option out, or start another ledger: --ledger FILE",
        )
    problems = check_defaults(defaults, datetime.fromisoformat(today).date())
    if problems:
        first = problems[0]
        raise UsageError(f"{first.field}: {first.why}", next=first.fix)
    fresh = not any(True for _ in state.sources)
    policy = merged_policy(state.policy, choices, simulated=state.origin == SIMULATOR and fresh)
    if policy.opaque_ids != state.policy.opaque_ids and state.asked:
        raise UsageError("--opaque-ids cannot be changed once requests are built", where=str(path))
    if defaults != state.defaults or policy != state.policy:
        writer.append(
            [
                e.SettingsChanged(
                    defaults=defaults if defaults != state.defaults else None,
                    policy=policy if policy != state.policy else None,
                ),
                *tolerating(state, policy),
            ]
        )
    writer.append(budget_events(state, choices))
    if choices.prices is not None:
        _choose_prices(writer, choices.prices, today)
    if choices.forget_reuse:
        writer.append(forgotten(state))
    writer.append(opened(state, choices.reuse or ()))


def _choose_prices(writer: Writer, path: str, today: str) -> None:
    """Record the prices of a file, unless they are the recorded ones."""
    state = writer.state
    try:
        data = Path(path).read_bytes()
    except OSError as problem:
        raise UsageError(
            f"the prices of {path} cannot be read",
            why=problem.strerror or str(problem),
            next="ledger prices -o FILE writes a table to begin with",
        ) from problem
    table = read_price_file(data, Path(path).name, today)
    known = state.prices
    if known is not None and table.source == known.source:
        return  # the same bytes; only the day of an undated file differs
    if known is not None:
        changed = other_steps(known, table, {spent.model for spent in state.spending()})
        if changed:
            raise UsageError(
                f"the prices of {', '.join(changed)} would change at other prompt lengths",
                where=path,
                why="results are summed by those lengths, as they were when they were stored",
                next="give these models the same above_prompt_tokens, or use the table for another ledger",
            )
    resumed = [e.RunResumed(reason="budget")] if "budget" in state.pauses else []  # it may be for want of a price
    writer.append([e.PricesQuoted(table=table), *resumed])
