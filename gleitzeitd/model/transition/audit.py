"""What of the changes is in the audit: those that somebody asked for, in the transaction of the change.

So a change that happened is in the audit, and one that is in the audit happened. What was refused is noted
apart (:func:`refusal`), since that has to be limited: nobody fills the store by asking for what is refused.
"""

from __future__ import annotations

from gleitzeitd import errors
from gleitzeitd.model.audit import Action, Actor, AuditNote, refused
from gleitzeitd.model.change import (
    AcceptWorkflow,
    CancelWorkflow,
    Change,
    ChangePriority,
    DeleteWorkflow,
    NoteAudit,
    Outcome,
    ResolveTask,
    Status,
)
from gleitzeitd.model.ledger import Rows
from gleitzeitd.model.transition.rules import apply

_ACTIONS: dict[type[Change], Action] = {
    AcceptWorkflow: Action.SUBMIT,
    CancelWorkflow: Action.CANCEL,
    ChangePriority: Action.PRIORITY,
    ResolveTask: Action.RESOLVE,
    DeleteWorkflow: Action.DELETE,
}

Asked = AcceptWorkflow | CancelWorkflow | ChangePriority | ResolveTask | DeleteWorkflow


def applied(change: Change, rows: Rows, at: str) -> Outcome:
    """Carry out ``change``, and add it to the audit if somebody asked for it."""
    outcome = apply(change, rows, at)
    # One look for the many changes of tasks.
    if type(change) in _ACTIONS and outcome.status is Status.OK:
        assert isinstance(change, Asked)
        if change.by is not None:
            outcome.audited.append(rows.note(_note(change, change.by), at))
    return outcome


@apply.register
def _note_audit(change: NoteAudit, rows: Rows, at: str) -> Outcome:
    return Outcome(audited=[rows.note(each, at) for each in change.notes])


def refusal(change: Change, outcome: Outcome) -> AuditNote | None:
    """That what somebody asked for was not done; None if it was, or was done before."""
    if not isinstance(change, Asked) or change.by is None:
        return None
    error = _ERRORS.get(outcome.status)
    if error is None or (outcome.status is Status.STALE and isinstance(change, AcceptWorkflow)):
        return None  # a resolver that lost its shard: whoever owns it is asked next
    about = _note(change, change.by)
    return refused(about.action, about.object, change.by, error.info())


_ERRORS: dict[Status, errors.GleitzeitError] = {
    Status.MISSING: errors.WorkflowNotFound("there is none"),
    Status.STALE: errors.WorkflowConflict("it is in another state"),
    Status.CONFLICT: errors.WorkflowConflict("it was submitted before with another content"),
}


def _note(change: Asked, by: Actor) -> AuditNote:
    correlation_id = ""
    match change:
        case AcceptWorkflow():
            detail, correlation_id = "", change.correlation_id
        case ChangePriority():
            tasks = f" of {len(change.task_ids)} tasks" if change.task_ids else ""
            detail = f"priority {change.priority}{tasks}"
        case ResolveTask():
            detail = f"task {change.task_id}: {change.verdict.value}"
        case _:
            detail = ""
    return AuditNote(
        action=_ACTIONS[type(change)],
        object=change.workflow_id,
        actor=by,
        detail=detail,
        correlation_id=correlation_id,
    )
