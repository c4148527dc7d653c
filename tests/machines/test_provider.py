"""The provider's machine, by example."""

from __future__ import annotations

import pytest

from gleitzeitd.errors import (
    ExecutionFailed,
    MethodNotSupported,
    ParameterInvalid,
    ProviderOverloaded,
    ResultInvalid,
    TaskCancelled,
    TaskTimeout,
)
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.events import provider as v
from gleitzeitd.events.base import delivered_names, receivers
from gleitzeitd.machines.base import Call, CancelCall, Reply, SetTimer
from gleitzeitd.machines.provider import HEALTH, CheckHealth, Finished, ProviderMachine, Work
from gleitzeitd.model.ledger import OutputChunk
from gleitzeitd.model.names import Role, TaskId
from tests.drive import Dialogue, asks, calls, notes, replies
from tests.machines.provider_builders import (
    ENGINE,
    MATHS,
    ME,
    OTHER,
    W,
    call_id,
    cancel,
    check,
    execute,
    provider,
    result,
    work,
)


def expect_error(d, error, text, *, to=None):
    effect = d.pending.pop(0)
    assert isinstance(effect, Reply) and isinstance(effect.event, v.ProviderError), effect
    assert effect.event.error.code == error.code, effect.event.error
    assert text in effect.event.error.message, effect.event.error
    if to is not None:
        assert effect.to == to or effect.to.source_component == to


# --- registration


def test_a_provider_registers_its_protocol_before_itself():
    d = provider(3).start()
    d << asks(r.RegisterProtocol(protocol=MATHS)) << asks(r.RegisterProvider(protocol="maths/v1", capacity=3))
    d.hub_connected().silent()
    d.answer(r.ProtocolRegistered(protocol=MATHS), key="protocol").silent()
    info = r.ProviderInfo(component_id=ME, protocol="maths/v1", capacity=3)
    d.answer(r.ProviderRegistered(provider=info), key="provider").silent()


def test_a_provider_registers_again_when_a_registry_starts_and_when_a_hub_is_back():
    d = provider().start()
    d.take()
    d.hub_connected().silent()
    d >> r.Initialize() << asks(r.RegisterProtocol) << asks(r.RegisterProvider, capacity=1)
    d.hub_connected() << asks(r.RegisterProtocol) << asks(r.RegisterProvider, capacity=1)
    d.silent()


def test_registrations_say_the_epoch_of_the_process():
    d = Dialogue(ProviderMachine(ME, MATHS, 1, check, epoch=7)).start()
    d << asks(r.RegisterProtocol) << asks(r.RegisterProvider, epoch=7)


def test_the_machine_handles_what_is_delivered_to_providers():
    handled = {name.removeprefix("on_") for name in dir(ProviderMachine) if name.startswith("on_")}
    assert handled == {name for name in delivered_names() if Role.PROVIDER in receivers(name)}


# --- calls


def test_a_call_runs_at_once_and_its_end_answers_the_engine():
    d = provider()
    d.receive(execute("a", timeout=9.0), source=ENGINE) << Call(call_id("a", ENGINE), work("a", timeout=9.0))
    asked = d.envelope
    answer = Finished(
        result=4,
        output=[OutputChunk(stream="stdout", text="hi")],
        started_at="s",
        finished_at="f",
    )
    done = v.MethodResult(
        workflow_id=W,
        task_id=TaskId("a"),
        attempt=1,
        result=4,
        output=[OutputChunk(stream="stdout", text="hi")],
        started_at="s",
        finished_at="f",
    )
    d.finish(call_id("a", ENGINE), answer) << Reply(done, asked) << SetTimer("forget", 60.0)
    d.silent()


def test_a_result_over_the_limit_fails_the_task_with_the_setting_and_the_sizes():
    d = provider(result_bytes=1000)
    d.receive(execute("a", method="maths/any"), source=ENGINE) << calls(Work, task_id="a")
    d.finish(call_id("a", ENGINE), Finished(result="x" * 2000))
    expect_error(d, ResultInvalid, "2006 bytes as they are sent, and calls.result_bytes is 1000")


def test_calls_beyond_the_capacity_wait_in_order_and_beyond_the_backlog_are_refused():
    d = provider(1, backlog=2)
    d >> execute("a") << calls(Work, task_id="a")
    (d >> execute("b")).silent()
    (d >> execute("c")).silent()
    d >> execute("d")
    expect_error(d, ProviderOverloaded, "1 calls run, 2 wait")
    d.finish(call_id("a"), Finished(result=1)) << replies(v.MethodResult, task_id="a")
    d << SetTimer("forget", 60.0) << calls(Work, task_id="b")
    (
        d.finish(call_id("b"), Finished(result=1))
        << replies(v.MethodResult, task_id="b")
        << calls(Work, task_id="c")
    )
    d >> execute("d")
    d.silent()


def test_the_backlog_is_as_long_as_the_capacity_unless_it_is_given():
    d = provider(2)
    for task in "abcd":
        d >> execute(task)
        d.take()
    d >> execute("e")
    expect_error(d, ProviderOverloaded, "no room")


def test_a_repeated_call_runs_once_and_the_newest_question_is_answered():
    d = provider()
    d >> execute("a") << calls(Work)
    (d >> execute("a")).silent()
    newest = d.envelope
    d.finish(call_id("a"), Finished(result=4)) << Reply(result("a", 4), newest) << SetTimer("forget", 60.0)
    d.silent()


def test_a_repeated_call_that_waits_is_answered_by_its_newest_question_too():
    d = provider()
    d >> execute("a") << calls(Work)
    d >> execute("b")
    (d >> execute("b")).silent()
    newest = d.envelope
    d.finish(call_id("a"), Finished(result=4))
    d.take()
    d.finish(call_id("b"), Finished(result=4)) << Reply(result("b", 4), newest)


def test_a_kept_answer_is_repeated_until_its_time_is_over():
    d = provider()
    d >> execute("a", keep=5.0) << calls(Work)
    d.finish(call_id("a"), Finished(result=4)) << replies(result("a", 4)) << SetTimer("forget", 5.0)
    d.after(4.9).receive(execute("a", keep=5.0)) << replies(result("a", 4))
    d.expire("forget").silent()
    d >> execute("a", keep=5.0) << calls(Work)


def test_another_attempt_is_another_call():
    d = provider(2)
    d >> execute("a") << calls(Work, attempt=1)
    d >> execute("a", attempt=2) << calls(Work, attempt=2)


def test_the_setting_limits_how_long_an_answer_is_kept():
    d = provider(keep_seconds=10.0)
    d >> execute("a", keep=1000.0) << calls(Work)
    d.finish(call_id("a"), Finished(result=4)) << replies(result("a", 4)) << SetTimer("forget", 10.0)


def test_answers_with_different_times_are_forgotten_one_after_the_other():
    d = provider(2)
    d >> execute("a", keep=50.0) << calls(Work)
    d >> execute("b", keep=5.0) << calls(Work)
    d.finish(call_id("a"), Finished(result=4)) << replies(v.MethodResult) << SetTimer("forget", 50.0)
    d.finish(call_id("b"), Finished(result=4)) << replies(v.MethodResult)
    d.after(6.0).receive(execute("b")) << calls(Work)
    d.receive(execute("a")) << replies(v.MethodResult, task_id="a")
    d.finish(call_id("b"), Finished(result=4)) << replies(v.MethodResult)
    d.expire("forget") << SetTimer("forget", 16.0)
    d.expire("forget").silent()


def test_the_oldest_answer_is_forgotten_when_there_are_too_many():
    d = provider(max_kept=1)
    for task in "ab":
        d >> execute(task) << calls(Work)
        d.finish(call_id(task), Finished(result=4))
        d.take()
    d >> execute("b") << replies(v.MethodResult, task_id="b")
    d >> execute("a") << calls(Work, task_id="a")


def test_results_are_kept_up_to_a_number_of_bytes_and_larger_ones_not_at_all():
    d = provider(max_kept_bytes=10)
    for task, value in (("a", "12345"), ("b", "12345"), ("c", "x" * 50)):
        d >> execute(task, method="maths/any") << calls(Work)
        d.finish(call_id(task), Finished(result=value))
        d.take()
    d >> execute("b", method="maths/any") << replies(v.MethodResult, task_id="b")
    d >> execute("c", method="maths/any") << calls(Work, task_id="c")
    d.finish(call_id("c"), Finished(result="x" * 50)) << replies(v.MethodResult)
    d >> execute("a", method="maths/any") << calls(Work, task_id="a")


# --- what is refused, and what fails


@pytest.mark.parametrize(
    ("event", "error", "text"),
    [
        (execute("a", method="maths/duble"), MethodNotSupported, "did you mean maths/double?"),
        (execute("a", n="x"), ParameterInvalid, "n: expected a number; n: really"),
        (execute("a", method="maths/broken"), ParameterInvalid, "schema of its parameters cannot be used"),
    ],
)
def test_what_cannot_be_called_is_refused_with_all_reasons(event, error, text):
    d = provider()
    d >> event
    expect_error(d, error, text)
    d.silent()


@pytest.mark.parametrize(
    ("method", "value", "text"),
    [
        ("maths/double", "four", "result: expected a number"),
        ("maths/any", {1, 2}, "no JSON"),
        ("maths/any", float("nan"), "no JSON"),
        ("maths/any", "\ud800", "no JSON"),
    ],
)
def test_a_result_that_breaks_its_schema_or_is_no_json_is_an_error(method, value, text):
    d = provider()
    d >> execute("a", method=method) << calls(Work)
    d.finish(call_id("a"), Finished(result=value, output=[OutputChunk(stream="stderr", text="x")]))
    (effect, _) = d.pending
    assert effect.event.output == [OutputChunk(stream="stderr", text="x")]
    expect_error(d, ResultInvalid, text)


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (Finished(error=TaskTimeout("too long").info()), TaskTimeout, "too long"),
        (TaskTimeout("too long"), TaskTimeout, "too long"),
        (TaskTimeout("too long").info(), TaskTimeout, "too long"),
        (ValueError("no"), ExecutionFailed, "ValueError: no"),
    ],
)
def test_whatever_ends_a_call_without_a_result_reaches_the_engine(answer, error, text):
    d = provider()
    d >> execute("a") << calls(Work)
    d.finish(call_id("a"), answer)
    expect_error(d, error, text)
    d << SetTimer("forget", 60.0)
    d >> execute("a")
    expect_error(d, error, text)


# --- cancelling


def test_a_running_call_is_cancelled_when_the_performer_says_so():
    d = provider()
    d >> execute("a") << calls(Work)
    asked = d.envelope
    d >> cancel("a") << CancelCall(call_id("a"))
    (d >> cancel("a")).silent()
    newest = d.envelope
    d.finish(call_id("a"), TaskCancelled("cancelled"))
    expect_error(d, TaskCancelled, "cancelled", to=asked)
    expect_error(d, TaskCancelled, "cancelled", to=newest)
    d << SetTimer("forget", 60.0)
    d.silent()


def test_a_call_that_ended_before_its_cancel_could_stop_it_has_its_result():
    d = provider()
    d >> execute("a") << calls(Work)
    d >> cancel("a") << CancelCall(call_id("a"))
    d.finish(call_id("a"), Finished(result=4)) << replies(result("a", 4)) << replies(result("a", 4))
    d << SetTimer("forget", 60.0)
    d >> cancel("a") << replies(result("a", 4))


def test_a_call_that_waits_is_cancelled_at_once():
    d = provider()
    d >> execute("a") << calls(Work)
    (d >> execute("b")).silent()
    asked = d.envelope
    d >> cancel("b", reason="enough")
    expect_error(d, TaskCancelled, "enough", to=asked)
    expect_error(d, TaskCancelled, "enough", to=d.envelope)
    d << SetTimer("forget", 60.0)
    d.finish(call_id("a"), Finished(result=4)) << replies(v.MethodResult, task_id="a")
    d.silent()


def test_a_cancel_that_comes_before_its_call_keeps_it_from_running():
    d = provider()
    d >> cancel("a")
    expect_error(d, TaskCancelled, "cancelled")
    d << SetTimer("forget", 900.0)
    d >> execute("a")
    expect_error(d, TaskCancelled, "cancelled")
    d.silent()


def test_a_call_is_ended_and_answered_for_the_engine_that_made_it_and_for_nobody_else():
    d = provider(capacity=2)
    d.receive(execute("a"), source=ENGINE) << calls(Work, call_id=call_id("a", ENGINE))
    d.receive(cancel("a"), source=OTHER)
    expect_error(d, TaskCancelled, "cancelled", to=OTHER)
    d.take()
    d.receive(execute("a"), source=OTHER)
    expect_error(d, TaskCancelled, "cancelled", to=OTHER)
    d.finish(call_id("a", ENGINE), Finished(result=4)) << replies(result("a", 4), to=ENGINE)
    d.take()
    d.receive(execute("a", keep=5.0), source="engine-3") << calls(Work)  # its own, whatever it calls it
    d.receive(cancel("b"), source=OTHER).take()
    d.receive(execute("b"), source=ENGINE) << calls(Work, call_id=call_id("b", ENGINE))


# --- leaving


def test_out_of_service_what_runs_is_finished_and_what_waits_is_handed_back():
    d = provider()
    d >> execute("a") << calls(Work)
    d.receive(execute("b"), source=ENGINE).silent()
    d >> r.Shutdown(reason="old") << notes("info") << asks(r.RegisterProvider, capacity=0)
    expect_error(d, ProviderOverloaded, "before the call began", to=ENGINE)
    assert not d.machine.drained()
    d >> execute("c")
    expect_error(d, ProviderOverloaded, "out of service")
    d.finish(call_id("a"), Finished(result=4)) << replies(result("a", 4)) << SetTimer("forget", 60.0)
    assert d.machine.drained()
    d >> execute("a") << replies(result("a", 4))


def test_a_registry_brings_back_into_service_what_is_not_draining():
    d = provider()
    d >> r.Shutdown(reason="old") << notes("info") << asks(r.RegisterProvider, capacity=0)
    d >> r.Initialize() << asks(r.RegisterProtocol) << asks(r.RegisterProvider, capacity=1)
    d >> execute("a") << calls(Work)
    d.drain() << asks(r.RegisterProvider, capacity=0) << SetTimer("hand back", 5.0)
    d >> r.Initialize() << asks(r.RegisterProtocol) << asks(r.RegisterProvider, capacity=0)


def test_draining_is_going_out_of_service():
    d = provider()
    assert d.machine.drained()
    d >> execute("a") << calls(Work)
    d.drain() << asks(r.RegisterProvider, capacity=0) << SetTimer("hand back", 5.0)
    assert not d.machine.drained()


# --- health and figures


def test_every_registry_that_asks_for_the_health_gets_it():
    d = provider()
    d >> execute("a") << calls(Work)
    d.receive(r.HealthCheck(), source="registry-1") << Call(HEALTH, CheckHealth())
    d.receive(r.HealthCheck(), source="registry-2").silent()
    status = r.HealthStatus(health="ok", running=1)
    d.finish(HEALTH, "ok") << replies(status, to="registry-1") << replies(status, to="registry-2")
    d >> r.HealthCheck() << calls(CheckHealth)
    d.finish(HEALTH, OSError("disk")) << replies(r.HealthStatus, health="OSError: disk")


def test_the_figures_count_what_runs_waits_and_has_ended():
    d = provider()
    for task in "ab":
        d >> execute(task)
        d.take()
    assert d.machine.load() == 2
    d.finish(call_id("a"), ValueError("no"))
    d.take()
    assert d.machine.figures() == {"running": 1, "queued": 0, "capacity": 1, "finished": 1, "failed": 1}


# --- calls that run alone


def test_a_call_in_quarantine_runs_alone_and_nothing_overtakes_it():
    d = provider(capacity=3)
    d >> execute("a") << calls(Work, task_id="a")
    d.receive(execute("poison", alone=True), source=ENGINE).silent()
    d.receive(execute("b"), source=ENGINE).silent()
    d.finish(call_id("a"), Finished(result=1)) << replies(result("a", 1)) << SetTimer("forget", 60.0)
    d << calls(Work, task_id="poison")
    (
        d.finish(call_id("poison", ENGINE), Finished(result=2))
        << replies(result("poison", 2))
        << calls(Work, task_id="b")
    )
