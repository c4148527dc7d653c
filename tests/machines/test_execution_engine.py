"""The execution engine, rule by rule, and beside a model of attempts, providers and slots."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gleitzeitd import errors
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import hub as h
from gleitzeitd.events import persistence as p
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.events import provider as v
from gleitzeitd.events import queue_manager as q
from gleitzeitd.machines.base import Ask, CancelAsk, CancelTimer, SetTimer
from gleitzeitd.machines.execution_engine import ExecutionEngine, Settings
from gleitzeitd.machines.room import DISCONNECTED_SECONDS, UNREACHABLE_SECONDS
from gleitzeitd.model.ledger import Execution
from gleitzeitd.model.names import ComponentId, Role, TaskId, WorkflowId
from tests.drive import Dialogue, asks, notes, tells

ME, P1, P2, QUEUE = map(ComponentId, ("engine-1", "provider-1", "provider-2", "queue-1"))
W = WorkflowId("w")
ECHO = "echo/v1"
TOO_LARGE = errors.MalformedEvent("event", "too large").info()


def provider(name=P1, capacity=1, protocol=ECHO):
    return r.ProviderRegistered(
        provider=r.ProviderInfo(component_id=name, protocol=protocol, capacity=capacity)
    )


def engine(*providers, slots=2):
    d = Dialogue(ExecutionEngine(ME, Settings(slots=slots)))
    d.start() << asks(r.FindProvider, key="providers") << SetTimer("request", 1.0)
    d.hub_connected() << tells(e.CapacityUpdate(slots=slots)) << asks(r.FindProvider)
    infos = [one.provider for one in providers]
    d.answer(r.ProviderFound(providers=infos), key="providers").settle() << tells(q.RequestNextTask)
    return d


def execute(task="a", attempt=1, timeout=None, number=1, protocol=ECHO, **more):
    run = Execution(
        workflow_id=W,
        task_id=TaskId(task),
        attempt=attempt,
        engine_id=ME,
        method="echo/echo",
        protocol=protocol,
        parameters={"n": 1},
        timeout=timeout,
        **more,
    )
    return q.ExecuteTask(task=run, number=number)


def about(task="a", attempt=1):
    return {"workflow_id": W, "task_id": TaskId(task), "attempt": attempt}


def result(task="a", attempt=1, value=7):
    return v.MethodResult(**about(task, attempt), result=value, finished_at="then")


def error(problem, task="a"):
    return v.ProviderError(**about(task), error=problem.info())


def called(d, task="a", to=P1, attempt=1):
    d << asks(v.ExecuteMethod, key=f"call/w/{task}/{attempt}", to=to, **about(task, attempt))
    return d << asks(e.TaskStarted, key=f"start/w/{task}/{attempt}", provider_id=to)


def ending(order):
    """In place of the call: that one is not asked for again."""
    return asks(order, key="call/w/a/1", to=P1)


def calling(**more):
    """An engine whose task ``a`` is being run by P1."""
    d = engine(provider())
    d.receive(execute(**more), source=QUEUE)
    called(d)
    if "timeout" in more:
        d << SetTimer("deadline/w/a/1", more["timeout"] + 5.0)
    return d


def reported(d, event, task="a", *, timer=False):
    d << CancelAsk(f"call/w/{task}/1")
    if timer:
        d << CancelTimer(f"deadline/w/{task}/1")
    return d << CancelAsk(f"start/w/{task}/1") << asks(event, key=f"end/w/{task}/1")


# --- rules ----------------------------------------------------------------------------------------


def test_an_attempt_is_called_reported_and_ends_with_the_ledgers_answer():
    d = calling()
    d.receive(result(), source=P1)
    reported(d, e.TaskCompleted(**about(), result=7, finished_at="then"))
    assert d.machine.inventory() == [[W, "a", 1]]
    d.answer(p.DataSaved(status="ok"), key="end/w/a/1").silent()
    assert d.machine.inventory() == []


def test_what_a_provider_says_of_anothers_call_is_not_heard():
    d = calling()
    d.receive(result(value="forged"), source=P2).silent()
    d.receive(error(errors.ExecutionFailed("forged")), source=P2).silent()
    d.receive(result(attempt=2), source=P1).silent()
    assert d.machine.load() == 1


def test_an_attempt_waits_for_a_provider_with_room_in_order():
    d = engine(provider(), slots=9)
    d.receive(execute("a"), source=QUEUE)
    called(d)
    d.receive(execute("b"), source=QUEUE)
    d.receive(execute("c"), source=QUEUE).silent()
    d.receive(result(), source=P1)
    reported(d, e.TaskCompleted)
    called(d, "b")
    d.receive(provider(P2), source="registry")
    called(d, "c", to=P2)


def test_the_provider_with_most_room_is_called():
    d = engine(provider(P1, 1), provider(P2, 2))
    d.receive(execute("a"), source=QUEUE)
    called(d, "a", to=P2)


def test_a_repeated_order_is_not_run_twice():
    d = calling()
    d.receive(execute(), source=QUEUE).silent()


def test_an_outdated_attempt_is_ended_and_nobody_is_told():
    d = calling()
    d.answer(p.DataSaved(status="stale"), key="start/w/a/1") << notes("warning") << CancelAsk("call/w/a/1")
    d << tells(v.CancelMethod, to=P1) << CancelAsk("start/w/a/1") << CancelAsk("end/w/a/1")
    assert d.machine.drained()
    d.receive(result(), source=P1).silent()


def test_an_engine_that_was_away_learns_what_is_anothers_before_the_work_has_ended():
    d = called(engine(provider(capacity=2)) >> execute())
    called(d >> execute(task="b", number=2), "b")
    d.answer(p.DataSaved(status="ok"), key="start/w/a/1").answer(p.DataSaved(status="ok"), key="start/w/b/1")
    d.settle() << tells(q.RequestNextTask)
    d.machine.isolated()
    d.hub_connected() << tells(e.CapacityUpdate) << asks(r.FindProvider)
    d << asks(e.TaskStarted, key="start/w/a/1", provider_id=P1)
    d << asks(e.TaskStarted, key="start/w/b/1", provider_id=P1)
    d.answer(p.DataSaved(status="duplicate"), key="start/w/b/1")
    d.answer(p.DataSaved(status="stale"), key="start/w/a/1")
    d << notes("warning", "an outdated attempt was discarded") << CancelAsk("call/w/a/1")
    d << tells(v.CancelMethod, to=P1, **about())
    d << CancelAsk("start/w/a/1") << CancelAsk("end/w/a/1")
    assert d.machine.inventory() == [["w", "b", 1]]
    d.hub_connected() << tells(e.CapacityUpdate) << asks(r.FindProvider)


def test_what_may_not_run_twice_is_not_given_up_when_its_engine_was_away():
    d = engine(provider()) >> execute(once=True)
    d << asks(e.TaskStarted, key="start/w/a/1")
    d.answer(p.DataSaved(status="ok"), key="start/w/a/1") << asks(v.ExecuteMethod, key="call/w/a/1", to=P1)
    d.settle() << tells(q.RequestNextTask)
    d.machine.isolated()
    d.hub_connected() << tells(e.CapacityUpdate) << asks(r.FindProvider)


def test_a_provider_that_went_away_is_reported_for_each_of_its_calls():
    d = calling()
    gone = h.ComponentDisconnected(component_id=P1, component_type=Role.PROVIDER, reason="")
    d.receive(gone, source="hub") << asks(v.ExecuteMethod, key="call/w/a/1", to=P1)
    notice = h.NoComponentsAvailable(event="execute_method", component_id=P1)
    d.undeliverable(notice, "call/w/a/1").silent()
    d.after(DISCONNECTED_SECONDS).undeliverable(notice, "call/w/a/1")
    reported(d, e.TaskFailed)


def test_a_provider_with_another_connection_goes_on_with_its_calls():
    d = calling()
    gone = h.ComponentDisconnected(component_id=P1, component_type=Role.PROVIDER, reason="")
    d.receive(gone, source="hub") << asks(v.ExecuteMethod, key="call/w/a/1", to=P1)
    d.receive(result(), source=P1)
    reported(d, e.TaskCompleted)


def test_a_call_that_nobody_can_get_is_reported_when_connections_had_time_to_come_back():
    d = calling()
    notice = h.NoComponentsAvailable(event="execute_method", component_id=P1)
    d.undeliverable(notice, "call/w/a/1").silent()
    d.after(UNREACHABLE_SECONDS / 2).undeliverable(notice, "call/w/a/1").silent()
    d.after(UNREACHABLE_SECONDS / 2).undeliverable(notice, "call/w/a/1")
    reported(d, e.TaskFailed)


def test_a_provider_that_was_started_again_is_asked_at_once_and_refuses():
    d = calling()
    again = r.ProviderInfo(component_id=P1, protocol="echo/v1", capacity=4, epoch=99)
    d.receive(r.ProviderRegistered(provider=again), source="registry")
    d << asks(v.ExecuteMethod, key="call/w/a/1", to=P1)


def test_a_call_that_the_hub_refuses_has_failed():
    d = calling()
    d.refuse("call/w/a/1", TOO_LARGE) << notes("error")
    reported(d, e.TaskFailed)
    assert d.asks["end/w/a/1"].event.error == TOO_LARGE


def test_a_result_that_the_hub_refuses_becomes_a_failure():
    d = calling()
    d.receive(result(), source=P1)
    reported(d, e.TaskCompleted)
    d.refuse("end/w/a/1", TOO_LARGE) << notes("error") << CancelAsk("start/w/a/1")
    d << asks(e.TaskFailed, key="end/w/a/1", error=TOO_LARGE)
    d.refuse("end/w/a/1", TOO_LARGE) << notes("error")
    assert d.machine.drained()


def test_a_cancelled_attempt_is_ended_by_its_provider():
    d = calling()
    order = e.CancelTask(**about(), reason="enough")
    d.receive(order, source="persistence") << ending(v.CancelMethod(**about(), reason="enough"))
    d << SetTimer("deadline/w/a/1", 5.0)
    d.receive(order, source="persistence").silent()
    d.receive(error(errors.TaskCancelled("ended")), source=P1)
    reported(d, e.TaskFailed, timer=True)
    d.receive(order, source="persistence").silent()


def test_an_attempt_that_waits_is_cancelled_at_once():
    d = engine()
    d.receive(execute(), source=QUEUE).silent()
    d.receive(e.CancelTask(**about()), source="persistence") << CancelAsk("start/w/a/1")
    d << asks(e.TaskFailed)
    d.receive(provider(), source="registry").silent()


def test_an_attempt_that_was_cancelled_before_it_came_does_not_begin():
    d = engine(provider())
    d.receive(e.CancelTask(**about()), source="persistence").silent()
    d.receive(execute(), source=QUEUE) << CancelAsk("start/w/a/1") << asks(e.TaskFailed, key="end/w/a/1")
    assert d.asks["end/w/a/1"].event.error.code == errors.TaskCancelled.code
    d.receive(execute(attempt=2), source=QUEUE)
    called(d, attempt=2)


def test_a_deadline_ends_the_call_and_overtime_the_waiting_for_that():
    d = calling(timeout=10.0)
    d.expire("deadline/w/a/1") << ending(v.CancelMethod) << SetTimer("deadline/w/a/1", 5.0)
    d.expire("deadline/w/a/1")
    reported(d, e.TaskFailed, timer=True)
    assert d.asks["end/w/a/1"].event.error.code == errors.TaskTimeout.code


def test_slots_and_room_are_offered_when_they_change_and_every_second():
    d = engine(provider(capacity=1))
    d.settle().silent()
    d.receive(execute(number=4), source=QUEUE)
    called(d)
    d.settle() << tells(q.RequestNextTask(slots=1, room={ECHO: 0}, received={QUEUE: 4}))
    d.receive(result(), source=P1)
    reported(d, e.TaskCompleted)
    d.settle() << tells(q.RequestNextTask(slots=1, room={ECHO: 1}, received={QUEUE: 4}))
    d.answer(p.DataSaved(status="ok"), key="end/w/a/1")
    d.settle() << tells(q.RequestNextTask(slots=2, room={ECHO: 1}, received={QUEUE: 4}))
    d.expire("request") << SetTimer("request", 1.0) << tells(q.RequestNextTask)


def test_what_arrives_is_told_even_if_as_much_ended_meanwhile():
    d = calling()
    d.settle() << tells(q.RequestNextTask)
    d.receive(result(), source=P1)
    reported(d, e.TaskCompleted)
    d.answer(p.DataSaved(status="ok"), key="end/w/a/1")
    d.receive(execute("b", number=2), source=QUEUE)
    called(d, "b")
    d.settle() << tells(q.RequestNextTask(slots=1, room={ECHO: 0}, received={QUEUE: 2}))


def test_a_queue_manager_that_is_gone_is_not_counted_for_ever():
    d = calling()
    d.receive(h.ComponentDisconnected(component_id=QUEUE, component_type=Role.QUEUE_MANAGER, reason=""))
    d.settle() << tells(q.RequestNextTask, received={})


def test_a_draining_engine_finishes_what_runs_and_hands_the_rest_back():
    d = calling()
    d.receive(execute("b"), source=QUEUE).silent()
    d.drain() << tells(e.CapacityUpdate(slots=2, draining=True)) << SetTimer("hand back", 5.0)
    d << CancelAsk("start/w/b/1") << asks(e.TaskFailed, key="end/w/b/1")
    d.receive(execute("c"), source=QUEUE) << CancelAsk("start/w/c/1") << asks(e.TaskFailed, key="end/w/c/1")
    d.expire("hand back") << ending(v.CancelMethod) << SetTimer("deadline/w/a/1", 5.0)
    d.receive(error(errors.TaskCancelled("ended")), source=P1)
    reported(d, e.TaskFailed, timer=True)
    assert {d.asks[f"end/w/{t}/1"].event.error.code for t in "abc"} == {errors.ProviderOverloaded.code}
    for task in "abc":
        assert not d.machine.drained()
        d.answer(p.DataSaved(status="ok"), key=f"end/w/{task}/1").silent()
    assert d.machine.drained()


@pytest.mark.parametrize("status", ["ok", "duplicate"])
def test_a_late_answer_to_the_start_changes_nothing(status):
    d = calling()
    d.answer(p.DataSaved(status=status), key="start/w/a/1").silent()
    assert d.machine.load() == 1


# --- what must not run twice ------------------------------------------------------------------------


def starting(**more):
    """An engine whose task ``a`` may not run twice, and is about to begin."""
    d = engine(provider())
    d.receive(execute(once=True, **more), source=QUEUE) << asks(e.TaskStarted, key="start/w/a/1")
    return d


def ends_with(d, problem):
    """The message of the error with which the attempt ends."""
    *_, end = d.take()
    assert isinstance(end.event, e.TaskFailed)
    assert end.event.error.name == problem.name
    return end.event.error.message


@pytest.mark.parametrize("status", ["ok", "duplicate"])
def test_the_provider_is_called_when_the_start_is_durable(status):
    d = starting(timeout=9, silence=3)
    d.answer(p.DataSaved(status=status), key="start/w/a/1")
    d << asks(v.ExecuteMethod, key="call/w/a/1", to=P1, timeout=9, silence=3)
    d << SetTimer("deadline/w/a/1", 14.0)
    d.receive(result(), source=P1)
    reported(d, e.TaskCompleted, timer=True)


def test_an_outdated_start_of_what_may_not_run_twice_calls_nobody():
    d = starting()
    d.answer(p.DataSaved(status="stale"), key="start/w/a/1") << notes("warning")
    assert not any(isinstance(effect, Ask) for effect in d.take())
    assert d.machine.inventory() == []
    d.receive(execute("b"), source=QUEUE)
    called(d, "b")


def test_what_has_not_begun_is_handed_back_when_its_provider_goes_away():
    d = starting()
    gone = h.ComponentDisconnected(component_id=P1, component_type=Role.PROVIDER)
    d.receive(gone, source="hub")
    assert "before the call" in ends_with(d, errors.ProviderOverloaded)


def test_what_has_not_begun_is_handed_back_or_cancelled_at_once():
    d = starting()
    d.receive(e.CancelTask(**about()), source="persistence")
    ends_with(d, errors.TaskCancelled)
    d = starting()
    d.drain()
    ends_with(d, errors.ProviderOverloaded)


def test_work_that_a_draining_engine_ends_is_lost_and_not_handed_back():
    d = starting()
    d.answer(p.DataSaved(status="ok"), key="start/w/a/1") << asks(v.ExecuteMethod)
    d.drain().take()
    d.expire("hand back").take()
    d.receive(error(errors.TaskCancelled("ended")), source=P1)
    assert "shutting down" in ends_with(d, errors.ProviderNotAvailable)


def test_work_that_a_provider_does_not_end_may_go_on_and_is_lost():
    d = starting(timeout=9)
    d.answer(p.DataSaved(status="ok"), key="start/w/a/1").take()
    d.expire("deadline/w/a/1").take()
    d.expire("deadline/w/a/1")
    assert "has not ended the work" in ends_with(d, errors.ProviderNotAvailable)


def test_a_start_that_nobody_takes_is_given_up():
    d = starting()
    d.refuse("start/w/a/1", TOO_LARGE) << notes("error")
    assert d.machine.inventory() == []
    d.receive(execute("b"), source=QUEUE)
    called(d, "b")


# --- beside a model -------------------------------------------------------------------------------

TASKS = st.sampled_from(["a", "b", "c", "d"])
PROVIDERS = [P1, P2]


class Beside(RuleBasedStateMachine):
    """``held`` are the attempts; ``calls`` says who runs which; ``reports`` is what the ledger was asked."""

    def __init__(self):
        super().__init__()
        self.d = engine(slots=3)
        self.held, self.calls, self.ended = set(), {}, Counter()
        self.capacity = {}
        self.attempts = Counter()

    def look(self):
        """What has just come out."""
        for effect in self.d.take():
            if not isinstance(effect, Ask):
                continue
            event = effect.event
            key = (getattr(event, "task_id", None), getattr(event, "attempt", None))
            if isinstance(event, v.ExecuteMethod):
                assert key in self.held
                assert self.calls.get(key, effect.to) == effect.to, "one attempt is in two providers"
                self.calls[key] = effect.to
                running = Counter(self.calls.values())
                capacity = self.capacity.get(effect.to, running[effect.to])
                assert running[effect.to] <= capacity, "over a provider's capacity"
            elif isinstance(event, (e.TaskCompleted, e.TaskFailed)):
                self.calls.pop(key, None)
                self.ended[key] += 1
                assert self.ended[key] == 1, "one attempt was reported twice"

    @rule(task=TASKS)
    def order(self, task):
        self.attempts[task] += 1
        self.held.add((task, self.attempts[task]))
        self.d.receive(execute(task, self.attempts[task]), source=QUEUE)
        self.look()

    @rule(task=TASKS)
    def order_again(self, task):
        if (task, self.attempts[task]) in self.held:
            self.d.receive(execute(task, self.attempts[task]), source=QUEUE).silent()

    @rule(name=st.sampled_from(PROVIDERS), capacity=st.integers(1, 2))
    def registers(self, name, capacity):
        if name not in self.capacity:
            self.capacity[name] = capacity
            self.d.receive(provider(name, capacity), source="registry")
            self.look()

    @rule(name=st.sampled_from(PROVIDERS))
    def goes(self, name):
        self.capacity.pop(name, None)
        orphans = [key for key, where in self.calls.items() if where == name]
        gone = h.ComponentDisconnected(component_id=name, component_type=Role.PROVIDER, reason="")
        self.d.receive(gone, source="hub")
        self.look()
        self.d.after(DISCONNECTED_SECONDS)
        notice = h.NoComponentsAvailable(event="execute_method", component_id=name)
        for task, attempt in orphans:
            key = f"call/w/{task}/{attempt}"
            if key in self.d.asks:
                self.d.undeliverable(notice, key)
                self.look()
        assert all(self.ended[key] == 1 for key in orphans)

    @rule(task=TASKS, good=st.booleans(), name=st.sampled_from(PROVIDERS))
    def answers(self, task, good, name):
        key = (task, self.attempts[task])
        expected = self.calls.get(key) == name
        event = result(*key) if good else v.ProviderError(**about(*key), error=TOO_LARGE)
        self.d.receive(event, source=name)
        before = self.ended[key]
        self.look()
        assert (self.ended[key] == before + 1) == expected

    @rule(task=TASKS)
    def cancel(self, task):
        self.d.receive(e.CancelTask(**about(task, self.attempts[task])), source="persistence")
        self.look()

    @rule(task=TASKS, status=st.sampled_from(["ok", "duplicate", "stale"]))
    def ledger_answers(self, task, status):
        for n in range(1, self.attempts[task] + 1):
            key = f"end/w/{task}/{n}"
            if key in self.d.asks:
                self.d.answer(p.DataSaved(status=status), key=key)
                self.held.discard((task, n))
                self.look()

    @rule(task=TASKS)
    def outdated(self, task):
        key = (task, self.attempts[task])
        if f"start/w/{task}/{key[1]}" in self.d.asks:
            self.d.answer(p.DataSaved(status="stale"), key=f"start/w/{task}/{key[1]}")
            self.held.discard(key)
            self.calls.pop(key, None)
            self.look()
            assert self.ended[key] == 0

    @rule(data=st.data())
    def overtime(self, data):
        if timers := sorted(key for key in self.d.timers if key.startswith("deadline/")):
            self.d.expire(data.draw(st.sampled_from(timers)))
            self.look()

    @rule()
    def offer(self):
        self.d.expire("request")
        (said,) = [effect.event for effect in self.d.take() if not isinstance(effect, SetTimer)]
        assert said.slots == max(3 - len(self.held), 0)
        waiting = len([key for key in self.held if key not in self.calls and not self.ended[key]])
        free = sum(self.capacity.values()) - len(self.calls)
        assert said.room == ({ECHO: max(free - waiting, 0)} if self.capacity else {})

    @invariant()
    def the_inventory_is_what_is_held(self):
        assert {(task, n) for _, task, n in self.d.machine.inventory()} == self.held

    @invariant()
    def nothing_waits_while_a_provider_has_room(self):
        waiting = [key for key in self.held if key not in self.calls and not self.ended[key]]
        assert not waiting or sum(self.capacity.values()) <= len(self.calls)

    @invariant()
    def no_timer_outlives_its_call(self):
        timed = {key.split("/")[2] for key in self.d.timers if key.startswith("deadline/")}
        assert timed <= {task for task, _ in self.calls}


TestBeside = Beside.TestCase
TestBeside.settings = settings(max_examples=80, stateful_step_count=40)
