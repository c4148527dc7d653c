"""A ledger of which every shard is owned, for rules by example."""

from __future__ import annotations

from gleitzeitd.model.change import CancelWorkflow, Status
from gleitzeitd.model.retry import Backoff, RetryPolicy
from gleitzeitd.stores.memory import MemoryStore
from tests.stores.ledger import (
    AT,
    OWNED,
    W,
    accept,
    grant,
    ready,
)

RETRY = RetryPolicy(max_attempts=3, backoff=Backoff.FIXED, base_delay=2, jitter=False)
LONE = {"a": []}
CANCEL = CancelWorkflow(workflow_id=W, reason="enough")


class Ledger:
    """One with every shard owned."""

    def __init__(self, *changes):
        self.store = MemoryStore()
        self(*OWNED)
        assert all(outcome.status is Status.OK for outcome in (self(change) for change in changes))

    def __call__(self, *changes, at=AT):
        """The outcome of the last one."""
        return self._now(self.store.commit(changes, at))[-1]

    def statuses(self, *changes):
        return [self(change).status.value for change in changes]

    def task(self, name="a"):
        return next(row for row in self._now(self.store.tasks(W, -1, 99)) if row.task_id == name)

    @property
    def workflow(self):
        return self._now(self.store.workflow(W))

    def _now(self, coroutine):
        try:
            coroutine.send(None)
        except StopIteration as done_with:
            return done_with.value
        raise AssertionError("a store in memory waited")


def leased(**of_tasks):
    return Ledger(accept(graph=LONE, **of_tasks), ready("a"), grant("a"))
