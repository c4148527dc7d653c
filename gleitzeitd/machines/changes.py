"""Which change of the ledger an event asks for, and its answer. Who asks is what the hub has stamped."""

from __future__ import annotations

from gleitzeitd.errors import WorkflowConflict
from gleitzeitd.events import Envelope, Event
from gleitzeitd.events import dependency_resolver as d
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import persistence as p
from gleitzeitd.events import queue_manager as q
from gleitzeitd.machines.audit import actor_of
from gleitzeitd.machines.parcels import parcels, weight
from gleitzeitd.model import change as c
from gleitzeitd.model.ledger import Attempt, Execution, WorkflowState
from gleitzeitd.model.names import Role, WorkflowId


def of_workflow(event: Event, envelope: Envelope) -> c.Change:
    """The change that an event delivered as ``save_workflow`` asks for."""
    fence = _fence(Role.DEPENDENCY_RESOLVER, event, envelope)
    match event:
        case p.SaveWorkflow():
            change: c.Change = c.AcceptWorkflow(
                workflow_id=event.workflow_id,
                digest=event.digest,
                document=event.workflow,
                inputs=event.inputs,
                correlation_id=envelope.correlation_id,
                fence=fence,
                by=event.by or actor_of(envelope),
            )
        case d.WorkflowCompleted():
            change = _end(event.workflow_id, WorkflowState.COMPLETED, fence)
        case d.WorkflowFailed():
            change = c.EndWorkflow(
                workflow_id=event.workflow_id, state=WorkflowState.FAILED, error=event.error, fence=fence
            )
        case d.WorkflowCancelled():
            change = _end(event.workflow_id, WorkflowState.CANCELLED, fence)
        case d.CancelWorkflow():
            change = c.CancelWorkflow(
                workflow_id=event.workflow_id,
                reason=event.reason,
                by=event.by or actor_of(envelope),
                fence=fence,
            )
        case _:
            raise AssertionError(event)
    return change


def of_task(event: Event, envelope: Envelope) -> c.Change:
    """The change that an event delivered as ``save_task`` asks for."""
    resolver = _fence(Role.DEPENDENCY_RESOLVER, event, envelope)
    match event:
        case d.WorkflowAnalyzed() | d.DependenciesSatisfied():
            change: c.Change = c.MakeReady(
                name=event.name,
                workflow_id=event.workflow_id,
                tasks=event.tasks,
                cursor=event.cursor,
                fence=resolver,
            )
        case d.TaskSkipped():
            change = c.SkipTasks(
                workflow_id=event.workflow_id, tasks=event.tasks, cursor=event.cursor, fence=resolver
            )
        case q.TaskAvailable():
            fence = _fence(Role.QUEUE_MANAGER, event, envelope)
            change = c.GrantLeases(shard=event.owned_shard, leases=event.leases, fence=fence)
        case e.TaskStarted():
            change = c.StartTask(
                attempt=Attempt(event.workflow_id, event.task_id, event.attempt),
                engine_id=envelope.source_component,
                provider_id=event.provider_id,
                started_at=event.started_at,
            )
        case q.TaskPriorityChanged():
            change = c.ChangePriority(
                workflow_id=event.workflow_id,
                task_ids=event.task_ids,
                priority=event.priority,
                fence=_fence(Role.QUEUE_MANAGER, event, envelope),
                by=event.by or actor_of(envelope),
            )
        case d.ResolveTask():
            change = c.ResolveTask(
                workflow_id=event.workflow_id,
                task_id=event.task_id,
                verdict=event.verdict,
                attempt=event.attempt,
                result=event.result,
                fence=resolver,
                by=event.by or actor_of(envelope),
            )
        case _:
            raise AssertionError(event)
    return change


def of_result(event: Event, envelope: Envelope) -> c.Change:
    """The change that an event delivered as ``save_result`` asks for."""
    engine = envelope.source_component
    match event:
        case e.TaskCompleted():
            change: c.Change = c.CompleteTask(
                attempt=Attempt(event.workflow_id, event.task_id, event.attempt),
                engine_id=engine,
                result=event.result,
                output=event.output,
                started_at=event.started_at,
                finished_at=event.finished_at,
            )
        case e.TaskFailed():
            change = c.FailTask(
                attempt=Attempt(event.workflow_id, event.task_id, event.attempt),
                engine_id=engine,
                error=event.error,
                output=event.output,
                started_at=event.started_at,
                finished_at=event.finished_at,
            )
        case _:
            raise AssertionError(event)
    return change


def _fence(role: Role, event: Event, envelope: Envelope) -> c.Fence:
    return c.Fence(role=role, asker=envelope.source_component, epoch=getattr(event, "epoch", None))


def _end(workflow_id: WorkflowId, state: WorkflowState, fence: c.Fence) -> c.EndWorkflow:
    return c.EndWorkflow(workflow_id=workflow_id, state=state, error=None, fence=fence)


def answer_of(change: c.Change, outcome: c.Outcome) -> Event:
    """What the asker is told of a change, after its commit."""
    if isinstance(change, c.DeleteWorkflow) and outcome.status is c.Status.STALE:
        return p.PersistenceError(error=WorkflowConflict(outcome.message).info())
    return p.DataSaved(
        status=outcome.status.value,
        # What does not fit is asked for again, and given again.
        executions=next(parcels(outcome.executions, _weight, most=len(outcome.executions)), []),
        refused=outcome.refused,
        message=outcome.message,
    )


def _weight(execution: Execution) -> int:
    return weight(execution.parameters)
