"""packaging/sdk/asyncapi.json is an AsyncAPI 3.0 document, and says of events what the codec says of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gleitzeitd.events import CATALOGUE, Envelope
from gleitzeitd.events.codec import encode_body, flatten
from gleitzeitd.machines.permissions import PLANS
from gleitzeitd.model.names import ComponentId, Role
from tests.test_catalogue import instances

FILE = Path(__file__).resolve().parent.parent.parent / "packaging" / "sdk" / "asyncapi.json"
DOCUMENT: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
OPERATIONS: dict[str, dict[str, Any]] = DOCUMENT["operations"]

ENVELOPE = Envelope(message_id="1", correlation_id="0" * 32, source_component=ComponentId("one"))
REFERENCE = {
    "type": "object",
    "properties": {"$ref": {"type": "string", "pattern": "^#/"}},
    "required": ["$ref"],
    "additionalProperties": False,
}
NAME = "^[A-Za-z0-9._-]+$"
ASYNCAPI = {
    "type": "object",
    "required": ["asyncapi", "info"],
    "additionalProperties": False,
    "properties": {
        "asyncapi": {"const": "3.0.0"},
        "id": {"type": "string"},
        "defaultContentType": {"type": "string"},
        "info": {
            "type": "object",
            "required": ["title", "version"],
            "properties": {
                "title": {"type": "string"},
                "version": {"type": "string"},
                "description": {"type": "string"},
                "license": {"type": "object", "required": ["name"]},
            },
            "additionalProperties": False,
        },
        "servers": {
            "type": "object",
            "propertyNames": {"pattern": NAME},
            "additionalProperties": {
                "type": "object",
                "required": ["host", "protocol"],
                "properties": {
                    "host": {"type": "string"},
                    "protocol": {"type": "string"},
                    "protocolVersion": {"type": "string"},
                    "pathname": {"type": "string", "pattern": "^/"},
                    "description": {"type": "string"},
                    "security": {"type": "array", "items": REFERENCE},
                },
                "additionalProperties": False,
            },
        },
        "channels": {
            "type": "object",
            "propertyNames": {"pattern": NAME},
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "address": {"type": ["string", "null"]},
                    "description": {"type": "string"},
                    "messages": {"type": "object", "additionalProperties": REFERENCE},
                },
                "additionalProperties": False,
            },
        },
        "operations": {
            "type": "object",
            "propertyNames": {"pattern": NAME},
            "additionalProperties": {
                "type": "object",
                "required": ["action", "channel"],
                "properties": {
                    "action": {"enum": ["send", "receive"]},
                    "channel": REFERENCE,
                    "summary": {"type": "string", "minLength": 1},
                    "tags": {"type": "array", "items": {"type": "object", "required": ["name"]}},
                    "messages": {"type": "array", "items": REFERENCE, "minItems": 1},
                },
                "additionalProperties": False,
            },
        },
        "components": {
            "type": "object",
            "properties": {
                "messages": {
                    "type": "object",
                    "propertyNames": {"pattern": NAME},
                    "additionalProperties": {
                        "type": "object",
                        "required": ["payload"],
                        "properties": {
                            **{
                                key: {"type": "string"} for key in ("name", "title", "summary", "description")
                            },
                            "payload": {"type": "object"},
                        },
                        "additionalProperties": False,
                    },
                },
                "schemas": {"type": "object", "propertyNames": {"pattern": NAME}},
                "securitySchemes": {
                    "type": "object",
                    "additionalProperties": {
                        "type": "object",
                        "required": ["type"],
                        "properties": {
                            "type": {"const": "symmetricEncryption"},
                            "description": {"type": "string"},
                        },
                        "additionalProperties": False,
                    },
                },
            },
            "additionalProperties": False,
        },
    },
}
"""The parts of the AsyncAPI 3.0 specification that the document uses, and nothing else."""


def validator(message: str) -> Draft202012Validator:
    """For payloads of a message."""
    return Draft202012Validator(
        {**DOCUMENT["components"]["messages"][message]["payload"], "components": DOCUMENT["components"]}
    )


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def test_it_is_an_asyncapi_document() -> None:
    Draft202012Validator.check_schema(ASYNCAPI)
    assert [error.message for error in Draft202012Validator(ASYNCAPI).iter_errors(DOCUMENT)] == []


def test_every_reference_leads_somewhere() -> None:
    for reference in set(references(DOCUMENT)):
        found: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            assert step in found, reference
            found = found[step]


def test_every_schema_is_one() -> None:
    for name, each in DOCUMENT["components"]["schemas"].items():
        Draft202012Validator.check_schema(each)
        assert each["type"] == "object", name


def test_an_operation_is_there_for_whatever_the_hub_lets_a_provider_or_a_client_send() -> None:
    told = {name for name, each in OPERATIONS.items() if each["action"] == "send"}
    routed = {f"{role}.send.{name}" for name, role in PLANS if role in (Role.PROVIDER, Role.CLIENT)}
    assert told == routed


def test_the_six_things_that_a_provider_is_told_are_there() -> None:
    for name in (
        "execute_method",
        "cancel_method",
        "health_check",
        "initialize",
        "shutdown",
        "drain_component",
    ):
        assert OPERATIONS[f"provider.receive.{name}"]["action"] == "receive"


def messages() -> list[str]:
    return sorted(name for name in DOCUMENT["components"]["messages"] if name in CATALOGUE)


@pytest.mark.parametrize("name", messages())
@settings(max_examples=10)  # of each event
@given(data=st.data())
def test_what_the_codec_writes_fits_the_schema(name: str, data: st.DataObject) -> None:
    flat = flatten(ENVELOPE, encode_body(data.draw(instances(CATALOGUE[name]))))
    assert [error.message for error in validator(name).iter_errors(flat)] == []


def test_what_no_hub_would_accept_does_not_fit() -> None:
    check = validator("method_result")
    assert not check.is_valid({"workflow_id": "w", "task_id": "t"})
    assert not check.is_valid({"workflow_id": "w", "task_id": "t", "attempt": "1"})
    assert check.is_valid({"workflow_id": "w", "task_id": "t", "attempt": 1, "result": None})


def test_the_key_of_a_message_is_its_name() -> None:
    for name, each in DOCUMENT["components"]["messages"].items():
        assert each["name"] == name and re.fullmatch(NAME, name)
