"""The client's machine: one answer per request, and watched workflows without gaps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.errors import NotPermitted, StoreError
from gleitzeitd.events import dependency_resolver as d
from gleitzeitd.events import hub as h
from gleitzeitd.events import persistence as p
from gleitzeitd.events import provider as v
from gleitzeitd.machines.base import Ask, Call, CancelAsk, CancelTimer, SetTimer
from gleitzeitd.machines.client import (
    LOOK_SECONDS,
    Answered,
    Client,
    Gone,
    Published,
    RefusedByHub,
    Undelivered,
)
from gleitzeitd.model.ledger import FeedStamp
from gleitzeitd.model.names import ComponentId, Role, TaskId, WorkflowId
from gleitzeitd.plain import to_plain
from tests.drive import CORRELATION, Dialogue, asks, calls

W = WorkflowId("w")
SUBSCRIBE, HISTORY, LOOK = "watch/subscribe/w", "watch/history/w", "watch/look"


def fact(number, before):
    """An entry of the workflow's feed, after the entry ``before``."""
    return d.TaskSkipped(workflow_id=W, tasks=[], feed=FeedStamp(number=number, after_workflow=before))


def page(*facts, more=None):
    items = []
    for each in facts:
        body = to_plain(each)
        stamp = body.pop("feed")
        items.append({"name": each.name, "correlation_id": CORRELATION, "body": body, "stamp": stamp})
    return p.DataRetrieved(items=items, next=more)


def published(event):
    return Call("w", Published(event, CORRELATION))


def client():
    return Dialogue(Client(ComponentId("client-1")))


def watching(*facts):
    """A client that has subscribed to the workflow and has fetched these facts."""
    dialogue = client()
    dialogue.perform(dialogue.machine.watch(W)).take()
    dialogue.answer(h.Subscribed(topics=[W])).take()
    assert pass_on(dialogue.answer(page(*facts))) == list(facts)
    return dialogue.silent()


def pass_on(dialogue):
    """The facts passed on by the last input."""
    effects = dialogue.take()
    return [e.request.event for e in effects if isinstance(e, Call) and isinstance(e.request, Published)]


# --- requests


def test_a_request_has_its_answer_under_its_own_id():
    dialogue = client()
    dialogue.perform(dialogue.machine.ask("r", h.ListComponents())) << Ask("r", h.ListComponents())
    answer = h.ComponentList(components=[])
    dialogue.answer(answer) << Call("r", Answered(answer))
    dialogue.receive(answer).silent()


def test_nobody_is_told_of_the_answer_to_a_forgotten_request():
    dialogue = client()
    dialogue.perform(dialogue.machine.ask("r", h.ListComponents())).take()
    dialogue.perform(dialogue.machine.forget("r")) << CancelAsk("r")


def test_whoever_waits_hears_that_nobody_is_there_and_that_the_hub_refuses():
    dialogue = client()
    dialogue.perform(dialogue.machine.ask("r", h.ListComponents())).take()
    notice = h.NoComponentsAvailable(event="list_components")
    dialogue.undeliverable(notice, "r") << Call("r", Undelivered(notice))
    dialogue.undeliverable(notice).silent()
    error = NotPermitted("no").info()
    dialogue.refuse("r", error) << Call("r", RefusedByHub(error))


# --- watching


def test_a_watch_subscribes_then_fetches_what_was_before():
    dialogue = client()
    dialogue.perform(dialogue.machine.watch(W, after=7)) << Ask(SUBSCRIBE, h.Subscribe(topics=[W]))
    dialogue << SetTimer(LOOK, LOOK_SECONDS)
    dialogue.answer(h.Subscribed(topics=[W])) << asks(p.QueryData, key=HISTORY, after=7, workflow_id=W)
    dialogue.silent()


def test_history_is_fetched_page_by_page_and_passed_on_in_order():
    dialogue = client()
    dialogue.perform(dialogue.machine.watch(W)).take()
    dialogue.answer(h.Subscribed(topics=[W])).take()
    a, b, c = fact(3, 0), fact(5, 3), fact(9, 5)
    dialogue.answer(page(a, b, more=5))
    assert isinstance(dialogue.pending[-1], Ask) and dialogue.pending[-1].event.after == 5
    assert pass_on(dialogue) == [a, b]
    dialogue.answer(page(c))
    assert pass_on(dialogue) == [c]
    assert dialogue.asks == {}


def test_what_is_published_in_order_is_passed_on_at_once_and_only_once():
    dialogue = watching(fact(3, 0))
    dialogue.receive(fact(5, 3)) << published(fact(5, 3))
    dialogue.receive(fact(5, 3)).receive(fact(3, 0)).silent()


def test_a_gap_is_fetched_before_what_comes_after_it():
    dialogue = watching(fact(3, 0))
    dialogue.receive(fact(9, 5)) << asks(p.QueryData, key=HISTORY, after=3)
    dialogue.answer(page(fact(5, 3), fact(9, 5)))
    assert pass_on(dialogue) == [fact(5, 3), fact(9, 5)]
    dialogue.receive(fact(10, 9)) << published(fact(10, 9))


def test_what_comes_while_a_page_is_fetched_leads_to_another_page():
    dialogue = watching(fact(3, 0))
    dialogue.receive(fact(9, 5)).take()
    dialogue.receive(fact(11, 9)).silent()
    dialogue.answer(page(fact(5, 3), fact(9, 5)))
    assert dialogue.pending[-1] == Ask(HISTORY, p.QueryData(kind_of_data="history", workflow_id=W, after=9))
    assert pass_on(dialogue) == [fact(5, 3), fact(9, 5)]
    dialogue.answer(page(fact(11, 9)))
    assert pass_on(dialogue) == [fact(11, 9)]


def test_a_hub_that_comes_back_is_told_what_is_watched_and_what_was_missed_is_fetched():
    dialogue = watching(fact(3, 0))
    dialogue.hub_connected() << Ask(SUBSCRIBE, h.Subscribe(topics=[W]))
    dialogue.answer(h.Subscribed(topics=[W])) << asks(p.QueryData, key=HISTORY, after=3)


def test_a_second_hubs_answer_to_a_subscription_leads_to_a_look_of_its_own():
    dialogue = watching(fact(3, 0))
    dialogue.receive(h.Subscribed(topics=[W])) << asks(p.QueryData, key=HISTORY, after=3)
    dialogue.receive(h.Subscribed(topics=[W])).silent()
    dialogue.answer(page()) << asks(p.QueryData, key=HISTORY, after=3)


def test_a_workflow_of_which_nothing_comes_is_looked_at():
    dialogue = watching(fact(3, 0))
    dialogue.expire(LOOK) << SetTimer(LOOK, LOOK_SECONDS)
    dialogue.expire(LOOK) << SetTimer(LOOK, LOOK_SECONDS) << asks(p.QueryData, key=HISTORY, after=3)


@pytest.mark.parametrize("error", [StoreError("busy"), NotPermitted("no")])
def test_a_history_that_could_not_be_read_is_read_later(error):
    dialogue = watching(fact(3, 0))
    dialogue.receive(fact(9, 5)).take()
    dialogue.answer(p.PersistenceError(error=error.info()), key=HISTORY).silent()
    dialogue.expire(LOOK) << SetTimer(LOOK, LOOK_SECONDS) << asks(p.QueryData, key=HISTORY, after=3)


def test_whoever_watches_a_workflow_that_was_deleted_is_told_so():
    dialogue = watching(fact(3, 0))
    dialogue.expire(LOOK).take()
    dialogue.expire(LOOK) << SetTimer(LOOK, LOOK_SECONDS) << asks(p.QueryData, key=HISTORY, after=3)
    dialogue.answer(p.DataRetrieved(items=[], known=False), key=HISTORY) << Call("w", Gone())


def test_a_workflow_that_is_watched_before_it_is_submitted_is_not_taken_to_be_deleted():
    dialogue = client()
    dialogue.perform(dialogue.machine.watch(W)).take()
    dialogue.answer(h.Subscribed(topics=[W])).take()
    dialogue.answer(p.DataRetrieved(items=[], known=False), key=HISTORY).silent()
    dialogue.perform(dialogue.machine.ask("request 1", d.SubmitWorkflow(workflow_id=W, workflow={}))).take()
    dialogue.answer(d.WorkflowSubmitted(workflow_id=W), key="request 1").take()
    dialogue.expire(LOOK).take()
    dialogue.expire(LOOK).take()
    dialogue.answer(p.DataRetrieved(items=[], known=False), key=HISTORY) << Call("w", Gone())


def test_a_history_that_was_read_before_the_workflow_was_submitted_does_not_mean_that_it_was_deleted():
    dialogue = client()
    dialogue.perform(dialogue.machine.watch(W)).take()
    dialogue.answer(h.Subscribed(topics=[W])).take()
    dialogue.receive(fact(1, 0)) << published(fact(1, 0))
    dialogue.answer(p.DataRetrieved(items=[], known=False), key=HISTORY).silent()
    dialogue.receive(fact(2, 1)) << published(fact(2, 1))


def test_a_workflow_that_is_known_to_be_there_when_it_is_watched_can_be_gone_at_the_first_look():
    dialogue = client()
    dialogue.perform(dialogue.machine.watch(W, exists=True)).take()
    dialogue.answer(h.Subscribed(topics=[W])).take()
    dialogue.answer(p.DataRetrieved(items=[], known=False), key=HISTORY) << Call("w", Gone())


def test_streams_are_passed_on_as_they_come():
    dialogue = watching()
    event = v.TaskProgress(workflow_id=W, task_id=TaskId("t"), attempt=1, progress=0.5)
    dialogue.receive(event) << published(event)


def test_what_is_not_watched_goes_to_who_watches_everything_or_to_nobody():
    dialogue = client()
    gone = h.ComponentDisconnected(component_id=ComponentId("x"), component_type=Role.PROVIDER)
    dialogue.receive(gone).silent()
    dialogue.perform(dialogue.machine.watch("*")).take()
    dialogue.answer(h.Subscribed(topics=["*"])).silent()
    dialogue.receive(gone) << Call("*", Published(gone, CORRELATION))
    dialogue.receive(fact(3, 0)) << calls(Published)


def test_after_unwatching_nothing_comes_and_no_repeat_undoes_a_later_watch():
    dialogue = watching(fact(3, 0))
    dialogue.perform(dialogue.machine.unwatch(W)) << CancelAsk(HISTORY) << CancelTimer(LOOK)
    dialogue << Ask(SUBSCRIBE, h.Unsubscribe(topics=[W]))
    dialogue.receive(fact(5, 3)).silent()
    dialogue.perform(dialogue.machine.watch(W, 3)) << Ask(SUBSCRIBE, h.Subscribe(topics=[W]))
    assert list(dialogue.asks) == [SUBSCRIBE]


@given(st.data())
def test_every_entry_is_passed_on_once_and_in_order_whatever_is_lost_or_comes_twice(data):
    numbers = sorted(data.draw(st.sets(st.integers(1, 60), min_size=1, max_size=12)))
    feed = [fact(number, before) for number, before in zip(numbers, [0, *numbers])]
    written = 0
    seen = []
    dialogue = client()
    dialogue.perform(dialogue.machine.watch(W)).take()
    dialogue.answer(h.Subscribed(topics=[W])).take()
    for _ in range(data.draw(st.integers(0, 30))):
        if HISTORY in dialogue.asks and data.draw(st.booleans()):
            after = dialogue.asks[HISTORY].event.after
            rest = [each for each in feed[:written] if each.feed.number > after]
            size = data.draw(st.integers(1, 4))
            more = rest[size - 1].feed.number if len(rest) > size else None
            dialogue.answer(page(*rest[:size], more=more), key=HISTORY)
        elif data.draw(st.booleans()):
            written = min(written + 1, len(feed))
        elif written:
            dialogue.receive(feed[data.draw(st.integers(0, written - 1))])
        seen += pass_on(dialogue)
    for _ in range(2 * len(feed) + 4):
        if HISTORY not in dialogue.asks:
            dialogue.expire(LOOK).take()
        if HISTORY in dialogue.asks:
            after = dialogue.asks[HISTORY].event.after
            dialogue.answer(page(*[each for each in feed if each.feed.number > after]), key=HISTORY)
        seen += pass_on(dialogue)
    assert seen == feed
