"""Events between an engine and the provider that does the work."""

from __future__ import annotations

from dataclasses import field

from gleitzeitd.errors import ErrorInfo
from gleitzeitd.events.base import Delivery, Event, Kind, To, event, route
from gleitzeitd.model.ledger import OutputChunk
from gleitzeitd.model.names import Role, TaskId, WorkflowId
from gleitzeitd.model.resources import Resources
from gleitzeitd.plain import Json


@event(
    "execute_method",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[route(Role.EXECUTION_ENGINE, To.COMPONENT, Role.PROVIDER)],
    answers=("method_result", "provider_error"),
)
class ExecuteMethod(Event):
    """Do this. The key is workflow, task and attempt: asked again, the provider repeats its answer."""

    workflow_id: WorkflowId
    task_id: TaskId
    attempt: int
    method: str
    parameters: dict[str, Json] = field(default_factory=dict)
    timeout: float | None = None
    """Seconds that the work may take once it has begun."""
    silence: float | None = None
    """Seconds that the work may be without output and progress; then the provider ends it."""
    alone: bool = False
    """Run nothing else meanwhile: the task may be what has killed providers before."""
    once: bool = False
    """What has begun may not be begun again: if it is ended halfway, it is lost."""
    resources: Resources | None = None
    """What the work may take of the machine; see ``model.resources``."""
    epoch: int = 0
    """Of the provider's process that is meant; another one refuses, since it knows nothing of the call."""
    keep: float = 60.0
    """Seconds for which the answer is to be kept for a repeat."""


@event(
    "method_result",
    kind=Kind.REPLY,
    routes=[route(Role.PROVIDER, To.COMPONENT, Role.EXECUTION_ENGINE)],
)
class MethodResult(Event):
    """The work is done."""

    workflow_id: WorkflowId
    task_id: TaskId
    attempt: int
    result: Json = None
    output: list[OutputChunk] = field(default_factory=list)
    started_at: str = ""
    finished_at: str = ""


@event(
    "provider_error",
    kind=Kind.REPLY,
    routes=[route(Role.PROVIDER, To.COMPONENT, Role.EXECUTION_ENGINE)],
)
class ProviderError(Event):
    """The work ended without a result."""

    workflow_id: WorkflowId
    task_id: TaskId
    attempt: int
    error: ErrorInfo
    output: list[OutputChunk] = field(default_factory=list)
    started_at: str = ""
    finished_at: str = ""


@event(
    "cancel_method",
    kind=Kind.COMMAND,
    delivery=Delivery.ASK,
    routes=[route(Role.EXECUTION_ENGINE, To.COMPONENT, Role.PROVIDER)],
    answers=("method_result", "provider_error"),
)
class CancelMethod(Event):
    """End the work, to its last process; answered by ``provider_error`` when that is so."""

    workflow_id: WorkflowId
    task_id: TaskId
    attempt: int
    reason: str = ""


@event("task_output", kind=Kind.STREAM, routes=[route(Role.PROVIDER, To.WATCHERS)])
class TaskOutput(Event):
    """What the work has just written."""

    workflow_id: WorkflowId
    task_id: TaskId
    attempt: int
    chunks: list[OutputChunk]


@event("task_progress", kind=Kind.STREAM, routes=[route(Role.PROVIDER, To.WATCHERS)])
class TaskProgress(Event):
    """How far the work is."""

    workflow_id: WorkflowId
    task_id: TaskId
    attempt: int
    progress: float
    """0..1"""
    message: str = ""
