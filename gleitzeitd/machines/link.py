"""A component's half of the session with its hubs: everything between a machine and the wire.

The link registers on every new connection, answers heartbeats, stamps envelopes, drops repeats,
and keeps every *ask* open until it is answered: it is sent again, through one hub after the other,
with growing delays, and at once where a connection comes or goes. A *tell* is sent once, or not at
all while no hub is connected. What a hub has to know about us goes to every hub. What arrives goes
to the machine; what the machine wants comes out as :data:`Action`. The link performs no I/O:
``runtime.component`` and the simulated cluster of the tests both drive this class.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gleitzeitd.errors import ErrorInfo, MalformedEvent, WireUnsupported
from gleitzeitd.events import FIRST_WIRE, WIRE, Envelope, Event, Kind, WireRange
from gleitzeitd.events import hub as h
from gleitzeitd.events.codec import decode_body, encode_body
from gleitzeitd.events.persistence import PersistenceError
from gleitzeitd.machines.asks import EMISSIONS_LIMIT, OpenAsk, Strays, may_answer
from gleitzeitd.machines.base import (
    Ask,
    Call,
    CancelAsk,
    CancelCall,
    CancelTimer,
    Context,
    Effect,
    Effects,
    Machine,
    Note,
    Reply,
    SetTimer,
    Tell,
)
from gleitzeitd.machines.parcels import ASK_SHARE, FRAME_SIZE, frame_size
from gleitzeitd.model.names import ComponentId, Role
from gleitzeitd.plain import Json
from gleitzeitd.record import positional_record, record

SEEN_LIMIT = 8192
"""Message ids remembered, to drop repeats."""
Seen = tuple[ComponentId, str]
"""Whose message, and its id. Ids can be guessed: nobody's message is the repeat of another's."""
SWEEP = 0.25
"""Seconds between looks for asks to be repeated; there is no timer while no ask is open."""
FIRST_REPEAT = 1.0
"""Seconds after which an ask is sent again; doubles up to LAST_REPEAT."""
LAST_REPEAT = 5.0
UNDELIVERED_REPEAT = 0.2
"""Seconds after which an ask is sent again that the hub could not deliver; doubles up to LAST_REPEAT."""
ENVELOPE_SIZE = 8192
"""Bytes of a frame that are left for what goes around a body."""
_TIMER = "link/sweep"

CONTROL = frozenset(
    {"register_component", "heartbeat_response", "cancel_task", "cancel_method", "serve_shards"}
)
"""What goes before bulk, next to all replies."""
TO_EVERY_HUB = frozenset({"serve_shards", "capacity_update", "subscribe", "unsubscribe"})
"""What each hub keeps for its own connection; hubs do not talk to each other."""


@record
class Identity:
    """Who a component is."""

    component_id: ComponentId
    role: Role
    epoch: int
    """Grows with every start of the process."""
    version: str = ""
    hostname: str = ""
    process_id: int = 0
    wire: WireRange = WIRE
    """The versions of the wire that it speaks."""


@positional_record
class Transmit:
    """Send an event on one connection."""

    hub: str
    """The hub's URL, which names the connection."""
    name: str
    envelope: Envelope
    body: str
    """JSON text."""
    control: bool
    """It goes before bulk."""


@positional_record
class Registered:
    """The hub has accepted us on this connection."""

    hub: str
    capabilities: frozenset[str]


@positional_record
class Refused:
    """The hub will not have us: trying again with the same token makes no sense."""

    hub: str
    error: ErrorInfo


@positional_record
class Leave:
    """Close the connection, and make a new one."""

    hub: str
    reason: str


Action = Transmit | Registered | Refused | Leave | SetTimer | CancelTimer | Call | CancelCall | Note
Actions = list[Action]


@dataclass(slots=True)
class Link:
    """One machine's connections. Inputs are methods; each returns what is to be done, in order."""

    machine: Machine
    identity: Identity
    new_correlation: Callable[[], str]
    """Makes 32 hex digits; handed in so that this stays deterministic."""
    metrics: dict[str, Json] = field(default_factory=dict)
    """Sampled by the runtime; sent along with the next heartbeat response to each hub."""
    draining: bool = False
    started: bool = False
    _measured: dict[str, dict[str, Json]] = field(default_factory=dict)  # connection -> metrics told last
    _hubs: dict[str, bool] = field(default_factory=dict)  # connection -> registered
    _limits: dict[str, int] = field(default_factory=dict)  # connection -> bytes of a frame
    _asks: OrderedDict[str, OpenAsk] = field(default_factory=OrderedDict)
    _emissions: dict[str, str] = field(default_factory=dict)  # message_id -> key of the open ask
    _seen: OrderedDict[Seen, str] = field(default_factory=OrderedDict)  # -> the hub it came by
    _strays: Strays = field(default_factory=Strays)
    _emitted: int = 0
    _sweeping: bool = False
    _out: Actions = field(default_factory=list)
    _cause: Envelope | None = None
    _via: str | None = None  # the connection that the event being handled came by

    # --- connections --------------------------------------------------------------------------

    def connected(self, hub: str, now: float, at: str) -> Actions:
        """A connection is up; the first thing on it is our registration."""
        self._hubs[hub] = False
        me = self.identity
        hello = h.RegisterComponent(
            component_id=me.component_id,
            component_type=me.role,
            epoch=me.epoch,
            capabilities=["envelope", "batch", "bundle"],
            version=me.version,
            wire=[me.wire.oldest, me.wire.newest],
            hostname=me.hostname,
            process_id=me.process_id,
        )
        self._send(hub, hello, self._envelope(hello, self.new_correlation(), None, at))
        return self._take()

    def disconnected(self, hub: str) -> Actions:
        """A connection is gone; open asks go by the others, or by the next one."""
        self._hubs.pop(hub, None)
        self._measured.pop(hub, None)
        if not self.is_registered():
            self.machine.isolated()
        self._hurry(hub)
        return self._take()

    def _hurry(self, hub: str) -> None:
        """What was asked by this connection may be lost: the next sweep asks again."""
        for entry in self._asks.values():
            if entry.hub == hub:
                entry.repeat_at, entry.delay = -math.inf, FIRST_REPEAT / 2

    def is_registered(self) -> bool:
        """Whether any hub has accepted us."""
        return any(self._hubs.values())

    def open_asks(self) -> int:
        """Asks not yet answered."""
        return len(self._asks)

    # --- what comes in ------------------------------------------------------------------------

    def received(self, hub: str, name: str, envelope: Envelope, body: str, now: float, at: str) -> Actions:
        """An event has arrived.

        Raises:
            MalformedEvent, UnknownEvent: it is none that we know; nothing has changed.
        """
        event = decode_body(name, envelope, body, self.identity.wire.newest)
        if self._repeated((envelope.source_component, envelope.message_id), hub):
            return []
        self._cause, self._via = envelope, hub
        try:
            if type(event).link:
                self._session(hub, event, envelope, now, at)
            else:
                self._dispatch(name, event, envelope, now, at)
        finally:
            self._cause = self._via = None
        return self._take()

    def _repeated(self, message: Seen, hub: str) -> bool:
        if message in self._seen:
            return True
        self._seen[message] = hub
        if len(self._seen) > SEEN_LIMIT:
            self._seen.popitem(last=False)
        return False

    def _dispatch(self, name: str, event: Event, envelope: Envelope, now: float, at: str) -> None:
        asked = None
        key = self._emissions.get(envelope.causation_id or "")
        # A fact can be caused by our ask without answering it: only what is addressed to us does. So can a
        # command to us: the ledger, asked to keep a task's start, may tell the engine to cancel the task.
        addressed = envelope.reply_to == self.identity.component_id and event.kind is not Kind.COMMAND
        if key is not None and addressed:
            entry = self._asks[key]
            if not may_answer(entry.ask, self.identity.role, event, envelope):
                self._out += self._strays.note(event, entry.ask, envelope)
                return
            retry = isinstance(event, PersistenceError) and event.error.retryable
            if retry and self.identity.role is not Role.CLIENT:
                self._postponed(entry, event, now, at)
                return
            asked = self._close(key)
        self._perform(self.machine.handle(name, event, Context(envelope, now, at, asked)), now, at)

    def _postponed(self, entry: OpenAsk, event: Event, now: float, at: str) -> None:
        """The ask stays open and is repeated: the ledger may recover."""
        assert isinstance(event, PersistenceError), event
        entry.unanswered -= 1
        if not entry.unanswered:  # Only now is it certain that nothing of it will be.
            self._perform(self.machine.hindered(entry.ask, event.error, now, at), now, at)

    def _close(self, key: str) -> Ask | None:
        entry = self._asks.pop(key, None)
        if entry is None:
            return None
        for message_id in entry.emissions:
            self._emissions.pop(message_id, None)
        return entry.ask

    def _session(self, hub: str, event: Event, envelope: Envelope, now: float, at: str) -> None:
        match event:
            case h.Heartbeat(number=number):
                self._heartbeat(hub, number, at)
            case h.ComponentRegistered():
                self._registered(hub, event, now, at)
            case h.RegistrationRefused(error=error):
                self._out.append(Refused(hub, error))
            case h.NoComponentsAvailable():
                self._undeliverable(hub, event, envelope, now, at)
            case h.EventRefused(error=error):
                self._refused(event.event, error, envelope, now, at)
            case h.HubLeaving(reason=reason):
                self._hubs[hub] = False
                self._hurry(hub)
                self._out.append(Leave(hub, reason))
            case h.Batch():
                raise MalformedEvent(event.name, "expected a list of events")
            case _:
                raise AssertionError(f"no rule for {event!r}")

    def _registered(self, hub: str, event: h.ComponentRegistered, now: float, at: str) -> None:
        if event.wire not in (ours := self.identity.wire):
            spoken = f"the hub (version {event.hub_version}) speaks wire {event.wire}, and we {ours}"
            self._out.append(Refused(hub, WireUnsupported(f"{spoken}: upgrade it").info()))
            return
        self._hubs[hub] = True
        self._limits[hub] = event.max_frame_bytes
        self._out.append(Registered(hub, frozenset(event.capabilities)))
        before = list(self._asks.values())
        if not self.started:
            self.started = True
            self._perform(self.machine.start(now, at), now, at)
        self._perform(self.machine.hub_connected(now, at), now, at)
        for entry in before:
            if self._asks.get(entry.ask.key) is entry:  # not replaced just now
                entry.delay, entry.undelivered = FIRST_REPEAT, False
                entry.repeat_at = now + entry.delay
                self._emit_ask(entry.ask.key, entry, now, at)

    def _heartbeat(self, hub: str, number: int, at: str) -> None:
        metrics: dict[str, Json] = {}
        if self.metrics and self._measured.get(hub) is not self.metrics:
            self._measured[hub] = self.metrics
            metrics = {**self.metrics, **self.machine.figures(), **self._strays.figures()}
        answer = h.HeartbeatResponse(
            number=number,
            status="draining" if self.draining else self.machine.status(),
            load=self.machine.load(),
            metrics=metrics,
            inventory=self.machine.inventory(),
        )
        self._send(hub, answer, self._envelope(answer, self._cause_correlation(), None, at, self._cause_id()))

    def _undeliverable(
        self, hub: str, notice: h.NoComponentsAvailable, envelope: Envelope, now: float, at: str
    ) -> None:
        key = self._emissions.get(envelope.causation_id or "")
        entry = self._asks.get(key) if key is not None else None
        if entry is not None:
            entry.nobody_at.add(hub)
            entry.unanswered -= 1
            others = [each for each, up in self._hubs.items() if up and each not in entry.nobody_at]
            if others:  # only all hubs together know that nobody is there
                self._emit_ask(entry.ask.key, entry, now, at, others[0])
                return
            entry.nobody_at.clear()
            if not entry.undelivered:
                entry.undelivered, entry.delay = True, UNDELIVERED_REPEAT
            entry.repeat_at = now + entry.delay
        asked = entry.ask if entry is not None else None
        self._perform(self.machine.undeliverable(notice, asked, now, at), now, at)

    def _refused(self, name: str, error: ErrorInfo, envelope: Envelope, now: float, at: str) -> None:
        key = self._emissions.get(envelope.causation_id or "")
        asked = self._close(key) if key is not None else None
        self._out.append(Note("warning", "the hub refused an event", {"event": name, "error": error}))
        if asked is not None:
            self._perform(self.machine.refused(asked, error, now, at), now, at)

    def timer_expired(self, key: str, now: float, at: str) -> Actions:
        """A timer set by an earlier action has expired."""
        if key == _TIMER:
            self._sweeping = False
            due = [entry for entry in self._asks.values() if entry.repeat_at <= now]
            self._repeat(due, now, at)
            self._sweep()
        else:
            self._perform(self.machine.timer_expired(key, now, at), now, at)
        return self._take()

    def call_finished(self, call_id: str, answer: object, now: float, at: str) -> Actions:
        """The performer has finished a call; ``answer`` may be an exception."""
        self._perform(self.machine.call_finished(call_id, answer, now, at), now, at)
        return self._take()

    def settle(self, now: float, at: str) -> Actions:
        """The inbox is empty for now."""
        self._perform(self.machine.settle(now, at), now, at)
        return self._take()

    def drain(self, now: float, at: str) -> Actions:
        """The process is asked to end."""
        self.draining = True
        self._perform(self.machine.drain(now, at), now, at)
        return self._take()

    def perform(self, effects: Effects, now: float, at: str) -> Actions:
        """Carry out effects that come from outside: a client's wish."""
        self._perform(effects, now, at)
        return self._take()

    # --- what goes out ------------------------------------------------------------------------

    def _perform(self, effects: Effects, now: float, at: str) -> None:
        for effect in effects:
            self._perform_one(effect, now, at)

    def _perform_one(self, effect: Effect, now: float, at: str) -> None:
        match effect:
            case Tell():
                self._tell(effect, at)
            case Ask(key, event, _, correlation_id, cause):
                self._close(key)
                entry = OpenAsk(
                    effect,
                    correlation_id or self._cause_correlation(),
                    cause or self._cause_id(),
                    now + FIRST_REPEAT,
                    FIRST_REPEAT,
                )
                self._asks[key] = entry
                self._emit_ask(key, entry, now, at)
                self._sweep()
            case CancelAsk(key):
                self._close(key)
            case Reply(event, to):
                envelope = self._envelope(event, to.correlation_id, to.source_component, at, to.message_id)
                # Whoever asked may have no other hub in common with us, also if the answer took a while.
                self._route(event, envelope, self._seen.get((to.source_component, to.message_id)))
            case SetTimer() | CancelTimer() | Call() | CancelCall() | Note():
                self._out.append(effect)
            case _:
                raise AssertionError(f"{effect!r} is for hubs")

    def _tell(self, tell: Tell, at: str) -> None:
        if self._hub() is None:
            return
        correlation_id = tell.correlation_id or self._cause_correlation()
        envelope = self._envelope(tell.event, correlation_id, tell.to, at, tell.cause or self._cause_id())
        self._route(tell.event, envelope)

    def _repeat(self, entries: Iterable[OpenAsk], now: float, at: str) -> None:
        for entry in entries:
            entry.delay = min(entry.delay * 2, LAST_REPEAT)
            entry.repeat_at = now + entry.delay
            self._emit_ask(entry.ask.key, entry, now, at)

    def _emit_ask(self, key: str, entry: OpenAsk, now: float, at: str, hub: str | None = None) -> None:
        entry.hub = hub or self._hub(after=entry.hub)
        if entry.hub is None:
            return
        envelope = self._envelope(entry.ask.event, entry.correlation_id, entry.ask.to, at, entry.causation_id)
        if len(entry.emissions) == EMISSIONS_LIMIT:
            self._emissions.pop(entry.emissions[0], None)
        entry.emissions.append(envelope.message_id)
        entry.unanswered += 1
        self._emissions[envelope.message_id] = key
        if not self._route(entry.ask.event, envelope, entry.hub, share=ASK_SHARE):
            self._close(key)
            error = MalformedEvent(entry.ask.event.name, "too large to be sent in one piece").info()
            self._perform(self.machine.refused(entry.ask, error, now, at), now, at)

    def _sweep(self) -> None:
        if self._asks and not self._sweeping:
            self._sweeping = True
            self._out.append(SetTimer(_TIMER, SWEEP))

    def _hub(self, *, after: str | None = None) -> str | None:
        """The connection to send by: the one that the cause came by, else the first that is up.

        ``after`` names one that was tried in vain: another one may lead to who answers.
        """
        if self._via is not None and self._hubs.get(self._via):
            return self._via
        up = [hub for hub, registered in self._hubs.items() if registered]
        if after in up:
            return up[(up.index(after) + 1) % len(up)]
        return up[0] if up else None

    def _route(self, event: Event, envelope: Envelope, hub: str | None = None, *, share: float = 1.0) -> bool:
        """Send by ``hub`` if that is up; whatever each hub has to know goes by all of them.

        False if it is larger than this share of what the hub takes.
        """
        if event.name in TO_EVERY_HUB:
            up = [each for each, registered in self._hubs.items() if registered]
            for each in up:
                self._send(each, event, envelope)
            return True
        if hub is None or not self._hubs.get(hub):
            hub = self._hub()
        return hub is None or self._send(hub, event, envelope, share)

    def _send(self, hub: str, event: Event, envelope: Envelope, share: float = 1.0) -> bool:
        body = encode_body(event)
        limit = int(self._limits.get(hub, FRAME_SIZE) * share) - ENVELOPE_SIZE
        if (size := frame_size(body, limit)) > limit:
            fields: dict[str, Json] = {"event": event.name, "size": size, "limit": limit}
            self._out.append(Note("error", "an event is too large to be sent", fields))
            return False
        control = event.kind is Kind.REPLY or event.name in CONTROL
        self._out.append(Transmit(hub, event.name, envelope, body, control))
        return True

    def _cause_correlation(self) -> str:
        return self._cause.correlation_id if self._cause is not None else self.new_correlation()

    def _cause_id(self) -> str | None:
        return self._cause.message_id if self._cause is not None else None

    def _envelope(
        self, event: Event, correlation_id: str, to: ComponentId | None, at: str, cause: str | None = None
    ) -> Envelope:
        self._emitted += 1
        me = self.identity
        return Envelope(
            message_id=f"{me.component_id}.{me.epoch:x}.{self._emitted:x}",
            correlation_id=correlation_id,
            source_component=me.component_id,
            timestamp=at,
            causation_id=cause,
            reply_to=to,
            shard=event.shard(),
            topic=event.topic(),
            wire=me.wire.newest if me.wire.newest > FIRST_WIRE else None,
        )

    def _take(self) -> Actions:
        out, self._out = self._out, []
        return out
