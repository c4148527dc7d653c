"""``gleitzeit protocols``: which methods there are, what they take, and whether a protocol file is right."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

import click

from gleitzeitd.cli.connection import Session, say_where, working
from gleitzeitd.cli.inputs import as_option
from gleitzeitd.cli.options import Command, Options, connection_options, group, json_option
from gleitzeitd.cli.reporting import REFUSED, line_of
from gleitzeitd.cli.show import Column, as_json, echo_lines, plural, printable, style, table, terminal_width
from gleitzeitd.errors import ConfigError, ProtocolNotFound
from gleitzeitd.model.problem import Problem, dotted
from gleitzeitd.model.protocol import Example, Protocol
from gleitzeitd.plain import Json, did_you_mean
from gleitzeitd.protocol_file import ProtocolFile

DEPTH = 4
"""Tables in tables whose keys are shown."""


@group("protocols", otherwise="show")
@connection_options
@click.pass_context
def protocols(ctx: click.Context) -> None:
    """Which protocols and methods exist.

    Without a hub: those that come with gleitzeit. With the name of one: what its methods take and give.

    Examples:
      gleitzeit protocols
      gleitzeit protocols show python/v1
      gleitzeit protocols check weather.yaml
    """
    if ctx.invoked_subcommand is None:
        _list()


@working
async def _list(session: Session) -> None:
    say_where(session)
    answer = await session.client.protocols()
    if session.options.as_json:
        click.echo(as_json({"protocols": [protocol_plain(each) for each in answer.protocols]}))
        return
    rows = [
        (
            each.name,
            str(sum(1 for one in answer.providers if one.protocol == each.name)),
            ", ".join(each.methods),
        )
        for each in answer.protocols
    ]
    columns = [Column("protocol"), Column("providers", right=True), Column("methods", flexible=True)]
    echo_lines(table(columns, rows, terminal_width()))
    if not answer.providers:
        click.echo("no provider is connected; gleitzeitd provider NAME starts one", err=True)


@protocols.command("show", cls=Command)
@click.argument("name", metavar="PROTOCOL")
@connection_options
def show(name: str) -> None:
    """What the methods of a protocol take and give.

    Without its version, the newest one is shown.

    Example:
      gleitzeit protocols show llm/v1
    """
    _show(name)


@working
async def _show(session: Session, name: str) -> None:
    answer = await session.client.protocols()
    found = find(name, {each.name: each for each in answer.protocols})
    if session.options.as_json:
        click.echo(as_json(protocol_plain(found)))
        return
    echo_lines(protocol_lines(found))


def find(name: str, known: Mapping[str, Protocol]) -> Protocol:
    """The protocol of this name; without a version the newest one.

    Raises:
        ProtocolNotFound: with the nearest one.
    """
    if name in known:
        return known[name]
    versions = [each for each in known if each.partition("/")[0] == name]
    if not versions:
        raise ProtocolNotFound(f"there is no protocol {name!r}{did_you_mean(name, known)}")
    return known[max(versions, key=_number)]


def _number(name: str) -> int:
    return int("0" + re.sub(r"\D", "", name.partition("/")[2]))


@protocols.command("check", cls=Command)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@json_option
@click.pass_context
def check(ctx: click.Context, files: tuple[str, ...]) -> None:
    """Check protocol files, and show the methods that they declare.

    YAML, TOML or JSON, in the form that gleitzeit-protocol(5) tells. Every problem is shown with its line.

    Example:
      gleitzeit protocols check weather.yaml
    """
    from gleitzeitd.protocol_file import load

    as_text = not ctx.ensure_object(Options).as_json
    checked: list[Json] = []
    for path in files:
        try:
            file = load(path)
        except ConfigError as problem:
            checked.append({"file": path, "valid": False, "problems": [str(problem)], "warnings": []})
            if as_text:
                click.echo(str(problem), err=True)
            continue
        checked.append(_checked(file))
        if as_text:
            _say(file)
    valid = all(each["valid"] for each in checked)
    if not as_text:
        click.echo(as_json({"valid": valid, "files": checked}))
    ctx.exit(0 if valid else REFUSED)


def _checked(file: ProtocolFile) -> Json:
    protocol = file.reading.protocol
    return {
        "file": file.source,
        "valid": protocol is not None,
        "problems": _places(file, file.reading.problems),
        "warnings": _places(file, file.reading.warnings),
        "protocol": protocol_plain(protocol) if protocol is not None else None,
    }


def _places(file: ProtocolFile, found: Sequence[Problem]) -> list[Json]:
    places: list[dict[str, Json]] = []
    for each in found:
        line, column = file.locate(each.path)
        place = {"line": line, "column": column, "path": dotted(each.path), "message": each.message}
        places.append({"file": file.source, **place})
    return sorted(places, key=lambda place: (place["line"], place["column"]))


def _say(file: ProtocolFile) -> None:
    reading = file.reading
    for place in _places(file, reading.problems):
        click.echo(line_of(place), err=True)
    for place in _places(file, reading.warnings):
        click.echo(line_of({**place, "message": f"warning: {place['message']}"}), err=True)
    if reading.protocol is not None:
        click.echo(f"{file.source}: valid: {plural(len(reading.protocol.methods), 'method')}\n")
        echo_lines(protocol_lines(reading.protocol))


# --- how a protocol looks -------------------------------------------------------------------------


def protocol_plain(protocol: Protocol) -> Json:
    """As ``--json`` prints it."""
    return {
        "name": protocol.name,
        "description": protocol.description,
        "methods": {
            name: {
                "description": method.description,
                "parameters": method.parameters,
                "returns": method.returns,
                "examples": [
                    {"description": e.description, "parameters": e.parameters, "result": e.result}
                    for e in method.examples
                ],
            }
            for name, method in protocol.methods.items()
        },
    }


def protocol_lines(protocol: Protocol) -> list[str]:
    """A protocol with the parameters, results and examples of its methods."""
    lines = [style(protocol.name, bold=True), *_described(protocol.description, "  ")]
    for name, method in protocol.methods.items():
        lines += ["", style(name, bold=True), *_described(method.description, "  ")]
        lines += [f"    {line}" for line in _keys(method.parameters)]
        if method.returns:
            about = method.returns.get("description")
            said = f"  {printable(about)}" if isinstance(about, str) else ""
            lines.append(f"    -> {type_text(method.returns)}{said}")
            lines += [f"       {line}" for line in _keys(method.returns)]
        for example in method.examples:
            lines += [f"    {line}" for line in _example(name, example)]
    return lines


def _described(text: str, margin: str) -> list[str]:
    return [margin + printable(line) for line in text.strip().splitlines()]


def _keys(schema: dict[str, Json], depth: int = DEPTH) -> Iterator[str]:
    """A line for each property, and below it for those in it; of two forms, for the usual one."""
    if "properties" not in schema and isinstance(schema.get("else"), dict):
        schema = schema["else"]
    required = schema.get("required", [])
    known = schema.get("properties", {})
    for name, each in known.items() if isinstance(known, dict) else ():
        part = each if isinstance(each, dict) else {}
        default = f" = {as_json(part['default'], indent=None)}" if "default" in part else ""
        needed = " (required)" if name in required else ""
        about = f"  {printable(part['description'])}" if part.get("description") else ""
        yield f"{printable(name)}: {type_text(part)}{default}{needed}{about}"
        if depth > 1:
            items = part.get("items")
            for inner in (part, items if isinstance(items, dict) else {}):
                yield from (f"  {line}" for line in _keys(inner, depth - 1))


def type_text(schema: dict[str, Json]) -> str:
    """``array of string``, ``"a" or "b"``, ``integer from 1 to 14``."""
    kind = schema.get("type")
    if "enum" in schema:
        return " or ".join(as_json(each, indent=None) for each in schema["enum"])
    if "const" in schema:
        return as_json(schema["const"], indent=None)
    kinds = list(map(str, kind)) if isinstance(kind, list) else [str(kind)] if kind else []
    if not kinds:
        either = schema.get("anyOf", schema.get("oneOf"))
        if isinstance(either, list):
            return " or ".join(type_text(each) if isinstance(each, dict) else "any" for each in either)
        return "any"
    items = schema.get("items")
    words = [
        f"array of {type_text(items)}" if each == "array" and isinstance(items, dict) and items else each
        for each in kinds
    ]
    return " or ".join(words) + _bounds(schema)


def _bounds(schema: dict[str, Json]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f" from {low} to {high}"
    words = [
        f"{word} {schema[key]}"
        for key, word in (
            ("minimum", "of at least"),
            ("exclusiveMinimum", "above"),
            ("maximum", "of at most"),
            ("exclusiveMaximum", "below"),
        )
        if schema.get(key) is not None
    ]
    return f" {' and '.join(words)}" if words else ""


def _example(method: str, example: Example) -> Iterator[str]:
    """The command that makes the call, as a shell reads it."""
    words = ["gleitzeit", "call", method]
    for name, value in example.parameters.items():
        words += ["--param", f"{name}={as_option(value)}"]
    about = f": {printable(example.description)}" if example.description else ""
    yield f"example{about}"
    yield f"  {printable(shlex.join(words))}"
    if example.result is not None:
        yield f"  -> {printable(as_json(example.result, indent=None))}"
