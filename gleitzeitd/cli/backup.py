"""``gleitzeit backup`` and ``restore``: the database as one file, and back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gleitzeitd.cli.noting import done_here
from gleitzeitd.cli.options import Options, command, connection_options, json_option
from gleitzeitd.cli.show import as_json, count_text, plural, size
from gleitzeitd.errors import GleitzeitError, StoreError, StoreLocked
from gleitzeitd.model.audit import Action
from gleitzeitd.model.names import Role
from gleitzeitd.plain import Json

if TYPE_CHECKING:
    from gleitzeitd.runtime.backup import Contents

_database_option = click.option(
    "--database",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="The database, if it is not the one in persistence.toml of this host.",
)


@command("backup")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@_database_option
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@connection_options
@click.pass_context
def backup(ctx: click.Context, file: Path, database: Path | None, force: bool) -> None:
    """A checked copy of the database, while everything runs.

    On the host where the persistence component has its database, as root or as the user gleitzeit. FILE
    holds everything that was accepted up to one moment: workflows, tasks, results. Settings and the token
    are in /etc, and not in it. It is read through before it gets its name, and only its owner can read it.

    Examples:
      gleitzeit backup /var/backups/gleitzeit-monday.db
      ssh root@HOST gleitzeit backup /var/backups/gleitzeit.db --force
    """
    from gleitzeitd.runtime.backup import back_up

    options = ctx.ensure_object(Options)
    source = database or configured_database(options)
    if not _is_there(source):
        raise StoreError(_elsewhere(source, options))
    contents = back_up(source, file, replace=force)
    done_here(options, Action.BACKUP, str(file))
    if options.as_json:
        click.echo(as_json({"database": str(source), **_plain(contents)}))
        return
    click.echo(f"{file}: {_told(contents)}")


@command("restore")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@_database_option
@click.option("--check", is_flag=True, help="Only read FILE through, and say what is in it.")
@json_option
@click.pass_context
def restore(ctx: click.Context, file: Path, database: Path | None, check: bool) -> None:
    """A backup in the place of the database.

    What was accepted after the backup is lost, what was unfinished in it goes on, and what had ended since
    then runs again. So everything stops first, on all hosts, and starts with the restored database:

    \b
      1. systemctl stop 'gleitzeit-*.service'     on every host; hubs may stay
      2. gleitzeit restore FILE                   on the host of the database, as root
      3. systemctl start gleitzeit-persistence    there, and see that it is up
      4. systemctl start gleitzeit.target         on every host
      5. gleitzeit doctor                         whether all is well

    It refuses while the persistence component runs. FILE is read through before anything changes. The
    database that was there stays beside the new one, as *.before-restore-TIME, with the same owner and mode;
    remove it when it is not needed any more.

    Examples:
      gleitzeit restore --check /var/backups/gleitzeit-monday.db
      gleitzeit restore /var/backups/gleitzeit-monday.db
    """  # noqa: D301 - click understands it as: keep these lines
    from gleitzeitd.runtime import backup as copies

    options = ctx.ensure_object(Options)
    if check:
        contents = copies.examine(file)
        click.echo(as_json(_plain(contents)) if options.as_json else f"{file}: {_told(contents)}")
        return
    target = database or configured_database(options)
    try:
        done = copies.restore(file, target)
    except StoreLocked as problem:
        raise StoreLocked(f"{problem}: systemctl stop gleitzeit-persistence") from None
    done_here(options, Action.RESTORE, str(target), f"from {file}")
    if options.as_json:
        kept = str(done.kept) if done.kept is not None else None
        click.echo(as_json({"database": str(target), "kept": kept, **_plain(done.contents)}))
        return
    click.echo(f"{target}: {_told(done.contents)}")
    if done.kept is not None:
        click.echo(f"The database that was there is {done.kept}")
    click.echo(
        "Now: systemctl start gleitzeit-persistence, then systemctl start gleitzeit.target on every host"
    )


def configured_database(options: Options) -> Path:
    """Where the persistence component of this host has its database.

    Raises:
        ConfigError: its configuration is wrong.
    """
    from gleitzeitd.cli.host import environment_for
    from gleitzeitd.plan import parts_of

    role = Role.PERSISTENCE.file_name
    environment, _ = environment_for(role, "", options.environment)
    (part,) = parts_of([role], environment)
    return Path(part.loaded.settings["sqlite"].path)


def _is_there(database: Path) -> bool:
    try:
        return database.exists()
    except OSError:
        return False  # a directory on the way is not for us


def _elsewhere(database: Path, options: Options) -> str:
    """Why there is nothing to copy, and where there is."""
    advice = "as root, on the host of the persistence component"
    try:
        found = asyncio.run(_persistence_hosts(options)) if options.hubs() or options.connect else []
    except GleitzeitError:
        found = []
    if found:
        advice = f"as root, on the host of the persistence component, which is {' or '.join(found)}"
    return f"there is no {database} that we may read here. Run it {advice}; --database names another file"


async def _persistence_hosts(options: Options) -> list[str]:
    from gleitzeitd.cli.connection import connected

    async with (options.connect or connected)(options, works=False) as session:
        components = await session.client.components()
    return [each.hostname for each in components if each.component_type is Role.PERSISTENCE and each.hostname]


def _plain(contents: Contents) -> dict[str, Json]:
    return {
        "file": str(contents.file),
        "bytes": contents.size,
        "schema": contents.schema,
        "workflows": contents.workflows,
        "unfinished": contents.unfinished,
        "tasks": contents.tasks,
        "checked": True,
    }


def _told(contents: Contents) -> str:
    total = sum(contents.workflows.values())
    states = f" ({count_text(contents.workflows)})" if total else ""
    return (
        f"{plural(total, 'workflow')}{states}, {plural(contents.tasks, 'task')}, "
        f"{size(contents.size)}, schema {contents.schema}, checked"
    )
