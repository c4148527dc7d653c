"""The hub: who is connected, and which connections get each event.

A connection is *open*, then *admitted* (its token was accepted), then a *member* (it has registered),
then gone. An open connection that does not become a member in time is cut. Of two connections with
one component_id the newer epoch wins, and the later of equal ones; the loser is cut, and its end
removes nothing of the winner.

An event goes along all routes that the catalogue has for it and for its sender's role. The sender is
stamped from the connection. The body is not read, save that of events addressed to the hub. Nothing
is kept for later: where nobody is, the sender hears so at once.

A member that answers heartbeats is dead when nothing has come from it for ``dead_after``. A foreign
client need not answer; it is held to it from its first answer on, and before that the transport's own
pings watch it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gleitzeitd.errors import GleitzeitError, LimitExceeded, NotPermitted
from gleitzeitd.events import WIRE, Event, To, WireRange
from gleitzeitd.events.codec import decode_body, envelope_from_plain
from gleitzeitd.events.hub import (
    ACT_ON_LOSS,
    ComponentDisconnected,
    ComponentRegistered,
    EventRefused,
    Heartbeat,
    HubLeaving,
    RegisterComponent,
    RegistrationRefused,
)
from gleitzeitd.machines.base import (
    CancelTimer,
    Context,
    Deliver,
    Disconnect,
    Effects,
    Note,
    Send,
    SetTimer,
)
from gleitzeitd.machines.bundle_routing import deliveries, remember
from gleitzeitd.machines.hub_answers import HubAnswers
from gleitzeitd.machines.hub_audit import RefusalCounts
from gleitzeitd.machines.hub_settings import Settings
from gleitzeitd.machines.limits import COSTS, check_body
from gleitzeitd.machines.members import Member, Members
from gleitzeitd.machines.narrator import of_member
from gleitzeitd.machines.permissions import Plan, refusal
from gleitzeitd.machines.refusals import Refusals, culprit, offender
from gleitzeitd.machines.registration import (
    Waiting,
    claimed,
    member_of,
    registration_problem,
    token_problem,
)
from gleitzeitd.machines.routing import TEXT_LIMIT, check_envelope, nobody, recipients, stamp
from gleitzeitd.machines.trace import Counts, Trace
from gleitzeitd.model.access import Grant
from gleitzeitd.model.names import ComponentId, Role
from gleitzeitd.plain import Json

CAPABILITIES = ("envelope", "batch", "bundle")
"""What the hub understands beyond single flat events."""

_UNTRACED = frozenset({"heartbeat_response", "register_component"})


class Hub(HubAnswers):
    """Effects are ``Deliver`` (the event at hand), ``Send`` (an event of the hub's own), ``Disconnect``,
    ``Note`` and timers. ``now`` is monotonic; ``at`` is the wall clock, ISO 8601.
    """

    role = Role.HUB

    def __init__(
        self, component_id: ComponentId, settings: Settings, *, version: str = "", wire: WireRange = WIRE
    ) -> None:
        self.component_id = component_id
        self.settings = settings
        self.version = version
        self.wire = wire
        self.hostname, self.process_id = "", 0  # the runtime knows them
        self.insecure = False
        """Whether everybody on its host is let in; the runtime knows it."""
        self.members = Members()
        self.metrics: dict[str, Json] = {}
        """Of the hub's own process; the runtime replaces them when it has sampled."""
        self.counts = Counts()
        self._trace = Trace(settings.trace_records)
        self._waiting: dict[str, Waiting] = {}
        self._unaudited = RefusalCounts()
        self._refusals = Refusals(settings.refusals_per_minute, settings.refusal_pause)
        self._sender = ""  # connection of the event at hand
        self.spent = 0
        """What it had to do itself for the events at hand, in events; the runtime sets it back."""
        self.answered = 0
        """The same of long answers: all clients together may have only so many of them."""
        self._beat, self._beat_at = 0, ""
        self._beat_due = 0.0
        self._started = 0.0
        self._clock = 0.0  # when the last heartbeat was sent: precise enough for what takes minutes
        self._leaving = False

    # -- connections

    def start(self, now: float, at: str) -> Effects:
        """The first heartbeat is due after one interval."""
        self._started = self._clock = now
        return [self._next_beat(now)]

    def opened(self, connection: str, address: str) -> Effects:
        """A connection exists; nothing is known of it but where it comes from.

        Where too many are unknown, the oldest of them gives way: whoever really registers needs a moment.
        """
        effects: Effects = []
        if self._leaving or len(self._waiting) >= self.settings.max_unregistered:
            self.counts.refused["connection"] += 1
            reason = "the hub is ending" if self._leaving else "too many connections have not registered"
            unknown = (key for key, waiting in self._waiting.items() if waiting.grant is None)
            oldest = None if self._leaving else next(unknown, None)
            if oldest is None:
                return [Disconnect(connection, reason)]
            del self._waiting[oldest]
            effects += [CancelTimer(_register_key(oldest)), self._disconnect(oldest, reason)]
        self._waiting[connection] = Waiting(address=address)
        return [*effects, SetTimer(_register_key(connection), self.settings.register_within)]

    @property
    def unregistered(self) -> int:
        """How many connections have not registered."""
        return len(self._waiting)

    def connected(self, connection: str, component_id: Json, role: Json, grant: Grant) -> Effects:
        """The token of an open connection was accepted, and allows this.

        What it says of itself here, its registration has to repeat.

        Raises:
            NotPermitted: it names no role, or no id, that a component can have, or that the token covers.
        """
        waiting = self._waiting[connection]
        waiting.component_id, waiting.role = claimed(component_id, role, self.component_id, grant)
        waiting.grant = grant
        return []

    def mind_tokens(self, revoked: frozenset[str], wall: float) -> Effects:
        """Cut whoever's token was revoked, or has expired at ``wall`` (seconds since 1970) or before."""
        here: list[tuple[str, Waiting | Member]] = [*self._waiting.items()]
        here += [(member.connection, member) for member in self.members]
        effects: Effects = []
        for connection, one in here:
            if problem := token_problem(one.grant, revoked, wall):
                effects += self._turned_out(connection, one, problem)
        return effects

    def disconnected(self, connection: str, reason: str) -> Effects:
        """The connection has ended; nothing happens if it was cut before."""
        self._refusals.forget(connection)
        if self._waiting.pop(connection, None) is not None:
            return [CancelTimer(_register_key(connection))]
        member = self.members.at(connection)
        return [] if member is None else self._gone(member, reason)

    def _gone(self, member: Member, reason: str) -> Effects:
        self.members.remove(member)
        event = ComponentDisconnected(
            component_id=member.component_id,
            component_type=member.role,
            epoch=member.epoch,
            reason=reason,
        )
        told = {each.connection for role in ACT_ON_LOSS for each in self.members.of(role)}
        told |= {each.connection for each in self.members.watchers(event.topic())}
        effects: Effects = [of_member("component disconnected", member, reason, quiet=self._leaving)]
        if told:
            effects.append(Send(tuple(sorted(told)), event))
        return effects

    def _cut(self, member: Member, reason: str) -> Effects:
        return [*self._gone(member, reason), self._disconnect(member.connection, reason)]

    def _disconnect(self, connection: str, reason: str) -> Disconnect:
        self._refusals.forget(connection)
        return Disconnect(connection, reason)

    def timer_expired(self, key: str, now: float, at: str) -> Effects:
        if key == "beat":
            return self._heartbeat(now, at)
        connection = key.removeprefix("register:")
        waiting = self._waiting.pop(connection, None)
        if waiting is None:
            return []
        self.counts.refused["unregistered"] += 1
        fields: dict[str, Json] = {"address": waiting.address, "admitted": waiting.grant is not None}
        return [
            Note("debug", "a connection did not register", fields),
            self._disconnect(connection, f"not registered within {self.settings.register_within:g} s"),
        ]

    def _next_beat(self, now: float) -> SetTimer:
        self._beat_due = now + self.settings.heartbeat_interval
        return SetTimer("beat", self.settings.heartbeat_interval)

    def _heartbeat(self, now: float, at: str) -> Effects:
        self._clock = now
        late = now - self._beat_due
        if late > self.settings.heartbeat_interval:
            # The hub itself was stopped: what has come meanwhile is not read yet, and proves nothing.
            for member in self.members:
                member.heard += late
        effects: Effects = []
        for member in [each for each in self.members if each.beats]:
            if now - member.heard > self.settings.dead_after:
                self.counts.heartbeats_missed += 1
                effects += self._cut(member, f"no heartbeat for {now - member.heard:.1f} s")
        self._beat, self._beat_at = self._beat + 1, at
        everybody = tuple(member.connection for member in self.members)
        if everybody:
            effects.append(Send(everybody, Heartbeat(hub_id=self.component_id, number=self._beat)))
        return [*effects, *self._unaudited.told(self.members), self._next_beat(now)]

    def drain(self, now: float, at: str) -> Effects:
        return self.leave("the hub is ending")

    def leave(self, reason: str) -> Effects:
        """Say goodbye to everybody, and take no more connections."""
        self._leaving = True
        everybody = tuple(member.connection for member in self.members)
        return [Send(everybody, HubLeaving(hub_id=self.component_id, reason=reason))] if everybody else []

    def received(
        self, connection: str, name: str, envelope: dict[str, Json], body: str, now: float, at: str
    ) -> Effects:
        """Decide what follows from an event.

        ``envelope`` is in its wire form, and is changed into what is to be delivered; a delivery under
        another name adds ``_fact``. ``body`` is looked at only if the event is for the hub.
        """
        member = self.members.at(connection)
        if member is None:
            return self._received_first(connection, name, envelope, body, now, at)
        member.heard = now
        plan = member.plans.get(name)
        if plan is None:
            return self.refuse(connection, name, refusal(name, member.role, member.grant), envelope)
        try:
            stamp(envelope, member, plan)
            check_envelope(name, envelope)
            return self._route(member, name, plan, envelope, body, now, at)
        except GleitzeitError as problem:
            return self.refuse(connection, name, problem, envelope)

    def received_bundle(
        self,
        connection: str,
        name: str,
        envelope: dict[str, Json],
        heads: list[list[Json]],
        sizes: list[int],
        now: float,
        at: str,
    ) -> Effects | None:
        """As :meth:`received`, of many events in one piece; None if each is to be looked at by itself."""
        member = self.members.at(connection)
        routed = deliveries(self.members, member, name, envelope) if member is not None else None
        if member is None or routed is None:
            return None
        member.heard = now
        found, targets = routed
        remember(self.counts, self._trace, at, name, member.component_id, targets, heads, sizes)
        return [*found]

    def _received_first(
        self, connection: str, name: str, envelope: dict[str, Json], body: str, now: float, at: str
    ) -> Effects:
        waiting = self._waiting.get(connection)
        if waiting is None:
            return []  # it was cut; this was still under way
        if waiting.grant is None:
            del self._waiting[connection]
            return [CancelTimer(_register_key(connection)), self._disconnect(connection, "not authenticated")]
        if name != RegisterComponent.name:
            return self.refuse(connection, name, NotPermitted("register_component comes first"), envelope)
        envelope["_source_component"] = waiting.component_id or ComponentId("")
        try:
            check_envelope(name, envelope)
            return self._handled(connection, name, envelope, body, now, at)
        except GleitzeitError as problem:
            return self.refuse(connection, name, problem, envelope)

    def refuse(
        self, connection: str, name: str, problem: GleitzeitError, envelope: dict[str, Json]
    ) -> Effects:
        """Tell a connection that its event goes nowhere; the journal hears of each cause once."""
        self.counts.refused[problem.name] += 1
        one = self._waiting.get(connection) or self.members.at(connection)
        self._unaudited.count(name, problem, one)
        refused = EventRefused(event=name[:100], error=problem.info())
        notes = self._refusals.note(connection, name, problem, one)
        effects: Effects = [*notes, self._answer(connection, refused, envelope)]
        if one is not None and self._refusals.counts_against(problem, one):
            too_many = self._refusals.blame(offender(one), self._clock)
            effects += [] if too_many is None else self._turned_out(connection, one, too_many)
        return effects

    def rejected(self, connection: str, problem: GleitzeitError) -> Effects:
        """A token was not accepted, or does not allow what the connection says of itself."""
        self.counts.refused[problem.name] += 1
        waiting = self._waiting.get(connection)
        if waiting is None:
            return []
        self._unaudited.count("", problem, waiting)
        who = offender(None, waiting.address)
        self._refusals.blame(who, self._clock)
        if self._refusals.kept_away(who, self._clock) is None:
            return []
        self.counts.refused["kept away"] += 1
        del self._waiting[connection]
        return [CancelTimer(_register_key(connection)), self._disconnect(connection, "kept away")]

    def _answer(self, connection: str, event: Event, envelope: dict[str, Json]) -> Send:
        member = self.members.at(connection)
        return Send(
            (connection,),
            event,
            reply_to=None if member is None else member.component_id,
            correlation_id=_text(envelope.get("_correlation_id")),
            causation_id=_text(envelope.get("_message_id")),
        )

    def _route(
        self,
        sender: Member,
        name: str,
        plan: Plan,
        envelope: dict[str, Json],
        body: str,
        now: float,
        at: str,
    ) -> Effects:
        effects: Effects = []
        targets: list[ComponentId] = []
        for step in plan:
            if step.to is To.HUB:
                effects += self._handled(sender.connection, name, envelope, body, now, at)
                targets.append(self.component_id)
                continue
            found = recipients(self.members, step, name, envelope)
            if found:
                to = tuple([member.connection for member in found])
                effects.append(Deliver(to, step.name, step.fact))
                targets += [member.component_id for member in found]
            elif step.required and (step.only or step.to is not To.COMPONENT or "_reply_to" in envelope):
                self.counts.undeliverable[name] += 1
                effects.append(self._answer(sender.connection, nobody(step, name, envelope), envelope))
        self.counts.routed[name] += 1
        self.counts.routed_bytes[name] += len(body)
        if name not in _UNTRACED:
            self._trace.add(at, name, envelope, sender.component_id, tuple(targets), len(body))
        return effects

    def _handled(
        self, connection: str, name: str, envelope: dict[str, Json], body: str, now: float, at: str
    ) -> Effects:
        self._sender = connection
        self.spent += COSTS.get(name, 0)
        member = self.members.at(connection)
        check_body(name, len(body), client=member is not None and member.role is Role.CLIENT)
        parsed = envelope_from_plain(envelope, name)
        event = decode_body(name, parsed, body, self.wire.newest)
        return self.handle(name, event, Context(parsed, now, at))

    # -- events for the hub itself

    def on_register_component(self, event: RegisterComponent, ctx: Context) -> Effects:
        connection = self._sender
        waiting, member = self._waiting.get(connection), self.members.at(connection)
        before = self.members.named(event.component_id)
        one = waiting or member
        assert one is not None, connection
        assert one.grant is not None, connection
        who = culprit(one.grant, event.component_type, event.component_id, one.address)
        if (away := self._refusals.kept_away(who, self._clock)) is not None:
            self.counts.refused["kept away"] += 1
            return self._turned_out(connection, one, away, ctx)
        problem = registration_problem(event, self.component_id, one, before, self.wire)
        if problem is not None:
            self._refusals.blame(who, self._clock)
            return self._turned_out(connection, one, problem, ctx)
        effects: Effects = []
        if before is not None and before is not member:
            effects += self._replaced(before, event.epoch)
        if member is None:
            member = member_of(event, connection, self._waiting.pop(connection), ctx.now, self.wire)
            self.members.add(member)
            effects += [CancelTimer(_register_key(connection)), of_member("component registered", member)]
        member.beats = member.beats or "envelope" in event.capabilities
        registered = ComponentRegistered(
            component_id=member.component_id,
            component_type=member.role,
            capabilities=[each for each in CAPABILITIES if each in event.capabilities],
            heartbeat_interval=self.settings.heartbeat_interval,
            max_frame_bytes=self.settings.max_frame_bytes,
            hub_id=self.component_id,
            hub_version=self.version,
            wire=member.wire,
            registered_at=ctx.at,
        )
        answer = Send(
            (connection,),
            registered,
            reply_to=member.component_id,
            correlation_id=ctx.envelope.correlation_id,
            causation_id=ctx.envelope.message_id,
        )
        return [*effects, answer]

    def _turned_out(
        self, connection: str, one: Waiting | Member, problem: GleitzeitError, ctx: Context | None = None
    ) -> Effects:
        """Say why, and cut; ``ctx`` is that of a registration."""
        self.counts.refused[problem.name] += 1
        self._unaudited.count("" if ctx is None else RegisterComponent.name, problem, one)
        fields: dict[str, Json] = {"error": problem, "address": one.address, "peer": one.component_id or ""}
        message = "a connection was cut" if ctx is None else "a registration was refused"
        answer = Send(
            (connection,),
            RegistrationRefused(error=problem.info()),
            correlation_id=None if ctx is None else ctx.envelope.correlation_id,
            causation_id=None if ctx is None else ctx.envelope.message_id,
        )
        quiet = ctx is not None and isinstance(problem, LimitExceeded)  # it was noted when it was cut
        effects: Effects = [answer] if quiet else [Note("warning", message, fields), answer]
        if self._waiting.pop(connection, None) is not None:
            effects.append(CancelTimer(_register_key(connection)))
        member = self.members.at(connection)
        if member is not None:
            effects += self._gone(member, str(problem))
        return [*effects, self._disconnect(connection, str(problem))]

    def _replaced(self, before: Member, epoch: int) -> Effects:
        reason = "replaced by a newer connection of the same component"
        if epoch > before.epoch:
            return self._cut(before, reason)  # another process: what the old one held is lost
        self.members.remove(before)
        return [self._disconnect(before.connection, reason)]

    # -- settings

    def adjust(self, key: str, value: object) -> None:
        """One setting is another from now on; the audit hears of it."""
        changed: dict[str, Any] = {key: value}
        self.settings = replace(self.settings, **changed)
        self._unaudited.adjusted(self.component_id, key)

    # -- figures

    def figures(self) -> dict[str, Json]:
        return {"components": len(self.members), "events_routed": sum(self.counts.routed.values())}


def _register_key(connection: str) -> str:
    return f"register:{connection}"


def _text(value: Json) -> str | None:
    return value if type(value) is str and len(value) <= TEXT_LIMIT else None
