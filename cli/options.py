"""Options that several commands share, and how a command finds its ledger."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from .application import DEBUG

F = TypeVar("F", bound=Callable[..., Any])

LEDGER_SUFFIX = ".ledger"


# ── what people write ───────────────────────────────────────────────────────────────────────────────────────────


class Duration(click.ParamType[float]):
    """``0.2``, ``90s``, ``15m``; seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds."""
        from ledger.core.units import parse_duration

        try:
            return value if isinstance(value, float) else parse_duration(value)
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


class Size(click.ParamType[int]):
    """``64MB``, ``500KB``; bytes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the bytes."""
        from ledger.core.units import parse_size

        try:
            return value if isinstance(value, int) else parse_size(value)
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


def _system(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is None or not value.startswith("@"):
        return value
    try:
        return Path(value[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise click.BadParameter(f"{value[1:]} cannot be read: {problem}", ctx, param) from problem


def split_commas(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Return the words of ``a,b``; None where nothing was said."""
    return None if value is None else tuple(word.strip() for word in value.split(",") if word.strip())


def _debug(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    ctx.meta[DEBUG] = value


def complete_files(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[Any]:
    """Have the shell complete the name of a file."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


# ── groups of options ───────────────────────────────────────────────────────────────────────────────────────────


def _all(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


ledger_option: Callable[[F], F] = click.option(
    "-l",
    "--ledger",
    "ledger_file",
    metavar="FILE",
    shell_complete=complete_files,
    help="The ledger; by default the only *.ledger here.",
)
ledger_operand: Callable[[F], F] = _all(
    click.argument("operand", metavar="[LEDGER]", required=False, default=None, shell_complete=complete_files),
    ledger_option,
)
"""For commands without another operand: the ledger by position, too."""

debug_option: Callable[[F], F] = click.option(
    "--debug", is_flag=True, expose_value=False, is_eager=True, callback=_debug, help="Show tracebacks of errors."
)
json_option: Callable[[F], F] = click.option("--json", "as_json", is_flag=True, help="Answer in JSON, for programs.")

item_options: Callable[[F], F] = _all(
    click.option("--model", metavar="MODEL", help="For items that name none."),
    click.option("--max-tokens", type=int, metavar="N", help="For items that say none; there is no default."),
    click.option("--system", metavar="TEXT|@FILE", callback=_system, help="For items without a system prompt."),
    click.option(
        "--param", "params", metavar="KEY=JSON", multiple=True, help="Any other parameter of the Messages API."
    ),
    click.option("--beta", "betas", metavar="NAME", multiple=True, help="An anthropic-beta header of every batch."),
    click.option(
        "--allow-model", "allowed_models", metavar="MODEL", multiple=True, help="A model that ledger does not know."
    ),
    click.option("--skip-invalid", is_flag=True, default=None, help="Run without the lines that are no valid items."),
    click.option("--opaque-ids", is_flag=True, default=None, help="Show the service no part of your ids."),
)
"""What is asked; a later run of the same ledger cannot change it."""

chunk_options: Callable[[F], F] = _all(
    click.option("--chunk-requests", type=int, metavar="N", help="Requests in a batch, at most.  [10000]"),
    click.option("--chunk-bytes", type=Size(), metavar="SIZE", help="Bytes in a batch, at most.  [64MB]"),
    click.option("--tier", metavar="start|build|scale", help="Your usage tier: how much may wait there.  [start]"),
)

prices_option: Callable[[F], F] = click.option(
    "--prices", metavar="FILE", help="Count with these prices (`ledger prices -o FILE` writes such a file)."
)

brake_options: Callable[[F], F] = _all(
    click.option(
        "--max-cost", metavar="USD", help="What all of the ledger may cost, for good; `none` takes the limit away."
    ),
    click.option(
        "--budget-mode",
        type=click.Choice(["worst", "expected"]),
        help="Count a batch with the most it can cost, or with what is expected of it.  [worst]",
    ),
    click.option(
        "--canary",
        "canary_requests",
        type=int,
        metavar="N",
        help="Send N items of every kind first, and judge them.  [100, for large runs]",
    ),
    click.option("--no-canary", is_flag=True, help="Send everything at once, however much it is."),
    click.option(
        "--canary-wait",
        "canary_wait_seconds",
        type=Duration(),
        metavar="DURATION",
        help="Wait so long for what goes first.  [2h]",
    ),
    click.option(
        "--max-error-rate", metavar="SHARE", help="Stop when more items than that surely end in an error.  [0.01]"
    ),
)
"""What stops a run before it costs too much, or comes to nothing."""

prime_option: Callable[[F], F] = click.option(
    "--prime-cache/--no-prime-cache",
    default=None,
    help="Send one request of each prefix shared under cache_control first, and wait for it.",
)

policy_options: Callable[[F], F] = _all(
    chunk_options,
    prices_option,
    brake_options,
    prime_option,
    click.option(
        "--reuse",
        metavar="LEDGER",
        multiple=True,
        help="Take answers to the very same requests from another ledger, for nothing.",
    ),
    click.option("--max-attempts", type=int, metavar="N", help="Times that an item is sent, at most.  [3]"),
    click.option("--poll", "poll_seconds", type=Duration(), metavar="DURATION", help="How often to ask.  [60s]"),
    click.option(
        "--settle",
        "settle_seconds",
        type=Duration(),
        metavar="DURATION",
        help="Before a batch that nobody lists counts as never accepted.  [15m]",
    ),
    click.option(
        "--on-uncertain",
        type=click.Choice(["repeat", "hold"]),
        help="When that time is over: send again, or ask you.  [repeat]",
    ),
    click.option(
        "--accept", metavar="OUTCOME,…", callback=split_commas, help="Outcomes that are as good as ok: truncated,…"
    ),
)
"""How a run is conducted; can be said anew at any time."""

service_options: Callable[[F], F] = click.option(
    "--base-url", metavar="URL", help="The service.  [as in the SDK: ANTHROPIC_BASE_URL]"
)

index_option: Callable[[F], F] = click.option(
    "--no-index", is_flag=True, help="Neither note what was answered, nor look for what was answered before."
)

conduct_options: Callable[[F], F] = _all(
    click.option("-o", "--output", metavar="ANSWERS", help="Write the answers to a file when the run is finished."),
    click.option("--once", is_flag=True, help="Do what can be done now and return: for cron and Airflow."),
    click.option(
        "--notify",
        metavar="CMD|URL",
        multiple=True,
        help="Tell a command or a URL of the end, a pause, an alarm.",
    ),
    click.option("--if-free", is_flag=True, help="Exit with 0, not 4, where another process is at work on it."),
    click.option("--take-over", is_flag=True, help="End the process that is writing this ledger, and go on."),
    index_option,
    click.option("--yes", is_flag=True, help="Ask nothing: send it whatever it may cost."),
    json_option,
    click.option("-q", "--quiet", is_flag=True, help="Say only what needs a person."),
    click.option("-v", "--verbose", is_flag=True, help="Log every durable event on standard error."),
    click.option("--log-format", type=click.Choice(["text", "json"]), default="text", help="Of what -v logs.  [text]"),
    debug_option,
)
"""How `run` and `resume` behave towards whoever started them."""


def choices_of(said: dict[str, Any]) -> Any:
    """Return the library's Choices of what options said; empty lists were not said."""
    from ledger.choices import Choices
    from ledger.core.items import parse_param

    said = dict(said)
    if "params" in said:
        said["params"] = dict(parse_param(text) for text in said["params"]) or None
    if said.pop("no_canary", False):
        if said.get("canary_requests") is not None:
            from ledger.core.errors import UsageError

            raise UsageError("--canary and --no-canary contradict each other", next="give one of them")
        said["canary"] = "never"
    elif said.get("canary_requests") is not None:
        said["canary"] = "always"
    for name in ("betas", "allowed_models", "reuse"):
        if name in said:
            said[name] = tuple(said[name]) or None
    return Choices(**said)


def require_other_file(rejects: IO[bytes] | None, items: str) -> None:
    """Refuse to write bad lines over the items.

    Raises:
        UsageError: both are the same file.
    """
    if rejects is not None and Path(rejects.name).resolve() == Path(items).resolve():
        from ledger.core.errors import UsageError

        raise UsageError("--rejects would overwrite the items", next="name another file")


def require_items(items: str) -> None:
    """Refuse items that are not there, and name those that were meant.

    Raises:
        UsageError: there is no such file.
    """
    if items == "-" or Path(items).is_file():
        return
    from ledger.core.errors import UsageError
    from ledger.suggesting import did_you_mean

    meant = did_you_mean(items, ".jsonl", ".ndjson", ".json", ".gz", ".zst")
    what = f"{items} is a directory" if Path(items).is_dir() else f"there is no file {items}"
    raise UsageError(what, next=f"{meant}ledger run ITEMS takes JSON lines, one item each")


# ── the ledger ──────────────────────────────────────────────────────────────────────────────────────────────────


def find_ledger(option: str | None, operand: str | None = None) -> Path:
    """Return the ledger that is meant: the one named, else the only one in this directory.

    Raises:
        UsageError: two are named, or none is and there is not exactly one here.
    """
    from ledger.core.errors import UsageError

    if option and operand and Path(option) != Path(operand):
        raise UsageError(f"two ledgers are named, {operand} and {option}", next="name one")
    named = option or operand
    if named:
        return _named_ledger(named)
    here = sorted(name for name in os.listdir() if name.endswith(LEDGER_SUFFIX))  # noqa: PTH208 - names, as typed
    if not here:
        from .configuration import ledgers_directory

        here = sorted(str(path) for path in ledgers_directory().glob(f"*{LEDGER_SUFFIX}"))
    if len(here) == 1:
        return Path(here[0])
    context = click.get_current_context()
    command = f"{context.command_path} --ledger"
    if not here:
        raise UsageError(
            f"there is no *{LEDGER_SUFFIX} in this directory",
            next=f"{command} FILE, or begin with: ledger run ITEMS",
        )
    raise UsageError(
        f"there are {len(here)} ledgers in this directory, and none was named",
        next="one of\n" + "\n".join(f"  {command} {name}" for name in here),
    )


def _named_ledger(name: str) -> Path:
    """Return the ledger of a name: in this directory, or where new ones are made."""
    path = Path(name)
    if path.exists() or len(path.parts) != 1:
        return path
    from .configuration import ledgers_directory

    other = ledgers_directory() / path
    return other if other.exists() else path
