"""A connection may send what its role and its user's role may send, and nothing else."""

from __future__ import annotations

import pytest

from gleitzeitd.errors import NotPermitted, UnknownEvent
from gleitzeitd.events import CATALOGUE, COMPONENTS, Delivery, To
from gleitzeitd.machines.permissions import PLANS, is_system_wide, least_user, plans_of
from gleitzeitd.model.access import Grant, UserRole, full_grant
from gleitzeitd.model.names import Role
from tests.security.hub_net import Net, delivered, errors, messages, notes

V, S, O, A = UserRole.VIEWER, UserRole.SUBMITTER, UserRole.OPERATOR, UserRole.ADMIN  # noqa: E741 - in columns
NEEDED = {
    "register_component": V, "heartbeat_response": V, "batch": V,
    "list_components": V, "subscribe": V, "unsubscribe": V, "query_trace": V,
    "query_data": V, "query_status": V, "list_protocols": V,
    "submit_workflow": S, "cancel_workflow": S,
    "check_dependencies": O, "resolve_task": O, "delete_workflow": O, "task_priority_changed": O,
    "drain_component": O, "query_audit": O, "report_action": O,
    "register_protocol": A,
}  # fmt: skip
"""Who may send what, for people to read: the catalogue has to agree."""


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_every_route_from_clients_says_whose_and_no_other_does(name: str) -> None:
    for route in CATALOGUE[name].routes:
        assert (route.by is not None) == (Role.CLIENT in route.senders)


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_the_least_role_of_each_event_is_the_one_that_was_decided(name: str) -> None:
    found = {route.by for route in CATALOGUE[name].routes if route.by is not None}
    assert found == ({NEEDED[name]} if name in NEEDED else set())


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_what_is_asked_says_what_answers_it_and_that_comes_from_whom_it_is_asked(name: str) -> None:
    cls = CATALOGUE[name]
    assert cls.answers or cls.delivery is not Delivery.ASK
    for answer in cls.answers:
        assert answer in CATALOGUE
        askers = {role for route in cls.routes for role in route.senders if cls.delivery is Delivery.ASK}
        heard = {role for route in CATALOGUE[answer].routes for role in route.roles}
        assert askers & heard or not askers, f"{name}: {answer} reaches none of those who ask"


@pytest.mark.parametrize("role", sorted(COMPONENTS))
def test_whoever_sends_what_is_not_his_is_refused_by_its_number_and_nothing_is_delivered(role: Role) -> None:
    for name, cls in CATALOGUE.items():
        if (name, role) in PLANS:
            continue
        net = Net()
        for other in sorted(COMPONENTS):
            net.join(f"some-{other}", other, full_grant("system"))
        net.join("mallory", role, full_grant("mallory"))
        effects = net.send("mallory", name, {}, _reply_to="some-provider", _shard=3, _topic="w")
        assert errors(effects) == [NotPermitted.code], name
        assert not delivered(effects), name
        (note,) = notes(effects)
        assert note.fields["address"] == "192.0.2.1"
        assert note.fields["peer"] == "mallory"
        assert net.hub.counts.refused["AUTHORIZATION_FAILED"] == 1
        if not cls.link:
            assert "it comes from: " in messages(effects)[0] or "is needed" in messages(effects)[0]


def test_what_exists_under_no_name_of_the_catalogue_is_refused_too() -> None:
    net = Net()
    net.join("engine-1", Role.EXECUTION_ENGINE)
    for name in ("save_task", "save_result", "analyze_workflow", "connect", "x"):
        assert errors(net.send("engine-1", name)) == [UnknownEvent.code]


@pytest.mark.parametrize("user", list(UserRole))
@pytest.mark.parametrize("name", sorted(NEEDED))
def test_a_client_sends_what_its_users_role_allows(name: str, user: UserRole) -> None:
    net = Net()
    for other in sorted(COMPONENTS):
        net.join(f"some-{other}", other, full_grant("system"))
    net.client("someone", user)
    if name not in CATALOGUE or CATALOGUE[name].link:
        return
    effects = net.send("someone", name, {}, _shard=3, _reply_to="some-provider")
    allowed = user.includes(NEEDED[name])
    assert (NotPermitted.code not in errors(effects)) == allowed
    if not allowed:
        assert messages(effects) == [
            f"{name}: the token of someone has the role {user.value}, and {NEEDED[name].value} is needed: "
            f"use one that has it (gleitzeit token create --role {NEEDED[name].value})"
        ]
        assert not delivered(effects)


def test_a_token_without_a_users_role_lets_a_client_send_nothing() -> None:
    assert not plans_of(Role.CLIENT, Grant(subject="host", components=frozenset({Role.PROVIDER})))


@pytest.mark.parametrize("role", sorted(COMPONENTS - {Role.CLIENT}))
def test_a_components_plans_do_not_depend_on_its_users_role(role: Role) -> None:
    for user in (None, *UserRole):
        grant = Grant(subject="host", components=frozenset({role}), user=user, namespace="team-a")
        assert plans_of(role, grant) == plans_of(role, full_grant("x"))


def test_in_a_namespace_nobody_changes_the_whole_system() -> None:
    wide = {name for name in CATALOGUE if is_system_wide(name)}
    assert {"drain_component", "register_protocol"} <= wide
    assert not wide & {"delete_workflow", "task_priority_changed", "check_dependencies", "resolve_task"}
    grant = Grant(subject="a", user=UserRole.ADMIN, namespace="team-a")
    plans = plans_of(Role.CLIENT, grant)
    assert not wide & plans.keys()
    assert plans.keys() | wide == {name for name, role in PLANS if role is Role.CLIENT}
    net = Net()
    net.client("boss", UserRole.ADMIN, "team-a")
    net.join("engine-1", Role.EXECUTION_ENGINE)
    effects = net.send("boss", "drain_component", {}, _reply_to="engine-1")
    assert errors(effects) == [NotPermitted.code]
    assert "is for the namespace team-a, and this is about the whole system" in messages(effects)[0]


def test_a_bundle_goes_nowhere_if_one_of_its_events_would_not() -> None:
    net = Net()
    net.join("resolver-1", Role.DEPENDENCY_RESOLVER)
    net.send("resolver-1", "serve_shards", {"shards": {"3": 1}})
    net.client("viewer", UserRole.VIEWER)
    net.client("submitter", UserRole.SUBMITTER)
    for name, taken in (("viewer", False), ("submitter", True)):
        envelope = {"_message_id": "m", "_correlation_id": "c", "_shard": 3}
        heads = [["m1", "c", None], ["m2", "c", None]]
        args = (f"@{name}", "submit_workflow", envelope, heads, [2, 2], net.now, "")
        assert (net.hub.received_bundle(*args) is not None) == taken


def test_the_least_role_of_an_event_is_that_of_its_most_demanding_route() -> None:
    assert least_user("cancel_workflow") is UserRole.SUBMITTER
    assert least_user("task_completed") is None
    assert any(route.to is To.HUB for route in CATALOGUE["list_components"].routes)
