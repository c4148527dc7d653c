"""What the ledger keeps, and the values in which others speak of it.

Rows are the durable state; changes are what others ask for; :mod:`gleitzeitd.model.transition`
says what becomes of a change. A task's way through the states:

    PENDING -> READY -> LEASED -> RUNNING -> DONE | FAILED | CANCELLED
    PENDING -> SKIPPED                      a dependency did not complete
    LEASED, RUNNING -> READY                the lease ended, the engine is gone
    LEASED, RUNNING -> RETRY -> READY       it failed, and may be tried again after a while
    PENDING, READY, RETRY, UNKNOWN -> CANCELLED    its workflow is cancelled
    READY, LEASED, RUNNING -> FAILED        its last attempt failed, it was lost too often, or waited too long
    RUNNING -> UNKNOWN                      it was lost, and may not run twice: an operator decides
    UNKNOWN -> READY | DONE | FAILED        the operator, or an engine that was only slow, has said what it is

A task's ``attempt`` grows with every lease and is the fencing token: who holds another one is outdated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag, StrEnum
from typing import NamedTuple, Protocol

from gleitzeitd.errors import ErrorInfo
from gleitzeitd.model.audit import AuditNote, AuditRecord
from gleitzeitd.model.names import ComponentId, Role, Shard, TaskId, WorkflowId
from gleitzeitd.model.resources import Resources
from gleitzeitd.model.retry import ONCE, RetryPolicy
from gleitzeitd.model.workflow import NO_TIMEOUTS, OnLost, Priority, Timeouts
from gleitzeitd.plain import Json
from gleitzeitd.record import record

QUARANTINE = 2
"""A task that was lost so often runs alone in its provider: if it kills that, nothing is lost with it."""
CRASH_LIMIT = 3
"""A task that was lost so often with its engine or provider has failed: it may be what kills them."""


class TaskState(StrEnum):
    """Where a task is. The value is its ``status`` in what users see."""

    PENDING = "pending"
    READY = "queued"
    LEASED = "assigned"
    RUNNING = "running"
    RETRY = "retry_pending"
    UNKNOWN = "unknown"
    """It was lost while it ran, and may not run twice: an operator says what became of it."""
    DONE = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


ENDED = frozenset({TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED, TaskState.SKIPPED})
HELD = frozenset({TaskState.LEASED, TaskState.RUNNING})
"""An engine holds the task."""


class WorkflowState(StrEnum):
    """Where a workflow is. The value is its ``status`` in what users see."""

    RUNNING = "running"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = frozenset({WorkflowState.RUNNING, WorkflowState.CANCELLING})


class Audience(IntFlag):
    """Who follows a feed entry, next to the watchers, who get all."""

    NONE = 0
    RESOLVER = 1
    QUEUE_MANAGER = 2

    @classmethod
    def of(cls, role: Role) -> Audience:
        """The audience that a role is."""
        return {Role.DEPENDENCY_RESOLVER: cls.RESOLVER, Role.QUEUE_MANAGER: cls.QUEUE_MANAGER}[role]


# --- values that travel in events ---------------------------------------------------------------


@record
class FeedStamp:
    """The place of an entry in its shard's feed."""

    number: int
    """Grows by one with every entry of the shard."""
    after_resolver: int = 0
    """Number of the entry before this one that the shard's resolver follows. Whoever has not seen that
    one has a gap."""
    after_queue_manager: int = 0
    after_workflow: int = 0
    """Number of the entry before this one about the same workflow."""


@record
class ReadyTask:
    """A task that can run now."""

    task_id: TaskId
    priority: int = Priority.NORMAL.value
    protocol: str = ""
    attempt: int = 0
    """The attempts so far; the next lease makes it one more."""
    parameters: dict[str, Json] | None = None
    """With every reference replaced. Only on the way to the ledger; the feed leaves it out."""


@record
class SkippedTask:
    """A task that will not run."""

    task_id: TaskId
    error: ErrorInfo
    failed: bool = False
    """It counts as failed itself: its parameters could not be made."""


@record
class LeaseWish:
    """A queue manager's wish to give a task to an engine."""

    workflow_id: WorkflowId
    task_id: TaskId
    attempt: int
    """The attempts so far, as the queue manager knows them."""
    engine_id: ComponentId


@record
class Execution:
    """All that an engine needs for one attempt."""

    workflow_id: WorkflowId
    task_id: TaskId
    attempt: int
    engine_id: ComponentId
    method: str
    protocol: str
    parameters: dict[str, Json] = field(default_factory=dict)
    timeout: float | None = None
    silence: float | None = None
    """Seconds that the work may be without output and progress."""
    alone: bool = False
    """In quarantine: the provider runs nothing else meanwhile."""
    once: bool = False
    """It may not run twice: no provider is called before the ledger knows of the start."""
    resources: Resources | None = None
    correlation_id: str = ""


@record
class OutputChunk:
    """Something that a task wrote."""

    stream: str
    """``stdout`` or ``stderr``; while a task runs also ``partial``, of a text that will be its result."""
    text: str


PARTIAL = "partial"
"""The stream of a text that is still growing. It is shown, and kept nowhere."""


class TaskKey(NamedTuple):
    """A task, among all workflows."""

    workflow_id: WorkflowId
    task_id: TaskId


class Attempt(NamedTuple):
    """One attempt of a task."""

    workflow_id: WorkflowId
    task_id: TaskId
    attempt: int

    @property
    def key(self) -> TaskKey:
        """The task."""
        return TaskKey(self.workflow_id, self.task_id)


class Waiting(StrEnum):
    """For what the ledger waits, but not for ever."""

    QUEUED = "queued"
    """For an engine to take the task."""
    START = "start"
    """For the engine to find a provider."""
    WORKFLOW = "workflow"
    """For the workflow to end."""


class Deadline(NamedTuple):
    """The end of a wait. It holds nothing up that is over: state and attempt have to fit."""

    kind: Waiting
    workflow_id: WorkflowId
    task_id: TaskId
    """Empty for a workflow's."""
    attempt: int
    """The attempts so far; 0 for a workflow's."""


class Verdict(StrEnum):
    """What an operator says of a task that is UNKNOWN."""

    RERUN = "rerun"
    """Run it again."""
    FAIL = "fail"
    """It has failed."""
    DONE = "done"
    """It was done, with this result."""


# --- rows ---------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class TaskRow:
    """One task. Its large values (parameters, result, output) are kept beside it."""

    workflow_id: WorkflowId
    task_id: TaskId
    name: str
    position: int
    """In the order of the document, from 0."""
    method: str
    protocol: str
    dependencies: tuple[TaskId, ...] = ()
    priority: int = Priority.NORMAL.value
    timeout: float | None = None
    retry: RetryPolicy = ONCE
    on_lost: OnLost = OnLost.RERUN
    timeouts: Timeouts = NO_TIMEOUTS
    resources: Resources | None = None
    state: TaskState = TaskState.PENDING
    attempt: int = 0
    owner: ComponentId | None = None
    """The engine that holds it, or held it last."""
    provider: ComponentId | None = None
    failures: int = 0
    """Ends of an attempt that were the task's own; the retry policy counts these."""
    crashes: int = 0
    """Attempts lost with an engine or a provider."""
    error: ErrorInfo | None = None
    """Of the last attempt that failed, or why it was skipped."""
    retry_delay: float | None = None
    """Seconds, while in RETRY; armed in full again when the ledger restarts."""
    ready_at: str = ""
    started_at: str = ""
    finished_at: str = ""

    @property
    def key(self) -> TaskKey:
        """What names it."""
        return TaskKey(self.workflow_id, self.task_id)


def deadline_of(
    key: TaskKey, attempt: int, state: TaskState, timeouts: Timeouts
) -> tuple[Deadline, float] | None:
    """When the ledger stops waiting for a task in this state, in seconds from now; None: never."""
    match state:
        case TaskState.READY:
            kind, seconds = Waiting.QUEUED, timeouts.queued
        case TaskState.LEASED:
            kind, seconds = Waiting.START, timeouts.start
        case _:
            return None
    return None if seconds is None else (Deadline(kind, *key, attempt), seconds)


def workflow_deadline(
    workflow_id: WorkflowId, state: WorkflowState, timeout: float | None
) -> tuple[Deadline, float] | None:
    """As :func:`deadline_of`, of a workflow."""
    if timeout is None or state is not WorkflowState.RUNNING:
        return None
    return Deadline(Waiting.WORKFLOW, workflow_id, TaskId(""), 0), timeout


@dataclass(slots=True, kw_only=True)
class WorkflowRow:
    """One workflow."""

    workflow_id: WorkflowId
    name: str
    shard: Shard
    digest: str
    correlation_id: str
    document: Json
    """``model.workflow.Workflow`` as plain data."""
    inputs: dict[str, Json]
    timeout: float | None = None
    state: WorkflowState = WorkflowState.RUNNING
    reason: str = ""
    """Why it was cancelled."""
    error: ErrorInfo | None = None
    """Why it failed, or will have failed when it has been cancelled."""
    tasks: int = 0
    open_tasks: int = 0
    """Tasks that have not ended."""
    last_number: int = 0
    """Of its last feed entry."""
    submitted_at: str = ""
    finished_at: str = ""


@dataclass(slots=True, kw_only=True)
class ShardRow:
    """A shard's feed, and who owns it."""

    shard: Shard
    number: int = 0
    """Of the last entry."""
    last_resolver: int = 0
    """Of the last entry that the resolver follows."""
    last_queue_manager: int = 0
    cursor: int = 0
    """Up to where the resolver's decisions are durable."""
    resolver: str = ""
    """The owner's incarnation."""
    resolver_epoch: int = 0
    queue_manager: str = ""
    queue_manager_epoch: int = 0
    horizon: int = 0
    """Up to this number entries may be missing: those of deleted workflows. Over it numbers are dense."""

    def epoch(self, role: Role) -> int:
        """Of the shard's owner of that role; 0 if there never was one."""
        return self.resolver_epoch if role is Role.DEPENDENCY_RESOLVER else self.queue_manager_epoch

    def owner(self, role: Role) -> str:
        """The incarnation that owns the shard for that role."""
        return self.resolver if role is Role.DEPENDENCY_RESOLVER else self.queue_manager

    def owner_id(self, role: Role) -> str:
        """The component whose incarnation owns it; empty if none does."""
        return self.owner(role).rpartition(".")[0]

    def last(self, role: Role) -> int:
        """The last number that the role follows."""
        return self.last_resolver if role is Role.DEPENDENCY_RESOLVER else self.last_queue_manager


@record
class Recovered:
    """What a ledger has to arm again when it starts."""

    shards: list[ShardRow]
    """All of them, in order."""
    held: list[tuple[Attempt, ComponentId]] = field(default_factory=list)
    """Attempts leased or running, with the engine."""
    waking: list[tuple[Attempt, float]] = field(default_factory=list)
    """Tasks in RETRY, with their full delay in seconds."""
    cancelling: list[WorkflowId] = field(default_factory=list)
    """Workflows whose last attempts are still to be ended."""
    deadlines: list[tuple[Deadline, float]] = field(default_factory=list)
    """With their full time in seconds."""


@record
class Fact:
    """One feed entry: what became true."""

    name: str
    """Of the event that publishes it."""
    workflow_id: WorkflowId
    shard: Shard
    correlation_id: str
    audience: Audience
    stamp: FeedStamp
    body: dict[str, Json]
    """The event's fields, but for ``feed``. A result is left out when it is kept, and put back when read."""


class Value(StrEnum):
    """The large values kept beside a task's row."""

    PARAMETERS = "parameters"
    RESULT = "result"
    OUTPUT = "output"


class Rows(Protocol):
    """The rows within one transaction. What is put is seen by what is read after it."""

    def task(self, key: TaskKey) -> TaskRow | None: ...

    def put_task(self, row: TaskRow) -> None: ...

    def open_tasks(self, workflow_id: WorkflowId) -> list[TaskRow]:
        """Those that have not ended, in document order."""
        ...

    def all_done(self, workflow_id: WorkflowId, task_ids: tuple[TaskId, ...]) -> bool:
        """Whether each of these is DONE."""
        ...

    def value(self, key: TaskKey, kind: Value) -> Json:
        """None if there is none."""
        ...

    def put_value(self, key: TaskKey, kind: Value, value: Json) -> None: ...

    def workflow(self, workflow_id: WorkflowId) -> WorkflowRow | None:
        """Perhaps without ``document`` and ``inputs``: they are large, and no transition needs them again."""
        ...

    def put_workflow(self, row: WorkflowRow) -> None: ...

    def shard(self, shard: Shard) -> ShardRow: ...

    def put_shard(self, row: ShardRow) -> None: ...

    def append(self, fact: Fact) -> None:
        """Keep a feed entry."""
        ...

    def note(self, note: AuditNote, at: str) -> AuditRecord:
        """Add to the audit, after its last record."""
        ...

    def delete_workflow(self, row: WorkflowRow, at: str) -> None:
        """Nothing of it is found any more, but for :meth:`was_deleted`; ``at`` is the wall clock."""
        ...

    def was_deleted(self, workflow_id: WorkflowId, correlation_id: str) -> bool:
        """Whether a workflow of this id was deleted lately that was submitted in this chain of events."""
        ...
