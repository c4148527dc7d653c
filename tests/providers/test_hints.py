from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal, NewType, NotRequired, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.bounds import Bounds
from gleitzeitd.providers.hints import from_json, schema_for, to_json
from gleitzeitd.providers.schema import check_schema, problems


class Sky(Enum):
    CLEAR = "clear"
    GREY = "grey"


@dataclass(frozen=True)
class Place:
    name: str
    height: float = 0.0
    tags: list[str] = field(default_factory=list)


class Wind(TypedDict):
    speed: float
    gusts: NotRequired[float]


City = NewType("City", str)

SCALARS = st.sampled_from([str, int, float, bool, type(None), Sky, Literal["a", 1, None], City, Place])
HINTS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        inner.map(lambda hint: list[hint]),
        inner.map(lambda hint: dict[str, hint]),
        inner.map(lambda hint: hint | None),
        inner.map(lambda hint: tuple[hint, ...]),
        st.tuples(inner, inner).map(lambda pair: tuple[pair[0], pair[1]]),
    ),
    max_leaves=4,
)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """What JSON can hold of a hint."""
    return (
        st.from_type(hint)
        .filter(lambda value: "NaN" not in json.dumps(to_json(value)))
        .filter(lambda value: "Infinity" not in json.dumps(to_json(value)))
    )


@given(st.data())
def test_whatever_a_hint_admits_fits_its_schema_and_comes_back_from_json(data) -> None:
    hint = data.draw(HINTS)
    value = data.draw(values(hint))
    schema = schema_for(hint)
    check_schema(schema)
    plain = json.loads(json.dumps(to_json(value)))
    assert problems(schema, plain) == []
    assert from_json(hint, plain) == value


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        (Any, {}),
        (list, {"type": "array"}),
        (int | None, {"type": ["integer", "null"]}),
        (str | list[int], {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}]}),
        (Annotated[int, Bounds(least=1, most=9), "days"],
         {"type": "integer", "minimum": 1, "maximum": 9, "description": "days"}),
        (Annotated[str, {"pattern": "^a"}], {"type": "string", "pattern": "^a"}),
        (Sky, {"enum": ["clear", "grey"]}),
        (Wind, {"type": "object", "properties": {"speed": {"type": "number"}, "gusts": {"type": "number"}},
                "additionalProperties": False, "required": ["speed"]}),
    ],
)  # fmt: skip
def test_a_hint_has_the_schema_that_one_would_write_by_hand(hint, schema) -> None:
    assert schema_for(hint) == schema


def test_a_union_of_an_enum_and_a_class_comes_back_as_what_fits() -> None:
    hint = Sky | Place | None
    assert from_json(hint, "grey") is Sky.GREY
    assert from_json(hint, {"name": "Ulm"}) == Place("Ulm")
    assert from_json(hint, None) is None


@dataclass
class Tree:
    children: list[Tree]


@pytest.mark.parametrize("hint", [datetime, bytes, set[int], dict[int, str], Tree, type])
def test_a_hint_without_a_json_form_is_refused(hint) -> None:
    with pytest.raises(TypeError):
        schema_for(hint)
