"""What users are shown of workflows and tasks: the items of ``data_retrieved``, as values.

Items are read leniently: a key that this version does not know is left out, one that is missing has its
default, so that clients and daemons of neighbouring versions understand each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field, fields
from typing import TypeVar

from gleitzeitd.errors import ErrorInfo
from gleitzeitd.model.ledger import ENDED, OPEN, TaskState, WorkflowState
from gleitzeitd.model.names import TaskId, WorkflowId
from gleitzeitd.plain import Json, from_plain, to_plain
from gleitzeitd.record import record

T = TypeVar("T")

OPEN_STATUSES = frozenset(state.value for state in OPEN)
"""Of workflows that have not ended."""
ENDED_STATUSES = frozenset(state.value for state in ENDED)
"""Of tasks that have ended."""


@record
class Blocking:
    """Why ready tasks of a workflow do not start."""

    reason: str
    unblocked_by: str = ""
    """What would end it."""
    task_ids: list[str] = field(default_factory=list)
    """The first of them."""
    count: int = 0
    """How many in all."""


@record
class WorkflowReport:
    """One workflow, without its tasks."""

    workflow_id: WorkflowId
    name: str = ""
    status: str = ""
    """A value of :class:`gleitzeitd.model.ledger.WorkflowState`."""
    inputs: dict[str, Json] = field(default_factory=dict)
    error: ErrorInfo | None = None
    submitted_at: str = ""
    finished_at: str | None = ""
    reason: str | None = ""
    """Why it was cancelled."""
    tasks: int = 0
    """How many there are."""
    correlation_id: str = ""
    document: Json = None
    blocked: list[Blocking] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        """Nothing will happen any more."""
        return self.status not in OPEN_STATUSES


@record
class TaskReport:
    """One task, without its large values."""

    task_id: TaskId
    name: str = ""
    status: str = TaskState.PENDING.value
    """A value of :class:`gleitzeitd.model.ledger.TaskState`."""
    attempt: int = 0
    method: str = ""
    protocol: str = ""
    dependencies: list[TaskId] = field(default_factory=list)
    priority: int = 2
    engine: str | None = None
    provider: str | None = None
    failures: int = 0
    crashes: int = 0
    error: ErrorInfo | None = None
    retry_delay: float | None = None
    """Seconds, while ``retry_pending``."""
    ready_at: str | None = ""
    started_at: str | None = ""
    finished_at: str | None = ""
    max_attempts: int = 1


@record
class TaskResult:
    """What became of one task."""

    task_id: TaskId
    name: str
    status: str
    attempt: int = 0
    result: Json = None
    error: ErrorInfo | None = None
    started_at: str = ""
    finished_at: str = ""

    def plain(self) -> Json:
        """As ``gleitzeit result --json`` prints it."""
        return {
            "name": self.name,
            "status": self.status,
            "attempt": self.attempt,
            "result": self.result,
            "error": plain_error(self.error),
            "started_at": self.started_at,
            "finished_at": self.finished_at,
        }


@record
class WorkflowResult:
    """What became of a workflow and each of its tasks, in document order."""

    workflow_id: WorkflowId
    name: str
    status: str
    inputs: dict[str, Json]
    tasks: dict[TaskId, TaskResult]
    error: ErrorInfo | None = None
    reason: str = ""
    submitted_at: str = ""
    finished_at: str = ""

    @property
    def completed(self) -> bool:
        """Whether every task is done."""
        return self.status == WorkflowState.COMPLETED.value

    def counts(self) -> dict[str, int]:
        """Tasks by status, in the order of a task's way through the states."""
        return count_by_status(task.status for task in self.tasks.values())

    def plain(self) -> Json:
        """As ``gleitzeit result --json`` prints it."""
        return {
            "workflow_id": self.workflow_id,
            "name": self.name,
            "status": self.status,
            "inputs": self.inputs,
            "tasks": {task_id: task.plain() for task_id, task in self.tasks.items()},
        }


def read_item(cls: type[T], item: Json, path: str = "") -> T:
    """An item of a page as ``cls``.

    Raises:
        MalformedData: a value has the wrong type, or the item has no id.
    """
    known = {each.name for each in fields(cls)}  # type: ignore[arg-type]  # T is one of the classes above
    plain = {key: value for key, value in item.items() if key in known}
    return from_plain(cls, plain, path)


def workflow_result(
    workflow: WorkflowReport, tasks: Iterable[TaskReport], results: dict[str, Json]
) -> WorkflowResult:
    """Put together what was read page by page."""
    return WorkflowResult(
        workflow_id=workflow.workflow_id,
        name=workflow.name,
        status=workflow.status,
        inputs=workflow.inputs,
        tasks={
            task.task_id: TaskResult(
                task_id=task.task_id,
                name=task.name or task.task_id,
                status=task.status,
                attempt=task.attempt,
                result=results.get(task.task_id),
                # A task that succeeded after all keeps the error of the attempt before in the ledger.
                error=None if task.status == TaskState.DONE.value else task.error,
                started_at=task.started_at or "",
                finished_at=task.finished_at or "",
            )
            for task in tasks
        },
        error=workflow.error,
        reason=workflow.reason or "",
        submitted_at=workflow.submitted_at,
        finished_at=workflow.finished_at or "",
    )


def count_by_status(statuses: Iterable[str]) -> dict[str, int]:
    """How many of each, in the order of a task's way through the states; those that occur."""
    counts: dict[str, int] = {state.value: 0 for state in TaskState}
    for status in statuses:
        counts[status] = counts.get(status, 0) + 1
    return {status: count for status, count in counts.items() if count}


def plain_error(error: ErrorInfo | None) -> Json:
    """``{"code", "name", "message"}``, or None."""
    if error is None:
        return None
    known: dict[str, Json] = to_plain(error)
    return {key: known.get(key) for key in ("code", "name", "message")}
