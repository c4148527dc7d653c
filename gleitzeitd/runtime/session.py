"""The HTTP session that a Socket.IO client runs on: our limits, the cause of what goes wrong, and a short
way for events.

The library spends a timer, a task and two looks for a handler on every message. Events, which are nearly
all of them, are taken out here, between the websocket and the library; handshakes, pings and goodbyes are its
own.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import aiohttp

from gleitzeitd.plain import Json
from gleitzeitd.runtime.connection import FRAME_LIMIT
from gleitzeitd.runtime.fast_json import loads

_EVENT = "42["
"""How an event begins: a message of Engine.IO, an event of Socket.IO, and its array."""


class Session:
    """As much of an ``aiohttp.ClientSession`` as the library uses, with our limits."""

    def __init__(self, connect_seconds: float) -> None:
        self.on_event: Callable[..., None] = _dropped
        """Gets the name and the arguments of each event; awaits nothing."""
        self.problem = ""
        """Why no connection could be made; the library does not say."""
        self.failure: Exception | None = None
        """The same as it was raised."""
        self.tls: ssl.SSLContext | None = None
        """For a hub that speaks it."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds)
        self._session = aiohttp.ClientSession(timeout=timeout)
        self._socket: aiohttp.ClientWebSocketResponse | None = None

    @property
    def closed(self) -> bool:
        return self._session.closed

    @property
    def cookie_jar(self) -> aiohttp.abc.AbstractCookieJar:
        return self._session.cookie_jar

    async def ws_connect(self, url: str, **options: Any) -> _Socket:
        """What the library calls; of its options only the headers count."""
        # aiohttp's own limit of a frame is 4 MiB. The library's `timeout` has another type in each release.
        wanted: dict[str, Any] = {"headers": options.get("headers"), "max_msg_size": FRAME_LIMIT}
        if self.tls is not None:
            wanted["ssl"] = self.tls
        try:
            self._socket = await self._session.ws_connect(url, **wanted)
        except aiohttp.ClientError as problem:
            self.problem, self.failure = in_words(problem), problem
            raise
        return _Socket(self._socket, self)

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


class _Socket:
    """The websocket as the library uses it, without the events that come by it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, session: Session) -> None:
        self._socket = socket
        self._session = session
        self.send_str = socket.send_str
        self.send_bytes = socket.send_bytes
        self.close = socket.close

    async def receive(self) -> aiohttp.WSMessage:
        """The next message that is not an event."""
        while True:
            message = await self._socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT or not message.data.startswith(_EVENT):
                return message
            event = parsed_event(message.data)
            if event is None:
                return message
            self._session.on_event(*event)


def parsed_event(packet: str) -> list[Json] | None:
    """The name of an event, and its arguments; None if it is none after all."""
    try:
        event = loads(packet[2:])
    except ValueError:
        return None
    return event if type(event) is list and event and type(event[0]) is str else None


def _dropped(*_: Json) -> None:
    """What comes before anybody listens."""


def in_words(problem: aiohttp.ClientError) -> str:
    """What an operator would call it."""
    if isinstance(problem, aiohttp.ClientConnectorError) and problem.os_error.errno is not None:
        return os.strerror(problem.os_error.errno) if problem.os_error.errno > 0 else str(problem.os_error)
    if isinstance(problem, aiohttp.WSServerHandshakeError):
        busy = problem.status == HTTPStatus.SERVICE_UNAVAILABLE
        why = "the hub has no room for another connection now" if busy else "no hub there"
        return f"{why}: HTTP status {problem.status}"
    return str(problem) or type(problem).__name__
