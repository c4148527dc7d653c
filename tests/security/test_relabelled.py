"""Frames that are sent again, or that say of themselves what only the hub may say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.events import Envelope
from gleitzeitd.events import dependency_resolver as d
from gleitzeitd.events import execution_engine as e
from gleitzeitd.events import provider as v
from gleitzeitd.machines.foreign import Foreign, Stamp
from gleitzeitd.model.access import UserRole
from gleitzeitd.model.names import Role
from gleitzeitd.runtime.bundles import read_bundle
from tests.security.arena import ENGINE, LONG, NEXT, Arena, W
from tests.security.hub_net import Net, delivered, errors

ONLY_THE_HUBS = {
    "_source_component": "somebody",
    "_fact": "task_completed",
    "_namespace": "team-a",
    "_source_role": "persistence",
}
"""What a sender may write there has no meaning."""


@pytest.mark.parametrize("key", sorted(ONLY_THE_HUBS))
@pytest.mark.parametrize("role", [Role.CLIENT, Role.EXECUTION_ENGINE, Role.DEPENDENCY_RESOLVER])
def test_what_only_the_hub_may_say_is_written_over_or_removed(role: Role, key: str) -> None:
    net = Net()
    net.join("persistence-1", Role.PERSISTENCE)
    net.join("registry-1", Role.PROTOCOL_REGISTRY)
    if role is Role.CLIENT:
        net.client("mallory", UserRole.ADMIN)
    else:
        net.join("mallory", role)
    asked = "find_provider" if role is Role.EXECUTION_ENGINE else "list_protocols"
    assert delivered(net.send("mallory", asked, {}, **{key: ONLY_THE_HUBS[key]}))
    assert net.envelope["_source_component"] == "mallory"
    assert net.envelope.get(key) != ONLY_THE_HUBS[key]


@given(value=st.text(max_size=2000) | st.integers() | st.none() | st.booleans())
def test_the_source_is_the_connections_whatever_is_written_there(value: Any) -> None:
    net = Net()
    net.join("registry-1", Role.PROTOCOL_REGISTRY)
    net.join("mallory", Role.EXECUTION_ENGINE)
    net.send("mallory", "find_provider", {}, _source_component=value, _namespace=value, _fact=value)
    assert net.envelope["_source_component"] == "mallory"
    assert "_fact" not in net.envelope
    assert "_namespace" not in net.envelope


def test_the_namespace_of_a_token_is_stamped_on_every_event_of_a_bundle() -> None:
    net = Net()
    net.join("registry-1", Role.PROTOCOL_REGISTRY)
    net.client("a", UserRole.VIEWER, "team-a")
    envelope = {"_message_id": "m", "_correlation_id": "c", "_namespace": "team-b", "_source_role": "hub"}
    heads = [["m1", "c", None], ["m2", "c", None]]
    assert net.hub.received_bundle("@a", "list_protocols", envelope, heads, [2, 2], net.now, "")
    for single, _ in read_bundle("list_protocols", [envelope, ["{}", "{}"], heads]):
        assert (single.namespace, single.source_component, single.source_role) == ("team-a", "a", None)


def test_a_flat_event_of_a_foreign_client_is_stamped_as_any_other() -> None:
    net = Net()
    net.join("registry-1", Role.PROTOCOL_REGISTRY)
    net.client("a", UserRole.VIEWER, "team-a")
    flat = {"_namespace": "team-b", "_source_component": "b", "_fact": "x", "_source_role": "persistence"}
    foreign = Foreign(nesting=9, role_of=lambda _: None)
    stamp = Stamp(message_id="m", correlation_id="c", at="")
    envelope, body = foreign.incoming(
        "list_protocols", flat, net.hub.members.named("a").component_id, None, stamp
    )
    assert delivered(net.hub.received("@a", "list_protocols", envelope, body, net.now, ""))
    assert (envelope["_namespace"], envelope["_source_component"]) == ("team-a", "a")
    assert "_fact" not in envelope
    assert "_source_role" not in envelope


def test_the_role_is_stamped_where_several_may_send_the_same() -> None:
    net = Net()
    net.client("c", UserRole.VIEWER)
    for name, role in (("resolver-1", Role.DEPENDENCY_RESOLVER), ("queue-1", Role.QUEUE_MANAGER)):
        net.join(name, role)
        assert delivered(net.send(name, "data_saved", {}, _reply_to="c", _source_role="persistence"))
        assert net.envelope["_source_role"] == role.value
    net.join("persistence-1", Role.PERSISTENCE)
    assert delivered(net.send("persistence-1", "data_saved", {}, _reply_to="c", _source_role="queue_manager"))
    assert "_source_role" not in net.envelope


def test_keys_that_are_no_texts_or_too_many_are_refused() -> None:
    net = Net()
    net.join("registry-1", Role.PROTOCOL_REGISTRY)
    net.join("mallory", Role.EXECUTION_ENGINE)
    for envelope in (
        {"_causation_id": {}},
        {"_reply_to": 7},
        {"_topic": []},
        {f"_{n}": 1 for n in range(40)},
    ):
        effects = net.send("mallory", "find_provider", {}, **envelope)
        assert errors(effects) == [-32600], envelope
        assert not delivered(effects)


# --- in a cluster at work


def test_a_frame_that_is_sent_again_has_no_effect() -> None:
    arena = Arena()
    first = {name: list(sent) for name, sent in arena.sent.items()}
    for name, sent in first.items():
        node = arena.nodes[name]
        for each in sent:
            if each.name != "register_component":
                plain = {
                    "_message_id": each.envelope.message_id,
                    "_correlation_id": each.envelope.correlation_id,
                }
                plain |= {"_topic": each.envelope.topic} if each.envelope.topic else {}
                plain |= {"_shard": each.envelope.shard} if each.envelope.shard is not None else {}
                plain |= {"_reply_to": each.envelope.reply_to} if each.envelope.reply_to else {}
                plain |= {"_causation_id": each.envelope.causation_id} if each.envelope.causation_id else {}
                hub = arena.hubs["hub"]
                effects = hub.received(
                    node.connections["hub"], each.name, plain, each.body, arena.clock("hub"), ""
                )
                arena._perform_hub("hub", effects, plain, each.body)
    arena.finish()
    assert arena.executions == {(W, LONG): 1, (W, NEXT): 1}


def test_a_frame_of_another_that_is_sent_again_is_its_senders_own() -> None:
    arena = Arena()
    mallory = arena.intruder(Role.EXECUTION_ENGINE)
    arena.run_until(lambda: any(x.name == "task_completed" for x in arena.sent[ENGINE]), arena.now + 20)
    honest = next(x for x in arena.sent[ENGINE] if x.name == "task_completed")
    mallory.say("task_completed", honest.body, message_id=honest.envelope.message_id, source_component=ENGINE)
    assert mallory.statuses() == ["stale"]
    arena.finish()


def test_nobodys_message_is_taken_for_the_repeat_of_anothers() -> None:
    """The ids of what others will send can be guessed: using them first must not have theirs dropped."""
    arena = Arena()
    mallory = arena.intruder(Role.EXECUTION_ENGINE)
    link = arena.nodes[ENGINE].link
    prefix, _, number = arena.sent[ENGINE][-1].envelope.message_id.rpartition(".")
    assert prefix == f"{ENGINE}.{link.identity.epoch:x}"
    for ahead in range(1, 20):
        started = e.TaskStarted(**arena.attempt(NEXT))
        mallory.say(started, message_id=f"{prefix}.{int(number, 16) + ahead:x}")
    asked = len([x for x in arena.sent[ENGINE] if x.name == "task_completed"])
    arena.finish()
    reports = [x for x in arena.sent[ENGINE] if x.name == "task_completed"]
    assert len(reports) == asked + 2, "each report is heard when it is sent for the first time"


@pytest.mark.parametrize("causation", ["own", "guessed", "nonsense"])
def test_who_says_that_it_follows_from_anothers_message_learns_and_ends_nothing(causation: str) -> None:
    arena = Arena()
    mallory = arena.intruder(Role.PROVIDER)
    cause = {"own": "mallory.1", "guessed": arena.last_ask(ENGINE, "execute_method"), "nonsense": "x" * 900}
    for reply_to in (ENGINE, None):
        event = v.MethodResult(**arena.attempt(), result={"n": 666})
        mallory.say(event, reply_to=reply_to, causation_id=cause[causation], correlation_id="0" * 32)
    arena.finish()
    assert not [name for name, _, _ in mallory.heard if name in ("data_saved", "execute_method")]


def test_who_borrows_a_correlation_id_gets_nothing_of_the_chain() -> None:
    arena = Arena()
    mallory = arena.intruder(Role.DEPENDENCY_RESOLVER)
    chain = arena.sent["client"][-1].envelope.correlation_id
    mallory.say(d.CancelWorkflow(workflow_id=W), correlation_id=chain)
    assert mallory.statuses() == ["stale"]
    arena.finish()
    assert {name for name, _, _ in mallory.heard} <= {
        "component_registered", "heartbeat", "data_saved", "protocol_registered", "component_disconnected",
    }  # fmt: skip


def test_an_envelope_says_no_more_than_its_declared_keys() -> None:
    assert {f"_{name}" for name in Envelope.__dataclass_fields__} >= ONLY_THE_HUBS.keys()
