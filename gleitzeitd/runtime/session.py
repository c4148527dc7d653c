"""The HTTP session that a Socket.IO client runs on: our limits, and the cause of what goes wrong."""

from __future__ import annotations

import os
from typing import Any

import aiohttp

from gleitzeitd.runtime.connection import FRAME_LIMIT


class Session:
    """As much of an ``aiohttp.ClientSession`` as the library uses, with our limits."""

    def __init__(self, connect_seconds: float) -> None:
        self.problem = ""
        """Why no connection could be made; the library does not say."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds)
        self._session = aiohttp.ClientSession(timeout=timeout)
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    @property
    def closed(self) -> bool:
        return self._session.closed

    @property
    def cookie_jar(self) -> aiohttp.abc.AbstractCookieJar:
        return self._session.cookie_jar

    async def ws_connect(self, url: str, **options: Any) -> aiohttp.ClientWebSocketResponse:
        """What the library calls; of its options only the headers count."""
        # aiohttp's own limit of a frame is 4 MiB. The library's `timeout` has another type in each release.
        headers = options.get("headers")
        try:
            self._socket = await self._session.ws_connect(url, headers=headers, max_msg_size=FRAME_LIMIT)
        except aiohttp.ClientError as problem:
            self.problem = in_words(problem)
            raise
        return self._socket

    async def send(self, text: str) -> None:
        """Return when the text has left, or there is room for the next one."""
        assert self._socket is not None
        await self._socket.send_str(text)

    def is_cut(self) -> bool:
        """Whether there was a websocket, and is no more."""
        return self._socket is not None and self._socket.closed

    async def close(self) -> None:
        """Release every socket. Safe to call twice."""
        await self._session.close()


def in_words(problem: aiohttp.ClientError) -> str:
    """What an operator would call it."""
    if isinstance(problem, aiohttp.ClientConnectorError) and problem.os_error.errno is not None:
        return os.strerror(problem.os_error.errno) if problem.os_error.errno > 0 else str(problem.os_error)
    if isinstance(problem, aiohttp.WSServerHandshakeError):
        return f"no hub there: HTTP status {problem.status}"
    return str(problem) or type(problem).__name__
