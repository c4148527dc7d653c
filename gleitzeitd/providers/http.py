"""``http/v1``: one request, one response. No cookie and no state passes from a call to another.

A response fails the task if its status is 400 or above, or is not in ``expect_status`` if that is given.
What may pass by itself can be retried: a lost connection, 408, 425, 429 and everything from 500 on. 429
carries the server's ``Retry-After`` on.
"""

from __future__ import annotations

import json as json_
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, ClassVar, Literal, NoReturn

import aiohttp

from gleitzeitd.bounds import Bounds, bounded, sized
from gleitzeitd.errors import ExecutionFailed, ParameterInvalid, RateLimited, ResultInvalid
from gleitzeitd.plain import Json
from gleitzeitd.providers.base import MethodCall, shorter, time_limit
from gleitzeitd.providers.kit import MethodProvider, MethodProviderSettings, method
from gleitzeitd.providers.processes import Seconds

RETRYABLE = frozenset({408, 425, 429})
"""Of the statuses below 500."""
BODY_SHOWN = 300
"""Characters of a body that the error of a failed request carries."""
RETRY_AFTER_LIMIT = 86400.0
"""Seconds; a server that asks for more gets this."""

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
Url = Annotated[str, {"pattern": "^[hH][tT][tT][pP][sS]?://"}, Bounds(longest=65536)]
Params = Annotated[dict[str, str | int | float | list[str]] | None, "Added to the query of the URL."]
Headers = dict[str, str] | None
Statuses = Annotated[list[int] | None, "Statuses that are a success; below 400, if not given."]

_RESULT = {
    "type": "object",
    "required": ["status", "headers", "body", "json", "url", "elapsed"],
    "properties": {
        "status": {"type": "integer"},
        "headers": {"type": "object", "description": "Names in lower case; repeated ones joined by commas."},
        "body": {"type": "string"},
        "json": {"description": "The body, if its content type is JSON; else null."},
        "url": {"type": "string", "description": "After redirections."},
        "elapsed": {"type": "number", "description": "Seconds."},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings(MethodProviderSettings):
    """How requests are made, and within which limits."""

    capacity: int = bounded(64, least=1, most=10_000)
    """Requests that are under way at once."""
    max_body_bytes: int = bounded(2 * 2**20, least=1024, most=2**29, unit="bytes")
    """Of a response. A larger one fails the task."""
    connect_seconds: float = bounded(10.0, above=0, most=600, unit="seconds")
    """Until a connection has to be there."""
    max_redirects: int = bounded(10, least=0, most=100)
    """Followed at most; one more fails the task."""
    use_proxy_environment: bool = False
    """Whether HTTP_PROXY, HTTPS_PROXY and NO_PROXY count."""
    user_agent: str = sized("gleitzeit", least=1, most=200)
    """Header User-Agent of requests that bring none."""


class HttpProvider(MethodProvider):
    """Makes HTTP requests."""

    protocol_name = "http/v1"
    Settings: ClassVar[type] = HttpSettings
    times_itself: ClassVar[bool] = True
    settings: Any

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self._session: aiohttp.ClientSession | None = None

    async def stop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        await super().stop()

    @method(returns=_RESULT)
    async def request(
        self,
        call: MethodCall,
        url: Url,
        method: Method = "GET",
        headers: Headers = None,
        params: Params = None,
        json: Annotated[Any, "Sent as the body, with its content type."] = None,
        body: str | None = None,
        timeout: Seconds = None,  # noqa: ASYNC109 - a parameter of the protocol
        expect_status: Statuses = None,
        allow_redirects: bool = True,
        verify: Annotated[bool, "Whether the server's certificate has to be valid."] = True,
    ) -> dict[str, Json]:
        """Make a request."""
        if json is not None and body is not None:
            raise ParameterInvalid(f"{call.method}: expected either json or body")
        options: dict[str, Any] = {"headers": headers, "params": params, "allow_redirects": allow_redirects}
        if json is not None:
            options["json"] = json
        elif body is not None:
            options["data"] = body.encode()
        if not verify:
            options["ssl"] = False
        begun = time.monotonic()
        async with time_limit(shorter(timeout, call.timeout)):
            try:
                result = await self._exchange(method, url, options)
            except (aiohttp.InvalidURL, aiohttp.TooManyRedirects, ValueError) as error:
                raise ParameterInvalid(f"{method} {url}: {type(error).__name__}: {error}") from error
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                why = str(error) or type(error).__name__
                raise ExecutionFailed(f"{method} {url}: {why}", retryable=True) from error
        result["elapsed"] = round(time.monotonic() - begun, 6)
        self._judge(method, result, expect_status)
        return result

    @method(returns=_RESULT)
    async def get(
        self,
        call: MethodCall,
        url: Url,
        headers: Headers = None,
        params: Params = None,
        timeout: Seconds = None,  # noqa: ASYNC109
        expect_status: Statuses = None,
    ) -> dict[str, Json]:
        """Make a GET request."""
        return await self.request(
            call, url, "GET", headers, params, timeout=timeout, expect_status=expect_status
        )

    @method(returns=_RESULT)
    async def post(
        self,
        call: MethodCall,
        url: Url,
        headers: Headers = None,
        params: Params = None,
        json: Any = None,
        body: str | None = None,
        timeout: Seconds = None,  # noqa: ASYNC109
        expect_status: Statuses = None,
    ) -> dict[str, Json]:
        """Make a POST request."""
        return await self.request(
            call, url, "POST", headers, params, json, body, timeout=timeout, expect_status=expect_status
        )

    async def _exchange(self, method: str, url: str, options: dict[str, Any]) -> dict[str, Json]:
        settings = self.settings
        async with self._open().request(
            method, url, max_redirects=settings.max_redirects + 1, **options
        ) as response:
            data = bytearray()
            async for part in response.content.iter_chunked(65536):
                data += part
                if len(data) > settings.max_body_bytes:
                    response.close()
                    limit = settings.max_body_bytes
                    raise ResultInvalid(f"{method} {url}: the body is larger than the {limit} bytes allowed")
            headers: dict[str, Json] = {}
            for name, value in response.headers.items():
                key = name.lower()
                headers[key] = f"{headers[key]}, {value}" if key in headers else value
            return {
                "status": response.status,
                "headers": headers,
                "body": _text(bytes(data), response.charset),
                "json": _json(bytes(data), response.content_type),
                "url": str(response.url),
            }

    def _open(self) -> aiohttp.ClientSession:
        # A session belongs to a running loop, so the first call makes it.
        if self._session is None:
            settings = self.settings
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=settings.capacity),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.connect_seconds),
                trust_env=settings.use_proxy_environment,
                headers={"User-Agent": settings.user_agent},
            )
        return self._session

    def _judge(self, method: str, result: dict[str, Json], expected: list[int] | None) -> None:
        status: int = result["status"]
        if status in expected if expected else status < 400:
            return
        body = result["body"].strip()[:BODY_SHOWN]
        message = f"{method} {result['url']}: status {status}{f': {body}' if body else ''}"
        _fail(status, message, result["headers"])


def _fail(status: int, message: str, headers: Mapping[str, str]) -> NoReturn:
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


def _text(data: bytes, charset: str | None) -> str:
    try:
        return data.decode(charset or "utf-8", "replace")
    except LookupError:  # a charset that Python does not know
        return data.decode("utf-8", "replace")


def _json(data: bytes, content_type: str) -> Json:
    if content_type != "application/json" and not content_type.endswith("+json"):
        return None
    try:
        return json_.loads(data, parse_constant=_refused)
    except (ValueError, RecursionError):
        return None  # the body is there as text, for whoever wants to look


def _refused(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")
