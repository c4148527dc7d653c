"""What is read from SQLite outside of a commit. Each function is called inside one read transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from gleitzeitd.model.ledger import (
    HELD,
    OPEN,
    Attempt,
    Audience,
    Fact,
    FeedStamp,
    OutputChunk,
    ReadyTask,
    ShardRow,
    TaskRow,
    TaskState,
    Value,
    WorkflowRow,
    WorkflowState,
    deadline_of,
    workflow_deadline,
)
from gleitzeitd.model.names import SHARDS, Shard, TaskId, WorkflowId
from gleitzeitd.plain import Json, from_plain
from gleitzeitd.stores.base import OpenWorkflow, ReadyEntry, Recovered
from gleitzeitd.stores.sqlite_rows import (
    CHUNK,
    KINDS,
    NUMBER_BITS,
    SHARD_COLUMNS,
    TASK_COLUMNS,
    WORKFLOW_COLUMNS,
    entry_id,
    shard_of_columns,
    task_of,
    task_range,
    text,
    timeouts_of,
    workflow_of,
)


def _listed(columns: str, table: str) -> str:
    return ", ".join(f"{table}.{column.strip()}" for column in columns.split(","))


_WORKFLOW = _listed(WORKFLOW_COLUMNS, "w")
_WITH_DOCUMENT = (
    f"SELECT w.serial, {_WORKFLOW}, d.document, d.inputs FROM workflow w "
    "CROSS JOIN document d ON d.serial = w.serial "
)
# The order of a CROSS JOIN is the one that is written, and the condition is word for word the index's.
_IS_OPEN = "w.state IN ('running', 'cancelling')"
_ENTRY = (
    "w.workflow_id, w.shard, w.correlation_id, f.id, f.name, f.audience, f.after_resolver, "
    "f.after_queue_manager, f.after_workflow, f.body"
)

ONE_WORKFLOW = f"{_WITH_DOCUMENT} WHERE w.workflow_id = ?"
OPEN_WORKFLOWS = (
    f"{_WITH_DOCUMENT} WHERE w.shard = ? AND {_IS_OPEN} AND w.workflow_id > ? ORDER BY w.workflow_id LIMIT ?"
)
STATES = "SELECT task_id, state FROM task WHERE id BETWEEN ? AND ? ORDER BY id"
FEED = (
    f"SELECT {_ENTRY}, v.value FROM feed f CROSS JOIN workflow w ON w.serial = f.workflow "
    f"LEFT JOIN value v ON v.id = f.task * 4 + {KINDS[Value.RESULT]} "
    "WHERE f.id > ? AND f.id < ? AND (? = 0 OR f.audience & ?) ORDER BY f.id LIMIT ?"
)
HISTORY = (
    f"SELECT {_ENTRY} FROM workflow w CROSS JOIN feed f ON f.workflow = w.serial "
    f"WHERE w.workflow_id = ? AND f.id > (w.shard << {NUMBER_BITS}) + ? ORDER BY f.id LIMIT ?"
)
READY_TASKS = (
    "SELECT w.workflow_id, w.correlation_id, t.task_id, t.priority, t.protocol, t.attempt "
    "FROM workflow w CROSS JOIN task t ON t.workflow = w.serial AND t.state = 'queued' "
    f"WHERE w.shard = ? AND {_IS_OPEN} AND w.workflow_id >= ? AND (w.workflow_id > ? OR t.id > ?) "
    "ORDER BY w.workflow_id, w.serial, t.id LIMIT ?"
)
TASK_ID = (
    "SELECT t.id FROM workflow w CROSS JOIN task t ON t.workflow = w.serial AND t.task_id = ? "
    "WHERE w.workflow_id = ?"
)
SERIAL = "SELECT serial FROM workflow WHERE workflow_id = ?"
TASKS = f"SELECT id, {TASK_COLUMNS} FROM task WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"
VALUES = (
    "SELECT t.task_id, t.state, v.value FROM task t LEFT JOIN value v ON v.id = t.id * 4 + ? "
    "WHERE t.id BETWEEN ? AND ? ORDER BY t.id"
)
COUNTS = "SELECT state, count(*) FROM workflow GROUP BY state"
UNFINISHED = (
    f"SELECT w.serial, w.workflow_id, w.state, w.timeout FROM workflow w WHERE w.shard = ? AND {_IS_OPEN}"
)
ARMED = (
    "SELECT task_id, attempt, state, owner, retry_delay, timeouts FROM task "
    "WHERE id BETWEEN ? AND ? AND (state IN (?, ?, ?) OR (state = 'queued' AND timeouts <> ''))"
)


def recovered(db: sqlite3.Connection) -> Recovered:
    """Reads the tasks of all unfinished workflows."""
    kept = {row[0]: shard_of_columns(row) for row in db.execute(f"SELECT {SHARD_COLUMNS} FROM shard")}
    shards = [kept.get(Shard(number), ShardRow(shard=Shard(number))) for number in range(SHARDS)]
    found = Recovered(shards=shards)
    armed = (*sorted(state.value for state in HELD), TaskState.RETRY.value)
    for number in range(SHARDS):
        for serial, workflow_id, state, timeout in db.execute(UNFINISHED, (number,)).fetchall():
            if state == WorkflowState.CANCELLING.value:
                found.cancelling.append(workflow_id)
            if (deadline := workflow_deadline(workflow_id, WorkflowState(state), timeout)) is not None:
                found.deadlines.append(deadline)
            for row in db.execute(ARMED, (*task_range(serial), *armed)):
                _arm(found, workflow_id, row)
    return found


def _arm(found: Recovered, workflow_id: WorkflowId, row: Sequence[Any]) -> None:
    task_id, count, state, owner, delay, timeouts = row
    attempt = Attempt(workflow_id, task_id, count)
    task_state = TaskState(state)
    if task_state is TaskState.RETRY:
        found.waking.append((attempt, delay or 0.0))
    elif task_state in HELD and owner is not None:
        found.held.append((attempt, owner))
    if timeouts:
        deadline = deadline_of(attempt.key, count, task_state, timeouts_of(timeouts))
        if deadline is not None:
            found.deadlines.append(deadline)


def horizon_of(db: sqlite3.Connection, shard: Shard) -> int:
    """Of a shard: up to it entries may be missing."""
    found = db.execute("SELECT horizon FROM shard WHERE shard = ?", (shard,)).fetchone()
    return 0 if found is None else int(found[0])


def number_of(db: sqlite3.Connection, shard: Shard) -> int:
    """Of a shard's last entry."""
    found = db.execute("SELECT number FROM shard WHERE shard = ?", (shard,)).fetchone()
    return 0 if found is None else int(found[0])


def _fact(columns: Sequence[Any]) -> Fact:
    return Fact(
        name=columns[4],
        workflow_id=columns[0],
        shard=columns[1],
        correlation_id=columns[2],
        audience=Audience(columns[5]),
        stamp=FeedStamp(
            number=columns[3] - entry_id(columns[1], 0),
            after_resolver=columns[6],
            after_queue_manager=columns[7],
            after_workflow=columns[8],
        ),
        body=json.loads(columns[9]),
    )


def feed(
    db: sqlite3.Connection, shard: Shard, audience: Audience, after: int, limit: int
) -> tuple[list[Fact], int]:
    """Entries of a shard, with results, and its horizon."""
    followed = audience.value
    first, end = entry_id(shard, max(after, 0)), entry_id(Shard(shard + 1), 0)
    facts = []
    for columns in db.execute(FEED, (first, end, followed, followed, limit)):
        fact = _fact(columns)
        if columns[10] is not None:
            fact.body["result"] = json.loads(columns[10])
        facts.append(fact)
    return facts, horizon_of(db, shard)


def history(db: sqlite3.Connection, workflow_id: WorkflowId, after: int, limit: int) -> list[Fact]:
    """Entries about one workflow, without results."""
    return [_fact(columns) for columns in db.execute(HISTORY, (workflow_id, max(after, 0), limit))]


def _whole(columns: Sequence[Any]) -> WorkflowRow:
    return workflow_of(columns[1:-2], json.loads(columns[-2]), json.loads(columns[-1]))


def open_workflows(
    db: sqlite3.Connection, shard: Shard, after: WorkflowId | None, limit: int
) -> tuple[list[OpenWorkflow], int]:
    """Unfinished workflows of a shard, and its number."""
    found = []
    for columns in db.execute(OPEN_WORKFLOWS, (shard, after or "", limit)).fetchall():
        kept = db.execute(STATES, task_range(columns[0]))
        states = {task_id: TaskState(state) for task_id, state in kept}
        found.append(OpenWorkflow(row=_whole(columns), states=states))
    return found, number_of(db, shard)


def ready_tasks(
    db: sqlite3.Connection, shard: Shard, after: tuple[WorkflowId, TaskId] | None, limit: int
) -> tuple[list[ReadyEntry], int]:
    """READY tasks of a shard, and its number."""
    workflow_id, last = "", -1
    if after is not None:
        workflow_id = after[0]
        place = db.execute(TASK_ID, (after[1], after[0])).fetchone()
        last = -1 if place is None else place[0]
    found = [
        ReadyEntry(
            workflow_id=columns[0],
            correlation_id=columns[1],
            task=ReadyTask(task_id=columns[2], priority=columns[3], protocol=columns[4], attempt=columns[5]),
        )
        for columns in db.execute(READY_TASKS, (shard, workflow_id, workflow_id, last, limit))
    ]
    return found, number_of(db, shard)


def workflow(db: sqlite3.Connection, workflow_id: WorkflowId) -> WorkflowRow | None:
    """One workflow with all it has."""
    columns = db.execute(ONE_WORKFLOW, (workflow_id,)).fetchone()
    return None if columns is None else _whole(columns)


def listing(
    status: str | None, name_contains: str | None, before: str | None, id_prefix: str = ""
) -> tuple[str, list[object]]:
    """The statement for a page of workflows, and its values but for the limit."""
    conditions: list[str] = []
    values: list[object] = []
    if status is not None:
        conditions.append("w.state = ?")
        values.append(status)
    if name_contains is not None:
        conditions.append("instr(w.name, ?)")
        values.append(text(name_contains))
    if id_prefix:
        # No range: in the order of the listing, its index has the ids, and then nothing has to be sorted.
        conditions.append("substr(w.workflow_id, 1, length(?)) = ?")
        values += [text(id_prefix), text(id_prefix)]
    if before is not None:
        submitted_at, _, workflow_id = before.partition("/")
        conditions.append("(w.submitted_at, w.workflow_id) < (?, ?)")
        values += [submitted_at, workflow_id]
    where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    sql = (
        f"SELECT {_WORKFLOW} FROM workflow w {where}ORDER BY w.submitted_at DESC, w.workflow_id DESC LIMIT ?"
    )
    return sql, values


def workflows(
    db: sqlite3.Connection,
    status: str | None,
    name_contains: str | None,
    before: str | None,
    limit: int,
    id_prefix: str = "",
) -> list[WorkflowRow]:
    """Newest first."""
    sql, values = listing(status, name_contains, before, id_prefix)
    return [workflow_of(columns) for columns in db.execute(sql, (*values, limit))]


def _serial(db: sqlite3.Connection, workflow_id: WorkflowId) -> int | None:
    found = db.execute(SERIAL, (workflow_id,)).fetchone()
    return None if found is None else int(found[0])


def tasks(db: sqlite3.Connection, workflow_id: WorkflowId, after: int, limit: int) -> list[TaskRow]:
    """In document order."""
    serial = _serial(db, workflow_id)
    if serial is None:
        return []
    least, greatest = task_range(serial)
    first = min(least + max(after, -1), greatest)
    return [task_of(workflow_id, columns) for columns in db.execute(TASKS, (first, greatest, limit))]


def _values(
    db: sqlite3.Connection, workflow_id: WorkflowId, task_ids: Sequence[TaskId], kind: Value
) -> Iterator[tuple[TaskId, str, str]]:
    """Task, its state, and the text of its value, for those that have one."""
    serial = _serial(db, workflow_id)
    if serial is None:
        return
    if not task_ids:
        yield from (
            row for row in db.execute(VALUES, (KINDS[kind], *task_range(serial))) if row[2] is not None
        )
        return
    for start in range(0, len(task_ids), CHUNK):
        chunk = task_ids[start : start + CHUNK]
        sql = (
            "SELECT t.task_id, t.state, v.value "
            f"FROM task t CROSS JOIN value v ON v.id = t.id * 4 + {KINDS[kind]} "
            f"WHERE t.workflow = ? AND t.task_id IN ({', '.join('?' * len(chunk))})"
        )
        yield from db.execute(sql, (serial, *chunk))


def results(
    db: sqlite3.Connection, workflow_id: WorkflowId, task_ids: Sequence[TaskId]
) -> dict[TaskId, Json]:
    """Of tasks that are DONE."""
    return {
        task_id: json.loads(value)
        for task_id, state, value in _values(db, workflow_id, task_ids, Value.RESULT)
        if state == TaskState.DONE.value
    }


def output(
    db: sqlite3.Connection, workflow_id: WorkflowId, task_ids: Sequence[TaskId]
) -> dict[TaskId, list[OutputChunk]]:
    """What tasks wrote; those that wrote nothing are left out."""
    found = {}
    for task_id, _, value in _values(db, workflow_id, task_ids, Value.OUTPUT):
        chunks = [from_plain(OutputChunk, chunk) for chunk in json.loads(value)]
        if chunks:
            found[task_id] = chunks
    return found


def counts(db: sqlite3.Connection) -> dict[str, int]:
    """Workflows by status; a status that no workflow has is left out."""
    return dict(db.execute(COUNTS))


assert {state.value for state in OPEN} == {"running", "cancelling"}, "the index workflow_open is for these"
