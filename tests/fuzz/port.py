"""A hub in a process of its own, and many connections that send it what comes to mind."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
import psutil

from gleitzeitd.events import COMPONENTS
from gleitzeitd.model.names import Role
from tests.daemons import free_port
from tests.fuzz.draw import Chance, once_in, pick
from tests.fuzz.frames import likely_frame
from tests.fuzz.targets import Caught, names_for
from tests.interop.plain import Plain

CONNECTIONS = 16
MEMORY = 200 * 2**20
"""Bytes that the hub may have in memory."""
READY_SECONDS = 20.0
ROLES = sorted(COMPONENTS)
ROOM = {
    "GLEITZEIT_HUB_CLIENT_EVENTS_PER_SECOND": "1000000",
    "GLEITZEIT_HUB_MAX_UNREGISTERED": "1000",
    "GLEITZEIT_HUB_REFUSALS_PER_MINUTE": "100000",
    "GLEITZEIT_HUB_REFUSAL_PAUSE": "0.001",
    "GLEITZEIT_HUB_REQUESTS_PER_SECOND": "100000",
}
"""Settings of a hub that has patience with the one address that all of this comes from."""


class Port:
    """The hub; inside, it listens."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="gleitzeit-fuzz-")
        self._log = Path(self._folder.name) / "log"
        environment = {"GLEITZEIT_HUB_PORT": str(self.port), "LOG_LEVEL": "warning", **ROOM}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gleitzeitd", "hub", "--insecure"],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Port:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(READY_SECONDS)
        self._folder.cleanup()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def feed(self, frames: int, seed: int, say: Callable[[int], None]) -> dict[str, Any]:
        """Send so many frames; the figures of the hub at the end.

        Raises:
            Caught: it has ended, has logged an error, serves nobody, or takes too much memory.
        """
        await self.ready()
        sent = 0

        async def one(number: int) -> None:
            nonlocal sent
            draw = Chance(seed * 1000 + number)
            async with aiohttp.ClientSession() as session:
                while sent < frames:
                    async for _ in self._conversation(session, draw, number):
                        sent += 1
                        if sent % 1000 == 0:
                            say(sent)
                        if sent >= frames:
                            break

        async with asyncio.TaskGroup() as group:
            for number in range(CONNECTIONS):
                group.create_task(one(number))
        return await self.judged(sent)

    async def _conversation(self, session: aiohttp.ClientSession, draw: Chance, number: int) -> Any:
        """One connection, from its opening until the hub has had enough, or we; a frame at each step."""
        url = f"ws://127.0.0.1:{self.port}/socket.io/?EIO=4&transport=websocket"
        role = pick(draw, ROLES)
        said = {"component_type": role.value, "component_id": f"{role.value}-{number}"}
        try:
            async with session.ws_connect(url, max_msg_size=0) as socket:
                reading = asyncio.ensure_future(_read(socket))
                try:
                    if not once_in(draw, 8):
                        await socket.send_str("40" + json.dumps(said))
                    if not once_in(draw, 8):
                        own = {"capabilities": ["envelope", "batch", "bundle"]} if draw.below(2) else {}
                        await socket.send_str("42" + json.dumps(["register_component", {**said, **own}]))
                    for number_sent in range(200):
                        made = likely_frame(draw, names_for(draw, role))
                        if isinstance(made, bytes):
                            await socket.send_bytes(made)
                        else:
                            await socket.send_str(made)
                        yield made
                        if number_sent % 4 == 0:
                            await asyncio.sleep(0.002)  # the hub may have had enough
                        if reading.done():
                            break
                finally:
                    reading.cancel()
                    await asyncio.wait([reading])
        except (aiohttp.ClientError, ConnectionError):
            if self._process.poll() is not None:
                raise Caught(f"the hub has ended:\n{self.log()}") from None
            await asyncio.sleep(0)  # it was cut; others may go on, and this one begins anew

    async def ready(self) -> None:
        """Until it answers.

        Raises:
            Caught: it does not.
        """
        deadline = time.monotonic() + READY_SECONDS
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(f"{self.url}/healthz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    if time.monotonic() > deadline or self._process.poll() is not None:
                        raise Caught(f"the hub does not answer:\n{self.log()}") from None
                await asyncio.sleep(0.05)

    async def judged(self, sent: int) -> dict[str, Any]:
        """What the hub is like after so many frames."""
        await self.ready()
        async with Plain(self.url, None, Role.CLIENT.value, "somebody-else") as client:
            answer = await client.ask("list_components", "component_list")
        memory = psutil.Process(self._process.pid).memory_info().rss
        errors = [line for line in self.log().splitlines() if "Traceback" in line or " error: " in line[:40]]
        if errors:
            raise Caught(f"the hub has logged errors:\n{self.log()[-4000:]}")
        if memory > MEMORY:
            raise Caught(f"the hub takes {memory / 2**20:.0f} MB")
        figures = answer["components"][0]["metrics"]
        return {"frames": sent, "rss_mb": round(memory / 2**20), "events_routed": figures["events_routed"]}

    def log(self) -> str:
        """What the hub has written."""
        return self._log.read_text(encoding="utf-8", errors="replace")


async def _read(socket: aiohttp.ClientWebSocketResponse) -> None:
    async for _ in socket:
        pass
