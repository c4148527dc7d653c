"""Events about protocols and who serves them."""

from __future__ import annotations

from dataclasses import field

from gleitzeitd.errors import ErrorInfo
from gleitzeitd.events.base import Delivery, Event, Kind, To, event, route
from gleitzeitd.model.access import UserRole
from gleitzeitd.model.names import ComponentId, Role
from gleitzeitd.model.protocol import Protocol
from gleitzeitd.record import record


@record
class ProviderInfo:
    """One provider of a protocol."""

    component_id: ComponentId
    protocol: str
    capacity: int
    """Calls that it runs at once."""
    health: str = "unknown"
    """``ok``, ``unknown``, or what is wrong."""
    epoch: int = 0
    """Of its process; 0 if it has not said."""


@event(
    "register_protocol",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[
        route((Role.PROVIDER, Role.CLIENT), To.ALL, Role.PROTOCOL_REGISTRY, by=UserRole.ADMIN),
        route(Role.CLIENT, To.ONE, Role.PERSISTENCE, by=UserRole.ADMIN),  # for the audit
    ],
    answers=("protocol_registered",),
)
class RegisterProtocol(Event):
    """This protocol exists; a definition of the same name is replaced."""

    protocol: Protocol


@event(
    "protocol_registered",
    kind=Kind.FACT,
    routes=[
        route(Role.PROTOCOL_REGISTRY, To.COMPONENT, (Role.PROVIDER, Role.CLIENT)),
        route(Role.PROTOCOL_REGISTRY, To.ALL, Role.DEPENDENCY_RESOLVER),
    ],
)
class ProtocolRegistered(Event):
    """Answers ``register_protocol``, and tells the resolvers what they can check."""

    protocol: Protocol


@event(
    "register_provider",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[route(Role.PROVIDER, To.ALL, Role.PROTOCOL_REGISTRY)],
    answers=("provider_registered",),
)
class RegisterProvider(Event):
    """The sender serves this protocol."""

    protocol: str
    capacity: int
    """Calls that it runs at once; 0 when it takes no more."""
    epoch: int = 0
    """Of the sender's process, as in ``register_component``: what an older one leaves behind is not this."""


@event(
    "provider_registered",
    kind=Kind.FACT,
    routes=[
        route(Role.PROTOCOL_REGISTRY, To.COMPONENT, Role.PROVIDER),
        route(Role.PROTOCOL_REGISTRY, To.ALL, Role.EXECUTION_ENGINE),
        route(Role.PROTOCOL_REGISTRY, To.ALL, Role.QUEUE_MANAGER),
    ],
)
class ProviderRegistered(Event):
    """Answers ``register_provider``, and tells those who care that there is room."""

    provider: ProviderInfo


@event(
    "find_provider",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[route(Role.EXECUTION_ENGINE, To.ONE, Role.PROTOCOL_REGISTRY)],
    answers=("provider_found",),
)
class FindProvider(Event):
    """Who serves this?"""

    protocol: str | None = None
    """None: list the providers of every protocol."""
    method: str | None = None


@event(
    "provider_found",
    kind=Kind.REPLY,
    routes=[route(Role.PROTOCOL_REGISTRY, To.COMPONENT, Role.EXECUTION_ENGINE)],
)
class ProviderFound(Event):
    """Answers ``find_provider``; no providers and an error if there is none."""

    providers: list[ProviderInfo]
    protocols: list[Protocol] = field(default_factory=list)
    """The definitions of the protocols that these providers serve."""
    error: ErrorInfo | None = None


@event(
    "list_protocols",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[
        route((Role.CLIENT, Role.DEPENDENCY_RESOLVER), To.ONE, Role.PROTOCOL_REGISTRY, by=UserRole.VIEWER)
    ],
    answers=("protocol_list",),
)
class ListProtocols(Event):
    """Which protocols exist, and who serves them?"""


@event(
    "protocol_list",
    kind=Kind.REPLY,
    routes=[route(Role.PROTOCOL_REGISTRY, To.COMPONENT, (Role.CLIENT, Role.DEPENDENCY_RESOLVER))],
)
class ProtocolList(Event):
    """Answers ``list_protocols``, by name."""

    protocols: list[Protocol]
    providers: list[ProviderInfo]


@event("initialize", kind=Kind.COMMAND, routes=[route(Role.PROTOCOL_REGISTRY, To.ALL, Role.PROVIDER)])
class Initialize(Event):
    """A registry has started and knows nothing: register again."""


@event(
    "shutdown",
    kind=Kind.COMMAND,
    routes=[route(Role.PROTOCOL_REGISTRY, To.COMPONENT, Role.PROVIDER)],
)
class Shutdown(Event):
    """The registry has taken the provider out of service: finish what runs, take nothing new."""

    reason: str = ""


@event("health_check", kind=Kind.COMMAND, routes=[route(Role.PROTOCOL_REGISTRY, To.ALL, Role.PROVIDER)])
class HealthCheck(Event):
    """Can you do your work? Sent every ``health_check_seconds``."""


@event(
    "health_status",
    kind=Kind.REPLY,
    routes=[route(Role.PROVIDER, To.COMPONENT, Role.PROTOCOL_REGISTRY)],
)
class HealthStatus(Event):
    """Answers ``health_check``."""

    health: str
    """``ok``, or what is wrong."""
    running: int = 0
    """Calls in flight."""
