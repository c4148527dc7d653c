"""Whether nothing was lost and nothing done twice: the ledger's file, and the provider's own record, beside
what was submitted.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gleitzeitd.errors import ProviderNotAvailable
from gleitzeitd.model.ledger import CRASH_LIMIT
from gleitzeitd.model.names import shard_of
from tests.chaos.workload import Plan

TASK_BITS, NUMBER_BITS = 20, 48  # as the schema says
RESOLVER, QUEUE_MANAGER = 1, 2
RESULT = 1
EXTRA_PER_FAULT = 0.5


@dataclass(frozen=True, slots=True)
class Execution:
    """One run of a task's method, as the provider has it."""

    workflow_id: str
    task_id: str
    attempt: int
    pid: int
    began: float
    outcome: str = "killed"
    """``ok``, ``failed``, ``cancelled``; or nothing was written any more."""


def read_record(path: Path) -> list[Execution]:
    """What the provider wrote, in order of beginning."""
    found: dict[tuple[str, str, int, int], Execution] = {}
    ended: list[Execution] = []
    for line in path.read_text().splitlines() if path.exists() else []:
        what, workflow_id, task_id, attempt, pid, at, *outcome = line.split()
        key = workflow_id, task_id, int(attempt), int(pid)
        if what == "begin":
            if key in found:
                ended.append(found[key])
            found[key] = Execution(*key, began=float(at))
        else:
            begun = found.pop(key)
            ended.append(Execution(*key, began=begun.began, outcome=outcome[0]))
    return sorted([*ended, *found.values()], key=lambda each: each.began)


@dataclass(slots=True)
class Findings:
    """The auditor's figures, and everything that should not be."""

    tasks: int = 0
    finished: int = 0
    executions: int = 0
    extra: int = 0
    lost_too_often: list[str] = field(default_factory=list)
    """Tasks that were lost as often as the ledger allows: by design, and with the evidence."""
    violations: list[str] = field(default_factory=list)


Excuse = Callable[[Execution, Execution], bool]
"""Whether something happened between the first of two runs of one attempt and the second one."""


class Auditor:
    """Reads once; the daemons may still run."""

    def __init__(self, database: Path, executions: Sequence[Execution]) -> None:
        self._db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        self._db.row_factory = sqlite3.Row
        self._executions = executions
        self._by_attempt: dict[tuple[str, str, int], list[Execution]] = defaultdict(list)
        for each in executions:
            self._by_attempt[each.workflow_id, each.task_id, each.attempt].append(each)
        self.findings = Findings(executions=len(executions))

    def close(self) -> None:
        """Leave the file."""
        self._db.close()

    def audit(self, plans: Iterable[Plan], faults: int, excused: Excuse) -> Findings:
        """All of it."""
        accepted = {plan.workflow_id: plan for plan in plans if plan.accepted_at}
        rows = {row["workflow_id"]: row for row in self._db.execute("SELECT * FROM workflow")}
        needed = 0
        for workflow_id, plan in accepted.items():
            row = rows.get(workflow_id)
            if row is None:
                self._wrong(f"{workflow_id} was accepted and does not exist")
                continue
            needed += self._workflow(plan, row)
        self._executed(accepted, excused)
        self.findings.extra = self.findings.executions - needed
        if self.findings.extra > EXTRA_PER_FAULT * faults:
            self._wrong(f"{self.findings.extra} executions too many for {faults} faults")
        self._feeds()
        return self.findings

    def _wrong(self, text: str) -> None:
        self.findings.violations.append(text)

    # --- workflows and tasks ----------------------------------------------------------------------

    def _workflow(self, plan: Plan, row: sqlite3.Row) -> int:
        """The executions that it needed."""
        low = row["serial"] << TASK_BITS
        span = (low, low + (1 << TASK_BITS) - 1)
        tasks = self._db.execute("SELECT * FROM task WHERE id BETWEEN ? AND ? ORDER BY id", span).fetchall()
        self.findings.tasks += len(tasks)
        finals = self._finals(row["serial"])
        lost = {task["task_id"] for task in tasks if self._lost_too_often(plan, task)}
        if row["state"] != plan.status and not (lost and row["state"] == "failed"):
            open_tasks = [
                f"{t['task_id']} {t['state']} attempt {t['attempt']}" for t in tasks if not t["finished_at"]
            ]
            self._wrong(
                f"{plan.workflow_id} is {row['state']}, expected {plan.status}; open: {', '.join(open_tasks) or 'none'}"
            )
        else:
            self.findings.finished += 1
        if [task["task_id"] for task in tasks] != list(plan.expected):
            self._wrong(f"{plan.workflow_id} has other tasks than were submitted")
        if plan.ended_at and plan.seen != f"workflow_{row['state']}":
            self._wrong(f"{plan.workflow_id} is {row['state']}, and the client was told {plan.seen}")
        needed = 0
        for task in tasks:
            needed += self._task(plan, task, finals.get(task["task_id"], []), bool(lost))
        return needed

    def _finals(self, serial: int) -> dict[str, list[str]]:
        """The facts that end a task, by task."""
        finals: dict[str, list[str]] = defaultdict(list)
        for name, text in self._db.execute("SELECT name, body FROM feed WHERE workflow = ?", (serial,)):
            body = json.loads(text)
            if name == "task_completed" or (name == "task_failed" and body.get("retry_in") is None):
                finals[body["task_id"]].append(name)
            elif name == "task_skipped":
                for each in body["tasks"]:
                    finals[each["task_id"]].append(name)
            elif name == "task_cancelled":
                for each in body["task_ids"]:
                    finals[each].append(name)
        return finals

    def _lost_too_often(self, plan: Plan, task: sqlite3.Row) -> bool:
        if task["state"] != "failed" or task["crashes"] < CRASH_LIMIT:
            return False
        error = json.loads(task["error"])
        name = f"{plan.workflow_id}/{task['task_id']}"
        self.findings.lost_too_often.append(f"{name}: {error['message']}")
        if error["code"] != ProviderNotAvailable.code or str(CRASH_LIMIT) not in error["message"]:
            self._wrong(f"{name} was lost too often, and its error does not say so: {error}")
        return True

    def _task(self, plan: Plan, task: sqlite3.Row, finals: list[str], lost: bool) -> int:
        name = f"{plan.workflow_id}/{task['task_id']}"
        expected, state = plan.expected[task["task_id"]], task["state"]
        wanted = "completed" if isinstance(expected, int) else expected
        if state != wanted and not (lost and state in ("failed", "skipped", "completed")):
            self._wrong(f"{name} is {state}, expected {wanted}: {task['error']}")
        ends = {"completed": "task_completed", "failed": "task_failed", "skipped": "task_skipped"}
        failed_unrun = state == "failed" and finals == ["task_skipped"]
        if finals != [ends.get(state, "")] and not failed_unrun:
            self._wrong(f"{name} is {state}, and the facts that end it are {finals}")
        if state == "completed":
            self._completed(name, plan, task, expected)
            return int(task["failures"]) + 1
        return int(task["failures"])

    def _completed(self, name: str, plan: Plan, task: sqlite3.Row, expected: int | str) -> None:
        found = self._db.execute(
            "SELECT value FROM value WHERE id = ?", (task["id"] * 4 + RESULT,)
        ).fetchone()
        result: Any = None if found is None else json.loads(found[0])
        if result != {"value": expected}:
            self._wrong(f"{name} has the result {result}, expected {expected}")
        runs = self._by_attempt.get((plan.workflow_id, task["task_id"], task["attempt"]), [])
        if not any(run.outcome in ("ok", "killed") for run in runs):
            self._wrong(
                f"{name} is completed by attempt {task['attempt']}, which the provider did not run: {runs}"
            )

    # --- executions -------------------------------------------------------------------------------

    def _executed(self, accepted: dict[str, Plan], excused: Excuse) -> None:
        attempts = {
            (row["workflow_id"], row["task_id"]): row["attempt"]
            for row in self._db.execute(
                "SELECT w.workflow_id, t.task_id, t.attempt FROM task t JOIN workflow w ON w.serial = t.workflow"
            )
        }
        for (workflow_id, task_id, attempt), runs in self._by_attempt.items():
            name = f"{workflow_id}/{task_id} attempt {attempt}"
            if workflow_id not in accepted or not 1 <= attempt <= attempts.get((workflow_id, task_id), 0):
                self._wrong(f"{name} was executed and is unknown to the ledger")
            for first, second in zip(runs, runs[1:], strict=False):
                if first.pid == second.pid:
                    self._wrong(f"{name} was executed twice by one process: {first}, {second}")
                elif not excused(first, second):
                    self._wrong(f"{name} was executed twice without a reason: {first}, {second}")

    # --- feeds ------------------------------------------------------------------------------------

    def _feeds(self) -> None:
        """Every shard's numbers are dense, and every entry names the one before it for each follower."""
        last: dict[tuple[int, int], int] = defaultdict(int)
        last_of_workflow: dict[int, int] = defaultdict(int)
        for row in self._db.execute("SELECT * FROM feed ORDER BY id"):
            shard, number = row["id"] >> NUMBER_BITS, row["id"] & ((1 << NUMBER_BITS) - 1)
            place = f"shard {shard}, entry {number}"
            if number != last[shard, 0] + 1:
                self._wrong(f"{place}: the one before it is {last[shard, 0]}")
            before = row["after_resolver"], row["after_queue_manager"], row["after_workflow"]
            expected = last[shard, RESOLVER], last[shard, QUEUE_MANAGER], last_of_workflow[row["workflow"]]
            if before != expected:
                self._wrong(f"{place}: it follows {before}, expected {expected}")
            last[shard, 0] = last_of_workflow[row["workflow"]] = number
            for audience in (RESOLVER, QUEUE_MANAGER):
                if row["audience"] & audience:
                    last[shard, audience] = number
        for row in self._db.execute("SELECT shard, number FROM shard"):
            if row["number"] != last[row["shard"], 0]:
                self._wrong(
                    f"shard {row['shard']} is at {row['number']}, its feed at {last[row['shard'], 0]}"
                )
        for row in self._db.execute("SELECT workflow_id, shard FROM workflow"):
            if row["shard"] != shard_of(row["workflow_id"]):
                self._wrong(f"{row['workflow_id']} is in shard {row['shard']}")
