"""``ledger completion``."""

from __future__ import annotations

import click

from .application import COMPLETE_VARIABLE
from .options import debug_option

_HOW = {
    "bash": 'eval "$(ledger completion bash)"   # in ~/.bashrc; bash 4.4 or newer',
    "zsh": 'eval "$(ledger completion zsh)"    # in ~/.zshrc, behind compinit',
    "fish": "ledger completion fish | source   # in ~/.config/fish/config.fish",
}


@click.command("completion", short_help="Write what completes commands and options in your shell.")
@click.argument("shell", type=click.Choice(list(_HOW)))
@debug_option
def command(shell: str) -> None:
    """Write what completes commands, options and their values in your SHELL; where it belongs is its first line."""
    from click.shell_completion import get_completion_class

    from .output import answer

    context = click.get_current_context().find_root()
    kind = get_completion_class(shell)
    assert kind is not None, f"click knows no {shell}"
    for name in ("ledger", "batch-ledger"):
        completion = kind(context.command, {}, name, COMPLETE_VARIABLE)
        # The class's own source() starts bash to ask for its version; whoever reads this has started it already.
        script = completion.source_template % completion.source_vars()
        answer(f"# {_HOW[shell]}\n{script.strip()}\n" if name == "ledger" else f"{script.strip()}\n")
