"""A hub over real sockets, and bare Socket.IO clients of it: own ones (envelope, batch) and foreign ones."""

from __future__ import annotations

import asyncio
import json
import uuid
from contextlib import asynccontextmanager

import aiohttp
import socketio

from gleitzeitd.machines.hub_settings import Settings
from gleitzeitd.model.names import ComponentId
from gleitzeitd.runtime.gate import Gate
from gleitzeitd.runtime.hub import HubServer

WAIT = 8  # seconds after which a test has failed


class LargeSession:
    """An aiohttp session whose websockets take messages over aiohttp's default of 4 MiB."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession()

    def __getattr__(self, name):
        return getattr(self._session, name)

    def ws_connect(self, *args, **kwargs):
        return self._session.ws_connect(*args, **{**kwargs, "max_msg_size": 16 * 2**20})


class Peer:
    """A bare client."""

    def __init__(self, role: str, component_id: str, *, own: bool, beats: bool = True) -> None:
        self.role, self.component_id, self.own, self.beats = role, component_id, own, beats
        self.session = LargeSession()  # the library closes its own only after a whole connection
        self.sio = socketio.AsyncClient(reconnection=False, http_session=self.session)
        self.got: asyncio.Queue = asyncio.Queue()
        self.packets: list[str] = []
        self.gone = asyncio.Event()
        self.sio.on("*", self._received)
        self.refusals: list = []
        self.sio.on("connect_error", self.refusals.append)
        self.sio.on("disconnect", lambda *args: self.gone.set())

    async def _received(self, name, *args):
        self.packets.append(name)
        items = args[0] if name == "batch" else [[name, *args]]
        for each in items:
            if each[0] != "heartbeat":
                self.got.put_nowait(each)
            elif self.beats:
                await self.send("heartbeat_response", {"number": 1})

    async def connect(self, server, token="secret", **auth):
        said = {"token": token, "component_type": self.role, "component_id": self.component_id, **auth}
        await self.sio.connect(f"http://127.0.0.1:{server.port}", transports=["websocket"], auth=said)
        return self

    async def join(self, server, token="secret", **more):
        await self.connect(server, token)
        caps = ["envelope", "batch"] if self.own else []
        own = {"component_id": self.component_id, "component_type": self.role, "capabilities": caps}
        body = {**own, **more}
        await self.send("register_component", body)
        await self.expect("component_registered")
        return self

    async def leave(self):
        await self.sio.disconnect()
        await self.session.close()

    def envelope(self, **more):
        made = {
            "_message_id": uuid.uuid4().hex,
            "_correlation_id": uuid.uuid4().hex,
            "_source_component": self.component_id,
        }
        return {**made, **more}

    async def send(self, name, body, **envelope):
        if self.own:
            await self.sio.emit(name, (self.envelope(**envelope), json.dumps(body)))
        else:
            await self.sio.emit(name, {**body, **envelope})

    async def expect(self, name):
        """The next event of this name: its envelope and its body."""
        while True:
            got = await asyncio.wait_for(self.got.get(), WAIT)
            if got[0] == name:
                return (got[1], json.loads(got[2])) if len(got) == 3 else (got[1], got[1])


@asynccontextmanager
async def hub(token="secret", *, gate=None, **settings):
    gate = gate or Gate.by_shared_token(token)
    settings = Settings(**{"port": 0, **settings})
    server = HubServer(settings, gate=gate, component_id=ComponentId("hub-1"), version="5")
    await server.start()
    peers = []

    def peer(role, component_id, *, own=True, beats=True):
        peers.append(Peer(role, component_id, own=own, beats=beats))
        return peers[-1]

    try:
        yield server, peer
    finally:
        for each in peers:
            await asyncio.wait_for(each.leave(), WAIT)
        await asyncio.wait_for(server.stop("end of the test"), WAIT)


def scenario(work):
    """Run a coroutine function as a test, without a plugin."""

    def test(*args, **kwargs):
        asyncio.run(asyncio.wait_for(work(*args, **kwargs), 30))

    test.__name__, test.__doc__ = work.__name__, work.__doc__
    return test


@asynccontextmanager
async def raw(server, packet='40{"token":"secret"}'):
    """A websocket below Socket.IO, connected with ``packet``."""
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{server.port}/socket.io/?EIO=4&transport=websocket"
        async with session.ws_connect(url) as ws:
            assert (await ws.receive()).data.startswith("0")
            if packet:
                await ws.send_str(packet)
                assert (await ws.receive()).data.startswith("40")
            yield ws


async def closed(ws):
    """Wait for the end of a websocket; gives what came before it."""
    got = []
    while True:
        message = await asyncio.wait_for(ws.receive(), WAIT)
        if message.type is not aiohttp.WSMsgType.TEXT:
            return got
        if message.data == "2":
            await ws.send_str("3")
        got.append(message.data)
