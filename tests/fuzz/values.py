"""What an event's fields may hold, by their declared types, and what they may not."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from enum import Enum
from functools import cache
from typing import Any

from gleitzeitd.events import CATALOGUE, Event
from gleitzeitd.model.names import Role
from tests.fuzz.draw import Draw, once_in, pick

Made = Callable[[Draw], Any]

COMPONENTS = ("me", "hub", *(f"{role.value}-1" for role in Role), "nobody")
WORKFLOWS = ("w", "w1", "team-a:w", "")
NAMES = (*COMPONENTS, *WORKFLOWS, "t", "last", "python/execute", "echo/v1", "python/v1", "*", "components")


class Raw(str):
    """JSON text, or what claims to be, that goes into the frame as it is."""

    __slots__ = ()


def _deep(opening: str, closing: str, depth: int) -> Raw:
    return Raw(opening * depth + closing * depth)


WRONG: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    "",
    [],
    {},
    2**31,
    -(2**63),
    2**64,
    Raw("1e999"),
    Raw("-1e-999"),
    Raw("NaN"),
    Raw("-Infinity"),
    Raw("1" * 5000),
    Raw("0." + "3" * 5000),
    "\x00",
    "\ud800",
    Raw(r'"\udfff\ud800"'),
    "\u202egnihton",
    "a" * 300,
    "b" * 70_000,
    "../../etc/passwd",
    "${secret.key}",
    "${" * 200,
    [[[[[[[[[[1]]]]]]]]]],
    _deep("[", "]", 150),
    _deep("[", "]", 5000),
    _deep('{"a":', "}", 300).replace("}", "1}", 1),
    {"_placeholder": True, "num": 0},
    {"_placeholder": True, "num": 10**9},
    {"__proto__": {"x": 1}, "constructor": 1},
    Raw('{"a":1,"a":2}'),
    {"_source_component": "hub", "_fact": "task_completed"},
    list(range(2000)),
    {str(number): number for number in range(500)},
    ["w", "t", 1],
    [["w", "t", 1], ["w", "t", "1"], [None]],
)


def wrong(draw: Draw) -> Any:
    """Something that hardly any field may hold."""
    return pick(draw, WRONG)


def _text(draw: Draw) -> Any:
    return pick(draw, NAMES) if not once_in(draw, 8) else "x" * draw.below(40)


def _number(draw: Draw) -> Any:
    return draw.below(4) if not once_in(draw, 6) else draw.below(2**31) - 2**30


def _any(draw: Draw) -> Any:
    kind = draw.below(8)
    if kind < 3:
        return _text(draw)
    if kind < 5:
        return _number(draw)
    if kind == 5:
        return [_text(draw), _number(draw)]
    if kind == 6:
        return {_text(draw): _number(draw), "code": "x = 1"}
    return wrong(draw)


_SCALARS: dict[Any, Made] = {
    Any: _any,
    str: _text,
    bool: lambda draw: draw.below(2) == 1,
    int: _number,
    float: lambda draw: draw.below(1000) / 8,
    types.NoneType: lambda draw: None,
}


def maker(hint: Any) -> Made:
    """Makes values of a type; once in a while, of none."""
    made = _maker(hint)
    return lambda draw: wrong(draw) if once_in(draw, 24) else made(draw)


def _maker(hint: Any) -> Made:
    while hasattr(hint, "__supertype__"):  # a NewType
        hint = hint.__supertype__
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in _SCALARS:
        return _SCALARS[hint]
    if origin in (types.UnionType, typing.Union):
        makers = [maker(each) for each in inner]
        return lambda draw: pick(draw, makers)(draw)
    if origin is typing.Literal:
        return lambda draw: pick(draw, inner)
    if origin in (list, tuple):
        one = maker(inner[0])
        return lambda draw: [one(draw) for _ in range(draw.below(3))]
    if origin is dict:
        value = maker(inner[1])
        return lambda draw: {_text(draw): value(draw) for _ in range(draw.below(3))}
    if isinstance(hint, type) and issubclass(hint, Enum):
        members = [each.value for each in hint]
        return lambda draw: pick(draw, members)
    assert dataclasses.is_dataclass(hint), f"no values for {hint!r}"
    return fields_of(hint)


@cache
def fields_of(cls: Any) -> Made:
    """Makes the fields of a record as a JSON object, some of which may be missing or too many."""
    hints = typing.get_type_hints(cls)
    needed: list[tuple[str, Made]] = []
    other: list[tuple[str, Made]] = []
    for field in dataclasses.fields(cls):
        optional = (
            field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        )
        (other if optional else needed).append((field.name, maker(hints[field.name])))

    def made(draw: Draw) -> dict[str, Any]:
        body = {name: value(draw) for name, value in needed if not once_in(draw, 40)}
        for name, value in other:
            if draw.below(2):
                body[name] = value(draw)
        if once_in(draw, 40):
            body[_text(draw)] = wrong(draw)
        return body

    return made


@cache
def body_of(name: str) -> Made:
    """Makes bodies of an event of the catalogue."""
    cls: type[Event] = CATALOGUE[name]
    return fields_of(cls)
