"""Tools of MCP servers as methods, and what they answer as results. Knows no SDK.

A tool's schema becomes the schema of its method, so that a wrong argument is refused when the workflow is
submitted. The arguments are the task's parameters, or are all in its parameter ``arguments``, as the files of
earlier versions have it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from gleitzeitd.errors import MalformedData
from gleitzeitd.model.protocol import Method
from gleitzeitd.plain import Json
from gleitzeitd.providers.schema import check_schema

TOOLS_LIMIT = 2000
"""Tools of one server; more are left out."""
NAME_LIMIT = 150
"""Characters of a tool's name. One with a longer name is left out."""
DESCRIPTION_LIMIT = 2000
"""Characters of a tool's description, which can be a whole manual."""
ANYTHING: dict[str, Json] = {"type": "object"}
RESULT: dict[str, Json] = {
    "type": "object",
    "properties": {
        "response": {"type": "string"},
        "content": {"type": "array"},
        "structured": {},
        "json": {},
        "images": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["response", "content", "structured", "images"],
}
_STRANGE = re.compile(r"[^A-Za-z0-9_.:-]")
_OWN_REFERENCE = re.compile(r"#/(\$defs|definitions)(/|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool as its server describes it."""

    name: str
    description: str = ""
    schema: dict[str, Json] = field(default_factory=lambda: dict(ANYTHING))
    """JSON Schema of its arguments."""
    repeatable: bool = False
    """It says that calling it once more does no harm."""
    is_ours: bool = field(default=False, compare=False)
    """Its schema is right for sure, and need not be looked through, which takes a while."""

    @property
    def has_wrapper(self) -> bool:
        """Whether its arguments may all be in one parameter."""
        properties = self.schema.get("properties")
        return not (isinstance(properties, dict) and "arguments" in properties)

    def arguments(self, parameters: dict[str, Json]) -> dict[str, Json]:
        """What the tool is called with."""
        wrapped = parameters.get("arguments")
        if self.has_wrapper and len(parameters) == 1 and isinstance(wrapped, dict):
            return wrapped
        return parameters

    def method(self) -> Method:
        """Its method, with a schema that the server's own mistakes cannot spoil."""
        schema = self.schema
        try:
            if schema.get("type") != "object":
                raise MalformedData("schema", "expected that of an object")
            if self.has_wrapper:
                schema = _with_wrapper(schema)
            if not self.is_ours:
                check_schema(schema)
        except MalformedData:
            schema = ANYTHING
        about = self.description or f"The tool {self.name}, of which its server says nothing."
        return Method(description=about, parameters=schema, returns=RESULT)


def tool_of(plain: Mapping[str, Any]) -> Tool | None:
    """A tool as it is in an answer to ``tools/list``; None if it has no usable name."""
    name, schema = plain.get("name"), plain.get("inputSchema")
    if not isinstance(name, str) or not 0 < len(name) <= NAME_LIMIT:
        return None
    notes = plain.get("annotations") or {}
    description = str(plain.get("description") or plain.get("title") or "")
    return Tool(
        name=name,
        description=" ".join(description.split())[:DESCRIPTION_LIMIT],
        schema=schema if isinstance(schema, dict) else dict(ANYTHING),
        repeatable=bool(notes.get("readOnlyHint") or notes.get("idempotentHint")),
    )


def wanted(tools: Iterable[Tool], patterns: list[str]) -> list[Tool]:
    """Those that workflows may call."""
    found = [tool for tool in tools if any(fnmatchcase(tool.name, pattern) for pattern in patterns)]
    return found[:TOOLS_LIMIT]


def method_name(prefix: str, tool: str) -> str:
    """``mcp/tool.github.search``; what a method's name cannot hold becomes ``_``."""
    name = _STRANGE.sub("_", f"{prefix}{tool}")
    while ".." in name:
        name = name.replace("..", "._")
    return f"mcp/tool.{name[:-1]}_" if name.endswith(".") else f"mcp/tool.{name}"


def _with_wrapper(schema: dict[str, Json]) -> dict[str, Json]:
    """The schema, or the same of the one parameter ``arguments``."""
    own = {
        key: value for key, value in schema.items() if key not in ("$defs", "definitions", "$id", "$schema")
    }
    made: dict[str, Json] = {
        "type": "object",
        "if": {"required": ["arguments"], "maxProperties": 1},
        "then": {"properties": {"arguments": {"$ref": "#/else"}}},
        "else": _moved(own),
    }
    for key in ("$defs", "definitions"):
        if key in schema:
            made[key] = _moved(schema[key])
    return made


def _moved(node: Json) -> Json:
    """With references to where the schema is now."""
    if isinstance(node, list):
        return [_moved(item) for item in node]
    if not isinstance(node, dict):
        return node
    moved = {key: _moved(value) for key, value in node.items()}
    target = node.get("$ref")
    if isinstance(target, str) and (target == "#" or target.startswith("#/")):
        moved["$ref"] = target if _OWN_REFERENCE.match(target) else f"#/else{target[1:]}"
    return moved


# --- results --------------------------------------------------------------------------------------


def result_of(content: list[dict[str, Json]], structured: Json) -> dict[str, Json]:
    """What a tool has answered: its texts as one, all its parts, its images, its structured content; the keys
    of the last are the result's, too.
    """
    texts = texts_of(content)
    if not texts and structured is not None:
        texts = [structured if isinstance(structured, str) else json.dumps(structured, ensure_ascii=False)]
    own: dict[str, Json] = {
        "response": "\n".join(texts),
        "content": content,
        "structured": structured,
        "json": _data(texts) if structured is None else structured,
        "images": [part["data"] for part in content if part.get("type") == "image" and "data" in part],
    }
    if not isinstance(structured, dict):
        return own
    return {**own, **{key: value for key, value in structured.items() if key not in own}}


def _data(texts: list[str]) -> Json:
    """What the only text is as JSON, since older servers say structured things so; None if it is none."""
    if len(texts) != 1 or not texts[0].lstrip().startswith(("{", "[")):
        return None
    try:
        return json.loads(texts[0])
    except (ValueError, RecursionError):
        return None


def texts_of(content: Iterable[Mapping[str, Json]]) -> list[str]:
    """The texts of parts, those of embedded resources too."""
    texts = []
    for part in content:
        inner = part.get("resource")
        text = inner.get("text") if isinstance(inner, dict) else part.get("text")
        if isinstance(text, str):
            texts.append(text)
    return texts


# --- what is remembered ---------------------------------------------------------------------------


class Memory:
    """The tools of servers, in a file; that it cannot be read or written is no problem."""

    def __init__(self, file: str) -> None:
        self._file = Path(file) if file else None

    def read(self) -> dict[str, list[Tool]]:
        """By the names of the servers."""
        if self._file is None:
            return {}
        try:
            plain = json.loads(self._file.read_text(encoding="utf-8"))
            return {str(name): [Tool(**tool) for tool in tools] for name, tools in plain.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def write(self, tools: Mapping[str, Iterable[Tool]]) -> None:
        """All of it; the file is replaced at once."""
        if self._file is None:
            return
        plain = {
            name: [
                {
                    "name": tool.name,
                    "description": tool.description,
                    "schema": tool.schema,
                    "repeatable": tool.repeatable,
                }
                for tool in each
            ]
            for name, each in tools.items()
        }
        new = self._file.with_name(f"{self._file.name}.new")
        try:
            new.write_text(json.dumps(plain), encoding="utf-8")
            os.replace(new, self._file)  # noqa: PTH105 - the same
        except OSError:
            return
