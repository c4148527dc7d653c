"""Keeps rows until the process ends. For tests and trials.

A commit works on copies of the rows that it touches and puts them in place at its end, so that an
exception on the way leaves everything as it was. What is read is a copy too; JSON values are not copied.
"""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from gleitzeitd.model.audit import BEGINNING, AuditNote, AuditRecord, recorded
from gleitzeitd.model.change import Change, Outcome
from gleitzeitd.model.ledger import (
    ENDED,
    HELD,
    OPEN,
    Attempt,
    Audience,
    Fact,
    OutputChunk,
    ReadyTask,
    Rows,
    ShardRow,
    TaskKey,
    TaskRow,
    TaskState,
    Value,
    WorkflowRow,
    WorkflowState,
    deadline_of,
    workflow_deadline,
)
from gleitzeitd.model.names import SHARDS, Shard, TaskId, WorkflowId
from gleitzeitd.model.transition import apply
from gleitzeitd.plain import Json, from_plain
from gleitzeitd.stores.base import AuditPage, AuditQuery, OpenWorkflow, ReadyEntry, Recovered, Store


@dataclass(slots=True)
class _Tables:
    workflows: dict[WorkflowId, WorkflowRow] = field(default_factory=dict)
    tasks: dict[WorkflowId, dict[TaskId, TaskRow]] = field(default_factory=dict)
    """Of each workflow in document order."""
    values: dict[tuple[TaskKey, Value], Json] = field(default_factory=dict)
    shards: list[ShardRow] = field(default_factory=lambda: [ShardRow(shard=Shard(n)) for n in range(SHARDS)])
    feeds: list[list[Fact]] = field(default_factory=lambda: [[] for _ in range(SHARDS)])
    """Of each shard, in order."""
    histories: dict[WorkflowId, list[Fact]] = field(default_factory=dict)
    deleted: dict[tuple[WorkflowId, str], str] = field(default_factory=dict)
    """When, by id and correlation id."""
    audit: list[AuditRecord] = field(default_factory=list)
    horizon: tuple[int, str] = (0, BEGINNING)
    """Number and hash of the last record of the audit that is gone."""

    def forget(self, workflow_id: WorkflowId) -> None:
        """All that is kept of a workflow."""
        row = self.workflows.pop(workflow_id, None)
        if row is None:
            return
        for key in [TaskKey(workflow_id, task_id) for task_id in self.tasks.pop(workflow_id, {})]:
            for kind in Value:
                self.values.pop((key, kind), None)
        self.histories.pop(workflow_id, None)
        self.feeds[row.shard] = [fact for fact in self.feeds[row.shard] if fact.workflow_id != workflow_id]


class _Transaction(Rows):
    """The rows within one commit: copies of what was touched, in front of the tables."""

    def __init__(self, tables: _Tables) -> None:
        self._tables = tables
        self._tasks: dict[TaskKey, TaskRow] = {}
        self._workflows: dict[WorkflowId, WorkflowRow] = {}
        self._shards: dict[Shard, ShardRow] = {}
        self._values: dict[tuple[TaskKey, Value], Json] = {}
        self._facts: list[Fact] = []
        self._audit: list[AuditRecord] = []
        # Only what was put is kept: a row that was read and altered is nobody's business.
        self._put_tasks: dict[TaskKey, TaskRow] = {}
        self._put_workflows: dict[WorkflowId, WorkflowRow] = {}
        self._put_shards: dict[Shard, ShardRow] = {}
        self.deleted: dict[WorkflowId, dict[str, str]] = {}
        """When, by id and correlation id: what the tables have of these workflows is gone."""

    def _kept(self, workflow_id: WorkflowId) -> dict[TaskId, TaskRow]:
        return {} if workflow_id in self.deleted else self._tables.tasks.get(workflow_id, {})

    def _current(self, key: TaskKey) -> TaskRow | None:
        return self._tasks.get(key) or self._kept(key.workflow_id).get(key.task_id)

    def task(self, key: TaskKey) -> TaskRow | None:
        row = self._tasks.get(key)
        if row is None:
            kept = self._kept(key.workflow_id).get(key.task_id)
            if kept is None:
                return None
            row = self._tasks[key] = replace(kept)
        return row

    def put_task(self, row: TaskRow) -> None:
        self._tasks[row.key] = self._put_tasks[row.key] = row

    def open_tasks(self, workflow_id: WorkflowId) -> list[TaskRow]:
        kept = self._kept(workflow_id)
        keys = [TaskKey(workflow_id, task_id) for task_id in kept]
        keys += [key for key in self._put_tasks if key.workflow_id == workflow_id and key.task_id not in kept]
        found = []
        for key in keys:
            current = self._current(key)
            if current is not None and current.state not in ENDED:
                found.append(self.task(key) or current)
        return sorted(found, key=lambda row: row.position)

    def all_done(self, workflow_id: WorkflowId, task_ids: tuple[TaskId, ...]) -> bool:
        rows = (self._current(TaskKey(workflow_id, task_id)) for task_id in task_ids)
        return all(row is not None and row.state is TaskState.DONE for row in rows)

    def value(self, key: TaskKey, kind: Value) -> Json:
        place = (key, kind)
        if place in self._values or key.workflow_id in self.deleted:
            return self._values.get(place)
        return self._tables.values.get(place)

    def put_value(self, key: TaskKey, kind: Value, value: Json) -> None:
        self._values[key, kind] = value

    def workflow(self, workflow_id: WorkflowId) -> WorkflowRow | None:
        row = self._workflows.get(workflow_id)
        if row is None:
            kept = None if workflow_id in self.deleted else self._tables.workflows.get(workflow_id)
            if kept is None:
                return None
            row = self._workflows[workflow_id] = replace(kept)
        return row

    def put_workflow(self, row: WorkflowRow) -> None:
        self._workflows[row.workflow_id] = self._put_workflows[row.workflow_id] = row

    def shard(self, shard: Shard) -> ShardRow:
        row = self._shards.get(shard)
        if row is None:
            row = self._shards[shard] = replace(self._tables.shards[shard])
        return row

    def put_shard(self, row: ShardRow) -> None:
        self._shards[row.shard] = self._put_shards[row.shard] = row

    def append(self, fact: Fact) -> None:
        self._facts.append(fact)

    def note(self, note: AuditNote, at: str) -> AuditRecord:
        before = (self._audit or self._tables.audit)[-1:]
        number, head = (before[0].number, before[0].hash) if before else self._tables.horizon
        self._audit.append(recorded(note, at, number + 1, head))
        return self._audit[-1]

    def delete_workflow(self, row: WorkflowRow, at: str) -> None:
        workflow_id = row.workflow_id
        self.deleted.setdefault(workflow_id, {})[row.correlation_id] = at
        for rows in (self._workflows, self._put_workflows):
            rows.pop(workflow_id, None)
        for tasks in (self._tasks, self._put_tasks):
            for key in [key for key in tasks if key.workflow_id == workflow_id]:
                del tasks[key]
        self._values = {x: value for x, value in self._values.items() if x[0].workflow_id != workflow_id}
        self._facts = [fact for fact in self._facts if fact.workflow_id != workflow_id]

    def was_deleted(self, workflow_id: WorkflowId, correlation_id: str) -> bool:
        here = self.deleted.get(workflow_id, {})
        return correlation_id in here or (workflow_id, correlation_id) in self._tables.deleted

    def keep(self) -> None:
        """Put everything in place. Nothing in here can fail half-way."""
        tables = self._tables
        for workflow_id, chains in self.deleted.items():
            tables.forget(workflow_id)
            tables.deleted.update({(workflow_id, chain): at for chain, at in chains.items()})
        tables.workflows.update(self._put_workflows)
        for key, row in self._put_tasks.items():
            tables.tasks.setdefault(key.workflow_id, {})[key.task_id] = row
        tables.values.update(self._values)
        for number, shard in self._put_shards.items():
            tables.shards[number] = shard
        tables.audit += self._audit
        for fact in self._facts:
            tables.feeds[fact.shard].append(fact)
            tables.histories.setdefault(fact.workflow_id, []).append(fact)


class MemoryStore(Store):
    """Forgets everything when it is garbage; closing and opening it again forgets nothing."""

    def __init__(self) -> None:
        self._tables = _Tables()

    async def open(self) -> Recovered:
        tables = self._tables
        found = Recovered(shards=[replace(row) for row in tables.shards])
        for workflow in self._unfinished():
            if workflow.state is WorkflowState.CANCELLING:
                found.cancelling.append(workflow.workflow_id)
            ends = [workflow_deadline(workflow.workflow_id, workflow.state, workflow.timeout)]
            for row in tables.tasks.get(workflow.workflow_id, {}).values():
                attempt = Attempt(*row.key, row.attempt)
                if row.state in HELD and row.owner is not None:
                    found.held.append((attempt, row.owner))
                if row.state is TaskState.RETRY:
                    found.waking.append((attempt, row.retry_delay or 0.0))
                ends.append(deadline_of(row.key, row.attempt, row.state, row.timeouts))
            found.deadlines.extend(deadline for deadline in ends if deadline is not None)
        return found

    async def close(self) -> None: ...

    async def commit(self, changes: Sequence[Change], at: str) -> list[Outcome]:
        transaction = _Transaction(self._tables)
        outcomes = [apply(change, transaction, at) for change in changes]
        transaction.keep()
        return outcomes

    def _unfinished(self, shard: Shard | None = None, after: WorkflowId | None = None) -> list[WorkflowRow]:
        rows = [
            row
            for row in self._tables.workflows.values()
            if row.state in OPEN
            and (shard is None or row.shard == shard)
            and (after is None or row.workflow_id > after)
        ]
        return sorted(rows, key=lambda row: row.workflow_id)

    async def feed(self, shard: Shard, audience: Audience, after: int, limit: int) -> tuple[list[Fact], int]:
        feed = self._tables.feeds[shard]
        entries = islice(feed, bisect_right(feed, after, key=lambda fact: fact.stamp.number), None)
        followed = (fact for fact in entries if not audience or fact.audience & audience)
        return list(islice(followed, limit)), self._tables.shards[shard].horizon

    async def history(self, workflow_id: WorkflowId, after: int, limit: int) -> list[Fact]:
        entries = (fact for fact in self._tables.histories.get(workflow_id, []) if fact.stamp.number > after)
        return [_without_result(fact) for fact in islice(entries, limit)]

    async def open_workflows(
        self, shard: Shard, after: WorkflowId | None, limit: int
    ) -> tuple[list[OpenWorkflow], int]:
        found = [
            OpenWorkflow(
                row=replace(row),
                states={
                    task_id: task.state
                    for task_id, task in self._tables.tasks.get(row.workflow_id, {}).items()
                },
            )
            for row in self._unfinished(shard, after)[:limit]
        ]
        return found, self._tables.shards[shard].number

    async def ready_tasks(
        self, shard: Shard, after: tuple[WorkflowId, TaskId] | None, limit: int
    ) -> tuple[list[ReadyEntry], int]:
        entries = islice(self._ready(shard, after), limit)
        return list(entries), self._tables.shards[shard].number

    def _ready(self, shard: Shard, after: tuple[WorkflowId, TaskId] | None) -> Iterator[ReadyEntry]:
        for workflow in self._unfinished(shard):
            tasks = self._tables.tasks.get(workflow.workflow_id, {})
            start = -1
            if after is not None:
                if workflow.workflow_id < after[0]:
                    continue
                last = tasks.get(after[1]) if workflow.workflow_id == after[0] else None
                start = last.position if last is not None else -1
            for row in tasks.values():
                if row.state is TaskState.READY and row.position > start:
                    yield ReadyEntry(
                        workflow_id=row.workflow_id,
                        correlation_id=workflow.correlation_id,
                        task=ReadyTask(
                            task_id=row.task_id,
                            priority=row.priority,
                            protocol=row.protocol,
                            attempt=row.attempt,
                        ),
                    )

    async def workflow(self, workflow_id: WorkflowId) -> WorkflowRow | None:
        row = self._tables.workflows.get(workflow_id)
        return None if row is None else replace(row)

    async def workflows(
        self,
        *,
        status: str | None,
        name_contains: str | None,
        before: str | None,
        limit: int,
        id_prefix: str = "",
    ) -> list[WorkflowRow]:
        rows = sorted(self._tables.workflows.values(), key=_place, reverse=True)
        wanted = (
            replace(row, document=None, inputs={})
            for row in rows
            if (status is None or row.state.value == status)
            and row.workflow_id.startswith(id_prefix)
            and (name_contains is None or name_contains in row.name)
            and (before is None or _place(row) < tuple(before.split("/", 1)))
        )
        return list(islice(wanted, limit))

    async def tasks(self, workflow_id: WorkflowId, after: int, limit: int) -> list[TaskRow]:
        rows = self._tables.tasks.get(workflow_id, {}).values()
        return [replace(row) for row in islice((row for row in rows if row.position > after), limit)]

    async def results(self, workflow_id: WorkflowId, task_ids: Sequence[TaskId]) -> dict[TaskId, Json]:
        return {
            row.task_id: self._tables.values.get((row.key, Value.RESULT))
            for row in self._chosen(workflow_id, task_ids)
            if row.state is TaskState.DONE
        }

    async def output(
        self, workflow_id: WorkflowId, task_ids: Sequence[TaskId]
    ) -> dict[TaskId, list[OutputChunk]]:
        found = {}
        for row in self._chosen(workflow_id, task_ids):
            chunks = self._tables.values.get((row.key, Value.OUTPUT))
            if chunks:
                found[row.task_id] = [from_plain(OutputChunk, chunk) for chunk in chunks]
        return found

    def _chosen(self, workflow_id: WorkflowId, task_ids: Sequence[TaskId]) -> list[TaskRow]:
        rows = self._tables.tasks.get(workflow_id, {})
        if not task_ids:
            return list(rows.values())
        return [rows[task_id] for task_id in dict.fromkeys(task_ids) if task_id in rows]

    async def finished(self, *, before: str, keep: int | None, spare: str, limit: int) -> list[WorkflowId]:
        ended = [row for row in self._tables.workflows.values() if row.finished_at]
        ended.sort(key=lambda row: row.finished_at)
        surplus = 0 if keep is None else len(ended) - keep
        due = (
            row.workflow_id
            for place, row in enumerate(ended)
            if row.finished_at < before or (place < surplus and row.finished_at < spare)
        )
        return list(islice(due, limit))

    async def sweep(self, rows: int, forget: str) -> int:
        """Only deletions are left to be forgotten: the rest went with the commit."""
        deleted = self._tables.deleted
        over = list(islice((key for key, at in deleted.items() if at < forget), rows))
        for key in over:
            del deleted[key]
        return len(over)

    async def audit(self, query: AuditQuery) -> AuditPage:
        records = self._tables.audit
        ordered = reversed(records) if query.newest_first else iter(records)
        wanted = (one for one in ordered if _is_wanted(one, query))
        number, head = self._tables.horizon
        last = records[-1].number if records else number
        return AuditPage(records=list(islice(wanted, query.limit)), last=last, horizon=number, anchor=head)

    async def trim_audit(self, *, before: str, keep: int | None, limit: int) -> int:
        records = self._tables.audit
        surplus = 0 if keep is None else len(records) - keep
        young = (place for place, one in enumerate(records) if one.at >= before)
        gone = min(max(surplus, next(young, len(records))), limit, len(records))
        if gone > 0:
            self._tables.horizon = (records[gone - 1].number, records[gone - 1].hash)
            del records[:gone]
        return gone

    async def counts(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for row in self._tables.workflows.values():
            found[row.state.value] = found.get(row.state.value, 0) + 1
        return found


def _place(row: WorkflowRow) -> tuple[str, str]:
    return (row.submitted_at, row.workflow_id)


def _is_wanted(one: AuditRecord, query: AuditQuery) -> bool:
    note = one.note
    pairs = (
        (query.subject, note.actor.subject),
        (query.action, note.action),
        (query.object, note.object),
        (query.outcome, note.outcome.value),
    )
    return (
        one.number > query.after
        and (query.before is None or one.number < query.before)
        and (query.since is None or one.at >= query.since)
        and all(wanted is None or wanted == found for wanted, found in pairs)
    )


def _without_result(fact: Fact) -> Fact:
    if fact.name != "task_completed":
        return fact
    body = copy.copy(fact.body)
    body.pop("result", None)
    return replace(fact, body=body)
