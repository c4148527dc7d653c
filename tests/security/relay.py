"""A relay between components and a hub that keeps the text of every frame, in both directions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

LIMIT = 64 * 2**20
"""Bytes of a frame."""


@dataclass
class Relay:
    """``hub_url`` can be set when the hub is there."""

    url: str = ""
    hub_url: str = ""
    frames: list[str] = field(default_factory=list)

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        near = web.WebSocketResponse(max_msg_size=LIMIT)
        await near.prepare(request)
        headers = {"Authorization": value for value in request.headers.getall("Authorization", [])}
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(
                f"{self.hub_url}{request.path_qs}", headers=headers, max_msg_size=LIMIT
            ) as far,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(self._pass_on(near, far))
            group.create_task(self._pass_on(far, near))
        return near

    async def _pass_on(
        self,
        source: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
        target: web.WebSocketResponse | aiohttp.ClientWebSocketResponse,
    ) -> None:
        async for message in source:
            if message.type is aiohttp.WSMsgType.TEXT:
                self.frames.append(message.data)
                await target.send_str(message.data)
            elif message.type is aiohttp.WSMsgType.BINARY:
                self.frames.append(message.data.decode("utf-8", "replace"))
                await target.send_bytes(message.data)
        await target.close()


@asynccontextmanager
async def relay() -> AsyncIterator[Relay]:
    """Listens on a free port of 127.0.0.1."""
    made = Relay()
    app = web.Application()
    app.router.add_get("/{path:.*}", made.websocket)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    made.url = f"http://{host}:{port}"
    try:
        yield made
    finally:
        await runner.cleanup()
