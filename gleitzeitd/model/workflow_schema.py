"""The workflow file as a JSON Schema, for editors; and the keys that the reader of documents accepts.

The tables here are the one list of keys: :mod:`gleitzeitd.model.document` calls unknown whatever is not
in them, and :func:`workflow_schema` publishes them.
"""

from __future__ import annotations

from gleitzeitd import errors
from gleitzeitd.model.names import NAME_LIMIT
from gleitzeitd.model.resources import RANGES, SIZE_PATTERN
from gleitzeitd.model.retry import ATTEMPTS_LIMIT, BASE_DELAY_RANGE, MAX_DELAY_RANGE, Backoff
from gleitzeitd.model.workflow import (
    TASK_TIMEOUT_RANGE,
    TASKS_LIMIT,
    TIMEOUTS_RANGE,
    WORKFLOW_TIMEOUT_RANGE,
    OnLost,
    Priority,
)
from gleitzeitd.plain import Json

Keys = dict[str, dict[str, Json]]
"""A key to the JSON Schema of its value, with a description."""

METHOD_PATTERN = r"[A-Za-z](?:[A-Za-z0-9_/:-]|\.(?!\.|$))*"
PROTOCOL_PATTERN = r"[A-Za-z][A-Za-z0-9_.-]*(?:/v[0-9]+)?"
INPUT_TYPES = ("string", "number", "integer", "boolean", "array", "object", "null")
PRIORITIES = tuple(p.name.lower() for p in Priority)

_ERROR_NAMES: dict[str, Json] = {"type": "array", "minItems": 1, "items": {"enum": sorted(errors.NAMES)}}

RETRY_KEYS: Keys = {
    "max_attempts": {
        "type": "integer",
        "minimum": 1,
        "maximum": ATTEMPTS_LIMIT,
        "default": 3,
        "description": "How often the task is tried, the first time included.",
    },
    "backoff": {"enum": [b.value for b in Backoff], "description": "How the delay grows."},
    "base_delay": {
        "type": "number",
        "minimum": BASE_DELAY_RANGE[0],
        "maximum": BASE_DELAY_RANGE[1],
        "default": 1.0,
        "description": "Seconds before the second attempt.",
    },
    "delay": {
        "type": "number",
        "minimum": BASE_DELAY_RANGE[0],
        "maximum": BASE_DELAY_RANGE[1],
        "deprecated": True,
        "description": "Older spelling of base_delay.",
    },
    "max_delay": {
        "type": "number",
        "minimum": MAX_DELAY_RANGE[0],
        "maximum": MAX_DELAY_RANGE[1],
        "default": 300.0,
        "description": "Seconds at which the delay stops growing.",
    },
    "jitter": {"type": "boolean", "default": True, "description": "Whether 10 to 30 % are added."},
    "on": {
        **_ERROR_NAMES,
        "description": "Names of the only errors after which it is tried again. Without it: all that are "
        "marked as retryable.",
    },
    "never_on": {
        **_ERROR_NAMES,
        "description": "Names of errors after which it is not tried again, retryable or not.",
    },
    "exponential_backoff": {
        "type": "boolean",
        "deprecated": True,
        "description": "Older spelling: true for backoff exponential, false for fixed.",
    },
}

_TIMEOUT: dict[str, Json] = {
    "type": "number",
    "minimum": TIMEOUTS_RANGE[0],
    "maximum": TIMEOUTS_RANGE[1],
}

TIMEOUTS_KEYS: Keys = {
    "queued": {
        **_TIMEOUT,
        "description": "Seconds that it may wait in the queue each time; then it has failed.",
    },
    "start": {
        **_TIMEOUT,
        "description": "Seconds from an engine's taking it to its start; then another engine gets it.",
    },
    "silence": {
        **_TIMEOUT,
        "description": "Seconds that it may run without output and progress; then the attempt has failed.",
    },
}


def _size(name: str, description: str) -> dict[str, Json]:
    low, high = RANGES[name]
    number = {"type": "integer", "minimum": low, "maximum": high}
    return {"anyOf": [number, {"type": "string", "pattern": SIZE_PATTERN}], "description": description}


def _count(name: str, description: str) -> dict[str, Json]:
    low, high = RANGES[name]
    kind = "number" if name == "cpu_seconds" else "integer"
    return {"type": kind, "minimum": low, "maximum": high, "description": description}


RESOURCES_KEYS: Keys = {
    "memory": _size("memory", "Of all its processes together: bytes, or a text as 512 MB."),
    "cpu_seconds": _count("cpu_seconds", "Seconds of processors, of all its processes together."),
    "processes": _count("processes", "That there may be at the same time."),
    "open_files": _count("open_files", "Of each of its processes."),
    "file_size": _size("file_size", "Of each file that it writes: bytes, or a text as 2 GiB."),
    "output": _size("output", "What it writes to stdout and stderr: bytes, or a text as 10 MB."),
}

_PRIORITY: dict[str, Json] = {
    "anyOf": [
        {"enum": list(PRIORITIES)},
        {"type": "integer", "minimum": Priority.LOW.value, "maximum": Priority.URGENT.value},
    ],
    "description": "Which ready task goes first. Numbers are read as 1 low, 2 normal, 3 high, 4 urgent.",
}
_METADATA: dict[str, Json] = {"type": "object", "description": "Kept with it, and without meaning here."}
_TAGS: dict[str, Json] = {
    "type": "array",
    "items": {"type": "string"},
    "description": "Kept in the metadata.",
}
_PARAMETERS: dict[str, Json] = {
    "type": "object",
    "description": "What the method is called with. ${task.path} is a part of another task's result, "
    "${inputs.name} an input, $${ a literal ${.",
}
_DEPENDENCIES: dict[str, Json] = {
    "type": "array",
    "items": {"type": "string"},
    "description": "Ids or names of the tasks that must have completed before. References imply it.",
}
_PROTOCOL: dict[str, Json] = {
    "type": "string",
    "pattern": f"^{PROTOCOL_PATTERN}$",
    "description": "With its version, as python/v1; by default what stands before the method's slash.",
}

TASK_KEYS: Keys = {
    "id": {
        "type": "string",
        "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.:@-]*$",
        "maxLength": NAME_LIMIT,
        "description": "Unique in the workflow.",
    },
    "name": {"type": "string", "maxLength": NAME_LIMIT, "description": "For people; by default the id."},
    "method": {"type": "string", "pattern": f"^{METHOD_PATTERN}$", "description": "As python/execute."},
    "protocol": _PROTOCOL,
    "parameters": _PARAMETERS,
    "params": {**_PARAMETERS, "description": "The same as parameters, and stronger if both are there."},
    "dependencies": _DEPENDENCIES,
    "depends_on": {**_DEPENDENCIES, "description": "The same as dependencies."},
    "priority": _PRIORITY,
    "timeout": {
        "type": "number",
        "minimum": TASK_TIMEOUT_RANGE[0],
        "maximum": TASK_TIMEOUT_RANGE[1],
        "description": "Seconds that one attempt may take.",
    },
    "timeouts": {
        "type": "object",
        "properties": TIMEOUTS_KEYS,
        "additionalProperties": False,
        "description": "How long it may be without getting on. Without it: any time.",
    },
    "resources": {
        "type": "object",
        "properties": RESOURCES_KEYS,
        "additionalProperties": False,
        "description": "What one attempt may take of the machine; more ends it. Without it, what the "
        "provider's settings say.",
    },
    "retry": {
        "type": "object",
        "properties": RETRY_KEYS,
        "additionalProperties": False,
        "description": "When the task is tried again after a failure. Without it: never.",
    },
    "on_lost": {
        "enum": [o.value for o in OnLost],
        "description": "What happens if the machine that ran the task was lost: run it again, fail, or ask "
        "an operator (gleitzeit resolve).",
    },
    "metadata": _METADATA,
    "description": {"type": "string", "description": "Kept in the metadata."},
    "tags": _TAGS,
}

_INPUT: dict[str, Json] = {
    "anyOf": [
        {"enum": [*INPUT_TYPES, "any"]},
        {
            "type": "object",
            "properties": {
                "type": {"description": "One of the types of JSON Schema, or a list of them."},
                "default": {"description": "Used if nothing is given."},
                "required": {"description": "Whether it must be given; without a default, it must."},
                "description": {"type": "string"},
            },
        },
        {"type": "null"},
    ],
    "description": "A type, or any JSON Schema with required and default.",
}

BATCH_KEYS: Keys = {
    "directory": {"type": "string", "description": "Relative to this file; by default where it lies."},
    "pattern": {"type": "string", "default": "*", "description": "Which files: a glob, ** for any depth."},
}

TEMPLATE_KEYS: Keys = {
    "method": {**TASK_KEYS["method"], "default": "llm/chat"},
    "priority": _PRIORITY,
}
"""Of a batch's template; every other key is a parameter."""

WORKFLOW_KEYS: Keys = {
    "name": {"type": "string", "maxLength": NAME_LIMIT, "description": "For people."},
    "id": {
        "type": "string",
        "pattern": TASK_KEYS["id"]["pattern"],
        "maxLength": NAME_LIMIT,
        "description": "Under which it is submitted; by default a new one each time.",
    },
    "description": {"type": "string", "description": "For people."},
    "version": {"type": ["string", "number"], "description": "Of this document."},
    "inputs": {
        "type": "object",
        "additionalProperties": _INPUT,
        "description": "Values that are given when it is submitted; ${inputs.name} in parameters.",
    },
    "tasks": {"type": "array", "minItems": 1, "maxItems": TASKS_LIMIT, "description": "In any order."},
    "timeout": {
        "type": "number",
        "minimum": WORKFLOW_TIMEOUT_RANGE[0],
        "maximum": WORKFLOW_TIMEOUT_RANGE[1],
        "description": "Seconds from the submission to the end.",
    },
    "priority": {**_PRIORITY, "description": "Of all tasks that give none."},
    "metadata": _METADATA,
    "tags": _TAGS,
    "providers": {"description": "Kept in the metadata as required_providers."},
    "max_parallel_tasks": {
        "type": "integer",
        "minimum": 1,
        "maximum": 100,
        "deprecated": True,
        "description": "Accepted and not used.",
    },
    "wait_for_completion": {"type": "boolean", "deprecated": True, "description": "Accepted and not used."},
    "type": {"enum": ["workflow", "batch"], "description": "batch: a task for each of many files."},
    "batch": {
        "type": "object",
        "properties": BATCH_KEYS,
        "additionalProperties": False,
        "description": "The files of a batch.",
    },
    "template": {"type": "object", "properties": TEMPLATE_KEYS, "description": "The task for each file."},
    "protocol": {**_PROTOCOL, "description": "Of a batch's tasks."},
}

UNUSED = frozenset({"max_parallel_tasks", "wait_for_completion"})


def workflow_schema() -> dict[str, Json]:
    """JSON Schema (draft 2020-12) of a workflow file; every spelling that is read is in it."""
    task = {"type": "object", "properties": _optional(TASK_KEYS), "required": ["method"]}
    workflow = _optional(WORKFLOW_KEYS)
    workflow["tasks"] = {**WORKFLOW_KEYS["tasks"], "items": {**task, "additionalProperties": False}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Gleitzeit workflow",
        "type": "object",
        "properties": workflow,
        "additionalProperties": False,
        "anyOf": [
            {"required": ["tasks"]},
            {"required": ["batch"]},
            {"required": ["type"], "properties": {"type": {"const": "batch"}}},
        ],
    }


def _optional(keys: Keys) -> dict[str, Json]:
    """The keys with null admitted: a key without a value is as good as absent."""
    out: dict[str, Json] = {}
    for key, schema in keys.items():
        if key in ("method", "tasks"):
            out[key] = schema
        elif isinstance(schema.get("type"), str):
            out[key] = {**schema, "type": [schema["type"], "null"]}
        elif "enum" in schema:
            out[key] = {**schema, "enum": [*schema["enum"], None]}
        elif "anyOf" in schema:
            out[key] = {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
        else:
            out[key] = schema
    return out
