"""``gleitzeit provider``: a provider in the foreground, with the hub that all commands use."""

from __future__ import annotations

import click

from gleitzeitd.cli.options import Options, command, json_option


@command("provider")
@click.argument("name", metavar="[NAME]", required=False, default="")
@click.option(
    "--module",
    metavar="MODULE[:CLASS]",
    help="Serve the functions with @method in this module, or this class of it.",
)
@click.option("--check", is_flag=True, help="Only say whether it could be started.")
@json_option
@click.pass_context
def provider(ctx: click.Context, name: str, module: str | None, check: bool) -> None:
    """Run a provider until Ctrl-C: one of your own, or the one called NAME.

    A module is looked for in the present directory, too. The hub is the one of all commands (--hub,
    GLEITZEIT_HUB_URL), or http://localhost:8000. Settings are those of /etc/gleitzeit/provider.toml, and of
    /etc/gleitzeit/providers/NAME.toml if there is a NAME. On a host, gleitzeit-provider@NAME runs it as a
    service.

    Exit codes:
      0 it was ended
      1 it cannot go on
      2 the command line or the settings are wrong

    Examples:
      gleitzeit provider --module weather
      gleitzeit --hub http://hub.example:8000 provider --module weather:Weather
    """
    from gleitzeitd.__main__ import run

    options = ctx.ensure_object(Options)
    if not (name or module):
        raise click.UsageError("which provider? A NAME, or --module MODULE", ctx)
    arguments = ["provider", *([name] if name else []), *(["--module", module] if module else [])]
    arguments += [word for url in options.hubs() for word in ("--hub", url)]
    arguments += ["--check-config"] if check else []
    arguments += ["--log-level", "debug"] if ctx.find_root().params.get("debug") else []
    secret = options.secret()
    told = {"GLEITZEIT_TOKEN": secret} if secret else {}
    ctx.exit(run(arguments, {**options.environment, **told}))
