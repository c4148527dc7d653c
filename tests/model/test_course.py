"""A workflow's course, by example and beside a naive model."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gleitzeitd.model.course import Course
from gleitzeitd.model.ledger import ENDED, TaskState, WorkflowState
from gleitzeitd.model.names import TaskId, WorkflowId
from gleitzeitd.model.workflow import Task, Workflow

S = TaskState


def course(graph, states=None, refers=None):
    """``graph``: task to dependencies; ``refers``: task to those whose results it wants, else all of them."""
    tasks = tuple(
        Task(
            id=TaskId(name),
            name=name,
            method="echo/echo",
            protocol="echo/v1",
            dependencies=tuple(map(TaskId, needs)),
            refers=tuple(map(TaskId, (refers or {}).get(name, needs))),
        )
        for name, needs in graph.items()
    )
    return Course.of(WorkflowId("w"), Workflow(tasks=tasks), {}, "c", states)


def freed(c):
    return [task.id for task in c.take_freed()]


def doomed(c):
    return [(task.task_id, task.error.message) for task in c.take_doomed()]


DIAMOND = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}


def test_a_task_is_free_when_its_last_dependency_is_done():
    c = course(DIAMOND)
    assert freed(c) == ["a"]
    assert freed(c) == []
    c.completed("a", 1)
    assert freed(c) == ["b", "c"]
    c.completed("c", 3)
    assert freed(c) == []
    c.completed("b", 2)
    assert freed(c) == ["d"]


def test_what_depends_on_a_failed_task_is_doomed_with_the_reason():
    c = course(DIAMOND)
    c.ended("a", S.FAILED)
    assert doomed(c) == [
        ("b", "not run, because a failed"),
        ("c", "not run, because a failed"),
        ("d", "not run, because b was skipped"),
    ]
    assert doomed(c) == []


def test_a_result_is_kept_until_the_last_task_that_refers_to_it_is_queued():
    c = course({"a": [], "b": ["a"], "c": ["a"]})
    c.completed("a", 7)
    c.queued("b")
    assert c.results == {"a": 7}
    c.queued("c")
    assert c.results == {}


def test_a_result_that_nobody_refers_to_is_not_kept():
    c = course({"a": [], "b": ["a"]}, refers={"b": []})
    c.completed("a", "large")
    c.keep("a", "large")
    assert c.results == {}


def test_a_result_that_is_read_too_late_is_not_kept():
    c = course({"a": [], "b": ["a"]}, {"a": S.DONE})
    c.queued("b")
    c.keep("a", 7)
    assert c.results == {}


def test_results_from_before_are_missing_until_they_are_read():
    c = course({"a": [], "b": ["a"]}, {"a": S.DONE})
    (b,) = c.take_freed()
    assert c.missing_results(b) == ["a"]
    c.put_back([b])
    c.keep("a", None)
    (b,) = c.take_freed()
    assert c.missing_results(b) == []


def test_a_task_that_was_put_back_and_then_cancelled_is_not_free():
    c = course({"a": [], "b": ["a"]}, {"a": S.DONE})
    c.put_back(c.take_freed())
    c.cancelling = True
    c.ended("b", S.CANCELLED)
    assert freed(c) == []


@pytest.mark.parametrize(
    ("states", "cancelling", "expected"),
    [
        ([S.DONE, S.DONE], False, WorkflowState.COMPLETED),
        ([S.DONE, S.PENDING], False, None),
        ([S.RUNNING, S.DONE], True, None),
        ([S.FAILED, S.SKIPPED], False, WorkflowState.FAILED),
        ([S.DONE, S.CANCELLED], False, WorkflowState.FAILED),
        ([S.DONE, S.CANCELLED], True, WorkflowState.CANCELLED),
    ],
)
def test_a_workflow_ends_with_its_last_task(states, cancelling, expected):
    c = course({"a": [], "b": []}, dict(zip("ab", states, strict=True)))
    c.cancelling = cancelling
    ending = c.ending()
    assert (ending and ending.state) == expected


def test_the_error_of_a_workflow_names_the_first_that_failed():
    c = course({f"t{n}": [] for n in range(12)}, {f"t{n}": S.FAILED for n in range(12)})
    named = ", ".join(f"t{n}" for n in range(10))
    assert c.ending().error.message == f"12 tasks did not complete: {named} and 2 more"


NAMES = ["a", "b", "c", "d", "e", "f"]


class Beside(RuleBasedStateMachine):
    """The model looks at all tasks every time; ``told`` are those that the course has given out."""

    @initialize(data=st.data())
    def graph(self, data):
        self.graph = {
            name: data.draw(st.lists(st.sampled_from(NAMES[:n]), unique=True, max_size=3)) if n else []
            for n, name in enumerate(NAMES)
        }
        self.states = dict.fromkeys(NAMES, S.PENDING)
        self.results, self.told, self.skipped = {}, set(), set()
        self.course = course(self.graph)

    def free(self):
        return {
            name
            for name, needs in self.graph.items()
            if self.states[name] is S.PENDING and all(self.states[d] is S.DONE for d in needs)
        }

    def doomed(self):
        found = set()
        for name, needs in self.graph.items():
            bad = any(d in found or (self.states[d] in ENDED and self.states[d] is not S.DONE) for d in needs)
            if bad and self.states[name] is S.PENDING:
                found.add(name)
        return found

    @rule()
    def take_freed(self):
        found = freed(self.course)
        assert len(found) == len(set(found))
        assert set(found) == (set() if self.course.cancelling else self.free() - self.told)
        self.told |= set(found)

    @rule()
    def take_doomed(self):
        found = [name for name, _ in doomed(self.course)]
        assert len(found) == len(set(found))
        assert set(found) >= self.doomed() - self.skipped
        assert set(found) <= self.doomed()
        self.skipped |= set(found)

    @precondition(lambda self: self.told)
    @rule(data=st.data())
    def queued(self, data):
        name = data.draw(st.sampled_from(sorted(self.told)))
        self.course.queued(name)
        if self.states[name] is S.PENDING:
            self.states[name] = S.READY

    @precondition(lambda self: self.told)
    @rule(data=st.data())
    def completed(self, data):
        name = data.draw(st.sampled_from(sorted(self.told)))
        self.course.completed(name, name.upper())
        if self.states[name] not in ENDED:
            self.states[name], self.results[name] = S.DONE, name.upper()

    @rule(name=st.sampled_from(NAMES), state=st.sampled_from([S.FAILED, S.SKIPPED, S.CANCELLED]))
    def ended(self, name, state):
        if state is S.SKIPPED and name not in self.skipped:
            return
        self.course.ended(name, state)
        if self.states[name] not in ENDED:
            self.states[name] = state

    @rule()
    def read_again(self):
        """Another resolver takes over, from the ledger."""
        cancelling = self.course.cancelling
        self.course = course(self.graph, dict(self.states))
        self.course.cancelling = cancelling
        self.told -= {name for name in self.told if self.states[name] is S.PENDING}
        self.skipped = {name for name in self.skipped if self.states[name] is not S.PENDING}
        for name, result in self.results.items():
            self.course.keep(name, result)

    @rule()
    def cancelling(self):
        self.course.cancelling = True

    @invariant()
    def results_are_kept_exactly_while_somebody_waits_to_refer_to_them(self):
        wanted = {d for name, needs in self.graph.items() if self.states[name] is S.PENDING for d in needs}
        assert self.course.results == {d: r for d, r in self.results.items() if d in wanted}

    @invariant()
    def it_ends_with_its_last_task(self):
        assert (self.course.ending() is not None) == (set(self.states.values()) <= ENDED)

    @invariant()
    def it_counts(self):
        assert sum(self.course.counts().values()) == len(NAMES)


TestBeside = Beside.TestCase
TestBeside.settings = settings(max_examples=80, stateful_step_count=40)
