"""The rules for workflows and shards: accepted, cancelled, out of time, ended, reordered, and taken."""

from __future__ import annotations

from gleitzeitd import errors
from gleitzeitd.model.change import (
    AcceptWorkflow,
    CancelWorkflow,
    ChangePriority,
    EndWorkflow,
    Expire,
    Outcome,
    Status,
    TakeShards,
)
from gleitzeitd.model.ledger import (
    HELD,
    OPEN,
    Attempt,
    Audience,
    Rows,
    TaskRow,
    Waiting,
    WorkflowRow,
    WorkflowState,
    workflow_deadline,
)
from gleitzeitd.model.names import ComponentId, Role, shard_of
from gleitzeitd.model.transition.doubt import expire_task
from gleitzeitd.model.transition.rules import (
    apply,
    cancel_tasks,
    fenced,
    not_the_owner,
    publish,
)
from gleitzeitd.model.workflow import Workflow
from gleitzeitd.plain import Json, from_plain, to_plain


@apply.register
def _accept(change: AcceptWorkflow, rows: Rows, at: str) -> Outcome:
    shard = shard_of(change.workflow_id)
    kept = rows.workflow(change.workflow_id)
    if kept is not None:
        same = kept.digest == change.digest
        return Outcome(
            status=Status.DUPLICATE if same else Status.CONFLICT,
            message="" if same else f"{change.workflow_id} was submitted before with another content",
        )
    if fenced(rows, shard, change.fence):
        return Outcome(status=Status.STALE)
    if rows.was_deleted(change.workflow_id, change.correlation_id):
        return Outcome(status=Status.DUPLICATE)  # a late repeat: it has run, and is gone
    workflow = from_plain(Workflow, change.document)
    row = WorkflowRow(
        workflow_id=change.workflow_id,
        name=workflow.name,
        shard=shard,
        digest=change.digest,
        correlation_id=change.correlation_id,
        document=change.document,
        inputs=change.inputs,
        timeout=workflow.timeout,
        tasks=len(workflow.tasks),
        open_tasks=len(workflow.tasks),
        submitted_at=at,
    )
    rows.put_workflow(row)
    for position, task in enumerate(workflow.tasks):
        rows.put_task(
            TaskRow(
                workflow_id=change.workflow_id,
                task_id=task.id,
                name=task.name,
                position=position,
                method=task.method,
                protocol=task.protocol,
                dependencies=task.dependencies,
                priority=task.priority,
                timeout=task.timeout,
                retry=task.retry,
                on_lost=task.on_lost,
                timeouts=task.timeouts,
                resources=task.resources,
            )
        )
    deadline = workflow_deadline(row.workflow_id, row.state, row.timeout)
    return Outcome(deadlines=[] if deadline is None else [deadline])


_ENDINGS = {
    WorkflowState.COMPLETED: "workflow_completed",
    WorkflowState.FAILED: "workflow_failed",
    WorkflowState.CANCELLED: "workflow_cancelled",
}


@apply.register
def _end_workflow(change: EndWorkflow, rows: Rows, at: str) -> Outcome:
    workflow = rows.workflow(change.workflow_id)
    if workflow is None:
        return Outcome(status=Status.MISSING)
    if workflow.state not in OPEN:
        return Outcome(status=Status.DUPLICATE)
    if fenced(rows, workflow.shard, change.fence) or workflow.open_tasks:
        return Outcome(status=Status.STALE)
    # Of one whose time was over, the resolver knows only that it was being cancelled.
    if workflow.state is WorkflowState.CANCELLING and workflow.error is not None:
        workflow.state = WorkflowState.FAILED
    else:
        workflow.state, workflow.error = change.state, change.error
    workflow.finished_at = at
    body: dict[str, Json] = {"workflow_id": change.workflow_id}
    if workflow.state is WorkflowState.FAILED:
        assert workflow.error is not None
        body["error"] = to_plain(workflow.error)
    return Outcome(facts=[publish(rows, workflow, _ENDINGS[workflow.state], Audience.RESOLVER, body)])


@apply.register
def _cancel_workflow(change: CancelWorkflow, rows: Rows, at: str) -> Outcome:
    workflow = rows.workflow(change.workflow_id)
    if workflow is None:
        return Outcome(status=Status.MISSING, message=f"no workflow {change.workflow_id}")
    if (refused := not_the_owner(rows, workflow.shard, change.fence)) is not None:
        return refused
    if workflow.state not in OPEN:
        asked_again = workflow.state is WorkflowState.CANCELLED  # the answer may have been lost
        return Outcome(
            status=Status.DUPLICATE if asked_again else Status.STALE,
            message=f"the workflow is {workflow.state.value} already",
        )
    if workflow.state is WorkflowState.RUNNING and not workflow.open_tasks:
        # There is nothing to cancel, and its end, which is about to be kept, says what came of it.
        return Outcome(status=Status.STALE, message="all tasks of the workflow have ended already")
    if workflow.state is WorkflowState.CANCELLING:
        return Outcome(status=Status.DUPLICATE, cancel=_held(rows.open_tasks(change.workflow_id)))
    return _begin_to_cancel(rows, workflow, change.reason, at)


@apply.register
def _expire(change: Expire, rows: Rows, at: str) -> Outcome:
    deadline = change.deadline
    if deadline.kind is not Waiting.WORKFLOW:
        return expire_task(deadline, rows, at)
    workflow = rows.workflow(deadline.workflow_id)
    if workflow is None or workflow.state is not WorkflowState.RUNNING or not workflow.open_tasks:
        return Outcome(status=Status.STALE)
    reason = f"it took longer than its timeout of {workflow.timeout or 0:g} s"
    workflow.error = errors.WorkflowTimeout(reason).info()
    return _begin_to_cancel(rows, workflow, reason, at)


def _held(open_tasks: list[TaskRow]) -> list[tuple[Attempt, ComponentId]]:
    """The attempts that engines have to end."""
    return [
        (Attempt(*row.key, row.attempt), row.owner)
        for row in open_tasks
        if row.state in HELD and row.owner is not None
    ]


def _begin_to_cancel(rows: Rows, workflow: WorkflowRow, reason: str, at: str) -> Outcome:
    """CANCELLING: nothing starts any more, and what runs is to be ended."""
    open_tasks = rows.open_tasks(workflow.workflow_id)
    outcome = Outcome(cancel=_held(open_tasks))
    workflow.state = WorkflowState.CANCELLING
    workflow.reason = reason
    body: dict[str, Json] = {"workflow_id": workflow.workflow_id, "reason": reason}
    both = Audience.RESOLVER | Audience.QUEUE_MANAGER
    outcome.facts.append(publish(rows, workflow, "workflow_cancelling", both, body))
    waiting = [row for row in open_tasks if row.state not in HELD]
    if waiting:
        outcome.facts += cancel_tasks(rows, workflow, waiting, at).facts
    return outcome


@apply.register
def _change_priority(change: ChangePriority, rows: Rows, at: str) -> Outcome:
    workflow = rows.workflow(change.workflow_id)
    if workflow is None:
        return Outcome(status=Status.MISSING, message=f"no workflow {change.workflow_id}")
    if (refused := not_the_owner(rows, workflow.shard, change.fence)) is not None:
        return refused
    wanted = set(change.task_ids)
    for row in rows.open_tasks(change.workflow_id):
        if row.state not in HELD and (not wanted or row.task_id in wanted):
            row.priority = change.priority
            rows.put_task(row)
    return Outcome()


@apply.register
def _take_shards(change: TakeShards, rows: Rows, at: str) -> Outcome:
    for number in change.shards:
        shard = rows.shard(number)
        if change.role is Role.DEPENDENCY_RESOLVER:
            shard.resolver = change.owner
            shard.resolver_epoch += 1
        else:
            shard.queue_manager = change.owner
            shard.queue_manager_epoch += 1
        rows.put_shard(shard)
    return Outcome()
