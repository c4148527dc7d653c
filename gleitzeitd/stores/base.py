"""The contract every backend fulfils; ``tests/stores/contract.py`` checks it.

A store keeps the ledger's rows. It decides nothing: inside one transaction it hands its rows to
:func:`gleitzeitd.model.transition.apply`, change by change, and commits once for all of them.
A method that cannot read or write raises :class:`gleitzeitd.errors.StoreError`; then nothing of the
call has happened.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from gleitzeitd.model.audit import BEGINNING, AuditRecord
from gleitzeitd.model.change import Change, Outcome
from gleitzeitd.model.ledger import (
    Audience,
    Fact,
    OutputChunk,
    ReadyTask,
    Recovered,
    TaskRow,
    TaskState,
    WorkflowRow,
)
from gleitzeitd.model.names import Shard, TaskId, WorkflowId
from gleitzeitd.plain import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenWorkflow:
    """An unfinished workflow, as a resolver takes it over."""

    row: WorkflowRow
    states: dict[TaskId, TaskState]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyEntry:
    """A ready task, as a queue manager takes it over."""

    workflow_id: WorkflowId
    correlation_id: str
    task: ReadyTask


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """Which records of the audit are wanted; None: whichever."""

    after: int = 0
    """Only numbers over this."""
    before: int | None = None
    """Only numbers below this."""
    newest_first: bool = False
    since: str | None = None
    """ISO 8601 UTC, as :meth:`Store.commit` was given it."""
    subject: str | None = None
    action: str | None = None
    object: str | None = None
    outcome: str | None = None
    limit: int = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """Some records of the audit."""

    records: list[AuditRecord] = field(default_factory=list)
    last: int = 0
    """The number of the last record that there is."""
    horizon: int = 0
    """Up to this number they are gone, for their age or since they were too many."""
    anchor: str = BEGINNING
    """The hash of the record with that number."""


class Store(ABC):
    """A place that remembers across restarts. One process at a time has it open."""

    @abstractmethod
    async def open(self) -> Recovered:
        """Take exclusive hold, check integrity, bring the schema up to date.

        Raises:
            StoreLocked: another process has it.
            StoreCorrupt: it is damaged, or from a newer version; the message says what to do.
        """

    @abstractmethod
    async def close(self) -> None:
        """Release every resource. Safe to call twice, and without ``open``."""

    @abstractmethod
    async def commit(self, changes: Sequence[Change], at: str) -> list[Outcome]:
        """Apply the changes in order, in one transaction, durable when this returns.

        ``at`` is the wall clock, ISO 8601 UTC.
        """

    @abstractmethod
    async def feed(self, shard: Shard, audience: Audience, after: int, limit: int) -> tuple[list[Fact], int]:
        """Entries of a shard with numbers over ``after``, in order, that the audience follows; NONE are the
        watchers, who follow all. And the shard's horizon at that time: up to it entries may be missing.

        The results of ``task_completed`` entries are in their bodies.
        """

    @abstractmethod
    async def history(self, workflow_id: WorkflowId, after: int, limit: int) -> list[Fact]:
        """Entries about one workflow with numbers over ``after``, in order, without results."""

    @abstractmethod
    async def open_workflows(
        self, shard: Shard, after: WorkflowId | None, limit: int
    ) -> tuple[list[OpenWorkflow], int]:
        """Unfinished workflows of a shard, by id, after ``after``; and the shard's number at that time."""

    @abstractmethod
    async def ready_tasks(
        self, shard: Shard, after: tuple[WorkflowId, TaskId] | None, limit: int
    ) -> tuple[list[ReadyEntry], int]:
        """READY tasks of a shard, by workflow_id and position, after ``after``; and its number then."""

    @abstractmethod
    async def workflow(self, workflow_id: WorkflowId) -> WorkflowRow | None:
        """One workflow."""

    @abstractmethod
    async def workflows(
        self,
        *,
        status: str | None,
        name_contains: str | None,
        before: str | None,
        limit: int,
        id_prefix: str = "",
    ) -> list[WorkflowRow]:
        """Workflows, newest first, without ``document`` (it is None) and ``inputs`` (empty).

        ``before`` is the ``submitted_at/workflow_id`` of the last one of the page before. ``name_contains``
        looks at capitals and small letters as they are, and so does ``id_prefix``.
        """

    @abstractmethod
    async def tasks(self, workflow_id: WorkflowId, after: int, limit: int) -> list[TaskRow]:
        """Tasks of a workflow with positions over ``after``, in document order."""

    @abstractmethod
    async def results(self, workflow_id: WorkflowId, task_ids: Sequence[TaskId]) -> dict[TaskId, Json]:
        """Results of those of these tasks that are DONE; of all, if ``task_ids`` is empty."""

    @abstractmethod
    async def output(
        self, workflow_id: WorkflowId, task_ids: Sequence[TaskId]
    ) -> dict[TaskId, list[OutputChunk]]:
        """What these tasks wrote in their last attempt that has ended; of all, if ``task_ids`` is empty.

        Those that wrote nothing are left out.
        """

    @abstractmethod
    async def finished(self, *, before: str, keep: int | None, spare: str, limit: int) -> list[WorkflowId]:
        """Workflows that may be deleted, oldest ending first: those that ended before ``before``, and of
        those that ended before ``spare`` the ones that are not among the newest ``keep`` endings.

        Times are ISO 8601 UTC, as :meth:`commit` was given them; empty is before all. ``keep`` of None has
        no bound.
        """

    @abstractmethod
    async def sweep(self, rows: int, forget: str) -> int:
        """Give back what deleted workflows have left behind, in one transaction of at most about ``rows``
        rows, and forget deletions from before ``forget``; how many rows that were. 0: nothing is left.

        It is bounded in time, too, and need not be durable when this returns: what is undone is done again.
        """

    @abstractmethod
    async def audit(self, query: AuditQuery) -> AuditPage:
        """Records of the audit, in the order of their numbers, or the other way round."""

    @abstractmethod
    async def trim_audit(self, *, before: str, keep: int | None, limit: int) -> int:
        """Let go of at most ``limit`` of the oldest records: of those from before ``before`` (ISO 8601 UTC;
        empty is before all), and of those beyond the newest ``keep``; how many went. No other way leads out
        of the audit. As with :meth:`sweep`, what is undone is done again.
        """

    @abstractmethod
    async def counts(self) -> dict[str, int]:
        """Workflows by status, for metrics; a status that none has is left out."""


__all__ = ["AuditPage", "AuditQuery", "OpenWorkflow", "ReadyEntry", "Recovered", "Store"]
