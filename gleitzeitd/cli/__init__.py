"""The ``gleitzeit`` command.

Its files are groups of commands; what they share is in ``options`` (hub, token, JSON), ``connection`` (a
client, or everything in this process), ``show`` (how values look) and ``reporting`` (errors, exit codes).
Whatever takes long to import is imported where it is used: ``gleitzeit --help`` is there at once.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from gleitzeitd import __version__
from gleitzeitd.cli.options import Options, connection_options
from gleitzeitd.cli.show import as_json
from gleitzeitd.errors import GleitzeitError, MalformedData
from gleitzeitd.plain import Json, did_you_mean

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""

_COMMANDS = {
    "run": ("run", "Run a workflow file, and show how it goes."),
    "call": ("call", "Call a method, and print what it returns."),
    "submit": ("run", "Hand a workflow file over to a hub, and return at once."),
    "watch": ("watch", "Follow a workflow until it has ended."),
    "status": ("look", "How a workflow stands, or the whole system."),
    "list": ("look", "Workflows, the newest first."),
    "result": ("look", "The results of a workflow's tasks."),
    "logs": ("look", "What tasks have written to standard output and error."),
    "why": ("why", "Why a workflow or a task is not done."),
    "cancel": ("change", "Run nothing more of a workflow, and end what runs."),
    "delete": ("deletion", "Keep nothing of finished workflows any more."),
    "resolve": ("change", "Say what became of a task that was lost while it ran."),
    "priority": ("change", "Change the priority of what does not run yet."),
    "validate": ("files", "Check workflow files without running them."),
    "schema": ("files", "The JSON Schema of workflow files, for editors."),
    "components": ("system", "Who is connected to the hub, and how busy it is."),
    "providers": ("system", "Who serves which protocol, and how."),
    "protocols": ("protocols", "Which protocols and methods exist."),
    "queues": ("system", "How much waits, in each queue manager."),
    "trace": ("tracing", "The last events that went through the hub."),
    "audit": ("audit", "Who did what, when, from where, and what came of it."),
    "drain": ("drain", "Have an engine or a provider take nothing new and finish what runs."),
    "doctor": ("doctor", "What is wrong with this host and with the system, and what to do about it."),
    "mcp": ("mcp", "Serve workflows and methods as tools to a host of the Model Context Protocol."),
    "cert": ("cert", "Certificates of one's own, for hubs and components that speak TLS."),
    "join": ("join", "Have this host work for the hub of another one."),
    "backup": ("backup", "A checked copy of the database, while everything runs."),
    "restore": ("backup", "A backup in the place of the database."),
    "token": (
        "token",
        "Who may connect to the hub, and as what: make tokens, list and revoke them, renew the keys.",
    ),
    "config": ("config_show", "The settings of a role, and where each is from."),
    "provider": ("provider", "Run a provider until Ctrl-C: one of your own, or the one called NAME."),
    "import": ("importing", "Make files of earlier versions into those of this one."),
    "conform": ("conform", "Check whether a provider in any language does all that a provider has to do."),
    "explain": ("explain", "What an error means, and what there is to do."),
    "version": ("files", "Which version this is."),
}
"""Name to the file that has it, and the line about it in ``gleitzeit --help``."""


class Commands(click.Group):
    """The commands in the order in which one needs them, with one place where errors end."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """As in the table."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the file that has it."""
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"gleitzeitd.cli.{_COMMANDS[cmd_name][0]}")
        found = (each for each in vars(module).values() if isinstance(each, click.Command))
        return next(each for each in found if each.name == cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table, so that nothing has to be imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in _COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """With a suggestion for one that does not exist."""
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            hint = did_you_mean(args[0], _COMMANDS)
            raise click.UsageError(f"there is no command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; its errors become a message and an exit code."""
        options = ctx.ensure_object(Options)
        try:
            return super().invoke(ctx)
        except GleitzeitError as problem:
            from gleitzeitd.cli import reporting

            reporting.report(problem, json=options.as_json)
            sys.exit(reporting.exit_code(problem))
        except click.UsageError as problem:
            if not options.as_json:
                raise
            click.echo(as_json(plain_usage(problem)))
            sys.exit(problem.exit_code)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)


def plain_usage(problem: click.ClickException) -> Json:
    """What is wrong with the command line, in the form that errors have with ``--json``."""
    error = {"code": MalformedData.code, "name": MalformedData.name, "message": problem.format_message()}
    return {"error": error, "problems": []}


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
    import logging

    log = logging.getLogger()
    if debug:
        logging.basicConfig(level=logging.DEBUG, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    elif not log.handlers:
        # The journal is for daemons; what concerns the user is said by the commands themselves.
        log.addHandler(logging.NullHandler())


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
