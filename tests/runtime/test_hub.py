"""The hub over real sockets, with bare Socket.IO clients: own ones (envelope, batch) and foreign ones."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import struct
from contextlib import suppress

import aiohttp
import pytest
import socketio

from gleitzeitd.errors import ConfigError
from gleitzeitd.machines.hub_settings import Settings
from gleitzeitd.model.names import shard_of
from gleitzeitd.runtime.gate import Gate
from gleitzeitd.runtime.hub import HubServer
from gleitzeitd.runtime.hub_address import check_exposure
from tests.runtime.hub_peers import WAIT, Peer, closed, hub, raw, scenario

SHOWN = {"Authorization": "Bearer secret"}


@scenario
async def test_an_event_of_an_own_component_reaches_the_owner_unread_and_renamed():
    async with hub() as (server, peer):
        resolver = await peer("dependency_resolver", "resolver-1").join(server)
        client = await peer("client", "client-1").join(server)
        shard = shard_of("w")
        await resolver.send("serve_shards", {"shards": {str(shard): 3}})
        await resolver.send("query_status", {})  # refused, so that the one before is done
        await resolver.expect("event_refused")
        body = '{"workflow_id": "w",  "workflow": {"ä": 1e2}}'
        await client.sio.emit(
            "submit_workflow", (client.envelope(_shard=shard, _source_component="liar"), body)
        )
        while (got := await asyncio.wait_for(resolver.got.get(), WAIT))[0] != "analyze_workflow":
            pass
        assert got[2] == body
        assert got[1]["_fact"] == "submit_workflow"
        assert got[1]["_source_component"] == "client-1"


@scenario
async def test_a_foreign_client_submits_one_flat_object_and_gets_a_flat_answer():
    async with hub() as (server, peer):
        resolver = await peer("dependency_resolver", "resolver-1").join(server)
        await resolver.send("serve_shards", {"shards": {str(n): 1 for n in range(16)}})
        client = await peer("client", "browser", own=False).join(server)
        await client.send("submit_workflow", {"workflow_id": "w", "workflow": {}})
        envelope, body = await resolver.expect("analyze_workflow")
        assert body == {"workflow_id": "w", "workflow": {}}
        assert envelope["_shard"] == shard_of("w")
        assert len(envelope["_correlation_id"]) == 32
        await resolver.send(
            "workflow_submitted",
            {"workflow_id": "w"},
            _reply_to="browser",
            _causation_id=envelope["_message_id"],
        )
        _, answer = await client.expect("workflow_submitted")
        assert answer["workflow_id"] == "w"
        assert answer["_causation_id"] == envelope["_message_id"]


@scenario
async def test_a_foreign_providers_reply_finds_the_engine_without_naming_it():
    async with hub() as (server, peer):
        engine = await peer("execution_engine", "engine-1").join(server)
        other = await peer("execution_engine", "engine-2").join(server)
        provider = await peer("provider", "js-1", own=False).join(server)
        call = {"workflow_id": "w", "task_id": "t", "attempt": 1, "method": "m"}
        await engine.send("execute_method", call, _reply_to="js-1")
        await other.send("execute_method", {**call, "attempt": 2}, _reply_to="js-1")
        for _ in range(2):
            await provider.expect("execute_method")
        await provider.send("method_result", {"workflow_id": "w", "task_id": "t", "attempt": 1, "result": 4})
        envelope, body = await engine.expect("method_result")
        assert body["result"] == 4
        assert envelope["_reply_to"] == "engine-1"


@scenario
async def test_the_wrong_token_is_refused_with_the_errors_number_and_name():
    async with hub() as (server, peer):
        for token in ("wrong", None, 7, "\ud800"):
            client = peer("client", "c")
            with pytest.raises(socketio.exceptions.ConnectionError):
                await client.connect(server, token)
            assert "-25005 AUTHENTICATION_FAILED" in client.refusals[0]["message"]
            assert client.refusals[0]["data"] == {"code": -25005, "name": "AUTHENTICATION_FAILED"}


@scenario
async def test_a_role_that_does_not_exist_is_refused_when_connecting():
    async with hub() as (server, peer):
        for said in ("admin", "hub", {"a": 1}):
            client = peer("client", "c")
            with pytest.raises(socketio.exceptions.ConnectionError):
                await client.connect(server, component_type=said)
            assert "-25006 AUTHORIZATION_FAILED" in client.refusals[0]["message"]


@scenario
async def test_without_a_token_loopback_clients_need_none():
    async with hub(gate=Gate.open()) as (server, peer):
        await peer("client", "c").join(server, token=None)


@scenario
async def test_without_a_token_a_page_that_reaches_localhost_by_another_name_is_refused():
    async with hub(gate=Gate.open()) as (server, _):
        url = f"http://127.0.0.1:{server.port}/socket.io/?EIO=4&transport=websocket"
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await session.ws_connect(url, headers={"Host": "evil.test"})
            assert caught.value.status == 403


def test_without_a_token_the_hub_does_not_listen_to_other_hosts():
    server = HubServer(Settings(host="0.0.0.0", port=0), gate=Gate.open())
    with pytest.raises(ConfigError, match="token"):
        asyncio.run(server.start())
    check_exposure("0.0.0.0", [], insecure=False)


@scenario
async def test_what_waits_goes_out_as_a_batch_and_a_foreign_client_still_gets_single_events():
    async with hub() as (server, peer):
        manager = await peer("persistence", "ledger").join(server)
        own = await peer("client", "own").join(server)
        foreign = await peer("client", "foreign", own=False).join(server)
        for each in (own, foreign):
            await each.send("subscribe", {"topics": ["w"]})
            await each.expect("subscribed")
        event = {"workflow_id": "w", "task_id": "t", "attempt": 1}
        items = [
            ["task_started", manager.envelope(_topic="w"), json.dumps({**event, "attempt": n})]
            for n in range(300)
        ]
        # Persistence has no right to the engine's route, but publishes by its own.
        await manager.sio.emit("batch", items)
        for each in (own, foreign):
            assert [(await each.expect("task_started"))[1]["attempt"] for _ in range(300)] == list(range(300))
        assert own.packets.count("batch") >= 1
        assert "batch" not in foreign.packets


@scenario
async def test_a_piece_with_many_events_is_one_for_those_who_know_it_and_many_for_others():
    able = ["envelope", "batch", "bundle"]
    async with hub() as (server, peer):
        manager = await peer("persistence", "ledger").join(server, capabilities=able)
        new = await peer("client", "new").join(server, capabilities=able)
        old = await peer("client", "old").join(server)
        foreign = await peer("client", "foreign", own=False).join(server)
        for each in (new, old, foreign):
            await each.send("subscribe", {"topics": ["w"]})
            await each.expect("subscribed")
        bodies = [json.dumps({"workflow_id": "w", "task_id": "t", "attempt": n}) for n in range(5)]
        heads = [[f"m{n}", "c", "cause" if n else None] for n in range(5)]
        common = {**manager.envelope(_topic="w"), "_source_component": "somebody else", "_fact": "made up"}
        await manager.sio.emit("task_started", (common, bodies, heads))
        _, envelope, *rest = await asyncio.wait_for(new.got.get(), WAIT)
        assert rest == [bodies, heads]
        assert envelope["_source_component"] == "ledger"
        assert "_fact" not in envelope
        for n in range(5):
            envelope, body = await old.expect("task_started")
            assert (envelope["_message_id"], envelope["_source_component"]) == (f"m{n}", "ledger")
            assert (envelope.get("_causation_id"), body["attempt"]) == (heads[n][2], n)
            assert (await foreign.expect("task_started"))[1]["attempt"] == n


@scenario
async def test_a_piece_that_is_not_plain_is_taken_apart():
    async with hub() as (server, peer):
        manager = await peer("persistence", "ledger").join(server)
        envelope = manager.envelope(_reply_to="nobody")
        heads = [["m0", "c", None], ["m1", "c", None]]
        await manager.sio.emit("cancel_task", (envelope, ["{}", "{}"], heads))
        told = [(await manager.expect("no_components_available"))[0]["_causation_id"] for _ in heads]
        assert told == ["m0", "m1"]
        await manager.sio.emit("submit_workflow", (envelope, ["{}", "{}"], heads))
        told = [(await manager.expect("event_refused"))[0]["_causation_id"] for _ in heads]
        assert told == ["m0", "m1"]


@pytest.mark.parametrize(
    "heads", [[], [["m", "c"]], [["m", "c", None]] * 2, [[1, "c", None]], [["", "c", None]], "m"]
)
async def test_a_piece_that_cannot_be_taken_apart_costs_the_connection(heads):
    async with hub() as (server, peer):
        manager = await peer("persistence", "ledger").join(server)
        await manager.sio.emit("task_started", (manager.envelope(_topic="w"), ["{}"], heads))
        await asyncio.wait_for(manager.gone.wait(), WAIT)


@scenario
async def test_an_event_that_may_not_be_sent_is_refused_and_the_connection_stays():
    async with hub() as (server, peer):
        client = await peer("client", "c").join(server)
        await client.send("task_completed", {})
        _, body = await client.expect("event_refused")
        assert body["error"]["name"] == "AUTHORIZATION_FAILED"
        await client.send("no_such_event", {})
        _, body = await client.expect("event_refused")
        assert body["error"]["name"] == "METHOD_NOT_FOUND"
        await client.send("list_components", {})
        await client.expect("component_list")


@scenario
async def test_reserved_names_reach_no_handler():
    async with hub() as (server, peer):
        async with raw(server) as ws:
            await ws.send_str('42["register_component",{"component_id":"c","component_type":"client"}]')
            assert "component_registered" in (await ws.receive()).data
            for name in ("connect", "disconnect", "connect_error", "__disconnect_final", "*"):
                for number in ("", "7"):
                    await ws.send_str(f'42{number}["{name}",{{"token":"secret"}}]')
                    assert "METHOD_NOT_FOUND" in (await ws.receive()).data
            assert len(server.hub.members) == 1
            await ws.send_str('42["connect",{"aiohttp.request":1},{"token":"secret"}]')
            await closed(ws)
        assert len(server.hub.members) == 0


@scenario
async def test_forged_packets_end_the_connection():
    async with hub() as (server, _):
        for packet in (
            '451-["list_components",{"_placeholder":true,"num":0}]',  # announces an attachment
            "461-3[]",
            "40/other,",
            "40{}",  # connects twice
            "4x",
            "42/other,[1]",
            "42{}",
            "42[",
            "42[]",
            "42[1]",
            '42["batch",[7]]',
            "4" + "2" * 50,
            "42" + "[" * 100_000,
            "2",
            "5",
            "x",
            "bAAAA",
        ):
            async with raw(server) as ws:
                await ws.send_str(packet)
                await closed(ws)
        async with raw(server) as ws:
            await ws.send_bytes(b"x")
            await closed(ws)
        assert server.hub.counts.refused["abuse"] == 18


@scenario
async def test_an_event_before_authentication_ends_the_connection():
    async with hub() as (server, _):
        async with raw(server, packet="") as ws:
            await ws.send_str('42["register_component",{"component_id":"c","component_type":"client"}]')
            await closed(ws)


@scenario
async def test_a_connection_that_does_not_register_is_cut():
    async with hub(register_within=0.05) as (server, _):
        async with raw(server, packet="") as ws:
            await closed(ws)
        async with raw(server) as ws:
            await closed(ws)
        assert server.hub.counts.refused["unregistered"] == 2


@scenario
async def test_only_so_many_connections_may_be_about_to_register():
    async with hub(max_unregistered=2) as (server, _):
        async with raw(server), raw(server, packet="") as unknown:
            async with raw(server):
                await closed(unknown)
                with pytest.raises(aiohttp.ClientError):
                    async with raw(server, packet=""):
                        pass


def upgrade(server, headers):
    """A socket that has asked for a websocket; nobody has answered yet."""
    asking = socket.create_connection(("127.0.0.1", server.port))
    lines = [
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        *headers,
    ]
    asking.sendall("\r\n".join([*lines, "", ""]).encode())
    return asking


@scenario
async def test_who_asks_wrongly_for_a_websocket_takes_no_place():
    async with hub(max_unregistered=1, register_within=60) as (server, _):
        for _ in range(3):
            with upgrade(server, ["Sec-WebSocket-Version: 13"]) as asking:
                asking.setblocking(False)
                answer = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(asking, 100), WAIT)
            assert answer.startswith(b"HTTP/1.1 400"), answer
        async with raw(server):
            pass


async def test_who_is_gone_before_its_websocket_is_there_takes_no_place(caplog):
    async with hub(max_unregistered=50, register_within=60) as (server, _):
        for _ in range(50):
            asking = upgrade(server, ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {'A' * 22}=="])
            # With a reset, not with a goodbye.
            asking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await asyncio.sleep(0)
            asking.close()
        while True:
            with suppress(aiohttp.ClientError):
                async with raw(server):
                    break
            await asyncio.sleep(0)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@scenario
async def test_a_payload_nested_too_deep_or_with_numbers_not_for_everybody_is_refused():
    async with hub() as (server, peer):
        client = await peer("client", "c", own=False).join(server)
        deep: list = []
        for _ in range(70):
            deep = [deep]
        for workflow in (deep, 2**60, float("inf"), "\ud800"):
            await client.send("submit_workflow", {"workflow_id": "w", "workflow": workflow})
            _, body = await client.expect("event_refused")
            assert body["error"]["name"] == "INVALID_REQUEST"


@scenario
async def test_a_message_as_large_as_allowed_passes_and_a_larger_one_ends_its_connection():
    async with hub(max_frame_bytes=6 * 2**20) as (server, peer):
        ledger = await peer("persistence", "p").join(server)
        resolver = await peer("dependency_resolver", "r").join(server)
        text = "x" * (5 * 2**20)
        await resolver.send("save_workflow", {"workflow_id": "w", "digest": "d", "workflow": text})
        _, body = await ledger.expect("save_workflow")
        assert body["workflow"] == text
        await resolver.send("save_workflow", {"workflow_id": "w", "digest": "d", "workflow": text + text})
        await asyncio.wait_for(resolver.gone.wait(), WAIT)
        _, body = await ledger.expect("component_disconnected")
        assert body["reason"] == "a message over max_frame_bytes"
        assert not ledger.gone.is_set()


@scenario
async def test_a_peer_that_reads_nothing_is_cut_and_the_others_go_on():
    async with hub(outbound_messages=200, dead_after=60, ping_timeout=60) as (server, peer):
        ledger = await peer("persistence", "p").join(server)
        good = await peer("client", "good").join(server)
        async with raw(server) as ws:
            await ws.send_str('42["register_component",{"component_id":"bad","component_type":"client"}]')
            await ws.receive()
            await ws.send_str('42["subscribe",{"topics":["w"]}]')
            await ws.receive()
            ws._conn.transport.pause_reading()
            body = json.dumps({"workflow_id": "w", "task_id": "x" * 50_000, "attempt": 1})
            for _ in range(2000):
                if not any(each.component_id == "bad" for each in server.hub.members):
                    break
                await ledger.sio.emit("task_started", (ledger.envelope(_topic="w"), body))
                await good.send("list_components", {})
                await good.expect("component_list")
            assert server.hub.counts.refused["overflow"] == 1
            ws._conn.transport.abort()


@scenario
async def test_a_component_that_answers_no_heartbeat_is_announced_as_gone():
    async with hub(heartbeat_interval=0.05, dead_after=0.2) as (server, peer):
        ledger = await peer("persistence", "p").join(server)
        engine = await peer("execution_engine", "e", beats=False).join(server)
        _, body = await ledger.expect("component_disconnected")
        assert body["component_id"] == "e"
        assert "heartbeat" in body["reason"]
        await asyncio.wait_for(engine.gone.wait(), WAIT)


@scenario
async def test_a_newer_connection_of_a_component_replaces_the_older_one():
    async with hub() as (server, peer):
        old = await peer("execution_engine", "e").join(server, epoch=1)
        new = await peer("execution_engine", "e").join(server, epoch=1)
        await asyncio.wait_for(old.gone.wait(), WAIT)
        manager = await peer("queue_manager", "q").join(server)
        await manager.send("cancel_method", {})  # not its business; shows that the hub has gone on
        await manager.expect("event_refused")
        stale = await peer("execution_engine", "e").connect(server)
        await stale.send(
            "register_component",
            {"component_id": "e", "component_type": "execution_engine", "epoch": 0, "capabilities": []},
        )
        await stale.expect("registration_refused")
        await asyncio.wait_for(stale.gone.wait(), WAIT)
        await new.send("capacity_update", {"slots": 2})
        await manager.expect("capacity_update")


@scenario
async def test_an_event_that_asks_for_an_acknowledgement_is_routed_and_not_acknowledged():
    async with hub() as (server, peer):
        client = await peer("client", "c", own=False).join(server)
        acknowledged = []
        await client.sio.emit("list_components", {}, callback=lambda *args: acknowledged.append(args))
        await client.expect("component_list")
        assert acknowledged == []


@scenario
async def test_the_end_is_announced_and_takes_less_than_two_seconds():
    server = HubServer(Settings(port=0), gate=Gate.by_shared_token("secret"))
    await server.start()
    peers = [await Peer("client", f"c{n}", own=n % 2 == 0).join(server) for n in range(4)]
    before = asyncio.get_running_loop().time()
    await server.stop("maintenance")
    assert asyncio.get_running_loop().time() - before < 2
    for each in peers:
        _, body = await each.expect("hub_leaving")
        assert body["reason"] == "maintenance"
        await asyncio.wait_for(each.gone.wait(), WAIT)
        await each.leave()


@scenario
async def test_long_polling_and_foreign_origins_are_refused():
    async with hub() as (server, _), aiohttp.ClientSession() as session:
        base = f"http://127.0.0.1:{server.port}/socket.io/?EIO=4"
        async with session.get(f"{base}&transport=polling") as answer:
            assert answer.status == 400
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await session.ws_connect(f"{base}&transport=websocket", headers={"Origin": "https://evil.test"})


@scenario
async def test_readiness_names_what_is_missing_until_every_role_is_there():
    async with hub() as (server, peer), aiohttp.ClientSession(headers=SHOWN) as session:
        base = f"http://127.0.0.1:{server.port}"
        async with session.get(f"{base}/healthz") as answer:
            assert answer.status == 200
        roles = [
            "dependency_resolver",
            "queue_manager",
            "execution_engine",
            "protocol_registry",
            "persistence",
        ]
        for role in roles:
            async with session.get(f"{base}/readyz") as answer:
                assert answer.status == 503
                assert role.replace("_", "-") in await answer.text()
            await peer(role, role).join(server)
        async with session.get(f"{base}/readyz") as answer:
            assert answer.status == 200


@scenario
async def test_metrics_count_events_by_name_and_components_by_role():
    async with hub() as (server, peer), aiohttp.ClientSession(headers=SHOWN) as session:
        manager = await peer("queue_manager", "q").join(server)
        client = await peer("client", "c").join(server)
        await manager.send("queue_stats_changed", {"stats": {"waiting": 7, "by_protocol": {"shell": 7}}})
        await client.send("list_components", {})
        await client.expect("component_list")
        await client.send("nonsense", {})
        await client.expect("event_refused")
        async with session.get(f"http://127.0.0.1:{server.port}/metrics") as answer:
            text = await answer.text()
        assert 'gleitzeit_hub_events_total{event="list_components"} 1.0' in text
        assert 'gleitzeit_hub_components{role="client"} 1.0' in text
        assert 'gleitzeit_queue{component_id="q",figure="waiting"} 7.0' in text
        assert 'gleitzeit_hub_refusals_total{cause="METHOD_NOT_FOUND"} 1.0' in text
        assert re.search(r"gleitzeit_hub_routing_seconds_count [1-9]", text)
        assert "process_resident_memory_bytes" in text


@scenario
async def test_the_libraries_loggers_do_not_show_tokens():
    async with hub():
        for name in ("socketio.server", "engineio.server"):
            assert not logging.getLogger(name).isEnabledFor(logging.WARNING)
