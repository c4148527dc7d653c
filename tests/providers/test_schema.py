from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.errors import MalformedData, MethodNotSupported, ParameterInvalid, ResultInvalid
from gleitzeitd.model.protocol import Method, Protocol
from gleitzeitd.providers.schema import (
    check_parameters,
    check_result,
    check_schema,
    json_size,
    not_json,
    problems,
)

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
TABLE = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer", "minimum": 1, "maximum": 14},
        "units": {"enum": ["metric", "imperial"]},
        "places": {"type": "array", "items": {"type": "object", "required": ["x"]}},
        "when": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
WEATHER = Protocol(
    name="weather/v1", methods={"weather/forecast": Method(parameters=TABLE, returns={"type": "object"})}
)


def said(schema, value) -> list[tuple[tuple, str]]:
    return [(problem.path, problem.message) for problem in problems(schema, value)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"city": "Ulm", "days": 2}, []),
        ({"days": 2}, [(("city",), "missing")]),
        ({}, [(("city",), "missing"), (("days",), "missing")]),
        ({"city": 3, "days": 2}, [(("city",), "expected text, found a whole number: 3")]),
        ({"city": None, "days": True}, [
            (("city",), "expected text, found nothing"),
            (("days",), "expected a whole number, found true or false: true"),
        ]),
        ({"city": "Ulm", "days": 0}, [(("days",), "expected at least 1, found 0")]),
        ({"city": "Ulm", "days": 2, "unit": 1}, [(("unit",), "unknown key, did you mean units?")]),
        ({"city": "Ulm", "days": 2, "units": "x"}, [
            (("units",), 'expected one of "metric", "imperial", found text: "x"')
        ]),
        ({"city": "Ulm", "days": 2, "places": [{"x": 1}, {}]}, [(("places", 1, "x"), "missing")]),
        ({"city": "Ulm", "days": 2, "when": [1]}, [(("when",), "expected text or nothing, found a list")]),
        ([], [((), "expected a table, found a list")]),
    ],
)  # fmt: skip
def test_a_problem_says_where_what_was_expected_and_what_was_found(value, expected) -> None:
    assert said(TABLE, value) == expected


def test_problems_are_in_the_order_of_the_value() -> None:
    assert [p.path for p in problems(TABLE, {"units": 1, "days": 0, "city": 2})] == [
        ("units",),
        ("days",),
        ("city",),
    ]


def test_a_huge_value_is_not_repeated_in_a_message() -> None:
    value = {"city": "x" * 10**6, "days": "y" * 10**6, "units": "z" * 10**6, "z" * 300: 1}
    assert all(len(message) < 400 for _, message in said(TABLE, value))


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"$ref": "https://example.org/schema.json"}, "schema.$ref"),
        ({"properties": {"a": {"$ref": "other.json#/a"}}}, "schema.properties.a.$ref"),
        ({"$ref": "#/$defs/missing"}, "schema.$ref"),
        ({"type": "thing"}, "schema.type"),
        ({"items": [{"$id": "https://example.org/x"}]}, "schema.items[0].$id"),
    ],
)
def test_a_schema_that_needs_anything_outside_itself_is_refused_with_the_place(schema, where) -> None:
    with pytest.raises(MalformedData) as caught:
        check_schema(schema)
    assert caught.value.path == where


def test_references_inside_the_schema_are_followed() -> None:
    schema = {"$defs": {"n": {"type": "integer"}, "m": {"$anchor": "m", "type": "string"}},
              "properties": {"a": {"$ref": "#/$defs/n"}, "b": {"$ref": "#m"}}}  # fmt: skip
    assert problems(schema, {"a": 1, "b": "x"}) == []
    assert [p.path for p in problems(schema, {"a": "x", "b": 1})] == [("a",), ("b",)]


def test_a_schema_that_recurses_without_end_is_a_problem_and_no_crash() -> None:
    assert said({"$ref": "#"}, 1) == [((), "nested too deeply to be checked; make it flatter")]


@given(PLAIN)
def test_the_empty_schema_admits_everything_plain(value) -> None:
    assert problems({}, value) == []
    assert not_json(value) is None
    assert json_size(value) > 0


@given(PLAIN, st.sampled_from([math.nan, math.inf, {1, 2}, b"x", 1j, object(), {1: 2}, (1,), "\ud800"]))
def test_what_json_cannot_hold_is_found_at_its_place(value, stray) -> None:
    found = not_json({"fine": value, "list": [value, stray]})
    assert found is not None
    assert found[0] == ("list", 1)


def test_an_unknown_method_is_refused_with_the_nearest() -> None:
    with pytest.raises(MethodNotSupported, match="did you mean weather/forecast"):
        check_parameters(WEATHER, "weather/forecst", {})


def test_all_problems_of_the_parameters_are_in_one_error() -> None:
    with pytest.raises(ParameterInvalid, match=r"days: expected at least 1, found 0; city: missing"):
        check_parameters(WEATHER, "weather/forecast", {"days": 0})


@pytest.mark.parametrize("result", [[1], {"a": math.nan}, {"a": object()}, {"a": "x" * 200}])
def test_a_result_of_another_type_or_size_is_refused(result) -> None:
    with pytest.raises(ResultInvalid):
        check_result(WEATHER, "weather/forecast", result, 100)


@pytest.mark.parametrize("marked", [False, True])
def test_references_that_multiply_are_a_problem_of_the_value(marked) -> None:
    schema: dict = {"$defs": {"a0": {"type": "string"}}, "$ref": "#/$defs/a8"}
    if marked:
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    for n in range(1, 9):
        schema["$defs"][f"a{n}"] = {"allOf": [{"$ref": f"#/$defs/a{n - 1}"}] * 10}
    (problem,) = problems(schema, "text")
    assert "refers to itself too often" in problem.message


def test_a_tree_with_two_ways_at_each_step_is_a_problem_of_the_value() -> None:
    both = [{"properties": {"n": {"$ref": "#"}}}] * 2
    value: dict = {}
    for _ in range(40):
        value = {"n": value}
    (problem,) = problems({"type": "object", "allOf": both}, value)
    assert "refers to itself too often" in problem.message


def test_a_long_list_of_what_is_referred_to_is_checked_to_its_end() -> None:
    schema = {"$defs": {"row": {"type": "integer"}}, "items": {"$ref": "#/$defs/row"}}
    assert problems(schema, list(range(15_000))) == []
    (problem,) = problems(schema, [*range(15_000), "x"])
    assert problem.path == (15_000,)


def test_a_part_of_a_schema_cannot_choose_another_draft() -> None:
    with pytest.raises(MalformedData, match="only the whole schema"):
        problems({"properties": {"a": {"$schema": "http://json-schema.org/draft-07/schema#"}}}, {})


A = {"type": "array"}


@pytest.mark.parametrize(
    ("schema", "value", "says"),
    [
        ({"pattern": "^(a+)+$"}, "a" * 50_000 + "!", ["expected text that matches"]),
        ({"patternProperties": {"^(a+)+$": False}, "additionalProperties": False}, {"a" * 5000 + "!": 1}, ["unknown"]),
        ({**A, "items": {"pattern": "(a|b|ab)*c"}}, ["ab" * 50] * 2000, ["expected text"]),
        ({**A, "uniqueItems": True}, [{"n": n} for n in range(50_000)], []),
        ({**A, "uniqueItems": True}, [1, True, [1], [True], {"a": 1}, {"a": 1.0}], ["item 5 is there twice"]),
        ({"multipleOf": 2.0**-1000}, 10**4000, []),
        ({"multipleOf": 0.5}, 10**400 + 1, []),
        ({"multipleOf": 3}, 10**400, ["expected a multiple of 3"]),
        ({**A, "minItems": 10**30}, [], ["items or more, found 0"]),
        ({"allOf": [{"items": {"allOf": [{"enum": list(range(100))}] * 30}}] * 30}, [9999] * 5000, ["expected one of"]),
        ({"anyOf": [{"const": n} for n in range(5000)]}, list(range(100_000)), ["takes too long"]),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_no_check_takes_long(schema: Any, value: Any, says: list[str]) -> None:
    started = time.process_time()
    found = problems(schema, value)
    assert time.process_time() - started < 3  # at most about 1
    assert bool(found) == bool(says)
    assert all(part in found[0].message for part in says), found[0]


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"pattern": "(?=a)"}, r"schema\.pattern: .*cannot be checked in bounded time"),
        ({"properties": {"a": {"pattern": "("}}}, r"schema\.properties\.a\.pattern: .*no regular expression"),
        ({"patternProperties": {"a**": {}}}, r"schema\.patternProperties\.a\*\*: .*no regular expression"),
        ({"enum": list(range(200_000))}, r"schema: more than 200000 values; make a simpler one"),
        ({"allOf": [{"type": "object"}] * 20_001}, r"schema: more than 20000 tables; make a simpler one"),
        (
            {"$defs": {"a": {}}, "$ref": "#/$defs/a", "unevaluatedProperties": False},
            "use additionalProperties",
        ),
    ],
)
def test_a_schema_that_cannot_be_checked_in_time_is_refused(schema: Any, why: str) -> None:
    with pytest.raises(MalformedData, match=why):
        check_schema(schema)
