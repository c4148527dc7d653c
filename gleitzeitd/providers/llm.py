"""``llm/v1``: language models, on any number of servers that speak OpenAI's API or Ollama's.

A model's name decides which server is asked: the first one with a pattern that names it, then those that
take any. One that cannot be reached, or does not have the model, is passed over for the next. Each model gets
so many requests at once; who has to wait for long goes back into the queue. What a server sends is shown to
watchers as it comes, and kept nowhere; the whole answer alone is the result.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

import aiohttp

from gleitzeitd.bounds import bounded, sized
from gleitzeitd.errors import ExecutionFailed, MalformedData, ParameterInvalid
from gleitzeitd.model.protocol import Protocol
from gleitzeitd.plain import Json
from gleitzeitd.providers.base import MethodCall, shorter, time_limit
from gleitzeitd.providers.kit import MethodProvider, MethodProviderSettings, method
from gleitzeitd.providers.llm_access import (
    WHAT_TO_SET,
    BackendSettings,
    ScrubbedStream,
    Scrubber,
    access_to,
    from_environment,
    usual_ollama,
)
from gleitzeitd.providers.llm_backend import Answer, Ask, Backend, Elsewhere
from gleitzeitd.providers.llm_conversation import asks_for, data_in
from gleitzeitd.providers.llm_files import Files
from gleitzeitd.providers.llm_lanes import Lane
from gleitzeitd.providers.llm_ollama import OllamaBackend
from gleitzeitd.providers.llm_openai import OpenAiBackend
from gleitzeitd.providers.llm_schema import (
    ANSWER,
    CHAT_EXAMPLES,
    DEFAULTS,
    EMBEDDING,
    PARAMETERS,
    VISION_EXAMPLES,
)

T = TypeVar("T")

LANES_KEPT = 10_000
"""Models that are remembered; a workflow may name as many as it likes."""
PROBE_SECONDS = 3.0
"""How long a server that was lost may take to show that it is back."""
_KINDS: dict[str, type[Backend]] = {"openai": OpenAiBackend, "ollama": OllamaBackend}
_FIRST_NAMES = {"llm/generate": "llm/complete", "llm/embeddings": "llm/embed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmSettings(MethodProviderSettings):
    """Which servers there are, and within which limits they are asked."""

    capacity: int = bounded(32, least=1, most=10_000)
    """Calls that are under way at once, of all models."""
    backends: list[BackendSettings] = field(default_factory=list)
    """The servers, each with name, kind (openai or ollama), base_url, models (patterns), key_credential or
    key_variable, and parallel (requests at once for one model). None: those of the variables OLLAMA_HOST,
    OPENAI_BASE_URL and OPENAI_API_KEY, else an Ollama on this host."""
    chat_model: str = sized("llama3.2", least=1, most=200)
    """For tasks that name no model."""
    vision_model: str = sized("llava", least=1, most=200)
    """The same for llm/vision."""
    embed_model: str = sized("nomic-embed-text", least=1, most=200)
    """The same for llm/embed."""
    directories: list[str] = field(default_factory=list)
    """Files that tasks name are read if they are below one of these. None: from anywhere this process may
    read, but never its credentials."""
    max_file_bytes: int = bounded(20 * 2**20, least=1, most=2**30, unit="bytes")
    """Of a file. A larger one fails the task."""
    max_response_bytes: int = bounded(64 * 2**20, least=1024, most=2**30, unit="bytes")
    """Of what a server sends for one request. More fails the task."""
    connect_seconds: float = bounded(10.0, above=0, most=600, unit="seconds")
    """Until a connection has to be there."""
    read_seconds: float = bounded(600.0, above=0, most=86400, unit="seconds")
    """A server from which nothing comes for so long is given up."""
    wait_seconds: float = bounded(3.0, least=0, most=4, unit="seconds")
    """How long a call waits here for its turn at a model, before it goes back into the queue."""
    use_proxy_environment: bool = False
    """Whether HTTP_PROXY, HTTPS_PROXY and NO_PROXY count."""

    def __post_init__(self) -> None:
        """Raises MalformedData."""
        names = [backend.name for backend in self.backends]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise MalformedData("backends", f"{twice[0]}: two back ends have this name")


class LlmProvider(MethodProvider):
    """Asks language models."""

    protocol_name = "llm/v1"
    Settings: ClassVar[type] = LlmSettings
    times_itself: ClassVar[bool] = True
    settings: Any

    def __init__(self, settings: Any = None, environment: Mapping[str, str] | None = None) -> None:
        """``environment``: that of the process, if it is None."""
        super().__init__(settings)
        methods = {
            name: replace(declared, parameters=PARAMETERS[_FIRST_NAMES.get(name, name)])
            for name, declared in self._protocol.methods.items()
        }
        self._protocol: Protocol = replace(self._protocol, methods=methods)
        self._environment = dict(os.environ if environment is None else environment)
        self._files = Files.within(self.settings.directories, self.settings.max_file_bytes, self._environment)
        self._backends: list[Backend] = []
        self._scrubber = Scrubber(())
        self._guessed = False
        self._session: aiohttp.ClientSession | None = None
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._lost: set[str] = set()
        """Names of back ends to which there was no connection."""

    async def start(self) -> None:
        """Raises ConfigError."""
        self._open()

    async def stop(self) -> None:
        session, self._session = self._session, None
        self._backends, self._lanes = [], {}
        if session is not None:
            await session.close()
        await super().stop()

    async def health(self) -> str:
        """Only servers that were lost are asked: nobody likes a question every ten seconds."""
        lost = [backend for backend in self._backends if backend.name in self._lost]
        if self._guessed or not lost or len(lost) < len(self._backends):
            return await super().health()
        said = await asyncio.gather(*(self._probe(backend) for backend in lost))
        return "ok" if "ok" in said else f"no server can be reached: {'; '.join(said)}"

    async def _probe(self, backend: Backend) -> str:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                said = await backend.reach()
        except TimeoutError:
            return f"{backend.name} ({backend.url}): no answer within {PROBE_SECONDS:g} s"
        if said == "ok":
            self._lost.discard(backend.name)
        return said

    @method(returns=ANSWER, examples=CHAT_EXAMPLES)
    async def chat(self, call: MethodCall, **parameters: Any) -> dict[str, Json]:
        """Continue a conversation."""
        return await self._ask(call, "llm/chat", parameters, self.settings.chat_model)

    @method(aliases=("generate",), returns=ANSWER)
    async def complete(self, call: MethodCall, **parameters: Any) -> dict[str, Json]:
        """Answer one prompt."""
        return await self._ask(call, "llm/complete", parameters, self.settings.chat_model)

    @method(returns=ANSWER, examples=VISION_EXAMPLES)
    async def vision(self, call: MethodCall, **parameters: Any) -> dict[str, Json]:
        """Answer a question about images."""
        return await self._ask(call, "llm/vision", parameters, self.settings.vision_model)

    @method(aliases=("embeddings",), returns=EMBEDDING)
    async def embed(self, call: MethodCall, **parameters: Any) -> dict[str, Json]:
        """Turn texts into vectors."""
        given = {**DEFAULTS["llm/embed"], **parameters}
        named = [given[key] for key in ("text", "prompt") if given.get(key) is not None]
        if given.get("file_path"):
            named.append(await asyncio.to_thread(self._files.text, given["file_path"]))
        if len(named) != 1 or named == [[]]:
            raise ParameterInvalid(f"{call.method}: expected one of text, prompt and file_path")
        texts = named[0] if isinstance(named[0], list) else named
        model = given.get("model") or self.settings.embed_model
        begun = time.monotonic()
        limit = shorter(given.get("timeout"), call.timeout)
        backend, made = await self._anywhere(model, limit, lambda one: one.embed(model, texts))
        result = {
            "embedding": made.vectors[0],
            "embeddings": made.vectors,
            "dimensions": len(made.vectors[0]),
            "model": made.model,
            "provider_id": backend.name,
            "tokens_used": made.tokens,
            "elapsed": round(time.monotonic() - begun, 6),
        }
        return {**result, "model": self._scrubber.text(made.model)}

    async def _ask(
        self, call: MethodCall, name: str, parameters: dict[str, Json], model: str
    ) -> dict[str, Json]:
        given = {**DEFAULTS[name], **parameters}
        model = given.get("model") or model
        begun = time.monotonic()
        asks = await asyncio.to_thread(asks_for, name, given, model, self._files)
        limit = shorter(given.get("timeout"), call.timeout)
        results = []
        for path, ask in asks:
            left = None if limit is None else max(0.001, limit - (time.monotonic() - begun))
            results.append({"file": path, **await self._one(call, ask, left)})
        if not given.get("batch_mode"):
            return {key: value for key, value in results[0].items() if key != "file"}
        return _joined(results)

    async def _one(self, call: MethodCall, ask: Ask, limit: float | None) -> dict[str, Json]:
        self._open()  # the secrets of the back ends are known then
        shown = ScrubbedStream(self._scrubber)

        def on_text(text: str) -> None:
            if ask.stream and (text := shown.feed(text)):
                call.on_partial(text)

        begun = time.monotonic()
        backend, answer = await self._anywhere(ask.model, limit, lambda one: one.ask(ask, on_text))
        if rest := shown.end():
            call.on_partial(rest)
        elapsed = time.monotonic() - begun
        result = _result(answer, backend.name, elapsed)
        who = f"{backend.name}, model {ask.model}"
        # Without secrets, since an error may repeat a part of it.
        text = self._scrubber.text(answer.text)
        result["json"] = data_in(text, ask.form, answer.finish_reason, who)
        scrubbed: dict[str, Json] = self._scrubber.json(result)
        return scrubbed

    async def _anywhere(
        self, model: str, limit: float | None, ask: Callable[[Backend], Awaitable[T]]
    ) -> tuple[Backend, T]:
        """What the first back end says that can say anything; each has ``limit`` seconds."""
        first: Elsewhere | None = None
        for backend in self._candidates(model):
            if backend.problem:
                first = first or Elsewhere(ExecutionFailed(backend.problem, retryable=False))
                continue
            wait = shorter(self.settings.wait_seconds, limit)
            assert wait is not None
            try:
                async with self._lane(backend, model).place(wait), time_limit(limit):
                    answer = await ask(backend)
            except Elsewhere as elsewhere:
                first = first or elsewhere
                if elsewhere.error.retryable:
                    self._lost.add(backend.name)
                continue
            self._lost.discard(backend.name)
            return backend, answer
        assert first is not None
        raise self._explained(first) from None

    def _candidates(self, model: str) -> list[Backend]:
        backends = self._open()
        fitting = [(rank, backend) for backend in backends if (rank := backend.fits(model)) is not None]
        if not fitting:
            known = ", ".join(f"{b.name} has {', '.join(b.settings.models)}" for b in backends)
            raise ParameterInvalid(f"model {model!r}: no back end has it: {known}")
        return [backend for _, backend in sorted(fitting, key=lambda pair: pair[0])]

    def _explained(self, elsewhere: Elsewhere) -> ExecutionFailed:
        error = elsewhere.error
        if self._guessed and error.retryable:
            url = self._backends[0].url
            return ExecutionFailed(
                f"there is no LLM server: none is configured, and nothing answers at {url}. {WHAT_TO_SET}",
                retryable=False,
            )
        return ExecutionFailed(str(error), retryable=error.retryable, retry_after=error.retry_after)

    def _open(self) -> list[Backend]:
        # A session belongs to a running loop, and the variables are read once.
        if self._backends:
            return self._backends
        found = self.settings.backends or from_environment(self._environment)
        self._guessed = not found
        self._backends = [
            _KINDS[one.kind](one, access_to(one, self._environment), self._connected, self._limit)
            for one in found or [usual_ollama()]
        ]
        self._scrubber = Scrubber(secret for backend in self._backends for secret in backend.secrets)
        return self._backends

    @property
    def _limit(self) -> int:
        limit: int = self.settings.max_response_bytes
        return limit

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            settings = self.settings
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),  # lanes and the capacity do that
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=settings.connect_seconds, sock_read=settings.read_seconds
                ),
                trust_env=settings.use_proxy_environment,
                headers={"User-Agent": "gleitzeit"},
            )
        return self._session

    def _lane(self, backend: Backend, model: str) -> Lane:
        key = (backend.name, model)
        lane = self._lanes.get(key)
        if lane is None:
            if len(self._lanes) >= LANES_KEPT:
                del self._lanes[next(iter(self._lanes))]
            lane = self._lanes[key] = Lane(f"{backend.name}, model {model}", backend.settings.parallel)
        return lane


def _result(answer: Answer, backend: str, elapsed: float) -> dict[str, Json]:
    counts = [count for count in (answer.prompt_tokens, answer.answer_tokens) if count is not None]
    text = answer.text
    return {
        "response": text,
        "content": text,
        "text": text,
        "role": answer.role,
        "model": answer.model,
        "provider_id": backend,
        "json": None,
        "tokens_used": sum(counts) if counts else None,
        "prompt_eval_count": answer.prompt_tokens,
        "eval_count": answer.answer_tokens,
        "total_duration": round(elapsed * 1e9) if answer.nanoseconds is None else answer.nanoseconds,
        "elapsed": round(elapsed, 6),
        "finish_reason": answer.finish_reason,
        "done": True,
    }


def _joined(results: list[dict[str, Json]]) -> dict[str, Json]:
    """One answer of many: the texts below each other, and the sums."""
    text = "\n\n".join(one["response"] for one in results)
    sums: dict[str, Json] = {}
    for key in ("tokens_used", "prompt_eval_count", "eval_count", "total_duration", "elapsed"):
        counts = [one[key] for one in results if one[key] is not None]
        sums[key] = sum(counts) if counts else None
    data = [one["json"] for one in results] if any(one["json"] is not None for one in results) else None
    shared = {"response": text, "content": text, "text": text, "json": data}
    last = {key: value for key, value in results[-1].items() if key != "file"}
    return {**last, **shared, **sums, "results": results}
