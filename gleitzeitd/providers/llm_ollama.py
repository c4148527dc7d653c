"""Ollama's own API. Old servers that know no conversations and only single embeddings are served, too."""

from __future__ import annotations

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


class OllamaBackend(Backend):
    """An Ollama server."""

    models_path = "/api/tags"

    async def ask(self, ask: Ask, on_text: Callable[[str], None]) -> Answer:
        if ask.single:
            return await self._generate(ask, on_text)
        try:
            turns = [_turn(message) for message in ask.messages]
            return await self._exchange("/api/chat", {"messages": turns}, ask, on_text)
        except MissingPath:
            return await self._generate(ask, on_text)

    async def _generate(self, ask: Ask, on_text: Callable[[str], None]) -> Answer:
        system = "\n\n".join(m.text for m in ask.messages if m.role in ("system", "developer"))
        turns = [m for m in ask.messages if m.role not in ("system", "developer")]
        body: dict[str, Json] = {"prompt": _transcript(turns)}
        if system:
            body["system"] = system
        if images := [image.base64() for message in turns for image in message.images]:
            body["images"] = images
        try:
            return await self._exchange("/api/generate", body, ask, on_text)
        except MissingPath as problem:
            raise self._no_ollama(problem) from None

    async def embed(self, model: str, texts: list[str]) -> Embedded:
        try:
            async with self._post("/api/embed", {"model": model, "input": texts}, model) as response:
                found: Any = await self._body(response, model)
        except MissingPath:
            return await self._embed_one_by_one(model, texts)
        made = vectors(found.get("embeddings"))
        if made is None or len(made) != len(texts):
            raise self._strange(model, f"{len(texts)} embeddings")
        return Embedded(str(found.get("model") or model), made, number(found.get("prompt_eval_count")))

    async def _embed_one_by_one(self, model: str, texts: list[str]) -> Embedded:
        every: list[list[float]] = []
        for text in texts:
            try:
                body = {"model": model, "prompt": text}
                async with self._post("/api/embeddings", body, model) as response:
                    found: Any = await self._body(response, model)
            except MissingPath as problem:
                raise self._no_ollama(problem) from None
            made = vectors([found.get("embedding")])
            if made is None:
                raise self._strange(model, "an embedding")
            every += made
        return Embedded(model, every, None)

    def _no_ollama(self, problem: MissingPath) -> Elsewhere:
        text = f"{problem}; {self.url} is no Ollama server, or an old one"
        return Elsewhere(ExecutionFailed(text, retryable=False))

    async def _exchange(
        self, path: str, body: dict[str, Json], ask: Ask, on_text: Callable[[str], None]
    ) -> Answer:
        request = {"model": ask.model, **body, "stream": ask.stream}
        if options := _options(ask):
            request["options"] = options
        if ask.form is not None:
            request["format"] = ask.form
        answer = Answer(ask.model)
        async with self._post(path, request, ask.model) as response:
            # One line or many: a server that does not stream sends the same, whole.
            await self._lines(response, ask.model, partial(self._take, answer, on_text))
        if not answer.done:
            raise self._cut_off(ask.model)
        return answer

    def _take(self, answer: Answer, on_text: Callable[[str], None], line: bytes) -> bool:
        part = self._parsed(line, answer.model)
        message = part.get("message")
        text = message.get("content") if isinstance(message, dict) else part.get("response")
        if isinstance(text, str) and text:
            answer.parts.append(text)
            on_text(text)
        if part.get("done") is True:
            answer.done = True
            answer.model = str(part.get("model") or answer.model)
            reason = part.get("done_reason")
            answer.finish_reason = reason if isinstance(reason, str) else None
            answer.prompt_tokens = number(part.get("prompt_eval_count"))
            answer.answer_tokens = number(part.get("eval_count"))
            answer.nanoseconds = number(part.get("total_duration"))
        return answer.done


def _turn(message: Message) -> dict[str, Json]:
    role = "system" if message.role == "developer" else message.role
    turn: dict[str, Json] = {"role": role, "content": message.text}
    if message.images:
        turn["images"] = [image.base64() for image in message.images]
    return turn


def _transcript(turns: list[Message]) -> str:
    """A conversation as one prompt; a single message is itself."""
    if len(turns) == 1:
        return turns[0].text
    said = [f"{'User' if m.role == 'user' else 'Assistant'}: {m.text}" for m in turns]
    return "\n\n".join([*said, "Assistant:"])


def _options(ask: Ask) -> dict[str, Json]:
    wanted: dict[str, Json] = {
        "temperature": ask.temperature,
        "num_predict": ask.max_tokens,
        "top_p": ask.top_p,
        "seed": ask.seed,
        "stop": list(ask.stop) or None,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    return given | ask.options
