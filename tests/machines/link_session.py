"""A link between a machine that does as it is told and simulated hubs."""

from __future__ import annotations

from itertools import count

from gleitzeitd.events import Envelope
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import hub as h
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.events.codec import encode_body
from gleitzeitd.machines.base import (
    CancelTimer,
    Machine,
    SetTimer,
)
from gleitzeitd.machines.link import (
    Identity,
    Link,
    Transmit,
)
from gleitzeitd.model.names import ComponentId, Role, TaskId, WorkflowId

A, B = "http://a", "http://b"
ME, LEDGER = ComponentId("engine-1"), ComponentId("persistence-1")
W, T = WorkflowId("w"), TaskId("t")
FIND = r.FindProvider(protocol="python/v1")
FOUND = r.ProviderFound(providers=[])
STARTED = e.TaskStarted(workflow_id=W, task_id=T, attempt=1)
SWEEP = "link/sweep"


class Puppet(Machine):
    """Does what the test tells it to, and remembers what it was told."""

    role = Role.EXECUTION_ENGINE

    def __init__(self, role=Role.EXECUTION_ENGINE):
        self.component_id = ME
        self.role = role
        self.heard = []
        self.hindrances = []
        self.next = []
        self.on_start = []
        self.on_hub = []

    def hindered(self, asked, error, now, at):
        self.hindrances.append((asked, error))
        return []

    def _do(self, what):
        self.heard.append(what)
        effects, self.next = self.next, []
        return effects

    def start(self, now, at):
        return [*self._do("start"), *self.on_start]

    def handle(self, name, event, ctx):
        return self._do((name, event, ctx.asked))

    def call_finished(self, call_id, answer, now, at):
        return self._do((call_id, answer))

    def timer_expired(self, key, now, at):
        return self._do(key)

    def settle(self, now, at):
        return self._do("settle")

    def hub_connected(self, now, at):
        return [*self._do("hub"), *self.on_hub]

    def undeliverable(self, notice, asked, now, at):
        return self._do(("undeliverable", asked))

    def refused(self, asked, error, now, at):
        return self._do(("refused", asked, error.code))

    def drain(self, now, at):
        return self._do("drain")

    def load(self):
        return 3

    def figures(self):
        return {"slots": 8}

    def inventory(self):
        return [["w", "t", 1]]


class Session:
    """A link with a puppet, simulated hubs, and timers that expire in time."""

    def __init__(self, *hubs, role=Role.EXECUTION_ENGINE):
        self.machine = Puppet(role)
        numbers = count()
        self.link = Link(
            self.machine, Identity(component_id=ME, role=role, epoch=10), lambda: f"c{next(numbers)}"
        )
        self.now = 0.0
        self.timers = {}
        self.sent = []
        self.others = []
        self.numbers = count()
        for hub in hubs:
            self.up(hub)
        self.clear()

    def see(self, actions):
        for action in actions:
            match action:
                case Transmit():
                    self.sent.append(action)
                case SetTimer(key, delay):
                    self.timers[key] = self.now + delay
                case CancelTimer(key):
                    self.timers.pop(key, None)
                case _:
                    self.others.append(action)
        return self

    def clear(self):
        self.sent, self.others, self.machine.heard = [], [], []

    def up(self, hub):
        self.see(self.link.connected(hub, self.now, "now"))
        return self.registered(hub)

    def registered(self, hub):
        answer = h.ComponentRegistered(
            component_id=ME, component_type=self.machine.role, heartbeat_interval=1.0, hub_id=hub
        )
        return self.get(answer, hub, source="hub", to=ME)

    def get(self, event, hub=A, *, source=LEDGER, to=None, cause=None, message_id=None, name=None):
        """An event comes in."""
        envelope = Envelope(
            message_id=message_id or f"in{next(self.numbers)}",
            correlation_id="d",
            source_component=ComponentId(source),
            causation_id=cause,
            reply_to=to,
        )
        return self.see(
            self.link.received(hub, name or event.name, envelope, encode_body(event), self.now, "now")
        )

    def answer(self, event, transmit, **more):
        """An answer to what was sent."""
        return self.get(event, transmit.hub, to=ME, cause=transmit.envelope.message_id, **more)

    def do(self, *effects):
        return self.see(self.link.perform(list(effects), self.now, "now"))

    def until(self, now):
        """Time passes, timers expire."""
        while self.timers and min(self.timers.values()) <= now:
            key = min(self.timers, key=self.timers.__getitem__)
            self.now = max(self.now, self.timers.pop(key))
            self.see(self.link.timer_expired(key, self.now, "now"))
        self.now = now
        return self

    def emitted(self):
        """Hub and name of what was sent since the last look."""
        sent, self.sent = self.sent, []
        return [(action.hub, action.name) for action in sent]

    def moments(self, until):
        """When something is sent, until that time, in steps of 50 ms."""
        found = []
        while self.now < until:
            self.until(round(self.now + 0.05, 2))
            found += [self.now] * len(self.emitted())
        return found
