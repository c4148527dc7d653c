"""What the hub answers itself: who is there, who watches what, what went through; and what members say of
themselves.

Whatever a member says is either of bounded size, or replaces what it said before.
"""

from __future__ import annotations

from gleitzeitd.events import Event
from gleitzeitd.events.execution_engine import CapacityUpdate
from gleitzeitd.events.hub import (
    INSECURE,
    ComponentInfo,
    ComponentList,
    HeartbeatResponse,
    ListComponents,
    QueryTrace,
    ServeShards,
    Subscribe,
    Subscribed,
    Unsubscribe,
)
from gleitzeitd.events.queue_manager import QueueStatsChanged
from gleitzeitd.machines.base import Context, Effects, Machine, Send
from gleitzeitd.machines.clocks import clock_offset
from gleitzeitd.machines.hub_settings import Settings
from gleitzeitd.machines.limits import LISTING_COSTS, TRACE_COSTS, check_topics
from gleitzeitd.machines.members import Member, Members
from gleitzeitd.machines.namespaces import check_trace, check_watching, without_names
from gleitzeitd.machines.registration import shards_of
from gleitzeitd.machines.trace import Trace
from gleitzeitd.model.names import Role
from gleitzeitd.plain import Json


class HubAnswers(Machine):
    """The handlers of these events; the rest is :class:`gleitzeitd.machines.hub.Hub`."""

    role = Role.HUB
    settings: Settings
    members: Members
    version: str
    hostname: str
    process_id: int
    insecure: bool
    metrics: dict[str, Json]
    spent: int
    answered: int
    _trace: Trace
    _sender: str
    _beat: int
    _beat_at: str
    _started: float
    _leaving: bool

    def _member(self) -> Member:
        member = self.members.at(self._sender)
        assert member is not None, self._sender
        return member

    def on_heartbeat_response(self, event: HeartbeatResponse, ctx: Context) -> Effects:
        member = self._member()
        if member.role is Role.CLIENT:
            member.metrics = {}  # what it says last is kept, and not what it has ever said
        member.take(event, ctx.now)
        if event.number == self._beat:
            member.clock_offset = clock_offset(ctx.envelope.timestamp, self._beat_at, ctx.at)
        return []

    def on_capacity_update(self, event: CapacityUpdate, ctx: Context) -> Effects:
        member = self._member()
        member.metrics = {**member.metrics, "slots": event.slots}
        if event.draining:
            member.status = "draining"
        return []

    def on_queue_stats_changed(self, event: QueueStatsChanged, ctx: Context) -> Effects:
        self._member().queue_stats = event.stats
        return []

    def on_serve_shards(self, event: ServeShards, ctx: Context) -> Effects:
        self.members.serve(self._member(), shards_of(event))
        return []

    def on_list_components(self, event: ListComponents, ctx: Context) -> Effects:
        self.answered += LISTING_COSTS + len(self.members)
        itself = ComponentInfo(
            component_id=self.component_id,
            component_type=Role.HUB,
            status="draining" if self._leaving else INSECURE if self.insecure else "healthy",
            version=self.version,
            hostname=self.hostname,
            process_id=self.process_id,
            connected_seconds=round(ctx.now - self._started, 3),
            metrics={**self.metrics, **self.figures()},
        )
        others = sorted(self.members, key=lambda member: (member.role, member.component_id))
        shown = [itself, *(member.info(ctx.now) for member in others)]
        components = shown if self._member().namespace is None else [without_names(each) for each in shown]
        return [self._reply(ComponentList(components=components), ctx)]

    def on_subscribe(self, event: Subscribe, ctx: Context) -> Effects:
        member = self._member()
        self.spent += len(event.topics)
        wanted = len(member.topics.union(event.topics))
        everybody = self.members.watched + wanted - len(member.topics)
        check_topics(event.topics, wanted, everybody, self.settings)
        check_watching(event.topics, member.namespace)
        self.members.watch(member, event.topics)
        return [self._reply(Subscribed(topics=sorted(member.topics)), ctx)]

    def on_unsubscribe(self, event: Unsubscribe, ctx: Context) -> Effects:
        member = self._member()
        self.members.unwatch(member, event.topics)
        return [self._reply(Subscribed(topics=sorted(member.topics)), ctx)]

    def on_query_trace(self, event: QueryTrace, ctx: Context) -> Effects:
        check_trace(event, self._member().namespace)
        found = self._trace.find(event)
        self.answered += TRACE_COSTS + len(found.records)
        return [self._reply(found, ctx)]

    def _reply(self, event: Event, ctx: Context) -> Send:
        return Send(
            (self._sender,),
            event,
            reply_to=ctx.envelope.source_component,
            correlation_id=ctx.envelope.correlation_id,
            causation_id=ctx.envelope.message_id,
        )
