"""The queue manager: which ready task runs next, and on which engine.

The ready tasks of its shards wait here, by priority and arrival. An engine says how many slots it has
free and for which protocols there is room; a task goes to the engine with most slots free, if there is
room for its protocol, so that none holds a slot while nothing can run it. The room is the providers', and
shared by all engines. The lease is asked of the
ledger; when that has granted it, and not before, the engine gets the task. What cannot run for want
of an engine or a provider is reported as blocked, once per cause.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field, replace
from itertools import count
from typing import NamedTuple

from gleitzeitd.bounds import bounded
from gleitzeitd.errors import ErrorInfo
from gleitzeitd.events import Envelope, Event
from gleitzeitd.events import dependency_resolver as d
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import hub as h
from gleitzeitd.events import persistence as p
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.events import queue_manager as q
from gleitzeitd.machines.audit import signed
from gleitzeitd.machines.base import Ask, Context, Effects, Note, Reply, SetTimer, Tell, counted
from gleitzeitd.machines.follower import Follower
from gleitzeitd.model.change import NOT_THE_OWNER
from gleitzeitd.model.ledger import FeedStamp, LeaseWish, ReadyTask, TaskKey
from gleitzeitd.model.names import ComponentId, Role, Shard, TaskId, WorkflowId, shard_of
from gleitzeitd.model.ready_queue import ReadyEntry, ReadyQueue
from gleitzeitd.model.workflow import Priority
from gleitzeitd.plain import Json
from gleitzeitd.record import record


@record
class Settings:
    """Section ``[queue_manager]`` of queue-manager.toml."""

    leases_per_event: int = bounded(200, least=1, most=10_000)
    """Leases that are asked for in one event; more go into several."""
    engine_seconds: float = bounded(3.0, least=1.0, most=60.0, unit="seconds")
    """How long an engine's free slots count after it last spoke of them."""
    blocked_seconds: float = bounded(1.0, least=0.1, most=60.0, unit="seconds")
    """How long a task may wait for want of an engine or a provider before that is reported."""


@dataclass(slots=True)
class _Engine:
    """An engine's credit: what it said, and what has been given to it since."""

    slots: int = 0
    room: dict[str, int] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    heard: float = 0.0
    given: Counter[str] = field(default_factory=Counter)
    """By protocol: tasks whose lease is being asked for, and tasks on their way."""
    sent: int = 0
    """Number of the task sent last."""
    sent_at: float = 0.0
    on_the_way: deque[str] = field(default_factory=deque)
    """Protocols of the tasks sent since the one that the engine has named as received last."""
    draining: bool = False

    def free(self) -> int:
        return 0 if self.draining else self.slots - self.given.total()

    def give(self, protocol: str) -> None:
        """A lease is asked for."""
        self.given[protocol] += 1

    def give_back(self, protocol: str) -> None:
        """It was not granted, or the task has arrived."""
        self.given[protocol] -= 1
        if self.given[protocol] <= 0:
            del self.given[protocol]

    def send(self, protocol: str, now: float) -> int:
        """It was granted, and the task goes out: under which number."""
        self.sent, self.sent_at = self.sent + 1, now
        self.on_the_way.append(protocol)
        return self.sent

    def arrived(self, number: int, now: float, patience: float) -> None:
        """The engine has named the task that came last: those before it have come, too, or are lost."""
        left = self.sent - number
        if not 0 <= left <= len(self.on_the_way) or (left and now - self.sent_at > patience):
            # One of us was started again, or the last tasks are lost: count from here.
            self.sent, left = number, 0
        while len(self.on_the_way) > left:
            self.give_back(self.on_the_way.popleft())


class _Leasing(NamedTuple):
    entry: ReadyEntry
    engine_id: ComponentId


_TICK = "tick"
TICK_SECONDS = 1.0


@dataclass(slots=True, kw_only=True)
class QueueManager(Follower):
    """Matches the ready tasks of its shards with engines."""

    role = Role.QUEUE_MANAGER

    component_id: ComponentId
    settings: Settings = field(default_factory=Settings)
    _queue: ReadyQueue = field(default_factory=ReadyQueue)
    _leasing: dict[TaskKey, _Leasing] = field(default_factory=dict)  # asked for, not yet answered
    _engines: dict[ComponentId, _Engine] = field(default_factory=dict)
    _askers: dict[str, Envelope] = field(default_factory=dict)
    _blocked: dict[WorkflowId, tuple[str, str]] = field(default_factory=dict)
    """The reason that was reported, and the workflow's correlation id."""
    _enqueued: dict[WorkflowId, list[ReadyEntry]] = field(default_factory=dict)  # to be told to watchers
    _numbers: count[int] = field(default_factory=count)
    _told: Json = None
    _ticking: bool = False

    # --- the projection ---------------------------------------------------------------------------

    def previous(self, stamp: FeedStamp) -> int:
        return stamp.after_queue_manager

    def forget(self, shard: Shard) -> None:
        for entry in [entry for entry in self._queue if shard_of(entry.key.workflow_id) == shard]:
            self._queue.remove(entry.key)
        for key in [key for key in self._leasing if shard_of(key.workflow_id) == shard]:
            self._take_back(key)

    def take_over(self, shard: Shard, item: Json, now: float) -> None:
        task = ReadyTask(**item["task"])
        self._put(WorkflowId(item["workflow_id"]), task, item["correlation_id"], now)

    def _put(self, workflow_id: WorkflowId, task: ReadyTask, correlation_id: str, now: float) -> None:
        key = TaskKey(workflow_id, task.task_id)
        leasing = self._leasing.get(key)
        if leasing is not None and leasing.entry.attempt >= task.attempt:
            return
        entry = ReadyEntry(
            key, task.attempt, task.priority, task.protocol, correlation_id, now, cause=self.cause
        )
        if self._queue.put(entry):
            self._enqueued.setdefault(workflow_id, []).append(entry)

    def apply(self, event: Event, correlation_id: str, now: float) -> None:
        match event:
            case d.WorkflowAnalyzed() | d.DependenciesSatisfied() | e.TaskLost() | q.EnqueueTask():
                for task in event.tasks:
                    self._put(event.workflow_id, task, correlation_id, now)
            case e.TaskCancelled() | e.TaskWithdrawn():
                for task_id in event.task_ids:
                    self._queue.remove(TaskKey(event.workflow_id, task_id))
            case d.WorkflowCancelling():
                for entry in self._queue.of_workflow(event.workflow_id):
                    self._queue.remove(entry.key)

    def on_enqueue_task(self, event: Event, ctx: Context) -> Effects:
        return self.follow(event, ctx)

    def on_task_withdrawn(self, event: e.TaskWithdrawn, ctx: Context) -> Effects:
        return self.follow(event, ctx)

    def on_task_cancelled(self, event: e.TaskCancelled, ctx: Context) -> Effects:
        return self.follow(event, ctx)

    def on_workflow_cancelling(self, event: d.WorkflowCancelling, ctx: Context) -> Effects:
        return self.follow(event, ctx)

    # --- engines ----------------------------------------------------------------------------------

    def on_request_next_task(self, event: q.RequestNextTask, ctx: Context) -> Effects:
        engine = self._engines.setdefault(ctx.envelope.source_component, _Engine())
        engine.arrived(event.received.get(self.component_id, 0), ctx.now, self.settings.engine_seconds)
        engine.slots, engine.room, engine.calls = event.slots, event.room, event.calls
        engine.heard = ctx.now
        return []

    def on_capacity_update(self, event: e.CapacityUpdate, ctx: Context) -> Effects:
        self._engines.setdefault(ctx.envelope.source_component, _Engine()).draining = event.draining
        return []

    def on_provider_registered(self, event: r.ProviderRegistered, ctx: Context) -> Effects:
        """The engines hear it too, and say how much room there is now."""
        return []

    def on_component_disconnected(self, event: h.ComponentDisconnected, ctx: Context) -> Effects:
        self._engines.pop(event.component_id, None)
        return []

    # --- matching ---------------------------------------------------------------------------------

    def settle(self, now: float, at: str) -> Effects:
        """Give what can be given, and say what has changed."""
        effects: Effects = []
        for workflow_id, entries in self._enqueued.items():
            task_ids = [entry.key.task_id for entry in entries[:100]]
            told = q.TaskEnqueued(workflow_id=workflow_id, task_ids=task_ids, depth=len(self._queue))
            effects.append(Tell(told, correlation_id=entries[0].correlation_id, cause=entries[0].cause))
        self._enqueued.clear()
        if self._queue and not self.leaving:
            effects += self._match(now)
        if not self._ticking and (len(self._queue) or self._blocked or self._stats() != self._told):
            self._ticking = True
            effects.append(SetTimer(_TICK, min(TICK_SECONDS, self.settings.blocked_seconds)))
        return effects

    def _live(self, now: float) -> list[tuple[ComponentId, _Engine]]:
        limit = now - self.settings.engine_seconds
        return [(name, engine) for name, engine in self._engines.items() if engine.heard >= limit]

    def _match(self, now: float) -> Effects:
        candidates = _Candidates(self._live(now))
        wishes: dict[Shard, list[LeaseWish]] = {}
        while candidates.protocols:
            entry = self._queue.first(candidates.protocols)
            if entry is None:
                break
            engine_id, engine = candidates.take(entry.protocol)
            engine.give(entry.protocol)
            self._queue.remove(entry.key)
            self._leasing[entry.key] = _Leasing(entry, engine_id)
            wish = LeaseWish(
                workflow_id=entry.key.workflow_id,
                task_id=entry.key.task_id,
                attempt=entry.attempt,
                engine_id=engine_id,
            )
            wishes.setdefault(shard_of(entry.key.workflow_id), []).append(wish)
        return [ask for shard, leases in wishes.items() for ask in self._lease(shard, leases)]

    def _lease(self, shard: Shard, leases: list[LeaseWish]) -> list[Ask]:
        size = self.settings.leases_per_event
        asks = []
        for start in range(0, len(leases), size):
            part = leases[start : start + size]
            event = q.TaskAvailable(owned_shard=shard, epoch=self.shards[shard].epoch, leases=part)
            first = self._leasing[TaskKey(part[0].workflow_id, part[0].task_id)].entry
            key = f"lease/{shard}/{next(self._numbers)}"
            asks.append(Ask(key, event, correlation_id=first.correlation_id, cause=first.cause))
        return asks

    def on_data_saved(self, event: p.DataSaved, ctx: Context) -> Effects:
        if ctx.asked is None:
            return []
        match ctx.asked.event:
            case q.TaskAvailable():
                return self._leased(ctx.asked.event, event, ctx.now)
            case q.TaskPriorityChanged():
                return self._reordered(ctx.asked.event, event, self._askers.pop(ctx.asked.key))
        return []

    def _leased(self, asked: q.TaskAvailable, event: p.DataSaved, now: float) -> Effects:
        effects: Effects = []
        answered = {(x.workflow_id, x.task_id) for x in event.executions}
        answered |= {(wish.workflow_id, wish.task_id) for wish in event.refused}
        left = [wish for wish in asked.leases if (wish.workflow_id, wish.task_id) not in answered]
        left = [wish for wish in left if TaskKey(wish.workflow_id, wish.task_id) in self._leasing]
        if answered and left:  # what did not fit into the answer is given again
            effects += self._lease(asked.owned_shard, left)
        for execution in event.executions:
            self._take_back(TaskKey(execution.workflow_id, execution.task_id))
            engine = self._engines.setdefault(execution.engine_id, _Engine())
            engine.give(execution.protocol)
            run = q.ExecuteTask(task=execution, number=engine.send(execution.protocol, now))
            effects.append(Tell(run, to=execution.engine_id, correlation_id=execution.correlation_id))
        for wish in event.refused:
            # If the task is ready at another attempt, the feed says so.
            self._take_back(TaskKey(wish.workflow_id, wish.task_id))
        return effects

    def _take_back(self, key: TaskKey) -> None:
        """Nobody asks the ledger for this lease any more: its place at the engine is free."""
        leasing = self._leasing.pop(key, None)
        if leasing is not None and leasing.engine_id in self._engines:
            self._engines[leasing.engine_id].give_back(leasing.entry.protocol)

    def on_persistence_error(self, event: p.PersistenceError, ctx: Context) -> Effects:
        """Only errors that asking again does not help come here."""
        return [] if ctx.asked is None else self._failed(ctx.asked, event.error, "the ledger refused")

    def refused(self, asked: Ask, error: ErrorInfo, now: float, at: str) -> Effects:
        return self._failed(asked, error, "the hub refused")

    def _failed(self, asked: Ask, error: ErrorInfo, message: str) -> Effects:
        event = asked.event
        effects: Effects = [Note("error", message, {"event": event.name, "error": error})]
        match event:
            case q.TaskAvailable():
                # What of it is ready still, only the ledger knows.
                effects += self.begin_anew(event.owned_shard)
            case p.QueryData():
                effects += self.begin_anew(event.shard_number)
        asker = self._askers.pop(asked.key, None)
        if asker is not None:
            effects.append(Reply(p.DataSaved(status="error", message=str(error)), asker))
        return effects

    # --- priorities -------------------------------------------------------------------------------

    def on_task_priority_changed(self, event: q.TaskPriorityChanged, ctx: Context) -> Effects:
        if not Priority.LOW <= event.priority <= Priority.URGENT:
            expected = f"priority: expected {Priority.LOW:d} to {Priority.URGENT:d}, found {event.priority}"
            return [Reply(p.DataSaved(status="error", message=expected), ctx.envelope)]
        key = f"priority/{next(self._numbers)}"
        self._askers[key] = ctx.envelope
        return [Ask(key, signed(event, ctx.envelope))]

    def _reordered(self, change: q.TaskPriorityChanged, saved: p.DataSaved, asker: Envelope) -> Effects:
        if saved.message == NOT_THE_OWNER:
            return []  # the client asks again, and by then the hub knows the owner
        if saved.status == "ok":
            for entry in self._queue.of_workflow(change.workflow_id):
                if not change.task_ids or entry.key.task_id in change.task_ids:
                    self._queue.put(replace(entry, priority=change.priority))
        return [Reply(p.DataSaved(status=saved.status, message=saved.message), asker)]

    # --- what waits, and why ------------------------------------------------------------------------

    def timer_expired(self, key: str, now: float, at: str) -> Effects:
        if key != _TICK:
            return Follower.timer_expired(self, key, now, at)
        self._ticking = False
        live = {engine_id for engine_id, _ in self._live(now)}
        for engine_id in [engine_id for engine_id in self._engines if engine_id not in live]:
            del self._engines[engine_id]  # a hub that ended with it told nobody
        effects = self._report_blocked(now)
        stats = self._stats()
        if stats != self._told:
            self._told = stats
            effects.append(Tell(q.QueueStatsChanged(stats=stats)))
        return effects

    def _why(self, protocol: str, engines: list[tuple[ComponentId, _Engine]]) -> tuple[str, str]:
        """Why tasks of a protocol wait, and what would end that; empty if they only wait for their turn."""
        if not engines:
            return "no execution engine is connected", "start one: gleitzeitd execution-engine"
        if all(engine.draining for _, engine in engines):
            return "every execution engine is draining", "start one: gleitzeitd execution-engine"
        if not any(protocol in engine.room for _, engine in engines):
            name = protocol.partition("/")[0]
            return f"no provider of {protocol} is connected", f"start one: gleitzeitd provider {name}"
        return "", ""

    def _report_blocked(self, now: float) -> Effects:
        engines = self._live(now)
        reasons = {protocol: self._why(protocol, engines) for protocol in self._queue.protocols()}
        found: dict[WorkflowId, tuple[str, str, list[TaskId], int]] = {}
        if any(reason for reason, _ in reasons.values()):
            counts: Counter[WorkflowId] = Counter()
            for entry in self._queue:
                reason, remedy = reasons[entry.protocol]
                if not reason or now - entry.since < self.settings.blocked_seconds:
                    continue
                workflow_id = entry.key.workflow_id
                counts[workflow_id] += 1
                _, _, tasks, _ = found.setdefault(workflow_id, (reason, remedy, [], 0))
                if len(tasks) < 100:
                    tasks.append(entry.key.task_id)
            found = {w: (*about[:3], counts[w]) for w, about in found.items()}
        effects: Effects = []
        for workflow_id, (reason, remedy, tasks, number) in found.items():
            correlation_id = self._queue.of_workflow(workflow_id)[0].correlation_id
            if self._blocked.get(workflow_id) != (reason, correlation_id):
                self._blocked[workflow_id] = reason, correlation_id
                event = d.ExecutionBlocked(
                    workflow_id=workflow_id,
                    task_ids=tasks,
                    count=number,
                    reason=reason,
                    unblocked_by=remedy,
                )
                fields: dict[str, Json] = {"workflow_id": workflow_id, "tasks": number, "reason": reason}
                told = Tell(event, correlation_id=correlation_id)
                effects += [told, Note("warning", "tasks are blocked", fields)]
        for workflow_id in [w for w in self._blocked if w not in found]:
            _, correlation_id = self._blocked.pop(workflow_id)
            over = d.ExecutionBlocked(workflow_id=workflow_id, task_ids=[], count=0, reason="")
            effects.append(Tell(over, correlation_id=correlation_id))
        return effects

    def _stats(self) -> dict[str, Json]:
        return {
            "waiting": len(self._queue),
            "leasing": len(self._leasing),
            "by_protocol": self._queue.protocols(),
            "engines": len(self._engines),
            "free_slots": sum(engine.free() for engine in self._engines.values()),
        }

    def load(self) -> int:
        return len(self._queue)

    def figures(self) -> dict[str, Json]:
        return {
            "waiting": len(self._queue),
            "blocked_workflows": len(self._blocked),
            "engines": len(self._engines),
            "shards": sum(state.loaded for state in self.shards.values()),
            "by_protocol": self._queue.protocols(),
        }

    def status_line(self) -> str:
        blocked = counted(len(self._blocked), "blocked workflows")
        shards = sum(state.loaded for state in self.shards.values())
        engines = counted(len(self._engines), "engines")
        return f"{len(self._queue)} queued, {blocked}, {engines}, {counted(shards, 'shards')}"


class _Candidates:
    """Engines with free slots, while tasks are being matched: the one with most of them is next."""

    def __init__(self, engines: list[tuple[ComponentId, _Engine]]) -> None:
        self._engines = {engine_id: engine for engine_id, engine in engines if engine.free() > 0}
        self._free = {engine_id: engine.free() for engine_id, engine in self._engines.items()}
        self._room: dict[str, dict[ComponentId, int]] = {}
        self._left = _shared_room([engine for _, engine in engines])
        for engine_id, engine in self._engines.items():
            for protocol, room in engine.room.items():
                left = room - engine.given[protocol]
                if left > 0 and self._left[protocol] > 0:
                    self._room.setdefault(protocol, {})[engine_id] = left

    @property
    def protocols(self) -> dict[str, dict[ComponentId, int]]:
        """Those for which some engine has a slot and room."""
        return self._room

    def take(self, protocol: str) -> tuple[ComponentId, _Engine]:
        """One slot for a task of the protocol."""
        rooms = self._room[protocol]
        engine_id = max(rooms, key=lambda name: self._free[name])
        rooms[engine_id] -= 1
        self._free[engine_id] -= 1
        self._left[protocol] -= 1
        if not self._left[protocol]:
            rooms.clear()
        if not self._free[engine_id]:
            for others in self._room.values():
                others.pop(engine_id, None)
        elif not rooms.get(engine_id):
            rooms.pop(engine_id, None)
        for name in [name for name, left in self._room.items() if not left]:
            del self._room[name]
        return engine_id, self._engines[engine_id]


def _shared_room(engines: list[_Engine]) -> Counter[str]:
    """Protocol to the calls that its providers take yet. Engines without a slot count, too."""
    capacity: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    for engine in engines:
        for protocol, room in engine.room.items():
            capacity[protocol] = max(capacity[protocol], room + engine.calls.get(protocol, 0))
        taken.update(engine.calls)
        taken.update(engine.given)
    capacity.subtract(taken)
    return capacity
