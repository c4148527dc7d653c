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
    """For a schema with nothing but types, keys, items and what people read; None for any other.

    ``type(value)`` is looked at, not ``isinstance``: a bool is no number, and JSON has no subclasses.
    """
    if type(schema) is not dict:
        return None
    kinds = _kinds(schema.get("type"))
    words = schema.keys() - _ABOUT - {"type"}
    if kinds is None or not words:
        return None if kinds is None else lambda value: type(value) in kinds
    if kinds == (dict,) and words <= {"properties", "required", "additionalProperties"}:
        return _table(schema)
    if kinds == (list,) and words == {"items"}:
        return _list(schema["items"])
    return None


def _kinds(named: Json) -> tuple[type, ...] | None:
    names = [named] if type(named) is str else named
    if type(names) is not list or not all(type(name) is str and name in _KINDS for name in names):
        return None
    return tuple(kind for name in names for kind in _KINDS[name])


def _any(_: Json) -> bool:
    return True


def _list(item: Json) -> Accepts | None:
    accepts = flat(item)
    if accepts is None:
        return None
    return lambda value: type(value) is list and all(map(accepts, value))


def _table(schema: dict[str, Json]) -> Accepts | None:
    keys: dict[str, Accepts] = {}
    for key, inner in schema.get("properties", {}).items():
        accepts = flat(inner)
        if accepts is None:
            return None
        keys[key] = accepts
    required = frozenset(schema.get("required", ()))
    rest = schema.get("additionalProperties", True)
    other = _any if rest is True else flat(rest)
    if other is None and rest is not False:
        return None

    def accepts_table(value: Json) -> bool:
        if type(value) is not dict or not required <= value.keys():
            return False
        for key, item in value.items():
            accepts = keys.get(key, other)
            if accepts is None or not accepts(item):
                return False
        return True

    return accepts_table
