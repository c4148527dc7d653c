"""What systemd and an operator see of a component's process while it runs."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest

from gleitzeitd.errors import ConfigError
from gleitzeitd.machines.execution_engine import ExecutionEngine
from gleitzeitd.machines.hub_settings import Settings as HubSettings
from gleitzeitd.model.names import ComponentId, Role
from gleitzeitd.roles import ROLES
from gleitzeitd.runtime import assembly, component_daemon
from gleitzeitd.runtime.component import Component
from gleitzeitd.runtime.component_daemon import ComponentDaemon
from gleitzeitd.runtime.connection import LinkSettings
from gleitzeitd.runtime.daemon import STOP_SECONDS
from gleitzeitd.runtime.gate import Gate
from gleitzeitd.runtime.hub import HubServer
from gleitzeitd.runtime.identity import make_identity


def engine_daemon(url: str, token: str | None = None, found: str | None = None) -> ComponentDaemon:
    me = make_identity(Role.EXECUTION_ENGINE, "engine")
    machine = ExecutionEngine(component_id=me.component_id)
    component = Component(machine, me, hub_urls=[url], token=token, settings=LinkSettings(hub_urls=[url]))
    return ComponentDaemon(component, machine, drain_seconds=3.0, find_token=lambda: found)


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_component_without_a_hub_is_ready_after_a_while_and_says_so(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setattr(component_daemon, "LOOKING_SECONDS", 0.2)
    one = engine_daemon(f"http://127.0.0.1:{unused_tcp_port}")
    assert not one.is_ready()
    async with asyncio.TaskGroup() as group:
        group.create_task(one.run())
        await until(one.is_ready)
        await until(lambda: "Connection refused" in one.status_line())
        assert one.status_line().startswith("not connected to the hub (")
        one.stop()


async def test_a_token_that_is_made_later_is_found_without_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(component_daemon, "TOKEN_SECONDS", 0.05)
    monkeypatch.setattr("gleitzeitd.runtime.connection.REFUSED_DELAY", 0.05)
    server = HubServer(HubSettings(port=0), gate=Gate.by_shared_token("right"))
    await server.start()
    one = engine_daemon(f"http://127.0.0.1:{server.port}", found="right")
    async with asyncio.TaskGroup() as group:
        group.create_task(one.run())
        await until(lambda: one.status_line().endswith("; hub connected"))
        one.stop()
    await server.stop("the test is over")


@pytest.mark.parametrize("role", [role for role in ROLES if ROLES[role].live])
def test_what_reload_applies_are_settings_of_the_machine(role: Role, tmp_path: Path) -> None:
    sections = {name.partition(".")[0] for name in ROLES[role].live}
    assert len(sections) == 1
    if role is Role.HUB:
        settings: object = HubSettings()
    else:
        make = ROLES[role].assembly
        made = make() if make is not None else assembly.provider("echo")
        built = made.build(made.defaults(), make_identity(role, "x"))
        settings = built.machine.settings  # type: ignore[attr-defined] # of the machines that have some
        assert type(settings) is made.sections[sections.pop()]
    names = {field.name for field in dataclasses.fields(settings)}  # type: ignore[arg-type] # one of many
    assert {name.partition(".")[2] for name in ROLES[role].live} <= names


def test_an_adjusted_setting_is_in_force_at_once() -> None:
    one = engine_daemon("http://127.0.0.1:1")
    one.adjust("slots", 7)
    assert "0 running, 7 slots" in one.status_line()


def test_the_time_for_an_orderly_end_is_more_than_the_work_may_take() -> None:
    assert engine_daemon("http://127.0.0.1:1").stop_seconds() > 3.0 + STOP_SECONDS - 1


def test_a_component_id_is_still_checked() -> None:
    with pytest.raises(ConfigError):
        make_identity(Role.PROVIDER, str(ComponentId("no id")), unit="gleitzeit-provider@x")
