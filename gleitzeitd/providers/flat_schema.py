"""The short way for schemas that are flat, as those of most methods are.

Most calls are right, and most schemas name some keys and their types. Of such a pair it can be said at once
that it fits; whatever cannot be said here, the validator says, with its words for what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable

from gleitzeitd.plain import Json

Accepts = Callable[[Json], bool]
"""True if a value certainly fits; False says nothing."""

_ABOUT = frozenset({"title", "description", "default", "examples", "deprecated", "$comment"})
"""What says nothing about values."""
_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


def flat(schema: Json) -> Accepts | None:
    """For a schema with nothing but types, keys and what people read; None for any other.

    ``type(value)`` is looked at, not ``isinstance``: a bool is no number, and JSON has no subclasses.
    """
    if type(schema) is not dict or not schema.keys() <= _ABOUT | {
        "type",
        "properties",
        "required",
        "additionalProperties",
    }:
        return None
    kinds = _kinds(schema.get("type"))
    if kinds is None:
        return None
    if not schema.keys() & {"properties", "required", "additionalProperties"}:
        return lambda value: type(value) in kinds
    if kinds != (dict,) or type(schema.get("additionalProperties", True)) is not bool:
        return None
    return _table(schema)


def _kinds(named: Json) -> tuple[type, ...] | None:
    names = [named] if type(named) is str else named
    if type(names) is not list or not all(type(name) is str and name in _KINDS for name in names):
        return None
    return tuple(kind for name in names for kind in _KINDS[name])


def _table(schema: dict[str, Json]) -> Accepts | None:
    keys: dict[str, Accepts] = {}
    for key, inner in schema.get("properties", {}).items():
        accepts = flat(inner)
        if accepts is None:
            return None
        keys[key] = accepts
    required = frozenset(schema.get("required", ()))
    is_open = schema.get("additionalProperties", True)

    def accepts_table(value: Json) -> bool:
        if type(value) is not dict or not required <= value.keys():
            return False
        for key, item in value.items():
            accepts = keys.get(key)
            if not is_open if accepts is None else not accepts(item):
                return False
        return True

    return accepts_table
