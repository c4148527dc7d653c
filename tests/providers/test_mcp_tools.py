"""Tools as methods, and answers as results: no server, and no SDK."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.cli.protocols import protocol_lines
from gleitzeitd.errors import ConfigError, MalformedData
from gleitzeitd.model.protocol import Protocol
from gleitzeitd.providers.mcp_settings import McpSettings, ServerSettings, access_to
from gleitzeitd.providers.mcp_tools import Memory, Tool, method_name, result_of, tool_of, wanted
from gleitzeitd.providers.schema import problems

TREE = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"root": {"$ref": "#/definitions/node"}, "same": {"$ref": "#/properties/root"}},
    "required": ["root"],
    "additionalProperties": False,
    "definitions": {
        "node": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "child": {"$ref": "#/definitions/node"}},
            "required": ["name"],
        }
    },
}


def found(tool: Tool, parameters: dict) -> list[tuple]:
    return [each.path for each in problems(tool.method().parameters, parameters)]


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_schema_with_references_holds_for_both_forms_of_arguments(wrapped: bool) -> None:
    tool = Tool(name="grow", schema=TREE)
    good = {"root": {"name": "a", "child": {"name": "b"}}, "same": {"name": "c"}}
    bad = {"root": {"name": "a", "child": {"name": 1}}, "same": {}}
    before = ("arguments",) if wrapped else ()
    assert found(tool, {"arguments": good} if wrapped else good) == []
    assert found(tool, {"arguments": bad} if wrapped else bad) == [
        (*before, "root", "child", "name"),
        (*before, "same", "name"),
    ]
    assert tool.arguments({"arguments": good} if wrapped else good) == good


def test_a_tool_with_a_parameter_called_arguments_gets_that() -> None:
    schema = {"type": "object", "properties": {"arguments": {"type": "object"}}, "required": ["arguments"]}
    tool = Tool(name="run", schema=schema)
    assert tool.method().parameters == schema
    assert tool.arguments({"arguments": {"a": 1}}) == {"arguments": {"a": 1}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {},
        {"type": "object", "properties": {"a": {"$ref": "https://elsewhere.example/schema"}}},
        {"type": "object", "properties": 3},
    ],
)
def test_a_schema_that_cannot_be_used_admits_anything(schema: dict) -> None:
    assert found(Tool(name="odd", schema=schema), {"a": 1}) == []


@given(st.text(max_size=20), st.text(min_size=1, max_size=20))
def test_any_tool_has_a_name_that_workflows_can_have(prefix: str, name: str) -> None:
    made = method_name(prefix, name)
    assert made.startswith("mcp/tool.")
    assert ".." not in made.removeprefix("mcp/tool.")
    assert not made.endswith(".")
    assert all(each.isascii() and (each.isalnum() or each in "_./:-") for each in made)


def test_what_a_server_says_of_a_tool_is_taken_with_care() -> None:
    assert tool_of({"name": "", "inputSchema": {"type": "object"}}) is None
    assert tool_of({"name": "x" * 1000}) is None
    tool = tool_of({"name": "look", "title": "Look", "annotations": {"readOnlyHint": True}})
    assert tool == Tool(name="look", description="Look", repeatable=True)
    tools = [Tool(name=name) for name in ("read_file", "read_all", "write_file")]
    assert [tool.name for tool in wanted(tools, ["read_*"])] == ["read_file", "read_all"]


def test_the_keys_of_structured_content_are_the_results_own_but_for_ours() -> None:
    text = {"type": "text", "text": "seven"}
    result = result_of([text], {"response": "theirs", "count": 7})
    assert (result["response"], result["count"], result["structured"]["response"]) == ("seven", 7, "theirs")
    assert result_of([], {"count": 7})["response"] == '{"count": 7}'
    assert result_of([{"type": "text", "text": '{"a": 1}'}], None)["json"] == {"a": 1}
    assert result_of([{"type": "text", "text": "{a"}], None)["json"] is None
    resource = {"type": "resource", "resource": {"uri": "x://y", "text": "inside"}}
    assert result_of([resource], None)["response"] == "inside"


def test_the_parameters_of_a_tool_are_shown_as_those_of_any_method() -> None:
    tool = Tool(
        name="add", schema={"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]}
    )
    lines = protocol_lines(Protocol(name="mcp/v1", methods={"mcp/tool.add": tool.method()}))
    assert any("a: number (required)" in line for line in lines)


def test_what_is_remembered_is_read_again_and_damage_is_no_problem(tmp_path: Path) -> None:
    file = tmp_path / "tools.json"
    tools = {"one": [Tool(name="a", description="b", schema=TREE, repeatable=True)]}
    Memory(str(file)).write(tools)
    assert Memory(str(file)).read() == tools
    file.write_text('{"one": [{"nam')
    assert Memory(str(file)).read() == {}
    Memory(str(tmp_path / "nowhere" / "tools.json")).write(tools)
    Memory("").write(tools)
    assert Memory("").read() == {}


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ({"name": "a b", "command": "x"}, "name"),
        ({"name": "a"}, "command"),
        ({"name": "a", "command": "x", "url": "http://y"}, "command"),
        ({"name": "a", "url": "ftp://y"}, "url"),
        ({"name": "a", "command": "x", "tool_prefix": "a b"}, "tool_prefix"),
        ({"name": "a", "command": "x", "env": {"A=B": "1"}}, "env.A=B"),
        ({"name": "a", "url": "http://y", "headers": {"a b": "1"}}, "headers"),
    ],
)
def test_a_server_that_cannot_be_is_refused_with_the_key(given: dict, where: str) -> None:
    with pytest.raises(MalformedData) as refused:
        ServerSettings(**given)
    assert refused.value.path == where


def test_two_servers_need_two_names_and_two_prefixes() -> None:
    one = ServerSettings(name="one", command="x")
    with pytest.raises(MalformedData, match="this name"):
        McpSettings(servers=[one, one])
    with pytest.raises(MalformedData, match="this prefix"):
        McpSettings(servers=[one, ServerSettings(name="two", command="x", tool_prefix="one.")])


def test_what_is_secret_is_looked_up_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a-long-secret-key\n")
    settings = ServerSettings(
        name="web",
        url="https://user:the-password-1@host.example/mcp?key={variable:KEY}",
        headers={"X-Key": "Token {credential:key}", "X-File": f"{{file:{tmp_path / 'key'}}}"},
    )
    access = access_to(settings, {"KEY": "from-variables", "CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert access.url == "https://host.example/mcp?key=from-variables"
    assert access.headers["X-Key"] == "Token a-long-secret-key"
    assert access.headers["X-File"] == "a-long-secret-key"
    assert access.headers["Authorization"].startswith("Basic ")
    assert access.shown == "https://host.example/mcp"
    assert {"a-long-secret-key", "from-variables", "the-password-1"} <= set(access.secrets)
    shown = json.dumps(repr(access))
    assert not any(secret in shown for secret in access.secrets)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{variable:NOTHING}", "NOTHING is not set"),
        ("{credential:nothing}", "there is no systemd credential nothing"),
        ("{credential:../etc/passwd}", "there is no systemd credential"),
        ("{file:/nothing/here}", "/nothing/here: No such file"),
        ("{variable:LINES}", "one line of ASCII"),
    ],
)
def test_a_secret_that_is_not_there_is_named(value: str, message: str) -> None:
    settings = ServerSettings(name="web", url="http://host.example", headers={"X-Key": value})
    with pytest.raises(ConfigError, match=message):
        access_to(settings, {"LINES": "a\nb"})
