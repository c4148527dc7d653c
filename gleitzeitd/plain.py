"""Dataclasses to plain JSON/TOML data and back, strictly, with the path of whatever is wrong.

A class is compiled once into a reader and a writer; after that, no type hint is looked at.
Understood are: dataclasses, enums, NewTypes, ``str int float bool None``, ``list[X]``,
``tuple[X, ...]``, ``dict[str, X]``, unions, literals, and ``Json`` (anything plain, unchecked).
An int is taken where a float is declared; nothing else is converted. Defaults are left out
when writing, so that what is written stays readable by a version that lacks the field.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeAlias, TypeVar, cast

from gleitzeitd.errors import MalformedData

Json: TypeAlias = Any
"""Plain data: None, bool, int, float, str, lists and string-keyed dicts of these."""

T = TypeVar("T")
Reader = Callable[[Any], Any]
"""Its errors name the place from the value on; whoever called it puts its own step before that."""
Writer = Callable[[Any], Json]

_READERS: dict[Any, Reader] = {}
_WRITERS: dict[type, Writer] = {}

_QUOTED_LIMIT = 60

_KINDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a table",
    list: "a list",
}


def to_plain(value: Any) -> Json:
    """Plain data for ``value``, a dataclass instance; the inverse of :func:`from_plain`."""
    return _writer(type(value))(value)


def from_plain(cls: type[T], data: Json, path: str = "") -> T:
    """An instance of the dataclass ``cls``.

    Raises:
        MalformedData: a field is missing, unknown or of the wrong type; ``path`` names it.
    """
    try:
        return cast("T", _reader(cls)(data))
    except MalformedData as problem:
        raise _at(path, problem) from None


def known_only(cls: Any, data: Json) -> Json:
    """``data`` without the keys that ``cls``, or a class inside it, does not have; all else as it is.

    Where one of several classes is declared, nothing is left out.
    """
    want = _unwrapped(cls)
    origin, args = typing.get_origin(want), typing.get_args(want)
    if origin in (types.UnionType, typing.Union):
        options = [option for option in args if option is not types.NoneType]
        return known_only(options[0], data) if len(options) == 1 else data
    if origin in (list, tuple) and type(data) is list:
        return [known_only(args[0], item) for item in data]
    if type(data) is not dict:
        return data
    if origin is dict:
        return {key: known_only(args[1], item) for key, item in data.items()}
    if dataclasses.is_dataclass(want):
        hints = typing.get_type_hints(want)
        return {key: known_only(hints[key], item) for key, item in data.items() if key in hints}
    return data


def did_you_mean(word: str, known: typing.Iterable[str]) -> str:
    """``", did you mean X?"`` for the nearest of ``known``, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f", did you mean {near[0]}?" if near else ""


def describe(value: Any) -> str:
    """What a value is, in words, for the ``found`` part of a message."""
    if value is None:
        return "nothing"
    return _KINDS.get(type(value), type(value).__name__)


def _quoted(value: Any) -> str:
    """A value that stands for another one, cut: messages go to logs, and values may be anything."""
    text = repr(value) if isinstance(value, (str, int, float)) else describe(value)
    return text if len(text) <= _QUOTED_LIMIT else f"{text[:_QUOTED_LIMIT]}..."


def _at(step: str, problem: MalformedData) -> MalformedData:
    """The problem, seen from one step further out. Places are put together only when something is wrong."""
    dot = "." if step and problem.path and not problem.path.startswith("[") else ""
    return MalformedData(f"{step}{dot}{problem.path}", problem.problem)


def _is_json(want: Any) -> bool:
    return want is Any


def _unwrapped(want: Any) -> Any:
    while hasattr(want, "__supertype__"):
        want = want.__supertype__
    return want


def _reader(want: Any) -> Reader:
    made = _READERS.get(want)
    if made is None:
        made = _READERS[want] = _make_reader(want)
    return made


def _make_reader(want: Any) -> Reader:
    want = _unwrapped(want)
    origin, args = typing.get_origin(want), typing.get_args(want)
    if _is_json(want):
        return lambda data: data
    if want in _KINDS or want is types.NoneType:
        return _scalar_reader(want)
    if origin in (types.UnionType, typing.Union):
        return _union_reader(args)
    if origin is typing.Literal:
        return _choice_reader(list(args), {a: a for a in args})
    if origin in (list, tuple):
        return _list_reader(_reader(args[0]), origin)
    if origin is dict:
        return _dict_reader(_reader(args[1]))
    if isinstance(want, type) and issubclass(want, Enum):
        return _choice_reader([m.value for m in want], {m.value: m for m in want})
    if dataclasses.is_dataclass(want):
        return _class_reader(cast("type", want))
    raise TypeError(f"{want!r} has no plain form")


def _scalar_reader(want: Any) -> Reader:
    if want is float:

        def read_float(data: Any) -> float:
            if type(data) is float or type(data) is int:
                return float(data)
            raise MalformedData("", f"expected a number, found {describe(data)}")

        return read_float

    expected = _KINDS.get(want, "nothing")

    def read(data: Any) -> Any:
        if type(data) is want:
            return data
        raise MalformedData("", f"expected {expected}, found {describe(data)}")

    return read


def _union_reader(options: tuple[Any, ...]) -> Reader:
    optional = types.NoneType in options
    readers = [_reader(o) for o in options if o is not types.NoneType]

    def read(data: Any) -> Any:
        if data is None and optional:
            return None
        problem: MalformedData | None = None
        for reader in readers:
            try:
                return reader(data)
            except MalformedData as found:
                problem = found
        assert problem is not None
        raise problem

    return read


def _choice_reader(values: list[Any], members: dict[Any, Any]) -> Reader:
    def read(data: Any) -> Any:
        if isinstance(data, (str, int)) and data in members:
            return members[data]
        raise MalformedData("", f"expected one of {', '.join(map(str, values))}, found {_quoted(data)}")

    return read


def _tried(item: Reader, value: Any, step: str) -> None:
    """Read one item of several, of which one is known to be wrong, to find out which."""
    try:
        item(value)
    except MalformedData as problem:
        raise _at(step, problem) from None


def _list_reader(item: Reader, made: Any) -> Reader:
    def read(data: Any) -> Any:
        if type(data) is not list and type(data) is not tuple:
            raise MalformedData("", f"expected a list, found {describe(data)}")
        try:
            return made([item(x) for x in data])
        except MalformedData:
            for i, x in enumerate(data):
                _tried(item, x, f"[{i}]")
            raise

    return read


def _dict_reader(item: Reader) -> Reader:
    def read(data: Any) -> Any:
        if type(data) is not dict:
            raise MalformedData("", f"expected a table, found {describe(data)}")
        try:
            return {key: item(x) for key, x in data.items()}
        except MalformedData:
            for key, x in data.items():
                _tried(item, x, str(key))
            raise

    return read


def _class_reader(cls: type) -> Reader:
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)
    # A value of the very type that is declared needs no reader; most are.
    plan = {f.name: (_unwrapped(hints[f.name]), _reader(hints[f.name])) for f in fields}
    required = [
        f.name
        for f in fields
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]

    def read(data: Any) -> Any:
        if type(data) is not dict:
            raise MalformedData("", f"expected a table, found {describe(data)}")
        values = {}
        for key, value in data.items():
            known = plan.get(key)
            if known is None:
                raise MalformedData(str(key), f"unknown key{did_you_mean(str(key), plan)}")
            kind, reader = known
            if type(value) is kind:
                values[key] = value
                continue
            try:
                values[key] = reader(value)
            except MalformedData as problem:
                raise _at(key, problem) from None
        for name in required:
            if name not in values:
                raise MalformedData(name, "missing")
        return cls(**values)

    return read


def _writer(cls: type) -> Writer:
    made = _WRITERS.get(cls)
    if made is None:
        made = _WRITERS[cls] = _make_writer(cls)
    return made


def _make_writer(cls: type) -> Writer:
    if not dataclasses.is_dataclass(cls):
        return _write_value
    plan = [(f.name, f.default) for f in dataclasses.fields(cls)]

    def write(value: Any) -> Json:
        out = {}
        for name, default in plan:
            item = getattr(value, name)
            if item is default:
                continue
            out[name] = item if type(item) in _AS_IS else _write_value(item)
        return out

    return write


_AS_IS = frozenset({str, int, float, bool, types.NoneType})


def _write_value(value: Any) -> Json:
    kind = type(value)
    if kind in _AS_IS:
        return value
    if kind is list or kind is tuple:
        return [_write_value(item) for item in value]
    if kind is dict:
        return {key: _write_value(item) for key, item in value.items()}
    if isinstance(value, Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        return _writer(kind)(value)
    raise TypeError(f"{kind.__name__} has no plain form")
