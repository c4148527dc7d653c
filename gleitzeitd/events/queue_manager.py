"""Events about ready tasks: queueing, leasing, priorities."""

from __future__ import annotations

from dataclasses import field

from gleitzeitd.events.base import SAVED, Delivery, Event, Kind, To, event, route
from gleitzeitd.model.access import UserRole
from gleitzeitd.model.audit import Actor
from gleitzeitd.model.ledger import Execution, FeedStamp, LeaseWish, ReadyTask
from gleitzeitd.model.names import ComponentId, Role, Shard, TaskId, WorkflowId
from gleitzeitd.plain import Json


@event(
    "enqueue_task",
    kind=Kind.COMMAND,
    delivery=Delivery.FEED,
    routes=[route(Role.PERSISTENCE, To.OWNER, Role.QUEUE_MANAGER), route(Role.PERSISTENCE, To.WATCHERS)],
)
class EnqueueTask(Event):
    """These tasks are ready again: a retry is due."""

    workflow_id: WorkflowId
    tasks: list[ReadyTask]
    reason: str = ""
    feed: FeedStamp | None = None


@event("task_enqueued", kind=Kind.FACT, routes=[route(Role.QUEUE_MANAGER, To.WATCHERS)])
class TaskEnqueued(Event):
    """The tasks wait in a queue."""

    workflow_id: WorkflowId
    task_ids: list[TaskId]
    depth: int
    """Ready tasks that this queue manager now holds."""


@event(
    "request_next_task",
    kind=Kind.COMMAND,
    routes=[route(Role.EXECUTION_ENGINE, To.ALL, Role.QUEUE_MANAGER)],
)
class RequestNextTask(Event):
    """An engine's free slots; replaces what it said before. Repeated every second."""

    slots: int
    room: dict[str, int] = field(default_factory=dict)
    """Protocol to how many more calls its providers take, as far as this engine's own calls go; one that is
    missing has no provider."""
    calls: dict[str, int] = field(default_factory=dict)
    """Protocol to this engine's calls in those providers, and to what waits here for room: the calls of all
    engines take from the same room."""
    received: dict[ComponentId, int] = field(default_factory=dict)
    """Queue manager to the number of the last task that has come from it: what it has sent since is on its
    way, and not yet part of the slots above."""


@event(
    "task_available",
    kind=Kind.FACT,
    delivery=Delivery.ASK,
    routes=[route(Role.QUEUE_MANAGER, To.ONE, Role.PERSISTENCE, renamed="save_task")],
    answers=SAVED,
)
class TaskAvailable(Event):
    """The leases that a queue manager wants to give, all of one shard; answered by ``data_saved``."""

    owned_shard: Shard
    epoch: int
    """Under which the queue manager owns the shard."""
    leases: list[LeaseWish]

    def shard(self) -> Shard | None:
        """It goes to persistence, whatever the shard."""
        return None

    def topic(self) -> str | None:
        """It may be about several workflows."""
        return None


@event(
    "execute_task",
    kind=Kind.COMMAND,
    routes=[route(Role.QUEUE_MANAGER, To.COMPONENT, Role.EXECUTION_ENGINE)],
)
class ExecuteTask(Event):
    """Run one attempt. If this is lost, the engine's inventory shows it, and the lease ends."""

    task: Execution
    number: int = 0
    """Grows by one with every task that the queue manager sends to the engine."""


@event(
    "task_priority_changed",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[
        route(Role.CLIENT, To.OWNER, Role.QUEUE_MANAGER, by=UserRole.OPERATOR),
        route(Role.QUEUE_MANAGER, To.ONE, Role.PERSISTENCE, renamed="save_task"),
    ],
    answers=SAVED,
)
class TaskPriorityChanged(Event):
    """From now on these tasks have this priority; answered by ``data_saved``."""

    workflow_id: WorkflowId
    priority: int
    task_ids: list[TaskId] = field(default_factory=list)
    """Empty: all of the workflow that do not run yet."""
    by: Actor | None = None
    """Who wants it: the queue manager writes it there, and nobody else."""


@event(
    "queue_stats_changed",
    kind=Kind.FACT,
    routes=[route(Role.QUEUE_MANAGER, To.HUB), route(Role.QUEUE_MANAGER, To.WATCHERS)],
)
class QueueStatsChanged(Event):
    """How much waits; at most once a second, and only when something has changed."""

    stats: dict[str, Json]
    """``waiting``, ``leasing``, ``by_protocol``, ``engines``, ``free_slots``."""

    def topic(self) -> str | None:
        """Watched under a topic of its own."""
        return "queues"
