"""The rows within one transaction of SQLite, and what a row is in columns.

Each row is read once and kept as an object; what was put is written at the end, many rows per
statement. A workflow's document and inputs are not read here: no transition looks at them again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from gleitzeitd.errors import ErrorInfo
from gleitzeitd.model.audit import AuditNote, AuditRecord
from gleitzeitd.model.ledger import (
    ENDED,
    Fact,
    Rows,
    ShardRow,
    TaskKey,
    TaskRow,
    TaskState,
    Value,
    WorkflowRow,
    WorkflowState,
)
from gleitzeitd.model.names import Shard, TaskId, WorkflowId
from gleitzeitd.model.retry import ONCE, RetryPolicy
from gleitzeitd.model.workflow import NO_TIMEOUTS, OnLost, Timeouts
from gleitzeitd.plain import Json, from_plain, to_plain
from gleitzeitd.stores.sqlite_audit import Ending
from gleitzeitd.stores.sqlite_kept import Kept

POSITION_BITS = 20
NUMBER_BITS = 48
KINDS = {Value.PARAMETERS: 0, Value.RESULT: 1, Value.OUTPUT: 2}
CHUNK = 500
"""Ids in one statement."""

WORKFLOW_COLUMNS = (
    "workflow_id, name, shard, digest, correlation_id, timeout, state, reason, error, tasks, open_tasks, "
    "last_number, submitted_at, finished_at"
)
TASK_COLUMNS = (
    "task_id, name, method, protocol, dependencies, priority, timeout, retry, on_lost, timeouts, state, "
    "attempt, owner, provider, failures, crashes, error, retry_delay, ready_at, started_at, finished_at, "
    "resources"
)
SHARD_COLUMNS = (
    "shard, number, last_resolver, last_queue_manager, cursor, resolver, resolver_epoch, queue_manager, "
    "queue_manager_epoch, horizon"
)

_ENDED = ", ".join(sorted(f"'{state.value}'" for state in ENDED))
_WORKFLOW = f"SELECT serial, {WORKFLOW_COLUMNS} FROM workflow WHERE workflow_id = ?"
_TASK = f"SELECT id, {TASK_COLUMNS} FROM task WHERE workflow = ? AND task_id = ?"
_OPEN_TASKS = (
    f"SELECT id, {TASK_COLUMNS} FROM task WHERE id BETWEEN ? AND ? AND state NOT IN ({_ENDED}) ORDER BY id"
)
_VALUE = "SELECT value FROM value WHERE id = ?"
_SHARD = f"SELECT {SHARD_COLUMNS} FROM shard WHERE shard = ?"


def _marks(columns: str) -> str:
    return ", ".join("?" * (columns.count(",") + 1))


_ADD_WORKFLOW = f"INSERT INTO workflow ({WORKFLOW_COLUMNS}) VALUES ({_marks(WORKFLOW_COLUMNS)})"
_ADD_DOCUMENT = "INSERT INTO document (serial, document, inputs) VALUES (?, ?, ?)"
_COUNT_WORKFLOW = "UPDATE workflow SET open_tasks = ?, last_number = ? WHERE serial = ?"
_SET_WORKFLOW = (
    "UPDATE workflow SET open_tasks = ?, last_number = ?, state = ?, reason = ?, error = ?, finished_at = ? "
    "WHERE serial = ?"
)
_ADD_TASK = f"INSERT INTO task (id, workflow, {TASK_COLUMNS}) VALUES (?, ?, {_marks(TASK_COLUMNS)})"
_SET_TASK = (
    "UPDATE task SET priority = ?, state = ?, attempt = ?, owner = ?, provider = ?, failures = ?, "
    "crashes = ?, error = ?, retry_delay = ?, ready_at = ?, started_at = ?, finished_at = ? WHERE id = ?"
)
_SET_VALUE = "INSERT OR REPLACE INTO value (id, value) VALUES (?, ?)"
_SET_SHARD = f"INSERT OR REPLACE INTO shard ({SHARD_COLUMNS}) VALUES ({_marks(SHARD_COLUMNS)})"
_ADD_FACT = (
    "INSERT INTO feed (id, workflow, name, audience, after_resolver, after_queue_manager, after_workflow, "
    "task, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

_DELETE_WORKFLOW = "DELETE FROM workflow WHERE serial = ?"
_DELETE_DOCUMENT = "DELETE FROM document WHERE serial = ?"
_ADD_DELETED = (
    "INSERT INTO deleted (serial, workflow_id, correlation_id, deleted_at, swept) VALUES (?, ?, ?, ?, 0)"
)
_WAS_DELETED = "SELECT 1 FROM deleted WHERE workflow_id = ? AND correlation_id = ?"

_TASK_STATES = {state.value: state for state in TaskState}
_WORKFLOW_STATES = {state.value: state for state in WorkflowState}
_ON_LOST = {each.value: each for each in OnLost}

# Half characters, which JSON admits, are escaped with everything else that is no ASCII: SQLite takes UTF-8.
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def task_range(serial: int) -> tuple[int, int]:
    """The least and the greatest id that a task of a workflow can have."""
    return serial << POSITION_BITS, ((serial + 1) << POSITION_BITS) - 1


def value_id(task: int, kind: Value) -> int:
    """Where a task's large value is."""
    return task * 4 + KINDS[kind]


def entry_id(shard: Shard, number: int) -> int:
    """Where a feed entry is."""
    return (shard << NUMBER_BITS) + number


def text(given: str) -> str:
    """``given``, with ``?`` for half characters, which no UTF-8 has."""
    return given if given.isascii() else given.encode(errors="replace").decode()


def error_of(kept: str | None) -> ErrorInfo | None:
    return None if kept is None else from_plain(ErrorInfo, json.loads(kept))


def timeouts_of(kept: str) -> Timeouts:
    return from_plain(Timeouts, json.loads(kept)) if kept else NO_TIMEOUTS


def _error(error: ErrorInfo | None) -> str | None:
    return None if error is None else _encode(to_plain(error))


def workflow_of(
    columns: Sequence[Any], document: Json = None, inputs: dict[str, Json] | None = None
) -> WorkflowRow:
    """A row of WORKFLOW_COLUMNS."""
    return WorkflowRow(
        workflow_id=columns[0],
        name=columns[1],
        shard=columns[2],
        digest=columns[3],
        correlation_id=columns[4],
        document=document,
        inputs={} if inputs is None else inputs,
        timeout=columns[5],
        state=_WORKFLOW_STATES[columns[6]],
        reason=columns[7],
        error=error_of(columns[8]),
        tasks=columns[9],
        open_tasks=columns[10],
        last_number=columns[11],
        submitted_at=columns[12],
        finished_at=columns[13],
    )


def task_of(workflow_id: WorkflowId, columns: Sequence[Any]) -> TaskRow:
    """A row of TASK_COLUMNS after the id."""
    return TaskRow(
        workflow_id=workflow_id,
        task_id=columns[1],
        name=columns[2],
        position=columns[0] & ((1 << POSITION_BITS) - 1),
        method=columns[3],
        protocol=columns[4],
        dependencies=tuple(json.loads(columns[5])) if columns[5] else (),
        priority=columns[6],
        timeout=columns[7],
        retry=from_plain(RetryPolicy, json.loads(columns[8])) if columns[8] else ONCE,
        on_lost=_ON_LOST[columns[9]],
        timeouts=timeouts_of(columns[10]),
        state=_TASK_STATES[columns[11]],
        attempt=columns[12],
        owner=columns[13],
        provider=columns[14],
        failures=columns[15],
        crashes=columns[16],
        error=error_of(columns[17]),
        retry_delay=columns[18],
        ready_at=columns[19],
        started_at=columns[20],
        finished_at=columns[21],
        resources=json.loads(columns[22]) if columns[22] else None,
    )


def shard_of_columns(columns: Sequence[Any]) -> ShardRow:
    """A row of SHARD_COLUMNS."""
    return ShardRow(
        shard=columns[0],
        number=columns[1],
        last_resolver=columns[2],
        last_queue_manager=columns[3],
        cursor=columns[4],
        resolver=columns[5],
        resolver_epoch=columns[6],
        queue_manager=columns[7],
        queue_manager_epoch=columns[8],
        horizon=columns[9],
    )


class SqliteRows(Rows):
    """Lives as long as its transaction; :meth:`flush` before the commit.

    What it has read or changed stays in ``kept``, which is to be cleared if the transaction fails.
    """

    def __init__(self, db: sqlite3.Connection, kept: Kept | None = None) -> None:
        self._db = db
        kept = kept or Kept()
        self._workflows, self._serials, self._heads = kept.workflows, kept.serials, kept.heads
        self._tasks, self._ids, self._shards, self._done = kept.tasks, kept.ids, kept.shards, kept.done
        self._inserted: set[WorkflowId] = set()
        self._put_workflows: dict[WorkflowId, WorkflowRow] = {}
        self._put_tasks: dict[TaskKey, TaskRow] = {}
        self._new_tasks: dict[TaskKey, TaskRow] = {}
        self._put_values: dict[int, Json] = {}
        self._put_shards: dict[Shard, ShardRow] = {}
        self._facts: list[Fact] = []
        self._audit = Ending(db, kept.audit)

    def task(self, key: TaskKey) -> TaskRow | None:
        row = self._tasks.get(key)
        if row is not None:
            return row
        serial = self._serial(key.workflow_id)
        if serial is None:
            return None
        columns = self._db.execute(_TASK, (serial, key.task_id)).fetchone()
        return None if columns is None else self._seen(key.workflow_id, columns)

    def _seen(self, workflow_id: WorkflowId, columns: Sequence[Any]) -> TaskRow:
        key = TaskKey(workflow_id, columns[1])
        row = self._tasks.get(key)
        if row is None:
            row = self._tasks[key] = task_of(workflow_id, columns)
            self._ids[key] = columns[0]
        return row

    def put_task(self, row: TaskRow) -> None:
        key = row.key
        if self._tasks.get(key) is not row and self._is_new(key):
            serial = self._serial(row.workflow_id)
            assert serial is not None, f"a task without its workflow: {row.workflow_id}"
            self._ids[key] = (serial << POSITION_BITS) + row.position
            self._new_tasks[key] = row
        elif key not in self._new_tasks:
            self._put_tasks[key] = row
        self._tasks[key] = row

    def _is_new(self, key: TaskKey) -> bool:
        # Of a workflow that is new itself there is no row to look for, and there may be many to add.
        return key.workflow_id in self._inserted or self.task(key) is None

    def open_tasks(self, workflow_id: WorkflowId) -> list[TaskRow]:
        serial = self._serial(workflow_id)
        if serial is None:
            return []
        self._flush_tasks()
        found = self._db.execute(_OPEN_TASKS, task_range(serial))
        return [self._seen(workflow_id, columns) for columns in found]

    def all_done(self, workflow_id: WorkflowId, task_ids: tuple[TaskId, ...]) -> bool:
        unknown = []
        for task_id in task_ids:
            key = TaskKey(workflow_id, task_id)
            if key in self._done:
                continue
            row = self._tasks.get(key)
            if row is None:
                unknown.append(task_id)
            elif row.state is not TaskState.DONE:
                return False
        return not unknown or self._all_kept_done(workflow_id, list(dict.fromkeys(unknown)))

    def _all_kept_done(self, workflow_id: WorkflowId, task_ids: list[TaskId]) -> bool:
        serial = self._serial(workflow_id)
        for start in range(0, len(task_ids), CHUNK):
            chunk = task_ids[start : start + CHUNK]
            marks = ", ".join("?" * len(chunk))
            sql = f"SELECT count(*) FROM task WHERE workflow = ? AND task_id IN ({marks}) AND state = ?"
            (done,) = self._db.execute(sql, (serial, *chunk, TaskState.DONE.value)).fetchone()
            if done < len(chunk):
                return False
            self._done.update(TaskKey(workflow_id, task_id) for task_id in chunk)
        return True

    def value(self, key: TaskKey, kind: Value) -> Json:
        if self.task(key) is None:
            return None
        place = value_id(self._ids[key], kind)
        if place in self._put_values:
            return self._put_values[place]
        found = self._db.execute(_VALUE, (place,)).fetchone()
        return None if found is None else json.loads(found[0])

    def put_value(self, key: TaskKey, kind: Value, value: Json) -> None:
        row = self.task(key)
        assert row is not None, f"a value without its task: {key}"
        self._put_values[value_id(self._ids[key], kind)] = value

    def workflow(self, workflow_id: WorkflowId) -> WorkflowRow | None:
        """Without its document and inputs, unless it was put in this transaction."""
        row = self._workflows.get(workflow_id)
        if row is None:
            columns = self._db.execute(_WORKFLOW, (workflow_id,)).fetchone()
            if columns is None:
                return None
            row = self._workflows[workflow_id] = workflow_of(columns[1:])
            self._serials[workflow_id] = columns[0]
            self._heads[workflow_id] = _head(row)
        return row

    def _serial(self, workflow_id: WorkflowId) -> int | None:
        if workflow_id not in self._serials:
            self.workflow(workflow_id)
        return self._serials.get(workflow_id)

    def put_workflow(self, row: WorkflowRow) -> None:
        if self._serial(row.workflow_id) is None:
            self._insert(row)
        self._workflows[row.workflow_id] = self._put_workflows[row.workflow_id] = row

    def _insert(self, row: WorkflowRow) -> None:
        columns = (
            row.workflow_id,
            text(row.name),
            row.shard,
            text(row.digest),
            text(row.correlation_id),
            row.timeout,
            row.state.value,
            text(row.reason),
            _error(row.error),
            row.tasks,
            row.open_tasks,
            row.last_number,
            row.submitted_at,
            row.finished_at,
        )
        serial = self._db.execute(_ADD_WORKFLOW, columns).lastrowid
        assert serial is not None
        self._db.execute(_ADD_DOCUMENT, (serial, _encode(row.document), _encode(row.inputs)))
        self._serials[row.workflow_id] = serial
        self._heads[row.workflow_id] = _head(row)
        self._inserted.add(row.workflow_id)

    def shard(self, shard: Shard) -> ShardRow:
        row = self._shards.get(shard)
        if row is None:
            columns = self._db.execute(_SHARD, (shard,)).fetchone()
            row = ShardRow(shard=shard) if columns is None else shard_of_columns(columns)
            self._shards[shard] = row
        return row

    def put_shard(self, row: ShardRow) -> None:
        self._shards[row.shard] = self._put_shards[row.shard] = row

    def append(self, fact: Fact) -> None:
        self._facts.append(fact)

    def note(self, note: AuditNote, at: str) -> AuditRecord:
        return self._audit.note(note, at)

    def delete_workflow(self, row: WorkflowRow, at: str) -> None:
        workflow_id = row.workflow_id
        serial = self._serial(workflow_id)
        assert serial is not None, f"a workflow that is not there: {workflow_id}"
        self.flush()  # what was put of it goes the way of the rest of it
        self._db.execute(_DELETE_WORKFLOW, (serial,))
        self._db.execute(_DELETE_DOCUMENT, (serial,))
        self._db.execute(_ADD_DELETED, (serial, workflow_id, text(row.correlation_id), at))
        del self._workflows[workflow_id], self._serials[workflow_id], self._heads[workflow_id]
        for key in [key for key in self._tasks if key.workflow_id == workflow_id]:
            del self._tasks[key], self._ids[key]
        self._done.difference_update([key for key in self._done if key.workflow_id == workflow_id])

    def was_deleted(self, workflow_id: WorkflowId, correlation_id: str) -> bool:
        found = self._db.execute(_WAS_DELETED, (workflow_id, text(correlation_id))).fetchone()
        return found is not None

    def flush(self) -> None:
        """Write what was put."""
        write = self._db.executemany
        if self._put_workflows:
            self._flush_workflows()
        self._flush_tasks()
        if self._put_values:
            write(_SET_VALUE, [(place, _encode(value)) for place, value in self._put_values.items()])
            self._put_values.clear()
        if self._put_shards:
            write(_SET_SHARD, [_shard_columns(row) for row in self._put_shards.values()])
            self._put_shards.clear()
        if self._facts:
            write(_ADD_FACT, [self._fact_columns(fact) for fact in self._facts])
            self._facts.clear()
        self._audit.flush()

    def _flush_workflows(self) -> None:
        counted, changed = [], []
        for workflow_id, row in self._put_workflows.items():
            serial = self._serials[workflow_id]
            head = _head(row)
            # The state is in two indexes; most changes only count.
            if head == self._heads[workflow_id]:
                counted.append((row.open_tasks, row.last_number, serial))
            else:
                changed.append((row.open_tasks, row.last_number, *head, serial))
            self._heads[workflow_id] = head
            row.document, row.inputs = None, {}  # written, and no transition looks at them again
        self._db.executemany(_COUNT_WORKFLOW, counted)
        self._db.executemany(_SET_WORKFLOW, changed)
        self._put_workflows.clear()

    def _flush_tasks(self) -> None:
        if self._new_tasks:
            new = [(self._ids[key], *self._task_columns(row)) for key, row in self._new_tasks.items()]
            self._db.executemany(_ADD_TASK, new)
            self._new_tasks.clear()
        if self._put_tasks:
            changed = [(*_changing(row), self._ids[key]) for key, row in self._put_tasks.items()]
            self._db.executemany(_SET_TASK, changed)
            self._put_tasks.clear()

    def _task_columns(self, row: TaskRow) -> tuple[object, ...]:
        priority, *state = _changing(row)
        return (
            self._serials[row.workflow_id],
            row.task_id,
            text(row.name),
            text(row.method),
            text(row.protocol),
            _encode(row.dependencies) if row.dependencies else "",
            priority,
            row.timeout,
            "" if row.retry == ONCE else _encode(to_plain(row.retry)),
            row.on_lost.value,
            "" if row.timeouts == NO_TIMEOUTS else _encode(to_plain(row.timeouts)),
            *state,
            _encode(row.resources) if row.resources else "",
        )

    def _fact_columns(self, fact: Fact) -> tuple[object, ...]:
        task, body = None, fact.body
        if fact.name == "task_completed" and "result" in body:
            task = self._ids[TaskKey(fact.workflow_id, body["task_id"])]
            body = {key: value for key, value in body.items() if key != "result"}
        stamp = fact.stamp
        return (
            entry_id(fact.shard, stamp.number),
            self._serials[fact.workflow_id],
            fact.name,
            fact.audience.value,
            stamp.after_resolver,
            stamp.after_queue_manager,
            stamp.after_workflow,
            task,
            _encode(body),
        )


def _head(row: WorkflowRow) -> tuple[object, ...]:
    return (row.state.value, text(row.reason), _error(row.error), row.finished_at)


def _changing(row: TaskRow) -> tuple[object, ...]:
    return (
        row.priority,
        row.state.value,
        row.attempt,
        row.owner,
        row.provider,
        row.failures,
        row.crashes,
        _error(row.error),
        row.retry_delay,
        row.ready_at,
        text(row.started_at),
        text(row.finished_at),
    )


def _shard_columns(row: ShardRow) -> tuple[object, ...]:
    return (
        row.shard,
        row.number,
        row.last_resolver,
        row.last_queue_manager,
        row.cursor,
        row.resolver,
        row.resolver_epoch,
        row.queue_manager,
        row.queue_manager_epoch,
        row.horizon,
    )
