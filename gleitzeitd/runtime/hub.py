"""The hub as a Socket.IO server: sockets, texts and timers; every decision is ``machines.hub.Hub``'s.

Guarded against what python-socketio lets through: events under the names of its own hooks, attachments,
other namespaces, acknowledgements, messages without bound in either direction, peers that never say who
they are, peers that read nothing. Handlers run in the reading task of their connection and await nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from functools import partial
from json.encoder import encode_basestring_ascii
from time import perf_counter
from typing import Any

from aiohttp import web
from socketio.exceptions import ConnectionRefusedError as Refused

from gleitzeitd.errors import GleitzeitError, MalformedEvent
from gleitzeitd.events.codec import encode_body
from gleitzeitd.events.hub import ComponentRegistered
from gleitzeitd.machines.base import (
    CancelTimer,
    Deliver,
    Disconnect,
    Effects,
    Note,
    Send,
    SetTimer,
)
from gleitzeitd.machines.foreign import Foreign, Stamp
from gleitzeitd.machines.hub import Hub
from gleitzeitd.machines.hub_settings import Settings
from gleitzeitd.machines.limits import BYTES_SHIFT
from gleitzeitd.model.names import ComponentId, Role
from gleitzeitd.plain import Json
from gleitzeitd.runtime import journal
from gleitzeitd.runtime.bundles import is_sound, singles
from gleitzeitd.runtime.clock import monotonic, utc_now, wall
from gleitzeitd.runtime.fast_json import dumps
from gleitzeitd.runtime.gate import Gate
from gleitzeitd.runtime.hub_address import (
    address_text,
    check_exposure,
    inherited_sockets,
    unused_address,
)
from gleitzeitd.runtime.hub_connection import CONTROL, CONTROL_CHARACTERS, KEY, Connection, Drivers
from gleitzeitd.runtime.hub_envelope import own_envelope
from gleitzeitd.runtime.hub_http import HubPages
from gleitzeitd.runtime.hub_limits import HubLimits, Warnings
from gleitzeitd.runtime.hub_tls import CA_PAGE, Listening, ca_page, certified, listen_with_tls
from gleitzeitd.runtime.socketio_server import GuardedServer, parsed
from gleitzeitd.runtime.tasks import Tasks, contained
from gleitzeitd.runtime.tls import Credentials

log = logging.getLogger(__name__)

_SAMPLE_SECONDS = 10.0
_BACKLOG = 4096  # connections that wait to be accepted; after a restart all components come at once

HUB_ID = ComponentId("hub")


class HubServer:
    """Listens, and performs what the machine decides. Build a new one to start again."""

    def __init__(
        self,
        settings: Settings,
        *,
        gate: Gate,
        component_id: ComponentId = HUB_ID,
        version: str = "",
        sample: Callable[[], dict[str, Json]] | None = None,
        credentials: Credentials | None = None,
        is_embedded: bool = False,
    ) -> None:
        """``gate`` decides who is let in.

        ``sample`` gives the process's own figures for ``list_components``; it is called every 10 s.
        With ``credentials`` it speaks TLS, and only that; if it is embedded, to all but its own process.
        """
        self._is_embedded = is_embedded
        self.credentials = credentials
        self.settings = settings
        self.hub = Hub(component_id, settings, version=version)
        self.hub.hostname, self.hub.process_id = socket.gethostname(), os.getpid()
        self.tasks = Tasks()
        """``await server.tasks.failure()`` returns when the hub cannot go on."""
        self.hub.insecure = gate.insecure
        self._gate = gate
        self._sample = sample
        self._connections: dict[str, Connection] = {}
        self._warnings = Warnings()
        self._limits = HubLimits(self.hub, self._connections, self._warnings, self.abused)
        self._pages = HubPages(self.hub, gate, self._limits)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._numbers = self._taken = 0
        self.addresses: list[str] = []
        """What it listens on, for people: ``127.0.0.1:8000``."""
        self._runner: web.AppRunner | None = None
        self._listening: list[Listening] = []
        self._server = self._make_server()

    def _make_server(self) -> GuardedServer:
        server = GuardedServer(
            self,
            async_mode="aiohttp",
            async_handlers=False,
            transports=["websocket"],
            cors_allowed_origins=[],  # our doors look at Origin; nothing is said about other sites
            ping_interval=self.settings.ping_interval,
            ping_timeout=self.settings.ping_timeout,
            max_http_buffer_size=self.settings.max_frame_bytes,
            monitor_clients=False,  # a reader whose peer answers no ping ends by itself
            http_compression=False,
            logger=False,
            engineio_logger=False,
        )
        server.logger.setLevel(logging.ERROR)  # below, tokens are logged, and a line per refused connection
        server.eio.logger.setLevel(logging.ERROR)
        drivers = Drivers(
            max_frame_bytes=self.settings.max_frame_bytes,
            spawn=self.tasks.spawn,
            on_frame=self.frame,
            on_abuse=self.abused,
        )
        server.eio._async = {**server.eio._async, "websocket": drivers}
        server.on("connect", self._admit)
        return server

    # -- start and end

    @property
    def port(self) -> int:
        """The TCP port that it listens on."""
        assert self._listening, "not started"
        return int(self._listening[0].sockets[0].getsockname()[1])

    @property
    def inner_port(self) -> int:
        """That for the hub's own process, on loopback."""
        return int(self._listening[-1].sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen, on systemd's sockets if there are any.

        Raises:
            ConfigError: the address can be reached from other hosts, and no token is asked for.
            OSError: the address is in use, or not of this host.
        """
        sockets = inherited_sockets(os.environ)
        check_exposure(self.settings.host, sockets, insecure=self._gate.insecure)
        self._gate.announce()
        app = web.Application(client_max_size=65536)
        self._server.attach(app)
        self._pages.add_to(app)
        if self.credentials is not None:
            app.router.add_get(CA_PAGE, ca_page(self.credentials))
        self._runner = web.AppRunner(app, access_log=None, lingering_time=0.0)
        await self._runner.setup()
        self._perform(self.hub.start(monotonic(), utc_now()))
        self._take_sample()
        assert self._runner.server is not None, "it was set up"
        self._limits.doors.make = self._runner.server
        self._listening = await self._listen(self._limits.doors, sockets)
        self.addresses = [address_text(s.getsockname()) for each in self._listening for s in each.sockets]
        tls = {} if self.credentials is None else {"certificate": str(self.credentials.files.certificate)}
        log.info("hub listens", extra={"address": ", ".join(self.addresses), **tls})
        if sockets and (unused := unused_address(self.settings, Settings(), sockets)):
            log.warning(
                "hub.host and hub.port are not used: systemd listens for the hub",
                extra={"configured": unused, "remedy": "systemctl edit gleitzeit-hub.socket"},
            )

    async def _listen(self, protocol: Any, sockets: list[socket.socket]) -> list[Listening]:
        loop, settings = asyncio.get_running_loop(), self.settings
        if self.credentials is not None:
            counts, tasks = self.hub.counts, self.tasks
            now = partial(getattr, self.hub, "settings")
            outside = listen_with_tls(self.credentials, now, counts, tasks, protocol, sockets, _BACKLOG)
            inside = [await loop.create_server(protocol, "127.0.0.1", 0)] if self._is_embedded else []
            return [outside, *inside]
        if sockets:
            return [await loop.create_server(protocol, sock=each, backlog=_BACKLOG) for each in sockets]
        return [await loop.create_server(protocol, settings.host, settings.port, backlog=_BACKLOG)]

    async def stop(self, reason: str) -> None:
        """Say goodbye to everybody, and end within 2 s."""
        for server in self._listening:
            # At once: who connects now waits at systemd's socket, if there is one, for the hub after this.
            server.close()
        self._perform(self.hub.leave(reason))
        leaving = list(self._connections.values())
        for connection in leaving:
            connection.close()
        if leaving:
            flushing = [self.tasks.spawn(each.flushed(), name="flush") for each in leaving]
            await asyncio.wait(flushing, timeout=1.0)
        for connection in leaving:
            connection.abort()
        for timer in self._timers.values():
            timer.cancel()
        if self._runner is not None:
            cleanup = self.tasks.spawn(self._close_http(self._runner), name="cleanup")
            await asyncio.wait([cleanup], timeout=0.7)
        await self.tasks.cancel(within=0.2)

    @staticmethod
    async def _close_http(runner: web.AppRunner) -> None:
        if runner.server is not None:
            await runner.server.shutdown(0.3)
        await runner.cleanup()

    # -- connections

    def opened(self, engine_id: str, request: web.Request) -> Connection:
        """A new connection, of which nothing is known; ``closing`` if the machine refuses it."""
        self._numbers += 1
        connection = Connection(
            str(self._numbers),
            engine_id,
            request.remote or "",
            request,
            self._limits.outbox(),
            Foreign(nesting=self.settings.max_nesting, role_of=self._role_of),
            self._limits.bucket(monotonic()),
        )
        self._connections[connection.number] = connection
        self._perform(self.hub.opened(connection.number, connection.address))
        return connection

    def _role_of(self, component_id: str) -> Role | None:
        member = self.hub.members.named(component_id)
        return None if member is None else member.role

    def _admit(self, sid: str, environ: dict[str, Any], auth: Json = None) -> None:
        connection: Connection = environ[KEY]
        said = auth if type(auth) is dict else {}
        try:
            grant = self._gate.admit(said.get("token"), connection.address, environ.get("HTTP_HOST"))
            if self.credentials is not None:
                grant = certified(grant, environ["aiohttp.request"])
            component_id, role = said.get("component_id"), said.get("component_type")
            self._perform(self.hub.connected(connection.number, component_id, role, grant))
        except GleitzeitError as problem:
            self._perform(self.hub.rejected(connection.number, problem))
            self._warnings.give("a connection was refused", connection.address, problem)
            asyncio.get_running_loop().call_later(0.2, connection.abort)  # after the refusal is sent
            raise Refused(
                f"[{problem.code} {problem.name}] {problem}", {"code": problem.code, "name": problem.name}
            ) from None
        connection.admitted = True
        if connection.door is not None:
            connection.door.admit()

    def ended(self, connection: Connection, reason: str) -> None:
        """The connection has ended, on whatever level; later calls have no effect."""
        if self._connections.pop(connection.number, None) is not None:
            self._perform(self.hub.disconnected(connection.number, reason))

    def abused(self, connection: Connection, reason: str | GleitzeitError, cause: str = "abuse") -> None:
        """Cut a connection for what came over it; whoever gets an error is told before."""
        if connection.closing:
            return
        self.hub.counts.refused[cause] += 1
        self._warnings.give("a connection was cut", connection.address, reason)
        if isinstance(reason, GleitzeitError):
            self._perform(self.hub.refuse(connection.number, "", reason, {}))
            connection.close()
        else:
            connection.abort()
        self.ended(connection, str(reason))

    # -- events in

    def frame(self, connection: Connection, packet: str) -> int:
        """Handle a packet of events, ``42[...]``; returns how many they were."""
        if not connection.admitted:
            self.abused(connection, "an event before authentication")
            return 1
        begun = perf_counter()
        if problem := self._limits.packet_problem(connection, packet):
            self.abused(connection, problem, "structure")
            return 1
        data = parsed(packet[2:], fast=connection.envelope)
        if type(data) is not list or not data:
            self.abused(connection, "an event that is no JSON")
            return 1
        now, at = monotonic(), utc_now()
        items = [data]
        if data[0] == "batch" and len(data) == 2 and type(data[1]) is list:
            items = data[1]
            if problem := self._limits.batch_problem(len(items)):
                self.abused(connection, problem, "batch")
                return 1
        self._taken = len(items) + (len(packet) >> BYTES_SHIFT)
        for item in items:
            if connection.closing:
                break
            if contained(self._event, connection, item, now, at, name="event") is not None:
                self.abused(connection, "an event that the hub could not handle")
                break
            self._pages.latencies.add(perf_counter() - begun)
        self._limits.charge(connection, self._taken, now)
        return len(items)

    def _event(self, connection: Connection, item: Json, now: float, at: str) -> None:
        match item:
            case [str(name), dict(envelope), str(body)]:
                if not connection.envelope:
                    connection.envelope = self.hub.members.at(connection.number) is None
                self._receive(connection, name, envelope, body, now, at)
            case [str(name), dict(envelope), list(bodies), list(heads)] if is_sound(bodies, heads):
                self._bundle(connection, name, envelope, bodies, heads, now, at)
            case [str(name)]:
                self._foreign_event(connection, name, {}, now, at)
            case [str(name), flat]:
                self._foreign_event(connection, name, flat, now, at)
            case _:
                self.abused(connection, "an event of neither form")

    def _foreign_event(self, connection: Connection, name: str, flat: Json, now: float, at: str) -> None:
        member = self.hub.members.at(connection.number)
        stamp = Stamp(message_id=_new_id(), correlation_id=_new_id(), at=at)
        source, role = (ComponentId(""), None) if member is None else (member.component_id, member.role)
        try:
            envelope, body = connection.foreign.incoming(name, flat, source, role, stamp)
        except GleitzeitError as problem:
            given = flat if type(flat) is dict else {}
            self._perform(self.hub.refuse(connection.number, name, problem, given))
            return
        self._receive(connection, name, envelope, body, now, at)

    def _bundle(
        self,
        connection: Connection,
        name: str,
        envelope: dict[str, Json],
        bodies: list[str],
        heads: list[list[Json]],
        now: float,
        at: str,
    ) -> None:
        self._taken += len(bodies)
        sizes = [len(body) for body in bodies]
        own = dict(envelope)
        effects = self.hub.received_bundle(connection.number, name, own, heads, sizes, now, at)
        if effects is None:
            for single, body in singles(envelope, bodies, heads):
                self._receive(connection, name, single, body, now, at)
            return
        for effect in effects:
            assert isinstance(effect, Deliver)
            delivered = own if effect.fact is None else {**own, "_fact": effect.fact}
            self._emit_bundle(connection, effect, delivered, bodies, heads)

    def _emit_bundle(
        self,
        sender: Connection,
        effect: Deliver,
        envelope: dict[str, Json],
        bodies: list[str],
        heads: list[Json],
    ) -> None:
        to, name = effect.to, effect.name
        others = tuple(number for number in to if not self._takes_bundles(number))
        for single, body in singles(envelope, bodies, heads) if others else ():
            try:
                self._emit(others, name, single, body)
            except MalformedEvent as problem:
                self._perform(self.hub.refuse(sender.number, effect.fact or name, problem, single))
        if len(others) < len(to):
            text = f'"{name}",{dumps(envelope)},{dumps(bodies)},{dumps(heads)}'
            for number in to:
                if number not in others:
                    self._put(self._connections[number], name, text, len(bodies))

    def _takes_bundles(self, number: str) -> bool:
        connection = self._connections.get(number)
        return connection is not None and connection.bundle and not connection.closing

    def _receive(
        self, connection: Connection, name: str, envelope: dict[str, Json], body: str, now: float, at: str
    ) -> None:
        effects = self.hub.received(connection.number, name, envelope, body, now, at)
        try:
            self._perform(effects, envelope, body)
        except MalformedEvent as problem:
            self._perform(self.hub.refuse(connection.number, name, problem, envelope))

    # -- effects

    def _perform(self, effects: Effects, envelope: dict[str, Json] | None = None, body: str = "") -> None:
        for effect in effects:
            match effect:
                case Deliver(to, name, fact):
                    assert envelope is not None, effect
                    self._emit(to, name, envelope if fact is None else {**envelope, "_fact": fact}, body)
                case Send():
                    self._send(effect)
                case SetTimer(key, delay):
                    self._set_timer(key, delay, self._expire, key)
                case CancelTimer(key):
                    timer = self._timers.pop(key, None)
                    if timer is not None:
                        timer.cancel()
                case Disconnect(number, reason):
                    self._disconnect(number, reason)
                case Note(level, message, fields):
                    of = {} if envelope is None else {"correlation_id": envelope.get("_correlation_id")}
                    journal.note(Role.HUB, level, message, fields, self.hub.component_id, of)
                case _:
                    raise AssertionError(effect)

    def _send(self, effect: Send) -> None:
        event = effect.event
        envelope = own_envelope(effect, self.hub.component_id, self.hub.wire.newest, _new_id)
        if isinstance(event, ComponentRegistered):
            connection = self._connections.get(effect.to[0])
            if connection is not None:
                connection.understands(event.capabilities)
                self._limits.registered(connection, event.component_type, monotonic())
        self._emit(effect.to, event.name, envelope, encode_body(event))

    def _emit(self, to: tuple[str, ...], name: str, envelope: dict[str, Json], body: str) -> None:
        text = ""
        for number in to:
            connection = self._connections.get(number)
            if connection is None or connection.closing:
                continue
            if connection.envelope:
                # Made once, for however many receivers; the body stays the text it was.
                text = text or f'"{name}",{dumps(envelope)},{encode_basestring_ascii(body)}'
                item = text
            else:
                item = f'"{name}",{dumps(connection.foreign.outgoing(name, envelope, body))}'
            self._put(connection, name, item)

    def _put(self, connection: Connection, name: str, item: str, events: int = 1) -> None:
        control = name in CONTROL and len(item) <= CONTROL_CHARACTERS
        while not connection.outbox.put(item, control=control, events=events):
            slowest = self._limits.gives_way(connection, len(item))
            self._overflow(slowest)
            if slowest is connection:
                return

    def _overflow(self, connection: Connection) -> None:
        self.hub.counts.refused["overflow"] += 1
        self._warnings.give("a connection was cut", connection.address, "it reads too slowly")
        connection.abort()
        # Not now: the machine's effects at hand are to be performed before what follows from this.
        asyncio.get_running_loop().call_soon(
            lambda: self.tasks.call(self.ended, connection, "it reads too slowly", name="overflow")
        )

    def _disconnect(self, number: str, reason: str) -> None:
        connection = self._connections.pop(number, None)
        if connection is None:
            return
        log.debug("a connection is cut", extra={"address": connection.address, "reason": reason})
        connection.close()

    # -- time

    def _set_timer(self, key: str, delay: float, work: Callable[..., object], *args: object) -> None:
        before = self._timers.pop(key, None)
        if before is not None:
            before.cancel()

        def expired() -> None:
            self._timers.pop(key, None)
            self.tasks.call(work, *args, name=f"timer {key}")

        self._timers[key] = asyncio.get_running_loop().call_later(delay, expired)

    def _expire(self, key: str) -> None:
        if key == "beat":
            self._perform(self.hub.mind_tokens(self._gate.revoked(), wall()))
        self._perform(self.hub.timer_expired(key, monotonic(), utc_now()))

    def _take_sample(self) -> None:
        if self._sample is not None:
            self.hub.metrics = self._sample()
            self._set_timer("sample", _SAMPLE_SECONDS, self._take_sample)


def _new_id() -> str:
    return os.urandom(16).hex()
