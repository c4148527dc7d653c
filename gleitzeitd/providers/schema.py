"""Whether a value fits a JSON Schema (draft 2020-12), in words that help whoever wrote the value.

Schemas come over the wire from any provider, so they are not trusted: a reference must point into the
schema itself and must resolve, nothing is ever fetched, and a schema that recurses without end, or in so
many ways that nobody could wait for it, is a problem of the value, not of the process; neither is a regular
expression that takes for ever. Compiled validators are kept by the schema's canonical text.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError

from gleitzeitd.errors import MalformedData, MethodNotSupported, ParameterInvalid, ResultInvalid
from gleitzeitd.model.protocol import Method, Protocol, SchemaProblem
from gleitzeitd.plain import Json, describe, did_you_mean
from gleitzeitd.providers.flat_schema import Accepts, flat
from gleitzeitd.providers.keywords import TooManyReferencesError, Validator, effort
from gleitzeitd.providers.pattern import PatternRefusedError, TooLongError, compiled

PROBLEM_LIMIT = 50
"""Problems reported per value; the rest would not help any more."""
VALIDATOR_LIMIT = 512
"""Compiled schemas kept; the one that was not used for longest goes."""
SHOWN_CHARACTERS = 80
"""Of a value, in a message."""

NODES_LIMIT = 20_000
"""Tables of a schema. More are refused, since every value would have to be held against all of them."""
VALUES_LIMIT = 200_000
"""Values in a schema, those of its lists of choices, too. With more it is refused."""

_Checks = tuple[Accepts | None, Draft202012Validator]

_validators: OrderedDict[str, _Checks] = OrderedDict()
_by_identity: OrderedDict[int, tuple[dict[str, Json], _Checks]] = OrderedDict()
"""The same by the object, which is kept so that its identity stays its own: a schema is not changed."""

_UNEVALUATED = frozenset({"unevaluatedProperties", "unevaluatedItems"})
_FOLLOWING = frozenset({"$ref", "$dynamicRef", "patternProperties"})

_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "object": "a table",
    "array": "a list",
    "null": "nothing",
}


def problems(schema: dict[str, Json], value: Json) -> list[SchemaProblem]:
    """All ways in which ``value`` breaks ``schema``, in the order of the value; none if it fits.

    Raises:
        MalformedData: the schema itself is none, or refers to something outside itself.
    """
    accepts, validator = _compiled(schema)
    if accepts is not None and accepts(value):
        return []
    try:
        with effort(value):
            errors = list(islice(validator.iter_errors(value), PROBLEM_LIMIT))
    except RecursionError:
        return [SchemaProblem(path=(), message="nested too deeply to be checked; make it flatter")]
    except TooManyReferencesError:
        message = "its schema refers to itself too often for it to be checked"
        return [SchemaProblem(path=(), message=message)]
    except TooLongError:
        message = "to hold it against its schema takes too long; make it smaller, or the schema simpler"
        return [SchemaProblem(path=(), message=message)]
    found: dict[SchemaProblem, None] = {}  # an ordered set: one missing key is reported by several errors
    for error in errors:
        found.update(dict.fromkeys(_explained(error)))
    return sorted(found, key=lambda problem: _position(value, problem.path))[:PROBLEM_LIMIT]


def check_schema(schema: dict[str, Json]) -> None:
    """Refuse what :func:`problems` could not work with.

    Raises:
        MalformedData: with the place in the schema.
    """
    _compiled(schema)


def check_parameters(protocol: Protocol, method: str, parameters: dict[str, Json]) -> Method:
    """The method, if ``parameters`` fit it.

    Raises:
        MethodNotSupported: the protocol has no such method.
        ParameterInvalid: with all problems.
    """
    declared = protocol.methods.get(method)
    if declared is None:
        hint = did_you_mean(method, protocol.methods)
        raise MethodNotSupported(f"{protocol.name} has no method {_shown(method)}{hint}")
    if found := problems(declared.parameters, parameters):
        raise ParameterInvalid(f"{method}: {_listed(found)}")
    return declared


def check_result(protocol: Protocol, method: str, result: Json, limit: int | None = None) -> None:
    """Refuse a result that is no JSON, takes more than ``limit`` bytes as JSON, or breaks the schema.

    Raises:
        ResultInvalid: with all problems.
    """
    if stray := not_json(result):
        path, what = stray
        raise ResultInvalid(f"{method}: {path_text(('result', *path))} is {what}, which JSON cannot hold")
    if limit is not None and (size := json_size(result)) > limit:
        raise ResultInvalid(f"{method}: the result takes {size} bytes as JSON, {limit} are allowed")
    declared = protocol.methods[method]
    if declared.returns and (found := problems(declared.returns, result)):
        raise ResultInvalid(f"{method}: the result breaks its schema: {_listed(found)}")


def not_json(value: Any) -> tuple[tuple[str | int, ...], str] | None:
    """Path and kind of the first thing in ``value`` that is no JSON; None if all of it is."""
    try:
        _walk_plain(value, ())
    except _Stray as stray:
        return stray.path, stray.what
    except RecursionError:
        return (), "nested too deeply"
    return None


def json_size(value: Json) -> int:
    """Bytes of ``value`` as compact JSON in UTF-8."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8"))


def path_text(path: tuple[str | int, ...]) -> str:
    """``tasks[3].retry``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


class _Stray(Exception):
    def __init__(self, path: tuple[str | int, ...], what: str) -> None:
        self.path, self.what = path, what


def _walk_plain(value: Any, path: tuple[str | int, ...]) -> None:
    kind = type(value)
    if value is None or kind is bool or kind is int:
        return
    if kind is str:
        if not value.isascii():
            _check_unicode(value, path)
    elif kind is float:
        if value - value != 0:
            raise _Stray(path, str(value))
    elif kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise _Stray(path, f"a table with a key of type {type(key).__name__}")
            _check_unicode(key, path)
            _walk_plain(item, (*path, key))
    elif kind is list:
        for index, item in enumerate(value):
            _walk_plain(item, (*path, index))
    else:
        raise _Stray(path, f"of type {kind.__name__}")


def _check_unicode(text: str, path: tuple[str | int, ...]) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise _Stray(path, "text with half a surrogate pair") from None


def _compiled(schema: dict[str, Json]) -> _Checks:
    known = _by_identity.get(id(schema))
    if known is not None:
        return known[1]
    checks = _compiled_text(schema)
    _by_identity[id(schema)] = (schema, checks)
    if len(_by_identity) > VALIDATOR_LIMIT:
        _by_identity.popitem(last=False)
    return checks


def _compiled_text(schema: dict[str, Json]) -> _Checks:
    text = json.dumps(schema, sort_keys=True, separators=(",", ":"))
    checks = _validators.get(text)
    if checks is None:
        _check_references(schema)
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError as error:
            where = path_text(("schema", *error.absolute_path))
            raise MalformedData(where, _clipped(error.message)) from None
        except RecursionError:
            raise MalformedData("schema", "nested too deeply") from None
        own = json.loads(text)
        if isinstance(own, dict):
            own.pop("$schema", None)  # with it, the library would go on with a validator of its own
        checks = _validators[text] = flat(own), Validator(own)
        if len(_validators) > VALIDATOR_LIMIT:
            _validators.popitem(last=False)
    else:
        _validators.move_to_end(text)
    return checks


def _check_references(schema: dict[str, Json]) -> None:
    """Every reference must resolve inside the schema: the validator would fetch, or fail in the middle."""
    nodes = list(islice(_nodes(schema, ("schema",)), NODES_LIMIT + 1))
    if len(nodes) > NODES_LIMIT:
        raise MalformedData("schema", f"more than {NODES_LIMIT} tables; make a simpler one")
    unevaluated = [path for path, node in nodes if _UNEVALUATED & node.keys()]
    following = [path for path, node in nodes if _FOLLOWING & node.keys()]
    if unevaluated and following:
        reason = "it cannot be checked in bounded time beside references and patternProperties"
        raise MalformedData(path_text(unevaluated[0]), f"unevaluated...: {reason}; use additionalProperties")
    anchors = {
        node[word]
        for _, node in nodes
        for word in ("$anchor", "$dynamicAnchor")
        if isinstance(node.get(word), str)
    }
    for path, node in nodes:
        _check_patterns(path, node)
        if isinstance(node.get("$id"), str) and node is not schema:
            raise MalformedData(path_text((*path, "$id")), "only the whole schema can have an $id")
        if isinstance(node.get("$schema"), str) and node is not schema:
            raise MalformedData(path_text((*path, "$schema")), "only the whole schema can have a $schema")
        for word in ("$ref", "$dynamicRef"):
            target = node.get(word)
            if not isinstance(target, str):
                continue
            if not target.startswith("#"):
                raise MalformedData(
                    path_text((*path, word)),
                    f"expected a place in this schema, as #/$defs/name, found {_shown(target)}",
                )
            if target[1:] not in anchors and not _resolves(schema, target[1:]):
                raise MalformedData(path_text((*path, word)), f"{_shown(target)} is not in this schema")


def _check_patterns(path: tuple[str | int, ...], node: dict[str, Json]) -> None:
    named = node.get("patternProperties")
    places: list[tuple[tuple[str, ...], str]] = (
        [(("patternProperties", each), each) for each in named] if isinstance(named, dict) else []
    )
    if isinstance(node.get("pattern"), str):
        places.append((("pattern",), node["pattern"]))
    for place, pattern in places:
        try:
            compiled(pattern)
        except PatternRefusedError as problem:
            raise MalformedData(path_text((*path, *place)), f"{_shown(pattern)}: {problem}") from None


def _nodes(
    value: Json, path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], dict[str, Json]]]:
    waiting, count = [(path, value)], 0
    while waiting:
        place, node = waiting.pop()
        count += 1
        if count + (len(node) if isinstance(node, (dict, list)) else 0) > VALUES_LIMIT:
            raise MalformedData(path_text(path), f"more than {VALUES_LIMIT} values; make a simpler one")
        if isinstance(node, dict):
            yield place, node
            waiting.extend(((*place, key), item) for key, item in node.items())
        elif isinstance(node, list):
            waiting.extend(((*place, index), item) for index, item in enumerate(node))


def _resolves(schema: Json, pointer: str) -> bool:
    if pointer == "":
        return True
    if not pointer.startswith("/"):
        return False
    node = schema
    for raw in pointer[1:].split("/"):
        step = raw.replace("~1", "/").replace("~0", "~")  # RFC 6901, 4
        if isinstance(node, dict) and step in node:
            node = node[step]
        elif isinstance(node, list) and step.isdecimal() and int(step) < len(node):
            node = node[int(step)]
        else:
            return False
    return isinstance(node, (dict, bool))


def _explained(error: ValidationError) -> list[SchemaProblem]:
    path = tuple(error.absolute_path)
    value: Json = error.instance
    expected: Json = error.validator_value
    schema: Json = error.schema
    keyword = str(error.validator)
    if keyword == "required":
        return [
            SchemaProblem(path=(*path, name), message="missing") for name in expected if name not in value
        ]
    if keyword == "additionalProperties" and expected is False:
        known = schema.get("properties", {})
        patterned = "patternProperties" in schema
        strange = [] if patterned else [name for name in value if name not in known]
        if strange:
            return [
                SchemaProblem(path=(*path, name), message=f"unknown key{did_you_mean(name, known)}")
                for name in strange
            ]
    if keyword in ("anyOf", "oneOf") and error.context:
        return [_alternatives(path, error)]
    return [SchemaProblem(path=path, message=_message(keyword, expected, value, error.message))]


def _alternatives(path: tuple[str | int, ...], error: ValidationError) -> SchemaProblem:
    at_root = [sub for sub in error.context if not sub.path]
    if len(at_root) == len(error.context) and all(
        sub.validator in ("type", "const", "enum") for sub in at_root
    ):
        wanted = " or ".join(
            dict.fromkeys(_wanted(str(sub.validator), sub.validator_value) for sub in at_root)
        )
        return SchemaProblem(path=path, message=f"expected {wanted}, found {_found(error.instance)}")
    # What went wrong deepest was probably meant: its alternative fitted best.
    nearest = max(error.context, key=lambda sub: len(sub.path))
    first = _explained(nearest)[0]
    return SchemaProblem(path=first.path, message=f"{first.message} (fits none of the alternatives)")


def _wanted(keyword: str, expected: Json) -> str:
    if keyword == "type":
        return " or ".join(
            _WORDS.get(name, name) for name in ([expected] if isinstance(expected, str) else expected)
        )
    if keyword == "const":
        return _shown(expected)
    return "one of " + _clipped(", ".join(_shown(item) for item in expected), 3 * SHOWN_CHARACTERS)


_BOUNDS: dict[str, Callable[[Any, Any], str]] = {
    "minimum": lambda want, value: f"expected at least {want}, found {_shown(value)}",
    "maximum": lambda want, value: f"expected at most {want}, found {_shown(value)}",
    "exclusiveMinimum": lambda want, value: f"expected more than {want}, found {_shown(value)}",
    "exclusiveMaximum": lambda want, value: f"expected less than {want}, found {_shown(value)}",
    "minLength": lambda want, value: f"expected {want} characters or more, found {len(value)}",
    "maxLength": lambda want, value: f"expected at most {want} characters, found {len(value)}",
    "minItems": lambda want, value: f"expected {want} items or more, found {len(value)}",
    "maxItems": lambda want, value: f"expected at most {want} items, found {len(value)}",
    "pattern": lambda want, value: f"expected text that matches {_shown(want)}, found {_shown(value)}",
}


def _message(keyword: str, expected: Json, value: Json, fallback: str) -> str:
    if keyword in ("type", "const", "enum"):
        return f"expected {_wanted(keyword, expected)}, found {_found(value)}"
    bound = _BOUNDS.get(keyword)
    return bound(expected, value) if bound else _clipped(fallback, 2 * SHOWN_CHARACTERS)


def _found(value: Json) -> str:
    if value is None or isinstance(value, (dict, list)):
        return describe(value)
    return f"{describe(value)}: {_shown(value)}"


def _shown(value: Json) -> str:
    text = value[: SHOWN_CHARACTERS + 1] if isinstance(value, str) else value
    return _clipped(json.dumps(text, ensure_ascii=False, default=str))


def _clipped(text: str, limit: int = SHOWN_CHARACTERS) -> str:
    return text if len(text) <= limit else f"{text[:limit]}..."


def _position(value: Json, path: tuple[str | int, ...]) -> tuple[int, ...]:
    places = []
    for step in path:
        if isinstance(value, dict):
            keys = list(value)
            places.append(keys.index(step) if step in value else len(keys))
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and step < len(value):
            places.append(step)
            value = value[step]
    return tuple(places)


def _listed(found: list[SchemaProblem]) -> str:
    return "; ".join(f"{path_text(p.path)}: {p.message}" if p.path else p.message for p in found)
