"""The ready queue beside a sorted list."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gleitzeitd.model.ledger import TaskKey
from gleitzeitd.model.names import TaskId, WorkflowId
from gleitzeitd.model.ready_queue import ReadyEntry, ReadyQueue

PROTOCOLS = ("echo/v1", "python/v1")
KEYS = st.builds(TaskKey, st.sampled_from(["v", "w"]), st.sampled_from(["a", "b", "c", "d", "e"]))


def entry(key, attempt=0, priority=2, protocol="echo/v1"):
    return ReadyEntry(key, attempt, priority, protocol, "c", 0.0)


def key(task, workflow="w"):
    return TaskKey(WorkflowId(workflow), TaskId(task))


class Beside(RuleBasedStateMachine):
    """``waiting`` holds [key, attempt, priority, protocol] in order of arrival."""

    def __init__(self):
        super().__init__()
        self.queue, self.waiting = ReadyQueue(), []

    @rule(
        key=KEYS, attempt=st.integers(0, 2), priority=st.integers(1, 4), protocol=st.sampled_from(PROTOCOLS)
    )
    def put(self, key, attempt, priority, protocol):
        new = [key, attempt, priority, protocol]
        (old,) = [item for item in self.waiting if item[0] == key] or [None]
        changed = old is None or attempt > old[1] or (attempt == old[1] and priority != old[2])
        assert self.queue.put(entry(key, attempt, priority, protocol)) == changed
        if old is None:
            self.waiting.append(new)
        elif changed:
            old[:] = new

    @rule(key=KEYS)
    def remove(self, key):
        found = self.queue.remove(key)
        assert (found is not None) == any(item[0] == key for item in self.waiting)
        self.waiting = [item for item in self.waiting if item[0] != key]

    @rule(protocols=st.sets(st.sampled_from([*PROTOCOLS, "shell/v1"])))
    def first(self, protocols):
        mine = [item for item in self.waiting if item[3] in protocols]
        expected = min(mine, key=lambda item: -item[2], default=None)  # of equals, min takes the first
        found = self.queue.first(protocols)
        assert (found and found.key) == (expected and expected[0])

    @invariant()
    def the_same_waits(self):
        found = {(one.key, one.attempt, one.priority, one.protocol) for one in self.queue}
        assert found == {tuple(item) for item in self.waiting}
        assert len(self.queue) == len(self.waiting)
        counted = {p: sum(item[3] == p for item in self.waiting) for p in PROTOCOLS}
        assert self.queue.protocols() == {p: n for p, n in counted.items() if n}
        for workflow in ("v", "w"):
            mine = {one.key for one in self.queue.of_workflow(workflow)}
            assert mine == {item[0] for item in self.waiting if item[0].workflow_id == workflow}


TestBeside = Beside.TestCase
TestBeside.settings = settings(max_examples=60, stateful_step_count=40)


def test_a_changed_priority_keeps_the_place_among_equals():
    queue = ReadyQueue()
    for task in "abc":
        queue.put(entry(key(task)))
    queue.put(entry(key("c"), priority=4))
    assert queue.first(PROTOCOLS).key == key("c")
    queue.put(entry(key("c")))
    order = []
    while (found := queue.first(PROTOCOLS)) is not None:
        order.append(found.key.task_id)
        queue.remove(found.key)
    assert order == ["a", "b", "c"]


def test_a_task_that_comes_back_with_another_protocol_waits_for_that_only():
    queue = ReadyQueue()
    queue.put(entry(key("a"), protocol="python/v1"))
    queue.put(entry(key("b"), protocol="python/v1"))
    queue.put(entry(key("a"), attempt=1, protocol="echo/v1"))
    assert queue.first(["python/v1"]).key == key("b")
    assert queue.first(["echo/v1"]).key == key("a")


def test_an_older_attempt_does_not_come_back_with_another_priority():
    queue = ReadyQueue()
    queue.put(entry(key("a"), attempt=2))
    assert not queue.put(entry(key("a"), attempt=1, priority=4))
    assert queue.get(key("a")).attempt == 2
