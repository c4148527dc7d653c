"""Type hints as JSON Schema, JSON as values of the hinted types, and back.

Understood are: ``str int float bool None Any object``, ``list[X]``, ``tuple``, ``dict[str, X]``, unions,
``Optional``, ``Literal``, enums, dataclasses, ``TypedDict``, ``NewType``, and ``Annotated[X, ...]`` with
a text (the description), :class:`~gleitzeitd.bounds.Bounds`, or a dict (more of the schema):
``Annotated[int, Bounds(least=1, most=14), "days ahead"]``.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, cast

from gleitzeitd.bounds import Bounds
from gleitzeitd.plain import Json
from gleitzeitd.providers.schema import problems

_SCALARS: dict[Any, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    None: "null",
    types.NoneType: "null",
    dict: "object",
    list: "array",
    tuple: "array",
}
_UNIONS = (types.UnionType, typing.Union)
_LISTS = (list, Sequence)
_TABLES = (dict, Mapping)


def schema_for(hint: Any, _inside: tuple[type, ...] = ()) -> dict[str, Json]:
    """The JSON Schema of everything that ``hint`` admits.

    Raises:
        TypeError: the hint has no JSON form.
    """
    hint = _unwrapped(hint)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return {}
    if origin is typing.Annotated:  # before it is looked up: a dict in it has no hash
        return _annotated(schema_for(args[0], _inside), args[1:])
    if hint in _SCALARS:
        return {"type": _SCALARS[hint]}
    if origin in _UNIONS:
        return _union([schema_for(arg, _inside) for arg in args])
    if origin is typing.Literal:
        return {"enum": [_scalar(arg) for arg in args]}
    if origin in _LISTS:
        return {"type": "array", "items": schema_for(args[0], _inside)}
    if origin is tuple:
        return _tuple(args, _inside)
    if origin in _TABLES:
        if args[0] is not str:
            raise TypeError(f"{hint} has no JSON form: the keys must be text")
        return {"type": "object", "additionalProperties": schema_for(args[1], _inside)}
    if isinstance(hint, type):
        if issubclass(hint, Enum):
            return {"enum": [_scalar(member.value) for member in hint]}
        if typing.is_typeddict(hint) or dataclasses.is_dataclass(hint):
            return _table(hint, _inside)
    raise TypeError(f"{getattr(hint, '__name__', hint)} has no JSON form")


def from_json(hint: Any, value: Json) -> Any:
    """``value``, which fits ``schema_for(hint)``, as what the hint says: an enum, a dataclass, a tuple."""
    hint = _unwrapped(hint)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return from_json(args[0], value)
    if origin in _UNIONS:
        return from_json(next(arg for arg in args if not problems(schema_for(arg), value)), value)
    if hint is float or hint is int:
        return hint(value)  # 1.0 is an integer for JSON Schema
    if origin in _LISTS:
        return [from_json(args[0], item) for item in value]
    if origin is tuple:
        hints = [args[0]] * len(value) if len(args) == 2 and args[1] is ... else args
        return tuple(from_json(item_hint, item) for item_hint, item in zip(hints, value, strict=True))
    if origin in _TABLES:
        return {key: from_json(args[1], item) for key, item in value.items()}
    if hint is tuple:
        return tuple(value)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    if isinstance(hint, type) and (typing.is_typeddict(hint) or dataclasses.is_dataclass(hint)):
        fields = _field_hints(hint)
        return hint(**{key: from_json(fields[key], item) for key, item in value.items()})
    return value


def to_json(value: Any) -> Any:
    """Dataclasses as tables, enums as their values, tuples as lists; whatever else as it is."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {to_json(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


def _unwrapped(hint: Any) -> Any:
    while hasattr(hint, "__supertype__"):
        hint = hint.__supertype__
    if typing.get_origin(hint) in (typing.Required, typing.NotRequired):
        return _unwrapped(typing.get_args(hint)[0])
    return hint


def _scalar(value: Any) -> Json:
    if isinstance(value, Enum):
        value = value.value
    if value is None or type(value) in (str, int, float, bool):
        return value
    raise TypeError(f"{value!r} is no JSON scalar")


def _annotated(schema: dict[str, Json], notes: tuple[Any, ...]) -> dict[str, Json]:
    for note in notes:
        if isinstance(note, str):
            schema = {**schema, "description": note}
        elif isinstance(note, Bounds):
            schema = {**schema, **_bounds(note)}
        elif isinstance(note, dict):
            schema = {**schema, **note}
    return schema


def _bounds(bounds: Bounds) -> dict[str, Json]:
    # Keywords that do not concern a value's type are ignored by JSON Schema, so none has to be chosen.
    keywords: dict[str, Json] = {
        "minimum": bounds.least,
        "maximum": bounds.most,
        "exclusiveMinimum": bounds.above,
        "exclusiveMaximum": bounds.below,
    }
    for kind in ("Length", "Items", "Properties"):
        keywords |= {f"min{kind}": bounds.shortest, f"max{kind}": bounds.longest}
    return {keyword: limit for keyword, limit in keywords.items() if limit is not None}


def _union(options: list[dict[str, Json]]) -> dict[str, Json]:
    if any(option == {} for option in options):
        return {}
    if all(set(option) == {"type"} for option in options):
        return {"type": [option["type"] for option in options]}
    return {"anyOf": options}


def _tuple(args: tuple[Any, ...], inside: tuple[type, ...]) -> dict[str, Json]:
    if len(args) == 2 and args[1] is ...:
        return {"type": "array", "items": schema_for(args[0], inside)}
    schema: dict[str, Json] = {"type": "array", "minItems": len(args), "maxItems": len(args)}
    if args:
        schema["prefixItems"] = [schema_for(arg, inside) for arg in args]
    return schema


def _field_hints(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls, include_extras=True)
    if typing.is_typeddict(cls):
        return hints
    return {field.name: hints[field.name] for field in dataclasses.fields(cast("Any", cls)) if field.init}


def _table(cls: type, inside: tuple[type, ...]) -> dict[str, Json]:
    if cls in inside:
        raise TypeError(f"{cls.__name__} contains itself")
    hints = _field_hints(cls)
    required = (
        _required_of_typed_dict(cls, hints) if typing.is_typeddict(cls) else _required_of_dataclass(cls)
    )
    schema: dict[str, Json] = {
        "type": "object",
        "properties": {name: schema_for(hint, (*inside, cls)) for name, hint in hints.items()},
        "additionalProperties": False,
    }
    if required:
        schema["required"] = required
    return schema


def _required_of_dataclass(cls: type) -> list[str]:
    missing = dataclasses.MISSING
    fields = dataclasses.fields(cast("Any", cls))
    return [f.name for f in fields if f.default is missing and f.default_factory is missing]


def _required_of_typed_dict(cls: type, hints: dict[str, Any]) -> list[str]:
    # A NotRequired inside a postponed annotation is not seen by __required_keys__.
    keys: frozenset[str] = getattr(cls, "__required_keys__", frozenset())
    origins = {name: typing.get_origin(hint) for name, hint in hints.items()}
    return [
        name
        for name in hints
        if origins[name] is typing.Required or (name in keys and origins[name] is not typing.NotRequired)
    ]
