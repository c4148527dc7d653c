"""Values that fit a JSON Schema, and values that do not."""

from __future__ import annotations

import copy
from collections.abc import Iterator

from gleitzeitd.errors import MalformedData
from gleitzeitd.plain import Json
from gleitzeitd.providers.schema import problems

_DEPTH = 20
_PLAIN: dict[str, Json] = {"integer": 1, "number": 1, "boolean": True, "null": None}


def sample(schema: dict[str, Json]) -> Json:
    """A small value that fits ``schema``.

    Raises:
        MalformedData: none was found; somebody has to give one.
    """
    value = _sample(schema, schema, _DEPTH)
    found = problems(schema, value)
    if found:
        raise MalformedData("parameters", f"no value was found that fits: {found[0].message}")
    return value


def _sample(schema: Json, root: dict[str, Json], depth: int) -> Json:
    if type(schema) is not dict or depth == 0:
        return "sample"
    schema = _resolved(schema, root)
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    for word in ("examples", "enum"):
        if schema.get(word):
            return schema[word][0]
    for word in ("anyOf", "oneOf"):
        if schema.get(word):
            return _sample({**schema, **_resolved(schema[word][0], root), word: None}, root, depth - 1)
    for each in schema.get("allOf") or ():
        schema = {**schema, **_resolved(each, root)}
    kind = _kind(schema)
    if kind == "object":
        names = schema.get("required", [])
        known = schema.get("properties", {})
        return {name: _sample(known.get(name), root, depth - 1) for name in names}
    if kind == "array":
        return [_sample(schema.get("items"), root, depth - 1) for _ in range(schema.get("minItems", 0))]
    if kind in ("integer", "number"):
        return _number(schema)
    if kind == "string":
        return "sample".ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength", 2**20)]
    return _PLAIN.get(kind, "sample")


def _resolved(schema: Json, root: dict[str, Json]) -> dict[str, Json]:
    for _ in range(_DEPTH):
        if type(schema) is not dict:
            return {}
        target = schema.get("$ref")
        if type(target) is not str or not target.startswith("#/"):
            return schema
        found: Json = root
        for step in target[2:].split("/"):
            found = found[step.replace("~1", "/").replace("~0", "~")]
        schema = found
    return {}


def _kind(schema: dict[str, Json]) -> str:
    kind = schema.get("type")
    if type(kind) is list:
        kind = kind[0] if kind else None
    if type(kind) is str:
        return kind
    return "object" if "properties" in schema or "required" in schema else "string"


def _number(schema: dict[str, Json]) -> Json:
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    most = schema.get("maximum", schema.get("exclusiveMaximum"))
    value = 1 if least is None else least + ("exclusiveMinimum" in schema)
    if most is not None and value > most:
        value = most - ("exclusiveMaximum" in schema)
    return value


def wrong(schema: dict[str, Json], right: dict[str, Json]) -> dict[str, Json] | None:
    """Parameters that break ``schema`` in one place; None if it admits whatever was tried."""
    for value in _spoiled(schema, right):
        if problems(schema, value):
            return value
    return None


def _spoiled(schema: dict[str, Json], right: dict[str, Json]) -> Iterator[dict[str, Json]]:
    for name in schema.get("required", []):
        yield {key: value for key, value in right.items() if key != name}
    known = schema.get("properties", {})
    for name in known:
        for stray in ({"not": "expected"}, 7, "text"):
            yield {**right, name: stray}
    yield {**right, "no_such_parameter": 1}


def large(schema: dict[str, Json], right: dict[str, Json], size: int) -> dict[str, Json] | None:
    """The same parameters with a text of ``size`` characters in them; None if there is no place for one."""
    known = schema.get("properties", {})
    for name in (*known, "large"):
        value = {**copy.deepcopy(right), name: "x" * size}
        if not problems(schema, value):
            return value
    return None
