"""A protocol: a named, versioned set of methods, each with schemas of what goes in and comes out.

A protocol is declared by its providers. Schemas are JSON Schema (draft 2020-12) inside; who needs
one checked is handed a :data:`SchemaCheck`, so that this module knows no validator.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import field

from gleitzeitd.plain import Json
from gleitzeitd.record import record


@record
class Example:
    """A call of a method as one would write it, for whoever reads the protocol; nothing is done with it."""

    description: str = ""
    parameters: dict[str, Json] = field(default_factory=dict)
    result: Json = None
    """None: not told."""


@record
class Method:
    """One method of a protocol."""

    description: str = ""
    parameters: dict[str, Json] = field(default_factory=lambda: {"type": "object"})
    """JSON Schema of the parameters, always of an object."""
    returns: dict[str, Json] = field(default_factory=dict)
    """JSON Schema of the result; an empty one admits anything."""
    examples: tuple[Example, ...] = ()


@record
class Protocol:
    """What providers of one ``protocol`` serve."""

    name: str
    """With its version: ``python/v1``."""
    description: str = ""
    methods: dict[str, Method] = field(default_factory=dict)
    """By full name: ``python/execute``."""


@record
class SchemaProblem:
    """One way in which a value breaks a schema."""

    path: tuple[str | int, ...]
    """From the value's root to what is wrong."""
    message: str


SchemaCheck = Callable[[dict[str, Json], Json], list[SchemaProblem]]
"""``(schema, value)`` to all problems, in document order; none if the value fits."""


def with_defaults(schema: dict[str, Json], value: Json) -> Json:
    """``value`` with the defaults that ``schema`` has for what is missing in it, at any depth.

    Looked into are ``properties`` and ``items``; a table that is missing as a whole is not made up.
    """
    if isinstance(value, dict):
        known = {name: one for name, one in schema.get("properties", {}).items() if isinstance(one, dict)}
        out = {name: with_defaults(known[name], v) if name in known else v for name, v in value.items()}
        missing = {
            name: one["default"] for name, one in known.items() if name not in out and "default" in one
        }
        return out | deepcopy(missing)
    items = schema.get("items")
    if isinstance(value, list) and isinstance(items, dict):
        return [with_defaults(items, each) for each in value]
    return value
