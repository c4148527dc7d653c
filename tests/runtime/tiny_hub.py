"""A hub of a few lines: accepts, registers, notes what comes, says what it is told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import socketio
from aiohttp import web

Arguments = tuple[Any, ...]


class TinyHub:
    def __init__(self, *, batches: bool = False, refusal: str = "", heartbeat_interval: float = 1.0) -> None:
        self.batches = batches
        self.refusal = refusal
        self.heartbeat_interval = heartbeat_interval
        self.registers = True
        self.port = 0
        self.auths: list[Any] = []
        self.packets: list[tuple[str, Arguments]] = []
        self.sids: list[str] = []
        self._changed = asyncio.Event()
        self._number = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = socketio.AsyncServer(
            async_mode="aiohttp",
            transports=["websocket"],
            max_http_buffer_size=32 * 2**20,
            logger=False,
            engineio_logger=False,
        )
        self._server.on("connect", self._connect)
        self._server.on("*", self._event)
        self._server.on("disconnect", lambda sid, *_: self.sids.remove(sid))
        app = web.Application()
        self._server.attach(app)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def stop(self) -> None:
        for sid in list(self.sids):
            await self._server.disconnect(sid)
        assert self._runner is not None
        await self._runner.cleanup()

    def _connect(self, sid: str, _environ: Any, auth: Any) -> None:
        self.auths.append(auth)
        if self.refusal:
            raise socketio.exceptions.ConnectionRefusedError(self.refusal)
        self.sids.append(sid)

    async def _event(self, name: str, sid: str, *arguments: Any) -> None:
        self.packets.append((name, arguments))
        if name == "register_component" and self.registers:
            hello = json.loads(arguments[1])
            accepted = {
                "component_id": hello["component_id"],
                "component_type": hello["component_type"],
                "capabilities": ["envelope", "batch"] if self.batches else ["envelope"],
                "heartbeat_interval": self.heartbeat_interval,
                "hub_id": "tiny",
                "_message_id": self.new_id(),
                "_correlation_id": "0" * 32,
                "_source_component": "tiny",
                "_causation_id": arguments[0]["_message_id"],
            }
            await self._server.emit("component_registered", accepted, to=sid)
        self._changed.set()

    def new_id(self) -> str:
        self._number += 1
        return f"tiny.{id(self)}.{self._number}"

    def envelope(self, **more: Any) -> dict[str, Any]:
        return {
            "_message_id": self.new_id(),
            "_correlation_id": "0" * 32,
            "_source_component": "tiny",
            **more,
        }

    async def say(self, name: str, *arguments: Any) -> None:
        await self._server.emit(name, arguments, to=self.sids[-1])

    async def disconnect(self) -> None:
        await self._server.disconnect(self.sids[-1])

    def events(self, name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Envelope and body of each event of this name, also those in batches."""
        found: list[tuple[dict[str, Any], dict[str, Any]]] = []
        for packet, arguments in self.packets:
            items = arguments[0] if packet == "batch" else [[packet, *arguments]]
            found += [(item[1], json.loads(item[2])) for item in items if item[0] == name]
        return found

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def tiny_hub(**options: Any) -> AsyncIterator[TinyHub]:
    hub = TinyHub(**options)
    await hub.start()
    try:
        yield hub
    finally:
        await hub.stop()
