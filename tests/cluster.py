"""A whole cluster in one thread: the production machines and links, simulated time and network, one seed.

    cluster = Cluster(seed, Network(loss=0.02))
    cluster.add_all(queue_managers=2)
    cluster.submit("w", document)
    cluster.run(until=60)
    cluster.check()

Every node is a ``Link`` with its machine, and a performer that takes simulated time. Legs are in order,
as TCP is; a killed node loses what is in memory and on the wire; the store survives. Invariants are
checked after every commit, at every call of a provider, and at the end.

A process, node or hub, can be stopped for a while, and its clock can go wrong; a node can be cut off from a
hub, in either direction: what is sent meanwhile arrives late, as by TCP, or not at all, and both ends take
the connection to be up until they notice.
"""

from __future__ import annotations

import heapq
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count
from typing import Any

from gleitzeitd import errors
from gleitzeitd.events import Envelope, receivers
from gleitzeitd.events.codec import encode_body, envelope_from_plain, envelope_to_plain
from gleitzeitd.events.dependency_resolver import SubmitWorkflow, WorkflowRefused, WorkflowSubmitted
from gleitzeitd.machines import client as cl
from gleitzeitd.machines import hub as hb
from gleitzeitd.machines import persistence as pe
from gleitzeitd.machines import provider as pr
from gleitzeitd.machines.base import (
    Call,
    CancelCall,
    CancelTimer,
    Deliver,
    Disconnect,
    Effects,
    Machine,
    Note,
    Send,
    SetTimer,
)
from gleitzeitd.machines.dependency_resolver import DependencyResolver
from gleitzeitd.machines.execution_engine import ExecutionEngine
from gleitzeitd.machines.link import Actions, Identity, Leave, Link, Refused, Registered, Transmit
from gleitzeitd.machines.protocol_registry import ProtocolRegistry
from gleitzeitd.machines.queue_manager import QueueManager
from gleitzeitd.model.change import Change, Outcome
from gleitzeitd.model.ledger import ENDED, TaskState
from gleitzeitd.model.names import ComponentId, Role, WorkflowId
from gleitzeitd.model.protocol import Method, Protocol
from gleitzeitd.providers.schema import problems
from gleitzeitd.runtime.connection import FIRST_DELAY, LAST_DELAY, LOOKS, STABLE
from gleitzeitd.runtime.ledger import LedgerPerformer
from gleitzeitd.stores.memory import MemoryStore

ECHO = Protocol(name="echo/v1", methods={"echo/echo": Method(), "echo/fail": Method()})
AT = "2026-01-01T00:00:00.000Z"
LOOK = 5.0 / LOOKS
"""Seconds between two looks at a hub: as the component's settings have it."""


def ran(coroutine: Any) -> Any:
    """The result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


@dataclass(frozen=True)
class Network:
    """What goes wrong on the way; probabilities per message and leg."""

    delay: float = 0.002
    """Seconds, at most."""
    loss: float = 0.0
    duplicates: float = 0.0


@dataclass(frozen=True)
class Disk:
    """How the store does."""

    fastest: float = 0.0005
    """Seconds until a commit or a page is there."""
    slowest: float = 0.004
    fails: float = 0.0
    """Probability that it cannot: nothing has happened then."""


@dataclass(frozen=True)
class Cut:
    """No way from a node to a hub, or back."""

    until: float
    loses: bool
    """What is sent meanwhile is lost; else it comes late."""


class Violation(AssertionError):
    """An invariant is broken."""


class WatchedStore(MemoryStore):
    """Checks each commit against what must always hold."""

    def __init__(self) -> None:
        super().__init__()
        self.completed: Counter[tuple[str, str]] = Counter()
        self.leased: Counter[tuple[str, str, int]] = Counter()
        self.ended: Counter[str] = Counter()
        self.numbers: dict[int, int] = {}
        self.cancelling: set[str] = set()

    async def commit(self, changes: list[Change], at: str) -> list[Outcome]:  # type: ignore[override]
        outcomes = await super().commit(changes, at)
        for outcome in outcomes:
            for execution in outcome.executions:
                self.leased[execution.workflow_id, execution.task_id, execution.attempt] += 1
                if execution.workflow_id in self.cancelling:
                    raise Violation(f"{execution.workflow_id} is cancelled: {execution.task_id} was leased")
            for fact in outcome.facts:
                if fact.stamp.number != self.numbers.get(fact.shard, 0) + 1:
                    raise Violation(f"the feed of shard {fact.shard} has a hole before {fact.stamp.number}")
                self.numbers[fact.shard] = fact.stamp.number
                if fact.name == "workflow_cancelling":
                    self.cancelling.add(fact.workflow_id)
                if fact.name == "task_completed":
                    key = (fact.workflow_id, fact.body["task_id"])
                    self.completed[key] += 1
                    if self.completed[key] > 1:
                        raise Violation(f"{key} completed twice")
                if fact.name in ("workflow_completed", "workflow_failed", "workflow_cancelled"):
                    self.ended[fact.workflow_id] += 1
                    if self.ended[fact.workflow_id] > 1:
                        raise Violation(f"{fact.workflow_id} ended twice")
        return outcomes


@dataclass
class Node:
    """One process."""

    name: str
    make: Callable[[int], Machine]
    link: Link
    epoch: int
    alive: bool = True
    timers: dict[str, int] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    connections: dict[str, str] = field(default_factory=dict)  # hub -> connection
    cancelled: set[tuple[str, str, int]] = field(default_factory=set)
    """Attempts that this process has been told to end."""
    silent: dict[str, int] = field(default_factory=dict)  # connection -> looks at it since something came
    failures: dict[str, int] = field(default_factory=dict)  # hub -> connections in a row that did not last

    @property
    def machine(self) -> Machine:
        return self.link.machine


class Cluster:
    def __init__(self, seed: int, network: Network | None = None, store: WatchedStore | None = None) -> None:
        self.rng = random.Random(seed)
        self.network = network or Network()
        self.disk = Disk()
        self.now = 0.0
        self.nodes: dict[str, Node] = {}
        self.hubs: dict[str, hb.Hub] = {}
        self.rates: dict[str, float] = {}
        """Of processes: seconds of their clock per second."""
        self.stopped: dict[str, float] = {}
        """Processes to when they go on."""
        self.cuts: dict[tuple[str, str, str], Cut] = {}
        """Node, hub, and ``up`` (to the hub) or ``down``."""
        self.store = store or WatchedStore()
        self.executions: Counter[tuple[str, str]] = Counter()
        self.attempts: Counter[tuple[str, str, int]] = Counter()
        self.answers: dict[str, Any] = {}
        self.documents: dict[str, Any] = {}
        self.published: dict[str, list[Any]] = {}
        self.delivered: Counter[str] = Counter()
        self.trace: list[str] = []
        self.notes: list[Note] = []
        self.work: Callable[[pr.Work], tuple[float, Any]] = self._echo
        self._agenda: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._n = count(1)
        self._legs: dict[tuple[str, str], float] = {}
        self._hub_timers: dict[tuple[str, str], int] = {}
        self._alive_hubs: dict[str, int] = {}

    # --- building -------------------------------------------------------------------------------

    def add_hub(self, name: str = "hub") -> None:
        hub = self.hubs[name] = hb.Hub(ComponentId(name), hb.Settings())
        self._alive_hubs[name] = next(self._n)
        self._perform_hub(name, hub.start(self.clock(name), AT))

    def add(self, name: str, make: Callable[[int], Machine], role: Role) -> Node:
        epoch = next(self._n)
        node = self.nodes[name] = Node(name, make, self._link(name, make, role, epoch), epoch)
        for hub in self.hubs:
            self._connect(node, hub)
        return node

    def _link(self, name: str, make: Callable[[int], Machine], role: Role, epoch: int) -> Link:
        identity = Identity(component_id=ComponentId(name), role=role, epoch=epoch)
        return Link(make(epoch), identity, lambda: f"{next(self._n):032x}")

    def add_all(
        self,
        *,
        resolvers: int = 1,
        queue_managers: int = 1,
        engines: int = 1,
        providers: int = 1,
        registries: int = 1,
        hubs: int = 1,
    ) -> None:
        for name in ["hub"] if hubs == 1 else [f"hub-{i}" for i in range(1, hubs + 1)]:
            self.add_hub(name)
        cid = ComponentId
        self.add("persistence", lambda _: pe.Persistence(cid("persistence")), Role.PERSISTENCE)
        for i in range(1, registries + 1):
            name = "registry" if i == 1 else f"registry-{i}"
            self.add(name, lambda _, name=name: ProtocolRegistry(cid(name)), Role.PROTOCOL_REGISTRY)
        for i in range(1, resolvers + 1):
            name = f"resolver-{i}"
            self.add(
                name,
                lambda e, name=name: DependencyResolver(
                    component_id=cid(name), incarnation=f"{name}.{e}", check=problems
                ),
                Role.DEPENDENCY_RESOLVER,
            )
        for i in range(1, queue_managers + 1):
            name = f"queue-{i}"
            self.add(
                name,
                lambda e, name=name: QueueManager(component_id=cid(name), incarnation=f"{name}.{e}"),
                Role.QUEUE_MANAGER,
            )
        for i in range(1, engines + 1):
            name = f"engine-{i}"
            self.add(name, lambda _, name=name: ExecutionEngine(cid(name)), Role.EXECUTION_ENGINE)
        for i in range(1, providers + 1):
            name = f"provider-{i}"
            self.add(
                name,
                lambda e, name=name: pr.ProviderMachine(cid(name), ECHO, 4, problems, epoch=e),
                Role.PROVIDER,
            )
        self.add("client", lambda _: cl.Client(cid("client")), Role.CLIENT)

    # --- faults ---------------------------------------------------------------------------------

    def kill(self, name: str) -> None:
        node = self.nodes[name]
        if not node.alive:
            return
        node.alive = False
        node.timers.clear()
        node.calls.clear()
        self.stopped.pop(name, None)
        for hub, connection in node.connections.items():
            self._tell_hub(node, hub, connection, "killed")
        node.connections.clear()

    def restart(self, name: str) -> None:
        node = self.nodes[name]
        assert not node.alive
        node.epoch = next(self._n)
        node.cancelled.clear()
        node.link = self._link(name, node.make, node.link.identity.role, node.epoch)
        node.alive = True
        node.failures.clear()
        for hub in self.hubs:
            self._connect(node, hub)

    def kill_hub(self, name: str, down: float) -> None:
        """A hub ends without a word, and starts empty ``down`` seconds later."""
        if not self._alive_hubs[name]:
            return
        self._alive_hubs[name] = 0
        self.stopped.pop(name, None)
        for node in self.nodes.values():
            if name in node.connections:
                self._tell_node(node, name, node.connections[name])
        self._at(down, self._restart_hub, name)

    def end_hub(self, name: str, down: float) -> None:
        """A hub is asked to end: it says goodbye, serves for a moment, and starts empty later."""
        if self._alive_hubs[name] and self.stopped.get(name, 0.0) <= self.now:
            self._perform_hub(name, self.hubs[name].drain(self.clock(name), AT))
            self._at(self.rng.uniform(0.05, 0.5), self._end_hub, name, self._alive_hubs[name], down)

    def _end_hub(self, name: str, generation: int, down: float) -> None:
        if self._alive_hubs[name] == generation:
            self.kill_hub(name, down)

    def _restart_hub(self, name: str) -> None:
        self._hub_timers = {k: v for k, v in self._hub_timers.items() if k[0] != name}
        self.add_hub(name)

    def stop(self, name: str, seconds: float) -> None:
        """SIGSTOP, and SIGCONT later: what comes meanwhile waits, timers are late, the clock goes on."""
        self.stopped[name] = max(self.stopped.get(name, 0.0), self.now + seconds)

    def cut(self, node: str, hub: str, ways: tuple[str, ...], seconds: float, *, loses: bool) -> None:
        for way in ways:
            self.cuts[node, hub, way] = Cut(self.now + seconds, loses)

    def heal(self) -> None:
        """All faults end; who is down stays down, and who is stopped goes on in its time."""
        self.cuts.clear()
        self.network = Network()
        self.disk = Disk()

    def _is_stopped(self, name: str, call: Callable[..., None], *args: Any) -> bool:
        """Whether a process is stopped; then the call comes when it goes on."""
        until = self.stopped.get(name, 0.0)
        if until <= self.now:
            return False
        self._at(until - self.now + 1e-9, call, *args)
        return True

    def clock(self, name: str) -> float:
        """The monotonic clock of a process."""
        return self.now * self.rates.get(name, 1.0)

    def _after(self, name: str, delay: float, call: Callable[..., None], *args: Any) -> None:
        """As :meth:`_at`, by the clock of a process."""
        self._at(delay / self.rates.get(name, 1.0), call, *args)

    def _cut(self, node: str, hub: str, way: str) -> Cut | None:
        cut = self.cuts.get((node, hub, way))
        return cut if cut is not None and cut.until > self.now else None

    # --- running --------------------------------------------------------------------------------

    def run(self, until: float) -> None:
        while self._agenda and self._agenda[0][0] <= until:
            self.now, _, call, args = heapq.heappop(self._agenda)
            call(*args)
        self.now = until

    def run_until(self, condition: Callable[[], bool], limit: float) -> bool:
        """Whether the condition came true within ``limit`` simulated seconds."""
        while self._agenda and self._agenda[0][0] <= limit and not condition():
            self.now, _, call, args = heapq.heappop(self._agenda)
            call(*args)
        return condition()

    def call_later(self, delay: float, call: Callable[..., Any], *args: Any) -> None:
        """Have something done after so many seconds: a fault, or its end."""
        self._at(delay, call, *args)

    def _at(self, delay: float, call: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._agenda, (self.now + delay, next(self._n), call, args))

    def _leg(self, connection: str, hub: str, way: str) -> float:
        """Seconds that a message takes; none overtakes another on the same leg."""
        at = self.now + self.rng.random() * self.network.delay
        if cut := self._cut(connection.split("@")[0], hub, way):
            # TCP sends again with growing pauses, which may go on for a while after the end of the cut.
            at = max(at, cut.until + self.rng.random() * 0.5)
        at = max(at, self._legs.get((connection, way), 0.0) + 1e-7)
        self._legs[connection, way] = at
        return at - self.now

    def _copies(self, node: str, hub: str, way: str) -> int:
        cut = self._cut(node, hub, way)
        if (cut and cut.loses) or self.rng.random() < self.network.loss:
            return 0
        return 2 if self.rng.random() < self.network.duplicates else 1

    # --- connections ------------------------------------------------------------------------------

    def _connect(self, node: Node, hub: str) -> None:
        if self._is_stopped(node.name, self._reconnect, node, node.epoch, hub):
            return
        if not self._alive_hubs[hub]:
            self._reconnect_later(node, hub)
            return
        if self._is_stopped(hub, self._reconnect, node, node.epoch, hub):
            return  # it is accepted by the kernel, and waits
        for way in ("up", "down"):
            if cut := self._cut(node.name, hub, way):
                self._at(cut.until - self.now + self.rng.random(), self._reconnect, node, node.epoch, hub)
                return
        connection = node.connections[hub] = f"{node.name}@{next(self._n)}"
        identity = node.link.identity
        effects = self.hubs[hub].opened(connection, "127.0.0.1")
        if any(isinstance(effect, Disconnect) for effect in effects):
            del node.connections[hub]
            self._reconnect_later(node, hub)
            return
        effects += self.hubs[hub].connected(connection, identity.component_id, identity.role.value)
        self._perform_hub(hub, effects)
        node.silent = {each: node.silent.get(each, 0) for each in node.connections.values()}
        self._after(node.name, LOOK, self._look, node, hub, connection, self.now)
        self._perform(node, node.link.connected(hub, self.clock(node.name), AT))

    def _reconnect(self, node: Node, epoch: int, hub: str) -> None:
        if node.alive and node.epoch == epoch and hub not in node.connections:
            self._connect(node, hub)

    def _reconnect_later(self, node: Node, hub: str) -> None:
        failures = node.failures[hub] = node.failures.get(hub, -1) + 1
        delay = self.rng.uniform(0, min(LAST_DELAY, FIRST_DELAY * 2.0 ** min(failures, 16)))
        self._after(node.name, delay + 1e-6, self._reconnect, node, node.epoch, hub)

    def _look(self, node: Node, hub: str, connection: str, since: float) -> None:
        """Looks are counted, not seconds: as the component does it."""
        if not node.alive or node.connections.get(hub) != connection:
            return
        if self._is_stopped(node.name, self._look, node, hub, connection, since):
            return
        if self.now - since > STABLE:
            node.failures.pop(hub, None)
        node.silent[connection] = node.silent.get(connection, 0) + 1
        if node.silent[connection] > LOOKS:
            self._tell_hub(node, hub, connection, "left")
            self._link_lost(node, hub, connection)
            return
        self._after(node.name, LOOK, self._look, node, hub, connection, since)

    def _tell_hub(self, node: Node, hub: str, connection: str, reason: str) -> None:
        """The end of a connection goes the way of its messages."""
        leg = self._leg(connection, hub, "up")
        self._at(leg, self._hub_lost, hub, self._alive_hubs[hub], connection)

    def _tell_node(self, node: Node, hub: str, connection: str) -> None:
        self._at(self._leg(connection, hub, "down"), self._link_lost, node, hub, connection)

    def _hub_lost(self, hub: str, generation: int, connection: str) -> None:
        if self._alive_hubs[hub] != generation:
            return
        if not self._is_stopped(hub, self._hub_lost, hub, generation, connection):
            self._perform_hub(hub, self.hubs[hub].disconnected(connection, "killed"))

    def _link_lost(self, node: Node, hub: str, connection: str) -> None:
        if not node.alive or node.connections.get(hub) != connection:
            return
        if not self._is_stopped(node.name, self._link_lost, node, hub, connection):
            del node.connections[hub]
            self._perform(node, node.link.disconnected(hub))
            self._reconnect_later(node, hub)

    # --- hubs -------------------------------------------------------------------------------------

    def _at_hub(
        self, hub: str, generation: int, node: Node, connection: str, name: str, envelope: Any, body: str
    ) -> None:
        if self._alive_hubs[hub] != generation:
            return
        if self._is_stopped(hub, self._at_hub, hub, generation, node, connection, name, envelope, body):
            return
        effects = self.hubs[hub].received(connection, name, envelope, body, self.clock(hub), AT)
        self._perform_hub(hub, effects, envelope, body)

    def _perform_hub(self, hub: str, effects: Effects, envelope: Any = None, body: str = "") -> None:
        for effect in effects:
            match effect:
                case Deliver(to, name, fact):
                    passed = {**envelope, "_fact": fact} if fact is not None else envelope
                    for connection in to:
                        self._from_hub(hub, connection, name, dict(passed), body)
                case Send(to, event, reply_to, correlation_id, causation_id):
                    made = Envelope(
                        message_id=f"{hub}.{next(self._n)}",
                        correlation_id=correlation_id or f"{next(self._n):032x}",
                        source_component=ComponentId(hub),
                        causation_id=causation_id,
                        reply_to=reply_to,
                    )
                    for connection in to:
                        self._from_hub(
                            hub, connection, event.name, envelope_to_plain(made), encode_body(event)
                        )
                case SetTimer(key, delay):
                    token = self._hub_timers[hub, key] = next(self._n)
                    self._after(hub, delay, self._hub_timer, hub, key, token)
                case CancelTimer(key):
                    self._hub_timers.pop((hub, key), None)
                case Disconnect(connection):
                    self._tell_node(self.nodes[connection.split("@")[0]], hub, connection)
                    self._at(0, self._hub_lost, hub, self._alive_hubs[hub], connection)
                case Note():
                    self.notes.append(effect)
                case _:
                    raise AssertionError(effect)

    def _hub_timer(self, hub: str, key: str, token: int) -> None:
        if self._hub_timers.get((hub, key)) != token or not self._alive_hubs[hub]:
            return
        if not self._is_stopped(hub, self._hub_timer, hub, key, token):
            del self._hub_timers[hub, key]
            self._perform_hub(hub, self.hubs[hub].timer_expired(key, self.clock(hub), AT))

    def _from_hub(self, hub: str, connection: str, name: str, envelope: Any, body: str) -> None:
        node = self.nodes[connection.split("@")[0]]
        first = name == "component_registered"
        for _ in range(1 if first else self._copies(node.name, hub, "down")):
            leg = self._leg(connection, hub, "down")
            self._at(leg, self._deliver, node, connection, hub, name, envelope, body)

    # --- nodes ------------------------------------------------------------------------------------

    def _deliver(self, node: Node, connection: str, hub: str, name: str, envelope: Any, body: str) -> None:
        if not node.alive or node.connections.get(hub) != connection:
            return
        if self._is_stopped(node.name, self._deliver, node, connection, hub, name, envelope, body):
            return
        node.silent[connection] = 0
        self.delivered[name] += 1
        self._record(node, hub, name, envelope, body)
        if envelope.get("_fact") is None and name not in ("batch",):
            assert node.link.identity.role in _receivers(name) or name in _SESSION, (name, node.name)
        if name in ("cancel_task", "cancel_method"):
            node.cancelled.add(_attempt(body))
        parsed = envelope_from_plain(envelope, name)
        self._perform(node, node.link.received(hub, name, parsed, body, self.clock(node.name), AT))
        self._settle(node)

    def _record(self, node: Node, hub: str, name: str, envelope: Any, body: str) -> None:
        """A delivery, for whoever wants to know what has happened."""
        said = f"{name} ({fact})" if (fact := envelope.get("_fact")) else name
        self.trace.append(f"{self.now:9.3f} {envelope['_source_component']:>12} -> {node.name:<12} {said}")

    def _sent(self, node: Node, name: str, envelope: Envelope, body: str) -> None:
        """A node has sent something: for whoever watches over what it may say."""

    def _published(self, topic: str, event: Any) -> None:
        """A client has been told something about what it watches."""

    def _settle(self, node: Node) -> None:
        self._perform(node, node.link.settle(self.clock(node.name), AT))

    def _perform(self, node: Node, actions: Actions) -> None:
        for action in actions:
            match action:
                case Transmit(hub, name, envelope, body):
                    if name == "execute_method" and _attempt(body) in node.cancelled:
                        raise Violation(f"{node.name} orders what it was told to end: {body}")
                    plain = envelope_to_plain(envelope)
                    generation, connection = self._alive_hubs[hub], node.connections[hub]
                    self._sent(node, name, envelope, body)
                    first = name == "register_component"
                    for _ in range(1 if first else self._copies(node.name, hub, "up")):
                        leg = self._leg(connection, hub, "up")
                        self._at(
                            leg, self._at_hub, hub, generation, node, connection, name, dict(plain), body
                        )
                case SetTimer(key, delay):
                    token = node.timers[key] = next(self._n)
                    self._after(node.name, delay, self._expire, node, key, token)
                case CancelTimer(key):
                    node.timers.pop(key, None)
                case Call(call_id, request):
                    self._call(node, call_id, request)
                case CancelCall(call_id):
                    if call_id in node.calls:
                        self._at(0.01, self._finish, node, call_id, node.calls[call_id], _cancelled())
                case Leave(hub):
                    self._tell_hub(node, hub, node.connections[hub], "left")
                    self._link_lost(node, hub, node.connections[hub])
                case Note():
                    self.notes.append(action)
                case Registered():
                    pass
                case Refused(_, error):
                    raise Violation(f"{node.name} was refused: {error}")

    def _expire(self, node: Node, key: str, token: int) -> None:
        if not node.alive or node.timers.get(key) != token:
            return
        if not self._is_stopped(node.name, self._expire, node, key, token):
            del node.timers[key]
            self._perform(node, node.link.timer_expired(key, self.clock(node.name), AT))
            self._settle(node)

    def _finish(self, node: Node, call_id: str, token: int, answer: Any) -> None:
        if not node.alive or node.calls.get(call_id) != token:
            return
        if not self._is_stopped(node.name, self._finish, node, call_id, token, answer):
            del node.calls[call_id]
            self._perform(node, node.link.call_finished(call_id, answer, self.clock(node.name), AT))
            self._settle(node)

    # --- performers -------------------------------------------------------------------------------

    def _call(self, node: Node, call_id: str, request: Any) -> None:
        token = node.calls[call_id] = next(self._n)
        match request:
            case pe.Requests.Open() | pe.Requests.Commit() | pe.Requests.Read():
                # Killed before this moment, nothing was committed; after it, it was, and nobody is told.
                seconds = self.rng.uniform(self.disk.fastest, self.disk.slowest)
                self._at(seconds, self._store, node, call_id, token, request)
            case pr.Work():
                seconds, answer = self.work(request)
                key = (request.workflow_id, request.task_id)
                if (*key, request.attempt) in node.cancelled:
                    raise Violation(f"{node.name} executes what it was told to end: {key}")
                self.executions[key] += 1
                self.attempts[*key, request.attempt] += 1
                done = pr.Finished(**answer, started_at=AT, finished_at=AT)
                self._at(seconds, self._finish, node, call_id, token, done)
            case pr.CheckHealth():
                self._at(0.001, self._finish, node, call_id, token, "ok")
            case cl.Published(event):
                self.published.setdefault(call_id, []).append(event)
                self._published(call_id, event)
            case cl.Answered(event):
                self.answers[call_id] = event
            case cl.Undelivered() | cl.RefusedByHub():
                pass
            case _:
                raise AssertionError(request)

    def _store(self, node: Node, call_id: str, token: int, request: Any) -> None:
        if not node.alive or node.calls.get(call_id) != token:
            return
        if self._is_stopped(node.name, self._store, node, call_id, token, request):
            return
        performer = LedgerPerformer(self.store)
        answer: Any
        if self.rng.random() < self.disk.fails and not isinstance(request, pe.Requests.Open):
            answer = errors.StoreError("disk full")
        elif isinstance(request, pe.Requests.Open):
            answer = ran(self.store.open())
        else:
            answer = ran(performer.answer(request))
        self._at(self.rng.uniform(0, 0.001), self._finish, node, call_id, token, answer)

    def _echo(self, work: pr.Work) -> tuple[float, Any]:
        if work.method == "echo/fail":
            return self.rng.uniform(0.001, 0.5), {"error": errors.ExecutionFailed("asked to fail").info()}
        return self.rng.uniform(0.001, 0.5), {"result": work.parameters}

    # --- a client -----------------------------------------------------------------------------------

    def submit(self, workflow_id: str, document: Any, inputs: dict[str, Any] | None = None) -> None:
        self.documents[workflow_id] = document
        node = self.nodes["client"]
        machine = node.machine
        assert isinstance(machine, cl.Client)
        event = SubmitWorkflow(workflow_id=WorkflowId(workflow_id), workflow=document, inputs=inputs or {})
        effects = machine.ask(f"submit {workflow_id}", event) + machine.watch(workflow_id)
        self._perform(node, node.link.perform(effects, self.clock("client"), AT))

    def ask(self, request_id: str, event: Any) -> None:
        node = self.nodes["client"]
        assert isinstance(node.machine, cl.Client)
        effects = node.machine.ask(request_id, event)
        self._perform(node, node.link.perform(effects, self.clock("client"), AT))

    def accepted(self, workflow_id: str) -> bool:
        return isinstance(self.answers.get(f"submit {workflow_id}"), WorkflowSubmitted)

    def refused(self, workflow_id: str) -> WorkflowRefused | None:
        answer = self.answers.get(f"submit {workflow_id}")
        return answer if isinstance(answer, WorkflowRefused) else None

    def ended(self) -> bool:
        """Whether every workflow has ended, and its client has heard so."""
        return all(
            self.store.ended[w] and any(e.name.startswith(_ENDINGS) for e in self.published.get(w, ()))
            for w in self.documents
        )

    def states(self, workflow_id: str) -> dict[str, str]:
        rows = ran(self.store.tasks(WorkflowId(workflow_id), -1, 100_000))
        return {row.task_id: row.state.value for row in rows}

    def status(self, workflow_id: str) -> str:
        row = ran(self.store.workflow(WorkflowId(workflow_id)))
        return "" if row is None else row.state.value

    def result(self, workflow_id: str, task_id: str) -> Any:
        return ran(self.store.results(WorkflowId(workflow_id), [task_id])).get(task_id)

    # --- the account ----------------------------------------------------------------------------------

    def check(self) -> None:
        """What must hold at the end.

        Raises:
            Violation: something was lost, repeated, or is wrong; with the last deliveries.
        """
        try:
            for workflow_id in self.documents:
                self._check_workflow(workflow_id)
            self._check_idle()
        except Violation as problem:
            raise Violation("\n".join([str(problem), *self.trace[-60:]])) from None

    def _check_workflow(self, workflow_id: str) -> None:
        if not self.accepted(workflow_id):
            raise Violation(f"{workflow_id} was never answered")
        states = self.states(workflow_id)
        open_tasks = {t: s for t, s in states.items() if TaskState(s) not in ENDED}
        if open_tasks or not self.store.ended[workflow_id]:
            raise Violation(f"{workflow_id} has not ended: {self.status(workflow_id)}, {open_tasks}")
        numbers = [e.feed.number for e in self.published.get(workflow_id, ()) if getattr(e, "feed", None)]
        if numbers != sorted(set(numbers)):
            raise Violation(f"{workflow_id} was published out of order: {numbers}")
        if self.status(workflow_id) == "completed":
            for task_id in states:
                if self.store.completed[workflow_id, task_id] != 1:
                    raise Violation(f"{workflow_id}/{task_id} completed, without a record of it")

    def _check_idle(self) -> None:
        for node in self.nodes.values():
            if node.alive and node.machine.role in _HOLDERS and node.machine.load():
                raise Violation(f"{node.name} still holds {node.machine.load()}: {node.machine.figures()}")


_receivers = cache(receivers)
_HOLDERS = {Role.DEPENDENCY_RESOLVER, Role.QUEUE_MANAGER, Role.EXECUTION_ENGINE, Role.PROVIDER}
_ENDINGS = ("workflow_completed", "workflow_failed", "workflow_cancelled")
_SESSION = {
    "component_registered", "heartbeat", "no_components_available", "event_refused", "hub_leaving",
    "registration_refused",
}  # fmt: skip


def _attempt(body: str) -> tuple[str, str, int]:
    about = json.loads(body)
    return about["workflow_id"], about["task_id"], about["attempt"]


def _cancelled() -> pr.Finished:
    return pr.Finished(error=errors.TaskCancelled("cancelled").info())


def graph(rng: random.Random, tasks: int) -> Any:
    """A random graph whose tasks echo what they are given and what their dependencies returned."""
    made = []
    for i in range(tasks):
        dependencies = [f"t{j}" for j in range(i) if rng.random() < 0.4]
        values = {d: f"${{{d}.n}}" for d in dependencies}
        task = {"id": f"t{i}", "method": "echo/echo", "parameters": {"n": i, "from": values}}
        if dependencies:
            task["dependencies"] = dependencies
        made.append(task)
    return {"name": f"graph of {tasks}", "tasks": made}


__all__ = ["AT", "Cluster", "Network", "Violation", "graph", "ran", "replace"]
