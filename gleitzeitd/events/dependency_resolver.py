"""Events about a workflow's course: submission, readiness, blocking, ending, cancelling."""

from __future__ import annotations

from dataclasses import field

from gleitzeitd.errors import ErrorInfo
from gleitzeitd.events.base import SAVED, Delivery, Event, Kind, Route, To, event, route
from gleitzeitd.model.access import UserRole
from gleitzeitd.model.audit import Actor
from gleitzeitd.model.ledger import FeedStamp, ReadyTask, SkippedTask, Verdict
from gleitzeitd.model.names import Role, TaskId, WorkflowId
from gleitzeitd.model.problem import Problem
from gleitzeitd.plain import Json


def _published(*roles: Role) -> list[Route]:
    """How the ledger's feed reaches the owners of these roles, and watchers."""
    return [
        *(route(Role.PERSISTENCE, To.OWNER, role) for role in roles),
        route(Role.PERSISTENCE, To.WATCHERS),
    ]


@event(
    "submit_workflow",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[
        route(
            Role.CLIENT,
            To.OWNER,
            Role.DEPENDENCY_RESOLVER,
            renamed="analyze_workflow",
            by=UserRole.SUBMITTER,
        )
    ],
    answers=("workflow_submitted", "workflow_refused"),
)
class SubmitWorkflow(Event):
    """Run this. Submitting the same workflow under the same id again has no effect."""

    workflow_id: WorkflowId
    """Made by the client, so that a repeat can be recognised."""
    workflow: Json
    """The document, as plain data in any accepted spelling."""
    inputs: dict[str, Json] = field(default_factory=dict)


@event(
    "workflow_submitted", kind=Kind.REPLY, routes=[route(Role.DEPENDENCY_RESOLVER, To.COMPONENT, Role.CLIENT)]
)
class WorkflowSubmitted(Event):
    """The workflow is on disk: from here on it is never lost."""

    workflow_id: WorkflowId
    duplicate: bool = False
    """It was there already."""
    warnings: list[Problem] = field(default_factory=list)


@event(
    "workflow_refused", kind=Kind.REPLY, routes=[route(Role.DEPENDENCY_RESOLVER, To.COMPONENT, Role.CLIENT)]
)
class WorkflowRefused(Event):
    """Nothing of the workflow ran, or will run."""

    workflow_id: WorkflowId
    error: ErrorInfo
    problems: list[Problem] = field(default_factory=list)
    """All of them, in document order."""


@event(
    "workflow_analyzed",
    kind=Kind.FACT,
    delivery=Delivery.FEED,
    routes=[
        route(Role.DEPENDENCY_RESOLVER, To.ONE, Role.PERSISTENCE, renamed="save_task"),
        route(Role.PERSISTENCE, To.OWNER, Role.QUEUE_MANAGER, renamed="enqueue_task"),
        route(Role.PERSISTENCE, To.WATCHERS),
    ],
    answers=SAVED,
)
class WorkflowAnalyzed(Event):
    """The workflow's first tasks are ready."""

    workflow_id: WorkflowId
    tasks: list[ReadyTask]
    epoch: int = 0
    """Under which the resolver owns the shard."""
    cursor: int = 0
    """Number of the last feed entry that the decision rests on."""
    feed: FeedStamp | None = None


@event(
    "dependencies_satisfied",
    kind=Kind.FACT,
    delivery=Delivery.FEED,
    routes=[
        route(Role.DEPENDENCY_RESOLVER, To.ONE, Role.PERSISTENCE, renamed="save_task"),
        route(Role.PERSISTENCE, To.OWNER, Role.QUEUE_MANAGER, renamed="enqueue_task"),
        route(Role.PERSISTENCE, To.WATCHERS),
    ],
    answers=SAVED,
)
class DependenciesSatisfied(Event):
    """All that these tasks depend on is done; their parameters are complete."""

    workflow_id: WorkflowId
    tasks: list[ReadyTask]
    epoch: int = 0
    cursor: int = 0
    feed: FeedStamp | None = None


@event(
    "task_skipped",
    kind=Kind.FACT,
    delivery=Delivery.FEED,
    routes=[
        route(Role.DEPENDENCY_RESOLVER, To.ONE, Role.PERSISTENCE, renamed="save_task"),
        *_published(Role.DEPENDENCY_RESOLVER),
    ],
    answers=SAVED,
)
class TaskSkipped(Event):
    """These tasks will not run: something that they depend on did not complete, or their parameters
    cannot be made.
    """

    workflow_id: WorkflowId
    tasks: list[SkippedTask]
    epoch: int = 0
    cursor: int = 0
    feed: FeedStamp | None = None


@event(
    "execution_blocked",
    kind=Kind.FACT,
    routes=[
        route((Role.DEPENDENCY_RESOLVER, Role.QUEUE_MANAGER), To.WATCHERS),
        route((Role.DEPENDENCY_RESOLVER, Role.QUEUE_MANAGER), To.ONE, Role.PERSISTENCE),
    ],
)
class ExecutionBlocked(Event):
    """Ready tasks wait for something that is not there."""

    workflow_id: WorkflowId
    task_ids: list[TaskId]
    """The first of them, at most 100."""
    count: int
    """How many in all; 0 when nothing of the workflow is blocked any more."""
    reason: str
    unblocked_by: str = ""
    """What would end it, as an operator would say it."""


@event(
    "check_dependencies",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[
        route(
            (Role.CLIENT, Role.DEPENDENCY_RESOLVER),
            To.OWNER,
            Role.DEPENDENCY_RESOLVER,
            by=UserRole.OPERATOR,
        )
    ],
    answers=("status_response", *SAVED),
)
class CheckDependencies(Event):
    """Look at the workflow again, from the ledger; answered by ``status_response``."""

    workflow_id: WorkflowId


@event(
    "cancel_workflow",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[
        route(Role.CLIENT, To.OWNER, Role.DEPENDENCY_RESOLVER, by=UserRole.SUBMITTER),
        route(Role.DEPENDENCY_RESOLVER, To.ONE, Role.PERSISTENCE, renamed="save_workflow"),
    ],
    answers=SAVED,
)
class CancelWorkflow(Event):
    """Run nothing more of the workflow, and end what runs. Answered by ``data_saved`` once durable."""

    workflow_id: WorkflowId
    reason: str = ""
    by: Actor | None = None
    """Who wants it: the resolver writes it there, and nobody else."""


@event(
    "resolve_task",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[
        route(Role.CLIENT, To.OWNER, Role.DEPENDENCY_RESOLVER, by=UserRole.OPERATOR),
        route(Role.DEPENDENCY_RESOLVER, To.ONE, Role.PERSISTENCE, renamed="save_task"),
    ],
    answers=SAVED,
)
class ResolveTask(Event):
    """An operator says what became of a task that is unknown. Answered by ``data_saved`` once durable:
    ``stale``, if the task is not unknown (any more).
    """

    workflow_id: WorkflowId
    task_id: TaskId
    verdict: Verdict
    attempt: int = 0
    """The one that is judged; 0: whichever is unknown now."""
    result: Json = None
    """Of a task that was ``done``."""
    by: Actor | None = None
    """Who wants it: the resolver writes it there, and nobody else."""


@event(
    "workflow_cancelling",
    kind=Kind.FACT,
    delivery=Delivery.FEED,
    routes=_published(Role.DEPENDENCY_RESOLVER, Role.QUEUE_MANAGER),
)
class WorkflowCancelling(Event):
    """From now on nothing of the workflow starts; what runs is being ended."""

    workflow_id: WorkflowId
    reason: str = ""
    feed: FeedStamp | None = None


_ENDED = [
    route(Role.DEPENDENCY_RESOLVER, To.ONE, Role.PERSISTENCE, renamed="save_workflow"),
    *_published(Role.DEPENDENCY_RESOLVER),
]


@event("workflow_completed", kind=Kind.FACT, delivery=Delivery.FEED, routes=_ENDED, answers=SAVED)
class WorkflowCompleted(Event):
    """Every task is done."""

    workflow_id: WorkflowId
    epoch: int = 0
    feed: FeedStamp | None = None


@event("workflow_failed", kind=Kind.FACT, delivery=Delivery.FEED, routes=_ENDED, answers=SAVED)
class WorkflowFailed(Event):
    """Every task has ended, and at least one of them failed; or its ``timeout`` was over."""

    workflow_id: WorkflowId
    error: ErrorInfo
    """Names the tasks that failed, or is ``WORKFLOW_TIMEOUT``."""
    epoch: int = 0
    feed: FeedStamp | None = None


@event("workflow_cancelled", kind=Kind.FACT, delivery=Delivery.FEED, routes=_ENDED, answers=SAVED)
class WorkflowCancelled(Event):
    """Somebody cancelled it, and the last of its tasks has ended.

    The resolver sends this of a workflow whose time was over, too; the ledger publishes ``workflow_failed``.
    """

    workflow_id: WorkflowId
    epoch: int = 0
    feed: FeedStamp | None = None


@event(
    "query_status",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[route(Role.CLIENT, To.OWNER, Role.DEPENDENCY_RESOLVER, by=UserRole.VIEWER)],
    answers=("status_response", *SAVED),
)
class QueryStatus(Event):
    """How far is the workflow?"""

    workflow_id: WorkflowId


@event(
    "status_response", kind=Kind.REPLY, routes=[route(Role.DEPENDENCY_RESOLVER, To.COMPONENT, Role.CLIENT)]
)
class StatusResponse(Event):
    """Answers ``query_status`` and ``check_dependencies``."""

    workflow_id: WorkflowId
    workflow_name: str = ""
    status: str
    """``running``, ``cancelling``, ``completed``, ``failed``, ``cancelled``, or ``unknown``."""
    counts: dict[str, int] = field(default_factory=dict)
    """Tasks by status."""
