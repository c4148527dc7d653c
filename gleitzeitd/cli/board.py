"""How a workflow stands, put together from what is published about it. Knows no terminal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gleitzeitd.cli.show import duration, instant, plural
from gleitzeitd.errors import ErrorInfo
from gleitzeitd.events import Event
from gleitzeitd.events import dependency_resolver as d
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import provider as v
from gleitzeitd.events import queue_manager as q
from gleitzeitd.model.ledger import TaskState
from gleitzeitd.model.report import ENDED_STATUSES, count_by_status

S = TaskState


@dataclass(slots=True)
class Line:
    """One task."""

    task_id: str
    status: str = S.PENDING.value
    attempt: int = 0
    started: float | None = None
    """Seconds since the epoch, as are the other times."""
    finished: float | None = None
    detail: str = ""

    def seconds(self, now: float) -> float | None:
        """How long its last attempt has taken so far."""
        if self.started is None:
            return None
        return max(0.0, (now if self.finished is None else self.finished) - self.started)


@dataclass(frozen=True, slots=True)
class Change:
    """Something that a reader of plain lines is told."""

    at: float
    """Seconds since the epoch."""
    task_id: str
    """Empty for the workflow itself."""
    status: str
    detail: str = ""


@dataclass(slots=True)
class Board:
    """All tasks of one workflow, in document order as far as that is known."""

    lines: dict[str, Line] = field(default_factory=dict)
    status: str = "running"
    blocked: dict[str, tuple[str, str]] = field(default_factory=dict)
    """A reason to what would end it, and how many tasks wait."""
    last: float = 0.0
    """The latest time of a change."""

    @classmethod
    def of(cls, task_ids: Iterable[str]) -> Board:
        """Nothing has happened yet."""
        return cls({task_id: Line(task_id) for task_id in task_ids})

    def line(self, task_id: str) -> Line:
        """That of the task, which is added if it is not there."""
        found = self.lines.get(task_id)
        if found is None:
            found = self.lines[task_id] = Line(task_id)
        return found

    def counts(self) -> dict[str, int]:
        """Tasks by status."""
        return count_by_status(line.status for line in self.lines.values())

    def ended(self) -> int:
        """Tasks that have ended."""
        return sum(1 for line in self.lines.values() if line.status in ENDED_STATUSES)

    def apply(self, event: Event, now: float) -> list[Change]:
        """What the event changes; ``now`` is the time of one that has none."""
        changes = self._changes(event, now)
        self.last = max([self.last, *(change.at for change in changes)])
        return changes

    def _changes(self, event: Event, now: float) -> list[Change]:
        match event:
            case d.WorkflowAnalyzed(tasks=tasks) | d.DependenciesSatisfied(tasks=tasks):
                return [self._set(t.task_id, S.READY, now) for t in tasks]
            case q.EnqueueTask(tasks=tasks, reason=reason) | e.TaskLost(tasks=tasks, reason=reason):
                return [self._set(t.task_id, S.READY, now, reason) for t in tasks]
            case e.TaskStarted():
                return [self._started(event, now)]
            case e.TaskCompleted():
                return [self._ended(event, S.DONE, now, "")]
            case e.TaskFailed():
                return [self._failed(event, now)]
            case e.TaskCancelled(task_ids=task_ids):
                return [self._set(task_id, S.CANCELLED, now) for task_id in task_ids]
            case e.TaskUnknown(task_id=task_id, reason=reason):
                return [self._set(task_id, S.UNKNOWN, now, reason)]
            case d.TaskSkipped(tasks=skipped):
                return [
                    self._set(t.task_id, S.FAILED if t.failed else S.SKIPPED, now, _error_text(t.error))
                    for t in skipped
                ]
            case v.TaskProgress():
                return self._progress(event)
            case d.ExecutionBlocked():
                return self._blocked(event, now)
            case _:
                return self._workflow(event, now)

    def _workflow(self, event: Event, now: float) -> list[Change]:
        match event:
            case d.WorkflowCancelling(reason=reason):
                self.status = "cancelling"
                return [Change(now, "", self.status, reason)]
            case d.WorkflowCompleted():
                self.status = "completed"
            case d.WorkflowFailed(error=error):
                self.status = "failed"
                return [Change(now, "", self.status, error.message)]
            case d.WorkflowCancelled():
                self.status = "cancelled"
            case _:
                return []
        return [Change(now, "", self.status)]

    def _set(self, task_id: str, status: TaskState, now: float, detail: str = "") -> Change:
        line = self.line(task_id)
        line.status, line.detail = status.value, detail
        if status is S.READY:
            line.started = line.finished = None
        elif line.finished is None and line.started is not None:
            line.finished = now
        return Change(now, task_id, status.value, detail)

    def _started(self, event: e.TaskStarted, now: float) -> Change:
        line = self.line(event.task_id)
        at = instant(event.started_at) or now
        line.status, line.attempt, line.detail = S.RUNNING.value, event.attempt, ""
        line.started, line.finished = at, None
        return Change(at, event.task_id, line.status, f"attempt {event.attempt}" if event.attempt > 1 else "")

    def _ended(
        self, event: e.TaskCompleted | e.TaskFailed, status: TaskState, now: float, detail: str
    ) -> Change:
        line = self.line(event.task_id)
        at = instant(event.finished_at) or now
        line.status, line.attempt, line.detail = status.value, event.attempt, detail
        line.started = instant(event.started_at) or line.started
        line.finished = at
        took = duration(line.seconds(at))
        return Change(at, event.task_id, line.status, ": ".join(part for part in (took, detail) if part))

    def _failed(self, event: e.TaskFailed, now: float) -> Change:
        text = _error_text(event.error)
        if event.retry_in is None:
            return self._ended(event, S.FAILED, now, text)
        again = f"{text}; again in {duration(event.retry_in)}"
        return self._ended(event, S.RETRY, now, again)

    def _progress(self, event: v.TaskProgress) -> list[Change]:
        line = self.line(event.task_id)
        if line.status == S.RUNNING.value:
            line.detail = f"{event.progress:.0%} {event.message}".rstrip()
        return []

    def _blocked(self, event: d.ExecutionBlocked, now: float) -> list[Change]:
        if not event.count:
            self.blocked.clear()
            return []
        said = (event.unblocked_by, plural(event.count, "task"))
        if self.blocked.get(event.reason) == said:
            return []
        self.blocked[event.reason] = said
        detail = event.reason + (f"; {event.unblocked_by}" if event.unblocked_by else "")
        if event.count == 1 and event.task_ids:
            self.line(event.task_ids[0]).detail = event.reason
            return [Change(now, event.task_ids[0], "blocked", detail)]
        return [Change(now, "", "blocked", f"{plural(event.count, 'task')}: {detail}")]


def _error_text(error: ErrorInfo) -> str:
    first = error.message.strip().splitlines()
    return first[-1] if first else error.name
