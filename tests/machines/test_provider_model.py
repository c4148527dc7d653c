"""The provider's machine beside a model of what waits, runs and is kept."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gleitzeitd.errors import (
    ExecutionFailed,
)
from gleitzeitd.events import provider as v
from gleitzeitd.machines.base import Call, CancelCall, Reply
from gleitzeitd.machines.provider import Finished
from tests.machines.provider_builders import (
    call_id,
    cancel,
    execute,
    provider,
)


class Calls(RuleBasedStateMachine):
    """Never more than the capacity runs, first come first served, and every question has one answer."""

    CAPACITY, BACKLOG = 2, 2
    tasks = st.sampled_from("abcdef")

    def __init__(self):
        super().__init__()
        self.d = provider(self.CAPACITY, backlog=self.BACKLOG, keep_seconds=60.0)
        self.waiting: list[str] = []
        self.running: list[str] = []
        self.questions: dict[str, list[str]] = {}  # call -> [newest execute, newest cancel]
        self.kept: dict[str, tuple[object, float]] = {}
        self.ran: Counter[str] = Counter()
        self.in_service = True

    def see(self, replies_wanted, *, cancels=()):
        """The replies, in order, then the calls that the model says begin now."""
        begun = []
        while self.waiting and len(self.running) < self.CAPACITY:
            begun.append(self.waiting.pop(0))
            self.running.append(begun[-1])
        effects = self.d.take()
        got = [(e.to.message_id, type(e.event), e.event.task_id) for e in effects if isinstance(e, Reply)]
        assert got == replies_wanted
        assert [e.request.task_id for e in effects if isinstance(e, Call)] == begun
        assert [e.call_id for e in effects if isinstance(e, CancelCall)] == list(cancels)

    def is_kept(self, task):
        return task in self.kept and self.kept[task][1] > self.d.now

    @rule(task=tasks)
    def ask(self, task):
        self.d >> execute(task)
        me = self.d.envelope.message_id
        if task in self.running or task in self.waiting:
            self.questions[task][0] = me
            return self.see([])
        if self.is_kept(task):
            return self.see([(me, self.kept[task][0], task)])
        if not self.in_service or len(self.running) + len(self.waiting) >= self.CAPACITY + self.BACKLOG:
            return self.see([(me, v.ProviderError, task)])
        self.questions[task] = [me]
        self.waiting.append(task)
        self.see([])

    @rule(task=tasks)
    def call_off(self, task):
        self.d >> cancel(task)
        me = self.d.envelope.message_id
        if task in self.running:
            first = len(self.questions[task]) == 1
            self.questions[task][1:] = [me]
            return self.see([], cancels=[call_id(task)] if first else [])
        if self.is_kept(task):
            return self.see([(me, self.kept[task][0], task)])
        self.kept[task] = (v.ProviderError, self.d.now + 60.0)
        if task not in self.waiting:
            return self.see([(me, v.ProviderError, task)])
        self.waiting.remove(task)
        self.see([(q, v.ProviderError, task) for q in (self.questions.pop(task)[0], me)])

    @rule(which=st.integers(0, 9), good=st.booleans())
    def end(self, which, good):
        if not self.running:
            return
        task = self.running.pop(which % len(self.running))
        self.d.finish(call_id(task), Finished(result=1) if good else ExecutionFailed("no"))
        kind = v.MethodResult if good else v.ProviderError
        self.kept[task] = (kind, self.d.now + 60.0)
        self.see([(question, kind, task) for question in self.questions.pop(task)])

    @rule(seconds=st.sampled_from([1.0, 30.0, 100.0]))
    def wait(self, seconds):
        self.d.after(seconds)
        while self.d.timers.get("forget", self.d.now + 1) <= self.d.now:
            self.d.expire("forget")
            self.d.take()

    @rule()
    def leave(self):
        self.in_service = False
        self.d.drain()
        waiting, self.waiting = self.waiting, []
        self.see([(self.questions.pop(task)[0], v.ProviderError, task) for task in waiting])

    @invariant()
    def the_capacity_is_kept(self):
        assert len(self.d.calls) == len(self.running) <= self.CAPACITY

    @invariant()
    def the_figures_are_true(self):
        figures = self.d.machine.figures()
        assert (figures["running"], figures["queued"]) == (len(self.running), len(self.waiting))
        assert self.d.machine.drained() == (not self.running and not self.waiting)


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
