"""How a request is sent: with the access of its address, through redirections, and again where that is safe.

A request is sent again only if that cannot do anything twice: its method is idempotent (RFC 9110, 9.2.2), or
it bears an Idempotency-Key. Whatever else fails is raised, and the task's own ``retry`` decides. A server's
``Retry-After`` is honoured: if it asks for more than ``retry_wait_seconds``, the error is raised at once and
carries it on.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ssl import SSLContext
from typing import Any, NoReturn, TypeVar

import aiohttp
from yarl import URL

from gleitzeitd.errors import ExecutionFailed, ParameterInvalid, RateLimited, TaskError
from gleitzeitd.providers.http_access import Access, same_origin
from gleitzeitd.providers.llm_access import Scrubber

T = TypeVar("T")

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
RETRYABLE = frozenset({408, 425, 429})
"""Of the statuses below 500."""
RETRY_AFTER_LIMIT = 86400.0
"""Seconds; a server that asks for more gets this."""
FIRST_WAIT = 0.5
"""Seconds before a request is sent again for the first time; doubled for each further time."""
TOKEN_BYTES = 2**20
"""Of what a token server says."""
_USER = re.compile(r"(https?://)[^/?#\s]*@", re.IGNORECASE)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_OF_ONE_ORIGIN = frozenset({"authorization", "cookie", "proxy-authorization"})
"""Headers that do not follow to another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request."""

    method: str
    url: str
    headers: dict[str, str] | None = None
    params: dict[str, Any] | None = None
    body: dict[str, Any] = field(default_factory=dict)
    """``json`` or ``data``, as aiohttp has them."""
    allow_redirects: bool = True
    verify: bool = True
    retries: int = 0

    @property
    def place(self) -> str:
        """Method and address for messages: without a password."""
        return f"{self.method} {_shown(self.url)}"

    def is_safe(self) -> bool:
        """Whether it does no harm if it is sent twice."""
        named = {name.lower() for name in self.headers or {}}
        return self.method in IDEMPOTENT or "idempotency-key" in named


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How requests travel."""

    max_redirects: int
    connect_seconds: float
    retry_wait_seconds: float
    connections: int
    use_proxy: bool
    user_agent: str


class Sender:
    """Sends requests; for one event loop."""

    def __init__(
        self, way: Way, access: list[Access], pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._way = way
        self._access = access
        self._pause = pause
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @property
    def scrubber(self) -> Scrubber:
        """Takes the secrets out that are in use now."""
        return Scrubber(secret for access in self._access for secret in access.secrets)

    async def exchange(self, ask: Ask, consume: Callable[[aiohttp.ClientResponse], Awaitable[T]]) -> T:
        """What ``consume`` makes of the response. It is called again if the request is sent again.

        Raises:
            ParameterInvalid: the address leads nowhere, or in circles.
            ExecutionFailed, RateLimited: no response, or what ``consume`` raises.
        """
        for attempt in range(ask.retries + 1):
            try:
                return await self._once(ask, consume)
            except TaskError as error:
                wait = self._wait(ask, error, attempt)
                if wait is None:
                    raise self._without_secrets(error) from error.__cause__
            await self._pause(wait)
        raise AssertionError("the last attempt raises")

    def _wait(self, ask: Ask, error: TaskError, attempt: int) -> float | None:
        """Seconds until the next attempt; None: there is none."""
        if attempt >= ask.retries or not error.retryable or not ask.is_safe():
            return None
        backoff = FIRST_WAIT * 2**attempt * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        wait = max(error.retry_after or 0.0, min(backoff, self._way.retry_wait_seconds))
        return wait if wait <= self._way.retry_wait_seconds else None

    def _without_secrets(self, error: TaskError) -> TaskError:
        text = self.scrubber.text(str(error))
        if text == str(error):
            return error
        return type(error)(text, retryable=error.retryable, retry_after=error.retry_after)

    async def _once(self, ask: Ask, consume: Callable[[aiohttp.ClientResponse], Awaitable[T]]) -> T:
        try:
            async with self._sent(ask) as response:
                return await consume(response)
        except (aiohttp.InvalidURL, aiohttp.TooManyRedirects, ValueError) as error:
            raise ParameterInvalid(f"{ask.place}: {type(error).__name__}: {_shown(str(error))}") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise ExecutionFailed(f"{ask.place}: {why}", retryable=True) from error

    @asynccontextmanager
    async def _sent(self, ask: Ask) -> AsyncIterator[aiohttp.ClientResponse]:
        options: dict[str, Any] = {"headers": ask.headers, "params": ask.params, **ask.body}
        if not ask.verify:
            options["ssl"] = False
        # Each hop is judged anew: what is secret stays with the server that it is for.
        method, url = ask.method, URL(ask.url)
        for _ in range(self._way.max_redirects + 1):
            response = await self._authorized(method, url, options)
            async with response:
                target = _redirection(response) if ask.allow_redirects else None
                if target is None:
                    yield response
                    return
            same = same_origin(url, target)
            method, options = _following(method, response.status, options, same)
            if same and target.user is None:
                target = target.with_user(url.user).with_password(url.password)
            url = target
        raise ParameterInvalid(f"{ask.place}: TooManyRedirects: {url.origin()}")

    async def _authorized(self, method: str, url: URL, options: dict[str, Any]) -> aiohttp.ClientResponse:
        access = self._access_to(str(url))
        if access is None:
            return await self._open().request(method, url, allow_redirects=False, **options)
        if "ssl" in options and url.scheme == "https":
            raise ParameterInvalid(
                f"{method} {url.origin()}: verify: expected true, because access {access.settings.name} "
                "sends secrets there; its ca is for certificates of other authorities"
            )
        ssl = {} if access.context is None else {"ssl": access.context}
        for again in (True, False):
            own = await access.headers(self._fetch)
            given = {k: v for k, v in (options["headers"] or {}).items() if k.lower() not in _names(own)}
            response = await self._open().request(
                method, url, allow_redirects=False, **{**options, **ssl, "headers": {**given, **own}}
            )
            if response.status != 401 or not again or not access.refused(own):
                break
            response.release()  # it did nothing, so it can be sent again, whatever it is
        return response

    async def _fetch(
        self, url: str, form: dict[str, str], headers: dict[str, str], context: SSLContext | None
    ) -> Any:
        options: dict[str, Any] = {} if context is None else {"ssl": context}
        place = f"token server {URL(url).origin()}"
        try:
            async with self._open().post(
                url, data=form, headers=headers, allow_redirects=False, **options
            ) as response:
                data = await response.content.read(TOKEN_BYTES)
                status, said = response.status, _token_answer(data)
                kept = {name.lower(): value for name, value in response.headers.items()}
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            raise ExecutionFailed(f"{place}: {why}", retryable=True) from error
        if status != 200:
            words = [str(said[key])[:200] for key in ("error", "error_description") if said.get(key)]
            fail(status, f"{place}: {': '.join([f'status {status}', *words])}", kept)
        return said

    def _access_to(self, url: str) -> Access | None:
        if not self._access:
            return None
        try:
            address = URL(url)
            return next((one for one in self._access if one.covers(address)), None)
        except ValueError:
            return None  # aiohttp says what is wrong with it

    def _open(self) -> aiohttp.ClientSession:
        # A session belongs to a running loop, so the first call makes it.
        if self._session is None:
            way = self._way
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=way.connections),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=way.connect_seconds),
                trust_env=way.use_proxy,
                headers={"User-Agent": way.user_agent},
            )
        return self._session


def fail(status: int, message: str, headers: Mapping[str, str]) -> NoReturn:
    """Raise the error that stands for a status; names of ``headers`` are in lower case."""
    wait = retry_after(headers.get("retry-after", ""), datetime.now(UTC))
    if status == 429:
        raise RateLimited(message, retry_after=wait)
    raise ExecutionFailed(message, retryable=status >= 500 or status in RETRYABLE, retry_after=wait)


def retry_after(value: str, now: datetime) -> float | None:
    """Seconds that a header Retry-After asks for (RFC 9110, 10.2.3); None if it says nothing."""
    value = value.strip()
    if value.isascii() and value.isdecimal():
        return min(float(value), RETRY_AFTER_LIMIT)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return min(max((at - now).total_seconds(), 0.0), RETRY_AFTER_LIMIT)


def _shown(text: str) -> str:
    return _USER.sub(r"\1", text)


def _redirection(response: aiohttp.ClientResponse) -> URL | None:
    """Where a response leads to (RFC 9110, 15.4); None if it is the end."""
    place = response.headers.get("Location", "")
    if response.status not in _REDIRECTS or not place:
        return None
    target = response.url.join(URL(place))
    if target.scheme not in ("http", "https") or not target.host:
        raise aiohttp.InvalidURL(place)
    return target


def _following(
    method: str, status: int, options: dict[str, Any], same_origin: bool
) -> tuple[str, dict[str, Any]]:
    """The method and the options of the request that follows a redirection."""
    kept = {key: value for key, value in options.items() if key != "params"}
    if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
        method = "GET"
        kept = {key: value for key, value in kept.items() if key not in ("json", "data")}
    if not same_origin and kept["headers"]:
        kept["headers"] = {k: v for k, v in kept["headers"].items() if k.lower() not in _OF_ONE_ORIGIN}
    return method, kept


def _names(headers: Mapping[str, str]) -> set[str]:
    return {name.lower() for name in headers}


def _token_answer(data: bytes) -> dict[str, Any]:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
