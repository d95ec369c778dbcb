"""``ledger init``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .options import debug_option

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .configuration import Setting


@click.command("init", short_help="Write a ledger.toml: what holds where no option says otherwise.")
@click.option("--model", metavar="MODEL", help="Write it in as the model of items that name none.")
@click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="Write it in, for items that say none.")
@click.option("--max-cost", metavar="USD", help="Write it in as what all of a new ledger may cost.")
@click.option("--tier", type=click.Choice(["start", "build", "scale"]), help="Write it in as your usage tier.")
@click.option("--user", is_flag=True, help="Write your own configuration, for every directory.")
@debug_option
def command(user: bool, **said: Any) -> None:
    """Write a commented ledger.toml into this directory. It holds here and in every directory below.

    From the strongest to the weakest: an option; what a ledger has recorded, once it holds requests; the environment
    (BATCH_LEDGER_MODEL, BATCH_LEDGER_MAX_COST, …); the nearest ledger.toml from here upwards; your own configuration;
    what is built in.
    """
    from pathlib import Path

    from .configuration import FILE_NAME, user_file
    from .output import answer

    file = user_file() if user else Path(FILE_NAME)
    _write(file, template({key: value for key, value in said.items() if value is not None}, own=user))
    answer(f"{file} written; it says what every key means")


def template(said: Mapping[str, Any], *, own: bool) -> str:
    """Return the text of a new file: every key as a comment, and those that were said as they were.

    Args:
        said: values by key.
        own: whether it is one's own configuration, which may say more.
    """
    from .configuration import OWN_SETTINGS, SETTINGS

    lines = [
        "# What `ledger` does where no option says otherwise. Take the # from a line to have it hold.",
        "# An option is stronger, and so is BATCH_LEDGER_<KEY> in the environment; a ledger that holds requests goes",
        "# on as it was begun, whatever is changed here.",
    ]
    for heading, settings in SETTINGS.items():
        lines += ["", f"# ── {heading}", *(_line(setting, said) for setting in settings)]
    if own:
        lines += ["", "# ── Only here: never taken from a ledger.toml", *(_line(one, said) for one in OWN_SETTINGS)]
    return "\n".join(lines) + "\n"


def _line(setting: Setting, said: Mapping[str, Any]) -> str:
    value = said.get(setting.key)
    shown = f"# {setting.key} = {setting.shown}" if value is None else f"{setting.key} = {_toml(value)}"
    return f"{shown:<32}  # {setting.about}"


def _toml(value: object) -> str:
    """Return a text or a whole number as TOML writes it: its strings are JSON's."""
    import json

    return str(value) if isinstance(value, int) else json.dumps(value, ensure_ascii=False)


def _write(file: Path, text: str) -> None:
    """Write a file that is not there yet.

    Raises:
        UsageError: it is there.
    """
    from ledger.core.errors import UsageError

    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as problem:
        raise UsageError(f"{file} is there already", next="edit it, or remove it first") from problem
