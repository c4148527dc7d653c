"""What holds workflows up, as resolvers and queue managers say; kept in memory only, and said again."""

from __future__ import annotations

from dataclasses import dataclass, field

from gleitzeitd.events.dependency_resolver import ExecutionBlocked
from gleitzeitd.model.names import ComponentId, WorkflowId
from gleitzeitd.plain import Json


@dataclass(slots=True)
class Blocked:
    """By workflow, and who says so."""

    _reasons: dict[WorkflowId, dict[ComponentId, Json]] = field(default_factory=dict)

    def note(self, event: ExecutionBlocked, source: ComponentId) -> None:
        """What ``source`` has said of a workflow last; a count of 0: nothing of it waits any more."""
        who = self._reasons.setdefault(event.workflow_id, {})
        if event.count:
            who[source] = {
                "reason": event.reason,
                "unblocked_by": event.unblocked_by,
                "task_ids": list(event.task_ids),
                "count": event.count,
            }
        else:
            who.pop(source, None)
        if not who:
            del self._reasons[event.workflow_id]

    def drop(self, workflow_id: WorkflowId) -> None:
        """It has ended."""
        self._reasons.pop(workflow_id, None)

    def of(self, workflow_id: WorkflowId | None) -> list[Json]:
        """All that is said of a workflow."""
        return list(self._reasons.get(workflow_id, {}).values()) if workflow_id is not None else []
