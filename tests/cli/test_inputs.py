"""--input name=value."""

from __future__ import annotations

import click
import pytest

from gleitzeitd.cli.inputs import parse_inputs
from gleitzeitd.model.workflow import Input
from gleitzeitd.plain import Json


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("string", "5", "5"),
        ("string", '"5"', "5"),
        ("string", "plain", "plain"),
        ("string", "", ""),
        ("integer", "5", 5),
        ("integer", "five", "five"),
        ("integer", "true", "true"),
        ("number", "1.5", 1.5),
        ("number", "NaN", "NaN"),
        ("number", "1e999", "1e999"),
        (None, "[" * 100_000, "[" * 100_000),
        ("boolean", "true", True),
        ("boolean", "yes", "yes"),
        ("array", "[1, 2]", [1, 2]),
        ("object", '{"a": 1}', {"a": 1}),
        (["string", "null"], "null", None),
        (None, "5", 5),
        (None, "text", "text"),
        (None, "a=b", "a=b"),
    ],
)
def test_a_value_is_json_if_it_fits_the_declared_type_else_text(kind: Json, text: str, value: Json) -> None:
    declared = {"x": Input(schema={} if kind is None else {"type": kind})}
    assert parse_inputs([f"x={text}"], declared) == {"x": value}


def test_the_last_of_a_name_wins() -> None:
    assert parse_inputs(["x=1", "x=2"], {}) == {"x": 2}


@pytest.mark.parametrize("text", ["x", "=1", ""])
def test_what_has_no_name_or_no_value_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="name=value"):
        parse_inputs([text], {})
