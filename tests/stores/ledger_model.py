"""What the model beside the ledger knows of a task and of a workflow."""

from __future__ import annotations

from dataclasses import dataclass, field

from gleitzeitd.model.ledger import ENDED, HELD, TaskState, WorkflowState
from gleitzeitd.model.workflow import OnLost

S = TaskState

GRAPHS = {
    "chain": {"a": [], "b": ["a"], "c": ["b"]},
    "fan": {"a": [], "b": ["a"], "c": ["a"]},
    "join": {"a": [], "b": [], "c": ["a", "b"]},
    "heap": {"a": [], "b": [], "c": []},
}
"""Task to what it depends on."""


@dataclass
class ModelTask:
    needs: list[str]
    on_lost: OnLost
    state: TaskState = S.PENDING
    attempt: int = 0
    engine: str | None = None
    failures: int = 0
    crashes: int = 0
    reported: bool = False
    """The engine has said how the last attempt ended."""

    def is_of(self, attempt, engine):
        return self.attempt == attempt and self.engine == engine

    @property
    def may_end(self):
        taken_back = self.state is S.READY and self.attempt > 0 and not self.reported
        return self.state in HELD or self.state is S.UNKNOWN or taken_back


@dataclass
class ModelWorkflow:
    digest: str
    tasks: dict[str, ModelTask] = field(default_factory=dict)
    state: WorkflowState = WorkflowState.RUNNING
    late: bool = False
    """Its timeout was over while it ran."""

    @property
    def open_tasks(self):
        return sum(task.state not in ENDED for task in self.tasks.values())
