"""A component against a hub of a few lines, over real sockets."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import engineio
import pytest

from gleitzeitd.errors import HubUnreachable, NotAuthenticated
from gleitzeitd.events import Event
from gleitzeitd.events import hub as h
from gleitzeitd.events import queue_manager as q
from gleitzeitd.machines.base import (
    Ask,
    Call,
    CancelCall,
    CancelTimer,
    Context,
    Effects,
    Machine,
    Note,
    Request,
    SetTimer,
    Tell,
)
from gleitzeitd.machines.link import Identity
from gleitzeitd.model.names import ComponentId, Role
from gleitzeitd.runtime.component import Component
from gleitzeitd.runtime.connection import LinkSettings
from gleitzeitd.runtime.performer import Performer
from tests.runtime.tiny_hub import TinyHub, tiny_hub

ME = ComponentId("me")
BIG = 16 * 2**20 - 4096
SENT = 3 * 2**20  # the library's older servers take no more than 4 MiB


@dataclass(frozen=True, slots=True)
class Sum(Request):
    left: int
    right: int


class Adder(Performer):
    def __init__(self) -> None:
        self.cancelled: list[str] = []
        self.stopped = False

    def perform(self, call_id: str, request: Request) -> None:
        assert isinstance(request, Sum)
        self.finished(call_id, request.left + request.right)

    def cancel(self, call_id: str) -> None:
        self.cancelled.append(call_id)

    async def stop(self) -> None:
        self.stopped = True


class Script(Machine):
    """Does what its test says, and notes what happens to it."""

    def __init__(self, role: Role = Role.QUEUE_MANAGER) -> None:
        self.role = role  # type: ignore[misc] # of this one machine
        self.component_id = ME
        self.seen: list[tuple[Any, ...]] = []
        self.settled = 0
        self.on_start: Effects = []
        self.on_drain: Effects = []
        self.on_call: Effects = []
        self.is_drained = True
        self.changed = asyncio.Event()

    def _note(self, *what: Any) -> Effects:
        self.seen.append(what)
        self.changed.set()
        return []

    def start(self, now: float, at: str) -> Effects:
        self._note("start")
        return self.on_start

    def handle(self, name: str, event: Event, ctx: Context) -> Effects:
        if getattr(event, "reason", "") == "break":
            raise ZeroDivisionError("a bug in a machine")
        return self._note(name, event)

    def call_finished(self, call_id: str, answer: Any, now: float, at: str) -> Effects:
        self._note("call", call_id, answer)
        return self.on_call

    def timer_expired(self, key: str, now: float, at: str) -> Effects:
        return self._note("timer", key)

    def hub_connected(self, now: float, at: str) -> Effects:
        return self._note("hub connected")

    def settle(self, now: float, at: str) -> Effects:
        self.settled += 1
        return []

    def drain(self, now: float, at: str) -> Effects:
        self._note("drain")
        return self.on_drain

    def drained(self) -> bool:
        return self.is_drained

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def names(self) -> list[str]:
        return [str(what[0]) for what in self.seen]


def made(machine: Script, *urls: str, performer: Performer | None = None, **settings: Any) -> Component:
    identity = Identity(component_id=ME, role=machine.role, epoch=7)
    return Component(
        machine,
        identity,
        hub_urls=urls,
        token="let me in",
        performer=performer,
        settings=LinkSettings(**settings),
    )


@asynccontextmanager
async def running(component: Component) -> AsyncIterator[Component]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(component.run())
        try:
            yield component
        finally:
            component.stop()
            await asyncio.wait({task}, timeout=15)


def lost(hub: TinyHub, reason: str = "") -> tuple[dict[str, Any], str]:
    body = {"component_id": "x", "component_type": "provider", "reason": reason}
    return hub.envelope(), json.dumps(body)


async def test_the_machine_starts_once_it_is_registered_and_nothing_is_said_before() -> None:
    machine = Script()
    machine.on_start = [Tell(h.ServeShards(shards={"1": 2}))]
    async with tiny_hub() as hub, running(made(machine, hub.url)) as component:
        await component.registered(5)
        await hub.until(lambda: hub.events("serve_shards"))
    assert [name for name, _ in hub.packets] == ["register_component", "serve_shards"]
    assert hub.auths == [{"component_type": "queue_manager", "component_id": "me", "token": "let me in"}]
    assert hub.events("register_component")[0][1]["epoch"] == 7
    assert machine.names()[:2] == ["start", "hub connected"]


async def test_what_waits_goes_out_as_one_packet_control_first() -> None:
    machine = Script()
    machine.on_start = [
        Tell(q.QueueStatsChanged(stats={"number": 1})),
        Tell(q.QueueStatsChanged(stats={"number": 2})),
        Tell(h.ServeShards(shards={"1": 2})),
    ]
    async with tiny_hub(batches=True) as hub, running(made(machine, hub.url)):
        await hub.until(lambda: len(hub.events("queue_stats_changed")) == 2)
    names = [[item[0] for item in args[0]] for name, args in hub.packets if name == "batch"]
    assert names == [["serve_shards", "queue_stats_changed", "queue_stats_changed"]]


async def test_events_arrive_single_in_batches_and_flat_in_order_and_once() -> None:
    machine = Script()
    async with tiny_hub() as hub, running(made(machine, hub.url)) as component:
        await component.registered(5)
        first = lost(hub, "first")
        await hub.say("component_disconnected", *first)
        await hub.say("component_disconnected", *first)
        batch = [
            ["component_disconnected", *lost(hub, "second")],
            ["component_disconnected", *lost(hub, "third")],
        ]
        await hub.say("batch", batch)
        flat = {"component_id": "x", "component_type": "provider", "reason": "fourth", **hub.envelope()}
        await hub.say("component_disconnected", flat)
        await machine.until(lambda: machine.names().count("component_disconnected") == 4)
    events = [what[1] for what in machine.seen if what[0] == "component_disconnected"]
    assert [event.reason for event in events] == ["first", "second", "third", "fourth"]


@pytest.mark.parametrize(
    "broken",
    [
        ("component_disconnected", "neither"),
        ("component_disconnected", {"_message_id": 1}, "{}"),
        (
            "component_disconnected",
            {"_message_id": "m", "_correlation_id": "c", "_source_component": "s"},
            "{",
        ),
        ("no_such_event", {}),
        ("batch", [["component_disconnected"], 7, []]),
        ("batch", {"not": "a list"}),
    ],
)
async def test_what_is_malformed_is_dropped_with_one_warning_and_the_rest_is_handled(
    broken: tuple[Any, ...], caplog: pytest.LogCaptureFixture
) -> None:
    machine = Script()
    async with tiny_hub() as hub, running(made(machine, hub.url)) as component:
        await component.registered(5)
        await hub.say(*broken)
        await hub.say(*broken)
        await hub.say("component_disconnected", *lost(hub))
        await machine.until(lambda: "component_disconnected" in machine.names())
    warnings = [
        r for r in caplog.records if r.levelno == logging.WARNING and r.message == "an event was dropped"
    ]
    assert {r.event for r in warnings} and len(warnings) == len({r.event for r in warnings})  # type: ignore[attr-defined]


async def test_heartbeats_are_answered_and_the_first_answer_tells_how_the_process_is() -> None:
    machine = Script()
    async with tiny_hub() as hub, running(made(machine, hub.url)) as component:
        await component.registered(5)
        await hub.say("heartbeat", hub.envelope(), json.dumps({"hub_id": "tiny", "number": 5}))
        await hub.until(lambda: hub.events("heartbeat_response"))
    answer = hub.events("heartbeat_response")[0][1]
    assert answer["number"] == 5
    assert answer["metrics"]["memory_bytes"] > 1_000_000


async def test_a_connection_that_the_hub_closes_is_made_anew() -> None:
    machine = Script()
    async with tiny_hub() as hub, running(made(machine, hub.url)) as component:
        await component.registered(5)
        await hub.disconnect()
        await machine.until(lambda: machine.names().count("hub connected") == 2)
    assert machine.names().count("start") == 1


async def test_a_hub_that_starts_again_is_found_again_and_open_asks_are_repeated() -> None:
    machine = Script(Role.CLIENT)
    async with tiny_hub() as hub, running(made(machine, hub.url)) as component:
        await component.registered(5)
        component.perform([Ask("who", h.ListComponents())])
        await hub.until(lambda: hub.events("list_components"))
        await hub.stop()
        await hub.start()
        await hub.until(lambda: len(hub.events("list_components")) >= 2)
        await machine.until(lambda: machine.names().count("hub connected") == 2)


async def test_a_hub_that_says_nothing_any_more_is_left(caplog: pytest.LogCaptureFixture) -> None:
    machine = Script()
    settings = {"heartbeat_loss_seconds": 0.2}
    async with (
        tiny_hub(heartbeat_interval=0.05) as hub,
        running(made(machine, hub.url, **settings)) as component,
    ):
        await component.registered(5)
        await machine.until(lambda: machine.names().count("hub connected") == 2)
    assert "nothing has come from the hub for 0.2 s" in {str(getattr(r, "error", "")) for r in caplog.records}


async def test_a_hub_that_leaves_is_left_and_another_one_is_used() -> None:
    machine = Script()
    async with tiny_hub() as one, tiny_hub() as two, running(made(machine, one.url, two.url)) as component:
        await machine.until(lambda: machine.names().count("hub connected") == 2)
        assert component.status_line() == "2 of 2 hubs connected"
        await one.say("hub_leaving", one.envelope(), json.dumps({"hub_id": "tiny"}))
        await one.stop()
        component.perform([Ask("who", h.ListComponents())])
        await two.until(lambda: two.events("list_components"))
        await one.start()


async def test_a_client_with_a_wrong_token_is_told_at_once() -> None:
    machine = Script(Role.CLIENT)
    async with tiny_hub(refusal="[-25005 AUTHENTICATION_FAILED] the token is not known") as hub:
        component = made(machine, hub.url)
        running_component = asyncio.gather(component.run(), return_exceptions=True)
        with pytest.raises(NotAuthenticated, match="^the token is not known"):
            await component.registered(5)
        [end] = await running_component
    assert isinstance(end, NotAuthenticated)


async def test_a_daemon_with_a_wrong_token_says_so_and_goes_on_trying(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with tiny_hub(refusal="[-25005 AUTHENTICATION_FAILED] the token is not known") as hub:
        component = made(Script(), hub.url)
        async with running(component):
            with pytest.raises(HubUnreachable, match=r"http://127.*the token is not known"):
                await component.registered(0.5)
            assert component.status_line().startswith("not connected to the hub (the token")
    assert [r.message for r in caplog.records if r.levelno == logging.WARNING] == ["a hub refuses us"]
    assert "let me in" not in caplog.text


async def test_when_no_hub_answers_it_is_said_what_was_tried(unused_tcp_port: int) -> None:
    component = made(
        Script(Role.CLIENT), f"http://127.0.0.1:{unused_tcp_port}/", "http://no.such.host.invalid:1"
    )
    async with running(component):
        with pytest.raises(HubUnreachable) as caught:
            await component.registered(0.5)
    assert f"http://127.0.0.1:{unused_tcp_port}: Connection refused; http://no.such.host.invalid:1: " in str(
        caught.value
    )


async def test_a_server_that_is_no_hub_is_not_taken_for_one() -> None:
    from aiohttp import web

    runner = web.AppRunner(web.Application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    component = made(Script(Role.CLIENT), f"http://127.0.0.1:{port}")
    async with running(component):
        with pytest.raises(HubUnreachable, match="no hub there: HTTP status 404"):
            await component.registered(0.5)
    await runner.cleanup()


async def test_large_events_pass_in_both_directions() -> None:
    machine = Script()
    async with tiny_hub() as hub, running(made(machine, hub.url)) as component:
        await component.registered(5)
        component.perform([Tell(q.QueueStatsChanged(stats={"x": "y" * SENT}))])
        await hub.until(lambda: hub.events("queue_stats_changed"))
        await hub.say("component_disconnected", *lost(hub, "z" * BIG))
        await machine.until(lambda: "component_disconnected" in machine.names())
    assert len(hub.events("queue_stats_changed")[0][1]["stats"]["x"]) == SENT
    assert machine.names().count("hub connected") == 1


async def test_calls_are_performed_and_their_answers_come_back() -> None:
    machine, adder = Script(), Adder()
    machine.on_start = [Call("c1", Sum(2, 3)), CancelCall("c0")]
    async with tiny_hub() as hub, running(made(machine, hub.url, performer=adder)):
        await machine.until(lambda: "call" in machine.names())
    assert ("call", "c1", 5) in machine.seen
    assert adder.cancelled == ["c0"]
    assert adder.stopped


async def test_timers_expire_unless_they_are_cancelled_or_set_anew() -> None:
    machine = Script()
    machine.on_start = [
        SetTimer("cancelled", 0.0),
        CancelTimer("cancelled"),
        SetTimer("moved", 0.0),
        SetTimer("moved", 0.02),
        SetTimer("last", 0.05),
    ]
    async with tiny_hub() as hub, running(made(machine, hub.url)):
        await machine.until(lambda: ("timer", "last") in machine.seen)
    assert [what[1] for what in machine.seen if what[0] == "timer"] == ["moved", "last"]


async def test_a_note_is_a_record_with_fields(caplog: pytest.LogCaptureFixture) -> None:
    machine = Script()
    machine.on_start = [Note("warning", "a lease ended", {"task_id": "t", "name": "reserved"})]
    async with tiny_hub() as hub, running(made(machine, hub.url)) as component:
        await component.registered(5)
    [record] = [r for r in caplog.records if r.message == "a lease ended"]
    assert (record.task_id, record.name_) == ("t", "reserved")  # type: ignore[attr-defined]


async def test_a_stopped_component_ends_when_its_machine_is_drained() -> None:
    machine, adder = Script(), Adder()
    machine.is_drained = False
    machine.on_drain = [Call("last", Sum(1, 1)), Tell(h.ServeShards())]
    async with tiny_hub() as hub, asyncio.TaskGroup() as group:
        component = made(machine, hub.url, performer=adder, shutdown_seconds=60)
        task = group.create_task(component.run())
        await component.registered(5)
        component.stop()
        await machine.until(lambda: "call" in machine.names())
        assert not task.done()
        machine.is_drained = True
        component.perform([])
        await asyncio.wait_for(task, 5)
    assert len(hub.events("serve_shards")) == 1  # what is said last arrives


async def test_a_component_that_cannot_drain_ends_when_its_time_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    machine = Script()
    machine.is_drained = False
    async with tiny_hub() as hub:
        component = made(machine, hub.url, shutdown_seconds=0.05)
        component.stop()
        await asyncio.wait_for(component.run(), 5)
    assert "not everything could be ended in time" in caplog.text


async def test_an_exception_in_a_machine_ends_the_component_with_it() -> None:
    machine = Script()
    async with tiny_hub() as hub:
        component = made(machine, hub.url)
        task = asyncio.gather(component.run(), return_exceptions=True)
        await component.registered(5)
        await hub.say("component_disconnected", *lost(hub, "break"))
        [end] = await asyncio.wait_for(task, 5)
    assert isinstance(end, ZeroDivisionError)


async def test_an_inbox_that_is_full_cuts_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    machine = Script()
    async with tiny_hub() as hub, running(made(machine, hub.url, inbox_limit=100)) as component:
        await component.registered(5)
        connection = Probe()
        for number in range(101):
            component.received(connection, "heartbeat", [number])  # type: ignore[arg-type] # stands for one
        assert connection.reasons == ["events come faster than they are handled"]


class Probe:
    url = "http://nowhere"

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def leave(self, reason: str) -> None:
        self.reasons.append(reason)


async def test_the_watchdog_is_not_fed_after_long_isolation(unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    impatient, patient = made(Script(), url, isolation_seconds=0.01), made(Script(), url, isolation_seconds=0)
    async with running(impatient), running(patient):
        with pytest.raises(HubUnreachable):
            await impatient.registered(0.05)
        assert not impatient.is_healthy()
        assert patient.is_healthy()


def test_a_process_that_was_paused_is_no_error_of_the_library(caplog: pytest.LogCaptureFixture) -> None:
    # What Engine.IO's client says when it has had nothing to send for some 10 s, pongs included.
    logging.getLogger("gleitzeitd.socketio").error("packet queue is empty, aborting")
    logging.getLogger("gleitzeitd.socketio").error("message async handler error")
    assert [record.getMessage() for record in caplog.records] == ["message async handler error"]


async def test_nothing_is_left_behind() -> None:
    machine = Script()
    async with tiny_hub() as hub:
        async with running(made(machine, hub.url)) as component:
            await component.registered(5)
            await hub.disconnect()
            await machine.until(lambda: machine.names().count("hub connected") == 2)
        await asyncio.sleep(0)
        tasks = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]  # type: ignore[union-attr]
    assert [name for name in tasks if "AsyncClient" in name or "Component" in name] == []
    listing = getattr(engineio, "base_client", None) or engineio.client
    assert listing.connected_clients == []
