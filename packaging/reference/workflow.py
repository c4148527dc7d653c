"""The keys of workflow files in Markdown, from the tables that the reader of workflow files uses."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gleitzeitd.model import workflow_schema
from gleitzeitd.model.workflow_schema import Keys
from gleitzeitd.plain import Json
from reference.words import defined, listed

TABLES = {
    "workflow": workflow_schema.WORKFLOW_KEYS,
    "task": workflow_schema.TASK_KEYS,
    "retry": workflow_schema.RETRY_KEYS,
    "timeouts": workflow_schema.TIMEOUTS_KEYS,
    "resources": workflow_schema.RESOURCES_KEYS,
    "batch": workflow_schema.BATCH_KEYS,
    "template": workflow_schema.TEMPLATE_KEYS,
}
_REFERENCE = re.compile(r"\$+\{(?:[\w.]+\})?")
_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "table",
    "array": "list",
    "null": "null",
}


def page(template: str) -> str:
    """The page, from its frame."""
    for name, keys in TABLES.items():
        mark = f"<!-- keys of {name} -->"
        assert mark in template, mark
        template = template.replace(mark, "\n".join(_keys(keys)))
    return template


def _keys(keys: Keys) -> Iterator[str]:
    # Older spellings last: who writes a file today reads no further.
    for name, schema in sorted(keys.items(), key=lambda item: bool(item[1].get("deprecated"))):
        kind = f"one of {_kind(schema)}" if "enum" in schema else _kind(schema)
        yield from defined(f"`{name}:` {kind}", [_literals(schema.get("description", "")), _bounds(schema)])


def _literals(text: str) -> str:
    return _REFERENCE.sub(r"`\g<0>`", text)


def _kind(schema: dict[str, Json]) -> str:
    if "enum" in schema:
        many = schema["enum"]
        return ", ".join(f"`{each}`" for each in many)
    if "anyOf" in schema:
        return listed(dict.fromkeys(_kind(each) for each in schema["anyOf"]))
    kind = schema.get("type", "")
    if isinstance(kind, list):
        return listed(f"*{_WORDS[each]}*" for each in kind)
    return f"*{_WORDS[kind]}*" if kind else "*any value*"


def _bounds(schema: dict[str, Json]) -> str:
    said = []
    if "minimum" in schema and "maximum" in schema:
        said.append(f"{schema['minimum']:g} to {schema['maximum']:g}.")
    if "maxLength" in schema:
        said.append(f"At most {schema['maxLength']} characters.")
    if "maxItems" in schema:
        said.append(f"{schema.get('minItems', 0)} to {schema['maxItems']} items.")
    if "default" in schema:
        value = schema["default"]
        said.append(f"Default: `{str(value).lower() if isinstance(value, bool) else value}`.")
    return " ".join(said)
