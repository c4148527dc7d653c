"""Events between the hub and any component: joining, heartbeats, leaving, watching."""

from __future__ import annotations

from dataclasses import field

from gleitzeitd.errors import ErrorInfo
from gleitzeitd.events.base import COMPONENTS, Delivery, Event, Kind, To, event, route
from gleitzeitd.model.access import UserRole
from gleitzeitd.model.names import ComponentId, Role
from gleitzeitd.plain import Json
from gleitzeitd.record import record

ACT_ON_LOSS = (Role.QUEUE_MANAGER, Role.EXECUTION_ENGINE, Role.PROTOCOL_REGISTRY, Role.PERSISTENCE)
"""Roles for which it matters that another component has gone."""


@event("register_component", kind=Kind.COMMAND, routes=[route(COMPONENTS, To.HUB, by=UserRole.VIEWER)])
class RegisterComponent(Event):
    """Join. The first event on every connection."""

    component_id: ComponentId
    component_type: Role
    epoch: int = 0
    """Grows with every start of the process: of two connections with one id, the higher wins."""
    capabilities: list[str] = field(default_factory=list)
    """What the connection understands beyond single flat events: ``envelope``, ``batch``, ``bundle``."""
    version: str = ""
    """Of its package."""
    wire: list[int] = field(default_factory=list)
    """The oldest and the newest version of the wire that it speaks; nothing: the first only."""
    hostname: str = ""
    process_id: int = 0


@event("component_registered", kind=Kind.REPLY, routes=[route(Role.HUB, To.COMPONENT, COMPONENTS)], link=True)
class ComponentRegistered(Event):
    """The hub has accepted the component; events may now flow."""

    component_id: ComponentId
    component_type: Role
    capabilities: list[str] = field(default_factory=list)
    """Those of the component's that the hub understands too."""
    heartbeat_interval: float
    """Seconds between two heartbeats."""
    max_frame_bytes: int = 16 * 2**20
    """A larger frame would cost the component its connection."""
    hub_id: str
    hub_version: str = ""
    wire: int = 1
    """The version of the wire that is spoken on this connection: the newest that both speak."""
    registered_at: str = ""


@event("registration_refused", kind=Kind.REPLY, routes=[route(Role.HUB, To.COMPONENT, COMPONENTS)], link=True)
class RegistrationRefused(Event):
    """The component may not join; the connection is closed."""

    error: ErrorInfo


@event(
    "component_disconnected",
    kind=Kind.FACT,
    routes=[*(route(Role.HUB, To.ALL, role) for role in ACT_ON_LOSS), route(Role.HUB, To.WATCHERS)],
)
class ComponentDisconnected(Event):
    """A component has left this hub, or has missed its heartbeats."""

    component_id: ComponentId
    component_type: Role
    epoch: int = 0
    reason: str = ""

    def topic(self) -> str | None:
        """Watched under a topic of its own."""
        return "components"


@event("heartbeat", kind=Kind.COMMAND, routes=[route(Role.HUB, To.EVERYBODY)], link=True)
class Heartbeat(Event):
    """Are you there? Sent every ``heartbeat_interval``."""

    hub_id: str
    number: int


@event(
    "heartbeat_response",
    kind=Kind.REPLY,
    routes=[
        route(COMPONENTS, To.HUB, by=UserRole.VIEWER),
        route(Role.EXECUTION_ENGINE, To.ALL, Role.PERSISTENCE),
    ],
)
class HeartbeatResponse(Event):
    """Here I am, and how I am."""

    number: int = 0
    """Of the heartbeat answered."""
    status: str = "healthy"
    """``healthy``, ``draining`` or ``degraded``."""
    load: int = 0
    """Work in flight; the least loaded of a role gets the next event routed to one."""
    metrics: dict[str, Json] = field(default_factory=dict)
    """From psutil: ``cpu_percent``, ``memory_bytes``, ``open_files``, ``load_average``, ``uptime_seconds``;
    and the role's own figures. Empty when nothing was sampled since the last response."""
    inventory: list[list[Json]] | None = None
    """Of an engine: every attempt it holds, as ``[workflow_id, task_id, attempt]``."""


@event(
    "serve_shards",
    kind=Kind.FACT,
    routes=[route((Role.DEPENDENCY_RESOLVER, Role.QUEUE_MANAGER), To.HUB)],
)
class ServeShards(Event):
    """The shards that the sender owns from now on; replaces what it said before."""

    shards: dict[str, int] = field(default_factory=dict)
    """Shard (in decimal) to the epoch under which it is owned; the newest epoch gets the events."""


@event(
    "no_components_available", kind=Kind.REPLY, routes=[route(Role.HUB, To.COMPONENT, COMPONENTS)], link=True
)
class NoComponentsAvailable(Event):
    """An event could not be delivered; nothing was kept. Answers at once."""

    event: str
    component_type: Role | None = None
    """The role of which none is connected."""
    component_id: ComponentId | None = None
    """The component that is not connected."""
    shard_without_owner: int | None = None


@event("event_refused", kind=Kind.REPLY, routes=[route(Role.HUB, To.COMPONENT, COMPONENTS)], link=True)
class EventRefused(Event):
    """The sender may not send this, or it breaks its declaration."""

    event: str
    error: ErrorInfo


@event(
    "list_components",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[route(Role.CLIENT, To.HUB, by=UserRole.VIEWER)],
    answers=("component_list",),
)
class ListComponents(Event):
    """Who is connected?"""


INSECURE = "insecure"
"""The status of a hub that lets in whoever is on its host, and asks for no token."""


@record
class ComponentInfo:
    """One connected component, as the hub sees it."""

    component_id: ComponentId
    component_type: Role
    status: str
    load: int = 0
    version: str = ""
    """Of its package."""
    wire: int = 1
    """The version of the wire that it and the hub speak."""
    hostname: str = ""
    process_id: int = 0
    connected_seconds: float = 0.0
    heartbeat_age: float = 0.0
    """Seconds since its last heartbeat response."""
    clock_offset: float | None = None
    """Seconds by which its clock is ahead of the hub's, less what the way there and back may account for;
    None while that is not known."""
    shards: list[int] = field(default_factory=list)
    metrics: dict[str, Json] = field(default_factory=dict)


@event("component_list", kind=Kind.REPLY, routes=[route(Role.HUB, To.COMPONENT, Role.CLIENT)])
class ComponentList(Event):
    """Answers ``list_components``; the hub itself comes first."""

    components: list[ComponentInfo]


@event(
    "subscribe",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[route(Role.CLIENT, To.HUB, by=UserRole.VIEWER)],
    answers=("subscribed",),
)
class Subscribe(Event):
    """Send me what is published about these topics, until I unsubscribe or leave."""

    topics: list[str]
    """workflow_ids, ``components``, ``queues``, or ``*`` for everything."""


@event(
    "unsubscribe",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[route(Role.CLIENT, To.HUB, by=UserRole.VIEWER)],
    answers=("subscribed",),
)
class Unsubscribe(Event):
    """No more of these topics."""

    topics: list[str]


@event("subscribed", kind=Kind.REPLY, routes=[route(Role.HUB, To.COMPONENT, Role.CLIENT)])
class Subscribed(Event):
    """Answers ``subscribe`` and ``unsubscribe`` with the topics that now hold."""

    topics: list[str]


@event(
    "query_trace",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[route(Role.CLIENT, To.HUB, by=UserRole.VIEWER)],
    answers=("trace_data",),
)
class QueryTrace(Event):
    """Which events went through the hub lately?"""

    correlation: str | None = None
    """Only those of this correlation id."""
    event: str | None = None
    limit: int = 1000


@record
class TraceRecord:
    """One event that went through the hub. Never its payload."""

    time: str
    event: str
    source: ComponentId
    targets: list[ComponentId]
    correlation_id: str
    message_id: str
    causation_id: str | None = None
    size: int
    """Bytes of the body."""


@event("trace_data", kind=Kind.REPLY, routes=[route(Role.HUB, To.COMPONENT, Role.CLIENT)])
class TraceData(Event):
    """Answers ``query_trace``, oldest first."""

    records: list[TraceRecord]
    dropped: int = 0
    """Records that the hub has already forgotten, since it keeps a bounded number."""


@event("hub_leaving", kind=Kind.FACT, routes=[route(Role.HUB, To.EVERYBODY)], link=True)
class HubLeaving(Event):
    """The hub is about to end: use another one, or this one again in a moment."""

    hub_id: str
    reason: str = ""


@event(
    "batch",
    kind=Kind.COMMAND,
    routes=[route(Role.HUB, To.EVERYBODY), route(COMPONENTS, To.HUB, by=UserRole.VIEWER)],
    link=True,
)
class Batch(Event):
    """Several events in one packet: what was waiting for the wire. On the wire its one argument is a list
    of ``[name, envelope, body]``; the meaning is that of the single events in this order.
    """
