"""gleitzeit protocols: the list, one of them, and the check of a file."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from gleitzeitd.cli.inputs import parse_parameters
from gleitzeitd.cli.protocols import protocol_lines
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.model.names import ComponentId
from gleitzeitd.model.protocol import Example, Method, Protocol
from gleitzeitd.plain import Json
from tests.cli.fake_client import FakeClient, call

ECHO = Protocol(
    name="echo/v1",
    description="For trying out.",
    methods={
        "echo/wait": Method(
            description="Let time pass.",
            parameters={
                "type": "object",
                "properties": {
                    "seconds": {"type": "number", "description": "How long."},
                    "names": {"type": "array", "items": {"type": "string"}, "default": []},
                    "mode": {"enum": ["a", "b"]},
                    "any": {},
                },
                "required": ["seconds"],
            },
            returns={"type": ["object", "null"]},
        )
    },
)
FILE = """\
name: weather
version: v1
description: What the sky will do.
methods:
  forecast:
    description: The weather of the next days.
    parameters:
      city: {type: string, required: true, description: Where.}
      days: {type: integer, minimum: 1, maximum: 14, default: 3}
      places: {type: array, items: {type: object, properties: {lat: {type: number, required: true}}}}
    returns: {type: object, description: As it is., properties: {sky: string}}
    examples:
      - {description: The usual, request: {city: Bad Ulm, days: 2}, response: {sky: grey}}
"""


def client(*more: Protocol) -> FakeClient:
    fake = FakeClient()
    provider = r.ProviderInfo(
        component_id=ComponentId("engine-1"), protocol="echo/v1", capacity=4, health="ok"
    )
    fake.protocol_list = r.ProtocolList(protocols=[ECHO, *more], providers=[provider])
    return fake


def test_protocols_are_listed_with_who_serves_them() -> None:
    lines = call(client(), "protocols").output.splitlines()
    assert lines[1].split() == ["echo/v1", "1", "echo/wait"]


@pytest.mark.parametrize("words", [["echo/v1"], ["echo"], ["show", "echo/v1"], ["show", "echo"]])
def test_a_protocol_shows_what_its_methods_take(words: list[str]) -> None:
    assert call(client(), "protocols", *words).output.splitlines() == [
        "echo/v1",
        "  For trying out.",
        "",
        "echo/wait",
        "  Let time pass.",
        "    seconds: number (required)  How long.",
        "    names: array of string = []",
        '    mode: "a" or "b"',
        "    any: any",
        "    -> object or null",
    ]


def test_without_a_version_the_newest_is_shown() -> None:
    more = [Protocol(name=f"echo/v{number}", description=f"The {number}.") for number in (10, 2)]
    assert call(client(*more), "protocols", "show", "echo").output.startswith("echo/v10\n  The 10.\n")
    assert call(client(*more), "protocols", "show", "echo/v2").output.startswith("echo/v2\n  The 2.\n")


def test_a_program_gets_the_schemas() -> None:
    plain = json.loads(call(client(), "protocols", "show", "echo", "--json").stdout)
    assert plain["methods"]["echo/wait"]["parameters"]["required"] == ["seconds"]
    listed = json.loads(call(client(), "protocols", "--json").stdout)
    assert [each["name"] for each in listed["protocols"]] == ["echo/v1"]


def test_an_unknown_protocol_has_a_suggestion() -> None:
    result = call(client(), "protocols", "show", "ecko/v1")
    assert result.exit_code == 1
    assert "did you mean echo/v1?" in result.stderr


# --- files ----------------------------------------------------------------------------------------


def test_a_file_that_is_right_shows_its_methods_with_examples_to_type(tmp_path: Path) -> None:
    file = tmp_path / "weather.yaml"
    file.write_text(FILE)
    result = call(FakeClient(), "protocols", "check", str(file))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.output.splitlines() == [
        f"{file}: valid: 1 method",
        "",
        "weather/v1",
        "  What the sky will do.",
        "",
        "weather/forecast",
        "  The weather of the next days.",
        "    city: string (required)  Where.",
        "    days: integer from 1 to 14 = 3",
        "    places: array of object",
        "      lat: number (required)",
        "    -> object  As it is.",
        "       sky: string",
        "    example: The usual",
        "      gleitzeit call weather/forecast --param 'city=Bad Ulm' --param days=2",
        '      -> {"sky": "grey"}',
    ]


def test_all_problems_of_all_files_are_told_with_their_places(tmp_path: Path) -> None:
    wrong, missing = tmp_path / "weather.yaml", tmp_path / "none.yaml"
    wrong.write_text(FILE.replace("integer", "intger").replace("version: v1", "version: one"))
    result = call(FakeClient(), "protocols", "check", str(wrong), str(missing))
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"{wrong}:2:1: version: expected a version as v1, found 'one'",
        f"{wrong}:9:14: methods.forecast.parameters.days.type: unknown type 'intger', did you mean integer?",
        f"{missing}: cannot be read: No such file or directory; check its name, and the folder that this runs in",
    ]
    plain = json.loads(call(FakeClient(), "protocols", "check", "--json", str(wrong)).stdout)
    assert plain["valid"] is False
    assert [(each["line"], each["path"]) for each in plain["files"][0]["problems"]] == [
        (2, "version"),
        (9, "methods.forecast.parameters.days.type"),
    ]


@pytest.mark.parametrize(
    "value", ["text", "3", "@", "@@a b", "it's", 3, None, [1, {"a": "$x"}], True, "null"]
)
def test_an_example_can_be_typed_as_it_stands(value: Json) -> None:
    example = Example(parameters={"x": value})
    (line,) = [
        line
        for line in protocol_lines(Protocol(name="a/v1", methods={"a/b": Method(examples=(example,))}))
        if "gleitzeit call" in line
    ]
    words = shlex.split(line)
    assert words[:4] == ["gleitzeit", "call", "a/b", "--param"]
    assert parse_parameters(words[4:], {}) == {"x": value}
