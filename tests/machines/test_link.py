"""The link: what it makes of a machine's wishes, and of what comes from its hubs."""

from __future__ import annotations

import pytest

from gleitzeitd.errors import MalformedEvent, NotPermitted, StoreError, UnknownEvent
from gleitzeitd.events import Envelope
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import hub as h
from gleitzeitd.events import persistence as p
from gleitzeitd.events.codec import decode_body
from gleitzeitd.machines.asks import EMISSIONS_LIMIT
from gleitzeitd.machines.base import (
    Ask,
    Call,
    CancelAsk,
    CancelCall,
    CancelTimer,
    Note,
    Reply,
    SetTimer,
    Tell,
)
from gleitzeitd.machines.link import (
    SEEN_LIMIT,
    Refused,
    Registered,
)
from gleitzeitd.model.names import ComponentId, Role
from tests.machines.link_session import FIND, FOUND, LEDGER, ME, STARTED, A, B, Session, T, W

# --- joining


def test_registration_is_the_first_thing_on_a_connection_and_nothing_goes_before_its_answer():
    s = Session()
    s.see(s.link.connected(A, 0.0, "now")).do(Ask("f", FIND), Tell(STARTED))
    assert s.emitted() == [(A, "register_component")]
    assert not s.link.is_registered()
    s.registered(A)
    assert s.link.is_registered()
    assert s.others == [Registered(A, frozenset())]
    assert s.emitted() == [(A, "find_provider")]


def test_registration_says_who_we_are_and_goes_before_bulk():
    s = Session()
    (action,) = s.link.connected(A, 0.0, "now")
    hello = decode_body(action.name, action.envelope, action.body)
    assert (hello.component_id, hello.component_type, hello.epoch) == (ME, Role.EXECUTION_ENGINE, 10)
    assert action.control and action.envelope.source_component == ME


def test_the_machine_starts_with_the_first_hub_and_hears_of_every_one():
    s = Session()
    s.up(A).up(B)
    assert s.machine.heard == ["start", "hub", "hub"]


def test_what_is_asked_while_a_hub_comes_up_is_sent_once():
    s = Session()
    s.machine.on_start = [Ask("f", FIND)]
    s.machine.on_hub = [Ask("g", FIND)]
    s.up(A)
    assert s.emitted() == [(A, "register_component"), (A, "find_provider"), (A, "find_provider")]
    s.up(B)
    assert s.emitted() == [(B, "register_component"), (B, "find_provider"), (B, "find_provider")]


def test_a_refused_registration_is_reported():
    s = Session()
    s.see(s.link.connected(A, 0.0, "now"))
    error = NotPermitted("no").info()
    s.get(h.RegistrationRefused(error=error))
    assert s.others == [Refused(A, error)] and not s.link.is_registered()


# --- asks


def test_an_ask_is_repeated_with_growing_delays_until_it_is_answered():
    s = Session(A)
    s.do(Ask("f", FIND))
    (first,) = s.sent
    s.emitted()
    assert s.moments(20.0) == [1.0, 3.0, 7.0, 12.0, 17.0]
    s.answer(FOUND, first)
    assert s.machine.heard == [("provider_found", FOUND, Ask("f", FIND))]
    assert s.link.open_asks() == 0
    assert s.moments(40.0) == []
    assert s.timers == {}


def test_every_emission_has_its_own_message_id_and_the_same_correlation():
    s = Session(A)
    s.do(Ask("f", FIND)).until(4.0)
    ids = [action.envelope.message_id for action in s.sent]
    assert len(ids) == len(set(ids)) == 3
    assert len({action.envelope.correlation_id for action in s.sent}) == 1


def test_any_of_the_last_emissions_can_be_answered_but_no_older_one():
    s = Session(A)
    s.do(Ask("f", FIND)).until(100.0)
    s.answer(FOUND, s.sent[-EMISSIONS_LIMIT - 1])
    assert s.machine.heard == [("provider_found", FOUND, None)] and s.link.open_asks() == 1
    s.answer(FOUND, s.sent[-EMISSIONS_LIMIT])
    assert s.machine.heard[1] == ("provider_found", FOUND, Ask("f", FIND)) and s.link.open_asks() == 0


def test_a_second_answer_answers_nothing():
    s = Session(A)
    s.do(Ask("f", FIND)).until(2.0)
    first, second = s.sent
    s.answer(FOUND, second).answer(FOUND, first)
    assert [asked for _, _, asked in s.machine.heard] == [Ask("f", FIND), None]


def test_a_cancelled_ask_is_neither_repeated_nor_answered():
    s = Session(A)
    s.do(Ask("f", FIND))
    (first,) = s.sent
    s.do(CancelAsk("f")).emitted()
    assert s.moments(10.0) == []
    s.answer(FOUND, first)
    assert s.machine.heard == [("provider_found", FOUND, None)]


def test_an_ask_replaces_an_open_one_of_its_key():
    s = Session(A)
    s.do(Ask("f", FIND), Ask("f", STARTED))
    old, new = s.sent
    s.answer(FOUND, old)
    assert s.link.open_asks() == 1
    s.answer(p.DataSaved(status="ok"), new)
    assert s.machine.heard[-1][2] == Ask("f", STARTED)


def test_open_asks_go_at_once_by_a_hub_that_comes_back_and_their_delays_begin_anew():
    s = Session(A)
    s.do(Ask("f", FIND)).until(9.0)
    s.see(s.link.disconnected(A)).emitted()
    assert s.moments(20.0) == []
    s.up(A)
    assert s.emitted() == [(A, "register_component"), (A, "find_provider")]
    assert s.moments(22.5) == [21.0]


def test_what_an_ask_causes_that_is_addressed_to_nobody_or_commands_something_is_no_answer():
    s = Session(A)
    s.do(Ask("s", STARTED))
    (sent,) = s.sent
    s.get(e.TaskCompleted(workflow_id=W, task_id=T, attempt=1), cause=sent.envelope.message_id)
    s.answer(e.CancelTask(workflow_id=W, task_id=T, attempt=1), sent)
    assert [asked for _, _, asked in s.machine.heard] == [None, None]
    s.answer(p.DataSaved(status="ok"), sent)
    assert s.machine.heard[-1][2] == Ask("s", STARTED)


def test_an_error_of_the_ledger_that_will_pass_leaves_the_ask_open():
    s = Session(A)
    s.do(Ask("s", STARTED))
    passing = p.PersistenceError(error=StoreError("busy").info())
    s.answer(passing, s.sent[0])
    assert s.machine.heard == [] and s.link.open_asks() == 1
    assert s.machine.hindrances == [(Ask("s", STARTED), passing.error)]
    lasting = p.PersistenceError(error=NotPermitted("no").info())
    s.answer(lasting, s.sent[0])
    assert s.machine.heard == [("persistence_error", lasting, Ask("s", STARTED))]


def test_an_ask_of_which_another_emission_is_under_way_is_not_hindered_yet():
    s = Session(A)
    s.do(Ask("s", STARTED))
    s.until(1.5)
    passing = p.PersistenceError(error=StoreError("busy").info())
    first, second = s.sent
    s.answer(passing, first)
    assert s.machine.hindrances == []
    s.answer(passing, second)
    assert len(s.machine.hindrances) == 1


def test_a_client_hears_of_every_error_of_the_ledger():
    s = Session(A, role=Role.CLIENT)
    s.do(Ask("q", p.QueryData(kind_of_data="history")))
    passing = p.PersistenceError(error=StoreError("busy").info())
    s.answer(passing, s.sent[0])
    assert s.machine.heard[0][2] is not None and s.link.open_asks() == 0


def test_an_ask_that_found_nobody_is_repeated_soon_and_then_less_and_less_often():
    s = Session(A)
    s.do(Ask("f", FIND))
    nobody = h.NoComponentsAvailable(event="find_provider")
    moments = []
    while s.now < 12.0:
        sent, s.sent = s.sent, []
        for action in sent:
            moments.append(s.now)
            s.answer(nobody, action, source="hub")
        s.until(round(s.now + 0.05, 2))
    assert s.machine.heard[0] == ("undeliverable", Ask("f", FIND))
    gaps = [round(b - a, 2) for a, b in zip(moments, moments[1:])]
    # Looks are 0.25 s apart.
    assert gaps[:5] == [0.25, 0.5, 1.0, 1.75, 3.25] and set(gaps[5:]) <= {5.0}


def test_after_a_reconnection_an_ask_that_finds_nobody_is_repeated_soon_again():
    s = Session(A)
    s.do(Ask("f", FIND)).until(15.0)
    s.see(s.link.disconnected(A)).up(A)
    s.answer(h.NoComponentsAvailable(event="find_provider"), s.sent[-1], source="hub").emitted()
    assert len(s.moments(15.5)) == 1


def test_a_tell_that_found_nobody_is_told_to_the_machine_without_an_ask():
    s = Session(A)
    s.do(Tell(STARTED))
    s.answer(h.NoComponentsAvailable(event="task_started"), s.sent[0], source="hub")
    assert s.machine.heard == [("undeliverable", None)]


def test_what_the_hub_refuses_is_noted_and_not_repeated():
    s = Session(A)
    s.do(Ask("f", FIND))
    refusal = h.EventRefused(event="find_provider", error=NotPermitted("no").info())
    s.answer(refusal, s.sent[0], source="hub").emitted()
    assert s.machine.heard == [("refused", Ask("f", FIND), NotPermitted.code)]
    assert isinstance(s.others[0], Note) and s.moments(10.0) == []


# --- tells, replies, and what else a machine wants


def test_a_tell_without_a_hub_is_lost_and_an_ask_is_not():
    s = Session()
    s.do(Tell(STARTED), Ask("f", FIND)).up(A)
    assert s.emitted() == [(A, "register_component"), (A, "find_provider")]


def test_what_follows_from_an_event_belongs_to_its_chain():
    s = Session(A)
    s.machine.next = [Tell(STARTED), Ask("f", FIND), Tell(STARTED, correlation_id="x")]
    s.get(e.CancelTask(workflow_id=W, task_id=T, attempt=1), message_id="cause")
    assert [action.envelope.correlation_id for action in s.sent] == ["d", "d", "x"]
    assert {action.envelope.causation_id for action in s.sent} == {"cause"}


def test_events_carry_the_shard_and_the_topic_of_their_workflow():
    s = Session(A)
    s.do(Tell(STARTED))
    envelope = s.sent[0].envelope
    assert (envelope.shard, envelope.topic) == (STARTED.shard(), "w")


def test_a_reply_names_what_it_answers_and_goes_before_bulk():
    s = Session(A)
    to = Envelope(message_id="q", correlation_id="k", source_component=ComponentId("provider-1"))
    s.do(Reply(FOUND, to), Tell(STARTED))
    reply, tell = s.sent
    assert reply.envelope.causation_id == "q" and reply.envelope.correlation_id == "k"
    assert reply.envelope.reply_to == "provider-1"
    assert (reply.control, tell.control) == (True, False)


def test_timers_calls_and_notes_pass_the_link():
    s = Session(A)
    effects = [Note("info", "x", {}), Call("c", FIND), CancelCall("c")]
    s.do(*effects, SetTimer("t", 5.0), CancelTimer("u"))
    assert s.others == effects and s.timers == {"t": 5.0}
    s.until(5.0)
    s.see(s.link.call_finished("c", "answer", s.now, "now"))
    s.see(s.link.settle(s.now, "now"))
    assert s.machine.heard == ["t", ("c", "answer"), "settle"]


def test_the_machine_is_told_to_drain_and_heartbeats_say_so():
    s = Session(A)
    s.see(s.link.drain(0.0, "now"))
    assert s.machine.heard == ["drain"]
    s.get(h.Heartbeat(hub_id="a", number=1))
    assert '"draining"' in s.sent[0].body


# --- what comes in


def test_a_repeated_message_is_dropped():
    s = Session(A, B)
    event = e.CancelTask(workflow_id=W, task_id=T, attempt=1)
    s.get(event, A, message_id="m").get(event, A, message_id="m").get(event, B, message_id="m")
    assert len(s.machine.heard) == 1


def test_only_so_many_messages_are_remembered():
    s = Session(A)
    event = e.CancelTask(workflow_id=W, task_id=T, attempt=1)
    for number in range(SEEN_LIMIT + 1):
        s.get(event, message_id=str(number))
    s.get(event, message_id="0").get(event, message_id=str(SEEN_LIMIT))
    assert len(s.machine.heard) == SEEN_LIMIT + 2


@pytest.mark.parametrize(
    ("name", "body", "error"),
    [
        ("no_such_event", "{}", UnknownEvent),
        ("cancel_task", "{", MalformedEvent),
        ("cancel_task", "{}", MalformedEvent),
    ],
)
def test_what_is_no_event_changes_nothing(name, body, error):
    s = Session(A)
    envelope = Envelope(message_id="m", correlation_id="c", source_component=LEDGER)
    with pytest.raises(error):
        s.link.received(A, name, envelope, body, 0.0, "now")
    s.get(e.CancelTask(workflow_id=W, task_id=T, attempt=1), message_id="m")
    assert len(s.machine.heard) == 1


def test_a_heartbeat_is_answered_where_it_came_from_and_measurements_ride_along_once_to_each_hub():
    s = Session(A, B)
    s.link.metrics = {"cpu_percent": 1.0}
    s.get(h.Heartbeat(hub_id="b", number=1), B).get(h.Heartbeat(hub_id="a", number=2), A)
    s.get(h.Heartbeat(hub_id="a", number=3), A)
    answers = [decode_body(x.name, x.envelope, x.body) for x in s.sent]
    assert [(x.hub, x.control) for x in s.sent] == [(B, True), (A, True), (A, True)]
    measured = {"cpu_percent": 1.0, "slots": 8}
    inventory = [["w", "t", 1]]
    assert answers == [
        h.HeartbeatResponse(number=1, load=3, metrics=measured, inventory=inventory),
        h.HeartbeatResponse(number=2, load=3, metrics=measured, inventory=inventory),
        h.HeartbeatResponse(number=3, load=3, inventory=inventory),
    ]
