"""One connection of the hub: its websocket under Engine.IO, and what waits for it.

Engine.IO asks a driver object for messages and hands it messages to send. This one is bounded where
the stock one is not, refuses binary messages, passes on no answers to pings that were not asked, and
gives events to the hub directly. Events to the peer do not pass Engine.IO's queue, which has no bound
and no knowledge of what is under way; they wait here, in two lanes, and whatever has gathered while a
message was being written goes out as the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from aiohttp import WSMessage, WSMsgType, web

from gleitzeitd.events import CATALOGUE, Kind
from gleitzeitd.machines.foreign import Foreign
from gleitzeitd.machines.limits import LEAST_WAIT, Bucket, Pool
from gleitzeitd.runtime.bundles import CAPABILITY
from gleitzeitd.runtime.clock import monotonic
from gleitzeitd.runtime.hub_door import Door

log = logging.getLogger(__name__)

BATCH_EVENTS = 64  # as in components: the next one begins while this one is still at work
BATCH_CHARACTERS = 256 * 1024
CONTROL_CHARACTERS = 64 * 1024  # what is longer is bulk, whatever it is called
_EVENTS_PER_TURN = 64  # of one connection, before others have their turn
_FLUSH_SECONDS = 0.5
_LONGEST_PAUSE = 2.0  # of reading: its heartbeats are not read either
_TOO_BIG = 1009  # RFC 6455, 7.4.1

KEY = "gleitzeit.connection"
"""Where a request's environment holds its ``Connection``."""

_BULKY = {"data_retrieved", "method_result", "provider_error", "trace_data"}
CONTROL = frozenset(
    {name for name, cls in CATALOGUE.items() if cls.kind is Kind.REPLY and name not in _BULKY}
    | {"heartbeat", "hub_leaving", "cancel_task", "cancel_method", "cancel_workflow"}
    | {"execute_task", "task_available", "claim_shard", "health_check", "shutdown"}
)
"""Names of the events that go before others."""


class Outbox:
    """What waits for one connection. Items are events as JSON text without the enclosing brackets."""

    def __init__(self, *, messages: int, characters: int) -> None:
        self._messages = messages
        self._characters = characters
        self._control: deque[tuple[str, int]] = deque()
        self._bulk: deque[tuple[str, int]] = deque()
        self._waiting = 0
        self._ready = asyncio.Event()
        self._finished = False
        self._pool: Pool | None = None

    @property
    def waiting(self) -> int:
        """Characters that wait."""
        return self._waiting

    def __len__(self) -> int:
        return len(self._control) + len(self._bulk)

    def share(self, pool: Pool, characters: int) -> None:
        """What waits here counts towards what all in ``pool`` may have, and may be so much by itself."""
        self._characters = characters
        self._pool = pool
        pool.used += self._waiting

    def allow(self, characters: int) -> None:
        """So much may wait here."""
        self._characters = characters

    def leave(self) -> None:
        """What waits here will not be sent any more."""
        if self._pool is not None:
            self._pool.used -= self._waiting
            self._pool = None

    def put(self, item: str, *, control: bool, events: int = 1) -> bool:
        """Add an event, or several in one piece; False if there is no room for it."""
        if len(self) >= self._messages or self._waiting + len(item) > self._characters:
            return False
        if self._pool is not None:
            if self._pool.used + len(item) > self._pool.limit:
                return False
            self._pool.used += len(item)
        (self._control if control else self._bulk).append((item, events))
        self._waiting += len(item)
        self._ready.set()
        return True

    def finish(self) -> None:
        """Nothing more comes: :meth:`take` returns None when all is taken."""
        self._finished = True
        self._ready.set()

    async def take(self, *, batch: bool) -> str | None:
        """The next packet's JSON array, as soon as there is one: an event, or a batch of several."""
        while not len(self):
            if self._finished:
                return None
            self._ready.clear()
            await self._ready.wait()
        if not batch or len(self) == 1:
            return f"[{self._pop()[0]}]"
        first, count = self._pop()
        items, size = [first], len(first)
        while len(self) and count < BATCH_EVENTS:
            size += len((self._control or self._bulk)[0][0])
            if size > BATCH_CHARACTERS:
                break
            item, events = self._pop()
            items.append(item)
            count += events
        return f"[{items[0]}]" if len(items) == 1 else f'["batch",[[{"],[".join(items)}]]]'

    def _pop(self) -> tuple[str, int]:
        item, events = (self._control or self._bulk).popleft()
        self._waiting -= len(item)
        if self._pool is not None:
            self._pool.used -= len(item)
        return item, events


class Connection:
    """What the hub's runtime keeps of one connection."""

    def __init__(
        self,
        number: str,
        engine_id: str,
        address: str,
        request: web.Request,
        outbox: Outbox,
        foreign: Foreign,
        bucket: Bucket,
    ) -> None:
        self.number = number
        self.engine_id = engine_id
        """Engine.IO's name of the connection."""
        self.address = address
        self.outbox = outbox
        self.foreign = foreign
        self.bucket = bucket
        """How fast it may send."""
        self.owes = 0.0
        """Seconds until it may send again, after the packet that came last."""
        self.limited = True
        """It is a client or foreign, or not known yet."""
        self.asked = False
        """It has shown its token, right or wrong."""
        self.admitted = False
        """Its token was accepted."""
        self.envelope = False
        """Whether the peer speaks in envelope and body; else in flat objects."""
        self.batch = self.bundle = False
        self.closing = False
        self._request = request
        self._socket: web.WebSocketResponse | None = None
        self._writer: asyncio.Task[None] | None = None
        found = None if request.transport is None else request.transport.get_protocol()
        self.door = found if isinstance(found, Door) else None
        """None if it has gone already."""
        if self.door is not None:
            self.door.connection = number

    def charge(self, events: int, now: float) -> int:
        """It has sent so many events."""
        self.owes = self.bucket.take(events, now)
        return events

    def understands(self, capabilities: Collection[str]) -> None:
        """What it may be sent, from now on, beyond single flat events."""
        self.envelope = "envelope" in capabilities
        self.batch = self.envelope and "batch" in capabilities
        self.bundle = self.envelope and CAPABILITY in capabilities

    def attach(self, socket: web.WebSocketResponse, spawn: Callable[..., asyncio.Task[None]]) -> None:
        """The websocket is there: start to write."""
        self._socket = socket
        self._writer = spawn(self._write(), name=f"writer {self.number}")

    async def _write(self) -> None:
        assert self._socket is not None
        try:
            while (packet := await self.outbox.take(batch=self.batch)) is not None:
                await self._socket.send_str(f"42{packet}")  # Engine.IO message, Socket.IO event
        except (ConnectionError, RuntimeError):
            return  # the peer has gone; its reader says so
        if self._request.transport is not None:
            self._request.transport.close()

    def close(self) -> None:
        """Send what waits, then end the connection; abort it if that takes too long."""
        if self.closing:
            return
        self.closing = True
        self.outbox.finish()
        if self._writer is None:
            self.abort()
        else:
            asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.abort)

    def abort(self) -> None:
        """End the connection now: frees a writer that waits for a peer that reads nothing."""
        self.closing = True
        self.outbox.leave()
        if self._writer is not None:
            self._writer.cancel()
        if self._request.transport is not None:
            self._request.transport.abort()

    async def flushed(self) -> None:
        """If the connection is being closed, wait until all is sent or given up."""
        if self.closing and self._writer is not None:
            await asyncio.wait([self._writer], timeout=2 * _FLUSH_SECONDS)


def _nothing() -> None:
    """Nobody keeps count."""


class Driver:
    """The websocket as Engine.IO uses it; made by a :class:`Drivers`."""

    def __init__(self, drivers: Drivers, handler: Callable[[Driver], Awaitable[None]]) -> None:
        self._drivers = drivers
        self._handler = handler
        self._pinged = False
        self._served = False
        self._socket: web.WebSocketResponse
        self._connection: Connection
        self._taken: Callable[[], None]

    async def __call__(self, environ: dict[str, Any]) -> web.StreamResponse:
        """Serve the connection to its end."""
        self._connection = environ[KEY]
        door = self._connection.door
        self._taken = _nothing if door is None else door.taken
        # Compression would cost more than the loopback or a local network gains.
        self._socket = web.WebSocketResponse(max_msg_size=self._drivers.max_frame_bytes, compress=False)
        try:
            await self._socket.prepare(environ["aiohttp.request"])
        except (web.HTTPException, ConnectionError) as problem:
            # It asked wrongly, or has gone meanwhile. Engine.IO has a session for it by now, and forgets it
            # only when that was served: to its first look there is nothing to be had.
            await self._handler(self)
            return web.Response(status=problem.status if isinstance(problem, web.HTTPException) else 400)
        self._served = True
        self._connection.attach(self._socket, self._drivers.spawn)
        try:
            await self._handler(self)
        finally:
            await self._connection.flushed()
            self._connection.abort()
        return self._socket

    async def close(self) -> None:
        """End the websocket."""
        if self._served:
            self._connection.close()

    async def send(self, message: str) -> None:
        """Send a packet of Engine.IO itself.

        Raises:
            OSError: there is no websocket.
        """
        if not self._served:
            raise OSError("there is no websocket")
        if message == "2":
            self._pinged = True
        await self._socket.send_str(message)

    async def wait(self) -> str:
        """The next packet that is Engine.IO's own business; events go to the hub meanwhile.

        Raises:
            OSError: the connection has ended, or is cut for what came.
        """
        if not self._served:
            raise OSError("there is no websocket")
        done = 0
        try:
            while True:
                message = await self._socket.receive()
                if message.type is not WSMsgType.TEXT:
                    raise OSError(self._reason(message))
                packet: str = message.data
                self._taken()
                if packet.startswith("42["):
                    done += self._drivers.on_frame(self._connection, packet)
                    if done >= _EVENTS_PER_TURN or self._connection.owes > LEAST_WAIT:
                        done = 0
                        await self._pause()
                elif packet == "3":
                    if self._pinged:  # each answer makes Engine.IO start a task for the next ping
                        self._pinged = False
                        return packet
                    done += self._connection.charge(1, monotonic())
                elif packet[:1] in ("1", "4"):
                    return packet
                else:
                    self._drivers.on_abuse(self._connection, "a packet that no client sends")
                if self._connection.closing:
                    raise OSError("the connection is being cut")
        except BaseException:
            # Engine.IO now waits for its own writer, which may wait for a peer that reads nothing.
            if not self._connection.closing:
                self._connection.abort()
            raise

    async def _pause(self) -> None:
        """Let others have their turn; read nothing until nothing is owed any more, so that the peer waits."""
        connection = self._connection
        if connection.owes <= LEAST_WAIT:
            await asyncio.sleep(0)
            return
        if connection.door is not None:
            connection.door.pause()
        await asyncio.sleep(min(connection.owes, _LONGEST_PAUSE))
        connection.owes = 0.0
        if connection.door is not None:
            connection.door.go_on()

    def _reason(self, message: WSMessage) -> str:
        if message.type is WSMsgType.BINARY:
            self._drivers.on_abuse(self._connection, "a binary message")
        elif message.type is WSMsgType.ERROR and getattr(message.data, "code", None) == _TOO_BIG:
            self._drivers.on_abuse(self._connection, "a message over max_frame_bytes")
        return "the connection has ended"


class Drivers:
    """Makes the drivers of one server; Engine.IO calls it as it would call the stock class."""

    def __init__(
        self,
        *,
        max_frame_bytes: int,
        spawn: Callable[..., asyncio.Task[None]],
        on_frame: Callable[[Connection, str], int],
        on_abuse: Callable[[Connection, str], None],
    ) -> None:
        """``on_frame`` gets a packet of events and returns how many they were; ``on_abuse`` cuts."""
        self.max_frame_bytes = max_frame_bytes
        self.spawn = spawn
        self.on_frame = on_frame
        self.on_abuse = on_abuse

    def __call__(self, handler: Callable[[Driver], Awaitable[None]], server: object = None) -> Driver:
        return Driver(self, handler)  # older versions pass no server
