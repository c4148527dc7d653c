"""What a token grants decides which roles and names a connection gets, whose place it takes, and how long it stays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gleitzeitd.errors import NotPermitted
from gleitzeitd.events.hub import ComponentDisconnected, ComponentRegistered, RegistrationRefused
from gleitzeitd.machines.base import CancelTimer, Disconnect, Note, Send
from gleitzeitd.machines.registration import token_problem
from gleitzeitd.model.access import Grant, UserRole
from gleitzeitd.model.names import Role
from tests.machines.test_hub import Net, sent

PROVIDERS = Grant(subject="host:b", components=frozenset({Role.PROVIDER}), names="*-b-*", token_id="b1")
ALICE = Grant(subject="alice", user=UserRole.VIEWER, token_id="a1", expires=1000.0)


def registers(net: Net, connection: str, grant: Grant, component_id: str, role: str, **body: Any) -> list:
    net.open(connection, grant)
    said = {"component_id": component_id, "component_type": role, "capabilities": ["envelope"], **body}
    return net.send(connection, "register_component", said)


def refusal(effects: list) -> str:
    """Of a registration: the reason, once everything else about it was seen to be right."""
    refused = sent(effects, RegistrationRefused)
    assert refused.event.error.code == NotPermitted.code
    assert isinstance(effects[-1], Disconnect)
    (note,) = [each for each in effects if isinstance(each, Note) and each.level == "warning"]
    assert note.fields["address"] == "127.0.0.1"
    return str(refused.event.error.message)


@pytest.mark.parametrize("role", [role for role in Role if role not in (Role.PROVIDER, Role.HUB)])
def test_a_token_is_for_the_roles_that_it_names_and_for_no_other(role: Role) -> None:
    net = Net()
    effects = registers(net, "1", PROVIDERS, "x-b-1", role.value)
    assert f"the token of host:b is for provider, and not for {role}" in refusal(effects)
    assert net.hub.counts.refused["AUTHORIZATION_FAILED"] == 1
    assert not len(net.hub.members)


def test_a_token_of_a_user_is_for_clients_alone() -> None:
    net = Net()
    sent(registers(net, "1", ALICE, "cli-1", "client"), ComponentRegistered)
    assert "is for viewer, and not for persistence" in refusal(
        registers(net, "2", ALICE, "ledger", "persistence")
    )


def test_a_component_is_called_as_its_token_says() -> None:
    net = Net()
    sent(registers(net, "1", PROVIDERS, "shell-b-1", "provider"), ComponentRegistered)
    assert "for names like '*-b-*', and not for 'shell-c-1'" in refusal(
        registers(net, "2", PROVIDERS, "shell-c-1", "provider")
    )


def test_role_and_name_are_looked_at_when_a_connection_says_them_first() -> None:
    net = Net()
    for number, (component_id, role) in enumerate([("shell-c-1", None), (None, "persistence")]):
        net.hub.opened(str(number), "127.0.0.1")
        with pytest.raises(NotPermitted):
            net.hub.connected(str(number), component_id, role, PROVIDERS)


def test_a_living_component_makes_way_for_its_own_subject_and_for_nobody_else() -> None:
    net = Net()
    registers(net, "1", PROVIDERS, "x-b-1", "provider", epoch=1)
    other = replace(PROVIDERS, subject="host:evil")
    refused = registers(net, "2", other, "x-b-1", "provider", epoch=9)
    assert "connected with the token of host:b, and makes no way for host:evil" in refusal(refused)
    assert Disconnect("1", "replaced by a newer connection of the same component") not in refused
    assert net.hub.members.named("x-b-1").connection == "1"
    taken = registers(net, "3", replace(PROVIDERS, token_id="another"), "x-b-1", "provider", epoch=2)
    sent(taken, ComponentRegistered)
    assert net.hub.members.named("x-b-1").connection == "3"


def test_a_name_is_free_again_when_its_component_has_gone() -> None:
    net = Net()
    registers(net, "1", PROVIDERS, "x-b-1", "provider")
    net.hub.disconnected("1", "it left")
    sent(registers(net, "2", replace(PROVIDERS, subject="host:b2"), "x-b-1", "provider"), ComponentRegistered)


def test_whoever_has_registered_cannot_become_what_his_token_does_not_say() -> None:
    net = Net()
    registers(net, "1", PROVIDERS, "x-b-1", "provider")
    again = net.send("1", "register_component", {"component_id": "x-b-1", "component_type": "persistence"})
    assert "not for persistence" in refusal(again)
    assert net.hub.members.named("x-b-1") is None


def test_members_whose_token_was_revoked_are_told_why_and_cut_and_others_stay() -> None:
    net = Net()
    registers(net, "1", PROVIDERS, "x-b-1", "provider")
    registers(net, "2", ALICE, "cli-1", "client")
    registers(net, "3", replace(PROVIDERS, token_id="b2"), "engine-b-1", "provider")
    assert net.hub.mind_tokens(frozenset({"zz"}), 0.0) == []
    effects = net.hub.mind_tokens(frozenset({"b1"}), 0.0)
    assert sent(effects, RegistrationRefused).event.error.name == "TOKEN_REVOKED"
    assert [each.connection for each in effects if isinstance(each, Disconnect)] == ["1"]
    assert {each.component_id for each in net.hub.members} == {"cli-1", "engine-b-1"}
    assert net.hub.counts.refused["TOKEN_REVOKED"] == 1


def test_members_whose_token_has_expired_are_cut_and_their_loss_is_told() -> None:
    net = Net()
    net.join("engine", "execution_engine")
    registers(net, "2", replace(PROVIDERS, expires=1000.0), "x-b-1", "provider")
    assert net.hub.mind_tokens(frozenset(), 1001.0) == []  # clocks differ
    effects = net.hub.mind_tokens(frozenset(), 1010.0)
    assert sent(effects, RegistrationRefused).event.error.name == "TOKEN_EXPIRED"
    lost = [
        each.to
        for each in effects
        if isinstance(each, Send) and isinstance(each.event, ComponentDisconnected)
    ]
    assert lost == [("@engine",)]


def test_a_connection_that_has_not_registered_does_not_outlive_its_token() -> None:
    net = Net()
    net.open("1", ALICE)
    effects = net.hub.mind_tokens(frozenset({"a1"}), 0.0)
    assert CancelTimer("register:1") in effects
    assert isinstance(effects[-1], Disconnect)
    assert net.send("1", "register_component", {"component_id": "c", "component_type": "client"}) == []


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(7, "7 seconds ago"), (150, "2 minutes ago"), (7200, "2 hours ago"), (3 * 86400, "3 days ago")],
)
def test_how_long_ago_a_token_expired_is_said_in_a_unit_that_fits(seconds: float, said: str) -> None:
    problem = token_problem(Grant(subject="alice", expires=1000.0), frozenset(), 1000.0 + seconds)
    assert problem is not None
    assert f"the token of alice expired {said}: " in str(problem)
