"""Engines and providers that an operator takes out of service, and brings back."""

from __future__ import annotations

from gleitzeitd.errors import ProviderNotAvailable, ProviderOverloaded, TaskCancelled
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import operations as o
from gleitzeitd.events import persistence as p
from gleitzeitd.events import protocol_registry as r
from gleitzeitd.events import provider as v
from gleitzeitd.events import queue_manager as q
from gleitzeitd.machines.base import CancelAsk, CancelCall, Reply, SetTimer
from gleitzeitd.machines.provider import Finished, Work
from tests.drive import asks, calls, replies, tells
from tests.machines import engine_builders as engines
from tests.machines import provider_builders as providers
from tests.machines.engine_builders import P1, QUEUE

DRAIN, UNDO = o.DrainComponent(), o.DrainComponent(undo=True)


def state(load, draining=True):
    return replies(o.ComponentDraining(draining=draining, load=load), to="client-1")


def told(d, wish):
    return d.receive(wish, source="client-1")


def test_a_drained_engine_hands_back_what_waits_and_lets_what_runs_have_its_time():
    d = engines.calling()
    d.receive(engines.execute("b"), source=QUEUE).silent()
    told(d, DRAIN) << state(2) << tells(e.CapacityUpdate(slots=2, draining=True))
    d << CancelAsk("start/w/b/1") << asks(e.TaskFailed, key="end/w/b/1")
    assert d.asks["end/w/b/1"].event.error.code == ProviderOverloaded.code
    assert d.machine.status() == "draining"
    d.settle().silent()
    d.receive(engines.execute("c"), source=QUEUE) << CancelAsk("start/w/c/1") << asks(e.TaskFailed)
    d.answer(p.DataSaved(status="ok"), key="end/w/b/1").answer(p.DataSaved(status="ok"), key="end/w/c/1")
    told(d, DRAIN) << state(1) << tells(e.CapacityUpdate)
    d.receive(engines.result(), source=P1)
    engines.reported(d, e.TaskCompleted)
    d.answer(p.DataSaved(status="ok"), key="end/w/a/1").silent()
    told(d, DRAIN) << state(0) << tells(e.CapacityUpdate)


def test_an_engine_that_is_not_drained_any_more_asks_for_work():
    d = engines.engine(engines.provider())
    told(d, DRAIN) << state(0) << tells(e.CapacityUpdate(slots=2, draining=True))
    told(d, UNDO) << state(0, draining=False) << tells(e.CapacityUpdate(slots=2)) << tells(q.RequestNextTask)
    assert d.machine.status() == "healthy"
    d.receive(engines.execute(), source=QUEUE)
    engines.called(d)


def test_an_engine_that_is_about_to_end_cannot_be_brought_back():
    d = engines.engine()
    d.drain().take()
    told(d, UNDO) << state(0)


def test_a_drained_provider_takes_no_calls_until_that_is_undone():
    d = providers.provider()
    d >> providers.execute("a") << calls(Work)
    told(d, DRAIN) << state(1) << asks(r.RegisterProvider, capacity=0)
    assert d.machine.status() == "draining"
    d >> providers.execute("b")
    d << replies(v.ProviderError)
    told(d, DRAIN) << state(1)
    d >> r.Initialize() << asks(r.RegisterProtocol) << asks(r.RegisterProvider, capacity=0)
    d.finish(providers.call_id("a"), Finished(result=4))
    d.take()
    told(d, UNDO) << state(0, draining=False) << asks(r.RegisterProvider, capacity=1)
    d >> providers.execute("c") << calls(Work)


def test_a_provider_that_is_about_to_end_cannot_be_brought_back():
    d = providers.provider()
    d.drain() << asks(r.RegisterProvider, capacity=0) << SetTimer("hand back", 5.0)
    told(d, UNDO) << state(0)


def test_a_provider_that_ends_hands_back_what_takes_too_long():
    d = providers.provider(capacity=3, hand_back_seconds=2.0)
    d >> providers.execute("a") << calls(Work)
    d >> providers.execute("b", once=True) << calls(Work)
    d >> providers.execute("c") << calls(Work)
    d.drain() << asks(r.RegisterProvider, capacity=0) << SetTimer("hand back", 2.0)
    (
        d.expire("hand back")
        << CancelCall(providers.call_id("a"))
        << CancelCall(providers.call_id("b"))
        << CancelCall(providers.call_id("c"))
    )
    ended = Finished(error=TaskCancelled("ended").info())

    def code(call_id, answer):
        *_, reply = [each for each in d.finish(call_id, answer).take() if isinstance(each, Reply)]
        return reply.event.error.code if isinstance(reply.event, v.ProviderError) else None

    assert code(providers.call_id("a"), ended) == ProviderOverloaded.code
    assert (
        code(providers.call_id("b"), ended) == ProviderNotAvailable.code
    )  # it has begun, and may not begin again
    assert code(providers.call_id("c"), Finished(result=4)) is None
    assert d.machine.drained()


def test_what_is_cancelled_anyway_is_not_handed_back():
    d = providers.provider(hand_back_seconds=2.0)
    d >> providers.execute("a") << calls(Work)
    d >> providers.cancel("a") << CancelCall(providers.call_id("a"))
    d.drain().take()
    d.expire("hand back").silent()
