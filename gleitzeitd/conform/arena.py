"""The hub that a provider under test connects to: the real one, with an eye on what comes from providers.

A registry, an engine and a client are connected to it over the same sockets as everybody else; they say
what they are told to.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from gleitzeitd import __version__
from gleitzeitd.errors import GleitzeitError, HubUnreachable
from gleitzeitd.events import Event
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.machines.base import Context, Effects, Machine, Reply, Tell
from gleitzeitd.machines.hub import Hub
from gleitzeitd.machines.hub_settings import Settings
from gleitzeitd.machines.link import Identity
from gleitzeitd.machines.members import Member
from gleitzeitd.model.access import full_grant
from gleitzeitd.model.names import ComponentId, Role
from gleitzeitd.plain import Json
from gleitzeitd.runtime.clock import wall
from gleitzeitd.runtime.component import Component
from gleitzeitd.runtime.connection import LinkSettings
from gleitzeitd.runtime.gate import Gate
from gleitzeitd.runtime.hub import HUB_ID, HubServer
from gleitzeitd.runtime.identity import make_identity
from gleitzeitd.runtime.tasks import Tasks
from gleitzeitd.runtime.tokens import KeyRing

JOIN_SECONDS = 20.0
"""For our own components to connect, on whatever machine."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An event from a provider, as the hub passes it on."""

    name: str
    body: dict[str, Json]
    source: str
    """component_id of the provider."""
    connection: str


@dataclass(slots=True)
class Record:
    """What has come from providers, in order; it outlives a hub."""

    seen: list[Seen] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    """``event: why``, of what the hub did not accept."""
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def first(self, wanted: Callable[[Seen], bool], since: int, seconds: float) -> Seen | None:
        """The first that is wanted, from the number ``since`` on; None if it does not come in time."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    for each in self.seen[since:]:
                        if wanted(each):
                            return each
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            return None

    async def until(self, true: Callable[[], bool], seconds: float) -> bool:
        """Wait until something has happened that makes ``true`` so."""
        try:
            async with asyncio.timeout(seconds):
                while not true():
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            return False
        return True


class _Watched(Hub):
    """The hub's decisions, unchanged, and a record of what they were about."""

    record: Record

    def received(
        self, connection: str, name: str, envelope: dict[str, Json], body: str, now: float, at: str
    ) -> Effects:
        before = len(self.record.refusals)
        member = self.members.at(connection)
        effects = super().received(connection, name, envelope, body, now, at)
        member = member or self.members.at(connection)
        if member is not None and member.role is Role.PROVIDER and len(self.record.refusals) == before:
            found = json.loads(body)
            if type(found) is dict:
                self.record.seen.append(Seen(name, found, member.component_id, connection))
        self.record.news.set()
        return effects

    def received_bundle(self, *_: object) -> None:
        """What comes in one piece is looked at event by event, by ``received``."""

    def refuse(
        self, connection: str, name: str, problem: GleitzeitError, envelope: dict[str, Json]
    ) -> Effects:
        member = self.members.at(connection)
        if member is None or member.role is Role.PROVIDER:
            self.record.refusals.append(f"{name[:60]}: {problem}")
            self.record.news.set()
        return super().refuse(connection, name, problem, envelope)

    def disconnected(self, connection: str, reason: str) -> Effects:
        effects = super().disconnected(connection, reason)
        self.record.news.set()
        return effects


class _Server(HubServer):
    """The hub's sockets, with what a bad network would do to them."""

    def __init__(self, settings: Settings, gate: Gate, record: Record) -> None:
        super().__init__(settings, gate=gate, version=__version__)
        watched = _Watched(HUB_ID, settings, version=__version__)
        watched.hostname, watched.process_id = self.hub.hostname, self.hub.process_id
        watched.record = record
        self.hub = watched

    def cut(self, member: Member) -> None:
        """End the connection without a word."""
        self._connections[member.connection].abort()

    def say(self, member: Member, name: str, body: dict[str, Json]) -> None:
        """Send an event that the catalogue does not know."""
        self._connections[member.connection].outbox.put(json.dumps([name, body])[1:-1], control=False)


class _Player(Machine):
    """Sends what it is told to, and listens to nothing."""

    def handle(self, name: str, event: Event, ctx: Context) -> Effects:
        return []


class _Engine(_Player):
    role = Role.EXECUTION_ENGINE


class _Client(_Player):
    role = Role.CLIENT


class _Registry(_Player):
    role = Role.PROTOCOL_REGISTRY

    def handle(self, name: str, event: Event, ctx: Context) -> Effects:
        if isinstance(event, r.RegisterProtocol):
            return [Reply(r.ProtocolRegistered(protocol=event.protocol), ctx.envelope)]
        if isinstance(event, r.RegisterProvider):
            info = r.ProviderInfo(
                component_id=ctx.envelope.source_component,
                protocol=event.protocol,
                capacity=event.capacity,
                epoch=event.epoch,
            )
            return [Reply(r.ProviderRegistered(provider=info), ctx.envelope)]
        return []


class Arena:
    """An asynchronous context manager: inside it, providers can connect to ``hub_url`` with ``token``."""

    def __init__(self, *, port: int = 0, origins: tuple[str, ...] = ()) -> None:
        """``port`` 0: any free one. ``origins`` are those whose web pages may connect."""
        ring = KeyRing.make()
        self._gate = Gate.by_keys(ring)
        self.token = ring.issue(full_grant("conform"), now=wall())
        self.record = Record()
        self._port, self._origins = port, origins
        self._tasks = Tasks()
        self._players: dict[Role, Component] = {}
        self._server: _Server

    @property
    def hub_url(self) -> str:
        """Where the hub is."""
        return f"http://127.0.0.1:{self._port}"

    async def __aenter__(self) -> Arena:
        """Listen. Raises OSError, HubUnreachable."""
        await self._listen()
        for machine in (_Registry, _Engine, _Client):
            me = make_identity(machine.role, label=f"conform-{machine.role.file_name}")
            self._players[machine.role] = self._join(machine(), me)
        try:
            await self._joined()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for player in self._players.values():
            player.stop()
        await self._server.stop("the trial is over")
        await self._tasks.cancel()

    def _join(self, machine: Machine, me: Identity) -> Component:
        machine.component_id = me.component_id
        link = LinkSettings(shutdown_seconds=0.5)
        made = Component(machine, me, hub_urls=[self.hub_url], token=self.token, settings=link)
        self._tasks.spawn(made.run(), name=me.component_id)
        return made

    async def _listen(self) -> None:
        settings = Settings(port=self._port, allowed_origins=self._origins)
        self._server = _Server(settings, self._gate, self.record)
        await self._server.start()
        self._port = self._server.port

    async def _joined(self) -> None:
        wanted = {player.identity.component_id for player in self._players.values()}
        async with asyncio.timeout(JOIN_SECONDS):
            while not all(self._server.hub.members.named(each) for each in wanted):
                self.record.news.clear()
                await self.record.news.wait()
            for player in self._players.values():
                # Before it has heard that the hub knows it, what it is told to say is lost.
                await player.registered(JOIN_SECONDS)

    # --- the provider -----------------------------------------------------------------------------

    def provider(self, component_id: str = "") -> Member | None:
        """The connected provider of this id; without one, the first."""
        found = self._server.hub.members.of(Role.PROVIDER)
        return next((each for each in found if component_id in ("", each.component_id)), None)

    def refused(self) -> dict[str, int]:
        """Why connections and events were refused, and how often."""
        return dict(self._server.hub.counts.refused)

    def tell(self, role: Role, event: Event, to: ComponentId | None = None) -> None:
        """Have the registry, the engine or the client send an event."""
        self._players[role].perform([Tell(event, to)])

    def say(self, member: Member, name: str, body: dict[str, Json]) -> None:
        """Send a provider an event that no catalogue knows."""
        self._server.say(member, name, body)

    def cut(self, member: Member) -> None:
        """End a provider's connection without a word."""
        self._server.cut(member)

    async def restart(self, away: float) -> None:
        """End the hub with a goodbye, and start it again ``away`` seconds later.

        Raises:
            OSError: somebody else has taken the port meanwhile.
            HubUnreachable: our own components do not come back.
        """
        await self._server.stop("the hub is started again")
        await asyncio.sleep(away)
        await self._listen()
        try:
            await self._joined()
        except TimeoutError:
            raise HubUnreachable("the hub could not be started again") from None
