"""From parameters to what a model is asked, with the whole history in order, and from its text to data."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any, NoReturn

from gleitzeitd.errors import MalformedData, ParameterInvalid, ResultInvalid
from gleitzeitd.plain import Json
from gleitzeitd.providers.llm_backend import Ask, Message
from gleitzeitd.providers.llm_files import Files, Image, image_in, is_image
from gleitzeitd.providers.schema import check_schema, path_text, problems

_FENCED = re.compile(r"\s*```[A-Za-z]*\s*\n(.*?)\n?\s*```\s*", re.DOTALL)
_LISTED = 5
"""Problems of an answer that an error names."""


def asks_for(method: str, given: dict[str, Json], model: str, files: Files) -> list[tuple[str, Ask]]:
    """What is asked, and the file it is about: one, or with ``batch_mode`` one for each file. Reads files.

    Raises:
        ParameterInvalid: there is nothing to ask, or a file cannot be read.
    """
    paths = _paths(given, files)
    base = Ask(
        model=model,
        messages=tuple(_messages(method, given)),
        single=method == "llm/complete",
        temperature=given.get("temperature"),
        max_tokens=_whole(given.get("max_tokens")),
        top_p=given.get("top_p"),
        seed=_whole(given.get("seed")),
        stop=_stops(given.get("stop")),
        form=_form(method, given),
        response_format=given.get("response_format"),
        options=given.get("options") or {},
        stream=given["stream"],
    )
    images = [image_in(text, f"images[{n}]") for n, text in enumerate(given.get("images") or [])]
    if data := given.get("image_data"):
        images.append(image_in(data, "image_data"))
    if given.get("batch_mode"):
        if not paths:
            raise ParameterInvalid(f"{method}: batch_mode: expected files, or a directory")
        return [(path, _with_files(base, [path], images, files)) for path in paths]
    ask = _with_files(base, paths, images, files)
    if method == "llm/vision" and not any(message.images for message in ask.messages):
        raise ParameterInvalid(f"{method}: expected an image: image_path, image_paths, images or image_data")
    return [("", ask)]


def text_of(value: Json) -> str:
    """What a model reads: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def data_in(text: str, form: Json, finish_reason: str | None, who: str) -> Json:
    """The answer as data; None if any text was wanted. A fence of Markdown around it does not count.

    Raises:
        ResultInvalid: it is no JSON, or breaks the schema; another attempt can be luckier.
    """
    if form is None:
        return None
    cut = ": it was cut off, max_tokens was reached" if finish_reason == "length" else ""
    fenced = _FENCED.fullmatch(text)
    try:
        value = json.loads(fenced[1] if fenced else text, parse_constant=_refused)
    except (ValueError, RecursionError):
        raise ResultInvalid(f"{who}: the answer is no JSON{cut}", retryable=True) from None
    found = problems(form, value) if isinstance(form, dict) else []
    if found:
        named = [f"{path_text(p.path)}: {p.message}" if p.path else p.message for p in found[:_LISTED]]
        raise ResultInvalid(f"{who}: the answer breaks its schema: {'; '.join(named)}", retryable=True)
    return value


def _refused(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _paths(given: dict[str, Json], files: Files) -> list[str]:
    named = [given.get("file_path"), given.get("file"), *(given.get("files") or [])]
    named += [given.get("image_path"), *(given.get("image_paths") or [])]
    paths = [path for path in named if path]
    if directory := given.get("directory"):
        paths += files.below(directory, given["file_pattern"])
    return list(dict.fromkeys(paths))


def _messages(method: str, given: dict[str, Json]) -> list[Message]:
    messages = [
        Message(
            one["role"],
            text_of(one["content"]),
            tuple(image_in(text, f"messages[{n}].images") for text in one.get("images") or []),
        )
        for n, one in enumerate(given.get("messages") or [])
    ]
    if given.get("system") is not None:
        messages.insert(0, Message("system", given["system"]))
    if given.get("prompt") is not None:
        messages.append(Message("user", text_of(given["prompt"])))
    if not messages:
        raise ParameterInvalid(f"{method}: expected messages or prompt")
    return messages


def _with_files(ask: Ask, paths: list[str], images: list[Image], files: Files) -> Ask:
    """Texts and images belong to the last message of the user; there is one then."""
    if not paths and not images:
        return ask
    messages = list(ask.messages)
    last = next((n for n in range(len(messages) - 1, -1, -1) if messages[n].role == "user"), None)
    if last is None:
        last = len(messages)
        messages.append(Message("user", ""))
    text, found = messages[last].text, [*messages[last].images, *images]
    for path in paths:
        if is_image(path):
            found.append(files.image(path))
        else:
            text += f"\n\nFile content from {path}:\n{files.text(path)}"
    messages[last] = Message("user", text, tuple(found))
    return replace(ask, messages=tuple(messages))


def _form(method: str, given: dict[str, Json]) -> Json:
    schema, asked = given.get("schema"), given.get("response_format")
    if schema is not None and asked is not None:
        raise ParameterInvalid(f"{method}: expected either schema or response_format")
    if asked is not None:
        match asked:
            case {"type": "text"}:
                return None
            case {"type": "json_object"}:
                return "json"
            case {"type": "json_schema", "json_schema": {"schema": dict() as schema}}:
                pass
            case _:
                raise ParameterInvalid(
                    f"{method}: response_format: expected the type text, json_object, or json_schema with "
                    "json_schema.schema"
                )
    if schema is not None:
        try:
            check_schema(schema)
        except MalformedData as problem:
            raise ParameterInvalid(f"{method}: {problem}") from problem
    return schema


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _stops(value: Json) -> tuple[str, ...]:
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)
