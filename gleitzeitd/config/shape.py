"""What a settings class admits: its keys, their types in words, and all that is wrong with a value.

``plain.from_plain`` stops at the first problem, which is right for an event. An operator wants all of
them at once, each with the place it is at; so values are walked here, and ``plain`` reads the leaves.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from enum import Enum
from functools import cache
from typing import Any

from gleitzeitd.bounds import Bounds, bounds_of, is_secret
from gleitzeitd.config.locate import KeyPath, rendered
from gleitzeitd.errors import MalformedData
from gleitzeitd.plain import Json, describe, did_you_mean, from_plain

_WORDS = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    dict: "table",
    Any: "any value",
}
_PLURALS = {"text": "texts", "whole number": "whole numbers", "number": "numbers", "table": "tables"}
_SHOWN = 60  # characters of a wrong value that a message repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One field of a settings class."""

    name: str
    want: Any
    bounds: Bounds
    secret: bool
    field: dataclasses.Field[Any]

    @property
    def required(self) -> bool:
        return self.field.default is MISSING and self.field.default_factory is MISSING

    def default(self) -> Any:
        """A fresh default; only of a key that is not required."""
        if self.field.default_factory is not MISSING:
            return self.field.default_factory()
        return self.field.default


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong: where, and why."""

    path: KeyPath
    text: str


@cache
def keys_of(cls: type) -> dict[str, Key]:
    """The keys of a settings class, by name, in the order of declaration."""
    hints = typing.get_type_hints(cls)
    return {
        f.name: Key(
            name=f.name,
            want=hints[f.name],
            bounds=bounds_of(f.metadata),
            secret=is_secret(f.metadata),
            field=f,
        )
        for f in dataclasses.fields(cls)
    }


def bare(want: Any) -> Any:
    """``want`` without NewType and, as TOML has no null, without ``| None``."""
    while hasattr(want, "__supertype__"):
        want = want.__supertype__
    if is_union(want):
        options = [option for option in typing.get_args(want) if option is not types.NoneType]
        if len(options) == 1:
            return bare(options[0])
    return want


def is_union(want: Any) -> bool:
    """Whether ``want`` is ``X | Y``."""
    return typing.get_origin(want) in (types.UnionType, typing.Union)


def is_list(want: Any) -> bool:
    """Whether ``want`` is ``list[X]`` or ``tuple[X, ...]``."""
    return typing.get_origin(want) in (list, tuple)


def choices(want: Any) -> list[Any]:
    """The plain values of an enum or a literal; nothing for other types."""
    if typing.get_origin(want) is typing.Literal:
        return list(typing.get_args(want))
    if isinstance(want, type) and issubclass(want, Enum):
        return [member.value for member in want]
    return []


def in_words(want: Any) -> str:
    """The type as an operator would say it: ``list of texts``, ``one of debug, info``."""
    want = bare(want)
    if known := choices(want):
        return f"one of {', '.join(map(str, known))}"
    if is_union(want):
        return " or ".join(
            in_words(option) for option in typing.get_args(want) if option is not types.NoneType
        )
    if is_list(want):
        item = in_words(typing.get_args(want)[0])
        return f"list of {_PLURALS.get(item, item)}"
    return _WORDS.get(want, "table")


def problems_of(key: Key, value: Json, path: KeyPath) -> Iterator[Problem]:
    """Everything that is wrong with ``value`` as the value of ``key``; ``path`` is where it stands."""
    found = list(_problems_of_value(key.want, value, path, key))
    yield from found
    if not any(problem.path == path for problem in found) and (text := key.bounds.length_problem(value)):
        yield Problem(path=path, text=_discreet(text, key))


def fits(want: Any, value: Json, key: Key) -> bool:
    """Whether ``value`` is a ``want``, which is part of the type of ``key``."""
    return not any(True for _ in _problems_of_value(want, value, (), key))


def _problems_of_value(want: Any, value: Json, path: KeyPath, key: Key) -> Iterator[Problem]:
    want = bare(want)
    if dataclasses.is_dataclass(want) and isinstance(value, dict):
        yield from _problems_of_table(typing.cast("type", want), value, path)
    elif is_list(want) and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _problems_of_value(typing.get_args(want)[0], item, (*path, index), key)
    elif typing.get_origin(want) is dict and isinstance(value, dict):
        for name, item in value.items():
            yield from _problems_of_value(typing.get_args(want)[1], item, (*path, name), key)
    elif text := _problem_of_leaf(want, value, path, key) or key.bounds.range_problem(value):
        yield Problem(path=path, text=_discreet(text, key))


def _problems_of_table(cls: type, table: dict[str, Json], path: KeyPath) -> Iterator[Problem]:
    keys = keys_of(cls)
    for name, value in table.items():
        if name in keys:
            yield from problems_of(keys[name], value, (*path, name))
        else:
            yield Problem(path=(*path, name), text=f"unknown key{did_you_mean(name, keys)}")
    for name, key in keys.items():
        if key.required and name not in table:
            yield Problem(path=(*path, name), text=f"missing, expected {in_words(key.want)}")


def _problem_of_leaf(want: Any, value: Json, path: KeyPath, key: Key) -> str | None:
    if text := _not_plain(value):
        return text
    try:
        from_plain(want, value, rendered(path))
    except MalformedData as problem:
        # Inside a union the problem can lie deeper than the value that is looked at here.
        deeper = problem.path.removeprefix(rendered(path)).lstrip(".")
        text = f"{deeper}: {problem.problem}" if deeper else problem.problem
        if text.endswith(f"found {describe(value)}") and isinstance(value, (str, int, float)):
            return f"{text} {shortened(value)}"
        if isinstance(value, str) and not key.secret:
            return text + did_you_mean(value, map(str, choices(want)))
        return text
    return None


def _discreet(text: str, key: Key) -> str:
    return text.partition(", found ")[0] if key.secret else text


def _not_plain(value: Json) -> str | None:
    """Why a value that TOML admits is none that settings can hold, anywhere in it."""
    if isinstance(value, dict):
        return next((text for item in value.values() if (text := _not_plain(item))), None)
    if isinstance(value, list):
        return next((text for item in value if (text := _not_plain(item))), None)
    if isinstance(value, float) and not math.isfinite(value):
        return f"expected a finite number, found {value}"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "expected a whole number of at most 64 bits"
    if not isinstance(value, (str, int, float)):
        return f"expected no date or time, found {value}"
    return None


def shortened(value: Json) -> str:
    """``value`` as a message repeats it: quoted if text, and not longer than a line can bear."""
    shown = ("true" if value else "false") if isinstance(value, bool) else repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
