"""``http/v1``: requests to web servers. No cookie and no state passes from a call to another, but tokens.

A response fails the task if its status is 400 or above, or is not in ``expect_status`` if that is given.
What may pass by itself can be retried: a lost connection, 408, 425, 429 and everything from 500 on. 429
carries the server's ``Retry-After`` on. ``retries`` are made within the call, and only where a request may be
sent twice (``http_send``); the task's own ``retry`` comes after them.

``pages`` follows a list through its pages, ``download`` puts a body of any size into a file. What it takes to
be let in by a server is in the settings (``http_access``), and in no task.
"""

from __future__ import annotations

import asyncio
import json as json_
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal, NoReturn

import aiohttp
from yarl import URL

from gleitzeitd.bounds import Bounds, bounded, sized
from gleitzeitd.errors import ConfigError, MalformedData, ParameterInvalid, ResultInvalid
from gleitzeitd.model.protocol import Example
from gleitzeitd.plain import Json
from gleitzeitd.providers.base import MethodCall, shorter, time_limit
from gleitzeitd.providers.http_access import Access, AccessSettings
from gleitzeitd.providers.http_files import Downloads, Part, name_for
from gleitzeitd.providers.http_pages import By, Pages, Paging, Place
from gleitzeitd.providers.http_send import Ask, Sender, Way, fail
from gleitzeitd.providers.kit import MethodProvider, MethodProviderSettings, method
from gleitzeitd.providers.processes import Seconds

BODY_SHOWN = 300
"""Characters of a body that the error of a failed request carries."""
WRITTEN_AT_ONCE = 2**20
"""Bytes of a body that is written into a file."""

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
Url = Annotated[str, {"pattern": "^[hH][tT][tT][pP][sS]?://"}, Bounds(longest=65536)]
Params = Annotated[dict[str, str | int | float | list[str]] | None, "Added to the query of the URL."]
Headers = dict[str, str] | None
Statuses = Annotated[list[int] | None, "Statuses that are a success; below 400, if not given."]
Retries = Annotated[
    int,
    Bounds(least=0, most=10),
    "How often the request is sent again, if that is safe: GET, HEAD, OPTIONS, PUT and DELETE, and others "
    "with a header Idempotency-Key.",
]
Verify = Annotated[bool, "Whether the server's certificate has to be valid."]

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

_PAGES = {
    "type": "object",
    "required": ["items", "count", "pages", "complete", "next", "elapsed"],
    "properties": {
        "items": {"type": "array"},
        "count": {"type": "integer", "description": "Of the items."},
        "pages": {"type": "integer"},
        "complete": {"type": "boolean", "description": "Whether these are all items that there are."},
        "next": {"type": ["string", "null"], "description": "Where the first page is that was not read."},
        "elapsed": {"type": "number", "description": "Seconds."},
    },
}
_FILE = {
    "type": "object",
    "required": ["path", "size", "sha256", "status", "headers", "url", "elapsed"],
    "properties": {
        "path": {"type": "string", "description": "On the host of this provider."},
        "size": {"type": "integer", "description": "Bytes."},
        "sha256": {"type": "string"},
        **{name: _RESULT["properties"][name] for name in ("status", "headers", "url", "elapsed")},  # type: ignore[index]
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
    access: list[AccessSettings] = field(default_factory=list)
    """What it takes to be let in by servers: each with name, base_url, and ca, certificate and key, headers,
    or token_url, client_id, client_secret, scope (OAuth2 client credentials). What is secret is read from
    systemd credentials or files, whose names are given."""
    retry_wait_seconds: float = bounded(30.0, least=0, most=600, unit="seconds")
    """The longest pause before a request is sent again within a call."""
    download_directory: str = sized("", most=4096)
    """Where http/download puts files. Empty: a directory of the provider's own."""
    max_download_bytes: int = bounded(4 * 2**30, least=1, most=2**50, unit="bytes")
    """Of a file. A larger one fails the task."""
    keep_download_seconds: float = bounded(7 * 86400.0, least=0, most=10 * 365 * 86400, unit="seconds")
    """How long files in the provider's own directory are kept. 0: for ever."""
    max_pages: int = bounded(1000, least=1, most=1_000_000)
    """Of a list that a task may read."""

    def __post_init__(self) -> None:
        """Raises MalformedData."""
        if self.download_directory and not self.download_directory.startswith("/"):
            raise MalformedData("download_directory", "expected an absolute path")
        names = [access.name for access in self.access]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise MalformedData("access", f"{twice[0]}: two have this name")


class HttpProvider(MethodProvider):
    """Makes HTTP requests."""

    protocol_name = "http/v1"
    Settings: ClassVar[type] = HttpSettings
    times_itself: ClassVar[bool] = True
    settings: Any

    def __init__(self, settings: Any = None, environment: Mapping[str, str] | None = None) -> None:
        """``environment``: that of the process, if it is None."""
        super().__init__(settings)
        self._environment = dict(os.environ if environment is None else environment)
        self._downloads = Downloads(
            self.settings.download_directory, self.settings.keep_download_seconds, self._environment
        )
        self._sender: Sender | None = None

    async def start(self) -> None:
        """Raises ConfigError."""
        self._open()
        folder = self._downloads.directory
        if self.settings.download_directory and not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(f"provider.download_directory: {folder} is no directory that can be written to")

    async def stop(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            await sender.close()
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
        verify: Verify = True,
        retries: Retries = 0,
    ) -> dict[str, Json]:
        """Make a request."""
        ask = Ask(
            method=method,
            url=url,
            headers=headers,
            params=params,
            body=_body(call, json, body),
            allow_redirects=allow_redirects,
            verify=verify,
            retries=retries,
        )
        begun = time.monotonic()
        async with time_limit(shorter(timeout, call.timeout)):
            result = await self._fetch(ask, expect_status)
        return {**result, "elapsed": round(time.monotonic() - begun, 6)}

    @method(
        returns=_RESULT,
        examples=(Example(parameters={"url": "https://example.org/", "headers": {"Accept": "text/html"}}),),
    )
    async def get(
        self,
        call: MethodCall,
        url: Url,
        headers: Headers = None,
        params: Params = None,
        timeout: Seconds = None,  # noqa: ASYNC109
        expect_status: Statuses = None,
        retries: Retries = 0,
    ) -> dict[str, Json]:
        """Make a GET request."""
        return await self.request(
            call, url, "GET", headers, params, timeout=timeout, expect_status=expect_status, retries=retries
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
        retries: Retries = 0,
    ) -> dict[str, Json]:
        """Make a POST request."""
        return await self.request(
            call, url, "POST", headers, params, json, body, timeout, expect_status, retries=retries
        )

    @method(returns=_PAGES)
    async def pages(
        self,
        call: MethodCall,
        url: Url,
        headers: Headers = None,
        params: Params = None,
        by: Annotated[
            By, "What leads to the next page: the header Link, a cursor in the body, numbers."
        ] = "link",
        items: Annotated[str, "Path of the list in a body: data.items. Empty: the body is the list."] = "",
        cursor: Annotated[str, "Path of the next page's cursor in a body, or of its address."] = "",
        cursor_param: Annotated[str, "Parameter of the query for it. Empty: it is an address."] = "",
        page_param: Annotated[
            str, "Parameter of the query for the number; an empty page is the end."
        ] = "page",
        first_page: int = 1,
        max_pages: Annotated[int, Bounds(least=1, most=1_000_000), "Not one more is asked for."] = 100,
        max_items: Annotated[int | None, Bounds(least=1), "The rest is left out."] = None,
        timeout: Seconds = None,  # noqa: ASYNC109
        retries: Retries = 2,
    ) -> dict[str, Json]:
        """Fetch a list that is given out in pages."""
        paging = Paging(
            by=by,
            items=items,
            cursor=cursor,
            cursor_param=cursor_param,
            page_param=page_param,
            first_page=first_page,
        )
        paging.check()
        begun = time.monotonic()
        async with time_limit(shorter(timeout, call.timeout)):
            pages = Pages(paging, Place(url, params))
            most = min(max_pages, self.settings.max_pages)
            ask = Ask(method="GET", url=url, headers=headers, retries=retries)
            place = await self._read_pages(call, ask, pages, most, max_items)
        kept = pages.items if max_items is None else pages.items[:max_items]
        return {
            "items": kept,
            "count": len(kept),
            "pages": pages.number,
            "complete": place is None and len(kept) == len(pages.items),
            "next": None if place is None else self._open().scrubber.text(_address(place)),
            "elapsed": round(time.monotonic() - begun, 6),
        }

    @method(returns=_FILE)
    async def download(
        self,
        call: MethodCall,
        url: Url,
        method: Literal["GET", "POST"] = "GET",
        headers: Headers = None,
        params: Params = None,
        json: Any = None,
        file: Annotated[
            str | None, "Its name, below the directory for downloads. Not given: one is made."
        ] = None,
        sha256: Annotated[str | None, {"pattern": "^[0-9A-Fa-f]{64}$"}, "What its SHA-256 has to be."] = None,
        timeout: Seconds = None,  # noqa: ASYNC109
        expect_status: Statuses = None,
        verify: Verify = True,
        retries: Retries = 2,
    ) -> dict[str, Json]:
        """Put the body of a response into a file, whatever its size."""
        # What is counted and summed up is what the server keeps, not what is made of it for the way.
        named = dict(headers or {})
        if "accept-encoding" not in {name.lower() for name in named}:
            named["Accept-Encoding"] = "identity"
        ask = Ask(
            method=method,
            url=url,
            headers=named,
            params=params,
            body=_body(call, json, None),
            verify=verify,
            retries=retries,
        )
        begun = time.monotonic()
        async with time_limit(shorter(timeout, call.timeout)):
            await asyncio.to_thread(self._downloads.sweep)
            name = name_for(URL(url).path, call.workflow_id, call.task_id) if file is None else file

            async def consume(response: aiohttp.ClientResponse) -> dict[str, Json]:
                if not _succeeds(response.status, expect_status):
                    _judge(ask, await self._read(ask, response), expect_status)
                return await self._store(call, response, name, sha256)

            result = await self._open().exchange(ask, consume)
        return {**self._open().scrubber.json(result), "elapsed": round(time.monotonic() - begun, 6)}

    async def _fetch(self, ask: Ask, expected: list[int] | None) -> dict[str, Json]:
        """A response with its body; without secrets."""

        async def consume(response: aiohttp.ClientResponse) -> dict[str, Json]:
            result = await self._read(ask, response)
            _judge(ask, result, expected)
            return result

        sender = self._open()
        result: dict[str, Json] = await sender.exchange(ask, consume)
        shown: dict[str, Json] = sender.scrubber.json(result)
        return shown

    async def _read_pages(
        self, call: MethodCall, ask: Ask, pages: Pages, most: int, max_items: int | None
    ) -> Place | None:
        """Read them; the one after the last that was read, or None."""
        place: Place | None = pages.start()
        size = 0
        while place is not None and pages.number < most:
            links: dict[str, Any] = {}
            found = await self._page(replace(ask, url=place.url, params=place.params), links)
            size += len(found["body"])
            if size > self.settings.max_result_bytes:
                limit = self.settings.max_result_bytes
                raise ResultInvalid(
                    f"{ask.place}: {pages.number + 1} pages take more than the {limit} bytes allowed; "
                    "max_pages or max_items make it less"
                )
            if found["json"] is None:
                raise ResultInvalid(
                    f"{ask.method} {found['url']}: the page is no JSON: {found['body'][:BODY_SHOWN]}"
                )
            place = pages.take(found["json"], found["url"], links)
            call.on_progress(min(1.0, pages.number / most), f"{pages.number} pages, {len(pages.items)} items")
            if max_items is not None and len(pages.items) >= max_items:
                break
        return place

    async def _page(self, ask: Ask, links: dict[str, Any]) -> dict[str, Json]:
        """A page; its links are put into ``links``."""

        async def consume(response: aiohttp.ClientResponse) -> dict[str, Json]:
            result = await self._read(ask, response)
            _judge(ask, result, None)
            try:
                links.update({relation: link["url"] for relation, link in response.links.items()})
            except ValueError as problem:
                raise ResultInvalid(f"{ask.place}: its header Link has no address: {problem}") from problem
            return result

        sender = self._open()
        found: dict[str, Json] = await sender.exchange(ask, consume)
        found["json"] = sender.scrubber.json(found["json"])
        return found

    async def _read(self, ask: Ask, response: aiohttp.ClientResponse) -> dict[str, Json]:
        limit = self.settings.max_body_bytes
        data = bytearray()
        async for part in response.content.iter_chunked(65536):
            data += part
            if len(data) > limit:
                response.close()
                raise ResultInvalid(f"{ask.place}: the body is larger than the {limit} bytes allowed")
        return {
            **_about(response),
            "body": _text(bytes(data), response.charset),
            "json": _json(bytes(data), response.content_type),
        }

    async def _store(
        self, call: MethodCall, response: aiohttp.ClientResponse, name: str, sha256: str | None
    ) -> dict[str, Json]:
        total = response.content_length
        limit = self.settings.max_download_bytes
        if total is not None and total > limit:
            raise ResultInvalid(f"{response.url}: the body takes {total} bytes, {limit} are allowed")
        part = self._downloads.begin(name, limit)  # not in a thread: a cancel would leave it behind
        try:
            waiting = bytearray()
            async for piece in response.content.iter_chunked(WRITTEN_AT_ONCE):
                waiting += piece
                if len(waiting) >= WRITTEN_AT_ONCE:
                    await asyncio.to_thread(part.write, bytes(waiting))
                    waiting.clear()
                    _show(call, part, total)
            await asyncio.to_thread(part.write, bytes(waiting))
            digest = await asyncio.to_thread(part.finish, sha256)
        finally:
            part.end()
        return {**_about(response), "path": str(part.target), "size": part.size, "sha256": digest}

    def _open(self) -> Sender:
        if self._sender is None:
            settings = self.settings
            way = Way(
                max_redirects=settings.max_redirects,
                connect_seconds=settings.connect_seconds,
                retry_wait_seconds=settings.retry_wait_seconds,
                connections=settings.capacity,
                use_proxy=settings.use_proxy_environment,
                user_agent=settings.user_agent,
            )
            self._sender = Sender(way, [Access(one, self._environment) for one in settings.access])
        return self._sender


def _body(call: MethodCall, json: Any, body: str | None) -> dict[str, Any]:
    if json is not None and body is not None:
        raise ParameterInvalid(f"{call.method}: expected either json or body")
    if json is not None:
        return {"json": json}
    return {} if body is None else {"data": body.encode()}


def _about(response: aiohttp.ClientResponse) -> dict[str, Json]:
    headers: dict[str, Json] = {}
    for name, value in response.headers.items():
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return {"status": response.status, "headers": headers, "url": str(response.url)}


def _succeeds(status: int, expected: list[int] | None) -> bool:
    return status in expected if expected else status < 400


def _judge(ask: Ask, result: dict[str, Json], expected: list[int] | None) -> None:
    status: int = result["status"]
    if _succeeds(status, expected):
        return
    body = result["body"].strip()[:BODY_SHOWN]
    message = f"{ask.method} {result['url']}: status {status}{f': {body}' if body else ''}"
    fail(status, message, result["headers"])


def _address(place: Place) -> str:
    query = [
        (key, str(each))
        for key, value in (place.params or {}).items()
        for each in (value if isinstance(value, list) else [value])
    ]
    url = URL(place.url)
    kept = [(key, value) for key, value in url.query.items() if key not in {key for key, _ in query}]
    return str(url.with_query([*kept, *query]).with_user(None))


def _show(call: MethodCall, part: Part, total: int | None) -> None:
    done = f"{part.size / 1e6:.0f} MB"
    call.on_progress(
        min(1.0, part.size / total) if total else 0.0, f"{done} of {total / 1e6:.0f} MB" if total else done
    )


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
