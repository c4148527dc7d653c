"""``--input name=value`` and ``--param name=value`` to the values that are meant."""

from __future__ import annotations

import base64
import json
import math
import sys
from collections.abc import Mapping, Sequence

import click

from gleitzeitd.model.workflow import Input
from gleitzeitd.plain import Json
from gleitzeitd.workflow_file.source import Unreadable, read_bounded

_LARGEST = 16 * 1024 * 1024
"""Bytes of a file that is a parameter; no hub takes more."""

_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def parse_inputs(given: Sequence[str], declared: Mapping[str, Input]) -> dict[str, Json]:
    """By name; the last one of a name wins.

    Raises:
        click.BadParameter: there is no ``=``.
    """
    values: dict[str, Json] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"expected name=value, found {each!r}", param_hint="--input")
        schema = declared[name].schema if name in declared else {}
        values[name] = _value(text, schema.get("type"))
    return values


def parse_parameters(given: Sequence[str], schema: Mapping[str, Json]) -> dict[str, Json]:
    """By name, for a method whose parameters have this schema; an empty one: it is not known.

    The last one of a name wins. ``@file`` is the text in a file, or its bytes in base64 where the schema says
    so, and ``@-`` what comes from standard input; ``@@`` is an @.

    Raises:
        click.BadParameter: there is no ``=``, or a file cannot be read.
    """
    known = schema.get("properties", {})
    values: dict[str, Json] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"expected name=value, found {each!r}", param_hint="--param")
        declared = known.get(name) if isinstance(known, dict) else None
        declared = declared if isinstance(declared, dict) else {}
        if text.startswith("@") and not text.startswith("@@"):
            values[name] = _content(text[1:], declared)
        else:
            values[name] = _value(text.removeprefix("@") if text.startswith("@@") else text, _kinds(declared))
    return values


def as_option(value: Json) -> str:
    """What is written behind the ``=`` for this value."""
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if value.startswith("@"):
        return f"@{value}"
    return value if _value(value, None) == value else json.dumps(value, ensure_ascii=False)


def _kinds(schema: Mapping[str, Json]) -> Json:
    """The types that a value may have; None if the schema does not say."""
    if "type" in schema:
        return schema["type"]
    either = schema.get("anyOf", schema.get("oneOf"))
    if isinstance(either, list) and all(isinstance(each, dict) and "type" in each for each in either):
        kinds = [each["type"] for each in either]
        return [kind for each in kinds for kind in (each if isinstance(each, list) else [each])]
    return None


def _content(path: str, schema: Mapping[str, Json]) -> Json:
    """A file as the value of a parameter; a list of such if the parameter is one of texts in base64."""
    try:
        data = sys.stdin.buffer.read(_LARGEST + 1) if path == "-" else read_bounded(path, _LARGEST)
    except (OSError, Unreadable) as problem:
        raise click.BadParameter(f"{path}: {problem}", param_hint="--param") from None
    if len(data) > _LARGEST:
        why = f"{path}: larger than {_LARGEST} bytes; have the method read the file"
        raise click.BadParameter(why, param_hint="--param")
    items = schema.get("items")
    items = items if isinstance(items, dict) else {}
    if "base64" in (schema.get("contentEncoding"), items.get("contentEncoding")):
        encoded = base64.b64encode(data).decode("ascii")
        return [encoded] if items else encoded
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise click.BadParameter(f"{path}: no UTF-8 text", param_hint="--param") from None
    kinds = _kinds(schema)
    return text if kinds is None else _value(text, kinds)


def _value(text: str, kind: Json) -> Json:
    """JSON, if it is that and of the declared type; the text itself, if not."""
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        return text
    kinds = kind if isinstance(kind, list) else [kind] if kind else list(_KINDS)
    return value if any(_is(value, each) for each in kinds) else text


def _is(value: object, kind: str) -> bool:
    if isinstance(value, bool):  # which Python takes for a number
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _KINDS.get(kind, ()))


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is too large")
    return value


def _refuse(constant: str) -> Json:
    raise ValueError(f"{constant} is no JSON")
