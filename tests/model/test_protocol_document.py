"""A protocol as somebody has declared it: both spellings, and all that can be wrong with one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.model.protocol import Example, Method, Protocol, with_defaults
from gleitzeitd.model.protocol_document import ProtocolReading, protocol_document, read_protocol
from gleitzeitd.plain import Json
from gleitzeitd.providers.schema import problems


def document(parameters: Json = None, **more: Any) -> dict[str, Json]:
    method = {"description": "Ask a model.", "parameters": parameters, **more}
    return {"name": "llm", "version": "v1", "description": "Models.", "methods": {"chat": method}}


def reading(parameters: Json = None, **more: Any) -> ProtocolReading:
    return read_protocol(document(parameters, **more), problems)


def method(parameters: Json = None, **more: Any) -> Method:
    found = reading(parameters, **more)
    assert found.protocol is not None, found.problems
    return found.protocol.methods["llm/chat"]


def complaints(plain: Json) -> list[str]:
    found = read_protocol(plain, problems)
    assert (found.protocol is None) == bool(found.problems)
    return [str(each) for each in found.problems]


def test_a_protocol_file_of_earlier_versions_is_read() -> None:
    plain = {
        "name": "llm",
        "version": "v1",
        "description": "Large language models",
        "author": "The team",
        "license": "MIT",
        "tags": ["ai"],
        "methods": {
            "chat": {
                "description": "Chat with a model",
                "parameters": {
                    "model": {"type": "string", "description": "Its name", "default": "llama3.2"},
                    "messages": {
                        "type": "array",
                        "required": True,
                        "min_items": 1,
                        "max_items": 100,
                        "items": {
                            "type": "object",
                            "properties": {
                                "role": {"type": "string", "required": True, "enum": ["system", "user"]},
                                "content": {"type": "string", "required": True, "min_length": 1},
                            },
                            "additional_properties": False,
                        },
                    },
                    "temperature": {"type": "number", "minimum": 0, "maximum": 2, "default": 0.7},
                    "stop": {"type": "string", "pattern": "^[a-z]+$", "max_length": 9},
                },
                "returns": {
                    "type": "object",
                    "description": "The answer",
                    "properties": {"response": {"type": "string", "required": True}},
                },
                "examples": [
                    {
                        "description": "Hello",
                        "request": {"messages": [{"role": "user", "content": "Hello"}]},
                        "response": {"response": "Hi"},
                    }
                ],
            }
        },
    }
    found = read_protocol(plain, problems)
    assert (found.problems, found.warnings) == ((), ())
    assert found.protocol == Protocol(
        name="llm/v1",
        description="Large language models",
        methods={
            "llm/chat": Method(
                description="Chat with a model",
                parameters={
                    "type": "object",
                    "properties": {
                        "model": {"type": "string", "description": "Its name", "default": "llama3.2"},
                        "messages": {
                            "type": "array",
                            "minItems": 1,
                            "maxItems": 100,
                            "items": {
                                "type": "object",
                                "properties": {
                                    "role": {"type": "string", "enum": ["system", "user"]},
                                    "content": {"type": "string", "minLength": 1},
                                },
                                "additionalProperties": False,
                                "required": ["role", "content"],
                            },
                        },
                        "temperature": {"type": "number", "minimum": 0, "maximum": 2, "default": 0.7},
                        "stop": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 9},
                    },
                    "additionalProperties": False,
                    "required": ["messages"],
                },
                returns={
                    "type": "object",
                    "description": "The answer",
                    "properties": {"response": {"type": "string"}},
                    "required": ["response"],
                },
                examples=(
                    Example(
                        description="Hello",
                        parameters={"messages": [{"role": "user", "content": "Hello"}]},
                        result={"response": "Hi"},
                    ),
                ),
            )
        },
    )


def test_what_is_given_out_reads_as_the_same() -> None:
    found = reading(
        {"prompt": {"type": "string", "required": True}, "n": {"type": "integer", "default": 1}},
        returns={"text": "string"},
        examples=[{"request": {"prompt": "x"}, "response": {"text": "y"}}],
    ).protocol
    assert found is not None
    given_out = protocol_document(found)
    assert read_protocol(given_out, problems).protocol == found
    assert list(given_out["methods"]) == ["chat"]


def test_one_json_schema_stands_for_all_parameters() -> None:
    schema = {
        "type": "object",
        "properties": {"size": {"$ref": "#/$defs/size"}},
        "$defs": {"size": {"type": "integer", "minimum": 1}},
        "required": ["size"],
    }
    assert method(schema).parameters == schema


def test_a_method_without_parameters_takes_none() -> None:
    assert method().parameters == {"type": "object", "properties": {}, "additionalProperties": False}


def test_the_name_of_a_type_is_a_schema() -> None:
    known = method({"city": "string", "type": "string", "what": "any"}).parameters["properties"]
    assert known == {"city": {"type": "string"}, "type": {"type": "string"}, "what": {}}


@pytest.mark.parametrize(
    ("returns", "schema"),
    [
        (None, {}),
        ({}, {}),
        ("string", {"type": "string"}),
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        ({"description": "Whatever."}, {"description": "Whatever."}),
        ({"properties": {"a": "string"}}, {"properties": {"a": {"type": "string"}}}),
        (
            {"items": {"type": "array", "required": True}},
            {"type": "object", "properties": {"items": {"type": "array"}}, "required": ["items"]},
        ),
    ],
)
def test_a_result_is_a_schema_or_a_table_of_names(returns: Json, schema: Json) -> None:
    assert method(returns=returns).returns == schema


def test_nothing_with_a_default_is_required() -> None:
    found = reading({"n": {"type": "integer", "required": True, "default": 3}})
    assert found.protocol is not None
    assert "required" not in found.protocol.methods["llm/chat"].parameters
    assert [str(each) for each in found.warnings] == [
        "methods.chat.parameters.n.required: not used: what is missing gets the default"
    ]


@pytest.mark.parametrize(
    ("name", "version", "whole"),
    [
        ("llm", "v2", "llm/v2"),
        ("llm/v2", None, "llm/v2"),
        ("llm", 2, "llm/v2"),
        ("llm", "2", "llm/v2"),
        ("web-search", "v10", "web-search/v10"),
    ],
)
def test_a_version_may_be_written_in_several_ways(name: str, version: Json, whole: str) -> None:
    found = read_protocol({**document(), "name": name, "version": version}, problems).protocol
    assert found is not None
    assert found.name == whole


def test_a_method_may_have_its_full_name_and_slashes() -> None:
    table = {"description": "A tool."}
    plain = {**document(), "name": "mcp", "methods": {"mcp/ping": table, "tools/list": table}}
    found = read_protocol(plain, problems).protocol
    assert found is not None
    assert list(found.methods) == ["mcp/ping", "mcp/tools/list"]


def test_all_problems_are_found_at_once() -> None:
    plain = document(
        {
            "model": {"tpye": "string"},
            "n": {"type": "intger"},
            "size": {"type": "integer", "minimum": "one"},
            "names": {"type": "array", "min_items": "x"},
        }
    )
    plain |= {"descripton": "", "version": "v1.2"}
    del plain["description"]
    plain["methods"]["chat"]["exmples"] = []
    plain["methods"]["9"] = {"description": 3}
    assert complaints(plain) == [
        "descripton: unknown key, did you mean description?",
        "version: expected a version as v1, found 'v1.2'",
        "description is missing",
        "methods.chat.exmples: unknown key, did you mean examples?",
        "methods.chat.parameters.model.tpye: unknown key, did you mean type?",
        "methods.chat.parameters.n.type: unknown type 'intger', did you mean integer?",
        "methods.chat.parameters.size.minimum: 'one' is not of type 'number'",
        "methods.chat.parameters.names.minItems: 'x' is not of type 'integer'",
        "methods.9: '9' is no method; expected a name as forecast, or tools/list",
        "methods.9.description: expected text, found a whole number; put it in quotes",
    ]


@pytest.mark.parametrize(
    ("plain", "complaint"),
    [
        (None, "expected a table with name, version and methods, found nothing"),
        ([], "expected a table with name, version and methods, found a list"),
        ({**document(), "methods": {}}, "methods: expected at least one"),
        ({**document(), "name": "l m"}, "name: 'l m' cannot be a protocol's name; expected one as weather"),
        ({**document(), "name": "llm/v2"}, "version: it is v1 here, and v2 in the name"),
        (
            document({"n": {"type": "integer", "default": "3"}}),
            "default: does not fit: expected a whole number",
        ),
        (
            document({"n": {"$ref": "#/$defs/none"}}),
            'parameters.n.$ref: "#/$defs/none" is not in this schema',
        ),
        (document({"n": {"$ref": "http://example.org"}}), "expected a place in this schema"),
    ],
)
def test_a_problem_is_told_with_its_place(plain: Json, complaint: str) -> None:
    (found,) = complaints(plain)
    assert complaint in found


def test_an_example_that_does_not_fit_is_a_warning() -> None:
    found = reading(
        {"n": "integer"}, returns={"m": "string"}, examples=[{"request": {"n": "x"}, "response": {"m": 1}}]
    )
    assert found.protocol is not None
    assert [str(each) for each in found.warnings] == [
        'methods.chat.examples[0].request.n: does not fit: expected a whole number, found text: "x"',
        "methods.chat.examples[0].response.m: does not fit: expected text, found a whole number: 1",
    ]


def test_an_example_may_be_in_the_form_of_json_rpc() -> None:
    request = {"jsonrpc": "2.0", "id": 1, "method": "llm/chat", "params": {"n": 3}}
    found = method(
        {"n": "integer"},
        returns={"m": "string"},
        examples=[{"request": request, "response": {"result": {"m": "x"}}}],
    )
    assert found.examples == (Example(parameters={"n": 3}, result={"m": "x"}),)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["name", "version", "description", "methods", "parameters", "type", "items", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_reading_never_raises(plain: Json) -> None:
    found = read_protocol(plain, problems)
    assert (found.protocol is None) == bool(found.problems)


# --- defaults -------------------------------------------------------------------------------------

NESTED = method(
    {
        "n": {"type": "integer", "default": 3},
        "table": {"type": "object", "properties": {"unit": {"default": "si"}, "more": "any"}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"default": [1]}}}},
    }
).parameters


def test_defaults_stand_for_what_is_missing_at_any_depth() -> None:
    assert with_defaults(NESTED, {"table": {}, "list": [{}, {"a": 2}, 7]}) == {
        "n": 3,
        "table": {"unit": "si"},
        "list": [{"a": [1]}, {"a": 2}, 7],
    }
    assert with_defaults(NESTED, {"n": None}) == {"n": None}


def test_a_default_is_nobodys_to_change() -> None:
    first = with_defaults(NESTED, {"list": [{}]})
    first["list"][0]["a"].append(2)
    assert with_defaults(NESTED, {"list": [{}]}) == {"n": 3, "list": [{"a": [1]}]}
