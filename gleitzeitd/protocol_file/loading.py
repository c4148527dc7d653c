"""Loads a protocol file, and knows where everything in it stands.

As with workflow files, size and nesting are bounded while it is read, and there are only JSON's types. Of
TOML, lines are known and columns are not.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gleitzeitd.config.locate import KeyPath, locate
from gleitzeitd.errors import ConfigError, WorkflowInvalid
from gleitzeitd.model.problem import Problem
from gleitzeitd.model.protocol import Protocol
from gleitzeitd.model.protocol_document import ProtocolReading, read_protocol
from gleitzeitd.plain import Json
from gleitzeitd.providers.schema import problems
from gleitzeitd.workflow_file.source import NoTextError, Unreadable, decoded, read_bounded
from gleitzeitd.workflow_file.text import Limits, Place, parse_json, parse_yaml

LIMITS = Limits(size=1024 * 1024, nodes=100_000, aliases=1000)
"""Of a protocol file: it travels to every component that asks for protocols."""
_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolFile:
    """What is in a file."""

    source: str
    """The path, as it was given."""
    document: Json = field(repr=False)
    reading: ProtocolReading
    place: Place | Mapping[KeyPath, int] = field(repr=False)

    def locate(self, path: tuple[str | int, ...]) -> tuple[int, int]:
        """Line and column, from 1, of what ``path`` leads to, or of the nearest thing around it."""
        if isinstance(self.place, Place):
            place = self.place
            for step in path:
                if step not in place.inner:
                    break
                place = place.inner[step]
            return place.line, place.column
        while path and path not in self.place:
            path = path[:-1]
        return self.place.get(path, 1), 1

    def lines(self, found: tuple[Problem, ...]) -> list[str]:
        """``file:line:column: place: message`` for each, in the order of the file."""
        placed = sorted((*self.locate(each.path), number, each) for number, each in enumerate(found))
        return [f"{self.source}:{line}:{column}: {each}" for line, column, _, each in placed]


def declared(path: str | Path) -> Protocol:
    """The protocol in the file at ``path``.

    Raises:
        ConfigError: with a line for each problem.
    """
    file = load(path)
    if file.reading.protocol is None:
        raise ConfigError("\n".join(file.lines(file.reading.problems)))
    return file.reading.protocol


def load(path: str | Path) -> ProtocolFile:
    """What is in the file at ``path``: TOML if it ends in ``.toml``, JSON in ``.json``, otherwise YAML.

    Raises:
        ConfigError: it cannot be read; the message begins with the file, and the line if there is one.
    """
    return parse(read(path), str(path))


def read(path: str | Path) -> bytes:
    """The bytes of a file; one more than is possible, if there are more.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return read_bounded(path, LIMITS.size)
    except Unreadable as problem:
        raise ConfigError(f"{path}: cannot be read: {problem}") from problem


def parse(data: bytes, source: str) -> ProtocolFile:
    """What is in ``data``; ``source`` is the path of its file.

    Raises:
        ConfigError: as ``load``.
    """
    document, place = parse_plain(data, source)
    return ProtocolFile(
        source=source, document=document, reading=read_protocol(document, problems), place=place
    )


def parse_plain(data: bytes, source: str) -> tuple[Json, Place | dict[KeyPath, int]]:
    """The plain data in a file of any of the three kinds, and where everything stands.

    Raises:
        ConfigError: as ``load``.
    """
    if len(data) > LIMITS.size:
        raise ConfigError(f"{source}:1:1: larger than {LIMITS.size} bytes; make several protocols of it")
    try:
        text = decoded(data).replace("\r\n", "\n")
    except NoTextError as problem:
        raise ConfigError(f"{source}:{problem.line}:{problem.column}: {problem}") from problem
    if source.endswith(".toml"):
        return _parse_toml(text, source)
    try:
        return (parse_json if source.endswith(".json") else parse_yaml)(text, source, LIMITS)
    except WorkflowInvalid as problem:
        raise ConfigError(str(problem)) from problem


def _parse_toml(text: str, source: str) -> tuple[Json, dict[KeyPath, int]]:
    try:
        return tomllib.loads(text), locate(text)
    except RecursionError as problem:
        raise ConfigError(f"{source}:1:1: nested too deeply; make it flatter") from problem
    except ValueError as problem:
        where = _TOML_PLACE.search(str(problem))
        lines = text.splitlines() or [""]
        line, column = (len(lines), len(lines[-1]) + 1)
        if where is not None and where[1]:
            line, column = int(where[1]), int(where[2])
        reason = _TOML_PLACE.sub("", str(problem))
        raise ConfigError(
            f"{source}:{line}:{column}: not valid TOML: {reason}; correct it there, or in the line before"
        ) from problem
