"""A workflow, or a method of a provider, as a tool: its name, its schema, and what a call submits.

Names are of letters, digits, ``_`` and ``-``, short enough for hosts that put something before them. Where
two would be the same, each gets digits made from what it is: no newcomer can take the place of another.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from gleitzeitd.errors import MalformedData
from gleitzeitd.model.inputs import resolve_inputs
from gleitzeitd.model.problem import Problem
from gleitzeitd.model.protocol import Method, Protocol
from gleitzeitd.model.workflow import Input, Workflow
from gleitzeitd.plain import Json
from gleitzeitd.providers.schema import problems as broken
from gleitzeitd.workflow_file import WorkflowFile

NAME_LIMIT = 48
CALL = "call"
"""The id of the one task in the workflow that a method's call is."""
SUBMITTED_BY = "mcp"
_DIGITS = 6
_DATA = frozenset({"const", "enum", "default", "examples"})
"""Keywords of JSON Schema with values in which nothing is a schema."""

Schema = dict[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool(ABC):
    """What can be called."""

    name: str
    """What the host calls it; first a wish, then by :func:`named` the only one of its kind."""
    title: str
    description: str
    schema: Schema
    """JSON Schema of the arguments, an object's."""

    @property
    @abstractmethod
    def origin(self) -> dict[str, Json]:
        """What it is, for the metadata of what it submits, by which its workflows are known again."""

    @property
    def identity(self) -> str:
        """What no other tool of this server has."""
        return ":".join(map(str, self.origin.values()))

    @property
    @abstractmethod
    def steps(self) -> int:
        """How many tasks a call runs."""

    @abstractmethod
    def problems(self, arguments: dict[str, Json]) -> list[Problem]:
        """What is wrong with these arguments, with places in them; nothing, if they can be submitted."""

    @abstractmethod
    def document(self, arguments: dict[str, Json]) -> dict[str, Json]:
        """The workflow to submit."""

    @abstractmethod
    def inputs(self, arguments: dict[str, Json]) -> dict[str, Json]:
        """The values to submit it with."""

    def marked(self, arguments: dict[str, Json], host: str) -> dict[str, Json]:
        """The workflow to submit, with where it came from in its metadata."""
        document = self.document(arguments)
        metadata = document.get("metadata") or {}
        came = {"tool": self.name, "host": host, **self.origin}
        return {**document, "metadata": {**metadata, "submitted_by": SUBMITTED_BY, "mcp": came}}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowTool(Tool):
    """Its arguments are the workflow's inputs."""

    file: WorkflowFile
    workflow: Workflow

    @property
    def origin(self) -> dict[str, Json]:
        """By its name, under which its file may move."""
        return {"workflow": self.workflow.name}

    @property
    def identity(self) -> str:
        """Two files can have a workflow of one name."""
        return f"workflow:{self.file.source}"

    @property
    def steps(self) -> int:
        """All its tasks."""
        return len(self.workflow.tasks)

    def problems(self, arguments: dict[str, Json]) -> list[Problem]:
        """As the resolver would find them."""
        _, found = resolve_inputs(self.workflow, arguments, broken)
        return [Problem(path=one.path[1:], message=one.message) for one in found]

    def document(self, arguments: dict[str, Json]) -> dict[str, Json]:
        """As it is in the file."""
        return dict(self.file.document)

    def inputs(self, arguments: dict[str, Json]) -> dict[str, Json]:
        """The arguments."""
        return arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodTool(Tool):
    """Its arguments are the method's parameters."""

    protocol: str
    method: str

    @property
    def origin(self) -> dict[str, Json]:
        """The method, and the version of its protocol."""
        return {"protocol": self.protocol, "method": self.method}

    @property
    def steps(self) -> int:
        """The call."""
        return 1

    def problems(self, arguments: dict[str, Json]) -> list[Problem]:
        """As the schema of the method has it."""
        return [Problem(path=one.path, message=one.message) for one in broken(self.schema, arguments)]

    def document(self, arguments: dict[str, Json]) -> dict[str, Json]:
        """A workflow of one task."""
        task = {
            "id": CALL,
            "name": self.method,
            "method": self.method,
            "protocol": self.protocol,
            # What a host says is text: a ${ in it refers to nothing.
            "parameters": literal(arguments),
        }
        return {"name": self.method, "tasks": [task]}

    def inputs(self, arguments: dict[str, Json]) -> dict[str, Json]:
        """It has none."""
        return {}


T = TypeVar("T", bound=Tool)


def of_workflow(file: WorkflowFile, workflow: Workflow) -> WorkflowTool:
    """The tool that submits this workflow."""
    return WorkflowTool(
        name=workflow.name,
        title=workflow.name,
        description=workflow.description or f"Runs the workflow {workflow.name}.",
        schema=inputs_schema(workflow.inputs),
        file=file,
        workflow=workflow,
    )


def of_method(protocol: Protocol, name: str, method: Method, *, versions: int = 1) -> MethodTool:
    """The tool that calls this method; ``versions``: so many protocols have one of this name."""
    about = method.description or f"{name} of {protocol.name}."
    version = protocol.name.rpartition("/")[2]
    return MethodTool(
        name=name if versions == 1 else f"{name}_{version}",
        title=name if versions == 1 else f"{name} ({version})",
        description=about,
        # Hosts expect the type, which a schema may leave out.
        schema={**method.parameters, "type": "object"},
        protocol=protocol.name,
        method=name,
    )


def named(tools: Sequence[T], taken: Collection[str] = ()) -> dict[str, T]:
    """The tools by the names that they get; ``taken`` are not given away."""
    wishes = [_slug(tool.name) for tool in tools]
    counted = Counter([*wishes, *taken])
    found = {}
    for tool, wish in zip(tools, wishes, strict=True):
        name = wish
        if counted[wish] > 1:
            digits = hashlib.sha256(tool.identity.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
            name = f"{wish[: NAME_LIMIT - _DIGITS - 1]}_{digits}"
        found[name] = replace(tool, name=name)
    return found


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_-]+", "_", plain).strip("_-")[:NAME_LIMIT] or "tool"


def inputs_schema(inputs: dict[str, Input]) -> Schema:
    """The schema of an object with these inputs, and no other keys."""
    properties: dict[str, Json] = {}
    for name, declared in inputs.items():
        # Its own references start at the root of what is now a part.
        schema = _moved(declared.schema, f"#/properties/{_pointed(name)}")
        properties[name] = {**schema, "default": declared.default} if declared.has_default else schema
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    required = [name for name, declared in inputs.items() if declared.required]
    return {**schema, "required": required} if required else schema


def _moved(schema: Json, root: str) -> Json:
    if isinstance(schema, list):
        return [_moved(each, root) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {}
    for key, value in schema.items():
        if key == "$ref" and isinstance(value, str) and (value == "#" or value.startswith("#/")):
            found[key] = root + value.removeprefix("#")
        else:
            found[key] = value if key in _DATA else _moved(value, root)
    return found


def _pointed(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")  # RFC 6901, 3


def literal(value: Json) -> Json:
    """``value`` as parameters of a task that contain no references."""
    if isinstance(value, str):
        return value.replace("${", "$${")
    if isinstance(value, list):
        return [literal(each) for each in value]
    if isinstance(value, dict):
        return {key: literal(each) for key, each in value.items()}
    return value


def schema_problem(workflow: Workflow) -> Problem | None:
    """The first input whose schema cannot be worked with."""
    for name, declared in workflow.inputs.items():
        try:
            broken(declared.schema, declared.default)
        except MalformedData as problem:
            return Problem(path=("inputs", name), message=str(problem))
    return None
