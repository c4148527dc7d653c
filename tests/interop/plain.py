"""What somebody writes who has python-socketio and the table of events, and nothing of ours."""

from __future__ import annotations

import asyncio
from typing import Any

import socketio

PATIENCE = 20.0
"""Seconds that an answer may take on a busy machine."""


class Plain:
    """A component in flat objects. ``async with`` it: inside, it is registered."""

    def __init__(self, url: str, token: str | None, role: str, name: str) -> None:
        self.who = {"component_type": role, "component_id": name}
        self.came: list[tuple[str, dict[str, Any]]] = []
        self._url, self._token = url, token
        self._news = asyncio.Event()
        self.sio = socketio.AsyncClient(reconnection=False)
        self.sio.on("*", self._keep)

    def _keep(self, event: str, data: dict[str, Any]) -> None:
        self.came.append((event, data))
        self._news.set()

    async def __aenter__(self) -> Plain:
        await self.connect()
        await self.sio.emit("register_component", self.who)
        await self.get("component_registered")
        return self

    async def connect(self) -> None:
        auth = {"token": self._token, **self.who}
        await self.sio.connect(self._url, auth=auth, transports=["websocket"])

    async def __aexit__(self, *_: object) -> None:
        await self.sio.disconnect()

    async def get(self, name: str, **fields: Any) -> dict[str, Any]:
        """The first event of this name with these fields; what has come already counts."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for event, data in self.came:
                    if event == name and fields.items() <= data.items():
                        return data
                self._news.clear()
                await self._news.wait()

    async def ask(self, command: str, reply: str, **fields: Any) -> dict[str, Any]:
        """Send a command under an id of ours, and wait for the reply that names it."""
        message_id = f"{command}-{len(self.came)}"
        await self.sio.emit(command, {**fields, "_message_id": message_id})
        return await self.get(reply, _causation_id=message_id)
