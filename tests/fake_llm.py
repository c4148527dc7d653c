"""A language model that is a few lines long, behind Ollama's API and OpenAI's, on the loopback.

What it says follows from what it was asked alone: ``You said: <the last message of the user>``, with the number and
kinds of the images, or an object that fits the schema asked for. Everything that was asked is kept. Failures are
queued: each request takes one of them, and is answered when there are none left.

    python -m tests.fake_llm --port 11434 --fail 500 --fail 429:2     # a server to try things out with
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import re
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass(frozen=True)
class Asked:
    """One request."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    at: float
    """On the monotonic clock."""

    @property
    def text(self) -> str:
        """All that was sent, as JSON with the characters as they are."""
        return json.dumps(self.body, ensure_ascii=False)


@dataclass(frozen=True)
class Failure:
    """An answer that is none."""

    status: int
    body: str = '{"error": {"message": "told to fail", "type": "server_error"}}'
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class FakeLlm:
    """The server; ``url`` once it runs."""

    models: list[str] | None = None
    """None: any."""
    old: bool = False
    """An Ollama that knows no conversations and no lists of texts."""
    key: str = ""
    """Asked for, if it is not empty."""
    says: Callable[[str], str] | None = None
    """What is said to a prompt; as the module says, if it is None."""
    pause: Callable[[int], Any] | None = None
    """Awaited before each word, with its number."""
    asked: list[Asked] = field(default_factory=list)
    failures: deque[Failure] = field(default_factory=deque)
    most: int = 0
    """Requests that were under way at once."""
    answering: set[asyncio.Task[Any]] = field(default_factory=set)
    url: str = ""

    def fail(self, *statuses: int, **more: Any) -> None:
        """Queue failures."""
        self.failures.extend(Failure(status, **more) for status in statuses)

    def app(self) -> web.Application:
        """Everything it serves."""
        app = web.Application(client_max_size=2**26)
        app.router.add_get("/api/tags", self._tags)
        app.router.add_get("/v1/models", self._tags)
        app.router.add_post("/api/generate", self._ollama)
        app.router.add_post("/api/embeddings", self._embedding)
        if not self.old:
            app.router.add_post("/api/chat", self._ollama)
            app.router.add_post("/api/embed", self._embeddings)
        app.router.add_post("/v1/chat/completions", self._openai)
        app.router.add_post("/v1/embeddings", self._openai_embeddings)
        return app

    @contextlib.asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[FakeLlm]:
        """On 127.0.0.1, while this lasts."""
        runner = web.AppRunner(self.app())
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            for answering in self.answering:
                answering.cancel()
            await runner.cleanup()

    # --- what it says -------------------------------------------------------------------------

    def answer(self, prompt: str, images: list[bytes], form: Any) -> str:
        """The same for the same."""
        if self.says is not None:
            return self.says(prompt)
        if form == "json":
            return json.dumps({"said": prompt})
        if isinstance(form, dict):
            return json.dumps(_instance(form, prompt))
        seen = f" I see {len(images)}: {', '.join(map(_kind, images))}." if images else ""
        return f"You said: {prompt}{seen}"

    async def _admit(
        self, request: web.Request, *, ollama: bool
    ) -> tuple[dict[str, Any], web.Response | None]:
        body = await request.json()
        self.asked.append(Asked(request.path, body, dict(request.headers), time.monotonic()))
        if self.failures:
            failure = self.failures.popleft()
            reply = web.Response(status=failure.status, text=failure.body, headers=failure.headers)
            reply.content_type = "application/json"
            return body, reply
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            sent = request.headers.get("Authorization", "")
            return body, _error(401, f"Incorrect API key provided: {sent}", ollama=ollama)
        if self.models is not None and body["model"] not in self.models:
            return body, _error(404, f"model '{body['model']}' not found", ollama=ollama)
        return body, None

    async def _tags(self, _request: web.Request) -> web.Response:
        return web.json_response({"models": [{"name": name} for name in self.models or []]})

    async def _words(self, text: str) -> AsyncIterator[str]:
        for number, word in enumerate(re.findall(r"\S+\s*|\s+", text)):
            if self.pause is not None:
                await self.pause(number)
            yield word

    @contextlib.contextmanager
    def _counted(self) -> Any:
        task = asyncio.current_task()
        assert task is not None
        self.answering.add(task)
        self.most = max(self.most, len(self.answering))
        try:
            yield
        finally:
            self.answering.discard(task)

    # --- Ollama -------------------------------------------------------------------------------

    async def _ollama(self, request: web.Request) -> web.StreamResponse:
        body, refusal = await self._admit(request, ollama=True)
        if refusal is not None:
            return refusal
        chat = request.path == "/api/chat"
        if chat:
            prompt = body["messages"][-1]["content"]
            images = [base64.b64decode(i) for m in body["messages"] for i in m.get("images", [])]
        else:
            prompt, images = body["prompt"], [base64.b64decode(i) for i in body.get("images", [])]

        def part(text: str) -> dict[str, Any]:
            said = {"message": {"role": "assistant", "content": text}} if chat else {"response": text}
            return {"model": body["model"], "created_at": "2030-01-01T00:00:00Z", **said, "done": False}

        text = self.answer(prompt, images, body.get("format"))
        with self._counted():
            if not body.get("stream", True):
                words = [word async for word in self._words(text)]
                return web.json_response({**part("".join(words)), **_ollama_end(prompt, text)})
            response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
            await response.prepare(request)
            async for word in self._words(text):
                await response.write(json.dumps(part(word)).encode() + b"\n")
            await response.write(json.dumps({**part(""), **_ollama_end(prompt, text)}).encode() + b"\n")
        return response

    async def _embeddings(self, request: web.Request) -> web.Response:
        body, refusal = await self._admit(request, ollama=True)
        if refusal is not None:
            return refusal
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        made = {"model": body["model"], "embeddings": [vector(text) for text in texts]}
        return web.json_response({**made, "prompt_eval_count": sum(len(text.split()) for text in texts)})

    async def _embedding(self, request: web.Request) -> web.Response:
        body, refusal = await self._admit(request, ollama=True)
        return web.json_response({"embedding": vector(body["prompt"])}) if refusal is None else refusal

    # --- OpenAI -------------------------------------------------------------------------------

    async def _openai(self, request: web.Request) -> web.StreamResponse:
        body, refusal = await self._admit(request, ollama=False)
        if refusal is not None:
            return refusal
        prompt, images = _openai_prompt(body["messages"])
        wanted = body.get("response_format") or {"type": "text"}
        form = {"json_object": "json"}.get(wanted["type"])
        if wanted["type"] == "json_schema":
            form = wanted["json_schema"]["schema"]
        text = self.answer(prompt, images, form)
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split())}
        usage["total_tokens"] = sum(usage.values())
        about = {"id": "chatcmpl-1", "created": 1, "model": body["model"]}
        with self._counted():
            if not body.get("stream"):
                words = [word async for word in self._words(text)]
                message = {"role": "assistant", "content": "".join(words)}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                return web.json_response({**about, "choices": [choice], "usage": usage})
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
            await response.prepare(request)
            async for word in self._words(text):
                choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
                await response.write(_event({**about, "choices": [choice]}))
            choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
            await response.write(_event({**about, "choices": [choice]}))
            if body.get("stream_options", {}).get("include_usage"):
                await response.write(_event({**about, "choices": [], "usage": usage}))
            await response.write(b"data: [DONE]\n\n")
        return response

    async def _openai_embeddings(self, request: web.Request) -> web.Response:
        body, refusal = await self._admit(request, ollama=False)
        if refusal is not None:
            return refusal
        rows = [{"index": n, "embedding": vector(text)} for n, text in enumerate(body["input"])]
        rows.reverse()  # their order is in their index
        return web.json_response({"model": body["model"], "data": rows, "usage": {"prompt_tokens": 3}})


def vector(text: str) -> list[float]:
    """Three numbers."""
    return [float(len(text)), float(sum(text.encode()) % 97), float(text.count(" "))]


def _openai_prompt(messages: list[dict[str, Any]]) -> tuple[str, list[bytes]]:
    images, prompt = [], ""
    for message in messages:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        prompt = "".join(part["text"] for part in parts if part["type"] == "text")
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        images += [base64.b64decode(url.partition(",")[2]) for url in urls]
    return prompt, images


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def _ollama_end(prompt: str, text: str) -> dict[str, Any]:
    counts = {"prompt_eval_count": len(prompt.split()), "eval_count": len(text.split())}
    return {"done": True, "done_reason": "stop", "total_duration": 123_456_789, **counts}


def _error(status: int, message: str, *, ollama: bool) -> web.Response:
    error = message if ollama else {"message": message, "code": "refused"}
    return web.json_response({"error": error}, status=status)


def _kind(image: bytes) -> str:
    return "png" if image.startswith(b"\x89PNG") else "jpeg" if image.startswith(b"\xff\xd8") else "other"


def _instance(schema: dict[str, Any], prompt: str) -> Any:
    """Something that fits a plain schema."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: _instance(part, prompt) for name, part in schema.get("properties", {}).items()}
        case "array":
            return [_instance(schema.get("items", {}), prompt)]
        case "integer" | "number":
            return len(prompt)
        case "boolean":
            return True
        case _:
            return prompt


async def _main(port: int, failures: list[str], slow: float) -> None:
    async def pause(_number: int) -> None:
        await asyncio.sleep(slow)

    server = FakeLlm(pause=pause if slow else None)
    for failure in failures:
        status, _, after = failure.partition(":")
        server.fail(int(status), headers={"Retry-After": after} if after else {})
    async with server.serve(port):
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        shown = 0
        while True:
            await asyncio.sleep(0.1)
            for asked in server.asked[shown:]:
                sys.stdout.write(f"{asked.at:.2f} {asked.path} {asked.text[:2000]}\n")
                sys.stdout.flush()
            shown = len(server.asked)


if __name__ == "__main__":
    command = argparse.ArgumentParser(description="A fake LLM server on 127.0.0.1.")
    command.add_argument("--port", type=int, default=0)
    command.add_argument("--fail", action="append", default=[], metavar="STATUS[:RETRY-AFTER]")
    command.add_argument("--slow", type=float, default=0.0, metavar="SECONDS", help="before each word")
    given = command.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(given.port, given.fail, given.slow))
