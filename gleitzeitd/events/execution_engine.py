"""Events about attempts: started, completed, failed, cancelled."""

from __future__ import annotations

from dataclasses import field

from gleitzeitd.errors import ErrorInfo
from gleitzeitd.events.base import SAVED, Delivery, Event, Kind, To, event, route
from gleitzeitd.model.ledger import FeedStamp, OutputChunk, ReadyTask
from gleitzeitd.model.names import ComponentId, Role, TaskId, WorkflowId
from gleitzeitd.plain import Json

_PUBLISHED = [
    route(Role.PERSISTENCE, To.OWNER, Role.DEPENDENCY_RESOLVER),
    route(Role.PERSISTENCE, To.WATCHERS),
]


@event(
    "task_started",
    kind=Kind.FACT,
    delivery=Delivery.FEED,
    routes=[
        route(Role.EXECUTION_ENGINE, To.ONE, Role.PERSISTENCE, renamed="save_task"),
        route(Role.PERSISTENCE, To.WATCHERS),
    ],
    answers=SAVED,
)
class TaskStarted(Event):
    """A provider has been given the work."""

    workflow_id: WorkflowId
    task_id: TaskId
    attempt: int
    engine_id: ComponentId = ComponentId("")
    provider_id: ComponentId = ComponentId("")
    started_at: str = ""
    feed: FeedStamp | None = None


@event(
    "task_completed",
    kind=Kind.FACT,
    delivery=Delivery.FEED,
    routes=[route(Role.EXECUTION_ENGINE, To.ONE, Role.PERSISTENCE, renamed="save_result"), *_PUBLISHED],
    answers=SAVED,
)
class TaskCompleted(Event):
    """The attempt has a result."""

    workflow_id: WorkflowId
    task_id: TaskId
    attempt: int
    result: Json = None
    output: list[OutputChunk] = field(default_factory=list)
    """The tail of what the work wrote; not in the feed."""
    started_at: str = ""
    finished_at: str = ""
    feed: FeedStamp | None = None


@event(
    "task_failed",
    kind=Kind.FACT,
    delivery=Delivery.FEED,
    routes=[route(Role.EXECUTION_ENGINE, To.ONE, Role.PERSISTENCE, renamed="save_result"), *_PUBLISHED],
    answers=SAVED,
)
class TaskFailed(Event):
    """The attempt ended without a result."""

    workflow_id: WorkflowId
    task_id: TaskId
    attempt: int
    error: ErrorInfo
    output: list[OutputChunk] = field(default_factory=list)
    started_at: str = ""
    finished_at: str = ""
    retry_in: float | None = None
    """In the feed: seconds until the ledger makes it ready again; None if this was the last attempt."""
    feed: FeedStamp | None = None


@event(
    "task_withdrawn",
    kind=Kind.FACT,
    delivery=Delivery.FEED,
    routes=[route(Role.PERSISTENCE, To.OWNER, Role.QUEUE_MANAGER)],
)
class TaskWithdrawn(Event):
    """These tasks were ready, and wait no longer: they have ended without being given out again. An engine
    that was only slow has reported them after all, or they had waited for too long.
    """

    workflow_id: WorkflowId
    task_ids: list[TaskId]
    feed: FeedStamp | None = None


@event(
    "task_cancelled",
    kind=Kind.FACT,
    delivery=Delivery.FEED,
    routes=[
        route(Role.PERSISTENCE, To.OWNER, Role.DEPENDENCY_RESOLVER),
        route(Role.PERSISTENCE, To.OWNER, Role.QUEUE_MANAGER),
        route(Role.PERSISTENCE, To.WATCHERS),
    ],
)
class TaskCancelled(Event):
    """These tasks of a cancelled workflow have ended, or will never start."""

    workflow_id: WorkflowId
    task_ids: list[TaskId]
    feed: FeedStamp | None = None


@event(
    "task_lost",
    kind=Kind.FACT,
    delivery=Delivery.FEED,
    routes=[
        route(Role.PERSISTENCE, To.OWNER, Role.QUEUE_MANAGER, renamed="enqueue_task"),
        route(Role.PERSISTENCE, To.WATCHERS),
    ],
)
class TaskLost(Event):
    """The engine that held these attempts is gone, or does not know of them; the tasks are ready again."""

    workflow_id: WorkflowId
    tasks: list[ReadyTask]
    reason: str = ""
    feed: FeedStamp | None = None


@event(
    "task_unknown",
    kind=Kind.FACT,
    delivery=Delivery.FEED,
    routes=[route(Role.PERSISTENCE, To.WATCHERS)],
)
class TaskUnknown(Event):
    """The attempt was lost while it ran, and the task may not run twice: ``resolve_task`` says what it is."""

    workflow_id: WorkflowId
    task_id: TaskId
    attempt: int
    engine_id: ComponentId = ComponentId("")
    """The engine that held it."""
    reason: str = ""
    feed: FeedStamp | None = None


@event(
    "cancel_task",
    kind=Kind.COMMAND,
    routes=[route(Role.PERSISTENCE, To.COMPONENT, Role.EXECUTION_ENGINE)],
)
class CancelTask(Event):
    """End the attempt, to its last process. Repeated while the engine's inventory lists it."""

    workflow_id: WorkflowId
    task_id: TaskId
    attempt: int
    reason: str = ""


@event(
    "capacity_update",
    kind=Kind.FACT,
    routes=[route(Role.EXECUTION_ENGINE, To.ALL, Role.QUEUE_MANAGER), route(Role.EXECUTION_ENGINE, To.HUB)],
)
class CapacityUpdate(Event):
    """What an engine can do in all; sent when it changes."""

    slots: int
    draining: bool = False
    """It takes nothing new."""
