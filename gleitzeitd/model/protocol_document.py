"""Reads a protocol that somebody has declared as plain data: everything that is wrong with it, or a protocol.

    name: weather
    version: v1
    description: What the sky will do.
    methods: # by name
      forecast:
        description: The weather of the next days.
        parameters:
          city: {type: string, required: true, description: Where.}
          days: {type: integer, minimum: 1, maximum: 14, default: 3}
        returns: {type: object, properties: {sky: string}}
        examples: [{description: The usual, request: {city: Ulm}, response: {sky: grey}}]

Parameters are a table of names, or one JSON Schema of an object. The keys of a schema are those of JSON
Schema; the older ones with underscores mean the same. ``required`` stands with the parameter, or as JSON
Schema has it. In a table of names, whatever is not in it is refused. A default stands for what is missing, so
that nothing with a default is required.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from gleitzeitd.errors import MalformedData
from gleitzeitd.model.names import NAME_LIMIT
from gleitzeitd.model.problem import Problem, dotted
from gleitzeitd.model.protocol import Example, Method, Protocol, SchemaCheck
from gleitzeitd.model.table_reader import Path, TableReader, not_plain, shown
from gleitzeitd.model.workflow_schema import INPUT_TYPES, METHOD_PATTERN
from gleitzeitd.plain import Json, describe
from gleitzeitd.record import record

PROTOCOL_KEYS = ("name", "version", "description", "methods", "author", "license", "tags")
METHOD_KEYS = ("description", "parameters", "params", "returns", "examples")
EXAMPLE_KEYS = ("description", "request", "parameters", "params", "response", "result")
OLDER = {
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_items": "minItems",
    "max_items": "maxItems",
    "unique_items": "uniqueItems",
    "min_properties": "minProperties",
    "max_properties": "maxProperties",
    "exclusive_minimum": "exclusiveMinimum",
    "exclusive_maximum": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "additional_properties": "additionalProperties",
    "pattern_properties": "patternProperties",
}
"""Keys of earlier versions, to those of JSON Schema."""
_SCHEMA = """items contains not if then else additionalProperties propertyNames contentSchema unevaluatedItems
    unevaluatedProperties"""
_SCHEMAS_BY_NAME = "properties patternProperties $defs dependentSchemas"
_SCHEMAS = "anyOf oneOf allOf prefixItems"
_VALUE = """type title description default enum const examples minimum maximum exclusiveMinimum
    exclusiveMaximum multipleOf minLength maxLength pattern format minItems maxItems uniqueItems
    minContains maxContains required minProperties maxProperties dependentRequired $ref $anchor
    $dynamicRef $dynamicAnchor $comment readOnly writeOnly deprecated contentEncoding
    contentMediaType"""
_INNER, _INNER_TABLES = frozenset(_SCHEMA.split()), frozenset(_SCHEMAS_BY_NAME.split())
_INNER_LISTS = frozenset(_SCHEMAS.split())
KEYWORDS = frozenset(_VALUE.split()) | _INNER | _INNER_TABLES | _INNER_LISTS
"""Of a schema, by what stands for them."""
_ANYTHING = "any"
_ALTERNATIVES = ("$ref", "anyOf", "oneOf", "allOf", "enum", "const")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_METHOD = re.compile(METHOD_PATTERN)
_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


@record
class ProtocolReading:
    """What a document says."""

    protocol: Protocol | None
    """None if there are problems."""
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def read_protocol(document: Json, check: SchemaCheck) -> ProtocolReading:
    """Every problem of ``document``, or the protocol; ``check`` may raise MalformedData for a bad schema."""
    reader = _Reader(check)
    for path, message in not_plain(document):
        reader.problem(path, message)
    protocol = None if reader.count else reader.protocol(document)
    problems = list(reader.problems)
    if reader.count > len(problems):
        problems.append(Problem(path=(), message=f"and {reader.count - len(problems)} more problems"))
    return ProtocolReading(
        protocol=None if problems else protocol, problems=tuple(problems), warnings=tuple(reader.warnings)
    )


def protocol_document(protocol: Protocol) -> dict[str, Json]:
    """The document that reads as ``protocol``, in the spelling that is given out."""
    family, _, version = protocol.name.partition("/")
    methods: dict[str, Json] = {}
    for name, method in protocol.methods.items():
        table: dict[str, Json] = {"description": method.description, "parameters": method.parameters}
        if method.returns:
            table["returns"] = method.returns
        if method.examples:
            table["examples"] = [_example_table(each) for each in method.examples]
        methods[name.removeprefix(f"{family}/")] = table
    return {"name": family, "version": version, "description": protocol.description, "methods": methods}


def _example_table(example: Example) -> dict[str, Json]:
    table = {"description": example.description, "request": example.parameters, "response": example.result}
    return {key: value for key, value in table.items() if value not in ("", None)}


class _Reader(TableReader):
    """Collects problems and warnings while it goes through one document."""

    def __init__(self, check: SchemaCheck) -> None:
        super().__init__()
        self.check = check

    def protocol(self, document: Json) -> Protocol | None:
        if not isinstance(document, dict):
            self.problem((), f"expected a table with name, version and methods, found {describe(document)}")
            return None
        self.known_keys(document, PROTOCOL_KEYS, ())
        family, name = self.name(document)
        description = self.needed_text(document, ())
        for key in ("author", "license"):
            self.text(document, key, ())
        self.texts(document, "tags", ())
        methods = self.table(document.get("methods"), ("methods",))
        if not methods:
            self.problem(("methods",), "expected at least one")
        found = {}
        for key, table in methods.items():
            path: Path = ("methods", key)
            if len(key) > NAME_LIMIT or not _METHOD.fullmatch(key):
                self.problem(path, f"{shown(key)} is no method; expected a name as forecast, or tools/list")
            full = key if key.startswith(f"{family}/") else f"{family}/{key}"
            if full in found:
                self.problem(path, f"{full} is here twice")
            found[full] = self.method(self.table(table, path), path)
        return Protocol(name=name, description=description, methods=found)

    def name(self, document: dict[str, Json]) -> tuple[str, str]:
        """The part before the slash, and the whole name."""
        name = self.text(document, "name", (), limit=NAME_LIMIT)
        if name is None:
            if document.get("name") is None:
                self.problem((), "name is missing")
            return "", ""
        family, slash, written = name.partition("/")
        if not _NAME.fullmatch(family):
            self.problem(("name",), f"{shown(name)} cannot be a protocol's name; expected one as weather")
        version = document.get("version")
        if version is None and slash:
            version = written
        elif version is None:
            self.problem((), "version is missing; expected one as v1")
            return family, name
        text = f"v{version}" if type(version) is int or str(version).isdecimal() else version
        if not isinstance(text, str) or not re.fullmatch(r"v[0-9]{1,9}", text):
            self.problem(("version",), f"expected a version as v1, found {shown(version)}")
        elif slash and written != text:
            self.problem(("version",), f"it is {text} here, and {written} in the name")
        return family, f"{family}/{text}"

    def needed_text(self, table: dict[str, Json], path: Path) -> str:
        if table.get("description") is None:
            self.problem(path, "description is missing")
        return self.text(table, "description", path) or ""

    def method(self, table: dict[str, Json], path: Path) -> Method:
        self.known_keys(table, METHOD_KEYS, path)
        description = self.needed_text(table, path)
        key = "params" if table.get("params") is not None else "parameters"
        place = (*path, key)
        parameters, inside = self.parameters(table.get(key), place)
        self.schema_problems(parameters, place, inside)
        returns, inside = self.returns(table.get("returns"), (*path, "returns"))
        self.schema_problems(returns, (*path, "returns"), inside)
        examples = self.examples(table, path, parameters, returns) if not self.count else ()
        return Method(description=description, parameters=parameters, returns=returns, examples=examples)

    # Schemas.

    def parameters(self, value: Json, path: Path) -> tuple[dict[str, Json], Path]:
        """The schema, and where in the document its ``properties`` stand."""
        if isinstance(value, dict) and value.get("type") == "object":
            return self.schema(value, path), (*path, "properties")
        properties, required = self.properties(self.table(value, path), path)
        schema: dict[str, Json] = {"type": "object", "properties": properties, "additionalProperties": False}
        if required:
            schema["required"] = required
        return schema, path

    def returns(self, value: Json, path: Path) -> tuple[dict[str, Json], Path]:
        if not isinstance(value, dict) or _is_schema(value):
            return self.schema(value, path), (*path, "properties")
        properties, required = self.properties(value, path)
        schema: dict[str, Json] = {"type": "object", "properties": properties}
        if required:
            schema["required"] = required
        return schema, path

    def properties(self, table: dict[str, Json], path: Path) -> tuple[dict[str, Json], list[str]]:
        """The schemas by name, and the names that have to be there."""
        found: dict[str, Json] = {}
        required = []
        for name, spec in table.items():
            place = (*path, name)
            if isinstance(spec, bool):
                found[name] = spec
                continue
            found[name] = self.schema(spec, place)
            if isinstance(spec, dict) and isinstance(spec.get("required"), bool) and spec["required"]:
                if "default" in found[name]:
                    self.warn((*place, "required"), "not used: what is missing gets the default")
                else:
                    required.append(name)
        return found, required

    def schema(self, spec: Json, path: Path) -> dict[str, Json]:
        """JSON Schema for what stands at ``path``: a schema in either spelling, or the name of a type."""
        if isinstance(spec, str):
            spec = {"type": spec}
        table = self.table(spec, path)
        out: dict[str, Json] = {}
        required: list[str] = []
        for key, value in table.items():
            word, place = OLDER.get(key, key), (*path, key)
            if word not in KEYWORDS and not key.startswith("x-"):
                self.problem(place, f"unknown key{self.suggest(key, KEYWORDS | OLDER.keys())}")
            elif word == "type":
                if self.are_types(value, place) and value not in (_ANYTHING, None):
                    out["type"] = value
            elif word == "default":
                if value is not None or _admits_null(table.get("type")):
                    out["default"] = value
            elif word == "required" and isinstance(value, bool):
                continue  # of what this is in
            elif value is not None or word == "const":
                self.keyword(out, required, word, value, place)
        if required:
            out["required"] = list(dict.fromkeys([*out.get("required", []), *required]))
        if isinstance(out.get("required"), list):
            given = _with_default(out)
            out["required"] = [name for name in out["required"] if str(name) not in given]
        return out

    def keyword(self, out: dict[str, Json], required: list[str], word: str, value: Json, place: Path) -> None:
        if word == "properties":
            out[word], needed = self.properties(self.table(value, place), place)
            required += needed
        elif word in _INNER_TABLES:
            out[word] = {k: self.either(v, (*place, k)) for k, v in self.table(value, place).items()}
        elif word in _INNER:
            out[word] = self.either(value, place)
        elif word in _INNER_LISTS and isinstance(value, list):
            out[word] = [self.either(each, (*place, index)) for index, each in enumerate(value)]
        else:
            out[word] = value

    def either(self, value: Json, path: Path) -> Json:
        return value if isinstance(value, bool) else self.schema(value, path)

    def are_types(self, value: Json, path: Path) -> bool:
        known: Collection[str] = (*INPUT_TYPES, _ANYTHING)
        kinds = value if isinstance(value, list) else [value]
        wrong = [kind for kind in kinds if kind is not None and kind not in known]
        for kind in wrong:
            hint = self.suggest(str(kind), known) or f"; known: {', '.join(known)}"
            self.problem(path, f"unknown type {shown(kind)}{hint}")
        return not wrong

    def schema_problems(self, schema: dict[str, Json], path: Path, inside: Path) -> None:
        """What is wrong with the schema as such, and with its defaults; ``inside``: of its properties."""
        known = schema.get("properties", {})
        if schema and schema.get("type") != "object" and path[-1] != "returns":
            self.problem(path, "parameters are a table: expected the type object")
        defaults = {
            name: each["default"]
            for name, each in known.items()
            if isinstance(each, dict) and "default" in each
        }
        try:
            found = self.check(schema, defaults)
        except MalformedData as problem:
            # Only one problem of a schema is told: each property is looked at by itself.
            each_alone = [self.schema_problem(known[name], (*inside, name)) for name in known]
            if not any(each_alone):
                steps = _steps(problem.path)[1:]
                inner = steps[:1] == ("properties",)
                self.problem((*inside, *steps[1:]) if inner else (*path, *steps), problem.problem)
            return
        for each in found:
            if each.path and each.path[0] in defaults:
                name, *rest = each.path
                at = f"{dotted(tuple(rest))}: " if rest else ""
                self.problem((*inside, name, "default"), f"does not fit: {at}{each.message}")

    def schema_problem(self, schema: Json, path: Path) -> bool:
        if not isinstance(schema, dict):
            return False
        try:
            self.check(schema, None)
        except MalformedData as problem:
            steps = _steps(problem.path)[1:]
            if steps[-1:] == ("$ref",):
                return False  # into the whole
            self.problem((*path, *steps), problem.problem)
            return True
        return False

    # Examples.

    def examples(
        self, table: dict[str, Json], path: Path, parameters: dict[str, Json], returns: dict[str, Json]
    ) -> tuple[Example, ...]:
        value = table.get("examples")
        path = (*path, "examples")
        if value is not None and not isinstance(value, list):
            self.problem(path, f"expected a list, found {describe(value)}")
        found = []
        for index, each in enumerate(value if isinstance(value, list) else ()):
            place = (*path, index)
            entry = self.table(each, place)
            self.known_keys(entry, EXAMPLE_KEYS, place)
            asked = next((key for key in EXAMPLE_KEYS[1:4] if entry.get(key) is not None), "request")
            told = next((key for key in EXAMPLE_KEYS[4:] if entry.get(key) is not None), "response")
            example = Example(
                description=self.text(entry, "description", place) or "",
                parameters=self.table(_bare(entry.get(asked), "params", parameters), (*place, asked)),
                result=_bare(entry.get(told), "result", returns),
            )
            for problem in self.check(parameters, example.parameters):
                self.warn((*place, asked, *problem.path), f"does not fit: {problem.message}")
            if example.result is not None:
                for problem in self.check(returns, example.result):
                    self.warn((*place, told, *problem.path), f"does not fit: {problem.message}")
            found.append(example)
        return tuple(found)


def _bare(value: Json, key: str, schema: dict[str, Json]) -> Json:
    """What an example in the form of JSON-RPC, as earlier versions also had them, is about."""
    known = schema.get("properties", {})
    if not isinstance(value, dict) or key not in value or key in known:
        return value
    return value[key] if value.keys() <= {"jsonrpc", "id", "method", key} else value


def _is_schema(table: dict[str, Json]) -> bool:
    """Whether it is a schema, and no table of names."""
    kind = table.get("type")
    if kind == _ANYTHING or isinstance(kind, list) or (isinstance(kind, str) and kind in INPUT_TYPES):
        return True
    if any(word in table and not isinstance(table[word], dict) for word in _ALTERNATIVES):
        return True
    words = {OLDER.get(key, key) for key in table}
    plain = any(not isinstance(value, dict) for value in table.values())
    return words <= KEYWORDS and (plain or words == {"properties"} or not words)


def _admits_null(kind: Json) -> bool:
    return kind in (None, _ANYTHING, "null") or (isinstance(kind, list) and "null" in kind)


def _with_default(schema: dict[str, Json]) -> set[str]:
    known = schema.get("properties")
    if not isinstance(known, dict):
        return set()
    return {name for name, each in known.items() if isinstance(each, dict) and "default" in each}


def _steps(text: str) -> Path:
    """``("schema", "items", 0)`` for ``schema.items[0]``."""
    return tuple(int(index) if index else name for index, name in _STEP.findall(text))
