"""The short way says yes only where the validator does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gleitzeitd.providers.flat_schema import flat

KINDS = ["string", "integer", "number", "boolean", "object", "array", "null"]
KEYS = st.sampled_from(["a", "b", "c"])
types = st.sampled_from(KINDS) | st.lists(st.sampled_from(KINDS), min_size=1, max_size=3, unique=True)
leaves = st.builds(lambda kind: {"type": kind, "description": "x"}, types)
schemas = st.recursive(
    leaves,
    lambda inner: (
        st.builds(
            lambda keys, required, rest: {
                "type": "object",
                "properties": keys,
                "required": sorted(required),
                "additionalProperties": rest,
            },
            st.dictionaries(KEYS, inner, max_size=3),
            st.sets(KEYS, max_size=2),
            st.booleans() | inner,
        )
        | st.builds(lambda item: {"type": "array", "items": item}, inner)
    ),
    max_leaves=5,
)
scalars = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0]) | st.sampled_from(["", "a"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@given(schemas, values)
def test_what_is_accepted_is_valid(schema, value):
    accepts = flat(schema)
    assert accepts is not None
    if accepts(value):
        assert Draft202012Validator(schema).is_valid(value)


@given(schemas, values)
def test_of_what_is_valid_only_whole_floats_are_left_to_the_validator(schema, value):
    accepts = flat(schema)
    assert accepts is not None
    if Draft202012Validator(schema).is_valid(value) and "1.0" not in repr(value):
        assert accepts(value)


def test_a_schema_with_anything_else_is_left_to_the_validator():
    words = [{"minimum": 1}, {"pattern": "x"}, {"enum": [1]}, {"$ref": "#"}, {"anyOf": []}, {"minItems": 1}]
    for word in words:
        assert flat({"type": "object", **word}) is None
        assert flat({"type": "object", "properties": {"a": {"type": "string", **word}}}) is None
        assert flat({"type": "object", "additionalProperties": word}) is None
        assert flat({"type": "array", "items": word}) is None
    assert flat({}) is None
    assert flat({"type": "string", "required": ["a"]}) is None
