"""Parameters made from a schema fit it, spoiled ones do not."""

from __future__ import annotations

from typing import Any

import pytest

from gleitzeitd.conform.samples import large, sample, wrong
from gleitzeitd.errors import MalformedData
from gleitzeitd.providers.schema import problems

SCHEMAS: list[dict[str, Any]] = [
    {"type": "object"},
    {"type": "object", "properties": {"a": {"type": "string", "minLength": 30}}, "required": ["a"]},
    {"type": "object", "properties": {"n": {"type": "integer", "minimum": 5}}, "required": ["n"]},
    {"type": "object", "properties": {"n": {"type": "number", "exclusiveMaximum": -1}}, "required": ["n"]},
    {"type": "object", "properties": {"k": {"enum": ["x", "y"]}}, "required": ["k"]},
    {"type": "object", "properties": {"k": {"anyOf": [{"type": "null"}, {"const": 3}]}}, "required": ["k"]},
    {
        "type": "object",
        "properties": {"l": {"type": "array", "minItems": 2, "items": {"$ref": "#/$defs/one"}}},
        "required": ["l"],
        "$defs": {"one": {"type": "object", "properties": {"b": {"type": "boolean"}}, "required": ["b"]}},
    },
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_what_is_made_from_a_schema_fits_it(schema: dict[str, Any]) -> None:
    assert problems(schema, sample(schema)) == []


@pytest.mark.parametrize("schema", SCHEMAS[1:])
def test_what_is_spoiled_does_not(schema: dict[str, Any]) -> None:
    spoiled = wrong(schema, sample(schema))
    assert spoiled is not None and problems(schema, spoiled)


def test_what_admits_anything_cannot_be_spoiled() -> None:
    assert wrong({"type": "object"}, {}) is None


def test_a_pattern_has_to_be_met_by_somebody_else() -> None:
    schema = {"type": "object", "properties": {"a": {"pattern": "^[0-9]{5}$"}}, "required": ["a"]}
    with pytest.raises(MalformedData, match="no value was found"):
        sample(schema)


def test_a_large_text_goes_where_there_is_room() -> None:
    closed = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
    assert large(closed, {}, 100) is None
    assert large({**closed, "properties": {"t": {"type": "string"}}}, {}, 100) == {"t": "x" * 100}
