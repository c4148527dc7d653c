"""A workflow's course: which of its tasks can run, which never will, and when it has ended.

A projection of the ledger, for one workflow: it is told what became true, and says what follows.
Every operation costs in proportion to the tasks that it touches, not to those that there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gleitzeitd import errors
from gleitzeitd.errors import ErrorInfo
from gleitzeitd.model.ledger import ENDED, SkippedTask, TaskState, WorkflowState
from gleitzeitd.model.names import TaskId, WorkflowId
from gleitzeitd.model.workflow import Task, Workflow
from gleitzeitd.plain import Json
from gleitzeitd.record import positional_record

NAMED_LIMIT = 10
"""Failed tasks that a workflow's error names."""


@positional_record
class Ending:
    """How a workflow ended."""

    state: WorkflowState
    error: ErrorInfo | None = None


@dataclass(slots=True)
class Course:
    """One unfinished workflow, as its resolver sees it."""

    workflow_id: WorkflowId
    workflow: Workflow
    inputs: dict[str, Json]
    correlation_id: str
    cancelling: bool = False
    results: dict[TaskId, Json] = field(default_factory=dict)
    """Of tasks that others still wait to refer to; a missing one is in the ledger."""
    _tasks: dict[TaskId, Task] = field(default_factory=dict)
    _states: dict[TaskId, TaskState] = field(default_factory=dict)
    _missing: dict[TaskId, int] = field(default_factory=dict)  # dependencies that are not done
    _dependents: dict[TaskId, list[TaskId]] = field(default_factory=dict)
    _wanted: dict[TaskId, int] = field(default_factory=dict)  # how many still refer to the task's result
    _open: int = 0
    _freed: list[TaskId] = field(default_factory=list)
    _doomed: dict[TaskId, TaskId] = field(default_factory=dict)  # task -> the dependency that ended badly

    @classmethod
    def of(
        cls,
        workflow_id: WorkflowId,
        workflow: Workflow,
        inputs: dict[str, Json],
        correlation_id: str,
        states: Mapping[TaskId, TaskState] | None = None,
    ) -> Course:
        """The course from the states that the ledger has; without them, from the beginning."""
        course = cls(workflow_id, workflow, inputs, correlation_id)
        known = states or {}
        for task in workflow.tasks:
            course._tasks[task.id] = task
            state = course._states[task.id] = known.get(task.id, TaskState.PENDING)
            course._open += state not in ENDED
            for dependency in task.dependencies:
                course._dependents.setdefault(dependency, []).append(task.id)
        for task in workflow.tasks:
            course._place(task)
        return course

    def _place(self, task: Task) -> None:
        """Decide anew for one task that is PENDING."""
        if self._states[task.id] is not TaskState.PENDING:
            return
        missing = 0
        for dependency in task.dependencies:
            state = self._states[dependency]
            missing += state is not TaskState.DONE
            if state in ENDED and state is not TaskState.DONE:
                self._doomed.setdefault(task.id, dependency)
        self._missing[task.id] = missing
        for other in task.refers:
            self._wanted[other] = self._wanted.get(other, 0) + 1
        if not missing:
            self._freed.append(task.id)

    # --- what became true -----------------------------------------------------------------------

    def completed(self, task_id: TaskId, result: Json) -> None:
        """A task is done."""
        if self._states[task_id] in ENDED:
            return
        self._end(task_id, TaskState.DONE)
        if self._wanted.get(task_id):
            self.results[task_id] = result
        for dependent in self._dependents.get(task_id, ()):
            if self._states[dependent] is TaskState.PENDING:
                self._missing[dependent] -= 1
                if not self._missing[dependent]:
                    self._freed.append(dependent)

    def ended(self, task_id: TaskId, state: TaskState) -> None:
        """A task has ended without a result: what depends on it never runs."""
        assert state in ENDED, state
        if self._states[task_id] in ENDED:
            return
        self._end(task_id, state)
        for dependent in self._dependents.get(task_id, ()):
            if self._states[dependent] is TaskState.PENDING:
                self._doomed.setdefault(dependent, task_id)

    def _end(self, task_id: TaskId, state: TaskState) -> None:
        if self._states[task_id] is TaskState.PENDING:
            self._release(task_id)
        self._states[task_id] = state
        self._open -= 1

    def queued(self, task_id: TaskId) -> None:
        """The ledger has made a task ready."""
        if self._states[task_id] is TaskState.PENDING:
            self._states[task_id] = TaskState.READY
            self._release(task_id)

    def _release(self, task_id: TaskId) -> None:
        """A task needs the results that it refers to no longer."""
        for other in self._tasks[task_id].refers:
            self._wanted[other] -= 1
            if not self._wanted[other]:
                del self._wanted[other]
                self.results.pop(other, None)

    # --- what follows ---------------------------------------------------------------------------

    def take_freed(self) -> list[Task]:
        """Tasks whose dependencies are all done, each once, in the order in which that came to be."""
        freed, self._freed = self._freed, []
        if self.cancelling:
            return []
        return [self._tasks[t] for t in freed if self._states[t] is TaskState.PENDING]

    def take_doomed(self) -> list[SkippedTask]:
        """Tasks that will never run, each once, with those that depend on them, and with the reason."""
        doomed, self._doomed = self._doomed, {}
        skipped: dict[TaskId, SkippedTask] = {}
        queue = list(doomed.items())
        for task_id, cause in queue:
            if task_id in skipped or self._states[task_id] is not TaskState.PENDING:
                continue
            state = self._states[cause]
            how = "was skipped" if state in (TaskState.SKIPPED, TaskState.PENDING) else state.value
            error = errors.DependencyFailed(f"not run, because {cause} {how}").info()
            skipped[task_id] = SkippedTask(task_id=task_id, error=error)
            queue += [(dependent, task_id) for dependent in self._dependents.get(task_id, ())]
        return list(skipped.values())

    def put_back(self, tasks: Iterable[Task]) -> None:
        """Tasks that were taken cannot go on yet: they are freed again."""
        self._freed += [task.id for task in tasks]

    def keep(self, task_id: TaskId, result: Json) -> None:
        """A result that was read from the ledger, if a task still refers to it."""
        if task_id in self._wanted:
            self.results[task_id] = result

    def begun(self) -> bool:
        """Whether any task was ever ready."""
        return any(s not in (TaskState.PENDING, TaskState.SKIPPED) for s in self._states.values())

    def missing_results(self, task: Task) -> list[TaskId]:
        """Results that a task refers to and that are not here."""
        return [other for other in task.refers if other not in self.results]

    def ending(self) -> Ending | None:
        """How the workflow has ended; None while a task has not."""
        if self._open:
            return None
        if self.cancelling:
            return Ending(WorkflowState.CANCELLED)
        bad = [t for t, state in self._states.items() if state in (TaskState.FAILED, TaskState.CANCELLED)]
        if not bad:
            return Ending(WorkflowState.COMPLETED)
        return Ending(WorkflowState.FAILED, errors.WorkflowError(_names(bad)).info())

    def counts(self) -> dict[str, int]:
        """Tasks by status; what is queued, assigned or running counts as ``active``."""
        found = Counter(
            state.value if state in ENDED or state is TaskState.PENDING else "active"
            for state in self._states.values()
        )
        return dict(sorted(found.items()))


def _names(tasks: Iterable[TaskId]) -> str:
    named = list(tasks)
    rest = len(named) - NAMED_LIMIT
    text = ", ".join(named[:NAMED_LIMIT]) + (f" and {rest} more" if rest > 0 else "")
    return f"{len(named)} task{'s' if len(named) > 1 else ''} did not complete: {text}"
