"""The rules for tasks that wait too long, and for those of which only an operator knows what became."""

from __future__ import annotations

from gleitzeitd import errors
from gleitzeitd.model.change import Outcome, ResolveTask, Status
from gleitzeitd.model.ledger import (
    Attempt,
    Audience,
    Deadline,
    Rows,
    TaskKey,
    TaskRow,
    TaskState,
    Value,
    Verdict,
    Waiting,
)
from gleitzeitd.model.names import shard_of
from gleitzeitd.model.transition.rules import (
    apply,
    body_of_end,
    deadlines,
    end_task,
    fail_task,
    not_the_owner,
    publish,
    workflow_of,
)
from gleitzeitd.model.transition.tasks import enqueue_again, lose

_DONE_ALREADY = {
    Verdict.RERUN: frozenset({TaskState.READY, TaskState.LEASED, TaskState.RUNNING}),
    Verdict.FAIL: frozenset({TaskState.FAILED}),
    Verdict.DONE: frozenset({TaskState.DONE}),
}
"""Where a task is of which the same was said before."""


def expire_task(deadline: Deadline, rows: Rows, at: str) -> Outcome:
    """What a task has waited for has not happened in time."""
    row = rows.task(TaskKey(deadline.workflow_id, deadline.task_id))
    if row is None or row.attempt != deadline.attempt:
        return Outcome(status=Status.STALE)
    current = next((each for each, _ in deadlines(row)), None)
    if current != deadline:
        return Outcome(status=Status.STALE)
    if deadline.kind is Waiting.QUEUED:
        waited = f"waited in the queue longer than {row.timeouts.queued or 0:g} s"
        workflow = workflow_of(rows, row.workflow_id)
        return fail_task(rows, workflow, row, errors.TaskTimeout(waited).info(), at)
    owner = row.owner
    outcome = lose(row, rows, f"not started within {row.timeouts.start or 0:g} s", at, ran=False)
    if owner is not None:
        # It is there, and holds a slot for what is another's now.
        outcome.cancel.append((Attempt(*row.key, row.attempt), owner))
    return outcome


@apply.register
def _resolve(change: ResolveTask, rows: Rows, at: str) -> Outcome:
    row = rows.task(TaskKey(change.workflow_id, change.task_id))
    if row is None:
        return Outcome(
            status=Status.MISSING, message=f"no task {change.task_id} in workflow {change.workflow_id}"
        )
    if (refused := not_the_owner(rows, shard_of(change.workflow_id), change.fence)) is not None:
        return refused
    if row.state is not TaskState.UNKNOWN or change.attempt not in (0, row.attempt):
        again = row.crashes > 0 and row.state in _DONE_ALREADY[change.verdict]
        found = f"{row.task_id} is {row.state.value}: only a task that is unknown can be resolved"
        return Outcome(status=Status.DUPLICATE if again else Status.STALE, message=found)
    match change.verdict:
        case Verdict.RERUN:
            return enqueue_again(row, rows, "an operator has it run again", at)
        case Verdict.FAIL:
            return _failed(row, rows, at)
        case Verdict.DONE:
            return _done(row, change, rows, at)


def _failed(row: TaskRow, rows: Rows, at: str) -> Outcome:
    assert row.error is not None
    said = errors.ProviderNotAvailable(f"{row.error.message}; an operator has declared it failed").info()
    return fail_task(rows, workflow_of(rows, row.workflow_id), row, said, at)


def _done(row: TaskRow, change: ResolveTask, rows: Rows, at: str) -> Outcome:
    workflow = workflow_of(rows, row.workflow_id)
    row.error = None
    end_task(workflow, row, TaskState.DONE, at)
    rows.put_task(row)
    rows.put_value(row.key, Value.RESULT, change.result)
    body = {**body_of_end(row), "result": change.result}
    fact = publish(rows, workflow, "task_completed", Audience.RESOLVER, body)
    return Outcome(facts=[fact], released=[row.key])
