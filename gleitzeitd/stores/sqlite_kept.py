"""Rows that stay in memory from one transaction to the next.

Most changes are about tasks that were changed a moment ago. One process has the file, and one thread of it
writes, so what that has read or written is how it is, unless the transaction fails.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gleitzeitd.model.ledger import ShardRow, TaskKey, TaskRow, WorkflowRow
from gleitzeitd.model.names import Shard, WorkflowId

KEPT_LIMIT = 10_000
"""Rows that are kept; when there are more, all are forgotten."""


@dataclass(slots=True)
class Kept:
    """Rows as the database has them."""

    workflows: dict[WorkflowId, WorkflowRow] = field(default_factory=dict)
    serials: dict[WorkflowId, int] = field(default_factory=dict)
    heads: dict[WorkflowId, tuple[object, ...]] = field(default_factory=dict)
    """What of a workflow changes seldom."""
    tasks: dict[TaskKey, TaskRow] = field(default_factory=dict)
    ids: dict[TaskKey, int] = field(default_factory=dict)
    shards: dict[Shard, ShardRow] = field(default_factory=dict)
    done: set[TaskKey] = field(default_factory=set)
    """Known to be DONE; that never changes."""
    audit: list[tuple[int, str]] = field(default_factory=list)
    """Number and hash of the audit's last record; nothing, if it was not read yet."""

    def clear(self) -> None:
        """What is needed is read again."""
        for each in (self.workflows, self.serials, self.heads, self.tasks, self.ids, self.shards, self.done):
            each.clear()
        self.audit.clear()

    def trim(self) -> None:
        """After a commit: what was large is not needed again, and there is an end to what is kept."""
        if len(self.tasks) + len(self.workflows) + len(self.done) > KEPT_LIMIT:
            self.clear()
