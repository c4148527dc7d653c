"""TOML files and the environment to settings: all of it, or one error that says all that is wrong.

Files are merged in their order: a later value takes the place of an earlier one, tables are merged key
by key. The environment comes after the files. Every value is checked, also one that another has replaced.
Nothing is kept between two calls, so a reload is another call.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from gleitzeitd.config.environment import unknown_variables, variable_name, variables
from gleitzeitd.config.locate import KeyPath, locate, rendered
from gleitzeitd.config.shape import in_words, keys_of, problems_of
from gleitzeitd.errors import ConfigError, MalformedData
from gleitzeitd.plain import Json, describe, did_you_mean, from_plain

S = TypeVar("S")

FILE_LIMIT = 1024 * 1024
"""Bytes of one configuration file."""

_WHERE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Settings, and where each of their values comes from."""

    settings: dict[str, Any]
    """By section, an instance of the section's class."""
    origin: dict[str, str]
    """By ``section.key``, for all keys: ``file:line``, ``environment NAME`` or ``default``."""

    def section(self, name: str, cls: type[S]) -> S:
        """The settings of a section, typed."""
        found = self.settings[name]
        assert isinstance(found, cls), f"[{name}] is a {type(found).__name__}"
        return found


def load(
    sections: Mapping[str, type],
    *,
    files: Sequence[Path],
    environment: Mapping[str, str],
    foreign: Collection[str] = (),
    aliases: Mapping[str, str] | None = None,
    apart: Collection[tuple[str, str]] = (),
) -> Loaded:
    """The settings of ``sections``, from ``files`` in their order and then ``environment``.

    Args:
        sections: the settings class of each section.
        files: as :func:`config_files` gives them; each must exist.
        environment: all variables of the process; those that are not about settings are left alone.
        foreign: sections of other roles, which may be in the same files and are not looked into.
        aliases: variables without the usual form, to the ``section.key`` that each sets.
        apart: keys with their sections that are no settings; see :func:`value_in`.

    Raises:
        ConfigError: one line per problem, of all files and variables.
    """
    merge = _Merge(sections, foreign, apart)
    for file in files:
        merge.add_file(file)
    aliases = aliases or {}
    for variable in variables(sections, environment, aliases):
        path: KeyPath = (variable.section, variable.key)
        merge.set(path, variable.value, {path: _Place(name=variable.name)})
    for name, text in unknown_variables(sections, environment, aliases, foreign):
        merge.complain(_Place(name=name), "", text)
    return merge.finish()


def value_in(files: Sequence[Path], section: str, key: str) -> tuple[Json, str] | None:
    """What the last of ``files`` that has it says, and where; for what decides which settings there are.

    Raises:
        ConfigError: a file cannot be read, or is no TOML.
    """
    found: tuple[Json, str] | None = None
    for file in files:
        try:
            document, lines = _read(file)
        except _UnusableError as problem:
            place = _Place(name=str(file), line=problem.line, column=problem.column)
            raise ConfigError(f"{place}: {problem}") from problem
        table = document.get(section)
        if isinstance(table, dict) and key in table:
            found = table[key], f"{file}:{lines[(section, key)]}"
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A line of a file, or a variable."""

    name: str
    order: int = 1_000_000  # of the file; variables come after all files
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join([self.name, *(str(n) for n in (self.line, self.column) if n)])

    @property
    def origin(self) -> str:
        return str(self) if self.line else f"environment {self.name}"


_NOWHERE = _Place(name="", order=2_000_000)


class _Merge:
    def __init__(
        self,
        sections: Mapping[str, type],
        foreign: Collection[str],
        apart: Collection[tuple[str, str]],
    ) -> None:
        self._sections = sections
        self._foreign = foreign
        self._apart = apart
        self._files = 0
        self._tables: dict[str, dict[str, Json]] = {name: {} for name in sections}
        self._places: dict[KeyPath, _Place] = {}
        self._problems: list[tuple[_Place, str]] = []
        self._broken: set[str | int] = set()  # sections that cannot be built

    def add_file(self, file: Path) -> None:
        self._files += 1
        try:
            document, lines = _read(file)
        except _UnusableError as problem:
            place = _Place(name=str(file), order=self._files, line=problem.line, column=problem.column)
            self.complain(place, "", str(problem))
            return
        places = {p: _Place(name=str(file), order=self._files, line=line) for p, line in lines.items()}
        for section, table in document.items():
            place = places[(section,)]
            if section in self._foreign and section not in self._sections:
                continue
            if section not in self._sections:
                self.complain(place, "", self._unknown_section(section, table))
            elif not isinstance(table, dict):
                self.complain(place, f"[{section}]", f"expected a table, found {describe(table)}")
            else:
                self._places.setdefault((section,), place)
                self._add_table(section, table, places)

    def _add_table(self, section: str, table: dict[str, Json], places: dict[KeyPath, _Place]) -> None:
        keys = keys_of(self._sections[section])
        for key, value in table.items():
            path: KeyPath = (section, key)
            if (section, key) in self._apart:
                continue
            if key not in keys:
                self.complain(places[path], rendered(path), f"unknown key{self._instead_of(section, key)}")
            else:
                self.set(path, value, {p: place for p, place in places.items() if p[:2] == path})

    def set(self, path: KeyPath, value: Json, places: dict[KeyPath, _Place]) -> None:
        """Put ``value`` at ``path``, or merge it into the table there; ``places`` are those of its parts."""
        section, key = str(path[0]), str(path[1])
        table = self._tables[section]
        old = table.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and places[path].line:
            table[key] = _merged(old, value)
        else:
            self._check(section, key)
            self._places = {p: place for p, place in self._places.items() if p[:2] != path}
            table[key] = value
        self._places.update(places)

    def complain(self, place: _Place, name: str, text: str) -> None:
        self._problems.append((place, ": ".join(part for part in (str(place), name, text) if part)))

    def finish(self) -> Loaded:
        for section, cls in self._sections.items():
            for name, key in keys_of(cls).items():
                self._check(section, name)
                if key.required and name not in self._tables[section]:
                    self._broken.add(section)
                    place = self._places.get((section,), _NOWHERE)
                    text = (
                        f"missing, expected {in_words(key.want)}; {variable_name(section, name)} sets it too"
                    )
                    self.complain(place, f"{section}.{name}", text)
        settings = {name: self._build(name) for name in self._sections if name not in self._broken}
        if self._problems:
            self._problems.sort(key=lambda found: (found[0].order, found[0].line))
            raise ConfigError("\n".join(dict.fromkeys(text for _, text in self._problems)))
        origin = {}
        for section, cls in self._sections.items():
            for key_name in keys_of(cls):
                origin_place = self._places.get((section, key_name))
                origin[f"{section}.{key_name}"] = origin_place.origin if origin_place else "default"
        return Loaded(settings=settings, origin=origin)

    def _check(self, section: str, name: str) -> None:
        table = self._tables[section]
        if name not in table:
            return
        key = keys_of(self._sections[section])[name]
        for problem in problems_of(key, table[name], (section, name)):
            self._broken.add(section)
            self.complain(self._place_of(problem.path), rendered(problem.path), problem.text)

    def _build(self, section: str) -> Any:
        try:
            return from_plain(self._sections[section], self._tables[section], section)
        except MalformedData as problem:  # of a check in the class, which knows its keys and not the section
            key = problem.path.removeprefix(f"{section}.")
            self.complain(self._place_of((section, key)), f"{section}.{key}", problem.problem)
        except ValueError as problem:
            self.complain(self._place_of((section,)), f"[{section}]", str(problem))
        return None

    def _place_of(self, path: KeyPath) -> _Place:
        """Of ``path``, or of what it is part of."""
        while path and path not in self._places:
            path = path[:-1]
        return self._places.get(path, _NOWHERE)

    def _unknown_section(self, section: str, table: Json) -> str:
        if isinstance(table, dict):
            known = [*self._sections, *sorted(self._foreign)]
            nearest = did_you_mean(section, known) or f", expected one of {', '.join(known)}"
            return f"[{section}]: unknown section{nearest}"
        return f"{section}: stands before any section{self._home_of(section)}"

    def _instead_of(self, section: str, key: str) -> str:
        return self._home_of(key) or did_you_mean(key, keys_of(self._sections[section]))

    def _home_of(self, key: str) -> str:
        homes = [name for name, cls in self._sections.items() if key in keys_of(cls)]
        return f", it belongs into [{homes[0]}]" if len(homes) == 1 else ""


def _merged(old: dict[str, Json], new: dict[str, Json]) -> dict[str, Json]:
    out = dict(old)
    for key, value in new.items():
        before = out.get(key)
        out[key] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return out


class _UnusableError(Exception):
    """A file cannot be read or is no TOML."""

    def __init__(self, text: str, line: int = 0, column: int = 0) -> None:
        self.line = line
        self.column = column
        super().__init__(text)


def _read(file: Path) -> tuple[dict[str, Json], dict[KeyPath, int]]:
    try:
        with file.open("rb") as stream:
            data = stream.read(FILE_LIMIT + 1)
    except OSError as problem:
        raise _UnusableError(f"cannot be read: {problem.strerror}") from problem
    if len(data) > FILE_LIMIT:
        raise _UnusableError(f"is larger than {FILE_LIMIT} bytes")
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as problem:
        raise _UnusableError("is not UTF-8", line=data.count(b"\n", 0, problem.start) + 1) from problem
    try:
        return tomllib.loads(text), locate(text)
    except RecursionError as problem:
        raise _UnusableError("is nested too deeply") from problem
    except ValueError as problem:  # tomllib.TOMLDecodeError, and the bare one of a number with 5,000 digits
        where = _WHERE.search(str(problem))
        reason = f"not valid TOML: {_WHERE.sub('', str(problem))}"
        if where is None:
            raise _UnusableError(reason) from problem
        if where[1] is None:
            lines = text.splitlines() or [""]
            raise _UnusableError(reason, line=len(lines), column=len(lines[-1]) + 1) from problem
        raise _UnusableError(reason, line=int(where[1]), column=int(where[2])) from problem
