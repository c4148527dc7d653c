"""Simulated time, connections, hubs and nodes: how the cluster of the tests runs."""

from __future__ import annotations

import heapq
import json
import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from itertools import count
from typing import Any

from gleitzeitd import errors
from gleitzeitd.events import Envelope, receivers
from gleitzeitd.events.codec import encode_body, envelope_from_plain, envelope_to_plain
from gleitzeitd.machines import client as cl
from gleitzeitd.machines import hub as hb
from gleitzeitd.machines import persistence as pe
from gleitzeitd.machines import provider as pr
from gleitzeitd.machines.audit import ReadAudit
from gleitzeitd.machines.base import (
    Call,
    CancelCall,
    CancelTimer,
    Deliver,
    Disconnect,
    Effects,
    Note,
    Send,
    SetTimer,
)
from gleitzeitd.machines.link import Actions, Leave, Refused, Registered, Transmit
from gleitzeitd.machines.retention import Find, Sweep
from gleitzeitd.model.access import full_grant
from gleitzeitd.model.names import ComponentId
from gleitzeitd.runtime.connection import FIRST_DELAY, LAST_DELAY, LOOKS, STABLE
from gleitzeitd.runtime.ledger import LedgerPerformer
from tests.cluster_parts import AT, LOOK, Cut, Disk, Network, Node, Violation, WatchedStore, ran

GRANT = full_grant("the cluster")


class Wire:
    """Processes that exchange messages. Subclasses say which processes there are."""

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
        self.gone: set[str] = set()
        """Workflows of which their watcher was told that they are deleted."""
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

    def wall(self) -> str:
        """The wall clock of the ledger's host."""
        at = datetime.fromisoformat(AT) + timedelta(seconds=self.now)
        return at.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"

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
        effects += self.hubs[hub].connected(connection, identity.component_id, identity.role.value, GRANT)
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
            case (
                pe.Requests.Open()
                | pe.Requests.Commit()
                | pe.Requests.Read()
                | Find()
                | Sweep()
                | ReadAudit()
            ):
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
            case cl.Gone():
                self.gone.add(call_id)
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
        performer = LedgerPerformer(self.store, self.wall)
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


_receivers = cache(receivers)
_SESSION = {
    "component_registered", "heartbeat", "no_components_available", "event_refused", "hub_leaving",
    "registration_refused",
}  # fmt: skip


def _attempt(body: str) -> tuple[str, str, int]:
    about = json.loads(body)
    return about["workflow_id"], about["task_id"], about["attempt"]


def _cancelled() -> pr.Finished:
    return pr.Finished(error=errors.TaskCancelled("cancelled").info())
