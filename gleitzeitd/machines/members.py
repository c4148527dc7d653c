"""Who is connected to the hub, who serves which shard, who watches what.

A member is a connection that has registered. Of two members with one component_id only the newer
is in here; what belongs to the older goes with it, and takes nothing of the newer along.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gleitzeitd.events.hub import ComponentInfo, HeartbeatResponse
from gleitzeitd.machines.permissions import Plans, plans_of
from gleitzeitd.model.access import NAMESPACE_END, Grant, in_namespace
from gleitzeitd.model.names import SHARDS, ComponentId, Role
from gleitzeitd.plain import Json

EVERY_TOPIC = "*"


@dataclass(slots=True, kw_only=True, eq=False)
class Member:
    """One registered connection."""

    connection: str
    component_id: ComponentId
    role: Role
    epoch: int
    since: float
    heard: float
    """When anything came from it last."""
    answered: float
    """When it last answered a heartbeat."""
    beats: bool
    """Whether it is held to answering heartbeats."""
    grant: Grant
    """What its token allows."""
    address: str = ""
    """Where its connection comes from."""
    status: str = "healthy"
    load: int = 0
    """As it said itself."""
    routed: int = 0
    """Events that were routed to it alone since then."""
    turn: int = 0
    """When it was last chosen among equals; grows."""
    shards: dict[int, int] = field(default_factory=dict)
    """Shard to the epoch under which it is owned."""
    announced: int = 0
    """When it said so; grows."""
    topics: set[str] = field(default_factory=set)
    metrics: dict[str, Json] = field(default_factory=dict)
    queue_stats: dict[str, Json] = field(default_factory=dict)
    clock_offset: float | None = None
    version: str = ""
    wire: int = 1
    hostname: str = ""
    process_id: int = 0
    plans: Plans = field(init=False)
    """What it may send, and the ways that goes."""
    namespace: str | None = field(init=False)
    """To which its token confines it, as a client; None: to none."""

    def __post_init__(self) -> None:
        self.plans = plans_of(self.role, self.grant)
        self.namespace = self.grant.namespace if self.role is Role.CLIENT else None

    def take(self, answer: HeartbeatResponse, now: float) -> None:
        """It has said how it is."""
        self.beats = True
        self.answered = now
        self.status = answer.status
        self.load = answer.load
        self.routed = 0
        if answer.metrics:
            self.metrics = {**self.metrics, **answer.metrics}

    def info(self, now: float) -> ComponentInfo:
        """As ``list_components`` shows it."""
        return ComponentInfo(
            component_id=self.component_id,
            component_type=self.role,
            status=self.status,
            load=self.load,
            version=self.version,
            wire=self.wire,
            hostname=self.hostname,
            process_id=self.process_id,
            clock_offset=self.clock_offset,
            connected_seconds=round(now - self.since, 3),
            heartbeat_age=round(now - self.answered, 3),
            shards=sorted(self.shards),
            metrics=self.metrics,
        )


class Members:
    """All members, found by connection, id, role, shard and topic."""

    def __init__(self) -> None:
        self._by_connection: dict[str, Member] = {}
        self._by_id: dict[ComponentId, Member] = {}
        self._by_role: dict[Role, list[Member]] = {role: [] for role in Role}
        self._owners: dict[Role, list[Member | None]] = {}
        self._watchers: dict[str, dict[str, Member]] = {}
        self.watched = 0
        """Topics of all members: one that two watch is counted twice."""
        self._namespaces: set[str] = set()
        """Those of which somebody watches everything."""
        self._turn = 0

    def __iter__(self) -> Iterator[Member]:
        return iter(self._by_connection.values())

    def __len__(self) -> int:
        return len(self._by_connection)

    def at(self, connection: str) -> Member | None:
        """The member on this connection."""
        return self._by_connection.get(connection)

    def named(self, component_id: str | None) -> Member | None:
        """The member of this id."""
        return self._by_id.get(ComponentId(component_id)) if component_id is not None else None

    def of(self, role: Role) -> list[Member]:
        """All members of a role, the longest connected first."""
        return self._by_role[role]

    def by_role(self) -> dict[Role, int]:
        """How many members there are of each role but the hub's."""
        return {role: len(members) for role, members in self._by_role.items() if role is not Role.HUB}

    def queue_stats(self) -> dict[ComponentId, dict[str, Json]]:
        """The last statistics of each connected queue manager."""
        return {each.component_id: each.queue_stats for each in self._by_role[Role.QUEUE_MANAGER]}

    def add(self, member: Member) -> None:
        """Enter a member, whose id is free."""
        assert member.component_id not in self._by_id, member
        self._by_connection[member.connection] = member
        self._by_id[member.component_id] = member
        self._by_role[member.role].append(member)

    def remove(self, member: Member) -> None:
        """Forget a member, its shards and its subscriptions."""
        del self._by_connection[member.connection]
        del self._by_id[member.component_id]
        self._by_role[member.role].remove(member)
        self.unwatch(member, list(member.topics))
        if member.shards:
            member.shards = {}
            self._settle_owners(member.role)

    def choose(self, role: Role) -> Member | None:
        """The least loaded of a role, in turn among equals; one that is not well only if no other is."""
        able = self._by_role[role]
        if not able:
            return None
        best = able[0] if len(able) == 1 else min(able, key=_burden)
        self._turn += 1
        best.turn = self._turn
        best.routed += 1
        return best

    def serve(self, member: Member, shards: dict[int, int]) -> None:
        """``member`` owns these shards (to their epochs) from now on, and no others."""
        member.shards = shards
        self._turn += 1
        member.announced = self._turn
        self._settle_owners(member.role)

    def owner(self, role: Role, shard: int) -> Member | None:
        """Who serves a shard, under the newest epoch."""
        owners = self._owners.get(role)
        return owners[shard] if owners is not None and 0 <= shard < SHARDS else None

    def _settle_owners(self, role: Role) -> None:
        owners: list[Member | None] = [None] * SHARDS
        for member in sorted(self._by_role[role], key=lambda member: member.announced):
            for shard, epoch in member.shards.items():
                before = owners[shard]
                if before is None or epoch >= before.shards[shard]:
                    owners[shard] = member
        self._owners[role] = owners

    def watch(self, member: Member, topics: Iterable[str]) -> None:
        """``member`` gets what is published about these topics, too; of ``*`` what is in its namespace."""
        for topic in topics:
            self.watched += topic not in member.topics
            member.topics.add(topic)
            if topic == EVERY_TOPIC and member.namespace is not None:
                self._namespaces.add(member.namespace)
            self._watchers.setdefault(_key(member, topic), {})[member.connection] = member

    def unwatch(self, member: Member, topics: Iterable[str]) -> None:
        """The opposite of :meth:`watch`."""
        for topic in topics:
            self.watched -= topic in member.topics
            member.topics.discard(topic)
            key = _key(member, topic)
            watching = self._watchers.get(key)
            if watching is not None:
                watching.pop(member.connection, None)
                if not watching:
                    del self._watchers[key]
                    if key.endswith(NAMESPACE_END + EVERY_TOPIC):
                        self._namespaces.discard(member.namespace or "")

    def watchers(self, topic: str | None) -> list[Member]:
        """Who gets what is published about ``topic``; each once."""
        if not self._watchers:
            return []
        every = self._watchers.get(EVERY_TOPIC)
        some = self._watchers.get(topic) if topic is not None else None
        for namespace in self._namespaces if topic is not None else ():
            if in_namespace(topic or "", namespace):
                some = {**self._watchers[namespace + NAMESPACE_END + EVERY_TOPIC], **(some or {})}
        if every and some:
            return list({**every, **some}.values())
        return list((every or some or {}).values())


def _key(member: Member, topic: str) -> str:
    """Under which its watching is kept: no workflow id ends with an asterisk."""
    if topic == EVERY_TOPIC and member.namespace is not None:
        return member.namespace + NAMESPACE_END + EVERY_TOPIC
    return topic


def _burden(member: Member) -> tuple[bool, int, int]:
    return member.status != "healthy", member.load + member.routed, member.turn
