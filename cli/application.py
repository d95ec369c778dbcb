"""The group of all commands: which there are, when they are imported, and how any of them ends in error."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import click

DEBUG = "ledger.debug"
"""Key of the context's ``meta``: whether a traceback is wanted."""

COMPLETE_VARIABLE = "_BATCH_LEDGER_COMPLETE"
"""Set by what `ledger completion` writes; the name that click would choose may be another program's, too."""

BROKEN_PIPE = 141
INTERRUPTED = 130

_ABOUT = """Runs Claude's Message Batches API from a file of prompts: every prompt answered once, nothing paid for
twice, what it cost known and proven. Kill it at any time; `ledger resume` goes on.

\b
  ledger run items.jsonl --model claude-sonnet-4-6 --max-tokens 1024
  ledger results items.ledger > answers.jsonl

Without a key, to see how it works: add --simulate.
"""

_EPILOG = """\b
Exit codes:
    0  every item is ok, or ended as --accept allows
    1  some items are not ok; verify, costs --reconcile or doctor found something
    2  the command or the items are wrong; nothing was spent
    3  paused or held: a person is needed
    4  another process is writing this ledger
    5  the audit found something, or the log is damaged
    6  the service or the key does not work
    7  healthy and still running (--once)
   70  a bug in this program
  129, 130, 143  stopped by SIGHUP, SIGINT (Ctrl-C), SIGTERM
"""


class Application(click.Group):
    """A group that knows its commands by name, and imports one only when it is run.

    Args:
        sections: heading → command → what it does, in a sentence; each command lives in the module of its name.
    """

    def __init__(self, sections: Mapping[str, Mapping[str, str]]) -> None:
        super().__init__(
            name="ledger",
            help=_ABOUT,
            epilog=_EPILOG,
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
            params=[
                click.Option(
                    ["--version"],
                    is_flag=True,
                    expose_value=False,
                    is_eager=True,
                    callback=_show_version,
                    help="Show the version and exit.",
                )
            ],
        )
        self._sections = sections

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the program, or, asked by a shell, complete what is being typed."""
        return super().main(args, prog_name, complete_var or COMPLETE_VARIABLE, standalone_mode, **extra)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click passes it
        """Return the names of all commands, in the order of the help."""
        return [name for commands in self._sections.values() for name in commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command = importlib.import_module(f"{__package__}.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; where there is none, say which was meant."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            if name.endswith((".jsonl", ".jsonl.gz", ".jsonl.zst", ".ledger")):
                verb = "status" if name.endswith(".ledger") else "run"
                raise click.UsageError(f"No such command {name!r}. (Did you mean 'ledger {verb} {name}'?)", ctx)
            raise click.exceptions.NoSuchCommand(name, possibilities=self.list_commands(ctx), ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the commands by section, from the table: no command is imported for it."""
        for heading, commands in self._sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(10), short) for name, short in commands.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; whatever goes wrong is said to a person, with the exit code that the help promises."""
        try:
            returned = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            _leave_pipe()
        except KeyboardInterrupt:
            click.echo(err=True)
            ctx.exit(INTERRUPTED)
        except Exception as problem:  # noqa: BLE001 - said to a person; --debug shows all of it
            from .errors import explain

            ctx.exit(explain(problem, debug=bool(ctx.meta.get(DEBUG))))
        return returned


def _leave_pipe() -> NoReturn:
    """End as a program that SIGPIPE ends: whoever read has enough, and there is nothing to say."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise click.exceptions.Exit(BROKEN_PIPE)


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version  # with all that reads e-mail: a tenth of what --help takes

        click.echo(f"claude-batch-ledger {version('claude-batch-ledger')}")
        ctx.exit()
