"""Which protocols exist, and who serves them.

Everything here is rebuilt from what providers say: a registry that starts, or comes back to a hub, tells
all of them to register again. Every registry gets every registration, so that each of several knows all.

* A protocol's newest definition counts; that it differs from that of other providers is noted once per name.
* A provider is known from its registration until its process disconnects. If another connection of it is
  still there, it answers the health check that follows soon, and is told to register again.
* A provider is *well* until ``failed_checks`` health checks in a row had a bad answer or none. Then it is
  announced with capacity 0, until an answer is good again; one that stays silent is forgotten.
* Announcements are repeated with every answer to a health check: engines and queue managers come and go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gleitzeitd.bounds import bounded
from gleitzeitd.errors import MethodNotSupported, ProtocolNotFound, ProviderNotAvailable, TaskError
from gleitzeitd.events import hub as h
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.machines.base import Context, Effects, Machine, Note, Reply, SetTimer, Tell
from gleitzeitd.model.names import ComponentId, Role
from gleitzeitd.model.protocol import Protocol
from gleitzeitd.plain import Json, did_you_mean
from gleitzeitd.record import record

SOON = 1.0
"""Seconds until the next health check, when something is to be found out."""
SILENT_CHECKS = 30
"""A provider that has not answered so many health checks in a row is forgotten."""
_CHECK = "health check"


@record
class Settings:
    """Section ``[protocol_registry]`` of protocol-registry.toml."""

    health_check_seconds: float = bounded(10.0, least=0.1, most=3600, unit="seconds")
    """Between two health checks of all providers."""
    failed_checks: int = bounded(3, least=1, most=1000)
    """After so many failed health checks in a row, a provider gets no more work until one succeeds."""
    max_protocols: int = bounded(10_000, least=1, most=1_000_000)
    """Definitions kept; beyond them, the oldest that nobody serves is forgotten."""


@dataclass(slots=True)
class _Provider:
    component_id: ComponentId
    protocol: str
    capacity: int
    epoch: int
    health: str = "unknown"
    failures: int = 0
    """Health checks in a row with a bad answer, or none."""
    unanswered: int = 0
    """Health checks in a row without an answer."""


@dataclass(slots=True)
class ProtocolRegistry(Machine):
    """One registry process."""

    role = Role.PROTOCOL_REGISTRY

    component_id: ComponentId
    settings: Settings = field(default_factory=Settings)
    _protocols: dict[str, Protocol] = field(default_factory=dict)
    _providers: dict[ComponentId, _Provider] = field(default_factory=dict)
    _noted: set[str] = field(default_factory=set)
    _checking_soon: bool = False
    _incomplete: bool = False
    """Somebody is there whom we do not know, or whose protocol we do not know."""

    # --- what is registered -------------------------------------------------------------------

    def start(self, now: float, at: str) -> Effects:
        return [SetTimer(_CHECK, self.settings.health_check_seconds)]

    def hub_connected(self, now: float, at: str) -> Effects:
        """What was registered before, or while we were away, was told to others."""
        return [Tell(r.Initialize())]

    def on_register_protocol(self, event: r.RegisterProtocol, ctx: Context) -> Effects:
        effects: Effects = []
        name = event.protocol.name
        before = self._protocols.pop(name, None)
        self._protocols[name] = event.protocol
        by = ctx.envelope.source_component
        others = any(each.protocol == name for key, each in self._providers.items() if key != by)
        if others and before != event.protocol and name not in self._noted:
            self._noted.add(name)
            fields: dict[str, Json] = {"protocol": name, "peer": by}
            effects.append(Note("warning", "a protocol was replaced by a different one of its name", fields))
        self._forget_protocols()
        # The one event answers whoever asked, and tells the resolvers.
        return [*effects, Reply(r.ProtocolRegistered(protocol=event.protocol), ctx.envelope)]

    def _forget_protocols(self) -> None:
        over = len(self._protocols) - self.settings.max_protocols
        if over > 0:
            served = {provider.protocol for provider in self._providers.values()}
            newest = next(reversed(self._protocols))
            for name in [name for name in self._protocols if name not in served and name != newest][:over]:
                del self._protocols[name]
                self._noted.discard(name)

    def on_register_provider(self, event: r.RegisterProvider, ctx: Context) -> Effects:
        component_id = ctx.envelope.source_component
        known = self._providers.get(component_id)
        if known is None or known.protocol != event.protocol or known.epoch != event.epoch:
            known = _Provider(component_id, event.protocol, event.capacity, event.epoch)
            self._providers[component_id] = known
        known.capacity = event.capacity
        effects: Effects = [Reply(r.ProviderRegistered(provider=self._info(known)), ctx.envelope)]
        return effects if event.protocol in self._protocols else effects + self._complete()

    def on_component_disconnected(self, event: h.ComponentDisconnected, ctx: Context) -> Effects:
        known = self._providers.get(event.component_id)
        if known is None or known.epoch > event.epoch:
            return []  # the late end of an earlier process
        del self._providers[event.component_id]
        return self._check_soon()  # it may still be there, by another hub

    # --- questions ----------------------------------------------------------------------------

    def on_find_provider(self, event: r.FindProvider, ctx: Context) -> Effects:
        try:
            names = self._serving(event.protocol, event.method)
        except TaskError as problem:
            found = r.ProviderFound(providers=[], error=problem.info())
        else:
            providers = self._listed(names)
            served = {provider.protocol for provider in providers}
            found = r.ProviderFound(
                providers=providers, protocols=[p for p in self._by_name() if p.name in served]
            )
        return [Reply(found, ctx.envelope)]

    def _serving(self, protocol: str | None, method: str | None) -> set[str]:
        """The protocols asked for.

        Raises:
            ProtocolNotFound, MethodNotSupported, ProviderNotAvailable: with what comes nearest.
        """
        served = {provider.protocol for provider in self._providers.values()}
        if protocol is None:
            if method is None:
                return served
            having = {name for name, each in self._protocols.items() if method in each.methods}
            if not having:
                known = [each for p in self._protocols.values() for each in p.methods]
                raise MethodNotSupported(f"no protocol has a method {method!r}{did_you_mean(method, known)}")
            if not having & served:
                raise ProviderNotAvailable(f"no provider of {', '.join(sorted(having))} is connected")
            return having & served
        definition = self._protocols.get(protocol)
        if definition is None:
            if protocol in served:
                raise ProviderNotAvailable(f"the providers of {protocol} have not said yet what it is")
            hint = did_you_mean(protocol, self._protocols)
            raise ProtocolNotFound(f"no protocol {protocol!r} is registered{hint}")
        if method is not None and method not in definition.methods:
            hint = did_you_mean(method, definition.methods)
            raise MethodNotSupported(f"{protocol} has no method {method!r}{hint}")
        if protocol not in served:
            raise ProviderNotAvailable(f"no provider of {protocol} is connected")
        return {protocol}

    def on_list_protocols(self, event: r.ListProtocols, ctx: Context) -> Effects:
        everybody = {provider.protocol for provider in self._providers.values()}
        answer = r.ProtocolList(protocols=list(self._by_name()), providers=self._listed(everybody))
        return [Reply(answer, ctx.envelope)]

    def _by_name(self) -> Iterable[Protocol]:
        return (self._protocols[name] for name in sorted(self._protocols))

    def _listed(self, protocols: set[str]) -> list[r.ProviderInfo]:
        """Those with room first, the ailing last."""
        found = [self._info(each) for each in self._providers.values() if each.protocol in protocols]
        return sorted(
            found,
            key=lambda p: (p.capacity <= 0, p.health not in ("ok", "unknown"), p.protocol, p.component_id),
        )

    def _info(self, provider: _Provider) -> r.ProviderInfo:
        well = provider.failures < self.settings.failed_checks
        return r.ProviderInfo(
            component_id=provider.component_id,
            protocol=provider.protocol,
            capacity=provider.capacity if well else 0,
            health=provider.health,
            epoch=provider.epoch,
        )

    # --- health -------------------------------------------------------------------------------

    def timer_expired(self, key: str, now: float, at: str) -> Effects:
        """Look how everybody is; who has not answered the last time has failed that check."""
        self._checking_soon = False
        effects: Effects = []
        for provider in list(self._providers.values()):
            if provider.unanswered:
                effects += self._failed(provider, "does not answer health checks")
            provider.unanswered += 1
            if provider.unanswered > SILENT_CHECKS:
                del self._providers[provider.component_id]
        if self._incomplete:
            self._incomplete = False
            effects.append(Tell(r.Initialize()))
        return [*effects, Tell(r.HealthCheck()), SetTimer(_CHECK, self.settings.health_check_seconds)]

    def on_health_status(self, event: r.HealthStatus, ctx: Context) -> Effects:
        provider = self._providers.get(ctx.envelope.source_component)
        if provider is None:
            return self._complete()
        provider.unanswered = 0
        if event.health != "ok":
            return self._failed(provider, event.health) or [self._announce(provider)]
        effects: Effects = []
        if provider.failures >= self.settings.failed_checks:
            effects += [Note("info", "a provider is well again", _fields(provider)), Tell(r.Initialize())]
        provider.failures = 0
        provider.health = event.health
        return [*effects, self._announce(provider)]

    def _failed(self, provider: _Provider, health: str) -> Effects:
        provider.failures += 1
        provider.health = health
        if provider.failures != self.settings.failed_checks:
            return []
        note = Note("warning", "a provider is not well, and gets no more work", _fields(provider))
        # What waits in it goes elsewhere, and other registries hear that it takes nothing.
        out = Tell(r.Shutdown(reason=f"health: {health}"), to=provider.component_id)
        return [note, self._announce(provider), out]

    def _announce(self, provider: _Provider) -> Tell:
        return Tell(r.ProviderRegistered(provider=self._info(provider)))

    def _complete(self) -> Effects:
        self._incomplete = True
        return self._check_soon()

    def _check_soon(self) -> Effects:
        soon = not self._checking_soon and self.settings.health_check_seconds > SOON
        self._checking_soon = True
        return [SetTimer(_CHECK, SOON)] if soon else []

    # --- what nobody has to answer --------------------------------------------------------------

    def figures(self) -> dict[str, Json]:
        providers = self._providers.values()
        failing = sum(provider.failures >= self.settings.failed_checks for provider in providers)
        return {"protocols": len(self._protocols), "providers": len(providers), "failing_providers": failing}


def _fields(provider: _Provider) -> dict[str, Json]:
    return {"peer": provider.component_id, "health": provider.health}
