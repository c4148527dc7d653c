"""What must hold at every step of a run, whatever goes wrong; whoever breaks it raises ``Violation``.

At every commit: states and attempts of tasks move along the table only, no attempt is leased twice, no
result and no ending ever changes, nothing is ready before its dependencies are done, a change by somebody
who is not the owner has no effect, the feed has no holes, and nothing is deleted before it has ended, or comes
back afterwards; for the account at the end, what is deleted is what it was. At every message: no answer says what is not
durable. At every publication: watchers hear everything, in order, once. At the end: everything has ended
as it had to, and nobody holds anything any more.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from gleitzeitd.events import Envelope
from gleitzeitd.machines.feed import stamp_of
from gleitzeitd.model import change as c
from gleitzeitd.model.ledger import ENDED, OPEN, TaskRow, TaskState, WorkflowRow, WorkflowState
from gleitzeitd.model.names import Role, TaskId, WorkflowId, shard_of
from tests.cluster import Cluster, Node, Violation, ran
from tests.cluster_parts import WatchedStore

S = TaskState
NEXT: dict[TaskState, set[TaskState]] = {
    S.PENDING: {S.READY, S.SKIPPED, S.FAILED, S.CANCELLED},
    S.READY: {S.LEASED, S.CANCELLED, S.DONE, S.FAILED, S.RETRY},
    S.LEASED: {S.RUNNING, S.READY, S.DONE, S.FAILED, S.RETRY, S.CANCELLED},
    S.RUNNING: {S.READY, S.DONE, S.FAILED, S.RETRY, S.CANCELLED, S.UNKNOWN},
    S.UNKNOWN: {S.READY, S.DONE, S.FAILED, S.CANCELLED},
    S.RETRY: {S.READY, S.CANCELLED},
    S.DONE: set(),
    S.FAILED: set(),
    S.CANCELLED: set(),
    S.SKIPPED: set(),
}
"""From READY to an ending: a report of an attempt that was taken back, and that nobody else has yet."""


def _reachable() -> dict[TaskState, set[TaskState]]:
    """In one transaction, which may carry several changes of one task."""
    found = {state: set(after) for state, after in NEXT.items()}
    for _ in NEXT:
        for after in found.values():
            for state in list(after):
                after |= found[state]
    return found


REACHABLE = _reachable()


def workflows_of(change: c.Change) -> list[WorkflowId]:
    match change:
        case c.TakeShards() | c.NoteAudit():
            return []
        case c.GrantLeases(leases=leases):
            return list(dict.fromkeys(wish.workflow_id for wish in leases))
        case c.StartTask() | c.CompleteTask() | c.FailTask() | c.LoseAttempt() | c.WakeTask():
            return [change.attempt.workflow_id]
        case _:
            return [change.workflow_id]  # type: ignore[attr-defined]


@dataclass
class Record:
    """All that is kept of a workflow, or was when it was deleted."""

    row: WorkflowRow
    tasks: dict[TaskId, TaskRow]
    results: dict[TaskId, Any]
    numbers: list[int]
    """Of its feed entries."""


class OracleStore(WatchedStore):
    """Looks at every task that a transaction may have touched."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[tuple[str, str], TaskRow] = {}
        self.owners: dict[tuple[str, str, int], str] = {}
        self.deleted: dict[str, Record] = {}

    async def commit(self, changes: list[c.Change], at: str) -> list[c.Outcome]:  # type: ignore[override]
        owned = {change: self._owned(change) for change in map(_Id, changes)}
        outcomes = []
        for part in _apart(changes):
            outcomes += await self._part(part, at)
        for change, outcome in zip(changes, outcomes, strict=True):
            self._fence(change, outcome, owned[_Id(change)])
            if isinstance(change, c.GrantLeases):
                self._leases(outcome)
            if isinstance(change, (c.CompleteTask, c.FailTask)) and outcome.status is c.Status.OK:
                self._report(change)
        for workflow_id in dict.fromkeys(w for change in changes for w in workflows_of(change)):
            await self._look(workflow_id)
        return outcomes

    async def _part(self, part: list[c.Change], at: str) -> list[c.Outcome]:
        if not isinstance(part[0], c.DeleteWorkflow):
            outcomes = await super().commit(part, at)
            for change, outcome in zip(part, outcomes, strict=True):
                again = isinstance(change, c.AcceptWorkflow) and change.workflow_id in self.deleted
                if again and outcome.status is c.Status.OK:
                    raise Violation(f"{change} was deleted, and is accepted again")
            return outcomes
        record = self.record(part[0].workflow_id)
        outcomes = await super().commit(part, at)
        if outcomes[0].status is c.Status.OK:
            if record is None or record.row.state in OPEN or self.ended[record.row.workflow_id] != 1:
                raise Violation(f"{part[0]} was deleted, and has not ended: {record}")
            self.deleted[part[0].workflow_id] = record
        return outcomes

    def record(self, workflow_id: str) -> Record | None:
        """What is known of a workflow, deleted or not."""
        w = WorkflowId(workflow_id)
        row = ran(self.workflow(w))
        if row is None:
            return self.deleted.get(workflow_id)
        return Record(
            row=row,
            tasks={task.task_id: task for task in ran(self.tasks(w, -1, 100_000))},
            results=ran(self.results(w, [])),
            numbers=[fact.stamp.number for fact in ran(self.history(w, 0, 100_000))],
        )

    def _owned(self, change: _Id) -> tuple[int, str]:
        fence = getattr(change.of, "fence", None)
        if fence is None:
            return 0, ""
        shard = getattr(change.of, "shard", None)
        row = self._tables.shards[shard if shard is not None else shard_of(change.of.workflow_id)]
        return row.epoch(fence.role), row.owner(fence.role).rpartition(".")[0]

    @staticmethod
    def _fence(change: Any, outcome: c.Outcome, owned: tuple[int, str]) -> None:
        fence = getattr(change, "fence", None)
        acted = outcome.facts or outcome.executions or isinstance(change, c.AcceptWorkflow)
        if fence is None or outcome.status is not c.Status.OK or not acted:
            return
        epoch, owner = owned
        if fence.epoch not in (None, epoch) or fence.asker != owner:
            raise Violation(f"{fence} acted in epoch {epoch} of {owner}: {change}")

    def _leases(self, outcome: c.Outcome) -> None:
        for each in outcome.executions:
            key = (each.workflow_id, each.task_id, each.attempt)
            if self.owners.setdefault(key, each.engine_id) != each.engine_id:
                raise Violation(f"{key} was leased to {self.owners[key]} and to {each.engine_id}")

    def _report(self, change: c.CompleteTask | c.FailTask) -> None:
        owner, row = self.owners.get(tuple(change.attempt)), self.rows[change.attempt.key]
        if owner != change.engine_id:
            raise Violation(f"{change.attempt} of {owner} was ended by {change.engine_id}")
        if row.attempt != change.attempt.attempt:
            raise Violation(f"{change.attempt} was ended, and is outdated: {row.attempt} is the last one")

    async def _look(self, workflow_id: WorkflowId) -> None:
        rows = await self.tasks(workflow_id, -1, 100_000)
        states = {row.task_id: row.state for row in rows}
        for row in rows:
            before = self.rows.get(row.key)
            if before is not None and (before.state, before.attempt) == (row.state, row.attempt):
                continue
            self.rows[row.key] = row
            if before is not None:
                _check_step(before, row)
            if row.state not in (S.PENDING, S.SKIPPED, S.CANCELLED, S.FAILED):
                late = [each for each in row.dependencies if states[each] is not S.DONE]
                if late:
                    raise Violation(f"{row.key} is {row.state.value} before {late}")

    def is_durable(self, workflow_id: str, task_id: str, result: Any) -> bool:
        record = self.record(workflow_id)
        found = {} if record is None else record.results
        return TaskId(task_id) in found and json.dumps(found[TaskId(task_id)]) == json.dumps(result)


def _apart(changes: list[c.Change]) -> list[list[c.Change]]:
    """The same, in order; each deletion by itself, so that what is there before it can be looked at."""
    parts: list[list[c.Change]] = []
    for change in changes:
        alone = isinstance(change, c.DeleteWorkflow) or (parts and isinstance(parts[-1][0], c.DeleteWorkflow))
        if alone or not parts:
            parts.append([change])
        else:
            parts[-1].append(change)
    return parts


class _Id:
    """Two equal changes in one transaction are two."""

    def __init__(self, of: Any) -> None:
        self.of = of

    def __hash__(self) -> int:
        return id(self.of)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Id) and self.of is other.of


def _check_step(before: TaskRow, row: TaskRow) -> None:
    step = f"{row.key}: {before.state.value}/{before.attempt} -> {row.state.value}/{row.attempt}"
    if row.attempt not in (before.attempt, before.attempt + 1):
        raise Violation(f"{step}: attempts were left out")
    if row.state not in REACHABLE[before.state]:
        raise Violation(f"{step}: there is no such way")
    was_leased = row.attempt == before.attempt + 1
    if row.state is S.LEASED and not was_leased:
        raise Violation(f"{step}: leased without a new attempt")


class Oracle:
    """Watches over what processes say, and over the end."""

    def __init__(self, cluster: Cluster, store: OracleStore) -> None:
        self.cluster = cluster
        self.store = store
        self.reports: dict[str, Any] = {}  # message_id -> what an engine has reported
        self.acknowledged: dict[tuple[str, str], str] = {}
        self.accepted: set[str] = set()
        self.numbers: dict[str, list[int]] = {}
        self.cancelled: set[str] = set()

    # --- at every message ---------------------------------------------------------------------

    def sent(self, node: Node, name: str, envelope: Envelope, body: str) -> None:
        role = node.link.identity.role
        if name == "task_completed" and role is Role.EXECUTION_ENGINE:
            self.reports[envelope.message_id] = json.loads(body)
        elif name == "data_saved" and role is Role.PERSISTENCE:
            self._answered(envelope, json.loads(body))
        elif name == "workflow_submitted":
            self.check_accepted(json.loads(body)["workflow_id"])
        elif name == "execute_task":
            task = json.loads(body)["task"]
            row = self.store.rows.get((task["workflow_id"], task["task_id"]))
            if row is None or row.attempt < task["attempt"]:
                raise Violation(f"{body} is ordered, without a lease")
        elif name in ("task_completed", "workflow_completed") and role is Role.PERSISTENCE:
            about = json.loads(body)
            if about["feed"]["number"] > self.store.numbers.get(shard_of(about["workflow_id"]), 0):
                raise Violation(f"{name} is published before it is durable: {body}")

    def _answered(self, envelope: Envelope, answer: dict[str, Any]) -> None:
        report = self.reports.get(envelope.causation_id or "")
        if report is None or answer["status"] not in ("ok", "duplicate"):
            return
        key = (report["workflow_id"], report["task_id"])
        row = self.store.rows.get(key)
        if row is not None and row.state in (S.CANCELLED, S.FAILED):
            return  # cancelled, or given up after too many losses: the engine was too late
        if not self.store.is_durable(*key, report.get("result")):
            raise Violation(f"{key} was acknowledged, and the ledger does not have that result")
        text = json.dumps(report.get("result"))
        if self.acknowledged.setdefault(key, text) != text:
            raise Violation(f"{key}: two results were acknowledged")

    def check_accepted(self, workflow_id: str) -> None:
        if self.store.record(workflow_id) is None:
            raise Violation(f"{workflow_id} was accepted, and is missing")
        self.accepted.add(workflow_id)

    def published(self, topic: str, event: Any) -> None:
        stamp = stamp_of(event)
        if stamp is None:
            return
        heard = self.numbers.setdefault(topic, [])
        if stamp.after_workflow != (heard[-1] if heard else 0):
            raise Violation(f"{topic}: {event.name} {stamp} was published after {heard[-3:]}")
        heard.append(stamp.number)

    # --- at the end -----------------------------------------------------------------------------

    def finished(self, *, short: bool) -> None:
        for workflow_id in sorted(self.accepted):
            self.check_accepted(workflow_id)
        for workflow_id in self.cluster.documents:
            self._check_workflow(workflow_id, short=short)
        for (workflow_id, task_id), text in self.acknowledged.items():
            if not self.store.is_durable(workflow_id, task_id, json.loads(text)):
                raise Violation(f"{workflow_id}/{task_id}: an acknowledged result is lost")
        if short:
            twice = [key for key, n in self.cluster.attempts.items() if n > 1]
            if twice:
                raise Violation(f"attempts were executed twice: {twice}")
            again = [key for key, n in self.cluster.executions.items() if n > self._times(*key)]
            if again:
                raise Violation(f"tasks were executed again, without need: {again}")
        self._check_leftovers()

    def _times(self, workflow_id: str, task_id: str) -> int:
        for task in self.cluster.documents[workflow_id]["tasks"]:
            if task["id"] == task_id:
                return int(task.get("retry", {}).get("max_attempts", 1))
        raise AssertionError(task_id)

    def _check_workflow(self, workflow_id: str, *, short: bool) -> None:
        record = self.store.record(workflow_id)
        assert record is not None, workflow_id
        rows, status = record.tasks, record.row.state.value
        tasks = {task["id"]: task for task in self.cluster.documents[workflow_id]["tasks"]}
        if set(tasks) != set(rows):
            raise Violation(f"{workflow_id} has the tasks {list(rows)}, not {list(tasks)}")
        ends = Counter(row.state for row in rows.values())
        right = {
            WorkflowState.COMPLETED.value: set(ends) == {S.DONE},
            WorkflowState.FAILED.value: bool(ends[S.FAILED]) and not ends[S.CANCELLED],
            WorkflowState.CANCELLED.value: workflow_id in self.cancelled,
        }
        if not right.get(status) or not set(ends) <= ENDED:
            raise Violation(f"{workflow_id} is {status}, its tasks are {dict(ends)}")
        for task_id, row in rows.items():
            self._check_task(workflow_id, tasks[task_id], row, record, short=short)

    def _check_task(
        self,
        workflow_id: str,
        task: dict[str, Any],
        row: TaskRow,
        record: Record,
        *,
        short: bool,
    ) -> None:
        where = f"{workflow_id}/{row.task_id}"
        if row.state is S.DONE:
            found = record.results[row.task_id]
            wanted = {d: int(d[1:]) for d in task.get("dependencies", ())}
            if found["n"] != task["parameters"]["n"] or found["from"] != wanted:
                raise Violation(f"{where}: the result is {found}")
            if task["method"] == "echo/fail":
                raise Violation(f"{where} is done, and could only fail")
        elif row.state is S.SKIPPED:
            if all(record.tasks[TaskId(d)].state is S.DONE for d in task.get("dependencies", ())):
                raise Violation(f"{where} was skipped, and could have run")
        elif row.state is S.FAILED:
            assert row.error is not None
            asked = task["method"] == "echo/fail" and row.error.name == "TASK_EXECUTION_FAILED"
            if not asked and (short or row.crashes < 3):
                raise Violation(f"{where} failed by itself: {row.error} after {row.crashes} crashes")

    def _check_leftovers(self) -> None:
        for workflow_id, heard in self.numbers.items():
            record = self.store.record(workflow_id)
            numbers = [] if record is None else record.numbers
            if workflow_id in self.cluster.gone and workflow_id in self.store.deleted:
                numbers = numbers[: len(heard)]  # its watcher was told that the rest is deleted
            if heard != numbers:
                raise Violation(f"{workflow_id}: its watcher heard {heard} of {len(numbers)} entries")
        for node in self.cluster.nodes.values():
            if not node.alive:
                continue
            machine = node.machine
            claims = machine.role in (Role.DEPENDENCY_RESOLVER, Role.QUEUE_MANAGER)  # every second
            if node.link.open_asks() > claims and machine.role is not Role.CLIENT:  # which looks now and then
                raise Violation(f"{node.name} still asks for {node.link.open_asks()} answers")
            left = {k: v for k, v in machine.figures().items() if k in _EMPTY and v}
            if left or (machine.role is not Role.PERSISTENCE and machine.load()):
                raise Violation(f"{node.name} still holds {machine.load()}: {machine.figures()}")
            if machine.inventory():
                raise Violation(f"{node.name} still lists {machine.inventory()}")


_EMPTY = {"leases", "retries_waiting", "changes_waiting", "submissions", "workflows", "waiting", "running"}
_EMPTY |= {"queued", "blocked_workflows"}

__all__ = ["Oracle", "OracleStore"]
