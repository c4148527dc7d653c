"""One LLM server: requests to it, its streams, and what its refusals mean.

A refusal that may pass by itself can be retried, and carries the server's ``Retry-After`` on. Where another
back end may be able to help, since there is no connection or no such model, it is :class:`Elsewhere`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, NoReturn

import aiohttp

from gleitzeitd.errors import ExecutionFailed, RateLimited, ResultInvalid, TaskError
from gleitzeitd.plain import Json
from gleitzeitd.providers.http_send import RETRYABLE, retry_after
from gleitzeitd.providers.llm_access import Access, BackendSettings, Scrubber
from gleitzeitd.providers.llm_files import Image

SHOWN = 300
"""Characters of what a server says that an error repeats."""
REFUSAL_BYTES = 16384
"""Of a refusal that are read."""


@dataclass(frozen=True, slots=True)
class Message:
    """One of a conversation."""

    role: str
    text: str
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a model is asked, in nobody's dialect."""

    model: str
    messages: tuple[Message, ...]
    single: bool = False
    """One prompt, and not a turn in a conversation."""
    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    form: Json = None
    """Of the answer: None is any text, ``"json"`` some JSON, a table the JSON Schema of it."""
    response_format: dict[str, Json] | None = None
    """As it was given, for servers that understand it."""
    options: dict[str, Json] = field(default_factory=dict)
    stream: bool = True


@dataclass(slots=True)
class Answer:
    """What a server has said, as far as it has."""

    model: str
    parts: list[str] = field(default_factory=list)
    role: str = "assistant"
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    nanoseconds: int | None = None
    """As the server has counted them."""
    done: bool = False

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.parts)


@dataclass(frozen=True, slots=True)
class Embedded:
    """A vector for each text."""

    model: str
    vectors: list[list[float]]
    tokens: int | None


class Elsewhere(Exception):
    """This back end cannot; another one may."""

    def __init__(self, error: TaskError) -> None:
        super().__init__(str(error))
        self.error = error
        """If there is no other."""


class MissingPath(Exception):
    """The server has no such address: it is older, or another one."""


class Backend(ABC):
    """One server."""

    models_path: str
    """Answers GET when the server is well."""

    def __init__(
        self,
        settings: BackendSettings,
        access: Access,
        session: Callable[[], aiohttp.ClientSession],
        limit: int,
    ) -> None:
        """``limit``: bytes of a response."""
        self.settings = settings
        self.name = settings.name
        self._access = access
        self._session = session
        self._limit = limit
        self._scrubber = Scrubber(access.secrets)

    @property
    def url(self) -> str:
        """Its address, which holds no secret."""
        return self._access.url

    @property
    def problem(self) -> str:
        """Why nothing can be asked of it; empty if it can."""
        return self._access.problem

    @property
    def secrets(self) -> tuple[str, ...]:
        """What may appear nowhere."""
        return self._access.secrets

    def fits(self, model: str) -> int | None:
        """How closely: 0 if a pattern names the model, 1 if this back end takes all; None if not at all."""
        found = [pattern for pattern in self.settings.models if fnmatchcase(model, pattern)]
        return None if not found else int(all(pattern == "*" for pattern in found))

    @abstractmethod
    async def ask(self, ask: Ask, on_text: Callable[[str], None]) -> Answer:
        """The whole answer; ``on_text`` gets its parts as they come.

        Raises:
            Elsewhere: no connection, or no such model.
            RateLimited: the server asks for fewer requests.
            TaskError: why there is no answer.
        """

    @abstractmethod
    async def embed(self, model: str, texts: list[str]) -> Embedded:
        """Their vectors. Raises as ``ask`` does."""

    async def reach(self) -> str:
        """``ok``, or why the server cannot be reached."""
        try:
            url = f"{self.url}{self.models_path}"
            async with self._session().get(url, headers=self._access.headers, allow_redirects=False):
                return "ok"  # whatever it says, it is there
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as problem:
            return self._scrubber.text(f"{self.name} ({self.url}): {_words(problem)}")

    @asynccontextmanager
    async def _post(self, path: str, body: Json, model: str) -> AsyncIterator[aiohttp.ClientResponse]:
        url = f"{self.url}{path}"
        try:
            async with self._session().post(
                url, json=body, headers=self._access.headers, allow_redirects=False
            ) as response:
                if not 200 <= response.status < 300:
                    await self._refuse(response, model)
                yield response
        except aiohttp.ClientConnectorError as problem:
            text = f"{self._who(model)}: no connection to {self.url}: {_words(problem)}"
            raise Elsewhere(ExecutionFailed(self._scrubber.text(text), retryable=True)) from None
        except (aiohttp.ClientError, OSError, TimeoutError) as problem:
            text = f"{self._who(model)}: {self.url}: {_words(problem)}"
            # Not "from": what aiohttp raises remembers the request's headers.
            raise ExecutionFailed(self._scrubber.text(text), retryable=True) from None

    async def _refuse(self, response: aiohttp.ClientResponse, model: str) -> NoReturn:
        data = await response.content.read(REFUSAL_BYTES)
        status = response.status
        said, code = _complaint(data)
        said = self._scrubber.text(said)[:SHOWN]
        text = f"{self._who(model)}: status {status}{f': {said}' if said else ''}"
        wait = retry_after(response.headers.get("Retry-After", ""), datetime.now(UTC))
        if status == 429:
            spent = code == "insufficient_quota"  # no time will help
            raise RateLimited(text, retry_after=wait, retryable=False if spent else None)
        if status in (401, 403):
            raise ExecutionFailed(f"{text}. {self._about_keys()}", retryable=False)
        if status in (404, 405) and code is None:
            raise MissingPath(text)
        if status == 404:
            raise Elsewhere(ExecutionFailed(text, retryable=False))
        if 300 <= status < 400:
            text = f"{text}: it sends us elsewhere; base_url has to name the place itself"
        raise ExecutionFailed(text, retryable=status >= 500 or status in RETRYABLE, retry_after=wait)

    def _about_keys(self) -> str:
        if not self._access.headers:
            return (
                "No key was sent: key_credential or key_variable names one (OPENAI_API_KEY, without settings)"
            )
        return "The key that was sent is not accepted"

    def _who(self, model: str) -> str:
        return f"{self.name}, model {model}"

    async def _lines(
        self, response: aiohttp.ClientResponse, model: str, take: Callable[[bytes], bool]
    ) -> None:
        """Give each line to ``take``, until that is True or there are no more."""
        rest, total = bytearray(), 0
        async for part in response.content.iter_any():
            total += len(part)
            self._check_size(total, model)
            rest += part
            if b"\n" not in part:
                continue
            *lines, tail = bytes(rest).split(b"\n")
            rest = bytearray(tail)
            # Not any(): what follows the last one in the same part is not needed.
            if any(take(line.strip()) for line in lines if line.strip()):
                return
        if rest.strip():
            take(bytes(rest).strip())

    async def _body(self, response: aiohttp.ClientResponse, model: str) -> Json:
        data = bytearray()
        async for part in response.content.iter_chunked(65536):
            data += part
            self._check_size(len(data), model)
        return self._parsed(bytes(data), model)

    def _check_size(self, size: int, model: str) -> None:
        if size > self._limit:
            raise ResultInvalid(
                f"{self._who(model)}: the answer is larger than the {self._limit} bytes allowed"
            )

    def _parsed(self, data: bytes, model: str) -> dict[str, Any]:
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            shown = self._scrubber.text(data[:SHOWN].decode("utf-8", "replace"))
            raise ExecutionFailed(f"{self._who(model)}: expected JSON, found: {shown}", retryable=True)
        if error := found.get("error"):
            said, _ = _complaint(json.dumps({"error": error}).encode())
            text = self._scrubber.text(said)[:SHOWN]
            raise ExecutionFailed(f"{self._who(model)}: {text}", retryable=True)
        return found

    def _cut_off(self, model: str) -> ExecutionFailed:
        return ExecutionFailed(f"{self._who(model)}: the answer broke off before its end", retryable=True)

    def _strange(self, model: str, what: str) -> ExecutionFailed:
        return ExecutionFailed(f"{self._who(model)}: expected {what} in the response", retryable=True)


def _complaint(data: bytes) -> tuple[str, str | None]:
    """What a server says is wrong, and its code; None if it is not one of an API."""
    text = data.decode("utf-8", "replace").strip()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return " ".join(text.split()), None
    error = found.get("error", found.get("detail")) if isinstance(found, dict) else None
    if isinstance(error, dict):
        return str(error.get("message") or error), str(error.get("code") or error.get("type") or "")
    if isinstance(error, str):
        # FastAPI's servers say so when there is no such address.
        return error, None if error in ("Not Found", "Method Not Allowed") else ""
    return " ".join(text.split()), None


def _words(problem: BaseException) -> str:
    if isinstance(problem, aiohttp.ClientConnectorError) and problem.strerror:
        return problem.strerror
    return str(problem) or type(problem).__name__


def number(value: Json) -> int | None:
    """A count, if it is one."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def vectors(value: Json) -> list[list[float]] | None:
    """The vectors, if that is what it is."""
    if not isinstance(value, list) or not all(isinstance(one, list) and one for one in value):
        return None
    if not all(isinstance(x, (int, float)) and not isinstance(x, bool) for one in value for x in one):
        return None
    return [[float(x) for x in one] for one in value]
