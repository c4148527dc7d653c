"""A whole cluster in one thread: the production machines and links, simulated time and network, one seed.

    cluster = Cluster(seed, Network(loss=0.02))
    cluster.add_all(queue_managers=2)
    cluster.submit("w", document)
    cluster.run(until=60)
    cluster.check()

Every node is a ``Link`` with its machine, and a performer that takes simulated time. Legs are in order,
as TCP is; a killed node loses what is in memory and on the wire; the store survives. Invariants are
checked after every commit, at every call of a provider, and at the end.
"""

from __future__ import annotations

import heapq
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
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
from gleitzeitd.runtime.ledger import LedgerPerformer
from gleitzeitd.stores.memory import MemoryStore

ECHO = Protocol(name="echo/v1", methods={"echo/echo": Method(), "echo/fail": Method()})
AT = "2026-01-01T00:00:00.000Z"
RECONNECT = 0.1


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

    @property
    def machine(self) -> Machine:
        return self.link.machine


class Cluster:
    def __init__(self, seed: int, network: Network | None = None) -> None:
        self.rng = random.Random(seed)
        self.network = network or Network()
        self.now = 0.0
        self.nodes: dict[str, Node] = {}
        self.hubs: dict[str, hb.Hub] = {}
        self.store = WatchedStore()
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
        self._perform_hub(name, hub.start(self.now, AT))

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
        self, *, resolvers: int = 1, queue_managers: int = 1, engines: int = 1, providers: int = 1
    ) -> None:
        self.add_hub()
        cid = ComponentId
        self.add("persistence", lambda _: pe.Persistence(cid("persistence")), Role.PERSISTENCE)
        self.add("registry", lambda _: ProtocolRegistry(cid("registry")), Role.PROTOCOL_REGISTRY)
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
        for hub, connection in node.connections.items():
            self._at(self.network.delay, self._hub_lost, hub, self._alive_hubs[hub], connection)
        node.connections.clear()

    def restart(self, name: str) -> None:
        node = self.nodes[name]
        assert not node.alive
        node.epoch = next(self._n)
        node.cancelled.clear()
        node.link = self._link(name, node.make, node.link.identity.role, node.epoch)
        node.alive = True
        for hub in self.hubs:
            self._connect(node, hub)

    def kill_hub(self, name: str, down: float) -> None:
        """A hub ends without a word, and starts empty ``down`` seconds later."""
        self._alive_hubs[name] = 0
        for node in self.nodes.values():
            if name in node.connections:
                self._at(self.network.delay, self._link_lost, node, name, node.connections[name])
        self._at(down, self._restart_hub, name)

    def _restart_hub(self, name: str) -> None:
        self._hub_timers = {k: v for k, v in self._hub_timers.items() if k[0] != name}
        self.add_hub(name)

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

    def _at(self, delay: float, call: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._agenda, (self.now + delay, next(self._n), call, args))

    def _leg(self, a: str, b: str) -> float:
        """Seconds that a message takes; none overtakes another on the same leg."""
        at = max(self.now + self.rng.random() * self.network.delay, self._legs.get((a, b), 0.0) + 1e-7)
        self._legs[a, b] = at
        return at - self.now

    def _copies(self) -> int:
        if self.rng.random() < self.network.loss:
            return 0
        return 2 if self.rng.random() < self.network.duplicates else 1

    # --- connections ------------------------------------------------------------------------------

    def _connect(self, node: Node, hub: str) -> None:
        if not self._alive_hubs[hub]:
            self._at(RECONNECT, self._reconnect, node, node.epoch, hub)
            return
        connection = node.connections[hub] = f"{node.name}@{next(self._n)}"
        identity = node.link.identity
        self._perform_hub(hub, self.hubs[hub].opened(connection, "127.0.0.1"))
        effects = self.hubs[hub].connected(connection, identity.component_id, identity.role.value)
        self._perform_hub(hub, effects)
        self._perform(node, node.link.connected(hub, self.now, AT))

    def _reconnect(self, node: Node, epoch: int, hub: str) -> None:
        if node.alive and node.epoch == epoch:
            self._connect(node, hub)

    def _hub_lost(self, hub: str, generation: int, connection: str) -> None:
        if self._alive_hubs[hub] == generation:
            self._perform_hub(hub, self.hubs[hub].disconnected(connection, "killed"))

    def _link_lost(self, node: Node, hub: str, connection: str) -> None:
        if node.alive and node.connections.get(hub) == connection:
            del node.connections[hub]
            self._perform(node, node.link.disconnected(hub))
            self._at(RECONNECT, self._reconnect, node, node.epoch, hub)

    # --- hubs -------------------------------------------------------------------------------------

    def _at_hub(
        self, hub: str, generation: int, node: Node, connection: str, name: str, envelope: Any, body: str
    ) -> None:
        if self._alive_hubs[hub] != generation or node.connections.get(hub) != connection:
            return
        effects = self.hubs[hub].received(connection, name, envelope, body, self.now, AT)
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
                    self._at(delay, self._hub_timer, hub, key, token)
                case CancelTimer(key):
                    self._hub_timers.pop((hub, key), None)
                case Disconnect(connection):
                    node = self.nodes[connection.split("@")[0]]
                    self._at(self.network.delay, self._link_lost, node, hub, connection)
                    self._at(0, self._hub_lost, hub, self._alive_hubs[hub], connection)
                case Note():
                    self.notes.append(effect)
                case _:
                    raise AssertionError(effect)

    def _hub_timer(self, hub: str, key: str, token: int) -> None:
        if self._hub_timers.get((hub, key)) == token and self._alive_hubs[hub]:
            del self._hub_timers[hub, key]
            self._perform_hub(hub, self.hubs[hub].timer_expired(key, self.now, AT))

    def _from_hub(self, hub: str, connection: str, name: str, envelope: Any, body: str) -> None:
        node = self.nodes[connection.split("@")[0]]
        for _ in range(1 if name == "component_registered" else self._copies()):
            self._at(self._leg(hub, connection), self._deliver, node, connection, hub, name, envelope, body)

    # --- nodes ------------------------------------------------------------------------------------

    def _deliver(self, node: Node, connection: str, hub: str, name: str, envelope: Any, body: str) -> None:
        if not node.alive or node.connections.get(hub) != connection:
            return
        self.delivered[name] += 1
        said = f"{name} ({fact})" if (fact := envelope.get("_fact")) else name
        self.trace.append(f"{self.now:9.3f} {envelope['_source_component']:>12} -> {node.name:<12} {said}")
        if envelope.get("_fact") is None and name not in ("batch",):
            assert node.link.identity.role in receivers(name) or name in _SESSION, (name, node.name)
        if name in ("cancel_task", "cancel_method"):
            node.cancelled.add(_attempt(body))
        parsed = envelope_from_plain(envelope, name)
        self._perform(node, node.link.received(hub, name, parsed, body, self.now, AT))
        self._settle(node)

    def _settle(self, node: Node) -> None:
        self._perform(node, node.link.settle(self.now, AT))

    def _perform(self, node: Node, actions: Actions) -> None:
        for action in actions:
            match action:
                case Transmit(hub, name, envelope, body):
                    if name == "execute_method" and _attempt(body) in node.cancelled:
                        raise Violation(f"{node.name} orders what it was told to end: {body}")
                    plain = envelope_to_plain(envelope)
                    generation, connection = self._alive_hubs[hub], node.connections[hub]
                    for _ in range(1 if name == "register_component" else self._copies()):
                        leg = self._leg(connection, hub)
                        self._at(
                            leg, self._at_hub, hub, generation, node, connection, name, dict(plain), body
                        )
                case SetTimer(key, delay):
                    token = node.timers[key] = next(self._n)
                    self._at(delay, self._expire, node, key, token)
                case CancelTimer(key):
                    node.timers.pop(key, None)
                case Call(call_id, request):
                    self._call(node, call_id, request)
                case CancelCall(call_id):
                    if call_id in node.calls:
                        self._at(0.01, self._finish, node, call_id, node.calls[call_id], _cancelled())
                case Leave(hub):
                    self._link_lost(node, hub, node.connections[hub])
                case Note():
                    self.notes.append(action)
                case Registered():
                    pass
                case Refused(_, error):
                    raise Violation(f"{node.name} was refused: {error}")

    def _expire(self, node: Node, key: str, token: int) -> None:
        if node.alive and node.timers.get(key) == token:
            del node.timers[key]
            self._perform(node, node.link.timer_expired(key, self.now, AT))
            self._settle(node)

    def _finish(self, node: Node, call_id: str, token: int, answer: Any) -> None:
        if node.alive and node.calls.get(call_id) == token:
            del node.calls[call_id]
            self._perform(node, node.link.call_finished(call_id, answer, self.now, AT))
            self._settle(node)

    # --- performers -------------------------------------------------------------------------------

    def _call(self, node: Node, call_id: str, request: Any) -> None:
        token = node.calls[call_id] = next(self._n)
        match request:
            case pe.Requests.Open() | pe.Requests.Commit() | pe.Requests.Read():
                # Killed before this moment, nothing was committed; after it, it was, and nobody is told.
                self._at(self.rng.uniform(0.0005, 0.004), self._store, node, call_id, token, request)
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
            case cl.Answered(event):
                self.answers[call_id] = event
            case cl.Undelivered() | cl.RefusedByHub():
                pass
            case _:
                raise AssertionError(request)

    def _store(self, node: Node, call_id: str, token: int, request: Any) -> None:
        if not node.alive or node.calls.get(call_id) != token:
            return
        performer = LedgerPerformer(self.store)
        if isinstance(request, pe.Requests.Open):
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
        self._perform(node, node.link.perform(effects, self.now, AT))

    def ask(self, request_id: str, event: Any) -> None:
        node = self.nodes["client"]
        assert isinstance(node.machine, cl.Client)
        self._perform(node, node.link.perform(node.machine.ask(request_id, event), self.now, AT))

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
