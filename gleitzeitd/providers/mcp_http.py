"""The way to a server over streamable HTTP: bounded, and clear about what has not been heard at all.

The SDK ends a whole session when one request finds nobody, and does not know how servers say that they have
been started anew. Both are answered here, with an error that :func:`was_not_heard` knows: such a request can
be sent again without harm. Needs the SDK.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import httpx2
import mcp_types
from mcp import MCPError

HTTP_SECONDS = 30.0
"""Until a connection is there, or something is sent. How long an answer takes is the call's business."""
EXPLANATION_LIMIT = 64 * 1024
"""Bytes of a refusal that are looked at."""
NO_SESSION = "no session"
_ENDED = "session terminated"
"""What the SDK says of 404."""


def client(headers: Mapping[str, str], max_message_bytes: int) -> httpx2.AsyncClient:
    """For requests to one server. Proxies of the environment do not count."""
    return httpx2.AsyncClient(
        headers={**headers, "Accept-Encoding": "identity"},  # so that what comes is as large as it looks
        timeout=httpx2.Timeout(HTTP_SECONDS, read=None),
        transport=_Transport(max_message_bytes),
    )


def was_not_heard(problem: MCPError) -> bool:
    """Whether the server has not even looked at the request."""
    said = problem.message.lower()
    return problem.code == mcp_types.INVALID_REQUEST and said.startswith((NO_SESSION, _ENDED))


class _Transport(httpx2.AsyncHTTPTransport):
    def __init__(self, max_message_bytes: int) -> None:
        super().__init__()
        self._limit = max_message_bytes

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            response = await super().handle_async_request(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as problem:
            return _nobody(request, str(problem) or "nobody is there")
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            return response  # its events are bounded, and it may last for ever
        refused = response.status_code == 400 and "mcp-session-id" in request.headers
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Bounded(response.stream, EXPLANATION_LIMIT if refused else self._limit)
        if refused and b"session" in (await response.aread()).lower():
            return _nobody(request, "the server has been started anew")
        return response


class _Bounded(httpx2.AsyncByteStream):
    """A body of so many bytes at most."""

    def __init__(self, stream: httpx2.AsyncByteStream, limit: int) -> None:
        self._stream = stream
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for data in self._stream:
            size += len(data)
            if size > self._limit:
                raise httpx2.StreamError(f"the answer has more than {self._limit} bytes")
            yield data

    async def aclose(self) -> None:
        await self._stream.aclose()


def _nobody(request: httpx2.Request, why: str) -> httpx2.Response:
    error = {"code": mcp_types.INVALID_REQUEST, "message": f"{NO_SESSION}: {why}"}
    body = {"jsonrpc": "2.0", "id": None, "error": error}
    return httpx2.Response(503, json=body, request=request)
