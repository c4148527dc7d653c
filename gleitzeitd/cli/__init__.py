"""The ``gleitzeit`` command.

Its files are groups of commands; what they share is in ``options`` (hub, token, JSON), ``connection`` (a
client, or everything in this process), ``show`` (how values look) and ``reporting`` (errors, exit codes).
Whatever takes long to import is imported where it is used: ``gleitzeit --help`` is there at once.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import click

from gleitzeitd import __version__
from gleitzeitd.cli import change, files, look, reporting, run, system, tracing, watch, why
from gleitzeitd.cli.options import Command, Options, connection_options
from gleitzeitd.cli.show import as_json
from gleitzeitd.errors import GleitzeitError
from gleitzeitd.plain import did_you_mean

_COMMANDS: tuple[Command, ...] = (
    run.run,
    run.submit,
    watch.watch,
    look.status,
    look.list_workflows,
    look.result,
    look.logs,
    why.why,
    change.cancel,
    change.priority,
    files.validate,
    files.schema,
    system.components,
    system.providers,
    system.protocols,
    system.queues,
    tracing.trace,
    files.version,
)


class Commands(click.Group):
    """The commands in the order in which one needs them, with one place where errors end."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """As they were added."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """With a suggestion for one that does not exist."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            hint = did_you_mean(args[0], self.commands)
            raise click.UsageError(f"there is no command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; its errors become a message and an exit code."""
        options = ctx.ensure_object(Options)
        try:
            return super().invoke(ctx)
        except GleitzeitError as problem:
            reporting.report(problem, json=options.as_json)
            sys.exit(reporting.exit_code(problem))
        except click.UsageError as problem:
            if not options.as_json:
                raise
            click.echo(as_json(reporting.plain_usage(problem)))
            sys.exit(problem.exit_code)
        except KeyboardInterrupt:
            sys.exit(reporting.INTERRUPTED)


@click.group("gleitzeit", cls=Commands, context_settings={"help_option_names": ["--help", "-h"]})
@click.version_option(__version__, "--version", prog_name="gleitzeit", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Say on standard error what happens inside.")
@connection_options
def cli(debug: bool) -> None:
    """Run workflows, watch them, and find out why one does not go on.

    Without a hub (--hub, GLEITZEIT_HUB_URL, or hub_urls in /etc/gleitzeit/cli.toml) everything runs in this
    process, and is kept in $XDG_STATE_HOME/gleitzeit.

    \b
    gleitzeit run pipeline.yaml
    gleitzeit --hub http://hub.example:8000 submit pipeline.yaml
    gleitzeit why last
    """  # noqa: D301 - click understands it as: keep these lines
    log = logging.getLogger()
    if debug:
        logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    elif not log.handlers:
        # The journal is for daemons; what concerns the user is said by the commands themselves.
        log.addHandler(logging.NullHandler())


for _each in _COMMANDS:
    cli.add_command(_each)


def main() -> None:
    """The entry point; ends the process."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")  # a terminal that lacks a character still shows the rest
    try:
        cli(prog_name="gleitzeit")
    except BrokenPipeError:
        # Whoever read has seen enough; the interpreter must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
