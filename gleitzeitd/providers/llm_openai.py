"""OpenAI's API, as most servers speak it: vLLM, llama.cpp, LM Studio, LiteLLM, and services in the network.

They differ in what they understand. A parameter that a server refuses by name is spelled differently or left
out, and the request is made once more.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from gleitzeitd.errors import ExecutionFailed
from gleitzeitd.plain import Json
from gleitzeitd.providers.llm_backend import (
    Answer,
    Ask,
    Backend,
    Elsewhere,
    Embedded,
    Message,
    MissingPath,
    number,
    vectors,
)

_NEVER_OPTIONS = frozenset({"model", "messages", "stream", "n"})
_ROUNDS = 4
"""Requests at most for one call, each without what the one before was refused for."""


class OpenAiBackend(Backend):
    """A server that speaks OpenAI's API."""

    models_path = "/models"

    async def ask(self, ask: Ask, on_text: Callable[[str], None]) -> Answer:
        body = _request(ask)
        for _ in range(_ROUNDS):
            try:
                return await self._exchange(body, ask, on_text)
            except MissingPath as problem:
                raise self._no_such_path(problem) from None
            except ExecutionFailed as refusal:
                adapted = None if refusal.retryable else _adapted(body, str(refusal))
                if adapted is None:
                    raise
                body = adapted
        raise ExecutionFailed(
            f"{self._who(ask.model)}: the server accepts no request of ours", retryable=False
        )

    async def embed(self, model: str, texts: list[str]) -> Embedded:
        try:
            async with self._post("/embeddings", {"model": model, "input": texts}, model) as response:
                found: Any = await self._body(response, model)
        except MissingPath as problem:
            raise self._no_such_path(problem) from None
        rows = found.get("data")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self._strange(model, "data")
        ordered = sorted(rows, key=lambda row: number(row.get("index")) or 0)
        made = vectors([row.get("embedding") for row in ordered])
        if made is None or len(made) != len(texts):
            raise self._strange(model, f"{len(texts)} embeddings")
        usage = found.get("usage")
        tokens = number(usage.get("prompt_tokens")) if isinstance(usage, dict) else None
        return Embedded(str(found.get("model") or model), made, tokens)

    def _no_such_path(self, problem: MissingPath) -> Elsewhere:
        text = f"{problem}; {self.url} does not speak OpenAI's API (base_url commonly ends with /v1)"
        return Elsewhere(ExecutionFailed(text, retryable=False))

    async def _exchange(self, body: dict[str, Json], ask: Ask, on_text: Callable[[str], None]) -> Answer:
        answer = Answer(ask.model)
        begun = time.monotonic_ns()
        async with self._post("/chat/completions", body, ask.model) as response:
            if response.content_type == "text/event-stream":
                await self._lines(response, ask.model, partial(self._take, answer, on_text))
            else:
                self._whole(answer, on_text, await self._body(response, ask.model))
        if not answer.done:
            raise self._cut_off(ask.model)
        answer.nanoseconds = time.monotonic_ns() - begun
        return answer

    def _take(self, answer: Answer, on_text: Callable[[str], None], line: bytes) -> bool:
        field, _, data = line.partition(b":")
        data = data.strip()
        if field != b"data" or not data:
            return False  # a comment, or the name of an event
        if data == b"[DONE]":
            answer.done = True
            return True
        self._part(answer, on_text, self._parsed(data, answer.model), "delta")
        return False

    def _whole(self, answer: Answer, on_text: Callable[[str], None], found: Json) -> None:
        self._part(answer, on_text, found, "message")
        if not found.get("choices"):
            raise self._strange(answer.model, "choices")
        answer.done = True

    def _part(self, answer: Answer, on_text: Callable[[str], None], part: dict[str, Any], key: str) -> None:
        if isinstance(model := part.get("model"), str) and model:
            answer.model = model
        usage = part.get("usage")
        if isinstance(usage, dict):
            answer.prompt_tokens = number(usage.get("prompt_tokens"))
            answer.answer_tokens = number(usage.get("completion_tokens"))
        choices = part.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return
        message = choice.get(key)
        if isinstance(message, dict):
            if message.get("refusal"):
                text = self._scrubber.text(str(message["refusal"]))
                raise ExecutionFailed(f"{self._who(answer.model)}: refused: {text}", retryable=False)
            content = message.get("content")
            if isinstance(content, str) and content:
                answer.parts.append(content)
                on_text(content)
        if isinstance(reason := choice.get("finish_reason"), str):
            answer.finish_reason, answer.done = reason, True


def _request(ask: Ask) -> dict[str, Json]:
    wanted: dict[str, Json] = {
        "model": ask.model,
        "messages": [_turn(message) for message in ask.messages],
        "temperature": ask.temperature,
        "max_tokens": ask.max_tokens,
        "top_p": ask.top_p,
        "seed": ask.seed,
        "stop": list(ask.stop) or None,
        "response_format": _format(ask),
        "stream": ask.stream,
        "stream_options": {"include_usage": True} if ask.stream else None,
    }
    more = {key: value for key, value in ask.options.items() if key not in _NEVER_OPTIONS}
    return {key: value for key, value in wanted.items() if value is not None} | more


def _turn(message: Message) -> dict[str, Json]:
    if not message.images:
        return {"role": message.role, "content": message.text}
    parts: list[Json] = [{"type": "text", "text": message.text}] if message.text else []
    for image in message.images:
        url = f"data:{image.kind};base64,{image.base64()}"
        parts.append({"type": "image_url", "image_url": {"url": url}})
    return {"role": message.role, "content": parts}


def _format(ask: Ask) -> Json:
    if ask.response_format is not None:
        return ask.response_format
    if ask.form is None:
        return None
    if ask.form == "json":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": ask.form}}


def _adapted(body: dict[str, Json], refusal: str) -> dict[str, Json] | None:
    """The request without what the server does not understand; None if that is not what it says."""
    if "max_completion_tokens" in refusal and "max_tokens" in body:
        rest = {key: value for key, value in body.items() if key != "max_tokens"}
        return {**rest, "max_completion_tokens": body["max_tokens"]}
    for key in ("stream_options", "temperature"):
        if key in refusal and key in body:
            return {name: value for name, value in body.items() if name != key}
    return None
