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

import random
from collections.abc import Callable
from typing import Any

from gleitzeitd.events.dependency_resolver import SubmitWorkflow, WorkflowRefused, WorkflowSubmitted
from gleitzeitd.machines import client as cl
from gleitzeitd.machines import hub as hb
from gleitzeitd.machines import persistence as pe
from gleitzeitd.machines import provider as pr
from gleitzeitd.machines.base import (
    Machine,
)
from gleitzeitd.machines.dependency_resolver import DependencyResolver
from gleitzeitd.machines.execution_engine import ExecutionEngine
from gleitzeitd.machines.link import Identity, Link
from gleitzeitd.machines.protocol_registry import ProtocolRegistry
from gleitzeitd.machines.queue_manager import QueueManager
from gleitzeitd.model.ledger import ENDED, TaskState
from gleitzeitd.model.names import ComponentId, Role, WorkflowId
from gleitzeitd.providers.schema import problems
from tests.cluster_parts import AT, ECHO, Cut, Disk, Network, Node, Violation, ran
from tests.cluster_wire import Wire


class Cluster(Wire):
    """All roles, what can happen to them, a client, and the account at the end."""

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
        ledger: pe.Settings = pe.Settings(),  # noqa: B008 - it cannot be changed
    ) -> None:
        for name in ["hub"] if hubs == 1 else [f"hub-{i}" for i in range(1, hubs + 1)]:
            self.add_hub(name)
        cid = ComponentId
        self.add("persistence", lambda _: pe.Persistence(cid("persistence"), ledger), Role.PERSISTENCE)
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
        """Whether every workflow has ended, and its client has heard so, or that it is deleted by now."""
        return all(
            self.store.ended[w]
            and (w in self.gone or any(e.name.startswith(_ENDINGS) for e in self.published.get(w, ())))
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


__all__ = ["Cluster", "Disk", "Network", "Node", "Violation", "graph", "ran"]
