"""The hub's limits over real sockets: what happens at each, who is told, and who is not concerned."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace

import aiohttp

from gleitzeitd.errors import LimitExceeded
from gleitzeitd.machines.foreign import Foreign
from gleitzeitd.machines.hub import Hub
from gleitzeitd.machines.hub_settings import Settings
from gleitzeitd.model.names import ComponentId, Role
from gleitzeitd.runtime.hub_connection import Connection
from gleitzeitd.runtime.hub_limits import HubLimits, Warnings
from tests.runtime.hub_peers import closed, hub, raw, scenario

WEBSOCKET = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\n"
UPGRADE = (
    WEBSOCKET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


async def talk(server, *pieces):
    """Send this, and read to the end; what came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    try:
        return await asyncio.wait_for(reader.read(), 8)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def figures(server):
    """``/metrics``."""
    headers = {"Authorization": "Bearer secret"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{server.port}/metrics", headers=headers) as answer,
    ):
        assert answer.status == 200
        return await answer.text()


def test_the_unit_of_the_hub_may_have_as_many_files_open_as_it_may_have_connections():
    unit = (Path(__file__).parents[2] / "systemd/gleitzeit-hub.service").read_text()
    (files,) = [line.partition("=")[2] for line in unit.splitlines() if line.startswith("LimitNOFILE=")]
    assert int(files) >= Settings().max_connections + 256


@scenario
async def test_half_a_request_is_answered_408_in_time_and_counted():
    async with hub(request_within=0.1) as (server, _):
        for pieces in ((), (b"GET",), (WEBSOCKET,), (WEBSOCKET, b"X-A: b\r\n")):
            assert (await talk(server, *pieces)).startswith(b"HTTP/1.1 408"), pieces
        assert server.hub.counts.refused["request_time"] == 4
        assert 'gleitzeit_hub_refusals_total{cause="request_time"} 4.0' in await figures(server)


@scenario
async def test_a_head_that_is_too_long_is_answered_431():
    async with hub(request_bytes=2000) as (server, _):
        for pieces in ((b"GET /" + b"a" * 3000,), (WEBSOCKET, *[b"X-A: " + b"b" * 100 + b"\r\n"] * 30)):
            assert (await talk(server, *pieces)).startswith(b"HTTP/1.1 431"), pieces
        assert server.hub.counts.refused["request_bytes"] == 2


@scenario
async def test_requests_in_one_piece_get_one_answer():
    async with hub() as (server, _):
        page = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        assert (await talk(server, page * 100)).count(b"HTTP/1.1") == 1


@scenario
async def test_of_too_many_unfinished_requests_the_oldest_gives_way():
    async with hub(max_requests=10, request_within=60) as (server, _):
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(11)]
        assert await asyncio.wait_for(_end_of(silent[0][0]), 8)
        assert server.hub.counts.refused["requests"] == 1
        async with raw(server):
            pass
        for _, writer in silent:
            writer.close()


async def _end_of(reader):
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


@scenario
async def test_more_connections_than_allowed_are_told_to_come_later():
    for settings in ({"max_connections": 10}, {"max_connections_per_address": 10}):
        async with hub(**settings) as (server, peer):
            members = [await peer("client", f"c{number}").join(server) for number in range(10)]
            answer = await talk(server, WEBSOCKET)
            assert answer.startswith(b"HTTP/1.1 503"), settings
            assert b"Retry-After: 2" in answer
            await members[0].leave()
            while server.hub.counts.refused["connection"] == 0 and len(server.hub.members) == 10:
                await asyncio.sleep(0)
            async with raw(server):
                pass


@scenario
async def test_more_websockets_at_once_than_may_be_begun_wait_and_the_newest_is_first():
    async with hub(requests_per_second=10, request_within=0.5, register_within=0.2) as (server, _):
        answers = [asyncio.create_task(talk(server, UPGRADE)) for _ in range(60)]
        done = await asyncio.gather(*answers)
        begun = sum(each.startswith(b"HTTP/1.1 101") for each in done)
        later = sum(each.startswith(b"HTTP/1.1 503") for each in done)
        assert begun + later == 60
        assert 20 <= begun < 60, begun


@scenario
async def test_a_websocket_without_a_token_may_send_little():
    async with hub(unregistered_bytes=8192) as (server, _):
        async with raw(server, packet="") as ws:
            await ws.send_str("40" + "x" * 10_000)
            await closed(ws)
        assert server.hub.counts.refused["frame_bytes"] == 1


@scenario
async def test_what_comes_too_fast_is_read_later_and_nothing_of_it_is_lost():
    async with hub(client_events_per_second=250) as (server, peer):
        one = await peer("client", "c", own=False).join(server)
        begun = asyncio.get_running_loop().time()
        for number in range(260):
            await one.send("unsubscribe", {"topics": [str(number)], "_message_id": str(number)})
        for _ in range(260):
            await one.expect("subscribed")
        took = asyncio.get_running_loop().time() - begun
        assert took > 0.4, took
        assert server.hub.counts.refused["slowed"]
        assert 'cause="slowed"' in await figures(server)


@scenario
async def test_who_goes_on_without_a_pause_is_told_why_and_cut():
    async with hub(client_events_per_second=10, slowed_at_most=0.3) as (server, peer):
        one = await peer("client", "c", own=False).join(server)
        for _ in range(200):
            await one.send("list_components", {})
        refused, _ = await one.expect("event_refused")
        assert refused["error"]["code"] == LimitExceeded.code
        assert refused["error"]["retry_after"] == 10.0
        assert "hub.slowed_at_most" in refused["error"]["message"]
        await asyncio.wait_for(one.gone.wait(), 8)
        assert server.hub.counts.refused["rate"] == 1


@scenario
async def test_own_components_are_not_slowed_at_a_rate_that_slows_clients():
    async with hub(client_events_per_second=10) as (server, peer):
        engine = await peer("execution_engine", "e").join(server)
        for _ in range(200):
            await engine.send("capacity_update", {"slots": 1})
        own = {"component_id": "e", "component_type": "execution_engine", "capabilities": ["envelope"]}
        await engine.send("register_component", own)
        await engine.expect("component_registered")
        assert not server.hub.counts.refused["slowed"]


def connection(limits, number):
    """Without a socket."""
    request = SimpleNamespace(transport=None)
    foreign = Foreign(nesting=64, role_of=lambda _: None)
    return Connection(number, number, "192.0.2.1", request, limits.outbox(), foreign, limits.bucket(0.0))


async def test_of_clients_that_read_nothing_the_one_that_lets_most_wait_gives_way():
    settings = Settings(all_clients_outbound_bytes=2**20, client_outbound_bytes=2**20)
    connections = {}
    limits = HubLimits(Hub(ComponentId("hub"), settings), connections, Warnings(), lambda *_: None)
    connections |= {number: connection(limits, number) for number in ("one", "two", "own")}
    one, two, own = connections.values()
    own.envelope = True
    limits.registered(own, Role.PERSISTENCE, 0.0)
    item = "x" * 100_000
    while one.outbox.waiting < 600_000:
        assert one.outbox.put(item, control=False)
    assert own.outbox.put(item * 20, control=False), "own components have room of their own"
    while two.outbox.put(item, control=False):
        pass
    assert limits.gives_way(two, len(item)) is one
    one.abort()
    assert two.outbox.put(item, control=False)
    assert limits.gives_way(two, 2**20) is two
    assert limits.gives_way(own, 2**30) is own
    while len(two.outbox):
        await two.outbox.take(batch=True)
    assert two.outbox.put(item * 10, control=False), "what was sent does not count any more"


@scenario
async def test_a_message_of_a_few_bytes_for_each_of_a_million_lists_is_not_even_read():
    async with hub() as (server, peer):
        async with raw(server) as ws:
            await ws.send_str("42" + json.dumps(["list_components"])[:-1] + ",[" + "[]," * 600_000 + "1]]")
            await closed(ws)
        assert server.hub.counts.refused["structure"] == 1
        async with raw(server) as ws:
            await ws.send_str("42" + json.dumps(["batch", [["list_components"]] * 1001]))
            await closed(ws)
        assert server.hub.counts.refused["batch"] == 1
