"""``--input name=value`` to the values that a workflow is submitted with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import click

from gleitzeitd.model.workflow import Input
from gleitzeitd.plain import Json

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


def _value(text: str, kind: Json) -> Json:
    """JSON, if it is that and of the declared type; the text itself, if not."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except ValueError:
        return text
    kinds = kind if isinstance(kind, list) else [kind] if kind else list(_KINDS)
    return value if any(_is(value, each) for each in kinds) else text


def _is(value: object, kind: str) -> bool:
    if isinstance(value, bool):  # which Python takes for a number
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _KINDS.get(kind, ()))


def _refuse(constant: str) -> Json:
    raise ValueError(f"{constant} is no JSON")
