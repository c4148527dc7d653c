"""What the rules for tasks and those for workflows have in common."""

from __future__ import annotations

from functools import singledispatch

from gleitzeitd.errors import ErrorInfo
from gleitzeitd.model.change import (
    NOT_THE_OWNER,
    Change,
    Fence,
    Outcome,
    Status,
)
from gleitzeitd.model.ledger import (
    ENDED,
    Audience,
    Deadline,
    Fact,
    FeedStamp,
    ReadyTask,
    Rows,
    TaskRow,
    TaskState,
    WorkflowRow,
    deadline_of,
)
from gleitzeitd.model.names import Shard, WorkflowId
from gleitzeitd.plain import Json, to_plain


@singledispatch
def apply(change: Change, rows: Rows, at: str) -> Outcome:
    """Carry out ``change``, or say why not. ``at`` is the wall clock, for people."""
    raise AssertionError(f"no rule for {change!r}")


def publish(rows: Rows, workflow: WorkflowRow, name: str, audience: Audience, body: dict[str, Json]) -> Fact:
    """Number a fact, and keep it in its shard's feed; the rows of shard and workflow are put, too."""
    shard = rows.shard(workflow.shard)
    stamp = FeedStamp(
        number=shard.number + 1,
        after_resolver=shard.last_resolver,
        after_queue_manager=shard.last_queue_manager,
        after_workflow=workflow.last_number,
    )
    shard.number = workflow.last_number = stamp.number
    if audience & Audience.RESOLVER:
        shard.last_resolver = stamp.number
    if audience & Audience.QUEUE_MANAGER:
        shard.last_queue_manager = stamp.number
    rows.put_shard(shard)
    rows.put_workflow(workflow)
    fact = Fact(
        name=name,
        workflow_id=workflow.workflow_id,
        shard=workflow.shard,
        correlation_id=workflow.correlation_id,
        audience=audience,
        stamp=stamp,
        body=body,
    )
    rows.append(fact)
    return fact


def fenced(rows: Rows, shard: Shard, fence: Fence) -> bool:
    """Whether the asker does not own the shard, or no longer."""
    row = rows.shard(shard)
    if fence.epoch is not None and row.epoch(fence.role) != fence.epoch:
        return True
    return row.owner_id(fence.role) != fence.asker


def not_the_owner(rows: Rows, shard: Shard, fence: Fence | None) -> Outcome | None:
    """What a command that was passed on by somebody else than the owner comes to."""
    if fence is None or not fenced(rows, shard, fence):
        return None
    return Outcome(status=Status.STALE, message=NOT_THE_OWNER)


def ready_form(row: TaskRow) -> Json:
    """A task in a fact that makes it ready."""
    return to_plain(
        ReadyTask(task_id=row.task_id, priority=row.priority, protocol=row.protocol, attempt=row.attempt)
    )


def deadlines(*rows: TaskRow) -> list[tuple[Deadline, float]]:
    """What the ledger waits for with these tasks, but not for ever."""
    found = (deadline_of(row.key, row.attempt, row.state, row.timeouts) for row in rows)
    return [each for each in found if each is not None]


def make_ready(row: TaskRow, at: str) -> None:
    """READY again; the caller puts the row."""
    row.state = TaskState.READY
    row.retry_delay = None
    row.ready_at = at


def body_of_end(row: TaskRow) -> dict[str, Json]:
    """What facts about the end of an attempt have in common."""
    return {
        "workflow_id": row.workflow_id,
        "task_id": row.task_id,
        "attempt": row.attempt,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
    }


def fail_task(rows: Rows, workflow: WorkflowRow, row: TaskRow, error: ErrorInfo, at: str) -> Outcome:
    """FAILED for good, whatever the retry policy says."""
    row.error = error
    waited = withdraw(rows, workflow, row)
    end_task(workflow, row, TaskState.FAILED, at)
    rows.put_task(row)
    body = {**body_of_end(row), "error": to_plain(error)}
    fact = publish(rows, workflow, "task_failed", Audience.RESOLVER, body)
    return Outcome(facts=[*waited, fact], released=[row.key])


def withdraw(rows: Rows, workflow: WorkflowRow, row: TaskRow) -> list[Fact]:
    """Have the queue manager forget a task that is about to end, or to rest, though it waits to be given out.

    It has no other that ends: those it has given away.
    """
    if row.state is not TaskState.READY:
        return []
    body: dict[str, Json] = {"workflow_id": row.workflow_id, "task_ids": [row.task_id]}
    return [publish(rows, workflow, "task_withdrawn", Audience.QUEUE_MANAGER, body)]


def end_task(workflow: WorkflowRow, row: TaskRow, state: TaskState, at: str) -> None:
    """Bring a task to an end, and count it; the caller puts the row."""
    assert row.state not in ENDED, row
    row.state = state
    row.finished_at = row.finished_at or at
    row.retry_delay = None
    workflow.open_tasks -= 1


def workflow_of(rows: Rows, workflow_id: WorkflowId) -> WorkflowRow:
    """The workflow of a task that exists."""
    workflow = rows.workflow(workflow_id)
    assert workflow is not None, f"a task without its workflow: {workflow_id}"
    return workflow


def cancel_tasks(rows: Rows, workflow: WorkflowRow, tasks: list[TaskRow], at: str) -> Outcome:
    """End tasks of a cancelled workflow that nothing runs any more."""
    for row in tasks:
        end_task(workflow, row, TaskState.CANCELLED, at)
        rows.put_task(row)
    body = {"workflow_id": workflow.workflow_id, "task_ids": [row.task_id for row in tasks]}
    fact = publish(rows, workflow, "task_cancelled", Audience.RESOLVER | Audience.QUEUE_MANAGER, body)
    return Outcome(facts=[fact], released=[row.key for row in tasks])


def move_cursor(rows: Rows, number: Shard, cursor: int) -> None:
    """Note up to where the resolver's decisions are durable; never back."""
    shard = rows.shard(number)
    if cursor > shard.cursor:
        shard.cursor = cursor
        rows.put_shard(shard)
