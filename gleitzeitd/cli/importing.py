"""``gleitzeit import``: files of earlier versions, made into those of this one."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import click

from gleitzeitd.cli.noting import done_here
from gleitzeitd.cli.options import Command, Options, group, json_option
from gleitzeitd.cli.show import as_json, plural
from gleitzeitd.errors import ConfigError
from gleitzeitd.model.audit import Action
from gleitzeitd.plain import Json

if TYPE_CHECKING:
    from gleitzeitd.earlier import Converted
    from gleitzeitd.protocol_file import ProtocolFile

_output = click.option("--output", "-o", metavar="FILE", help="Where it is written; otherwise it is printed.")
_force = click.option("--force", is_flag=True, help="Write it even where there is a file.")


@group("import")
@json_option
@click.pass_context
def importing(ctx: click.Context) -> None:
    """Make files of earlier versions into those of this one.

    What has no counterpart is named, and stands as a comment in what is written. Nothing is overwritten.

    Examples:
      gleitzeit import provider ollama.yaml --output /etc/gleitzeit/providers/ollama.toml
      gleitzeit import protocol protocols/yaml/llm.yaml
      gleitzeit import config ~/.gleitzeit/config.yaml --output /etc/gleitzeit
    """
    if ctx.invoked_subcommand is None:
        raise click.UsageError("what is to be imported? provider, protocol or config")


@importing.command("provider", cls=Command)
@click.argument("file", metavar="FILE")
@_output
@_force
@json_option
@click.pass_context
def provider(ctx: click.Context, file: str, output: str | None, force: bool) -> None:
    """A provider's YAML, as the settings of the provider that does its work now.

    Example:
      gleitzeit import provider ollama.yaml --output /etc/gleitzeit/providers/ollama.toml
    """
    from gleitzeitd.earlier import from_provider

    document, _ = _plain(file)
    converted = from_provider(document, file)
    ((_, text),) = converted.files.items()
    _finish(ctx, {Path(output): text} if output else {}, {PurePath("-"): text}, converted, force=force)


@importing.command("config", cls=Command)
@click.argument("file", metavar="FILE")
@click.option(
    "--output", "-o", metavar="DIRECTORY", help="Below which the drop-ins are written, as /etc/gleitzeit."
)
@_force
@json_option
@click.pass_context
def config(ctx: click.Context, file: str, output: str | None, force: bool) -> None:
    """The configuration in a home directory, as drop-ins beside the settings of daemons.

    Example:
      gleitzeit import config ~/.gleitzeit/config.yaml --output /etc/gleitzeit
    """
    from gleitzeitd.earlier import from_config

    document, _ = _plain(file)
    converted = from_config(document, file)
    written = {Path(output) / path: text for path, text in converted.files.items()} if output else {}
    _finish(ctx, written, converted.files, converted, force=force)


@importing.command("protocol", cls=Command)
@click.argument("file", metavar="FILE")
@_output
@_force
@json_option
@click.pass_context
def protocol(ctx: click.Context, file: str, output: str | None, force: bool) -> None:
    """A protocol's YAML, with JSON Schema and in the spelling of today.

    It is YAML, or TOML if the name of --output ends in .toml. A file in the old spelling can be used as it
    is, too.

    Example:
      gleitzeit import protocol protocols/yaml/llm.yaml --output /etc/gleitzeit/protocols/llm.yaml
    """
    from gleitzeitd.earlier import Converted
    from gleitzeitd.earlier.conversion import LeftOut
    from gleitzeitd.protocol_file import parse

    document, data = _plain(file)
    found = parse(data, file)
    if found.reading.protocol is None:
        raise ConfigError("\n".join(found.lines(found.reading.problems)))
    for line in found.lines(found.reading.warnings):
        click.echo(f"warning: {line}", err=True)
    text = _protocol_text(found, as_toml=bool(output) and str(output).endswith(".toml"))
    left = tuple(
        LeftOut(path=key, value=document[key], why="for people, and not kept")
        for key in ("author", "license", "tags")
        if document.get(key) is not None
    )
    converted = Converted(files={PurePath("-"): text}, left_out=left)
    _finish(ctx, {Path(output): text} if output else {}, converted.files, converted, force=force)


def _protocol_text(found: ProtocolFile, *, as_toml: bool) -> str:
    from gleitzeitd.model.protocol_document import protocol_document

    assert found.reading.protocol is not None
    plain = protocol_document(found.reading.protocol)
    if as_toml:
        import tomli_w

        try:
            return tomli_w.dumps(plain)
        except TypeError:
            raise ConfigError("TOML has no null, which is in this protocol: write it as YAML") from None
    import yaml

    text: str = yaml.dump(plain, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=100)
    return text


def _dumper() -> Any:
    """Without anchors: the same schema twice is written twice, as people do."""
    import yaml

    return type("Dumper", (yaml.SafeDumper,), {"ignore_aliases": lambda self, value: True})


def _plain(file: str) -> tuple[Json, bytes]:
    from gleitzeitd.protocol_file.loading import parse_plain, read

    data = read(file)
    return parse_plain(data, file)[0], data


def _finish(
    ctx: click.Context,
    written: dict[Path, str],
    shown: dict[PurePath, str],
    converted: Converted,
    *,
    force: bool,
) -> None:
    """Write, or print; and say what was left out."""
    there = [str(path) for path in written if path.exists() or path.is_symlink()]
    if there and not force:
        raise ConfigError(f"{', '.join(there)}: exists already; --force writes over it")
    for path, text in written.items():
        _write(path, text)
        done_here(ctx.ensure_object(Options), Action.CONFIG_IMPORT, str(path))
    if ctx.ensure_object(Options).as_json:
        left: list[Json] = [{"path": each.path, "why": each.why} for each in converted.left_out]
        files: dict[str, Json] = {str(path): text for path, text in (written or shown).items()}
        click.echo(as_json({"files": files, "written": bool(written), "left_out": left}))
        return
    if not written:
        for name, text in shown.items():
            if len(shown) > 1:
                click.echo(f"# --- {name}")
            click.echo(text, nl=False)
    for path in written:
        click.echo(f"{path}: written")
    if not converted.files:
        click.echo("nothing in it has a counterpart", err=True)
    if converted.left_out:
        click.echo(f"{plural(len(converted.left_out), 'key')} left out:", err=True)
        for each in converted.left_out:
            click.echo(f"  {each}", err=True)


def _write(path: Path, text: str) -> None:
    """Whole, or not at all."""
    beside = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as problem:
        raise ConfigError(f"{path}: {problem.strerror or problem}") from problem
