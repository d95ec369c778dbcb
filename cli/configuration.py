"""What is said for options that nobody gave: by the environment, by a file, by one's own configuration.

From the strongest to the weakest: an option; what the ledger has recorded; ``BATCH_LEDGER_*``; the ``ledger.toml``
found from the current directory upwards; one's own ``config.toml``; what is built in. A ledger that holds requests goes
on as it was begun: a file that was edited meanwhile must neither lift a budget that somebody has lowered, nor change
what is asked.

A file that lies in a directory may come from anybody: a clone, an archive, a colleague. It says what is asked and how,
but it can start no command, name no address that a key or a summary is sent to, read no file outside its directory, and
agree to no cost.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import click

from ledger.core.errors import UsageError

FILE_NAME = "ledger.toml"
USER_FILE = Path("claude-batch-ledger") / "config.toml"
PREFIX = "BATCH_LEDGER_"
CONFIG_VARIABLE = "BATCH_LEDGER_CONFIG"
SECRET_VARIABLE = "BATCH_LEDGER_WEBHOOK_SECRET"  # noqa: S105 - its name
NOTICE_VARIABLES = ("EVENT", "LEDGER", "EXIT_CODE", "MESSAGE", "NEXT")
"""Set for commands of ``--notify``, which may well call this program again."""
OTHER_VARIABLES = ("BATCH_LEDGER_INDEX", "BATCH_LEDGER_STATE_DIR")
"""Read elsewhere, by the index of what was answered."""

Kind: TypeAlias = Literal["text", "number", "flag", "list", "table"]


class Setting(NamedTuple):
    """A key of the files: that of an option, but for the last three. ``shown`` is what stands for it in a new file."""

    key: str
    kind: Kind
    shown: str
    about: str


SETTINGS: dict[str, tuple[Setting, ...]] = {
    "What is asked, where an item does not say": (
        Setting("model", "text", '"claude-sonnet-4-6"', "there is no default"),
        Setting("max_tokens", "number", "1024", "there is no default"),
        Setting("system", "text", '"@system.txt"', "a system prompt, or @FILE beside this one"),
        Setting("param", "table", '{ metadata = { user_id = "batch" } }', "any other parameter of the Messages API"),
        Setting("beta", "list", "[]", "anthropic-beta headers of every batch"),
        Setting("allow_model", "list", "[]", "models that ledger does not know"),
        Setting("skip_invalid", "flag", "false", "run without the lines that are no valid items"),
        Setting("opaque_ids", "flag", "false", "show the service no part of your ids"),
    ),
    "Money": (
        Setting("max_cost", "text", '"25.00"', "dollars that all of a new ledger may cost; you are asked all the same"),
        Setting("budget_mode", "text", '"worst"', 'or "expected"'),
        Setting("canary", "number", "100", "of large runs, and with this key of all, so many items go first"),
        Setting("no_canary", "flag", "false", "send everything at once"),
        Setting("canary_wait", "text", '"2h"', "wait for them so long"),
        Setting("max_error_rate", "text", '"0.01"', "stop when more items than that surely end in an error"),
        Setting("prices", "text", '"prices.json"', "count with these prices (`ledger prices -o FILE`)"),
    ),
    "How it is sent": (
        Setting("tier", "text", '"start"', 'or "build", "scale": how much may wait at the service'),
        Setting("chunk_requests", "number", "10000", "requests in a batch, at most"),
        Setting("chunk_bytes", "text", '"64MB"', "bytes in a batch, at most"),
        Setting("prime_cache", "flag", "false", "let one request of each shared prefix go first"),
        Setting("max_attempts", "number", "3", "times that an item is sent, at most"),
        Setting("poll", "text", '"60s"', "how often to ask"),
        Setting("settle", "text", '"15m"', "before a batch that nobody lists counts as never accepted"),
        Setting("on_uncertain", "text", '"repeat"', 'or "hold": then a person is asked'),
        Setting("accept", "list", "[]", 'outcomes that are as good as ok: "truncated", …'),
    ),
    "Where": (Setting("ledgers", "text", '"."', "the directory of new ledgers; others are looked for there, too"),),
}
OWN_SETTINGS = (
    Setting("notify", "list", "[]", "commands and URLs that are told of an end, a pause, an alarm"),
    Setting("webhook_secret", "text", '"…"', "signs what URLs are told"),
)
"""Only of one's own configuration, and of options."""

_KNOWN = {setting.key: setting for settings in SETTINGS.values() for setting in settings}
_OWN = {setting.key: setting for setting in OWN_SETTINGS}
_NEVER = {
    "base_url": "whoever writes a file could have your key sent elsewhere; use --base-url, or ANTHROPIC_BASE_URL",
    "api_key": "a key in a file is a key in a backup; use ANTHROPIC_API_KEY",
    "yes": "agreeing to a cost is yours; use --yes",
}
BudgetFrom: TypeAlias = Literal["option", "found", "ledger"]
"""Who said what all of it may cost: a person, by an option or in their own place; a file that was found; nobody."""
_EXCLUSIVE = {"canary": "no_canary", "no_canary": "canary"}
_PATHS = ("prices", "ledgers")


class _Amount(str):
    """A number with a point, as it was written: amounts of money are never floats."""

    __slots__ = ()


class Configured(NamedTuple):
    """A value, and who said it; ``is_found`` where that is a file that was found, which may be anybody's."""

    value: Any
    origin: str
    is_found: bool = False


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────


def configuration() -> dict[str, Configured]:
    """Return what is said for options that nobody gave, by key; the strongest of all that say it.

    Raises:
        UsageError: a file cannot be read, or says what does not exist, or what it must not.
    """
    merged: dict[str, Configured] = {}
    for layer in (_user_layer(), _found_layer(), _environment_layer(os.environ)):
        for key in layer:
            merged.pop(_EXCLUSIVE.get(key, ""), None)
        merged |= layer
    return merged


def user_file() -> Path:
    """Return where one's own configuration is, whether it is there or not."""
    home = os.environ.get("XDG_CONFIG_HOME") or ""
    base = Path(home) if home.startswith("/") else Path.home() / ".config"
    return base / USER_FILE


def found_file() -> Path | None:
    """Return the nearest ``ledger.toml`` from the current directory upwards; None where there is none.

    ``BATCH_LEDGER_CONFIG`` names another one, or, being empty, none.
    """
    named = os.environ.get(CONFIG_VARIABLE)
    if named is not None:
        return Path(named) if named else None
    here = Path.cwd()
    return next((file for place in (here, *here.parents) if (file := place / FILE_NAME).is_file()), None)


def _user_layer() -> dict[str, Configured]:
    file = user_file()
    if not file.is_file():
        return {}
    read = _read(file)
    return {key: Configured(_checked(file, key, value, _KNOWN | _OWN), str(file)) for key, value in read.items()}


def _found_layer() -> dict[str, Configured]:
    file = found_file()
    if file is None or (user_file().is_file() and file.samefile(user_file())):
        return {}
    read = _read(file)
    owner = file.stat().st_uid
    if owner not in (os.geteuid(), 0):
        raise UsageError(
            "this configuration belongs to another user, and is not believed",
            where=str(file),
            next=f"{CONFIG_VARIABLE}= (empty) goes without it; or make the file yours",
        )
    said = {}
    for key, value in read.items():
        if key in _OWN:
            raise UsageError(
                f"{key} is not taken from a file that was found",
                where=str(file),
                why="whoever writes a file into a directory could run commands as whoever works there",
                next=f"use the option, or put it into {user_file()}",
            )
        said[key] = Configured(_checked(file, key, value, _KNOWN), str(file), is_found=True)
    return said


def _environment_layer(environment: Mapping[str, str]) -> dict[str, Configured]:
    said = {}
    silent = {CONFIG_VARIABLE, SECRET_VARIABLE, *OTHER_VARIABLES, *(PREFIX + name for name in NOTICE_VARIABLES)}
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name in silent:
            continue
        key = name.removeprefix(PREFIX).lower()
        if key in _OWN:
            raise UsageError(
                f"{name} is not read",
                why="what is run or told is said by an option, or in your own configuration",
                next=f"--{key.replace('_', '-')}, or {user_file()}",
            )
        setting = _KNOWN.get(key)
        if setting is None:
            raise _unknown(name, [PREFIX + known.upper() for known in _KNOWN], "the environment")
        said[key] = Configured(_of_text(setting, environment[name]), name)
    return said


def _of_text(setting: Setting, text: str) -> Any:
    if setting.kind == "list":
        return [word.strip() for word in text.split(",") if word.strip()]
    if setting.kind == "table":
        try:
            return tomllib.loads(f"table = {text}", parse_float=_Amount)["table"]
        except tomllib.TOMLDecodeError as problem:
            raise UsageError(
                f"{PREFIX}{setting.key.upper()} is no table", why=str(problem), next=f"write it as {setting.shown}"
            ) from problem
    return text


def _read(file: Path) -> dict[str, Any]:
    """Return the keys and values of a file; amounts stay the text that they are."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"), parse_float=_Amount)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise UsageError("this configuration cannot be read", where=str(file), why=str(problem)) from problem


def _checked(file: Path, key: str, value: Any, known: Mapping[str, Setting]) -> Any:
    """Return a value whose key is known and whose type is right, paths made absolute.

    Raises:
        UsageError: it is not so.
    """
    if key in _NEVER:
        raise UsageError(f"{key} is not taken from a file", where=str(file), why=_NEVER[key])
    setting = known.get(key)
    if setting is None:
        raise _unknown(key, list(known), str(file))
    types: dict[Kind, tuple[type, ...]] = {
        "text": (str, int),
        "number": (int, str),
        "flag": (bool,),
        "list": (list, str),
        "table": (dict,),
    }
    if not isinstance(value, types[setting.kind]) or (isinstance(value, bool) and setting.kind != "flag"):
        raise UsageError(f"{key} is no {setting.kind}", where=str(file), next=f"write it as {key} = {setting.shown}")
    if setting.kind == "list" and isinstance(value, str):
        value = [value]
    confined = known is _KNOWN  # a file that was found, not one's own
    if key in _PATHS:
        return str(_from(file, key, str(value), confined=confined))
    if key == "system" and str(value).startswith("@"):
        return f"@{_from(file, key, value[1:], confined=confined)}"
    return value


def _from(file: Path, key: str, name: str, *, confined: bool) -> Path:
    """Return a path as it is meant in a configuration: from its directory on, and, in one that was found, below it."""
    target = file.parent / Path(name).expanduser()
    if confined and not target.resolve().is_relative_to(file.parent.resolve()):
        raise UsageError(
            f"{key} is outside of the directory: {name}",
            where=str(file),
            why="a file that was found could have any file of yours sent to the service",
            next=f"put it beside this file, or pass --{key}" if key != "ledgers" else "name a directory below this one",
        )
    return target


def _unknown(name: str, known: list[str], where: str) -> UsageError:
    meant = get_close_matches(name, known, n=1)
    hint = f"did you mean {meant[0]}?" if meant else f"there are {', '.join(known)}"
    return UsageError(f"there is no setting {name}", where=where, next=hint)


# ── applying ────────────────────────────────────────────────────────────────────────────────────────────────────


def fill(context: click.Context, said: dict[str, Any]) -> set[str]:
    """Put into what was said what is configured for options that nobody gave.

    Args:
        context: of the command.
        said: the values of its options by their names in Python; changed in place.

    Returns:
        The keys that a file which was found has spoken for.

    Raises:
        UsageError: a value is none.
    """
    values = configuration()
    parameters = {_key(parameter): parameter for parameter in context.command.params}
    given = {key for key, parameter in parameters.items() if _is_given(context, parameter)}
    found = set()
    for key, configured in values.items():
        parameter = parameters.get(key)
        if parameter is None or parameter.name not in said or given & {key, _EXCLUSIVE.get(key, key)}:
            continue
        said[parameter.name] = _converted(context, parameter, key, configured)
        if configured.is_found:
            found.add(key)
    return found


def configure_run(context: click.Context, said: dict[str, Any], ledger: Path) -> BudgetFrom:
    """Put what is configured into what was said to `run`; return who speaks for the budget.

    Nothing is, once the ledger holds requests: it has its own settings recorded, and those are stronger.
    """
    option: BudgetFrom = "option" if is_given(context, "max_cost") else "ledger"
    if not configuration() or _holds_requests(ledger):
        return option
    found = fill(context, said)
    if "max_cost" in found:
        return "found"
    return "option" if said.get("max_cost") is not None else option


def _holds_requests(ledger: Path) -> bool:
    from ledger.reading import Reading

    return ledger.exists() and Reading(ledger).state().asked > 0


def is_given(context: click.Context, name: str) -> bool:
    """Return whether an option stands on the command line."""
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _is_given(context: click.Context, parameter: click.Parameter) -> bool:
    return is_given(context, parameter.name or "")


def _key(parameter: click.Parameter) -> str:
    longest = max(parameter.opts, key=len)
    return longest.lstrip("-").replace("-", "_")


def _converted(context: click.Context, parameter: click.Parameter, key: str, configured: Configured) -> Any:
    value = configured.value
    if isinstance(value, dict):
        value = [f"{name}={_json(one)}" for name, one in value.items()]
    elif isinstance(value, list) and not parameter.multiple:
        value = ",".join(map(str, value))
    elif isinstance(value, list):
        value = [str(one) for one in value]
    elif not isinstance(value, bool):
        value = str(value)
    try:
        return parameter.process_value(context, value)
    except click.BadParameter as problem:
        raise UsageError(f"{key}: {problem.message}", where=configured.origin) from problem


def _json(value: Any) -> str:
    """Return a value of a table as JSON."""
    import msgspec

    return msgspec.json.encode(_number(value)).decode()


def _number(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _number(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_number(one) for one in value]
    return float(value) if isinstance(value, _Amount) else value


def ledgers_directory() -> Path:
    """Return the directory where ledgers are made and looked for; the current one unless something else is said."""
    configured = configuration().get("ledgers")
    return Path(configured.value) if configured is not None else Path()


def notify_targets() -> list[str]:
    """Return whom one's own configuration has told of ends, pauses and alarms."""
    configured = configuration().get("notify")
    return [str(target) for target in configured.value] if configured is not None else []


def webhook_secret() -> str:
    """Return what signs notices to URLs: of the environment, else of one's own configuration; empty for nothing."""
    configured = configuration().get("webhook_secret")
    return os.environ.get(SECRET_VARIABLE) or (str(configured.value) if configured is not None else "")
