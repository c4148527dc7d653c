"""Frames that nobody foresaw are refused, dropped, or cost whoever sends them his connection; nothing else.

``./dev fuzz`` does the same with a million of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gleitzeitd.events import COMPONENTS
from gleitzeitd.model.names import Role
from tests.fuzz.corpus import kept
from tests.fuzz.draw import Bytes, Chance
from tests.fuzz.frames import escaped, text_of
from tests.fuzz.port import Port
from tests.fuzz.targets import Caught, ComponentTarget, HubTarget, watched
from tests.fuzz.values import Raw


def in_loop(work: Callable[[HubTarget], Any]) -> None:
    """A hub needs a loop that runs."""

    async def run() -> None:
        with watched() as watch:
            work(HubTarget(watch))

    runs: Coroutine[Any, Any, None] = run()
    asyncio.run(runs)


def test_what_once_broke_a_hub_does_not_again() -> None:
    frames = [frame for target, frame in kept() if target == "hub"]
    assert frames

    def repeat(hub: HubTarget) -> None:
        for frame in frames:
            hub.replay(frame)

    in_loop(repeat)


@pytest.mark.parametrize("role", sorted(COMPONENTS))
def test_what_once_broke_a_component_does_not_again(role: Role) -> None:
    target = ComponentTarget(role)
    for _, frame in kept():
        target.replay(frame)


def test_a_hub_survives_thousands_of_frames() -> None:
    draw = Chance(2)

    def feed(hub: HubTarget) -> None:
        for _ in range(3000):
            hub.feed(draw)

    in_loop(feed)


@pytest.mark.parametrize("role", sorted(COMPONENTS))
def test_a_component_survives_hundreds_of_frames(role: Role) -> None:
    target, draw = ComponentTarget(role), Chance(3)
    for _ in range(500):
        target.feed(draw)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=200))
def test_a_hub_survives_any_frame(data: bytes) -> None:
    in_loop(lambda hub: hub.feed(Bytes(data)))


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=200), role=st.sampled_from(sorted(COMPONENTS)))
def test_a_component_survives_any_frame(data: bytes, role: Role) -> None:
    ComponentTarget(role).feed(Bytes(data))


def test_an_error_that_a_hub_logs_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("of a bug")

    monkeypatch.setattr("gleitzeitd.machines.hub.Hub.on_list_components", broken)
    with pytest.raises(Caught, match="of a bug"):
        in_loop(lambda hub: hub.replay('42["list_components",{}]'))


def test_an_error_in_a_component_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("of a bug")

    target = ComponentTarget(Role.PERSISTENCE)
    monkeypatch.setattr("gleitzeitd.machines.persistence.Persistence.handle", broken)
    with pytest.raises(Caught, match="of a bug"):
        target.replay('42["component_disconnected",{"component_id":"x","component_type":"client"}]')


def test_raw_pieces_stand_in_a_frame_as_they_are() -> None:
    assert text_of(["a", {"b": Raw("1e999")}]) == '["a",{"b":1e999}]'
    assert escaped("x\ud800é") == "x\\ud800é"


@pytest.mark.slow
async def test_a_hub_over_a_port_lives_on_and_serves_others() -> None:
    with Port() as port:
        figures = await port.feed(4000, 5, lambda _: None)
    assert figures["events_routed"] > 100
