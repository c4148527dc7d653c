"""``gleitzeit config show``: the settings in force, and which file or variable has set each."""

from __future__ import annotations

import click

from gleitzeitd.cli.options import Options, command, json_option
from gleitzeitd.cli.show import as_json
from gleitzeitd.errors import ConfigError
from gleitzeitd.model.names import Role
from gleitzeitd.plain import Json, did_you_mean

ALL = "all"


@command("config")
@click.argument("action", metavar="show", type=click.Choice(["show"]), expose_value=False)
@click.argument("role", metavar="ROLE")
@click.argument("name", metavar="[NAME]", required=False, default="")
@click.option(
    "--origin", is_flag=True, help="Say for each value which file (with the line) or variable set it."
)
@click.option(
    "--here",
    is_flag=True,
    help="With the variables of this shell, and not those that the daemon's unit has.",
)
@json_option
@click.pass_context
def config(ctx: click.Context, role: str, name: str, origin: bool, here: bool) -> None:
    """The settings of a role, and where each is from.

    ROLE is as in the names of files and units (hub, queue-manager, provider, ...), NAME that of a provider
    or of an engine's instance. Secrets are not shown. The files of this host are read; what a daemon that
    runs has read when it started may be older.

    Examples:
      gleitzeit config show hub
      gleitzeit config show --origin provider python
    """
    from gleitzeitd.cli.host import environment_for
    from gleitzeitd.config import effective, redacted
    from gleitzeitd.plan import parts_of

    role = _known(role.replace("_", "-"))
    if role == Role.PROVIDER.file_name and not name:
        raise ConfigError("which provider? Say its NAME, as of its file in /etc/gleitzeit/providers")
    options = ctx.ensure_object(Options)
    if here or role == ALL:
        environment, whose = options.environment, "of this shell"
    else:
        environment, whose = environment_for(role, name, options.environment)
    parts = parts_of([role, *([name] if name else [])], environment)
    if options.as_json:
        values: list[Json] = [
            {
                "part": part.label,
                "section": section,
                "key": key,
                "value": value,
                "origin": part.loaded.origin[f"{section}.{key}"],
            }
            for part in parts
            for section, settings in part.loaded.settings.items()
            for key, value in redacted(settings).items()
        ]
        click.echo(as_json({"environment": whose, "settings": values}))
        return
    if origin:
        click.echo(f"# Variables are those {whose}.")
    several = len(parts) > 1
    for part in parts:
        if several:
            click.echo(f"\n# --- {part.label}\n")
        click.echo(effective(part.loaded, origins=origin), nl=False)


def _known(role: str) -> str:
    from gleitzeitd.roles import ROLES

    known = [*(each.file_name for each in ROLES), ALL]
    if role not in known:
        nearest = did_you_mean(role, known) or f", expected one of {', '.join(known)}"
        raise ConfigError(f"there is no role {role!r}{nearest}")
    return role
