"""What others ask of the ledger, and what became of it. :mod:`gleitzeitd.model.transition` decides."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from gleitzeitd.errors import ErrorInfo
from gleitzeitd.model.audit import Actor, AuditNote, AuditRecord
from gleitzeitd.model.ledger import (
    Attempt,
    Deadline,
    Execution,
    Fact,
    LeaseWish,
    OutputChunk,
    ReadyTask,
    SkippedTask,
    TaskKey,
    Verdict,
    WorkflowState,
)
from gleitzeitd.model.names import ComponentId, Role, Shard, TaskId, WorkflowId
from gleitzeitd.plain import Json
from gleitzeitd.record import record


class Status(StrEnum):
    """What became of a change; on the wire, ``data_saved.status``."""

    OK = "ok"
    DUPLICATE = "duplicate"
    STALE = "stale"
    CONFLICT = "conflict"
    MISSING = "missing"


@record
class Fence:
    """Under which ownership of a shard a change is asked for, and by whom."""

    role: Role
    asker: ComponentId
    """As the hub has stamped it."""
    epoch: int | None = None
    """None: whichever the asker has it under."""


NOT_THE_OWNER = "another component owns the shard"
"""The message of an outcome that is stale for this reason alone: the owner is to be asked."""


class Change:
    """Base of all changes."""

    __slots__ = ()


@record
class AcceptWorkflow(Change):
    """Insert a workflow with its tasks."""

    workflow_id: WorkflowId
    digest: str
    document: Json
    inputs: dict[str, Json]
    correlation_id: str
    fence: Fence
    by: Actor | None = None
    """Who wants it; None: the ledger itself, and it is not in the audit."""


@record
class MakeReady(Change):
    """PENDING to READY."""

    name: str
    """Of the event that asks: ``workflow_analyzed`` or ``dependencies_satisfied``."""
    workflow_id: WorkflowId
    tasks: list[ReadyTask]
    cursor: int
    fence: Fence


@record
class SkipTasks(Change):
    """PENDING to SKIPPED, or to FAILED."""

    workflow_id: WorkflowId
    tasks: list[SkippedTask]
    cursor: int
    fence: Fence


@record
class GrantLeases(Change):
    """READY to LEASED, each for itself."""

    shard: Shard
    leases: list[LeaseWish]
    fence: Fence


@record
class StartTask(Change):
    """LEASED to RUNNING."""

    attempt: Attempt
    engine_id: ComponentId
    provider_id: ComponentId
    started_at: str


@record
class CompleteTask(Change):
    """Held to DONE."""

    attempt: Attempt
    engine_id: ComponentId
    result: Json
    output: list[OutputChunk]
    started_at: str
    finished_at: str


@record
class FailTask(Change):
    """Held to FAILED, RETRY, READY or CANCELLED."""

    attempt: Attempt
    engine_id: ComponentId
    error: ErrorInfo
    output: list[OutputChunk]
    started_at: str
    finished_at: str


@record
class LoseAttempt(Change):
    """Held to READY: the engine is gone or does not know of it."""

    attempt: Attempt
    reason: str


@record
class WakeTask(Change):
    """RETRY to READY: the delay is over."""

    attempt: Attempt


@record
class ResolveTask(Change):
    """UNKNOWN to READY, DONE or FAILED."""

    workflow_id: WorkflowId
    task_id: TaskId
    verdict: Verdict
    attempt: int = 0
    """The one that is judged; 0: whichever is unknown now."""
    result: Json = None
    fence: Fence | None = None
    """None: the ledger itself wants it."""
    by: Actor | None = None
    """Who wants it; None: the ledger itself, and it is not in the audit."""


@record
class Expire(Change):
    """What was waited for has not happened in time."""

    deadline: Deadline


@record
class EndWorkflow(Change):
    """All its tasks have ended."""

    workflow_id: WorkflowId
    state: WorkflowState
    error: ErrorInfo | None
    fence: Fence


@record
class CancelWorkflow(Change):
    """Nothing of it starts any more."""

    workflow_id: WorkflowId
    reason: str
    fence: Fence | None = None
    """None: the ledger itself wants it."""
    by: Actor | None = None
    """Who wants it; None: the ledger itself, and it is not in the audit."""


@record
class DeleteWorkflow(Change):
    """It has ended, and nothing of it is kept."""

    workflow_id: WorkflowId
    by: Actor | None = None
    """Who wants it; None: the ledger itself, and it is not in the audit."""


@record
class ChangePriority(Change):
    """Of tasks that do not run yet."""

    workflow_id: WorkflowId
    task_ids: list[TaskId]
    priority: int
    fence: Fence | None = None
    """None: the ledger itself wants it."""
    by: Actor | None = None
    """Who wants it; None: the ledger itself, and it is not in the audit."""


@record
class NoteAudit(Change):
    """Record what was done or refused elsewhere."""

    notes: list[AuditNote]


@record
class TakeShards(Change):
    """Give shards to an owner, each under a new epoch."""

    role: Role
    owner: str
    shards: list[Shard]


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of a change, for its asker, for the feed, and for the ledger's timers."""

    status: Status = Status.OK
    message: str = ""
    facts: list[Fact] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    refused: list[LeaseWish] = field(default_factory=list)
    released: list[TaskKey] = field(default_factory=list)
    """Tasks that no engine holds any more."""
    waking: list[tuple[Attempt, float]] = field(default_factory=list)
    """Tasks in RETRY, with the delay in seconds."""
    cancel: list[tuple[Attempt, ComponentId]] = field(default_factory=list)
    """Attempts that engines have to end."""
    deadlines: list[tuple[Deadline, float]] = field(default_factory=list)
    """What is waited for from now on, and for how many seconds."""
    audited: list[AuditRecord] = field(default_factory=list)
    """What was added to the audit."""
