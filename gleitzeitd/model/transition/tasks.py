"""The rules for tasks: made ready or skipped, leased, started, ended, lost, and woken."""

from __future__ import annotations

import zlib

from gleitzeitd import errors
from gleitzeitd.errors import ErrorInfo
from gleitzeitd.model.change import (
    CompleteTask,
    FailTask,
    GrantLeases,
    LoseAttempt,
    MakeReady,
    Outcome,
    SkipTasks,
    StartTask,
    Status,
    WakeTask,
)
from gleitzeitd.model.ledger import (
    CRASH_LIMIT,
    HELD,
    QUARANTINE,
    Attempt,
    Audience,
    Execution,
    LeaseWish,
    OutputChunk,
    Rows,
    TaskKey,
    TaskRow,
    TaskState,
    Value,
    WorkflowRow,
    WorkflowState,
)
from gleitzeitd.model.names import ComponentId, shard_of
from gleitzeitd.model.retry import next_delay
from gleitzeitd.model.transition.rules import (
    apply,
    body_of_end,
    cancel_tasks,
    deadlines,
    end_task,
    fail_task,
    fenced,
    make_ready,
    move_cursor,
    publish,
    ready_form,
    withdraw,
    workflow_of,
)
from gleitzeitd.model.workflow import OnLost
from gleitzeitd.plain import Json, to_plain

BUSY_DELAY = 0.5
"""Seconds until a task that a provider had no room for is offered again."""
_NO_NEWS = frozenset({errors.ProviderNotAvailable.code, errors.TaskCancelled.code})
"""What an engine reports of an attempt that was taken back, when it is told so, or finds out."""


@apply.register
def _make_ready(change: MakeReady, rows: Rows, at: str) -> Outcome:
    workflow = rows.workflow(change.workflow_id)
    if workflow is None:
        return Outcome(status=Status.MISSING)
    if fenced(rows, workflow.shard, change.fence):
        return Outcome(status=Status.STALE)
    freed = []
    if workflow.state is WorkflowState.RUNNING:
        for ready in change.tasks:
            row = rows.task(TaskKey(change.workflow_id, ready.task_id))
            if row is None or row.state is not TaskState.PENDING:
                continue
            if not rows.all_done(change.workflow_id, row.dependencies):
                continue
            make_ready(row, at)
            rows.put_task(row)
            rows.put_value(row.key, Value.PARAMETERS, ready.parameters or {})
            freed.append(row)
    move_cursor(rows, workflow.shard, change.cursor)
    if not freed:
        return Outcome(status=Status.DUPLICATE)
    body = {"workflow_id": change.workflow_id, "tasks": [ready_form(row) for row in freed]}
    fact = publish(rows, workflow, change.name, Audience.QUEUE_MANAGER, body)
    return Outcome(facts=[fact], deadlines=deadlines(*freed))


@apply.register
def _skip(change: SkipTasks, rows: Rows, at: str) -> Outcome:
    workflow = rows.workflow(change.workflow_id)
    if workflow is None:
        return Outcome(status=Status.MISSING)
    if fenced(rows, workflow.shard, change.fence):
        return Outcome(status=Status.STALE)
    skipped = []
    for each in change.tasks:
        row = rows.task(TaskKey(change.workflow_id, each.task_id))
        if row is None or row.state is not TaskState.PENDING:
            continue
        row.error = each.error
        end_task(workflow, row, TaskState.FAILED if each.failed else TaskState.SKIPPED, at)
        rows.put_task(row)
        skipped.append(to_plain(each))
    move_cursor(rows, workflow.shard, change.cursor)
    if not skipped:
        return Outcome(status=Status.DUPLICATE)
    body = {"workflow_id": change.workflow_id, "tasks": skipped}
    return Outcome(facts=[publish(rows, workflow, "task_skipped", Audience.RESOLVER, body)])


@apply.register
def _grant(change: GrantLeases, rows: Rows, at: str) -> Outcome:
    if fenced(rows, change.shard, change.fence):
        return Outcome(status=Status.STALE, refused=change.leases)
    outcome = Outcome()
    for wish in change.leases:
        row = rows.task(TaskKey(wish.workflow_id, wish.task_id))
        if row is None or shard_of(wish.workflow_id) != change.shard:  # the fence guards one shard only
            outcome.refused.append(wish)
            continue
        workflow = workflow_of(rows, wish.workflow_id)
        if row.state is TaskState.READY and row.attempt == wish.attempt:
            row.state = TaskState.LEASED
            row.attempt += 1
            row.owner = wish.engine_id
            row.provider = None
            row.started_at = row.finished_at = ""
            rows.put_task(row)
        elif workflow.state is not WorkflowState.RUNNING or not _granted(row, wish):
            outcome.refused.append(wish)
            continue
        outcome.executions.append(_execution(row, wish.engine_id, workflow, rows))
        outcome.deadlines += deadlines(row)
    return outcome


def _granted(row: TaskRow, wish: LeaseWish) -> bool:
    """Whether the wish was granted before, and the answer was lost: nobody has started it since."""
    asked_again = row.attempt == wish.attempt + 1 and row.owner == wish.engine_id
    return row.state is TaskState.LEASED and asked_again


def _execution(row: TaskRow, engine: ComponentId, workflow: WorkflowRow, rows: Rows) -> Execution:
    return Execution(
        workflow_id=row.workflow_id,
        task_id=row.task_id,
        attempt=row.attempt,
        engine_id=engine,
        method=row.method,
        protocol=row.protocol,
        parameters=rows.value(row.key, Value.PARAMETERS) or {},
        timeout=row.timeout,
        silence=row.timeouts.silence,
        alone=row.crashes >= QUARANTINE,
        once=row.on_lost is not OnLost.RERUN,
        resources=row.resources,
        correlation_id=workflow.correlation_id,
    )


@apply.register
def _start(change: StartTask, rows: Rows, at: str) -> Outcome:
    row = rows.task(change.attempt.key)
    if row is None or row.attempt != change.attempt.attempt or row.owner != change.engine_id:
        return Outcome(status=Status.STALE)
    if row.state is not TaskState.LEASED:
        return Outcome(status=_start_again(row))
    row.state = TaskState.RUNNING
    row.provider = change.provider_id
    row.started_at = change.started_at or at
    rows.put_task(row)
    body = {
        "workflow_id": row.workflow_id,
        "task_id": row.task_id,
        "attempt": row.attempt,
        "engine_id": change.engine_id,
        "provider_id": change.provider_id,
        "started_at": row.started_at,
    }
    workflow = workflow_of(rows, row.workflow_id)
    return Outcome(facts=[publish(rows, workflow, "task_started", Audience.NONE, body)])


def _start_again(row: TaskRow) -> Status:
    if row.state is TaskState.RUNNING:
        return Status.DUPLICATE
    # A result that overtook its start makes the start old news, not an outdated attempt. But where the start
    # comes first, as of a task that may not run twice, the provider must not be called after an end.
    outdated = _taken_back(row) or row.on_lost is not OnLost.RERUN
    return Status.STALE if outdated else Status.DUPLICATE


def _taken_back(row: TaskRow) -> bool:
    """Whether its last attempt was lost, not ended: of one that was, the time is known."""
    return row.state is TaskState.READY and not row.finished_at


def _reportable(row: TaskRow | None, attempt: Attempt, engine: ComponentId) -> Status:
    """Whether an engine may still say how this attempt ended.

    An attempt that was taken back from an engine which was only slow, and that nobody else has yet: its
    report is as good as any. But not if it is READY because a retry of it is due: it was reported before.
    """
    if row is None or row.attempt != attempt.attempt or row.owner != engine:
        return Status.STALE
    open_still = row.state in HELD or row.state is TaskState.UNKNOWN or _taken_back(row)
    return Status.OK if open_still else Status.DUPLICATE


@apply.register
def _complete(change: CompleteTask, rows: Rows, at: str) -> Outcome:
    row = rows.task(change.attempt.key)
    status = _reportable(row, change.attempt, change.engine_id)
    if status is not Status.OK or row is None:
        return Outcome(status=status)
    workflow = workflow_of(rows, row.workflow_id)
    row.started_at = change.started_at or row.started_at or at
    row.finished_at = change.finished_at or at
    row.error = None
    waited = withdraw(rows, workflow, row)
    end_task(workflow, row, TaskState.DONE, at)
    rows.put_task(row)
    rows.put_value(row.key, Value.RESULT, change.result)
    _keep_output(rows, row, change.output)
    body = {**body_of_end(row), "result": change.result}
    fact = publish(rows, workflow, "task_completed", Audience.RESOLVER, body)
    return Outcome(facts=[*waited, fact], released=[row.key])


def _keep_output(rows: Rows, row: TaskRow, chunks: list[OutputChunk]) -> None:
    if chunks or row.attempt > 1:  # a silent attempt, too, replaces what the one before it wrote
        rows.put_value(row.key, Value.OUTPUT, [to_plain(chunk) for chunk in chunks])


def _luck(attempt: Attempt) -> float:
    """0..1, the same whenever the same failure is judged: a transition must not depend on a die."""
    return zlib.crc32(f"{attempt.workflow_id}/{attempt.task_id}/{attempt.attempt}".encode()) / 2**32


def _delay(row: TaskRow, attempt: Attempt, error: ErrorInfo) -> float | None:
    """Seconds until another attempt; None if there is none."""
    if not row.retry.covers(error) or not row.retry.allows_another(row.failures):
        return None
    return max(next_delay(row.retry, row.failures, _luck(attempt)), error.retry_after or 0.0)


@apply.register
def _fail(change: FailTask, rows: Rows, at: str) -> Outcome:
    row = rows.task(change.attempt.key)
    status = _reportable(row, change.attempt, change.engine_id)
    if status is not Status.OK or row is None:
        return Outcome(status=status)
    if row.state not in HELD and change.error.code in _NO_NEWS:
        return Outcome(status=Status.DUPLICATE)
    if change.error.code == errors.ProviderNotAvailable.code:
        return lose(row, rows, change.error.message, at, ran=True)
    workflow = workflow_of(rows, row.workflow_id)
    row.started_at = change.started_at or row.started_at
    row.error = change.error
    _keep_output(rows, row, change.output)
    if change.error.code == errors.TaskCancelled.code or workflow.state is WorkflowState.CANCELLING:
        return cancel_tasks(rows, workflow, [row], at)
    if change.error.code == errors.ProviderOverloaded.code:
        return _retry(rows, workflow, row, BUSY_DELAY, change, at)
    row.failures += 1
    delay = _delay(row, change.attempt, change.error)
    if delay is not None:
        return _retry(rows, workflow, row, delay, change, at)
    row.finished_at = change.finished_at or at
    return fail_task(rows, workflow, row, change.error, at)


def _retry(
    rows: Rows, workflow: WorkflowRow, row: TaskRow, delay: float, change: FailTask, at: str
) -> Outcome:
    waited = withdraw(rows, workflow, row)
    row.state = TaskState.RETRY
    row.retry_delay = delay
    row.finished_at = change.finished_at or at
    rows.put_task(row)
    body = {**body_of_end(row), "error": to_plain(change.error), "retry_in": delay}
    fact = publish(rows, workflow, "task_failed", Audience.NONE, body)
    return Outcome(facts=[*waited, fact], released=[row.key], waking=[(change.attempt, delay)])


@apply.register
def _lose_attempt(change: LoseAttempt, rows: Rows, at: str) -> Outcome:
    row = rows.task(change.attempt.key)
    if row is None or row.attempt != change.attempt.attempt or row.state not in HELD:
        return Outcome(status=Status.STALE)
    # One that nobody has begun was lost on its way to the engine: no fault of the task's.
    return lose(row, rows, change.reason, at, ran=row.state is TaskState.RUNNING)


def lose(row: TaskRow, rows: Rows, reason: str, at: str, *, ran: bool) -> Outcome:
    """An attempt ended through no fault of its own, unless that happens too often."""
    workflow = workflow_of(rows, row.workflow_id)
    if workflow.state is WorkflowState.CANCELLING:
        return cancel_tasks(rows, workflow, [row], at)
    row.crashes += ran
    if row.on_lost is OnLost.ASK and ran:
        return _doubt(row, rows, workflow, reason)
    if row.crashes >= CRASH_LIMIT or (row.on_lost is OnLost.FAIL and ran):
        lost = f"lost {row.crashes} time(s) while an engine held it, last: {reason}"
        return fail_task(rows, workflow, row, errors.ProviderNotAvailable(lost).info(), at)
    make_ready(row, at)
    rows.put_task(row)
    body: dict[str, Json] = {
        "workflow_id": row.workflow_id,
        "tasks": [ready_form(row)],
        "reason": reason,
    }
    fact = publish(rows, workflow, "task_lost", Audience.QUEUE_MANAGER, body)
    return Outcome(facts=[fact], released=[row.key], deadlines=deadlines(row))


def _doubt(row: TaskRow, rows: Rows, workflow: WorkflowRow, reason: str) -> Outcome:
    """Nobody but an operator can say whether the work was done."""
    row.state = TaskState.UNKNOWN
    row.error = errors.ProviderNotAvailable(f"lost while it ran: {reason}").info()
    rows.put_task(row)
    body: dict[str, Json] = {
        "workflow_id": row.workflow_id,
        "task_id": row.task_id,
        "attempt": row.attempt,
        "engine_id": row.owner,
        "reason": reason,
    }
    fact = publish(rows, workflow, "task_unknown", Audience.NONE, body)
    return Outcome(facts=[fact], released=[row.key])


@apply.register
def _wake(change: WakeTask, rows: Rows, at: str) -> Outcome:
    row = rows.task(change.attempt.key)
    if row is None or row.attempt != change.attempt.attempt or row.state is not TaskState.RETRY:
        return Outcome(status=Status.STALE)
    return enqueue_again(row, rows, "the retry is due", at)


def enqueue_again(row: TaskRow, rows: Rows, reason: str, at: str) -> Outcome:
    """READY, though it was so before."""
    make_ready(row, at)
    rows.put_task(row)
    workflow = workflow_of(rows, row.workflow_id)
    body = {"workflow_id": row.workflow_id, "tasks": [ready_form(row)], "reason": reason}
    fact = publish(rows, workflow, "enqueue_task", Audience.QUEUE_MANAGER, body)
    return Outcome(facts=[fact], deadlines=deadlines(row))
