"""How an event is declared, and what accompanies it on the wire.

One declaration says who may send an event, to whom the hub delivers it, under which name, and
what its body holds. Routing, permission checks, validation and documentation all come from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import field
from enum import Enum
from typing import Any, ClassVar, TypeVar, cast, dataclass_transform

from gleitzeitd.model.access import UserRole
from gleitzeitd.model.names import ComponentId, Role, Shard, shard_of
from gleitzeitd.record import positional_record, record


class Kind(Enum):
    """Why an event is sent."""

    COMMAND = "command"
    """Asks the receiver to do something."""
    REPLY = "reply"
    """Answers one command; goes back to whoever sent it."""
    FACT = "fact"
    """States what has happened; cannot be refused."""
    STREAM = "stream"
    """Volatile: shown to whoever looks, kept by nobody."""


class Delivery(Enum):
    """How hard a sender tries (RELIABILITY, section 1)."""

    TELL = "tell"
    """Lossy; the latest wins."""
    ASK = "ask"
    """Repeated by the sender until it is answered; therefore idempotent."""
    FEED = "feed"
    """Ordered, numbered, replayable from any number: what the ledger publishes."""


class To(Enum):
    """Which connections of the hub get an event."""

    HUB = "the hub"
    ONE = "one of a role"
    """The least loaded."""
    OWNER = "the owner of a shard"
    """Of the role named; the envelope carries the shard."""
    ALL = "all of a role"
    COMPONENT = "one component"
    """The envelope's ``reply_to`` names it."""
    EVERYBODY = "every component"
    WATCHERS = "whoever watches"
    """Clients subscribed to the envelope's topic, which is a workflow_id."""


@record
class Route:
    """One arrow of the catalogue: from senders of some roles to one destination."""

    senders: frozenset[Role]
    to: To
    roles: frozenset[Role] = frozenset()
    """Of the receivers; for ONE and OWNER, exactly one."""
    renamed: str | None = None
    """The name under which it is delivered, where that differs."""
    by: UserRole | None = None
    """What a client's user has to be, at least; None: clients do not send it."""
    says_role: bool = False
    """Whether the hub stamps the sender's role: others send the same event to the same receivers."""


COMPONENTS = frozenset(Role) - {Role.HUB}


@positional_record
class WireRange:
    """The versions of the wire that somebody speaks; the module ``gleitzeitd.events`` says what they mean."""

    oldest: int = 1
    newest: int = 1

    def common(self, other: WireRange) -> int | None:
        """The newest that both speak."""
        newest = min(self.newest, other.newest)
        return newest if newest >= max(self.oldest, other.oldest) else None

    def __contains__(self, version: int) -> bool:
        return self.oldest <= version <= self.newest

    def __str__(self) -> str:
        return f"{self.oldest} to {self.newest}" if self.oldest != self.newest else str(self.newest)


WIRE = WireRange(oldest=1, newest=1)
"""What this release speaks. A release speaks at least what the one before it spoke."""
FIRST_WIRE = 1
"""Spoken by whoever says nothing of versions."""


Roles = Role | Iterable[Role]


def _set(roles: Roles) -> frozenset[Role]:
    return frozenset({roles}) if isinstance(roles, Role) else frozenset(roles)


def route(
    senders: Roles,
    to: To,
    roles: Roles = (),
    *,
    renamed: str | None = None,
    by: UserRole | None = None,
    says_role: bool = False,
) -> Route:
    """Declare one arrow; where clients are among the senders, ``by`` says whose."""
    made = Route(senders=_set(senders), to=to, roles=_set(roles), renamed=renamed, by=by, says_role=says_role)
    assert (by is not None) == (Role.CLIENT in made.senders), made
    assert len(made.roles) == 1 or to not in (To.ONE, To.OWNER), made
    assert made.roles or to not in (To.ALL, To.COMPONENT), made
    return made


@record
class Envelope:
    """What accompanies every event; on the wire each key has a leading underscore."""

    message_id: str
    """Unique per emission; whoever has seen it drops the repeat."""
    correlation_id: str
    """Constant along one causal chain; 32 hex digits (W3C trace-id)."""
    source_component: ComponentId
    """Stamped by the hub from the authenticated connection."""
    timestamp: str = ""
    """Sender's clock, ISO 8601 UTC; for people, never for decisions."""
    causation_id: str | None = None
    """The ``message_id`` that caused this one; on replies, that of the command answered."""
    reply_to: ComponentId | None = None
    """On replies and directed events: the component that gets it."""
    shard: int | None = None
    """On events for the owner of a shard."""
    topic: str | None = None
    """On events for watchers: the workflow_id that they subscribed to."""
    fact: str | None = None
    """On renamed deliveries: the name under which it was sent, which says what the body holds."""
    wire: int | None = None
    """The newest version of the wire that the sender speaks; None: the first."""
    namespace: str | None = None
    """Stamped by the hub: to which workflows the sender's token confines it; None: to none."""
    source_role: str | None = None
    """Stamped by the hub where several roles send the event, and the receiver has to tell them apart."""
    subject: str | None = None
    """Stamped by the hub on events of clients: whose token it is; for the audit."""
    address: str | None = None
    """Stamped by the hub on events of clients: where they come from; for the audit."""


class Event:
    """Base class of all events. Subclass with ``@event(...)`` only."""

    __slots__ = ()
    name: ClassVar[str]
    kind: ClassVar[Kind]
    delivery: ClassVar[Delivery]
    routes: ClassVar[tuple[Route, ...]]
    link: ClassVar[bool]
    """The connection's own business: it never reaches the receiver's machine."""
    answers: ClassVar[frozenset[str]]
    """The events that may answer it where it is asked; no other closes an ask."""

    def shard(self) -> Shard | None:
        """The shard whose owner gets the event: that of its workflow, unless a subclass says otherwise."""
        workflow_id = self.topic()
        return None if workflow_id is None else shard_of(workflow_id)

    def topic(self) -> str | None:
        """The workflow that the event is about, if it is about one."""
        return getattr(self, "workflow_id", None)


SAVED = ("data_saved", "persistence_error")
"""How the ledger answers whoever wants something kept."""

CATALOGUE: dict[str, type[Event]] = {}
"""Every event by the name under which it is sent."""

RENAMED: dict[str, frozenset[str]] = {}
"""Names that exist as deliveries: the name to the events that may arrive under it."""

E = TypeVar("E", bound=Event)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def event(
    name: str,
    *,
    kind: Kind,
    routes: Iterable[Route],
    delivery: Delivery = Delivery.TELL,
    link: bool = False,
    answers: Iterable[str] = (),
) -> Callable[[type[E]], type[E]]:
    """Declare an event and enter it in the catalogue."""

    def declare(cls: type[E]) -> type[E]:
        assert name not in CATALOGUE, f"event {name!r} is declared twice"
        assert answers or delivery is not Delivery.ASK, f"event {name!r}: which events answer it?"
        made: Any = record(cls)
        made.name = name
        made.kind = kind
        made.delivery = delivery
        made.routes = tuple(routes)
        made.link = link
        made.answers = frozenset(answers)
        CATALOGUE[name] = made
        for each in made.routes:
            if each.renamed is not None:
                RENAMED[each.renamed] = RENAMED.get(each.renamed, frozenset()) | {name}
        return cast("type[E]", made)

    return declare


def receivers(name: str) -> frozenset[Role]:
    """The roles whose machines get events delivered under ``name``."""
    found: set[Role] = set()
    for cls in CATALOGUE.values():
        for each in cls.routes:
            if cls.link or (each.renamed or cls.name) != name:
                continue
            found |= _receivers(each)
    return frozenset(found)


def _receivers(each: Route) -> frozenset[Role]:
    match each.to:
        case To.HUB:
            return frozenset({Role.HUB})
        case To.WATCHERS:
            return frozenset({Role.CLIENT})
        case To.EVERYBODY:
            return COMPONENTS
        case _:
            return each.roles


def delivered_names() -> frozenset[str]:
    """Every name under which something can arrive."""
    return frozenset(each.renamed or cls.name for cls in CATALOGUE.values() for each in cls.routes)
