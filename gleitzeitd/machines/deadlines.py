"""The ends of waits that the ledger has set a timer for; in memory only, armed in full after a restart.

A task has at most one at a time, and a workflow one of its own. What is over is dropped where that is known
at once; a deadline that expires all the same finds a state that does not fit, and has no effect.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from gleitzeitd.machines.base import CancelTimer, Effects, Note, SetTimer
from gleitzeitd.model.ledger import Deadline, TaskKey
from gleitzeitd.model.names import TaskId, WorkflowId
from gleitzeitd.plain import Json

PREFIX = "deadline/"
"""Of the keys of its timers."""


class Armed(NamedTuple):
    """A deadline, and the ``message_id`` that it follows from."""

    deadline: Deadline
    cause: str | None = None


@dataclass(slots=True)
class Deadlines:
    """Those that are armed, by workflow and task."""

    _armed: dict[WorkflowId, dict[TaskId, Armed]] = field(default_factory=dict)

    def arm(self, deadline: Deadline, seconds: float, cause: str | None = None) -> SetTimer:
        """Expire after so many seconds, in place of what was armed for the task before."""
        self._armed.setdefault(deadline.workflow_id, {})[deadline.task_id] = Armed(deadline, cause)
        return SetTimer(_key(deadline.workflow_id, deadline.task_id), seconds)

    def drop(self, key: TaskKey) -> Effects:
        """The task waits no longer."""
        armed = self._armed.get(key.workflow_id)
        if armed is None or armed.pop(key.task_id, None) is None:
            return []
        if not armed:
            del self._armed[key.workflow_id]
        return [CancelTimer(_key(*key))]

    def drop_all(self, workflow_id: WorkflowId) -> Effects:
        """The workflow has ended."""
        armed = self._armed.pop(workflow_id, {})
        return [CancelTimer(_key(workflow_id, task_id)) for task_id in armed]

    def expired(self, timer: str) -> Armed | None:
        """The deadline of a timer that has expired; None if it was dropped."""
        workflow_id, task_id = timer.removeprefix(PREFIX).split("/")
        key = TaskKey(WorkflowId(workflow_id), TaskId(task_id))
        armed = self._armed.get(key.workflow_id, {}).get(key.task_id)
        self.drop(key)
        return armed

    def __len__(self) -> int:
        return sum(len(armed) for armed in self._armed.values())


def is_over(deadline: Deadline) -> Note:
    """For the journal: it has expired."""
    fields: dict[str, Json] = {
        "workflow_id": deadline.workflow_id,
        "task_id": deadline.task_id,
        "waiting_for": deadline.kind.value,
    }
    return Note("info", "a timeout is over", fields)


def _key(workflow_id: WorkflowId, task_id: TaskId) -> str:
    return f"{PREFIX}{workflow_id}/{task_id}"
