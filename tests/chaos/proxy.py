"""A TCP proxy that can be told to be a bad network, one per pair of component and hub.

While a direction is cut, what arrives is either *held*, and delivered after the cut, as TCP does when
packets were lost, or *swallowed*: then the connection stays silent in that direction for ever, since what
was lost in the middle of a stream cannot be made up for; new ones work after the cut. An end that is
closed during a cut is not told to the other side.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal

CHUNK = 64 * 1024
How = Literal["hold", "swallow"]
TO_HUB, TO_COMPONENT = "to hub", "to component"


@dataclass(slots=True)
class _Lane:
    """One direction of a link, for all of its connections."""

    open: asyncio.Event = field(default_factory=asyncio.Event)
    how: How = "hold"

    def __post_init__(self) -> None:
        self.open.set()


class Proxy:
    """One link; ``port`` is where the component connects."""

    def __init__(self, hub_port: int) -> None:
        self.port = 0
        self._hub_port = hub_port
        self._lanes = {TO_HUB: _Lane(), TO_COMPONENT: _Lane()}
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)
        await asyncio.sleep(0)  # what was aborted closes its sockets with the next turn

    def cut(self, how: How, lanes: tuple[str, ...]) -> None:
        """From now on nothing passes there."""
        for name in lanes:
            self._lanes[name].how = how
            self._lanes[name].open.clear()

    def heal(self) -> None:
        """From now on everything passes."""
        for lane in self._lanes.values():
            lane.open.set()

    def close(self) -> None:
        """Reset all connections of now."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        self._writers.add(writer)
        try:
            to_hub = await asyncio.open_connection("127.0.0.1", self._hub_port)
        except OSError:
            self._drop(writer)
            return
        self._writers.add(to_hub[1])
        try:
            async with asyncio.TaskGroup() as group:
                there = group.create_task(self._pump(reader, to_hub[1], self._lanes[TO_HUB]))
                back = group.create_task(self._pump(to_hub[0], writer, self._lanes[TO_COMPONENT]))
                done, _ = await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
                if all(task.result() for task in done):  # an end was closed, and the other side may know
                    self._drop(writer)
                    self._drop(to_hub[1])
        except asyncio.CancelledError:
            pass  # by stop(); the server's own callback would take it for an error
        finally:
            self._drop(writer)
            self._drop(to_hub[1])

    def _drop(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lane: _Lane) -> bool:
        """Pass on until the end; whether that may be told."""
        deaf = False
        while True:
            try:
                data = await reader.read(CHUNK)
            except OSError:
                data = b""
            if not lane.open.is_set():
                deaf = deaf or lane.how == "swallow"
                if not deaf:
                    await lane.open.wait()
            if not data:
                return not deaf
            if not deaf:
                try:
                    writer.write(data)
                    await writer.drain()
                except OSError:
                    return True
