"""Ready tasks in the order in which they are to run: by priority, then by arrival, for each protocol."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from gleitzeitd.model.ledger import TaskKey
from gleitzeitd.model.names import WorkflowId


@dataclass(slots=True)
class ReadyEntry:
    """A task that waits."""

    key: TaskKey
    attempt: int
    priority: int
    protocol: str
    correlation_id: str
    since: float
    """Monotonic: when it came."""
    arrival: int = 0
    cause: str | None = None
    """The ``message_id`` by which it came."""


@dataclass(slots=True)
class ReadyQueue:
    """Each task at most once. A heap keeps what is gone until it comes up, or is more than what is left."""

    _entries: dict[TaskKey, ReadyEntry] = field(default_factory=dict)
    _heaps: dict[str, list[tuple[int, int, TaskKey]]] = field(default_factory=dict)
    _arrivals: int = 0
    _waiting: Counter[str] = field(default_factory=Counter)
    _workflows: dict[WorkflowId, dict[TaskKey, None]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[ReadyEntry]:
        return iter(self._entries.values())

    def get(self, key: TaskKey) -> ReadyEntry | None:
        """The entry of a task that waits."""
        return self._entries.get(key)

    def put(self, entry: ReadyEntry) -> bool:
        """Add a task, or bring it up to date; False if it waits already at this attempt."""
        old = self._entries.get(entry.key)
        if old is not None and (old.attempt, old.priority) == (entry.attempt, entry.priority):
            return False
        if old is not None and old.attempt > entry.attempt:
            return False  # old news
        if old is not None:
            self.remove(entry.key)
        self._arrivals += 1
        entry.arrival = self._arrivals if old is None else old.arrival
        self._entries[entry.key] = entry
        self._workflows.setdefault(entry.key.workflow_id, {})[entry.key] = None
        self._waiting[entry.protocol] += 1
        heap = self._heaps.setdefault(entry.protocol, [])
        heapq.heappush(heap, (-entry.priority, entry.arrival, entry.key))
        return True

    def remove(self, key: TaskKey) -> ReadyEntry | None:
        """Take a task out, wherever it stands."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        siblings = self._workflows[key.workflow_id]
        del siblings[key]
        if not siblings:
            del self._workflows[key.workflow_id]
        self._waiting[entry.protocol] -= 1
        if not self._waiting[entry.protocol]:
            del self._waiting[entry.protocol]
            del self._heaps[entry.protocol]
        else:
            self._compact(entry.protocol)
        return entry

    def _compact(self, protocol: str) -> None:
        heap = self._heaps[protocol]
        if len(heap) > 64 and len(heap) > 2 * self._waiting[protocol]:
            heap[:] = [item for item in heap if self._current(item, protocol)]
            heapq.heapify(heap)

    def _current(self, item: tuple[int, int, TaskKey], protocol: str) -> bool:
        entry = self._entries.get(item[2])
        if entry is None or entry.protocol != protocol:
            return False
        return (-entry.priority, entry.arrival) == item[:2]

    def first(self, protocols: Iterable[str]) -> ReadyEntry | None:
        """The task that is next among those of these protocols; it stays."""
        best: tuple[int, int, TaskKey] | None = None
        for protocol in protocols:
            heap = self._heaps.get(protocol)
            if heap is None:
                continue
            while heap and not self._current(heap[0], protocol):
                heapq.heappop(heap)
            if heap and (best is None or heap[0] < best):
                best = heap[0]
        return None if best is None else self._entries[best[2]]

    def protocols(self) -> dict[str, int]:
        """How many tasks wait, by protocol."""
        return dict(self._waiting)

    def of_workflow(self, workflow_id: WorkflowId) -> list[ReadyEntry]:
        """The tasks of one workflow that wait."""
        return [self._entries[key] for key in self._workflows.get(workflow_id, ())]
