"""What the methods of ``llm/v1`` take and give, as JSON Schema.

All spellings of earlier versions are taken in: ``prompt`` beside ``messages``, ``file`` beside ``file_path``,
five ways to name an image. An optional parameter may be null, which is as if it were not there.
"""

from __future__ import annotations

from gleitzeitd.model.protocol import Example
from gleitzeitd.plain import Json


def _optional(kind: str, about: str, **more: Json) -> dict[str, Json]:
    return {"type": [kind, "null"], "description": about, **more}


def _table(properties: dict[str, Json], **more: Json) -> dict[str, Json]:
    return {"type": "object", "additionalProperties": False, "properties": properties, **more}


_TEXT = {"type": "string", "minLength": 1, "maxLength": 4096}
_NAME = {"minLength": 1, "maxLength": 200}
_IMAGE = {"type": "string", "contentEncoding": "base64"}
_MESSAGE = _table(
    {
        "role": {"enum": ["system", "developer", "user", "assistant"]},
        "content": {"description": "Text; anything else is sent as JSON text."},
        "images": _optional("array", "Images of this message, in base64.", items=_IMAGE),
    },
    required=["role", "content"],
)
_HOW: dict[str, Json] = {
    "model": _optional("string", "Which model; the settings name one, if it is not given.", **_NAME),
    "temperature": {
        "type": ["number", "null"],
        "description": "How much chance there is in it; null: as the server likes.",
        "minimum": 0,
        "maximum": 2,
        "default": 0.7,
    },
    "max_tokens": {
        "type": "integer",
        "description": "The answer ends after so many, with the finish_reason length.",
        "minimum": 1,
        "maximum": 1_000_000,
        "default": 500,
    },
    "top_p": _optional("number", "Nucleus sampling.", minimum=0, maximum=1),
    "seed": _optional("integer", "For answers that can be repeated, with servers that can do that."),
    "stop": {
        "type": ["string", "array", "null"],
        "description": "The answer ends before one of these texts.",
        "items": {"type": "string"},
        "maxItems": 16,
    },
    "schema": _optional("object", "JSON Schema of the answer, which is then parsed and checked."),
    "response_format": _optional(
        "object", "As OpenAI spells it: type is text, json_object or json_schema.", required=["type"]
    ),
    "options": _optional("object", "More for the server: Ollama's options, or keys of an OpenAI request."),
    "stream": {
        "type": "boolean",
        "description": "Whether watchers see the answer while it grows.",
        "default": True,
    },
    "timeout": {
        "type": ["number", "null"],
        "description": "Seconds.",
        "exclusiveMinimum": 0,
        "maximum": 86400,
    },
}
_FILES: dict[str, Json] = {
    "file_path": _optional("string", "Its text is added to the last message of the user.", minLength=1),
    "file": _optional("string", "The same.", minLength=1),
    "files": _optional("array", "More of them, texts or images.", items=_TEXT, maxItems=1000),
}
_IMAGES: dict[str, Json] = {
    "image_path": _optional("string", "A file, for the last message of the user.", minLength=1),
    "image_paths": _optional("array", "More of them.", items=_TEXT, maxItems=100),
    "images": _optional("array", "In base64, or as data: URLs.", items=_IMAGE, maxItems=100),
    "image_data": _optional("string", "One image in base64.", minLength=1, contentEncoding="base64"),
}
_PROMPT: dict[str, Json] = {
    "prompt": {"description": "A message of the user, at the end; what is no text is sent as JSON text."},
    "system": _optional("string", "A message of the system, at the beginning."),
}
_MESSAGES: dict[str, Json] = {
    "messages": _optional("array", "The whole history, oldest first.", items=_MESSAGE, maxItems=10_000)
}
_BATCH: dict[str, Json] = {
    "batch_mode": {
        "type": "boolean",
        "description": "One request for each file, instead of one with all of them.",
        "default": False,
    },
    "directory": _optional("string", "Whose files are added, in the order of their names.", minLength=1),
    "file_pattern": {"type": "string", "description": "Which of them.", "minLength": 1, "default": "*"},
}

PARAMETERS: dict[str, dict[str, Json]] = {
    "llm/chat": _table(_MESSAGES | _PROMPT | _HOW | _FILES | _IMAGES | _BATCH),
    "llm/complete": _table(_PROMPT | _HOW | _FILES | _IMAGES, required=["prompt"]),
    "llm/vision": _table(_MESSAGES | _PROMPT | _HOW | _FILES | _IMAGES | _BATCH),
    "llm/embed": _table(
        {
            "text": {
                "type": ["string", "array", "null"],
                "description": "One text, or several.",
                "items": {"type": "string"},
                "maxItems": 10_000,
            },
            "prompt": _optional("string", "The same as text."),
            "file_path": _optional("string", "A file whose text it is.", minLength=1),
            "model": _HOW["model"],
            "timeout": _HOW["timeout"],
        }
    ),
}
"""By the first name of a method."""

_COUNT = {"type": ["integer", "null"]}
_ANSWER: dict[str, Json] = {
    "response": {"type": "string", "description": "The answer."},
    "content": {"type": "string", "description": "The same."},
    "text": {"type": "string", "description": "The same."},
    "role": {"type": "string"},
    "model": {"type": "string", "description": "As the server calls it."},
    "provider_id": {"type": "string", "description": "The back end that has answered."},
    "json": {"description": "The answer as data, if a schema or JSON was asked for; else null."},
    "tokens_used": {
        **_COUNT,
        "description": "Of the prompt and the answer; null if the server does not say.",
    },
    "prompt_eval_count": {**_COUNT, "description": "Tokens of the prompt."},
    "eval_count": {**_COUNT, "description": "Tokens of the answer."},
    "total_duration": {"type": "integer", "description": "Nanoseconds, as Ollama has it."},
    "elapsed": {"type": "number", "description": "Seconds."},
    "finish_reason": {"type": ["string", "null"], "description": "stop, or length: max_tokens was reached."},
    "done": {"type": "boolean"},
}
ANSWER: dict[str, Json] = {
    "type": "object",
    "required": list(_ANSWER),
    "properties": {
        **_ANSWER,
        "results": {"type": "array", "description": "With batch_mode: an answer for each file."},
    },
}
EMBEDDING: dict[str, Json] = {
    "type": "object",
    "required": ["embedding", "embeddings", "dimensions", "model", "provider_id", "tokens_used"],
    "properties": {
        "embedding": {"type": "array", "items": {"type": "number"}, "description": "Of the first text."},
        "embeddings": {"type": "array", "description": "Of each text, in their order."},
        "dimensions": {"type": "integer"},
        "model": {"type": "string"},
        "provider_id": {"type": "string"},
        "tokens_used": _COUNT,
        "elapsed": {"type": "number"},
    },
}
DEFAULTS: dict[str, dict[str, Json]] = {
    name: {key: part["default"] for key, part in schema["properties"].items() if "default" in part}
    for name, schema in PARAMETERS.items()
}

CHAT_EXAMPLES = (
    Example(
        description="a question",
        parameters={"model": "llama3.2", "prompt": "Why is the sky blue?", "temperature": 0.2},
    ),
    Example(
        description="the whole history",
        parameters={
            "messages": [
                {"role": "system", "content": "You are brief."},
                {"role": "user", "content": "Name a river."},
            ]
        },
    ),
    Example(
        description="a text from a file",
        parameters={"prompt": "Summarise this.", "file_path": "notes.txt", "max_tokens": 200},
    ),
    Example(
        description="an answer as data",
        parameters={
            "prompt": "Name two rivers.",
            "schema": {"type": "object", "properties": {"rivers": {"type": "array"}}},
        },
    ),
)
VISION_EXAMPLES = (
    Example(
        description="what is in an image",
        parameters={"model": "llava", "prompt": "What is this?", "image_path": "sign.png"},
    ),
)
