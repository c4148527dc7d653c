"""The link with several hubs: by which of them what is sent goes."""

from __future__ import annotations

from gleitzeitd.events import Envelope
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import hub as h
from gleitzeitd.machines.base import (
    Ask,
    Reply,
    Tell,
)
from gleitzeitd.machines.link import (
    Leave,
)
from gleitzeitd.model.names import Role
from tests.machines.link_session import FIND, FOUND, LEDGER, STARTED, A, B, Session, T, W


def test_answers_go_by_the_hub_that_the_question_came_by():
    s = Session(A, B)
    s.machine.next = [Tell(STARTED), Ask("f", FIND)]
    s.get(e.CancelTask(workflow_id=W, task_id=T, attempt=1), B)
    assert s.emitted() == [(B, "task_started"), (B, "find_provider")]


def test_an_answer_that_took_a_while_goes_by_that_hub_too_unless_it_is_gone():
    s = Session(A, B)
    s.get(e.CancelTask(workflow_id=W, task_id=T, attempt=1), B, message_id="q")
    to = Envelope(message_id="q", correlation_id="k", source_component=LEDGER)
    s.do(Reply(FOUND, to))
    assert s.emitted() == [(B, "provider_found")]
    s.see(s.link.disconnected(B)).do(Reply(FOUND, to))
    assert s.emitted() == [(A, "provider_found")]


def test_an_ask_is_repeated_by_one_hub_after_the_other():
    s = Session(A, B)
    s.do(Ask("f", FIND)).until(11.0)
    assert s.emitted() == [(hub, "find_provider") for hub in (A, B, A, B)]


def test_what_was_asked_by_a_connection_that_ends_goes_soon_by_another():
    s = Session(A, B)
    s.do(Ask("f", FIND))
    s.see(s.link.disconnected(A)).emitted()
    assert s.moments(1.2) == [0.25]


def test_a_hub_that_leaves_is_used_no_more_and_what_was_asked_by_it_goes_by_another():
    s = Session(A, B)
    s.do(Ask("f", FIND)).emitted()
    s.get(h.HubLeaving(hub_id="a", reason="upgrade"), A)
    assert s.others == [Leave(A, "upgrade")]
    s.until(0.25).do(Tell(STARTED))
    assert s.emitted() == [(B, "find_provider"), (B, "task_started")]


def test_what_each_hub_has_to_know_goes_by_all_of_them_as_one_message():
    s = Session(A, B)
    s.do(Tell(e.CapacityUpdate(slots=4)))
    assert [action.hub for action in s.sent] == [A, B]
    assert len({action.envelope.message_id for action in s.sent}) == 1


def test_a_subscription_is_made_at_every_hub_and_answered_once():
    s = Session(A, B, role=Role.CLIENT)
    ask = Ask("s", h.Subscribe(topics=["w"]))
    s.do(ask)
    first, second = s.sent
    assert (first.hub, second.hub) == (A, B)
    for sent in (first, second):
        s.answer(h.Subscribed(topics=["w"]), sent, source="hub")
    assert [asked for _, _, asked in s.machine.heard] == [ask, None]


def test_the_machine_hears_that_nobody_is_there_when_every_hub_has_said_so():
    s = Session(A, B)
    nobody = h.NoComponentsAvailable(event="find_provider")
    s.do(Ask("f", FIND))
    s.answer(nobody, s.sent[0], source="hub")
    assert [action.hub for action in s.sent] == [A, B] and s.machine.heard == []
    s.answer(nobody, s.sent[1], source="hub")
    assert len(s.sent) == 2 and s.machine.heard == [("undeliverable", Ask("f", FIND))]
    assert s.until(0.25).sent[2].hub == A
