"""Events take the short way, and everything else is the library's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from gleitzeitd.plain import Json
from gleitzeitd.runtime.session import Session


@asynccontextmanager
async def session_with(*messages: str) -> AsyncIterator[tuple[Session, list[Json], str]]:
    """A session, what its events bring, and the address of a server that sends these messages and ends."""

    async def talk(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for message in messages:
            await socket.send_str(message)
        await socket.close()
        return socket

    app = web.Application()
    app.router.add_get("/", talk)
    events: list[Json] = []
    async with TestServer(app) as server:
        session = Session(5.0)
        session.on_event = lambda *event: events.append(event)
        try:
            yield session, events, str(server.make_url("/"))
        finally:
            await session.close()


async def test_events_come_in_order_and_the_library_sees_only_the_rest() -> None:
    messages = ['0{"sid":"x"}', '42["first",{"_a":1},"{}"]', "2", '42["second"]']
    async with session_with(*messages) as (session, events, url):
        socket = await session.ws_connect(url)
        seen = [await socket.receive() for _ in range(3)]
    assert [each.data for each in seen[:2]] == [messages[0], "2"]
    assert seen[2].type is aiohttp.WSMsgType.CLOSE
    assert events == [("first", {"_a": 1}, "{}"), ("second",)]


async def test_what_only_looks_like_an_event_is_left_to_the_library() -> None:
    messages = ["42[", "42[]", "42[1]", '42{"a":1}', '421["acknowledge me"]']
    async with session_with(*messages) as (session, events, url):
        socket = await session.ws_connect(url)
        assert [(await socket.receive()).data for _ in messages] == messages
    assert events == []


async def test_events_before_anybody_listens_are_dropped() -> None:
    async with session_with('42["early"]', "2") as (_, _events, url):
        session = Session(5.0)
        socket = await session.ws_connect(url)
        assert (await socket.receive()).data == "2"
        await session.close()
