"""The catalogue as an AsyncAPI document: what providers and clients in any language send and receive."""

from __future__ import annotations

import dataclasses
import inspect
import json
import types
import typing
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any

from gleitzeitd import __version__
from gleitzeitd.config.reference import field_docs
from gleitzeitd.events import CATALOGUE, Envelope, Event, To
from gleitzeitd.machines.permissions import least_user
from gleitzeitd.model.names import Role
from gleitzeitd.plain import to_plain
from reference.words import unmarked

ROLES = (Role.PROVIDER, Role.CLIENT)
"""Who may be written in any language; the other roles are ours."""
_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", types.NoneType: "null"}
_ABOUT = """\
Events between components of Gleitzeit and its hub. The transport is Socket.IO v5 (Engine.IO v4) by websocket
alone, namespace `/`; an event is emitted under its name with one argument, the flat object described here.
The token and who one is are in the connect packet:
`auth = {"token": ..., "component_type": "provider", "component_id": ...}`. The first event has to be
`register_component`. Keys with an underscore are the envelope: a sender may leave them out, and the hub fills
them in. Fields that are not described here are refused by the hub. What a provider has to do when is told in
PROVIDERS.md."""


def document() -> str:
    """The text of asyncapi.json."""
    schemas: dict[str, Any] = {"Envelope": _envelope()}
    structures: dict[str, type] = {}
    operations, used = _operations()
    messages = {name: _message(name, used[name], structures) for name in sorted(used)}
    while missing := sorted(structures.keys() - schemas.keys()):
        for name in missing:
            schemas[name] = _object(structures[name], structures)
    made = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Gleitzeit",
            "version": __version__,
            "description": " ".join(_ABOUT.split()),
            "license": {"name": "MIT"},
        },
        "servers": {
            "hub": {
                "host": "localhost:8000",
                "pathname": "/socket.io/",
                "protocol": "socket.io",
                "protocolVersion": "5",
                "description": "The hub; GLEITZEIT_HUB_URL.",
                "security": [{"$ref": "#/components/securitySchemes/token"}],
            }
        },
        "defaultContentType": "application/json",
        "channels": {
            "hub": {
                "address": "/",
                "description": "The one namespace.",
                "messages": {name: _ref("messages", name) for name in messages},
            }
        },
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {
                "token": {
                    "type": "symmetricEncryption",
                    "description": "The hub's token, as `token` in the auth of the connect packet.",
                }
            },
        },
    }
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def _ref(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


def _operations() -> tuple[dict[str, Any], dict[str, type[Event]]]:
    """The operations, and the messages that they name: the name on the wire to the event."""
    made: dict[str, Any] = {}
    used: dict[str, type[Event]] = {}
    for role in ROLES:
        for action, pairs in (("send", _sent(role)), ("receive", _received(role))):
            for name, cls in sorted(set(pairs), key=lambda pair: pair[0]):
                used[name] = cls
                made[f"{role.value}.{action}.{name}"] = {
                    "action": action,
                    "channel": {"$ref": "#/channels/hub"},
                    "summary": _summary(cls),
                    "tags": [{"name": role.value}, *_needed(cls, role, action)],
                    "messages": [{"$ref": f"#/channels/hub/messages/{name}"}],
                }
    return made, used


def _needed(cls: type[Event], role: Role, action: str) -> list[dict[str, str]]:
    """What a client's user has to be: a tag as well."""
    least = least_user(cls.name) if action == "send" and role is Role.CLIENT else None
    return [] if least is None else [{"name": f"user:{least.value}"}]


def _sent(role: Role) -> Iterator[tuple[str, type[Event]]]:
    """A batch is for those who have announced that they understand it."""
    for cls in CATALOGUE.values():
        if cls.name != "batch" and any(role in each.senders for each in cls.routes):
            yield cls.name, cls


def _received(role: Role) -> Iterator[tuple[str, type[Event]]]:
    for cls in CATALOGUE.values():
        for each in cls.routes:
            watched = each.to is To.WATCHERS and role is Role.CLIENT
            if cls.name != "batch" and (role in each.roles or watched or each.to is To.EVERYBODY):
                yield each.renamed or cls.name, cls


def _summary(cls: type) -> str:
    return unmarked((inspect.getdoc(cls) or "").split("\n\n")[0])


def _message(name: str, cls: type[Event], structures: dict[str, type]) -> dict[str, Any]:
    body = _object(cls, structures)
    body.pop("description", None)
    return {
        "name": name,
        "title": name,
        "summary": _summary(cls),
        "description": f"A {cls.kind.value}.",
        "payload": {"allOf": [_ref("schemas", "Envelope"), body]},
    }


def _envelope() -> dict[str, Any]:
    made = _object(Envelope, {})
    made["properties"] = {f"_{name}": each for name, each in made["properties"].items()}
    del made["required"]  # of others: the hub fills in what they leave out
    return made


def _object(cls: type, structures: dict[str, type]) -> dict[str, Any]:
    docs, hints = field_docs(cls), typing.get_type_hints(cls)
    properties: dict[str, Any] = {}
    required = []
    for each in dataclasses.fields(typing.cast("Any", cls)):
        made = schema(hints[each.name], structures)
        about = unmarked(docs.get(each.name, ""))
        if about:
            made = (
                {"allOf": [made], "description": about} if "$ref" in made else {**made, "description": about}
            )
        if each.default is not dataclasses.MISSING:
            made = made if each.default is None else {**made, "default": _plain(each.default)}
        elif each.default_factory is dataclasses.MISSING:
            required.append(each.name)
        properties[each.name] = made
    found: dict[str, Any] = {"type": "object"}
    doc = _summary(cls)
    if doc and not doc.startswith(f"{cls.__name__}("):
        found["description"] = doc
    found["properties"] = properties
    if required:
        found["required"] = required
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    return to_plain(value) if dataclasses.is_dataclass(value) else value


def schema(want: Any, structures: dict[str, type]) -> dict[str, Any]:
    """A type as JSON Schema. Structures that it names are added to ``structures``."""
    while hasattr(want, "__supertype__"):
        want = want.__supertype__
    origin, arguments = typing.get_origin(want), typing.get_args(want)
    if want is Any:
        return {}
    if want in _PLAIN:
        return {"type": _PLAIN[want]}
    if origin in (types.UnionType, typing.Union):
        return _union([schema(each, structures) for each in arguments])
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin in (list, tuple):
        return {"type": "array", "items": schema(arguments[0], structures)}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema(arguments[1], structures)}
    if issubclass(want, Enum):
        return {"type": "string", "enum": [each.value for each in want]}
    assert dataclasses.is_dataclass(want), want
    structures[want.__name__] = want
    return _ref("schemas", want.__name__)


def _union(options: Iterable[dict[str, Any]]) -> dict[str, Any]:
    found = list(options)
    if all(each.keys() == {"type"} for each in found):
        return {"type": [each["type"] for each in found]}
    return {"anyOf": found}
