from __future__ import annotations

from typing import Any

import pytest

from gleitzeitd.errors import MalformedEvent, NotPermitted, UnknownEvent
from gleitzeitd.events import CATALOGUE, COMPONENTS, Kind, To, receivers
from gleitzeitd.events.codec import dumps
from gleitzeitd.events.hub import (
    ComponentDisconnected,
    ComponentList,
    ComponentRegistered,
    EventRefused,
    Heartbeat,
    HubLeaving,
    NoComponentsAvailable,
    RegistrationRefused,
    Subscribed,
    TraceData,
)
from gleitzeitd.machines.base import Deliver, Disconnect, Note, Send, SetTimer
from gleitzeitd.machines.hub import Hub
from gleitzeitd.machines.hub_settings import Settings
from gleitzeitd.machines.permissions import PLANS
from gleitzeitd.model.access import Grant, full_grant
from gleitzeitd.model.names import ComponentId, Role

AT = "2026-01-01T00:00:00.000Z"
C = "c" * 32
EVERYTHING = full_grant("us")
CALL = {"workflow_id": "w", "task_id": "t", "attempt": 1, "method": "m"}


class Net:
    """A hub, and who is connected to it: the connection of a component is ``@`` and its id."""

    def __init__(self, **settings: Any) -> None:
        self.hub = Hub(ComponentId("hub-1"), Settings(**settings), version="5")
        self.now = 100.0
        self.hub.start(self.now, AT)
        self.sent = 0

    def open(self, connection: str, grant: Grant = EVERYTHING) -> list:
        effects = self.hub.opened(connection, "127.0.0.1")
        self.hub.connected(connection, None, None, grant)
        return effects

    def join(self, component_id: str, role: str, *, connection: str = "", **body: Any) -> list:
        connection = connection or f"@{component_id}"
        self.open(connection)
        said = {"component_id": component_id, "component_type": role, "capabilities": ["envelope"], **body}
        return self.send(connection, "register_component", said)

    def send(self, connection: str, name: str, body: Any = None, **envelope: Any) -> list:
        self.sent += 1
        made = {"_message_id": f"m{self.sent}", "_correlation_id": C, **envelope}
        return self.hub.received(connection, name, made, dumps(body or {}), self.now, AT)

    def beat(self, seconds: float = 1.0) -> list:
        self.now += seconds
        return self.hub.timer_expired("beat", self.now, AT)


def deliveries(effects: list) -> list:
    return [each for each in effects if isinstance(each, Deliver)]


def sent(effects: list, kind: type) -> Any:
    """The one event of this class among the effects, with those it goes to."""
    (found,) = [each for each in effects if isinstance(each, Send) and isinstance(each.event, kind)]
    return found


def test_the_hub_handles_exactly_the_events_that_are_delivered_to_it() -> None:
    handled = {name.removeprefix("on_") for name in dir(Hub) if name.startswith("on_")}
    assert handled == {name for name in CATALOGUE if Role.HUB in receivers(name)}


def test_every_sender_of_every_event_has_a_plan_and_nobody_else() -> None:
    for name, cls in CATALOGUE.items():
        for role in COMPONENTS:
            allowed = any(role in each.senders for each in cls.routes) and not cls.link
            assert ((name, role) in PLANS) == allowed


def test_a_registration_is_answered_and_ends_the_wait_for_it() -> None:
    net = Net()
    assert net.open("1") == [SetTimer("register:1", 3.0)]
    effects = net.send("1", "register_component", {"component_id": "c", "component_type": "client"})
    answer = sent(effects, ComponentRegistered)
    assert answer.to == ("1",)
    assert answer.causation_id == "m1"
    assert answer.reply_to == "c"
    assert net.hub.timer_expired("register:1", 110, AT) == []


def test_a_connection_that_does_not_register_is_cut() -> None:
    net = Net()
    net.open("1")
    assert net.hub.timer_expired("register:1", 103, AT)[-1] == Disconnect("1", "not registered within 3 s")
    assert net.send("1", "register_component", {"component_id": "c", "component_type": "client"}) == []


def test_nothing_is_taken_before_registration() -> None:
    net = Net()
    net.open("1")
    refused = sent(net.send("1", "list_components"), EventRefused)
    assert refused.event.error.name == "AUTHORIZATION_FAILED"


@pytest.mark.parametrize(
    "said",
    [
        {"component_id": "hub-1", "component_type": "client"},
        {"component_id": "a b", "component_type": "client"},
        {"component_id": "c", "component_type": "hub"},
    ],
)
def test_a_registration_under_an_impossible_name_or_role_is_refused_and_cut(said: dict) -> None:
    net = Net()
    net.open("1")
    effects = net.send("1", "register_component", said)
    assert sent(effects, RegistrationRefused).to == ("1",)
    assert isinstance(effects[-1], Disconnect)


def test_a_connection_registers_only_as_what_it_connected_as() -> None:
    net = Net()
    net.hub.opened("1", "")
    net.hub.connected("1", "c", "client", EVERYTHING)
    effects = net.send("1", "register_component", {"component_id": "d", "component_type": "client"})
    assert "belongs to c" in sent(effects, RegistrationRefused).event.error.message


def test_of_two_connections_of_a_component_the_newer_epoch_wins_and_the_loser_takes_nothing_along() -> None:
    net = Net()
    net.join("q", "queue_manager")
    net.join("e", "execution_engine", connection="1", epoch=1)
    effects = net.join("e", "execution_engine", connection="2", epoch=2)
    assert sent(effects, ComponentDisconnected).event.epoch == 1
    assert sum(isinstance(each, Disconnect) and each.connection == "1" for each in effects) == 1
    assert net.hub.disconnected("1", "late") == []
    assert deliveries(net.send("2", "request_next_task", {"slots": 1})) == [
        Deliver(("@q",), "request_next_task")
    ]
    effects = net.join("e", "execution_engine", connection="3", epoch=1)
    assert "newer epoch 2" in sent(effects, RegistrationRefused).event.error.message


def test_a_reconnect_of_the_same_process_is_no_loss() -> None:
    net = Net()
    net.join("q", "queue_manager")
    net.join("e", "execution_engine", connection="1", epoch=1)
    effects = net.join("e", "execution_engine", connection="2", epoch=1)
    assert not [
        each for each in effects if isinstance(each, Send) and isinstance(each.event, ComponentDisconnected)
    ]
    assert any(isinstance(each, Disconnect) and each.connection == "1" for each in effects)


def test_a_repeated_registration_is_answered_again() -> None:
    net = Net()
    net.join("c", "client")
    again = net.send("@c", "register_component", {"component_id": "c", "component_type": "client"})
    assert sent(again, ComponentRegistered)


def test_the_end_of_a_component_is_told_to_those_who_act_on_it_and_to_watchers() -> None:
    net = Net()
    for name, role in (
        ("q", "queue_manager"),
        ("r", "dependency_resolver"),
        ("w", "client"),
        ("e", "execution_engine"),
    ):
        net.join(name, role)
    net.send("@w", "subscribe", {"topics": ["components"]})
    told = sent(net.hub.disconnected("@e", "it said goodbye"), ComponentDisconnected)
    assert told.to == ("@q", "@w")
    assert told.event.reason == "it said goodbye"


def test_the_sender_is_stamped_and_the_name_of_the_fact_cannot_be_forged() -> None:
    net = Net()
    net.join("p", "persistence")
    net.join("e", "execution_engine")
    envelope = {
        "_message_id": "m",
        "_correlation_id": C,
        "_source_component": "somebody",
        "_fact": "workflow_completed",
    }
    effects = net.hub.received("@e", "task_started", envelope, "not even JSON", net.now, AT)
    assert effects == [Deliver(("@p",), "save_task", "task_started")]
    assert envelope["_source_component"] == "e"
    assert "_fact" not in envelope


def test_one_of_a_role_is_the_least_loaded_in_turn_and_well_if_any_is() -> None:
    net = Net()
    net.join("e", "execution_engine")
    for name in ("a", "b", "c"):
        net.join(name, "protocol_registry")

    def find(count: int) -> list[str]:
        return [deliveries(net.send("@e", "find_provider"))[0].to[0] for _ in range(count)]

    assert find(6) == ["@a", "@b", "@c", "@a", "@b", "@c"]
    for name, load in (("a", 5), ("b", 0), ("c", 3)):
        net.send(f"@{name}", "heartbeat_response", {"load": load})
    assert find(4) == ["@b", "@b", "@b", "@c"]
    net.send("@b", "heartbeat_response", {"load": 0, "status": "draining"})
    assert find(1) == ["@c"]
    for name in ("a", "c"):
        net.hub.disconnected(f"@{name}", "")
    assert find(1) == ["@b"]


def test_an_event_for_a_shard_goes_to_the_owner_of_the_newest_epoch() -> None:
    net = Net()
    net.join("c", "client")
    query = {"workflow_id": "w"}
    nobody = sent(net.send("@c", "query_status", query, _shard=4), NoComponentsAvailable)
    assert (nobody.to, nobody.event.shard_without_owner, nobody.causation_id) == (("@c",), 4, "m2")
    for name, epoch in (("r1", 7), ("r2", 6)):
        net.join(name, "dependency_resolver")
        net.send(f"@{name}", "serve_shards", {"shards": {"4": epoch}})
    assert net.send("@c", "query_status", query, _shard=4) == [Deliver(("@r1",), "query_status")]
    net.hub.disconnected("@r1", "")
    assert net.send("@c", "query_status", query, _shard=4) == [Deliver(("@r2",), "query_status")]
    net.send("@r2", "serve_shards", {"shards": {}})
    assert sent(net.send("@c", "query_status", query, _shard=4), NoComponentsAvailable)


@pytest.mark.parametrize("shard", [None, -1, 16, "4", True, 1.0])
def test_an_envelope_with_an_impossible_shard_is_refused(shard: Any) -> None:
    net = Net()
    net.join("c", "client")
    refused = sent(net.send("@c", "query_status", {"workflow_id": "w"}, _shard=shard), EventRefused)
    assert refused.event.error.name == "INVALID_REQUEST"


@pytest.mark.parametrize(
    "envelope",
    [
        {"_message_id": ""},
        {"_message_id": 7},
        {"_correlation_id": None},
        {"_reply_to": 7},
        {"_topic": ["w"]},
        {"_new": {"deep": []}},
        {"_timestamp": "x" * 2000},
        {f"_k{n}": 1 for n in range(40)},
    ],
)
def test_a_malformed_envelope_is_refused(envelope: dict) -> None:
    net = Net()
    net.join("c", "client")
    assert sent(net.send("@c", "list_components", **envelope), EventRefused)


def test_a_reply_reaches_only_a_component_that_may_get_it() -> None:
    net = Net()
    for name, role in (("e", "execution_engine"), ("p", "provider"), ("c", "client")):
        net.join(name, role)
    assert net.send("@e", "execute_method", CALL, _reply_to="p") == [Deliver(("@p",), "execute_method")]
    assert sent(net.send("@e", "execute_method", CALL, _reply_to="c"), EventRefused)
    assert sent(net.send("@e", "execute_method", CALL), EventRefused)
    nobody = sent(net.send("@e", "execute_method", CALL, _reply_to="gone"), NoComponentsAvailable)
    assert nobody.event.component_id == "gone"


def test_nobody_to_ask_is_told_at_once_but_nobody_to_inform_is_not() -> None:
    net = Net()
    net.join("p", "provider")
    net.join("e", "execution_engine")
    net.join("g", "protocol_registry")
    assert (
        sent(net.send("@e", "task_started", {}), NoComponentsAvailable).event.component_type == "persistence"
    )
    assert net.send("@e", "request_next_task", {}) == []
    assert net.send("@p", "task_output", {}, _topic="w") == []
    net.hub.disconnected("@g", "")
    missing = sent(net.send("@p", "register_protocol", {}), NoComponentsAvailable)
    assert missing.event.component_type == "protocol_registry"


def test_an_event_with_several_routes_goes_along_all_of_them() -> None:
    net = Net()
    for name, role in (
        ("g", "protocol_registry"),
        ("p", "provider"),
        ("e", "execution_engine"),
        ("q", "queue_manager"),
    ):
        net.join(name, role)
    effects = net.send("@g", "provider_registered", {}, _reply_to="p")
    assert {each.to for each in deliveries(effects)} == {("@p",), ("@e",), ("@q",)}
    assert {each.to for each in net.send("@g", "provider_registered", {})} == {("@e",), ("@q",)}


def test_watchers_get_their_topics_or_all_and_each_event_once() -> None:
    net = Net()
    net.join("p", "persistence")
    for name in ("one", "all", "none"):
        net.join(name, "client")
    net.send("@one", "subscribe", {"topics": ["w"]})
    answer = sent(net.send("@all", "subscribe", {"topics": ["*", "w"]}), Subscribed)
    assert answer.event.topics == ["*", "w"]
    assert set(deliveries(net.send("@p", "task_started", {}, _topic="w"))[0].to) == {"@one", "@all"}
    assert deliveries(net.send("@p", "task_started", {}, _topic="v"))[0].to == ("@all",)
    net.send("@all", "unsubscribe", {"topics": ["*", "w"]})
    net.hub.disconnected("@one", "")
    assert net.send("@p", "task_started", {}, _topic="w") == []


def test_a_client_watches_a_bounded_number_of_topics() -> None:
    net = Net(topics_per_connection=2)
    net.join("c", "client")
    assert sent(net.send("@c", "subscribe", {"topics": ["a", "b", "c"]}), EventRefused)
    assert sent(net.send("@c", "subscribe", {"topics": ["a", "b"]}), Subscribed)


def test_what_a_sender_may_not_send_is_refused_and_noted_once() -> None:
    net = Net()
    net.join("c", "client")
    first, second = net.send("@c", "task_completed"), net.send("@c", "task_completed")
    assert isinstance(first[0], Note)
    assert [type(each) for each in second] == [Send]
    assert sent(second, EventRefused).event.error.code == NotPermitted.code
    assert sent(net.send("@c", "heartbeat"), EventRefused).event.error.code == NotPermitted.code
    assert sent(net.send("@c", "nonsense"), EventRefused).event.error.code == UnknownEvent.code
    assert net.hub.counts.refused["AUTHORIZATION_FAILED"] == 3


def test_the_body_of_an_event_for_the_hub_is_checked() -> None:
    net = Net()
    net.join("c", "client")
    assert (
        sent(net.send("@c", "subscribe", {"topics": 7}), EventRefused).event.error.code == MalformedEvent.code
    )
    net.join("r", "dependency_resolver")
    assert sent(net.send("@r", "serve_shards", {"shards": {"16": 1}}), EventRefused)


def test_a_component_that_stops_answering_is_cut_after_dead_after_and_not_before() -> None:
    net = Net()
    net.join("q", "queue_manager")
    net.join("e", "execution_engine")
    for _ in range(3):
        assert sent(net.beat(), Heartbeat).to == ("@q", "@e")
        net.send("@q", "heartbeat_response")
    effects = net.beat()
    assert sent(effects, ComponentDisconnected).event.component_id == "e"
    assert any(isinstance(each, Disconnect) and each.connection == "@e" for each in effects)
    assert net.hub.counts.heartbeats_missed == 1


def test_a_hub_that_was_stopped_itself_cuts_nobody_for_it() -> None:
    net = Net()
    net.join("e", "execution_engine")
    net.beat()
    net.send("@e", "heartbeat_response")
    assert not [each for each in net.beat(30.0) if isinstance(each, Disconnect)]


def test_a_foreign_client_is_held_to_heartbeats_from_its_first_answer_on() -> None:
    net = Net()
    net.join("browser", "client", capabilities=[])
    for _ in range(10):
        assert not [each for each in net.beat() if isinstance(each, Disconnect)]
    net.send("@browser", "heartbeat_response")
    assert [each for _ in range(4) for each in net.beat() if isinstance(each, Disconnect)]


def test_components_are_listed_with_the_hub_first() -> None:
    net = Net()
    net.hub.metrics = {"memory_bytes": 5}
    net.join("e", "execution_engine", version="5.0", hostname="h", process_id=7)
    net.join("c", "client")
    net.send("@e", "capacity_update", {"slots": 4})
    net.send("@e", "heartbeat_response", {"load": 3, "status": "draining", "metrics": {"cpu_percent": 1.5}})
    net.now += 2
    listed = sent(net.send("@c", "list_components"), ComponentList).event.components
    assert [each.component_id for each in listed] == ["hub-1", "c", "e"]
    assert listed[0].metrics["memory_bytes"] == 5
    engine = listed[2]
    assert (engine.load, engine.status, engine.hostname, engine.process_id) == (3, "draining", "h", 7)
    assert engine.metrics == {"slots": 4, "cpu_percent": 1.5}
    assert engine.heartbeat_age == 2.0


def test_the_trace_keeps_the_newest_events_without_payload_or_heartbeats() -> None:
    net = Net(trace_records=3)
    net.join("c", "client")
    net.join("p", "persistence")
    for n in range(5):
        net.send("@c", "query_data", {"kind_of_data": "workflows"}, _correlation_id=f"c{n}")
        net.send("@c", "heartbeat_response")
    data = sent(net.send("@c", "query_trace", {"event": "query_data"}), TraceData).event
    assert [each.correlation_id for each in data.records] == ["c2", "c3", "c4"]
    assert data.dropped == 2
    assert (data.records[0].source, data.records[0].targets) == ("c", ["p"])
    one = sent(net.send("@c", "query_trace", {"correlation": "c4", "limit": 1}), TraceData).event
    assert [each.correlation_id for each in one.records] == ["c4"]


def test_a_hub_that_ends_says_so_and_takes_no_more_connections() -> None:
    net = Net()
    net.join("c", "client")
    assert sent(net.hub.drain(net.now, AT), HubLeaving).to == ("@c",)
    assert isinstance(net.hub.opened("9", "")[0], Disconnect)


def test_only_so_many_connections_may_be_about_to_register() -> None:
    net = Net(max_unregistered=1)
    net.open("1")
    assert isinstance(net.hub.opened("2", "")[0], Disconnect)
    net.hub.disconnected("1", "")
    assert isinstance(net.hub.opened("3", "")[0], SetTimer)


def test_only_replies_commands_and_facts_of_one_route_complain_as_declared() -> None:
    for (name, _), steps in PLANS.items():
        for step in steps:
            if step.to in (To.WATCHERS, To.HUB):
                assert not step.required
            if step.to is To.ALL and CATALOGUE[name].kind is not Kind.COMMAND:
                assert not step.required
