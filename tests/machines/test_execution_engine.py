"""The execution engine, rule by rule."""

from __future__ import annotations

import pytest

from gleitzeitd import errors
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import hub as h
from gleitzeitd.events import persistence as p
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.events import provider as v
from gleitzeitd.events import queue_manager as q
from gleitzeitd.machines.base import Ask, CancelAsk, SetTimer
from gleitzeitd.machines.room import DISCONNECTED_SECONDS, UNREACHABLE_SECONDS
from gleitzeitd.machines.starts import HELD_SECONDS
from gleitzeitd.model.names import Role
from tests.drive import asks, notes, tells
from tests.machines.engine_builders import (
    ECHO,
    P1,
    P2,
    QUEUE,
    TOO_LARGE,
    W,
    about,
    called,
    calling,
    ending,
    engine,
    error,
    execute,
    provider,
    reported,
    result,
)

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
    called(d, "b", held=True)
    d.receive(provider(P2), source="registry")
    called(d, "c", to=P2, held=True)


def test_where_many_start_the_ledger_is_told_of_those_that_have_not_ended_a_little_later():
    d = called(engine(provider(capacity=3), slots=9).receive(execute(), source=QUEUE))
    called(d.receive(execute(task="b", number=2), source=QUEUE), "b", held=True)
    called(d.receive(execute(task="c", number=3), source=QUEUE), "c", held=True)
    d.receive(result("b"), source=P1)
    reported(d, e.TaskCompleted, "b")
    d.expire("starts") << SetTimer("starts", HELD_SECONDS)
    d.expire("starts") << asks(e.TaskStarted, key="start/w/c/1", provider_id=P1)
    d << SetTimer("starts", HELD_SECONDS)
    d.expire("starts").silent()
    called(d.receive(execute(task="d", number=4), source=QUEUE), "d")


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
    d = called(engine(provider(capacity=2)).receive(execute(), source=QUEUE))
    called(d.receive(execute(task="b", number=2), source=QUEUE), "b", held=True)
    d.expire("starts") << SetTimer("starts", HELD_SECONDS)
    d.expire("starts") << asks(e.TaskStarted, key="start/w/b/1") << SetTimer("starts", HELD_SECONDS)
    d.answer(p.DataSaved(status="ok"), key="start/w/a/1").answer(p.DataSaved(status="ok"), key="start/w/b/1")
    d.settle().silent()
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
    d = engine(provider()).receive(execute(once=True), source=QUEUE)
    d << asks(e.TaskStarted, key="start/w/a/1")
    d.answer(p.DataSaved(status="ok"), key="start/w/a/1") << asks(v.ExecuteMethod, key="call/w/a/1", to=P1)
    d.settle().silent()
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


def test_slots_and_room_are_offered_when_little_is_known_of_them_and_every_second():
    d = engine(provider(capacity=1))
    d.settle().silent()
    d.receive(execute(number=4), source=QUEUE)
    called(d)
    d.settle().silent()  # it is known how much was given
    d.receive(result(), source=P1)
    reported(d, e.TaskCompleted)
    d.settle() << tells(q.RequestNextTask(slots=1, room={ECHO: 1}, received={QUEUE: 4}))
    d.answer(p.DataSaved(status="ok"), key="end/w/a/1")
    d.settle().silent()  # the half of two slots is known
    d.expire("request") << SetTimer("request", 1.0)
    d << tells(q.RequestNextTask(slots=2, room={ECHO: 1}, received={QUEUE: 4}))


def test_a_protocol_leaves_slots_to_others_if_there_are_any():
    d = engine(provider(capacity=99), slots=16)
    d.expire("request") << SetTimer("request", 1.0) << tells(q.RequestNextTask(slots=16, room={ECHO: 99}))
    d.receive(provider(name="p2", protocol="python/v1", capacity=4), source="hub")
    d.settle() << tells(q.RequestNextTask(slots=16, room={ECHO: 14, "python/v1": 4}))


def test_what_arrives_is_told_even_if_as_much_ended_meanwhile():
    d = calling()
    d.settle().silent()
    d.receive(result(), source=P1)
    reported(d, e.TaskCompleted)
    d.answer(p.DataSaved(status="ok"), key="end/w/a/1")
    d.receive(execute("b", number=2), source=QUEUE)
    called(d, "b", held=True)
    d.settle() << tells(q.RequestNextTask(slots=1, room={ECHO: 0}, calls={ECHO: 1}, received={QUEUE: 2}))


def test_a_queue_manager_that_is_gone_is_not_counted_for_ever():
    d = calling()
    d.receive(h.ComponentDisconnected(component_id=QUEUE, component_type=Role.QUEUE_MANAGER, reason=""))
    d.expire("request") << SetTimer("request", 1.0) << tells(q.RequestNextTask, received={})


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
