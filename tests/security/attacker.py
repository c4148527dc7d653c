"""``python -m tests.security.attacker KIND PORT TOKEN SIZE``: somebody who means a hub no good.

It writes ``ready`` when it is at full strength, goes on until its stdin ends, and then writes what it saw as
JSON. Bytes are written by hand: no library would send them. It is nice to its host: attackers are elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import struct
import sys
from collections import Counter
from collections.abc import Awaitable, Callable

UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
HUGE = 100 * 1000 * 1000
_TEXT, _MORE = 0x81, 0x00


class Attacker:
    """Of one hub."""

    def __init__(self, port: int, token: str, size: int) -> None:
        self.port, self.token, self.size = port, token, size
        self.seen: Counter[str] = Counter()

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TCP connection."""
        self.seen["connections"] += 1
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def websocket(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """One that has been upgraded."""
        reader, writer = await self.open()
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        return reader, writer

    async def client(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """One that is a client with a good token."""
        reader, writer = await self.websocket()
        writer.write(frame("40" + json.dumps({"token": self.token})))
        name = f"attacker-{os.getpid()}-{self.seen['connections']}"
        who = {"component_id": name, "component_type": "client"}
        writer.write(frame("42" + json.dumps(["register_component", who])))
        while b"component_registered" not in await reader.read(65536):
            pass
        return reader, writer

    # -- what it can do; each runs in as many tasks as there are connections

    async def silent(self, number: int) -> None:
        """Connections that send nothing, half a request, or one header in a while."""
        reader, writer = await self.open()
        writer.write(UPGRADE[: (0, 40, len(UPGRADE) - 4)[number % 3]])
        answer = asyncio.create_task(reader.read())
        while not answer.done():
            if number % 3 == 2:
                if not writer.is_closing():
                    writer.write(b"\r\nX-Slow: 1")
            await asyncio.wait([answer], timeout=1.0)
        self.seen["answered" if answer.result() else "cut"] += 1
        writer.close()

    async def unknown(self, number: int) -> None:
        """Websockets without a token, with a wrong one, with one that comes byte by byte, with an event."""
        reader, writer = await self.websocket()
        packet = frame(("40", '40{"token":"wrong"}', "40" + "x" * 50, '42["list_components",{}]')[number % 4])
        if number % 4 == 2:
            for byte in packet:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.1)
        elif number % 4:
            writer.write(packet)
        await reader.read()
        self.seen["cut"] += 1
        writer.close()

    async def huge(self, number: int) -> None:
        """Messages of 100 MB: in one frame or in many, before or after the token was accepted."""
        _, writer = await (self.client() if number % 2 else self.websocket())
        if number % 4 < 2:
            writer.write(bytes([_TEXT, 0x80 | 127]) + struct.pack(">Q", HUGE) + b"\0\0\0\0")
        sent = 0
        while sent < HUGE:
            if number % 4 >= 2:
                writer.write(bytes([1 if not sent else _MORE, 0x80 | 126, 0xFF, 0xFF]) + b"\0\0\0\0")
            writer.write(b"4" * 65535)
            sent += 65535
            await writer.drain()
            self.seen["megabytes"] = max(self.seen["megabytes"], sent // 1_000_000)

    async def deaf(self, number: int) -> None:
        """Clients that watch everything, ask for much, and read nothing."""
        reader, writer = await self.client()
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(event("subscribe", topics=["*"]))
        while True:
            for _ in range(50):
                writer.write(event("query_trace", limit=1000) if number % 2 else event("list_components"))
            await writer.drain()
            await asyncio.sleep(0)

    async def curious(self, number: int) -> None:
        """Clients that ask as fast as they can, and read the answers."""
        reader, writer = await self.client()
        topics = [f"{number}-{each}-" + "t" * 400 for each in range(1000)]
        writer.write(event("subscribe", topics=topics) + event("subscribe", topics=["x" * 100_000]))
        draining = asyncio.create_task(_read_all(reader, self.seen))
        while not draining.done():
            writer.write((event("query_trace", limit=1000) + event("list_components")) * 20)
            await writer.drain()
            await asyncio.sleep(0)
        raise ConnectionResetError


async def _read_all(reader: asyncio.StreamReader, seen: Counter[str]) -> None:
    while data := await reader.read(2**20):
        seen["megabytes"] += len(data) // 2**20
        seen["refused"] += data.count(b"RESOURCE_LIMIT_EXCEEDED")


def frame(text: str) -> bytes:
    """A websocket's text message, masked with zeros."""
    data = text.encode()
    if len(data) < 126:
        return bytes([_TEXT, 0x80 | len(data)]) + b"\0\0\0\0" + data
    if len(data) < 65536:
        return bytes([_TEXT, 0x80 | 126]) + struct.pack(">H", len(data)) + b"\0\0\0\0" + data
    return bytes([_TEXT, 0x80 | 127]) + struct.pack(">Q", len(data)) + b"\0\0\0\0" + data


def event(name: str, **fields: object) -> bytes:
    """An event of a foreign client, as a message."""
    return frame("42" + json.dumps([name, fields]))


async def attack(kind: str, attacker: Attacker) -> None:
    """Keep as many connections busy as asked for; each that ends is made anew."""
    work: Callable[[int], Awaitable[None]] = getattr(attacker, kind)

    async def again(number: int) -> None:
        while True:
            try:
                await work(number)
            except (OSError, asyncio.IncompleteReadError):
                attacker.seen["reset"] += 1
            await asyncio.sleep(0.2)

    tasks = []
    for number in range(attacker.size):
        tasks.append(asyncio.create_task(again(number)))
        if number % 50 == 49:
            await asyncio.sleep(0)
    while attacker.seen["connections"] < attacker.size:
        await asyncio.sleep(0.01)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    sys.stdout.write(json.dumps(attacker.seen) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    os.nice(10)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        asyncio.run(attack(sys.argv[1], Attacker(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))))
    finally:
        os._exit(0)
