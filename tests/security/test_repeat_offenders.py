"""Whoever is refused again and again is cut, and kept away for a while; nobody else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gleitzeitd.errors import LimitExceeded, NotAuthenticated, NotPermitted
from gleitzeitd.events.hub import ComponentRegistered, RegistrationRefused
from gleitzeitd.machines.base import Disconnect, Effects, Send
from gleitzeitd.machines.refusals import REMEMBERED, Refusals
from gleitzeitd.model.access import Grant, UserRole, full_grant
from gleitzeitd.model.names import Role
from tests.security.hub_net import Net, errors, notes

LIMIT = 10
HOST = full_grant("host")


def net() -> Net:
    return Net(refusals_per_minute=LIMIT, refusal_pause=30.0)


def cut(effects: Effects) -> bool:
    return any(isinstance(each, Disconnect) for each in effects)


def registered(effects: Effects) -> bool:
    return any(isinstance(each, Send) and isinstance(each.event, ComponentRegistered) for each in effects)


def offend(net: Net, name: str, times: int = LIMIT + 1) -> Effects:
    effects: Effects = []
    for _ in range(times):
        effects = net.send(name, "shutdown")
    return effects


def test_one_refusal_too_many_cuts_the_connection_and_says_why_and_for_how_long() -> None:
    hub = net()
    hub.client("c", UserRole.VIEWER)
    assert not cut(offend(hub, "c", LIMIT))
    last = offend(hub, "c", 1)
    assert cut(last)
    assert errors(last) == [NotPermitted.code, LimitExceeded.code]
    (said,) = [
        each.event for each in last if isinstance(each, Send) and isinstance(each.event, RegistrationRefused)
    ]
    assert said.error.retry_after == 30.0
    assert "more than 10 refusals within a minute (hub.refusals_per_minute)" in said.error.message
    (note,) = [each for each in notes(last) if each.message == "a connection was cut"]
    assert note.fields["address"] == "192.0.2.1"
    assert hub.hub.members.named("c") is None


def test_it_may_not_register_until_the_pause_is_over_and_the_journal_hears_of_it_once() -> None:
    hub = net()
    hub.client("c", UserRole.VIEWER)
    offend(hub, "c")
    for _ in range(3):
        again = hub.client("c", UserRole.VIEWER)
        assert errors(again) == [LimitExceeded.code]
        assert cut(again)
        assert not notes(again)
    assert hub.hub.counts.refused["kept away"] == 3
    hub.beat(31.0)
    assert registered(hub.client("c", UserRole.VIEWER))


def test_refusals_fade() -> None:
    hub = net()
    hub.client("c", UserRole.VIEWER)
    for _ in range(10):
        assert not cut(offend(hub, "c", LIMIT // 2))
        hub.beat(30.0)


def test_another_name_of_the_same_client_is_kept_away_and_its_subject_elsewhere_is_not() -> None:
    hub = net()
    grant = Grant(subject="web", user=UserRole.VIEWER)
    hub.join("c-1", Role.CLIENT, grant)
    offend(hub, "c-1")
    assert not registered(hub.join("c-2", Role.CLIENT, grant))
    assert registered(hub.join("c-3", Role.CLIENT, grant, address="192.0.2.9"))
    assert registered(hub.join("c-4", Role.CLIENT, Grant(subject="desk", user=UserRole.VIEWER)))


def test_a_component_is_kept_away_by_name_and_those_with_the_same_token_are_not() -> None:
    hub = net()
    hub.join("engine-1", Role.EXECUTION_ENGINE, HOST)
    offend(hub, "engine-1")
    assert not registered(hub.join("engine-1", Role.EXECUTION_ENGINE, HOST))
    assert registered(hub.join("engine-2", Role.EXECUTION_ENGINE, HOST))
    assert registered(hub.join("provider-1", Role.PROVIDER, HOST))
    assert registered(hub.join("cli", Role.CLIENT, HOST))


def test_what_a_newer_component_sends_and_the_hub_does_not_know_is_not_held_against_it() -> None:
    hub = net()
    hub.join("engine-1", Role.EXECUTION_ENGINE)
    for _ in range(LIMIT * 5):
        assert not cut(hub.send("engine-1", "not_invented_yet"))
    hub.client("c", UserRole.VIEWER)
    assert any(cut(hub.send("c", "not_invented_yet")) for _ in range(LIMIT * 5))


def test_registrations_that_are_refused_count_too() -> None:
    hub = net()
    hub.join("engine-1", Role.EXECUTION_ENGINE, HOST)
    thief = Grant(subject="thief", components=frozenset(Role))
    engine = ("engine-1", Role.EXECUTION_ENGINE)
    codes = [errors(hub.join(*engine, thief, connection="@thief")) for _ in range(LIMIT + 2)]
    assert codes[0] == [NotPermitted.code]
    assert codes[-1] == [LimitExceeded.code]
    assert hub.hub.members.named("engine-1") is not None
    assert registered(hub.join(*engine, HOST, connection="@again")), "whose name it is may come back"


# --- without a good token


def knock(hub: Net, number: int, address: str = "192.0.2.1") -> Effects:
    hub.hub.opened(f"x{number}", address)
    effects = hub.hub.rejected(f"x{number}", NotAuthenticated("no"))
    hub.hub.disconnected(f"x{number}", "refused")
    return effects


def test_who_shows_bad_tokens_again_and_again_is_cut_at_once() -> None:
    hub = net()
    cuts = [cut(knock(hub, number)) for number in range(LIMIT + 3)]
    assert cuts == [False] * LIMIT + [True] * 3
    assert not cut(knock(hub, 99, "192.0.2.2"))
    hub.beat(61.0)
    assert not cut(knock(hub, 100))


@pytest.mark.parametrize("role", [Role.EXECUTION_ENGINE, Role.CLIENT])
def test_a_neighbour_of_the_same_address_without_a_token_locks_nobody_out(role: Role) -> None:
    hub = net()
    hub.join("before", role, HOST)
    for number in range(LIMIT * 10):
        knock(hub, number)
    assert registered(hub.join("after", role, HOST))
    assert not errors(hub.send("before", "heartbeat_response", {"number": 1}))


# --- the account


@given(st.lists(st.floats(0, 20), max_size=200), st.integers(10, 50))
def test_as_many_as_are_borne_in_a_minute_are_borne_at_any_time(pauses: list[float], limit: int) -> None:
    refusals, now, times = Refusals(limit, 30.0), 0.0, []
    for pause in pauses:
        now += pause
        times = [each for each in times if now - each < 60.0] + [now]
        away = refusals.blame("c", now)
        if len(times) <= limit and away is not None:
            raise AssertionError((now, times))
        if away is not None:
            assert refusals.kept_away("c", now) is not None
            assert refusals.kept_away("c", now + 30.1) is None
            return


def test_many_offenders_take_little_room() -> None:
    refusals = Refusals(10, 30.0)
    for number in range(REMEMBERED + 500):
        refusals.blame(f"address {number}", float(number))
    assert len(refusals._records) == REMEMBERED
