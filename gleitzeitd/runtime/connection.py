"""A connection to a hub that always comes back, whatever carries it: its settings, what waits to be sent,
how events look on the wire, when it is given up, and when the next one is made.

Between our own components an event is ``name, envelope, body text``. What waits when the wire becomes free
goes into one packet, ``batch``, if the hub understands that; control goes before bulk. When a limit of the
outbox is reached the connection is cut: everything that matters is asked, and asked again on the next one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from gleitzeitd.bounds import bounded, sized
from gleitzeitd.errors import (
    GleitzeitError,
    HubUnreachable,
    MalformedData,
    MalformedEvent,
    NotAuthenticated,
    NotPermitted,
    TlsFailed,
)
from gleitzeitd.events import Envelope
from gleitzeitd.events.codec import envelope_from_plain, unflatten
from gleitzeitd.machines.link import Transmit
from gleitzeitd.model.names import ComponentId
from gleitzeitd.plain import Json, from_plain
from gleitzeitd.runtime.bundles import CAPABILITY, piece, pieces, read_bundle
from gleitzeitd.runtime.clock import monotonic
from gleitzeitd.runtime.tasks import Tasks

log = logging.getLogger(__name__)

BATCH_EVENTS = 64
"""In one packet. Few enough for its receiver to begin with the first while the rest is still being made."""
BATCH_BYTES = 256 * 1024
FRAME_LIMIT = 17 * 2**20
"""Bytes of one frame from a hub: the 16 MiB that may cross a hub, and what envelopes add."""
FIRST_DELAY = 0.1
"""Seconds; the first reconnection waits less than this, each further one up to twice as long."""
LAST_DELAY = 5.0
STABLE = 5.0
"""Seconds that a connection has to last for the next one to be made at once."""
LOOKS = 4
"""Looks at a hub within the time after which it is taken to be lost."""
GOODBYE = 0.5
"""Seconds for an orderly end of a connection; then it is cut."""
REFUSED_DELAY = 10.0
"""Seconds between attempts at a hub that does not accept us."""
RESTART = 15.0
"""Seconds that a hub which has said goodbye may be away before that is worth a warning: an upgrade's restart
on a slow machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """How this component keeps in touch with its hubs."""

    hub_urls: list[str] = sized(["http://localhost:8000"], least=1, most=16)  # noqa: RUF009 - a field with a factory
    """The hubs. A connection is kept to each of them, and any that is up is used.
    GLEITZEIT_HUB_URL sets this too."""
    component_id: str = sized("", most=200)
    """The name of this component, unique among all. If empty, one is made from the role, the host's name and
    a random part at each start. COMPONENT_ID sets this too."""
    connect_seconds: float = bounded(10.0, above=0, most=300, unit="seconds")
    """How long one attempt to connect may take."""
    heartbeat_loss_seconds: float = bounded(5.0, least=0.1, most=3600, unit="seconds")
    """A hub from which nothing has come for so long, and for at least three of its heartbeat intervals, is
    taken to be lost."""
    isolation_seconds: float = bounded(300.0, least=0, unit="seconds")
    """After so long without any hub the systemd watchdog is no longer fed, so that this component is started
    anew. 0: it is fed nevertheless."""
    shutdown_seconds: float = bounded(10.0, least=0, most=3600, unit="seconds")
    """How long work in flight may take to end when the component is asked to."""
    inbox_limit: int = bounded(50_000, least=100, unit="events")
    """Received events that may wait; when there are more, the connection is cut and made anew."""
    inbox_bytes: int = bounded(128 * 2**20, least=2**20, unit="bytes")
    """The size of the received events that may wait."""
    outbox_limit: int = bounded(50_000, least=100, unit="events")
    """Events that may wait for one hub; when there are more, the connection is cut and made anew."""
    outbox_bytes: int = bounded(128 * 2**20, least=2**20, unit="bytes")
    """The size of the events that may wait for one hub."""

    def __post_init__(self) -> None:
        """Raises MalformedData."""
        for url in self.hub_urls:
            scheme, separator, rest = url.partition("://")
            if scheme not in ("http", "https", "ws", "wss") or not separator or not rest.strip("/"):
                raise MalformedData("hub_urls", f"expected addresses like http://hub:8000, found {url!r}")


OnEvent = Callable[..., None]
"""``(name, *arguments)``; awaits nothing."""
Ended = Callable[[str], None]
"""Gets the reason."""
Packet = tuple[str, list[Json]]
"""The name and the arguments of what is emitted."""


class Outbox:
    """What waits to be sent on one connection. Two lanes: control goes before bulk."""

    def __init__(self, limit: int, limit_bytes: int) -> None:
        self.batches = False
        """Whether the hub understands ``batch``."""
        self.bundles = False
        """Whether it understands pieces with many events."""
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._lanes: tuple[deque[Transmit], deque[Transmit]] = (deque(), deque())
        self._bytes = 0
        self._waiting = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._lanes[0]) + len(self._lanes[1])

    def put(self, item: Transmit) -> bool:
        """Add to its lane; False if a limit is reached, and nothing was added."""
        if len(self) >= self._limit or self._bytes + len(item.body) > self._limit_bytes:
            return False
        self._lanes[0 if item.control else 1].append(item)
        self._bytes += len(item.body)
        self._waiting.set()
        self._idle.clear()
        return True

    async def take(self) -> Packet:
        """The next packet, as soon as there is something; what was taken before is sent by then."""
        if not len(self):
            self._idle.set()
            self._waiting.clear()
            await self._waiting.wait()
        first = self._pop()
        if not self.batches or not len(self):
            return first.name, piece(first)[1:]
        taken, size = [first], len(first.body)
        while len(self) and len(taken) < BATCH_EVENTS:
            following = self._lanes[0] or self._lanes[1]
            size += len(following[0].body)
            if size > BATCH_BYTES:
                break
            taken.append(self._pop())
        batch = pieces(taken) if self.bundles else [piece(item) for item in taken]
        return ("batch", [batch]) if len(batch) > 1 else (batch[0][0], batch[0][1:])

    async def idle(self) -> None:
        """Wait until everything is sent."""
        await self._idle.wait()

    def abandon(self) -> None:
        """Nothing of it will be sent: who waits for that waits no longer."""
        for lane in self._lanes:
            lane.clear()
        self._bytes = 0
        self._idle.set()

    def _pop(self) -> Transmit:
        item = (self._lanes[0] or self._lanes[1]).popleft()
        self._bytes -= len(item.body)
        return item


class Intake:
    """How much has been received and waits to be handled."""

    def __init__(self, limit: int, limit_bytes: int) -> None:
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._events = 0
        self._bytes = 0

    def admit(self, size: Size) -> bool:
        """Count a packet in; False if a limit is reached, and it was not counted. One always has room."""
        events, length = size
        if self._events and (self._events + events > self._limit or self._bytes + length > self._limit_bytes):
            return False
        self._events += events
        self._bytes += length
        return True

    def release(self, size: Size) -> None:
        """It is about to be handled."""
        self._events -= size[0]
        self._bytes -= size[1]


Size = tuple[int, int]
"""Events, and bytes of their bodies."""


def size_of(name: str, arguments: Sequence[Json]) -> Size:
    """Of a received packet, which may have any shape."""
    items = arguments[0] if name == "batch" and arguments else None
    if not isinstance(items, list):
        items = [[name, *arguments]]
    sizes = [_size_of_piece(item) for item in items if isinstance(item, list)]
    return sum(events for events, _ in sizes), sum(length for _, length in sizes)


def _size_of_piece(piece: list[Json]) -> Size:
    if len(piece) == 4 and isinstance(piece[2], list):
        return len(piece[2]), sum(map(_length, piece[2]))
    return 1, sum(map(_length, piece[1:]))


def _length(value: Json) -> int:
    return len(value) if isinstance(value, str) else 0


def unpacked(name: str, arguments: Sequence[Json]) -> Iterator[tuple[str, Sequence[Json]]]:
    """The single events of a packet, each with its arguments; what has no shape is left to :func:`read`."""
    if name != "batch" or len(arguments) != 1 or not isinstance(arguments[0], list):
        yield name, arguments
        return
    for item in arguments[0]:
        if isinstance(item, list) and item and isinstance(item[0], str):
            yield item[0], item[1:]
        else:
            yield "batch", [item]


def read(name: str, arguments: Sequence[Json], new_id: Callable[[], str]) -> list[tuple[Envelope, str]]:
    """Envelope and body text of an event, in our own form or in the public one, or of many in one piece.

    Raises:
        MalformedEvent: it is none of these.
    """
    if len(arguments) == 2 and isinstance(arguments[1], str):
        return [(envelope_from_plain(arguments[0], name), arguments[1])]
    if len(arguments) == 3:
        return read_bundle(name, arguments)
    if len(arguments) > 1:
        raise MalformedEvent(name, "expected an envelope and text, or one object")

    def fill(given: dict[str, Json]) -> Envelope:
        filled = {"message_id": new_id(), "correlation_id": new_id(), "source_component": ComponentId("hub")}
        return from_plain(Envelope, {**filled, **given}, f"{name}._")

    return [unflatten(name, arguments[0] if arguments else None, fill)]


def retry_delay(failures: int) -> float:
    """Seconds before the next attempt, after so many that failed: full jitter, so that after a hub's
    restart its components do not come all at once.
    """
    return random.uniform(0, min(LAST_DELAY, FIRST_DELAY * 2.0 ** min(failures, 16)))  # noqa: S311


class Wire(Protocol):
    """What carries packets: a Socket.IO client, used for one connection only."""

    async def connect(self, url: str, auth: dict[str, str], on_event: OnEvent, on_end: Ended) -> None:
        """Connect within the time limit of the settings, and be accepted.

        Raises:
            NotAuthenticated, NotPermitted: the hub will not have us.
            HubUnreachable: anything else; the message says why.
        """

    async def send(self, name: str, arguments: list[Json]) -> None:
        """Return when the packet has left, or there is room for the next one.

        Raises:
            HubUnreachable: the connection is broken.
        """

    def is_closed(self) -> bool:
        """Whether the hub, or the network, has ended it."""

    async def close(self) -> None:
        """Release everything, in whatever state it is, within about a second."""


class Owner(Protocol):
    """Whose connections these are."""

    def connected(self, connection: Connection) -> None:
        """It is up; nothing has been sent."""

    def disconnected(self, connection: Connection) -> None:
        """It is no more."""

    def received(self, connection: Connection, name: str, arguments: Sequence[Json]) -> None:
        """A packet has come."""

    def fail(self, problem: GleitzeitError) -> None:
        """Going on makes no sense."""


class HubLink:
    """Keeps a connection to one hub: whenever there is none, it makes one."""

    def __init__(
        self,
        url: str,
        owner: Owner,
        auth: dict[str, str],
        settings: LinkSettings,
        *,
        new_wire: Callable[[], Wire],
        is_client: bool,
    ) -> None:
        """A client is told of its refusal at once, and tells its user itself what goes wrong."""
        self.url = url
        self.problem = ""
        """Why there is no connection."""
        self._owner = owner
        self._auth = auth
        self._settings = settings
        self._new_wire = new_wire
        self._is_client = is_client
        self._connection: Connection | None = None
        self._reported = ""
        self._goodbye_at: float | None = None
        """When the hub has said goodbye; None if it is here, or that has been warned of."""

    def is_registered(self) -> bool:
        """Whether the hub has accepted us."""
        return self._connection is not None and self._connection.registered

    async def run(self) -> None:
        """Until cancelled; for a client, until it is refused."""
        failures = 0
        while True:
            began = monotonic()
            connection = Connection(self.url, self._owner, self._new_wire(), self._settings, self._up)
            self._connection = connection
            try:
                await connection.run(self._auth)
            finally:
                self._connection = None
            if connection.refusal is not None and self._is_client:
                self._owner.fail(connection.refusal)
                return
            stable = connection.registered and monotonic() - began > STABLE
            failures = 0 if stable else failures + 1
            self._down(connection)
            await asyncio.sleep(retry_delay(failures) if connection.refusal is None else REFUSED_DELAY)

    def _up(self) -> None:
        self.problem = self._reported = ""
        self._goodbye_at = None
        log.log(self._level(logging.INFO), "connected to a hub", extra={"hub": self.url})

    def _down(self, connection: Connection) -> None:
        self.problem = connection.reason
        if connection.said_goodbye and connection.registered:
            self._goodbye_at = monotonic()
            about = {"hub": self.url, "reason": self.problem}
            log.log(self._level(logging.INFO), "a hub has said goodbye", extra=about)
            return
        kind = "a hub is not connected" if connection.refusal is None else "a hub refuses us"
        if isinstance(connection.refusal, TlsFailed):
            kind = "no secure connection to a hub"
        returns = self._goodbye_at is not None and monotonic() - self._goodbye_at < RESTART
        if connection.refusal is None and returns:
            return
        self._goodbye_at = None
        if kind != self._reported:  # one record per cause, not per attempt
            self._reported = kind
            error = connection.refusal or HubUnreachable(self.problem)
            log.log(self._level(logging.WARNING), kind, extra={"hub": self.url, "error": error})

    def _level(self, level: int) -> int:
        return logging.DEBUG if self._is_client else level


class Connection:
    """One connection, from its making to its end."""

    def __init__(
        self, url: str, owner: Owner, wire: Wire, settings: LinkSettings, on_registered: Callable[[], None]
    ) -> None:
        self.url = url
        self.outbox = Outbox(settings.outbox_limit, settings.outbox_bytes)
        self.registered = False
        self.heartbeat_interval = 0.0
        """Seconds, as the hub has announced."""
        self.reason = ""
        """Why it has ended."""
        self.said_goodbye = False
        """It has ended because the hub has said that it leaves."""
        self.refusal: GleitzeitError | None = None
        self._owner = owner
        self._wire = wire
        self._settings = settings
        self._on_registered = on_registered
        self._ended = asyncio.Event()
        self._silent = 0

    async def run(self, auth: dict[str, str]) -> None:
        """Until it ends, or does not come about; ``reason`` says why.

        Raises:
            Exception: whatever ended its writer, if that was not the wire.
        """
        tasks = Tasks()
        try:
            await self._wire.connect(self.url, auth, self._received, self.leave)
            self._owner.connected(self)
            try:
                writer = tasks.spawn(self._write(), name=f"writer of {self.url}")
                await self._watch()
                if writer.done() and not writer.cancelled():
                    writer.result()
            finally:
                self._ended.set()
                self.outbox.abandon()
                self._owner.disconnected(self)
        except (NotAuthenticated, NotPermitted, TlsFailed) as problem:
            self.refused(problem)
        except HubUnreachable as problem:
            self.leave(str(problem))
        finally:
            try:
                await tasks.cancel(within=GOODBYE)
            finally:
                await self._wire.close()
            # The library swallows a cancellation that comes while it closes a connection.
            me = asyncio.current_task()
            if me is not None and me.cancelling():
                raise asyncio.CancelledError

    def accepted(self, capabilities: frozenset[str]) -> None:
        """The hub has registered us."""
        self.registered = True
        self.outbox.batches = "batch" in capabilities
        self.outbox.bundles = CAPABILITY in capabilities
        self._on_registered()

    def refused(self, problem: GleitzeitError) -> None:
        """The hub will not have us."""
        self.refusal = problem
        self.leave(str(problem))

    def goodbye(self, reason: str) -> None:
        """The hub has said that it leaves."""
        if not self._ended.is_set():
            self.said_goodbye = True
            self.leave(reason or "the hub is leaving")

    def leave(self, reason: str) -> None:
        """End it."""
        if not self._ended.is_set():
            self.reason = reason
            self._ended.set()

    def _received(self, name: str, *arguments: Json) -> None:
        self._silent = 0
        if not self._ended.is_set():
            self._owner.received(self, name, arguments)

    async def _write(self) -> None:
        try:
            while True:
                name, arguments = await self.outbox.take()
                await self._wire.send(name, arguments)
        except HubUnreachable as problem:
            self.leave(str(problem))
        finally:
            self.leave("nothing can be written")  # whatever it was: a connection that is mute is none

    async def _watch(self) -> None:
        """Return when the connection has ended, or a hub is silent that should not be.

        Looks are counted, not seconds: a process that was stopped for an hour has missed one look.
        """
        while not self._ended.is_set():
            loss = max(self._settings.heartbeat_loss_seconds, 3 * self.heartbeat_interval)
            with suppress(TimeoutError):
                async with asyncio.timeout(loss / LOOKS):
                    await self._ended.wait()
            self._silent += 1
            if self._silent > LOOKS:
                self.leave(f"nothing has come from the hub for {loss:g} s")
            if self._wire.is_closed():
                self.leave("the connection is closed")
