"""What is decided once for many events is what would be decided for each of them."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.events.hub import QueryTrace
from gleitzeitd.machines.base import Deliver
from gleitzeitd.machines.permissions import PLANS
from gleitzeitd.model.names import Role
from tests.machines.test_hub import AT, Net

MEMBERS = {
    "ledger": Role.PERSISTENCE,
    "resolver": Role.DEPENDENCY_RESOLVER,
    "queue": Role.QUEUE_MANAGER,
    "engine": Role.EXECUTION_ENGINE,
    "provider": Role.PROVIDER,
    "client": Role.CLIENT,
}
EVENTS = sorted((name, role) for name, role in PLANS if role in MEMBERS.values())
SENDERS = {role: f"@{name}" for name, role in MEMBERS.items()}


def net(present: set[str]) -> Net:
    made = Net()
    for name, role in MEMBERS.items():
        made.join(name, role.value)
        if role in (Role.DEPENDENCY_RESOLVER, Role.QUEUE_MANAGER):
            made.send(f"@{name}", "serve_shards", {"shards": {"3": 1}})
    made.send("@client", "subscribe", {"topics": ["w"]})
    for name in MEMBERS.keys() - present:
        made.hub.disconnected(f"@{name}", "gone")
    return made


@given(
    st.sampled_from(EVENTS),
    st.sets(st.sampled_from(sorted(MEMBERS))),
    st.sampled_from([None, *MEMBERS, "stranger"]),
    st.sampled_from([None, 3, 5, -1, "3"]),
    st.sampled_from([None, "w", "x"]),
)
def test_a_piece_goes_where_its_events_would_go(
    sent: tuple[str, Role], present: set[str], to: str | None, shard: Any, topic: str | None
) -> None:
    name, role = sent
    connection = SENDERS[role]
    hub = net(present | {connection[1:]}).hub
    given = {"_reply_to": to, "_shard": shard, "_topic": topic}
    common = {
        "_message_id": "m0",
        "_correlation_id": "c",
        **{k: v for k, v in given.items() if v is not None},
    }
    heads: list[list[Any]] = [["m0", "c", None], ["m1", "c", "m0"]]
    routed = hub.counts.routed[name]
    together = hub.received_bundle(connection, name, dict(common), heads, [2, 2], 100.0, AT)
    if together is None:
        assert hub.counts.routed[name] == routed
        return
    assert together
    for message_id, _, _ in heads:
        alone = hub.received(connection, name, {**common, "_message_id": message_id}, "{}", 100.0, AT)
        assert alone == together
        assert all(isinstance(each, Deliver) for each in together)
    assert hub.counts.routed[name] == routed + 4
    traced = [each.message_id for each in hub._trace.find(QueryTrace()).records if each.event == name]
    assert sorted(traced) == ["m0", "m0", "m1", "m1"]
