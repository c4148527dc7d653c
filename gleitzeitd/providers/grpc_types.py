"""Messages of gRPC servers, made at run time from their descriptions: as classes, as JSON and its schema.

Nothing is generated beforehand. JSON is that of protobuf's JSON mapping: 64-bit integers are texts, bytes are
base64, a Timestamp is RFC 3339. Fields are written with the names of their declarations; lowerCamelCase is
understood as well. What has its default value is written, too, so that references find it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import DecodeError

from gleitzeitd.errors import ParameterInvalid, ResultInvalid
from gleitzeitd.plain import Json, describe

_DEPTH = 60
"""Of messages in messages that are read from JSON; deeper ones are refused."""
_printing = inspect.signature(json_format.MessageToDict).parameters
# The word for it changed with protobuf 5.26.
_DEFAULTS = next(
    word
    for word in ("always_print_fields_with_no_presence", "including_default_value_fields")
    if word in _printing
)
_TOO_DEEP = (
    {"max_recursion_depth": _DEPTH}
    if "max_recursion_depth" in inspect.signature(json_format.Parse).parameters
    else {}
)
_INTEGER: dict[str, Json] = {"type": "integer"}
_POSITIVE: dict[str, Json] = {"type": "integer", "minimum": 0}
_LONG: dict[str, Json] = {"type": ["string", "integer"], "format": "int64"}
_REAL: dict[str, Json] = {"type": ["number", "string"]}  # there are words for what is no number
_SCALARS: dict[str, dict[str, Json]] = {
    "double": _REAL,
    "float": _REAL,
    "int32": _INTEGER,
    "sint32": _INTEGER,
    "sfixed32": _INTEGER,
    "uint32": _POSITIVE,
    "fixed32": _POSITIVE,
    "int64": _LONG,
    "sint64": _LONG,
    "sfixed64": _LONG,
    "uint64": _LONG,
    "fixed64": _LONG,
    "bool": {"type": "boolean"},
    "string": {"type": "string"},
    "bytes": {"type": "string", "contentEncoding": "base64"},
}
_WELL_KNOWN: dict[str, dict[str, Json]] = {
    "Timestamp": {"type": "string", "format": "date-time"},
    "Duration": {"type": "string", "description": "Seconds, as in 1.5s."},
    "FieldMask": {"type": "string", "description": "Fields, joined by commas."},
    "Struct": {"type": "object"},
    "Value": {},
    "ListValue": {"type": "array"},
    "Empty": {"type": "object", "maxProperties": 0},
    "Any": {"type": "object", "required": ["@type"]},
    **{
        f"{kind}Value": {"anyOf": [_SCALARS[kind.lower()], {"type": "null"}]}
        for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
    },
}
_KNOWN = {f"google.protobuf.{name}": schema for name, schema in _WELL_KNOWN.items()}
_TYPE_NAMES: dict[int, str] = {
    value.number: value.name.removeprefix("TYPE_").lower()
    for value in descriptor_pb2.FieldDescriptorProto.DESCRIPTOR.enum_types_by_name["Type"].values
}


def pool_of(files: Iterable[descriptor_pb2.FileDescriptorProto]) -> Any:
    """A pool of their types; ``files`` in any order, each with all that it needs among them.

    Raises:
        ResultInvalid: they contradict each other, or need what is not there.
    """
    pool = descriptor_pool.DescriptorPool()
    waiting = {file.name: file for file in files}
    added: set[str] = set()
    while waiting:
        ready = [file for file in waiting.values() if added.issuperset(file.dependency)]
        if not ready:
            raise ResultInvalid(f"these files need each other, or others: {', '.join(sorted(waiting))}")
        for file in ready:
            try:
                pool.AddSerializedFile(file.SerializeToString())
                pool.FindFileByName(file.name)
            except (TypeError, KeyError, ValueError, DecodeError) as problem:
                raise ResultInvalid(f"{file.name}: no usable description: {problem}") from problem
            added.add(waiting.pop(file.name).name)
    return pool


def class_of(descriptor: Any) -> Any:
    """The class of a type's messages."""
    make = getattr(message_factory, "GetMessageClass", None)  # since protobuf 4.22
    return make(descriptor) if make else message_factory.MessageFactory().GetPrototype(descriptor)


def message_of(descriptor: Any, value: Json, pool: Any) -> Any:
    """The message that ``value`` is; None is the one in which nothing is set.

    Raises:
        ParameterInvalid: it does not fit the type.
    """
    name = descriptor.full_name
    if value is None and name != "google.protobuf.Value":
        return class_of(descriptor)()
    if not isinstance(value, dict) and name not in _KNOWN:
        raise ParameterInvalid(f"request: is no {name}: expected a table of fields, found {describe(value)}")
    try:
        return json_format.ParseDict(value, class_of(descriptor)(), descriptor_pool=pool, **_TOO_DEEP)
    except (json_format.ParseError, TypeError, ValueError, RecursionError) as problem:
        said = " ".join(str(problem).split())
        raise ParameterInvalid(f"request: is no {name}: {said}") from problem


def json_of(descriptor: Any, data: bytes, pool: Any) -> Json:
    """What a server sent, as JSON.

    Raises:
        ResultInvalid: it is no message of the type.
    """
    try:
        message = class_of(descriptor).FromString(data)
        return json_format.MessageToDict(
            message, preserving_proto_field_name=True, descriptor_pool=pool, **{_DEFAULTS: True}
        )
    except (DecodeError, json_format.Error, TypeError, ValueError, RecursionError) as problem:
        raise ResultInvalid(f"the answer is no {descriptor.full_name}: {problem}") from problem


class Shapes:
    """JSON Schemas of types; each is written once and referred to, since types may contain themselves."""

    def __init__(self) -> None:
        self.types: dict[str, Json] = {}
        """By full name."""

    def of(self, descriptor: Any) -> dict[str, Json]:
        """A schema of a message's JSON, or the reference to one in :attr:`types`."""
        name = descriptor.full_name
        if name in _KNOWN:
            return _KNOWN[name]
        waiting = [descriptor]
        while waiting:
            one = waiting.pop()
            if one.full_name in self.types or one.full_name in _KNOWN:
                continue
            fields = {field.name: self._field(field, waiting) for field in one.fields}
            shape: dict[str, Json] = {"type": "object", "properties": fields, "additionalProperties": False}
            if required := [field.name for field in one.fields if _is(field, "required", 2)]:
                shape["required"] = required
            choices = [
                [field.name for field in group.fields] for group in one.oneofs if len(group.fields) > 1
            ]
            if choices:
                shape["description"] = "; ".join(f"at most one of {', '.join(names)}" for names in choices)
            self.types[one.full_name] = shape
        return {"$ref": f"#/types/{name}"}

    def _field(self, field: Any, waiting: list[Any]) -> Json:
        kind = field.message_type
        if kind is not None and kind.GetOptions().map_entry:
            value = kind.fields_by_name["value"]
            return {"type": "object", "additionalProperties": self._one(value, waiting)}
        one = self._one(field, waiting)
        return {"type": "array", "items": one} if _is(field, "repeated", 3) else one

    def _one(self, field: Any, waiting: list[Any]) -> Json:
        if field.message_type is not None:
            waiting.append(field.message_type)
            name = field.message_type.full_name
            return _KNOWN.get(name, {"$ref": f"#/types/{name}"})
        if field.enum_type is not None:
            return {"enum": [value.name for value in field.enum_type.values]}
        return _SCALARS[_TYPE_NAMES[field.type]]


def _is(field: Any, what: str, label: int) -> bool:
    """Whether a field is repeated, or required; newer versions of protobuf have no label."""
    said = getattr(field, f"is_{what}", None)
    return bool(field.label == label) if said is None else bool(said() if callable(said) else said)


# --- the services that describe a server and its health ---------------------------------------------
# Their definitions are part of gRPC's documentation; the messages of v1 and v1alpha are the same on the wire.

_Field = tuple[str, int, str]
_TEXT, _NUMBER, _BYTES = "string", "int32", "bytes"
_OWN: dict[str, tuple[_Field, ...]] = {
    "ReflectionRequest": (
        ("host", 1, _TEXT),
        ("file_by_filename", 3, _TEXT),
        ("file_containing_symbol", 4, _TEXT),
        ("list_services", 7, _TEXT),
    ),
    "ReflectionResponse": (
        ("file_descriptor_response", 4, "Files"),
        ("list_services_response", 6, "Services"),
        ("error_response", 7, "Error"),
    ),
    "Files": (("file_descriptor_proto", 1, f"{_BYTES}*"),),
    "Services": (("service", 1, "Service*"),),
    "Service": (("name", 1, _TEXT),),
    "Error": (("error_code", 1, _NUMBER), ("error_message", 2, _TEXT)),
    "HealthRequest": (("service", 1, _TEXT),),
    "HealthResponse": (("status", 1, _NUMBER),),
}
_ONE_OF = {"ReflectionRequest": 1, "ReflectionResponse": 0}
"""Messages of whose fields, from this one on, one alone is there."""
HEALTH = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
"""By the number of ``HealthResponse.status``."""


def _own_messages() -> dict[str, Any]:
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="gleitzeit.proto", package="gleitzeit", syntax="proto3")
    for name, fields in _OWN.items():
        message = file.message_type.add(name=name)
        if name in _ONE_OF:
            message.oneof_decl.add(name="one")
        for index, (field_name, number, declared) in enumerate(fields):
            label = kinds.LABEL_REPEATED if declared.endswith("*") else kinds.LABEL_OPTIONAL
            field = message.field.add(name=field_name, number=number, label=label)
            kind = declared.rstrip("*")
            if kind in _OWN:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".gleitzeit.{kind}"
            else:
                field.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
            if name in _ONE_OF and index >= _ONE_OF[name]:
                field.oneof_index = 0
    pool = pool_of([file])
    return {name: class_of(pool.FindMessageTypeByName(f"gleitzeit.{name}")) for name in _OWN}


_own = _own_messages()
ReflectionRequest, ReflectionResponse = _own["ReflectionRequest"], _own["ReflectionResponse"]
HealthRequest, HealthResponse = _own["HealthRequest"], _own["HealthResponse"]
FileDescriptorProto = descriptor_pb2.FileDescriptorProto
